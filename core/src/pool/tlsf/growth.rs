//! Growth: slabs from the provider and back to it, outside the lock.

use super::state::State;
use super::untouched::Untouched;
use super::{TlsfPool, config_error};
use crate::inspect::Event;
use crate::pool::PoolError;
use crate::pool::growth::Growth;
use crate::slab::{Grant, Slab, SlabError};
use crate::sync::MutexGuard;

impl TlsfPool {
    /// Adds a slab for a request that found nothing, outside the lock. `None`: refused.
    pub(super) fn grow(
        &self,
        sizes: impl IntoIterator<Item = Option<u64>>,
    ) -> Result<Option<Slab>, PoolError> {
        for size in sizes.into_iter().flatten() {
            if let Grant::Slab(slab) = self.host.provider.acquire(size)? {
                return Ok(Some(slab));
            }
        }
        Ok(None)
    }

    /// A slab of so many bytes for a plan, beside what there is, outside the lock. If it is refused, the plan waits until the pool grows.
    pub(super) fn grow_for_plan<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        bytes: u64,
    ) -> Result<MutexGuard<'a, State>, PoolError> {
        let of_plan = Growth { slab_size: 0, ..self.config.growth };
        let sizes = of_plan.candidates(bytes, state.stats.slabs, &self.provider);
        self.unlock(state);
        let granted = self.grow(sizes)?;
        let mut state = self.state.lock();
        if let Some(slab) = granted {
            self.add_slab(&mut state, slab)?;
            state.untold = true;
            self.emit(&Event::SlabAcquired { pool: self.id, slab: slab.id, size: slab.size });
        }
        Ok(state)
    }

    /// A slab for so many bytes, for which empty ones are given back as long as the pool holds as many as it may, or the
    /// provider has no capacity: the fewest that make room.
    pub(super) fn grow_or_make_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        size: u64,
    ) -> Result<(MutexGuard<'a, State>, Option<Slab>), PoolError> {
        let growth = &self.config.growth;
        if growth.candidates(size, 0, &self.provider) == [None; 2] {
            return Ok((state, None));
        }
        loop {
            let sizes = growth.candidates(size, state.stats.slabs, &self.provider);
            // A plan that has no slab comes first, if that is one the request fits.
            let of_plan = Growth { slab_size: 0, ..*growth };
            let plan = state.plan_wants(size).and_then(|wanted| {
                of_plan.candidates(wanted, state.stats.slabs, &self.provider)[0]
            });
            self.unlock(state);
            let granted = self.grow(core::iter::once(plan).chain(sizes))?;
            state = self.state.lock();
            self.settle(&mut state);
            if granted.is_some() {
                return Ok((state, granted));
            }
            let (after, made_room) = self.give_one_back(state)?;
            state = after;
            if !made_room {
                return Ok((state, None));
            }
        }
    }

    /// Gives a slab back that is out of the heap. What the provider does not take serves on.
    pub(super) fn give_slab_back(
        &self,
        (slab, untouched): (Slab, Untouched),
    ) -> Result<(), SlabError> {
        match self.host.provider.release(slab.id) {
            Ok(()) => {
                self.emit(&Event::SlabReleased { pool: self.id, slab: slab.id });
                Ok(())
            }
            Err(error) => {
                // There was room for it before.
                let mut state = self.state.lock();
                if let Ok(region) = state.heap.add_region(slab.size) {
                    state.heap.set_untouched(region, untouched);
                    state.add_slab(region, slab);
                }
                Err(error)
            }
        }
    }

    /// Makes a granted slab a region, or gives it back.
    pub(super) fn add_slab(&self, state: &mut State, slab: Slab) -> Result<(), PoolError> {
        match state.heap.add_region(slab.size) {
            Ok(region) => {
                state.add_slab(region, slab);
                Ok(())
            }
            Err(error) => {
                self.host.provider.release(slab.id)?;
                Err(config_error(error))
            }
        }
    }
}
