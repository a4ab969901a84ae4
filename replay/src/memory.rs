//! Touching the bytes of slabs: what replay writes into a block and expects to find when the block ends.
//!
//! ```text
//!   small block   [tag tag tag tag tag tag tag tag]                      every word
//!   large block   [tag×4]──────[tag]──────[tag]──────[tag]──────[tag×4]  both ends, and a word now and then between
//! ```
//!
//! A word's value depends on the block's tag and the word's place, so a block that was copied, shifted or half overwritten
//! is noticed. At most [`MARKS`] places of a large block are touched, so the cost of an event does not grow with its size and
//! the memory that becomes resident is a small part of the block.

use hdrhistogram::Histogram;
use strandline_core::{SlabError, SlabId};

/// Where the bytes of slabs can be read and written. Implemented by providers of memory that the host can reach.
pub trait Memory: core::fmt::Debug + Send + Sync {
    /// Copies `bytes` into a slab.
    ///
    /// # Errors
    /// The slab is not live, or the range does not lie in it.
    fn write(&self, slab: SlabId, offset: u64, bytes: &[u8]) -> Result<(), SlabError>;

    /// Copies bytes out of a slab.
    ///
    /// # Errors
    /// The slab is not live, or the range does not lie in it.
    fn read(&self, slab: SlabId, offset: u64, bytes: &mut [u8]) -> Result<(), SlabError>;
}

/// Writes the tags of blocks, and checks them. Whatever is [`Memory`] does it in place; a device does it in the order in which it is
/// told, and may tell later what it found.
pub trait Tags: core::fmt::Debug + Send + Sync {
    /// Writes the block's pattern.
    ///
    /// # Errors
    /// The block does not lie in its slab, or the device is gone.
    fn tag(&self, block: &Tagged) -> Result<(), SlabError>;

    /// Whether the block still holds its pattern; true as well when that will be told by [`settle`](Self::settle), or when there is no
    /// pattern, which [`unchecked`](Self::unchecked) tells. The block is over then: it is not asked for again.
    ///
    /// # Errors
    /// The block does not lie in its slab, or the device is gone.
    fn verify(&self, block: &Tagged) -> Result<bool, SlabError>;

    /// Waits for what is under way; how many blocks were found wrong that no check has told of.
    ///
    /// # Errors
    /// The device is gone.
    fn settle(&self) -> Result<u64, SlabError> {
        Ok(0)
    }

    /// What was played without bytes.
    fn unchecked(&self) -> Unchecked {
        Unchecked::default()
    }

    /// What the device that does it has to say about itself.
    fn device(&self) -> Option<DeviceReport> {
        None
    }
}

impl<M: Memory> Tags for M {
    fn tag(&self, block: &Tagged) -> Result<(), SlabError> {
        block.write(self)
    }

    fn verify(&self, block: &Tagged) -> Result<bool, SlabError> {
        block.check(self)
    }
}

/// What was played without bytes: of it, only the placement was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unchecked {
    /// The most bytes of slabs at once that this machine did not map.
    pub unmapped_bytes: u64,
    /// Blocks in mapped slabs that have no tag, because tags would have taken too much memory.
    pub untagged_blocks: u64,
}

/// A device that took part in a replay.
#[derive(Clone, Debug)]
pub struct DeviceReport {
    /// Its name.
    pub adapter: String,
    /// What was submitted to it.
    pub submissions: u64,
    /// From a submission to the news that it is complete, in nanoseconds.
    pub completion: Histogram<u64>,
}

/// Blocks up to this many bytes are written and checked whole.
pub const WHOLE: u64 = 512;

/// Most places between the ends of a large block that are touched.
pub const MARKS: u64 = 1;

/// Least distance between such places, in bytes: few of the pages of a block become resident.
const LEAST_STRIDE: u64 = 64 << 10;

const END: u64 = 32;

/// A block with what was written into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The slab.
    pub slab: SlabId,
    /// First byte.
    pub offset: u64,
    /// Bytes, above 0.
    pub size: u64,
    /// What tells this block from every other.
    pub tag: u64,
}

impl Tagged {
    /// Writes the block's pattern.
    ///
    /// # Errors
    /// The block does not lie in its slab.
    pub fn write(&self, memory: &dyn Memory) -> Result<(), SlabError> {
        let mut buffer = [0; WHOLE as usize];
        self.pieces(|at, len| {
            let bytes = &mut buffer[..len];
            self.pattern(at, bytes);
            memory.write(self.slab, self.offset + at, bytes)
        })
    }

    /// Whether the block still holds its pattern.
    ///
    /// # Errors
    /// The block does not lie in its slab.
    pub fn check(&self, memory: &dyn Memory) -> Result<bool, SlabError> {
        let mut buffer = [0; WHOLE as usize];
        let mut expected = [0; WHOLE as usize];
        let mut same = true;
        self.pieces(|at, len| {
            memory.read(self.slab, self.offset + at, &mut buffer[..len])?;
            self.pattern(at, &mut expected[..len]);
            same &= buffer[..len] == expected[..len];
            Ok(())
        })?;
        Ok(same)
    }

    /// Visits the places that are touched: offset in the block, and length.
    pub(crate) fn pieces(
        &self,
        mut visit: impl FnMut(u64, usize) -> Result<(), SlabError>,
    ) -> Result<(), SlabError> {
        if self.size <= WHOLE {
            return visit(0, self.size as usize);
        }
        visit(0, END as usize)?;
        let stride = (self.size / (MARKS + 1)).max(LEAST_STRIDE);
        let mut at = stride;
        while at + 8 <= self.size - END {
            visit(at, 8)?;
            at += stride;
        }
        visit(self.size - END, END as usize)
    }

    /// What stands `at` bytes into the block.
    fn pattern(&self, at: u64, bytes: &mut [u8]) {
        for (word, i) in bytes.chunks_mut(8).zip(0u64..) {
            // An odd multiplier makes neighbouring places differ in the high bits too (Knuth's multiplicative hashing).
            let value = (self.tag ^ (at + 8 * i)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Heap;
    use strandline_core::{Grant, SlabProvider};

    #[test]
    fn what_is_written_is_found_and_a_change_at_either_end_is_noticed() {
        for size in [1, 7, 8, 9, 1023, 1024, 1025, 1100, 64 << 10, (1 << 20) + 3, 3 << 20] {
            let heap = Heap::new(u64::MAX);
            let Ok(Grant::Slab(slab)) = heap.acquire(size + 10) else { panic!("{size}") };
            let block = Tagged { slab: slab.id, offset: 10, size, tag: 7 };
            block.write(&heap).unwrap();
            assert_eq!(block.check(&heap), Ok(true), "{size}");
            assert_eq!(Tagged { tag: 8, ..block }.check(&heap), Ok(false));
            for at in [10, 10 + size - 1] {
                let mut byte = [0];
                heap.read(slab.id, at, &mut byte).unwrap();
                heap.write(slab.id, at, &[!byte[0]]).unwrap();
                assert_eq!(block.check(&heap), Ok(false), "{size} {at}");
                heap.write(slab.id, at, &byte).unwrap();
            }
            assert_eq!(block.check(&heap), Ok(true));
        }
    }

    #[test]
    fn few_places_are_touched() {
        for size in [WHOLE + 1, 1 << 20, 1 << 30, u64::MAX / 2] {
            let block = Tagged { slab: SlabId::new(0, 0), offset: 0, size, tag: 0 };
            let (mut places, mut end) = (0, 0);
            block
                .pieces(|at, len| {
                    assert!(at >= end, "pieces do not overlap");
                    end = at + len as u64;
                    places += 1;
                    Ok(())
                })
                .unwrap();
            assert!(places <= MARKS + 3, "{size}: {places}");
            assert_eq!(end, size);
        }
    }
}
