//! The TLSF pool: any size, one set of bins over all slabs, free blocks kept by readiness.
//!
//! ```text
//!   release ─▶ inbox ─┐                            ┌─ slab 0 ─┐ ┌─ slab 1 ─┐
//!                     ├─ lock: settle, search ──▶  │ Heap: offsets + readiness
//!   acquire ──────────┘        │                   └──────────┘ └──────────┘
//!                              └─ nothing fits ──▶ unlock, ask the provider, lock, add a region
//! ```
//!
//! The order of an acquire: what the requester may use at once; then, if it may wait, the block that will
//! be ready soonest; only then growth, outside the lock. `tlsf/heap.rs` says how readiness is kept.
//!
//! # What an answer promises
//! - Before the pool refuses, grows or lets the requester wait, it looks at everything that is ready for this requester: then
//!   no range of twice the request is ready, in which each byte is clean, or its death on each axis reached or covered.
//!   ([`Waiting::PreferCompact`] waits for a tighter place though another is ready.)
//! - Merging makes no byte wait longer, and a cancel restores the death of each byte.
//! - A wait names what is neither reached nor covered, and nothing else.
//!
//! # Cost
//! Acquire and release are O(1) in live, pending and free blocks and in slabs. A release is one
//! compare-exchange and one addition; its block is settled by the next acquire. A miss looks at every
//! axis that blocks wait for, once, and then at the blocks that the requester's frontier covers. Of many at once, [`acquire_each`](TlsfPool::acquire_each) and
//! [`release_each`](TlsfPool::release_each) save what each would repeat.

use super::inbox::{Inbox, Ticket};
use super::{
    Acquire, Pool, PoolError, PoolHost, PoolId, PoolProperties, PoolStats, ReleaseError, Request,
    Reservation, Token,
    budget::Budget,
    growth::{Growth, most},
};
use crate::death::Death;
use crate::inspect::{BlockState, BlockView, Event};
use crate::notification::Notification;
use crate::offset::tlsf::{Config, Placement, RegionId, TlsfError};
use crate::slab::retain::Retention;
use crate::slab::{SlabProperties, SlabProvider, Trim};
use crate::sync::Mutex;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

mod acquire;
mod batch;
mod elastic;
#[cfg(feature = "planned")]
mod following;
mod growth;
mod guided;
#[cfg_attr(
    not(feature = "heap"),
    expect(unreachable_pub, reason = "the benchmarks look at the heap without the pool around it")
)]
mod heap;
mod holes;
mod housed;
mod pending;
mod present;
#[allow(unsafe_code, reason = "tickets pass through raw pointers; argued in the file")]
mod slots;
mod spare;
mod state;
mod trim;
mod unsorted;
mod untouched;
mod wide;

/// The heap without the pool around it, for benchmarks: no promise is made about it.
#[cfg(feature = "heap")]
pub use heap::{Ask, BlockDeath, Heap, Taken};

#[cfg(not(feature = "heap"))]
use heap::Heap;
use holes::Holes;
use present::Present;
use slots::{Lifted, Passed, Slots};
use state::State;

/// What may merge with what when a block is freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coalescing {
    /// Blocks that wait for none, and blocks that wait for one and the same axis, each byte for its own epoch. What waits for
    /// several axes merges with what dies alike. A ready byte never waits for its neighbours.
    #[default]
    Readiness,
    /// Every free neighbour, joining what they wait for. Bytes then wait for their neighbours: requests are refused that could be
    /// served, and [`ReuseProof::Dominance`](super::ReuseProof::Dominance) may be due to a neighbour's death alone. What is
    /// called complete is so. Here to be compared with.
    Eager,
}

/// What a request that may wait is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// Waiting comes after everything that is ready, and before growth.
    #[default]
    LastResort,
    /// Waiting keeps memory compact: the tightest stretch of free memory is taken, and waited for when
    /// it is not ready. Many streams then need no more memory than one; `tlsf/heap.rs` says how.
    PreferCompact,
}

/// How a [`TlsfPool`] works.
#[derive(Clone, Copy, Debug)]
pub struct TlsfPoolConfig {
    /// Granule, size classes, placement.
    pub offsets: Config,
    /// How large slabs are, and how many.
    pub growth: Growth,
    /// How much may be reserved at once.
    pub budget: Budget,
    /// Which empty slabs survive [`Trim::Excess`].
    pub retention: Retention,
    /// What merges with what.
    pub coalescing: Coalescing,
    /// What a request that may wait is for.
    pub waiting: Waiting,
}

impl Default for TlsfPoolConfig {
    /// 64 MiB slabs, 256-byte granules, good fit, no budget, nothing retained.
    fn default() -> Self {
        Self {
            offsets: Config::default(),
            growth: Growth::slabs_of(64 << 20),
            budget: Budget::UNLIMITED,
            retention: Retention::NOTHING,
            coalescing: Coalescing::Readiness,
            waiting: Waiting::LastResort,
        }
    }
}

/// Growths that one acquire attempts before it answers that it is exhausted: another thread may take
/// what was just added.
const MAX_GROWTHS: u32 = 4;

/// Marks the block of a ticket that comes back unused. Blocks are numbered in fewer bits.
const CANCELED: u32 = 1 << 31;

/// Of an ordinary slab, the share that a thread's hot slots may hold.
const SLOTS_SHARE: u64 = 64;

/// See the [module](self).
pub struct TlsfPool {
    id: PoolId,
    host: PoolHost,
    config: TlsfPoolConfig,
    provider: SlabProperties,
    /// The most bytes that a request may come to.
    most: u64,
    /// Granules from which on a block may be too large to [break up](spare) an empty slab; none where the provider does not tell its room.
    large: Option<(u32, Present)>,
    notification: Arc<Notification>,
    inbox: Inbox,
    /// Where requests are not placed to pack.
    slots: Option<Slots>,
    state: Mutex<State>,
}

impl TlsfPool {
    /// A pool over the host's slabs. It holds no slab until it grows.
    ///
    /// # Errors
    /// [`PoolError::InvalidConfig`].
    pub fn new(host: PoolHost, config: TlsfPoolConfig) -> Result<Self, PoolError> {
        let heap = Heap::new(config.offsets, config.coalescing).map_err(config_error)?;
        let provider = host.provider.properties();
        let granule = config.offsets.granule;
        // Where deaths are joined, what is free is seldom ready, and more would be committed than is lacking.
        let in_place = config.coalescing == Coalescing::Readiness;
        let elastic = host.provider.elastic().filter(|_| in_place);
        let holes = Holes::new(elastic, granule, provider.max_slab_size);
        let half = config.growth.slab_size / 2 / granule.max(1);
        let spares = holes.is_none() && host.provider.room().is_some();
        let half = u32::try_from(half).ok().filter(|_| spares);
        // What goes from hand to hand is not placed anew. Who is told of every event sees the heap's placement, the same in all builds.
        let is_hot = cfg!(feature = "hosted")
            && config.waiting == Waiting::LastResort
            && config.offsets.placement == Placement::FAST
            && host.sink.is_none();
        let large = half.and_then(|half| Some((half, present::present()?)));
        Ok(Self {
            id: PoolId::next(),
            notification: Arc::new(Notification::new(host.wake.clone())),
            most: most(&*host.provider, config.budget, config.growth.max_slabs, granule),
            host,
            config,
            provider,
            large,
            inbox: Inbox::new(),
            slots: is_hot.then(|| Slots::new(granule, config.growth.slab_size / SLOTS_SHARE)),
            state: Mutex::new(State::new(heap, holes)),
        })
    }

    /// How it works.
    #[must_use]
    pub const fn config(&self) -> &TlsfPoolConfig {
        &self.config
    }

    /// Its hot slots. A component has none: it has no room for the code, and a call across its boundary costs more than a lock.
    #[inline(always)]
    fn slots(&self) -> Option<&Slots> {
        if cfg!(feature = "hosted") { self.slots.as_ref() } else { None }
    }

    /// Takes returned tickets out of the inbox and frees their blocks. Whether there were any.
    #[inline]
    fn settle(&self, state: &mut State) -> bool {
        let mut any = false;
        for ticket in self.inbox.drain() {
            if let Some(slots) = self.slots()
                && slots.are_filled()
                && state.is_pending_peak(slots.held() + slots.bytes(ticket.requested))
            {
                self.empty_slots(state);
            }
            state.free(ticket, &self.host);
            any = true;
        }
        any
    }

    /// Frees what lies in hot slots. Whether there was any.
    fn empty_slots(&self, state: &mut State) -> bool {
        let mut any = false;
        for ticket in self.slots().into_iter().flat_map(Slots::empty) {
            state.free(ticket, &self.host);
            any = true;
        }
        any
    }

    /// Looks at what lies in hot slots: `look` is called with all of it.
    fn with_slots<T>(&self, look: impl FnOnce(&[Lifted]) -> T) -> T {
        let Some(slots) = self.slots() else { return look(&[]) };
        let all = slots.lift();
        let seen = look(&all);
        slots.lay(all, |ticket| self.inbox.push(ticket));
        seen
    }

    /// What went from hand to hand.
    fn passed(&self) -> Passed {
        self.slots().map_or_else(Passed::default, Slots::passed)
    }

    /// A ticket that came back goes to a hot slot, or to the inbox.
    #[inline(always)]
    fn hand_in(&self, ticket: Box<Ticket>) {
        let left = match (self.slots(), slots::mine()) {
            (Some(slots), Some(seat)) => slots.put(seat, ticket),
            _ => Some(ticket),
        };
        if let Some(ticket) = left {
            self.inbox.push(ticket);
        }
    }

    #[inline(always)]
    fn emit(&self, event: &Event) {
        if let Some(sink) = &self.host.sink {
            sink.event(event);
        }
    }

    #[inline(always)]
    fn take_back(&self, reservation: Reservation) -> Result<Box<Ticket>, ReleaseError> {
        if reservation.pool != self.id {
            return Err(ReleaseError::other_pool(reservation));
        }
        let Reservation { pool, slab, offset, size, token } = reservation;
        match token {
            Token::Ticket(mut ticket) => {
                self.emit(&Event::Released { pool, slab, offset, size });
                (ticket.slab, ticket.offset) = (slab, offset);
                Ok(ticket)
            }
            token @ (Token::Block(_) | Token::Foreign(_)) => {
                let reservation = Reservation { pool, slab, offset, size, token };
                Err(ReleaseError::other_pool(reservation))
            }
        }
    }

    /// Writes the block's death into its ticket.
    #[inline(always)]
    fn write_death(&self, ticket: &mut Ticket, death: Death<'_>) {
        let progress = &*self.host.progress;
        ticket.write(death, &|entry| progress.has_reached(entry.axis, entry.epoch));
    }
}

/// What lies in hot slots, in numbers.
#[derive(Clone, Copy, Default)]
struct Hot {
    count: u64,
    /// Padding included.
    bytes: u64,
    requested: u64,
    /// Of `bytes` those whose death is not reached.
    pending: u64,
}

impl Hot {
    fn with(self, pool: &TlsfPool, ticket: &Ticket) -> Self {
        let bytes = pool.footprint(ticket.requested, 1);
        let waits = !ticket.death.after.as_ref().is_satisfied(&*pool.host.progress);
        Self {
            count: self.count + 1,
            bytes: self.bytes + bytes,
            requested: self.requested + ticket.requested,
            pending: self.pending + if waits { bytes } else { 0 },
        }
    }
}

fn config_error(error: TlsfError) -> PoolError {
    match error {
        TlsfError::Granule => PoolError::InvalidConfig("the granule must be a power of two"),
        TlsfError::SecondLevel => {
            PoolError::InvalidConfig("second-level bits must be between 3 and 6")
        }
        TlsfError::RegionSize => PoolError::InvalidConfig(
            "a slab is smaller than the granule, or has 2^32 granules: choose a larger granule",
        ),
        TlsfError::Full => PoolError::TooManyBlocks,
    }
}

impl Pool for TlsfPool {
    fn id(&self) -> PoolId {
        self.id
    }

    fn properties(&self) -> PoolProperties {
        PoolProperties {
            kind: "tlsf",
            memory_type: self.provider.memory_type,
            usage: self.provider.usage,
            alignment: self.config.offsets.granule.min(self.provider.alignment),
            max_request: self.most,
        }
    }

    /// Whole granules; what alignment cuts off stays free.
    fn footprint(&self, size: u64, _alignment: u64) -> u64 {
        // A power of two: no division.
        let below = self.config.offsets.granule.max(1) - 1;
        size.checked_add(below).map_or(u64::MAX, |end| end & !below)
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        match self.acquire_hot(request) {
            Some(ready) => Ok(ready),
            None => self.acquire_as(&self.asked(request)?),
        }
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        let reservation = self.host.check(reservation, death)?;
        let mut ticket = self.take_back(reservation)?;
        self.write_death(&mut ticket, death);
        self.hand_in(ticket);
        self.notification.signal_if_awaited();
        Ok(())
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        // The ticket still holds the death that the block had, the heap those of its pieces.
        let mut ticket = self.take_back(reservation)?;
        ticket.block |= CANCELED;
        self.inbox.push(ticket);
        self.notification.signal_if_awaited();
        Ok(())
    }

    fn poll(&self) {
        let mut state = self.state.lock();
        self.settle(&mut state);
        state.untold |= state.look_aside(&self.host);
        state.poll_all(&self.host);
        self.unlock(state);
    }

    fn quiesce(&self) {
        let mut state = self.state.lock();
        self.settle(&mut state);
        self.empty_slots(&mut state);
        state.file_all_aside(&self.host);
        state.heap.quiesce();
        state.untold = true;
        self.unlock(state);
    }

    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        self.give_back_empty(how)
    }

    fn stats(&self) -> PoolStats {
        let mut state = self.state.lock();
        self.settle(&mut state);
        let (hot, passed) = self.with_slots(|all| {
            let hot = all.iter().map(|lifted| &*lifted.ticket);
            (hot.fold(Hot::default(), |sum, ticket| sum.with(self, ticket)), self.passed())
        });
        let pending = state.pending_bytes() + hot.pending;
        let peak = &mut state.stats.peak_pending_bytes;
        *peak = pending.max(*peak);
        let (heap, counted) = (&state.heap, &state.stats);
        let reserved = state.reserved_bytes() - hot.bytes;
        let turns = passed.dominated + passed.completed;
        let stats = PoolStats {
            reserved_bytes: reserved,
            requested_bytes: counted.requested_bytes - hot.requested,
            free_bytes: heap.committed_bytes() - reserved,
            pending_bytes: pending,
            tainted_bytes: heap.tainted_bytes(),
            committed_bytes: heap.committed_bytes(),
            tainted: heap.taints(),
            live: counted.live - hot.count,
            reserves: counted.reserves + turns,
            releases: counted.releases + turns + hot.count,
            dominated: counted.dominated + passed.dominated,
            completed: counted.completed + passed.completed,
            ..*counted
        };
        self.unlock(state);
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
        let mut state = self.state.lock();
        self.settle(&mut state);
        let mut slabs: Vec<_> = (0..)
            .zip(&state.slabs)
            .filter_map(|(index, slab)| slab.map(|slab| (slab, RegionId::from_index(index))))
            .collect();
        slabs.sort_unstable_by_key(|(slab, _)| slab.id);
        self.with_slots(|all| {
            // To the heap they are live.
            let mut hot: Vec<_> = all.iter().map(|lifted| &*lifted.ticket).collect();
            hot.sort_unstable_by_key(|ticket| (ticket.slab, ticket.offset));
            let aside = state.aside();
            for (slab, region) in slabs {
                state.heap.visit(region, &mut |offset, size, block| {
                    let at = (slab.id, offset);
                    let found =
                        hot.binary_search_by_key(&at, |ticket| (ticket.slab, ticket.offset));
                    let state = match (block, found.map(|at| hot[at].death.get())) {
                        (BlockState::Live { .. }, Ok(Death::After(death)))
                            if !death.is_satisfied(&*self.host.progress) =>
                        {
                            BlockState::Pending(death)
                        }
                        (BlockState::Live { .. }, Ok(_)) => BlockState::Clean,
                        (block, _) => block,
                    };
                    let left = aside.iter().find(|(at, _)| *at == (region, offset));
                    let state = left.map_or(state, |(_, left)| BlockState::Pending(*left));
                    visit(&BlockView { slab: slab.id, offset, size, state });
                });
            }
        });
        self.unlock(state);
    }
}

impl fmt::Debug for TlsfPool {
    /// Which pool: blocks are shown by [`inspect`](Pool::inspect), counters by [`stats`](Pool::stats).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::show(f, "TlsfPool", self.id)
    }
}

impl Drop for TlsfPool {
    /// Gives every slab back, whatever of it is still reserved or pending: the host drops a pool when
    /// its device is done with it.
    fn drop(&mut self) {
        let state = self.state.lock();
        for slab in state.slabs.iter().flatten() {
            // A provider that cannot take it back has nobody left to tell.
            let _ = self.host.provider.release(slab.id);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
