//! What an untrusted program may do with a device: [`Tenant`].
//!
//! ```text
//!   Tenant ──▶ TenantPool ──▶ host's pool          budget, own counters, no waiting for other tenants
//!     │  └───▶ Names                               which epochs it may speak of
//!     ├──────▶ HostQueue ──▶ CpuQueue              its queues: alloca, dealloca, fill, copy, write, read
//!     └─ drop: queues run dry, every reservation goes back with the death it really has
//! ```
//!
//! Every method takes what an untrusted program can say: numbers, lists, handles that may be anyone's or
//! no one's. Each answers with a value or a [`TenantError`]; none panics, blocks or touches another
//! tenant. There is no sandbox in here: the guest host of the feature `component` wraps it for components, and
//! whatever else isolates programs can do so too.
//!
//! # What a tenant cannot do
//! - **Have more than its budget.** Bytes that it has released stay charged until nobody need wait for
//!   them; see [`TenantLimits::budget`].
//! - **Lie about time.** It can name only epochs that it has submitted or that the host has told it of. A
//!   release counts as after all the tenant's own uses, whatever the tenant says; a use of bytes waits
//!   for what the tenant claimed when it got them.
//! - **Hold others up.** No answer makes one tenant wait for another's queue.
//! - **See others.** Memory is zeroed before it can read it, counters are its own, axes it was not told of
//!   read as 0.
//! - **Leave something behind.** See [`Tenant`]'s drop.
//! - **Make the host keep things without bound.** See [`TenantLimits`].
//!
//! # Cost
//! An acquire or a release: the host's pool, three locks for both together, and a few lookups. An operation: a lookup for
//! each handle and the queue's submission. Each call on queues also takes up what was decided meanwhile.

mod device;
mod error;
mod events;
mod group;
mod host_queue;
mod ledger;
mod limits;
mod names;
mod operations;
mod pool;
mod reserve;
#[cfg(test)]
mod tests;
mod wait;

pub use device::{Device, SharedPool};
pub use error::{Limit, TenantError};
pub use group::TenantGroup;
pub use limits::TenantLimits;
pub use operations::{BufferState, Memory, Range};
pub use reserve::{Answer, Ask, Exchanged, Returned};
pub use wait::{TenantChange, TenantWait, WaitFailure};

use core::fmt;
use group::Share;
use host_queue::HostQueue;
use ledger::Ledger;
use names::Names;
use pool::{Account, QuotaAccount, TenantPool, lock};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use strandline_core::pool::{Pool, ReleaseError};
use strandline_core::pool_set::{Need, Route};
use strandline_core::table::Table;
use strandline_core::{
    Axis, BufferId, Death, Epoch, Frontier, Merge, PoolSet, PoolStats, Progress, Queues,
    Reservation,
};
use strandline_host_native::queue::CpuQueue;

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The handle with this number: whoever invents one is told that it is unknown, or, if it is
            /// the tenant's own, uses what is the tenant's own.
            #[must_use]
            pub const fn from_bits(bits: u64) -> Self {
                Self(bits)
            }

            /// Its number.
            #[must_use]
            pub const fn to_bits(self) -> u64 {
                self.0
            }
        }
    };
}

handle!(
    /// Names a reservation of one tenant. Never used twice.
    ReservationHandle
);
handle!(
    /// Names a transient buffer of one tenant. Never used twice.
    BufferHandle
);
handle!(
    /// Names a queue of one tenant: 0 is the first it opened.
    QueueHandle
);
handle!(
    /// Names a readback of one tenant. Never used twice.
    ReadbackHandle
);
handle!(
    /// Names a lent pool: its position among those that the device lends.
    PoolHandle
);

/// A reservation of the tenant.
#[derive(Debug)]
struct Holding {
    pool: usize,
    reservation: Reservation,
    /// None before the first use.
    memory: Option<host_queue::Memory>,
    /// What its bytes really wait for: the last use on each of the tenant's queues; before the first use, all that the
    /// tenant counted on when they were handed out, whatever the pool said of their origin. Once returned, also
    /// what the tenant said.
    death: Frontier,
    /// The first use, which waited for that and zeroed them.
    first_use: Option<(Axis, Epoch)>,
    /// The tenant has given it back, and said what it waits for.
    returned: bool,
}

/// A transient buffer of the tenant.
#[derive(Debug)]
struct Transient {
    id: BufferId,
    /// The queue of its alloca.
    queue: usize,
    epoch: Epoch,
    size: u64,
    memory: host_queue::Memory,
    /// Its alloca, and the last use on each of the tenant's queues.
    uses: Frontier,
}

/// See the [module](self).
///
/// ```
/// use std::sync::Arc;
/// use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
/// use strandline_core::{Tracker, pool::PoolHost};
/// use strandline_host_native::MmapSlabProvider;
/// use strandline_host_tenants::tenant::{Answer, Ask, Device, SharedPool, PoolHandle, Tenant, TenantLimits};
///
/// let memory = Arc::new(MmapSlabProvider::builder().build()?);
/// let tracker = Tracker::new(64);
/// let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone()));
/// let pool = Arc::new(TlsfPool::new(host, TlsfPoolConfig::default())?);
/// let device = Device::new(0, tracker, vec![SharedPool::new(pool, memory)]);
///
/// let limits = TenantLimits { budget: 1 << 20, ..TenantLimits::default() };
/// let mut tenant = Tenant::new(&device, limits)?;
/// let pool = PoolHandle::from_bits(0);
/// assert!(matches!(tenant.acquire(pool, &Ask::new(1 << 20).or_grow())?, Answer::Ready { .. }));
/// assert!(matches!(tenant.acquire(pool, &Ask::new(1).or_grow())?, Answer::OverBudget { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Drop
/// Operations that have not begun do nothing any more; what they were to wait for, their epochs still do.
/// Reservations that no operation has touched go back as if never made. Those that were used come
/// back after those uses. Queues go back to the device when they have run dry.
pub struct Tenant {
    device: Arc<Device>,
    limits: TenantLimits,
    account: Arc<Account>,
    pools: Vec<Arc<TenantPool>>,
    set: Arc<PoolSet>,
    queues: Queues,
    host_queues: Vec<HostQueue>,
    holdings: Table<u64, Holding>,
    /// Given back with a death that is unknown, or longer than the host's pools remember: kept until the host declares
    /// quiescence, or the tenant ends.
    quarantine: Vec<Holding>,
    buffers: BTreeMap<u64, Transient>,
    by_id: BTreeMap<BufferId, host_queue::Memory>,
    readbacks: BTreeMap<u64, operations::Readback>,
    transfer: Arc<AtomicU64>,
    next: u64,
}

impl Tenant {
    /// A tenant of the device, with nothing so far.
    ///
    /// # Errors
    /// [`TenantError::Pool`] when two of the device's pools are one and the same, or no size is left to one.
    pub fn new(device: &Arc<Device>, limits: TenantLimits) -> Result<Self, TenantError> {
        Self::make(device, limits, None)
    }

    /// A tenant that is charged to a group as well.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_group(
        device: &Arc<Device>,
        limits: TenantLimits,
        group: &Arc<TenantGroup>,
    ) -> Result<Self, TenantError> {
        Self::make(device, limits, Some(group.clone()))
    }

    fn make(
        device: &Arc<Device>,
        limits: TenantLimits,
        group: Option<Arc<TenantGroup>>,
    ) -> Result<Self, TenantError> {
        if limits.budget == 0 || group.as_ref().is_some_and(|group| group.budget() == 0) {
            let what = "the budget of a tenant, or of its group, is at least one byte";
            return Err(TenantError::Pool(strandline_core::PoolError::InvalidConfig(what)));
        }
        let tracker = device.tracker().clone();
        let mut ledger =
            Ledger::new(limits.budget, limits.reservations, limits.pending, device.pools.len());
        let most = group.as_ref().map_or(limits.budget, |group| group.budget().min(limits.budget));
        if let Some(group) = &group {
            ledger.join(Share::new(group.clone()));
        }
        let counts = vec![PoolStats::default(); device.pools.len()];
        let progress: Arc<dyn Progress> = Arc::new(tracker.clone());
        let account = Arc::new(Account {
            memory: progress.for_memory().unwrap_or(progress),
            tracker: tracker.clone(),
            books: Mutex::new(QuotaAccount { ledger, counts }),
            names: Mutex::new(Names::default()),
            group,
        });
        if let Some(group) = &account.group {
            group.join(&account);
        }
        let mut set = PoolSet::new();
        let mut pools = Vec::new();
        for (index, lent) in device.pools.iter().enumerate() {
            let account = account.clone();
            let pool =
                Arc::new(TenantPool::new(index, lent.pool.clone(), account, lent.may_trim, most));
            set.add(pool.clone(), lent.registration).map_err(|_| {
                let what = "the device lends one pool twice, or a pool for no size";
                TenantError::Pool(strandline_core::PoolError::InvalidConfig(what))
            })?;
            pools.push(pool);
        }
        let set = Arc::new(set);
        Ok(Self {
            device: device.clone(),
            limits,
            account,
            pools,
            queues: Queues::new(set.clone(), Arc::new(tracker)),
            set,
            host_queues: Vec::new(),
            holdings: Table::new(),
            quarantine: Vec::new(),
            buffers: BTreeMap::new(),
            by_id: BTreeMap::new(),
            readbacks: BTreeMap::new(),
            transfer: Arc::default(),
            next: 0,
        })
    }

    /// What it may have.
    #[must_use]
    pub const fn limits(&self) -> &TenantLimits {
        &self.limits
    }

    /// The device.
    #[must_use]
    pub const fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// How many pools there are: their handles are the numbers below.
    #[must_use]
    pub const fn pools(&self) -> usize {
        self.pools.len()
    }

    /// Bytes charged to its budget now, and the most there were at once.
    #[must_use]
    pub fn charged(&self) -> (u64, u64) {
        let ledger = &mut lock(&self.account.books).ledger;
        ledger.settle(&*self.account.memory);
        (ledger.charged(), ledger.peak_bytes())
    }

    /// The host tells the tenant of one of its axes, up to an epoch that it has submitted. The tenant may
    /// wait for it, and pools may make it wait for any epoch of that axis.
    pub fn lend_axis(&mut self, axis: Axis, submitted: Epoch) {
        lock(&self.account.names).lend(axis, submitted);
    }

    /// How far an axis has come, 0 for one that the tenant does not know.
    #[must_use]
    pub fn reached(&self, axis: Axis) -> Epoch {
        let known = lock(&self.account.names).knows(axis);
        if known { self.account.tracker.reached(axis) } else { 0 }
    }

    /// Which of its pools a request goes to; `None` in the route when there is none.
    pub fn route(&self, need: &Need) -> Route<'_> {
        self.set.route(need)
    }

    /// The handle of a pool by its id.
    #[must_use]
    pub fn pool_of(&self, id: strandline_core::pool::PoolId) -> Option<PoolHandle> {
        let at = self.pools.iter().position(|pool| pool.id() == id)?;
        Some(PoolHandle(at as u64))
    }

    /// The pool as the tenant sees it: its properties, its notification, the tenant's own counters.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`].
    pub fn pool(&self, pool: PoolHandle) -> Result<&dyn Pool, TenantError> {
        self.tenant_pool(pool).map(|(_, pool)| &**pool as &dyn Pool)
    }

    /// The tenant's counters of a pool. Bytes of unknown death count as tainted, not as reserved.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`].
    pub fn stats(&self, pool: PoolHandle) -> Result<PoolStats, TenantError> {
        let (index, pool) = self.tenant_pool(pool)?;
        let mut stats = pool.stats();
        for kept in self.quarantine.iter().filter(|kept| kept.pool == index) {
            let bytes = pool.charged(&kept.reservation);
            stats.reserved_bytes = stats.reserved_bytes.saturating_sub(bytes);
            stats.requested_bytes = stats.requested_bytes.saturating_sub(kept.reservation.size());
            stats.tainted_bytes += bytes;
            stats.free_bytes += bytes;
            stats.live = stats.live.saturating_sub(1);
            stats.releases += 1;
        }
        Ok(stats)
    }

    /// The device is known to be quiescent, the host says: what the tenant has released with an unknown
    /// death comes back, after its own uses. What stays charged because an axis has failed, or because the death of a
    /// buffer became unknown with it, is charged no longer: to be called along with [`Pool::quiesce`] of the lent
    /// pools.
    pub fn quiesce(&mut self) {
        lock(&self.account.books).ledger.forget_ended(|axis| {
            // One that the tracker does not know is not reached either.
            !matches!(self.account.tracker.end_of(axis), Ok(None))
        });
        for kept in core::mem::take(&mut self.quarantine) {
            self.end(kept);
        }
    }

    fn tenant_pool(&self, pool: PoolHandle) -> Result<(usize, &Arc<TenantPool>), TenantError> {
        let index = usize::try_from(pool.0).map_err(|_| TenantError::UnknownHandle)?;
        let pool = self.pools.get(index).ok_or(TenantError::UnknownHandle)?;
        Ok((index, pool))
    }

    /// Returns a holding to its pool, after what its bytes really wait for. Of more axes than a block remembers, the
    /// death would taint the host's pool: such a holding is kept.
    fn end(&mut self, holding: Holding) {
        if !self.is_short(&holding.death) {
            return self.quarantine.push(holding);
        }
        let Holding { pool, reservation, death, .. } = holding;
        log_refusal(self.pools[pool].release(reservation, self.death(&death)));
    }

    /// A death, as pools are told of it.
    fn death<'a>(&self, death: &'a Frontier) -> Death<'a> {
        if death.as_ref().is_satisfied(&self.account.tracker) {
            Death::Idle
        } else {
            Death::After(death.as_ref())
        }
    }

    /// Returns a holding that its tenant has no more to say of: as if never made, unless it was used.
    fn drop_holding(&mut self, holding: Holding) {
        if holding.first_use.is_some() || holding.returned {
            return self.end(holding);
        }
        log_refusal(self.pools[holding.pool].cancel(holding.reservation));
    }

    /// A death that the host's pools remember: one of too many axes becomes an epoch, of a queue that runs dry, which
    /// waits for them. As it was if no queue takes that.
    fn shortened(&self, death: Frontier, queues: &[CpuQueue]) -> Frontier {
        if self.is_short(&death) {
            return death;
        }
        let ended = queues.iter().find_map(|queue| {
            let epoch = queue.submit(death.as_ref(), []).ok()?;
            Some(Frontier::from_entry(queue.axis(), epoch))
        });
        ended.unwrap_or(death)
    }

    fn new_handle(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// See [`Tenant`].
impl Drop for Tenant {
    fn drop(&mut self) {
        self.drain();
        let mut last = Frontier::new();
        let mut queues = Vec::new();
        for host_queue in core::mem::take(&mut self.host_queues) {
            let axis = host_queue.cpu().axis();
            let submitted = self.queues.submitted(axis).unwrap_or(0);
            if submitted > 0 {
                // `MAX_QUEUES` of them fit.
                let _: Merge = last.advance(axis, submitted);
            }
            queues.extend(host_queue.leave());
        }
        // Memory that the queues' buffers have comes back after everything the queues were to do.
        let last = self.shortened(last, &queues);
        self.queues.shutdown(Death::After(last.as_ref()));
        let mut holdings: Vec<Holding> =
            core::mem::take(&mut self.holdings).into_values().collect();
        holdings.append(&mut self.quarantine);
        for mut holding in holdings {
            holding.death = self.shortened(holding.death, &queues);
            self.drop_holding(holding);
        }
        for Holding { pool, reservation, death, .. } in core::mem::take(&mut self.quarantine) {
            // No queue is left to wait for so many axes.
            log_refusal(self.pools[pool].release(reservation, Death::After(death.as_ref())));
        }
        for queue in queues {
            self.device.rest(queue);
        }
    }
}

/// A pool that refuses what it has handed out is broken; the bytes stay with it.
fn log_refusal(returned: Result<(), ReleaseError>) {
    if let Err(ReleaseError { reservation, .. }) = returned {
        log::error!("{:?} refused {reservation:?}", reservation.pool());
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant")
            .field("limits", &self.limits)
            .field("queues", &self.host_queues.len())
            .field("reservations", &self.holdings.len())
            .field("buffers", &self.buffers.len())
            .finish_non_exhaustive()
    }
}
