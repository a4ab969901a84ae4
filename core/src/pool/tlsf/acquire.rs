//! The way of an acquire.
//!
//! ```text
//!   hot slot ─▶ lock, settle ─▶ first look ─▶ every look ─▶ grow ─▶ again, a few times ─▶ refuse
//!                       │             ├ where a plan has it          each time with an observation
//!                       ▼             ├ (to pack) the tightest       from before the look
//!                     answer          ├ ready
//!                                     ├ poll every axis: ready, all that is covered
//!                                     └ (may wait) ready soonest
//! ```
//!
//! A batch is this again and again under one lock, an exchange a release and this under one lock.

use super::heap::Heap;
use super::state::{Asked, Found, State};
use super::{Holes, MAX_GROWTHS, TlsfPool, Waiting, slots};
use crate::Frontier;
use crate::inspect::Event;
use crate::notification::Observation;
use crate::pool::{Acquire, PoolError, Request, Reservation, Token};
use crate::sync::MutexGuard;

impl TlsfPool {
    /// What the request comes to, if this pool could ever serve it.
    #[inline(always)]
    pub(super) fn asked<'r>(&self, request: &'r Request<'r>) -> Result<Asked<'r>, PoolError> {
        request.validate()?;
        let most = self.most;
        let too_large = PoolError::TooLarge { size: request.size, max: most };
        if request.size > most {
            return Err(too_large);
        }
        if request.alignment > self.provider.alignment {
            // An offset can be no better aligned than the slab it counts from.
            return Err(PoolError::InvalidAlignment { alignment: request.alignment });
        }
        let need = self.config.offsets.need(request.size, request.alignment).ok_or(too_large)?;
        Ok(Asked { request, need, key: None })
    }

    /// Memory that goes from hand to hand. `None` says nothing of the request, not even that it is valid.
    #[inline(always)]
    pub(super) fn acquire_hot(&self, request: &Request<'_>) -> Option<Acquire> {
        let (slots, progress) = (self.slots()?, &*self.host.progress);
        // What lies there was asked for with this size, but not with this alignment.
        if !request.alignment.is_power_of_two() || request.alignment > self.provider.alignment {
            return None;
        }
        // What was released before is looked at first, or the most that ever waited would not be known.
        if !self.inbox.is_empty() {
            return None;
        }
        let inbox = |ticket| self.inbox.push(ticket);
        let (ticket, origin) = slots.take(slots::mine()?, request, progress, inbox)?;
        let (slab, offset, ready) = (ticket.slab, ticket.offset, Some(origin));
        let found = Found { slab, offset, ticket, ready, is_planned: false };
        Some(self.reserved(found, request, None))
    }

    /// An acquire under the lock.
    #[inline(always)]
    pub(super) fn acquire_as(&self, asked: &Asked<'_>) -> Result<Acquire, PoolError> {
        let mut state = self.state.lock();
        self.settle(&mut state);
        match self.look_first(&mut state, asked) {
            Ok(found) => Ok(self.answer(state, found, asked)),
            Err(searched) => self.acquire_otherwise(state, asked, searched),
        }
    }

    /// The usual case: memory that is ready, before anything else is considered. `Err` says whether it was looked for.
    #[inline(always)]
    pub(super) fn look_first(&self, state: &mut State, asked: &Asked<'_>) -> Result<Found, bool> {
        state.heap.poll_next(&*self.host.progress);
        if asked.key.is_some()
            || self.packs(asked)
            || self.is_large(asked)
            || !self.allows(state, asked)
        {
            return Err(false);
        }
        state.find(asked, &self.host, Heap::acquire).ok_or(true)
    }

    /// The rest of an acquire, when the [first look](Self::look_first) has found nothing, or was not allowed.
    #[inline(never)]
    pub(super) fn acquire_otherwise<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        asked: &Asked<'_>,
        mut searched: bool,
    ) -> Result<Acquire, PoolError> {
        // Memory is moved only for who may have the provider asked for some.
        if asked.request.may_grow && state.begins_step(asked) {
            state = self.restore_plan(state);
        }
        let (mut observed, news) = self.look_again(&mut state);
        searched &= !news;
        if state.look_aside(&self.host) {
            (searched, state.untold) = (false, true);
        }
        let mut missed = false;
        let mut may_grow = asked.request.may_grow;
        let mut growths = 0;
        if may_grow
            && self.allows(&state, asked)
            && let Some(bytes) = state.plan_asks(asked)
        {
            state = self.grow_for_plan(state, bytes)?;
            (observed, _) = self.look_again(&mut state);
        }
        if may_grow && self.is_large(asked) && self.allows(&state, asked) {
            state = self.spare_empty(state, asked)?;
            // The lock was given up in between.
            (observed, _) = self.look_again(&mut state);
        }
        loop {
            let allowed = self.allows(&state, asked);
            if allowed && let Some(found) = self.look(&mut state, asked, searched, &mut missed) {
                return Ok(self.answer(state, found, asked));
            }
            searched = false;
            if allowed && may_grow {
                let size = state.heap.bytes(asked.need);
                if state.holes.is_some() {
                    if let Some(wanted) = state.plan_wants(size) {
                        let (after, is_housed) = self.house(state, wanted)?;
                        state = after;
                        if is_housed {
                            (observed, _) = self.look_again(&mut state);
                            continue;
                        }
                    }
                    let (after, found) = self.grow_in_place(state, asked)?;
                    state = after;
                    if let Some(found) = found {
                        return Ok(self.answer(state, found, asked));
                    }
                }
                // The worst that alignment can cost inside a slab, whose start is aligned: nothing.
                let (after, granted) = self.grow_or_make_room(state, size)?;
                state = after;
                growths += 1;
                // If it was refused, what was released in the meantime may do.
                may_grow = granted.is_some() && growths < MAX_GROWTHS;
                if let Some(slab) = granted {
                    self.add_slab(&mut state, slab)?;
                    state.untold |= slab.size > size;
                    self.emit(&Event::SlabAcquired {
                        pool: self.id,
                        slab: slab.id,
                        size: slab.size,
                    });
                }
                (observed, _) = self.look_again(&mut state);
            } else if state.is_news() {
                // The signal was for this requester too: it looks again, from a later observation.
                self.unlock(state);
                state = self.state.lock();
                (observed, _) = self.look_again(&mut state);
            } else if allowed {
                state.stats.exhausted += 1;
                let elastic = state.holes.as_ref().map_or(0, Holes::largest_stretch);
                let largest = state.largest_slab.max(elastic);
                let growth_required = state.heap.bytes(asked.need) > largest;
                self.unlock(state);
                return Ok(Acquire::Exhausted { observed, growth_required });
            } else {
                state.stats.over_budget += 1;
                self.unlock(state);
                return Ok(Acquire::OverBudget { observed });
            }
        }
    }

    /// Observes the notification, then settles whatever was released before that, wherever it is. Whether there was any.
    fn look_again(&self, state: &mut State) -> (Observation, bool) {
        let observed = self.notification.observe();
        (observed, self.settle(state) | self.empty_slots(state))
    }

    /// Every way to an answer but growth. `searched`: what is ready on the usual way was looked for already.
    fn look(
        &self,
        state: &mut State,
        asked: &Asked<'_>,
        searched: bool,
        missed: &mut bool,
    ) -> Option<Found> {
        let host = &self.host;
        let ready = |state: &mut State| state.find_again(asked, host, &mut Heap::acquire);
        if !searched {
            let packs = self.packs(asked);
            let found = state
                .find_planned(asked, packs, host)
                .or_else(|| state.find_gap(asked, host))
                .or_else(|| {
                    packs.then(|| state.find_to_wait(asked, host, &mut Heap::acquire_compact))?
                })
                .or_else(|| ready(state));
            if found.is_some() {
                return found;
            }
        }
        if !*missed {
            *missed = true;
            state.stats.missed += 1;
        }
        let moved = state.poll_all(host);
        let found = moved.then(|| ready(state)).flatten();
        let found = found.or_else(|| state.find_again(asked, host, &mut Heap::acquire_covered));
        if found.is_some() || !asked.request.may_wait {
            return found;
        }
        state
            .find_planned(asked, true, host)
            .or_else(|| state.find_to_wait(asked, host, &mut Heap::acquire_pending))
    }

    /// The request may wait, and waiting is for packing.
    #[inline]
    pub(super) fn packs(&self, asked: &Asked<'_>) -> bool {
        asked.request.may_wait && self.config.waiting == Waiting::PreferCompact
    }

    /// Whether a block may be too large to break up an empty slab for it.
    #[inline]
    fn is_large(&self, asked: &Asked<'_>) -> bool {
        self.large.is_some_and(|(units, _)| asked.need.units() > units)
    }

    #[inline]
    fn allows(&self, state: &State, asked: &Asked<'_>) -> bool {
        self.config.budget.allows(state.reserved_bytes(), state.heap.bytes(asked.need))
    }

    /// Ends an acquire that has found something.
    #[inline(always)]
    fn answer(&self, mut state: MutexGuard<'_, State>, found: Found, asked: &Asked<'_>) -> Acquire {
        self.take_note(&mut state, &found, asked);
        if found.ready.is_some() {
            self.unlock(state);
            return self.reserved(found, asked.request, None);
        }
        let wait = core::mem::take(&mut state.wait);
        self.unlock(state);
        self.reserved(found, asked.request, Some(wait))
    }

    /// Something was found: writes down what only the pool knows.
    #[inline(always)]
    pub(super) fn take_note(&self, state: &mut State, found: &Found, asked: &Asked<'_>) {
        if asked.key.is_some() && !found.is_planned {
            state.stray(asked, found.ticket.block);
        }
        if state.is_peak {
            self.empty_slots(state);
            state.note_peaks();
        }
    }

    /// The answer to a request for which something was found.
    #[inline(always)]
    pub(super) fn reserved(
        &self,
        found: Found,
        request: &Request<'_>,
        wait: Option<Frontier>,
    ) -> Acquire {
        let (Found { slab, offset, ticket, ready, .. }, size) = (found, request.size);
        self.emit(&Event::Reserved { pool: self.id, slab, offset, size });
        let token = Token::Ticket(ticket);
        let reservation = Reservation { pool: self.id, slab, offset, size, token };
        match ready {
            Some(origin) => Acquire::Ready { reservation, origin },
            None => Acquire::AfterWait { reservation, wait: wait.unwrap_or_default() },
        }
    }

    /// Ends a look at the state. Those who wait are told if it found out that there is memory which they may be able to use.
    #[inline(always)]
    pub(super) fn unlock(&self, mut state: MutexGuard<'_, State>) {
        let is_news = state.is_news();
        state.tell();
        if let Some(slots) = self.slots() {
            slots.leave_room(state.pending_room());
        }
        drop(state);
        if is_news {
            self.notification.signal_if_observed();
        }
    }
}
