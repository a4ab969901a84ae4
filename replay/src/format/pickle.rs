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
//! **Made for snapshots.** A snapshot is mostly stack frames, of no use here. Strings are kept as [`Word`]s: those that matter have
//! a name, short others are interned to be quoted, the rest are passed over without being held. A dictionary keeps the
//! keys that matter; a list counts and drops numbers, strings and dictionaries with nothing in them.
//!
//! **Safe on any input.** A value is an index, so shared references cost nothing and a cycle is harmless: nothing here
//! or in [`super::pytorch`] walks the graph recursively. Memory is counted and limited
//! ([`Limits::pickle_bytes`](super::Limits::pickle_bytes)). Protocols 0 to 5. Cost: O(1) an opcode, O(bytes) in all.
//!
//! Source of the opcodes: the documentation in Python's `pickletools`.

mod arena;

pub(super) use arena::{Arena, Value, Word};

use super::error::{ErrorKind, Place, TraceError, quote};
use super::input::Input;
use arena::{Dict, List, Pair, WORD_BYTES};
use std::collections::HashMap;

/// Reads one pickle from `input`, holding at most `limit` bytes. Returns the arena and the value on top.
///
/// # Errors
/// The pickle is cut short, breaks the rules, or needs more memory than the limit.
pub(crate) fn read(input: &mut Input<'_>, limit: u64) -> Result<(Arena, Value), TraceError> {
    let machine = Machine {
        input,
        arena: Arena::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        sparse_memo: HashMap::new(),
        scratch: Vec::new(),
        at: 0,
        used: 0,
        limit,
    };
    machine.run()
}

struct Machine<'i, 'a> {
    input: &'i mut Input<'a>,
    arena: Arena,
    stack: Vec<Value>,
    /// Heights of the stack at each open mark.
    marks: Vec<usize>,
    memo: Vec<Value>,
    /// Memo entries that a pickle numbers with gaps.
    sparse_memo: HashMap<u32, Value>,
    scratch: Vec<u8>,
    /// Offset of the current opcode.
    at: u64,
    /// Bytes held, counted twice since a vector that grows doubles.
    used: u64,
    limit: u64,
}

impl Machine<'_, '_> {
    fn run(mut self) -> Result<(Arena, Value), TraceError> {
        loop {
            self.at = self.input.offset();
            let opcode = self.input.byte()?;
            if opcode == b'.' {
                let value = self.pop()?;
                return Ok((self.arena, value));
            }
            self.execute(opcode)?;
        }
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

    /// Accounts for `bytes` that stay held until the pickle is read.
    fn charge(&mut self, bytes: usize) -> Result<(), TraceError> {
        self.used += 2 * bytes as u64;
        if self.used > self.limit {
            return Err(TraceError::new(
                ErrorKind::PickleTooLarge,
                Place::Byte(self.at),
                format!("a pickle that needs more than {} bytes of memory to read", self.limit),
                "a smaller pickle",
                "record fewer entries (max_entries) or without stacks, or raise the reader's limit",
            ));
        }
        Ok(())
    }

    fn push(&mut self, value: Value) -> Result<(), TraceError> {
        if self.stack.len() == self.stack.capacity() {
            // Charged once for each growth: values leave the stack again, its capacity does not.
            let room = self.stack.capacity().max(64);
            self.charge(room * size_of::<Value>())?;
            self.stack.reserve_exact(room);
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
        self.input.pass(length, WORD_BYTES + 1, &mut self.scratch)?;
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

    fn new_list(&mut self, values: core::ops::RangeFrom<usize>) -> Result<(), TraceError> {
        self.charge(size_of::<List>())?;
        let Some(list) = self.arena.new_list() else {
            return Err(self.broken("2^32 lists", "fewer"));
        };
        self.extend(list, values.start)?;
        self.push(list)
    }

    /// Moves the stack from `start` up to the end of a list.
    fn extend(&mut self, list: Value, start: usize) -> Result<(), TraceError> {
        let start = start.min(self.stack.len());
        let kept = self.arena.extend(list, &self.stack[start..]);
        self.stack.truncate(start);
        self.charge(kept * size_of::<Value>())
    }

    fn new_dict(&mut self) -> Result<Value, TraceError> {
        self.charge(size_of::<Dict>())?;
        match self.arena.new_dict(self.at) {
            Some(dict) => Ok(dict),
            None => Err(self.broken("2^32 dictionaries", "fewer")),
        }
    }

    /// Moves key-value pairs from the stack, from `start` up, into a dictionary.
    fn fill(&mut self, target: Value, start: usize) -> Result<(), TraceError> {
        let end = self.stack.len();
        if !end.saturating_sub(start).is_multiple_of(2) {
            return Err(self.broken("a key without a value", "pairs of key and value"));
        }
        for at in (start..end).step_by(2) {
            self.set(target, self.stack[at], self.stack[at + 1])?;
        }
        self.stack.truncate(start);
        Ok(())
    }

    fn set(&mut self, target: Value, key: Value, value: Value) -> Result<(), TraceError> {
        match target {
            Value::Dict(_) => {}
            // Items of an object that was not built.
            Value::Opaque => return Ok(()),
            _ => return Err(self.broken("items for a value that takes none", "a dictionary")),
        }
        let Value::Str(key) = key else { return Ok(()) };
        if !key.is_key() {
            return Ok(());
        }
        match self.arena.set(target, key, value) {
            Some(true) => self.charge(size_of::<Pair>()),
            Some(false) => Ok(()),
            None => Err(self.broken("2^32 dictionary items", "fewer")),
        }
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
        if let Some(slot) = self.memo.get_mut(index as usize) {
            *slot = value;
        } else if index as usize == self.memo.len() {
            self.charge(size_of::<Value>())?;
            self.memo.push(value);
        } else {
            self.charge(2 * size_of::<(u32, Value)>())?;
            self.sparse_memo.insert(index, value);
        }
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), TraceError> {
        // A gap may have been filled later by the dense memo, which then holds the newer value.
        let value = self.memo.get(index as usize).or_else(|| self.sparse_memo.get(&index)).copied();
        match value {
            Some(value) => self.push(value),
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
                    let room = self.marks.capacity().max(64);
                    self.charge(room * size_of::<usize>())?;
                    self.marks.reserve_exact(room);
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
            0x88 => self.push(Value::Int(1)),
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
                self.push(Value::Float)
            }
            b'G' => {
                self.input.bytes::<8>()?;
                self.push(Value::Float)
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
                self.set(target, key, value)
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
                self.line()?;
                self.push(Value::Opaque)
            }
            b'P' => {
                self.line()?;
                self.push(Value::Opaque)
            }
            b'Q' => self.opaque(1),
            0x93 | b'R' | 0x81 => self.opaque(2),
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
