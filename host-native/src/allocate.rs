//! A blocking allocation with a deadline, over core's protocol that never blocks.
//!
//! ```text
//!            ┌────────────── signaled ──────────────┐
//!            ▼                                      │
//!   pool.acquire(request) ─▶ Exhausted, OverBudget ─▶ wait(observed, deadline) ─▶ Timeout
//!            ├─▶ Ready
//!            └─▶ AfterWait { wait } ─▶ allocate:       returned with its frontier
//!                                   └▶ allocate_ready: wait_frontier(wait, deadline)
//! ```
//!
//! The observation was taken before the pool searched, so a release between the search and the sleep
//! ends the sleep at once: no wake is lost, and there is no polling.
//!
//! A release wakes; progress does not. A block that was freed earlier and whose death is reached later
//! is found by whoever permits a wait ([`Request::or_wait`]), or calls [`allocate_ready`], which waits
//! for that death itself; or let the device signal the pool's notification when it advances, as
//! [`CpuQueue::notify_on_progress`](crate::CpuQueue::notify_on_progress) does.

use crate::wake::{FrontierWaitError, WaitResult, wait, wait_frontier};
use core::fmt;
use std::time::Instant;
use strandline_core::pool::{Acquire, Origin, Pool, PoolError, Request, Reservation};
use strandline_core::{Frontier, Tracker};

/// Memory that was allocated. Release it to its pool.
#[derive(Debug)]
#[must_use = "a reservation holds memory until it is released to its pool"]
pub enum Allocated {
    /// Usable now.
    Ready {
        /// The bytes.
        reservation: Reservation,
        /// Where they come from.
        origin: Origin,
    },
    /// Usable after `wait`, which the caller must order its use after.
    AfterWait {
        /// The bytes.
        reservation: Reservation,
        /// What to wait for before they are used.
        wait: Frontier,
    },
}

impl Allocated {
    /// The bytes, and what to wait for before they are used: nothing when they are ready.
    pub fn into_parts(self) -> (Reservation, Frontier) {
        match self {
            Self::Ready { reservation, .. } => (reservation, Frontier::default()),
            Self::AfterWait { reservation, wait } => (reservation, wait),
        }
    }
}

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
}

impl fmt::Display for AllocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(error) => error.fmt(f),
            Self::Wait(error) => write!(f, "waiting for a block: {error}"),
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
            Self::Timeout(_) => None,
        }
    }
}

impl From<PoolError> for AllocateError {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

/// Acquires, and sleeps on releases until there is memory or `deadline` passed (`None`: for ever).
///
/// At least one attempt is made, however late it is. The pool must have been made with
/// [`thread_wake`](crate::thread_wake).
///
/// # Errors
/// [`AllocateError::Pool`] at once; [`AllocateError::Timeout`] at the deadline. Nothing is reserved then.
pub fn allocate(
    pool: &dyn Pool,
    request: &Request<'_>,
    deadline: Option<Instant>,
) -> Result<Allocated, AllocateError> {
    loop {
        // Taken before the attempt: one that began in time deserves its sleep, and a pool that is
        // signaled without end keeps no one beyond the deadline.
        let late = deadline.is_some_and(|end| Instant::now() >= end);
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
        if late || wait(pool.notification(), observed, deadline) == WaitResult::TimedOut {
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

#[cfg(test)]
mod tests;
