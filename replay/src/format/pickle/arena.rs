//! What a pickle was read into: values of 16 bytes that refer to lists and dictionaries by index.
//!
//! ```text
//!   lists   [ items: [Value…], dropped ] …
//!   dicts   [ first ─┐ , offset ] …
//!   pairs            └▶ [ key, value, next ─▶ ] …      at most one for each known key
//! ```
//!
//! Invariant: an index in a value or a chain was handed out by this arena; no value is walked recursively. What may be dropped is
//! told in the parent module. Cost: O(1), as a dictionary has no more items than there are known keys.

use super::super::error::quote;
use std::collections::HashMap;

/// A string: one of those that matter, or an interned or unknown other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u16);

macro_rules! words {
    ($($name:ident = $text:literal),* $(,)?) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "one name a word")]
        #[repr(u16)]
        enum Index { $($name),*, COUNT }
        /// The words that matter, by number.
        const KNOWN: [&str; Index::COUNT as usize] = [$($text),*];
        impl Word {
            $(#[doc = concat!("`", $text, "`")] pub(crate) const $name: Self = Self(Index::$name as u16);)*
        }
    };
}

words! {
    DEVICE_TRACES = "device_traces",
    SEGMENTS = "segments",
    // Keys of an entry.
    ACTION = "action",
    ADDR = "addr",
    SIZE = "size",
    STREAM = "stream",
    TIME_US = "time_us",
    // Keys of a segment and its blocks.
    DEVICE = "device",
    ADDRESS = "address",
    BLOCKS = "blocks",
    STATE = "state",
    REQUESTED_SIZE = "requested_size",
    // Values.
    ALLOC = "alloc",
    FREE_REQUESTED = "free_requested",
    FREE_COMPLETED = "free_completed",
    SEGMENT_ALLOC = "segment_alloc",
    SEGMENT_FREE = "segment_free",
    SEGMENT_MAP = "segment_map",
    SEGMENT_UNMAP = "segment_unmap",
    SNAPSHOT = "snapshot",
    WORKSPACE_SNAPSHOT = "workspace_snapshot",
    OOM = "oom",
    USER_DEFINED = "user_defined",
    ACTIVE_ALLOCATED = "active_allocated",
}

/// Keys below this number are kept in dictionaries.
const KEYS: u16 = Index::ALLOC as u16;
/// Strings up to this long are looked at.
pub(super) const WORD_BYTES: usize = 32;
/// Other strings that are remembered, to be quoted.
const INTERNED: usize = 1024;
/// A string that is not remembered.
const FORGOTTEN: Word = Word(u16::MAX);

impl Word {
    /// Whether dictionaries keep items of this key.
    pub(super) fn is_key(self) -> bool {
        self.0 < KEYS
    }
}

/// A value of the pickle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    /// `None`.
    None,
    /// An integer of up to 64 bits, or a bool.
    Int(i64),
    /// An integer from 2^63 to 2^64 - 1.
    Uint(u64),
    /// An integer beyond 64 bits.
    Huge,
    /// A float.
    Float,
    /// A string.
    Str(Word),
    /// A list or tuple in the arena.
    List(u32),
    /// A dictionary in the arena.
    Dict(u32),
    /// Anything else.
    Opaque,
}

/// A list: its elements, without those that hold nothing of use.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// Kept elements.
    pub(crate) items: Vec<Value>,
    /// How many were dropped.
    pub(crate) dropped: u64,
}

/// A dictionary: a chain of pairs in the arena.
#[derive(Debug)]
pub(super) struct Dict {
    first: u32,
    offset: u64,
}

#[derive(Debug)]
pub(super) struct Pair {
    key: Word,
    value: Value,
    next: u32,
}

/// No pair.
const END: u32 = u32::MAX;

/// The memory of a pickle, once read.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    lists: Vec<List>,
    dicts: Vec<Dict>,
    pairs: Vec<Pair>,
    words: Vec<Box<[u8]>>,
    word_numbers: HashMap<Box<[u8]>, u16>,
}

impl Arena {
    /// An arena that knows the words.
    pub(super) fn new() -> Self {
        let numbers = (0u16..).zip(KNOWN).map(|(number, word)| (word.as_bytes().into(), number));
        Self { word_numbers: numbers.collect(), ..Self::default() }
    }

    /// An empty list. None after 2^32.
    pub(super) fn new_list(&mut self) -> Option<Value> {
        let index = u32::try_from(self.lists.len()).ok()?;
        self.lists.push(List::default());
        Some(Value::List(index))
    }

    /// An empty dictionary that begins at `offset`. None after 2^32.
    pub(super) fn new_dict(&mut self, offset: u64) -> Option<Value> {
        let index = u32::try_from(self.dicts.len()).ok()?;
        self.dicts.push(Dict { first: END, offset });
        Some(Value::Dict(index))
    }

    /// Adds to a list the values that are of use, and counts the others. Returns how many were added.
    pub(super) fn extend(&mut self, list: Value, values: &[Value]) -> usize {
        let Value::List(index) = list else { return 0 };
        let mut list = match self.lists.get_mut(index as usize) {
            Some(list) => core::mem::take(list),
            None => return 0,
        };
        let before = list.items.len();
        list.items.extend(values.iter().copied().filter(|&value| self.useful(value)));
        let added = list.items.len() - before;
        list.dropped += (values.len() - added) as u64;
        self.lists[index as usize] = list;
        added
    }

    /// Sets an item of a dictionary, in place of one with that key. Returns whether it is a new one, or None if there are
    /// 2^32 already.
    pub(super) fn set(&mut self, dict: Value, key: Word, value: Value) -> Option<bool> {
        let Value::Dict(index) = dict else { return Some(false) };
        let Some(dict) = self.dicts.get_mut(index as usize) else { return Some(false) };
        let mut at = dict.first;
        while let Some(pair) = self.pairs.get_mut(at as usize) {
            if pair.key == key {
                pair.value = value;
                return Some(false);
            }
            at = pair.next;
        }
        let next = u32::try_from(self.pairs.len()).ok().filter(|&next| next != END)?;
        self.pairs.push(Pair { key, value, next: dict.first });
        dict.first = next;
        Some(true)
    }

    /// How many dictionaries there are: no honest walk meets more.
    pub(crate) fn dictionaries(&self) -> usize {
        self.dicts.len()
    }

    /// The list that a value refers to.
    pub(crate) fn list(&self, value: Value) -> Option<&List> {
        match value {
            Value::List(index) => self.lists.get(index as usize),
            _ => None,
        }
    }

    /// The value under `key`; the last one set wins. `None` too if `dict` is no dictionary.
    pub(crate) fn get(&self, dict: Value, key: Word) -> Option<Value> {
        let Value::Dict(index) = dict else { return None };
        let mut at = self.dicts.get(index as usize)?.first;
        while let Some(pair) = self.pairs.get(at as usize) {
            if pair.key == key {
                return Some(pair.value);
            }
            at = pair.next;
        }
        None
    }

    /// Where a dictionary begins in the file.
    pub(crate) fn offset(&self, dict: Value) -> u64 {
        match dict {
            Value::Dict(index) => self.dicts.get(index as usize).map_or(0, |d| d.offset),
            _ => 0,
        }
    }

    /// Describes a value for a message.
    pub(crate) fn describe(&self, value: Option<Value>) -> String {
        match value {
            None => "nothing".to_owned(),
            Some(Value::None) => "None".to_owned(),
            Some(Value::Int(i)) => i.to_string(),
            Some(Value::Uint(u)) => u.to_string(),
            Some(Value::Huge) => "an integer beyond 64 bits".to_owned(),
            Some(Value::Float) => "a float".to_owned(),
            Some(Value::Str(Word(number))) => match KNOWN.get(usize::from(number)) {
                Some(known) => quote(known.as_bytes()),
                None => match self.words.get(usize::from(number) - KNOWN.len()) {
                    Some(word) => quote(word),
                    None => "another string".to_owned(),
                },
            },
            Some(Value::List(_)) => "a list".to_owned(),
            Some(Value::Dict(_)) => "a dictionary".to_owned(),
            Some(Value::Opaque) => "an object that is not read".to_owned(),
        }
    }

    /// Whether a list would keep the value.
    fn useful(&self, value: Value) -> bool {
        match value {
            Value::List(_) => true,
            Value::Dict(index) => self.dicts.get(index as usize).is_some_and(|d| d.first != END),
            _ => false,
        }
    }

    /// The word for a string, which is interned if it is short and there is room.
    pub(super) fn word(&mut self, text: &[u8]) -> Word {
        if text.len() > WORD_BYTES {
            return FORGOTTEN;
        }
        if let Some(&number) = self.word_numbers.get(text) {
            return Word(number);
        }
        if self.words.len() == INTERNED {
            return FORGOTTEN;
        }
        let number = (KNOWN.len() + self.words.len()) as u16;
        self.words.push(text.into());
        self.word_numbers.insert(text.into(), number);
        Word(number)
    }
}
