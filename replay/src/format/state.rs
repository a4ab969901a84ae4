//! The state of an allocator at one moment: what a snapshot's `segments` tell.
//!
//! ```text
//!   segment   [ allocated │ free │ pending │ allocated ]   [ free ]
//!                           └ inside a segment               └ a whole segment
//!             reserved = all of it     active = allocated + pending
//! ```
//!
//! Cost: O(blocks), in one walk. Memory: none besides the counters.

/// Bytes of an allocator at one moment. The words are PyTorch's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The device.
    pub device: u32,
    /// Segments taken from the device.
    pub segments: u64,
    /// Blocks, used and free.
    pub blocks: u64,
    /// Bytes of the segments.
    pub reserved_bytes: u64,
    /// Bytes of blocks that programs hold.
    pub allocated_bytes: u64,
    /// Bytes of blocks in use: allocated, or given up while other streams still use them.
    pub active_bytes: u64,
    /// Bytes of blocks that programs hold, as asked for: without rounding.
    pub requested_bytes: u64,
    /// Free bytes in segments that hold something.
    pub free_in_segments_bytes: u64,
    /// Free bytes of whole segments, which could be given back to the device.
    pub free_whole_segments_bytes: u64,
    /// The longest run of free bytes within a segment.
    pub largest_hole_bytes: u64,
}

impl State {
    /// Bytes that are active and no longer allocated.
    #[must_use]
    pub const fn pending_bytes(&self) -> u64 {
        self.active_bytes.saturating_sub(self.allocated_bytes)
    }

    /// Free bytes, of either kind.
    #[must_use]
    pub const fn free_bytes(&self) -> u64 {
        self.free_in_segments_bytes.saturating_add(self.free_whole_segments_bytes)
    }
}
