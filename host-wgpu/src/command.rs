//! What queues are given to do: [`Command`]s on [`BufferRange`]s.
//!
//! ```text
//!   fill(range, pattern)   copy(from, to)   write(range, bytes)   dispatch(kernel, ranges, groups)   encode(ranges, f)
//! ```
//!
//! A range is a part of a queue's [`Transient`] buffer, which may have no memory yet, or of a [`GpuSlice`] of your own. It is
//! checked when the command is submitted, as far as wgpu's validation would: by then everything is known but the place.

use crate::class::UsageClass;
use crate::gpu::Gpu;
use crate::kernel::Kernel;
use crate::pools::GpuPools;
use crate::queue::QueueError;
use crate::slice::{BindingKind, GpuSlice, SliceError, check_binding, check_copy};
use crate::staging::{ReadSink, Upload};
use core::fmt;
use smallvec::SmallVec;
use strandline_core::Failure;
use strandline_core::pool::PoolId;
use strandline_core::queue::BufferId;
use wgpu::CommandEncoder;

/// A buffer that lives from an alloca to a dealloca. Copying it copies the name, not the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transient {
    pub(crate) id: BufferId,
    pub(crate) pool: PoolId,
    pub(crate) size: u64,
}

impl Transient {
    /// What it is called in core's queues.
    #[must_use]
    pub const fn id(self) -> BufferId {
        self.id
    }

    /// The pool that its memory comes from.
    #[must_use]
    pub const fn pool(self) -> PoolId {
        self.pool
    }

    /// Bytes.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.size
    }

    /// A part of it.
    ///
    /// # Errors
    /// [`SliceError::OutOfRange`].
    pub fn slice(self, offset: u64, len: u64) -> Result<BufferRange, SliceError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => {
                Ok(BufferRange { base: Base::Transient(self), offset, len })
            }
            _ => Err(SliceError::OutOfRange { offset, len, size: self.size }),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Base {
    Transient(Transient),
    Slice(GpuSlice),
}

/// A range of a buffer for a command to use.
#[derive(Clone, Debug)]
pub struct BufferRange {
    pub(crate) base: Base,
    /// From the base's start.
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl From<Transient> for BufferRange {
    fn from(buffer: Transient) -> Self {
        Self { offset: 0, len: buffer.size, base: Base::Transient(buffer) }
    }
}

impl From<GpuSlice> for BufferRange {
    fn from(slice: GpuSlice) -> Self {
        Self { offset: 0, len: slice.size(), base: Base::Slice(slice) }
    }
}

impl From<&GpuSlice> for BufferRange {
    fn from(slice: &GpuSlice) -> Self {
        slice.clone().into()
    }
}

impl BufferRange {
    /// Bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it may be used for, and its offset as far as that is known: a transient buffer's memory is aligned for every
    /// binding.
    fn known(&self, gpu: &Gpu, pools: &GpuPools) -> Result<(UsageClass, u64), QueueError> {
        match &self.base {
            Base::Slice(slice) => {
                if !slice.gpu().is_same(gpu) {
                    return Err(QueueError::WrongDevice);
                }
                Ok((slice.class(), slice.offset() + self.offset))
            }
            Base::Transient(buffer) => {
                let unknown = QueueError::UnknownBuffer(buffer.id);
                let (home, class) = pools.home(buffer.pool).ok_or(unknown)?;
                if !home.is_same(gpu) {
                    return Err(QueueError::WrongDevice);
                }
                Ok((class, self.offset))
            }
        }
    }

    fn check_target(&self, gpu: &Gpu, pools: &GpuPools) -> Result<UsageClass, QueueError> {
        let (class, offset) = self.known(gpu, pools)?;
        if !class.is_target() {
            return Err(SliceError::WrongClass { class, needed: "a target" }.into());
        }
        check_copy(offset, self.len)?;
        Ok(class)
    }

    fn check_source(&self, gpu: &Gpu, pools: &GpuPools) -> Result<(), QueueError> {
        let (class, offset) = self.known(gpu, pools)?;
        if !class.is_source() {
            return Err(SliceError::WrongClass { class, needed: "a source" }.into());
        }
        Ok(check_copy(offset, self.len)?)
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (&self.base, &other.base) {
            (Base::Transient(a), Base::Transient(b)) => {
                a.id == b.id
                    && self.offset < other.offset + other.len
                    && other.offset < self.offset + self.len
            }
            (Base::Slice(a), Base::Slice(b)) => {
                match (a.slice(self.offset, self.len), b.slice(other.offset, other.len)) {
                    (Ok(a), Ok(b)) => a.overlaps(&b),
                    _ => false,
                }
            }
            // A transient buffer's bytes are reserved for it alone.
            _ => false,
        }
    }

    /// The slice, once the base is one.
    pub(crate) fn resolved(&self) -> Result<GpuSlice, QueueError> {
        match &self.base {
            Base::Slice(slice) => Ok(slice.slice(self.offset, self.len)?),
            Base::Transient(buffer) => Err(QueueError::UnknownBuffer(buffer.id)),
        }
    }
}

/// The ranges of a command; up to four lie in the command itself.
pub(crate) type Ranges = SmallVec<[BufferRange; 4]>;

type Encode = Box<dyn FnOnce(&mut CommandEncoder, &[GpuSlice]) + Send>;

/// A piece of work for a [`Queue`](crate::Queue).
pub struct Command(pub(crate) Work);

pub(crate) enum Work {
    Fill { target: BufferRange, pattern: u64 },
    Copy { source: BufferRange, target: BufferRange },
    Write { target: BufferRange, bytes: Vec<u8> },
    Dispatch { kernel: Kernel, ranges: Ranges, groups: [u32; 3] },
    Encode { ranges: Ranges, encode: Encode },
    Read { source: BufferRange, sink: ReadSink },
}

impl Command {
    /// Repeats the 8 bytes of `pattern`, in little-endian order, over `target`. The first 8 bytes are staged. In
    /// [storage](UsageClass::Storage) a kernel repeats them; in other classes, copies of 4 KiB do.
    pub fn fill(target: impl Into<BufferRange>, pattern: u64) -> Self {
        Self(Work::Fill { target: target.into(), pattern })
    }

    /// Copies `source` to `target`, of the same size. Within one buffer, as wgpu has it, nothing can be copied.
    pub fn copy(source: impl Into<BufferRange>, target: impl Into<BufferRange>) -> Self {
        Self(Work::Copy { source: source.into(), target: target.into() })
    }

    /// Writes `bytes`, through the staging ring, in the order of the commands.
    pub fn write(target: impl Into<BufferRange>, bytes: impl Into<Vec<u8>>) -> Self {
        Self(Work::Write { target: target.into(), bytes: bytes.into() })
    }

    /// Runs a kernel over `groups` workgroups with these ranges as its bindings. More than four allocate.
    pub fn dispatch(
        kernel: &Kernel,
        ranges: impl IntoIterator<Item = BufferRange>,
        groups: [u32; 3],
    ) -> Self {
        let ranges = ranges.into_iter().collect();
        Self(Work::Dispatch { kernel: kernel.clone(), ranges, groups })
    }

    /// Lets `encode` record what it likes on these ranges, which it is given as slices. What it records is checked by wgpu; an
    /// error there fails the queue.
    pub fn encode(
        ranges: impl IntoIterator<Item = BufferRange>,
        encode: impl FnOnce(&mut CommandEncoder, &[GpuSlice]) + Send + 'static,
    ) -> Self {
        Self(Work::Encode { ranges: ranges.into_iter().collect(), encode: Box::new(encode) })
    }

    pub(crate) fn read(source: BufferRange, sink: ReadSink) -> Self {
        Self(Work::Read { source, sink })
    }

    /// Everything that can be wrong and does not depend on where the memory will be.
    pub(crate) fn check(&self, gpu: &Gpu, pools: &GpuPools) -> Result<(), QueueError> {
        match &self.0 {
            Work::Fill { target, .. } => {
                target.check_target(gpu, pools)?;
            }
            Work::Copy { source, target } => {
                source.check_source(gpu, pools)?;
                target.check_target(gpu, pools)?;
                if source.len != target.len {
                    return Err(QueueError::Sizes { source: source.len, target: target.len });
                }
                if source.overlaps(target) {
                    return Err(SliceError::Overlap.into());
                }
            }
            Work::Write { target, bytes } => {
                target.check_target(gpu, pools)?;
                if bytes.len() as u64 != target.len {
                    let source = bytes.len() as u64;
                    return Err(QueueError::Sizes { source, target: target.len });
                }
            }
            Work::Dispatch { kernel, ranges, groups } => {
                check_dispatch(kernel, ranges, *groups, gpu, pools)?;
            }
            Work::Encode { ranges, .. } => {
                for range in ranges {
                    range.known(gpu, pools)?;
                    if range.is_empty() {
                        return Err(SliceError::Empty.into());
                    }
                }
            }
            Work::Read { source, .. } => source.check_source(gpu, pools)?,
        }
        Ok(())
    }

    fn ranges(&self) -> (&[BufferRange], Option<&BufferRange>) {
        match &self.0 {
            Work::Fill { target, .. } | Work::Write { target, .. } => {
                (core::slice::from_ref(target), None)
            }
            Work::Copy { source, target } => (core::slice::from_ref(source), Some(target)),
            Work::Dispatch { ranges, .. } | Work::Encode { ranges, .. } => (ranges, None),
            Work::Read { source, .. } => (core::slice::from_ref(source), None),
        }
    }

    /// The transient buffers that it names, each as often as it does.
    pub(crate) fn transients(&self) -> impl Iterator<Item = BufferId> + '_ {
        let (ranges, target) = self.ranges();
        ranges.iter().chain(target).filter_map(|range| match &range.base {
            Base::Transient(buffer) => Some(buffer.id),
            Base::Slice(_) => None,
        })
    }

    /// Whether the program records it, so that anything can be wrong with it.
    pub(crate) const fn is_foreign(&self) -> bool {
        matches!(self.0, Work::Encode { .. })
    }

    /// It will not be done: whoever reads is told why.
    pub(crate) fn fail(&self, failure: &Failure) {
        if let Work::Read { sink, .. } = &self.0 {
            sink.fail(failure);
        }
    }

    pub(crate) fn ranges_mut(&mut self) -> (&mut [BufferRange], Option<&mut BufferRange>) {
        match &mut self.0 {
            Work::Fill { target, .. } | Work::Write { target, .. } => {
                (core::slice::from_mut(target), None)
            }
            Work::Copy { source, target } => (core::slice::from_mut(source), Some(target)),
            Work::Dispatch { ranges, .. } | Work::Encode { ranges, .. } => (ranges, None),
            Work::Read { source, .. } => (core::slice::from_mut(source), None),
        }
    }

    /// Bytes of the upload and of the readback ring that it takes.
    pub(crate) fn staging(&self) -> (u64, u64) {
        match &self.0 {
            // Up to a repeated pattern.
            Work::Fill { target, .. } => (Upload::need(target.len.min(FILL_BY_COPY)), 0),
            Work::Write { bytes, .. } => (Upload::need(bytes.len() as u64), 0),
            Work::Read { source, .. } => (0, Upload::need(source.len)),
            Work::Copy { .. } | Work::Dispatch { .. } | Work::Encode { .. } => (0, 0),
        }
    }
}

/// Fills without a kernel copy this many bytes at a time.
pub(crate) const FILL_BY_COPY: u64 = 4096;

fn check_dispatch(
    kernel: &Kernel,
    ranges: &[BufferRange],
    groups: [u32; 3],
    gpu: &Gpu,
    pools: &GpuPools,
) -> Result<(), QueueError> {
    if !kernel.gpu().is_same(gpu) {
        return Err(QueueError::WrongDevice);
    }
    let kinds = kernel.bindings();
    if kinds.len() != ranges.len() {
        return Err(QueueError::Bindings { needed: kinds.len(), given: ranges.len() });
    }
    let max = gpu.limits().max_compute_workgroups_per_dimension;
    if groups.iter().any(|&groups| groups == 0 || groups > max) {
        return Err(QueueError::Workgroups { groups, max });
    }
    for (i, (range, &kind)) in ranges.iter().zip(kinds).enumerate() {
        let (class, offset) = range.known(gpu, pools)?;
        check_binding(class, offset, range.len, kind, gpu.limits())?;
        let written = |other: BindingKind| matches!(other, BindingKind::Storage);
        // What a shader may write it must see under one name.
        let clash = ranges[..i].iter().zip(kinds).any(|(other, &other_kind)| {
            (written(kind) || written(other_kind)) && range.overlaps(other)
        });
        if clash {
            return Err(SliceError::Overlap.into());
        }
    }
    Ok(())
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Work::Fill { target, pattern } => write!(f, "Fill({target:?}, {pattern:#x})"),
            Work::Copy { source, target } => write!(f, "Copy({source:?} to {target:?})"),
            Work::Write { target, .. } => write!(f, "Write({target:?})"),
            Work::Dispatch { kernel, groups, .. } => write!(f, "Dispatch({kernel:?}, {groups:?})"),
            Work::Encode { ranges, .. } => write!(f, "Encode({ranges:?})"),
            Work::Read { source, .. } => write!(f, "Read({source:?})"),
        }
    }
}
