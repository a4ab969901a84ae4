//! A frame: buffers that are used by one submission, and end with it.

use super::exclusive::Owned;
use super::{ALIGNMENT, Inner, TransientError, class_of};
use crate::class::UsageClass;
use crate::gpu::GpuError;
use crate::lease::{CHECKED, Lease};
use crate::misuse::Misuse;
use crate::slice::{GpuSlice, SliceError};
use crate::upload::Uploads;
use core::sync::atomic::Ordering;
use std::sync::Arc;
use strandline_core::slab::Trim;
use strandline_core::{Acquire, Death, Entry, Epoch, FrontierRef, PoolError, Request, Reservation};
use wgpu::{BufferDescriptor, BufferUsages, CommandBuffer, CommandEncoder, SubmissionIndex};

/// The least that is uploaded through at once, in bytes.
const UPLOAD_BLOCK: u64 = 4 << 10;

/// The most empty frames that are kept to be used again.
const MOST_KEPT: usize = 64;

/// What a frame has. Its lists are used again by later ones.
#[derive(Debug, Default)]
pub(super) struct Held {
    reservations: Vec<Reservation>,
    owned: Vec<Owned>,
    /// Bytes that were charged.
    charged: u64,
    lease: Lease,
    /// Where uploads go, by class.
    blocks: [Block; 2],
}

/// Bytes on the device that are uploaded together.
#[derive(Debug, Default)]
struct Block {
    slice: Option<GpuSlice>,
    used: u64,
    /// Bytes of the frame's blocks before this.
    before: u64,
}

/// Buffers that are used by one submission, and end with it.
///
/// A frame ends with [`submit`](Self::submit), [`submitted`](Self::submitted) or [`discard`](Self::discard). One that is dropped without,
/// by an early return for instance, may have been recorded in an encoder that is submitted later: its bytes are given to nobody
/// until [`Transients::quiesce`](super::Transients::quiesce), its whole buffers are dropped, and it is told as [`Misuse::DroppedFrame`].
#[derive(Debug)]
#[must_use = "a frame is submitted, or discarded"]
pub struct Frame {
    inner: Arc<Inner>,
    held: Held,
    uploads: Uploads,
}

impl Frame {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        let mut held = inner.kept().pop().unwrap_or_default();
        held.lease.renew();
        let uploads = inner.ring.begin();
        Self { inner, held, uploads }
    }

    /// A buffer for this frame, as `device.create_buffer` would make it, but as a slice: use its offset. Its size is
    /// rounded up to 4. What it holds is whatever was there, not zeros. Which buffer it is a part of: see the [module](super).
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
        let class = self.class_for(descriptor.usage, descriptor.size)?;
        self.make(class, descriptor.size, descriptor.label)
    }

    fn class_for(&self, usages: BufferUsages, size: u64) -> Result<UsageClass, TransientError> {
        let class = class_of(usages).ok_or(TransientError::Usages(usages))?;
        let alone = size > self.inner.config.exclusive_above;
        Ok(if alone { UsageClass::Exclusive } else { class })
    }

    /// `size` bytes of a class, rounded up to 4, where every binding may start.
    ///
    /// # Errors
    /// [`TransientError`].
    pub fn create(&mut self, class: UsageClass, size: u64) -> Result<GpuSlice, TransientError> {
        self.make(class, size, None)
    }

    fn make(
        &mut self,
        class: UsageClass,
        size: u64,
        label: Option<&str>,
    ) -> Result<GpuSlice, TransientError> {
        if size == 0 {
            return Err(PoolError::ZeroSize.into());
        }
        let max = self.inner.exclusive.provider().max_size();
        if size > max {
            return Err(PoolError::TooLarge { size, max }.into());
        }
        // The largest is a multiple.
        let size = size.next_multiple_of(4);
        self.inner.charge(size)?;
        let made = match class {
            UsageClass::Exclusive => self.take_whole(size, label),
            UsageClass::Storage | UsageClass::Constant | UsageClass::Geometry => {
                self.take_part(class, size, label)
            }
            UsageClass::Upload | UsageClass::Readback => Err(TransientError::Class(class)),
        };
        match made {
            Ok(_) => self.held.charged += size,
            Err(_) => self.inner.uncharge(size),
        }
        made
    }

    fn take_whole(&mut self, size: u64, label: Option<&str>) -> Result<GpuSlice, TransientError> {
        let mut taken = self.inner.exclusive.take(size, label)?;
        if taken.is_none() && self.inner.pools.set().trim(Trim::All)? > 0 {
            // Empty slabs of the shared classes have made room.
            taken = self.inner.exclusive.take(size, label)?;
        }
        let mut owned = taken.ok_or(TransientError::OutOfMemory { size })?;
        owned.keep_label(label);
        let slice = owned.lend(&self.held.lease);
        self.held.owned.push(owned);
        Ok(slice)
    }

    fn take_part(
        &mut self,
        class: UsageClass,
        size: u64,
        label: Option<&str>,
    ) -> Result<GpuSlice, TransientError> {
        let pool = self.inner.pool_of(class).ok_or(TransientError::Class(class))?;
        let issued = self.inner.timeline.frontier();
        let request = Request::new(size).aligned(ALIGNMENT).after(issued.as_ref()).or_grow();
        match pool.acquire(&request)? {
            Acquire::Ready { reservation, .. } => {
                let slice = self.inner.pools.slice(&reservation);
                self.held.reservations.push(reservation);
                Ok(slice?.lent(label.map(Arc::from), &self.held.lease))
            }
            Acquire::AfterWait { reservation, .. } => {
                // A wait was not permitted.
                drop(pool.cancel(reservation));
                Err(TransientError::OutOfMemory { size })
            }
            _ => Err(TransientError::OutOfMemory { size }),
        }
    }

    /// A buffer that holds `bytes` when the frame's commands run: they come with the frame's submission, those of all buffers of a class by
    /// one copy. Bytes short of a multiple of four are followed by zeros.
    ///
    /// # Errors
    /// [`TransientError`].
    pub fn upload(
        &mut self,
        usages: BufferUsages,
        bytes: &[u8],
    ) -> Result<GpuSlice, TransientError> {
        let len = bytes.len() as u64;
        let class = self.class_for(usages, len)?;
        let place = match class {
            UsageClass::Constant => 0,
            UsageClass::Geometry => 1,
            _ => {
                let slice = self.make(class, len, None)?;
                let (buffer, offset, _) = slice.parts();
                self.uploads.put(buffer, offset, bytes, 0)?;
                return Ok(slice);
            }
        };
        if bytes.is_empty() {
            return Err(PoolError::ZeroSize.into());
        }
        let len = len.next_multiple_of(4);
        // What follows another in a block begins where every binding may.
        let block = &self.held.blocks[place];
        let fits = block.slice.as_ref().is_some_and(|slice| block.used + len <= slice.size());
        if !fits {
            let before = block.before + block.used;
            let expected = self.inner.uploads[place].load(Ordering::Relaxed);
            let size = expected.saturating_sub(before).max(before).max(UPLOAD_BLOCK).max(len);
            // A round size fits again when a frame has a little more.
            let size = size.checked_next_multiple_of(UPLOAD_BLOCK).unwrap_or(size);
            let slice = self.make(class, size, None)?;
            self.held.blocks[place] = Block { slice: Some(slice), used: 0, before };
        }
        let block = &mut self.held.blocks[place];
        let Some(whole) = &block.slice else { return Err(TransientError::Class(class)) };
        let slice = whole.slice(block.used, len)?;
        let (buffer, offset, _) = slice.parts();
        self.uploads.put(buffer, offset, bytes, ALIGNMENT)?;
        block.used += len.next_multiple_of(ALIGNMENT);
        Ok(slice)
    }

    /// Records the uploads so far at the front of `encoder`, or where it is: for whoever submits it without [`submit`](Self::submit).
    pub fn flush(&mut self, encoder: &mut CommandEncoder) {
        self.uploads.flush(encoder);
    }

    /// Records a copy of all bytes of `from` to the front of `to`, by way of a third buffer where both lie in one, within which wgpu
    /// copies nothing.
    ///
    /// # Errors
    /// [`TransientError::Slice`], and, on the way through a third, as [`create`](Self::create).
    pub fn copy(
        &mut self,
        encoder: &mut CommandEncoder,
        from: &GpuSlice,
        to: &GpuSlice,
    ) -> Result<(), TransientError> {
        let size = from.size();
        let to = to.slice(0, size)?;
        from.check_source()?;
        to.check_target()?;
        if from.overlaps(&to) {
            return Err(SliceError::Overlap.into());
        }
        let mut copy = |from: &GpuSlice, to: &GpuSlice| {
            let ((source, start, _), (target, end, _)) = (from.parts(), to.parts());
            encoder.copy_buffer_to_buffer(source, start, target, end, size);
        };
        if from.shares_buffer(&to) {
            let between = self.make(UsageClass::Exclusive, size, None)?;
            copy(from, &between);
            copy(&between, &to);
        } else {
            copy(from, &to);
        }
        Ok(())
    }

    /// Submits, uploads first, and returns the epoch at which the device is done. The frame's buffers end then; who comes next may have
    /// them at once.
    ///
    /// # Errors
    /// [`GpuError::Lost`].
    pub fn submit(
        mut self,
        commands: impl IntoIterator<Item = CommandBuffer>,
    ) -> Result<Epoch, GpuError> {
        let mut first = None;
        if self.uploads.pending() > 0 {
            let device = self.inner.timeline.gpu().device();
            let mut encoder = device.create_command_encoder(&Default::default());
            self.uploads.flush(&mut encoder);
            first = Some(encoder.finish());
        }
        let submitted = self.inner.timeline.submit(first.into_iter().chain(commands));
        self.ended(submitted)
    }

    /// The same for a submission that you made yourself, with everything of this frame in it, also its [uploads](Self::flush).
    ///
    /// # Errors
    /// [`GpuError::Lost`].
    pub fn submitted(mut self, index: SubmissionIndex) -> Result<Epoch, GpuError> {
        let bytes = self.uploads.pending();
        if CHECKED && bytes > 0 {
            self.inner.timeline.gpu().misused(&Misuse::UploadsLeft { bytes });
        }
        let submitted = self.inner.timeline.submitted(index);
        self.ended(submitted)
    }

    /// Ends a frame of which nothing was, or will be, submitted: its bytes are free again as if they had never been taken.
    pub fn discard(mut self) {
        self.give_up();
    }

    fn ended(&mut self, submitted: Result<Epoch, GpuError>) -> Result<Epoch, GpuError> {
        let epoch = match submitted {
            Ok(epoch) => epoch,
            Err(error) => {
                // The device is lost, and nobody reads what is there.
                self.give_up();
                return Err(error);
            }
        };
        if let Err(error) = self.inner.shrink() {
            log::warn!("giving back memory that no frame needs: {error}");
        }
        let death = Entry::new(self.inner.timeline.axis(), epoch);
        for reservation in self.held.reservations.drain(..) {
            // The set gave it out, so it takes it back.
            let death = Death::After(FrontierRef::single(&death));
            drop(self.inner.pools.set().release(reservation, death));
        }
        if !self.held.owned.is_empty() {
            self.inner.exclusive.give(self.held.owned.drain(..), epoch);
        }
        for (block, expected) in self.held.blocks.iter().zip(&self.inner.uploads) {
            expected.store(block.before + block.used, Ordering::Relaxed);
        }
        Ok(epoch)
    }

    /// Nobody uses its bytes.
    fn give_up(&mut self) {
        for reservation in self.held.reservations.drain(..) {
            drop(self.inner.pools.set().cancel(reservation));
        }
        let last = self.inner.timeline.last();
        self.inner.exclusive.give(self.held.owned.drain(..), last);
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let buffers = self.held.reservations.len() + self.held.owned.len();
        if buffers > 0 {
            // Neither submitted nor discarded: an encoder may have them.
            for reservation in self.held.reservations.drain(..) {
                drop(self.inner.pools.set().release(reservation, Death::Unknown));
            }
            self.inner.exclusive.set_aside(self.held.owned.drain(..));
            let gpu = self.inner.timeline.gpu();
            if CHECKED && gpu.lost().is_none() {
                gpu.misused(&Misuse::DroppedFrame { buffers });
            }
        }
        self.held.lease.end();
        self.inner.uncharge(core::mem::take(&mut self.held.charged));
        let mut held = core::mem::take(&mut self.held);
        held.blocks = Default::default();
        let mut kept = self.inner.kept();
        if kept.len() < MOST_KEPT {
            kept.push(held);
        }
    }
}
