//! Taking what lies at a given place.
//!
//! ```text
//!   │ live │ clean │ A@3 │ A@9 │ live │     the place of a block of a plan: taken if all of it is free,
//!                └── place ─┘             and ready, or the requester may wait
//! ```
//!
//! # Cost
//! O(blocks between where the search begins and the end of the place), at most [`STEPS`] before it.

use super::{Ask, BlockDeath, BlockLabel, CLEAN, Heap, TAINTED, Taken};
use crate::frontier::FrontierRef;
use crate::offset::tlsf::{BlockId, Need, Place, RegionId, Side};

/// Blocks that a search for a place goes past.
const STEPS: u32 = 1024;
/// Bins of free blocks that are looked through for a gap, and blocks of each.
const BINS: usize = 24;
const PER_BIN: usize = 2;

/// Where a block is to stand.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct At {
    pub(in crate::pool) region: RegionId,
    /// First granule, from the region's start.
    pub(in crate::pool) start: u32,
    /// A block of the region that begins there or before.
    pub(in crate::pool) near: Option<BlockId>,
    /// The requester may wait for what is free.
    pub(in crate::pool) may_wait: bool,
}

impl Heap {
    /// Visits some free blocks that are ready for who knows the frontier and may hold the need, from the tightest on: block, region,
    /// first granule, granules.
    pub(in crate::pool) fn free_for(
        &self,
        need: Need,
        frontier: FrontierRef<'_>,
        visit: &mut dyn FnMut(BlockId, RegionId, u32, u32),
    ) {
        let covered = frontier.entries().iter().filter_map(|entry| {
            let shelf = self.single(entry.axis);
            let class = self.classes.get(shelf as usize)?;
            (class.ceiling[0] <= entry.epoch).then_some(shelf)
        });
        for shelf in core::iter::once(CLEAN).chain(covered) {
            self.tlsf.candidates(shelf, need, BINS, PER_BIN, &mut |place| {
                let (start, units) = self.tlsf.extent(place.block);
                visit(place.block, self.tlsf.region(place.block), start, units);
                true
            });
        }
    }

    /// Takes the need at this place if all of it is free, and is ready for the requester, or may be waited for.
    /// Writes down what it waited for.
    // Always: beside `acquire`, for the same reason.
    #[inline(always)]
    pub(in crate::pool) fn acquire_at(
        &mut self,
        at: At,
        ask: &Ask<'_>,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        let &Ask { need, requested, .. } = ask;
        let At { region, start, near, may_wait } = at;
        if start & (need.align() - 1) != 0 {
            return None;
        }
        let first = self.tlsf.block_at(region, near, start, STEPS)?;
        if let Some(place) = self.tlsf.place_at(first, start, need.units()) {
            // The usual case: nothing to be written down.
            if self.tlsf.shelf_of(first) == Some(CLEAN) {
                death.clear();
                let block = self.take_clean(place, requested)?;
                let size = self.tlsf.bytes(need);
                return Some(self.took(block, self.tlsf.bytes_of(start), size, region, false));
            }
            if self.is_free_for(first, may_wait, ask) {
                return self.take(place, requested, death);
            }
        }
        self.acquire_across(first, at, ask, death)
    }

    /// Takes a place of a clean block. What remains of it is clean.
    #[inline(always)]
    fn take_clean(&mut self, place: Place, requested: u64) -> Option<BlockId> {
        let taken = self.tlsf.take(place, BlockLabel::live(requested))?;
        if let Some(loose) = taken.loose {
            self.tlsf.insert(loose, CLEAN, BlockLabel::CLEAN);
        }
        Some(taken.block)
    }

    /// The same, of several blocks, or of pieces of one.
    #[inline(never)]
    fn acquire_across(
        &mut self,
        first: BlockId,
        At { start, may_wait, .. }: At,
        ask: &Ask<'_>,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        let &Ask { need, requested, .. } = ask;
        let end = start.checked_add(need.units())?;
        let (mut first, mut at, mut found) = (first, first, false);
        loop {
            self.tlsf.shelf_of(at)?;
            let is_free = self.is_free_for(at, may_wait, ask);
            if !is_free && self.is_pieced(at) && self.part(at) {
                // Pieces are blocks now; the first bears its id.
                continue;
            }
            let (offset, units) = self.tlsf.extent(at);
            if offset + units > start {
                if !is_free {
                    return None;
                }
                if !found {
                    (first, found) = (at, true);
                }
                if offset + units >= end {
                    break;
                }
            }
            (at, _) = self.tlsf.neighbour(at, Side::Right)?;
        }
        match self.tlsf.place_at(first, start, need.units()) {
            Some(place) => self.take(place, requested, death),
            None => self.take_range(first, at, (start, need.units()), requested, death),
        }
    }

    #[inline(always)]
    fn is_free_for(&self, block: BlockId, may_wait: bool, ask: &Ask<'_>) -> bool {
        match self.tlsf.shelf_of(block) {
            Some(shelf) if may_wait => shelf != TAINTED,
            _ => self.is_ready(block, ask),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
