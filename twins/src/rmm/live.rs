//! The live blocks of RMM's resources. Their bytes can be had again as soon as the program gives a block back; its number stays
//! taken until the last stream is done with it, since the caller may still name it.
//!
//! Invariant: `active` is the sum of the blocks that were not given back. Cost: O(1), views O(blocks log blocks).

use crate::table::Table;
use crate::{BlockId, BlockState, BlockView};
use alloc::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Live {
    address: u64,
    size: u64,
    requested: u64,
    /// Given back: its bytes are free already.
    returned: bool,
}

/// All live blocks of a resource.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveBlocks {
    blocks: Table<Live>,
    active: u64,
}

impl LiveBlocks {
    /// A block of `size` bytes is handed out for `requested` ones.
    pub(super) fn add(&mut self, address: u64, size: u64, requested: u64) -> BlockId {
        self.active += size;
        self.blocks.add(Live { address, size, requested, returned: false })
    }

    /// The program gives a block back: where it lies, and its bytes. None if it did so before, or the number names no block.
    pub(super) fn give_back(&mut self, number: BlockId) -> Option<(u64, u64)> {
        let live = self.blocks.get_mut(number)?;
        if core::mem::replace(&mut live.returned, true) {
            return None;
        }
        let Live { address, size, .. } = *live;
        self.active -= size;
        Some((address, size))
    }

    /// The last stream is done with a block that was given back: its number may name another one.
    pub(super) fn forget(&mut self, number: BlockId) {
        let _ = self.blocks.take(number);
    }

    /// Bytes of the blocks that were not given back.
    pub(super) fn active(&self) -> u64 {
        self.active
    }

    /// These blocks and the `free` ones (address, bytes), by address.
    pub(super) fn views(&self, free: impl Iterator<Item = (u64, u64)>) -> BTreeMap<u64, BlockView> {
        let live = self.blocks.iter().filter(|(_, live)| !live.returned).map(|(id, live)| {
            let &Live { address, size, requested, .. } = live;
            BlockView { id, address, size, requested, state: BlockState::Allocated }
        });
        let free = free.map(|(address, size)| {
            let id = BlockId(u32::MAX);
            BlockView { id, address, size, requested: 0, state: BlockState::Free }
        });
        live.chain(free).map(|view| (view.address, view)).collect()
    }
}
