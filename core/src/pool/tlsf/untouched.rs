//! The untouched bytes of a region: what was never handed out.
//!
//! ```text
//!   │ touched │ low … high: untouched │ touched │ rest │ touched │
//! ```
//!
//! Requests are carved from the ends of what is untouched, so that it usually stays one range.
//!
//! # Cost
//! O(1) while it is one range; else logarithmic in the ranges, and a move of those behind.

use alloc::vec::Vec;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Untouched {
    low: u64,
    high: u64,
    /// What alignment left untouched outside of `low..high`, in order; touched bytes stand between. Usually nothing.
    rest: Vec<(u64, u64)>,
}

impl Untouched {
    /// Of a region of which nothing was handed out yet.
    pub(super) const fn new(size: u64) -> Self {
        Self { low: 0, high: size, rest: Vec::new() }
    }

    /// Bytes are handed out. Whether none of them was before.
    #[inline(always)]
    pub(super) fn touch(&mut self, from: u64, to: u64) -> bool {
        let mut fresh = false;
        if to > self.low && from < self.high {
            fresh = from >= self.low && to <= self.high;
            let (below, above) = (from.saturating_sub(self.low), self.high.saturating_sub(to));
            if below != 0 && above != 0 {
                self.keep_apart(from, to);
            } else if below < above {
                self.low = to;
            } else {
                self.high = from.max(self.low);
            }
        }
        if self.rest.is_empty() { fresh } else { self.touch_rest(from, to) | fresh }
    }

    /// Of the untouched bytes on both sides, the larger part stays the main one.
    #[cold]
    fn keep_apart(&mut self, from: u64, to: u64) {
        let (below, above) = ((self.low, from), (to, self.high));
        let (main, rest) =
            if below.1 - below.0 < above.1 - above.0 { (above, below) } else { (below, above) };
        (self.low, self.high) = main;
        let at = self.rest.partition_point(|&(low, _)| low < rest.0);
        self.rest.insert(at, rest);
    }

    #[cold]
    fn touch_rest(&mut self, from: u64, to: u64) -> bool {
        let first = self.rest.partition_point(|&(_, high)| high <= from);
        let count = self.rest[first..].iter().take_while(|&&(low, _)| low < to).count();
        let touched = &self.rest[first..first + count];
        let (Some(&(low, _)), Some(&(_, high))) = (touched.first(), touched.last()) else {
            return false;
        };
        let fresh = count == 1 && low <= from && to <= high;
        let left = [(low, from), (to, high)].into_iter().filter(|&(low, high)| low < high);
        self.rest.splice(first..first + count, left);
        fresh
    }
}
