//! What tenants share: [`Device`], its pools and the queues that pass from one tenant to the next.
//!
//! ```text
//!   Device ── lends ──▶ Tenant a: pools behind a budget, queues 0 and 1
//!     │                 Tenant b: the same pools behind another, queue 2
//!     └ idle queues ◀── a tenant that leaves gives its queues back, when they have run dry
//! ```
//!
//! Axes are never removed from a tracker, so a queue outlives its tenant: the next one goes on with the
//! epochs where it stands. Threads and axes are bounded by the most queues in use at once.

use super::error::{Limit, TenantError};
use super::pool::lock;
use core::fmt;
use std::sync::{Arc, Mutex};
use strandline_core::pool_set::Registration;
use strandline_core::queue::Place;
use strandline_core::{Axis, Pool, Progress, SlabError, SlabMap, Tracker};
use strandline_host_native::MmapBuffer;
use strandline_host_native::queue::CpuQueue;

/// A pool that a device lends to its tenants.
#[derive(Clone)]
pub struct SharedPool {
    /// The host's pool. It may be one of the core's, or one that lives in a sandbox.
    pub pool: Arc<dyn Pool>,
    /// Who maps its slabs.
    pub memory: Arc<dyn SlabMap<Buffer = MmapBuffer>>,
    /// Its place in the tenants' pool set.
    pub registration: Registration,
    /// Whether tenants may trim it. Without harm to others only if it is one tenant's alone.
    pub may_trim: bool,
}

impl SharedPool {
    /// A pool for requests of any size, which tenants may not trim.
    pub fn new(pool: Arc<dyn Pool>, memory: Arc<dyn SlabMap<Buffer = MmapBuffer>>) -> Self {
        Self { pool, memory, registration: Registration::new(), may_trim: false }
    }
}

impl fmt::Debug for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPool")
            .field("pool", &self.pool)
            .field("registration", &self.registration)
            .field("may_trim", &self.may_trim)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Bank {
    /// Queues without a tenant. Some may still have work of the last one to pass over.
    resting: Vec<CpuQueue>,
    /// Queues that were ever started.
    started: u16,
}

/// What tenants share: pools, and queues that pass from one tenant to the next.
#[derive(Debug)]
pub struct Device {
    number: u8,
    tracker: Tracker,
    pub(super) pools: Vec<SharedPool>,
    bank: Mutex<Bank>,
}

impl Device {
    /// The most queues that tenants of one device can have at once.
    pub const MAX_QUEUES: u16 = 256;

    /// A device that lends these pools. Its queues have the axes `Axis::queue(number, _)` of
    /// `tracker`, which must be what the pools ask for progress.
    #[must_use]
    pub fn new(number: u8, tracker: Tracker, pools: Vec<SharedPool>) -> Arc<Self> {
        Arc::new(Self { number, tracker, pools, bank: Mutex::default() })
    }

    /// The tracker that knows how far its queues have come.
    #[must_use]
    pub const fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// To be called when an axis of the host has advanced: allocas that wait for memory look again. The
    /// device's own queues do so by themselves.
    pub fn progressed(&self) {
        for lent in &self.pools {
            lent.pool.notification().signal_if_observed();
        }
    }

    /// Queues that no tenant has, those that are not idle yet included.
    #[must_use]
    pub fn resting_queues(&self) -> usize {
        lock(&self.bank).resting.len()
    }

    /// The memory at a place in a pool's slab.
    pub(super) fn map(&self, pool: usize, place: Place) -> Result<(MmapBuffer, Place), SlabError> {
        let mapped = self.pools[pool].memory.map(place.slab, place.offset, place.size);
        mapped.map(|buffer| (buffer, place))
    }

    /// An idle queue, or a new one.
    pub(super) fn lease(&self) -> Result<CpuQueue, TenantError> {
        let mut bank = lock(&self.bank);
        let idle = |queue: &CpuQueue| self.tracker.reached(queue.axis()) == queue.submitted();
        if let Some(at) = bank.resting.iter().position(idle) {
            return Ok(bank.resting.swap_remove(at));
        }
        let Ok(index) = u8::try_from(bank.started) else {
            return Err(TenantError::Limit(Limit::Host));
        };
        let queue =
            CpuQueue::new(&self.tracker, Axis::queue(self.number, index)).map_err(|error| {
                log::warn!("no queue for a tenant: {error}");
                TenantError::Limit(Limit::Host)
            })?;
        bank.started += 1;
        for lent in &self.pools {
            queue.notify_on_progress(lent.pool.notification().clone());
        }
        Ok(queue)
    }

    /// Takes a queue back from a tenant that leaves. One that has failed ends; its axis cannot go on.
    pub(super) fn rest(&self, queue: CpuQueue) {
        if !matches!(self.tracker.end_of(queue.axis()), Ok(None)) {
            return;
        }
        lock(&self.bank).resting.push(queue);
    }
}
