//! Slabs: the contiguous regions that providers expose and pools divide.
//!
//! ```text
//!   Pool ──acquire(size)──▶ SlabProvider ──▶ mmap, GPU buffer, WIT import, …
//!     │                          │
//!     │ (SlabId, offset, len)    │ the provider alone knows what a SlabId stands for
//!     ▼                          ▼
//!   Reservation ──────────▶ SlabMap::map(id, range) ──▶ the provider's own buffer type
//! ```
//!
//! A pool does arithmetic on `(SlabId, offset)` and never sees memory. The payload of a slab stays in
//! its provider, so one pool type serves every kind of memory and can live on the far side of a
//! component boundary.

use crate::table::{Key, Table};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

pub mod cache;
mod cpu;
pub mod extents;
pub mod retain;

pub use cpu::CpuSlabs;

/// Values under [`SlabId`]s that never resolve to another value once removed: what providers keep slabs in.
pub type SlabTable<T> = Table<SlabId, T>;

/// A slab of one provider: an index and the generation of that index.
///
/// Generations make a stale id harmless: once a slab was released, its id never resolves to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlabId(u64);

impl SlabId {
    /// An id from its parts. Only providers make ids; everyone else compares them.
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | index as u64)
    }

    /// The slot in the provider's table.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// How often that slot was used before.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Both parts in one word: generation in the high half.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`to_bits`](Self::to_bits).
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl Key for SlabId {
    fn from_parts(index: u32, generation: u32) -> Self {
        Self::new(index, generation)
    }

    fn parts(self) -> (u32, u32) {
        (self.index(), self.generation())
    }
}

impl fmt::Debug for SlabId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slab#{}.{}", self.index(), self.generation())
    }
}

/// A slab that a provider handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slab {
    /// Names the slab to its provider.
    pub id: SlabId,
    /// Usable bytes; at least what was asked for.
    pub size: u64,
}

/// What a provider answers when it is asked for a slab. Running out is an answer, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Grant {
    /// Here it is.
    Slab(Slab),
    /// No memory left within the provider's capacity; a smaller request, or a later one, may succeed.
    NoCapacity,
}

/// How memory can be reached and how fast it is: the classes that pools are routed by.
///
/// A plain set of flags: a pool serves a request when its type holds every required flag.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MemoryType(u32);

impl MemoryType {
    /// No requirement.
    pub const NONE: Self = Self(0);
    /// The fastest memory for this use. A hint: it orders candidates, it never rules one out.
    pub const OPTIMAL: Self = Self(1);
    /// The host can read and write it.
    pub const HOST_VISIBLE: Self = Self(1 << 1);
    /// Host writes are seen by the device without a flush, and the other way round.
    pub const HOST_COHERENT: Self = Self(1 << 2);
    /// Host reads are cached.
    pub const HOST_CACHED: Self = Self(1 << 3);
    /// Local to the device.
    pub const DEVICE_LOCAL: Self = Self(1 << 4);
    /// Can be shared with another process.
    pub const SHARED: Self = Self(1 << 5);

    /// The flags as a word, for wire forms.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From a word; unknown bits are dropped.
    #[must_use]
    pub const fn from_bits_truncate(bits: u32) -> Self {
        Self(bits & 0x3f)
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags without the other's.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Holds every flag of `other`.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for MemoryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 6] =
            ["optimal", "host-visible", "host-coherent", "host-cached", "device-local", "shared"];
        write_flags(f, self.0, &NAMES)
    }
}

/// What a buffer may be used for. A pool serves a request when its usage holds every required flag.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BufferUsage(u32);

impl BufferUsage {
    /// No requirement.
    pub const NONE: Self = Self(0);
    /// Source or target of copies and fills.
    pub const TRANSFER: Self = Self(1);
    /// Read and written by shaders or kernels.
    pub const STORAGE: Self = Self(1 << 1);
    /// Read-only in shaders or kernels.
    pub const STORAGE_READ: Self = Self(1 << 2);
    /// Uniform (constant) data.
    pub const UNIFORM: Self = Self(1 << 3);
    /// Index data.
    pub const INDEX: Self = Self(1 << 4);
    /// Vertex data.
    pub const VERTEX: Self = Self(1 << 5);
    /// Arguments of indirect draws and dispatches.
    pub const INDIRECT: Self = Self(1 << 6);
    /// Written by the host, then copied to the device.
    pub const UPLOAD: Self = Self(1 << 7);
    /// Copied from the device, then read by the host.
    pub const READBACK: Self = Self(1 << 8);

    /// The flags as a word, for wire forms.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From a word; unknown bits are dropped.
    #[must_use]
    pub const fn from_bits_truncate(bits: u32) -> Self {
        Self(bits & 0x1ff)
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Holds every flag of `other`.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for BufferUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 9] = [
            "transfer",
            "storage",
            "storage-read",
            "uniform",
            "index",
            "vertex",
            "indirect",
            "upload",
            "readback",
        ];
        write_flags(f, self.0, &NAMES)
    }
}

fn write_flags(f: &mut fmt::Formatter<'_>, bits: u32, names: &[&str]) -> fmt::Result {
    if bits == 0 {
        return f.write_str("none");
    }
    let mut first = true;
    for (i, name) in names.iter().enumerate() {
        if bits & 1 << i != 0 {
            if !first {
                f.write_str("|")?;
            }
            first = false;
            f.write_str(name)?;
        }
    }
    Ok(())
}

/// What a provider's slabs are like. Constant over the provider's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabProperties {
    /// How the memory can be reached.
    pub memory_type: MemoryType,
    /// What it may be used for.
    pub usage: BufferUsage,
    /// Every slab starts at a multiple of this many bytes (a power of two).
    pub alignment: u64,
    /// Slab sizes are rounded up to a multiple of this many bytes (a power of two), for instance a page.
    pub granularity: u64,
    /// The largest slab in bytes.
    pub max_slab_size: u64,
}

/// How a provider's elastic slabs are used: slabs of addresses into which memory is put piece by piece, and taken out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elastic {
    /// Memory comes and goes in multiples of this many bytes, at multiples of it from the slab's start: a power of two, and
    /// a multiple of the provider's granularity.
    pub granule: u64,
    /// Bytes of addresses that a pool reserves at once, as far as it can count them; more for a larger request.
    pub reserve: u64,
}

/// A provider's counters. `identity` is equal for two handles to one provider, so that sums over pools
/// count a shared provider once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlabStats {
    /// Same value, same provider.
    pub identity: u64,
    /// Slabs handed out and not yet released.
    pub slabs: u64,
    /// Bytes in those slabs.
    pub committed_bytes: u64,
    /// The most that `committed_bytes` has been.
    pub peak_committed_bytes: u64,
    /// Bytes held ready but not handed out (a cache's).
    pub cached_bytes: u64,
    /// Slabs ever handed out.
    pub acquires: u64,
    /// Slabs ever given back.
    pub releases: u64,
    /// Requests answered with [`Grant::NoCapacity`].
    pub refusals: u64,
}

impl SlabStats {
    /// A value for `identity` that no other provider of this process has. Taken once, when a provider
    /// is made.
    #[must_use]
    pub fn next_identity() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only uniqueness matters.
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a slab of `bytes` handed out: for providers that keep these counters themselves.
    pub const fn count_acquire(&mut self, bytes: u64) {
        self.acquires += 1;
        self.slabs += 1;
        self.committed_bytes += bytes;
        if self.peak_committed_bytes < self.committed_bytes {
            self.peak_committed_bytes = self.committed_bytes;
        }
    }

    /// Counts `bytes` put into an elastic slab.
    pub const fn count_commit(&mut self, bytes: u64) {
        self.committed_bytes += bytes;
        if self.peak_committed_bytes < self.committed_bytes {
            self.peak_committed_bytes = self.committed_bytes;
        }
    }

    /// Counts `bytes` taken out of an elastic slab. They were counted by [`count_commit`](Self::count_commit).
    pub const fn count_decommit(&mut self, bytes: u64) {
        self.committed_bytes -= bytes;
    }

    /// Counts a slab of `bytes` given back. It was counted by [`count_acquire`](Self::count_acquire).
    pub const fn count_release(&mut self, bytes: u64) {
        self.releases += 1;
        self.slabs -= 1;
        self.committed_bytes -= bytes;
    }
}

/// Why a provider failed. Being out of capacity is not among these: see [`Grant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlabError {
    /// Asked for more than `max_slab_size`, or for nothing.
    InvalidSize {
        /// What was asked for, in bytes.
        size: u64,
    },
    /// The id is not, or no longer, a slab of this provider.
    UnknownSlab(SlabId),
    /// The range does not lie in the slab.
    InvalidRange,
    /// The device or service behind the provider is gone.
    Lost,
    /// The system call behind the operation failed.
    Os {
        /// The system's error number.
        code: i32,
        /// What was attempted.
        operation: &'static str,
    },
}

impl fmt::Display for SlabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSize { size } => write!(f, "a slab of {size} bytes cannot be provided"),
            Self::UnknownSlab(id) => write!(f, "{id:?} is not a slab of this provider"),
            Self::InvalidRange => f.write_str("the range does not lie in the slab"),
            Self::Lost => f.write_str("the device behind the slab provider is lost"),
            Self::Os { code, operation } => write!(f, "{operation} failed (error {code})"),
        }
    }
}

impl core::error::Error for SlabError {}

/// How much to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// Everything that is empty.
    All,
    /// Empty slabs beyond what the retention policy wants to keep.
    Excess,
}

/// A source of slabs.
///
/// Implementations own the memory. Pools call [`acquire`](Self::acquire) and
/// [`release`](Self::release) without holding a lock of their own, so a provider may block or take as
/// long as the system does.
pub trait SlabProvider: fmt::Debug + Send + Sync {
    /// What this provider's slabs are like.
    fn properties(&self) -> SlabProperties;

    /// A slab of at least `size` bytes.
    ///
    /// # Errors
    /// A broken request or infrastructure. Nothing is handed out then.
    fn acquire(&self, size: u64) -> Result<Grant, SlabError>;

    /// Gives a slab back. Its id never resolves again.
    ///
    /// # Errors
    /// [`SlabError::UnknownSlab`] when the id is not a live slab of this provider.
    fn release(&self, id: SlabId) -> Result<(), SlabError>;

    /// Whether slabs can be elastic, and how. Constant over the provider's life. `None`: slabs are what
    /// [`acquire`](Self::acquire) makes them, and the next three are never called.
    fn elastic(&self) -> Option<Elastic> {
        None
    }

    /// An elastic slab of at least `size` bytes of addresses, without memory: none of it may be used before it was
    /// [committed](Self::commit). [`release`](Self::release) gives it back with all memory in it.
    ///
    /// # Errors
    /// A broken request or infrastructure. Nothing is handed out then.
    fn reserve(&self, size: u64) -> Result<Grant, SlabError> {
        let _ = size;
        Ok(Grant::NoCapacity)
    }

    /// Puts memory into `len` bytes of an elastic slab from `offset`, whole [granules](Elastic::granule) that have none.
    /// `false`: there is no capacity for all of it, and nothing has changed.
    ///
    /// # Errors
    /// [`SlabError::UnknownSlab`], [`SlabError::InvalidRange`], or as the system reports it. Nothing has changed then.
    fn commit(&self, id: SlabId, offset: u64, len: u64) -> Result<bool, SlabError> {
        let _ = (offset, len);
        Err(SlabError::UnknownSlab(id))
    }

    /// Takes the memory out of `len` bytes of an elastic slab from `offset`, whole [granules](Elastic::granule) that have
    /// some. What was in it is lost; the addresses stay reserved.
    ///
    /// # Errors
    /// [`SlabError::UnknownSlab`], [`SlabError::InvalidRange`], or as the system reports it. The memory stays then.
    fn decommit(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        let _ = (offset, len);
        Err(SlabError::UnknownSlab(id))
    }

    /// The most bytes that it ever has handed out at once, if that is limited. Constant over the provider's life: a pool tells who
    /// asks for more at once that it never will be.
    #[cfg(feature = "hosted")]
    fn capacity(&self) -> Option<u64> {
        None
    }

    /// Bytes that it would grant yet, if its capacity is limited and it keeps count. A pool then does not break up an empty slab
    /// for a block where that would leave no room for another like it.
    fn room(&self) -> Option<u64> {
        None
    }

    /// Touches `len` bytes from `offset` so that first use does not fault. A provider that has nothing
    /// to do does nothing.
    ///
    /// # Errors
    /// As the system reports it.
    fn prefault(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        let _ = (id, offset, len);
        Ok(())
    }

    /// Gives back memory that the provider holds but nobody uses; returns the bytes. Only providers
    /// that hold slabs ready have any.
    fn trim(&self, how: Trim) -> u64 {
        let _ = how;
        0
    }

    /// The counters now.
    fn stats(&self) -> SlabStats;

    /// The device's own word on whether `axis` has reached `epoch`, if it can be asked. A pool takes a
    /// `Some(true)` as proof beside its [`Progress`](crate::Progress). The TLSF pool asks for deaths of one axis, and of
    /// several for the lowest axis only: what the others have reached it takes from its progress.
    fn query_epoch(&self, axis: crate::Axis, epoch: crate::Epoch) -> Option<bool> {
        let _ = (axis, epoch);
        None
    }

    /// Whether [`query_epoch`](Self::query_epoch) may ever answer. A pool asks the axes of a provider that says no only when its
    /// [`Progress`](crate::Progress) says that one has moved. The same for the provider's whole life.
    fn answers_epochs(&self) -> bool {
        true
    }
}

/// A provider whose slabs can be wrapped as its own buffer type.
pub trait SlabMap: SlabProvider {
    /// What a range of a slab looks like to the provider's users.
    type Buffer;

    /// Wraps `len` bytes from `offset` of a slab.
    ///
    /// # Errors
    /// [`SlabError::UnknownSlab`] or [`SlabError::InvalidRange`].
    fn map(&self, id: SlabId, offset: u64, len: u64) -> Result<Self::Buffer, SlabError>;
}
