//! What each opcode does: a table. [`Machine`] has what they are made of.
//!
//! Source: the documentation in Python's `pickletools`.

use super::{Machine, TraceError, Value, grow_counted, quote};

impl Machine<'_, '_> {
    /// Executes an opcode other than the one that ends a pickle.
    ///
    /// # Errors
    /// It breaks the rules, or the input ends.
    pub(super) fn execute(&mut self, opcode: u8) -> Result<(), TraceError> {
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
pub(super) fn little_endian(bytes: &[u8]) -> Value {
    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    if bytes.len() <= 8 {
        let mut word = [fill; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        return Value::Int(i64::from_le_bytes(word));
    }
    let mut wide = [fill; 16];
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
