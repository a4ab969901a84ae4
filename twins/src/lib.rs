//! Twins: models of the allocators that people have, exact enough to be checked against a recording.
//!
//! ```text
//!   requests ─▶ Twin (rules, tables of blocks) ─▶ addresses, segments, sweeps, out of memory
//!                 │  ▲
//!                 ▼  │ grant, refuse
//!               Driver: a simulated device, or the answers of a recorded one
//! ```
//!
//! A twin is arithmetic: it holds no memory, calls no operating system, and runs wherever Rust does (`no_std`). What an allocator
//! cannot know by itself (where a new segment lies, whether the device has room) is asked of a [`Driver`]. With a driver that
//! repeats a recording, a twin must meet every recorded address: that is its certificate. With a simulated one, it
//! answers what the same requests would have taken under other settings.
//!
//! | twin | its allocator |
//! | --- | --- |
//! | [`torch::Torch`] | PyTorch's CUDA caching allocator, expandable segments included |
//! | [`rmm::Pool`], [`rmm::Arena`], [`rmm::Binning`] | RMM's `pool_memory_resource`, `arena_memory_resource`, `binning_memory_resource` |
//! | [`bfc::Bfc`] | BFC, as TensorFlow, XLA and ONNX Runtime have it |
//!
//! Each file states its rules and where they were read. No twin contains its allocator's code.
//!
//! ```
//! use strandline_twins::torch::{Settings, Torch};
//! use strandline_twins::{Device, Request, Twin};
//!
//! let mut device = Device::new(Some(24 << 20));
//! let mut twin = Torch::new(Settings::default());
//! let block = twin.allocate(Request { size: 3 << 20, stream: 0, pool: 0 }, &mut device)?;
//! assert_eq!(twin.reserved(), 20 << 20); // requests from 1 to 10 MiB share segments of 20 MiB
//! twin.free_requested(block.id, 0);
//! twin.free_completed(block.id);
//! let refused = twin.allocate(Request { size: 30 << 20, stream: 0, pool: 0 }, &mut device).unwrap_err();
//! assert_eq!(refused.tried.swept_bytes, 20 << 20); // the cached segment was given back first
//! # Ok::<(), strandline_twins::OutOfMemory>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bfc;
mod driver;
#[cfg(test)]
mod laws;
pub mod rmm;
mod table;
pub mod torch;

pub use driver::{Answer, Device, Driver};

use alloc::vec::Vec;
use core::fmt;

/// A request for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Bytes asked for.
    pub size: u64,
    /// The stream's handle, as the program names it. Allocators order their free blocks by it.
    pub stream: u64,
    /// The private pool (of a graph or a user) that the request goes to; 0 is the allocator's own.
    pub pool: u32,
}

/// A block's number. It names one block while that block is live, and is used again afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// A block that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Names the block when it is freed.
    pub id: BlockId,
    /// Where it begins.
    pub address: u64,
    /// Its bytes: the request rounded up, and what was too little to be split off.
    pub size: u64,
}

/// What was tried before a request was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// How often the driver was asked, and refused.
    pub refusals: u32,
    /// Segments (or mapped stretches) that were given back to make room.
    pub swept_segments: u32,
    /// Their bytes.
    pub swept_bytes: u64,
    /// The driver broke the attempt off ([`Answer::Stop`]): a recording knows no such request.
    pub stopped: bool,
}

impl Tried {
    /// A segment, or a stretch, was given back. A recording may claim sizes whose sum has no 64 bits: the counters stop at their largest.
    pub(crate) const fn sweep(&mut self, bytes: u64) {
        self.swept_segments = self.swept_segments.saturating_add(1);
        self.swept_bytes = self.swept_bytes.saturating_add(bytes);
    }
}

/// A request that could not be met. The twin is as before, but for what was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub requested: u64,
    /// Bytes that were looked for, after rounding.
    pub rounded: u64,
    /// Bytes that the driver was asked for last, 0 if it was not asked.
    pub asked: u64,
    /// What was tried.
    pub tried: Tried,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requested, asked, tried, .. } = self;
        write!(
            f,
            "no {requested} bytes: the driver refused {asked} bytes {} times, after {} segments ({} bytes) were given back",
            tried.refusals, tried.swept_segments, tried.swept_bytes
        )
    }
}

impl core::error::Error for OutOfMemory {}

/// What a block is at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockState {
    /// Handed out.
    Allocated,
    /// Given back by the program, still in use by a stream.
    Pending,
    /// To be handed out.
    Free,
}

/// A block, as an observer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockView {
    /// Its number.
    pub id: BlockId,
    /// Where it begins.
    pub address: u64,
    /// Its bytes.
    pub size: u64,
    /// Bytes that were asked for; of a free block, 0.
    pub requested: u64,
    /// What it is.
    pub state: BlockState,
}

/// A segment: bytes taken from the driver at once, or a stretch mapped without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// Where it begins.
    pub address: u64,
    /// Its bytes.
    pub size: u64,
    /// The stream whose requests it serves.
    pub stream: u64,
    /// The private pool it belongs to; 0 is the allocator's own.
    pub pool: u32,
    /// Whether it serves small requests.
    pub small: bool,
    /// Whole pages of it can be given back: their size. 0: only all of it can.
    pub page: u64,
    /// Where its pages are counted from.
    pub base: u64,
    /// Its blocks, by address, without a gap.
    pub blocks: Vec<BlockView>,
}

/// Counts of what an allocator did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Segments or mappings that the driver granted.
    pub grants: u64,
    /// Segments or mappings that were given back.
    pub returns: u64,
    /// How often cached segments were given back to make room; each waits for the device.
    pub sweeps: u64,
    /// Blocks that went from one stream's free blocks to another.
    pub moved: u64,
    /// Requests whose stream has to wait for another one.
    pub waits: u64,
}

/// A model of an allocator. Whatever the calls, live blocks never overlap, and `reserved` is the sum of the segments.
pub trait Twin {
    /// Hands out a block.
    ///
    /// # Errors
    /// Neither the cache nor the driver has the memory.
    fn allocate(
        &mut self,
        request: Request,
        driver: &mut dyn Driver,
    ) -> Result<Allocation, OutOfMemory>;

    /// The program gives a block back, in the order of `stream`. Where the allocator waits for streams by itself, the block is
    /// pending until [`free_completed`](Self::free_completed). Not a live block: nothing happens.
    fn free_requested(&mut self, block: BlockId, stream: u64);

    /// The last stream is done with a block that was given back. Not such a block: nothing happens.
    fn free_completed(&mut self, block: BlockId);

    /// Gives back what is cached and whole, as the program's own call for it does. Allocators without one do nothing.
    fn empty_cache(&mut self, driver: &mut dyn Driver);

    /// Bytes taken from the driver. O(1).
    fn reserved(&self) -> u64;

    /// Bytes of live and pending blocks. O(1).
    fn active(&self) -> u64;

    /// What was done so far.
    fn counts(&self) -> Counts;

    /// The segments with their blocks, by address. O(blocks).
    fn segments(&self) -> Vec<SegmentView>;
}
