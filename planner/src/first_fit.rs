//! First fit in a given order: each block takes the lowest gap between the placed blocks that are live with it.
//!
//! The placed blocks that overlap a lifetime are listed from a tree by first section, whose nodes know the latest end of a placed
//! block below them.
//!
//! Cost of a block: O(k log n + k log k) with k placed blocks live with it. Memory: 8 bytes a block.

use crate::problem::Part;
use alloc::vec::Vec;

/// What stays the same between orders of one part.
#[derive(Debug)]
pub(crate) struct FirstFit<'p> {
    part: &'p Part,
    /// Where each block stands among all by first section.
    place: Vec<u32>,
    by_first: Vec<u32>,
    firsts: Vec<u32>,
    /// A node's latest end of a placed block, 0 for none: node 1 is the root.
    ends: Vec<u32>,
    leaves: usize,
    pub(crate) offsets: Vec<u64>,
    taken: Vec<(u64, u64)>,
}

impl<'p> FirstFit<'p> {
    pub(crate) fn new(part: &'p Part) -> Self {
        let count = part.blocks.len();
        let mut by_first: Vec<u32> = (0..count as u32).collect();
        by_first.sort_by_key(|&number| part.blocks[number as usize].first);
        let mut place = alloc::vec![0; count];
        for (index, &number) in by_first.iter().enumerate() {
            place[number as usize] = index as u32;
        }
        let firsts = by_first.iter().map(|&number| part.blocks[number as usize].first).collect();
        let leaves = count.next_power_of_two();
        Self {
            part,
            place,
            by_first,
            firsts,
            ends: alloc::vec![0; leaves * 2],
            leaves,
            offsets: alloc::vec![0; count],
            taken: Vec::new(),
        }
    }

    /// Places the blocks in this order and returns the height, or `None` as soon as that would be above `limit`, or `go_on` says no.
    pub(crate) fn place(
        &mut self,
        order: &[u32],
        limit: u64,
        go_on: &dyn Fn() -> bool,
    ) -> Option<u64> {
        self.ends.fill(0);
        let mut top = 0;
        for (step, &number) in order.iter().enumerate() {
            let block = self.part.blocks[number as usize];
            self.list(block.first, block.end);
            self.taken.sort_unstable();
            let mut offset = 0;
            for &(start, end) in &self.taken {
                if block.align(offset) + block.size <= start {
                    break;
                }
                offset = offset.max(end);
            }
            offset = block.align(offset);
            top = top.max(offset + block.size);
            if top > limit || (step % 64 == 63 && !go_on()) {
                return None;
            }
            self.offsets[number as usize] = offset;
            let mut node = self.leaves + self.place[number as usize] as usize;
            while node > 0 && self.ends[node] < block.end {
                self.ends[node] = block.end;
                node /= 2;
            }
        }
        Some(top)
    }

    /// Lists the ranges of placed blocks that are live between these sections.
    fn list(&mut self, first: u32, end: u32) {
        self.taken.clear();
        let to = self.firsts.partition_point(|&other| other < end);
        let mut node = 1;
        let mut width = self.leaves;
        let mut start = 0;
        // A walk in order without a stack: down to the left, over to the right, up where both are done.
        loop {
            let dead = self.ends[node] <= first || start >= to;
            if !dead && width > 1 {
                node *= 2;
                width /= 2;
                continue;
            }
            if !dead {
                let number = self.by_first[start] as usize;
                let offset = self.offsets[number];
                self.taken.push((offset, offset + self.part.blocks[number].size));
            }
            while node % 2 == 1 {
                if node == 1 {
                    return;
                }
                node /= 2;
                start -= width;
                width *= 2;
            }
            node += 1;
            start += width;
        }
    }
}
