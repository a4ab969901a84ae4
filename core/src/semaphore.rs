//! A timeline semaphore: a value that only rises, and the frontier of what raised it.
//!
//! ```text
//!   signal(3, {a @ 7})        signal(5, {b @ 2})
//!        │                         │
//!   ─────●─────────────────────────●──────────────▶ value
//!        3 {a @ 7}                 5 {a @ 7, b @ 2}
//!             │                         │
//!             ▼                         ▼
//!     timepoints ≤ 3: callbacks    links ≤ 5: other semaphores
//! ```
//!
//! Each signal brings the frontier of the work that it stands for, which is joined to the
//! semaphore's own; whoever waits inherits the join and is ordered after all of it. Three things may
//! end that promise, and each is visible:
//!
//! - **Failure** is sticky and the first wins. Values that were reached stay reached.
//! - **Taint**: something that we did not witness raised the value, or a frontier did not fit. From
//!   the watermark on, reaching a value no longer means knowing why ([`Signaled::tainted`]).
//! - **Drop**: a wait outlives no semaphore; a link that can no longer fire fails its target, and a bound axis fails.
//!
//! Callbacks run on the thread that signals, fails or drops, with no lock held, by value and then by
//! arrival. Links are followed in a loop, not by recursion, so their chains may be long.
//!
//! Cost: [`value`](Semaphore::value) is one load. A signal takes the lock, joins, and is logarithmic
//! in the timepoints for each that fires; registering and cancelling are logarithmic too.

mod error;
mod multi;
#[cfg(all(test, not(loom)))]
mod tests;
mod work;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

pub use self::error::{BindError, SemaphoreError, SignalError};
pub use self::multi::{
    Met, MultiFuture, MultiWait, wait_all, wait_all_async, wait_any, wait_any_async,
};
use self::work::{Call, Work};
use crate::axis::Axis;
use crate::failure::Failure;
use crate::frontier::{Frontier, FrontierRef, Merge};
use crate::oneshot::Oneshot;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::tracker::{Tracker, TrackerError, WaitError, WeakTracker};

/// What a waiter inherits: the semaphore as it stood when the wait was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signaled {
    /// The value of the semaphore, at or above the one waited for.
    pub value: u64,
    /// The join of all frontiers that it was signaled with.
    pub frontier: Frontier,
    /// Whether the value waited for is at or above the taint watermark: its causes are not all in
    /// `frontier`.
    pub tainted: bool,
}

/// Names a timepoint, to cancel it. It is never used for another one of the same semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimepointId {
    value: u64,
    serial: u64,
}

type Callback = Box<dyn FnOnce(Result<Signaled, SemaphoreError>) + Send>;

/// What happens when a value is reached.
enum Timepoint {
    Call(Callback),
    Signal { target: Weak<Inner>, value: u64 },
}

struct Binding {
    tracker: WeakTracker,
    axis: Axis,
}

#[derive(Default)]
struct State {
    frontier: Frontier,
    /// The first value that is tainted.
    tainted_from: Option<u64>,
    failure: Option<Failure>,
    /// By (value, serial): the order in which they fire.
    timepoints: BTreeMap<(u64, u64), Timepoint>,
    last_serial: u64,
    binding: Option<Binding>,
}

impl State {
    /// Taints a value and all above.
    fn taint_from(&mut self, first: u64) {
        self.tainted_from = Some(self.tainted_from.map_or(first, |before| before.min(first)));
    }

    /// What a wait for `value` inherits when the semaphore stands at `current`.
    fn signaled(&self, current: u64, value: u64) -> Signaled {
        let tainted = self.tainted_from.is_some_and(|from| value >= from);
        Signaled { value: current, frontier: self.frontier.clone(), tainted }
    }
}

struct Inner {
    /// Written with the lock held.
    value: AtomicU64,
    state: Mutex<State>,
}

/// A timeline semaphore. A handle: clones share the one semaphore, which lives as long as the last
/// of them.
///
/// ```
/// use strandline_core::{Axis, Frontier, Semaphore};
///
/// let semaphore = Semaphore::new(0);
/// let queue = Axis::queue(0, 0);
/// let reached = std::sync::Arc::new(std::sync::Mutex::new(None));
/// let seen = reached.clone();
/// semaphore.on_reach(2, move |result| *seen.lock().unwrap() = result.ok());
///
/// semaphore.signal(1, Frontier::from_entry(queue, 7).as_ref())?;
/// assert!(reached.lock().unwrap().is_none());
/// semaphore.signal(3, Frontier::from_entry(queue, 9).as_ref())?;
/// let signaled = reached.lock().unwrap().take().unwrap();
/// assert_eq!((signaled.value, signaled.frontier.get(queue)), (3, 9));
/// # Ok::<(), strandline_core::semaphore::SignalError>(())
/// ```
#[derive(Clone)]
pub struct Semaphore {
    inner: Arc<Inner>,
}

impl Semaphore {
    /// A semaphore at `value`, signaled by nothing so far.
    #[must_use]
    pub fn new(value: u64) -> Self {
        let state = Mutex::new(State::default());
        Self { inner: Arc::new(Inner { value: AtomicU64::new(value), state }) }
    }

    /// The value it has reached. Lock-free.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.inner.value.load(Ordering::Acquire)
    }

    /// Its value, frontier and taint now.
    #[must_use]
    pub fn snapshot(&self) -> Signaled {
        let state = self.inner.state.lock();
        let value = self.value();
        state.signaled(value, value)
    }

    /// Why it failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.inner.state.lock().failure.clone()
    }

    /// The taint watermark: the first value that is tainted, if any is.
    #[must_use]
    pub fn tainted_from(&self) -> Option<u64> {
        self.inner.state.lock().tainted_from
    }

    /// Raises the semaphore to `value`, on behalf of work that is ordered after `frontier`, and
    /// fires what waits for it. A frontier that no longer fits beside the others taints the values
    /// that this signal adds.
    ///
    /// # Errors
    /// When the value is not above the current one, or the semaphore has failed. Nothing changes.
    pub fn signal(&self, value: u64, frontier: FrontierRef<'_>) -> Result<(), SignalError> {
        let mut work = Work::default();
        self.inner.raise(value, frontier, false, &mut work)?;
        work.run();
        Ok(())
    }

    /// Raises the semaphore to `value` on behalf of something that we did not witness: all values
    /// that this adds, and all above, are tainted.
    ///
    /// # Errors
    /// As [`signal`](Self::signal).
    ///
    /// ```
    /// use strandline_core::{FrontierRef, Semaphore};
    ///
    /// let semaphore = Semaphore::new(0);
    /// semaphore.signal(2, FrontierRef::EMPTY)?;
    /// semaphore.signal_unwitnessed(5)?;
    /// assert_eq!(semaphore.tainted_from(), Some(3));
    /// semaphore.clear_taint();
    /// assert_eq!(semaphore.tainted_from(), None);
    /// # Ok::<(), strandline_core::semaphore::SignalError>(())
    /// ```
    pub fn signal_unwitnessed(&self, value: u64) -> Result<(), SignalError> {
        let mut work = Work::default();
        self.inner.raise(value, FrontierRef::EMPTY, true, &mut work)?;
        work.run();
        Ok(())
    }

    /// Says that work ordered after `frontier` has brought the semaphore to `value`, whether or not that was said
    /// before: for timelines that are watched from several sides, such as a callback and a poll. The value is raised if
    /// it is below, as by [`signal`](Self::signal); otherwise only the frontier is joined, for those who come to wait.
    /// Publishing the same again changes nothing. Whether the value was raised.
    ///
    /// A frontier that no longer fits taints what this would have vouched for: the values that are added, or `value`
    /// and all above.
    ///
    /// # Errors
    /// When the semaphore has failed below the value. Nothing changes.
    ///
    /// ```
    /// use strandline_core::{Axis, Frontier, Semaphore};
    ///
    /// let semaphore = Semaphore::new(0);
    /// let frontier = Frontier::from_entry(Axis::queue(0, 0), 4);
    /// assert!(semaphore.publish(2, frontier.as_ref())?);
    /// let once = semaphore.snapshot();
    /// assert!(!semaphore.publish(2, frontier.as_ref())?);
    /// assert_eq!(semaphore.snapshot(), once);
    /// # Ok::<(), strandline_core::semaphore::SignalError>(())
    /// ```
    pub fn publish(&self, value: u64, frontier: FrontierRef<'_>) -> Result<bool, SignalError> {
        let mut work = Work::default();
        let raised = self.inner.publish(value, frontier, &mut work)?;
        work.run();
        Ok(raised)
    }

    /// Says that nobody knows why the semaphore rose above `value`, or will: those values are tainted, also
    /// the ones that were witnessed. For timelines that someone else may signal too, from `value` on. The watermark
    /// only goes down.
    ///
    /// ```
    /// use strandline_core::{FrontierRef, Semaphore};
    ///
    /// let semaphore = Semaphore::new(0);
    /// semaphore.signal(10, FrontierRef::EMPTY)?;
    /// semaphore.mark_tainted_above(5);
    /// semaphore.mark_tainted_above(7);
    /// assert_eq!(semaphore.tainted_from(), Some(6));
    /// # Ok::<(), strandline_core::semaphore::SignalError>(())
    /// ```
    pub fn mark_tainted_above(&self, value: u64) {
        if let Some(first) = value.checked_add(1) {
            self.inner.state.lock().taint_from(first);
        }
    }

    /// Says that all work behind the values reached so far is over: for hosts that have seen the
    /// device quiescent. Nothing is tainted any more.
    pub fn clear_taint(&self) {
        self.inner.state.lock().tainted_from = None;
    }

    /// Fails the semaphore: whoever waits, or comes to wait, for a value that it has not reached
    /// gets `failure`, and so do the semaphores linked to it. It stays so. False when it has failed
    /// before: the first failure wins.
    ///
    /// ```
    /// use strandline_core::{Failure, FrontierRef, Semaphore};
    /// use strandline_core::semaphore::SignalError;
    ///
    /// let semaphore = Semaphore::new(0);
    /// assert!(semaphore.fail(Failure::message("device lost")));
    /// assert!(!semaphore.fail(Failure::message("too late")));
    /// let refused = semaphore.signal(1, FrontierRef::EMPTY);
    /// assert!(matches!(refused, Err(SignalError::Failed(why)) if why.to_string() == "device lost"));
    /// ```
    pub fn fail(&self, failure: Failure) -> bool {
        let mut work = Work::default();
        let first = self.inner.fail(&failure, &mut work);
        work.run();
        first
    }

    /// Runs `callback` once the semaphore has reached `value`, or with the error that makes that
    /// impossible. When that is so already it runs before this returns. It must not block.
    pub fn on_reach(
        &self,
        value: u64,
        callback: impl FnOnce(Result<Signaled, SemaphoreError>) + Send + 'static,
    ) -> TimepointId {
        let mut work = Work::default();
        let id = self.inner.add(value, Timepoint::Call(Box::new(callback)), &mut work);
        work.run();
        id
    }

    /// Has `target` signaled to `target_value` once this semaphore reaches `value`, with what is
    /// inherited from here (its taint too), and failed should this one fail or be dropped before:
    /// nothing waits for a value that can no longer come. A target that has come so far by then,
    /// has failed or was dropped is left as it is.
    ///
    /// ```
    /// use strandline_core::{Axis, Frontier, Semaphore};
    ///
    /// let [copy, compute] = [Semaphore::new(0), Semaphore::new(10)];
    /// copy.link(1, &compute, 11);
    /// let frontier = Frontier::from_entry(Axis::queue(0, 0), 4);
    /// copy.signal(1, frontier.as_ref())?;
    /// assert_eq!((compute.value(), compute.snapshot().frontier), (11, frontier));
    /// copy.link(2, &compute, 12);
    /// drop(copy);
    /// assert_eq!(compute.failure().unwrap().to_string(), "the semaphore was dropped");
    /// # Ok::<(), strandline_core::semaphore::SignalError>(())
    /// ```
    pub fn link(&self, value: u64, target: &Self, target_value: u64) -> TimepointId {
        let mut work = Work::default();
        let target = Arc::downgrade(&target.inner);
        let link = Timepoint::Signal { target, value: target_value };
        let id = self.inner.add(value, link, &mut work);
        work.run();
        id
    }

    /// Takes a timepoint or a link back and says whether that won: true means that it never fires,
    /// false that it has fired or is about to.
    ///
    /// ```
    /// use strandline_core::{FrontierRef, Semaphore};
    ///
    /// let semaphore = Semaphore::new(0);
    /// let id = semaphore.on_reach(1, |_| unreachable!());
    /// assert!(semaphore.cancel(id));
    /// semaphore.signal(1, FrontierRef::EMPTY)?;
    /// assert!(!semaphore.cancel(id));
    /// # Ok::<(), strandline_core::semaphore::SignalError>(())
    /// ```
    pub fn cancel(&self, id: TimepointId) -> bool {
        self.inner.cancel(id)
    }

    /// A future that ends once the semaphore has reached `value`, or with the error that makes that
    /// impossible. It waits from now on, polled or not; dropping it cancels. It does not keep the
    /// semaphore alive.
    pub fn reach_async(&self, value: u64) -> ReachFuture {
        let result = Arc::new(Oneshot::new());
        let sender = Arc::clone(&result);
        let id = self.on_reach(value, move |signaled| sender.send(signaled));
        ReachFuture { semaphore: Arc::downgrade(&self.inner), id, result }
    }

    /// Makes the semaphore's value the epoch of `axis`: from now on each signal advances the axis,
    /// and a failure of either fails the other (so does retiring the axis). For a source of
    /// progress that is a semaphore, such as a device's timeline. Neither keeps the other alive: an axis whose semaphore is
    /// dropped fails, as what is linked does, for nothing raises it any more.
    ///
    /// # Errors
    /// When the semaphore is bound already, or the axis is not registered or has ended.
    ///
    /// ```
    /// use strandline_core::{Axis, FrontierRef, Progress, Semaphore, Tracker};
    ///
    /// let (tracker, axis) = (Tracker::new(1), Axis::queue(0, 0));
    /// tracker.register(axis).unwrap();
    /// let semaphore = Semaphore::new(3);
    /// semaphore.bind(&tracker, axis).unwrap();
    /// assert_eq!(tracker.reached(axis), 3);
    /// semaphore.signal(5, FrontierRef::EMPTY).unwrap();
    /// assert_eq!(tracker.reached(axis), 5);
    /// tracker.retire_axis(axis).unwrap();
    /// assert!(semaphore.failure().is_some());
    /// ```
    pub fn bind(&self, tracker: &Tracker, axis: Axis) -> Result<(), BindError> {
        if let Some(end) = tracker.end_of(axis)? {
            return Err(TrackerError::Ended(end).into());
        }
        let failure = {
            let mut state = self.inner.state.lock();
            if let Some(Binding { axis, .. }) = state.binding {
                return Err(BindError::Bound { axis });
            }
            state.binding = Some(Binding { tracker: tracker.downgrade(), axis });
            state.failure.clone()
        };
        // Signals from here on advance the axis themselves; this one catches up. Their order does
        // not matter, since the axis takes the highest.
        let caught_up = match failure {
            // What it had reached stays reached.
            Some(failure) => tracker
                .advance(axis, self.value())
                .and_then(|()| tracker.fail_axis(axis, failure).map(drop)),
            None => tracker.advance(axis, self.value()),
        };
        if let Err(error) = caught_up {
            // The axis ended since it was asked above.
            self.inner.state.lock().binding = None;
            return Err(error.into());
        }
        // No semaphore signals its last value in earnest, so this wait ends with the axis.
        let end = Frontier::from_entry(axis, u64::MAX);
        let semaphore = Arc::downgrade(&self.inner);
        tracker.wait(end.as_ref(), move |result| {
            let failure = match result {
                Err(WaitError::Failed { failure, .. }) => failure,
                Err(retired @ WaitError::Retired { .. }) => Failure::new(retired),
                Err(WaitError::TrackerDropped) | Ok(()) => return,
            };
            if let Some(inner) = semaphore.upgrade() {
                Semaphore { inner }.fail(failure);
            }
        })?;
        Ok(())
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.state.lock();
        f.debug_struct("Semaphore")
            .field("value", &self.value())
            .field("frontier", &state.frontier)
            .field("tainted_from", &state.tainted_from)
            .field("failure", &state.failure)
            .field("timepoints", &state.timepoints.len())
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Raises the value and puts what that fires on `work`.
    fn raise(
        &self,
        value: u64,
        frontier: FrontierRef<'_>,
        tainted: bool,
        work: &mut Work,
    ) -> Result<(), SignalError> {
        let mut state = self.state.lock();
        let current = self.value.load(Ordering::Relaxed);
        if let Some(failure) = &state.failure {
            return Err(SignalError::Failed(failure.clone()));
        }
        if value <= current {
            return Err(SignalError::NotIncreasing { current, requested: value });
        }
        let overflow = state.frontier.merge(frontier) == Merge::Overflow;
        if tainted || overflow {
            state.taint_from(current + 1);
        }
        self.value.store(value, Ordering::Release);
        if let Some(Binding { tracker, axis }) = &state.binding {
            work.push(Call::Advance { tracker: tracker.clone(), axis: *axis, epoch: value });
        }
        while let Some(first) = state.timepoints.first_entry() {
            let (at, _) = *first.key();
            if at > value {
                break;
            }
            let timepoint = first.remove();
            work.fire(timepoint, Ok(state.signaled(value, at)));
        }
        Ok(())
    }

    /// Raises the value if it is below; otherwise joins the frontier alone. Whether it was raised.
    fn publish(
        &self,
        value: u64,
        frontier: FrontierRef<'_>,
        work: &mut Work,
    ) -> Result<bool, SignalError> {
        match self.raise(value, frontier, false, work) {
            Ok(()) => return Ok(true),
            // What was reached stays reached, and who reached it may still be told.
            Err(_) if value <= self.value.load(Ordering::Acquire) => {}
            Err(refused) => return Err(refused),
        }
        let state = &mut *self.state.lock();
        if state.frontier.merge(frontier) == Merge::Overflow {
            state.taint_from(value);
        }
        Ok(false)
    }

    fn fail(&self, failure: &Failure, work: &mut Work) -> bool {
        self.fail_below(u64::MAX, failure, work)
    }

    /// Fails unless it has come to `value`; none comes to the last one in earnest.
    fn fail_below(&self, value: u64, failure: &Failure, work: &mut Work) -> bool {
        let mut state = self.state.lock();
        let current = self.value.load(Ordering::Relaxed);
        if state.failure.is_some() || (current >= value && value != u64::MAX) {
            return false;
        }
        state.failure = Some(failure.clone());
        if let Some(Binding { tracker, axis }) = &state.binding {
            let (tracker, failure) = (tracker.clone(), failure.clone());
            work.push(Call::FailAxis { tracker, axis: *axis, reached: current, failure });
        }
        for timepoint in core::mem::take(&mut state.timepoints).into_values() {
            work.fire(timepoint, Err(SemaphoreError::Failed(failure.clone())));
        }
        true
    }

    /// Files a timepoint, or puts it on `work` when there is nothing to wait for.
    fn add(&self, value: u64, timepoint: Timepoint, work: &mut Work) -> TimepointId {
        let mut state = self.state.lock();
        state.last_serial += 1;
        let serial = state.last_serial;
        let current = self.value.load(Ordering::Relaxed);
        if current >= value {
            work.fire(timepoint, Ok(state.signaled(current, value)));
        } else if let Some(failure) = &state.failure {
            work.fire(timepoint, Err(SemaphoreError::Failed(failure.clone())));
        } else {
            state.timepoints.insert((value, serial), timepoint);
        }
        TimepointId { value, serial }
    }

    fn cancel(&self, id: TimepointId) -> bool {
        // The callback is dropped after the lock: it may own anything.
        let timepoint = self.state.lock().timepoints.remove(&(id.value, id.serial));
        timepoint.is_some()
    }
}

/// Ends what waits, with [`SemaphoreError::Dropped`], and fails what is linked or bound with the same.
impl Drop for Inner {
    fn drop(&mut self) {
        let mut work = Work::default();
        let (timepoints, binding) = {
            let mut state = self.state.lock();
            (core::mem::take(&mut state.timepoints), state.binding.take())
        };
        if let Some(Binding { tracker, axis }) = binding {
            let (reached, failure) = (self.value.load(Ordering::Relaxed), SemaphoreError::Dropped);
            let failure = Failure::new(failure);
            work.push(Call::FailAxis { tracker, axis, reached, failure });
        }
        for timepoint in timepoints.into_values() {
            work.fire(timepoint, Err(SemaphoreError::Dropped));
        }
        work.run();
    }
}

/// The future of [`Semaphore::reach_async`].
#[must_use = "futures do nothing unless polled"]
pub struct ReachFuture {
    semaphore: Weak<Inner>,
    id: TimepointId,
    result: Arc<Oneshot<Result<Signaled, SemaphoreError>>>,
}

impl Future for ReachFuture {
    type Output = Result<Signaled, SemaphoreError>;

    /// Pending for good once it has given its result.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.result.poll(context)
    }
}

impl fmt::Debug for ReachFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReachFuture").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for ReachFuture {
    fn drop(&mut self) {
        if let Some(semaphore) = self.semaphore.upgrade() {
            semaphore.cancel(self.id);
        }
    }
}
