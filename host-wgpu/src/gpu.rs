//! A device with its queue: what slabs, timelines and queues of one GPU share.
//!
//! ```text
//!   Timeline A ─┐                        ┌───────────────── poller thread ─────────────────┐
//!   Timeline B ─┼─ submit ─▶ wgpu::Queue │ device.poll(wait for the oldest flight)          │
//!   your code  ─┘     │                  │ pop it ─▶ tracker.advance(axis, epoch)           │
//!                     └─ flights: A@1 B@1 A@2 ─▶          ─▶ tell the listeners             │
//!                                        └─────────────────────────────────────────────────┘
//! ```
//!
//! There is one [`Gpu`] for each `wgpu::Device`, and one thread that polls the device: a second [`Gpu::new`] of the same device is a
//! handle to the first. A *flight* is a submission that wgpu has and that is not known to be over. Flights end in the order of their submission, because wgpu has one queue per device.
//!
//! # Who polls, and how
//! A wait on a submission's index returns when the device has finished it, and refuses an index whose submission wgpu did not
//! accept; that is why flights are checked by index. A wait with a time limit may panic in wgpu 30.0 when another thread polls at
//! the same moment, so the poller waits without one, and only for what was submitted. Your own `device.poll` calls are
//! harmless. `buffer.destroy()` blocks until the poller's wait is over, as wgpu has it: drop buffers instead.
//!
//! # Where foreign code runs
//! Trackers are advanced, and their callbacks run, on the polling thread with no lock held, neither wgpu's nor ours. A callback
//! may submit again. A panic in one is logged and does not stop the poller. No lock of ours is held while wgpu runs either,
//! because wgpu runs callbacks of finished work inside a submission.
//!
//! # Loss
//! wgpu has one device-lost callback, and it is the program's: nothing here takes it unless it is told to
//! ([`take_lost_callback`](Gpu::take_lost_callback)). A loss is found by asking: whatever wgpu refuses, the device is looked at before an
//! epoch counts as reached, so that no refused submission counts as done, and while somebody waits it is looked at now and
//! then. The first cause is kept; a program that is told earlier may [report](Gpu::report_loss) it.
//!
//! Flights that the device has finished are still reached; then every axis fails with the cause, once, and is
//! [fenced](Tracker::fence_axis): only the device could use what was to die with its work, and it takes no more. So pools have those
//! blocks back, those of queues once what was to come before their work is over. A buffer that was live then and is released with no
//! other death than [`Unknown`](strandline_core::Death::Unknown) comes back with [`Pool::quiesce`](strandline_core::Pool::quiesce).
//!
//! # On the web
//! There is no thread and nothing to poll: the browser tells of each submission that is done, and everything is settled in a task of its
//! own. What blocks is not there; await the tracker's `wait_async` and [`ReadBack`](crate::ReadBack). An error of wgpu comes
//! later than the call that made it: the axis of a refused submission fails as soon as that is known.
//!
//! # Cost
//! A submission takes a lock twice, for a few instructions; the thread spins briefly and then sleeps while nothing is in flight.

use crate::misuse::Hook;
use crate::poller::{Bell, Poller, Ticket};
use crate::scopes::is_same_device;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use strandline_core::{Axis, Epoch, Failure, Tracker, TrackerError};
use wgpu::{Device, Limits, Queue};

/// Who is told when axes of a device have moved, or ended.
pub(crate) trait Listener: Send + Sync {
    /// Something was reached, or the device is lost.
    fn progress(&self);
}

/// Why the device is gone: the failure of its axes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceLost {
    /// As wgpu says it: destroyed, or unknown.
    pub reason: &'static str,
    /// The driver's words, if it had any.
    pub message: String,
}

impl fmt::Display for DeviceLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the device was lost ({})", self.reason)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl core::error::Error for DeviceLost {}

/// Why a device cannot be watched.
#[derive(Debug)]
#[non_exhaustive]
pub enum GpuError {
    /// The system has no thread to give.
    Thread(std::io::Error),
    /// The tracker refused the axis.
    Tracker(TrackerError),
    /// The device is lost.
    Lost(Failure),
    /// wgpu's validation refused a submission.
    Refused(Failure),
}

impl fmt::Display for GpuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(error) => write!(f, "cannot start the polling thread: {error}"),
            Self::Tracker(error) => error.fmt(f),
            Self::Lost(failure) | Self::Refused(failure) => failure.fmt(f),
        }
    }
}

impl core::error::Error for GpuError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Thread(error) => Some(error),
            Self::Tracker(error) => Some(error),
            Self::Lost(failure) | Self::Refused(failure) => Some(failure.get_ref()),
        }
    }
}

impl From<TrackerError> for GpuError {
    fn from(error: TrackerError) -> Self {
        Self::Tracker(error)
    }
}

/// One axis on the device.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) axis: Axis,
    pub(crate) tracker: Tracker,
    /// The last epoch that was given out.
    pub(crate) last: Epoch,
    /// What the tracker was told.
    pub(crate) settled: Epoch,
    /// The first epochs of its flights, oldest first.
    pub(crate) firsts: VecDeque<Epoch>,
    /// How many of its flights are on their way to wgpu.
    pub(crate) boarding: usize,
    /// Its timeline is gone: it is retired once its flights are over.
    pub(crate) closing: bool,
    /// It is to fail from an epoch on, once it has come to the one before.
    pub(crate) failing: Option<(Epoch, Failure)>,
    /// A queue gives out its epochs, some of them for what others are to do first: it fences the axis itself.
    pub(crate) of_queue: bool,
}

impl Line {
    pub(crate) fn new(axis: Axis, tracker: Tracker, of_queue: bool) -> Self {
        Self {
            axis,
            tracker,
            of_queue,
            last: 0,
            settled: 0,
            firsts: VecDeque::new(),
            boarding: 0,
            closing: false,
            failing: None,
        }
    }

    /// The last epoch that the device has finished, as far as the poller knows.
    pub(crate) fn reached(&self) -> Epoch {
        let over = self.firsts.front().map_or(self.last, |first| first - 1);
        match &self.failing {
            // Of a refused submission nothing is in flight, but nothing of it was done.
            Some((from, _)) => over.min(from - 1),
            None => over,
        }
    }

    /// Why it ends now, with all that it will ever reach reached.
    pub(crate) fn ending(&self) -> Option<&Failure> {
        let (from, failure) = self.failing.as_ref()?;
        let over = self.settled + 1 >= *from || self.closing && self.settled == self.last;
        over.then_some(failure)
    }

    /// What comes at `from` or later will not be reached. Of several causes the one that reaches furthest back counts.
    pub(crate) fn fail(&mut self, from: Epoch, failure: &Failure) {
        // Epochs begin at 1.
        let from = from.max(1);
        if self.failing.as_ref().is_none_or(|(earlier, _)| from < *earlier) {
            self.failing = Some((from, failure.clone()));
        }
    }
}

/// How far a submission has come.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// On its way to wgpu.
    Boarding,
    /// wgpu has it.
    Away(Ticket),
    /// wgpu has nothing of it: it only comes after those before it, or a panic came out of wgpu.
    Void,
}

/// A submission that is not known to be over.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) stage: Stage,
    pub(crate) line: usize,
    /// The first epoch that it has to finish for.
    pub(crate) first: Epoch,
}

/// What the lock of [`Shared`] guards.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Lines that ended leave their place empty.
    pub(crate) lines: Vec<Option<Line>>,
    /// In the order in which their epochs were given out.
    pub(crate) flights: VecDeque<Flight>,
    /// The number of the first flight in the list.
    pub(crate) departed: u64,
    /// Somebody wants the device polled once, mappings for instance.
    pub(crate) kicked: bool,
    /// Lines are to be looked at without a poll.
    pub(crate) moved: bool,
    /// Listeners are to be told although no line moves.
    pub(crate) tell: bool,
    /// Operations that wait for something while perhaps nothing is in flight: a loss must be noticed all the same.
    pub(crate) expecting: usize,
    pub(crate) listeners: Vec<Weak<dyn Listener>>,
}

impl State {
    /// The last epoch of a line up to which wgpu has everything.
    pub(crate) fn issued(&self, position: usize) -> Epoch {
        // Without a line: gone after a loss.
        let Some(Some(line)) = self.lines.get(position) else { return 0 };
        if line.boarding == 0 {
            return line.last;
        }
        let boarding = self
            .flights
            .iter()
            .find(|flight| flight.line == position && matches!(flight.stage, Stage::Boarding));
        boarding.map_or(line.last, |flight| flight.first - 1)
    }

    /// Takes the oldest flight off the list.
    pub(crate) fn drop_first(&mut self) {
        if let Some(flight) = self.flights.pop_front() {
            self.departed += 1;
            if let Some(Some(line)) = self.lines.get_mut(flight.line) {
                line.firsts.pop_front();
            }
        }
    }

    /// A flight by its number; `None` once a loss has swept it away.
    pub(crate) fn flight(&mut self, number: u64) -> Option<&mut Flight> {
        let place = usize::try_from(number.checked_sub(self.departed)?).ok()?;
        self.flights.get_mut(place)
    }
}

/// What the handles and the poller share.
pub(crate) struct Shared {
    pub(crate) device: Device,
    pub(crate) queue: Queue,
    pub(crate) limits: Limits,
    pub(crate) lost: OnceLock<Failure>,
    /// The axes were told of the loss: what the device had finished before has been reached.
    pub(crate) told: AtomicBool,
    /// wgpu would call us.
    pub(crate) watched: Arc<AtomicBool>,
    pub(crate) state: Mutex<State>,
    pub(crate) bell: Bell,
    pub(crate) misuse: Hook,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs with this lock held, so poison means nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has whoever polls look again.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// Has the listeners called on the polling thread.
    pub(crate) fn tell(&self) {
        self.lock().tell = true;
        self.ring();
    }

    /// Keeps the first cause.
    pub(crate) fn lose(&self, lost: DeviceLost) {
        log::warn!("{lost}");
        // Losing twice is one loss.
        let _ = self.lost.set(Failure::new(lost));
    }
}

/// Ends the poller with the last handle.
struct Handle {
    shared: Arc<Shared>,
    poller: Poller,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.poller.end(&self.shared);
    }
}

/// The devices that are watched: one [`Handle`] each.
static DEVICES: Mutex<Vec<Weak<Handle>>> = Mutex::new(Vec::new());

/// A device and its queue, with the thread that polls it. A handle: clones share the one thread, which ends, after what is in
/// flight, with the last of them.
///
/// Bring your own device; [`adapter::open`](crate::adapter::open) makes one with limits as large as the adapter has.
///
/// ```
/// # let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
/// use strandline_host_wgpu::Gpu;
/// let gpu = Gpu::new(device, queue)?;
/// assert!(gpu.lost().is_none());
/// # Ok::<(), strandline_host_wgpu::GpuError>(())
/// ```
#[derive(Clone)]
pub struct Gpu {
    handle: Arc<Handle>,
}

impl Gpu {
    /// Starts to watch a device, or, if it is watched already, gives another handle to the same. The device-lost callback stays the
    /// program's.
    ///
    /// # Errors
    /// [`GpuError::Thread`].
    pub fn new(device: Device, queue: Queue) -> Result<Self, GpuError> {
        let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        // The last handle of another device may be dropped here, which waits for a thread that may come here, too: not under the lock.
        let handles: Vec<_> = devices.iter().filter_map(Weak::upgrade).collect();
        let known = handles.iter().find(|handle| is_same_device(&handle.shared.device, &device));
        let gpu = match known {
            Some(handle) => Ok(Self { handle: handle.clone() }),
            None => Self::watch(device, queue),
        };
        if let Ok(gpu) = &gpu
            && known.is_none()
        {
            devices.retain(|handle| handle.strong_count() > 0);
            devices.push(Arc::downgrade(&gpu.handle));
        }
        drop(devices);
        drop(handles);
        gpu
    }

    fn watch(device: Device, queue: Queue) -> Result<Self, GpuError> {
        let shared = Arc::new(Shared {
            limits: device.limits(),
            device,
            queue,
            lost: OnceLock::new(),
            told: AtomicBool::new(false),
            watched: Arc::default(),
            state: Mutex::default(),
            bell: Bell::default(),
            misuse: Hook::default(),
        });
        let poller = Poller::start(shared.clone()).map_err(GpuError::Thread)?;
        Ok(Self { handle: Arc::new(Handle { shared, poller }) })
    }

    /// Takes wgpu's one device-lost callback, in place of whatever the program has set: a loss of an idle device is then known without a
    /// look, and with the driver's words, unless a submission that wgpu refused told of it first. When somebody sets another afterwards, it is found as without.
    pub fn take_lost_callback(&self) {
        self.shared().watch();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.shared().device
    }

    /// Its queue. What you submit here yourself belongs to no axis until it is
    /// [reported](crate::Timeline::submitted).
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.shared().queue
    }

    /// The device's limits, read once.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared().limits
    }

    /// Why the device is lost, once it is.
    #[must_use]
    pub fn lost(&self) -> Option<&Failure> {
        self.shared().lost.get()
    }

    /// Why the device is lost, once its axes were told: what it had finished before has been reached.
    pub(crate) fn ended(&self) -> Option<&Failure> {
        // Acquire: with the settler's store, so that what was reached is seen by whoever sees this.
        self.lost().filter(|_| self.shared().told.load(Ordering::Acquire))
    }

    /// Why the device is lost; it is asked when nobody has told. Costs a `create_buffer` on a device that is not.
    pub fn find_loss(&self) -> Option<&Failure> {
        self.shared().find_loss()
    }

    /// The cause of what wgpu refused: the loss of the device, if it is lost.
    pub(crate) fn cause(&self, otherwise: Failure) -> Failure {
        self.shared().cause(otherwise)
    }

    /// Tells of a loss that wgpu told somebody else. The first report counts.
    pub fn report_loss(&self, reason: wgpu::DeviceLostReason, message: String) {
        self.shared().report(reason, message);
    }

    /// Submissions that are not known to be over.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared().lock().flights.len()
    }

    /// Has the device polled soon, so that mappings complete although nothing is in flight.
    pub fn kick(&self) {
        self.shared().lock().kicked = true;
        self.shared().ring();
    }

    /// Whether both are one device.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.shared(), other.shared())
    }

    /// Has the listeners called on the polling thread.
    pub(crate) fn tell(&self) {
        self.shared().tell();
    }

    pub(crate) fn listen(&self, listener: Weak<dyn Listener>) {
        self.shared().lock().listeners.push(listener);
    }

    /// Counts operations that wait for something; while there are any the device is looked at now and then.
    pub(crate) fn expect(&self, more: bool) {
        let mut state = self.shared().lock();
        state.expecting =
            if more { state.expecting + 1 } else { state.expecting.saturating_sub(1) };
        drop(state);
        if more {
            self.shared().ring();
        }
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu")
            .field("adapter", &self.device().adapter_info().name)
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}
