//! A TLSF pool that follows a plan: where the plan has a request is tried first, and no promise of the pool depends on it.
//!
//! ```text
//!   match the request ─▶ its place is free and ready ─▶ planned
//!          └──────────────────┴─ no ─▶ as any TLSF pool ─▶ strayed
//! ```
//!
//! The plan's memory is the first slab that is large enough; as long as there is none, the pool grows by one of the plan's size
//! first. Over a provider of elastic slabs that one is elastic too, see [`housed`](super::housed). What is placed by the plan is a
//! block of the heap like any other: deaths, budgets, waits and trim know of no plan.

use super::heap::At;
use super::state::{Asked, Found, State};
use crate::offset::tlsf::{BlockId, RegionId};
use crate::pool::PoolHost;
use crate::pool::planned::{Guess, Key};

/// Where the plan has a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) region: RegionId,
    /// First granule.
    pub(super) start: u32,
    key: Key,
    guess: Guess,
}

impl State {
    /// A request was granted where the plan does not have it, as this block.
    pub(super) fn stray(&mut self, asked: &Asked<'_>, block: u32) {
        if let (Some(key), Some(follower)) = (asked.key, self.follower.as_mut()) {
            let guess = follower.propose(key);
            follower.stray(key, guess, block);
        }
    }

    /// The plan has no slab, and would have one that the request fits.
    pub(super) fn plan_wants(&self, bytes: u64) -> Option<u64> {
        self.follower.as_ref()?.wants().filter(|&wanted| wanted >= bytes)
    }

    /// Where the plan has a request: to be tried before other places that have no memory yet.
    pub(super) fn wish(&self, asked: &Asked<'_>) -> Option<Wish> {
        let (key, follower) = (asked.key?, self.follower.as_ref()?);
        let guess = follower.propose(key)?;
        let (region, start) = follower.spot(guess)?;
        Some(Wish { region, start, key, guess })
    }

    /// A request got what it wished for.
    pub(super) fn grant(&mut self, wish: Wish, found: &mut Found) {
        found.is_planned = true;
        if let Some(follower) = self.follower.as_mut() {
            follower.place_taken(wish.key, wish.guess, found.ticket.block);
        }
    }

    /// A new plan asks for its slab with the first request that the slab would hold.
    pub(super) fn plan_asks(&mut self, asked: &Asked<'_>) -> Option<u64> {
        asked.key?;
        self.follower.as_mut()?.asks()
    }

    /// Takes the place that the plan has for a request, if it is free and ready, or the requester may wait for it.
    #[inline(always)]
    pub(super) fn find_planned(
        &mut self,
        asked: &Asked<'_>,
        may_wait: bool,
        host: &PoolHost,
    ) -> Option<Found> {
        let (key, follower) = (asked.key?, self.follower.as_mut()?);
        let guess = follower.propose(key)?;
        let offsets = self.heap.offsets();
        let begins =
            |block, region, start| offsets.begins_at(BlockId::from_index(block), region, start);
        let (region, start, near) = follower.place(guess, begins)?;
        let at = At { region, start, near: near.map(BlockId::from_index), may_wait };
        let found = if may_wait {
            self.find_to_wait(asked, host, &mut |heap, ask, death| heap.acquire_at(at, ask, death))
        } else {
            self.find(asked, host, |heap, ask, death| heap.acquire_at(at, ask, death))
        };
        let mut found = found?;
        found.is_planned = true;
        if let Some(follower) = self.follower.as_mut() {
            follower.place_taken(key, guess, found.ticket.block);
        }
        Some(found)
    }

    /// Takes a place where a stray disturbs the plan least, if there is a good one.
    #[inline(always)]
    pub(super) fn find_gap(&mut self, asked: &Asked<'_>, host: &PoolHost) -> Option<Found> {
        let (key, follower) = (asked.key?, self.follower.as_mut()?);
        let (heap, need) = (&self.heap, asked.need);
        let free = |visit: &mut dyn FnMut(BlockId, RegionId, u32, u32)| {
            heap.free_for(need, asked.request.frontier, visit);
        };
        let guess = follower.propose(key);
        let (region, start, near) = follower.gap(guess, need.units(), need.align(), free)?;
        let at = At { region, start, near, may_wait: false };
        self.find_again(asked, host, &mut |heap, ask, death| heap.acquire_at(at, ask, death))
    }
}
