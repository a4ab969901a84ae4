//! Slabs that are GPU buffers: [`WgpuSlabProvider`].
//!
//! ```text
//!   pool ──acquire(size)──▶ device.create_buffer, inside error scopes ──▶ SlabId ──map──▶ GpuSlice
//!                                   │ out of memory ──▶ NoCapacity
//!                                   └ device lost   ──▶ SlabError::Lost
//! ```
//!
//! A slab is one `wgpu::Buffer` of one [usage class](UsageClass). A pool set over one pool for each class therefore never mixes
//! conflicting uses in one buffer.
//!
//! # Invariants
//! - No error reaches the device's uncaptured-error handler, and none leaves the device unusable: limits are checked first, and the
//!   rest is caught by error scopes of this thread.
//! - The bytes created never exceed the capacity. A released slab whose [`GpuSlice`]s still live counts until the last of
//!   them is dropped. wgpu itself keeps a buffer until the submissions that use it are over.
//!
//! # Cost
//! An acquire is a `create_buffer`, which is what the pools avoid: microseconds, and more with many buffers alive. The table is
//! locked only to look up.

use crate::class::UsageClass;
use crate::gpu::Gpu;
use crate::scopes::{Caught, scoped};
use crate::slice::GpuSlice;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::slab::{
    Grant, Slab, SlabError, SlabId, SlabMap, SlabProperties, SlabProvider, SlabStats, SlabTable,
};
use wgpu::{Buffer, BufferDescriptor, Limits};

/// Slab sizes are multiples of this many bytes: what bindings align to.
const GRANULARITY: u64 = 256;

/// Offsets count from a buffer's start, so any power of two aligns them; this is what is promised.
const ALIGNMENT: u64 = 64 << 10;

/// The bytes that exist.
#[derive(Debug)]
struct Account {
    capacity: u64,
    bytes: AtomicU64,
}

impl Account {
    /// Counts `size` bytes, unless that would exceed the capacity.
    fn take(&self, size: u64) -> bool {
        // Relaxed: the count protects no other memory.
        self.bytes
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| {
                bytes.checked_add(size).filter(|&sum| sum <= self.capacity)
            })
            .is_ok()
    }

    fn give_back(&self, size: u64) {
        self.bytes.fetch_sub(size, Ordering::Relaxed);
    }
}

/// A slab's buffer, while the slab or a slice of it lives.
pub(crate) struct SlabBuffer {
    buffer: Buffer,
    size: u64,
    class: UsageClass,
    account: Arc<Account>,
    gpu: Gpu,
}

impl SlabBuffer {
    pub(crate) const fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) const fn class(&self) -> UsageClass {
        self.class
    }

    pub(crate) const fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.gpu.limits()
    }
}

/// Dropped, not destroyed: destroying waits for the poller, and wgpu frees the memory anyway once nothing in flight uses it.
impl Drop for SlabBuffer {
    fn drop(&mut self) {
        self.account.give_back(self.size);
    }
}

impl fmt::Debug for SlabBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlabBuffer({} {})", self.class.name(), self.size)
    }
}

#[derive(Debug)]
struct State {
    slabs: SlabTable<Arc<SlabBuffer>>,
    stats: SlabStats,
}

/// A provider of GPU buffers of one usage class.
///
/// ```
/// # let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
/// use strandline_core::{Grant, SlabMap, SlabProvider};
/// use strandline_host_wgpu::{BindingKind, Gpu, UsageClass, WgpuSlabProvider};
///
/// let gpu = Gpu::new(device, queue)?;
/// let provider = WgpuSlabProvider::new(&gpu, UsageClass::Storage).capacity(1 << 20);
/// let Grant::Slab(slab) = provider.acquire(1 << 20)? else { panic!("out of memory") };
/// assert_eq!(provider.acquire(1)?, Grant::NoCapacity);
///
/// let slice = provider.map(slab.id, 4096, 1024)?;
/// let (_buffer, offset, size) = slice.parts();
/// assert_eq!((offset, size), (4096, 1024));
/// slice.binding(BindingKind::Storage)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct WgpuSlabProvider {
    gpu: Gpu,
    class: UsageClass,
    max_slab_size: u64,
    /// The least and the most that an ordinary slab has, in bytes.
    steps: Option<(u64, u64)>,
    account: Arc<Account>,
    state: Mutex<State>,
}

impl WgpuSlabProvider {
    /// A provider without a capacity of its own: what the device has. Its largest slab is the device's largest buffer.
    #[must_use]
    pub fn new(gpu: &Gpu, class: UsageClass) -> Self {
        let limit = gpu.limits().max_buffer_size;
        Self {
            gpu: gpu.clone(),
            class,
            max_slab_size: limit / GRANULARITY * GRANULARITY,
            steps: None,
            account: Arc::new(Account { capacity: u64::MAX, bytes: AtomicU64::new(0) }),
            state: Mutex::new(State {
                slabs: SlabTable::new(),
                stats: SlabStats { identity: SlabStats::next_identity(), ..Default::default() },
            }),
        }
    }

    /// At most this many bytes at once, told as [`SlabProvider::capacity`]; beyond that [`Grant::NoCapacity`]. No slab is larger, so that what can never fit is refused as
    /// too large and nobody waits for it.
    #[must_use]
    pub fn capacity(mut self, bytes: u64) -> Self {
        self = self.max_slab_size(bytes);
        self.account = Arc::new(Account { capacity: bytes, bytes: AtomicU64::new(0) });
        self
    }

    /// Counts its bytes together with those of `other`, whose capacity is then that of both.
    #[must_use]
    pub fn sharing(mut self, other: &Self) -> Self {
        self.max_slab_size =
            self.max_slab_size.min(other.account.capacity / GRANULARITY * GRANULARITY);
        self.account = other.account.clone();
        self
    }

    /// Slabs begin small and grow: whoever asks for less gets a slab of `first` bytes, then of half of what there is already, but of
    /// no more than `largest`, and of what was asked for where the capacity has no more. For pools that ask for what they need: growth
    /// by slabs of a [granule](strandline_core::pool::growth::Growth::slabs_of).
    #[must_use]
    pub fn growing(mut self, first: u64, largest: u64) -> Self {
        self.steps = Some((first, largest));
        self
    }

    /// The largest slab, in bytes, if the device's largest buffer is not smaller.
    #[must_use]
    pub fn max_slab_size(mut self, bytes: u64) -> Self {
        self.max_slab_size = self.max_slab_size.min(bytes / GRANULARITY * GRANULARITY);
        self
    }

    /// The device.
    #[must_use]
    pub const fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The largest slab, in bytes.
    pub(crate) const fn max_size(&self) -> u64 {
        self.max_slab_size
    }

    /// What the slabs may be used for.
    #[must_use]
    pub const fn class(&self) -> UsageClass {
        self.class
    }

    /// Bytes that exist now: those of slabs, and those of released slabs that slices still hold.
    #[must_use]
    pub fn existing_bytes(&self) -> u64 {
        self.account.bytes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two writes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How large a slab to make for `size` bytes, in the order in which to try.
    fn candidates(&self, size: u64) -> [Option<u64>; 2] {
        let Some((first, largest)) = self.steps else { return [Some(size), None] };
        let held = self.lock().stats.committed_bytes;
        let ordinary = (held / 2).clamp(first.min(largest), largest).min(self.max_slab_size);
        let ordinary = ordinary / GRANULARITY * GRANULARITY;
        if ordinary > size { [Some(ordinary), Some(size)] } else { [Some(size), None] }
    }

    /// As [`acquire`](SlabProvider::acquire), for a buffer that is called `label`.
    pub(crate) fn acquire_called(&self, size: u64, label: &str) -> Result<Grant, SlabError> {
        if size == 0 || size > self.max_slab_size {
            return Err(SlabError::InvalidSize { size });
        }
        if self.gpu.lost().is_some() {
            return Err(SlabError::Lost);
        }
        // At most the largest slab, which is a multiple.
        let size = size.next_multiple_of(GRANULARITY);
        for size in self.candidates(size).into_iter().flatten() {
            if let Some(slab) = self.try_acquire(size, label)? {
                return Ok(Grant::Slab(slab));
            }
        }
        self.lock().stats.refusals += 1;
        Ok(Grant::NoCapacity)
    }

    /// A slab of exactly `size` bytes; `None` when there is no room for it.
    fn try_acquire(&self, size: u64, label: &str) -> Result<Option<Slab>, SlabError> {
        if !self.account.take(size) {
            return Ok(None);
        }
        let buffer = match self.create(size, label) {
            Ok(Some(buffer)) => buffer,
            Ok(None) => {
                self.account.give_back(size);
                return Ok(None);
            }
            Err(error) => {
                self.account.give_back(size);
                return Err(error);
            }
        };
        let slab = Arc::new(SlabBuffer {
            buffer,
            size,
            class: self.class,
            account: self.account.clone(),
            gpu: self.gpu.clone(),
        });
        let mut state = self.lock();
        let id = match state.slabs.insert(slab) {
            Ok(id) => id,
            Err(slab) => {
                // The table is full. Dropped with the lock released: freeing takes a while.
                drop((state, slab));
                return Ok(None);
            }
        };
        state.stats.count_acquire(size);
        Ok(Some(Slab { id, size }))
    }

    /// A buffer, `None` when there is no memory for it.
    fn create(&self, size: u64, label: &str) -> Result<Option<Buffer>, SlabError> {
        let device = self.gpu.device();
        let create = || {
            device.create_buffer(&BufferDescriptor {
                label: Some(label),
                size,
                usage: self.class.buffer_usages(),
                // An upload slab begins as it goes on: mapped while no submission uses it.
                mapped_at_creation: self.class == UsageClass::Upload,
            })
        };
        let late = |caught: Caught| {
            if let Some(error) = caught.any() {
                log::error!("creating a buffer: {error}");
            }
        };
        let (buffer, Caught { memory, validation, internal }) = scoped(device, create, late);
        if self.gpu.lost().is_some() {
            return Err(SlabError::Lost);
        }
        if let Some(error) = memory {
            log::warn!("no memory for a buffer of {size} bytes: {error}");
            return Ok(None);
        }
        if let Some(error) = validation.or(internal) {
            log::error!("creating a buffer of {size} bytes: {error}");
            return Err(SlabError::Os { code: 0, operation: "create_buffer" });
        }
        Ok(Some(buffer))
    }
}

impl SlabProvider for WgpuSlabProvider {
    fn properties(&self) -> SlabProperties {
        SlabProperties {
            memory_type: self.class.memory_type(),
            usage: self.class.usage(),
            alignment: ALIGNMENT,
            granularity: GRANULARITY,
            max_slab_size: self.max_slab_size,
        }
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        self.acquire_called(size, self.class.name())
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        let slab = {
            let mut state = self.lock();
            let slab = state.slabs.remove(id).ok_or(SlabError::UnknownSlab(id))?;
            state.stats.count_release(slab.size);
            slab
        };
        // Freeing takes a while: not under the lock.
        drop(slab);
        Ok(())
    }

    fn stats(&self) -> SlabStats {
        self.lock().stats
    }

    fn capacity(&self) -> Option<u64> {
        (self.account.capacity != u64::MAX).then_some(self.account.capacity)
    }

    fn answers_epochs(&self) -> bool {
        false
    }
}

impl SlabMap for WgpuSlabProvider {
    type Buffer = GpuSlice;

    fn map(&self, id: SlabId, offset: u64, len: u64) -> Result<GpuSlice, SlabError> {
        let slab = self.lock().slabs.get(id).cloned().ok_or(SlabError::UnknownSlab(id))?;
        GpuSlice::new(slab, offset, len).ok_or(SlabError::InvalidRange)
    }
}
