//! Calls: each is done once, however often it comes.
//!
//! ```text
//!   floor ──────────────▶ id                              window
//!     │ answered, and kept: asked again, answered again     │
//!     ▼                                                     ▼
//!   ──┬──────┬──────┬──────┬───────────────────────────────┬──
//!     │ kept │  –   │ kept │  not come yet                 │  refused
//! ```
//!
//! Below the floor are calls whose answers have come: a copy of such a call is late, or a replay, and is passed over.

use super::super::message::{
    Answer, Ask, Lease, MAX_ENTRIES, Message, Op, OwnedDeath, Refusal, Source, Who,
};
use super::super::names::{Names, Peer};
use super::super::remote::{Key, MAX_PIECE, moved};
use super::{MemberState, Owner};
use crate::death::Death;
use crate::frontier::{Entry, Frontier, FrontierRef, Merge};
use crate::pool::{Acquire, Origin, Request, Reservation, ReuseProof};
use crate::progress::Progress;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The most entries that a holding collects: with those of a death they fit a frontier.
const MAX_COUNTED: usize = 3 * MAX_ENTRIES - 8;

/// A member's calls.
#[derive(Debug, Default)]
pub(super) struct Calls {
    floor: u64,
    /// Answers as bytes, by the number of the call.
    answers: BTreeMap<u64, Vec<u8>>,
}

/// A reservation that a member has.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) reservation: Reservation,
    /// What the pool counted on when it gave the bytes out, and what others that touch them have yet to reach: the death of the
    /// bytes has these besides what the member says.
    pub(super) counted: Frontier,
    /// Others were told of the bytes.
    shared: bool,
    /// Bytes charged.
    footprint: u64,
    /// Opens the bytes, if it was asked for.
    pub(super) key: Option<Key>,
}

impl Owner {
    pub(super) fn call(
        &mut self,
        peer: Peer,
        who: Who,
        (id, floor): (u64, u64),
        ops: Vec<Op>,
    ) -> Option<Vec<u8>> {
        let names = match self.admit(peer, who) {
            Ok(names) => names,
            Err(answer) => return answer,
        };
        let limits = self.config.limits;
        let calls = &mut self.records.get_mut(&names)?.calls;
        if id < calls.floor {
            self.counters.replayed += 1;
            return None;
        }
        if floor > calls.floor {
            calls.floor = floor;
            calls.answers = calls.answers.split_off(&floor);
        }
        if let Some(answer) = calls.answers.get(&id) {
            self.counters.repeated += 1;
            return Some(answer.clone());
        }
        if id - calls.floor >= limits.window as u64 {
            self.counters.flooded += 1;
            return None;
        }
        if ops.len() > limits.ops || moved(&ops) > MAX_PIECE as u64 {
            self.counters.oversized += 1;
            return None;
        }
        let answers = ops.into_iter().map(|op| self.perform((names, peer), op)).collect();
        let answer = Message::Reply { who, id, answers }.encode();
        self.records.get_mut(&names)?.calls.answers.insert(id, answer.clone());
        self.look();
        Some(answer)
    }

    fn perform(&mut self, member: (Names, Peer), op: Op) -> Answer {
        let (names, _) = member;
        let done = match op {
            Op::Acquire { ask } => return self.acquire(member, &ask),
            Op::Release { token, death } => self.release(names, token, &death),
            Op::Cancel { token } => self.cancel(names, token),
            Op::Share { token, frontier } => self.share(names, token, &frontier),
            Op::Write { key, offset, piece } => self.write(key, offset, &piece),
            Op::Open { token } => match self.open(names, token) {
                Ok(key) => return Answer::Key { key },
                Err(why) => Err(why),
            },
            Op::Read { key, offset, len } => match self.read(key, offset, len) {
                Ok(piece) => return Answer::Bytes { piece },
                Err(why) => Err(why),
            },
        };
        done.map_or_else(|why| Answer::Refused { why }, |()| Answer::Done)
    }

    fn acquire(&mut self, member: (Names, Peer), ask: &Ask) -> Answer {
        if ask.frontier.len() > MAX_ENTRIES {
            return Answer::Refused { why: Refusal::TooWide };
        }
        let footprint = self.pool.footprint(ask.size, ask.alignment);
        let budget = self.config.budget(member.1);
        let fits = |owner: &Self| {
            let charged = owner.charges.of_peer(member.1).checked_add(footprint);
            charged.is_some_and(|bytes| bytes <= budget)
        };
        if !fits(self) || self.charges.is_crowded() {
            self.charges.settle(&*self.memory);
            if !fits(self) {
                return Answer::OverBudget;
            }
        }
        let mut request = Request::new(ask.size).aligned(ask.alignment).after(&ask.frontier);
        (request.may_wait, request.may_grow) = (ask.may_wait, ask.may_grow);
        match self.pool.acquire(&request) {
            Ok(Acquire::Ready { reservation, origin }) => {
                let source = match origin {
                    Origin::Fresh => Source::Fresh,
                    Origin::Reused(ReuseProof::Dominance) => Source::Dominance,
                    Origin::Reused(ReuseProof::Completion) => Source::Completion,
                };
                let counted = match source {
                    // Which of them the pool went by it does not say.
                    Source::Dominance => self.unreached(&ask.frontier),
                    Source::Fresh | Source::Completion => Frontier::new(),
                };
                match self.lend(member, reservation, counted, footprint) {
                    Some(lease) => Answer::Ready { lease, source },
                    None => Answer::Exhausted { growth_required: false },
                }
            }
            Ok(Acquire::AfterWait { reservation, wait }) => {
                let mut counted = self.unreached(&ask.frontier);
                let has_ended = |entry: &Entry| {
                    matches!(self.tracker.end_of(entry.axis), Ok(Some(_)))
                        && !self.memory.has_reached(entry.axis, entry.epoch)
                };
                if wait.len() > MAX_ENTRIES
                    || wait.as_ref().entries().iter().any(has_ended)
                    || counted.merge(wait.as_ref()) != Merge::Done
                {
                    // More to remember than there is room for, or what never will be: as if nothing were there.
                    self.cancel_unused(reservation);
                    return Answer::Exhausted { growth_required: false };
                }
                match self.lend(member, reservation, counted, footprint) {
                    Some(lease) => Answer::AfterWait { lease, wait },
                    None => Answer::Exhausted { growth_required: false },
                }
            }
            Ok(Acquire::Exhausted { growth_required, .. }) => Answer::Exhausted { growth_required },
            Ok(Acquire::OverBudget { .. }) => Answer::OverBudget,
            Err(error) => Answer::Refused { why: Refusal::Pool { error: error.into() } },
        }
    }

    /// Writes down who has it, and names it. `None`, and it is back in the pool, if there is no name left.
    fn lend(
        &mut self,
        (names, peer): (Names, Peer),
        reservation: Reservation,
        counted: Frontier,
        footprint: u64,
    ) -> Option<Lease> {
        let (slab, offset, size) = reservation.range();
        let holding = Holding { reservation, counted, shared: false, footprint, key: None };
        match self.holdings.insert(holding) {
            Ok(token) => {
                self.charges.take((names, peer), (slab, offset, size), footprint);
                self.records.get_mut(&names)?.held.insert(token);
                Some(Lease { token, slab: slab.to_bits(), offset, size })
            }
            Err(Holding { reservation, .. }) => {
                self.cancel_unused(reservation);
                None
            }
        }
    }

    /// The reservation of a member by its token.
    pub(super) fn held(&mut self, names: Names, token: u64) -> Result<&mut Holding, Refusal> {
        let is_its = self.records.get(&names).is_some_and(|record| record.held.contains(&token));
        let holding = self.holdings.get_mut(token).filter(|_| is_its);
        if holding.is_none() {
            self.counters.forged += 1;
        }
        holding.ok_or(Refusal::UnknownReservation)
    }

    /// Takes it out of what the member has.
    fn take_back(&mut self, names: Names, token: u64) -> Result<Holding, Refusal> {
        self.records.get_mut(&names).map(|record| record.held.remove(&token));
        let holding = self.holdings.remove(token).ok_or(Refusal::UnknownReservation)?;
        self.revoke(holding.key);
        Ok(holding)
    }

    fn release(&mut self, names: Names, token: u64, death: &OwnedDeath) -> Result<(), Refusal> {
        let holding = self.held(names, token)?;
        let (counted, key) = (holding.counted.clone(), holding.key);
        let mut frontier = match death {
            OwnedDeath::Idle => Frontier::new(),
            OwnedDeath::After { frontier } => self.known(names, frontier.as_ref())?,
            OwnedDeath::Unknown => {
                if let Some(record) = self.records.get_mut(&names) {
                    record.held.remove(&token);
                    record.unknown.insert(token);
                }
                self.revoke(key);
                return Ok(());
            }
        };
        if frontier.merge(self.unreached(&counted).as_ref()) != Merge::Done {
            return Err(Refusal::TooWide);
        }
        let Holding { reservation, footprint, .. } = self.take_back(names, token)?;
        let range = reservation.range();
        self.put_back(reservation, frontier.as_ref().into());
        self.charges.give(names, range, footprint, frontier);
        Ok(())
    }

    fn cancel(&mut self, names: Names, token: u64) -> Result<(), Refusal> {
        if self.held(names, token)?.shared {
            // Others may have touched the bytes.
            return self.release(names, token, &OwnedDeath::Idle);
        }
        let Holding { reservation, footprint, .. } = self.take_back(names, token)?;
        let range = reservation.range();
        self.cancel_unused(reservation);
        // What the bytes waited for before was charged to whoever released them, and is no more.
        self.charges.give(names, range, footprint, Frontier::new());
        Ok(())
    }

    fn share(&mut self, names: Names, token: u64, frontier: &Frontier) -> Result<(), Refusal> {
        self.held(names, token)?;
        let frontier = self.known(names, frontier.as_ref())?;
        let mut counted = self.held(names, token)?.counted.clone();
        counted = self.unreached(&counted);
        if counted.merge(frontier.as_ref()) != Merge::Done || counted.len() > MAX_COUNTED {
            return Err(Refusal::TooWide);
        }
        let holding = self.held(names, token)?;
        (holding.counted, holding.shared) = (counted, true);
        Ok(())
    }

    /// What of a frontier is not reached, nor fenced. Axes that the tracker does not know stand in no death of the pool.
    pub(super) fn unreached(&self, frontier: &Frontier) -> Frontier {
        let entries = frontier.as_ref().entries().iter().copied();
        let left = entries.filter(|&Entry { axis, epoch }| {
            self.tracker.is_known(axis) && !self.memory.has_reached(axis, epoch)
        });
        // Part of a frontier is one.
        Frontier::from_entries(left).unwrap_or_default()
    }

    /// A frontier that a member named, with axes that the pool knows only. An axis of the member itself may be new.
    fn known(&mut self, names: Names, frontier: FrontierRef<'_>) -> Result<Frontier, Refusal> {
        if frontier.len() > MAX_ENTRIES {
            return Err(Refusal::TooWide);
        }
        let mut known = Frontier::new();
        for &Entry { axis, epoch } in frontier.entries() {
            let of = Names::of(axis);
            let is_known = self.tracker.is_known(axis) || of == names && self.knows(names, axis);
            let (axis, epoch) = if is_known {
                (axis, epoch)
            } else {
                match self.records.get(&of).map(|record| record.state) {
                    // It failed before the owner heard of this axis, which is fenced with the rest.
                    Some(MemberState::Failed { .. }) => (of.doubt(), 1),
                    // It is over, with all its axes.
                    None if of != self.config.own && self.names.is_taken(of) => continue,
                    Some(MemberState::Live) | None => {
                        return Err(Refusal::UnknownAxis { axis });
                    }
                }
            };
            if known.advance(axis, epoch) != Merge::Done {
                return Err(Refusal::TooWide);
            }
        }
        Ok(known)
    }

    /// Gives a reservation back to the pool, which knows all axes of its death. One that the pool refuses all the same (it stands on
    /// another tracker) stays out, as the pool's own counters show.
    pub(super) fn put_back(&mut self, reservation: Reservation, death: Death<'_>) {
        let released = self.pool.release(reservation, death);
        debug_assert!(released.is_ok(), "{released:?}");
    }

    fn cancel_unused(&mut self, reservation: Reservation) {
        let canceled = self.pool.cancel(reservation);
        debug_assert!(canceled.is_ok(), "{canceled:?}");
    }
}
