//! Reads: bytes of the device on their way to whoever asked for them.
//!
//! ```text
//!   open ── a submission copies to it ─▶ under way ── mapped ─▶ arrived ── copied to the reader ─▶ free
//!                  │ refused                 │ the device is lost   │ taken from the list by one thread
//!                  └──────▶ the reader is told why ◀──────────────┘
//! ```
//!
//! # Invariants
//! - A chunk under way is in one list, and whoever takes it out tells its readers: wgpu's callback, the loss of the device and
//!   the end of the queues never tell twice, and never nobody.
//! - wgpu's callback only names the chunk, so readers need not wait for wgpu to call.
//!
//! # Cost
//! A read is copied once. The list is gone through for each chunk that arrives; it has as many as are under way.

use super::{Chunk, Ring, Short, StagingConfig, Upload};
use crate::class::UsageClass;
use crate::gpu::Gpu;
use crate::scopes::{checked, log_late};
use crate::slice::GpuSlice;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::pool::fixed_block::FixedBlockPool;
use strandline_core::{Death, Epoch, Failure, PoolError, Tracker};
use wgpu::{CommandEncoder, MapMode};

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
        self.fail(&ended());
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
        // What failed stays so, though some of its bytes, or all, come later.
        if let Some(failure) = &gathering.failed {
            return Poll::Ready(Err(failure.clone()));
        }
        if gathering.missing == 0 {
            return Poll::Ready(Ok(core::mem::take(&mut gathering.bytes)));
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
    /// The operation that reads.
    epoch: Epoch,
}

#[derive(Debug)]
struct Filled {
    chunk: Chunk,
    pieces: Vec<Piece>,
}

/// Chunks that a submission fills or has filled.
#[derive(Debug, Default)]
struct Flying {
    /// How many there have been.
    count: u64,
    /// Each with its number.
    away: Vec<(u64, Filled)>,
    /// Those of which wgpu said whether they are mapped.
    mapped: Vec<(u64, bool)>,
}

type List = Arc<Mutex<Flying>>;

fn lock(list: &List) -> MutexGuard<'_, Flying> {
    // Only lists are changed with it held.
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flying {
    /// Takes out the next chunk of which wgpu said something, and what.
    fn next_mapped(&mut self) -> Option<(Filled, bool)> {
        while let Some((number, mapped)) = self.mapped.pop() {
            if let Some(at) = self.away.iter().position(|(other, _)| *other == number) {
                return Some((self.away.swap_remove(at).1, mapped));
            }
            // Given up before wgpu called.
        }
        None
    }
}

/// Device to host.
pub(crate) struct Readback {
    gpu: Gpu,
    capacity: u64,
    open: Vec<Filled>,
    arrivals: Arrivals,
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
        let arrivals = Arrivals { ring, list: List::default() };
        Ok(Self { gpu: gpu.clone(), capacity, open: Vec::new(), arrivals })
    }

    /// The most bytes that one submission can read.
    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn pool(&self) -> &Arc<FixedBlockPool> {
        &self.arrivals.ring.pool
    }

    /// What takes chunks that have arrived to their readers, from the polling thread.
    pub(crate) fn arrivals(&self) -> Arrivals {
        self.arrivals.clone()
    }

    /// Makes sure that `bytes` can be read, however they are cut.
    pub(crate) fn prepare(&mut self, bytes: u64) -> Result<(), Short> {
        let chunk_size = self.arrivals.ring.chunk_size;
        let mut free: u64 = self.open.iter().map(|filled| chunk_size - filled.chunk.used).sum();
        while free < bytes {
            let chunk = self.arrivals.ring.take()?;
            self.open.push(Filled { chunk, pieces: Vec::new() });
            free += chunk_size;
        }
        Ok(())
    }

    /// Records the copies of a read that was prepared for; `epoch` is the operation's, among those of one submission.
    pub(crate) fn stage(
        &mut self,
        encoder: &mut CommandEncoder,
        source: &GpuSlice,
        sink: &ReadSink,
        epoch: Epoch,
    ) -> Result<(), Failure> {
        let chunk_size = self.arrivals.ring.chunk_size;
        let mut done = 0;
        while done < source.size() {
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
            let piece = Piece { offset: chunk.used, len: len_here, at, sink: sink.clone(), epoch };
            filled.pieces.push(piece);
            chunk.used += Upload::need(len);
            done += len;
        }
        Ok(())
    }

    /// The operation of `epoch` could not be recorded: what it was to read does not come.
    pub(crate) fn withdraw(&mut self, epoch: Epoch, failure: &Failure) {
        for filled in &mut self.open {
            for piece in filled.pieces.extract_if(.., |piece| piece.epoch == epoch) {
                piece.sink.fail(failure);
            }
            if filled.pieces.is_empty() {
                filled.chunk.used = 0;
            }
        }
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

    /// After the submission: asks for what it fills to be mapped. What wgpu has against it is told to the readers.
    pub(crate) fn fetch(&mut self) {
        if self.open.iter().all(|filled| filled.pieces.is_empty()) {
            return;
        }
        let gpu = self.gpu.clone();
        let list = self.arrivals.list.clone();
        let asked = checked(
            gpu.device(),
            || {
                for filled in self.filled() {
                    let buffer = filled.chunk.slice.buffer().clone();
                    let number = {
                        let mut flying = lock(&list);
                        flying.count += 1;
                        let number = flying.count;
                        flying.away.push((number, filled));
                        number
                    };
                    // wgpu calls, whatever happens, but for a device that does not answer any more.
                    let (list, gpu) = (list.clone(), gpu.clone());
                    buffer.map_async(MapMode::Read, .., move |mapped| {
                        lock(&list).mapped.push((number, mapped.is_ok()));
                        gpu.tell();
                    });
                }
            },
            log_late("mapping what was read"),
        );
        if let Err(error) = asked {
            log::warn!("mapping what was read: {error}");
        }
        gpu.kick();
    }

    /// wgpu refused the submission: what it was to fill holds nothing.
    pub(crate) fn give_up(&mut self, failure: &Failure) {
        let ring = self.arrivals.ring.clone();
        for Filled { chunk, pieces } in self.filled() {
            ring.give_back(chunk.reservation, Death::Idle);
            pieces.iter().for_each(|piece| piece.sink.fail(failure));
        }
    }

    /// The device is lost, or the queues have ended: nothing is read any more.
    pub(crate) fn end(&mut self, failure: &Failure) {
        self.give_up(failure);
        for Filled { chunk, .. } in self.open.drain(..) {
            self.arrivals.ring.give_back(chunk.reservation, Death::Idle);
        }
        self.arrivals.deliver();
        self.arrivals.end(failure);
    }
}

/// Nobody takes anything to the readers any more.
impl Drop for Readback {
    fn drop(&mut self) {
        self.end(&ended());
    }
}

fn ended() -> Failure {
    Failure::message("the queue ended before the read was done")
}

impl fmt::Debug for Readback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readback").field("ring", &self.arrivals.ring).finish_non_exhaustive()
    }
}

/// Chunks on their way from the device to readers.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    ring: Arc<Ring>,
    list: List,
}

impl Arrivals {
    /// Copies what has arrived to its readers, and gives the chunks back.
    pub(crate) fn deliver(&self) {
        loop {
            // The lock is not held while readers are told.
            let next = lock(&self.list).next_mapped();
            let Some((Filled { chunk, pieces }, mapped)) = next else { return };
            match self.copy(&chunk, &pieces, mapped) {
                Ok(death) => {
                    self.ring.give_back(chunk.reservation, death);
                    // Now: who has its bytes and reads on finds the chunk free.
                    for piece in &pieces {
                        piece.sink.arrived(piece.len);
                    }
                }
                Err(failure) => {
                    self.ring.give_back(chunk.reservation, self.death());
                    pieces.iter().for_each(|piece| piece.sink.fail(&failure));
                }
            }
        }
    }

    /// Copies a mapped chunk to its readers, who are not told yet, and takes it from the host again. A device that is lost on the way
    /// takes the bytes with it, or only the chunk.
    fn copy(
        &self,
        chunk: &Chunk,
        pieces: &[Piece],
        mapped: bool,
    ) -> Result<Death<'static>, Failure> {
        let gpu = self.ring.provider.gpu();
        if !mapped {
            return Err(gpu.cause(Failure::new(wgpu::BufferAsyncError)));
        }
        let (buffer, start, _) = chunk.slice.parts();
        let mut refused = None;
        let unmapped = checked(
            gpu.device(),
            || {
                match buffer.get_mapped_range(start..start + chunk.used) {
                    Ok(view) => {
                        for piece in pieces {
                            let from = piece.offset as usize;
                            piece.sink.put(piece.at, &view[from..from + piece.len]);
                        }
                    }
                    Err(error) => refused = Some(error),
                }
                buffer.unmap();
            },
            log_late("giving a read chunk back"),
        );
        match refused {
            Some(error) => Err(gpu.cause(Failure::new(error))),
            None if unmapped.is_ok() => Ok(Death::Idle),
            None => Ok(self.death()),
        }
    }

    /// When a chunk that wgpu would not map or unmap is free again.
    fn death(&self) -> Death<'static> {
        match self.ring.provider.gpu().lost() {
            Some(_) => Death::Unknown,
            // The submission that filled it is over.
            None => Death::Idle,
        }
    }

    /// What is under way does not arrive any more.
    pub(crate) fn end(&self, failure: &Failure) {
        let away = core::mem::take(&mut lock(&self.list).away);
        for (_, Filled { chunk, pieces }) in away {
            self.ring.give_back(chunk.reservation, Death::Unknown);
            pieces.iter().for_each(|piece| piece.sink.fail(failure));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::WgpuSlabProvider;
    use strandline_core::slab::{Grant, SlabMap, SlabProvider};
    use strandline_core::{Pool, Tracker};

    /// A read under way, as after its submission; wgpu says nothing unless told to.
    fn under_way() -> (Readback, ReadBack) {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let gpu = Gpu::new(device, queue).unwrap();
        let provider = WgpuSlabProvider::new(&gpu, UsageClass::Storage);
        let Grant::Slab(slab) = provider.acquire(256).unwrap() else { panic!("no memory") };
        let source = provider.map(slab.id, 0, 256).unwrap();
        let config = StagingConfig { chunk_size: 256, ..StagingConfig::default() };
        let mut readback = Readback::new(&gpu, &Tracker::new(1), config).unwrap();
        readback.prepare(256).unwrap();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let (sink, read) = ReadSink::new(256);
        readback.stage(&mut encoder, &source, &sink, 1).unwrap();
        let filled = readback.filled().next().unwrap();
        lock(&readback.arrivals.list).away.push((1, filled));
        (readback, read)
    }

    #[test]
    fn a_device_that_never_answers_holds_no_reader_and_no_chunk() {
        let (mut readback, read) = under_way();
        assert_eq!(readback.pool().stats().live, 1);
        readback.end(&Failure::message("lost"));
        assert_eq!(read.wait().unwrap_err().to_string(), "lost");
        assert_eq!(readback.pool().stats().live, 0);
        // wgpu answers after all.
        lock(&readback.arrivals.list).mapped.push((1, true));
        readback.arrivals.deliver();
        assert_eq!(readback.pool().stats().live, 0);
    }

    #[test]
    fn a_chunk_that_is_told_of_twice_arrives_once() {
        let (readback, read) = under_way();
        lock(&readback.arrivals.list).mapped.extend([(1, false), (1, true), (1, false)]);
        readback.arrivals.deliver();
        assert!(read.wait().is_err(), "it was not mapped");
        assert_eq!((readback.pool().stats().live, readback.pool().stats().releases), (0, 1));
    }

    #[test]
    fn what_cannot_be_recorded_is_withdrawn() {
        let (mut readback, read) = under_way();
        let (_, filled) = lock(&readback.arrivals.list).away.pop().unwrap();
        readback.open.push(filled);
        readback.withdraw(2, &Failure::message("another"));
        assert_eq!(readback.open[0].pieces.len(), 1);
        readback.withdraw(1, &Failure::message("its own"));
        assert_eq!(read.wait().unwrap_err().to_string(), "its own");
        assert_eq!((readback.open[0].pieces.len(), readback.open[0].chunk.used), (0, 0));
    }
}
