//! Which block of the heap is where: for each offset of the plan the block that began there when it was last looked.
//!
//! ```text
//!   starts   0      40   56        120        offsets of the plan, each once
//!   blocks   #3     #9   -         #4         blocks of the heap; - where none is known
//! ```
//!
//! A block is written down when it is taken. It may be freed, merged or taken by others since: what is read here is checked, and
//! forgotten if it does not begin there any more. So each is forgotten once, and no merge has to know of this table.
//!
//! # Cost
//! O(1) amortised, and a look at a word for each 64 offsets below that are not known. 8 bytes an offset, and a bit.

use alloc::vec::Vec;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Places {
    /// In granules, ascending.
    starts: Vec<u32>,
    blocks: Vec<u32>,
    /// A bit for each that is known.
    known: Vec<u64>,
}

impl Places {
    /// Of offsets in granules, and the place of each among them. O(n log n).
    pub(crate) fn new(offsets: &[u32]) -> (Self, Vec<u32>) {
        let mut starts = offsets.to_vec();
        starts.sort_unstable();
        starts.dedup();
        starts.shrink_to_fit();
        let place = |offset| starts.partition_point(|start| start < offset) as u32;
        let places = offsets.iter().map(place).collect();
        let (len, words) = (starts.len(), starts.len().div_ceil(64));
        let this = Self { starts, blocks: alloc::vec![0; len], known: alloc::vec![0; words] };
        (this, places)
    }

    /// Bytes that it takes.
    pub(super) fn footprint(&self) -> usize {
        (self.starts.capacity() + self.blocks.capacity()) * 4 + self.known.capacity() * 8
    }

    /// First granule of a place.
    #[inline(always)]
    pub(crate) fn start(&self, place: u32) -> u32 {
        self.starts.as_slice()[place as usize]
    }

    /// A block begins at a place.
    #[inline(always)]
    pub(crate) fn set(&mut self, place: u32, block: u32) {
        self.blocks.as_mut_slice()[place as usize] = block;
        self.known.as_mut_slice()[place as usize / 64] |= 1 << (place % 64);
    }

    /// Nothing is known.
    pub(crate) fn clear(&mut self) {
        self.known.fill(0);
    }

    /// The last block that begins at this place or below, as far as is known; `begins(block, start)` checks it.
    #[inline(always)]
    pub(crate) fn near(&mut self, place: u32, begins: impl Fn(u32, u32) -> bool) -> Option<u32> {
        let mut word = place as usize / 64;
        let mut bits = self.known.as_slice()[word] & (u64::MAX >> (63 - place % 64));
        loop {
            while bits != 0 {
                let bit = 63 - bits.leading_zeros();
                let at = word * 64 + bit as usize;
                let block = self.blocks.as_slice()[at];
                if begins(block, self.starts.as_slice()[at]) {
                    return Some(block);
                }
                bits &= !(1 << bit);
                self.known.as_mut_slice()[word] &= !(1 << bit);
            }
            word = word.checked_sub(1)?;
            bits = self.known.as_slice()[word];
        }
    }
}
