//! The skyline greedy: fills the lowest place with the block of the highest rank that fits between the walls.
//!
//! ```text
//!   offset        ┌───┐
//!      ▲    ┌─────┤   ├──       the lowest stretch takes the first block in the order whose whole lifetime lies above it;
//!      │  ──┤ ... │   │         where none does, the stretch is raised to its lower neighbour
//!      └─────────────────▶ sections
//! ```
//!
//! The idea is the best fit of Burke, Kendall and Whitwell (2004), used for memory by Sekiyama and others (2018).
//!
//! Cost: O(n (w + log n)) with w steps in the skyline, and the search in the tree of blocks that do not fit.

use crate::problem::Part;
use alloc::vec::Vec;

/// A stretch of sections in which everything below `height` is taken or given up.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: u32,
    end: u32,
    height: u64,
}

/// Places all blocks; `order` has them by falling preference. Returns the offsets and the height.
pub(crate) fn place(part: &Part, order: &[u32]) -> (Vec<u64>, u64) {
    let mut waiting = Waiting::new(part, order);
    let mut offsets = alloc::vec![0; part.blocks.len()];
    let mut top = 0;
    let mut line = alloc::vec![Stretch { start: 0, end: part.live.len() as u32, height: 0 }];
    let mut left = part.blocks.len();
    while left > 0 {
        let Some(lowest) = (0..line.len()).min_by_key(|&index| line[index].height) else { break };
        let here = line[lowest];
        let Some(number) = waiting.take(here.start, here.end) else {
            raise(&mut line, lowest);
            continue;
        };
        left -= 1;
        let block = part.blocks[number as usize];
        let offset = block.align(here.height);
        offsets[number as usize] = offset;
        top = top.max(offset + block.size);
        let mut pieces = [here; 3];
        pieces[0].end = block.first;
        pieces[1] = Stretch { start: block.first, end: block.end, height: offset + block.size };
        pieces[2].start = block.end;
        line.splice(lowest..=lowest, pieces.into_iter().filter(|piece| piece.start < piece.end));
    }
    (offsets, top)
}

/// Raises a stretch to the lower of its neighbours and merges it with those of that height.
fn raise(line: &mut Vec<Stretch>, at: usize) {
    let left = at.checked_sub(1).map(|index| line[index].height);
    let right = line.get(at + 1).map(|stretch| stretch.height);
    let Some(height) = left.into_iter().chain(right).min() else {
        // The only stretch: nothing is left that could be too wide for it.
        line[at].height = u64::MAX;
        return;
    };
    line[at].height = height;
    if right == Some(height) {
        line[at].end = line[at + 1].end;
        line.remove(at + 1);
    }
    if left == Some(height) {
        line[at - 1].end = line[at].end;
        line.remove(at);
    }
}

/// The blocks that wait to be placed, in a tree by their first section.
#[derive(Debug)]
struct Waiting {
    /// Numbers of the blocks by first section.
    by_first: Vec<u32>,
    firsts: Vec<u32>,
    /// A node's earliest end and best rank: node 1 is the root, node i has 2i and 2i + 1.
    nodes: Vec<(u32, u32)>,
    leaves: usize,
}

const TAKEN: (u32, u32) = (u32::MAX, u32::MAX);

impl Waiting {
    fn new(part: &Part, order: &[u32]) -> Self {
        let mut rank = alloc::vec![0_u32; order.len()];
        for (place, &number) in order.iter().enumerate() {
            rank[number as usize] = place as u32;
        }
        let mut by_first: Vec<u32> = (0..part.blocks.len() as u32).collect();
        by_first.sort_by_key(|&number| part.blocks[number as usize].first);
        let leaves = by_first.len().next_power_of_two();
        let mut nodes = alloc::vec![TAKEN; leaves * 2];
        for (index, &number) in by_first.iter().enumerate() {
            nodes[leaves + index] = (part.blocks[number as usize].end, rank[number as usize]);
        }
        let firsts = by_first.iter().map(|&number| part.blocks[number as usize].first).collect();
        let mut waiting = Self { by_first, firsts, nodes, leaves };
        for node in (1..leaves).rev() {
            waiting.renew(node);
        }
        waiting
    }

    fn renew(&mut self, node: usize) {
        let (a, b) = (self.nodes[node * 2], self.nodes[node * 2 + 1]);
        self.nodes[node] = (a.0.min(b.0), a.1.min(b.1));
    }

    /// Takes the block of the best rank that begins from `start` on and ends by `end`.
    fn take(&mut self, start: u32, end: u32) -> Option<u32> {
        let from = self.firsts.partition_point(|&first| first < start);
        let to = self.firsts.partition_point(|&first| first < end);
        let mut best = (u32::MAX, 0);
        self.search(1, 0..self.leaves, &(from..to), end, &mut best);
        if best.0 == u32::MAX {
            return None;
        }
        let mut node = self.leaves + best.1;
        self.nodes[node] = TAKEN;
        while node > 1 {
            node /= 2;
            self.renew(node);
        }
        self.by_first.get(best.1).copied()
    }

    fn search(
        &self,
        node: usize,
        span: core::ops::Range<usize>,
        wanted: &core::ops::Range<usize>,
        end: u32,
        best: &mut (u32, usize),
    ) {
        let (earliest, rank) = self.nodes[node];
        if span.end <= wanted.start || wanted.end <= span.start || earliest > end || rank >= best.0
        {
            return;
        }
        if node >= self.leaves {
            *best = (rank, span.start);
            return;
        }
        let middle = span.start.midpoint(span.end);
        let (left, right) = (node * 2, node * 2 + 1);
        // The better rank first: it prunes the other.
        if self.nodes[left].1 <= self.nodes[right].1 {
            self.search(left, span.start..middle, wanted, end, best);
            self.search(right, middle..span.end, wanted, end, best);
        } else {
            self.search(right, middle..span.end, wanted, end, best);
            self.search(left, span.start..middle, wanted, end, best);
        }
    }
}
