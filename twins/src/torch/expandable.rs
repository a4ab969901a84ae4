//! Expandable segments: one range of addresses a pool and stream, which grows by pages.
//!
//! Source: pytorch/pytorch, `c10/cuda/CUDACachingAllocator.cpp`, `find_expandable_block`, `map_block`,
//! `try_allocate_expandable_block`, `unmap_block`, `ExpandableSegment`, as of 2.4 to 2.10. The rules, in our words:
//!
//! 1. Unmapped blocks of the stream are tried by address; the candidate is the block, or the free one before it. The first
//!    candidate with room for the rounded request in it and the free or unmapped blocks behind it is taken. None: a new range
//!    of 9/8 of the device's memory.
//! 2. What the candidate lacks is mapped, one unmapped block after the other, in whole pages counted from the range's
//!    start. Each mapping joins its free neighbours, and is recorded. Mappings made before a refusal stay.
//! 3. On release, only whole pages of a free block are unmapped; its edges stay free. A range with nothing mapped is dropped.

use super::blocks::{NONE, Segment, State};
use super::{Got, Torch};
use crate::{Answer, Driver};

impl Torch {
    /// A free block of at least `size` bytes at the lowest address that has room, out of its set.
    pub(super) fn expand(
        &mut self,
        pool: u32,
        stream: u64,
        size: u64,
        driver: &mut dyn Driver,
    ) -> Got {
        let Some(candidate) = self.expandable_room(pool, stream, size, driver) else {
            return Got::Refused;
        };
        let mut candidate = candidate;
        if self.tables.block(candidate).state == State::Unmapped {
            let wanted = size.min(self.tables.block(candidate).size);
            match self.map(candidate, wanted, driver) {
                Got::Block(_) => {}
                other => return other,
            }
        }
        while self.tables.block(candidate).size < size {
            let missing = size - self.tables.block(candidate).size;
            let next = self.tables.block(candidate).next;
            if next == NONE || self.tables.block(next).state != State::Unmapped {
                // The search saw room; only a caller that changed the tables in between could take it away.
                return Got::Refused;
            }
            let wanted = missing.min(self.tables.block(next).size);
            match self.map(next, wanted, driver) {
                Got::Block(block) => candidate = block,
                other => return other,
            }
        }
        self.tables.unfile(candidate);
        Got::Block(candidate)
    }

    fn expandable_room(
        &mut self,
        pool: u32,
        stream: u64,
        size: u64,
        driver: &mut dyn Driver,
    ) -> Option<u32> {
        let allocatable = |state| matches!(state, State::Free | State::Unmapped);
        for &(of, _, id) in self.tables.pools[pool as usize].unmapped.range((stream, 0, 0)..) {
            if of != stream {
                break;
            }
            let prev = self.tables.block(id).prev;
            let start =
                if prev != NONE && allocatable(self.tables.block(prev).state) { prev } else { id };
            let (mut at, mut bytes) = (start, 0);
            while at != NONE && bytes < size && allocatable(self.tables.block(at).state) {
                bytes += self.tables.block(at).size;
                at = self.tables.block(at).next;
            }
            if bytes >= size {
                return Some(start);
            }
        }
        let page = self.settings.page(self.tables.pools[pool as usize].small);
        let (base, room) = driver.reserve(page, stream)?;
        if room < size.checked_next_multiple_of(page)? || base.checked_add(room).is_none() {
            return None;
        }
        let segment = Segment { base, room, mapped: 0, stream, pool, first: NONE, page };
        let id = self.tables.new_segment(segment, State::Unmapped);
        self.tables.file(id);
        Some(id)
    }

    /// Maps at least `size` bytes of an unmapped block from its start. The block is free afterwards, and in its set.
    fn map(&mut self, id: u32, size: u64, driver: &mut dyn Driver) -> Got {
        let block = *self.tables.block(id);
        let Segment { base, page, stream, .. } = *self.tables.segment(id);
        // An unmapped block begins and ends at a page's boundary.
        let end = (block.address - base + size)
            .next_multiple_of(page)
            .min(block.address - base + block.size);
        let bytes = base + end - block.address;
        if self.tables.reserved.checked_add(bytes).is_none() {
            return Got::Stopped;
        }
        match driver.map(block.address, bytes, stream) {
            Answer::Granted(_) => {}
            Answer::Refused => {
                self.tried.refusals += 1;
                return Got::Refused;
            }
            Answer::Stop => return Got::Stopped,
        }
        self.counts.grants += 1;
        self.tables.unfile(id);
        if bytes < block.size {
            let rest = self.tables.cut(id, bytes);
            self.tables.file(rest);
        }
        self.tables.block_mut(id).state = State::Free;
        self.tables.mapped(block.segment, bytes, true);
        self.tables.join(id);
        self.tables.file(id);
        Got::Block(id)
    }

    /// Unmaps the whole pages of a free block.
    pub(super) fn unmap(&mut self, id: u32, driver: &mut dyn Driver) {
        let block = *self.tables.block(id);
        let Segment { base, page, stream, .. } = *self.tables.segment(id);
        let begin = base + (block.address - base).next_multiple_of(page);
        let end = base + (block.address + block.size - base) / page * page;
        if begin >= end || !driver.unmap(begin, end - begin, stream) {
            return;
        }
        self.take_pages(id, begin, end);
        if self.tables.block(id).whole() {
            self.tables.unfile(id);
            self.tables.drop_segment(id);
        }
    }

    /// Makes the pages from `begin` to `end` of a free block unmapped; what is left of it on both sides stays free.
    pub(super) fn take_pages(&mut self, id: u32, begin: u64, end: u64) {
        let block = *self.tables.block(id);
        self.counts.returns += 1;
        self.tried.sweep(end - begin);
        self.tables.unfile(id);
        let mut middle = id;
        if begin > block.address {
            middle = self.tables.cut(id, begin - block.address);
        }
        if end < block.address + block.size {
            let after = self.tables.cut(middle, end - begin);
            self.tables.file(after);
        }
        if middle != id {
            // The pages keep the block's number, so that a list of blocks to be released stays true.
            self.tables.swap(id, middle);
            self.tables.file(middle);
        }
        self.tables.block_mut(id).state = State::Unmapped;
        self.tables.mapped(block.segment, end - begin, false);
        self.tables.join(id);
        self.tables.file(id);
    }
}
