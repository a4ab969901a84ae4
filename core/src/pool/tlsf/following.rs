//! The way into a TLSF pool that [follows a plan](super::guided): only in builds with the feature `planned`.

use super::state::State;
use super::{Coalescing, TlsfPool, TlsfPoolConfig};
use crate::pool::planned::{Follower, Key, Recording};
use crate::pool::{Acquire, PoolError, PoolHost, Request};
use alloc::boxed::Box;

impl TlsfPool {
    /// A pool that follows a plan. Over a provider of elastic slabs the plan's slab is elastic; its memory is committed first.
    ///
    /// # Errors
    /// As [`new`](Self::new); and eager merging, which has no places.
    pub(in crate::pool) fn following(
        host: PoolHost,
        config: TlsfPoolConfig,
        follower: Follower,
    ) -> Result<Self, PoolError> {
        if config.coalescing == Coalescing::Eager {
            return Err(PoolError::InvalidConfig("a planned pool cannot merge eagerly"));
        }
        let mut pool = Self::new(host, config)?;
        // What goes from hand to hand stands where no plan has it.
        pool.slots = None;
        let mut state = pool.state.lock();
        state.follower = Some(Box::new(follower));
        drop(state);
        Ok(pool)
    }

    /// Looks at the plan or changes it, under the lock. `None` without one.
    pub(in crate::pool) fn with_follower<T>(
        &self,
        look: impl FnOnce(&mut Follower) -> T,
    ) -> Option<T> {
        self.state.lock().follower.as_deref_mut().map(look)
    }

    /// The same at a step's boundary: what was released before belongs to the step before.
    pub(in crate::pool) fn at_boundary<T>(
        &self,
        look: impl FnOnce(&mut Follower) -> T,
    ) -> Option<T> {
        let mut state = self.state.lock();
        self.settle(&mut state);
        let seen = state.follower.as_deref_mut().map(look);
        self.unlock(state);
        seen
    }

    /// The last whole step that was recorded, once, and whether nothing of it strayed.
    pub(in crate::pool) fn take_recording(&self) -> Option<(Recording, bool)> {
        let mut state = self.state.lock();
        self.settle(&mut state);
        let State { heap, follower, .. } = &mut *state;
        let (offsets, granule) = (heap.offsets(), self.config.offsets.granule);
        let live = |region, visit: &mut dyn FnMut(u32, u32, u32)| {
            for block in offsets.blocks(region).filter(|&block| offsets.is_live(block)) {
                let (start, units) = offsets.extent(block);
                visit(block.index(), start, units);
            }
        };
        let recording =
            follower.as_deref_mut().and_then(|follower| follower.take_recording(granule, live));
        self.unlock(state);
        recording
    }

    /// [`acquire`](crate::Pool::acquire), where the plan has the request if that can be. The stream is compared if it is known.
    pub(in crate::pool) fn acquire_following(
        &self,
        request: &Request<'_>,
        stream: Option<u32>,
    ) -> Result<Acquire, PoolError> {
        let mut asked = self.asked(request)?;
        asked.key = Some(Key::new(asked.need.units(), asked.need.align(), stream));
        self.acquire_as(&asked)
    }
}
