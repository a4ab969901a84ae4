//! The planned pool: a TLSF pool that places requests where a plan of a recorded step has them.
//!
//! ```text
//!   request ─▶ matcher ─▶ block of the plan ─▶ its bytes are free and ready ─▶ planned
//!                 └ none         └──────────────── not so ─▶ TLSF ─▶ strayed
//!
//!   slabs      │ the plan's bytes: planned blocks, and strays where it leaves room │   │ further slabs: strays │
//! ```
//!
//! A plan is a hint. Which place is tried first is all that it decides: whether bytes may be used is asked of the same heap as
//! in every TLSF pool, so any plan, a wrong one too, gives a pool that is sound and complete and degrades to TLSF.
//! Requests are matched by size, alignment, stream (if it is told) and by what was requested around them; one that is
//! missing, additional or of another size loses only itself. See `planned/matcher.rs`.
//!
//! # Cost
//! A planned request costs about as much as one of a TLSF pool; a stray in addition a look at some blocks of the plan. A plan takes
//! 17 bytes a block and 8 for each different offset, and a bit each; see [`PlannedPool::plan_footprint`].

use super::tlsf::{TlsfPool, TlsfPoolConfig};
use super::{
    Acquire, Pool, PoolError, PoolHost, PoolId, PoolProperties, PoolStats, ReleaseError, Request,
    Reservation,
};
use crate::death::Death;
use crate::inspect::BlockView;
use crate::notification::Notification;
use crate::slab::{SlabProvider, Trim};
use alloc::sync::Arc;
use core::fmt;

mod follower;
mod gaps;
mod matcher;
mod places;
mod plan;

pub(in crate::pool) use follower::Follower;

/// How a TLSF pool holds it: few have one.
pub(in crate::pool) type Followed = alloc::boxed::Box<Follower>;

pub(in crate::pool) use matcher::Key;
pub use plan::{Plan, PlanBlock, PlanError};

/// What came of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlannedStats {
    /// Reservations that stand where the plan has them.
    pub planned: u64,
    /// Reservations that stand elsewhere.
    pub strayed: u64,
    /// Of those, the ones that the plan has, but whose place was not free, or not ready.
    pub occupied: u64,
    /// How often requests were found again elsewhere in the plan, after some that did not match.
    pub resynchronised: u64,
    /// Steps that began: those that the host marked, or else those found after the first.
    pub steps: u64,
}

impl PlannedStats {
    /// The share of reservations that stand where the plan has them, from 0 to 1; 0 where there is none.
    #[must_use]
    pub fn plan_hit_share(&self) -> f64 {
        let all = self.planned.saturating_add(self.strayed);
        if all == 0 { 0.0 } else { self.planned as f64 / all as f64 }
    }
}

/// Why a planned pool cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedPoolError {
    /// The plan does not fit the pool.
    Plan(PlanError),
    /// The configuration cannot work.
    Pool(PoolError),
}

impl fmt::Display for PlannedPoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => error.fmt(f),
            Self::Pool(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for PlannedPoolError {}

impl From<PlanError> for PlannedPoolError {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<PoolError> for PlannedPoolError {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

/// See the [module](self).
pub struct PlannedPool {
    inner: TlsfPool,
}

impl PlannedPool {
    /// A pool that follows a plan. It holds no slab until it grows; the first that it asks for has the size of the plan, as long as
    /// the provider grants that.
    ///
    /// # Errors
    /// The plan's offsets are no multiples of the granule, or the configuration cannot work: eager merging has no places.
    pub fn new(
        host: PoolHost,
        config: TlsfPoolConfig,
        plan: &Plan,
    ) -> Result<Self, PlannedPoolError> {
        let granule = config.offsets.granule;
        if !granule.is_power_of_two() {
            return Err(PoolError::InvalidConfig("the granule must be a power of two").into());
        }
        let follower = Follower::new(plan, granule)?;
        Ok(Self { inner: TlsfPool::following(host, config, follower)? })
    }

    /// How the TLSF pool below works.
    #[must_use]
    pub const fn config(&self) -> &TlsfPoolConfig {
        self.inner.config()
    }

    /// A step begins with the next request. From the first call on, steps begin only where the host says so; a pool that is never
    /// told finds them by itself.
    pub fn begin_step(&self) {
        let _ = self.inner.with_follower(Follower::begin_step);
    }

    /// What came of the plan so far. O(1).
    #[must_use]
    pub fn planned_stats(&self) -> PlannedStats {
        self.inner.with_follower(|follower| follower.stats()).unwrap_or_default()
    }

    /// Bytes of memory that the plan takes.
    #[must_use]
    pub fn plan_footprint(&self) -> usize {
        self.inner.with_follower(|follower| follower.footprint()).unwrap_or_default()
    }

    /// [`acquire`](Pool::acquire) of a queue: it is matched with blocks that the plan has for this one only.
    ///
    /// # Errors
    /// As [`Pool::acquire`].
    pub fn acquire_on(&self, stream: u32, request: &Request<'_>) -> Result<Acquire, PoolError> {
        self.inner.acquire_following(request, Some(stream))
    }
}

impl Pool for PlannedPool {
    fn id(&self) -> PoolId {
        self.inner.id()
    }

    fn properties(&self) -> PoolProperties {
        PoolProperties { kind: "planned", ..self.inner.properties() }
    }

    fn footprint(&self, size: u64, alignment: u64) -> u64 {
        self.inner.footprint(size, alignment)
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        self.inner.acquire_following(request, None)
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        self.inner.release(reservation, death)
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        self.inner.cancel(reservation)
    }

    fn poll(&self) {
        self.inner.poll();
    }

    fn quiesce(&self) {
        self.inner.quiesce();
    }

    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        self.inner.trim(how)
    }

    fn stats(&self) -> PoolStats {
        self.inner.stats()
    }

    fn provider(&self) -> Option<&Arc<dyn SlabProvider>> {
        self.inner.provider()
    }

    fn notification(&self) -> &Arc<Notification> {
        self.inner.notification()
    }

    fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        self.inner.inspect(visit);
    }
}

impl fmt::Debug for PlannedPool {
    /// Which pool: blocks are shown by [`inspect`](Pool::inspect), counters by [`stats`](Pool::stats).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::show(f, "PlannedPool", self.id())
    }
}
