//! Who freed which bytes last: what a picture tells of a free block, and the pools do not know.
//!
//! Disjoint intervals: a block that is freed replaces what was known of its bytes; the bytes of a free block may lie in several.
//! Cost: O(log n) an event, amortized, n the intervals of the slab.

use crate::oracle::Range;
use std::collections::{BTreeMap, HashMap};
use strandline_core::SlabId;

#[derive(Clone, Copy, Debug)]
struct Freed {
    end: u64,
    stream: u32,
    event: u64,
}

/// The last frees of every byte.
#[derive(Debug, Default)]
pub(super) struct History {
    slabs: HashMap<SlabId, BTreeMap<u64, Freed>>,
}

impl History {
    /// `range` was freed on a stream.
    pub(super) fn free(&mut self, range: Range, stream: u32, event: u64) {
        let slab = self.slabs.entry(range.slab).or_default();
        let end = range.offset.saturating_add(range.size);
        while let Some((&start, &old)) = slab.range(..end).next_back() {
            if old.end <= range.offset {
                break;
            }
            slab.remove(&start);
            if old.end > end {
                slab.insert(end, old);
            }
            if start < range.offset {
                slab.insert(start, Freed { end: range.offset, ..old });
            }
        }
        slab.insert(range.offset, Freed { end, stream, event });
    }

    /// Slabs that are gone are forgotten.
    pub(super) fn retain(&mut self, held: impl Fn(SlabId) -> bool) {
        self.slabs.retain(|&slab, _| held(slab));
    }

    /// The stream that freed bytes of `[offset, offset + bytes)` last, if any was.
    pub(super) fn last(&self, slab: SlabId, offset: u64, bytes: u64) -> Option<u32> {
        let slab = self.slabs.get(&slab)?;
        let before = slab.range(..offset).next_back().filter(|(_, freed)| freed.end > offset);
        let within = slab.range(offset..offset.saturating_add(bytes));
        let last = within.chain(before).map(|(_, freed)| freed).max_by_key(|freed| freed.event)?;
        Some(last.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_free_of_any_of_the_bytes_counts() {
        let slab = SlabId::new(0, 0);
        let mut history = History::default();
        let mut free = |offset, size, stream, event| {
            history.free(Range { slab, offset, size }, stream, event);
        };
        free(0, 100, 1, 1);
        free(100, 100, 2, 2);
        free(300, 100, 3, 3);
        free(50, 100, 4, 4);
        free(60, 10, 5, 5);
        assert_eq!(history.last(slab, 0, 50), Some(1));
        assert_eq!(history.last(slab, 0, 400), Some(5));
        assert_eq!(history.last(slab, 70, 200), Some(4), "what is left behind a hole");
        assert_eq!(history.last(slab, 120, 10), Some(4), "a block that begins before");
        assert_eq!(history.last(slab, 150, 100), Some(2), "what is left of a block");
        assert_eq!(history.last(slab, 200, 100), None);
        assert_eq!(history.last(slab, 350, 1), Some(3));
        assert_eq!(history.last(SlabId::new(0, 1), 0, 400), None);
        history.retain(|_| false);
        assert_eq!(history.last(slab, 0, 400), None);
    }
}
