//! The fixed-block pool: equal blocks, taken and given back without a lock.
//!
//! ```text
//!   acquire ─▶ shelf of each axis in the requester's frontier   key = epoch of the death
//!          ─▶ clean shelf                                       ready for anyone
//!          ─▶ shelves of all axes, up to what they reached      ready by completion
//!          ─▶ pending: deaths of several axes                   under the lock
//!          ─▶ wait (if permitted) ─▶ grow (if permitted) ─▶ exhausted
//!
//!   release ─▶ Idle        clean shelf         ┐ one atomic operation
//!           ─▶ After 1     shelf of that axis  ┘
//!           ─▶ After n, Unknown                inbox ─▶ pending, by whoever next holds the lock
//! ```
//!
//! Blocks lie in [`FixedBlocks`]: one shelf of clean blocks, and one for each of the first [`AXES`] axes that
//! deaths named, its keys the epochs. The search for a block with a key within what the requester
//! covers costs nothing for blocks beyond it. An axis keeps its shelf as long as the pool lives; axes beyond
//! [`AXES`] share the pending blocks under the lock with deaths of several axes.
//!
//! A slab takes a power of two of block numbers, so that a number's high bits name the slab. Its size is a
//! multiple of the block and of the provider's granularity; should a provider give more than it was asked
//! for, bytes beyond the last whole block are not counted.
//!
//! # Alignment
//! Blocks lie at multiples of the block size rounded up to the pool's alignment. A request for more than that
//! gives is served by the blocks that happen to lie right, up to the alignment of the provider's slabs;
//! this search is linear in the blocks that are ready.
//!
//! # Cost
//! Acquire and release are O(1) and lock-free while blocks are idle or die on one axis; each is one
//! read-modify-write on a line of the thread's own neighbourhood, and a release one more for the
//! notification. Bookkeeping is some 21 bytes a block of the largest number configured.

use crate::index::Index;
use crate::inspect::{BlockState, BlockView, Event};
use crate::notification::Notification;
use crate::offset::fixed_block::{FixedBlocks, MAX_KEY, Search};
use crate::pool::budget::Budget;
use crate::pool::growth::{Growth, most};
use crate::pool::inbox::{Inbox, Ticket};
use crate::pool::pending_blocks::PendingBlocks;
use crate::pool::still::Still;
use crate::pool::{
    Acquire, Pool, PoolError, PoolHost, PoolId, PoolProperties, PoolStats, ReleaseError, Request,
    Reservation,
};
use crate::slab::retain::Retention;
use crate::slab::{SlabId, SlabProvider, Trim};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::{Axis, Death, Entry, Epoch, FrontierRef};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

mod answer;
mod counters;
mod find;
mod release;
pub(in crate::pool) mod seat;
mod shape;
mod slabs;
#[cfg(all(test, not(loom)))]
mod tests;

use counters::{Counters, Kind};
use shape::Shape;

/// How many axes have a shelf of their own.
pub const AXES: usize = 16;

/// The shelf of clean blocks; that of axis i is `i + 1`.
const CLEAN: u32 = 0;
/// Key of a clean block that was handed out before and waits for nothing; that of a fresh one is 0.
const USED: u64 = 1;
/// Where blocks that are pending under the lock come from, as a number beside the shelves.
const SIDE: u32 = AXES as u32 + 1;
/// No axis has this place yet. An axis with these bits gets no shelf.
const VACANT: u64 = u64::MAX;

/// What a [`FixedBlockPool`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedBlockPoolConfig {
    /// Bytes of a block: the largest request.
    pub block_size: u64,
    /// Every block starts at a multiple of this many bytes; a power of two.
    pub alignment: u64,
    /// The most blocks, up to 2^24. Bookkeeping for all of them is made at once.
    pub max_blocks: u32,
    /// How the pool grows.
    pub growth: Growth,
    /// How many bytes may be reserved at once.
    pub budget: Budget,
    /// Empty slabs to keep when the excess is trimmed.
    pub retention: Retention,
}

impl Default for FixedBlockPoolConfig {
    /// Blocks of 64 KiB, up to 65,536 of them, in slabs of 64 MiB.
    fn default() -> Self {
        Self {
            block_size: 64 << 10,
            alignment: 256,
            max_blocks: 1 << 16,
            growth: Growth::slabs_of(64 << 20),
            budget: Budget::UNLIMITED,
            retention: Retention::NOTHING,
        }
    }
}

/// A slab's place. `blocks` is 0 while there is none.
#[derive(Debug)]
struct Place {
    id: AtomicU64,
    blocks: AtomicU32,
}

/// What the lock guards.
#[derive(Debug)]
struct Admin {
    pending: PendingBlocks,
    still: Still,
    /// Places without a slab and without one on its way.
    vacant: Vec<u32>,
}

/// The pool; see the [module](self).
pub struct FixedBlockPool {
    id: PoolId,
    host: PoolHost,
    properties: PoolProperties,
    budget: Budget,
    retention: Retention,
    shape: Shape,
    blocks: FixedBlocks,
    /// Bits of the axis whose shelf is `i + 1`. Filled from the front, never changed again.
    axes: [AtomicU64; AXES],
    places: Box<[Place]>,
    /// What each live block's holder asked for: for those who look.
    requested: Box<[AtomicU64]>,
    counters: Counters,
    notification: Arc<Notification>,
    inbox: Inbox,
    admin: Mutex<Admin>,
    /// Blocks that are pending under the lock: a hint that saves taking the lock.
    aside: AtomicU32,
    /// Reserved bytes, kept only under a budget.
    reserved: AtomicU64,
    slabs: AtomicU64,
    committed: AtomicU64,
    peak_committed: AtomicU64,
    tainted_blocks: AtomicU64,
    missed: AtomicU64,
    exhausted: AtomicU64,
    over_budget: AtomicU64,
}

/// A block on its way to a requester.
struct Found {
    block: u32,
    source: u32,
    kind: Kind,
    was_pending: bool,
}

impl FixedBlockPool {
    /// A pool without slabs. Its bookkeeping is made here and never grows.
    ///
    /// # Errors
    /// [`PoolError::InvalidConfig`], saying what to change.
    pub fn new(host: PoolHost, config: FixedBlockPoolConfig) -> Result<Self, PoolError> {
        let slabs = host.provider.properties();
        let shape = Shape::new(&config, &slabs)?;
        let slab = most(&*host.provider, Budget::UNLIMITED, config.growth.max_slabs, 1);
        // Without room for a slab, or for a block in the budget, it serves nothing.
        let serves = slab >= shape.least_slab && config.budget.allows(0, shape.stride);
        let numbers = shape.max_slabs << shape.shift;
        let blocks = FixedBlocks::new(numbers, AXES as u32 + 1);
        let place = |_| Place { id: AtomicU64::new(0), blocks: AtomicU32::new(0) };
        Ok(Self {
            id: PoolId::next(),
            properties: PoolProperties {
                kind: "fixed-block",
                memory_type: slabs.memory_type,
                usage: slabs.usage,
                alignment: shape.natural.min(slabs.alignment),
                max_request: if serves { config.block_size } else { 0 },
            },
            budget: config.budget,
            retention: config.retention,
            shape,
            requested: (0..blocks.capacity()).map(|_| AtomicU64::new(0)).collect(),
            blocks,
            axes: core::array::from_fn(|_| AtomicU64::new(VACANT)),
            places: (0..shape.max_slabs).map(place).collect(),
            counters: Counters::new(shape.stride, (shape.slab / shape.stride) as u32),
            notification: Arc::new(Notification::new(host.wake.clone())),
            host,
            inbox: Inbox::new(),
            admin: Mutex::new(Admin {
                pending: PendingBlocks::default(),
                still: Still::default(),
                vacant: (0..shape.max_slabs).rev().collect(),
            }),
            aside: AtomicU32::new(0),
            reserved: AtomicU64::new(0),
            slabs: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            peak_committed: AtomicU64::new(0),
            tainted_blocks: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            exhausted: AtomicU64::new(0),
            over_budget: AtomicU64::new(0),
        })
    }

    /// The bytes that every reservation takes of its slab.
    #[must_use]
    pub const fn block_bytes(&self) -> u64 {
        self.shape.stride
    }

    /// The axes that have shelves, with the shelves' numbers.
    #[inline]
    fn shelves(&self) -> impl Iterator<Item = (Axis, u32)> + '_ {
        // Acquire is not needed: a block on the shelf is taken by an acquire, and the axis was there
        // before the first block came to the shelf.
        let bits = self.axes.iter().map(|axis| axis.load(Ordering::Relaxed));
        bits.take_while(|&bits| bits != VACANT).map(Axis::from_bits).zip(1..)
    }

    /// The shelf of an axis, made if there is room.
    #[inline]
    fn shelf_of(&self, axis: Axis) -> Option<u32> {
        let bits = axis.to_bits();
        for (place, shelf) in self.axes.iter().zip(1..) {
            let mut now = place.load(Ordering::Relaxed);
            if now == VACANT && bits != VACANT {
                // Places fill from the front and never change again, so an axis has at most one.
                // Release, with the acquire of taking a block: see `shelves`.
                now =
                    match place.compare_exchange(VACANT, bits, Ordering::AcqRel, Ordering::Relaxed)
                    {
                        Ok(_) => return Some(shelf),
                        Err(now) => now,
                    };
            }
            if now == bits {
                return Some(shelf);
            }
        }
        None
    }

    /// How far an axis has come, asking the device itself about `epoch`.
    fn reached(&self, axis: Axis, epoch: Epoch) -> Epoch {
        let reached = self.host.progress.reached(axis);
        if reached < epoch && self.host.provider.query_epoch(axis, epoch) == Some(true) {
            return epoch;
        }
        reached
    }

    fn has_reached(&self, entry: Entry) -> bool {
        self.reached(entry.axis, entry.epoch) >= entry.epoch
    }

    fn emit(&self, event: Event) {
        if let Some(sink) = &self.host.sink {
            sink.event(&event);
        }
    }

    /// Runs a search of the shelves; wakes those who may have missed a block because of it.
    #[inline]
    fn search(&self, search: Search) -> Option<crate::offset::fixed_block::Taken> {
        if search.revived {
            self.notification.signal_if_observed();
        }
        search.taken
    }

    /// Every how many blocks one lies at a multiple of `alignment`.
    #[inline]
    fn multiple(&self, alignment: u64) -> Result<u32, PoolError> {
        if alignment <= self.properties.alignment {
            return Ok(1);
        }
        if alignment > self.shape.slab_alignment {
            return Err(PoolError::InvalidAlignment { alignment });
        }
        // A slab starts with such a block, whatever its number.
        let step = alignment / self.shape.natural;
        Ok(step.min(1 << self.shape.shift) as u32)
    }
}

impl Pool for FixedBlockPool {
    fn id(&self) -> PoolId {
        self.id
    }

    fn properties(&self) -> PoolProperties {
        self.properties
    }

    /// A block, whatever the size.
    fn footprint(&self, _size: u64, _alignment: u64) -> u64 {
        self.block_bytes()
    }

    /// # Errors
    /// Also [`PoolError::InvalidAlignment`] for an alignment above that of the provider's slabs.
    #[inline]
    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        request.validate()?;
        if request.size > self.properties.max_request {
            let max = self.properties.max_request;
            return Err(PoolError::TooLarge { size: request.size, max });
        }
        let multiple = self.multiple(request.alignment)?;
        let observed = self.notification.observe();
        if !self.charge() && !self.charge_again() {
            return Ok(Acquire::OverBudget { observed });
        }
        let mine = self.counters.mine();
        if let Some(found) = self.find_at_once(request.frontier, mine.hint(), multiple) {
            return Ok(self.ready(&found, request.size, mine));
        }
        let turned_away = self.over_budget.load(Ordering::Relaxed);
        let answer = self.acquire_otherwise(request, observed, multiple);
        if self.budget != Budget::UNLIMITED
            && !matches!(answer, Ok(Acquire::Ready { .. } | Acquire::AfterWait { .. }))
        {
            self.refund();
            // Whoever our charge turned away must look again; nobody else, or waiting would be vain.
            if self.over_budget.load(Ordering::SeqCst) != turned_away {
                self.notification.signal_if_observed();
            }
        }
        answer
    }

    #[inline]
    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        let reservation = self.host.check(reservation, death)?;
        let (block, _, reservation) = self.token(reservation)?;
        self.put_down(block, reservation.size, death);
        self.after_release(&reservation);
        Ok(())
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        let (block, source, reservation) = self.token(reservation)?;
        let mine = self.counters.mine();
        let padding = self.shape.stride - reservation.size;
        if source == SIDE {
            let mut ticket = Ticket::new();
            ticket.block = block;
            {
                let admin = self.admin.lock();
                ticket.write(admin.pending.death_of(block), &|entry| self.has_reached(entry));
            }
            mine.released(padding, true);
            self.inbox.push(ticket);
        } else {
            mine.released(padding, source != CLEAN);
            self.blocks.put(source, block, self.blocks.key(block));
        }
        self.after_release(&reservation);
        Ok(())
    }

    fn poll(&self) {
        let cleaned = self.clean_shelves();
        let moved = self.settle_pending(&mut self.admin.lock());
        if cleaned != 0 || moved {
            self.notification.signal_if_observed();
        }
    }

    fn quiesce(&self) {
        for (_, shelf) in self.shelves() {
            self.clean_shelf(shelf, MAX_KEY);
        }
        {
            let admin = &mut *self.admin.lock();
            self.settle_pending(admin);
            admin.pending.drain(&mut |block, was_tainted| {
                if was_tainted {
                    self.tainted_blocks.fetch_sub(1, Ordering::Relaxed);
                } else {
                    self.counters.mine().cleaned(1);
                }
                self.blocks.put(CLEAN, block, USED);
            });
            self.count_aside(admin);
        }
        self.notification.signal_if_observed();
    }

    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        self.trim_slabs(how)
    }

    fn stats(&self) -> PoolStats {
        let stride = self.shape.stride;
        let totals = self.counters.totals();
        let [peak_live, peak_requested_bytes, peak_pending] = self.counters.peaks();
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let committed_bytes = load(&self.committed);
        let free_bytes = committed_bytes.saturating_sub(totals.live * stride);
        let tainted_bytes = (load(&self.tainted_blocks) * stride).min(free_bytes);
        let pending_bytes = (totals.pending * stride).min(free_bytes - tainted_bytes);
        let reserved_bytes = committed_bytes - free_bytes;
        let reserves = totals.origins.iter().sum();
        let [fresh, dominated, completed, waited] = totals.origins;
        PoolStats {
            reserved_bytes,
            requested_bytes: totals.requested.min(reserved_bytes),
            free_bytes,
            pending_bytes,
            tainted_bytes,
            committed_bytes,
            peak_reserved_bytes: peak_live * stride,
            peak_requested_bytes,
            peak_committed_bytes: load(&self.peak_committed),
            peak_pending_bytes: peak_pending * stride,
            slabs: load(&self.slabs),
            live: totals.live,
            reserves,
            releases: reserves.saturating_sub(totals.live),
            fresh,
            dominated,
            completed,
            waited,
            missed: load(&self.missed),
            exhausted: load(&self.exhausted),
            over_budget: load(&self.over_budget),
            // A death is kept whatever the number of its axes.
            tainted: 0,
        }
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

    /// Blocks that change hands during the walk are seen as live: the lock does not stop the others.
    fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        let mut guard = self.admin.lock();
        let admin = &mut *guard;
        let moved = self.settle_pending(admin);
        let mut slabs = Index::default();
        for (place, at) in self.places.iter().zip(0u32..) {
            let blocks = place.blocks.load(Ordering::Relaxed);
            if blocks != 0 {
                let id = place.id.load(Ordering::Relaxed);
                slabs.insert((id, u64::from(at << self.shape.shift), 0), blocks.into());
            }
        }
        for ((slab, first, _), blocks) in slabs.from((0, 0, 0)) {
            let (slab, first) = (SlabId::from_bits(slab), first as u32);
            for block in first..first + blocks as u32 {
                let on = |shelf: u32| self.blocks.is_on(shelf, block);
                let entry = self
                    .shelves()
                    .find(|(_, shelf)| on(*shelf))
                    .map(|(axis, _)| Entry::new(axis, self.blocks.key(block)));
                let state = if on(CLEAN) {
                    BlockState::Clean
                } else if let Some(entry) = &entry {
                    BlockState::Pending(FrontierRef::single(entry))
                } else if let Some(death) = admin.pending.death_here(block) {
                    match death {
                        Death::After(frontier) => BlockState::Pending(frontier),
                        Death::Idle | Death::Unknown => BlockState::Tainted,
                    }
                } else {
                    let requested = self.requested[block as usize].load(Ordering::Relaxed);
                    BlockState::Live { requested }
                };
                let offset = u64::from(block - first) * self.shape.stride;
                visit(&BlockView { slab, offset, size: self.shape.stride, state });
            }
        }
        drop(guard);
        if moved {
            self.notification.signal_if_observed();
        }
    }
}

impl fmt::Debug for FixedBlockPool {
    /// Which pool: blocks are shown by [`inspect`](Pool::inspect), counters by [`stats`](Pool::stats).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::show(f, "FixedBlockPool", self.id)
    }
}

impl Drop for FixedBlockPool {
    fn drop(&mut self) {
        for place in &self.places {
            if place.blocks.load(Ordering::Relaxed) != 0 {
                // Nothing can be done about a provider that fails now.
                let id = SlabId::from_bits(place.id.load(Ordering::Relaxed));
                let _ = self.host.provider.release(id);
                self.emit(Event::SlabReleased { pool: self.id, slab: id });
            }
        }
    }
}
