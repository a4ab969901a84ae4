//! A queue whose device is the processor: [`CpuQueue`].
//!
//! ```text
//!   submit(wait, commands) ─▶ epoch n       ┌──────── worker, in order ─────────┐
//!         │                                 │ head's wait reached?  no: sleep   │
//!         ├─ tracker.wait(wait) ─▶ gate ────▶ fill, copy, call                  │
//!         └─ fifo:  n-2 │ n-1 │ n ──────────▶ tracker.advance(axis, n)          │
//!                                           └───────────────────────────────────┘
//! ```
//!
//! Each queue is one axis: the n-th submission is epoch n of it, and submissions of one queue run in the
//! order in which they came. Between queues there is no order but that of the wait frontiers. A
//! submission's effects are visible to whoever sees its epoch reached.
//!
//! # Failure
//! A host call that panics or returns an error, and a wait frontier that can never be reached, fail the
//! axis with the cause: the epoch is not reached, what was submitted after it never runs, whoever waits
//! for those epochs is told, and further submissions are refused. The process goes on.
//!
//! # The end
//! - [`CpuQueue::finish`] runs everything that was submitted, however long its waits take.
//! - Dropping the queue finishes the submission under way and cancels the rest.
//!
//! Either way the axis is then retired: epochs not reached never will be.
//!
//! # Cost
//! A submission takes the queue's lock once and wakes the worker if it sleeps; one whose wait is not yet
//! reached also costs a wait of the tracker.

use crate::buffer::{BufferError, MmapBuffer};
use crate::wake::wait;
use core::fmt;
use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use strandline_core::inspect::{Event, EventSink};
use strandline_core::{
    Axis, Epoch, Failure, Frontier, FrontierRef, Merge, Notification, Progress, Tracker,
    TrackerError, WaitError, WaitId,
};

mod builder;
#[cfg(all(target_os = "linux", not(loom)))]
mod carried;
mod signal;

pub use builder::CpuQueueBuilder;
use signal::Signal;

type HostCall = Box<dyn FnOnce() -> Result<(), Failure> + Send>;

/// A piece of work for a [`CpuQueue`].
pub struct Command(Work);

enum Work {
    Fill { target: MmapBuffer, pattern: u64 },
    Copy { source: MmapBuffer, target: MmapBuffer },
    Call(HostCall),
}

impl Command {
    /// Repeats the 8 bytes of `pattern`, in little-endian order, over `target`.
    #[must_use]
    pub const fn fill(target: MmapBuffer, pattern: u64) -> Self {
        Self(Work::Fill { target, pattern })
    }

    /// Copies `source` to `target`.
    ///
    /// # Errors
    /// [`BufferError`] when their sizes differ or they overlap.
    pub fn copy(source: MmapBuffer, target: MmapBuffer) -> Result<Self, BufferError> {
        target.check_copy_from(&source)?;
        Ok(Self(Work::Copy { source, target }))
    }

    /// Calls `call` on the worker. A panic in it fails the queue's axis.
    pub fn call(call: impl FnOnce() + Send + 'static) -> Self {
        Self::try_call(move || {
            call();
            Ok(())
        })
    }

    /// Calls `call` on the worker. An error or a panic in it fails the queue's axis.
    pub fn try_call(call: impl FnOnce() -> Result<(), Failure> + Send + 'static) -> Self {
        Self(Work::Call(Box::new(call)))
    }

    fn run(self) -> Result<(), Failure> {
        match self.0 {
            Work::Fill { target, pattern } => target.fill_u64(pattern),
            Work::Copy { source, target } => target.copy_from(&source).map_err(Failure::new)?,
            Work::Call(call) => call()?,
        }
        Ok(())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Work::Fill { target, pattern } => write!(f, "Fill({target:?}, {pattern:#x})"),
            Work::Copy { source, target } => write!(f, "Copy({source:?} to {target:?})"),
            Work::Call(_) => f.write_str("Call"),
        }
    }
}

/// Why a queue does not take or run work.
#[derive(Debug)]
#[non_exhaustive]
pub enum QueueError {
    /// The tracker refused the queue's axis, or an axis of the wait frontier is not registered.
    Tracker(TrackerError),
    /// The system has no thread to give.
    Thread(io::Error),
    /// The wait frontier names the submission itself, or one after it.
    WaitsForItself {
        /// The epoch that the submission would have had.
        epoch: Epoch,
    },
    /// The axis has failed; nothing runs on it any more.
    Failed(Failure),
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tracker(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "cannot start a worker thread: {error}"),
            Self::WaitsForItself { epoch } => {
                write!(f, "submission {epoch} would wait for itself or a later one")
            }
            Self::Failed(failure) => write!(f, "the queue has failed: {failure}"),
        }
    }
}

impl core::error::Error for QueueError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Tracker(error) => Some(error),
            Self::Thread(error) => Some(error),
            Self::Failed(failure) => Some(failure.get_ref()),
            Self::WaitsForItself { .. } => None,
        }
    }
}

impl From<TrackerError> for QueueError {
    fn from(error: TrackerError) -> Self {
        Self::Tracker(error)
    }
}

/// Set once, by the tracker, when the wait frontier is reached or can never be.
type Gate = Arc<OnceLock<Result<(), WaitError>>>;

/// What a submission waits for.
struct Wait {
    gate: Gate,
    id: WaitId,
    frontier: Frontier,
}

struct Submission {
    epoch: Epoch,
    /// `None`: nothing to wait for.
    wait: Option<Wait>,
    commands: Vec<Command>,
}

/// A submission that has not begun, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// The submission.
    pub epoch: Epoch,
    /// What of its wait frontier is not reached. Empty: only what was submitted before it is in its way.
    pub waits_for: Frontier,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Running,
    /// Run what is there, then stop.
    Finishing,
    /// Stop after the submission under way.
    Canceling,
}

struct State {
    fifo: VecDeque<Submission>,
    submitted: Epoch,
    mode: Mode,
    failed: Option<Failure>,
    /// What submissions that never began were to wait for; `None` if that is more than a frontier holds.
    abandoned: Option<Frontier>,
}

struct Shared {
    axis: Axis,
    tracker: Tracker,
    state: Mutex<State>,
    /// Rung when the worker may have something to do. Apart from the rest, so that a callback in
    /// the tracker does not own the tracker.
    bell: Arc<Notification>,
    signal: Arc<Signal>,
    sink: Option<Arc<dyn EventSink>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No foreign code runs with a lock of this file held, so poison means nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An in-order queue with a worker thread; see the [module](self).
///
/// ```
/// use strandline_core::{Axis, Frontier, FrontierRef, Grant, SlabMap, SlabProvider, Tracker};
/// use strandline_host_native::{Command, CpuQueue, MmapSlabProvider, wait_frontier};
///
/// let provider = MmapSlabProvider::builder().build()?;
/// let Grant::Slab(slab) = provider.acquire(8192)? else { panic!("out of memory") };
/// let [a, b] = [provider.map(slab.id, 0, 4096)?, provider.map(slab.id, 4096, 4096)?];
///
/// let tracker = Tracker::new(2);
/// let [first, second] = [0, 1].map(|i| Axis::queue(0, i));
/// let [first, second] = [CpuQueue::new(&tracker, first)?, CpuQueue::new(&tracker, second)?];
///
/// let filled = first.submit(FrontierRef::EMPTY, [Command::fill(a.clone(), 0x1234)])?;
/// let filled = Frontier::from_entry(first.axis(), filled);
/// // The other queue copies once the first has filled.
/// let copied = second.submit(filled.as_ref(), [Command::copy(a, b.clone())?])?;
/// let copied = Frontier::from_entry(second.axis(), copied);
/// wait_frontier(&tracker, copied.as_ref(), None)?;
/// assert_eq!(b.find_mismatch(0x1234), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CpuQueue {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

impl CpuQueue {
    /// Registers `axis` with `tracker` and starts the worker.
    ///
    /// # Errors
    /// [`QueueError::Tracker`] when the axis cannot be registered; [`QueueError::Thread`], after which
    /// the axis is retired.
    pub fn new(tracker: &Tracker, axis: Axis) -> Result<Self, QueueError> {
        Self::builder(tracker, axis).start()
    }

    /// A queue that is told more than its axis; nothing is started yet.
    pub fn builder(tracker: &Tracker, axis: Axis) -> CpuQueueBuilder {
        CpuQueueBuilder::new(tracker.clone(), axis)
    }

    /// The axis whose epochs are this queue's submissions.
    #[must_use]
    pub fn axis(&self) -> Axis {
        self.shared.axis
    }

    /// The epoch of the last submission, 0 before the first.
    #[must_use]
    pub fn submitted(&self) -> Epoch {
        lock(&self.shared.state).submitted
    }

    /// What has been submitted so far, as a frontier to wait for or to release after: empty before the first submission.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        Frontier::from_entry(self.axis(), self.submitted())
    }

    /// Submissions that have not begun; [`parked`](Self::parked) says why.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.shared.state).fifo.len()
    }

    /// Why nothing goes on: the submissions that have not begun, and what each waits for. A snapshot, for people and logs.
    #[must_use]
    pub fn parked(&self) -> Vec<Standing> {
        let shared = &*self.shared;
        let state = lock(&shared.state);
        let missing = |wait: &Wait| {
            let entries = wait.frontier.as_ref().entries().iter().copied();
            let missing = entries.filter(|e| !shared.tracker.has_reached(e.axis, e.epoch));
            // A part of a frontier is one.
            Frontier::from_entries(missing).unwrap_or_default()
        };
        let standing = |submission: &Submission| Standing {
            epoch: submission.epoch,
            waits_for: submission.wait.as_ref().map(missing).unwrap_or_default(),
        };
        state.fifo.iter().map(standing).collect()
    }

    /// Signals `notification` after each epoch, and when the axis fails. Given a pool's notification,
    /// whoever waits for memory there looks again when blocks that wait for this queue become ready.
    pub fn notify_on_progress(&self, notification: Arc<Notification>) {
        self.shared.signal.listen(notification);
    }

    /// Has the commands run, in order, after `wait` and after everything submitted here before; returns
    /// the epoch that tells when they are done.
    ///
    /// # Errors
    /// [`QueueError`]; nothing was submitted then, and the commands are dropped.
    pub fn submit(
        &self,
        wait: FrontierRef<'_>,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<Epoch, QueueError> {
        let shared = &*self.shared;
        let commands = commands.into_iter().collect();
        // The tracker may call back at once, on this thread: it is asked before the lock is taken.
        let gate = if wait.is_satisfied(&shared.tracker) {
            None
        } else {
            let gate = Gate::default();
            let (set, bell) = (gate.clone(), shared.bell.clone());
            let id = shared.tracker.wait(wait, move |result| {
                // The tracker calls once.
                let _ = set.set(result);
                bell.signal_if_observed();
            })?;
            Some(Wait { gate, id, frontier: wait.to_frontier() })
        };
        let refused = {
            let mut state = lock(&shared.state);
            let epoch = state.submitted + 1;
            if let Some(failure) = &state.failed {
                QueueError::Failed(failure.clone())
            } else if wait.get(shared.axis) >= epoch {
                QueueError::WaitsForItself { epoch }
            } else {
                state.submitted = epoch;
                // Under the lock, so that they are told in order, and before the worker can begin.
                shared.emit(Event::Submitted { axis: shared.axis, epoch });
                state.fifo.push_back(Submission { epoch, wait: gate, commands });
                drop(state);
                shared.bell.signal_if_observed();
                return Ok(epoch);
            }
        };
        if let Some(Wait { id, .. }) = gate {
            shared.tracker.cancel(id);
        }
        Err(refused)
    }

    /// Runs everything submitted so far, joins the worker and retires the axis. Blocks until the wait
    /// frontiers of all submissions are reached.
    ///
    /// # Errors
    /// [`QueueError::Failed`] when the axis failed, before or meanwhile.
    pub fn finish(mut self) -> Result<(), QueueError> {
        self.stop(Mode::Finishing);
        match &lock(&self.shared.state).failed {
            Some(failure) => Err(QueueError::Failed(failure.clone())),
            None => Ok(()),
        }
    }

    fn stop(&mut self, mode: Mode) {
        let Some(worker) = self.worker.take() else { return };
        lock(&self.shared.state).mode = mode;
        self.shared.bell.signal();
        if worker.thread().id() == thread::current().id() {
            // Dropped by one of its own host calls: the worker ends after that call, unjoined.
            return;
        }
        if worker.join().is_err() {
            log::error!("the worker of {} panicked", self.shared.axis);
        }
    }
}

/// Finishes the submission under way, cancels the others, retires the axis.
impl Drop for CpuQueue {
    fn drop(&mut self) {
        self.stop(Mode::Canceling);
    }
}

impl fmt::Debug for CpuQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.shared.state);
        f.debug_struct("CpuQueue")
            .field("axis", &self.shared.axis)
            .field("submitted", &state.submitted)
            .field("waiting", &state.fifo.len())
            .field("failed", &state.failed)
            .finish()
    }
}

/// What the worker does next.
enum Next {
    Run(Submission),
    Fail(Failure),
    Sleep,
    Stop,
}

impl Shared {
    fn emit(&self, event: Event) {
        if let Some(sink) = &self.sink {
            sink.event(&event);
        }
    }

    /// The worker's life.
    fn work(&self) {
        loop {
            // Observed before the look, so that whatever comes later ends the wait.
            let seen = self.bell.observe();
            match self.next() {
                Next::Run(submission) => self.run(submission),
                Next::Fail(failure) => self.fail(failure),
                Next::Sleep => {
                    // Without a deadline it ends by a signal only.
                    let _ = wait(&self.bell, seen, None);
                }
                Next::Stop => break,
            }
        }
        self.cancel_rest();
        self.signal.guarded("telling", || {
            self.emit(Event::Ended { axis: self.axis });
            Ok(())
        });
        // False when it failed before.
        self.signal.end("retiring", |tracker| tracker.retire_axis(self.axis));
        self.fence();
    }

    /// Nothing that was submitted runs now, or will, on this thread or another. But what never began stood for what it was to wait for as well:
    /// whoever freed memory to die with it counts on that.
    fn fence(&self) {
        let (submitted, abandoned) = {
            let state = lock(&self.state);
            (state.submitted, state.abandoned.clone())
        };
        let Some(after) = abandoned else { return };
        self.signal.guarded("fencing", || {
            self.tracker.fence_axis_to(self.axis, submitted, after.as_ref()).map(drop)
        });
        self.signal.tell_listeners();
    }

    fn next(&self) -> Next {
        let mut state = lock(&self.state);
        if state.mode == Mode::Canceling || state.failed.is_some() && state.mode != Mode::Running {
            return Next::Stop;
        }
        let Some(head) = state.fifo.front() else {
            return if state.mode == Mode::Finishing { Next::Stop } else { Next::Sleep };
        };
        match head.wait.as_ref().map(|wait| wait.gate.get()) {
            Some(None) => Next::Sleep,
            Some(Some(Err(error))) => Next::Fail(Failure::new(error.clone())),
            // Reached, or nothing to wait for. There is a head, it was just looked at.
            Some(Some(Ok(()))) | None => state.fifo.pop_front().map_or(Next::Sleep, Next::Run),
        }
    }

    fn run(&self, Submission { epoch, commands, .. }: Submission) {
        // Consumed one by one: what a command holds is given back before the epoch is reached. Those
        // that a panic leaves over are dropped after it: a second panic while unwinding would abort.
        let mut commands = commands.into_iter();
        self.emit(Event::Began { axis: self.axis, epoch });
        let ran = catch_unwind(AssertUnwindSafe(|| commands.by_ref().try_for_each(Command::run)));
        self.signal.guarded("canceling", || {
            drop(commands);
            Ok(())
        });
        match ran {
            Ok(Ok(())) => {
                self.emit(Event::Completed { axis: self.axis, epoch });
                self.signal.reached(epoch);
            }
            Ok(Err(failure)) => self.fail(failure),
            Err(panic) => self.fail(Failure::new(HostCallPanicked::new(epoch, &*panic))),
        }
    }

    /// Fails the axis; the first cause stands.
    fn fail(&self, failure: Failure) {
        log::warn!("{} failed: {failure}", self.axis);
        lock(&self.state).failed.get_or_insert_with(|| failure.clone());
        self.cancel_rest();
        self.signal.end("failing", |tracker| tracker.fail_axis(self.axis, failure));
        self.fence();
    }

    /// Drops what has not begun.
    fn cancel_rest(&self) {
        let rest = {
            let state = &mut *lock(&self.state);
            let rest = core::mem::take(&mut state.fifo);
            for wait in rest.iter().filter_map(|submission| submission.wait.as_ref()) {
                let abandoned = state.abandoned.as_mut();
                if abandoned.is_some_and(|all| all.merge(wait.frontier.as_ref()) != Merge::Done) {
                    state.abandoned = None;
                }
            }
            rest
        };
        for submission in rest {
            if let Some(Wait { id, .. }) = submission.wait {
                self.tracker.cancel(id);
            }
            // Commands own foreign values, whose drop may do anything.
            self.signal.guarded("canceling", || {
                drop(submission.commands);
                Ok(())
            });
        }
    }
}

/// A host call panicked; the failure of its queue's axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCallPanicked {
    /// The submission.
    pub epoch: Epoch,
    /// What the panic said.
    pub message: String,
}

impl HostCallPanicked {
    fn new(epoch: Epoch, panic: &(dyn Any + Send)) -> Self {
        Self { epoch, message: text_of(panic).to_owned() }
    }
}

impl fmt::Display for HostCallPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a host call of submission {} panicked: {}", self.epoch, self.message)
    }
}

impl core::error::Error for HostCallPanicked {}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}

#[cfg(test)]
mod tests;
