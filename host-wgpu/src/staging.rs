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

use crate::class::UsageClass;
use crate::gpu::Gpu;
use crate::host_axis::HostAxis;
use crate::scopes::{checked, log_late};
use crate::slab::WgpuSlabProvider;
use crate::slice::GpuSlice;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::pool::PoolHost;
use strandline_core::pool::budget::Budget;
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::slab::SlabMap;
use strandline_core::slab::retain::Retention;
use strandline_core::{
    Acquire, Death, Entry, Failure, FrontierRef, Pool, PoolError, Request, Reservation, Tracker,
};
use wgpu::{CommandEncoder, MapMode};

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
        let chunk_size = chunk_size.next_multiple_of(256);
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

impl Upload {
    pub(crate) fn new(
        gpu: &Gpu,
        tracker: &Tracker,
        host: Arc<HostAxis>,
        config: StagingConfig,
    ) -> Result<Self, PoolError> {
        let (size, chunks) = (config.chunk_size, config.upload_chunks);
        let ring = Ring::new(gpu, tracker, UsageClass::Upload, size, chunks)?;
        if config.prepared {
            ring.prepare(chunks)?;
        }
        let capacity = ring.capacity(chunks);
        Ok(Self { ring, host, capacity, open: Vec::new(), closed: Vec::new() })
    }

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
            self.open.push(self.ring.take()?);
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
                // The device is gone; the chunk stays pending for good.
                Err(error) => log::debug!("an upload chunk was not mapped: {error}"),
            });
            let death = Entry::new(self.host.axis(), epoch);
            self.ring.give_back(chunk.reservation, Death::After(FrontierRef::single(&death)));
        }
        self.ring.provider.gpu().kick();
    }
}

/// What a read's pieces are gathered in.
#[derive(Debug, Default)]
struct Gathering {
    bytes: Vec<u8>,
    missing: usize,
    failed: Option<Failure>,
    waker: Option<Waker>,
}

/// The end of a read that fills it. Clones share the one; when the last goes with bytes missing, they will never come, and
/// whoever waits is told.
#[derive(Clone, Debug)]
pub(crate) struct ReadSink(Arc<LastSink>);

#[derive(Debug)]
struct LastSink(Arc<Mutex<Gathering>>);

impl ReadSink {
    pub(crate) fn new(len: usize) -> (Self, ReadBack) {
        let gathering = Gathering { bytes: vec![0; len], missing: len, ..Default::default() };
        let shared = Arc::new(Mutex::new(gathering));
        (Self(Arc::new(LastSink(shared.clone()))), ReadBack(shared))
    }

    /// Copies a piece; it is not told of yet.
    fn put(&self, at: usize, bytes: &[u8]) {
        self.0.lock().bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Tells of a piece that was copied.
    fn arrived(&self, len: usize) {
        let mut gathering = self.0.lock();
        gathering.missing -= len;
        let waker = if gathering.missing == 0 { gathering.waker.take() } else { None };
        drop(gathering);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The first cause stands.
    pub(crate) fn fail(&self, failure: &Failure) {
        self.0.fail(failure);
    }
}

impl LastSink {
    fn lock(&self) -> MutexGuard<'_, Gathering> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, failure: &Failure) {
        let mut gathering = self.lock();
        if gathering.missing > 0 {
            gathering.failed.get_or_insert_with(|| failure.clone());
        }
        let waker = gathering.waker.take();
        drop(gathering);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for LastSink {
    fn drop(&mut self) {
        self.fail(&Failure::message("the queue ended before the read was done"));
    }
}

/// The bytes of a read, once they are there: a future. Dropping it gives up the bytes, not the read.
#[derive(Debug)]
#[must_use = "the bytes come from `wait` or `await`"]
pub struct ReadBack(Arc<Mutex<Gathering>>);

impl Future for ReadBack {
    type Output = Result<Vec<u8>, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut gathering = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if gathering.missing == 0 {
            return Poll::Ready(Ok(core::mem::take(&mut gathering.bytes)));
        }
        if let Some(failure) = &gathering.failed {
            return Poll::Ready(Err(failure.clone()));
        }
        gathering.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A range of a chunk that belongs to a read.
#[derive(Debug)]
struct Piece {
    offset: u64,
    len: usize,
    at: usize,
    sink: ReadSink,
}

#[derive(Debug)]
struct Filled {
    chunk: Chunk,
    pieces: Vec<Piece>,
}

/// A chunk that wgpu has mapped, or not.
type Arrival = (Filled, Result<(), wgpu::BufferAsyncError>);

/// Device to host.
pub(crate) struct Readback {
    ring: Arc<Ring>,
    gpu: Gpu,
    capacity: u64,
    open: Vec<Filled>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
}

impl Readback {
    pub(crate) fn new(
        gpu: &Gpu,
        tracker: &Tracker,
        config: StagingConfig,
    ) -> Result<Self, PoolError> {
        let (size, chunks) = (config.chunk_size, config.readback_chunks);
        let ring = Arc::new(Ring::new(gpu, tracker, UsageClass::Readback, size, chunks)?);
        if config.prepared {
            ring.prepare(chunks)?;
        }
        let capacity = ring.capacity(chunks);
        Ok(Self { ring, gpu: gpu.clone(), capacity, open: Vec::new(), arrivals: Arc::default() })
    }

    /// The most bytes that one submission can read.
    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn pool(&self) -> &Arc<FixedBlockPool> {
        &self.ring.pool
    }

    /// What takes chunks that have arrived to their readers, from the polling thread.
    pub(crate) fn arrivals(&self) -> Arrivals {
        Arrivals { ring: self.ring.clone(), list: self.arrivals.clone() }
    }

    /// Makes sure that `bytes` can be read, however they are cut.
    pub(crate) fn prepare(&mut self, bytes: u64) -> Result<(), Short> {
        let room = |filled: &Filled| self.ring.chunk_size - filled.chunk.used;
        let mut free: u64 = self.open.iter().map(room).sum();
        while free < bytes {
            let chunk = self.ring.take()?;
            self.open.push(Filled { chunk, pieces: Vec::new() });
            free += self.ring.chunk_size;
        }
        Ok(())
    }

    /// Records the copies of a read that was prepared for.
    pub(crate) fn stage(
        &mut self,
        encoder: &mut CommandEncoder,
        source: &GpuSlice,
        sink: &ReadSink,
    ) -> Result<(), Failure> {
        let mut done = 0;
        while done < source.size() {
            let chunk_size = self.ring.chunk_size;
            let filled = self.open.iter_mut().find(|filled| filled.chunk.used < chunk_size);
            let filled = filled.ok_or_else(|| Failure::message("the readback ring is full"))?;
            let chunk = &mut filled.chunk;
            let len = (chunk_size - chunk.used).min(source.size() - done);
            encoder.copy_buffer_to_buffer(
                source.buffer(),
                source.offset() + done,
                chunk.slice.buffer(),
                chunk.slice.offset() + chunk.used,
                len,
            );
            // Both fit in memory: the read's vector has been made.
            let (len_here, at) = (len as usize, done as usize);
            let piece = Piece { offset: chunk.used, len: len_here, at, sink: sink.clone() };
            filled.pieces.push(piece);
            chunk.used += Upload::need(len);
            done += len;
        }
        Ok(())
    }

    /// Chunks that the submission under way fills.
    fn filled(&mut self) -> impl Iterator<Item = Filled> {
        let mut at = 0;
        core::iter::from_fn(move || {
            while self.open.get(at)?.pieces.is_empty() {
                at += 1;
            }
            Some(self.open.swap_remove(at))
        })
    }

    /// After the submission: asks for what it fills to be mapped.
    pub(crate) fn fetch(&mut self) -> Result<(), String> {
        if self.open.iter().all(|filled| filled.pieces.is_empty()) {
            return Ok(());
        }
        let gpu = self.gpu.clone();
        let arrivals = self.arrivals.clone();
        checked(
            gpu.device(),
            || {
                for filled in self.filled() {
                    let buffer = filled.chunk.slice.buffer().clone();
                    let (arrivals, gpu) = (arrivals.clone(), gpu.clone());
                    buffer.map_async(MapMode::Read, .., move |mapped| {
                        arrivals
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push((filled, mapped));
                        gpu.tell();
                    });
                }
            },
            log_late("mapping what was read"),
        )?;
        gpu.kick();
        Ok(())
    }

    /// wgpu refused the submission: what it was to fill holds nothing.
    pub(crate) fn give_up(&mut self, failure: &Failure) {
        let ring = self.ring.clone();
        for Filled { chunk, pieces } in self.filled() {
            ring.give_back(chunk.reservation, Death::Idle);
            pieces.iter().for_each(|piece| piece.sink.fail(failure));
        }
    }
}

impl fmt::Debug for Readback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readback").field("ring", &self.ring).finish_non_exhaustive()
    }
}

/// Chunks on their way from the device to readers.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    ring: Arc<Ring>,
    list: Arc<Mutex<Vec<Arrival>>>,
}

impl Arrivals {
    /// Copies what has arrived to its readers, and gives the chunks back.
    pub(crate) fn deliver(&self) {
        let list = core::mem::take(&mut *self.list.lock().unwrap_or_else(PoisonError::into_inner));
        for (filled, mapped) in list {
            let Filled { chunk, pieces } = filled;
            let (buffer, start, _) = chunk.slice.parts();
            let view = match mapped {
                Ok(()) => buffer.get_mapped_range(start..start + chunk.used).map_err(Failure::new),
                Err(error) => Err(Failure::new(error)),
            };
            match view {
                Ok(view) => {
                    for piece in &pieces {
                        let from = piece.offset as usize;
                        piece.sink.put(piece.at, &view[from..from + piece.len]);
                    }
                    drop(view);
                    buffer.unmap();
                    self.ring.give_back(chunk.reservation, Death::Idle);
                    // Now: who has its bytes and reads on finds the chunk free.
                    for piece in &pieces {
                        piece.sink.arrived(piece.len);
                    }
                }
                Err(failure) => {
                    for piece in &pieces {
                        piece.sink.fail(&failure);
                    }
                    self.ring.give_back(chunk.reservation, Death::Unknown);
                }
            }
        }
    }
}
