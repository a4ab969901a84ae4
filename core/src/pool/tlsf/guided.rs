//! A TLSF pool that follows a plan: where the plan has a request is tried first, and no promise of the pool depends on it.
//!
//! ```text
//!   match the request ─▶ its place is free and ready ─▶ planned
//!          └──────────────────┴─ no ─▶ as any TLSF pool ─▶ strayed
//! ```
//!
//! The plan's memory is the first slab that is large enough; as long as there is none, the pool grows by one of the plan's size
//! first. What is placed by the plan is a block of the heap like any other: deaths, budgets, waits and trim know of no plan.

use super::heap::placed::At;
use super::{Found, Seek, State};
use crate::Frontier;
use crate::offset::tlsf::{BlockId, Need};
use crate::pool::planned::{Guess, Key};
use crate::pool::{PoolHost, Request};

impl State {
    #[inline(always)]
    pub(super) fn propose(&self, key: Key) -> Option<Guess> {
        self.follower.as_ref().and_then(|follower| follower.propose(key))
    }

    /// A request was granted where the plan does not have it.
    #[inline(always)]
    pub(super) fn stray(&mut self, key: Key, guess: Option<Guess>) {
        if let Some(follower) = self.follower.as_mut() {
            follower.stray(key, guess);
        }
    }

    /// The plan has no slab, and would have one that the request fits.
    pub(super) fn plan_wants(&self, bytes: u64) -> Option<u64> {
        self.follower.as_ref()?.wants().filter(|&wanted| wanted >= bytes)
    }

    /// Requests that were placed where the plan has them.
    pub(super) fn planned(&self) -> u64 {
        self.follower.as_ref().map_or(0, |follower| follower.planned())
    }

    /// A request that was found on one of the ways of every pool, unless the plan's was one of them.
    pub(super) fn stray_unless_planned(&mut self, key: Option<Key>, planned_before: u64) {
        if let Some(key) = key
            && self.planned() == planned_before
        {
            let guess = self.propose(key);
            self.stray(key, guess);
        }
    }

    /// What the plan has for a request, asked once more.
    #[inline(never)]
    pub(super) fn find_placed_again(
        &mut self,
        key: Key,
        need: Need,
        request: &Request<'_>,
        may_wait: bool,
        host: &PoolHost,
        wait: &mut Option<Frontier>,
    ) -> Option<Found> {
        let guess = self.propose(key)?;
        self.find_placed(key, guess, need, request, may_wait, host, wait)
    }

    /// Takes the place that the plan has for a request, if it is free and ready, or the requester may wait for it.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "what a request is, and what was guessed of it")]
    pub(super) fn find_placed(
        &mut self,
        key: Key,
        guess: Guess,
        need: Need,
        request: &Request<'_>,
        may_wait: bool,
        host: &PoolHost,
        wait: &mut Option<Frontier>,
    ) -> Option<Found> {
        let heap = self.engine.heap()?;
        let begins = |block, region, start| {
            heap.offsets().begins_at(BlockId::from_index(block), region, start)
        };
        let (region, start, near) = self.follower.as_mut()?.place(guess, begins)?;
        let at = At { region, start, near: near.map(BlockId::from_index), may_wait };
        let (taken, ticket) =
            self.take(Seek::Ready, need, request, host, |engine, ask, death| {
                let heap = engine.heap_mut()?;
                heap.acquire_at(at, need, ask.frontier, ask.progress, ask.requested, death)
            })?;
        let found = if may_wait {
            self.found_after_wait(taken, ticket, request, host, wait)
        } else {
            let origin = self.origin(taken, &ticket, host);
            self.found(taken, request, ticket, Some(origin))
        };
        if found.is_some()
            && let Some(follower) = self.follower.as_mut()
        {
            follower.place_taken(key, guess, taken.block.index());
        }
        found
    }
}
