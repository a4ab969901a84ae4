//! A reader of pickles that can build numbers, strings, lists and dictionaries, and nothing else.
//!
//! ```text
//!   bytes ─▶ opcode ─▶ stack [ …, mark, value, value ] ─▶ arena: lists [Value…], dicts [(Word, Value)…]
//!                       │ ▲
//!                       ▼ │                      Value = 16 bytes, refers to the arena by index
//!                      memo [Value…]
//! ```
//!
//! Python's own unpickler calls whatever the file names, so it must never see a stranger's file. Here no name is
//! resolved and nothing is called: `GLOBAL` and its kin push an opaque value, `REDUCE`, `NEWOBJ` and `BUILD` consume their
//! operands and leave an opaque value, so an object of a class this reader does not know is skipped, not built.
//!
//! **Made for snapshots.** A snapshot is mostly stack frames, of no use to a replay. Strings are kept as [`Word`]s: those that matter
//! have a name, short others are interned to be quoted, the rest are passed over without being held. A dictionary keeps the
//! keys that matter; a list counts and drops numbers, strings and dictionaries with nothing in them. [`Keep`] says otherwise.
//!
//! **Safe on any input.** A value is an index, so shared references cost nothing and a cycle is harmless: nothing here
//! or in [`super::pytorch`] walks the graph recursively. Memory is counted, and limited to [`SLACK`] and [`FACTOR`] times the bytes of
//! the file that were read so far (and by [`Limits::pickle_bytes`](super::Limits::pickle_bytes)): a real snapshot needs less than its own
//! size. Protocols 0 to 5. Cost: O(1) an opcode, O(bytes) in all.
//!
//! Source of the opcodes: the documentation in Python's `pickletools`.

mod arena;

pub(crate) use arena::{Arena, Keep, List, Value, Word, grow};

use super::error::{ErrorKind, Place, TraceError, quote};
use super::input::Input;
use std::collections::HashMap;

/// Bytes of memory that any pickle may take, however small. With the buffers around it a reader stays below 64 MiB.
pub(crate) const SLACK: u64 = 48 << 20;

/// Bytes of memory for each byte of the file. Of a packed file its packed bytes count.
pub(crate) const FACTOR: u64 = 4;

/// Reads one pickle from `input`, holding at most `limit` bytes, and no more than the file's size allows. Returns the arena and the
/// value on top.
///
/// # Errors
/// The pickle is cut short, breaks the rules, or needs more memory than the limit.
pub(crate) fn read(
    input: &mut Input<'_>,
    limit: u64,
    keep: Keep,
) -> Result<(Arena, Value), TraceError> {
    Machine::new(input, limit, keep).run()
}

struct Machine<'i, 'a> {
    input: &'i mut Input<'a>,
    arena: Arena,
    stack: Vec<Value>,
    /// Heights of the stack at each open mark.
    marks: Vec<usize>,
    /// Packed values.
    memo: Vec<u32>,
    /// Memo entries that a pickle numbers with gaps.
    sparse_memo: HashMap<u32, u32>,
    scratch: Vec<u8>,
    /// Offset of the current opcode.
    at: u64,
    /// Bytes of the stack, the marks and the memo.
    own_bytes: u64,
    /// Opcodes since the memory was looked at.
    checked: u32,
    limit: u64,
}

impl<'i, 'a> Machine<'i, 'a> {
    fn new(input: &'i mut Input<'a>, limit: u64, keep: Keep) -> Self {
        Self {
            input,
            arena: Arena::new(keep),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            sparse_memo: HashMap::new(),
            scratch: Vec::new(),
            at: 0,
            own_bytes: 0,
            checked: 0,
            limit,
        }
    }

    fn run(mut self) -> Result<(Arena, Value), TraceError> {
        loop {
            if let Some(value) = self.step()? {
                return Ok((self.arena, value));
            }
        }
    }

    /// Executes one opcode. Returns the pickle's value at its end.
    fn step(&mut self) -> Result<Option<Value>, TraceError> {
        self.at = self.input.offset();
        let opcode = self.input.byte()?;
        if opcode == b'.' {
            return self.pop().map(Some);
        }
        self.execute(opcode)?;
        self.checked += 1;
        if self.checked == CHECK {
            self.checked = 0;
            self.check()?;
        }
        Ok(None)
    }

    #[cold]
    fn broken(&self, found: impl Into<String>, expected: &'static str) -> TraceError {
        TraceError::new(
            ErrorKind::BadPickle,
            Place::Byte(self.at),
            found,
            expected,
            "check that the file is a snapshot written by torch.cuda.memory._dump_snapshot",
        )
    }

    /// Looks whether the memory held is within bounds.
    fn check(&self) -> Result<(), TraceError> {
        let held = self.arena.bytes() + self.own_bytes;
        let by_size = SLACK.saturating_add(FACTOR.saturating_mul(self.input.file_offset()));
        if held <= self.limit.min(by_size) {
            return Ok(());
        }
        let packed = self.input.gzip() && held <= self.limit;
        Err(TraceError::new(
            ErrorKind::PickleTooLarge,
            Place::Byte(self.at),
            format!("a pickle that needs more than {held} bytes of memory to read"),
            if packed {
                "a packed snapshot, which needs less than four times its packed size and 48 MiB"
            } else {
                "a snapshot, which needs less memory than the file has bytes"
            },
            if packed {
                "unpack the file with gunzip and read that"
            } else {
                "record fewer entries (max_entries), or check that the file is a snapshot"
            },
        ))
    }

    fn push(&mut self, value: Value) -> Result<(), TraceError> {
        if self.stack.len() == self.stack.capacity() {
            grow_counted(&mut self.stack, &mut self.own_bytes);
            self.check()?;
        }
        self.stack.push(value);
        Ok(())
    }

    /// Pops a value, but none from below the last mark.
    fn pop(&mut self) -> Result<Value, TraceError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() > floor
            && let Some(value) = self.stack.pop()
        {
            return Ok(value);
        }
        Err(self.broken("an opcode without its operand", "a value on the stack"))
    }

    fn top(&mut self) -> Result<Value, TraceError> {
        let value = self.pop()?;
        self.stack.push(value);
        Ok(value)
    }

    /// Closes the last mark: returns the height of the stack at it.
    fn close(&mut self) -> Result<usize, TraceError> {
        match self.marks.pop() {
            Some(height) => Ok(height.min(self.stack.len())),
            None => Err(self.broken("an opcode that ends a group", "a mark that begins it")),
        }
    }

    fn string(&mut self, length: u64) -> Result<(), TraceError> {
        self.input.pass(length, self.arena.keep().word_bytes() + 1, &mut self.scratch)?;
        let word = self.arena.word(&self.scratch);
        self.push(Value::Str(word))
    }

    fn skip(&mut self, length: u64) -> Result<(), TraceError> {
        self.input.pass(length, 0, &mut self.scratch)
    }

    fn u32(&mut self) -> Result<u32, TraceError> {
        Ok(u32::from_le_bytes(self.input.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, TraceError> {
        Ok(u64::from_le_bytes(self.input.bytes()?))
    }

    /// Reads a text line into the scratch buffer; longer ones are cut.
    fn line(&mut self) -> Result<(), TraceError> {
        self.input.pass_line(64, &mut self.scratch)?;
        if self.scratch.last() == Some(&b'\r') {
            self.scratch.pop();
        }
        Ok(())
    }

    #[cold]
    fn too_many(&self) -> TraceError {
        TraceError::new(
            ErrorKind::PickleTooLarge,
            Place::Byte(self.at),
            "a pickle of more lists, dictionaries or kinds of them than can be counted",
            "at most 2^30 of each, and 4,096 kinds",
            "record fewer entries (max_entries), or check that the file is a snapshot",
        )
    }

    fn new_list(&mut self, values: core::ops::RangeFrom<usize>) -> Result<(), TraceError> {
        let Some(list) = self.arena.new_list() else { return Err(self.too_many()) };
        self.extend(list, values.start)?;
        self.push(list)
    }

    /// Moves the stack from `start` up to the end of a list.
    fn extend(&mut self, list: Value, start: usize) -> Result<(), TraceError> {
        let start = start.min(self.stack.len());
        let kept = self.arena.extend(list, &self.stack[start..]);
        self.stack.truncate(start);
        kept.ok_or_else(|| self.too_many())
    }

    fn new_dict(&mut self) -> Result<Value, TraceError> {
        self.arena.new_dict().ok_or_else(|| self.too_many())
    }

    /// Moves key-value pairs from the stack, from `start` up, into a dictionary.
    fn fill(&mut self, target: Value, start: usize) -> Result<(), TraceError> {
        let start = start.min(self.stack.len());
        if !(self.stack.len() - start).is_multiple_of(2) {
            return Err(self.broken("a key without a value", "pairs of key and value"));
        }
        match target {
            Value::Dict(_) => {}
            // Items of an object that was not built.
            Value::Opaque => {
                self.stack.truncate(start);
                return Ok(());
            }
            _ => return Err(self.broken("items for a value that takes none", "a dictionary")),
        }
        let items = self.stack[start..].chunks_exact(2).map(|pair| (pair[0], pair[1]));
        let done = self.arena.set(target, items);
        self.stack.truncate(start);
        done.ok_or_else(|| self.too_many())
    }

    fn append(&mut self, target: Value, start: usize) -> Result<(), TraceError> {
        match target {
            Value::List(_) => self.extend(target, start),
            Value::Opaque => {
                self.stack.truncate(start);
                Ok(())
            }
            _ => Err(self.broken("elements for a value that takes none", "a list")),
        }
    }

    fn remember(&mut self, index: u32) -> Result<(), TraceError> {
        let value = self.top()?;
        let Some(value) = self.arena.pack(value) else { return Err(self.too_many()) };
        if let Some(slot) = self.memo.get_mut(index as usize) {
            *slot = value;
        } else if index as usize == self.memo.len() {
            if self.memo.len() == self.memo.capacity() {
                grow_counted(&mut self.memo, &mut self.own_bytes);
            }
            self.memo.push(value);
        } else {
            // A table that doubles, and a third of it empty.
            self.own_bytes += 4 * size_of::<(u32, u32)>() as u64;
            self.sparse_memo.insert(index, value);
        }
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), TraceError> {
        // A gap may have been filled later by the dense memo, which then holds the newer value.
        let value = self.memo.get(index as usize).or_else(|| self.sparse_memo.get(&index)).copied();
        match value {
            Some(value) => self.push(self.arena.unpack(value)),
            None => Err(self.broken(format!("memo entry {index}"), "an entry that was stored")),
        }
    }

    fn index_from_line(&mut self) -> Result<u32, TraceError> {
        self.line()?;
        match core::str::from_utf8(&self.scratch).ok().and_then(|s| s.trim().parse().ok()) {
            Some(index) => Ok(index),
            None => Err(self.broken(quote(&self.scratch), "a memo index")),
        }
    }

    /// Pops a class and its arguments, and pushes what a call would have made of them: an empty dictionary if it is one of Python's own
    /// kinds of dictionaries, whose items follow; else a value that stands for an object that was not built.
    fn call(&mut self) -> Result<(), TraceError> {
        self.pop()?;
        match self.pop()? {
            Value::DictClass => {
                let dict = self.new_dict()?;
                self.push(dict)
            }
            _ => self.push(Value::Opaque),
        }
    }

    /// Pushes what a name stands for.
    fn class(&mut self, is_dictionary: bool) -> Result<(), TraceError> {
        self.push(if is_dictionary { Value::DictClass } else { Value::Opaque })
    }

    /// Pops `count` values and pushes one that stands for what a call would have made of them.
    fn opaque(&mut self, count: usize) -> Result<(), TraceError> {
        for _ in 0..count {
            self.pop()?;
        }
        self.push(Value::Opaque)
    }

    fn tuple(&mut self, count: usize) -> Result<(), TraceError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= floor => self.new_list(start..),
            _ => Err(self.broken("a tuple without its elements", "values on the stack")),
        }
    }

    fn long(&mut self, length: u64) -> Result<(), TraceError> {
        self.input.pass(length, 9, &mut self.scratch)?;
        let value = if length > 9 { Value::Huge } else { little_endian(&self.scratch) };
        self.push(value)
    }

    fn execute(&mut self, opcode: u8) -> Result<(), TraceError> {
        match opcode {
            b'(' => {
                if self.marks.len() == self.marks.capacity() {
                    grow_counted(&mut self.marks, &mut self.own_bytes);
                    self.check()?;
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => {
                // Python's POP drops a mark when nothing stands above it.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                    return Ok(());
                }
                self.pop().map(drop)
            }
            b'1' => {
                let height = self.close()?;
                self.stack.truncate(height);
                Ok(())
            }
            b'2' => {
                let value = self.top()?;
                self.push(value)
            }
            // Numbers.
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::True),
            0x89 => self.push(Value::Int(0)),
            b'K' => {
                let [byte] = self.input.bytes()?;
                self.push(Value::Int(byte.into()))
            }
            b'M' => {
                let value = u16::from_le_bytes(self.input.bytes()?);
                self.push(Value::Int(value.into()))
            }
            b'J' => {
                let value = i32::from_le_bytes(self.input.bytes()?);
                self.push(Value::Int(value.into()))
            }
            b'I' | b'L' => {
                self.line()?;
                match integer(&self.scratch) {
                    Some(value) => self.push(value),
                    None => Err(self.broken(quote(&self.scratch), "an integer")),
                }
            }
            0x8a => {
                let [length] = self.input.bytes()?;
                self.long(length.into())
            }
            0x8b => {
                let length = self.u32()?;
                if length > i32::MAX as u32 {
                    return Err(self.broken("a negative length", "the length of an integer"));
                }
                self.long(length.into())
            }
            b'F' => {
                self.line()?;
                let number = core::str::from_utf8(&self.scratch).ok();
                match number.and_then(|text| text.trim().parse().ok()) {
                    Some(number) => self.push(Value::Float(number)),
                    None => Err(self.broken(quote(&self.scratch), "a number")),
                }
            }
            b'G' => {
                let bytes = self.input.bytes()?;
                self.push(Value::Float(f64::from_be_bytes(bytes)))
            }
            // Strings and bytes.
            b'S' => {
                self.line()?;
                let text = unquote(&self.scratch);
                let word = self.arena.word(text);
                self.push(Value::Str(word))
            }
            b'V' => {
                self.line()?;
                let word = self.arena.word(&self.scratch);
                self.push(Value::Str(word))
            }
            b'U' | 0x8c => {
                let [length] = self.input.bytes()?;
                self.string(length.into())
            }
            b'X' | b'T' => {
                let length = self.u32()?;
                self.string(length.into())
            }
            0x8d => {
                let length = self.u64()?;
                self.string(length)
            }
            b'C' => {
                let [length] = self.input.bytes()?;
                self.skip(length.into())?;
                self.push(Value::Opaque)
            }
            b'B' => {
                let length = self.u32()?;
                self.skip(length.into())?;
                self.push(Value::Opaque)
            }
            0x8e | 0x96 => {
                let length = self.u64()?;
                self.skip(length)?;
                self.push(Value::Opaque)
            }
            0x97 => self.push(Value::Opaque),
            0x98 => self.opaque(1),
            // Lists and tuples, which are read alike.
            b']' | b')' => self.new_list(self.stack.len()..),
            b'l' | b't' => {
                let height = self.close()?;
                self.new_list(height..)
            }
            0x85 => self.tuple(1),
            0x86 => self.tuple(2),
            0x87 => self.tuple(3),
            b'a' => {
                let value = self.pop()?;
                let target = self.top()?;
                let start = self.stack.len();
                self.push(value)?;
                self.append(target, start)
            }
            b'e' => {
                let height = self.close()?;
                let target = self.below(height)?;
                self.append(target, height)
            }
            // Dictionaries.
            b'}' => {
                let dict = self.new_dict()?;
                self.push(dict)
            }
            b'd' => {
                let height = self.close()?;
                let dict = self.new_dict()?;
                self.fill(dict, height)?;
                self.push(dict)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                let target = self.top()?;
                let start = self.stack.len();
                self.push(key)?;
                self.push(value)?;
                self.fill(target, start)
            }
            b'u' => {
                let height = self.close()?;
                let target = self.below(height)?;
                self.fill(target, height)
            }
            // Sets: not read.
            0x8f => self.push(Value::Opaque),
            0x90 => {
                let height = self.close()?;
                self.stack.truncate(height);
                Ok(())
            }
            0x91 => {
                let height = self.close()?;
                self.stack.truncate(height);
                self.push(Value::Opaque)
            }
            // The memo.
            b'p' => {
                let index = self.index_from_line()?;
                self.remember(index)
            }
            b'q' => {
                let [index] = self.input.bytes()?;
                self.remember(index.into())
            }
            b'r' => {
                let index = self.u32()?;
                self.remember(index)
            }
            0x94 => match u32::try_from(self.memo.len() + self.sparse_memo.len()) {
                Ok(index) => self.remember(index),
                Err(_) => Err(self.broken("2^32 memo entries", "fewer")),
            },
            b'g' => {
                let index = self.index_from_line()?;
                self.recall(index)
            }
            b'h' => {
                let [index] = self.input.bytes()?;
                self.recall(index.into())
            }
            b'j' => {
                let index = self.u32()?;
                self.recall(index)
            }
            // Names and objects: never resolved, never built.
            b'c' => {
                self.line()?;
                let standard = self.scratch == b"collections";
                self.line()?;
                self.class(standard && is_dictionary(&self.scratch))
            }
            b'P' => {
                self.line()?;
                self.push(Value::Opaque)
            }
            b'Q' => self.opaque(1),
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |value| match value {
                    Value::Str(word) => self.arena.text(word).unwrap_or_default(),
                    _ => &[],
                };
                let is_dictionary = text(module) == b"collections" && is_dictionary(text(name));
                self.class(is_dictionary)
            }
            b'R' | 0x81 => self.call(),
            0x92 => self.opaque(3),
            b'b' => self.pop().map(drop),
            b'i' => {
                self.line()?;
                self.line()?;
                let height = self.close()?;
                self.stack.truncate(height);
                self.push(Value::Opaque)
            }
            b'o' => {
                let height = self.close()?;
                self.stack.truncate(height);
                self.push(Value::Opaque)
            }
            0x82 => {
                self.skip(1)?;
                self.push(Value::Opaque)
            }
            0x83 => {
                self.skip(2)?;
                self.push(Value::Opaque)
            }
            0x84 => {
                self.skip(4)?;
                self.push(Value::Opaque)
            }
            // The frame around the opcodes.
            0x80 => {
                let [protocol] = self.input.bytes()?;
                if protocol <= 5 {
                    return Ok(());
                }
                Err(self.broken(format!("pickle protocol {protocol}"), "protocols 0 to 5"))
            }
            0x95 => self.u64().map(drop),
            _ => Err(self
                .broken(format!("opcode {opcode:#04x}"), "an opcode of pickle protocols 0 to 5")),
        }
    }

    /// The value just below a closed mark.
    fn below(&self, height: usize) -> Result<Value, TraceError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match height.checked_sub(1) {
            Some(at) if at >= floor => Ok(self.stack.get(at).copied().unwrap_or(Value::None)),
            _ => {
                Err(self
                    .broken("items without a container", "a list or a dictionary before the mark"))
            }
        }
    }
}

/// Opcodes between two looks at the memory.
const CHECK: u32 = 1024;

/// Makes room in a full vector, and counts it.
fn grow_counted<T>(vector: &mut Vec<T>, bytes: &mut u64) {
    let before = vector.capacity();
    grow(vector, 64);
    *bytes += ((vector.capacity() - before) * size_of::<T>()) as u64;
}

/// Python's own subclasses of a dictionary that need no more than their items to be read.
fn is_dictionary(name: &[u8]) -> bool {
    matches!(name, b"OrderedDict" | b"defaultdict")
}

/// The text between the quotes that protocol 0 puts around a byte string.
fn unquote(text: &[u8]) -> &[u8] {
    match text {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        _ => text,
    }
}

/// A decimal integer, or protocol 0's `00` and `01` for bools, perhaps with Python 2's `L` at the end.
fn integer(text: &[u8]) -> Option<Value> {
    let text = text.strip_suffix(b"L").unwrap_or(text).trim_ascii();
    if text == b"01" {
        return Some(Value::True);
    }
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = core::str::from_utf8(text).ok()?;
    Some(match (text.parse(), text.parse()) {
        (Ok(value), _) => Value::Int(value),
        (_, Ok(value)) => Value::Uint(value),
        _ => Value::Huge,
    })
}

/// A two's complement integer of at most 9 bytes.
fn little_endian(bytes: &[u8]) -> Value {
    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide[..bytes.len().min(16)].copy_from_slice(&bytes[..bytes.len().min(16)]);
    let value = i128::from_le_bytes(wide);
    if let Ok(value) = i64::try_from(value) {
        Value::Int(value)
    } else if let Ok(value) = u64::try_from(value) {
        Value::Uint(value)
    } else {
        Value::Huge
    }
}

#[cfg(test)]
mod tests;
