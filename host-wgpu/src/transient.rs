//! In place of `device.create_buffer` for buffers that live for one submission: [`Transients`].
//!
//! ```text
//!   let mut frame = transients.frame();
//!   frame.create_buffer(&descriptor) ─▶ GpuSlice      bytes of frames that wgpu has already
//!   frame.upload(usages, bytes)      ─▶ GpuSlice      written before the frame's commands run, all by one copy
//!   … record, bind, slice.write(&queue, …) …
//!   frame.submit([commands])         ─▶ epoch n       its bytes die at n: the next frame may have them
//! ```
//!
//! You keep your device, your queue, your encoders and your pipelines.
//!
//! # Which buffer
//! ```text
//!   STORAGE, QUERY_RESOLVE, only copies, mixed uses, large      a buffer of its own     any binding, as create_buffer's
//!   UNIFORM                                                     a part of a slab of the class constant
//!   VERTEX, INDEX, INDIRECT                                     a part of a slab of the class geometry
//! ```
//! wgpu checks the use of whole buffers, so storage that is read in a dispatch must not share one with storage that the dispatch writes.
//! A program that binds all its storage `read_write` may share: `frame.create(UsageClass::Storage, …)`.
//!
//! # Why this is safe to write to
//! A `queue.write_buffer` lands at the start of the next submission, before everything that is being recorded. So a frame is
//! only given bytes of frames that wgpu *has*, never its own or those of another that is still being recorded: what was used
//! earlier in an encoder is never handed to a write that lands before it. Bytes of a frame that was dropped without a submission are given to
//! nobody, because what was recorded with them may be submitted later.
//!
//! # Cost
//! A `create_buffer` here is a lock and a push; no wgpu object is made once there are as many as a frame needs, and then a frame
//! allocates nothing on the host either, but for what wgpu does and for labels. What no frame needs for [some
//! submissions](TransientsConfig::retain) is given back.

use crate::class::UsageClass;
use crate::gpu::Gpu;
use crate::poller;
use crate::pools::GpuPools;
use crate::queue::ALIGNMENT;
use crate::slab::WgpuSlabProvider;
use crate::timeline::Timeline;
use crate::upload::UploadRing;
use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::offset::tlsf::{Config, Placement, Search, Tie};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::planned::{Plan, PlannedPool, PlannedPoolError, PlannedStats};
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{PoolHost, PoolStats};
use strandline_core::pool_set::Registration;
use strandline_core::slab::Trim;
use strandline_core::{Axis, Epoch, Notification, Pool, PoolError, Progress, Tracker};
use wgpu::BufferUsages;

mod config;
mod error;
mod exclusive;
mod frame;
mod retain;
mod steps;

pub use config::TransientsConfig;
pub use error::TransientError;
pub use frame::Frame;

use exclusive::Exclusive;
use frame::Held;
use retain::Window;
use steps::Steps;

/// The class that serves all of these uses; copies go with every class. `None` for what a frame does not have.
///
/// ```
/// use strandline_host_wgpu::{UsageClass, transient::class_of};
/// use wgpu::BufferUsages as U;
///
/// assert_eq!(class_of(U::UNIFORM | U::COPY_DST), Some(UsageClass::Constant));
/// assert_eq!(class_of(U::VERTEX | U::INDEX), Some(UsageClass::Geometry));
/// assert_eq!(class_of(U::STORAGE | U::INDIRECT), Some(UsageClass::Exclusive));
/// assert_eq!(class_of(U::MAP_READ | U::COPY_DST), None);
/// ```
#[must_use]
pub fn class_of(usages: BufferUsages) -> Option<UsageClass> {
    let copies = BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
    if usages.is_empty() || !UsageClass::Exclusive.buffer_usages().contains(usages) {
        return None;
    }
    // What is only copied, perhaps to its like, needs a buffer of its own: wgpu does not copy within one.
    let shared = [UsageClass::Constant, UsageClass::Geometry].into_iter();
    let shared =
        shared.filter(|_| !copies.contains(usages) && !usages.contains(BufferUsages::STORAGE));
    let mut shared = shared.filter(|class| class.buffer_usages().contains(usages));
    Some(shared.next().unwrap_or(UsageClass::Exclusive))
}

/// The classes that are shared.
const CLASSES: [UsageClass; 3] = [UsageClass::Storage, UsageClass::Constant, UsageClass::Geometry];

/// The smallest free block, and of equals the one that is in the oldest slab: what a burst left becomes empty.
const PACKED: Placement =
    Placement { search: Search::Best { scan: 16, tie: Tie::Low }, ..Placement::FAST };

/// A pool that follows no plan yet.
fn recording(host: PoolHost, config: TlsfPoolConfig) -> Result<PlannedPool, PoolError> {
    let pool = Plan::new(0, Vec::new())
        .map_err(PlannedPoolError::Plan)
        .and_then(|none| PlannedPool::new(host, config, &none));
    match pool {
        Ok(pool) => Ok(pool.recording().moving()),
        Err(PlannedPoolError::Pool(error)) => Err(error),
        // No plan fits every pool.
        Err(PlannedPoolError::Plan(_)) => Err(PoolError::InvalidConfig("an empty plan")),
    }
}

/// How far the frames' axis is known to be: what the tracker says, or what the device has said since.
struct Known {
    told: Arc<dyn Progress>,
    axis: Axis,
    done: Arc<AtomicU64>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Known({} @ {})", self.axis, self.reached(self.axis))
    }
}

impl Progress for Known {
    fn reached(&self, axis: Axis) -> Epoch {
        let told = self.told.reached(axis);
        // Relaxed: an epoch that is done stays so, and memory is ordered by the device.
        if axis == self.axis { told.max(self.done.load(Ordering::Relaxed)) } else { told }
    }

    fn is_known(&self, axis: Axis) -> bool {
        self.told.is_known(axis)
    }

    fn for_memory(&self) -> Option<Arc<dyn Progress>> {
        let told = self.told.for_memory()?;
        Some(Arc::new(Self { told, axis: self.axis, done: self.done.clone() }))
    }

    fn moved(&self) -> Option<&Arc<Notification>> {
        self.told.moved()
    }
}

#[derive(Debug)]
struct Inner {
    config: TransientsConfig,
    timeline: Timeline,
    known: Arc<Known>,
    pools: GpuPools,
    exclusive: Exclusive,
    ring: UploadRing,
    /// Bytes that frames were given, where there is a budget.
    handed: AtomicU64,
    /// Bytes that the last frame uploaded, by class.
    uploads: [AtomicU64; 2],
    /// A bit for each pool that ever served.
    touched: AtomicU8,
    /// One for each pool.
    windows: Mutex<[Window; CLASSES.len()]>,
    /// Where frames follow plans.
    steps: Option<Steps>,
    /// Empty frames.
    kept: Mutex<Vec<Held>>,
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, Vec<Held>> {
        // Nothing panics with this lock held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts bytes that are handed out, where there is a budget, unless they would be more.
    fn charge(&self, size: u64) -> Result<(), TransientError> {
        let budget = self.config.budget;
        if budget == u64::MAX {
            return Ok(());
        }
        if size > budget {
            return Err(PoolError::TooLarge { size, max: budget }.into());
        }
        let more = |handed: u64| handed.checked_add(size).filter(|&sum| sum <= budget);
        // Relaxed: the count protects no other memory.
        match self.handed.try_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(()),
            Err(_) => Err(TransientError::OverBudget { size, budget }),
        }
    }

    fn uncharge(&self, size: u64) {
        if self.config.budget == u64::MAX {
            return;
        }
        self.handed.fetch_sub(size, Ordering::Relaxed);
    }

    /// The pool of a class, which is about to serve.
    fn pool_of(&self, class: UsageClass) -> Option<&Arc<dyn Pool>> {
        let place = CLASSES.iter().position(|&known| known == class)?;
        let bit = 1 << place;
        // Relaxed: a pool that is missed is looked at after the next submission.
        if self.touched.load(Ordering::Relaxed) & bit == 0 {
            self.touched.fetch_or(bit, Ordering::Relaxed);
        }
        self.pools.set().pools().get(place)
    }

    /// A submission is about to end a frame, whose bytes it still holds.
    fn shrink(&self) -> Result<(), TransientError> {
        self.exclusive.turn()?;
        let touched = self.touched.load(Ordering::Relaxed);
        if touched == 0 {
            return Ok(());
        }
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = [false; CLASSES.len()];
        for (place, pool) in self.pools.set().pools().iter().enumerate() {
            if touched & 1 << place == 0 {
                continue;
            }
            let stats = pool.stats();
            // One small slab is not worth a look.
            let excess = stats.committed_bytes > self.config.first_slab.max(stats.reserved_bytes);
            due[place] = windows[place].submits(stats.reserved_bytes) && excess;
        }
        drop(windows);
        for (pool, _) in self.pools.set().pools().iter().zip(due).filter(|(_, due)| *due) {
            pool.trim(Trim::All)?;
        }
        Ok(())
    }
}

/// A source of buffers that live for one submission. A handle: clones share the one.
///
/// ```
/// # let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
/// use strandline_host_wgpu::{BindingKind, Gpu, Transients, TransientsConfig};
///
/// let gpu = Gpu::new(device.clone(), queue.clone())?;
/// let transients = Transients::new(&gpu, TransientsConfig::default())?;
///
/// let mut frame = transients.frame();
/// let sums = frame.create_buffer(&wgpu::BufferDescriptor {
///     label: Some("sums"),
///     size: 4096,
///     usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
///     mapped_at_creation: false,
/// })?;
/// sums.write(&queue, &[0; 4096])?;
/// let _binding = sums.binding(BindingKind::ReadOnlyStorage)?;
/// let encoder = device.create_command_encoder(&Default::default());
/// frame.submit([encoder.finish()])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Transients {
    inner: Arc<Inner>,
}

impl Transients {
    /// Buffers on a device, on axis `queue:0.0` of a tracker of their own: whoever merges frontiers of several names axes and a tracker
    /// [`with_axis`](Self::with_axis). A number stands for the default [configuration](TransientsConfig) with that as the
    /// largest slab. Nothing is taken from the device until a frame needs it.
    ///
    /// # Errors
    /// [`TransientError::Gpu`], or [`TransientError::Pool`] for sizes that cannot be.
    pub fn new(gpu: &Gpu, config: impl Into<TransientsConfig>) -> Result<Self, TransientError> {
        Self::with_axis(gpu, config, &Tracker::new(1), Axis::queue(0, 0))
    }

    /// The same, where shared buffers follow plans: frames that repeat have each of these at the same place of the same buffer every time, in
    /// as much memory as the frames have bytes.
    ///
    /// What the first frames ask for is recorded, a plan is made of it as a frame begins, and the next frames follow the plan. A frame
    /// that asks for something else gets what [`new`](Self::new) would give it; when frames go on like that, there is another plan. How many frames
    /// make up what repeats is found by trying: one where a program submits a frame before it begins the next, two where it begins
    /// the next one first, or draws two windows in turn, and so on up to eight. Where nothing repeats no plan is followed, and it is tried again
    /// ever more rarely. The same as [`TransientsConfig::planned`].
    ///
    /// **When it helps.** Where a bind group is to be kept from frame to frame: buffer and offset stay. And where slabs that grow by half are too much: on
    /// the frames of an interface it holds 1.00 to 1.04 of their bytes instead of 1.12 to 1.23. **When not.** Buffers of their own
    /// ([which](crate::transient)) follow no plan: a renderer whose buffers are storage gains nothing. A shared buffer takes about a quarter more
    /// time. And while plans are tried, old slabs and new ones exist beside each other for some frames: up to two and a half times the frames' bytes, and what wgpu keeps of the
    /// old ones until the device is done.
    ///
    /// ```
    /// # let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    /// use strandline_host_wgpu::{Gpu, Transients, TransientsConfig};
    /// use wgpu::BufferUsages;
    ///
    /// let gpu = Gpu::new(device, queue)?;
    /// let transients = Transients::planned(&gpu, TransientsConfig::default())?;
    /// let mut places = Vec::new();
    /// for _ in 0..10 {
    ///     let mut frame = transients.frame();
    ///     frame.upload(BufferUsages::VERTEX, &[1; 3000])?;
    ///     let camera = frame.upload(BufferUsages::UNIFORM, &[2; 64])?;
    ///     places.push((camera.buffer().clone(), camera.offset()));
    ///     frame.submit([])?;
    /// }
    /// assert_eq!(places[8], places[9]); // a bind group of the frame before would do
    /// assert!(transients.planned_stats().plan_hit_share() > 0.5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn planned(gpu: &Gpu, config: impl Into<TransientsConfig>) -> Result<Self, TransientError> {
        Self::new(gpu, TransientsConfig { planned: true, ..config.into() })
    }

    /// The same, as an axis of a tracker that others use too.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_axis(
        gpu: &Gpu,
        config: impl Into<TransientsConfig>,
        tracker: &Tracker,
        axis: Axis,
    ) -> Result<Self, TransientError> {
        let config = config.into();
        if config.capacity.min(config.budget) < ALIGNMENT {
            let what = "capacity and budget are at least 256 bytes, one place for a binding";
            return Err(PoolError::InvalidConfig(what).into());
        }
        let timeline = Timeline::new(gpu, tracker, axis)?;
        let known = Known { told: Arc::new(tracker.clone()), axis, done: Arc::default() };
        let known = Arc::new(known);
        let own = WgpuSlabProvider::new(gpu, UsageClass::Exclusive).capacity(config.capacity);
        let mut pools = GpuPools::new();
        let mut planned = Vec::new();
        // A plan's slab has the size of the plan, so that what strays takes little beside it.
        let largest = if config.planned { config.first_slab } else { config.largest_slab };
        for class in CLASSES {
            let provider =
                WgpuSlabProvider::new(gpu, class).sharing(&own).growing(config.first_slab, largest);
            let provider = Arc::new(provider);
            let host = PoolHost::new(provider.clone(), known.clone());
            let tlsf = TlsfPoolConfig {
                offsets: Config { granule: ALIGNMENT, placement: PACKED, ..Config::default() },
                // What it needs: the provider makes more of it.
                growth: Growth::slabs_of(ALIGNMENT),
                ..TlsfPoolConfig::default()
            };
            let pool: Arc<dyn Pool> = if config.planned {
                let pool = Arc::new(recording(host, tlsf)?);
                planned.push(pool.clone());
                pool
            } else {
                Arc::new(TlsfPool::new(host, tlsf)?)
            };
            pools.add(pool, provider, Registration::new()).map_err(TransientError::Set)?;
        }
        let steps = config.planned.then(|| Steps::new(planned, config.retain, config.first_slab));
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                timeline,
                known,
                pools,
                exclusive: Exclusive::new(Arc::new(own), config.retain),
                ring: UploadRing::new(gpu),
                handed: AtomicU64::new(0),
                uploads: Default::default(),
                touched: AtomicU8::new(0),
                windows: Mutex::new(CLASSES.map(|_| Window::new(config.retain))),
                steps,
                kept: Mutex::default(),
            }),
        })
    }

    /// The axis of the frames: its epochs are their submissions.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.inner.timeline
    }

    /// The pools of shared buffers, one for each class.
    #[must_use]
    pub fn pools(&self) -> &GpuPools {
        &self.inner.pools
    }

    /// The sums of the counters, of shared buffers and of those for one range.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let mut stats = self.inner.pools.set().stats().pools;
        stats.add(&self.inner.exclusive.stats());
        stats
    }

    /// Bytes that exist on the device: committed ones, those that slices of given-back buffers still hold, and what uploads go through.
    #[must_use]
    pub fn existing_bytes(&self) -> u64 {
        self.inner.exclusive.provider().existing_bytes() + self.inner.ring.bytes()
    }

    /// Destroys what no frame holds and the device is done with; returns the bytes. It asks the device how far it is.
    ///
    /// # Errors
    /// [`TransientError::Pool`], [`TransientError::Slab`].
    pub fn trim(&self) -> Result<u64, TransientError> {
        let inner = &*self.inner;
        let issued = inner.timeline.frontier().get(inner.timeline.axis());
        if poller::is_idle(inner.timeline.gpu().shared()) {
            // What wgpu had before it was asked is done.
            inner.known.done.fetch_max(issued, Ordering::Relaxed);
        }
        let reached = match inner.timeline.gpu().ended() {
            // Nobody uses what is on a lost device.
            Some(_) => Epoch::MAX,
            None => inner.known.reached(inner.timeline.axis()),
        };
        let bytes = inner.pools.set().trim(Trim::All)? + inner.exclusive.trim(reached)?;
        Ok(bytes + inner.ring.trim())
    }

    /// Says that nothing which was recorded with a dropped frame will be submitted any more, and waits for nothing: the bytes that
    /// [were set aside](Frame) are the pools' again. To be called while nothing of this is in flight.
    pub fn quiesce(&self) {
        self.inner.pools.set().pools().iter().for_each(|pool| pool.quiesce());
    }

    /// What came of the plans, of all classes together; zeros without [`planned`](Self::planned). The share of shared buffers that stood where a
    /// plan has them is its `plan_hit_share`.
    #[must_use]
    pub fn planned_stats(&self) -> PlannedStats {
        self.inner.steps.as_ref().map(Steps::stats).unwrap_or_default()
    }

    /// Begins a frame: what is recorded together and submitted at once. Several may be open, on several threads.
    pub fn frame(&self) -> Frame {
        let inner = &self.inner;
        if let Some(steps) = &inner.steps {
            let issued = || inner.timeline.frontier().get(inner.timeline.axis());
            steps.frame(issued, &inner.known.done);
        }
        Frame::new(self.inner.clone())
    }
}
