//! In place of `device.create_buffer` for buffers that live for one submission: [`Transients`].
//!
//! ```text
//!   let mut frame = transients.frame();
//!   frame.create_buffer(&descriptor) ─▶ GpuSlice      bytes of frames that wgpu has already
//!   … record, bind, queue.write_buffer …
//!   frame.submit([commands])         ─▶ epoch n       its bytes die at n: the next frame may have them
//! ```
//!
//! You keep your device, your queue, your encoders and your pipelines.
//!
//! # Why this is safe to write to
//! A `queue.write_buffer` lands at the start of the next submission, before everything that is being recorded. So a frame is
//! only given bytes of frames that wgpu *has*, never its own or those of another that is still being recorded: what was used
//! earlier in an encoder is never handed to a write that lands before it.
//!
//! # Cost
//! A `create_buffer` here is an acquire and a push; no wgpu object is made once the pools are as large as two frames need, and then a frame
//! allocates nothing on the host either, but for what wgpu does.

use crate::class::UsageClass;
use crate::gpu::{Gpu, GpuError};
use crate::pools::GpuPools;
use crate::queue::ALIGNMENT;
use crate::slab::WgpuSlabProvider;
use crate::slice::GpuSlice;
use crate::timeline::Timeline;
use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::offset::tlsf::Config;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{PoolHost, PoolStats};
use strandline_core::pool_set::{Need, PoolSetError, Registration, SetAcquire};
use strandline_core::slab::Trim;
use strandline_core::{
    Acquire, Axis, Death, Entry, Epoch, Failure, FrontierRef, PoolError, Request, Reservation,
    SlabError, Tracker,
};
use wgpu::{BufferDescriptor, BufferUsages, CommandBuffer, SubmissionIndex};

/// Why there is no transient buffer.
#[derive(Debug)]
#[non_exhaustive]
pub enum TransientError {
    /// No one buffer may have all of these uses: mapping, or written together with only read.
    Usages(BufferUsages),
    /// Mapped at creation: write it with `queue.write_buffer` instead.
    Mapped,
    /// The pools refused.
    Pool(PoolError),
    /// They could not be put together.
    Set(PoolSetError),
    /// A provider does not know its own slab.
    Slab(SlabError),
    /// The device has no memory left.
    OutOfMemory {
        /// What was asked for, in bytes.
        size: u64,
    },
    /// The device.
    Gpu(GpuError),
}

impl fmt::Display for TransientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usages(usages) => write!(f, "a transient buffer cannot be all of {usages:?}"),
            Self::Mapped => f.write_str("a transient buffer cannot be mapped at creation"),
            Self::Pool(error) => error.fmt(f),
            Self::Set(error) => error.fmt(f),
            Self::Slab(error) => error.fmt(f),
            Self::OutOfMemory { size } => write!(f, "the device has no {size} bytes left"),
            Self::Gpu(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TransientError {}

impl From<PoolError> for TransientError {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<GpuError> for TransientError {
    fn from(error: GpuError) -> Self {
        Self::Gpu(error)
    }
}

/// The class whose buffers have all of these uses; copies go with every class.
///
/// ```
/// use strandline_host_wgpu::{UsageClass, transient::class_of};
/// use wgpu::BufferUsages as U;
///
/// assert_eq!(class_of(U::STORAGE | U::COPY_DST), Some(UsageClass::Storage));
/// assert_eq!(class_of(U::UNIFORM | U::COPY_DST), Some(UsageClass::Constant));
/// assert_eq!(class_of(U::INDIRECT), Some(UsageClass::Geometry));
/// assert_eq!(class_of(U::STORAGE | U::INDIRECT), None);
/// ```
#[must_use]
pub fn class_of(usages: BufferUsages) -> Option<UsageClass> {
    // Storage before constant: a storage buffer may be written unless it is a uniform too.
    [UsageClass::Storage, UsageClass::Constant, UsageClass::Geometry]
        .into_iter()
        .find(|class| class.buffer_usages().contains(usages))
}

/// The most empty lists of reservations that are kept for later frames.
const MOST_LISTS: usize = 64;

#[derive(Debug)]
struct Inner {
    timeline: Timeline,
    pools: GpuPools,
    /// Empty lists of frames that have ended.
    lists: Mutex<Vec<Vec<Reservation>>>,
}

impl Inner {
    fn lists(&self) -> MutexGuard<'_, Vec<Vec<Reservation>>> {
        // Nothing panics with this lock held.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source of buffers that live for one submission. A handle: clones share the one.
///
/// ```
/// # let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
/// use strandline_host_wgpu::{BindingKind, Gpu, Transients};
///
/// let gpu = Gpu::new(device.clone(), queue.clone())?;
/// let transients = Transients::new(&gpu, 64 << 20)?;
///
/// let mut frame = transients.frame();
/// let sums = frame.create_buffer(&wgpu::BufferDescriptor {
///     label: Some("sums"),
///     size: 4096,
///     usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
///     mapped_at_creation: false,
/// })?;
/// queue.write_buffer(sums.buffer(), sums.offset(), &[0; 4096]);
/// let _binding = sums.binding(BindingKind::Storage)?;
/// let encoder = device.create_command_encoder(&Default::default());
/// frame.submit([encoder.finish()])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Transients {
    inner: Arc<Inner>,
}

impl Transients {
    /// Pools of `slab_size` bytes a slab for each class, over a device, on an axis of their own.
    ///
    /// # Errors
    /// [`TransientError::Gpu`], or [`TransientError::Pool`] for a slab size that cannot be.
    pub fn new(gpu: &Gpu, slab_size: u64) -> Result<Self, TransientError> {
        Self::with_axis(gpu, slab_size, &Tracker::new(1), Axis::queue(0, 0, 0, 0))
    }

    /// The same, as an axis of a tracker that others use too.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_axis(
        gpu: &Gpu,
        slab_size: u64,
        tracker: &Tracker,
        axis: Axis,
    ) -> Result<Self, TransientError> {
        let mut pools = GpuPools::new();
        for class in [UsageClass::Storage, UsageClass::Constant, UsageClass::Geometry] {
            let provider = Arc::new(WgpuSlabProvider::new(gpu, class));
            let host = PoolHost::new(provider.clone(), Arc::new(tracker.clone()));
            let config = TlsfPoolConfig {
                offsets: Config { granule: ALIGNMENT, ..Config::default() },
                growth: Growth::slabs_of(slab_size),
                ..TlsfPoolConfig::default()
            };
            let pool = Arc::new(TlsfPool::new(host, config)?);
            pools.add(pool, provider, Registration::new()).map_err(TransientError::Set)?;
        }
        let timeline = Timeline::new(gpu, tracker, axis)?;
        Ok(Self { inner: Arc::new(Inner { timeline, pools, lists: Mutex::default() }) })
    }

    /// The axis of the frames: its epochs are their submissions.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.inner.timeline
    }

    /// The pools, one for each class.
    #[must_use]
    pub fn pools(&self) -> &GpuPools {
        &self.inner.pools
    }

    /// The sums of the pools' counters.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.inner.pools.set().stats().pools
    }

    /// Destroys slabs that nothing lives in; returns the bytes.
    ///
    /// # Errors
    /// [`TransientError::Pool`].
    pub fn trim(&self) -> Result<u64, TransientError> {
        Ok(self.inner.pools.set().trim(Trim::All)?)
    }

    /// Begins a frame: what is recorded together and submitted at once. Several may be open, on several threads.
    pub fn frame(&self) -> Frame {
        let reservations = self.inner.lists().pop().unwrap_or_default();
        Frame { inner: self.inner.clone(), reservations }
    }
}

/// Buffers that are used by one submission, and end with it. One that is dropped was never submitted: its bytes are free again as
/// if they had never been taken.
#[derive(Debug)]
#[must_use = "a frame is submitted, or its buffers are given back"]
pub struct Frame {
    inner: Arc<Inner>,
    reservations: Vec<Reservation>,
}

impl Frame {
    /// A buffer for this frame, as `device.create_buffer` would make it, but as a slice: use its offset. What it holds is
    /// whatever was there, not zeros.
    ///
    /// # Errors
    /// [`TransientError`].
    pub fn create_buffer(
        &mut self,
        descriptor: &BufferDescriptor<'_>,
    ) -> Result<GpuSlice, TransientError> {
        if descriptor.mapped_at_creation {
            return Err(TransientError::Mapped);
        }
        let class = class_of(descriptor.usage).ok_or(TransientError::Usages(descriptor.usage))?;
        self.create(class, descriptor.size)
    }

    /// `size` bytes of a class, rounded up to 4, where every binding may start.
    ///
    /// # Errors
    /// [`TransientError`].
    pub fn create(&mut self, class: UsageClass, size: u64) -> Result<GpuSlice, TransientError> {
        // A size that cannot be rounded is too large for any pool, which says so.
        let size = size.checked_next_multiple_of(4).unwrap_or(size);
        let issued = self.inner.timeline.frontier();
        let request = Request::new(size).aligned(ALIGNMENT).after(issued.as_ref()).or_grow();
        let need = Need::new(size).used_for(class.usage());
        match self.inner.pools.set().acquire(&need, &request)? {
            SetAcquire::Routed { answer: Acquire::Ready { reservation, .. }, .. } => {
                let slice = self.inner.pools.slice(&reservation);
                self.reservations.push(reservation);
                slice.map_err(TransientError::Slab)
            }
            SetAcquire::Routed { answer: Acquire::AfterWait { reservation, .. }, .. } => {
                // A wait was not permitted.
                drop(self.inner.pools.set().cancel(reservation));
                Err(TransientError::OutOfMemory { size })
            }
            SetAcquire::Routed { .. } => Err(TransientError::OutOfMemory { size }),
            SetAcquire::NoMatch(_) => {
                let max = self.inner.timeline.gpu().limits().max_buffer_size;
                Err(TransientError::Pool(PoolError::TooLarge { size, max }))
            }
        }
    }

    /// Submits, and returns the epoch at which the device is done. The frame's buffers end then; who comes next may have
    /// them at once.
    ///
    /// # Errors
    /// [`GpuError::Lost`].
    pub fn submit(
        mut self,
        commands: impl IntoIterator<Item = CommandBuffer>,
    ) -> Result<Epoch, GpuError> {
        let epoch = self.inner.timeline.submit(commands)?;
        self.end(epoch);
        Ok(epoch)
    }

    /// The same for a submission that you made yourself, with everything of this frame in it.
    ///
    /// # Errors
    /// [`GpuError::Lost`].
    pub fn submitted(mut self, index: SubmissionIndex) -> Result<Epoch, GpuError> {
        let epoch = self.inner.timeline.submitted(index)?;
        self.end(epoch);
        Ok(epoch)
    }

    fn end(&mut self, epoch: Epoch) {
        let death = Entry::new(self.inner.timeline.axis(), epoch);
        for reservation in self.reservations.drain(..) {
            // The set gave it out, so it takes it back.
            let death = Death::After(FrontierRef::single(&death));
            drop(self.inner.pools.set().release(reservation, death));
        }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        for reservation in self.reservations.drain(..) {
            drop(self.inner.pools.set().cancel(reservation));
        }
        let mut lists = self.inner.lists();
        if lists.len() < MOST_LISTS {
            lists.push(core::mem::take(&mut self.reservations));
        }
    }
}

/// For callers that keep failures.
impl From<TransientError> for Failure {
    fn from(error: TransientError) -> Self {
        Self::new(error)
    }
}
