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
//! [`opcodes`] says what each opcode does.

mod arena;
mod opcodes;
mod varint;
mod words;

pub(crate) use arena::{Arena, Keep, List, Value, grow};
pub(crate) use words::Word;

use super::error::{ErrorKind, TraceError, quote};
use super::input::Input;
use opcodes::little_endian;
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
            self.input.at_byte(self.at),
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
            self.input.at_byte(self.at),
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
        let word = match self.input.whole(length) {
            Some(text) => self.arena.word(text),
            None => {
                let most = self.arena.keep().word_bytes() + 1;
                self.input.pass(length, most, &mut self.scratch)?;
                self.arena.word(&self.scratch)
            }
        };
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
            self.input.at_byte(self.at),
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
        let value = match self.input.whole(length.min(9)) {
            Some(bytes) if length <= 9 => little_endian(bytes),
            _ => {
                self.input.pass(length, 9, &mut self.scratch)?;
                if length > 9 { Value::Huge } else { little_endian(&self.scratch) }
            }
        };
        self.push(value)
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

#[cfg(test)]
mod tests;
