//! Bytes of messages: how values are written, and a reader that believes nothing.
//!
//! A message begins with the version of the encoding and the kind of the message. Numbers are written seven bits a byte, lowest
//! first, the high bit set on all but the last (LEB128), axes as eight bytes, little-endian; lists begin with their length. Every
//! value has exactly one encoding and the reader accepts no other: numbers without needless bytes, axes strictly ascending, booleans 0 or 1,
//! nothing after the end. It allocates no more than a small multiple of the bytes that are there.

use crate::axis::Axis;
use crate::frontier::{Entry, Frontier, FrontierError};
use alloc::vec::Vec;
use core::fmt;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the message does.
    Truncated,
    /// The bytes go on after the message.
    Trailing {
        /// How many there are.
        bytes: usize,
    },
    /// Another version of the encoding than this one.
    Version {
        /// Theirs.
        found: u8,
    },
    /// No message, or no case of a value, has this number.
    Unknown {
        /// What was read.
        what: &'static str,
        /// The number.
        tag: u8,
    },
    /// A number that does not fit, or with needless bytes.
    Number,
    /// Entries that are no frontier or no map: out of order, doubled, at epoch 0.
    Entries(FrontierError),
    /// A list of more than there may be.
    TooMany {
        /// How many there may be.
        most: usize,
    },
    /// A call that says that its own answer is not needed any more.
    Floor,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the message ends early"),
            Self::Trailing { bytes } => write!(f, "{bytes} bytes after the message"),
            Self::Version { found } => {
                write!(f, "version {found} of the encoding; this one speaks {VERSION}")
            }
            Self::Unknown { what, tag } => write!(f, "{tag} is no {what}"),
            Self::Number => f.write_str("a number that does not fit, or with needless bytes"),
            Self::Entries(error) => error.fmt(f),
            Self::TooMany { most } => write!(f, "a list of more than {most}"),
            Self::Floor => f.write_str("a call below its own floor"),
        }
    }
}

impl core::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Entries(error) => Some(error),
            _ => None,
        }
    }
}

/// The version of the encoding that this code writes and reads.
pub(super) const VERSION: u8 = 1;

/// What is left to read.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.0.split_first().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(byte)
    }

    /// The next so many bytes.
    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The message is over.
    pub(super) const fn end(self) -> Result<(), DecodeError> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }
}

/// What has an encoding.
pub(super) trait Wire: Sized {
    /// The most there may be in one list: for what takes much more memory than bytes.
    const MOST: usize = usize::MAX;
    /// Appends the encoding.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads it.
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

impl Wire for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = from.byte()?;
            let bits = Self::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 || byte == 0 && shift > 0 {
                return Err(DecodeError::Number);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
            if shift > 63 {
                return Err(DecodeError::Number);
            }
        }
    }
}

impl Wire for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        u64::from(*self).put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::try_from(u64::take(from)?).map_err(|_| DecodeError::Number)
    }
}

impl Wire for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        from.byte()
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(DecodeError::Unknown { what: "boolean", tag }),
        }
    }
}

impl Wire for Axis {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bits().to_le_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (bytes, rest) = from.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        from.0 = rest;
        Ok(Self::from_bits(u64::from_le_bytes(*bytes)))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = u64::take(from)?;
        // Everything in a list takes a byte at least, so a length beyond the message is none.
        let len = usize::try_from(len).ok().filter(|&len| len <= from.0.len());
        let len = len.ok_or(DecodeError::Truncated)?;
        if len > T::MOST {
            return Err(DecodeError::TooMany { most: T::MOST });
        }
        (0..len).map(|_| T::take(from)).collect()
    }
}

impl Wire for Entry {
    fn put(&self, out: &mut Vec<u8>) {
        self.axis.put(out);
        self.epoch.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { axis: Wire::take(from)?, epoch: Wire::take(from)? })
    }
}

impl Wire for Frontier {
    fn put(&self, out: &mut Vec<u8>) {
        let entries = self.as_ref();
        (entries.len() as u64).put(out);
        entries.entries().iter().for_each(|entry| entry.put(out));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let entries = Vec::<Entry>::take(from)?;
        let frontier = crate::frontier::FrontierRef::try_from_sorted(&entries);
        Ok(frontier.map_err(DecodeError::Entries)?.to_frontier())
    }
}

/// Encodes a struct field by field.
macro_rules! wire_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self { $($field: Wire::take(from)?),* })
            }
        }
    };
}

/// Encodes an enum by a number for each case, then field by field.
macro_rules! wire_enum {
    ($name:ident, $what:literal $(at most $most:expr,)? { $($tag:literal => $case:ident { $($field:ident),* }),* $(,)? }) => {
        impl Wire for $name {
            $(const MOST: usize = $most;)?

            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$case { $($field),* } => {
                        out.push($tag);
                        $($field.put(out);)*
                    })*
                }
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match from.byte()? {
                    $($tag => Ok(Self::$case { $($field: Wire::take(from)?),* }),)*
                    tag => Err(DecodeError::Unknown { what: $what, tag }),
                }
            }
        }
    };
}

pub(super) use {wire_enum, wire_struct};
