//! Plans: what was requested in a step, in which order, and where each block is to stand.
//!
//! Checking trusts nothing, but that a plan is right is not needed: a pool that follows a wrong one stays sound.
//!
//! # Cost
//! Making one is O(n log n). It takes 40 bytes a block until a pool is made of it, which keeps [less](super).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

/// A block of a [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanBlock {
    /// First byte, from the start of the plan's memory.
    pub offset: u64,
    /// Bytes, above 0.
    pub size: u64,
    /// A power of two that divides `offset`: a request of more alignment does not get this block.
    pub alignment: u64,
    /// The queue that requests it.
    pub stream: u32,
    /// The number of the first request by which it is over; the number of blocks where that is the step's end.
    pub until: u32,
}

/// Where the blocks of a step are to stand, in the order of their requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    bytes: u64,
    blocks: Vec<PlanBlock>,
    /// Blocks that are requested once, before the first step.
    prologue: usize,
}

/// Why blocks are no plan. Each number is that of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// More than 2^28 blocks.
    TooManyBlocks,
    /// The plan has more than 2^62 bytes.
    TooManyBytes,
    /// It has no bytes.
    NoBytes(usize),
    /// Its alignment is no power of two.
    Alignment(usize),
    /// Its offset is no multiple of its alignment.
    Unaligned(usize),
    /// It reaches beyond the bytes of the plan.
    Beyond(usize),
    /// It is over before it begins, or later than the step's end.
    Until(usize),
    /// It shares bytes with a block before it that is not over.
    Overlap(usize),
    /// Its offset is no multiple of the pool's granule, or is 2^32 granules or more; or it has that many.
    Granule(usize),
    /// The prologue has more blocks than the plan: how many the plan has.
    Prologue(usize),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyBlocks => f.write_str("the plan has more than 2^28 blocks"),
            Self::TooManyBytes => f.write_str("the plan has more than 2^62 bytes"),
            Self::NoBytes(n) => write!(f, "block {n} of the plan has no bytes"),
            Self::Alignment(n) => {
                write!(f, "the alignment of block {n} of the plan is no power of two")
            }
            Self::Unaligned(n) => write!(f, "block {n} of the plan is not aligned"),
            Self::Beyond(n) => write!(f, "block {n} reaches beyond the bytes of the plan"),
            Self::Until(n) => {
                write!(f, "block {n} of the plan ends before it begins, or beyond the step")
            }
            Self::Overlap(n) => {
                write!(f, "block {n} of the plan shares bytes with one that is not over")
            }
            Self::Granule(n) => write!(
                f,
                "the offset of block {n} of the plan is no multiple of the pool's granule, or more than 2^32 granules"
            ),
            Self::Prologue(n) => {
                write!(f, "the prologue has more blocks than the plan, which has {n}")
            }
        }
    }
}

impl core::error::Error for PlanError {}

const MOST_BLOCKS: usize = 1 << 28;
const MOST_BYTES: u64 = 1 << 62;

impl Plan {
    /// A plan of `bytes` bytes. Cost: O(n log n).
    ///
    /// # Errors
    /// [`PlanError`]: blocks that are live together share bytes, or a block does not lie where it may.
    pub fn new(bytes: u64, blocks: Vec<PlanBlock>) -> Result<Self, PlanError> {
        if blocks.len() > MOST_BLOCKS {
            return Err(PlanError::TooManyBlocks);
        }
        if bytes > MOST_BYTES {
            return Err(PlanError::TooManyBytes);
        }
        for (number, block) in blocks.iter().enumerate() {
            if block.size == 0 {
                return Err(PlanError::NoBytes(number));
            }
            if !block.alignment.is_power_of_two() {
                return Err(PlanError::Alignment(number));
            }
            if !block.offset.is_multiple_of(block.alignment) {
                return Err(PlanError::Unaligned(number));
            }
            if block.offset.checked_add(block.size).is_none_or(|end| end > bytes) {
                return Err(PlanError::Beyond(number));
            }
            let until = block.until as usize;
            if until <= number || until > blocks.len() {
                return Err(PlanError::Until(number));
            }
        }
        match overlap(&blocks) {
            Some(number) => Err(PlanError::Overlap(number)),
            None => Ok(Self { bytes, blocks, prologue: 0 }),
        }
    }

    /// The same plan, whose first `blocks` blocks are requested once, before the first step: weights, and what else lives across steps. Each
    /// step has the others.
    ///
    /// # Errors
    /// [`PlanError::Prologue`]: the plan has fewer blocks.
    pub fn with_prologue(self, blocks: usize) -> Result<Self, PlanError> {
        match self.blocks.len() {
            len if blocks > len => Err(PlanError::Prologue(len)),
            _ => Ok(Self { prologue: blocks, ..self }),
        }
    }

    /// How many blocks are requested once, before the first step.
    #[must_use]
    pub const fn prologue(&self) -> usize {
        self.prologue
    }

    /// The memory of the plan, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The blocks, in the order of their requests.
    #[must_use]
    pub fn blocks(&self) -> &[PlanBlock] {
        &self.blocks
    }
}

/// The first block that shares bytes with one that is live when it begins.
fn overlap(blocks: &[PlanBlock]) -> Option<usize> {
    let mut ends: Vec<u32> = (0..blocks.len() as u32).collect();
    ends.sort_unstable_by_key(|&number| blocks[number as usize].until);
    let mut ends = ends.into_iter().peekable();
    // The end of each live block, by offset.
    let mut live: BTreeMap<u64, u64> = BTreeMap::new();
    for (number, block) in blocks.iter().enumerate() {
        while let Some(over) =
            ends.next_if(|&other| blocks[other as usize].until as usize <= number)
        {
            live.remove(&blocks[over as usize].offset);
        }
        let end = block.offset + block.size;
        if live.range(..end).next_back().is_some_and(|(_, &other)| other > block.offset) {
            return Some(number);
        }
        live.insert(block.offset, end);
    }
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::vec;

    fn block(offset: u64, size: u64, until: u32) -> PlanBlock {
        PlanBlock { offset, size, alignment: 16, stream: 0, until }
    }

    #[test]
    fn what_is_no_plan_is_refused_with_the_reason() {
        let good = vec![block(0, 16, 2), block(16, 32, 3), block(0, 16, 3)];
        assert_eq!(Plan::new(48, good.clone()).map(|plan| plan.bytes()), Ok(48));
        let with = |number: usize, block: PlanBlock| {
            let mut blocks = good.clone();
            blocks[number] = block;
            Plan::new(48, blocks).unwrap_err()
        };
        assert_eq!(with(1, block(16, 0, 3)), PlanError::NoBytes(1));
        let odd = PlanBlock { alignment: 3, ..block(0, 16, 2) };
        assert_eq!(with(0, odd), PlanError::Alignment(0));
        assert_eq!(with(1, block(24, 16, 3)), PlanError::Unaligned(1));
        assert_eq!(with(1, block(16, 33, 3)), PlanError::Beyond(1));
        assert_eq!(with(1, block(u64::MAX - 15, 16, 3)), PlanError::Beyond(1));
        assert_eq!(with(1, block(16, 32, 1)), PlanError::Until(1));
        assert_eq!(with(1, block(16, 32, 4)), PlanError::Until(1));
        assert_eq!(with(0, block(0, 16, 3)), PlanError::Overlap(2));
        assert_eq!(with(1, block(0, 32, 3)), PlanError::Overlap(1));
        assert_eq!(with(2, block(32, 16, 3)), PlanError::Overlap(2));
        let once = |blocks| Plan::new(48, good.clone()).and_then(|plan| plan.with_prologue(blocks));
        assert_eq!(once(3).map(|plan| plan.prologue()), Ok(3));
        assert_eq!(once(4), Err(PlanError::Prologue(3)));
        assert_eq!(Plan::new(u64::MAX, good), Err(PlanError::TooManyBytes));
        assert_eq!(Plan::new(0, Vec::new()).map(|plan| plan.blocks().len()), Ok(0));
    }
}
