//! The passthrough pool: one slab for each reservation. For oversized requests, and as a baseline.
//!
//! ```text
//!   acquire ─▶ kept slab of the same size, covered ─▶ (wait) ─▶ provider
//!   release ─▶ death reached: back to the provider, at once
//!           ─▶ not yet: kept, until it is reached or a request of the same size may have it
//! ```
//!
//! Kept slabs are filed by size and then by what they wait for, so a search does not grow with slabs
//! that are not ready. What has been reached goes back to the provider with the next
//! [`poll`](Pool::poll), or when the provider refuses another slab or the pool may not hold more.
//!
//! A slab serves requests of its own size, in whole granules of the provider, and no others: what is kept of other sizes is
//! never handed out in its place, and growth is what a request needs when no slab of its size is held.
//!
//! Invariants: every slab is in one slot; a slot is live, filed in the side of its size, or clean there.
//! Cost: a search is that of `side.rs` among kept slabs of the size; otherwise the provider's.

use crate::index::Index;
use crate::inspect::{BlockState, BlockView, Event};
use crate::notification::Notification;
use crate::offset::align_up;
use crate::pool::budget::Budget;
use crate::pool::gauges::{Gauges, Kind, bump};
use crate::pool::growth::most;
use crate::pool::inbox::{Inbox, Ticket, to_wait_for};
use crate::pool::side::Side;
use crate::pool::still::Still;
use crate::pool::{
    Acquire, Origin, Pool, PoolError, PoolHost, PoolId, PoolProperties, PoolStats, ReleaseError,
    Request, Reservation, ReuseProof, Token,
};
use crate::slab::{Grant, Slab, SlabError, SlabId, SlabProperties, SlabProvider, Trim};
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;
use crate::{Axis, Death, Entry, Epoch};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// What a [`PassthroughPool`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassthroughPoolConfig {
    /// The most slabs held at once, kept ones included.
    pub max_slabs: u32,
    /// How many bytes may be reserved at once.
    pub budget: Budget,
}

impl Default for PassthroughPoolConfig {
    /// As many slabs as the provider grants, without a budget.
    fn default() -> Self {
        Self { max_slabs: u32::MAX, budget: Budget::UNLIMITED }
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    slab: Slab,
    /// The place in `kept` of its class: the bytes asked of the provider.
    class: u32,
    requested: u64,
    live: bool,
    /// Handed out before, and not given back unused.
    used: bool,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Option<Slot>>,
    vacant: Vec<u32>,
    /// (bytes, 0, 0): the places of classes in `kept`.
    classes: Index,
    kept: Vec<Kept>,
    /// Slabs held or on their way.
    held: u32,
    /// Bytes of the budget for slabs that are on their way.
    promised: u64,
    /// Tickets to be used again.
    #[expect(clippy::vec_box, reason = "the boxes travel; their addresses must not change")]
    tickets: Vec<Box<Ticket>>,
}

/// Slabs of a class.
#[derive(Debug, Default)]
struct Kept {
    waiting: Side,
    still: Still,
    /// Those that wait for nothing.
    clean: Vec<u32>,
    /// All of them, live ones too.
    slabs: u32,
}

/// Where a search under the lock leads.
enum Next {
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

impl State {
    /// The place in `kept` of the class of so many bytes, if there ever was a slab of it.
    fn class(&self, bytes: u64) -> Option<u32> {
        self.classes.get((bytes, 0, 0)).map(|place| place as u32)
    }

    /// The place, made if need be.
    fn place_of(&mut self, bytes: u64) -> u32 {
        if let Some(place) = self.class(bytes) {
            return place;
        }
        self.kept.push(Kept::default());
        let place = self.kept.len() - 1;
        self.classes.insert((bytes, 0, 0), place as u64);
        place as u32
    }

    /// No slab of so many bytes is held.
    fn lacks(&self, bytes: u64) -> bool {
        self.class(bytes).is_none_or(|class| self.kept[class as usize].slabs == 0)
    }

    fn kept(&mut self, class: u32) -> &mut Kept {
        &mut self.kept[class as usize]
    }

    /// A slab went back to the provider.
    fn forget(&mut self, block: u32, class: u32) {
        self.vacant.push(block);
        self.held -= 1;
        self.kept(class).slabs -= 1;
    }
}

/// The pool; see the [module](self).
pub struct PassthroughPool {
    id: PoolId,
    host: PoolHost,
    config: PassthroughPoolConfig,
    slabs: SlabProperties,
    /// The largest request.
    most: u64,
    state: Mutex<State>,
    inbox: Inbox,
    gauges: Gauges,
    notification: Arc<Notification>,
}

/// `requested` of a ticket whose slab is with the provider again.
const GONE: u64 = u64::MAX;
/// `requested` of a ticket whose slab was not used.
const CANCELED: u64 = u64::MAX - 1;

impl PassthroughPool {
    /// A pool without slabs.
    ///
    /// # Errors
    /// [`PoolError::InvalidConfig`] when the provider's granularity is not a power of two.
    pub fn new(host: PoolHost, config: PassthroughPoolConfig) -> Result<Self, PoolError> {
        let slabs = host.provider.properties();
        if !slabs.granularity.is_power_of_two() || !slabs.alignment.is_power_of_two() {
            return Err(PoolError::InvalidConfig("the provider's granularity is no power of two"));
        }
        Ok(Self {
            id: PoolId::next(),
            most: most(&*host.provider, config.budget, config.max_slabs, slabs.granularity),
            config,
            slabs,
            state: Mutex::new(State::default()),
            inbox: Inbox::new(),
            gauges: Gauges::default(),
            notification: Arc::new(Notification::new(host.wake.clone())),
            host,
        })
    }

    fn has_reached(&self, entry: Entry) -> bool {
        self.host.progress.has_reached(entry.axis, entry.epoch)
            || self.host.provider.query_epoch(entry.axis, entry.epoch) == Some(true)
    }

    fn emit(&self, event: Event) {
        if let Some(sink) = &self.host.sink {
            sink.event(&event);
        }
    }

    /// Files what came through the inbox.
    fn sort_inbox(&self, state: &mut State) {
        for ticket in self.inbox.drain() {
            let place = &mut state.slots[ticket.block as usize];
            let Some(slot) = place else { continue };
            slot.live = false;
            slot.used |= ticket.requested != CANCELED;
            let (class, size) = (slot.class, slot.slab.size);
            if ticket.requested == GONE {
                *place = None;
                state.forget(ticket.block, class);
            } else {
                let Kept { waiting, clean, .. } = state.kept(class);
                let death = ticket.written();
                if !waiting.file(ticket.block, death, &|entry| self.has_reached(entry)) {
                    self.gauges.pending.sub(size);
                    clean.push(ticket.block);
                }
            }
            state.tickets.push(ticket);
        }
    }

    /// Moves on what has been reached in one class. Whether there was any.
    fn advance(&self, slots: &[Option<Slot>], kept: &mut Kept) -> bool {
        let Kept { waiting, still, clean, .. } = kept;
        if still.stands(&self.host) {
            return false;
        }
        waiting.advance(&|entry| self.has_reached(entry), &mut |block| {
            let size = slots[block as usize].map_or(0, |slot| slot.slab.size);
            self.gauges.pending.sub(size);
            clean.push(block);
        })
    }

    /// Whether the budget has room for so many bytes.
    fn allows(&self, state: &State, bytes: u64) -> bool {
        let taken = self.gauges.reserved.now().saturating_add(state.promised);
        self.config.budget.allows(taken, bytes)
    }

    /// Makes a slab live.
    fn revive(
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
        self.gauges.reserved.add(slot.slab.size);
        self.gauges.acquired(kind, request.size);
        let mut ticket = state.tickets.pop().unwrap_or_else(Ticket::new);
        ticket.block = block;
        ticket.requested = slot.slab.size;
        // For a cancel.
        let death = if was_pending {
            self.gauges.pending.sub(slot.slab.size);
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
    fn search(
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
            bump(&self.gauges.missed);
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
        Next::Grow { turned_away: self.gauges.over_budget.load(Ordering::Relaxed) }
    }

    /// A slab of so many bytes from the provider. What is clean may be just what the provider lacks.
    fn grant(&self, bytes: u64) -> Result<Option<Slab>, SlabError> {
        let provider = &self.host.provider;
        if let Grant::Slab(slab) = provider.acquire(bytes)? {
            return Ok(Some(slab));
        }
        self.refresh();
        if self.give_back().map_err(|(error, _)| error)? == 0 {
            return Ok(None);
        }
        match provider.acquire(bytes)? {
            Grant::Slab(slab) => Ok(Some(slab)),
            Grant::NoCapacity => Ok(None),
        }
    }

    /// Makes a promised slab a reservation; `None` when the provider has none. `turned_away` is how many others the budget
    /// had refused when it was promised.
    fn grow(
        &self,
        bytes: u64,
        request: &Request<'_>,
        turned_away: u64,
    ) -> Result<Option<Reservation>, PoolError> {
        let granted = self.grant(bytes);
        let (reservation, unused) = {
            let state = &mut *self.state.lock();
            state.promised -= bytes;
            match granted {
                Ok(Some(slab)) if slab.size >= request.size && self.allows(state, slab.size) => {
                    (self.take_in(state, slab, bytes, request), None)
                }
                ref other => {
                    state.held -= 1;
                    (None, other.as_ref().ok().copied().flatten())
                }
            }
        };
        if let Some(reservation) = reservation {
            let &Reservation { pool, slab, .. } = &reservation;
            let size = granted.ok().flatten().map_or(bytes, |slab| slab.size);
            self.emit(Event::SlabAcquired { pool, slab, size });
            return Ok(Some(reservation));
        }
        // Whoever comes later sees the bytes back in the budget; those before must be told.
        if self.gauges.over_budget.load(Ordering::Relaxed) != turned_away {
            self.notification.signal_if_observed();
        }
        if let Some(slab) = unused {
            self.host.provider.release(slab.id)?;
            if slab.size < request.size {
                return Err(SlabError::InvalidSize { size: bytes }.into());
            }
        }
        granted?;
        Ok(None)
    }

    /// A new slab becomes live.
    fn take_in(
        &self,
        state: &mut State,
        slab: Slab,
        bytes: u64,
        request: &Request<'_>,
    ) -> Option<Reservation> {
        let class = state.place_of(bytes);
        self.gauges.committed.add(slab.size);
        self.gauges.slabs.add(1);
        let slot = Some(Slot { slab, class, requested: request.size, live: true, used: false });
        let block = if let Some(block) = state.vacant.pop() {
            state.slots[block as usize] = slot;
            block
        } else {
            state.slots.push(slot);
            state.slots.len() as u32 - 1
        };
        state.kept(class).slabs += 1;
        self.revive(state, block, Kind::Fresh, false, request)
    }

    /// Gives clean slabs back; returns the bytes, also those before a failure.
    fn give_back(&self) -> Result<u64, (SlabError, u64)> {
        let mut bytes = 0;
        loop {
            let next = {
                let state = &mut *self.state.lock();
                let found = state.classes.words().find_map(|place| {
                    let place = place as usize;
                    Some((place, state.kept.get_mut(place)?.clean.pop()?))
                });
                found.and_then(|(place, block)| {
                    Some((place, block, state.slots[block as usize].take()?))
                })
            };
            let Some((place, block, slot)) = next else { break };
            let released = self.host.provider.release(slot.slab.id);
            let state = &mut *self.state.lock();
            if let Err(error) = released {
                state.slots[block as usize] = Some(slot);
                state.kept[place].clean.push(block);
                return Err((error, bytes));
            }
            state.forget(block, slot.class);
            bytes += slot.slab.size;
            self.gauges.committed.sub(slot.slab.size);
            self.gauges.slabs.sub(1);
            self.emit(Event::SlabReleased { pool: self.id, slab: slot.slab.id });
        }
        if bytes != 0 {
            // The provider has room again.
            self.notification.signal_if_observed();
        }
        Ok(bytes)
    }

    /// Moves on what has been reached.
    fn refresh(&self) {
        let moved = {
            let state = &mut *self.state.lock();
            self.sort_inbox(state);
            let State { slots, classes, kept, .. } = state;
            let each = classes.words().map(|place| self.advance(slots, &mut kept[place as usize]));
            each.fold(false, |moved, one| moved | one)
        };
        if moved {
            self.notification.signal_if_observed();
        }
    }

    fn token(&self, reservation: Reservation) -> Result<(Box<Ticket>, Parts), ReleaseError> {
        match reservation {
            Reservation { pool, slab, size, token: Token::Ticket(ticket), .. }
                if pool == self.id =>
            {
                Ok((ticket, Parts { slab, size }))
            }
            reservation => Err(ReleaseError::other_pool(reservation)),
        }
    }

    fn finish(&self, parts: &Parts) {
        let &Parts { slab, size } = parts;
        self.emit(Event::Released { pool: self.id, slab, offset: 0, size });
        self.notification.signal_if_observed();
    }
}

struct Parts {
    slab: SlabId,
    size: u64,
}

impl Pool for PassthroughPool {
    fn id(&self) -> PoolId {
        self.id
    }

    fn properties(&self) -> PoolProperties {
        PoolProperties {
            kind: "passthrough",
            memory_type: self.slabs.memory_type,
            usage: self.slabs.usage,
            alignment: self.slabs.alignment,
            max_request: self.most,
        }
    }

    /// What the provider is asked for.
    fn footprint(&self, size: u64, _alignment: u64) -> u64 {
        align_up(size, self.slabs.granularity).unwrap_or(u64::MAX)
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        request.validate()?;
        let max = self.most;
        let bytes = align_up(request.size, self.slabs.granularity)
            .filter(|&bytes| bytes <= max)
            .ok_or(PoolError::TooLarge { size: request.size, max })?;
        if request.alignment > self.slabs.alignment {
            return Err(PoolError::InvalidAlignment { alignment: request.alignment });
        }
        let gauges = &self.gauges;
        let mut first = true;
        let mut may_make_room = true;
        let mut may_grow = request.may_grow;
        loop {
            let observed = self.notification.observe();
            let mut moved = false;
            let next = self.search(bytes, request, (first, may_grow), &mut moved);
            first = false;
            if moved {
                self.notification.signal_if_observed();
            }
            match next {
                Next::Answer(found) => return Ok(self.reserved(found)),
                Next::OverBudget => {
                    bump(&gauges.over_budget);
                    return Ok(Acquire::OverBudget { observed });
                }
                Next::Grow { turned_away } => {
                    let grown = self.grow(bytes, request, turned_away)?;
                    if let Some(reservation) = grown {
                        let origin = Origin::Fresh;
                        return Ok(self.reserved(Acquire::Ready { reservation, origin }));
                    }
                    // What was released and reached in the meantime may do; and this requester was told of it with the others.
                    may_grow = false;
                }
                Next::Refuse { full: true, .. } if may_make_room => {
                    may_make_room = false;
                    self.refresh();
                    self.give_back().map_err(|(error, _)| error)?;
                }
                // What others are told of is to be seen by this search as well.
                Next::Refuse { .. } if moved => {}
                Next::Refuse { growth_required, .. } => {
                    bump(&gauges.exhausted);
                    return Ok(Acquire::Exhausted { observed, growth_required });
                }
            }
        }
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        let reservation = self.host.check(reservation, death)?;
        let (mut ticket, parts) = self.token(reservation)?;
        let bytes = ticket.requested;
        ticket.write(death, &|entry| self.has_reached(entry));
        let death = ticket.written();
        let unknown = matches!(death, Death::Unknown);
        let reached = death
            .frontier()
            .is_some_and(|after| after.entries().iter().all(|&entry| self.has_reached(entry)));
        let gone = reached && self.host.provider.release(parts.slab).is_ok();
        self.gauges.released(bytes, parts.size);
        if gone {
            self.gauges.committed.sub(bytes);
            self.gauges.slabs.sub(1);
            ticket.requested = GONE;
        } else if unknown {
            self.gauges.tainted_bytes.add(bytes);
        } else {
            self.gauges.pending.add(bytes);
        }
        self.inbox.push(ticket);
        if gone {
            self.emit(Event::SlabReleased { pool: self.id, slab: parts.slab });
        }
        self.finish(&parts);
        Ok(())
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        // The ticket still has the death that was there before.
        let (mut ticket, parts) = self.token(reservation)?;
        self.gauges.released(ticket.requested, parts.size);
        self.gauges.pending.add(ticket.requested);
        ticket.requested = CANCELED;
        self.inbox.push(ticket);
        self.finish(&parts);
        Ok(())
    }

    /// Also gives back to the provider what has been reached. A slab that the provider does not take
    /// back is tried again the next time.
    fn poll(&self) {
        self.refresh();
        let _ = self.give_back();
    }

    fn quiesce(&self) {
        {
            let state = &mut *self.state.lock();
            self.sort_inbox(state);
            let State { classes, kept, slots, .. } = state;
            for place in classes.words() {
                let Kept { waiting, clean, .. } = &mut kept[place as usize];
                waiting.drain(&mut |block, was_tainted| {
                    let size = slots[block as usize].map_or(0, |slot| slot.slab.size);
                    if was_tainted {
                        self.gauges.tainted_bytes.sub(size);
                    } else {
                        self.gauges.pending.sub(size);
                    }
                    clean.push(block);
                });
            }
        }
        self.notification.signal_if_observed();
    }

    /// Nothing clean is worth keeping to this pool: both ways of trimming do the same.
    fn trim(&self, _how: Trim) -> Result<u64, PoolError> {
        self.refresh();
        self.give_back().map_err(|(error, _)| error.into())
    }

    fn stats(&self) -> PoolStats {
        self.gauges.stats()
    }

    fn provider(&self) -> Option<&Arc<dyn SlabProvider>> {
        Some(&self.host.provider)
    }

    #[cfg(feature = "hosted")]
    fn progress(&self) -> Option<&Arc<dyn crate::Progress>> {
        Some(&self.host.progress)
    }

    fn notification(&self) -> &Arc<Notification> {
        &self.notification
    }

    fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        let state = &mut *self.state.lock();
        self.sort_inbox(state);
        let mut order = Index::default();
        for (slot, at) in state.slots.iter().zip(0..) {
            if let Some(slot) = slot {
                order.insert((slot.slab.id.to_bits(), 0, 0), at);
            }
        }
        for at in order.words() {
            let Some(slot) = state.slots[at as usize] else { continue };
            let at = at as u32;
            let death = state.kept(slot.class).waiting.death_here(at);
            let state = match death {
                _ if slot.live => BlockState::Live { requested: slot.requested },
                Some(Death::After(frontier)) => BlockState::Pending(frontier),
                Some(Death::Unknown) => BlockState::Tainted,
                Some(Death::Idle) | None => BlockState::Clean,
            };
            visit(&BlockView { slab: slot.slab.id, offset: 0, size: slot.slab.size, state });
        }
    }
}

impl PassthroughPool {
    fn reserved(&self, acquire: Acquire) -> Acquire {
        if self.host.sink.is_some()
            && let Acquire::Ready { reservation, .. } | Acquire::AfterWait { reservation, .. } =
                &acquire
        {
            let &Reservation { pool, slab, offset, size, .. } = reservation;
            self.emit(Event::Reserved { pool, slab, offset, size });
        }
        acquire
    }
}

impl fmt::Debug for PassthroughPool {
    /// Which pool: blocks are shown by [`inspect`](Pool::inspect), counters by [`stats`](Pool::stats).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::show(f, "PassthroughPool", self.id)
    }
}

impl Drop for PassthroughPool {
    fn drop(&mut self) {
        let slots = {
            let state = &mut *self.state.lock();
            self.sort_inbox(state);
            core::mem::take(&mut state.slots)
        };
        for slot in slots.into_iter().flatten() {
            // Nothing can be done about a provider that fails now.
            let _ = self.host.provider.release(slot.slab.id);
            self.emit(Event::SlabReleased { pool: self.id, slab: slot.slab.id });
        }
    }
}
