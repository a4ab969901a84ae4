//! A set of disjoint ranges: which bytes of an elastic slab have memory. For providers that keep count.
//!
//! # Invariants
//! Ranges are sorted, none is empty, and no two touch.
//!
//! # Cost
//! A binary search, and the move of the ranges behind one that comes or goes.

use alloc::vec::Vec;

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// Start and end of each.
    ranges: Vec<(u64, u64)>,
    bytes: u64,
}

impl Extents {
    /// No byte.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: Vec::new(), bytes: 0 }
    }

    /// The bytes in all ranges.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The ranges, each with its start and its end, in order.
    #[must_use]
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    /// The first range that ends behind `at`.
    fn first_behind(&self, at: u64) -> usize {
        self.ranges.partition_point(|&(_, end)| end <= at)
    }

    /// Whether all of `start..end` is in the set.
    #[must_use]
    pub fn contains(&self, start: u64, end: u64) -> bool {
        let range = self.ranges.get(self.first_behind(start));
        start >= end || range.is_some_and(|&(from, to)| from <= start && end <= to)
    }

    /// Adds `start..end`. `false`, and nothing has changed, when it is empty or a byte of it is in the set.
    #[must_use]
    pub fn insert(&mut self, start: u64, end: u64) -> bool {
        let at = self.first_behind(start);
        if start >= end || self.ranges.get(at).is_some_and(|&(from, _)| from < end) {
            return false;
        }
        self.bytes += end - start;
        let touches_left = at > 0 && self.ranges[at - 1].1 == start;
        let touches_right = self.ranges.get(at).is_some_and(|&(from, _)| from == end);
        match (touches_left, touches_right) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = end,
            (false, true) => self.ranges[at].0 = start,
            (false, false) => self.ranges.insert(at, (start, end)),
        }
        true
    }

    /// Takes `start..end` out. `false`, and nothing has changed, when it is empty or a byte of it is not in the set.
    #[must_use]
    pub fn remove(&mut self, start: u64, end: u64) -> bool {
        if start >= end || !self.contains(start, end) {
            return false;
        }
        self.bytes -= end - start;
        let at = self.first_behind(start);
        let (from, to) = self.ranges[at];
        let left = [(from, start), (end, to)].into_iter().filter(|&(from, to)| from < to);
        self.ranges.splice(at..=at, left);
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_bytes(
            steps in prop::collection::vec((0u64..60, 0u64..20, any::<bool>()), 1..80),
        ) {
            let (mut extents, mut model) = (Extents::new(), [false; 80]);
            for (start, len, insert) in steps {
                let (end, bytes) = (start + len, start as usize..(start + len) as usize);
                prop_assert_eq!(extents.contains(start, end), model[bytes.clone()].iter().all(|&b| b));
                let may = len > 0 && model[bytes.clone()].iter().all(|&b| b != insert);
                let done =
                    if insert { extents.insert(start, end) } else { extents.remove(start, end) };
                prop_assert_eq!(done, may);
                if may {
                    model[bytes].fill(insert);
                }
                let mut shown = [false; 80];
                let mut before = None;
                for &(from, to) in extents.ranges() {
                    prop_assert!(from < to && before.is_none_or(|end| end < from));
                    shown[from as usize..to as usize].fill(true);
                    before = Some(to);
                }
                prop_assert_eq!(shown, model);
                prop_assert_eq!(extents.bytes(), model.iter().filter(|&&b| b).count() as u64);
            }
        }
    }
}
