//! The virtual block of AMD's Vulkan Memory Allocator: its TLSF without a device.

use super::Peer;
use std::fmt;
use std::hint::black_box;
use vk_mem::{VirtualAllocation, VirtualAllocationCreateFlags, VirtualAllocationCreateInfo};

/// VMA's virtual block with its default strategy.
pub struct VirtualBlock {
    block: vk_mem::VirtualBlock,
    live: Vec<Option<VirtualAllocation>>,
    flags: VirtualAllocationCreateFlags,
}

impl fmt::Debug for VirtualBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualBlock").finish_non_exhaustive()
    }
}

impl VirtualBlock {
    /// Over `capacity` bytes, with room for `slots` live blocks, with VMA's default strategy. `None` when VMA
    /// refuses.
    #[must_use]
    pub fn new(capacity: u64, slots: u32) -> Option<Self> {
        let info = vk_mem::VirtualBlockCreateInfo { size: capacity, ..Default::default() };
        let block = vk_mem::VirtualBlock::new(info).ok()?;
        let live = (0..slots).map(|_| None).collect();
        Some(Self { block, live, flags: VirtualAllocationCreateFlags::empty() })
    }
}

impl Peer for VirtualBlock {
    #[inline]
    fn allocate(&mut self, slot: u32, bytes: u32) -> bool {
        let info = VirtualAllocationCreateInfo {
            size: bytes.into(),
            alignment: 1,
            user_data: 0,
            flags: self.flags,
        };
        // SAFETY: the block is valid until it is dropped, and the size is not zero.
        let Ok((allocation, offset)) = (unsafe { self.block.allocate(info) }) else { return false };
        black_box(offset);
        self.live[slot as usize] = Some(allocation);
        true
    }

    #[inline]
    fn free(&mut self, slot: u32) {
        if let Some(mut allocation) = self.live[slot as usize].take() {
            // SAFETY: it came from this block, and taking it out of the table frees it once.
            unsafe { self.block.free(&mut allocation) }
        }
    }
}

impl Drop for VirtualBlock {
    fn drop(&mut self) {
        // SAFETY: nothing uses the allocations any more; VMA asserts that none is left.
        unsafe { self.block.clear() }
    }
}
