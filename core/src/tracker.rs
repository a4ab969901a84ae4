//! The tracker: how far every axis has come, and who waits for that.
//!
//! ```text
//!   advance(axis, epoch)          wait(frontier, callback)
//!        │                              │
//!        ▼                              ▼
//!   ┌─ axis table, lock-free ─┐   ┌─ waiters, one lock ───────────────┐
//!   │ reached ── raise        │   │ (axis, epoch) ▶ waiter ▶ next     │
//!   │ wanted  ── ≤ epoch? ────┼──▶│   axis not reached, or callback   │
//!   └─────────────────────────┘   └───────────────────────────────────┘
//! ```
//!
//! Axes are registered up to a capacity. One that has ended and is retired gives its place to another, but not its name. Each waiter is filed under *one* axis that
//! it still needs, and every axis knows the lowest epoch anyone filed under it wants. So an
//! advance that satisfies no one costs the same with no waiter as with ten thousand: two loads, a
//! compare-and-swap, no lock. Callbacks run on the thread that advances (or fails, or
//! retires, or drops the tracker, or calls [`wait`](Tracker::wait) too late), with no lock held, in
//! the order of their epochs and then of their arrival.
//!
//! | operation | cost |
//! | --- | --- |
//! | [`reached`](Progress::reached) | a lookup and a load; lock-free |
//! | [`advance`](Tracker::advance), none satisfied | a lookup and an atomic raise; lock-free |
//! | `advance`, `k` satisfied of `n` | the lock, `k log n` |
//! | [`wait`](Tracker::wait), [`cancel`](Tracker::cancel) | the lock, `log n` |
//! | [`fail_axis`](Tracker::fail_axis), [`retire_axis`](Tracker::retire_axis) | the lock, `n` |

mod error;
mod future;
#[cfg(feature = "hosted")]
mod memory;
mod table;
#[cfg(all(test, not(loom)))]
mod tests;
mod version;
mod waiters;

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use self::error::End;
#[cfg(feature = "hosted")]
use self::memory::OfMemory;
use self::table::Table;
use self::version::Version;
use self::waiters::{Fired, Waiters};
use crate::axis::{Axis, Epoch};
use crate::failure::Failure;
#[cfg(feature = "hosted")]
use crate::frontier::Frontier;
use crate::frontier::FrontierRef;
use crate::index::{Index, Name};
#[cfg(feature = "hosted")]
use crate::notification::Notification;
use crate::oneshot::Oneshot;
use crate::progress::Progress;
use crate::run_all::run_all;
use crate::sync::Mutex;

pub use self::error::{TrackerError, WaitError};
pub use self::future::WaitFuture;

/// Names a wait, to cancel it. It is never used for another wait of the same tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitId {
    index: usize,
    serial: u64,
}

/// One axis as the tracker knows it.
#[derive(Clone, Debug)]
pub struct AxisStatus {
    /// The axis.
    pub axis: Axis,
    /// The last epoch it reached.
    pub reached: Epoch,
    /// How it ended, if it did: waits for later epochs get this.
    pub end: Option<WaitError>,
}

/// How far every axis has come, and who waits for that. A handle: clones share the one tracker,
/// which lives as long as the last of them.
///
/// ```
/// use std::sync::mpsc;
/// use strandline_core::{Axis, Frontier, Progress, Tracker};
///
/// let tracker = Tracker::new(16);
/// let queue = Axis::queue(0, 0);
/// tracker.register(queue)?;
///
/// let (done, result) = mpsc::channel();
/// let frontier = Frontier::from_entry(queue, 2);
/// tracker.wait(frontier.as_ref(), move |reached| done.send(reached.is_ok()).unwrap())?;
///
/// tracker.advance(queue, 1)?;
/// assert!(result.try_recv().is_err(), "not yet");
/// tracker.advance(queue, 2)?;
/// assert_eq!(result.try_recv(), Ok(true));
/// assert_eq!(tracker.reached(queue), 2);
/// # Ok::<(), strandline_core::TrackerError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tracker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    table: Table,
    version: Version,
    capacity: usize,
    state: Mutex<State>,
    /// Signaled, while watched, when any axis has moved on or ended.
    #[cfg(feature = "hosted")]
    moved: Arc<Notification>,
}

#[derive(Debug, Default)]
struct State {
    /// Axes that were not retired.
    registered: usize,
    /// Slot and epoch of fences, and what they wait for.
    #[cfg(feature = "hosted")]
    fences: Vec<(usize, Epoch, Frontier)>,
    /// The version of progress at which they were looked at last, if none has come since.
    #[cfg(feature = "hosted")]
    fences_seen: Option<u64>,
    waiters: Waiters,
}

impl Tracker {
    /// The most axes that one tracker can have.
    pub const MAX_CAPACITY: usize = 1 << 20;

    /// A tracker with room for `capacity` axes, at most [`MAX_CAPACITY`](Self::MAX_CAPACITY) (more
    /// counts as that). It takes 128 to 256 bytes for each, now, and as many for each that comes in the place of a retired one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.min(Self::MAX_CAPACITY);
        let state = Mutex::new(State::default());
        Self {
            inner: Arc::new(Inner {
                table: Table::new(capacity),
                version: Version::new(),
                capacity,
                state,
                #[cfg(feature = "hosted")]
                moved: Arc::new(Notification::new(None)),
            }),
        }
    }

    /// The number of axes it has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.inner.capacity
    }

    /// Adds an axis that has not begun.
    ///
    /// # Errors
    /// When the axis is there already, there is no more room, or it is the axis of all ones.
    ///
    /// ```
    /// use strandline_core::{Axis, Tracker, TrackerError};
    ///
    /// let tracker = Tracker::new(1);
    /// let axis = Axis::host(1);
    /// tracker.register(axis)?;
    /// assert!(matches!(tracker.register(axis), Err(TrackerError::DuplicateAxis(_))));
    /// let other = Axis::host(2);
    /// assert!(matches!(tracker.register(other), Err(TrackerError::Full { capacity: 1 })));
    /// # Ok::<(), TrackerError>(())
    /// ```
    pub fn register(&self, axis: Axis) -> Result<(), TrackerError> {
        self.register_at(axis, 0)
    }

    /// Adds an axis that has come to `epoch` already.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn register_at(&self, axis: Axis, epoch: Epoch) -> Result<(), TrackerError> {
        if axis.to_bits() == u64::MAX {
            return Err(TrackerError::ReservedAxis);
        }
        let capacity = self.inner.capacity;
        let mut state = self.inner.state.lock();
        if self.inner.table.find(axis).is_some() {
            return Err(TrackerError::DuplicateAxis(axis));
        }
        if state.registered == capacity {
            return Err(TrackerError::Full { capacity });
        }
        state.registered += 1;
        self.inner.table.insert(axis, epoch, &self.inner.version);
        Ok(())
    }

    /// Raises `axis` to `epoch`, and wakes exactly those whose frontier is now reached. An epoch at or
    /// below the one reached changes nothing. What was done before the call is visible to whoever
    /// sees the epoch reached.
    ///
    /// Cost: it does not grow with the number of waiters that this does not satisfy.
    ///
    /// # Errors
    /// When the axis is not registered, or has failed or was retired.
    pub fn advance(&self, axis: Axis, epoch: Epoch) -> Result<(), TrackerError> {
        let (index, slot) = self.inner.find(axis)?;
        let may_wake = slot.advance(epoch, &self.inner.version);
        self.inner.tell();
        if may_wake { self.inner.wake(axis, index) } else { Ok(()) }
    }

    /// Runs `callback` once `frontier` is reached, or with the error that makes that impossible.
    /// When that is so already it runs before this returns. It must not block; a panic in it
    /// reaches whoever advanced, once the other callbacks have run.
    ///
    /// # Errors
    /// [`TrackerError::UnknownAxis`] when an axis of the frontier is not registered; the callback is
    /// dropped without a run.
    pub fn wait(
        &self,
        frontier: FrontierRef<'_>,
        callback: impl FnOnce(Result<(), WaitError>) + Send + 'static,
    ) -> Result<WaitId, TrackerError> {
        let mut all_reached = true;
        for entry in frontier.entries() {
            let (_, slot) = self.inner.find(entry.axis)?;
            all_reached &= slot.reached() >= entry.epoch;
        }
        if all_reached {
            callback(Ok(()));
            // No wait has this serial.
            return Ok(WaitId { index: 0, serial: 0 });
        }
        let (frontier, callback) = (frontier.to_frontier(), Box::new(callback));
        let mut fired = Fired::default();
        let id = {
            let mut state = self.inner.state.lock();
            state.waiters.add(&self.inner.table, frontier, callback, &mut fired)
        };
        fired.run();
        Ok(id)
    }

    /// Takes a wait back and says whether that won: true means that its callback never runs, false
    /// that it has run or is about to.
    ///
    /// ```
    /// use strandline_core::{Axis, Frontier, Tracker};
    ///
    /// let tracker = Tracker::new(1);
    /// let axis = Axis::host(1);
    /// tracker.register(axis)?;
    /// let id = tracker.wait(Frontier::from_entry(axis, 1).as_ref(), |_| unreachable!())?;
    /// assert!(tracker.cancel(id));
    /// assert!(!tracker.cancel(id));
    /// tracker.advance(axis, 1)?;
    /// # Ok::<(), strandline_core::TrackerError>(())
    /// ```
    pub fn cancel(&self, id: WaitId) -> bool {
        self.inner.cancel(id)
    }

    /// A future that ends once `frontier` is reached, or with the error that makes that
    /// impossible. It waits from now on, polled or not; dropping it cancels. It does not keep the
    /// tracker alive.
    ///
    /// # Errors
    /// [`TrackerError::UnknownAxis`] when an axis of the frontier is not registered.
    ///
    /// ```
    /// use core::task::{Context, Poll, Waker};
    /// use strandline_core::{Axis, Frontier, Tracker};
    ///
    /// let tracker = Tracker::new(1);
    /// let axis = Axis::host(1);
    /// tracker.register(axis)?;
    /// let mut wait = Box::pin(tracker.wait_async(Frontier::from_entry(axis, 1).as_ref())?);
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert!(wait.as_mut().poll(&mut context).is_pending());
    /// tracker.advance(axis, 1)?;
    /// assert!(matches!(wait.as_mut().poll(&mut context), Poll::Ready(Ok(()))));
    /// # Ok::<(), strandline_core::TrackerError>(())
    /// ```
    pub fn wait_async(&self, frontier: FrontierRef<'_>) -> Result<WaitFuture, TrackerError> {
        let result = Arc::new(Oneshot::new());
        let sender = Arc::clone(&result);
        let id = self.wait(frontier, move |reached| sender.send(reached))?;
        Ok(WaitFuture { tracker: Arc::downgrade(&self.inner), id, result })
    }

    /// Ends `axis` with a failure: whoever waits, or comes to wait, for an epoch that it has not
    /// reached gets `failure`. It stays so. False when the axis has ended before: the first end
    /// counts.
    ///
    /// # Errors
    /// [`TrackerError::UnknownAxis`].
    ///
    /// ```
    /// use strandline_core::{Axis, Failure, Frontier, Tracker, TrackerError, WaitError};
    ///
    /// let tracker = Tracker::new(1);
    /// let axis = Axis::host(1);
    /// tracker.register(axis)?;
    /// assert!(tracker.fail_axis(axis, Failure::message("device lost"))?);
    /// assert!(!tracker.fail_axis(axis, Failure::message("too late"))?);
    /// tracker.wait(Frontier::from_entry(axis, 1).as_ref(), |result| match result {
    ///     Err(WaitError::Failed { failure, .. }) => assert_eq!(failure.to_string(), "device lost"),
    ///     other => panic!("{other:?}"),
    /// })?;
    /// assert!(matches!(tracker.advance(axis, 1), Err(TrackerError::Ended(_))));
    /// # Ok::<(), TrackerError>(())
    /// ```
    pub fn fail_axis(&self, axis: Axis, failure: Failure) -> Result<bool, TrackerError> {
        self.inner.end(axis, End::Failed(failure))
    }

    /// Ends `axis` for teardown: its source is gone, and what it has not reached it never will.
    /// Waiters get [`WaitError::Retired`]. False when the axis has ended before: then it goes on to tell of that end. Either way
    /// another axis can be registered in its place; the name is not given out again (without `std` the place is not either).
    ///
    /// # Errors
    /// [`TrackerError::UnknownAxis`].
    ///
    /// ```
    /// use strandline_core::{Axis, Tracker, TrackerError};
    ///
    /// let tracker = Tracker::new(1);
    /// let [first, second] = [Axis::host(1), Axis::host(2)];
    /// tracker.register(first)?;
    /// tracker.retire_axis(first)?;
    /// tracker.register(second)?;
    /// assert!(matches!(tracker.register(first), Err(TrackerError::DuplicateAxis(_))));
    /// # Ok::<(), TrackerError>(())
    /// ```
    pub fn retire_axis(&self, axis: Axis) -> Result<bool, TrackerError> {
        let first = self.inner.end(axis, End::Retired)?;
        #[cfg(feature = "std")]
        {
            let (index, _) = self.inner.find(axis)?;
            let mut state = self.inner.state.lock();
            if state.waiters.retire(index) {
                state.registered -= 1;
            }
        }
        Ok(first)
    }

    /// Says of an axis that has ended that nothing it was to do touches memory any more: what waits for epochs that it never
    /// reached need not. Pools over this tracker then have the blocks back that were freed to die there, as for
    /// [`Pool::quiesce`](crate::Pool::quiesce), but of this axis alone; other waits for the axis fail as before. True from the first
    /// call on; false, and nothing is changed, while the axis goes on.
    ///
    /// An epoch that was to come after others' work stood for that work too: whoever says this vouches that it is over as well.
    /// [`fence_axis_to`](Self::fence_axis_to) says it with less knowledge.
    ///
    /// # Errors
    /// [`TrackerError::UnknownAxis`].
    ///
    /// ```
    /// use strandline_core::{Axis, Failure, Progress, Tracker};
    ///
    /// let tracker = Tracker::new(1);
    /// let axis = Axis::host(1);
    /// tracker.register(axis)?;
    /// assert!(!tracker.fence_axis(axis)?, "it may still be running");
    /// tracker.fail_axis(axis, Failure::message("device lost"))?;
    /// assert!(tracker.fence_axis(axis)?);
    /// assert!(tracker.for_memory().unwrap().has_reached(axis, 7));
    /// assert!(!tracker.has_reached(axis, 7), "the work was not done");
    /// # Ok::<(), strandline_core::TrackerError>(())
    /// ```
    #[cfg(feature = "hosted")]
    pub fn fence_axis(&self, axis: Axis) -> Result<bool, TrackerError> {
        self.fence_axis_to(axis, Epoch::MAX, FrontierRef::EMPTY)
    }

    /// As [`fence_axis`](Self::fence_axis), of the epochs up to `epoch`, once `after` is reached, or fenced in its turn: what those epochs
    /// were to wait for. A queue that stops says this of what was submitted to it, and knows no more.
    ///
    /// # Errors
    /// [`TrackerError::UnknownAxis`].
    #[cfg(feature = "hosted")]
    pub fn fence_axis_to(
        &self,
        axis: Axis,
        epoch: Epoch,
        after: FrontierRef<'_>,
    ) -> Result<bool, TrackerError> {
        let (index, slot) = self.inner.find(axis)?;
        {
            let mut state = self.inner.state.lock();
            if state.waiters.end(index).is_none() {
                return Ok(false);
            }
            if after.is_empty() {
                slot.fence(epoch);
            } else {
                state.fences.push((index, epoch, after.to_frontier()));
                state.fences_seen = None;
                slot.set_conditional(true);
            }
        }
        self.inner.version.moved();
        self.inner.tell();
        Ok(true)
    }

    /// How `axis` ended, or `None` while it goes on.
    ///
    /// # Errors
    /// [`TrackerError::UnknownAxis`].
    pub fn end_of(&self, axis: Axis) -> Result<Option<WaitError>, TrackerError> {
        let (index, _) = self.inner.find(axis)?;
        Ok(self.inner.state.lock().waiters.end(index).map(|end| end.to_error(axis)))
    }

    pub(crate) fn downgrade(&self) -> WeakTracker {
        WeakTracker(Arc::downgrade(&self.inner))
    }

    /// The number of waits that are not over.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inner.state.lock().waiters.len()
    }

    /// Every axis, in ascending order: for people and pictures. Cost: linear in the capacity.
    #[must_use]
    pub fn axes(&self) -> Vec<AxisStatus> {
        let table = &self.inner.table;
        let state = self.inner.state.lock();
        let mut axes = Index::default();
        for (axis, index) in table.axes() {
            axes.insert((axis.to_bits(), 0, 0), index as u64);
        }
        let status = |((axis, ..), index): (Name, u64)| {
            let (axis, index) = (Axis::from_bits(axis), index as usize);
            let end = state.waiters.end(index).map(|end| end.to_error(axis));
            AxisStatus { axis, reached: table.slot(index).reached(), end }
        };
        axes.from((0, 0, 0)).map(status).collect()
    }
}

/// A handle that does not keep the tracker alive.
#[derive(Clone, Debug)]
pub(crate) struct WeakTracker(Weak<Inner>);

impl WeakTracker {
    pub(crate) fn upgrade(&self) -> Option<Tracker> {
        Some(Tracker { inner: self.0.upgrade()? })
    }
}

impl Inner {
    #[inline]
    fn find(&self, axis: Axis) -> Result<(usize, &table::Slot), TrackerError> {
        self.table.find(axis).ok_or(TrackerError::UnknownAxis(axis))
    }

    /// Wakes those whom the progress of an axis satisfies, or says how the axis ended.
    #[cold]
    fn wake(&self, axis: Axis, index: usize) -> Result<(), TrackerError> {
        let mut fired = Fired::default();
        {
            let mut state = self.state.lock();
            if let Some(end) = state.waiters.end(index) {
                return Err(TrackerError::Ended(end.to_error(axis)));
            }
            state.waiters.reached(&self.table, index, &mut fired);
        }
        fired.run();
        Ok(())
    }

    fn end(&self, axis: Axis, end: End) -> Result<bool, TrackerError> {
        let (index, _) = self.find(axis)?;
        let mut fired = Fired::default();
        let first = {
            let mut state = self.state.lock();
            state.waiters.end_axis(&self.table, (axis, index), end, &mut fired)
        };
        self.tell();
        fired.run();
        Ok(first)
    }

    /// Tells whoever watches that an axis has moved on or ended.
    #[inline]
    fn tell(&self) {
        #[cfg(feature = "hosted")]
        self.moved.signal_if_watched();
    }

    fn cancel(&self, id: WaitId) -> bool {
        // The callback is dropped after the lock: it may own anything.
        let callback = self.state.lock().waiters.remove(&self.table, id);
        callback.is_some()
    }
}

impl Progress for Tracker {
    /// Lock-free. An axis that is not registered has reached nothing.
    #[inline]
    fn reached(&self, axis: Axis) -> Epoch {
        self.inner.table.find(axis).map_or(0, |(_, slot)| slot.reached())
    }

    #[cfg(feature = "hosted")]
    #[inline]
    fn is_known(&self, axis: Axis) -> bool {
        self.inner.table.find(axis).is_some()
    }

    #[cfg(feature = "hosted")]
    fn for_memory(&self) -> Option<Arc<dyn Progress>> {
        Some(Arc::new(OfMemory(self.clone())))
    }

    /// Lock-free.
    fn version(&self) -> Option<u64> {
        Some(self.inner.version.look())
    }

    #[cfg(feature = "hosted")]
    fn moved(&self) -> Option<&Arc<Notification>> {
        Some(&self.inner.moved)
    }
}

/// Cancels what waits, with [`WaitError::TrackerDropped`].
impl Drop for Inner {
    fn drop(&mut self) {
        let callbacks = self.state.lock().waiters.take_all();
        run_all(callbacks.into_iter().map(|callback| || callback(Err(WaitError::TrackerDropped))));
    }
}
