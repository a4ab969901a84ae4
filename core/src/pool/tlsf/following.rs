//! The way into a TLSF pool that [follows a plan](super::guided): only in builds with the feature `planned`.

use super::heap::placed::At;
use super::{Coalescing, Found, Seek, State, TlsfPool, TlsfPoolConfig};
use crate::offset::tlsf::{BlockId, Need, RegionId};
use crate::pool::planned::{Follower, Guess, Key};
use crate::pool::{Acquire, PoolError, PoolHost, Request};
use alloc::boxed::Box;

impl TlsfPool {
    /// A pool that follows a plan. The plan's slab is not elastic: the plan says how much memory it needs. What strays may grow in
    /// place.
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
        let pool = Self::new(host, config)?;
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

    /// [`acquire`](crate::Pool::acquire), where the plan has the request if that can be. The stream is compared if it is known.
    pub(in crate::pool) fn acquire_following(
        &self,
        request: &Request<'_>,
        stream: Option<u32>,
    ) -> Result<Acquire, PoolError> {
        let need = self.need(request)?;
        let key = Key::new(need.units(), need.align(), stream);
        let observed = self.notification.observe();
        let mut state = self.state.lock();
        self.settle(&mut state);
        if !self.allows(&state, need) {
            return self.acquire_otherwise(state, need, request, observed, false, Some(key));
        }
        let mut wait = None;
        let guess = state.propose(key);
        if let Some(guess) = guess {
            let may_wait = self.packs(request);
            let found =
                state.find_placed(key, guess, need, request, may_wait, &self.host, &mut wait);
            if let Some(found) = found {
                self.unlock(state);
                return Ok(self.reserved(found, request, wait));
            }
        }
        let beside = state.find_gap(guess, need, request, &self.host);
        match beside.map_or_else(|| self.find_first(&mut state, need, request), Ok) {
            Ok(found) => {
                state.stray(key, guess);
                self.unlock(state);
                Ok(self.reserved(found, request, None))
            }
            Err(searched) => {
                self.acquire_otherwise(state, need, request, observed, searched, Some(key))
            }
        }
    }
}

impl State {
    /// Takes a place where a stray disturbs the plan least, if there is a good one.
    #[inline(never)]
    fn find_gap(
        &mut self,
        guess: Option<Guess>,
        need: Need,
        request: &Request<'_>,
        host: &PoolHost,
    ) -> Option<Found> {
        let heap = self.engine.heap()?;
        let free = |visit: &mut dyn FnMut(BlockId, RegionId, u32, u32)| {
            heap.free_for(need, request.frontier, visit);
        };
        let follower = self.follower.as_mut()?;
        let (region, start, near) = follower.gap(guess, need.units(), need.align(), free)?;
        let at = At { region, start, near, may_wait: false };
        let (taken, ticket) =
            self.take(Seek::Ready, need, request, host, |engine, ask, death| {
                let heap = engine.heap_mut()?;
                heap.acquire_at(at, need, ask.frontier, ask.progress, ask.requested, death)
            })?;
        let origin = self.origin(taken, &ticket, host);
        self.found(taken, request, ticket, Some(origin))
    }
}
