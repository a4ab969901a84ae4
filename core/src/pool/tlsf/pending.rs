//! The pending index: free blocks of one shelf by the earliest epoch that some of their bytes wait for.
//!
//! ```text
//!                 3              advance(4)     takes out 3 and 4
//!             ┌───┴───┐          up_to(7)       visits 3, 4, 6 and 7, and looks at 9 and 8
//!             4       6
//!           ┌─┴─┐   ┌─┴─┐
//!           9   7   8   …
//! ```
//!
//! A binary heap in an array. Whatever is asked for, at most two entries that are later are looked at for each one that is
//! not: blocks that wait for longer cost nothing, however many there are.
//!
//! Removal is lazy: a block that leaves only forgets its stamp, and stale entries are skipped. The epoch of an entry is a
//! lower bound: a block from which the earliest bytes were cut keeps its entry.
//!
//! # Invariants
//! - A block is listed iff it is on the index's shelf and an entry bears its stamp.
//!
//! # Cost
//! Remove O(1). Insert O(log n), O(1) for epochs that come in ascending order; a full array first drops what is stale, and
//! grows if more than a quarter stays. Taking out O(log n) for each.

use crate::Epoch;
use alloc::vec::Vec;

/// No element, no stamp, no row.
pub(super) const NONE: u32 = u32::MAX;

/// Storage of elements that an index lists.
pub(super) trait Listed {
    /// The stamp of the element's entry, `NONE` if it has none. The index' own.
    fn stamp(&self, id: u32) -> u32;
    fn set_stamp(&mut self, id: u32, stamp: u32);
    /// The shelf the element is filed on, if it is.
    fn shelf(&self, id: u32) -> Option<u32>;
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    epoch: Epoch,
    id: u32,
    stamp: u32,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct PendingIndex {
    /// The shelf whose blocks it lists. One that left may bear the same stamp in another shelf's index by chance.
    shelf: u32,
    /// Of the latest entry. It may wrap: two entries of one stamp are two hints at one block.
    stamp: u32,
    entries: Vec<Entry>,
}

impl PendingIndex {
    pub(super) const fn new(shelf: u32) -> Self {
        Self { shelf, stamp: 0, entries: Vec::new() }
    }

    /// Lists an element, some of whose bytes wait for `epoch` and none for less.
    pub(super) fn insert(&mut self, elements: &mut impl Listed, id: u32, epoch: Epoch) {
        if self.entries.len() == self.entries.capacity() {
            elements.set_stamp(id, NONE);
            self.sweep(elements);
        }
        self.stamp = if self.stamp + 1 == NONE { 0 } else { self.stamp + 1 };
        elements.set_stamp(id, self.stamp);
        let entry = Entry { epoch, id, stamp: self.stamp };
        let mut at = self.entries.len();
        self.entries.push(entry);
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.entries[parent].epoch <= epoch {
                break;
            }
            self.entries[at] = self.entries[parent];
            at = parent;
        }
        self.entries[at] = entry;
    }

    /// Takes an element out.
    #[inline]
    pub(super) fn remove(elements: &mut impl Listed, id: u32) {
        elements.set_stamp(id, NONE);
    }

    /// Appends the elements whose entries are at most `to` to `out`; they are no longer listed.
    pub(super) fn advance(&mut self, elements: &mut impl Listed, to: Epoch, out: &mut Vec<u32>) {
        while let Some(&first) = self.entries.first()
            && first.epoch <= to
        {
            self.pop();
            if self.is_listed(elements, first) {
                elements.set_stamp(first.id, NONE);
                out.push(first.id);
            }
        }
    }

    /// Appends the elements whose entries are at most `to` to `out`; they stay.
    pub(super) fn up_to(&mut self, elements: &impl Listed, to: Epoch, out: &mut Vec<u32>) {
        let before = out.len();
        let visited = self.collect(elements, 0, to, out);
        // Stale entries are not gone past again and again.
        if visited > 64 && visited / 4 > out.len() - before {
            self.drop_stale(elements);
        }
    }

    /// Returns the entries at most `to` below `at`, stale ones included.
    fn collect(&self, elements: &impl Listed, at: usize, to: Epoch, out: &mut Vec<u32>) -> usize {
        // As deep as the heap: at most 32 levels.
        match self.entries.get(at) {
            Some(&entry) if entry.epoch <= to => {
                if self.is_listed(elements, entry) {
                    out.push(entry.id);
                }
                1 + self.collect(elements, 2 * at + 1, to, out)
                    + self.collect(elements, 2 * at + 2, to, out)
            }
            _ => 0,
        }
    }

    /// The earliest epoch of all that is listed; a lower bound.
    pub(super) fn earliest(&mut self, elements: &impl Listed) -> Option<Epoch> {
        while let Some(&first) = self.entries.first() {
            if self.is_listed(elements, first) {
                return Some(first.epoch);
            }
            self.pop();
        }
        None
    }

    fn is_listed(&self, elements: &impl Listed, entry: Entry) -> bool {
        elements.stamp(entry.id) == entry.stamp && elements.shelf(entry.id) == Some(self.shelf)
    }

    /// Drops the first entry.
    fn pop(&mut self) {
        let Some(last) = self.entries.pop() else { return };
        if !self.entries.is_empty() {
            self.sink(0, last);
        }
    }

    /// Puts an entry where `at` is vacant, or below.
    fn sink(&mut self, mut at: usize, entry: Entry) {
        loop {
            let mut child = 2 * at + 1;
            let Some(&left) = self.entries.get(child) else { break };
            let mut least = left;
            if let Some(&right) = self.entries.get(child + 1)
                && right.epoch < left.epoch
            {
                (child, least) = (child + 1, right);
            }
            if entry.epoch <= least.epoch {
                break;
            }
            self.entries[at] = least;
            at = child;
        }
        self.entries[at] = entry;
    }

    fn drop_stale(&mut self, elements: &impl Listed) {
        let mut entries = core::mem::take(&mut self.entries);
        entries.retain(|&entry| self.is_listed(elements, entry));
        self.entries = entries;
        for at in (0..self.entries.len() / 2).rev() {
            let entry = self.entries[at];
            self.sink(at, entry);
        }
    }

    /// Makes room: drops what is stale, and doubles the array where more than a quarter stays.
    #[cold]
    fn sweep(&mut self, elements: &impl Listed) {
        self.drop_stale(elements);
        let (len, capacity) = (self.entries.len(), self.entries.capacity());
        if len >= capacity / 4 {
            self.entries.reserve_exact(capacity.max(4) * 2 - len);
        }
    }

    /// Visits every element with its epoch and checks the order, for tests.
    #[cfg(test)]
    pub(super) fn check(&self, elements: &impl Listed, visit: &mut dyn FnMut(u32, Epoch)) {
        for (at, &entry) in self.entries.iter().enumerate() {
            assert!(at == 0 || self.entries[(at - 1) / 2].epoch <= entry.epoch, "out of order");
            if self.is_listed(elements, entry) {
                visit(entry.id, entry.epoch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    impl Listed for Vec<u32> {
        fn stamp(&self, id: u32) -> u32 {
            self[id as usize]
        }
        fn set_stamp(&mut self, id: u32, stamp: u32) {
            self[id as usize] = stamp;
        }
        fn shelf(&self, _: u32) -> Option<u32> {
            Some(0)
        }
    }

    fn epochs() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0u64..300, 1 => any::<u64>(), 1 => (u64::MAX - 9)..=u64::MAX]
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_is_listed_and_due(
            steps in prop::collection::vec((0u32..40, epochs(), 0u8..8), 1..400),
        ) {
            let mut stamps = alloc::vec![NONE; 40];
            let mut index = PendingIndex::new(0);
            let mut model: BTreeMap<u32, Epoch> = BTreeMap::new();
            for (id, epoch, what) in steps {
                let mut due: Vec<_> =
                    model.iter().filter(|&(_, at)| *at <= epoch).map(|(&id, _)| id).collect();
                let mut out = Vec::new();
                match what {
                    0..4 => {
                        index.insert(&mut stamps, id, epoch);
                        model.insert(id, epoch);
                        due.clear();
                    }
                    4 => {
                        PendingIndex::remove(&mut stamps, id);
                        model.remove(&id);
                        due.clear();
                    }
                    5 => {
                        prop_assert_eq!(index.earliest(&stamps), model.values().min().copied());
                        due.clear();
                    }
                    6 => index.up_to(&stamps, epoch, &mut out),
                    _ => {
                        index.advance(&mut stamps, epoch, &mut out);
                        model.retain(|_, at| *at > epoch);
                    }
                }
                out.sort_unstable();
                due.sort_unstable();
                prop_assert_eq!(out, due);
                let mut seen = BTreeMap::new();
                index.check(&stamps, &mut |id, epoch| assert!(seen.insert(id, epoch).is_none()));
                prop_assert_eq!(&seen, &model);
                prop_assert!(index.entries.capacity() <= 512);
            }
        }
    }
}
