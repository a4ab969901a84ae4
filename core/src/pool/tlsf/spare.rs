//! Empty slabs: which is given back, and which is spared. A slab is not broken up where its rest and the provider's room would both be too small for a
//! second block like the first, and together are not.
//!
//! ```text
//!   capacity 4, an empty slab of 3, a block of 1.6 is asked for
//!     cut from the slab:       │ 1.6 │ rest 1.4 │  room 1   │      no second one
//!     the slab is given back:  │ 1.6 │  room 2.4            │      a second one
//! ```
//!
//! Only where the provider [tells its room](crate::slab::SlabProvider::room), and for blocks of more than half of an ordinary slab.
//! Whatever is partly in use and has a place for the block is taken first, as always.
//!
//! # Cost
//! For such a block, a walk over the clean blocks that would hold it, and over the slabs. One comparison for any other.

use super::TlsfPool;
use super::heap::CLEAN;
use super::state::{Asked, State};
use super::untouched::Untouched;
use crate::inspect::Event;
use crate::offset::align_up;
use crate::offset::tlsf::{Need, RegionId};
use crate::pool::PoolError;
use crate::slab::Slab;
use crate::sync::MutexGuard;

impl TlsfPool {
    /// Replaces an empty slab by one for the block, where that leaves room for another like it.
    pub(super) fn spare_empty<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        asked: &Asked<'_>,
    ) -> Result<MutexGuard<'a, State>, PoolError> {
        let need = asked.need;
        let size = state.heap.bytes(need);
        let Some(size) = align_up(size, self.provider.granularity) else { return Ok(state) };
        if state.would_break_up(need, size).is_none() {
            return Ok(state);
        }
        // The provider may take its time.
        self.unlock(state);
        let room = self.host.provider.room().unwrap_or(u64::MAX);
        let mut state = self.state.lock();
        self.settle(&mut state);
        let Some((index, slab)) = state.would_break_up(need, size) else { return Ok(state) };
        // Other empty slabs are given back when room is needed.
        let room = room.saturating_add(state.empty_bytes() - slab);
        if room >= size || room.saturating_add(slab - size) < size {
            return Ok(state);
        }
        let Some(empty) = state.take_slab(index) else { return Ok(state) };
        self.unlock(state);
        self.give_slab_back(empty)?;
        let granted = self.grow([Some(size), None])?;
        let mut state = self.state.lock();
        self.settle(&mut state);
        // If another has taken the room, growth comes to it.
        if let Some(slab) = granted {
            self.add_slab(&mut state, slab)?;
            self.emit(&Event::SlabAcquired { pool: self.id, slab: slab.id, size: slab.size });
        }
        Ok(state)
    }
}

impl State {
    /// A slab that is not elastic: its size, and its region.
    pub(super) fn plain_slab(&self, index: usize) -> Option<(u64, RegionId)> {
        let slab = (*self.slabs.get(index)?)?;
        let region = RegionId::from_index(index as u32);
        let is_elastic = self.holes.as_ref().is_some_and(|holes| holes.is_elastic(region));
        (!is_elastic).then_some((slab.size, region))
    }

    /// The largest slab that is empty, elastic ones aside, taken out of the heap.
    pub(super) fn take_empty(&mut self) -> Option<(Slab, Untouched)> {
        let empty = (0..self.slabs.len()).filter_map(|index| {
            let (size, region) = self.plain_slab(index)?;
            self.heap.is_empty(region).then_some((size, index))
        });
        let (_, index) = empty.max()?;
        self.take_slab(index)
    }

    /// A slab that is empty, taken out of the heap.
    pub(super) fn take_slab(&mut self, index: usize) -> Option<(Slab, Untouched)> {
        let region = RegionId::from_index(index as u32);
        let untouched = self.heap.untouched(region);
        self.heap.remove_region(region)?;
        Some((self.removed(index)?, untouched))
    }

    /// Bytes of slabs without anything in them.
    fn empty_bytes(&self) -> u64 {
        let empty = |index| self.heap.is_empty(RegionId::from_index(index));
        let slabs = (0..).zip(&self.slabs).filter_map(|(index, slab)| Some((index, (*slab)?)));
        slabs.filter(|&(index, _)| empty(index)).map(|(_, slab)| slab.size).sum()
    }

    /// The smallest slab that holds the block, and its bytes, if all clean blocks that do are slabs without anything else in them, and
    /// none has a place for a second one.
    fn would_break_up(&self, need: Need, size: u64) -> Option<(usize, u64)> {
        let offsets = self.heap.offsets();
        let mut smallest: Option<(u64, usize)> = None;
        for block in offsets.at_least(CLEAN, need.units()) {
            let region: RegionId = offsets.region(block);
            let index = region.index() as usize;
            let slab = (*self.slabs.get(index)?)?.size;
            if !self.heap.is_empty(region) || slab / 2 >= size {
                return None;
            }
            let this = (slab, index);
            smallest = Some(smallest.map_or(this, |smallest| smallest.min(this)));
        }
        smallest.filter(|&(slab, _)| slab > size).map(|(slab, index)| (index, slab))
    }
}
