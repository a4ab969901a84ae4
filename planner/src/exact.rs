//! Exact search: is there a placement of a part within a capacity?
//!
//! The branch and bound of minimalloc (Moffitt, "MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated Machine
//! Learning", ASPLOS 2023), with its reasons to prune:
//!
//! - **canonical order**: blocks are placed by rising offset, at one offset by rank, so each placement is met once;
//! - **section inference**: a section's floor and what is still to be placed in it must fit below the capacity;
//! - **monotonic floor**: nothing more is placed below the last offset, and no section's floor is below the least offset that a waiting
//!   block of it can have;
//! - **dominance**: no block is placed so high that another would have fitted below it;
//! - **hatless**: a block with nothing waiting above it leaves no choice to take back;
//! - **decomposition**: where a placed block was the last to cross a section's edge, the sides are solved apart;
//! - **twins**, ours: of waiting blocks that are equal in all, only the first by rank is tried.
//!
//! A search that ends without a placement and was not cut short proves that there is none.
//!
//! Cost of a node: O(waiting blocks + sections + overlaps of the block). Memory: 4 bytes for each pair of blocks live together.

use crate::problem::{Block, Part};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::Range;

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A placement.
    Yes,
    /// There is none.
    No,
    /// The nodes were used up.
    CutShort,
}

/// By what blocks are ranked, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Width, area, most waiting bytes of a section.
    Wat,
    /// Most waiting bytes, area, width.
    Taw,
    /// Most waiting bytes, width, area.
    Twa,
}

impl Rank {
    pub(crate) const ALL: [Self; 3] = [Self::Wat, Self::Taw, Self::Twa];
}

const WAITING: u64 = u64::MAX;
const NONE: u32 = u32::MAX;

/// A part prepared for searches.
#[derive(Debug)]
pub(crate) struct Exact<'p> {
    part: &'p Part,
    overlaps: Vec<Vec<u32>>,
    in_section: Vec<Vec<u32>>,
    /// The block before this one that is equal in all.
    twin: Vec<u32>,
    offsets: Vec<u64>,
    least: Vec<u64>,
    floor: Vec<u64>,
    total: Vec<u64>,
    crossing: Vec<u32>,
    least_trail: Vec<(u32, u64)>,
    floor_trail: Vec<(u32, u64)>,
    touched: Vec<u32>,
    stamp: Vec<u32>,
    now: u32,
    capacity: u64,
    rank: Rank,
    /// Widths are counted in sections, not in the problem's times.
    by_sections: bool,
    nodes: u64,
}

/// The most pairs of blocks, and of blocks and sections, for which a search is prepared.
const MOST_PAIRS: u64 = 4_000_000;
/// The most blocks: the search goes as deep as there are blocks.
const MOST_BLOCKS: usize = 2500;

impl<'p> Exact<'p> {
    /// Prepares searches, unless the part is too large for them.
    pub(crate) fn new(part: &'p Part, by_sections: bool) -> Option<Self> {
        let count = part.blocks.len();
        let widths: u64 = part.blocks.iter().map(Block::width).sum();
        if count > MOST_BLOCKS || widths > MOST_PAIRS {
            return None;
        }
        let mut overlaps = alloc::vec![Vec::new(); count];
        let mut twin = alloc::vec![NONE; count];
        for (number, block) in part.blocks.iter().enumerate() {
            for (other, that) in part.blocks.iter().enumerate().skip(number + 1) {
                if block.overlaps(that) {
                    overlaps[number].push(other as u32);
                    overlaps[other].push(number as u32);
                }
            }
            let equal = |that: &Block| {
                (that.first, that.end, that.size, that.alignment)
                    == (block.first, block.end, block.size, block.alignment)
            };
            if let Some(before) = part.blocks[..number].iter().rposition(equal) {
                twin[number] = before as u32;
            }
        }
        let sections = part.live.len();
        let mut in_section = alloc::vec![Vec::new(); sections];
        for (number, block) in part.blocks.iter().enumerate() {
            for section in block.first..block.end {
                in_section[section as usize].push(number as u32);
            }
        }
        Some(Self {
            part,
            overlaps,
            in_section,
            twin,
            offsets: alloc::vec![WAITING; count],
            least: alloc::vec![0; count],
            floor: alloc::vec![0; sections],
            total: Vec::new(),
            crossing: Vec::new(),
            least_trail: Vec::new(),
            floor_trail: Vec::new(),
            touched: Vec::new(),
            stamp: alloc::vec![0; sections],
            now: 0,
            capacity: 0,
            rank: Rank::Wat,
            by_sections,
            nodes: 0,
        })
    }

    /// Searches a placement within `capacity` bytes, looking at `nodes` nodes at most; what is found is in `offsets`.
    pub(crate) fn search(
        &mut self,
        capacity: u64,
        rank: Rank,
        nodes: u64,
        go_on: &dyn Fn() -> bool,
    ) -> (Found, &[u64]) {
        self.capacity = capacity;
        self.rank = rank;
        self.nodes = nodes;
        self.offsets.fill(WAITING);
        self.least.fill(0);
        self.floor.fill(0);
        self.total.clone_from(&self.part.live);
        // crossing[s]: blocks that live in both section s and the next.
        self.crossing = alloc::vec![0; self.part.live.len()];
        for block in &self.part.blocks {
            for section in block.first..block.end - 1 {
                self.crossing[section as usize] += 1;
            }
        }
        self.least_trail.clear();
        self.floor_trail.clear();
        let all: Vec<u32> = (0..self.part.blocks.len() as u32).collect();
        let found = self.solve(all, 0..self.part.live.len(), go_on);
        (found, &self.offsets)
    }

    /// Searches the waiting `members`, which are all in these sections and have the sections to themselves.
    fn solve(
        &mut self,
        mut members: Vec<u32>,
        sections: Range<usize>,
        go_on: &dyn Fn() -> bool,
    ) -> Found {
        let keys = |number: u32| {
            let block = &self.part.blocks[number as usize];
            let range = block.first as usize..block.end as usize;
            let total = self.total[range].iter().copied().max().unwrap_or(0).into();
            let width = u128::from(if self.by_sections { block.width() } else { block.duration });
            let area = width * u128::from(block.size);
            match self.rank {
                Rank::Wat => [width, area, total],
                Rank::Taw => [total, area, width],
                Rank::Twa => [total, width, area],
            }
        };
        members.sort_by_cached_key(|&number| (Reverse(keys(number)), number));
        let order: Vec<(u64, u32)> = (0..members.len() as u32).map(|rank| (0, rank)).collect();
        self.descend(&members, &order, &sections, (0, 0), go_on)
    }

    /// Places one block more. `members` are by rank, `order` has the ranks of those that may still wait.
    fn descend(
        &mut self,
        members: &[u32],
        order: &[(u64, u32)],
        sections: &Range<usize>,
        last: (u64, u32),
        go_on: &dyn Fn() -> bool,
    ) -> Found {
        if self.nodes == 0 {
            return Found::CutShort;
        }
        self.nodes -= 1;
        if self.nodes % 256 == 255 && !go_on() {
            self.nodes = 0;
            return Found::CutShort;
        }
        let mut next = Vec::with_capacity(order.len());
        let mut lowest_top = u64::MAX;
        for &(_, rank) in order {
            let number = members[rank as usize] as usize;
            if self.offsets[number] == WAITING {
                next.push((self.least[number], rank));
                lowest_top = lowest_top.min(self.least[number] + self.part.blocks[number].size);
            }
        }
        if next.is_empty() {
            return Found::Yes;
        }
        // Nearly sorted already: the offsets of few have changed.
        next.sort();
        for &(offset, rank) in &next {
            if offset >= lowest_top {
                break;
            }
            let number = members[rank as usize];
            let twin = self.twin[number as usize];
            let waits_for_twin = twin != NONE && self.offsets[twin as usize] == WAITING;
            if (offset, rank) < last || waits_for_twin {
                continue;
            }
            let marks = (self.least_trail.len(), self.floor_trail.len());
            self.offsets[number as usize] = offset;
            let hatless = self.put(number, offset);
            let mut found = Found::No;
            if self.fits(sections, offset) {
                found = self.beyond(number, members, &next, sections, (offset, rank), go_on);
            }
            if found == Found::Yes {
                return found;
            }
            self.take_back(number, marks);
            if found == Found::CutShort {
                return found;
            }
            if hatless {
                break;
            }
        }
        Found::No
    }

    /// Raises the least offsets of the waiting blocks beside the placed one, and floors. Returns whether no such block waits.
    fn put(&mut self, number: u32, offset: u64) -> bool {
        let block = self.part.blocks[number as usize];
        let top = offset + block.size;
        let mut hatless = true;
        self.now = self.now.wrapping_add(1);
        self.touched.clear();
        for &other in &self.overlaps[number as usize] {
            let index = other as usize;
            if self.offsets[index] != WAITING {
                continue;
            }
            hatless = false;
            if self.least[index] >= top {
                continue;
            }
            self.least_trail.push((other, self.least[index]));
            let that = self.part.blocks[index];
            self.least[index] = that.align(top);
            for section in that.first..that.end {
                if self.stamp[section as usize] != self.now {
                    self.stamp[section as usize] = self.now;
                    self.touched.push(section);
                }
            }
        }
        for section in block.first..block.end {
            let index = section as usize;
            self.floor_trail.push((section, self.floor[index]));
            self.floor[index] = top;
            self.total[index] -= block.size;
        }
        for &section in &self.touched {
            let index = section as usize;
            let waiting = self.in_section[index]
                .iter()
                .filter(|&&other| self.offsets[other as usize] == WAITING)
                .map(|&other| self.least[other as usize])
                .min();
            if let Some(least) = waiting
                && self.floor[index] < least
            {
                self.floor_trail.push((section, self.floor[index]));
                self.floor[index] = least;
            }
        }
        hatless
    }

    fn take_back(&mut self, number: u32, marks: (usize, usize)) {
        for (section, floor) in self.floor_trail.drain(marks.1..).rev() {
            self.floor[section as usize] = floor;
        }
        for (other, least) in self.least_trail.drain(marks.0..).rev() {
            self.least[other as usize] = least;
        }
        let block = self.part.blocks[number as usize];
        for section in block.first..block.end {
            self.total[section as usize] += block.size;
        }
        self.offsets[number as usize] = WAITING;
    }

    fn fits(&self, sections: &Range<usize>, offset: u64) -> bool {
        let floors = &self.floor[sections.clone()];
        let totals = &self.total[sections.clone()];
        floors.iter().zip(totals).all(|(&floor, &total)| floor.max(offset) + total <= self.capacity)
    }

    /// Goes on behind a placed block, apart on both sides of every edge that nothing waiting crosses any more.
    fn beyond(
        &mut self,
        number: u32,
        members: &[u32],
        next: &[(u64, u32)],
        sections: &Range<usize>,
        last: (u64, u32),
        go_on: &dyn Fn() -> bool,
    ) -> Found {
        let block = self.part.blocks[number as usize];
        let inner = block.first as usize..block.end as usize - 1;
        let mut edges = Vec::new();
        for section in inner.clone() {
            self.crossing[section] -= 1;
            if self.crossing[section] == 0 {
                edges.push(section + 1);
            }
        }
        let found = if edges.is_empty() {
            self.descend(members, next, sections, last, go_on)
        } else {
            edges.push(sections.end);
            self.sides(members, &edges, sections.start, go_on)
        };
        for section in inner {
            self.crossing[section] += 1;
        }
        found
    }

    /// Solves the stretches up to each edge one after the other. If one has no placement, nor has the whole, whatever the others are.
    fn sides(
        &mut self,
        members: &[u32],
        edges: &[usize],
        mut from: usize,
        go_on: &dyn Fn() -> bool,
    ) -> Found {
        let marks = (self.least_trail.len(), self.floor_trail.len());
        let mut done: Vec<u32> = Vec::new();
        for &edge in edges {
            let inside = |&number: &u32| {
                let block = &self.part.blocks[number as usize];
                self.offsets[number as usize] == WAITING
                    && block.first as usize >= from
                    && (block.end as usize) <= edge
            };
            let side: Vec<u32> = members.iter().copied().filter(inside).collect();
            let range = from..edge;
            from = edge;
            if side.is_empty() {
                continue;
            }
            let found = self.solve(side.clone(), range, go_on);
            if found != Found::Yes {
                for &number in &done {
                    self.take_back(number, marks);
                }
                return found;
            }
            done.extend(side);
        }
        Found::Yes
    }
}
