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
//! Over a provider of [elastic](SlabProvider::elastic) slabs the plan's bytes are committed at the start of one that has addresses to spare. A
//! stray for which there is nothing free then has the memory of what is clean elsewhere, also among the plan's bytes, and the first request of the
//! next step that may grow brings it back. Elsewhere a stray like that takes a slab beside the plan's.
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
mod recorder;
mod recording;

pub(in crate::pool) use follower::Follower;

/// How a TLSF pool holds it: few have one.
pub(in crate::pool) type Followed = alloc::boxed::Box<Follower>;

pub(in crate::pool) use matcher::{Guess, Key};
pub use plan::{Plan, PlanBlock, PlanError};
pub use recording::{Recorded, Recording};

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
    /// How often another plan was followed from a step on.
    pub replanned: u64,
}

/// What came of [`PlannedPool::replan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replan {
    /// No whole step was recorded since the last time, or no plan was made of it.
    Nothing,
    /// The plan that is followed is as good.
    Kept,
    /// The new plan is followed from the next step on.
    Next,
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

impl core::error::Error for PlannedPoolError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Plan(error) => Some(error),
            Self::Pool(error) => Some(error),
        }
    }
}

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
    /// A pool that follows a plan. It holds no slab until it grows; the first that it asks for has the size of the plan, or as many bytes
    /// committed, as long as the provider grants that.
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
    /// told finds them by itself. Where a [new plan](Self::replan) begins that needs another slab, empty ones are given back first.
    pub fn begin_step(&self) {
        if self.inner.at_boundary(Follower::begin_step) == Some(true) {
            // A provider that takes nothing back leaves it in use; whoever needs more from it is told.
            let _ = self.inner.trim(Trim::All);
        }
    }

    /// The same pool, which records each step, so that it can [plan again](Self::replan). A release then costs a look at a table, and each
    /// request of a step 32 bytes.
    #[must_use]
    pub fn recording(self) -> Self {
        let _ = self.inner.with_follower(Follower::record);
        self
    }

    /// The same pool, whose new plans do not wait for room: one that has no slab, or too small a one, takes a slab with its first request, beside
    /// the old one, in which what lives on stays until it is released. For short steps that overlap. Otherwise such a plan is followed as far
    /// as the old slab goes, and the rest strays, which takes less memory while it lasts.
    #[must_use]
    pub fn moving(self) -> Self {
        let _ = self.inner.with_follower(Follower::move_out);
        self
    }

    /// Has a plan made of the last whole step, which is followed from the next one on if it is better: if it needs no more than the pool holds,
    /// and some request strayed or it needs less; around what lives on only if the slab that has it is large enough. `plan` runs on this thread without the pool's lock, so others go on meanwhile:
    /// [`Recording::first_fit`], or a planner that searches longer. A pool that is not [recording](Self::recording), and a step that had more
    /// than 2^20 requests, has nothing to plan.
    ///
    /// A pool that finds steps by itself finds them by its plan: where that is of another program, it has none, and the host has to
    /// [mark](Self::begin_step) them.
    ///
    /// # Errors
    /// The plan that was made does not fit the pool's granule.
    pub fn replan(
        &self,
        plan: impl FnOnce(&Recording) -> Option<Plan>,
    ) -> Result<Replan, PlanError> {
        let granule = self.config().offsets.granule;
        let Some((recording, all_planned)) = self.inner.take_recording() else {
            return Ok(Replan::Nothing);
        };
        let Some(plan) = plan(&recording) else { return Ok(Replan::Nothing) };
        let held = self.inner.stats().committed_bytes;
        let is_better = plan.bytes() < held || plan.bytes() == held && !all_planned;
        let is_same = all_planned && plan.bytes() >= self.planned_bytes();
        let has_room = recording.room.is_none_or(|room| plan.bytes() <= room);
        if !is_better || is_same || !has_room {
            return Ok(Replan::Kept);
        }
        let next = Follower::new(&plan, granule)?;
        let _ = self.inner.with_follower(|follower| follower.follow_next(next));
        Ok(Replan::Next)
    }

    /// Bytes of the plan that is followed.
    #[must_use]
    pub fn planned_bytes(&self) -> u64 {
        self.inner.with_follower(|follower| follower.bytes()).unwrap_or_default()
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
