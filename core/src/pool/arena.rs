//! The arena pool: batches that are filled by bumping and die together.
//!
//! ```text
//!   generation 0   in flight     parts 3, joined death {a@7, b@2}      not usable before all are released
//!   generation 1   current       filled from the left, before: {a@3}   its bytes still wait for the last batch
//!   generation 2   clean         next
//! ```
//!
//! Each generation is one slab, taken when it is first needed. A release joins its death into the
//! generation and counts down; with the last part the generation is empty, and what it waits for *before* it may
//! be used again is the join. A requester gets bytes of a generation when its frontier or progress covers
//! that, or is told to wait for it.
//!
//! # Invariants
//! - Released bytes of a batch that is still in flight belong to nobody: they count as pending.
//! - `before` covers every use of the generation's free bytes that is not known to be over.
//!
//! # Cost
//! Acquire is linear in the number of generations, release O(1) and lock-free. A death of more than
//! [`MAX_DEATH_AXES`] axes, joined over the batch and less what was reached, becomes unknown.

use crate::index::Index;
use crate::inspect::{BlockState, BlockView, Event};
use crate::notification::Notification;
use crate::offset::arena::Ring;
use crate::pool::budget::Budget;
use crate::pool::gauges::{Gauges, Kind, bump};
use crate::pool::growth::Growth;
use crate::pool::inbox::{Inbox, StoredDeath, Ticket};
use crate::pool::{
    Acquire, MAX_DEATH_AXES, Origin, Pool, PoolError, PoolHost, PoolId, PoolProperties, PoolStats,
    ReleaseError, Request, Reservation, ReuseProof, Token,
};
use crate::slab::retain::Retention;
use crate::slab::{Grant, Slab, SlabError, SlabProperties, SlabProvider, Trim};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Axis, Death, Epoch, Frontier, FrontierRef, Merge};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// The most generations of an arena.
pub const MAX_GENERATIONS: u32 = 255;

/// A ticket's block is the generation above these bits and the part below.
const PART_BITS: u32 = 24;

/// What an [`ArenaPool`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaPoolConfig {
    /// How many generations the ring has, 1 to [`MAX_GENERATIONS`].
    pub generations: u32,
    /// Bytes of a generation: the largest request.
    pub generation_size: u64,
    /// How many bytes may be reserved at once.
    pub budget: Budget,
    /// Empty generations whose slab is kept when the excess is trimmed.
    pub retention: Retention,
}

impl Default for ArenaPoolConfig {
    /// Three generations of 16 MiB.
    fn default() -> Self {
        Self {
            generations: 3,
            generation_size: 16 << 20,
            budget: Budget::UNLIMITED,
            retention: Retention::NOTHING,
        }
    }
}

/// A part of a batch, until the batch is over.
#[derive(Clone, Copy, Debug)]
struct Part {
    offset: u64,
    size: u64,
    state: PartState,
}

#[derive(Clone, Copy, Debug)]
enum PartState {
    Live,
    Released(StoredDeath),
    /// Given back unused: it waits for what the generation waited for before.
    Canceled,
}

/// What a generation's free bytes wait for.
#[derive(Clone, Debug)]
enum Before {
    /// Nothing; whether any of them was ever handed out.
    Nothing {
        used: bool,
    },
    After(Frontier),
    Unknown,
}

#[derive(Debug)]
struct Generation {
    slab: Option<Slab>,
    growing: bool,
    parts: Vec<Part>,
    before: Before,
    /// The deaths of this batch so far; `None` when one is unknown.
    joined: Option<Frontier>,
    /// Bytes of the batch that are not live: pending (gaps too) and tainted.
    free_parts: [u64; 2],
    /// Free bytes that were counted as pending and as tainted.
    counted: [u64; 2],
}

#[derive(Debug)]
struct State {
    ring: Ring,
    generations: Box<[Generation]>,
    #[expect(clippy::vec_box, reason = "the boxes travel; their addresses must not change")]
    tickets: Vec<Box<Ticket>>,
}

/// The pool; see the [module](self).
pub struct ArenaPool {
    id: PoolId,
    host: PoolHost,
    config: ArenaPoolConfig,
    slabs: SlabProperties,
    state: Mutex<State>,
    inbox: Inbox,
    gauges: Gauges,
    /// Bytes released and not yet seen under the lock.
    arriving: AtomicU64,
    notification: Arc<Notification>,
}

/// How a requester stands to a generation.
enum Cover {
    Fresh,
    Dominated,
    Completed,
    Wait,
    Never,
}

impl ArenaPool {
    /// A pool without slabs.
    ///
    /// # Errors
    /// [`PoolError::InvalidConfig`], saying what to change.
    pub fn new(host: PoolHost, config: ArenaPoolConfig) -> Result<Self, PoolError> {
        let slabs = host.provider.properties();
        if config.generations == 0 || config.generations > MAX_GENERATIONS {
            return Err(PoolError::InvalidConfig("from 1 to 255 generations"));
        }
        if config.generation_size == 0 || config.generation_size > slabs.max_slab_size {
            return Err(PoolError::InvalidConfig(
                "a generation must fit in a slab of the provider",
            ));
        }
        let count = config.generations as usize;
        let generation = |_| Generation {
            slab: None,
            growing: false,
            parts: Vec::new(),
            before: Before::Nothing { used: false },
            joined: Some(Frontier::new()),
            free_parts: [0; 2],
            counted: [0; 2],
        };
        Ok(Self {
            id: PoolId::next(),
            config,
            slabs,
            state: Mutex::new(State {
                ring: Ring::new(count),
                generations: (0..count).map(generation).collect(),
                tickets: Vec::new(),
            }),
            inbox: Inbox::new(),
            gauges: Gauges::default(),
            arriving: AtomicU64::new(0),
            notification: Arc::new(Notification::new(host.wake.clone())),
            host,
        })
    }

    fn has_reached(&self, axis: Axis, epoch: Epoch) -> bool {
        self.host.progress.has_reached(axis, epoch)
            || self.host.provider.query_epoch(axis, epoch) == Some(true)
    }

    fn emit(&self, event: Event) {
        if let Some(sink) = &self.host.sink {
            sink.event(&event);
        }
    }

    /// Takes in what was released, and closes batches whose last part is gone.
    fn sort_inbox(&self, state: &mut State) {
        if self.inbox.is_empty() {
            return;
        }
        state.tickets.extend(self.inbox.drain());
        let State { ring, generations, tickets } = state;
        for ticket in tickets.drain(..) {
            let at = (ticket.block >> PART_BITS) as usize;
            let generation = &mut generations[at];
            let index = (ticket.block & ((1 << PART_BITS) - 1)) as usize;
            self.arriving.fetch_sub(generation.parts[index].size, Ordering::Relaxed);
            let canceled = ticket.requested == CANCELED;
            generation.parts[index].state = if canceled {
                PartState::Canceled
            } else {
                let merged = match (&mut generation.joined, ticket.death.get().frontier()) {
                    (Some(joined), Some(death)) => joined.merge(death) == Merge::Done,
                    _ => false,
                };
                if !merged {
                    generation.joined = None;
                }
                PartState::Released(ticket.death)
            };
            let unknown = !canceled && matches!(ticket.death.get(), Death::Unknown);
            generation.free_parts[usize::from(unknown)] += generation.parts[index].size;
            if ring.release(at) {
                self.close(generation);
            } else if canceled {
                // What stands unused at the end: as if it had never been.
                let end = |parts: &[Part]| parts.last().map_or(0, |part| part.offset + part.size);
                let was = end(&generation.parts);
                let unused = |part: &mut Part| matches!(part.state, PartState::Canceled);
                while generation.parts.pop_if(unused).is_some() {}
                let top = end(&generation.parts);
                generation.free_parts[0] -= was - top;
                ring.rewind(at, top);
            }
            self.count(generation, ring.top(at));
        }
    }

    /// The batch is over: the whole generation waits for all that its parts waited for, and where parts were
    /// not used, for what it waited for before.
    fn close(&self, generation: &mut Generation) {
        let released = |part: Part| matches!(part.state, PartState::Released(_));
        let used = generation.parts.drain(..).any(released)
            || !matches!(generation.before, Before::Nothing { used: false });
        generation.free_parts = [0; 2];
        let joined = generation.joined.replace(Frontier::new());
        let before = core::mem::replace(&mut generation.before, Before::Unknown);
        let (Some(mut joined), before) = (joined, before) else { return };
        match before {
            Before::Unknown => return,
            Before::Nothing { .. } => {}
            Before::After(before) => {
                if joined.merge(before.as_ref()) == Merge::Overflow {
                    bump(&self.gauges.tainted);
                    return;
                }
            }
        }
        if joined.len() > MAX_DEATH_AXES {
            let entries = joined.as_ref().entries().iter().copied();
            let left = entries.filter(|entry| !self.has_reached(entry.axis, entry.epoch));
            match Frontier::from_entries(left) {
                Ok(left) if left.len() <= MAX_DEATH_AXES => joined = left,
                _ => {
                    bump(&self.gauges.tainted);
                    return;
                }
            }
        }
        generation.before =
            if joined.is_empty() { Before::Nothing { used } } else { Before::After(joined) };
    }

    /// Brings the counts of pending and tainted bytes up to date.
    fn count(&self, generation: &mut Generation, top: u64) {
        let rest = generation.slab.map_or(0, |slab| slab.size) - top;
        let [mut pending, mut tainted] = generation.free_parts;
        match generation.before {
            Before::Nothing { .. } => {}
            Before::After(_) => pending += rest,
            Before::Unknown => tainted += rest,
        }
        let counted = core::mem::replace(&mut generation.counted, [pending, tainted]);
        self.gauges.pending.change(counted[0], pending);
        self.gauges.tainted_bytes.change(counted[1], tainted);
    }

    /// Drops what a generation waits for once it is reached.
    fn refresh(&self, generation: &mut Generation, top: u64) {
        if let Before::After(before) = &generation.before
            && before.as_ref().entries().iter().all(|e| self.has_reached(e.axis, e.epoch))
        {
            generation.before = Before::Nothing { used: true };
            self.count(generation, top);
        }
    }

    fn cover(generation: &Generation, frontier: FrontierRef<'_>) -> Cover {
        match &generation.before {
            Before::Nothing { used: false } => Cover::Fresh,
            Before::Nothing { used: true } => Cover::Completed,
            Before::After(before) if frontier.dominates(before.as_ref()) => Cover::Dominated,
            Before::After(_) => Cover::Wait,
            Before::Unknown => Cover::Never,
        }
    }

    /// Takes a part of a generation in which it fits.
    fn take(
        &self,
        state: &mut State,
        at: usize,
        kind: Kind,
        request: &Request<'_>,
    ) -> Option<Reservation> {
        let State { ring, generations, tickets: _ } = state;
        let generation = &mut generations[at];
        let slab = generation.slab?;
        let size = request.size;
        let index = generation.parts.len();
        if index >= 1 << PART_BITS {
            return None;
        }
        let end = generation.parts.last().map_or(0, |part| part.offset + part.size);
        let offset = ring.bump(at, size, request.alignment)?;
        generation.parts.push(Part { offset, size, state: PartState::Live });
        // Nobody may have the gap before the batch is over.
        generation.free_parts[0] += offset - end;
        self.count(generation, offset + size);
        self.gauges.reserved.add(size);
        self.gauges.acquired(kind, size);
        let mut ticket = Ticket::new();
        ticket.block = (at as u32) << PART_BITS | index as u32;
        let reservation = Reservation {
            pool: self.id,
            slab: slab.id,
            offset,
            size,
            token: Token::Ticket(ticket),
        };
        if self.host.sink.is_some() {
            let &Reservation { pool, slab, offset, size, .. } = &reservation;
            self.emit(Event::Reserved { pool, slab, offset, size });
        }
        Some(reservation)
    }

    /// Looks for room that may be used now, or after a wait.
    fn find(&self, state: &mut State, request: &Request<'_>) -> Option<Acquire> {
        let mut wait = None;
        for at in state.ring.order() {
            if state.ring.fit(at, request.size, request.alignment).is_none() {
                continue;
            }
            let top = state.ring.top(at);
            let generation = &mut state.generations[at];
            let mut cover = Self::cover(generation, request.frontier);
            if matches!(cover, Cover::Wait) {
                self.refresh(generation, top);
                cover = Self::cover(generation, request.frontier);
            }
            let (kind, origin) = match cover {
                Cover::Fresh => (Kind::Fresh, Origin::Fresh),
                Cover::Dominated => (Kind::Dominated, Origin::Reused(ReuseProof::Dominance)),
                Cover::Completed => (Kind::Completed, Origin::Reused(ReuseProof::Completion)),
                Cover::Wait => {
                    wait = wait.or(Some(at));
                    continue;
                }
                Cover::Never => continue,
            };
            if let Some(reservation) = self.take(state, at, kind, request) {
                return Some(Acquire::Ready { reservation, origin });
            }
        }
        bump(&self.gauges.missed);
        // The first in order is the one that was released first.
        let at = wait.filter(|_| request.may_wait)?;
        let Before::After(wait) = &state.generations[at].before else { return None };
        let wait = wait.clone();
        let reservation = self.take(state, at, Kind::Waited, request)?;
        Some(Acquire::AfterWait { reservation, wait })
    }

    /// Takes a slab for a generation that has none.
    fn grow(&self, at: usize) -> Result<bool, PoolError> {
        let growth = Growth::slabs_of(self.config.generation_size);
        let mut slab = None;
        let mut failed = None;
        for size in growth.candidates(self.config.generation_size, 0, &self.slabs) {
            let Some(size) = size else { continue };
            match self.host.provider.acquire(size) {
                Ok(Grant::Slab(granted)) if granted.size >= self.config.generation_size => {
                    slab = Some(granted);
                    break;
                }
                Ok(Grant::Slab(granted)) => {
                    failed = Some(SlabError::InvalidSize { size });
                    if let Err(error) = self.host.provider.release(granted.id) {
                        failed = Some(error);
                    }
                    break;
                }
                Ok(Grant::NoCapacity) => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        {
            let state = &mut *self.state.lock();
            let generation = &mut state.generations[at];
            generation.growing = false;
            if let Some(slab) = slab {
                generation.slab = Some(slab);
                generation.before = Before::Nothing { used: false };
                state.ring.open(at, slab.size);
                self.gauges.committed.add(slab.size);
                self.gauges.slabs.add(1);
            }
        }
        if let Some(slab) = slab {
            self.emit(Event::SlabAcquired { pool: self.id, slab: slab.id, size: slab.size });
            self.notification.signal_if_observed();
        }
        failed.map_or(Ok(slab.is_some()), |error| Err(error.into()))
    }

    fn give(&self, reservation: Reservation, death: Option<Death<'_>>) -> Result<(), ReleaseError> {
        let (mut ticket, slab, offset, size) = match reservation {
            Reservation { pool, slab, offset, size, token: Token::Ticket(ticket) }
                if pool == self.id =>
            {
                (ticket, slab, offset, size)
            }
            reservation => return Err(ReleaseError { reservation }),
        };
        match death {
            None => ticket.requested = CANCELED,
            Some(death) => {
                if ticket.death.set(death, &*self.host.progress) {
                    bump(&self.gauges.tainted);
                }
            }
        }
        self.arriving.fetch_add(size, Ordering::Relaxed);
        self.gauges.released(size, size);
        self.inbox.push(ticket);
        self.emit(Event::Released { pool: self.id, slab, offset, size });
        self.notification.signal_if_observed();
        Ok(())
    }

    fn refresh_all(&self, state: &mut State) {
        self.sort_inbox(state);
        for at in state.ring.order() {
            let top = state.ring.top(at);
            self.refresh(&mut state.generations[at], top);
        }
    }
}

/// `requested` of a ticket whose part was not used.
const CANCELED: u64 = u64::MAX;

impl Pool for ArenaPool {
    fn id(&self) -> PoolId {
        self.id
    }

    fn properties(&self) -> PoolProperties {
        PoolProperties {
            kind: "arena",
            memory_type: self.slabs.memory_type,
            usage: self.slabs.usage,
            alignment: 1,
            max_request: self.config.generation_size,
        }
    }

    /// What alignment skips is gone until the generation ends.
    fn footprint(&self, size: u64, alignment: u64) -> u64 {
        size.saturating_add(alignment.saturating_sub(1))
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        request.validate()?;
        let max = self.config.generation_size;
        if request.size > max {
            return Err(PoolError::TooLarge { size: request.size, max });
        }
        if request.alignment > self.slabs.alignment {
            return Err(PoolError::InvalidAlignment { alignment: request.alignment });
        }
        let observed = self.notification.observe();
        let mut may_grow = request.may_grow;
        loop {
            let at = {
                let state = &mut *self.state.lock();
                self.sort_inbox(state);
                if !self.config.budget.allows(self.gauges.reserved.now(), request.size) {
                    bump(&self.gauges.over_budget);
                    return Ok(Acquire::OverBudget { observed });
                }
                if let Some(found) = self.find(state, request) {
                    return Ok(found);
                }
                let vacant = |&at: &usize| {
                    state.generations[at].slab.is_none() && !state.generations[at].growing
                };
                let at = state.ring.order().find(vacant).filter(|_| may_grow);
                if let Some(at) = at {
                    state.generations[at].growing = true;
                }
                at
            };
            // Others may fill what this thread grew; then it grows once more, as long as there is a
            // generation without a slab.
            may_grow = match at {
                Some(at) => self.grow(at)?,
                None => false,
            };
            if !may_grow {
                bump(&self.gauges.exhausted);
                return Ok(Acquire::Exhausted { observed, growth_required: true });
            }
        }
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        self.give(reservation, Some(death))
    }

    /// The bytes are usable again at once if they were the last ones taken, otherwise with their batch.
    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        self.give(reservation, None)
    }

    fn poll(&self) {
        self.refresh_all(&mut self.state.lock());
    }

    /// Batches in flight keep what their live parts hold; all else becomes clean.
    fn quiesce(&self) {
        {
            let state = &mut *self.state.lock();
            self.sort_inbox(state);
            for at in state.ring.order() {
                let top = state.ring.top(at);
                let generation = &mut state.generations[at];
                if !matches!(generation.before, Before::Nothing { .. }) {
                    generation.before = Before::Nothing { used: true };
                }
                generation.joined = Some(Frontier::new());
                for part in &mut generation.parts {
                    if let PartState::Released(death) = &mut part.state {
                        *death = StoredDeath::IDLE;
                    }
                }
                let [pending, tainted] = generation.free_parts;
                generation.free_parts = [pending + tainted, 0];
                self.count(generation, top);
            }
        }
        self.notification.signal_if_observed();
    }

    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        let (mut trimmed, mut kept, mut kept_bytes) = (0, 0, 0);
        for at in 0..self.config.generations as usize {
            let slab = {
                let state = &mut *self.state.lock();
                self.refresh_all(state);
                let generation = &mut state.generations[at];
                let clean = matches!(generation.before, Before::Nothing { .. });
                let Some(slab) = generation.slab.filter(|_| clean && generation.parts.is_empty())
                else {
                    continue;
                };
                if how == Trim::Excess && self.config.retention.keeps(kept, kept_bytes, slab.size) {
                    kept += 1;
                    kept_bytes += slab.size;
                    continue;
                }
                generation.slab = None;
                generation.growing = true;
                state.ring.open(at, 0);
                slab
            };
            let released = self.host.provider.release(slab.id);
            let state = &mut *self.state.lock();
            state.generations[at].growing = false;
            if let Err(error) = released {
                state.generations[at].slab = Some(slab);
                state.ring.open(at, slab.size);
                return Err(error.into());
            }
            self.gauges.committed.sub(slab.size);
            self.gauges.slabs.sub(1);
            trimmed += slab.size;
            self.emit(Event::SlabReleased { pool: self.id, slab: slab.id });
        }
        if trimmed != 0 {
            self.notification.signal_if_observed();
        }
        Ok(trimmed)
    }

    fn stats(&self) -> PoolStats {
        let mut stats = self.gauges.stats();
        let clean = stats.clean_bytes();
        stats.pending_bytes += self.arriving.load(Ordering::Relaxed).min(clean);
        stats.peak_pending_bytes = stats.peak_pending_bytes.max(stats.pending_bytes);
        stats
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
        for at in state.ring.order() {
            if let Some(slab) = state.generations[at].slab {
                order.insert((slab.id.to_bits(), 0, 0), at as u64);
            }
        }
        for at in order.words() {
            let generation = &state.generations[at as usize];
            let Some(slab) = generation.slab else { continue };
            let mut block = |offset: u64, end: u64, state: BlockState<'_>| {
                if end > offset {
                    visit(&BlockView { slab: slab.id, offset, size: end - offset, state });
                }
            };
            let before = match &generation.before {
                Before::Nothing { .. } => BlockState::Clean,
                Before::After(frontier) => BlockState::Pending(frontier.as_ref()),
                Before::Unknown => BlockState::Tainted,
            };
            let in_flight = match (&generation.before, before) {
                // Nobody may have the bytes until the batch is over.
                (Before::Nothing { .. }, _) => BlockState::Pending(FrontierRef::EMPTY),
                (_, before) => before,
            };
            let mut end = 0;
            for part in &generation.parts {
                block(end, part.offset, in_flight);
                end = part.offset + part.size;
                let state = match &part.state {
                    PartState::Live => BlockState::Live { requested: part.size },
                    PartState::Released(death) => match death.get() {
                        Death::Unknown => BlockState::Tainted,
                        death => BlockState::Pending(death.frontier().unwrap_or_default()),
                    },
                    PartState::Canceled => in_flight,
                };
                block(part.offset, end, state);
            }
            block(end, slab.size, before);
        }
    }
}

impl fmt::Debug for ArenaPool {
    /// Which pool: blocks are shown by [`inspect`](Pool::inspect), counters by [`stats`](Pool::stats).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::show(f, "ArenaPool", self.id)
    }
}

impl Drop for ArenaPool {
    fn drop(&mut self) {
        let slabs: Vec<Slab> = {
            let state = &mut *self.state.lock();
            state.generations.iter_mut().filter_map(|generation| generation.slab.take()).collect()
        };
        for slab in slabs {
            // Nothing can be done about a provider that fails now.
            let _ = self.host.provider.release(slab.id);
            self.emit(Event::SlabReleased { pool: self.id, slab: slab.id });
        }
    }
}
