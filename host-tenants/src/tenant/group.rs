//! A budget that several tenants share: [`TenantGroup`].
//!
//! ```text
//!   group: 64 MiB ──┬─▶ tenant a   at most 48 MiB        a charge is taken from the tenant's budget and from the group's,
//!                   └─▶ tenant b   at most 48 MiB        or from neither
//! ```
//!
//! What a tenant has released stays charged, to both, until nobody need wait for it. A member that does nothing does not look; so who finds no
//! room in the group looks for the others.
//!
//! Cost: an atomic step where a tenant's charge changes; where there is no room, a look at each member's books.

use super::pool::{Account, lock};
use core::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Tenants that share a budget, beside each one's own.
///
/// ```
/// # use strandline_core::pool::{PoolHost, tlsf::{TlsfPool, TlsfPoolConfig}};
/// # use strandline_core::Tracker;
/// # use strandline_host_native::MmapSlabProvider;
/// # use strandline_host_tenants::tenant::{Device, SharedPool};
/// use std::sync::Arc;
/// use strandline_host_tenants::tenant::{Answer, Ask, PoolHandle, Tenant, TenantGroup, TenantLimits};
/// # let memory = Arc::new(MmapSlabProvider::builder().build()?);
/// # let tracker = Tracker::new(64);
/// # let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone()));
/// # let pool = Arc::new(TlsfPool::new(host, TlsfPoolConfig::default())?);
/// # let device = Device::new(0, tracker, vec![SharedPool::new(pool, memory)]);
///
/// let customer = TenantGroup::new(1 << 20);
/// let [mut a, mut b] = [(); 2].map(|()| Tenant::in_group(&device, TenantLimits::default(), &customer));
/// let (a, b, pool) = (a.as_mut().unwrap(), b.as_mut().unwrap(), PoolHandle::from_bits(0));
/// assert!(matches!(a.acquire(pool, &Ask::new(700 << 10))?, Answer::Ready { .. }));
/// assert!(matches!(b.acquire(pool, &Ask::new(700 << 10))?, Answer::OverBudget { .. }));
/// assert_eq!(customer.charged(), 700 << 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TenantGroup {
    budget: u64,
    charged: AtomicU64,
    members: Mutex<Vec<Weak<Account>>>,
}

impl TenantGroup {
    /// A group whose tenants are charged at most `budget` bytes together.
    #[must_use]
    pub fn new(budget: u64) -> Arc<Self> {
        Arc::new(Self { budget, charged: AtomicU64::new(0), members: Mutex::default() })
    }

    /// The most bytes that its tenants are charged together.
    #[must_use]
    pub const fn budget(&self) -> u64 {
        self.budget
    }

    /// Bytes that its tenants are charged now.
    #[must_use]
    pub fn charged(&self) -> u64 {
        self.settle();
        self.charged.load(Ordering::Relaxed)
    }

    pub(super) fn join(&self, account: &Arc<Account>) {
        let mut members = lock(&self.members);
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(account));
    }

    /// Looks at what each member need no longer be charged. No member's books may be locked.
    pub(super) fn settle(&self) {
        let members = lock(&self.members).clone();
        for account in members.iter().filter_map(Weak::upgrade) {
            lock(&account.books).ledger.settle(&*account.memory);
        }
    }

    /// Whether `more` bytes fit.
    fn fits(&self, more: u64) -> bool {
        let sum = self.charged.load(Ordering::Relaxed).checked_add(more);
        sum.is_some_and(|sum| sum <= self.budget)
    }
}

impl fmt::Debug for TenantGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantGroup")
            .field("budget", &self.budget)
            .field("charged", &self.charged)
            .finish_non_exhaustive()
    }
}

/// What one tenant is charged in its group. It comes back when the tenant ends.
#[derive(Debug)]
pub(super) struct Share {
    group: Arc<TenantGroup>,
    charged: u64,
}

impl Share {
    pub(super) const fn new(group: Arc<TenantGroup>) -> Self {
        Self { group, charged: 0 }
    }

    /// Whether the tenant's charge may become `charged`.
    pub(super) fn allows(&self, charged: u64) -> bool {
        charged <= self.charged || self.group.fits(charged - self.charged)
    }

    /// Makes the tenant's charge `charged`, unless the group has no room for that. It has for less.
    pub(super) fn set(&mut self, charged: u64) -> bool {
        // Relaxed: a counter, nothing is published by it.
        if charged <= self.charged {
            self.group.charged.fetch_sub(self.charged - charged, Ordering::Relaxed);
        } else {
            let (more, budget) = (charged - self.charged, self.group.budget);
            let add = |now: u64| now.checked_add(more).filter(|&sum| sum <= budget);
            let added = self.group.charged.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
            if added.is_err() {
                return false;
            }
        }
        self.charged = charged;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}
