//! Waiting for all of several semaphores, or for any of them.
//!
//! One timepoint on each semaphore arrives at one shared meeting point. Whoever arrives last (all)
//! or first (any) ends the wait: takes the callback out, cancels the other timepoints, and then
//! calls it, with no lock held.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::{Inner, Semaphore, SemaphoreError, Signaled, TimepointId};
use crate::frontier::{Frontier, Merge};
use crate::oneshot::Oneshot;
use crate::sync::Mutex;

/// What a waiter for several semaphores inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// The position, among those waited for, of the one that ended the wait: the first to be reached
    /// for any, the last for all (0 when there were none).
    pub index: usize,
    /// The frontier of that one (any), or the join of them all (all).
    pub frontier: Frontier,
    /// Whether something behind them is not in `frontier`: a tainted value, or a join that did not
    /// fit.
    pub tainted: bool,
}

type Outcome = Result<Met, SemaphoreError>;
type Callback = Box<dyn FnOnce(Outcome) + Send>;
type Timepoints = Vec<(Weak<Inner>, TimepointId)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    All,
    Any,
}

struct Meeting {
    mode: Mode,
    state: Mutex<State>,
}

struct State {
    /// How many have not arrived.
    missing: usize,
    frontier: Frontier,
    tainted: bool,
    timepoints: Timepoints,
    /// Taken by whoever ends the wait.
    callback: Option<Callback>,
}

impl State {
    /// Ends the wait, unless it is over.
    fn end(&mut self) -> Option<(Callback, Timepoints)> {
        let callback = self.callback.take()?;
        Some((callback, core::mem::take(&mut self.timepoints)))
    }

    /// Takes in that one semaphore was reached or cannot be, and gives the outcome if it is the one
    /// that decides.
    fn arrive(
        &mut self,
        mode: Mode,
        index: usize,
        result: Result<Signaled, SemaphoreError>,
    ) -> Option<Outcome> {
        self.missing -= 1;
        match (mode, result) {
            (Mode::All, Err(error)) => Some(Err(error)),
            (Mode::Any, Err(error)) => (self.missing == 0).then_some(Err(error)),
            (Mode::Any, Ok(Signaled { frontier, tainted, .. })) => {
                Some(Ok(Met { index, frontier, tainted }))
            }
            (Mode::All, Ok(one)) => {
                let overflow = self.frontier.merge(one.frontier.as_ref()) == Merge::Overflow;
                self.tainted |= one.tainted | overflow;
                (self.missing == 0).then(|| {
                    let frontier = core::mem::take(&mut self.frontier);
                    Ok(Met { index, frontier, tainted: self.tainted })
                })
            }
        }
    }
}

fn cancel_all(timepoints: Timepoints) {
    for (semaphore, id) in timepoints {
        if let Some(semaphore) = semaphore.upgrade() {
            semaphore.cancel(id);
        }
    }
}

impl Meeting {
    fn arrive(&self, index: usize, result: Result<Signaled, SemaphoreError>) {
        let over = {
            let mut state = self.state.lock();
            if state.callback.is_none() {
                return;
            }
            let Some(outcome) = state.arrive(self.mode, index, result) else { return };
            state.end().map(|ended| (ended, outcome))
        };
        if let Some(((callback, timepoints), outcome)) = over {
            cancel_all(timepoints);
            callback(outcome);
        }
    }

    fn start(mode: Mode, points: &[(&Semaphore, u64)], callback: Callback) -> MultiWait {
        let state = State {
            missing: points.len(),
            frontier: Frontier::new(),
            tainted: false,
            timepoints: Vec::with_capacity(points.len()),
            callback: Some(callback),
        };
        let meeting = Arc::new(Self { mode, state: Mutex::new(state) });
        if points.is_empty() {
            let ended = meeting.state.lock().end();
            if let Some((callback, _)) = ended {
                callback(match mode {
                    Mode::All => Ok(Met { index: 0, frontier: Frontier::new(), tainted: false }),
                    Mode::Any => Err(SemaphoreError::Nothing),
                });
            }
        }
        for (index, &(semaphore, value)) in points.iter().enumerate() {
            let arriving = Arc::clone(&meeting);
            let id = semaphore.on_reach(value, move |result| arriving.arrive(index, result));
            let over = {
                let mut state = meeting.state.lock();
                let over = state.callback.is_none();
                if !over {
                    state.timepoints.push((Arc::downgrade(&semaphore.inner), id));
                }
                over
            };
            if over {
                // It ended before this timepoint was on the list, so no one else cancels it.
                semaphore.cancel(id);
                break;
            }
        }
        MultiWait { meeting }
    }
}

/// A wait for several semaphores. Dropping it does not end the wait.
#[derive(Clone)]
pub struct MultiWait {
    meeting: Arc<Meeting>,
}

impl MultiWait {
    /// Takes the wait back and says whether that won: true means that its callback never runs,
    /// false that it has run or is about to.
    pub fn cancel(&self) -> bool {
        let ended = self.meeting.state.lock().end();
        match ended {
            Some((callback, timepoints)) => {
                drop(callback);
                cancel_all(timepoints);
                true
            }
            None => false,
        }
    }
}

impl fmt::Debug for MultiWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.meeting.state.lock().missing;
        f.debug_struct("MultiWait").field("missing", &missing).finish_non_exhaustive()
    }
}

/// Runs `callback` once every semaphore has reached its value, or as soon as one cannot. Of no
/// semaphores it runs before this returns.
///
/// ```
/// use strandline_core::semaphore::wait_all;
/// use strandline_core::{Axis, Frontier, Semaphore};
///
/// let [a, b] = [Semaphore::new(0), Semaphore::new(0)];
/// wait_all(&[(&a, 1), (&b, 1)], |met| assert_eq!(met.unwrap().frontier.len(), 2));
/// a.signal(1, Frontier::from_entry(Axis::host(1), 1).as_ref())?;
/// b.signal(1, Frontier::from_entry(Axis::host(2), 1).as_ref())?;
/// # Ok::<(), strandline_core::semaphore::SignalError>(())
/// ```
pub fn wait_all(
    points: &[(&Semaphore, u64)],
    callback: impl FnOnce(Outcome) + Send + 'static,
) -> MultiWait {
    Meeting::start(Mode::All, points, Box::new(callback))
}

/// Runs `callback` once one of the semaphores has reached its value, or when none can any more,
/// with the last of their errors. Of no semaphores it runs before this returns, with
/// [`SemaphoreError::Nothing`].
///
/// ```
/// use strandline_core::semaphore::wait_any;
/// use strandline_core::{Failure, FrontierRef, Semaphore};
///
/// let [a, b] = [Semaphore::new(0), Semaphore::new(0)];
/// let wait = wait_any(&[(&a, 1), (&b, 1)], |met| assert_eq!(met.unwrap().index, 1));
/// a.fail(Failure::message("lost"));
/// b.signal(1, FrontierRef::EMPTY)?;
/// assert!(!wait.cancel(), "it is over");
/// # Ok::<(), strandline_core::semaphore::SignalError>(())
/// ```
pub fn wait_any(
    points: &[(&Semaphore, u64)],
    callback: impl FnOnce(Outcome) + Send + 'static,
) -> MultiWait {
    Meeting::start(Mode::Any, points, Box::new(callback))
}

fn start_async(mode: Mode, points: &[(&Semaphore, u64)]) -> MultiFuture {
    let result = Arc::new(Oneshot::new());
    let sender = Arc::clone(&result);
    let callback = Box::new(move |outcome| sender.send(outcome));
    MultiFuture { wait: Meeting::start(mode, points, callback), result }
}

/// [`wait_all`] as a future. It waits from now on, polled or not; dropping it cancels.
pub fn wait_all_async(points: &[(&Semaphore, u64)]) -> MultiFuture {
    start_async(Mode::All, points)
}

/// [`wait_any`] as a future. It waits from now on, polled or not; dropping it cancels.
pub fn wait_any_async(points: &[(&Semaphore, u64)]) -> MultiFuture {
    start_async(Mode::Any, points)
}

/// The future of [`wait_all_async`] and [`wait_any_async`].
#[must_use = "futures do nothing unless polled"]
pub struct MultiFuture {
    wait: MultiWait,
    result: Arc<Oneshot<Outcome>>,
}

impl Future for MultiFuture {
    type Output = Outcome;

    /// Pending for good once it has given its result.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        self.result.poll(context)
    }
}

impl fmt::Debug for MultiFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.wait, f)
    }
}

impl Drop for MultiFuture {
    fn drop(&mut self) {
        self.wait.cancel();
    }
}
