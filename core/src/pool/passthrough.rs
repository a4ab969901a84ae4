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
//! Invariants: every slab is in one slot; a slot is live, pending among those of its size, or clean there.
//! Cost: a search is that of `pending_blocks.rs` among kept slabs of the size; otherwise the provider's.

use crate::index::Index;
use crate::inspect::{BlockState, BlockView, Event};
use crate::notification::Notification;
use crate::offset::align_up;
use crate::pool::budget::Budget;
use crate::pool::counters::{Counters, bump};
use crate::pool::growth::most;
use crate::pool::inbox::{Inbox, Ticket};
use crate::pool::pending_blocks::PendingBlocks;
use crate::pool::still::Still;
use crate::pool::{
    Acquire, Origin, Pool, PoolError, PoolHost, PoolId, PoolProperties, PoolStats, ReleaseError,
    Request, Reservation, Token,
};
use crate::slab::{Slab, SlabId, SlabProperties, SlabProvider, Trim};
use crate::sync::Mutex;
use crate::{Death, Entry};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

mod find;
mod slabs;

use find::Next;

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
    waiting: PendingBlocks,
    still: Still,
    /// Those that wait for nothing.
    clean: Vec<u32>,
    /// All of them, live ones too.
    slabs: u32,
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
    counters: Counters,
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
            counters: Counters::default(),
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
                    self.counters.pending.sub(size);
                    clean.push(ticket.block);
                }
            }
            state.tickets.push(ticket);
        }
    }

    /// Whether the budget has room for so many bytes.
    fn allows(&self, state: &State, bytes: u64) -> bool {
        let taken = self.counters.reserved.now().saturating_add(state.promised);
        self.config.budget.allows(taken, bytes)
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
        let counters = &self.counters;
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
                    bump(&counters.over_budget);
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
                    bump(&counters.exhausted);
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
        self.counters.released(bytes, parts.size);
        if gone {
            self.counters.committed.sub(bytes);
            self.counters.slabs.sub(1);
            ticket.requested = GONE;
        } else if unknown {
            self.counters.tainted_bytes.add(bytes);
        } else {
            self.counters.pending.add(bytes);
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
        self.counters.released(ticket.requested, parts.size);
        self.counters.pending.add(ticket.requested);
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
                        self.counters.tainted_bytes.sub(size);
                    } else {
                        self.counters.pending.sub(size);
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
        self.counters.stats()
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
