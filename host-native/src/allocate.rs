//! A blocking allocation with a deadline, over core's protocol that never blocks.
//!
//! ```text
//!            ┌──────── a release, or progress ──────┐
//!            ▼                                      │
//!   pool.acquire(request) ─▶ Exhausted, OverBudget ─▶ wait(observed, deadline) ─▶ Timeout
//!            ├─▶ Ready
//!            └─▶ AfterWait { wait } ─▶ allocate:       returned with its frontier
//!                                   └▶ allocate_ready: wait_frontier(wait, deadline)
//! ```
//!
//! The observation was taken before the pool searched, so a release between the search and the sleep
//! ends the sleep at once: no wake is lost, and there is no polling. Progress wakes as well, if the pool's
//! [`Progress`](strandline_core::Progress) tells of it, as a [`Tracker`] does: a block that was freed earlier is found when what it waits for
//! is reached.
//!
//! Futures, which need no thread, are core's: [`strandline_core::allocate`]. An [`Allocator`] has both over a set of pools.

use crate::wake::{FrontierWaitError, WaitResult, wait, wait_frontier};
use core::fmt;
use core::sync::atomic::{Ordering, fence};
use std::sync::Arc;
use std::task::Wake;
use std::time::Instant;
use strandline_core::allocate::{Allocate, allocate_from};
use strandline_core::pool::{Acquire, Pool, PoolError, Request, Reservation};
use strandline_core::pool_set::{Need, NoMatch, PoolSet, Registration, Route};
use strandline_core::{Notification, Tracker};

pub use strandline_core::allocate::Allocated;

/// What the last attempt before the deadline lacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lack {
    /// No free block that may be used was large enough.
    Memory {
        /// More slabs would have helped: growth was not permitted, or refused.
        growth_required: bool,
    },
    /// The pool's budget was spent.
    Budget,
    /// A block was found, but its frontier was not reached in time.
    Progress,
}

/// An allocation that ran out of time. Bytes are those of the pool when it gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeout {
    /// What was asked for.
    pub size: u64,
    /// What was lacking.
    pub lack: Lack,
    /// How many bytes less than `size` were free and usable at once. 0 when enough were, in pieces that
    /// are each too small.
    pub missing_bytes: u64,
    /// Free bytes, in blocks of any size.
    pub free_bytes: u64,
    /// Free bytes that still wait for a frontier.
    pub pending_bytes: u64,
    /// Bytes in live reservations.
    pub reserved_bytes: u64,
}

/// Why nothing was allocated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AllocateError {
    /// The request is invalid, or the provider failed.
    Pool(PoolError),
    /// The deadline passed.
    Timeout(Timeout),
    /// The frontier of the only usable block can never be reached. The block was given back.
    Wait(FrontierWaitError),
    /// The pool was made without a [wake](strandline_core::pool::PoolHost::with_wake): whoever slept until it has memory would sleep on.
    NoWake,
    /// No pool of the set serves the request.
    NoPool(NoMatch),
}

impl fmt::Display for AllocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(error) => error.fmt(f),
            Self::Wait(error) => write!(f, "waiting for a block: {error}"),
            Self::NoWake => f.write_str(
                "the pool wakes nobody: make it with `PoolHost::with_wake(thread_wake())`",
            ),
            Self::NoPool(why) => why.fmt(f),
            Self::Timeout(Timeout {
                size,
                lack,
                missing_bytes,
                free_bytes,
                pending_bytes,
                reserved_bytes,
            }) => {
                write!(f, "no {size} bytes before the deadline: ")?;
                match lack {
                    Lack::Budget => f.write_str("over budget")?,
                    Lack::Progress => f.write_str("the block found was still in use")?,
                    Lack::Memory { .. } if *missing_bytes == 0 => {
                        f.write_str("no free block is large enough")?;
                    }
                    Lack::Memory { .. } => write!(f, "{missing_bytes} bytes missing")?,
                }
                write!(
                    f,
                    " ({free_bytes} bytes free, {pending_bytes} of them pending, {reserved_bytes} \
                     reserved)"
                )?;
                match lack {
                    Lack::Memory { growth_required: true } => {
                        f.write_str("; the pool could not grow")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl core::error::Error for AllocateError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Pool(error) => Some(error),
            Self::Wait(error) => Some(error),
            Self::NoPool(why) => Some(why),
            Self::Timeout(_) | Self::NoWake => None,
        }
    }
}

impl From<PoolError> for AllocateError {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

/// Wakes who sleeps on a pool's notification.
struct Nudge(Arc<Notification>);

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.0.signal_if_observed();
    }
}

/// Acquires, and sleeps until there is memory or `deadline` passed (`None`: for ever). Releases wake it, and progress of any axis of
/// the pool's tracker. A request may [grow](Request::new) the pool unless it says otherwise.
///
/// At least one attempt is made, however late it is.
///
/// **An axis that failed** is never reached. Bytes that wait for one come back when the axis is
/// [fenced](strandline_core::Tracker::fence_axis), which wakes this; until then somebody else's release is waited for.
/// [`allocate_ready`] says at once that an axis has failed.
///
/// # Errors
/// [`AllocateError::Pool`] at once, also for what the pool can never serve; [`AllocateError::NoWake`] at once, when the pool was made
/// without [`thread_wake`](crate::thread_wake) or another wake; [`AllocateError::Timeout`] at the deadline. Nothing is reserved then.
pub fn allocate(
    pool: &dyn Pool,
    request: &Request<'_>,
    deadline: Option<Instant>,
) -> Result<Allocated, AllocateError> {
    if pool.notification().host_wake().is_none() {
        return Err(AllocateError::NoWake);
    }
    let progress = pool.progress().and_then(|who| who.moved());
    let mut watching = None;
    loop {
        // Taken before the attempt: one that began in time deserves its sleep, and a pool that is
        // signaled without end keeps no one beyond the deadline.
        let late = deadline.is_some_and(|end| Instant::now() >= end);
        // Counted before the look, and this before what it reads: an advance that the look misses sees the watcher.
        fence(Ordering::SeqCst);
        let moved = progress.map(|progress| progress.observe());
        let (observed, lack) = match pool.acquire(request)? {
            Acquire::Ready { reservation, origin } => {
                return Ok(Allocated::Ready { reservation, origin });
            }
            Acquire::AfterWait { reservation, wait } => {
                return Ok(Allocated::AfterWait { reservation, wait });
            }
            Acquire::Exhausted { observed, growth_required } => {
                (observed, Lack::Memory { growth_required })
            }
            Acquire::OverBudget { observed } => (observed, Lack::Budget),
        };
        if late {
            return Err(AllocateError::Timeout(timeout(pool, request.size, lack)));
        }
        let (Some(progress), Some(moved)) = (progress, moved) else {
            if wait(pool.notification(), observed, deadline) == WaitResult::TimedOut {
                return Err(AllocateError::Timeout(timeout(pool, request.size, lack)));
            }
            continue;
        };
        if watching.is_none() {
            // The first look was free of this: it costs those who advance. Now look again.
            watching = Some(progress.watch());
            continue;
        }
        let nudge = Arc::new(Nudge(pool.notification().clone())).into();
        let Some(nudge) = progress.register(moved, nudge) else { continue };
        let ended = wait(pool.notification(), observed, deadline);
        progress.unregister(nudge);
        if ended == WaitResult::TimedOut {
            return Err(AllocateError::Timeout(timeout(pool, request.size, lack)));
        }
    }
}

/// As [`allocate`], but what it returns is usable at once: a block that still waits for a frontier is
/// waited for here, whether or not the request permits a wait, through `tracker`.
///
/// # Errors
/// As [`allocate`]; [`AllocateError::Wait`] when the block's frontier can never be reached. Nothing is
/// reserved then: the block went back with the death it had.
pub fn allocate_ready(
    pool: &dyn Pool,
    request: &Request<'_>,
    tracker: &Tracker,
    deadline: Option<Instant>,
) -> Result<Reservation, AllocateError> {
    let (reservation, frontier) = allocate(pool, &request.or_wait(), deadline)?.into_parts();
    let Err(error) = wait_frontier(tracker, frontier.as_ref(), deadline) else {
        return Ok(reservation);
    };
    // It came from this pool, so the pool takes it; were it otherwise, keeping it reserved is safe.
    if let Err(error) = pool.cancel(reservation) {
        log::error!("{error}");
    }
    Err(match error {
        FrontierWaitError::TimedOut => {
            AllocateError::Timeout(timeout(pool, request.size, Lack::Progress))
        }
        error => AllocateError::Wait(error),
    })
}

fn timeout(pool: &dyn Pool, size: u64, lack: Lack) -> Timeout {
    let stats = pool.stats();
    Timeout {
        size,
        lack,
        missing_bytes: size.saturating_sub(stats.clean_bytes()),
        free_bytes: stats.free_bytes,
        pending_bytes: stats.pending_bytes,
        reserved_bytes: stats.reserved_bytes,
    }
}

/// Allocates from pools that wake who waits: from one, or from a set that requests are routed through.
///
/// ```
/// use std::sync::Arc;
/// use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
/// use strandline_core::pool::{PoolHost, Request};
/// use strandline_core::{NoProgress, slab::CpuSlabs};
/// use strandline_host_native::{AllocateError, Allocator, thread_wake};
///
/// let host = PoolHost::new(Arc::new(CpuSlabs::new(1 << 30)), Arc::new(NoProgress));
/// let deaf = TlsfPool::new(host.clone(), TlsfPoolConfig::default())?;
/// assert!(matches!(Allocator::new(Arc::new(deaf)), Err(AllocateError::NoWake)));
///
/// let pool = TlsfPool::new(host.with_wake(thread_wake()), TlsfPoolConfig::default())?;
/// let allocator = Allocator::new(Arc::new(pool))?;
/// let (reservation, wait) = allocator.allocate(&Request::new(4096), None)?.into_parts();
/// assert!(wait.is_empty() && reservation.size() == 4096);
/// allocator.pools().release(reservation, strandline_core::Death::Idle)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Allocator {
    pools: Arc<PoolSet>,
}

impl Allocator {
    /// An allocator from one pool.
    ///
    /// # Errors
    /// [`AllocateError::NoWake`] when the pool was made without a wake; [`AllocateError::NoPool`] when it can serve no size at all.
    pub fn new(pool: Arc<dyn Pool>) -> Result<Self, AllocateError> {
        let mut pools = PoolSet::new();
        if pools.add(pool, Registration::new()).is_err() {
            return Err(AllocateError::NoPool(NoMatch::Size { largest: 0 }));
        }
        Self::over(Arc::new(pools))
    }

    /// An allocator from a set.
    ///
    /// # Errors
    /// [`AllocateError::NoWake`] when a pool of it was made without a wake.
    pub fn over(pools: Arc<PoolSet>) -> Result<Self, AllocateError> {
        if pools.pools().iter().any(|pool| pool.notification().host_wake().is_none()) {
            return Err(AllocateError::NoWake);
        }
        Ok(Self { pools })
    }

    /// The pools: what was allocated is released to the set.
    #[must_use]
    pub const fn pools(&self) -> &Arc<PoolSet> {
        &self.pools
    }

    /// [`allocate`] of any memory that is large enough.
    ///
    /// # Errors
    /// Those of [`allocate`], and [`AllocateError::NoPool`].
    pub fn allocate(
        &self,
        request: &Request<'_>,
        deadline: Option<Instant>,
    ) -> Result<Allocated, AllocateError> {
        self.allocate_for(&Need::new(request.size), request, deadline)
    }

    /// [`allocate`] from the pool that the set routes `need` to. The size that counts is the request's.
    ///
    /// # Errors
    /// Those of [`allocate`], and [`AllocateError::NoPool`].
    pub fn allocate_for(
        &self,
        need: &Need,
        request: &Request<'_>,
        deadline: Option<Instant>,
    ) -> Result<Allocated, AllocateError> {
        match self.pools.route(&Need { size: request.size, ..*need }) {
            Route::Pool(pool) | Route::Oversized(pool) => allocate(&**pool, request, deadline),
            Route::NoMatch(why) => Err(AllocateError::NoPool(why)),
        }
    }

    /// The same as a future, for any executor; dropping it gives up.
    ///
    /// # Errors
    /// [`AllocateError::NoPool`]. The future's own are [`PoolError`]s.
    pub fn allocate_async<'r>(
        &self,
        need: &Need,
        request: Request<'r>,
    ) -> Result<Allocate<'r, Arc<dyn Pool>>, AllocateError> {
        allocate_from(&self.pools, need, request).map_err(AllocateError::NoPool)
    }
}

#[cfg(test)]
mod tests;
