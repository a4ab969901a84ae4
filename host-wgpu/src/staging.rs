//! Staging: rings of chunks between the host's memory and the device's.
//!
//! ```text
//!   upload    free ─▶ open: mapped, written ─▶ unmapped, copied from ─▶ map asked for ─▶ free again, mapped
//!                      (no submission has it)   (in flight)              dies After(host @ h)
//!   readback  free ─▶ copied to ─▶ map asked for ─▶ mapped, read ─▶ unmapped ─▶ free again
//! ```
//!
//! A chunk is a buffer of its own, because wgpu maps whole buffers: none may be mapped while a submission uses it. The chunks
//! are the blocks of a fixed-block pool with a slab each, so the ring is a pool like any other: its limit is the
//! number of blocks, what is in flight is pending there, and its counters tell what it does. In the steady state no
//! buffer is created.
//!
//! Writes are copies in the order of the commands, not `queue.write_buffer`, which lands before everything in its submission: bytes
//! that were used earlier in the same submission can be written later in it.
//!
//! # Loss
//! When the device is lost, chunks that no submission has go back to their pool, and those under way are given up: what wgpu still
//! says of them is not waited for.

use crate::class::UsageClass;
use crate::gpu::Gpu;
use crate::host_axis::HostAxis;
use crate::slab::WgpuSlabProvider;
use crate::slice::GpuSlice;
use std::sync::Arc;
use strandline_core::pool::PoolHost;
use strandline_core::pool::budget::Budget;
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::slab::SlabMap;
use strandline_core::slab::retain::Retention;
use strandline_core::{
    Acquire, Death, Entry, Failure, FrontierRef, Pool, PoolError, Request, Reservation, Tracker,
};
use wgpu::MapMode;

mod read;

pub use read::ReadBack;
pub(crate) use read::{Arrivals, ReadSink, Readback};

/// Mapped ranges start at multiples of this many bytes.
const MAP_ALIGNMENT: u64 = wgpu::MAP_ALIGNMENT;

/// How large the staging rings of a device are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagingConfig {
    /// Bytes of a chunk, rounded up to 256.
    pub chunk_size: u64,
    /// Chunks for writes: together they bound what one submission can write.
    pub upload_chunks: u32,
    /// Chunks for reads: together they bound what one read can return.
    pub readback_chunks: u32,
    /// Make all chunks at once, so that none is made later.
    pub prepared: bool,
}

impl Default for StagingConfig {
    /// 16 chunks of 1 MiB each way, made as they are needed.
    fn default() -> Self {
        Self { chunk_size: 1 << 20, upload_chunks: 16, readback_chunks: 16, prepared: false }
    }
}

/// Why nothing can be staged now.
#[derive(Debug)]
pub(crate) enum Short {
    /// All chunks are in flight: later.
    Later,
    /// It will not get better.
    Broken(Failure),
}

impl From<PoolError> for Short {
    fn from(error: PoolError) -> Self {
        Self::Broken(Failure::new(error))
    }
}

/// The chunks of one direction.
#[derive(Debug)]
struct Ring {
    provider: Arc<WgpuSlabProvider>,
    pool: Arc<FixedBlockPool>,
    chunk_size: u64,
}

#[derive(Debug)]
struct Chunk {
    reservation: Reservation,
    slice: GpuSlice,
    used: u64,
}

impl Ring {
    fn new(
        gpu: &Gpu,
        tracker: &Tracker,
        class: UsageClass,
        chunk_size: u64,
        chunks: u32,
    ) -> Result<Self, PoolError> {
        let provider = Arc::new(WgpuSlabProvider::new(gpu, class));
        let too_large = PoolError::TooLarge { size: chunk_size, max: provider.max_size() };
        let chunk_size = chunk_size.checked_next_multiple_of(256).ok_or(too_large)?;
        let host = PoolHost::new(provider.clone(), Arc::new(tracker.clone()));
        let pool = FixedBlockPool::new(
            host,
            FixedBlockPoolConfig {
                block_size: chunk_size,
                alignment: 256,
                max_blocks: chunks,
                growth: Growth::slabs_of(chunk_size),
                budget: Budget::UNLIMITED,
                retention: Retention::slabs(chunks),
            },
        )?;
        Ok(Self { provider, pool: Arc::new(pool), chunk_size })
    }

    /// Makes `chunks` chunks, as far as the device has memory for them.
    fn prepare(&self, chunks: u32) -> Result<(), PoolError> {
        let mut made = Vec::new();
        for _ in 0..chunks {
            match self.pool.acquire(&Request::new(self.chunk_size).or_grow())? {
                Acquire::Ready { reservation, .. } | Acquire::AfterWait { reservation, .. } => {
                    made.push(reservation);
                }
                Acquire::Exhausted { .. } | Acquire::OverBudget { .. } => break,
            }
        }
        for reservation in made {
            drop(self.pool.cancel(reservation));
        }
        Ok(())
    }

    fn take(&self) -> Result<Chunk, Short> {
        match self.pool.acquire(&Request::new(self.chunk_size).or_grow())? {
            Acquire::Ready { reservation, .. } => {
                let (id, offset) = (reservation.slab(), reservation.offset());
                match self.provider.map(id, offset, self.chunk_size) {
                    Ok(slice) => Ok(Chunk { reservation, slice, used: 0 }),
                    Err(error) => Err(Short::Broken(Failure::new(error))),
                }
            }
            // A wait was not permitted.
            Acquire::AfterWait { reservation, .. } => {
                drop(self.pool.cancel(reservation));
                Err(Short::Later)
            }
            Acquire::Exhausted { .. } | Acquire::OverBudget { .. } => Err(Short::Later),
        }
    }

    /// The pool gave it out, so it takes it back.
    fn give_back(&self, reservation: Reservation, death: Death<'_>) {
        drop(self.pool.release(reservation, death));
    }

    fn capacity(&self, chunks: u32) -> u64 {
        self.chunk_size * u64::from(chunks)
    }
}

/// Host to device.
#[derive(Debug)]
pub(crate) struct Upload {
    ring: Ring,
    host: Arc<HostAxis>,
    capacity: u64,
    /// Mapped, and no submission has them. The last is the one being filled, unless more were prepared.
    open: Vec<Chunk>,
    /// Unmapped for the submission that is being made.
    closed: Vec<Chunk>,
}

/// The chunks of an upload that has no host axis yet: an axis is registered for good, so it comes when nothing else can fail.
#[derive(Debug)]
pub(crate) struct UploadChunks {
    ring: Ring,
    capacity: u64,
}

impl UploadChunks {
    pub(crate) fn new(
        gpu: &Gpu,
        tracker: &Tracker,
        config: StagingConfig,
    ) -> Result<Self, PoolError> {
        let (size, chunks) = (config.chunk_size, config.upload_chunks);
        let ring = Ring::new(gpu, tracker, UsageClass::Upload, size, chunks)?;
        if config.prepared {
            ring.prepare(chunks)?;
        }
        let capacity = ring.capacity(chunks);
        Ok(Self { ring, capacity })
    }

    pub(crate) fn on(self, host: Arc<HostAxis>) -> Upload {
        let Self { ring, capacity } = self;
        Upload { ring, host, capacity, open: Vec::new(), closed: Vec::new() }
    }
}

impl Upload {
    /// The most bytes that one submission can write.
    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn pool(&self) -> &Arc<FixedBlockPool> {
        &self.ring.pool
    }

    /// What a write takes of the capacity.
    pub(crate) const fn need(len: u64) -> u64 {
        len.next_multiple_of(MAP_ALIGNMENT)
    }

    /// Makes sure that `bytes` can be written, however they are cut.
    pub(crate) fn prepare(&mut self, bytes: u64) -> Result<(), Short> {
        let room = |chunk: &Chunk| self.ring.chunk_size - chunk.used;
        let mut free: u64 = self.open.iter().map(room).sum();
        while free < bytes {
            let taken = self.ring.take().map_err(|short| match (short, self.host.broken()) {
                // What is in flight does not come back.
                (Short::Later, Some(failure)) => Short::Broken(failure.clone()),
                (short, _) => short,
            });
            self.open.push(taken?);
            free += self.ring.chunk_size;
        }
        Ok(())
    }

    /// Writes `bytes`, which were prepared for, and tells where each piece of them lies.
    pub(crate) fn stage(
        &mut self,
        mut bytes: &[u8],
        mut copy: impl FnMut(&GpuSlice, u64),
    ) -> Result<(), Failure> {
        let mut done = 0;
        while !bytes.is_empty() {
            let chunk_size = self.ring.chunk_size;
            let chunk = self.open.iter_mut().find(|chunk| chunk.used < chunk_size);
            let chunk = chunk.ok_or_else(|| Failure::message("the staging ring is full"))?;
            // A chunk's size fits in memory, for it is mapped.
            let len = ((chunk_size - chunk.used) as usize).min(bytes.len());
            let piece = chunk.slice.slice(chunk.used, len as u64).map_err(Failure::new)?;
            let (now, rest) = bytes.split_at(len);
            let (buffer, start, size) = piece.parts();
            let mut view =
                buffer.get_mapped_range_mut(start..start + size).map_err(Failure::new)?;
            view.copy_from_slice(now);
            drop(view);
            copy(&piece, done);
            done += len as u64;
            chunk.used += Self::need(len as u64);
            bytes = rest;
        }
        Ok(())
    }

    /// Before the submission: takes written chunks from the host.
    pub(crate) fn close(&mut self) {
        let mut at = 0;
        while at < self.open.len() {
            if self.open[at].used > 0 {
                let chunk = self.open.swap_remove(at);
                chunk.slice.buffer().unmap();
                self.closed.push(chunk);
            } else {
                at += 1;
            }
        }
    }

    /// After it: asks for them to be mapped again, and gives them to the pool, to be used after that.
    pub(crate) fn reopen(&mut self) {
        if self.closed.is_empty() {
            return;
        }
        for chunk in self.closed.drain(..) {
            let epoch = self.host.begin();
            let host = self.host.clone();
            chunk.slice.buffer().map_async(MapMode::Write, .., move |mapped| match mapped {
                Ok(()) => host.done(epoch),
                // The chunk stays pending for good.
                Err(error) => host.fail(epoch, Failure::new(error)),
            });
            let death = Entry::new(self.host.axis(), epoch);
            self.ring.give_back(chunk.reservation, Death::After(FrontierRef::single(&death)));
        }
        self.ring.provider.gpu().kick();
    }

    /// The device is lost: nothing is written any more.
    pub(crate) fn end(&mut self) {
        for chunk in self.open.drain(..) {
            self.ring.give_back(chunk.reservation, Death::Idle);
        }
        // Of these a submission was being made.
        for chunk in self.closed.drain(..) {
            self.ring.give_back(chunk.reservation, Death::Unknown);
        }
    }
}
