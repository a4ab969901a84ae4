//! What a pickle or a JSON text was read into: values that refer to lists and dictionaries by index, packed.
//!
//! ```text
//!   dicts    [ u32 ─┐ ] …                      one word a dictionary
//!   records         └▶ [ shape, value, value… ] …   varints: about 16 bytes for an entry of a trace
//!   shapes   [ (key, kind of value)… ] …       shared by all dictionaries of one form
//!   lists    [ dropped, body ─▶ [u32…] ] …     one word an element; short lists with the same elements have one body
//! ```
//!
//! **Bodies.** Each entry of a snapshot has a list of frames of its own, and a million of them say what a few thousand say. A list
//! that grows later on gets a body of its own.
//!
//! **Numbers.** Addresses and times are large and close together: each key has a base, the first large number seen under it, and
//! what is stored of a large number is the difference.
//!
//! **What is kept** is said when the arena is made: [`Keep::Trace`] keeps the known keys of dictionaries, and lists of lists and
//! dictionaries, which is all that a replay asks for; [`Keep::Everything`] keeps every key, string and element, stack frames
//! included, for whoever reads a whole snapshot.
//!
//! Invariant: an index in a value was handed out by this arena; no value is walked recursively. Cost: O(k) for a dictionary of k
//! items. Memory: [`Arena::bytes`], which counts capacities.

mod order;
mod value;

pub(crate) use value::Value;

use super::super::error::quote;
use super::varint::{take_varint, unzigzag, varint, zigzag};
use super::words::{FORGOTTEN, KEYS, KNOWN, Word};
use crate::hash::FastMap;
use order::Order;
use std::hash::BuildHasher;
use value::{Field, Kind, LARGE, Shape};

/// Forms that dictionaries may have: more than any honest file shows.
const SHAPES: usize = 4096;
/// Lists of up to so many elements are looked for among those that there are.
const SHORT: usize = 256;

/// How much of a pickle an arena keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keep {
    /// What a replay needs: dictionaries keep the known keys, lists keep lists, dictionaries that are not empty,
    /// and `True`.
    #[default]
    Trace,
    /// Every key, every element, and strings of up to 4 KiB.
    #[allow(dead_code, reason = "for readers of whole snapshots")]
    Everything,
}

impl Keep {
    /// Strings up to this long are looked at.
    pub(crate) const fn word_bytes(self) -> usize {
        match self {
            Self::Trace => 32,
            Self::Everything => 4096,
        }
    }

    /// Strings that are not known and remembered all the same; of a trace, to be quoted.
    const fn words(self) -> usize {
        match self {
            Self::Trace => 1024,
            Self::Everything => 1 << 24,
        }
    }
}

/// A list's head.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    /// Elements that were dropped; stops at the largest number.
    dropped: u32,
    /// Its body, counted from 1; 0 for none.
    body: u32,
}

/// The elements of a list, packed.
#[derive(Debug, Default)]
struct Body {
    items: Vec<u32>,
    /// Several lists may have it: it does not change.
    shared: bool,
}

/// A list or tuple: its elements, without those that hold nothing of use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<'a> {
    arena: &'a Arena,
    items: &'a [u32],
    dropped: u32,
    body: u32,
}

impl<'a> List<'a> {
    /// Kept elements.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Lists with the same number have the same elements.
    pub(crate) fn body(&self) -> u32 {
        self.body
    }

    /// How many were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.into()
    }

    /// Elements, kept and dropped.
    pub(crate) fn count(&self) -> u64 {
        self.len() as u64 + self.dropped()
    }

    /// The kept element at `index`.
    pub(crate) fn get(&self, index: usize) -> Option<Value> {
        self.items.get(index).map(|&item| self.arena.unpack(item))
    }

    /// The kept elements.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Value> + 'a {
        let arena = self.arena;
        self.items.iter().map(|&item| arena.unpack(item))
    }
}

/// The upper two bits of a packed value say what the others are an index of.
const DICT: u32 = 0;
const LIST: u32 = 1 << 30;
const WORD: u32 = 2 << 30;
const OTHER: u32 = 3 << 30;
const INDEX: u32 = LIST - 1;

/// Adds elements by the quarter: a vector that doubles may hold twice what it needs.
pub(crate) fn grow<T>(vector: &mut Vec<T>, more: usize) {
    if vector.capacity() - vector.len() < more {
        vector.reserve_exact(more.max(vector.len() / 4).max(4));
    }
}

/// The memory of a pickle, once read.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    lists: Vec<Head>,
    bodies: Vec<Body>,
    /// Bodies that are shared, by a hash of their elements. Of two that have the same one the first is found.
    shared: FastMap<u64, u32>,
    /// Where a dictionary's record begins, plus 1; 0 while it is empty.
    dicts: Vec<u32>,
    records: Vec<u8>,
    shapes: Vec<Shape>,
    shape_numbers: FastMap<Shape, u32>,
    /// The shape of the dictionary that was stored last: most have that of their neighbour.
    last_shape: u32,
    /// The first large number under each key.
    bases: FastMap<u32, i64>,
    words: Vec<Box<[u8]>>,
    word_numbers: FastMap<Box<[u8]>, u32>,
    /// Packed values that are no dictionary, list or word.
    others: Vec<Value>,
    body_bytes: usize,
    word_bytes: usize,
    keep: Keep,
    /// Scratch of [`set`](Self::set).
    items: Vec<(Word, Value)>,
    order: Order,
    packed: Vec<u32>,
    shape: Vec<Field>,
    encoded: Vec<u8>,
}

impl Arena {
    /// An arena that knows the words.
    pub(crate) fn new(keep: Keep) -> Self {
        let numbers = (0u32..).zip(KNOWN).map(|(number, word)| (word.as_bytes().into(), number));
        let word_numbers = numbers.collect();
        Self {
            word_numbers,
            others: vec![Value::None, Value::Opaque, Value::True],
            keep,
            ..Self::default()
        }
    }

    /// What it keeps.
    pub(crate) fn keep(&self) -> Keep {
        self.keep
    }

    /// Bytes held, about: the capacity of what grows with the input.
    pub(crate) fn bytes(&self) -> u64 {
        (self.lists.capacity() * size_of::<Head>()
            + self.bodies.capacity() * size_of::<Body>()
            + self.shared.capacity() * 2 * size_of::<(u64, u32)>()
            + self.body_bytes
            + self.dicts.capacity() * size_of::<u32>()
            + self.records.capacity()
            + self.others.capacity() * size_of::<Value>()
            + self.word_bytes
            + self.shapes.len() * 512) as u64
    }

    /// A value in 30 bits and a tag. None when there are too many.
    pub(crate) fn pack(&mut self, value: Value) -> Option<u32> {
        let (tag, index) = match value {
            Value::Dict(index) => (DICT, index),
            Value::List(index) => (LIST, index),
            Value::Str(FORGOTTEN) => (WORD, INDEX),
            Value::Str(Word(number)) => (WORD, number),
            Value::None => (OTHER, 0),
            Value::Opaque => (OTHER, 1),
            Value::True => (OTHER, 2),
            other => {
                grow(&mut self.others, 1);
                self.others.push(other);
                (OTHER, u32::try_from(self.others.len() - 1).ok()?)
            }
        };
        (index <= INDEX).then_some(tag | index)
    }

    /// The value that was packed.
    pub(crate) fn unpack(&self, packed: u32) -> Value {
        let index = packed & INDEX;
        match packed & !INDEX {
            DICT => Value::Dict(index),
            LIST => Value::List(index),
            WORD if index == INDEX => Value::Str(FORGOTTEN),
            WORD => Value::Str(Word(index)),
            _ => self.others.get(index as usize).copied().unwrap_or(Value::Opaque),
        }
    }

    /// An empty list. None after 2^30.
    pub(crate) fn new_list(&mut self) -> Option<Value> {
        let index = u32::try_from(self.lists.len()).ok().filter(|&index| index <= INDEX)?;
        grow(&mut self.lists, 1);
        self.lists.push(Head::default());
        Some(Value::List(index))
    }

    /// An empty dictionary. None after 2^30.
    pub(crate) fn new_dict(&mut self) -> Option<Value> {
        let index = u32::try_from(self.dicts.len()).ok().filter(|&index| index <= INDEX)?;
        grow(&mut self.dicts, 1);
        self.dicts.push(0);
        Some(Value::Dict(index))
    }

    /// Adds to a list the values that are of use, and counts the others. None when there are too many.
    pub(crate) fn extend(&mut self, list: Value, values: &[Value]) -> Option<()> {
        let Value::List(index) = list else { return Some(()) };
        let mut head = self.lists.get(index as usize).copied()?;
        let mut packed = core::mem::take(&mut self.packed);
        packed.clear();
        packed.reserve(values.len());
        for &value in values {
            if self.useful(value) {
                packed.push(self.pack(value)?);
            }
        }
        let dropped = u32::try_from(values.len() - packed.len()).unwrap_or(u32::MAX);
        head.dropped = head.dropped.saturating_add(dropped);
        if !packed.is_empty() {
            head.body = self.body_with(head.body, &packed)?;
        }
        self.packed = packed;
        // Lists of millions are rare, and their batches too.
        self.packed.shrink_to(1 << 16);
        self.lists[index as usize] = head;
        Some(())
    }

    /// The number of a body that has the elements of one, and more behind them. None when there are too many.
    fn body_with(&mut self, number: u32, more: &[u32]) -> Option<u32> {
        let known = (number as usize).checked_sub(1);
        let short = known.is_none() && more.len() <= SHORT && self.keep == Keep::Everything;
        let hash = short.then(|| self.shared.hasher().hash_one(more));
        if let Some(hash) = hash
            && let Some(&same) = self.shared.get(&hash)
            && self.bodies[same as usize - 1].items == more
        {
            return Some(same);
        }
        if let Some(at) = known
            && !self.bodies[at].shared
        {
            let items = &mut self.bodies[at].items;
            let before = items.capacity();
            grow(items, more.len());
            self.body_bytes += (items.capacity() - before) * size_of::<u32>();
            items.extend_from_slice(more);
            return Some(number);
        }
        let old = known.map_or(&[][..], |at| &self.bodies[at].items);
        let items = [old, more].concat();
        self.body_bytes += items.capacity() * size_of::<u32>();
        grow(&mut self.bodies, 1);
        self.bodies.push(Body { items, shared: short });
        let number = u32::try_from(self.bodies.len()).ok()?;
        if let Some(hash) = hash {
            self.shared.entry(hash).or_insert(number);
        }
        Some(number)
    }

    /// Sets items of a dictionary, in place of those with their keys; keys that do not matter are passed over. None if there is no room:
    /// 4 GiB of records, or more forms of dictionaries than any honest file has.
    pub(crate) fn set(
        &mut self,
        dict: Value,
        items: impl IntoIterator<Item = (Value, Value)>,
    ) -> Option<()> {
        let Value::Dict(index) = dict else { return Some(()) };
        let begin = self.dicts.get(index as usize).copied()?;
        let mut all = core::mem::take(&mut self.items);
        all.clear();
        let old_bytes = match begin.checked_sub(1) {
            Some(at) => self.decode(at as usize, &mut |key, value| all.push((key, value))),
            None => 0,
        };
        let before = all.len();
        for (key, value) in items {
            let Value::Str(key) = key else { continue };
            let kept = match self.keep {
                Keep::Trace => key.0 < KEYS,
                Keep::Everything => key != FORGOTTEN,
            };
            if kept {
                all.push((key, value));
            }
        }
        let mut done = Some(());
        if all.len() > before {
            self.order.arrange(&mut all);
            done = self.store(index, &all, begin, old_bytes);
        }
        self.items = all;
        done
    }

    fn store(
        &mut self,
        index: u32,
        items: &[(Word, Value)],
        begin: u32,
        old_bytes: usize,
    ) -> Option<()> {
        let number = self.shape_of(items)?;
        let mut out = core::mem::take(&mut self.encoded);
        out.clear();
        varint(&mut out, number.into());
        for &(key, value) in items {
            self.encode(&mut out, key, value);
        }
        let old = (begin as usize).wrapping_sub(1);
        let last = begin > 0 && old + old_bytes == self.records.len();
        let done = if begin > 0 && (out.len() == old_bytes || last) {
            // The same place will do.
            if last {
                self.records.truncate(old);
                grow(&mut self.records, out.len());
                self.records.extend_from_slice(&out);
            } else {
                self.records[old..old + old_bytes].copy_from_slice(&out);
            }
            Some(())
        } else {
            let at = u32::try_from(self.records.len() + 1).ok();
            if let Some(at) = at {
                grow(&mut self.records, out.len());
                self.records.extend_from_slice(&out);
                self.dicts[index as usize] = at;
            }
            at.map(|_| ())
        };
        self.encoded = out;
        done
    }

    /// The number of the items' shape. None if there are too many shapes.
    fn shape_of(&mut self, items: &[(Word, Value)]) -> Option<u32> {
        let mut shape = core::mem::take(&mut self.shape);
        shape.clear();
        shape.extend(items.iter().map(|&(key, value)| Field::new(key, value)));
        let last = self.shapes.get(self.last_shape as usize);
        let number = if last.is_some_and(|last| **last == *shape) {
            Some(self.last_shape)
        } else {
            match self.shape_numbers.get(&shape[..]) {
                Some(&number) => Some(number),
                None if self.shapes.len() < SHAPES => {
                    let number = self.shapes.len() as u32;
                    self.shapes.push(shape.as_slice().into());
                    self.shape_numbers.insert(shape.as_slice().into(), number);
                    Some(number)
                }
                None => None,
            }
        };
        self.shape = shape;
        self.last_shape = number.unwrap_or(self.last_shape);
        number
    }

    fn encode(&mut self, out: &mut Vec<u8>, key: Word, value: Value) {
        match value {
            Value::Int(number) if number >= LARGE => {
                let base = *self.bases.entry(key.0).or_insert(number);
                varint(out, zigzag(number.wrapping_sub(base)));
            }
            Value::Int(number) => varint(out, zigzag(number)),
            Value::Uint(number) => varint(out, number),
            Value::Float(number) => out.extend_from_slice(&number.to_le_bytes()),
            Value::Str(word) => varint(out, word.0.into()),
            Value::List(index) | Value::Dict(index) => varint(out, index.into()),
            Value::None | Value::True | Value::Huge | Value::DictClass | Value::Opaque => {}
        }
    }

    /// Tells the items of the record at `at`, and returns its length.
    fn decode(&self, at: usize, tell: &mut impl FnMut(Word, Value)) -> usize {
        let mut rest = self.records.get(at..).unwrap_or_default();
        let before = rest.len();
        let number = take_varint(&mut rest);
        let shape = self.shapes.get(number as usize).map_or(&[][..], |shape| shape);
        for field in shape {
            let value = self.decode_value(&mut rest, field.key(), field.kind());
            tell(field.key(), value);
        }
        before - rest.len()
    }

    fn decode_value(&self, rest: &mut &[u8], key: Word, kind: Kind) -> Value {
        match kind {
            Kind::Int => Value::Int(unzigzag(take_varint(rest))),
            Kind::Large => {
                let base = self.bases.get(&key.0).copied().unwrap_or(0);
                Value::Int(unzigzag(take_varint(rest)).wrapping_add(base))
            }
            Kind::Uint => Value::Uint(take_varint(rest)),
            Kind::Float => {
                let (bytes, after) = rest.split_first_chunk().unwrap_or((&[0; 8], &[]));
                *rest = after;
                Value::Float(f64::from_le_bytes(*bytes))
            }
            Kind::Str => Value::Str(Word(take_varint(rest) as u32)),
            Kind::List => Value::List(take_varint(rest) as u32),
            Kind::Dict => Value::Dict(take_varint(rest) as u32),
            Kind::None => Value::None,
            Kind::True => Value::True,
            Kind::Huge => Value::Huge,
            Kind::DictClass => Value::DictClass,
            Kind::Opaque => Value::Opaque,
        }
    }

    /// How many dictionaries there are: no honest walk meets more.
    pub(crate) fn dictionaries(&self) -> usize {
        self.dicts.len()
    }

    /// The list that a value refers to.
    pub(crate) fn list(&self, value: Value) -> Option<List<'_>> {
        let Value::List(index) = value else { return None };
        let head = self.lists.get(index as usize)?;
        let items = match (head.body as usize).checked_sub(1) {
            Some(body) => &self.bodies.get(body)?.items,
            None => &[][..],
        };
        Some(List { arena: self, items, dropped: head.dropped, body: head.body })
    }

    /// Tells the items of a dictionary, each key once; nothing if `dict` is none.
    pub(crate) fn each(&self, dict: Value, mut tell: impl FnMut(Word, Value)) {
        if let Value::Dict(index) = dict
            && let Some(at) = self.dicts.get(index as usize).and_then(|at| at.checked_sub(1))
        {
            self.decode(at as usize, &mut tell);
        }
    }

    /// The value under `key`; the last one set wins. `None` too if `dict` is no dictionary.
    pub(crate) fn get(&self, dict: Value, key: Word) -> Option<Value> {
        let Value::Dict(index) = dict else { return None };
        let at = self.dicts.get(index as usize)?.checked_sub(1)?;
        let mut rest = self.records.get(at as usize..)?;
        let number = take_varint(&mut rest);
        for field in self.shapes.get(number as usize)? {
            let kind = field.kind();
            if field.key() == key {
                return Some(self.decode_value(&mut rest, key, kind));
            }
            match kind {
                Kind::Float => rest = rest.get(8..)?,
                Kind::None | Kind::True | Kind::Huge | Kind::DictClass | Kind::Opaque => {}
                _ => {
                    take_varint(&mut rest);
                }
            }
        }
        None
    }

    /// Describes a value for a message.
    pub(crate) fn describe(&self, value: Option<Value>) -> String {
        match value {
            None => "nothing".to_owned(),
            Some(Value::None) => "None".to_owned(),
            Some(Value::True) => "True".to_owned(),
            Some(Value::Int(i)) => i.to_string(),
            Some(Value::Uint(u)) => u.to_string(),
            Some(Value::Huge) => "an integer beyond 64 bits".to_owned(),
            Some(Value::Float(number)) => format!("the float {number}"),
            Some(Value::Str(word)) => match self.text(word) {
                Some(text) => quote(text),
                None => "another string".to_owned(),
            },
            Some(Value::List(_)) => "a list".to_owned(),
            Some(Value::Dict(_)) => "a dictionary".to_owned(),
            Some(Value::DictClass | Value::Opaque) => "an object that is not read".to_owned(),
        }
    }

    /// The text of a word, unless it was forgotten.
    pub(crate) fn text(&self, word: Word) -> Option<&[u8]> {
        match word.known() {
            Some(known) => Some(known.as_bytes()),
            None => self.words.get(word.0 as usize - KNOWN.len()).map(|text| &text[..]),
        }
    }

    /// Whether a list would keep the value.
    fn useful(&self, value: Value) -> bool {
        match value {
            _ if self.keep == Keep::Everything => true,
            Value::List(_) | Value::True => true,
            Value::Dict(index) => self.dicts.get(index as usize).is_some_and(|&at| at > 0),
            _ => false,
        }
    }

    /// The word for a string, which is interned if it is short and there is room.
    pub(crate) fn word(&mut self, text: &[u8]) -> Word {
        if text.len() > self.keep.word_bytes() {
            return FORGOTTEN;
        }
        if let Some(&number) = self.word_numbers.get(text) {
            return Word(number);
        }
        if self.words.len() == self.keep.words() {
            return FORGOTTEN;
        }
        let number = (KNOWN.len() + self.words.len()) as u32;
        // Twice the text, and the two tables.
        self.word_bytes += 2 * text.len() + 64;
        self.words.push(text.into());
        self.word_numbers.insert(text.into(), number);
        Word(number)
    }
}

#[cfg(test)]
mod tests;
