//! The pool set: which of several pools serves a request.
//!
//! ```text
//!            Need { memory type, usage, size }
//!                          │
//!      priority 9   ┌──────▼──────┐   each pool in order of priority, then of registration:
//!                   │ fixed-block │   · its memory type holds every required flag
//!      priority 5   ├─────────────┤     (OPTIMAL is only a hint)
//!                   │    TLSF     │   · its usage holds every required flag
//!      priority 5   ├─────────────┤   · the size is within its range
//!                   │    TLSF     │
//!                   └──────┬──────┘   the first that fits ──▶ Route::Pool
//!                          │ all that fit but for the size are too small
//!      oversized    ┌──────▼──────┐
//!                   │ passthrough │   the first that fits ──▶ Route::Oversized
//!                   └──────┬──────┘
//!                          │ none
//!                          ▼
//!                   Route::NoMatch(the requirement that ruled out the last pools)
//! ```
//!
//! The choice depends on what pools *are*, never on how full they are: a request that finds its pool
//! exhausted is told so and does not spill into the next one, or the bytes of a scarce pool would be
//! spent by whoever came when another pool was full. A host that wants to spill asks again with
//! another need.
//!
//! [`MemoryType::OPTIMAL`](crate::slab::MemoryType::OPTIMAL) never rules a pool out. Among pools of one priority that fit, those that
//! have it come first when it is asked for; priorities, which the host set on purpose, weigh more.
//!
//! Cost: routing is one pass over the pools and allocates nothing. Finding a pool by id is a binary search.

use crate::Death;
use crate::pool::{
    Acquire, Pool, PoolError, PoolId, PoolStats, ReleaseError, Request, Reservation,
};
use crate::slab::{SlabStats, Trim};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

mod route;
#[cfg(all(test, not(loom)))]
mod tests;

pub use route::{Decision, Need, NoMatch, Rule, route};

/// How a pool takes part in a set: its priority, and the sizes it is for.
///
/// ```
/// use strandline_core::pool_set::Registration;
/// let small = Registration::new().priority(9).sizes(1, 64 << 10);
/// let huge = Registration::oversized();
/// assert_ne!(small, huge);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    priority: i32,
    min_size: u64,
    max_size: u64,
    oversized: bool,
}

impl Registration {
    /// Priority 0, every size that the pool can serve.
    #[must_use]
    pub const fn new() -> Self {
        Self { priority: 0, min_size: 1, max_size: u64::MAX, oversized: false }
    }

    /// For requests that are too large for every other pool that fits them: a passthrough pool's place.
    #[must_use]
    pub const fn oversized() -> Self {
        Self { priority: 0, min_size: 1, max_size: u64::MAX, oversized: true }
    }

    /// Pools of higher priority are looked at first.
    #[must_use]
    pub const fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Only requests of `min` to `max` bytes, both included. The pool's own limit applies as well.
    #[must_use]
    pub const fn sizes(mut self, min: u64, max: u64) -> Self {
        self.min_size = min;
        self.max_size = max;
        self
    }
}

impl Default for Registration {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a pool was not taken into the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolSetError {
    /// It is in the set already.
    DuplicatePool(PoolId),
    /// No size is at least `min` and at most `max` (the registration's, or the pool's own limit).
    EmptySizeRange {
        /// The smallest size in bytes.
        min: u64,
        /// The largest size in bytes.
        max: u64,
    },
}

impl fmt::Display for PoolSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicatePool(id) => write!(f, "{id:?} is in the set already"),
            Self::EmptySizeRange { min, max } => {
                write!(f, "no size is at least {min} and at most {max} bytes")
            }
        }
    }
}

impl core::error::Error for PoolSetError {}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum Route<'a> {
    /// To this pool.
    Pool(&'a Arc<dyn Pool>),
    /// To this pool for oversized requests.
    Oversized(&'a Arc<dyn Pool>),
    /// Nowhere.
    NoMatch(NoMatch),
}

impl<'a> Route<'a> {
    /// The pool, whichever way it was found.
    ///
    /// ```
    /// use strandline_core::pool_set::{Need, NoMatch, PoolSet, Route};
    /// let route = PoolSet::new();
    /// let route = route.route(&Need::new(64));
    /// assert!(route.pool().is_none());
    /// assert!(matches!(route, Route::NoMatch(NoMatch::MemoryType)));
    /// ```
    #[must_use]
    pub const fn pool(self) -> Option<&'a Arc<dyn Pool>> {
        match self {
            Self::Pool(pool) | Self::Oversized(pool) => Some(pool),
            Self::NoMatch(_) => None,
        }
    }
}

/// What came of [`PoolSet::acquire`].
#[derive(Debug)]
#[must_use = "an acquired reservation must be released; the other outcomes must be acted on"]
pub enum SetAcquire<'a> {
    /// The pool that the request was routed to, and its answer. An observation in the answer is one of
    /// that pool's notification.
    Routed {
        /// The pool.
        pool: &'a Arc<dyn Pool>,
        /// Its answer.
        answer: Acquire,
    },
    /// No pool fits. Nothing is reserved.
    NoMatch(NoMatch),
}

/// The counters of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolSetStats {
    /// Sums over the pools. A sum of peaks is a bound on the peak of the sum: pools need not peak at
    /// the same time.
    pub pools: PoolStats,
    /// Sums over the providers that the pools name, each counted once however many pools share it.
    /// The identity is 0.
    pub providers: SlabStats,
    /// How many providers that are.
    pub provider_count: usize,
}

/// Pools in the order in which they are considered. Built once, then shared: all use is by `&self`.
///
/// ```
/// # use strandline_core::pool_set::{Need, PoolSet, Registration, Route};
/// # use strandline_core::pool::Pool;
/// # use std::sync::Arc;
/// fn build(
///     blocks: Arc<dyn Pool>,
///     general: Arc<dyn Pool>,
///     passthrough: Arc<dyn Pool>,
/// ) -> Result<PoolSet, strandline_core::pool_set::PoolSetError> {
///     let mut pools = PoolSet::new();
///     pools.add(blocks, Registration::new().priority(1).sizes(1, 16 << 10))?;
///     pools.add(general, Registration::new())?;
///     pools.add(passthrough, Registration::oversized())?;
///     Ok(pools)
/// }
/// ```
#[derive(Debug, Default)]
pub struct PoolSet {
    /// Descending priority, then order of registration; the same index in `pools`.
    rules: Vec<Rule>,
    pools: Vec<Arc<dyn Pool>>,
    /// Ascending id; the position in `pools`.
    by_id: Vec<(PoolId, usize)>,
}

impl PoolSet {
    /// An empty set: nothing matches.
    #[must_use]
    pub const fn new() -> Self {
        Self { rules: Vec::new(), pools: Vec::new(), by_id: Vec::new() }
    }

    /// Takes a pool into the set, behind those of the same priority. Cost: linear in the pools.
    ///
    /// # Errors
    /// [`PoolSetError`]; the set is as it was.
    pub fn add(
        &mut self,
        pool: Arc<dyn Pool>,
        registration: Registration,
    ) -> Result<(), PoolSetError> {
        let id = pool.id();
        let properties = pool.properties();
        let Err(at_id) = self.by_id.binary_search_by_key(&id, |&(id, _)| id) else {
            return Err(PoolSetError::DuplicatePool(id));
        };
        let (min, max) = (registration.min_size, registration.max_size.min(properties.max_request));
        if min > max {
            return Err(PoolSetError::EmptySizeRange { min, max });
        }
        let rule = Rule {
            priority: registration.priority,
            memory_type: properties.memory_type,
            usage: properties.usage,
            min_size: min,
            max_size: max,
            oversized: registration.oversized,
        };
        let at = self.rules.partition_point(|earlier| earlier.priority >= rule.priority);
        self.rules.insert(at, rule);
        self.pools.insert(at, pool);
        for (_, position) in &mut self.by_id {
            *position += usize::from(*position >= at);
        }
        self.by_id.insert(at_id, (id, at));
        Ok(())
    }

    /// Which pool serves `need`. One pass over the pools; allocates nothing.
    pub fn route(&self, need: &Need) -> Route<'_> {
        match route(&self.rules, need) {
            Decision::Pool(index) => Route::Pool(&self.pools[index]),
            Decision::Oversized(index) => Route::Oversized(&self.pools[index]),
            Decision::NoMatch(why) => Route::NoMatch(why),
        }
    }

    /// Routes a request and asks the pool. The size that counts is the request's. An observation in the answer is one of that
    /// pool's notification, and is [moved on](Pool#observations-and-who-is-woken) by that pool alone.
    ///
    /// # Errors
    /// The pool's; nothing is reserved then.
    pub fn acquire(&self, need: &Need, request: &Request<'_>) -> Result<SetAcquire<'_>, PoolError> {
        let need = Need { size: request.size, ..*need };
        match self.route(&need) {
            Route::Pool(pool) | Route::Oversized(pool) => {
                Ok(SetAcquire::Routed { pool, answer: pool.acquire(request)? })
            }
            Route::NoMatch(why) => Ok(SetAcquire::NoMatch(why)),
        }
    }

    /// Gives a reservation back to the pool it came from.
    ///
    /// # Errors
    /// [`ReleaseError`] returns a reservation of a pool that is not in the set.
    pub fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        match self.get(reservation.pool()) {
            Some(pool) => pool.release(reservation, death),
            None => Err(ReleaseError::other_pool(reservation)),
        }
    }

    /// Gives an unused reservation back, its earlier death restored.
    ///
    /// # Errors
    /// [`ReleaseError`] returns a reservation of a pool that is not in the set.
    pub fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        match self.get(reservation.pool()) {
            Some(pool) => pool.cancel(reservation),
            None => Err(ReleaseError::other_pool(reservation)),
        }
    }

    /// The pool of this id. A binary search.
    #[must_use]
    pub fn get(&self, id: PoolId) -> Option<&Arc<dyn Pool>> {
        self.position(id).map(|position| &self.pools[position])
    }

    /// Where the pool of this id stands in [`pools`](Self::pools).
    #[must_use]
    pub fn position(&self, id: PoolId) -> Option<usize> {
        let at = self.by_id.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        Some(self.by_id[at].1)
    }

    /// The pools in the order in which they are considered.
    #[must_use]
    pub fn pools(&self) -> &[Arc<dyn Pool>] {
        &self.pools
    }

    /// What is known of the pools, in the same order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// [`Pool::poll`] on every pool: wakes whoever waits on one of them for what has been reached.
    pub fn poll(&self) {
        self.pools.iter().for_each(|pool| pool.poll());
    }

    /// [`Pool::quiesce`] on every pool.
    pub fn quiesce(&self) {
        self.pools.iter().for_each(|pool| pool.quiesce());
    }

    /// [`Pool::trim`] on every pool, and on the providers they name, once each; returns the bytes.
    ///
    /// # Errors
    /// The first failure, after every pool has been trimmed.
    pub fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        let mut bytes = 0;
        let mut first = None;
        for pool in &self.pools {
            match pool.trim(how) {
                Ok(trimmed) => bytes += trimmed,
                Err(error) => first = first.or(Some(error)),
            }
        }
        // After the pools: what they gave back may be lying in a provider's cache now.
        self.for_each_provider(|provider, _| bytes += provider.trim(how));
        match first {
            Some(error) => Err(error),
            None => Ok(bytes),
        }
    }

    /// The counters now. Allocates a list of the providers.
    #[must_use]
    pub fn stats(&self) -> PoolSetStats {
        let mut stats = PoolSetStats { pools: self.pool_stats(), ..PoolSetStats::default() };
        self.for_each_provider(|_, one| {
            stats.provider_count += 1;
            route::add_slab_stats(&mut stats.providers, &one);
        });
        stats
    }

    /// The sums over its pools alone: providers are not asked.
    #[must_use]
    pub fn pool_stats(&self) -> PoolStats {
        let mut stats = PoolStats::default();
        for pool in &self.pools {
            stats.add(&pool.stats());
        }
        stats
    }

    /// Visits each provider once, with its counters.
    fn for_each_provider(
        &self,
        mut visit: impl FnMut(&Arc<dyn crate::slab::SlabProvider>, SlabStats),
    ) {
        let mut seen = Vec::new();
        for provider in self.pools.iter().filter_map(|pool| pool.provider()) {
            let stats = provider.stats();
            if let Err(at) = seen.binary_search(&stats.identity) {
                seen.insert(at, stats.identity);
                visit(provider, stats);
            }
        }
    }
}
