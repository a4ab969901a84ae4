//! A problem, checked and compressed: which blocks are live together, and how many bytes at the least that takes.
//!
//! ```text
//!   times     0   3 4     7  9      ends come before beginnings at one time; a new section begins with the first
//!   a         ├─────┤               beginning after an end, so a section is a largest set of blocks live together
//!   b             ├───┤
//!   c                    ├──┤
//!   sections  └── 0 ──┘└─ 1 ─┘      a, b: [0, 1), c: [1, 2). Nothing crosses from 0 to 1: two parts
//! ```
//!
//! **Invariants**: two blocks are live together exactly if their sections overlap; a part's blocks are live together with no block of
//! another part, so parts are placed one by one, each from offset 0.
//!
//! Cost: O(n log n). Memory: 72 bytes a block.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// When a block is in use, and what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lifetime {
    /// The first time at which it is in use. Times have no unit.
    pub lower: u64,
    /// The first time at which it is in use no more, above `lower`.
    pub upper: u64,
    /// Bytes, above 0.
    pub size: u64,
    /// Its offset is a multiple of this, above 0.
    pub alignment: u64,
    /// The queue that uses it.
    pub stream: u32,
}

impl Lifetime {
    /// Whether both are in use at some time.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.lower < other.upper && other.lower < self.upper
    }
}

/// Why lifetimes are no problem that can be planned: which block, and what of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `upper` of the block with this number is not above `lower`.
    EmptyLifetime(usize),
    /// The size of the block with this number is 0.
    NoBytes(usize),
    /// The alignment of the block with this number is 0.
    NoAlignment(usize),
    /// The sizes and alignments up to the block with this number add up to more than 2^62 bytes.
    TooManyBytes(usize),
    /// More than 2^31 blocks.
    TooManyBlocks,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyLifetime(n) => write!(f, "block {n} ends before it begins, or at once"),
            Self::NoBytes(n) => write!(f, "block {n} has no bytes"),
            Self::NoAlignment(n) => write!(f, "block {n} has the alignment 0"),
            Self::TooManyBytes(n) => {
                write!(f, "the blocks up to number {n} have more than 2^62 bytes")
            }
            Self::TooManyBlocks => f.write_str("there are more than 2^31 blocks"),
        }
    }
}

impl core::error::Error for Refused {}

/// The most bytes of all blocks together: sums of offsets and sizes never overflow.
const MOST_BYTES: u64 = 1 << 62;

/// A block, its lifetime in sections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// The first section.
    pub(crate) first: u32,
    /// The section after the last.
    pub(crate) end: u32,
    pub(crate) size: u64,
    pub(crate) alignment: u64,
    /// The lifetime in the problem's own times.
    pub(crate) duration: u64,
}

impl Block {
    pub(crate) const fn overlaps(&self, other: &Self) -> bool {
        self.first < other.end && other.first < self.end
    }

    /// Sections in which it lives.
    pub(crate) const fn width(&self) -> u64 {
        (self.end - self.first) as u64
    }

    /// The lowest offset from `offset` on at which it may stand.
    pub(crate) const fn align(&self, offset: u64) -> u64 {
        if self.alignment.is_power_of_two() {
            (offset + (self.alignment - 1)) & !(self.alignment - 1)
        } else {
            offset.next_multiple_of(self.alignment)
        }
    }
}

/// Blocks that are live together with no others, sections counted from 0.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Numbers of its blocks in the problem.
    pub(crate) members: Vec<u32>,
    /// The blocks, in the order of `members`.
    pub(crate) blocks: Vec<Block>,
    /// Bytes live in each section.
    pub(crate) live: Vec<u64>,
    /// The most of those.
    pub(crate) bound: u64,
}

/// Lifetimes that can be planned.
#[derive(Clone, Debug)]
pub struct Problem {
    lifetimes: Vec<Lifetime>,
    parts: Vec<Part>,
    bound: u64,
    step: u64,
}

impl Problem {
    /// Checks and compresses. Cost: O(n log n).
    ///
    /// # Errors
    /// A block has no lifetime, bytes or alignment, or all are too many. What sums up to 2^62 bytes, alignments included, is taken.
    pub fn new(lifetimes: &[Lifetime]) -> Result<Self, Refused> {
        if lifetimes.len() > 1 << 31 {
            return Err(Refused::TooManyBlocks);
        }
        let mut sum = 0_u64;
        for (number, block) in lifetimes.iter().enumerate() {
            if block.lower >= block.upper {
                return Err(Refused::EmptyLifetime(number));
            }
            if block.size == 0 {
                return Err(Refused::NoBytes(number));
            }
            if block.alignment == 0 {
                return Err(Refused::NoAlignment(number));
            }
            sum = sum.saturating_add(block.size).saturating_add(block.alignment - 1);
            if sum > MOST_BYTES {
                return Err(Refused::TooManyBytes(number));
            }
        }
        let (blocks, sections) = compress(lifetimes);
        let live = live(&blocks, sections);
        let step = blocks.iter().fold(0, |step, block| gcd(gcd(step, block.size), block.alignment));
        Ok(Self {
            lifetimes: lifetimes.to_vec(),
            bound: live.iter().copied().max().unwrap_or(0),
            parts: parts(&blocks, &live, lifetimes.iter().fold(0, |all, b| gcd(all, b.alignment))),
            step: step.max(1),
        })
    }

    /// The lifetimes, as they were given.
    #[must_use]
    pub fn lifetimes(&self) -> &[Lifetime] {
        &self.lifetimes
    }

    /// The most bytes live at once, which no plan can be below.
    #[must_use]
    pub const fn bound(&self) -> u64 {
        self.bound
    }

    /// How many parts can be planned apart, as no block lives across.
    #[must_use]
    pub fn parts_by_time(&self) -> usize {
        self.parts.len()
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What every size and alignment is a multiple of: so are the sizes of all plans worth making.
    pub(crate) const fn step(&self) -> u64 {
        self.step
    }
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Lifetimes in sections, and how many sections there are.
fn compress(lifetimes: &[Lifetime]) -> (Vec<Block>, usize) {
    let mut events = Vec::with_capacity(lifetimes.len() * 2);
    for (number, block) in lifetimes.iter().enumerate() {
        events.push((block.lower, true, number as u32));
        events.push((block.upper, false, number as u32));
    }
    events.sort_unstable();
    let mut blocks: Vec<Block> = lifetimes
        .iter()
        .map(|b| Block {
            first: 0,
            end: 0,
            size: b.size,
            alignment: b.alignment,
            duration: b.upper - b.lower,
        })
        .collect();
    let (mut section, mut ended, mut any) = (0_u32, false, false);
    for (_, begins, number) in events {
        let Some(block) = blocks.get_mut(number as usize) else { continue };
        if begins {
            section += u32::from(ended);
            (ended, any) = (false, true);
            block.first = section;
        } else {
            ended = true;
            block.end = section + 1;
        }
    }
    (blocks, if any { section as usize + 1 } else { 0 })
}

/// Bytes live in each section.
fn live(blocks: &[Block], sections: usize) -> Vec<u64> {
    let mut change = alloc::vec![0_u64; sections + 1];
    for block in blocks {
        change[block.first as usize] = change[block.first as usize].wrapping_add(block.size);
        change[block.end as usize] = change[block.end as usize].wrapping_sub(block.size);
    }
    let mut sum = 0_u64;
    change.pop();
    for entry in &mut change {
        sum = sum.wrapping_add(*entry);
        *entry = sum;
    }
    change
}

/// Cuts where no block lives across.
fn parts(blocks: &[Block], live: &[u64], alignment: u64) -> Vec<Part> {
    let mut order: Vec<u32> = (0..blocks.len() as u32).collect();
    order.sort_by_key(|&number| blocks[number as usize].first);
    let mut parts = Vec::new();
    let (mut at, mut range): (usize, Range<u32>) = (0, 0..0);
    for (place, &number) in order.iter().enumerate() {
        let block = blocks[number as usize];
        if block.first >= range.end {
            if at < place {
                parts.push(part(&order[at..place], &range, blocks, live, alignment));
            }
            (at, range) = (place, block.first..block.end);
        }
        range.end = range.end.max(block.end);
    }
    if at < order.len() {
        parts.push(part(&order[at..], &range, blocks, live, alignment));
    }
    parts
}

fn part(
    members: &[u32],
    sections: &Range<u32>,
    blocks: &[Block],
    live: &[u64],
    alignment: u64,
) -> Part {
    let shifted = |&number: &u32| {
        let block = blocks[number as usize];
        Block { first: block.first - sections.start, end: block.end - sections.start, ..block }
    };
    let live = &live[sections.start as usize..sections.end as usize];
    let blocks: Vec<Block> = members.iter().map(shifted).collect();
    let bound = bound(&blocks, live, alignment);
    Part { members: members.to_vec(), blocks, live: live.to_vec(), bound }
}

/// What no placement is below. Of the blocks live together all but the topmost fill whole multiples of `alignment`, which divides every
/// alignment; the topmost may save the largest padding of the part.
fn bound(blocks: &[Block], live: &[u64], alignment: u64) -> u64 {
    let most = |live: &[u64]| live.iter().copied().max().unwrap_or(0);
    if alignment <= 1 {
        return most(live);
    }
    let padded = |block: &Block| Block { size: block.size.next_multiple_of(alignment), ..*block };
    let whole: Vec<Block> = blocks.iter().map(padded).collect();
    let padding = whole.iter().zip(blocks).map(|(whole, block)| whole.size - block.size).max();
    most(live).max(most(&self::live(&whole, live.len())).saturating_sub(padding.unwrap_or(0)))
}
