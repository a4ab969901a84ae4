//! Blocks by address: which one holds a granule, found by walking from one that is near.

use super::{BlockId, EDGE, Label, RegionId, Tlsf, VACANT};

impl<L: Label> Tlsf<L> {
    /// The block begins at this granule of the region. Any id may be asked for, also one of a block that is gone.
    #[inline(always)]
    pub(crate) fn begins_at(&self, block: BlockId, region: RegionId, start: u32) -> bool {
        self.nodes.get(block.0).is_some_and(|node| {
            node.offset == start
                && u32::from(node.region) == region.0
                && node.shelf != VACANT
                && node.shelf != EDGE
        })
    }

    /// The block of a region that holds a granule, at most so many blocks to the right of `from`, which is of that region and
    /// begins no later; without it, of the region's first. O(`steps`).
    #[inline(always)]
    pub(crate) fn block_at(
        &self,
        region: RegionId,
        from: Option<BlockId>,
        granule: u32,
        steps: u32,
    ) -> Option<BlockId> {
        let edge = self.regions.get(region.0 as usize)?.edge;
        let mut at = match from {
            Some(block) => block.0,
            None => self.nodes.get(edge)?.right.id(),
        };
        for _ in 0..steps {
            let node = self.nodes.at(at);
            // The edge has no granules.
            if granule.wrapping_sub(node.offset) < node.units {
                return Some(BlockId(at));
            }
            if node.offset > granule || at == edge {
                return None;
            }
            at = node.right.id();
        }
        None
    }
}
