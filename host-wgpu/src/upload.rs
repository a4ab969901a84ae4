//! Uploads from a ring of mapped chunks: [`UploadRing`], in place of `wgpu::util::StagingBelt`.
//!
//! ```text
//!   ring.begin() ─▶ Uploads: write(target, bytes) … write(target, bytes)      the bytes are gathered
//!                      flush(encoder) ─▶ into a mapped chunk, unmap, one copy for what lies side by side, map again once that was submitted and done
//!   chunk mapped again ─▶ free ─▶ the next Uploads of its size          unused for some turns ─▶ dropped
//! ```
//!
//! Nothing is to be recalled: the encoder that copies from a chunk also asks for its mapping. A chunk whose encoder is dropped goes with it.
//!
//! # Invariants
//! - A chunk is written while no submission has it: one that comes back is mapped.
//! - The copies of one flush are in the order of the writes, and each is of bytes that were written (or, within a slice's padding, zeros or
//!   what the chunk had there).
//!
//! - Mapped memory is written while a flush lasts, no longer: a device that is destroyed takes it from under a view.
//!
//! # Cost
//! A write is a copy of its bytes, and so is their flush. A flush is a map and an unmap for each chunk, and a copy command for each stretch. After a burst the
//! chunks that nobody needs are dropped [`TURNS`] turns later.

use crate::gpu::Gpu;
use crate::scopes::checked;
use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use strandline_core::Failure;
use wgpu::{Buffer, BufferDescriptor, BufferUsages, CommandEncoder, MapMode};

use crate::slice::{SliceError, check_copy};

/// For so many turns of the ring an unused chunk is kept.
pub const TURNS: u64 = 15;

/// The smallest chunk, in bytes.
const LEAST: u64 = 16 << 10;

/// Why bytes were not taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum UploadError {
    /// The target cannot be written so.
    Slice(SliceError),
    /// There is no chunk to be had: the device has no memory for one, or is lost.
    Chunk(Failure),
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slice(error) => error.fmt(f),
            Self::Chunk(failure) => write!(f, "no memory to upload through: {failure}"),
        }
    }
}

impl core::error::Error for UploadError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Slice(error) => Some(error),
            Self::Chunk(failure) => Some(failure.get_ref()),
        }
    }
}

impl From<SliceError> for UploadError {
    fn from(error: SliceError) -> Self {
        Self::Slice(error)
    }
}

/// A mapped buffer.
#[derive(Debug)]
struct Chunk {
    buffer: Buffer,
    size: u64,
    /// The turn in which it was used last.
    turn: u64,
    /// What is to be in it, from its start.
    bytes: Vec<u8>,
    /// The ring that counts its bytes, and takes it back, as long as there is one.
    home: Weak<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Mapped again, the one that was used last at the end.
    free: Vec<Chunk>,
    /// Bytes of all chunks, free or not.
    bytes: u64,
    turn: u64,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing panics with it held.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chunk {
    /// It is mapped again.
    fn go_home(self) {
        if let Some(home) = self.home.upgrade() {
            lock(&home).free.push(self);
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            lock(&home).bytes -= self.size;
        }
    }
}

/// Chunks for uploads, of as many sizes as are needed. A handle: clones share the one.
///
/// ```
/// # let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
/// # let target = device.create_buffer(&wgpu::BufferDescriptor {
/// #     label: None, size: 64, usage: wgpu::BufferUsages::COPY_DST, mapped_at_creation: false });
/// use strandline_host_wgpu::{Gpu, UploadRing};
///
/// let ring = UploadRing::new(&Gpu::new(device.clone(), queue.clone())?);
/// let mut encoder = device.create_command_encoder(&Default::default());
/// let mut uploads = ring.begin();
/// uploads.write(&target, 0, &[1; 32])?;
/// uploads.write(&target, 32, &[2; 32])?; // beside the first: one copy for both
/// uploads.flush(&mut encoder);
/// queue.submit([encoder.finish()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct UploadRing {
    gpu: Gpu,
    state: Arc<Mutex<State>>,
}

impl UploadRing {
    /// An empty ring: chunks are made as they are needed.
    #[must_use]
    pub fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), state: Arc::default() }
    }

    /// Begins a turn: what is uploaded together. Several may be open, on several threads.
    pub fn begin(&self) -> Uploads {
        Uploads { ring: self.clone(), open: Vec::new(), copies: Vec::new() }
    }

    /// Bytes of all chunks that exist, in use or not.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        lock(&self.state).bytes
    }

    /// Drops the chunks that are not in use now; returns their bytes.
    pub fn trim(&self) -> u64 {
        let free = core::mem::take(&mut lock(&self.state).free);
        free.iter().map(|chunk| chunk.size).sum()
    }

    /// A mapped chunk of `bytes` at least, rounded up to a power of two: a free one, if there is one of that size.
    fn take(&self, bytes: u64) -> Result<Chunk, UploadError> {
        let size = bytes.max(LEAST).checked_next_power_of_two().unwrap_or(bytes);
        let mut state = lock(&self.state);
        let found = state.free.iter().rposition(|chunk| chunk.size == size);
        if let Some(at) = found {
            return Ok(state.free.remove(at));
        }
        let turn = state.turn;
        drop(state);
        let device = self.gpu.device();
        let create = || {
            device.create_buffer(&BufferDescriptor {
                label: Some("upload"),
                size,
                usage: BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC,
                mapped_at_creation: true,
            })
        };
        let late = |error| log::error!("creating a chunk for uploads: {error}");
        let refused = |error| UploadError::Chunk(self.gpu.cause(Failure::message(error)));
        let buffer = checked(device, create, late).map_err(refused)?;
        lock(&self.state).bytes += size;
        Ok(Chunk { buffer, size, turn, bytes: Vec::new(), home: Arc::downgrade(&self.state) })
    }

    /// Counts a turn, and drops what was not used for [`TURNS`].
    fn turned(&self) -> u64 {
        let mut state = lock(&self.state);
        state.turn += 1;
        let turn = state.turn;
        let mut old = Vec::new();
        if turn.is_multiple_of(TURNS / 4) {
            let (kept, unused) = core::mem::take(&mut state.free)
                .into_iter()
                .partition(|chunk: &Chunk| chunk.turn + TURNS >= turn);
            state.free = kept;
            old = unused;
        }
        // Chunks are dropped with the lock released: they take it.
        drop(state);
        drop(old);
        turn
    }
}

impl fmt::Debug for UploadRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadRing").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// Bytes of an open chunk on their way to a buffer.
struct Copy {
    chunk: usize,
    from: u64,
    target: Buffer,
    to: u64,
    len: u64,
}

/// Uploads that have no encoder yet. Dropped without [`flush`](Self::flush), they were never made.
#[must_use = "uploads go out with an encoder: flush them"]
pub struct Uploads {
    ring: UploadRing,
    /// Chunks that bytes are gathered for.
    open: Vec<Chunk>,
    copies: Vec<Copy>,
}

impl Uploads {
    /// Writes `bytes` to `target` from byte `offset` on, in the order of the encoder that they are flushed into.
    ///
    /// # Errors
    /// [`UploadError`]; nothing is written then.
    pub fn write(&mut self, target: &Buffer, offset: u64, bytes: &[u8]) -> Result<(), UploadError> {
        check_copy(offset, bytes.len() as u64)?;
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > target.size()) {
            let (len, size) = (bytes.len() as u64, target.size());
            return Err(SliceError::OutOfRange { offset, len, size }.into());
        }
        self.put(target, offset, bytes, 0)
    }

    /// The same, where up to `gap` bytes between the last write and this may be written, too, and the bytes that fill the last word.
    pub(crate) fn put(
        &mut self,
        target: &Buffer,
        to: u64,
        bytes: &[u8],
        gap: u64,
    ) -> Result<(), UploadError> {
        let len = (bytes.len() as u64).next_multiple_of(4);
        let used = |chunk: &Chunk| chunk.bytes.len() as u64;
        // Beside the last one?
        let beside = self.copies.last().and_then(|last| {
            let between = to.checked_sub(last.to + last.len).filter(|&between| between <= gap)?;
            let open = &self.open[last.chunk];
            let fits = used(open) + between + len <= open.size;
            (fits && last.chunk + 1 == self.open.len() && last.target == *target).then_some(between)
        });
        let fits = |chunk: &Chunk| used(chunk) + len <= chunk.size;
        if beside.is_none() && !self.open.last().is_some_and(fits) {
            // As much again as there is, so that many small writes need few chunks.
            let held: u64 = self.open.iter().map(|open| open.size).sum();
            self.open.push(self.ring.take(len.max(held))?);
        }
        let between = beside.unwrap_or(0);
        let place = self.open.len() - 1;
        let chunk = &mut self.open[place];
        let from = used(chunk) + between;
        // A chunk fits in memory, for it is mapped.
        chunk.bytes.resize(from as usize, 0);
        chunk.bytes.extend_from_slice(bytes);
        chunk.bytes.resize((from + len) as usize, 0);
        match self.copies.last_mut() {
            Some(last) if beside.is_some() => last.len += between + len,
            _ => self.copies.push(Copy { chunk: place, from, target: target.clone(), to, len }),
        }
        Ok(())
    }

    /// Bytes that wait for an encoder, padding included.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.copies.iter().map(|copy| copy.len).sum()
    }

    /// Records the copies, and that the chunks are mapped again once the device is done with them. The encoder must be submitted, or
    /// dropped.
    pub fn flush(&mut self, encoder: &mut CommandEncoder) {
        if self.open.is_empty() {
            return;
        }
        let fill = |chunk: &Chunk| {
            let used = ..chunk.bytes.len() as u64;
            let mut view = chunk.buffer.get_mapped_range_mut(used).ok()?;
            view.copy_from_slice(&chunk.bytes);
            drop(view);
            chunk.buffer.unmap();
            Some(())
        };
        let device = self.ring.gpu.device();
        let late = |error| log::error!("filling a chunk for uploads: {error}");
        let filled =
            checked(device, || self.open.iter().try_for_each(|chunk| fill(chunk).ok_or(())), late);
        if !matches!(filled, Ok(Ok(()))) {
            // The device was destroyed, and the chunks with it. Whatever uses their bytes will be refused, too.
            self.ring.gpu.find_loss();
            self.copies.clear();
            self.open.clear();
            return;
        }
        for copy in self.copies.drain(..) {
            let source = &self.open[copy.chunk].buffer;
            encoder.copy_buffer_to_buffer(source, copy.from, &copy.target, copy.to, copy.len);
        }
        let turn = self.ring.turned();
        for mut chunk in self.open.drain(..) {
            chunk.turn = turn;
            chunk.bytes.clear();
            let buffer = chunk.buffer.clone();
            encoder.map_buffer_on_submit(&buffer, MapMode::Write, .., move |mapped| {
                // Otherwise the device is lost, or destroyed, and so is the chunk.
                if mapped.is_ok() {
                    chunk.go_home();
                }
            });
        }
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        for mut chunk in self.open.drain(..) {
            chunk.bytes.clear();
            chunk.go_home();
        }
    }
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads").field("pending", &self.pending()).finish_non_exhaustive()
    }
}
