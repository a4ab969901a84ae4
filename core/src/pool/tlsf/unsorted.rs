//! Blocks that began to wait since an axis last moved: not in an index yet, because most are taken again before.
//!
//! ```text
//!   queued   0 1 0 0 1 1 0 …      a bit for each block that is in the list
//!   list     4, 1, 5              in order of arrival
//! ```
//!
//! A block that is taken or merged away stays in the list, and is passed over when the list is gone through; if it
//! waits again by then it is there already. So arriving costs a look at one bit, leaving nothing, and the list is never
//! longer than there are numbers of blocks.
//!
//! # Cost
//! Enter O(1), leaving nothing, going through the list linear in it: once for each that entered.

use alloc::vec::Vec;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Unsorted {
    list: Vec<u32>,
    queued: Vec<u64>,
}

impl Unsorted {
    pub(super) const fn new() -> Self {
        Self { list: Vec::new(), queued: Vec::new() }
    }

    /// The block is in the list from now on.
    #[inline(always)]
    pub(super) fn enter(&mut self, id: u32) {
        let bit = 1 << (id % 64);
        match self.queued.get_mut(id as usize / 64) {
            Some(word) if *word & bit != 0 => {}
            Some(word) => {
                *word |= bit;
                self.list.push(id);
            }
            None => self.enter_beyond(id, bit),
        }
    }

    #[cold]
    #[inline(never)]
    fn enter_beyond(&mut self, id: u32, bit: u64) {
        let at = id as usize / 64;
        self.queued.resize((at + 1).max(self.queued.len() * 2), 0);
        self.queued[at] |= bit;
        self.list.push(id);
    }

    /// Empties the list; what stood there is appended to `out`, in order.
    pub(super) fn take(&mut self, out: &mut Vec<u32>) {
        for &id in &self.list {
            self.queued[id as usize / 64] &= !(1 << (id % 64));
        }
        out.append(&mut self.list);
    }

    /// Who is in the list, for tests.
    #[cfg(test)]
    pub(super) fn ids(&self) -> &[u32] {
        &self.list
    }

    /// Whether the block is in the list.
    #[cfg(test)]
    fn contains(&self, id: u32) -> bool {
        self.queued.get(id as usize / 64).is_some_and(|word| word >> (id % 64) & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everybody_is_listed_once_in_order(
            entered in prop::collection::vec(prop::collection::vec(0u32..300, 0..40), 1..6),
        ) {
            let mut unsorted = Unsorted::new();
            for round in entered {
                let mut model = Vec::new();
                for id in round {
                    unsorted.enter(id);
                    if !model.contains(&id) {
                        model.push(id);
                    }
                }
                prop_assert_eq!(unsorted.ids(), &model[..]);
                prop_assert!((0..400).all(|id| unsorted.contains(id) == model.contains(&id)));
                let mut out = alloc::vec![7];
                unsorted.take(&mut out);
                model.insert(0, 7);
                prop_assert_eq!(out, model);
                prop_assert!(unsorted.ids().is_empty());
            }
        }
    }
}
