//! A generational table: values under keys that are checked.
//!
//! ```text
//!   slots:  [ gen 3 | value ] [ gen 8 | next vacant ] [ gen 0 | value ]
//!                 ▲                  └─ on the list of vacant slots; gen 7 was its last key's
//!        key {index 0, generation 3}
//! ```
//!
//! Insert, get and remove are O(1). A slot's generation changes when its value leaves, so a key of a value that
//! left is refused. What happens when generations run out is the key's to say: see [`Key::RETIRES`].

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

/// What names a value in a [`Table`]: the index of a slot, and how often the slot was used before.
pub trait Key: Copy {
    /// The most slots.
    const SLOTS: u32 = u32::MAX;
    /// The last generation.
    const LAST: u32 = u32::MAX;
    /// What comes after the last generation: `true`, the slot is never used again, so that no key names two
    /// values; `false`, generation 0.
    const RETIRES: bool = true;

    /// The key of these parts: below [`SLOTS`](Self::SLOTS), and at most [`LAST`](Self::LAST).
    fn from_parts(index: u32, generation: u32) -> Self;

    /// Its slot and its generation.
    fn parts(self) -> (u32, u32);
}

enum Content<T> {
    Value(T),
    /// The next vacant slot, or [`NONE`].
    Vacant(u32),
}

struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

/// No vacant slot.
const NONE: u32 = u32::MAX;

/// Values under keys of the type `K`; see the [module](self).
///
/// ```
/// use strandline_core::SlabId;
/// use strandline_core::table::Table;
///
/// let mut table = Table::<SlabId, char>::new();
/// let a = table.insert('a').unwrap();
/// assert_eq!(table.remove(a), Some('a'));
/// let b = table.insert('b').unwrap();
/// assert_eq!((table.get(a), table.get(b)), (None, Some(&'b')));
/// ```
pub struct Table<K, T> {
    slots: Vec<Slot<T>>,
    vacant: u32,
    len: u32,
    key: PhantomData<fn() -> K>,
}

impl<K: Key, T> Default for Table<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Key, T: fmt::Debug> fmt::Debug for Table<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (key.parts(), value))).finish()
    }
}

impl<K: Key, T> Table<K, T> {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new(), vacant: NONE, len: 0, key: PhantomData }
    }

    /// A place for another value, or `None` when the table is full. Nothing changes until it is filled.
    #[inline]
    pub const fn vacant(&mut self) -> Option<Vacant<'_, K, T>> {
        if self.vacant == NONE && self.slots.len() >= K::SLOTS as usize {
            return None;
        }
        Some(Vacant(self))
    }

    /// Stores a value and returns the key that names it.
    ///
    /// # Errors
    /// The value, when the table is full.
    pub fn insert(&mut self, value: T) -> Result<K, T> {
        match self.vacant() {
            Some(place) => Ok(place.fill(value)),
            None => Err(value),
        }
    }

    /// The value under `key`, if it still stands.
    #[must_use]
    #[inline]
    pub fn get(&self, key: K) -> Option<&T> {
        let (index, generation) = key.parts();
        match self.slots.get(index as usize)? {
            Slot { generation: now, content: Content::Value(value) } if *now == generation => {
                Some(value)
            }
            _ => None,
        }
    }

    /// The value under `key`, mutably.
    #[inline]
    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let (index, generation) = key.parts();
        match self.slots.get_mut(index as usize)? {
            Slot { generation: now, content: Content::Value(value) } if *now == generation => {
                Some(value)
            }
            _ => None,
        }
    }

    /// Takes the value out: its key names nothing from now on.
    #[inline(always)]
    pub fn remove(&mut self, key: K) -> Option<T> {
        let (index, generation) = key.parts();
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation != generation || matches!(slot.content, Content::Vacant(_)) {
            return None;
        }
        let retired = K::RETIRES && generation == K::LAST;
        let next = if retired { NONE } else { self.vacant };
        let Content::Value(value) = core::mem::replace(&mut slot.content, Content::Vacant(next))
        else {
            return None;
        };
        if !retired {
            slot.generation = if generation == K::LAST { 0 } else { generation + 1 };
            self.vacant = index;
        }
        self.len -= 1;
        Some(value)
    }

    /// Gives the value another key: the old one names nothing from now on. `None`, and nothing has changed, if it named nothing
    /// before, or for the last key that its slot has.
    #[inline]
    pub fn renew(&mut self, key: K) -> Option<(K, &mut T)> {
        let (index, generation) = key.parts();
        let slot = self.slots.get_mut(index as usize)?;
        let Content::Value(value) = &mut slot.content else { return None };
        if slot.generation != generation || (K::RETIRES && generation == K::LAST) {
            return None;
        }
        slot.generation = if generation == K::LAST { 0 } else { generation + 1 };
        Some((K::from_parts(index, slot.generation), value))
    }

    /// Every stored value with its key, in order of index.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.slots.iter().zip(0..).filter_map(|(slot, index)| match &slot.content {
            Content::Value(value) => Some((K::from_parts(index, slot.generation), value)),
            Content::Vacant(_) => None,
        })
    }

    /// Every stored value, in order of index.
    pub fn into_values(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().filter_map(|slot| match slot.content {
            Content::Value(value) => Some(value),
            Content::Vacant(_) => None,
        })
    }

    /// How many values are stored.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Nothing is stored.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A place in a [`Table`] for one value, for who must know that there is one before there is a value.
pub struct Vacant<'a, K, T>(&'a mut Table<K, T>);

impl<K: Key, T> Vacant<'_, K, T> {
    /// Stores the value.
    #[inline(always)]
    pub fn fill(self, value: T) -> K {
        let table = self.0;
        table.len += 1;
        let content = Content::Value(value);
        if let Some(slot) = table.slots.get_mut(table.vacant as usize)
            && let Content::Vacant(next) = slot.content
        {
            // What it held before has nothing to drop, which is known here alone.
            core::mem::forget(core::mem::replace(&mut slot.content, content));
            return K::from_parts(core::mem::replace(&mut table.vacant, next), slot.generation);
        }
        let index = table.slots.len() as u32;
        table.slots.push(Slot { generation: 0, content });
        K::from_parts(index, 0)
    }
}

impl<K, T> fmt::Debug for Vacant<'_, K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vacant").finish_non_exhaustive()
    }
}

/// A number: the slot in the low half, the generation in the high one. No number names two values.
impl Key for u64 {
    fn from_parts(index: u32, generation: u32) -> Self {
        Self::from(generation) << 32 | Self::from(index)
    }

    fn parts(self) -> (u32, u32) {
        (self as u32, (self >> 32) as u32)
    }
}

/// A key of 32 bits, as a component's interface has it: 2^24 slots, each of which gives the same key again
/// after 256 values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortKey(u32);

impl ShortKey {
    const INDEX_BITS: u32 = 24;

    /// The key of this number. Whoever invents one names what the table has there, or nothing.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Its number.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0
    }
}

impl Key for ShortKey {
    const SLOTS: u32 = 1 << Self::INDEX_BITS;
    const LAST: u32 = u32::MAX >> Self::INDEX_BITS;
    const RETIRES: bool = false;

    fn from_parts(index: u32, generation: u32) -> Self {
        Self(generation << Self::INDEX_BITS | index)
    }

    fn parts(self) -> (u32, u32) {
        (self.0 & (Self::SLOTS - 1), self.0 >> Self::INDEX_BITS)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    /// Two slots of three generations.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Small<const RETIRES: bool>(u32, u32);

    impl<const RETIRES: bool> Key for Small<RETIRES> {
        const SLOTS: u32 = 2;
        const LAST: u32 = 2;
        const RETIRES: bool = RETIRES;

        fn from_parts(index: u32, generation: u32) -> Self {
            Self(index, generation)
        }

        fn parts(self) -> (u32, u32) {
            (self.0, self.1)
        }
    }

    #[test]
    fn a_retired_slot_is_not_used_again() {
        let mut table = Table::<Small<true>, u32>::new();
        let mut seen = Vec::new();
        while let Ok(key) = table.insert(7) {
            assert!(!seen.contains(&key), "{key:?} twice");
            seen.push(key);
            assert_eq!(table.remove(key), Some(7));
        }
        assert_eq!(seen.len(), 6, "two slots, three generations each");
        assert!(table.vacant().is_none() && table.is_empty());
    }

    #[test]
    fn else_generations_start_again() {
        let mut table = Table::<Small<false>, u32>::new();
        let first = table.insert(0).unwrap();
        table.remove(first);
        for turn in 1..7 {
            let key = table.insert(turn).unwrap();
            assert_eq!(key == first, turn % 3 == 0);
            assert_eq!(table.remove(key), Some(turn));
        }
    }

    #[test]
    fn a_key_is_renewed_for_as_long_as_there_are_others() {
        let mut again = Table::<Small<false>, u32>::new();
        let mut key = again.insert(5).unwrap();
        let keys = [1, 2, 0, 1].map(|generation| Small(0, generation));
        for next in keys {
            let old = core::mem::replace(&mut key, next);
            assert_eq!(again.renew(old), Some((key, &mut 5)));
            assert_eq!(again.renew(old), None);
            assert_eq!((again.get(old), again.get(key)), (None, Some(&5)));
        }
        let mut retiring = Table::<Small<true>, u32>::new();
        let first = retiring.insert(5).unwrap();
        let (second, _) = retiring.renew(first).unwrap();
        let (last, _) = retiring.renew(second).unwrap();
        assert_eq!(retiring.renew(last), None);
        assert_eq!(retiring.remove(last), Some(5));
    }

    proptest! {
        /// Any sequence of calls, with keys that may be stale or invented, against a map.
        #[test]
        fn is_a_map(ops in prop::collection::vec((0..4_u8, 0..3_u32, 0..4_u32), 0..60)) {
            let mut table = Table::<Small<true>, u32>::new();
            let mut model = BTreeMap::new();
            for (serial, (op, index, generation)) in (0..).zip(ops) {
                let key = Small(index, generation);
                match op {
                    0 => match table.insert(serial) {
                        Ok(key) => prop_assert_eq!(model.insert(key, serial), None),
                        Err(back) => prop_assert!(back == serial && table.vacant().is_none()),
                    },
                    1 => prop_assert_eq!(table.remove(key), model.remove(&key)),
                    2 => {
                        let renewed = table.renew(key).map(|(key, value)| (key, *value));
                        let next = Small(index, generation + 1);
                        let value = (generation < 2).then(|| model.remove(&key)).flatten();
                        prop_assert_eq!(renewed, value.map(|value| (next, value)));
                        model.extend(renewed);
                    }
                    _ => prop_assert_eq!(table.get_mut(key), model.get_mut(&key)),
                }
                prop_assert_eq!(table.get(key), model.get(&key));
                prop_assert_eq!((table.len(), table.is_empty()), (model.len(), model.is_empty()));
                let listed: Vec<_> = table.iter().map(|(key, &value)| (key, value)).collect();
                prop_assert_eq!(listed, model.iter().map(|(&key, &value)| (key, value)).collect::<Vec<_>>());
            }
            prop_assert_eq!(table.into_values().collect::<Vec<_>>(), model.into_values().collect::<Vec<_>>());
        }
    }
}
