//! Threads that sleep: on a notification's epoch word, or until a frontier is reached.
//!
//! ```text
//!   token = pool.notification().observe()
//!   look at the state: not good enough
//!   wait(notification, token, deadline) ──▶ futex(WAIT, epoch word, token)
//!                                                ▲
//!   release() ──▶ epoch += 1, observers ≠ 0 ──▶ futex(WAKE)    by `thread_wake()`
//! ```
//!
//! Core owns the protocol ([`Notification`] argues why no wake is lost); this file supplies the
//! sleep. The kernel compares the word once more before it puts the thread to sleep, so a signal between
//! the last look and the sleep ends it at once. Where there is no futex, threads park on a
//! condition variable that all notifications share.
//!
//! On Linux the same wake reaches event loops that watch the notification (see
//! [`proactor`](crate::proactor)). Threads and loops are woken apart from each other, so neither takes
//! the other's wake.
//!
//! # Cost
//! A wait that has something to see: two atomic operations. Otherwise one system call to sleep and one
//! to wake all sleepers of that notification.

#[cfg(all(target_os = "linux", not(loom)))]
mod futex;
#[cfg(any(not(target_os = "linux"), loom, test))]
mod park;
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "a list that is read without a lock; argued in the file")]
pub(crate) mod wake_list;

#[cfg(all(target_os = "linux", not(loom)))]
use futex as imp;
#[cfg(any(not(target_os = "linux"), loom))]
use park as imp;

#[cfg(all(target_os = "linux", not(loom)))]
pub(crate) use futex::{ThreadWake, address};

use core::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;
use strandline_core::{
    FrontierRef, Notification, Observation, Tracker, TrackerError, WaitError, Wake,
};

/// Wakes threads that sleep in [`wait`] and, on Linux, proactors that
/// [wait](crate::proactor::Op::wait): a new one for each notification. Several may share one, but then each
/// signal looks at what waits for the others too.
///
/// On Linux a signal of a notification that has it, and on which no waker is registered, takes no
/// lock and allocates nothing: it may be sent from a signal handler.
///
/// ```
/// use strandline_core::Notification;
/// let changed = Notification::new(Some(strandline_host_native::thread_wake()));
/// # let _ = changed;
/// ```
#[must_use]
pub fn thread_wake() -> Arc<dyn Wake> {
    Arc::new(imp::ThreadWake::new())
}

/// How a [`wait`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum WaitResult {
    /// There was a signal since the observation: look at the state again.
    Signaled,
    /// The deadline passed without one.
    TimedOut,
}

/// Sleeps until there is a signal after `seen`, or until `deadline` (`None`: for ever).
///
/// The notification must have been made with [`thread_wake`], or the thread sleeps on after a signal.
///
/// ```
/// use std::time::Instant;
/// use strandline_core::Notification;
/// use strandline_host_native::{WaitResult, thread_wake, wait};
///
/// let changed = Notification::new(Some(thread_wake()));
/// let seen = changed.observe();
/// assert_eq!(wait(&changed, seen, Some(Instant::now())), WaitResult::TimedOut);
/// std::thread::scope(|scope| {
///     scope.spawn(|| changed.signal_if_observed());
///     assert_eq!(wait(&changed, seen, None), WaitResult::Signaled);
/// });
/// ```
pub fn wait(
    notification: &Notification,
    seen: Observation,
    deadline: Option<Instant>,
) -> WaitResult {
    let Some(waiting) = notification.begin_wait(seen) else { return WaitResult::Signaled };
    imp::sleep(&waiting, notification.host_wake().map(|wake| &**wake), deadline);
    // Whatever ended the sleep, the state decides.
    if waiting.changed() { WaitResult::Signaled } else { WaitResult::TimedOut }
}

/// Why a frontier was not reached while [`wait_frontier`] waited for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FrontierWaitError {
    /// The deadline came first.
    TimedOut,
    /// It can never be reached.
    Ended(WaitError),
    /// The tracker cannot wait for it: an axis of it is not registered.
    Tracker(TrackerError),
}

impl fmt::Display for FrontierWaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the frontier was not reached before the deadline"),
            Self::Ended(error) => error.fmt(f),
            Self::Tracker(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for FrontierWaitError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::TimedOut => None,
            Self::Ended(error) => error.source(),
            Self::Tracker(error) => error.source(),
        }
    }
}

impl From<WaitError> for FrontierWaitError {
    fn from(error: WaitError) -> Self {
        Self::Ended(error)
    }
}

impl From<TrackerError> for FrontierWaitError {
    fn from(error: TrackerError) -> Self {
        Self::Tracker(error)
    }
}

/// Blocks until `frontier` is reached, or until `deadline` (`None`: for ever).
///
/// # Errors
/// [`FrontierWaitError`]: the deadline passed, an axis failed or was retired, or one is not registered.
///
/// ```
/// use strandline_core::{Axis, Frontier, Tracker};
/// use strandline_host_native::wait_frontier;
///
/// let tracker = Tracker::new(1);
/// let axis = Axis::host(1);
/// tracker.register(axis)?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| tracker.advance(axis, 1));
///     wait_frontier(&tracker, Frontier::from_entry(axis, 1).as_ref(), None)
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait_frontier(
    tracker: &Tracker,
    frontier: FrontierRef<'_>,
    deadline: Option<Instant>,
) -> Result<(), FrontierWaitError> {
    let cell = Arc::new((Mutex::new(None), Condvar::new()));
    let id = tracker.wait(frontier, {
        let cell = cell.clone();
        move |result| {
            *cell.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            cell.1.notify_one();
        }
    })?;
    let (result, arrived) = &*cell;
    let mut result = result.lock().unwrap_or_else(PoisonError::into_inner);
    let mut deadline = deadline;
    loop {
        if let Some(result) = result.take() {
            return Ok(result?);
        }
        let Some(end) = deadline else {
            result = arrived.wait(result).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Canceling with the cell locked cannot deadlock: the tracker runs callbacks without a
            // lock of its own.
            if tracker.cancel(id) {
                return Err(FrontierWaitError::TimedOut);
            }
            // The callback has been taken out to run: its result is a moment away.
            deadline = None;
            continue;
        }
        (result, _) = arrived.wait_timeout(result, left).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
