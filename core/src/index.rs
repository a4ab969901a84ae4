//! One ordered map for all that need one: a name of three words, in order, and a word that says where the rest is.
//!
//! ```text
//!   waiters of a tracker      (slot, epoch, serial)    ▶ index of the waiter
//!   blocks on the side        (axis, epoch, block)     ▶ key of the block's record
//!   kept slabs                (bytes, 0, 0)            ▶ index of the size's lists
//! ```
//!
//! A map of its own for each would be faster by nothing and compiled anew for each: in the component that was a tenth of
//! all code.
//!
//! Cost: logarithmic.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Range;

/// A name. Where fewer words do, the others are 0.
pub(crate) type Name = (u64, u64, u64);

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Index(BTreeMap<Name, u64>);

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, name: Name) -> Option<u64> {
        self.0.get(&name).copied()
    }

    /// Adds an entry; one of this name is replaced.
    pub(crate) fn insert(&mut self, name: Name, word: u64) {
        self.0.insert(name, word);
    }

    pub(crate) fn remove(&mut self, name: Name) -> Option<u64> {
        self.0.remove(&name)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The entries from this name on, in order.
    pub(crate) fn from(&self, name: Name) -> Range<'_, Name, u64> {
        self.0.range(name..)
    }

    /// The first entry from this name on.
    pub(crate) fn first_from(&self, name: Name) -> Option<(Name, u64)> {
        self.from(name).next().map(|(&name, &word)| (name, word))
    }
}
