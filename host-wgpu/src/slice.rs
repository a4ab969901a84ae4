//! A range of a slab as wgpu sees it: a buffer, an offset, a size.
//!
//! ```text
//!   Reservation ──WgpuSlabProvider::map──▶ GpuSlice { buffer, offset, size } ──binding()──▶ wgpu::BindingResource
//! ```
//!
//! Everything that wgpu's validation would refuse is refused here first, with an error value: empty and misaligned
//! ranges, bindings over the limit, uses that the slab's class does not have.
//!
//! A slice keeps its buffer alive, also after its slab was released.

use crate::class::UsageClass;
use crate::lease::Lease;
use crate::misuse::Misuse;
use crate::slab::SlabBuffer;
use core::fmt;
use std::num::NonZeroU64;
use std::panic::Location;
use std::sync::Arc;
use wgpu::{BindingResource, Buffer, BufferBinding, BufferSlice, Limits, Queue};

/// Offsets and sizes of copies and fills are multiples of this many bytes.
pub const COPY_ALIGNMENT: u64 = wgpu::COPY_BUFFER_ALIGNMENT;

/// How a shader sees a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindingKind {
    /// `var<storage, read_write>`; needs [`UsageClass::Storage`] or [`UsageClass::Exclusive`].
    Storage,
    /// `var<storage, read>`; needs [`UsageClass::Constant`] or [`UsageClass::Exclusive`].
    ReadOnlyStorage,
    /// `var<uniform>`; needs [`UsageClass::Constant`] or [`UsageClass::Exclusive`].
    Uniform,
}

impl BindingKind {
    /// The shared class whose buffers can be bound like this. Those of [`UsageClass::Exclusive`] can be, too.
    #[must_use]
    pub const fn class(self) -> UsageClass {
        match self {
            Self::Storage => UsageClass::Storage,
            Self::ReadOnlyStorage | Self::Uniform => UsageClass::Constant,
        }
    }

    /// Offsets must be multiples of this many bytes.
    #[must_use]
    pub fn offset_alignment(self, limits: &Limits) -> u64 {
        u64::from(match self {
            Self::Uniform => limits.min_uniform_buffer_offset_alignment,
            Self::Storage | Self::ReadOnlyStorage => limits.min_storage_buffer_offset_alignment,
        })
    }

    /// The largest binding in bytes.
    #[must_use]
    pub fn max_size(self, limits: &Limits) -> u64 {
        match self {
            Self::Uniform => limits.max_uniform_buffer_binding_size,
            Self::Storage | Self::ReadOnlyStorage => limits.max_storage_buffer_binding_size,
        }
    }
}

/// Why a range cannot be used as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SliceError {
    /// Nothing to use.
    Empty,
    /// It does not lie in what it is a part of.
    OutOfRange {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Bytes there are.
        size: u64,
    },
    /// The offset is not a multiple of what this use needs.
    MisalignedOffset {
        /// First byte, from the start of the buffer.
        offset: u64,
        /// What it must be a multiple of, in bytes.
        alignment: u64,
    },
    /// The size is not a multiple of what this use needs.
    MisalignedSize {
        /// Bytes.
        size: u64,
        /// What it must be a multiple of, in bytes.
        alignment: u64,
    },
    /// More bytes than the device can bind like this.
    BindingTooLarge {
        /// Bytes.
        size: u64,
        /// The device's limit, in bytes.
        max: u64,
    },
    /// Two ranges of one command that must not have a byte in common do.
    Overlap,
    /// The frame that it belongs to has ended, by a submission or without one: its bytes may be another frame's. Found with debug assertions, or the feature `checks`.
    Ended,
    /// The memory's class does not have this use.
    WrongClass {
        /// The class there is.
        class: UsageClass,
        /// What was asked for.
        needed: &'static str,
    },
}

impl fmt::Display for SliceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a range of zero bytes"),
            Self::OutOfRange { offset, len, size } => {
                write!(f, "{len} bytes from {offset} do not lie in {size} bytes")
            }
            Self::MisalignedOffset { offset, alignment } => {
                write!(f, "offset {offset} is not a multiple of {alignment}")
            }
            Self::MisalignedSize { size, alignment } => {
                write!(f, "size {size} is not a multiple of {alignment}")
            }
            Self::BindingTooLarge { size, max } => {
                write!(f, "a binding of {size} bytes; the device binds at most {max}")
            }
            Self::Overlap => f.write_str("ranges of one command overlap"),
            Self::Ended => f.write_str("the frame of this slice has ended"),
            Self::WrongClass { class, needed } => {
                write!(f, "memory of class {} cannot be used as {needed}", class.name())?;
                if *class == UsageClass::Storage && *needed == READ_ONLY {
                    f.write_str(
                        ": wgpu checks the use of whole buffers, so what shares one with writable storage is bound \
                         read_write; or take a buffer of its own (UsageClass::Exclusive)",
                    )?;
                }
                Ok(())
            }
        }
    }
}

impl core::error::Error for SliceError {}

/// What a read-only storage binding is called in errors.
const READ_ONLY: &str = "read-only storage";

/// Whether `size` bytes at `offset` of a buffer of `class` can be bound as `kind`. A pure function: what wgpu would check.
///
/// # Errors
/// [`SliceError`]: the first thing that is wrong.
pub fn check_binding(
    class: UsageClass,
    offset: u64,
    size: u64,
    kind: BindingKind,
    limits: &Limits,
) -> Result<(), SliceError> {
    if size == 0 {
        return Err(SliceError::Empty);
    }
    if class != kind.class() && class != UsageClass::Exclusive {
        let needed = match kind {
            BindingKind::Storage => "read-write storage",
            BindingKind::ReadOnlyStorage => READ_ONLY,
            BindingKind::Uniform => "uniform",
        };
        return Err(SliceError::WrongClass { class, needed });
    }
    let alignment = kind.offset_alignment(limits);
    if !offset.is_multiple_of(alignment) {
        return Err(SliceError::MisalignedOffset { offset, alignment });
    }
    // A storage binding ends where the shader's last element does: wgpu wants multiples of four.
    if !size.is_multiple_of(4) {
        return Err(SliceError::MisalignedSize { size, alignment: 4 });
    }
    let max = kind.max_size(limits);
    if size > max {
        return Err(SliceError::BindingTooLarge { size, max });
    }
    Ok(())
}

/// Whether copies and fills can use `size` bytes at `offset`.
///
/// # Errors
/// [`SliceError`]: the first thing that is wrong.
pub const fn check_copy(offset: u64, size: u64) -> Result<(), SliceError> {
    if size == 0 {
        return Err(SliceError::Empty);
    }
    if !offset.is_multiple_of(COPY_ALIGNMENT) {
        return Err(SliceError::MisalignedOffset { offset, alignment: COPY_ALIGNMENT });
    }
    if !size.is_multiple_of(COPY_ALIGNMENT) {
        return Err(SliceError::MisalignedSize { size, alignment: COPY_ALIGNMENT });
    }
    Ok(())
}

/// A range of a GPU buffer. Cloning it is cheap and gives no second right to the bytes: what keeps uses apart in time are
/// the frontiers of the reservation behind it.
#[derive(Clone)]
pub struct GpuSlice {
    slab: Arc<SlabBuffer>,
    offset: u64,
    size: u64,
    label: Option<Arc<str>>,
    /// Until when it may be used.
    lease: Lease,
}

impl GpuSlice {
    /// `None` when the range does not lie in the slab.
    pub(crate) fn new(slab: Arc<SlabBuffer>, offset: u64, size: u64) -> Option<Self> {
        let end = offset.checked_add(size)?;
        (end <= slab.size()).then_some(Self {
            slab,
            offset,
            size,
            label: None,
            lease: Lease::FOREVER,
        })
    }

    /// The same bytes for a frame, under the name that they have there.
    pub(crate) fn lent(self, label: Option<Arc<str>>, lease: &Lease) -> Self {
        Self { label, lease: lease.clone(), ..self }
    }

    /// The first `size` bytes, which there are, for a frame.
    pub(crate) fn lend(&self, size: u64, lease: &Lease) -> Self {
        debug_assert!(size <= self.size);
        let (slab, label) = (self.slab.clone(), self.label.clone());
        Self { slab, offset: self.offset, size, label, lease: lease.clone() }
    }

    /// Calls it something else.
    pub(crate) fn rename(&mut self, label: Option<&str>) {
        self.label = label.map(Arc::from);
    }

    /// The buffer that holds it. Its use after the submission of its frame is [misuse](crate::Misuse), told where it is looked for.
    #[must_use]
    #[track_caller]
    pub fn buffer(&self) -> &Buffer {
        self.tell_if_ended();
        self.slab.buffer()
    }

    /// What the program called it.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// [`SliceError::Ended`] once its frame has ended, where that is looked for.
    fn check_live(&self) -> Result<(), SliceError> {
        if self.lease.is_over() { Err(SliceError::Ended) } else { Ok(()) }
    }

    #[track_caller]
    fn tell_if_ended(&self) {
        if self.check_live().is_err() {
            let label = self.label().unwrap_or(self.class().name()).to_owned();
            let at = Location::caller();
            self.gpu().misused(&Misuse::AfterSubmission { label, at });
        }
    }

    /// Its first byte, from the start of the buffer.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What it may be used for.
    #[must_use]
    pub fn class(&self) -> UsageClass {
        self.slab.class()
    }

    pub(crate) fn gpu(&self) -> &crate::gpu::Gpu {
        self.slab.gpu()
    }

    /// The three that wgpu's calls take: buffer, offset, size.
    #[must_use]
    #[track_caller]
    pub fn parts(&self) -> (&Buffer, u64, u64) {
        (self.buffer(), self.offset, self.size)
    }

    /// A part of it.
    ///
    /// # Errors
    /// [`SliceError::OutOfRange`].
    pub fn slice(&self, offset: u64, len: u64) -> Result<Self, SliceError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => {
                Ok(Self { offset: self.offset + offset, size: len, ..self.clone() })
            }
            _ => Err(SliceError::OutOfRange { offset, len, size: self.size }),
        }
    }

    /// What a bind group takes.
    ///
    /// # Errors
    /// [`SliceError`] where wgpu would refuse it.
    pub fn binding(&self, kind: BindingKind) -> Result<BindingResource<'_>, SliceError> {
        self.check_live()?;
        check_binding(self.class(), self.offset, self.size, kind, self.slab.limits())?;
        Ok(self.bound(self.offset, self.size))
    }

    /// What a bind group with a dynamic offset takes: a window of `len` bytes, which [`dynamic_offset`](Self::dynamic_offset) moves over this
    /// buffer. It serves every slice of the same buffer, so one bind group will do for all of them.
    ///
    /// # Errors
    /// [`SliceError`] where wgpu would refuse it.
    pub fn dynamic_binding(
        &self,
        kind: BindingKind,
        len: u64,
    ) -> Result<BindingResource<'_>, SliceError> {
        self.check_live()?;
        if len > self.slab.size() {
            return Err(SliceError::OutOfRange { offset: 0, len, size: self.slab.size() });
        }
        check_binding(self.class(), 0, len, kind, self.slab.limits())?;
        Ok(self.bound(0, len))
    }

    /// The dynamic offset that puts a window of `len` bytes on this slice from its byte `at`.
    ///
    /// # Errors
    /// [`SliceError::OutOfRange`] where the window would show bytes beyond the slice, [`SliceError::MisalignedOffset`].
    pub fn dynamic_offset(&self, kind: BindingKind, at: u64, len: u64) -> Result<u32, SliceError> {
        self.check_live()?;
        let out = SliceError::OutOfRange { offset: at, len, size: self.size };
        if at.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(out);
        }
        let offset = self.offset + at;
        check_binding(self.class(), offset, len, kind, self.slab.limits())?;
        u32::try_from(offset).map_err(|_| out)
    }

    fn bound(&self, offset: u64, size: u64) -> BindingResource<'_> {
        BindingResource::Buffer(BufferBinding {
            buffer: self.slab.buffer(),
            offset,
            size: NonZeroU64::new(size),
        })
    }

    /// What `set_vertex_buffer` and `set_index_buffer` take.
    #[must_use]
    #[track_caller]
    pub fn as_buffer_slice(&self) -> BufferSlice<'_> {
        self.buffer().slice(self.offset..self.offset + self.size)
    }

    /// Writes to it by [`Queue::write_buffer`]: from its first byte on, at the start of the next submission. Bytes short of a multiple of
    /// four are followed by zeros.
    ///
    /// # Errors
    /// [`SliceError`]: what lies beyond the slice is not written.
    pub fn write(&self, queue: &Queue, bytes: &[u8]) -> Result<(), SliceError> {
        self.check_live()?;
        let len = bytes.len() as u64;
        if len > self.size {
            return Err(SliceError::OutOfRange { offset: 0, len, size: self.size });
        }
        self.check_target()?;
        let (words, rest) = bytes.split_at(bytes.len() & !3);
        if !words.is_empty() {
            queue.write_buffer(self.slab.buffer(), self.offset, words);
        }
        if !rest.is_empty() {
            // The size is a multiple of four, so there is room for a word.
            let mut word = [0; 4];
            word[..rest.len()].copy_from_slice(rest);
            queue.write_buffer(self.slab.buffer(), self.offset + words.len() as u64, &word);
        }
        Ok(())
    }

    /// Whether it can be filled and copied to.
    ///
    /// # Errors
    /// [`SliceError`].
    pub fn check_target(&self) -> Result<(), SliceError> {
        self.check_live()?;
        if !self.class().is_target() {
            return Err(SliceError::WrongClass { class: self.class(), needed: "a copy's target" });
        }
        check_copy(self.offset, self.size)
    }

    /// Whether it can be copied from.
    ///
    /// # Errors
    /// [`SliceError`].
    pub fn check_source(&self) -> Result<(), SliceError> {
        self.check_live()?;
        if !self.class().is_source() {
            return Err(SliceError::WrongClass { class: self.class(), needed: "a copy's source" });
        }
        check_copy(self.offset, self.size)
    }

    /// Whether both are the same range of the same buffer.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slab, &other.slab)
            && (self.offset, self.size) == (other.offset, other.size)
    }

    /// Whether both lie in one buffer.
    #[must_use]
    pub fn shares_buffer(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slab, &other.slab)
    }

    /// Whether both have a byte in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slab, &other.slab)
            && self.offset < other.offset + other.size
            && other.offset < self.offset + self.size
    }
}

impl fmt::Debug for GpuSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.label().unwrap_or(self.class().name());
        write!(f, "GpuSlice({name} {}+{})", self.offset, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_are_refused_before_wgpu_sees_them() {
        let limits = Limits::default();
        let check = |class, offset, size, kind| check_binding(class, offset, size, kind, &limits);
        use BindingKind::*;
        assert_eq!(check(UsageClass::Storage, 256, 4, Storage), Ok(()));
        assert_eq!(check(UsageClass::Constant, 512, 4, ReadOnlyStorage), Ok(()));
        assert_eq!(check(UsageClass::Constant, 512, 16, Uniform), Ok(()));
        assert_eq!(check(UsageClass::Storage, 0, 0, Storage), Err(SliceError::Empty));
        assert_eq!(
            check(UsageClass::Storage, 128, 4, Storage),
            Err(SliceError::MisalignedOffset { offset: 128, alignment: 256 })
        );
        assert_eq!(
            check(UsageClass::Storage, 0, 6, Storage),
            Err(SliceError::MisalignedSize { size: 6, alignment: 4 })
        );
        let max = limits.max_storage_buffer_binding_size;
        assert_eq!(
            check(UsageClass::Storage, 0, max + 4, Storage),
            Err(SliceError::BindingTooLarge { size: max + 4, max })
        );
        for (class, kind) in [
            (UsageClass::Storage, ReadOnlyStorage),
            (UsageClass::Storage, Uniform),
            (UsageClass::Constant, Storage),
            (UsageClass::Upload, Uniform),
        ] {
            let refused = check(class, 0, 4, kind);
            assert!(matches!(refused, Err(SliceError::WrongClass { .. })), "{class:?} {kind:?}");
        }
    }

    #[test]
    fn copies_are_of_whole_words() {
        assert_eq!(check_copy(4, 8), Ok(()));
        assert_eq!(check_copy(4, 0), Err(SliceError::Empty));
        assert_eq!(check_copy(2, 8), Err(SliceError::MisalignedOffset { offset: 2, alignment: 4 }));
        assert_eq!(check_copy(4, 9), Err(SliceError::MisalignedSize { size: 9, alignment: 4 }));
    }
}
