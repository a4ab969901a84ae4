//! Which kept slab a request gets: one that is covered, then a clean one, then one that is worth waiting for.

use super::{Kept, PassthroughPool, Slot, State};
use crate::pool::counters::{Kind, bump};
use crate::pool::inbox::{Ticket, to_wait_for};
use crate::pool::{Acquire, Origin, Request, Reservation, ReuseProof, Token};
use crate::sync::atomic::Ordering;
use crate::{Axis, Death, Epoch};

/// Where a search under the lock leads.
pub(super) enum Next {
    Answer(Acquire),
    OverBudget,
    /// A slab of the class is promised, when the budget had turned so many away.
    Grow {
        turned_away: u64,
    },
    /// `full`: no more slabs may be held, unless clean ones go.
    Refuse {
        growth_required: bool,
        full: bool,
    },
}

impl PassthroughPool {
    /// Moves on what has been reached in one class. Whether there was any.
    pub(super) fn advance(&self, slots: &[Option<Slot>], kept: &mut Kept) -> bool {
        let Kept { waiting, still, clean, .. } = kept;
        if still.stands(&self.host) {
            return false;
        }
        waiting.advance(&|entry| self.has_reached(entry), &mut |block| {
            let size = slots[block as usize].map_or(0, |slot| slot.slab.size);
            self.counters.pending.sub(size);
            clean.push(block);
        })
    }

    /// Makes a slab live.
    pub(super) fn revive(
        &self,
        state: &mut State,
        block: u32,
        kind: Kind,
        was_pending: bool,
        request: &Request<'_>,
    ) -> Option<Reservation> {
        let slot = state.slots.get_mut(block as usize)?.as_mut()?;
        slot.live = true;
        slot.requested = request.size;
        let slot = *slot;
        self.counters.reserved.add(slot.slab.size);
        self.counters.acquired(kind, request.size);
        let mut ticket = state.tickets.pop().unwrap_or_else(Ticket::new);
        ticket.block = block;
        ticket.requested = slot.slab.size;
        // For a cancel.
        let death = if was_pending {
            self.counters.pending.sub(slot.slab.size);
            state.kept(slot.class).waiting.death_of(block)
        } else {
            Death::Idle
        };
        ticket.write(death, &|entry| self.has_reached(entry));
        Some(Reservation {
            pool: self.id,
            slab: slot.slab.id,
            offset: 0,
            size: request.size,
            token: Token::Ticket(ticket),
        })
    }

    /// Hands a kept slab out that waited: after what is left to wait for, if anything is.
    fn revive_waiting(
        &self,
        state: &mut State,
        block: u32,
        request: &Request<'_>,
    ) -> Option<Acquire> {
        let class = state.slots.get(block as usize)?.as_ref()?.class;
        let death = state.kept(class).waiting.take(block)?;
        let wait = to_wait_for(death, request.frontier, &|entry| self.has_reached(entry));
        let over = || death.entries().iter().all(|&entry| self.has_reached(entry));
        let (kind, proof) = match wait.is_empty() {
            false => (Kind::Waited, None),
            true if over() => (Kind::Completed, Some(ReuseProof::Completion)),
            true => (Kind::Dominated, Some(ReuseProof::Dominance)),
        };
        let reservation = self.revive(state, block, kind, true, request)?;
        Some(match proof {
            Some(proof) => Acquire::Ready { reservation, origin: Origin::Reused(proof) },
            None => Acquire::AfterWait { reservation, wait },
        })
    }

    /// A kept slab that may be used at once. `moved`: others may be usable now, or nearer to it.
    fn find(
        &self,
        state: &mut State,
        (class, bytes): (u32, u64),
        request: &Request<'_>,
        moved: &mut bool,
    ) -> Option<Acquire> {
        let place = class as usize;
        let suits = |state: &State, block| self.suits(state, bytes, block);
        let covered = |state: &State| {
            let suits = |block| suits(state, block);
            state.kept[place].waiting.find_covered(request.frontier, &suits)
        };
        if let Some(block) = covered(state) {
            return self.revive_waiting(state, block, request);
        }
        let State { slots, kept, .. } = state;
        if self.advance(slots, &mut kept[place]) {
            *moved = true;
            // What waits for fewer axes now may be covered on the rest.
            if let Some(block) = covered(state) {
                return self.revive_waiting(state, block, request);
            }
        }
        let suiting = |&block: &u32| suits(state, block);
        let last = state.kept[place].clean.iter().rposition(suiting)?;
        let block = state.kept[place].clean.swap_remove(last);
        let used = state.slots[block as usize].is_some_and(|slot| slot.used);
        let (kind, origin) = if used {
            (Kind::Completed, Origin::Reused(ReuseProof::Completion))
        } else {
            (Kind::Fresh, Origin::Fresh)
        };
        let reservation = self.revive(state, block, kind, false, request)?;
        Some(Acquire::Ready { reservation, origin })
    }

    /// Whether the budget, which has room for the bytes of the class, has it for the slab, should the provider have given more.
    fn suits(&self, state: &State, bytes: u64, block: u32) -> bool {
        let size = state.slots[block as usize].map_or(0, |slot| slot.slab.size);
        size <= bytes || self.allows(state, size)
    }

    fn find_soonest(
        &self,
        state: &mut State,
        (class, bytes): (u32, u64),
        request: &Request<'_>,
    ) -> Option<Acquire> {
        let known = |axis: Axis| -> Epoch {
            self.host.progress.reached(axis).max(request.frontier.get(axis))
        };
        let suits = |block| self.suits(state, bytes, block);
        let (_, block) = state.kept[class as usize].waiting.soonest(&known, &suits)?;
        self.revive_waiting(state, block, request)
    }

    /// What to do about a request. `first`: it was not looked for before.
    pub(super) fn search(
        &self,
        bytes: u64,
        request: &Request<'_>,
        (first, may_grow): (bool, bool),
        moved: &mut bool,
    ) -> Next {
        let state = &mut *self.state.lock();
        self.sort_inbox(state);
        if !self.allows(state, bytes) {
            return Next::OverBudget;
        }
        let class = state.class(bytes);
        if let Some(class) = class
            && let Some(found) = self.find(state, (class, bytes), request, moved)
        {
            return Next::Answer(found);
        }
        if first {
            bump(&self.counters.missed);
        }
        if request.may_wait
            && let Some(class) = class
            && let Some(found) = self.find_soonest(state, (class, bytes), request)
        {
            return Next::Answer(found);
        }
        let full = state.held >= self.config.max_slabs;
        if !may_grow || full {
            let growth_required = state.lacks(bytes);
            return Next::Refuse { growth_required, full: may_grow && full };
        }
        state.held += 1;
        state.promised += bytes;
        Next::Grow { turned_away: self.counters.over_budget.load(Ordering::Relaxed) }
    }
}
