//! Which bytes a request gets: behind the last part of a generation, then in a gap, then after a wait.

use super::{ArenaPool, PART_BITS, Part, PartState, State};
use crate::pool::counters::{Kind, bump};
use crate::pool::inbox::Ticket;
use crate::pool::{Acquire, Origin, Request, Reservation, ReuseProof, Token};

impl ArenaPool {
    /// Takes a part of a generation where it is free.
    fn take(
        &self,
        state: &mut State,
        at: usize,
        offset: u64,
        kind: Kind,
        size: u64,
    ) -> Option<Reservation> {
        let State { ring, generations, opened, tickets, .. } = state;
        let generation = &mut generations[at];
        let slab = generation.slab?;
        let index = generation.parts.len();
        if index >= 1 << PART_BITS || !ring.take(at, offset, size) {
            return None;
        }
        generation.parts.push(Part { offset, size, state: PartState::Live });
        if generation.counted != [0; 2] {
            *opened |= generation.past.differs();
            let taken = generation.past.bytes(offset, offset + size);
            self.counted(generation, taken, true);
        }
        self.counters.reserved.add(size);
        self.counters.acquired(kind, size);
        let mut ticket = tickets.pop().unwrap_or_else(Ticket::new);
        ticket.requested = 0;
        ticket.block = (at as u32) << PART_BITS | index as u32;
        Some(Reservation {
            pool: self.id,
            slab: slab.id,
            offset,
            size,
            token: Token::Ticket(ticket),
        })
    }

    /// Looks for room that may be used now, or after a wait. `first`: not before.
    pub(super) fn find(
        &self,
        state: &mut State,
        request: &Request<'_>,
        first: bool,
    ) -> Option<Acquire> {
        let &Request { size, alignment, frontier, .. } = request;
        let reached = |entry| self.has_reached(entry);
        // Behind the last part.
        for at in state.ring.order() {
            let Some(offset) = state.ring.fit(at, size, alignment) else { continue };
            let past = &state.generations[at].past;
            if let Ok(kind) = past.judge(offset, offset + size, frontier, &reached)
                && let Some(found) = self.ready(state, at, offset, kind, size)
            {
                return Some(found);
            }
        }
        if first {
            bump(&self.counters.missed);
        }
        for at in state.ring.order() {
            let State { ring, generations, .. } = state;
            let past = &generations[at].past;
            let may = |offset| past.judge(offset, offset + size, frontier, &reached);
            if let Some((offset, kind)) = ring.seek(at, size, alignment, may)
                && let Some(found) = self.ready(state, at, offset, kind, size)
            {
                return Some(found);
            }
        }
        if !request.may_wait {
            return None;
        }
        // The first in order is the one that was released first.
        for at in state.ring.order() {
            let State { ring, generations, .. } = state;
            let past = &generations[at].past;
            let may = |offset| past.wait(offset, offset + size, frontier, &reached);
            let behind = ring.fit(at, size, alignment).and_then(|at| Some((at, may(at).ok()?)));
            let found = behind.or_else(|| ring.seek(at, size, alignment, may));
            let Some((offset, wait)) = found else { continue };
            if wait.is_empty() {
                // An axis has got there since the search for what is ready.
                if let Ok(kind) = past.judge(offset, offset + size, frontier, &reached) {
                    return self.ready(state, at, offset, kind, size);
                }
                continue;
            }
            if let Some(reservation) = self.take(state, at, offset, Kind::Waited, size) {
                return Some(Acquire::AfterWait { reservation, wait });
            }
        }
        None
    }

    fn ready(
        &self,
        state: &mut State,
        at: usize,
        offset: u64,
        kind: Kind,
        size: u64,
    ) -> Option<Acquire> {
        let origin = match kind {
            Kind::Fresh => Origin::Fresh,
            Kind::Dominated => Origin::Reused(ReuseProof::Dominance),
            Kind::Completed | Kind::Waited => Origin::Reused(ReuseProof::Completion),
        };
        let reservation = self.take(state, at, offset, kind, size)?;
        Some(Acquire::Ready { reservation, origin })
    }
}
