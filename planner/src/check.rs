//! Whether a plan is sound, by a sweep over time that shares nothing with the planner.
//!
//! Ends come before beginnings at one time. The blocks in use are kept by offset; each that begins is compared with its two neighbours.
//! Cost: O(n log n).

use crate::Lifetime;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

/// What is wrong with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There are not as many offsets as blocks.
    Count,
    /// The offset of the block with this number is no multiple of its alignment.
    Alignment(usize),
    /// The block with this number reaches beyond the plan's bytes.
    Beyond(usize),
    /// The blocks with these numbers share a byte at some time.
    Overlap(usize, usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => f.write_str("there are not as many offsets as blocks"),
            Self::Alignment(n) => write!(f, "block {n} is not aligned"),
            Self::Beyond(n) => write!(f, "block {n} reaches beyond the plan's size"),
            Self::Overlap(a, b) => write!(f, "blocks {a} and {b} share a byte at some time"),
        }
    }
}

impl core::error::Error for Fault {}

/// Checks alignment, extent and that no two blocks share a byte while both are in use.
///
/// # Errors
/// The first fault that is met.
pub fn check(lifetimes: &[Lifetime], offsets: &[u64], bytes: u64) -> Result<(), Fault> {
    if lifetimes.len() != offsets.len() {
        return Err(Fault::Count);
    }
    let mut events = Vec::with_capacity(lifetimes.len() * 2);
    for (number, (block, &offset)) in lifetimes.iter().zip(offsets).enumerate() {
        if block.alignment == 0 || offset % block.alignment != 0 {
            return Err(Fault::Alignment(number));
        }
        if offset.checked_add(block.size).is_none_or(|end| end > bytes) {
            return Err(Fault::Beyond(number));
        }
        events.push((block.upper, false, number));
        events.push((block.lower, true, number));
    }
    events.sort_unstable();
    // Offset of each block in use: its end and number.
    let mut in_use: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    for (_, begins, number) in events {
        let (offset, size) = (offsets[number], lifetimes[number].size);
        if !begins {
            in_use.remove(&offset);
            continue;
        }
        if let Some((_, &(end, other))) = in_use.range(..=offset).next_back()
            && end > offset
        {
            return Err(Fault::Overlap(other, number));
        }
        if let Some((&next, &(_, other))) = in_use.range(offset..).next()
            && next < offset + size
        {
            return Err(Fault::Overlap(number, other));
        }
        in_use.insert(offset, (offset + size, number));
    }
    Ok(())
}
