//! The allocators that are compared, behind one small face.
//!
//! | peer | search | metadata | notes |
//! | --- | --- | --- | --- |
//! | offset-allocator | two-level bins, 8-bit float classes | out of band | counts in units of 256 bytes, as ours does |
//! | rlsf | TLSF, 32 × 32 classes | in the memory itself | |
//! | talc | bins of boundary-tagged chunks | in the memory itself | |
//! | VMA's virtual block | TLSF | out of band | |
//! | gpu-allocator | linear best fit in blocks of 256 MiB | out of band | what wgpu uses; over a Vulkan device that only counts |
//!
//! All sizes are multiples of 256 bytes, so that every out-of-band allocator hands out aligned offsets without being
//! asked; the in-band ones are asked for their natural 16 bytes, which is the least work for them.

mod gpu;
mod in_band;
mod offset;
mod ours;
#[cfg(feature = "vma")]
mod vma;

pub use gpu::GpuAllocator;
pub use in_band::{Rlsf, Talc};
pub use offset::OffsetAllocator;
pub use ours::{Deaths, Ours, Queues};
#[cfg(feature = "vma")]
pub use vma::VirtualBlock;

/// An allocator that keeps its own table of live blocks by slot.
pub trait Peer {
    /// Puts a new block of `bytes` bytes (a multiple of 256) in `slot`, which must be vacant. False when it does
    /// not fit.
    #[must_use]
    fn allocate(&mut self, slot: u32, bytes: u32) -> bool;

    /// Frees the block in `slot`, which becomes vacant.
    fn free(&mut self, slot: u32);
}
