//! Queues of a GPU: memory allocated and freed in the order of the work, and the work itself.
//!
//! ```text
//!   alloca ─▶ epoch 1   submit([fill, dispatch]) ─▶ epoch 2   dealloca ─▶ epoch 3        any thread
//!        │                     │                       │
//!        ▼                     ▼                       ▼
//!   core's Queues decide the memory; a line per queue keeps the order: 1 │ 2 │ 3
//!        │ head: its memory is there, what it waits for is reached or, on this device, ahead of it
//!        ▼
//!   pump: encode, one wgpu submission for a run of epochs ─▶ Timeline ─▶ poller ─▶ tracker
//! ```
//!
//! A [`QueueSet`] holds the queues that share pools; they may be of several devices. Each [`Queue`] is an axis, and a logical
//! stream: its operations run in the order in which they came. There is no default pool: every alloca names one.
//!
//! # Waiting
//! A submission names a frontier to wait for. What is on the same device only has to be handed to wgpu first, because wgpu runs
//! submissions in order; so streams of one device never stall for each other's completion. What is on another device or
//! the host is waited for by parking: the line stays, other lines go on, no thread blocks.
//!
//! # Who does the work
//! Whoever calls, or the polling thread, becomes the *pump*, unless another thread is: then that one goes on with it. The pump holds no lock
//! while it encodes and submits, so callbacks (wgpu's, the tracker's) may use queues; they only never become a second pump.
//!
//! # Failure
//! - What wgpu's validation would refuse is refused at the call, with an error value, and nothing has changed.
//! - A wait that can never be reached, or an error of wgpu all the same, fails the queue's axis with the cause, from that operation
//!   on, and what depends on those in other queues. What comes before goes on; the axis ends once that is done. Memory goes
//!   back to the pools as core has it: with an unknown death where the device may still use it, so that what reads a buffer before a
//!   dealloca that fails still gets its bytes.
//! - Loss of the device fails all its queues, once, with the loss as the cause, whoever noticed it first; queues of other
//!   devices go on.
//! - What uses a buffer after its dealloca is refused at the call.
//!
//! # Standing still
//! [`Queue::parked`] names what each operation that wgpu does not have waits for.
//!
//! # Cost
//! An operation is core's and a step of the pump; what is submitted while the pump is busy goes out together.

use crate::command::{Command, Transient};
use crate::gpu::{Gpu, GpuError};
use crate::pools::GpuPools;
use crate::slice::{GpuSlice, SliceError};
use crate::staging::{ReadBack, ReadSink, StagingConfig};
use core::fmt;
use std::sync::Arc;
use strandline_core::pool::PoolId;
use strandline_core::queue::{BufferId, Parked};
use strandline_core::{
    Axis, Epoch, Failure, Frontier, FrontierRef, PoolStats, Request, Tracker, TrackerError,
    WaitError,
};

mod buffers;
mod exec;
mod groups;
mod pump;
mod ready;
mod set;
mod standing;
mod state;

pub use standing::{Standing, WaitsFor};

use set::SetInner;
use state::Kind;

/// Offsets of transient buffers are multiples of this many bytes: every binding's.
pub const ALIGNMENT: u64 = 256;

/// Why an operation was refused. Nothing has changed then.
#[derive(Debug)]
#[non_exhaustive]
pub enum QueueError {
    /// Core's queues refused it.
    Queue(strandline_core::QueueError),
    /// The device or its axis.
    Gpu(GpuError),
    /// An axis of the wait frontier is not registered.
    Tracker(TrackerError),
    /// A staging pool cannot be made so.
    Staging(strandline_core::PoolError),
    /// The fill kernel does not compile on this device.
    Kernel(crate::kernel::KernelError),
    /// A range cannot be used so.
    Slice(SliceError),
    /// The buffer, or a pool, is of another device.
    WrongDevice,
    /// The queues have this device already.
    KnownDevice,
    /// The buffer was never given out here, or has ended.
    UnknownBuffer(BufferId),
    /// What is copied and where it goes have different sizes, in bytes.
    Sizes {
        /// Of the source.
        source: u64,
        /// Of the target.
        target: u64,
    },
    /// A kernel with as many bindings was given another number of ranges.
    Bindings {
        /// What the kernel has.
        needed: usize,
        /// What it was given.
        given: usize,
    },
    /// A dispatch of no workgroups, or of more than the device has.
    Workgroups {
        /// As given.
        groups: [u32; 3],
        /// The most in each dimension.
        max: u32,
    },
    /// One submission stages more than the ring holds: make it several, or the ring larger.
    StagingTooSmall {
        /// Bytes needed.
        needed: u64,
        /// Bytes of the ring.
        capacity: u64,
    },
    /// The queue has failed; nothing runs on it any more.
    Failed(Failure),
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(error) => error.fmt(f),
            Self::Gpu(error) => error.fmt(f),
            Self::Tracker(error) => error.fmt(f),
            Self::Staging(error) => write!(f, "staging: {error}"),
            Self::Kernel(error) => error.fmt(f),
            Self::Slice(error) => error.fmt(f),
            Self::WrongDevice => f.write_str("a buffer or pool of another device"),
            Self::KnownDevice => f.write_str("the queues have this device already"),
            Self::UnknownBuffer(buffer) => {
                write!(f, "{buffer:?} is not a buffer of these queues, or not any more")
            }
            Self::Sizes { source, target } => {
                write!(f, "{source} bytes do not fill {target} bytes exactly")
            }
            Self::Bindings { needed, given } => {
                write!(f, "a kernel of {needed} bindings was given {given} ranges")
            }
            Self::Workgroups { groups, max } => {
                write!(f, "{groups:?} workgroups; each number must be from 1 to {max}")
            }
            Self::StagingTooSmall { needed, capacity } => {
                write!(f, "one submission stages {needed} bytes, the ring holds {capacity}")
            }
            Self::Failed(failure) => write!(f, "the queue has failed: {failure}"),
        }
    }
}

impl core::error::Error for QueueError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Queue(error) => Some(error),
            Self::Gpu(error) => Some(error),
            Self::Tracker(error) => Some(error),
            Self::Staging(error) => Some(error),
            Self::Kernel(error) => Some(error),
            Self::Slice(error) => Some(error),
            Self::Failed(failure) => Some(failure.get_ref()),
            _ => None,
        }
    }
}

impl From<strandline_core::QueueError> for QueueError {
    fn from(error: strandline_core::QueueError) -> Self {
        Self::Queue(error)
    }
}

impl From<GpuError> for QueueError {
    fn from(error: GpuError) -> Self {
        Self::Gpu(error)
    }
}

impl From<TrackerError> for QueueError {
    fn from(error: TrackerError) -> Self {
        Self::Tracker(error)
    }
}

impl From<SliceError> for QueueError {
    fn from(error: SliceError) -> Self {
        Self::Slice(error)
    }
}

/// How much a device's staging pools hold and have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StagingStats {
    /// Of the upload ring.
    pub upload: PoolStats,
    /// Of the readback ring.
    pub readback: PoolStats,
}

/// Queues that share pools. A handle: clones, and the queues opened here, share the one set.
#[derive(Clone)]
pub struct QueueSet {
    inner: Arc<SetInner>,
}

impl QueueSet {
    /// No queue yet. `tracker` must be the progress that the pools were built on.
    #[must_use]
    pub fn new(pools: GpuPools, tracker: &Tracker) -> Self {
        Self { inner: SetInner::new(pools, tracker) }
    }

    /// The pools.
    #[must_use]
    pub fn pools(&self) -> &GpuPools {
        self.inner.pools()
    }

    /// Who knows how far the queues have come.
    #[must_use]
    pub fn tracker(&self) -> &Tracker {
        self.inner.tracker()
    }

    /// Gives a device its staging rings and its host axis. A device whose queues are opened without gets the default:
    /// [`StagingConfig::default`] and host context `0x57_0000 + 256 × device + queue` of the first queue's session and machine.
    ///
    /// # Errors
    /// [`QueueError`]; [`QueueError::KnownDevice`] for a device that is here already.
    pub fn add_device(
        &self,
        gpu: &Gpu,
        host_axis: Axis,
        staging: StagingConfig,
    ) -> Result<(), QueueError> {
        self.inner.add_device(gpu, host_axis, staging)
    }

    /// Opens a queue of a device: registers `axis`, whose epochs are given out here from now on.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn open(&self, gpu: &Gpu, axis: Axis) -> Result<Queue, QueueError> {
        let line = self.inner.open(gpu, axis)?;
        Ok(Queue { inner: self.inner.clone(), line, axis, gpu: gpu.clone() })
    }

    /// Looks whether something can go on. Progress of the devices here and whatever a wait names is noticed without; memory that others
    /// return to the pools, or axes that only freed memory waits for, are not.
    pub fn poll(&self) {
        self.inner.pump();
    }

    /// Pools with allocas that wait for memory.
    #[must_use]
    pub fn parked(&self) -> Vec<Parked> {
        self.inner.parked()
    }

    /// Gives a buffer up that may be waiting for memory for good: it fails, and so does each queue that uses it, from that operation on.
    ///
    /// # Errors
    /// [`QueueError::Queue`].
    pub fn abandon(&self, buffer: Transient) -> Result<(), QueueError> {
        self.inner.abandon(buffer)
    }

    /// The counters of a device's staging pools; `None` for a device that is not here.
    #[must_use]
    pub fn staging_stats(&self, gpu: &Gpu) -> Option<StagingStats> {
        self.inner.staging_stats(gpu)
    }
}

impl fmt::Debug for QueueSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueSet").field("inner", &self.inner).finish()
    }
}

pub(crate) fn failure_of(error: WaitError) -> Failure {
    match error {
        WaitError::Failed { failure, .. } => failure,
        error => Failure::new(error),
    }
}

/// An in-order queue of a device; see the [module](self). A handle: clones are the one queue.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<SetInner>,
    line: usize,
    axis: Axis,
    gpu: Gpu,
}

impl Queue {
    /// The axis whose epochs are this queue's operations.
    #[must_use]
    pub const fn axis(&self) -> Axis {
        self.axis
    }

    /// The device.
    #[must_use]
    pub const fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The queues that it shares pools with.
    #[must_use]
    pub fn set(&self) -> QueueSet {
        QueueSet { inner: self.inner.clone() }
    }

    /// Everything submitted here so far: what another queue waits for to come after it.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        match self.inner.submitted(self.axis) {
            0 => Frontier::new(),
            epoch => Frontier::from_entry(self.axis, epoch),
        }
    }

    /// Operations that wgpu does not have yet; [`parked`](Self::parked) says why.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inner.waiting(self.line)
    }

    /// Allocates `request.size` bytes of `pool`, rounded up to 4, in the order of this queue, after `request.frontier`. The buffer can
    /// be named at once. Its memory comes when the pool has it; until then what is submitted behind waits here.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn alloca(
        &self,
        pool: PoolId,
        request: &Request<'_>,
    ) -> Result<(Transient, Epoch), QueueError> {
        let (gpu, _) =
            self.inner.pools().home(pool).ok_or(strandline_core::QueueError::UnknownPool(pool))?;
        if !gpu.is_same(&self.gpu) {
            return Err(QueueError::WrongDevice);
        }
        let mut request = *request;
        // A size that cannot be rounded is too large for any pool, which says so.
        request.size = request.size.checked_next_multiple_of(4).unwrap_or(request.size);
        if request.alignment.is_power_of_two() {
            request.alignment = request.alignment.max(ALIGNMENT);
        }
        self.check_wait(request.frontier)?;
        self.inner.alloca(self.line, self.axis, pool, &request)
    }

    /// Ends a buffer in the order of this queue, after `wait`, which must cover its uses on other queues.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn dealloca(&self, buffer: Transient, wait: FrontierRef<'_>) -> Result<Epoch, QueueError> {
        self.check_wait(wait)?;
        self.inner.dealloca(self.line, self.axis, buffer, wait)
    }

    /// Has the commands run, in order, after `wait` and everything submitted here before; returns the epoch that tells when
    /// they are done.
    ///
    /// # Errors
    /// [`QueueError`]; the commands are dropped then.
    pub fn submit(
        &self,
        wait: FrontierRef<'_>,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<Epoch, QueueError> {
        self.check_wait(wait)?;
        let mut list = self.inner.blank();
        list.extend(commands);
        let commands = list;
        let (mut upload, mut readback) = (0_u64, 0_u64);
        for command in &commands {
            command.check(&self.gpu, self.inner.pools())?;
            let (up, back) = command.staging();
            upload = upload.saturating_add(up);
            readback = readback.saturating_add(back);
        }
        self.inner.check_staging(&self.gpu, upload, readback)?;
        self.inner.work(self.line, self.axis, wait, Kind::Work { commands, upload, readback })
    }

    /// Reads a range back, after `wait` and everything submitted here before.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn read(
        &self,
        wait: FrontierRef<'_>,
        source: impl Into<crate::command::BufferRange>,
    ) -> Result<ReadBack, QueueError> {
        let source = source.into();
        let len = usize::try_from(source.len()).map_err(|_| SliceError::Empty);
        // Checked before the bytes are made room for.
        let capacity = self.inner.readback_capacity(&self.gpu)?;
        if source.len() > capacity {
            return Err(QueueError::StagingTooSmall { needed: source.len(), capacity });
        }
        let (sink, read) = ReadSink::new(len?);
        self.submit(wait, [Command::read(source, sink)])?;
        Ok(read)
    }

    /// Takes a submission of your own, which wgpu has already, into the order of this queue: its epoch is reached once that and
    /// everything before it here are done.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn submitted(&self, index: wgpu::SubmissionIndex) -> Result<Epoch, QueueError> {
        self.inner.work(self.line, self.axis, FrontierRef::EMPTY, Kind::Foreign(Some(index)))
    }

    /// Why nothing goes on: the operations that wgpu does not have yet, and what each waits for. A snapshot, for people and logs.
    #[must_use]
    pub fn parked(&self) -> Vec<Standing> {
        self.inner.standing(self.line)
    }

    /// Where a buffer's memory is; `None` while it waits for it, when it [never will](Self::failure_of) have any, and after its
    /// end.
    #[must_use]
    pub fn slice_of(&self, buffer: Transient) -> Option<GpuSlice> {
        self.inner.slice_of(buffer)
    }

    /// Why a buffer never will have memory; `None` for one that has it, waits for it, or has ended.
    #[must_use]
    pub fn failure_of(&self, buffer: Transient) -> Option<Failure> {
        self.inner.failure_of(buffer)
    }

    /// Every axis of the wait must be known, or it would be waited for in vain.
    fn check_wait(&self, wait: FrontierRef<'_>) -> Result<(), QueueError> {
        for entry in wait.entries() {
            self.inner.tracker().end_of(entry.axis)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("axis", &self.axis)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}
