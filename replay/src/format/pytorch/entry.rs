//! One dictionary of a snapshot: its fields as numbers, or what is wrong with them.

use super::super::error::{ErrorKind, Place, TraceError};
use super::super::pickle::{Arena, Value, Word};

pub(super) const REMEDY: &str = "write the file with torch.cuda.memory._dump_snapshot, after torch.cuda.memory._record_memory_history()";

/// A dictionary of the snapshot, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'p> {
    pub(super) arena: &'p Arena,
    pub(super) item: Value,
    pub(super) at: Place,
}

impl<'p> Entry<'p> {
    pub(super) fn new(arena: &'p Arena, item: Value, at: Place) -> Self {
        Self { arena, item, at }
    }

    pub(super) fn get(&self, key: Word) -> Option<Value> {
        self.arena.get(self.item, key)
    }

    #[cold]
    fn error(&self, kind: ErrorKind, found: String, expected: &'static str) -> TraceError {
        TraceError::new(kind, self.at, found, expected, REMEDY)
    }

    /// A number from 0 to 2^64 - 1, if that is what is there.
    pub(super) fn known(&self, key: Word) -> Option<u64> {
        number(self.get(key)?)
    }

    /// A number from 0 to 2^64 - 1 that must be there.
    pub(super) fn number(&self, key: Word, expected: &'static str) -> Result<u64, TraceError> {
        if let Some(value) = self.known(key) {
            return Ok(value);
        }
        let found = self.get(key);
        let kind = match found {
            Some(Value::Int(_)) => ErrorKind::Negative,
            Some(Value::Huge) => ErrorKind::Overflow,
            _ => ErrorKind::NotASnapshot,
        };
        Err(self.error(kind, self.arena.describe(found), expected))
    }

    /// The time in nanoseconds, if there is one: snapshots before PyTorch 2.1 have none, and other tools write fractions.
    pub(super) fn time_ns(&self) -> Result<Option<u64>, TraceError> {
        let found = self.get(Word::TIME_US);
        let time = match found {
            None | Some(Value::None) => return Ok(None),
            // Below 2^63 a product of a thousand is exact enough: a float holds 53 bits.
            Some(Value::Float(us)) if (0.0..9.0e15).contains(&us) => Some((us * 1000.0) as u64),
            Some(value) => number(value).and_then(|us| us.checked_mul(1000)),
        };
        match (time, found) {
            (Some(time), _) => Ok(Some(time)),
            (None, Some(Value::Int(..0))) => Err(self.error(
                ErrorKind::Negative,
                self.arena.describe(found),
                "`time_us`, microseconds from 0",
            )),
            _ => Err(self.error(
                ErrorKind::Overflow,
                self.arena.describe(found),
                "`time_us`, a time in microseconds below 2^54",
            )),
        }
    }

    /// The stream's handle as 64 bits; 0, the default stream, if there is none.
    pub(super) fn stream(&self) -> Result<u64, TraceError> {
        match self.get(Word::STREAM) {
            None | Some(Value::None) => Ok(0),
            Some(Value::Int(value)) => Ok(value as u64),
            Some(value) => number(value).ok_or_else(|| {
                self.error(
                    ErrorKind::NotASnapshot,
                    self.arena.describe(Some(value)),
                    "`stream`, a number of 64 bits",
                )
            }),
        }
    }

    /// The word under `action`, if it is a string.
    pub(super) fn action(&self) -> Option<Word> {
        match self.get(Word::ACTION) {
            Some(Value::Str(word)) => Some(word),
            _ => None,
        }
    }
}

fn number(value: Value) -> Option<u64> {
    match value {
        Value::True => Some(1),
        Value::Int(value) => u64::try_from(value).ok(),
        Value::Uint(value) => Some(value),
        // A number that went through JavaScript or a data frame.
        Value::Float(value) if (0.0..9.0e15).contains(&value) && value.fract() == 0.0 => {
            Some(value as u64)
        }
        _ => None,
    }
}
