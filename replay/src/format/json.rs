//! JSON into the arena that pickles are read into: a snapshot that somebody converted reads as the pickle it was made from.
//!
//! Values are read as they come and kept or dropped at once; nothing of the text is held but the string that is being read.
//! serde_json limits the nesting to 128 levels. Memory: as for a pickle.

use super::error::{ErrorKind, Place, TraceError};
use super::input::Input;
use super::pickle::{Arena, FACTOR, Keep, SLACK, Value};
use core::fmt;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;

/// Values of a list that are collected before they go into the arena.
const BATCH: usize = 256;

/// Reads one JSON value. Returns the arena and the value.
///
/// # Errors
/// The text is cut short, is no JSON, or needs more memory than the limit.
pub(super) fn read(
    input: &mut Input<'_>,
    limit: u64,
    keep: Keep,
) -> Result<(Arena, Value), TraceError> {
    let builder = RefCell::new(Builder { arena: Arena::new(keep), limit, refused: None, bytes: 0 });
    let seed = Seed { builder: &builder };
    let read = {
        let counted = Counted { input, builder: &builder };
        let mut json = serde_json::Deserializer::from_reader(counted);
        seed.deserialize(&mut json).and_then(|value| json.end().map(|()| value))
    };
    let Builder { arena, refused, .. } = builder.into_inner();
    match (read, refused) {
        (Ok(value), _) => Ok((arena, value)),
        (Err(_), Some(refused)) => Err(*refused),
        (Err(error), None) => Err(describe(&error)),
    }
}

fn describe(error: &serde_json::Error) -> TraceError {
    let at = Place::Line(error.line() as u64);
    if error.is_eof() {
        return TraceError::truncated(at, "the end of the file within a JSON value");
    }
    TraceError::new(
        ErrorKind::BadJson,
        at,
        format!("no JSON: {error}"),
        "a JSON value",
        "write the file again, or give the pickle that it was made from",
    )
}

struct Builder {
    arena: Arena,
    limit: u64,
    /// Why reading was given up.
    refused: Option<Box<TraceError>>,
    bytes: u64,
}

/// Tells the builder how far the file was read; an error of the input is kept whole.
struct Counted<'i, 'b, 'a> {
    input: &'i mut Input<'a>,
    builder: &'b RefCell<Builder>,
}

impl std::io::Read for Counted<'_, '_, '_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self.input.take(out) {
            Ok(count) => {
                self.builder.borrow_mut().bytes = self.input.file_offset();
                Ok(count)
            }
            Err(error) => {
                self.builder.borrow_mut().refused = Some(Box::new(error));
                Err(std::io::Error::other("the input cannot be read"))
            }
        }
    }
}

impl Builder {
    /// Looks whether the memory held is within bounds.
    fn check(&mut self) -> Option<()> {
        let held = self.arena.bytes();
        let most = self.limit.min(SLACK.saturating_add(FACTOR.saturating_mul(self.bytes)));
        if held <= most {
            return Some(());
        }
        self.refused = Some(Box::new(TraceError::new(
            ErrorKind::PickleTooLarge,
            Place::Whole,
            format!("JSON that needs more than {held} bytes of memory to read"),
            "a snapshot, which needs less memory than the file has bytes",
            "record fewer entries (max_entries), or check that the file is a snapshot",
        )));
        None
    }
}

#[derive(Clone, Copy)]
struct Seed<'b> {
    builder: &'b RefCell<Builder>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

/// What an arena that is full makes of it.
fn full<E: serde::de::Error>() -> E {
    E::custom("more than can be held")
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(if value { Value::True } else { Value::Int(0) })
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Uint(value), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Str(self.builder.borrow_mut().arena.word(value.as_bytes())))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let list = self.builder.borrow_mut().arena.new_list().ok_or_else(full)?;
        let mut batch = Vec::new();
        loop {
            let item = items.next_element_seed(self)?;
            let end = item.is_none();
            batch.extend(item);
            if end || batch.len() == BATCH {
                let mut builder = self.builder.borrow_mut();
                builder.arena.extend(list, &batch).ok_or_else(full)?;
                builder.check().ok_or_else(full)?;
                batch.clear();
            }
            if end {
                return Ok(list);
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let dict = self.builder.borrow_mut().arena.new_dict().ok_or_else(full)?;
        let mut batch = Vec::new();
        loop {
            let item = items.next_entry_seed(self, self)?;
            let end = item.is_none();
            batch.extend(item);
            if end || batch.len() == BATCH {
                let mut builder = self.builder.borrow_mut();
                builder.arena.set(dict, batch.drain(..)).ok_or_else(full)?;
                builder.check().ok_or_else(full)?;
            }
            if end {
                return Ok(dict);
            }
        }
    }
}
