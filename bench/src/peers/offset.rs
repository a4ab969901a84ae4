//! offset-allocator: the port of Sebastian Aaltonen's allocator.

use super::Peer;
use offset_allocator::{Allocation, Allocator};
use std::fmt;
use std::hint::black_box;

/// offset-allocator over one range, in units of 256 bytes.
pub struct OffsetAllocator {
    allocator: Allocator,
    live: Vec<Option<Allocation>>,
}

impl fmt::Debug for OffsetAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OffsetAllocator").finish_non_exhaustive()
    }
}

impl OffsetAllocator {
    /// Over `capacity` bytes, with room for `slots` live blocks.
    #[must_use]
    pub fn new(capacity: u64, slots: u32) -> Self {
        // Between live blocks there may be as many free ones.
        let nodes = (2 * slots + 64).max(128 << 10);
        let units = u32::try_from(capacity >> 8).unwrap_or(u32::MAX);
        Self {
            allocator: Allocator::with_max_allocs(units, nodes),
            live: vec![None; slots as usize],
        }
    }
}

impl Peer for OffsetAllocator {
    #[inline]
    fn allocate(&mut self, slot: u32, bytes: u32) -> bool {
        let Some(allocation) = self.allocator.allocate(bytes >> 8) else { return false };
        black_box(allocation.offset);
        self.live[slot as usize] = Some(allocation);
        true
    }

    #[inline]
    fn free(&mut self, slot: u32) {
        if let Some(allocation) = self.live[slot as usize].take() {
            self.allocator.free(allocation);
        }
    }
}
