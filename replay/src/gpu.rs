//! Replay on a GPU: slabs are GPU buffers, and the GPU writes and checks the tags.
//!
//! ```text
//!   tag(block), verify(block) ─▶ batch ─▶ one submission: parameters, a dispatch for each block
//!                                             │ in the order in which the operations completed
//!   settle() ◀── blocks found wrong ◀── counter on the device
//! ```
//!
//! A device runs what it is given in order, so a block that was handed on too early is overwritten before its last owner's check,
//! and is counted. At most 16 words at either end of a block and one in each 4 KiB between are touched; bytes outside of whole words are not.
//!
//! Cost: a dispatch an operation, a submission every [`BATCH`] operations.

use crate::build::{Backing, BuildError, Native};
use crate::memory::{DeviceReport, Tagged, Tags};
use core::fmt;
use hdrhistogram::Histogram;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use strandline_core::pool::PoolHost;
use strandline_core::pool::PoolId;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool_set::Registration;
use strandline_core::slab::SlabMap;
use strandline_core::{Axis, Frontier, FrontierRef, Request, SlabError, Tracker};
use strandline_host_wgpu::adapter::{self, AdapterReport};
use strandline_host_wgpu::{
    BindingKind, Command, GpuPools, GpuSlice, Kernel, Queue, QueueError, QueueSet, Transient,
    UsageClass, WgpuSlabProvider,
};

/// Operations that go out in one submission, at most.
pub const BATCH: usize = 256;

/// Words of a block's parameters.
const WORDS: usize = 64;

/// Bytes of a block's parameters: where a binding may start.
const STRIDE: u64 = 4 * WORDS as u64;

/// Longest completion that is told apart, in nanoseconds: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// Bytes that one dispatch covers at most; larger blocks take several.
const WINDOW: u64 = 64 << 20;

/// What is bound starts at multiples of this many bytes.
const ALIGNMENT: u64 = 256;

const TAG: &str = "
@group(0) @binding(0) var<storage, read_write> data: array<u32>;
// First word, words, the tag's two words, whether to check, places, found wrong already.
@group(0) @binding(1) var<storage, read_write> op: array<atomic<u32>, 64>;
@group(0) @binding(2) var<storage, read_write> wrong: array<atomic<u32>, 1>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let words = atomicLoad(&op[1]);
    if id.x >= atomicLoad(&op[5]) { return; }
    var place = id.x;
    if words > 32u && id.x >= 16u {
        if id.x < 32u {
            place = words - 32u + id.x;
        } else {
            place = 528u + (id.x - 32u) * 1024u;
        }
    }
    // Knuth's multiplicative hash of the place, so that neighbours differ.
    let value = ((atomicLoad(&op[2]) ^ place) * 0x9e3779b9u) ^ atomicLoad(&op[3]);
    let at = atomicLoad(&op[0]) + place;
    if atomicLoad(&op[4]) == 0u {
        data[at] = value;
    } else if data[at] != value && atomicExchange(&op[6], 1u) == 0u {
        atomicAdd(&wrong[0], 1u);
    }
}";

/// How many places of a block of `words` words the kernel touches.
const fn places(words: u64) -> u64 {
    if words <= 32 { words } else { 32 + (words - 32) / 1024 }
}

/// A part of a block that lies in one binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    /// Where the binding starts in the slab, in bytes.
    start: u64,
    /// Bytes of the binding.
    len: u64,
    /// The part's first word in it.
    first: u64,
    /// Words of the part.
    words: u64,
}

/// The whole words of a block, in parts that can be bound.
fn windows(offset: u64, size: u64) -> impl Iterator<Item = Window> {
    let end = (offset + size) / 4 * 4;
    let mut at = offset.next_multiple_of(4);
    core::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let start = at / ALIGNMENT * ALIGNMENT;
        let until = end.min(start + WINDOW);
        let window =
            Window { start, len: until - start, first: (at - start) / 4, words: (until - at) / 4 };
        at = until;
        Some(window)
    })
}

#[derive(Debug, Default)]
struct Batch {
    windows: Vec<(GpuSlice, u32)>,
    parameters: Vec<u32>,
    submissions: u64,
}

/// Tags on a GPU. See the [module](self).
struct GpuTags {
    adapter: String,
    provider: Arc<WgpuSlabProvider>,
    queue: Queue,
    pool: PoolId,
    wrong: Transient,
    kernel: Kernel,
    batch: Mutex<Batch>,
    completion: Arc<Mutex<Histogram<u64>>>,
}

impl GpuTags {
    fn open(name: Option<&str>, capacity: Option<u64>) -> Result<Self, String> {
        let gpu = adapter::open(name).map_err(|error| error.to_string())?;
        let text = |error: &dyn fmt::Display| error.to_string();
        let provider = WgpuSlabProvider::new(&gpu, UsageClass::Storage);
        let provider = Arc::new(provider.capacity(capacity.unwrap_or(u64::MAX)));
        let tracker = Tracker::new(4);
        // Apart from what is replayed, so that the trace's pools hold nothing else.
        let own = Arc::new(WgpuSlabProvider::new(&gpu, UsageClass::Storage));
        let host = PoolHost::new(own.clone(), Arc::new(tracker.clone()));
        let config =
            TlsfPoolConfig { growth: Growth::slabs_of(1 << 20), ..TlsfPoolConfig::default() };
        let pool = TlsfPool::new(host, config).map_err(|error| text(&error))?;
        let mut pools = GpuPools::new();
        let pool =
            pools.add(Arc::new(pool), own, Registration::new()).map_err(|error| text(&error))?;
        let set = QueueSet::new(pools, &tracker);
        let queue = set.open(&gpu, Axis::queue(0, 0)).map_err(|error| text(&error))?;
        let kernel = Kernel::new(&gpu, "tags", TAG, "main", &[BindingKind::Storage; 3])
            .map_err(|error| text(&error))?;
        let (wrong, _) =
            queue.alloca(pool, &Request::new(4).or_grow()).map_err(|error| text(&error))?;
        queue
            .submit(FrontierRef::EMPTY, [Command::fill(wrong, 0)])
            .map_err(|error| text(&error))?;
        // The bounds are constants within what the histogram supports.
        let completion =
            Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("up to a minute at three digits");
        Ok(Self {
            adapter: gpu.device().adapter_info().name,
            provider,
            queue,
            pool,
            wrong,
            kernel,
            batch: Mutex::default(),
            completion: Arc::new(Mutex::new(completion)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Batch> {
        // Nothing panics between two writes that belong together.
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, block: &Tagged, check: bool) -> Result<(), SlabError> {
        let mut batch = self.lock();
        for window in windows(block.offset, block.size) {
            let slice = self.provider.map(block.slab, window.start, window.len)?;
            let places = places(window.words) as u32;
            let mut parameters = [0; WORDS];
            // A window's words and places fit in 32 bits; the tag has two words.
            parameters[..6].copy_from_slice(&[
                window.first as u32,
                window.words as u32,
                block.tag as u32,
                (block.tag >> 32) as u32,
                u32::from(check),
                places,
            ]);
            batch.parameters.extend_from_slice(&parameters);
            batch.windows.push((slice, places.div_ceil(64)));
            if batch.windows.len() == BATCH {
                self.flush(&mut batch).map_err(|error| lost(&error))?;
            }
        }
        Ok(())
    }

    /// Submits what there is.
    fn flush(&self, batch: &mut Batch) -> Result<(), QueueError> {
        if batch.windows.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> =
            batch.parameters.drain(..).flat_map(|word| word.to_le_bytes()).collect();
        let (parameters, _) =
            self.queue.alloca(self.pool, &Request::new(bytes.len() as u64).or_grow())?;
        let mut commands = Vec::with_capacity(1 + batch.windows.len());
        commands.push(Command::write(parameters, bytes));
        for ((slice, groups), i) in batch.windows.drain(..).zip(0_u64..) {
            let op = parameters.slice(i * STRIDE, STRIDE)?;
            let ranges = [slice.into(), op, self.wrong.into()];
            commands.push(Command::dispatch(&self.kernel, ranges, [groups, 1, 1]));
        }
        let start = Instant::now();
        let epoch = self.queue.submit(FrontierRef::EMPTY, commands)?;
        let done = Frontier::from_entry(self.queue.axis(), epoch);
        let completion = self.completion.clone();
        self.queue.set().tracker().wait(done.as_ref(), move |reached| {
            if reached.is_ok() {
                let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                let mut completion = completion.lock().unwrap_or_else(PoisonError::into_inner);
                completion.saturating_record(ns);
            }
        })?;
        self.queue.dealloca(parameters, FrontierRef::EMPTY)?;
        batch.submissions += 1;
        Ok(())
    }

    /// Submits the rest and reads the counter.
    fn found(&self) -> Result<u64, QueueError> {
        self.flush(&mut self.lock())?;
        let read = self.queue.read(FrontierRef::EMPTY, self.wrong)?;
        self.queue.submit(FrontierRef::EMPTY, [Command::fill(self.wrong, 0)])?;
        let bytes = read.wait().map_err(QueueError::Failed)?;
        let found = bytes.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        Ok(found.into())
    }
}

fn lost(error: &QueueError) -> SlabError {
    // The report says that blocks were lost; this says why.
    log::error!("gpu: {error}");
    SlabError::Lost
}

impl Tags for GpuTags {
    fn tag(&self, block: &Tagged) -> Result<(), SlabError> {
        self.add(block, false)
    }

    fn verify(&self, block: &Tagged) -> Result<bool, SlabError> {
        self.add(block, true).map(|()| true)
    }

    fn settle(&self) -> Result<u64, SlabError> {
        self.found().map_err(|error| lost(&error))
    }

    fn device(&self) -> Option<DeviceReport> {
        let completion = self.completion.lock().unwrap_or_else(PoisonError::into_inner);
        Some(DeviceReport {
            adapter: self.adapter.clone(),
            submissions: self.lock().submissions,
            completion: completion.clone(),
        })
    }
}

impl fmt::Debug for GpuTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuTags").field("adapter", &self.adapter).finish_non_exhaustive()
    }
}

/// Memory of the GPU whose adapter's name contains `adapter` (`None`: the fastest), up to `capacity` bytes.
///
/// # Errors
/// [`BuildError::Provider`]: there is no such adapter, or it cannot be used.
pub fn backing(adapter: Option<&str>, capacity: Option<u64>) -> Result<Backing, BuildError> {
    let tags = Arc::new(GpuTags::open(adapter, capacity).map_err(BuildError::Provider)?);
    let provider = tags.provider.clone();
    Ok(Backing { provider, memory: Some(tags), maker: Arc::new(Native), committed: None })
}

/// The adapters of this machine.
#[must_use]
pub fn adapters() -> Vec<AdapterReport> {
    adapter::list()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_whole_words_of_a_block_once() {
        for (offset, size) in [
            (0, 4),
            (3, 1),
            (1, 6),
            (252, 9),
            (64, 1 << 20),
            (WINDOW - 8, 16),
            (300, 3 * WINDOW + 5),
        ] {
            let mut at = u64::next_multiple_of(offset, 4);
            for window in windows(offset, size) {
                assert!(window.start.is_multiple_of(ALIGNMENT) && window.len <= WINDOW);
                assert_eq!(window.start + 4 * window.first, at, "{offset}+{size}");
                at += 4 * window.words;
                assert_eq!(at, window.start + window.len);
                assert!(window.words > 0);
            }
            assert!(at + 4 > offset + size, "{offset}+{size}: {at}");
        }
    }

    #[test]
    fn places_lie_in_the_block_and_do_not_meet() {
        for words in [1, 31, 32, 33, 1055, 1056, 1057, 2080, 1 << 20] {
            let place = |i: u64| match i {
                _ if words <= 32 || i < 16 => i,
                16..32 => words - 32 + i,
                _ => 528 + (i - 32) * 1024,
            };
            let mut all: Vec<u64> = (0..places(words)).map(place).collect();
            all.sort_unstable();
            assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{words}: {all:?}");
            assert!(all.last().is_some_and(|&last| last < words), "{words}");
        }
    }

    #[test]
    fn a_gpu_finds_what_was_overwritten() {
        use strandline_core::Grant;
        let backing = match backing(None, None) {
            Ok(backing) => backing,
            Err(error) => {
                let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
                assert!(!ci, "CI must have an adapter: {error}");
                eprintln!("skipped: {error}");
                return;
            }
        };
        let Ok(Grant::Slab(slab)) = backing.provider.acquire(1 << 20) else { panic!("no memory") };
        let tags = backing.memory.unwrap();
        let block = |offset, size, tag| Tagged { slab: slab.id, offset, size, tag };
        let blocks = [block(0, 100, 1), block(128, 3, 2), block(4096, 500_000, u64::MAX)];
        for block in &blocks {
            tags.tag(block).unwrap();
        }
        for block in &blocks {
            assert_eq!(tags.verify(block), Ok(true));
        }
        assert_eq!(tags.settle(), Ok(0));
        // Over the end of the last.
        tags.tag(&block(504_000, 64, 9)).unwrap();
        for block in &blocks {
            tags.verify(block).unwrap();
        }
        assert_eq!(tags.settle(), Ok(1));
        assert_eq!(tags.settle(), Ok(0), "told once");
        let device = tags.device().unwrap();
        assert!(device.submissions == 2 && !device.completion.is_empty());
        assert!(
            tags.tag(&Tagged { slab: strandline_core::SlabId::new(9, 9), ..blocks[0] }).is_err()
        );
    }
}
