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
//! [`poll`](Pool::poll), or when the provider refuses another slab.
//!
//! Invariants: every slab is in one slot; a slot is live, filed in the side of its size, or clean there.
//! Cost: a search is logarithmic in kept slabs; otherwise the provider's.

use crate::index::Index;
use crate::inspect::{BlockState, BlockView, Event};
use crate::notification::Notification;
use crate::offset::align_up;
use crate::pool::budget::Budget;
use crate::pool::gauges::{Gauges, Kind, bump};
use crate::pool::inbox::{Inbox, StoredDeath, Ticket};
use crate::pool::side::Side;
use crate::pool::{
    Acquire, Origin, Pool, PoolError, PoolHost, PoolId, PoolProperties, PoolStats, ReleaseError,
    Request, Reservation, ReuseProof, Token,
};
use crate::slab::{Grant, Slab, SlabError, SlabId, SlabProperties, SlabProvider, Trim};
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;
use crate::{Death, Entry, Frontier, FrontierRef};
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
    /// What requests ask for: the bytes asked of the provider.
    class: u64,
    requested: u64,
    live: bool,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Option<Slot>>,
    vacant: Vec<u32>,
    /// (class, 0, 0): the places of classes in `kept`.
    classes: Index,
    kept: Vec<Kept>,
    /// Slabs held or on their way.
    held: u32,
    #[expect(clippy::vec_box, reason = "the boxes travel; their addresses must not change")]
    tickets: Vec<Box<Ticket>>,
}

/// Kept slabs of a class.
#[derive(Debug, Default)]
struct Kept {
    waiting: Side,
    /// Those that wait for nothing, and whether they ever did.
    clean: Vec<(u32, bool)>,
}

impl State {
    /// The slabs kept of a class, if there ever were any.
    fn kept(&mut self, class: u64) -> Option<&mut Kept> {
        self.kept.get_mut(self.classes.get((class, 0, 0))? as usize)
    }

    /// The place of a class in `kept`.
    fn place_of(&mut self, class: u64) -> usize {
        if let Some(place) = self.classes.get((class, 0, 0)) {
            return place as usize;
        }
        self.kept.push(Kept::default());
        let place = self.kept.len() - 1;
        self.classes.insert((class, 0, 0), place as u64);
        place
    }
}

/// The pool; see the [module](self).
pub struct PassthroughPool {
    id: PoolId,
    host: PoolHost,
    config: PassthroughPoolConfig,
    slabs: SlabProperties,
    state: Mutex<State>,
    inbox: Inbox,
    gauges: Gauges,
    notification: Arc<Notification>,
}

/// `requested` of a ticket whose slab is with the provider again.
const GONE: u64 = u64::MAX;

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
        state.tickets.extend(self.inbox.drain());
        for ticket in core::mem::take(&mut state.tickets) {
            let place = &mut state.slots[ticket.block as usize];
            if ticket.requested == GONE {
                *place = None;
                state.vacant.push(ticket.block);
                state.held -= 1;
                continue;
            }
            let Some(slot) = place else { continue };
            slot.live = false;
            let (class, size) = (slot.class, slot.slab.size);
            let place = state.place_of(class);
            let Kept { waiting, clean } = &mut state.kept[place];
            if !waiting.file(ticket.block, ticket.death, &|entry| self.has_reached(entry)) {
                let waited = !matches!(ticket.death.get(), Death::Idle);
                self.gauges.pending.sub(size);
                clean.push((ticket.block, waited));
            }
        }
    }

    /// Moves on what has been reached in one class.
    fn advance(&self, slots: &[Option<Slot>], kept: &mut Kept) {
        let Kept { waiting, clean } = kept;
        waiting.advance(&|entry| self.has_reached(entry), &mut |block| {
            let size = slots[block as usize].map_or(0, |slot| slot.slab.size);
            self.gauges.pending.sub(size);
            clean.push((block, true));
        });
    }

    /// Makes a kept slab live. `reserved` has the class counted already.
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
        if was_pending {
            self.gauges.pending.sub(slot.slab.size);
        }
        self.gauges.reserved.change(slot.class, slot.slab.size);
        self.gauges.acquired(kind, request.size);
        let mut ticket = Ticket::new();
        ticket.block = block;
        ticket.requested = slot.slab.size;
        if was_pending && let Some(kept) = state.kept(slot.class) {
            ticket.death = kept.waiting.death_of(block);
        } else if kind == Kind::Completed {
            // Reached already, but not never used: for a cancel.
            ticket.death = StoredDeath::IDLE;
        }
        Some(Reservation {
            pool: self.id,
            slab: slot.slab.id,
            offset: 0,
            size: request.size,
            token: Token::Ticket(ticket),
        })
    }

    /// A kept slab that may be used at once.
    fn find(&self, state: &mut State, class: u64, request: &Request<'_>) -> Option<Acquire> {
        let reused = |proof| Origin::Reused(proof);
        let place = state.classes.get((class, 0, 0))? as usize;
        let State { slots, kept, .. } = state;
        let kept = &mut kept[place];
        let reached = |entry| self.has_reached(entry);
        if let Some(block) = kept.waiting.take_dominated(request.frontier, &reached, &|_| true) {
            let reservation = self.revive(state, block, Kind::Dominated, true, request)?;
            return Some(Acquire::Ready { reservation, origin: reused(ReuseProof::Dominance) });
        }
        self.advance(slots, kept);
        let (block, waited) = kept.clean.pop()?;
        let (kind, origin) = if waited {
            (Kind::Completed, reused(ReuseProof::Completion))
        } else {
            (Kind::Fresh, Origin::Fresh)
        };
        let reservation = self.revive(state, block, kind, false, request)?;
        Some(Acquire::Ready { reservation, origin })
    }

    fn find_soonest(
        &self,
        state: &mut State,
        class: u64,
        request: &Request<'_>,
    ) -> Option<(Reservation, Frontier)> {
        let side = &mut state.kept(class)?.waiting;
        let (_, axis, key) = side.soonest(&|axis| self.host.progress.reached(axis), &|_| true)?;
        let block = side.take(axis, key)?;
        let wait = side.death_of(block).get().frontier().map(FrontierRef::to_frontier)?;
        let reservation = self.revive(state, block, Kind::Waited, true, request)?;
        Some((reservation, wait))
    }

    /// A new slab; `reserved` has the class counted already.
    fn grow(&self, class: u64, request: &Request<'_>) -> Result<Option<Reservation>, PoolError> {
        let slab = match self.host.provider.acquire(class)? {
            Grant::Slab(slab) => slab,
            Grant::NoCapacity => {
                // What is clean may be just what the provider lacks.
                if self.give_back().map_err(|(error, _)| error)? == 0 {
                    return Ok(None);
                }
                match self.host.provider.acquire(class)? {
                    Grant::Slab(slab) => slab,
                    Grant::NoCapacity => return Ok(None),
                }
            }
        };
        if slab.size < request.size {
            self.host.provider.release(slab.id)?;
            return Err(SlabError::InvalidSize { size: class }.into());
        }
        self.gauges.committed.add(slab.size);
        self.gauges.slabs.add(1);
        self.emit(Event::SlabAcquired { pool: self.id, slab: slab.id, size: slab.size });
        let state = &mut *self.state.lock();
        let slot = Some(Slot { slab, class, requested: request.size, live: true });
        let block = if let Some(block) = state.vacant.pop() {
            state.slots[block as usize] = slot;
            block
        } else {
            state.slots.push(slot);
            state.slots.len() as u32 - 1
        };
        Ok(self.revive(state, block, Kind::Fresh, false, request))
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
                found.and_then(|(place, (block, waited))| {
                    let slot = state.slots[block as usize].take()?;
                    Some((place, block, waited, slot))
                })
            };
            let Some((place, block, waited, slot)) = next else { break };
            let released = self.host.provider.release(slot.slab.id);
            let state = &mut *self.state.lock();
            if let Err(error) = released {
                state.slots[block as usize] = Some(slot);
                state.kept[place].clean.push((block, waited));
                return Err((error, bytes));
            }
            state.vacant.push(block);
            state.held -= 1;
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

    fn refresh(&self) {
        let state = &mut *self.state.lock();
        self.sort_inbox(state);
        let State { slots, classes, kept, .. } = state;
        for place in classes.words() {
            self.advance(slots, &mut kept[place as usize]);
        }
    }

    fn token(&self, reservation: Reservation) -> Result<(Box<Ticket>, Parts), ReleaseError> {
        match reservation {
            Reservation { pool, slab, size, token: Token::Ticket(ticket), .. }
                if pool == self.id =>
            {
                Ok((ticket, Parts { slab, size }))
            }
            reservation => Err(ReleaseError { reservation }),
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
            max_request: self.slabs.max_slab_size,
        }
    }

    /// What the provider is asked for.
    fn footprint(&self, size: u64, _alignment: u64) -> u64 {
        align_up(size, self.slabs.granularity).unwrap_or(u64::MAX)
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        request.validate()?;
        let max = self.slabs.max_slab_size;
        let class = align_up(request.size, self.slabs.granularity)
            .filter(|&class| class <= max)
            .ok_or(PoolError::TooLarge { size: request.size, max })?;
        if request.alignment > self.slabs.alignment {
            return Err(PoolError::InvalidAlignment { alignment: request.alignment });
        }
        let observed = self.notification.observe();
        let gauges = &self.gauges;
        let (room, turned_away) = {
            let state = &mut *self.state.lock();
            self.sort_inbox(state);
            if !self.config.budget.allows(gauges.reserved.now(), class) {
                bump(&gauges.over_budget);
                return Ok(Acquire::OverBudget { observed });
            }
            // Under the lock all additions happen, so the budget holds.
            if let Some(found) = {
                gauges.reserved.add(class);
                self.find(state, class, request)
            } {
                return Ok(self.reserved(found));
            }
            bump(&gauges.missed);
            if request.may_wait
                && let Some((reservation, wait)) = self.find_soonest(state, class, request)
            {
                return Ok(self.reserved(Acquire::AfterWait { reservation, wait }));
            }
            let room = request.may_grow && state.held < self.config.max_slabs;
            state.held += u32::from(room);
            (room, gauges.over_budget.load(Ordering::Relaxed))
        };
        let grown = if room { self.grow(class, request) } else { Ok(None) };
        if let Ok(Some(reservation)) = grown {
            return Ok(self.reserved(Acquire::Ready { reservation, origin: Origin::Fresh }));
        }
        gauges.reserved.sub(class);
        let turned_others_away = {
            // Under the lock: whoever comes later sees the bytes back in the budget.
            let state = &mut *self.state.lock();
            state.held -= u32::from(room);
            gauges.over_budget.load(Ordering::Relaxed) != turned_away
        };
        if turned_others_away {
            self.notification.signal_if_observed();
        }
        grown?;
        bump(&gauges.exhausted);
        Ok(Acquire::Exhausted { observed, growth_required: true })
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        let (mut ticket, parts) = self.token(reservation)?;
        let bytes = ticket.requested;
        if ticket.death.set(death, &*self.host.progress) {
            bump(&self.gauges.tainted);
        }
        let reached = match ticket.death.get() {
            Death::Idle => true,
            Death::After(after) => after.entries().iter().all(|&entry| self.has_reached(entry)),
            Death::Unknown => false,
        };
        let gone = reached && self.host.provider.release(parts.slab).is_ok();
        self.gauges.released(bytes, parts.size);
        if gone {
            self.gauges.committed.sub(bytes);
            self.gauges.slabs.sub(1);
            ticket.requested = GONE;
        } else if matches!(ticket.death.get(), Death::Unknown) {
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
        let (ticket, parts) = self.token(reservation)?;
        self.gauges.released(ticket.requested, parts.size);
        self.gauges.pending.add(ticket.requested);
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
                let Kept { waiting, clean } = &mut kept[place as usize];
                waiting.drain(&mut |block, was_tainted| {
                    let size = slots[block as usize].map_or(0, |slot| slot.slab.size);
                    if was_tainted {
                        self.gauges.tainted_bytes.sub(size);
                    } else {
                        self.gauges.pending.sub(size);
                    }
                    clean.push((block, true));
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
            let death = state.kept(slot.class).and_then(|kept| kept.waiting.death_here(at));
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
