//! Blocks that are all alike: each takes any place that is free when it begins, and that is optimal.
//!
//! With k blocks live together at the most, k places are ever needed (interval graphs are perfect). Cost: O(n log n).

use crate::problem::Part;
use alloc::vec::Vec;

/// Places all blocks, if they have one size and alignment. Returns the offsets and the height.
pub(crate) fn place(part: &Part) -> Option<(Vec<u64>, u64)> {
    let first = part.blocks.first()?;
    let alike = |block: &crate::problem::Block| {
        (block.size, block.alignment) == (first.size, first.alignment)
    };
    if !part.blocks.iter().all(alike) {
        return None;
    }
    let stride = first.align(first.size);
    // Ends come before beginnings in one section.
    let mut events: Vec<(u32, bool, u32)> = Vec::with_capacity(part.blocks.len() * 2);
    for (number, block) in part.blocks.iter().enumerate() {
        events.push((block.first, true, number as u32));
        events.push((block.end, false, number as u32));
    }
    events.sort_unstable();
    let mut offsets = alloc::vec![0; part.blocks.len()];
    let (mut free, mut places) = (Vec::new(), 0_u64);
    for (_, begins, number) in events {
        if !begins {
            free.push(offsets[number as usize]);
            continue;
        }
        offsets[number as usize] = free.pop().unwrap_or_else(|| {
            places += 1;
            (places - 1) * stride
        });
    }
    Some((offsets, (places - 1) * stride + first.size))
}
