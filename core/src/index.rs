//! One ordered list for all that keep an order: names of three words, each with a word that says where the rest is.
//!
//! ```text
//!   waiters of a tracker      (slot, epoch, serial)    ▶ index of the waiter
//!   blocks on the side        (axis, epoch, block)     ▶ key of the block's record
//!   kept slabs                (bytes, 0, 0)            ▶ index of the size's lists
//!
//!   chunks   ─▶ [ a b d f ] [ g k ] [ m n p ]          all in order, none empty, none full
//! ```
//!
//! A map of each one's own types would be compiled anew for each: in the component that was a tenth of all code.
//!
//! # Cost
//! Two binary searches, and a shift of part of a chunk. Once in half a chunk of insertions or removals the list of chunks is
//! shifted too, which is 1/64 as long as there are entries: among a million that adds some ten nanoseconds to each.

use alloc::vec::Vec;

/// A name. Where fewer words do, the others are 0.
pub(crate) type Name = (u64, u64, u64);

/// Entries at which a chunk becomes two. Small in tests, so that few entries make many.
const CHUNK: usize = if cfg!(test) { 4 } else { 64 };

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Index {
    chunks: Vec<Vec<(Name, u64)>>,
    len: usize,
}

/// The chunk where a name is or belongs, and where in it.
struct Place {
    chunk: usize,
    within: Result<usize, usize>,
}

impl Index {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    #[inline(never)]
    fn place(&self, name: Name) -> Place {
        let begins = |chunk: &Vec<(Name, u64)>| chunk.first().is_some_and(|first| first.0 <= name);
        let chunk = self.chunks.partition_point(begins).saturating_sub(1);
        let within = match self.chunks.get(chunk) {
            Some(entries) => entries.binary_search_by(|entry| entry.0.cmp(&name)),
            None => Err(0),
        };
        Place { chunk, within }
    }

    pub(crate) fn get(&self, name: Name) -> Option<u64> {
        let Place { chunk, within } = self.place(name);
        let within = within.ok()?;
        Some(self.chunks[chunk][within].1)
    }

    /// Adds an entry; one of this name is replaced.
    pub(crate) fn insert(&mut self, name: Name, word: u64) {
        let Place { chunk: at, within } = self.place(name);
        if self.chunks.is_empty() {
            self.chunks.push(Vec::new());
        }
        let chunk = &mut self.chunks[at];
        match within {
            Ok(within) => chunk[within].1 = word,
            Err(within) => {
                chunk.insert(within, (name, word));
                self.len += 1;
                if chunk.len() == CHUNK {
                    let upper = chunk.split_off(CHUNK / 2);
                    self.chunks.insert(at + 1, upper);
                }
            }
        }
    }

    #[inline(never)]
    pub(crate) fn remove(&mut self, name: Name) -> Option<u64> {
        let Place { chunk: at, within } = self.place(name);
        let chunk = self.chunks.get_mut(at)?;
        let (_, word) = chunk.remove(within.ok()?);
        self.len -= 1;
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        Some(word)
    }

    /// The entries from this name on, in order.
    pub(crate) fn from(&self, name: Name) -> Entries<'_> {
        let Place { chunk, within } = self.place(name);
        let (Ok(within) | Err(within)) = within;
        Entries { chunks: &self.chunks, chunk, within }
    }

    /// The words of all entries, in order of their names.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> {
        self.from((0, 0, 0)).map(|(_, word)| word)
    }

    /// The first entry from this name on.
    pub(crate) fn first_from(&self, name: Name) -> Option<(Name, u64)> {
        self.from(name).next()
    }
}

/// Entries in order.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    chunks: &'a [Vec<(Name, u64)>],
    chunk: usize,
    within: usize,
}

impl Iterator for Entries<'_> {
    type Item = (Name, u64);

    fn next(&mut self) -> Option<(Name, u64)> {
        loop {
            if let Some(&entry) = self.chunks.get(self.chunk)?.get(self.within) {
                self.within += 1;
                return Some(entry);
            }
            self.chunk += 1;
            self.within = 0;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    fn name(word: u64) -> Name {
        (word / 16, word / 4 % 4, word % 4)
    }

    proptest! {
        /// Any sequence of calls, against a map.
        #[test]
        fn is_an_ordered_map(ops in prop::collection::vec((0..3_u8, 0..80_u64), 0..300)) {
            let mut index = Index::default();
            let mut model = BTreeMap::new();
            for (serial, (op, word)) in (0..).zip(ops) {
                let name = name(word);
                match op {
                    0 => prop_assert_eq!(index.remove(name), model.remove(&name)),
                    _ => {
                        index.insert(name, serial);
                        model.insert(name, serial);
                    }
                }
                prop_assert_eq!(index.len(), model.len());
                prop_assert_eq!(index.get(name), model.get(&name).copied());
                let next = model.range(name..).next().map(|(&name, &word)| (name, word));
                prop_assert_eq!(index.first_from(name), next);
                prop_assert!(index.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() < CHUNK));
            }
            prop_assert!(index.from((0, 0, 0)).eq(model.iter().map(|(&name, &word)| (name, word))));
            prop_assert!(index.words().eq(model.into_values()));
        }
    }
}
