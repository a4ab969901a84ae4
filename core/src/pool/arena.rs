//! The arena pool: batches that are filled by bumping and die together.
//!
//! ```text
//!   generation 0   in flight     3 parts, one released        not usable before all are
//!   generation 1   current       filled from the left         its free bytes still wait for the last batch: a@3
//!   generation 2   clean         next
//! ```
//!
//! Each generation is one slab, taken when it is first needed. A release counts down; with the last part the batch is over,
//! and the generation is filled again from its start. What each byte waits for *before* it may be used again is the death
//! that its part left, see `past.rs`. A requester gets bytes of a generation when its frontier or progress covers that, or is
//! told to wait for it.
//!
//! A request goes behind the last part of a generation, the current one first. Where that is not ready in any, it
//! gets a gap, which alignment skipped or a part that was canceled left. Only then it waits, and only then the pool grows.
//! Bytes are taken from the left: those further behind, ready or not, are not looked at before.
//!
//! # Invariants
//! - Released bytes of a batch that is still in flight belong to nobody: they count as pending.
//! - A generation all of whose bytes are released and ready is found, and so is a gap. What `past.rs` says of a byte covers
//!   every use of it that is not known to be over, and as long as runs need not be joined, no other.
//!
//! # Cost
//! An acquire is linear in the number of generations while there is something ready behind the last part of one; before it
//! waits, grows or is refused, it is linear in their gaps, should one be large enough. A release is O(1) and lock-free; the end of a
//! batch is linear in its parts.

use crate::index::Index;
use crate::inspect::{BlockState, BlockView, Event};
use crate::notification::Notification;
use crate::offset::arena::Ring;
use crate::pool::budget::Budget;
use crate::pool::counters::{Counters, bump};
use crate::pool::growth::{Growth, most};
use crate::pool::inbox::{Inbox, Ticket};
use crate::pool::still::Still;
use crate::pool::{
    Acquire, Pool, PoolError, PoolHost, PoolId, PoolProperties, PoolStats, ReleaseError, Request,
    Reservation, Token,
};
use crate::slab::retain::Retention;
use crate::slab::{Grant, Slab, SlabError, SlabProperties, SlabProvider, Trim};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Death, Entry, FrontierRef};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

mod batch;
mod find;
mod past;

use past::{Fate, Past};

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
#[derive(Debug)]
struct Part {
    offset: u64,
    size: u64,
    state: PartState,
}

#[derive(Debug)]
enum PartState {
    Live,
    Released(Fate),
    /// Given back unused: its bytes are free again, and may be another part's.
    Canceled,
}

#[derive(Debug)]
struct Generation {
    slab: Option<Slab>,
    growing: bool,
    /// In the order in which they were taken.
    parts: Vec<Part>,
    /// What the bytes waited for before they were parts.
    past: Past,
    /// Bytes of released parts that are pending and tainted.
    released: [u64; 2],
    /// Free bytes, those included, that were counted as pending and as tainted.
    counted: [u64; 2],
}

#[derive(Debug)]
struct State {
    ring: Ring,
    generations: Box<[Generation]>,
    /// Bytes of another fate may have come to lie behind the last part of a generation: whoever may use them is to be told.
    opened: bool,
    still: Still,
    /// Tickets to be used again.
    #[expect(clippy::vec_box, reason = "the boxes travel; their addresses must not change")]
    tickets: Vec<Box<Ticket>>,
}

/// The pool; see the [module](self).
pub struct ArenaPool {
    id: PoolId,
    host: PoolHost,
    config: ArenaPoolConfig,
    slabs: SlabProperties,
    /// The largest request.
    most: u64,
    state: Mutex<State>,
    inbox: Inbox,
    counters: Counters,
    /// Bytes released and not yet seen under the lock.
    arriving: AtomicU64,
    notification: Arc<Notification>,
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
        let slab = most(&*host.provider, Budget::UNLIMITED, config.generations, 1);
        let count = config.generations as usize;
        let generation = |_| Generation {
            slab: None,
            growing: false,
            parts: Vec::new(),
            past: Past::default(),
            released: [0; 2],
            counted: [0; 2],
        };
        Ok(Self {
            id: PoolId::next(),
            most: if slab < config.generation_size {
                // Without room for a generation it serves nothing.
                0
            } else {
                config.generation_size.min(config.budget.limit())
            },
            config,
            slabs,
            state: Mutex::new(State {
                ring: Ring::new(count),
                generations: (0..count).map(generation).collect(),
                opened: false,
                still: Still::default(),
                tickets: Vec::new(),
            }),
            inbox: Inbox::new(),
            counters: Counters::default(),
            arriving: AtomicU64::new(0),
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
                generation.past = Past::fresh(slab.size);
                state.ring.open(at, slab.size);
                self.counters.committed.add(slab.size);
                self.counters.slabs.add(1);
            }
        }
        if let Some(slab) = slab {
            self.emit(Event::SlabAcquired { pool: self.id, slab: slab.id, size: slab.size });
            self.notification.signal_if_observed();
        }
        failed.map_or(Ok(slab.is_some()), |error| Err(error.into()))
    }

    fn give(&self, reservation: Reservation, death: Option<Death<'_>>) -> Result<(), ReleaseError> {
        let reservation = self.host.check(reservation, death.unwrap_or(Death::Idle))?;
        let (mut ticket, slab, offset, size) = match reservation {
            Reservation { pool, slab, offset, size, token: Token::Ticket(ticket) }
                if pool == self.id =>
            {
                (ticket, slab, offset, size)
            }
            reservation => return Err(ReleaseError::other_pool(reservation)),
        };
        match death {
            None => ticket.requested = CANCELED,
            Some(death) => ticket.write(death, &|entry| self.has_reached(entry)),
        }
        self.arriving.fetch_add(size, Ordering::Relaxed);
        self.counters.released(size, size);
        self.inbox.push(ticket);
        self.emit(Event::Released { pool: self.id, slab, offset, size });
        self.notification.signal_if_observed();
        Ok(())
    }

    fn reserved(&self, found: Acquire) -> Acquire {
        if self.host.sink.is_some()
            && let Acquire::Ready { reservation, .. } | Acquire::AfterWait { reservation, .. } =
                &found
        {
            let &Reservation { pool, slab, offset, size, .. } = reservation;
            self.emit(Event::Reserved { pool, slab, offset, size });
        }
        found
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
            max_request: self.most,
        }
    }

    /// Its size: what alignment skips stays free.
    fn footprint(&self, size: u64, _alignment: u64) -> u64 {
        size
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        request.validate()?;
        let max = self.most;
        if request.size > max {
            return Err(PoolError::TooLarge { size: request.size, max });
        }
        if request.alignment > self.slabs.alignment {
            return Err(PoolError::InvalidAlignment { alignment: request.alignment });
        }
        let observed = self.notification.observe();
        let mut may_grow = request.may_grow;
        let mut first = true;
        loop {
            let (at, growth_required) = {
                let mut guard = self.state.lock();
                let state = &mut *guard;
                self.sort_inbox(state);
                if !self.config.budget.allows(self.counters.reserved.now(), request.size) {
                    bump(&self.counters.over_budget);
                    return Ok(Acquire::OverBudget { observed });
                }
                if let Some(found) = self.find(state, request, first) {
                    let opened = core::mem::take(&mut state.opened);
                    drop(guard);
                    if opened {
                        self.notification.signal_if_observed();
                    }
                    return Ok(self.reserved(found));
                }
                first = false;
                let vacant = |&at: &usize| {
                    state.generations[at].slab.is_none() && !state.generations[at].growing
                };
                let at = state.ring.order().find(vacant).filter(|_| may_grow);
                if let Some(at) = at {
                    state.generations[at].growing = true;
                }
                // Any generation could hold it, were it empty.
                (at, state.generations.iter().all(|generation| generation.slab.is_none()))
            };
            // Others may fill what this thread grew; then it grows once more, as long as there is a
            // generation without a slab.
            may_grow = match at {
                Some(at) => self.grow(at)?,
                None => false,
            };
            if !may_grow {
                bump(&self.counters.exhausted);
                return Ok(Acquire::Exhausted { observed, growth_required });
            }
        }
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        self.give(reservation, Some(death))
    }

    /// The bytes are at once what they were before.
    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        self.give(reservation, None)
    }

    fn poll(&self) {
        let moved = self.refresh(&mut self.state.lock());
        if moved {
            self.notification.signal_if_observed();
        }
    }

    /// Batches in flight keep what their live parts hold; all else becomes clean.
    fn quiesce(&self) {
        {
            let state = &mut *self.state.lock();
            self.sort_inbox(state);
            let State { ring, generations, .. } = state;
            for (at, generation) in generations.iter_mut().enumerate() {
                generation.past.quiesce();
                for part in &mut generation.parts {
                    if let PartState::Released(fate) = &mut part.state {
                        *fate = Fate::Over;
                    }
                }
                let [pending, tainted] = generation.released;
                generation.released = [pending + tainted, 0];
                self.count(generation, ring, at);
            }
        }
        self.notification.signal_if_observed();
    }

    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        let (mut trimmed, mut kept, mut kept_bytes) = (0, 0, 0);
        self.poll();
        for at in 0..self.config.generations as usize {
            let slab = {
                let state = &mut *self.state.lock();
                let empty = state.ring.parts(at) == 0;
                let generation = &mut state.generations[at];
                let clean = empty && generation.past.is_clean();
                let Some(slab) = generation.slab.filter(|_| clean) else { continue };
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
            self.counters.committed.sub(slab.size);
            self.counters.slabs.sub(1);
            trimmed += slab.size;
            self.emit(Event::SlabReleased { pool: self.id, slab: slab.id });
        }
        if trimmed != 0 {
            self.notification.signal_if_observed();
        }
        Ok(trimmed)
    }

    fn stats(&self) -> PoolStats {
        let mut stats = self.counters.stats();
        let clean = stats.clean_bytes();
        stats.pending_bytes += self.arriving.load(Ordering::Relaxed).min(clean);
        stats.peak_pending_bytes = stats.peak_pending_bytes.max(stats.pending_bytes);
        stats
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
        let State { ring, generations, .. } = state;
        let mut order = Index::default();
        for (at, generation) in generations.iter().enumerate() {
            if let Some(slab) = generation.slab {
                order.insert((slab.id.to_bits(), 0, 0), at as u64);
            }
        }
        for at in order.words() {
            let generation = &generations[at as usize];
            let Some(slab) = generation.slab else { continue };
            let mut block = |offset: u64, end: u64, state: BlockState<'_>| {
                visit(&BlockView { slab: slab.id, offset, size: end - offset, state });
            };
            let mut parts: Vec<&Part> = generation.parts.iter().collect();
            parts.retain(|part| !matches!(part.state, PartState::Canceled));
            parts.sort_unstable_by_key(|part| part.offset);
            let mut parts = parts.into_iter().peekable();
            let mut free = ring.free(at as usize).peekable();
            loop {
                let first = free.peek().map(|&(start, _)| start);
                match parts.next_if(|part| first.is_none_or(|start| part.offset < start)) {
                    Some(part) => {
                        let state = match &part.state {
                            PartState::Released(Fate::Unknown) => BlockState::Tainted,
                            PartState::Released(Fate::After(after)) => {
                                BlockState::Pending(after.as_ref())
                            }
                            // Nobody may have the bytes until the batch is over.
                            PartState::Released(_) => BlockState::Pending(FrontierRef::EMPTY),
                            PartState::Live | PartState::Canceled => {
                                BlockState::Live { requested: part.size }
                            }
                        };
                        block(part.offset, part.offset + part.size, state);
                    }
                    None => {
                        let Some((mut start, end)) = free.next() else { break };
                        for (to, fate) in generation.past.over(start, end) {
                            let state = match fate {
                                Fate::Fresh | Fate::Over => BlockState::Clean,
                                Fate::After(after) => BlockState::Pending(after.as_ref()),
                                Fate::Unknown => BlockState::Tainted,
                            };
                            block(start, to, state);
                            start = to;
                        }
                    }
                }
            }
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
