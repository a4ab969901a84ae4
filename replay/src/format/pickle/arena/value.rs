//! Values of a pickle, and the forms of its dictionaries.

use super::super::words::Word;

/// Numbers from here on are stored as differences.
pub(super) const LARGE: i64 = 1 << 28;

/// A value of the pickle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    /// `None`.
    None,
    /// `True`.
    True,
    /// An integer of up to 64 bits, or `False`.
    Int(i64),
    /// An integer from 2^63 to 2^64 - 1.
    Uint(u64),
    /// An integer beyond 64 bits.
    Huge,
    /// A float.
    Float(f64),
    /// A string.
    Str(Word),
    /// A list or tuple in the arena.
    List(u32),
    /// A dictionary in the arena.
    Dict(u32),
    /// The name of a class whose objects are read as dictionaries.
    DictClass,
    /// Anything else.
    Opaque,
}

/// The kind of a value: what a shape says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    None,
    True,
    /// A number, as it is.
    Int,
    /// A large number: its difference from the base of its key.
    Large,
    Uint,
    Huge,
    Float,
    Str,
    List,
    Dict,
    DictClass,
    Opaque,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::None,
        Self::True,
        Self::Int,
        Self::Large,
        Self::Uint,
        Self::Huge,
        Self::Float,
        Self::Str,
        Self::List,
        Self::Dict,
        Self::DictClass,
        Self::Opaque,
    ];

    pub(super) fn of(value: Value) -> Self {
        match value {
            Value::None => Self::None,
            Value::True => Self::True,
            Value::Int(number) if number >= LARGE => Self::Large,
            Value::Int(_) => Self::Int,
            Value::Uint(_) => Self::Uint,
            Value::Huge => Self::Huge,
            Value::Float(_) => Self::Float,
            Value::Str(_) => Self::Str,
            Value::List(_) => Self::List,
            Value::Dict(_) => Self::Dict,
            Value::DictClass => Self::DictClass,
            Value::Opaque => Self::Opaque,
        }
    }
}

/// A key of a dictionary and the kind of its value, in one number: the kind in the lowest four bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Field(u32);

impl Field {
    /// Keys are below 2^28: no more words are remembered.
    pub(super) fn new(key: Word, value: Value) -> Self {
        Self(key.0 << 4 | Kind::of(value) as u32)
    }

    pub(super) fn key(self) -> Word {
        Word(self.0 >> 4)
    }

    pub(super) fn kind(self) -> Kind {
        // Sixteen numbers, of which the last four are of no kind.
        Kind::ALL.get((self.0 & 15) as usize).copied().unwrap_or(Kind::Opaque)
    }
}

/// The keys of a dictionary in ascending order, with what kinds of values they have.
pub(super) type Shape = Box<[Field]>;
