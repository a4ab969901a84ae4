//! Holes: parts of a region that have no memory.
//!
//! ```text
//!   │ live │ clean │ hole │ live │ hole ───────────────────────▶ end of the reserved addresses
//! ```
//!
//! To the offsets below a hole is a live block that nobody frees, so no search finds it and nothing merges with it. Here it
//! counts neither as committed nor as reserved. Who has holes keeps their ids; see `elastic.rs` beside this heap.
//!
//! # Cost
//! O(1) each.

use super::{Ask, BlockDeath, BlockLabel, CLEAN, Heap, Taken, Untouched};
use crate::offset::tlsf::{BlockId, RegionId, Side, TlsfError};

impl BlockLabel {
    /// No request is of so many bytes: no region could hold it.
    const HOLE: Self = Self::live(u64::MAX);
}

impl Heap {
    /// Adds a region of `bytes` of addresses: one hole.
    ///
    /// # Errors
    /// As [`Tlsf::add_region`](crate::offset::tlsf::Tlsf::add_region).
    pub fn add_hollow_region(&mut self, bytes: u64) -> Result<(RegionId, BlockId), TlsfError> {
        let (region, hole) = self.tlsf.add_region(bytes, BlockLabel::HOLE)?;
        self.tlsf.hold(hole, BlockLabel::HOLE);
        self.set_untouched(region, Untouched::new(self.tlsf.size(hole)));
        Ok((region, hole))
    }

    /// Removes a region that is one hole.
    pub(in super::super) fn remove_hollow_region(&mut self, hole: BlockId) {
        let region = self.tlsf.region(hole);
        self.tlsf.loosen(hole);
        // It is the only block of its region, and loose.
        self.tlsf.remove_region(region);
    }

    /// The block is a hole.
    pub(in super::super) fn is_hole(&self, block: BlockId) -> bool {
        self.tlsf.is_live(block) && self.tlsf.label(block).requested() == u64::MAX
    }

    /// Cuts a hole in two at a granule inside of it; the right part is the new one. `None` when no more blocks can be
    /// numbered.
    pub(in super::super) fn split_hole(&mut self, hole: BlockId, at: u32) -> Option<BlockId> {
        self.tlsf.split(hole, at)
    }

    /// Makes one hole of two that stand side by side, under the id of `left`.
    pub(in super::super) fn join_holes(&mut self, left: BlockId, right: BlockId) {
        self.tlsf.fuse(left, right);
    }

    /// A hole has memory now: it is clean, and merged with what is clean beside it. Returns the block that bears it.
    pub(in super::super) fn fill(&mut self, hole: BlockId) -> BlockId {
        let (start, _) = self.tlsf.extent(hole);
        let beside = [Side::Left, Side::Right].map(|side| self.tlsf.neighbour(hole, side));
        self.committed += self.tlsf.live_bytes(hole);
        self.shelve_plain(hole, CLEAN);
        // One of the three has become all of them.
        let [left, right] = beside.map(|neighbour| neighbour.map(|(block, _)| block));
        let bears = |block: &BlockId| {
            self.tlsf.shelf_of(*block) == Some(CLEAN) && self.holds(*block, start)
        };
        [left, right].into_iter().flatten().find(bears).unwrap_or(hole)
    }

    fn holds(&self, block: BlockId, granule: u32) -> bool {
        let (offset, units) = self.tlsf.extent(block);
        offset <= granule && granule - offset < units
    }

    /// Makes a hole of some granules of a clean block. `None` when no more blocks can be numbered.
    pub(in super::super) fn hollow(
        &mut self,
        block: BlockId,
        start: u32,
        units: u32,
    ) -> Option<BlockId> {
        let place = self.tlsf.place_at(block, start, units)?;
        let taken = self.tlsf.take(place, BlockLabel::HOLE)?;
        if let Some(loose) = taken.loose {
            self.tlsf.insert(loose, CLEAN, BlockLabel::CLEAN);
        }
        self.committed -= self.tlsf.size(taken.block);
        Some(taken.block)
    }

    /// Takes the request's granules of a clean block, from one on.
    pub(in super::super) fn take_at(
        &mut self,
        block: BlockId,
        start: u32,
        ask: &Ask<'_>,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        let place = self.tlsf.place_at(block, start, ask.need.units())?;
        self.take(place, ask.requested, death)
    }

    /// The clean block beside a hole that has the granule.
    pub(in super::super) fn clean_block_beside(
        &self,
        hole: BlockId,
        granule: u32,
    ) -> Option<BlockId> {
        let beside = [Side::Left, Side::Right].map(|side| self.tlsf.neighbour(hole, side));
        let mut blocks = beside.into_iter().flatten();
        blocks
            .find(|&(block, on)| on == CLEAN && self.holds(block, granule))
            .map(|(block, _)| block)
    }

    /// The granules of clean blocks on both sides of a block: left, then right.
    pub(in super::super) fn clean_beside(&self, block: BlockId) -> [u32; 2] {
        [Side::Left, Side::Right].map(|side| match self.tlsf.neighbour(block, side) {
            Some((neighbour, CLEAN)) => self.tlsf.extent(neighbour).1,
            _ => 0,
        })
    }
}
