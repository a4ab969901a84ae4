//! Files as one more timeline: [`IoAxis`] reads into reservations and writes from them, and each transfer is an epoch.
//!
//! ```text
//!   read_into(reservation, file[range], after W) ─▶ epoch n
//!        │                                            ▲
//!        │ W reached                                  │ 1 … n-1 over, and n: gap-free, whatever ends first
//!        ▼                                            │
//!   proactor: parts in flight ──▶ all bytes there ────┤──▶ callback(Transferred { reservation, result })
//!                              └▶ or not: see below ──┘
//! ```
//!
//! Whoever is ordered after `{axis @ n}` finds the bytes there. A queue can be given work that waits for a tensor that is
//! still on the disk, and memory can be freed with a death on this axis, like with any other queue.
//!
//! # What can go wrong, and what happens then
//! A transfer is of a whole range. What the system does in pieces is put together: a **short** read or write, or
//! an interrupted one, goes on where it ended.
//!
//! | | result | bytes |
//! | --- | --- | --- |
//! | the file ends inside the range | [`TransferError::EndOfFile`] | those before the end were read |
//! | `EIO`, a directory, a descriptor not open for it | [`TransferError::Os`] | those before it |
//! | a full disk, a quota, a limit | [`TransferError::Os`] with `ENOSPC` and the like | those before it were written |
//! | a write that takes no byte | [`TransferError::NothingWritten`] | those before it |
//! | what it waits for will never be | [`TransferError::NeverReady`] | none: it did not begin |
//! | the proactor, the tracker or the I/O axis is gone | [`TransferError::Closed`] | not known |
//!
//! A file is something with offsets: what a pipe or a socket does here is up to the kernel interface.
//!
//! The callback gets the result **and the reservation**, in each of these cases and always: nothing that happens to a
//! file, a proactor or a tracker loses memory. Nothing is done to the bytes of the reservation
//! after that.
//!
//! What happens to the axis is the caller's choice, by [`IoRequest::or_report`]:
//! - [`OnError::FailAxis`], unless said otherwise: all epochs before this one are reached, and then the axis **fails**
//!   with the error as the cause. Nobody who waits for the bytes goes on without them. What was submitted after it
//!   never is reached either: transfers under way come to their own end, others do not begin, and further ones are refused.
//! - [`OnError::Report`]: the **operation** fails, by its result; the epoch is reached all the same. For callers that look
//!   at the result before anyone uses the bytes.
//!
//! # Fixed buffers
//! Reservations in a slab that was [registered](IoAxis::register) are transferred by *fixed* operations where there is
//! io_uring: their pages stay pinned, and no operation looks them up.
//!
//! # The end
//! Dropping the I/O axis lets transfers under way finish; those that still wait for their frontier end with
//! [`TransferError::Closed`]. The axis ends once all are over: retired, or failed where such an end fails it. Nothing
//! blocks.
//!
//! # Cost
//! A lock and an allocation per transfer, and a proactor operation per 4 MiB, eight at once.

mod error;
mod job;
mod load;
mod window;

pub use error::{IoRefusal, Refused, TransferError, Transferred};
pub use load::{LoadError, load};

use crate::MmapBuffer;
use crate::proactor::{Op, OpError, ProactorHandle, SharedFd};
use core::fmt;
use core::ops::Range;
use job::{Done, Job, Progress};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::{
    Axis, Epoch, Failure, Frontier, FrontierRef, Reservation, SlabError, SlabId, SlabMap, Tracker,
    TrackerError, WaitId,
};
use window::Window;

/// Slabs whose memory files are read into: [`MmapSlabProvider`](crate::MmapSlabProvider), or a
/// [cache](crate::CachedSlabs) over it.
pub type IoSlabs = dyn SlabMap<Buffer = MmapBuffer>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

/// What becomes of the axis when a transfer fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It fails, at the transfer's epoch.
    #[default]
    FailAxis,
    /// It goes on: the epoch is reached, and only the transfer's result tells.
    Report,
}

/// Which bytes of which file, and when.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is submitted"]
pub struct IoRequest {
    file: SharedFd,
    range: Range<u64>,
    wait: Frontier,
    on_error: OnError,
}

impl IoRequest {
    /// The bytes `range` of `file`, as soon as possible; an error fails the axis.
    pub fn new(file: impl Into<SharedFd>, range: Range<u64>) -> Self {
        let (file, wait, on_error) = (file.into(), Frontier::new(), OnError::FailAxis);
        Self { file, range, wait, on_error }
    }

    /// Not before `wait` is reached: what a pool said that a reservation's use must be ordered after, or the work that
    /// makes the bytes to be written.
    pub fn after(mut self, wait: FrontierRef<'_>) -> Self {
        self.wait = wait.into();
        self
    }

    /// An error is told by the result alone: [`OnError::Report`].
    pub const fn or_report(mut self) -> Self {
        self.on_error = OnError::Report;
        self
    }
}

#[derive(Default)]
struct State {
    window: Window,
    /// Transfers that wait for their frontier, or did.
    waiting: BTreeMap<Epoch, WaitId>,
    closing: bool,
    retired: bool,
}

struct Inner {
    axis: Axis,
    tracker: Tracker,
    handle: ProactorHandle,
    slabs: Arc<IoSlabs>,
    state: Mutex<State>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs with it locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> Option<Failure> {
        self.lock().window.failure().cloned()
    }

    /// A transfer is over.
    fn over(&self, epoch: Epoch, outcome: Result<(), Failure>) {
        let (step, retire) = {
            let mut state = self.lock();
            state.waiting.remove(&epoch);
            (state.window.close(epoch, outcome), state.retire())
        };
        if let Some(reached) = step.reached {
            self.ended("advancing", self.tracker.advance(self.axis, reached));
        }
        if let Some(failure) = step.failed {
            log::warn!("{} failed: {failure}", self.axis);
            self.ended("failing", self.tracker.fail_axis(self.axis, failure).map(drop));
        }
        if retire {
            self.retire();
        }
    }

    fn retire(&self) {
        // False when it failed before.
        self.ended("retiring", self.tracker.retire_axis(self.axis).map(drop));
    }

    fn ended(&self, doing: &str, result: Result<(), TrackerError>) {
        match result {
            // Somebody else ended the axis: there is nobody left to tell.
            Ok(()) | Err(TrackerError::Ended(_)) => {}
            Err(error) => log::error!("{} {doing}: {error}", self.axis),
        }
    }
}

impl State {
    /// Whether the axis is to be retired now: true once.
    fn retire(&mut self) -> bool {
        let now = self.closing && !self.retired && self.window.is_idle();
        self.retired |= now;
        now
    }
}

/// A timeline of reads and writes of files; see the [module](self).
///
/// ```
/// use std::sync::Arc;
/// use std::sync::mpsc;
/// use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
/// use strandline_core::pool::{PoolHost, Request};
/// use strandline_core::{Acquire, Axis, Death, Frontier, Pool, SlabMap, Tracker};
/// use strandline_host_native::io_axis::{IoAxis, IoRequest};
/// use strandline_host_native::proactor::Proactor;
/// use strandline_host_native::{MmapSlabProvider, wait_frontier};
///
/// let tracker = Tracker::new(1);
/// let slabs = Arc::new(MmapSlabProvider::builder().build()?);
/// let host = PoolHost::new(slabs.clone(), Arc::new(tracker.clone()));
/// let pool = TlsfPool::new(host, TlsfPoolConfig::default())?;
/// let proactor = Proactor::builder().spawn()?;
/// let axis = Axis::host(1);
/// let io = IoAxis::new(&tracker, axis, proactor.handle().clone(), slabs.clone())?;
///
/// let Acquire::Ready { reservation, .. } = pool.acquire(&Request::new(3).or_grow())? else {
///     panic!("an empty pool that may grow has room");
/// };
/// let bytes = slabs.map(reservation.slab(), reservation.offset(), 3)?;
/// # let path = std::env::temp_dir().join(format!("strandline-doc-{}", std::process::id()));
/// # std::fs::write(&path, b"tides")?;
/// let request = IoRequest::new(std::fs::File::open(&path)?, 1..4);
/// let (sender, over) = mpsc::channel();
/// let epoch = io.read_into(reservation, request, move |over| sender.send(over).unwrap())?;
///
/// wait_frontier(&tracker, Frontier::from_entry(axis, epoch).as_ref(), None)?;
/// let mut read = [0; 3];
/// bytes.read(0, &mut read)?;
/// assert_eq!(&read, b"ide");
/// let over = over.recv()?;
/// assert_eq!(over.result.unwrap(), 3);
/// pool.release(over.reservation, Death::Idle)?;
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IoAxis {
    inner: Arc<Inner>,
}

impl IoAxis {
    /// Registers `axis` with `tracker`: its epochs are the transfers given to this value. Reservations are of pools over
    /// `slabs`; the proactor behind `handle` does the work, and has to be polled.
    ///
    /// # Errors
    /// The axis cannot be registered.
    pub fn new(
        tracker: &Tracker,
        axis: Axis,
        handle: ProactorHandle,
        slabs: Arc<IoSlabs>,
    ) -> Result<Self, TrackerError> {
        tracker.register(axis)?;
        let (tracker, state) = (tracker.clone(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { axis, tracker, handle, slabs, state }) })
    }

    /// The axis.
    #[must_use]
    pub fn axis(&self) -> Axis {
        self.inner.axis
    }

    /// The epoch of the last transfer, 0 before the first.
    #[must_use]
    pub fn submitted(&self) -> Epoch {
        self.inner.lock().window.next() - 1
    }

    /// Fills the reservation, from its start, with the bytes of a file. Returns the epoch that tells when they are there.
    /// `done` gets the reservation back when the transfer is over, on the thread that polls the proactor; it must
    /// not block. It runs before the epoch is reached, so it may free the memory with a death at that epoch.
    ///
    /// # Errors
    /// [`Refused`]: nothing was submitted, and the reservation comes back here.
    pub fn read_into(
        &self,
        reservation: Reservation,
        request: IoRequest,
        done: impl FnOnce(Transferred) + Send + 'static,
    ) -> Result<Epoch, Refused> {
        self.submit(Direction::Read, reservation, request, Box::new(done))
    }

    /// Writes the bytes of the reservation, from its start, to a range of a file; otherwise as
    /// [`read_into`](Self::read_into). That the bytes are on the disk is not promised: that is `fsync`'s.
    ///
    /// # Errors
    /// [`Refused`]: nothing was submitted, and the reservation comes back here.
    pub fn write_from(
        &self,
        reservation: Reservation,
        request: IoRequest,
        done: impl FnOnce(Transferred) + Send + 'static,
    ) -> Result<Epoch, Refused> {
        self.submit(Direction::Write, reservation, request, Box::new(done))
    }

    fn submit(
        &self,
        direction: Direction,
        reservation: Reservation,
        request: IoRequest,
        done: Done,
    ) -> Result<Epoch, Refused> {
        let inner = &self.inner;
        let IoRequest { file, range, wait, on_error } = request;
        let buffer = match self.check(&reservation, &range, wait.as_ref()) {
            Ok(buffer) => buffer,
            Err(why) => return Err(Refused { reservation, why }),
        };
        let epoch = {
            let mut state = inner.lock();
            let epoch = state.window.next();
            let why = if let Some(failure) = state.window.failure() {
                Some(IoRefusal::Failed(failure.clone()))
            } else if wait.get(inner.axis) >= epoch {
                Some(IoRefusal::WaitsForItself { epoch })
            } else {
                None
            };
            if let Some(why) = why {
                return Err(Refused { reservation, why });
            }
            state.window.open()
        };
        let job = Arc::new(Job {
            inner: inner.clone(),
            epoch,
            direction,
            file,
            offset: range.start,
            buffer,
            on_error,
            progress: Mutex::new(Progress::default()),
            back: Mutex::new(Some((reservation, done))),
        });
        if wait.as_ref().is_satisfied(&inner.tracker) {
            job.go(Ok(()));
        } else {
            self.wait(&job, &wait);
        }
        Ok(epoch)
    }

    fn wait(&self, job: &Arc<Job>, wait: &Frontier) {
        let waits = {
            let job = job.clone();
            move |result| job.go(result)
        };
        match self.inner.tracker.wait(wait.as_ref(), waits) {
            // The job is held here, so it is not over: its end takes this out again.
            Ok(id) => drop(self.inner.lock().waiting.insert(job.epoch, id)),
            // All axes were registered a moment ago, and they stay so. Dropped, it comes to its end.
            Err(error) => log::error!("{}: {error}", self.inner.axis),
        }
    }

    /// What can be said before an epoch is given out: the memory, or why not.
    fn check(
        &self,
        reservation: &Reservation,
        range: &Range<u64>,
        wait: FrontierRef<'_>,
    ) -> Result<MmapBuffer, IoRefusal> {
        let (inner, size) = (&self.inner, reservation.size());
        let len = range.end.checked_sub(range.start).filter(|len| *len <= size);
        // Offsets of files are signed.
        let len = len.filter(|_| i64::try_from(range.end).is_ok());
        let Some(len) = len else { return Err(IoRefusal::Range { range: range.clone(), size }) };
        for entry in wait.entries() {
            inner.tracker.end_of(entry.axis).map_err(IoRefusal::Tracker)?;
        }
        inner.slabs.map(reservation.slab(), reservation.offset(), len).map_err(IoRefusal::Slab)
    }

    /// Registers a slab's memory with the kernel: transfers of reservations in it are fixed from then on. `done` hears
    /// what came of it, on the thread that polls: a refusal (the limit of locked memory) costs nothing but that. Its
    /// memory stays mapped until it is [unregistered](Self::unregister), also when the slab is released.
    ///
    /// # Errors
    /// [`SlabError::UnknownSlab`]; `done` is dropped.
    pub fn register(
        &self,
        slab: SlabId,
        size: u64,
        done: impl FnOnce(Result<(), OpError>) + Send + 'static,
    ) -> Result<(), SlabError> {
        self.submit_fixed(slab, size, Op::register_buffer, done)
    }

    /// Takes [`register`](Self::register) back.
    ///
    /// # Errors
    /// [`SlabError::UnknownSlab`]; `done` is dropped. So it must come before the slab is released.
    pub fn unregister(
        &self,
        slab: SlabId,
        size: u64,
        done: impl FnOnce(Result<(), OpError>) + Send + 'static,
    ) -> Result<(), SlabError> {
        self.submit_fixed(slab, size, Op::unregister_buffer, done)
    }

    fn submit_fixed(
        &self,
        slab: SlabId,
        size: u64,
        op: fn(MmapBuffer) -> Op,
        done: impl FnOnce(Result<(), OpError>) + Send + 'static,
    ) -> Result<(), SlabError> {
        let buffer = self.inner.slabs.map(slab, 0, size)?;
        self.inner.handle.submit(op(buffer), move |over| done(over.result.map(drop)));
        Ok(())
    }
}

/// Lets what is under way finish, cancels what still waits, and retires the axis after the last.
impl Drop for IoAxis {
    fn drop(&mut self) {
        let waiting = core::mem::take(&mut self.inner.lock().waiting);
        for id in waiting.into_values() {
            // The job ends with its callback, here.
            self.inner.tracker.cancel(id);
        }
        let retire = {
            let mut state = self.inner.lock();
            state.closing = true;
            state.retire()
        };
        if retire {
            self.inner.retire();
        }
    }
}

impl fmt::Debug for IoAxis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = self.inner.lock().window.next();
        f.debug_struct("IoAxis")
            .field("axis", &self.inner.axis)
            .field("submitted", &(next - 1))
            .finish_non_exhaustive()
    }
}
