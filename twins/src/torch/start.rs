//! A twin in the middle of a run: built from segments and live blocks, and corrected where a recording says otherwise.
//!
//! A recording that begins late tells which blocks were live and which segments there were; it does not tell free blocks. They
//! follow: free neighbours join at once, so each gap between live blocks is one free block. In the large pool a gap of at most
//! 1 MiB is none, since no rest that small is split off: it belongs to the live block before it (rule 4).
//!
//! Corrections are for a run that has left the recording: they put a block, a segment or a page where the file has it, so
//! that what follows can still be compared. Cost of a correction: O(segments + blocks of one).

use super::blocks::{NONE, Segment, State};
use super::{Torch, settings};
use crate::{Allocation, BlockId};
use alloc::vec::Vec;

/// A live block at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartBlock {
    /// Where it begins.
    pub address: u64,
    /// Its bytes, rounded.
    pub size: u64,
    /// Bytes asked for.
    pub requested: u64,
    /// Given back already, and still in use by a stream.
    pub pending: bool,
}

/// A segment at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartSegment {
    /// Where it begins.
    pub address: u64,
    /// Its bytes; of an expandable one, those that it may grow to.
    pub size: u64,
    /// Its stream.
    pub stream: u64,
    /// Its private pool; 0 is the allocator's own.
    pub pool: u32,
    /// Whether it serves small requests.
    pub small: bool,
    /// Bytes of a page if it is expandable, else 0.
    pub page: u64,
    /// What is mapped, from and up to, by address; only of an expandable one.
    pub mapped: Vec<(u64, u64)>,
    /// Live blocks, by address.
    pub live: Vec<StartBlock>,
}

/// Something of the start that cannot be: it is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// The segment overlaps another one, is empty, or ends beyond 2^64.
    Segment(u64),
    /// The live block overlaps another one, or is not inside its segment's memory.
    Block(u64),
}

impl Torch {
    /// Adds segments with their live blocks. Returns the blocks, with their addresses, and what could not be.
    /// Cost: O(n log n).
    pub fn restore(&mut self, segments: &[StartSegment]) -> (Vec<Allocation>, Vec<Contradiction>) {
        let mut order: Vec<&StartSegment> = segments.iter().collect();
        order.sort_by_key(|s| s.address);
        let (mut blocks, mut wrong, mut end) = (Vec::new(), Vec::new(), 0);
        for segment in order {
            match segment.address.checked_add(segment.size) {
                Some(last) if segment.address >= end && segment.size > 0 => end = last,
                _ => {
                    wrong.push(Contradiction::Segment(segment.address));
                    wrong.extend(segment.live.iter().map(|b| Contradiction::Block(b.address)));
                    continue;
                }
            }
            self.restore_segment(segment, &mut blocks, &mut wrong);
        }
        (blocks, wrong)
    }

    fn restore_segment(
        &mut self,
        start: &StartSegment,
        blocks: &mut Vec<Allocation>,
        wrong: &mut Vec<Contradiction>,
    ) {
        let &StartSegment { address: base, size, stream, pool, small, page, .. } = start;
        let pool = self.tables.pool(pool, small);
        let end = base + size;
        let whole = [(base, end)];
        let runs = if page > 0 { &start.mapped[..] } else { &whole[..] };
        let segment = Segment { base, room: size, mapped: 0, stream, pool, first: NONE, page };
        let mut at = self.tables.new_segment(segment, State::Unmapped);
        let number = self.tables.block(at).segment;
        let mut live = start.live.iter().peekable();
        // What is cut off last is `at`, still unmapped and in no set.
        let mut reached = base;
        for &(from, to) in runs {
            let to = to.min(end);
            if from < reached || from >= to {
                continue;
            }
            if from > reached {
                let rest = self.tables.cut(at, from - reached);
                self.tables.file(at);
                at = rest;
            }
            self.tables.mapped(number, to - from, true);
            let mut position = from;
            while position < to {
                // The next live block in this run, if it can be.
                while let Some(block) = live.peek().filter(|b| b.address < position) {
                    wrong.push(Contradiction::Block(block.address));
                    live.next();
                }
                let block = live.peek().filter(|b| b.address < to).copied();
                let Some(block) = block else {
                    at = self.carve(at, to - position, State::Free, 0, end - position);
                    break;
                };
                live.next();
                if block.size == 0 || block.address.checked_add(block.size).is_none_or(|e| e > to) {
                    wrong.push(Contradiction::Block(block.address));
                    continue;
                }
                if block.address > position {
                    let gap = block.address - position;
                    at = self.carve(at, gap, State::Free, 0, end - position);
                    position = block.address;
                }
                let next = live.peek().map_or(to, |next| next.address.min(to));
                let gap = next.saturating_sub(block.address + block.size);
                let unsplit = !small
                    && page == 0
                    && !self.settings.expandable
                    && (gap <= settings::SMALL_SIZE || block.size >= self.settings.max_split);
                let size = block.size + if unsplit { gap } else { 0 };
                let state = if block.pending { State::Pending } else { State::Allocated };
                let id = BlockId(at);
                at = self.carve(at, size, state, block.requested, end - position);
                blocks.push(Allocation { id, address: block.address, size });
                position += size;
            }
            reached = to;
        }
        if at != NONE {
            self.tables.file(at);
        }
        wrong.extend(live.map(|block| Contradiction::Block(block.address)));
    }

    /// Makes the first `size` bytes of the unmapped block `at`, of `left` bytes, a block of that state. Returns what is left of it.
    fn carve(&mut self, at: u32, size: u64, state: State, requested: u64, left: u64) -> u32 {
        let rest = if size < left { self.tables.cut(at, size) } else { NONE };
        let block = self.tables.block_mut(at);
        block.state = state;
        block.requested = requested;
        if state == State::Free {
            self.tables.file(at);
        } else {
            self.tables.active += size;
        }
        rest
    }

    /// The block that covers an address.
    fn covering(&self, address: u64) -> Option<u32> {
        let holds =
            |s: &&Segment| s.first != NONE && s.base <= address && address - s.base < s.room;
        let segment = self.tables.segments.iter().find(holds)?;
        self.tables
            .blocks_of(segment)
            .find(|(_, b)| b.address <= address && address - b.address < b.size)
            .map(|(id, _)| id)
    }

    /// Correction: hands out `size` bytes, rounded by the settings, at `address`, if a free block covers them.
    pub fn allocate_at(&mut self, address: u64, size: u64) -> Option<Allocation> {
        let rounded = self.settings.round(size)?;
        let mut id = self.covering(address)?;
        let block = *self.tables.block(id);
        if block.state != State::Free || block.address + block.size - address < rounded {
            return None;
        }
        self.tables.unfile(id);
        if address > block.address {
            let rest = self.tables.cut(id, address - block.address);
            self.tables.file(id);
            id = rest;
        }
        let small = self.tables.pools[self.tables.segment(id).pool as usize].small;
        if self.splits(small, rounded, self.tables.block(id).size - rounded) {
            let rest = self.tables.cut(id, rounded);
            self.tables.file(rest);
        }
        let block = self.tables.block_mut(id);
        block.state = State::Allocated;
        block.requested = size;
        let size = block.size;
        self.tables.active += size;
        Some(Allocation { id: BlockId(id), address, size })
    }

    /// Correction: a segment that the recording has and the twin did not ask for. False: it cannot be.
    pub fn add_segment(&mut self, segment: &StartSegment) -> bool {
        let end = segment.address.checked_add(segment.size).filter(|&end| end > segment.address);
        let sum = self.tables.reserved.checked_add(segment.size);
        let free = sum.and(end).is_some_and(|end| {
            let there = self.tables.segments.iter().filter(|s| s.first != NONE);
            there
                .map(|s| (s.base, s.base + s.room))
                .all(|(from, to)| from >= end || to <= segment.address)
        });
        free && self.restore(core::slice::from_ref(segment)).1.is_empty()
    }

    /// Correction: the segment at an address goes, if it is one free block. False: it is not.
    pub fn remove_segment(&mut self, address: u64) -> bool {
        let Some(id) = self.covering(address) else { return false };
        let block = self.tables.block(id);
        if block.address != address || block.state != State::Free || !block.whole() {
            return false;
        }
        self.tables.unfile(id);
        self.tables.drop_segment(id);
        true
    }

    /// Correction: maps bytes of an unmapped stretch. False: they are not unmapped.
    pub fn map_at(&mut self, address: u64, size: u64) -> bool {
        let Some(mut id) = self.covering(address) else { return false };
        let block = *self.tables.block(id);
        if block.state != State::Unmapped
            || size == 0
            || block.address + block.size - address < size
            || self.tables.reserved.checked_add(size).is_none()
        {
            return false;
        }
        self.tables.unfile(id);
        if address > block.address {
            let rest = self.tables.cut(id, address - block.address);
            self.tables.file(id);
            id = rest;
        }
        if self.tables.block(id).size > size {
            let rest = self.tables.cut(id, size);
            self.tables.file(rest);
        }
        self.tables.block_mut(id).state = State::Free;
        self.tables.mapped(block.segment, size, true);
        self.tables.join(id);
        self.tables.file(id);
        true
    }

    /// Correction: unmaps bytes of a free block. False: they are not free.
    pub fn unmap_at(&mut self, address: u64, size: u64) -> bool {
        let Some(id) = self.covering(address) else { return false };
        let block = *self.tables.block(id);
        let fits = block.state == State::Free
            && self.tables.expandable(id)
            && size > 0
            && block.address + block.size - address >= size;
        if fits {
            self.take_pages(id, address, address + size);
        }
        fits
    }
}
