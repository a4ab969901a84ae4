//! Elastic slabs: regions of addresses that have memory where it is needed.
//!
//! ```text
//!   │ live │ clean │ hole │ live │ clean │ hole ─────────────────────▶ end of the reserved addresses
//!            └─────────┘ a request that needs both: only the hole is committed
//! ```
//!
//! A pool whose provider [can](crate::slab::SlabProvider::elastic) reserves addresses, all of them a hole at first, and commits
//! what a request lacks: of all places with one hole the one that lacks least, the lowest of these. So the last block grows at its end, and what
//! is free beside a hole is used. Whole granules that are clean become holes again when the pool is trimmed, when the provider has
//! no capacity, and before more would be committed than ever was: a peak of committed bytes is one of bytes in use, but for free
//! parts of granules and for what waits.
//!
//! # Invariants
//! - Holes in the list are the holes of the heap, but for those in transit: their memory comes or goes while no lock is held.
//! - Holes begin and end at multiples of the provider's granule, and no two in the list touch.
//!
//! # Cost
//! Linear in the holes, and, where granules are given back, in the clean blocks that have any (n log n) unless one of them
//! is enough. A request that finds memory
//! comes nowhere near here.

use super::guided::Wish;
use super::heap::{CLEAN, Heap};
use super::holes::{Hole, Holes, Scope, Site};
use super::state::{Asked, Found, State};
use super::untouched::Untouched;
use super::{MAX_GROWTHS, TlsfPool};
use crate::inspect::Event;
use crate::offset::tlsf::{BlockId, Need, RegionId};
use crate::pool::{PoolError, PoolHost};
use crate::slab::{Grant, Slab, SlabError, SlabId};
use crate::sync::MutexGuard;
use alloc::vec::Vec;

/// Memory on its way: bytes of a slab, and the hole in transit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transit {
    block: BlockId,
    pub(super) slab: SlabId,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl State {
    /// The elastic regions with the heap that they are in.
    pub(super) fn elastic(&mut self) -> Option<(&mut Holes, &mut Heap)> {
        Some((self.holes.as_mut()?, &mut self.heap))
    }

    /// What the provider is to be told of a hole in transit.
    fn transit(&self, block: BlockId) -> Option<Transit> {
        let offsets = self.heap.offsets();
        let slab = self.slabs.get(offsets.region(block).index() as usize).copied().flatten()?;
        let (offset, len) = (offsets.offset(block), offsets.size(block));
        Some(Transit { block, slab: slab.id, offset, len })
    }

    pub(super) fn transits(&self, blocks: &[BlockId]) -> Vec<Transit> {
        blocks.iter().filter_map(|&block| self.transit(block)).collect()
    }

    /// A hole that was to get memory arrives. The clean block that bears it, if it got some.
    pub(super) fn land(&mut self, part: BlockId, has_memory: bool) -> Option<BlockId> {
        let (holes, heap) = self.elastic()?;
        if !has_memory {
            holes.lay(heap, part);
            return None;
        }
        let bears = heap.fill(part);
        // Whole granules are committed: others may find use for the rest.
        self.untold = true;
        Some(bears)
    }

    /// Makes holes, in transit, as [`Holes::hollow`] does; `wanted` are bytes.
    pub(super) fn hollow(
        &mut self,
        wanted: u64,
        spare: Option<(Site, Need)>,
        scope: Scope,
    ) -> Vec<Transit> {
        let Some((holes, heap)) = self.elastic() else { return Vec::new() };
        let made = holes.hollow(heap, wanted.div_ceil(holes.granule), spare, scope);
        self.transits(&made)
    }

    /// A region is gone from the heap: so is its slab.
    pub(super) fn removed(&mut self, index: usize) -> Option<Slab> {
        let slab = self.slabs[index].take();
        if let (Some(slab), Some(follower)) = (slab, self.follower.as_mut()) {
            follower.lose(slab.id);
        }
        self.stats.slabs -= 1;
        let holes = self.holes.as_ref();
        let elastic = |index| holes.is_some_and(|h| h.is_elastic(RegionId::from_index(index)));
        let slabs = (0..).zip(&self.slabs).filter(|&(index, _)| !elastic(index));
        self.largest_slab = slabs.filter_map(|(_, slab)| *slab).map(|s| s.size).max().unwrap_or(0);
        slab
    }

    /// An elastic slab that is one hole, taken out of the heap.
    fn take_hollow(&mut self) -> Option<(Slab, Untouched)> {
        let (holes, heap) = self.elastic()?;
        let whole = |hole: &Hole| holes.regions.contains(&(hole.region, hole.units));
        let at = holes.list.iter().position(whole)?;
        let hole = holes.list.remove(at);
        holes.regions.retain(|&(region, _)| region != hole.region);
        let untouched = heap.untouched(hole.region);
        heap.remove_hollow_region(hole.block);
        Some((self.removed(hole.region.index() as usize)?, untouched))
    }

    /// Adds an elastic slab: one hole.
    pub(super) fn add_elastic(&mut self, slab: Slab) -> Result<Option<RegionId>, PoolError> {
        let Some((holes, heap)) = self.elastic() else { return Ok(None) };
        // What is left over at the end could not be committed.
        let bytes = slab.size / (holes.granule * u64::from(holes.step));
        let bytes = bytes * holes.granule * u64::from(holes.step);
        let (region, block) = heap.add_hollow_region(bytes).map_err(super::config_error)?;
        let units = heap.offsets().extent(block).1;
        holes.regions.push((region, units));
        holes.lay(heap, block);
        let largest = self.largest_slab;
        self.add_slab(region, slab);
        self.largest_slab = largest;
        Ok(Some(region))
    }
}

impl TlsfPool {
    /// Takes memory out of holes in transit, without a lock. Those that keep it are told apart, with the first reason.
    pub(super) fn decommit(&self, out: &[Transit]) -> (Vec<bool>, Option<SlabError>) {
        let mut failure = None;
        let gone = out.iter().map(|t| {
            let done = self.host.provider.decommit(t.slab, t.offset, t.len);
            failure = failure.or(done.err());
            done.is_ok()
        });
        (gone.collect(), failure)
    }

    /// Holes in transit arrive: without memory in the list, with it among what is clean.
    pub(super) fn arrive(&self, state: &mut State, out: &[Transit], gone: &[bool]) -> u64 {
        let Some((holes, heap)) = state.elastic() else { return 0 };
        let mut bytes = 0;
        for (transit, gone) in out.iter().zip(gone) {
            if *gone {
                holes.lay(heap, transit.block);
                bytes += transit.len;
            } else {
                heap.fill(transit.block);
            }
        }
        bytes
    }

    /// Commits what the request lacks, and takes it. `None`: the provider has nothing, or no addresses to put it to.
    pub(super) fn grow_in_place<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        asked: &Asked<'_>,
    ) -> Result<(MutexGuard<'a, State>, Option<Found>), PoolError> {
        let need = asked.need;
        // Bytes that the provider is known to lack.
        let mut lacks = 0;
        for _ in 0..=MAX_GROWTHS {
            let wish = state.wish(asked);
            let Some((holes, heap)) = state.elastic() else { break };
            let Some(site) = holes.site(heap, need, wish) else {
                let least = u64::from(need.units()) * holes.granule;
                let (after, region) = self.reserve_for(state, least)?;
                state = after;
                if region.is_none() {
                    break;
                }
                continue;
            };
            let mut arrived = None;
            if site.from < site.to {
                let Some(part) = holes.lift(heap, site) else { break };
                let bytes = heap.offsets().size(part);
                let committed = state.heap.committed_bytes() + bytes;
                let over = committed.saturating_sub(state.stats.peak_committed_bytes);
                let out = state.hollow(lacks.max(over), Some((site, need)), Scope::Anywhere);
                let Some(&into) = state.transits(&[part]).first() else { break };
                self.unlock(state);
                let (gone, failure) = self.decommit(&out);
                let granted = self.host.provider.commit(into.slab, into.offset, into.len);
                state = self.state.lock();
                let freed = self.arrive(&mut state, &out, &gone);
                arrived = state.land(part, granted == Ok(true));
                match granted {
                    Ok(true) => {}
                    Ok(false) => {
                        if lacks != 0 && freed == 0 {
                            self.settle(&mut state);
                            // Nothing is lost; but had the provider taken it, there might have been enough.
                            return failure.map_or(Ok((state, None)), |error| Err(error.into()));
                        }
                        lacks = into.len;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
                state.note_committed();
            }
            if let Some(mut found) = state.take_there(site, arrived, asked, &self.host) {
                let granted = |wish: &Wish| (wish.region, wish.start) == (site.region, site.start);
                if let Some(wish) = wish.filter(granted) {
                    state.grant(wish, &mut found);
                }
                return Ok((state, Some(found)));
            }
            // Another has taken what was beside the hole.
            self.settle(&mut state);
        }
        Ok((state, None))
    }

    /// A slab of addresses with room for so many bytes, one hole. `None` when there are none, or the pool has as many slabs as it may.
    pub(super) fn reserve_for<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        least: u64,
    ) -> Result<(MutexGuard<'a, State>, Option<RegionId>), PoolError> {
        let Some((holes, _)) = state.elastic() else { return Ok((state, None)) };
        let granule = holes.granule * u64::from(holes.step);
        let sizes = [holes.reserve, least].map(|size| size.checked_next_multiple_of(granule));
        if state.stats.slabs >= u64::from(self.config.growth.max_slabs) {
            return Ok((state, None));
        }
        self.unlock(state);
        let reserved = self.reserve(sizes);
        state = self.state.lock();
        self.settle(&mut state);
        let Some(slab) = reserved? else { return Ok((state, None)) };
        match state.add_elastic(slab) {
            Ok(region) => {
                self.emit(&Event::SlabAcquired { pool: self.id, slab: slab.id, size: slab.size });
                Ok((state, region))
            }
            Err(error) => {
                self.unlock(state);
                self.host.provider.release(slab.id)?;
                Err(error)
            }
        }
    }

    fn reserve(&self, sizes: [Option<u64>; 2]) -> Result<Option<Slab>, PoolError> {
        let [ordinary, least] = sizes;
        let largest = self.provider.max_slab_size;
        let sizes = [ordinary.max(least), least];
        for size in sizes.into_iter().flatten().filter(|&size| size <= largest) {
            if let Grant::Slab(slab) = self.host.provider.reserve(size)? {
                return Ok(Some(slab));
            }
        }
        Ok(None)
    }

    /// Gives back the memory of whole clean granules of one elastic region, or of all. Returns the bytes.
    fn vacate<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        region: Option<RegionId>,
    ) -> (MutexGuard<'a, State>, u64, Option<SlabError>) {
        let out = state.hollow(u64::MAX, None, region.map_or(Scope::Anywhere, Scope::In));
        if out.is_empty() {
            return (state, 0, None);
        }
        self.unlock(state);
        let (gone, failure) = self.decommit(&out);
        state = self.state.lock();
        let bytes = self.arrive(&mut state, &out, &gone);
        (state, bytes, failure)
    }

    /// [`trim`](crate::Pool::trim)s elastic slabs. `keeps` says of a region's clean bytes whether they stay.
    pub(super) fn trim_elastic<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        keeps: &mut dyn FnMut(u64) -> bool,
    ) -> (MutexGuard<'a, State>, u64, Option<SlabError>) {
        let (mut bytes, mut failure) = (0, None);
        let regions: Vec<_> = match &state.holes {
            Some(holes) => holes.regions.iter().map(|&(region, _)| region).collect(),
            None => return (state, 0, None),
        };
        for region in regions {
            let Some((_, heap)) = state.elastic() else { break };
            let offsets = heap.offsets();
            let clean = offsets.at_least(CLEAN, 1).filter(|&block| offsets.region(block) == region);
            let clean: u64 = clean.map(|block| offsets.size(block)).sum();
            if clean != 0 && keeps(clean) {
                continue;
            }
            let (after, more, failed) = self.vacate(state, Some(region));
            state = after;
            bytes += more;
            failure = failure.or(failed);
        }
        loop {
            let (after, released) = self.release_hollow(state);
            state = after;
            match released {
                Ok(true) => {}
                Ok(false) => return (state, bytes, failure),
                Err(error) => return (state, bytes, failure.or(Some(error))),
            }
        }
    }

    /// Gives back the addresses of an elastic slab that has no memory. Whether there was one.
    fn release_hollow<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> (MutexGuard<'a, State>, Result<bool, SlabError>) {
        let Some((slab, untouched)) = state.take_hollow() else { return (state, Ok(false)) };
        self.unlock(state);
        let released = self.host.provider.release(slab.id);
        state = self.state.lock();
        match released {
            Ok(()) => self.emit(&Event::SlabReleased { pool: self.id, slab: slab.id }),
            Err(_) => {
                // Still held. There was room for it before.
                if let Ok(Some(region)) = state.add_elastic(slab) {
                    state.heap.set_untouched(region, untouched);
                }
            }
        }
        (state, released.map(|()| true))
    }

    /// Gives one empty slab back, the largest, to make room. Whether there was one.
    pub(super) fn give_one_back<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> Result<(MutexGuard<'a, State>, bool), PoolError> {
        if let Some(slab) = state.take_empty() {
            self.unlock(state);
            let released = self.give_slab_back(slab);
            state = self.state.lock();
            released?;
            return Ok((state, true));
        }
        let (state, bytes, failure) = self.vacate(state, None);
        if let Some(error) = failure {
            return Err(error.into());
        }
        let (state, released) = self.release_hollow(state);
        Ok((state, released? || bytes != 0))
    }
}

impl State {
    /// Takes the place that was chosen, if it is clean still. `arrived` bears what was committed for it.
    fn take_there(
        &mut self,
        site: Site,
        arrived: Option<BlockId>,
        asked: &Asked<'_>,
        host: &PoolHost,
    ) -> Option<Found> {
        // Nothing was to be committed: it lies in a block beside the hole.
        let block = arrived.or_else(|| {
            let (holes, heap) = self.elastic()?;
            let hole = holes.list.get(site.hole)?;
            heap.clean_block_beside(hole.block, site.start)
        })?;
        self.find_again(asked, host, &mut |heap, ask, death| {
            heap.take_at(block, site.start, ask, death)
        })
    }
}
