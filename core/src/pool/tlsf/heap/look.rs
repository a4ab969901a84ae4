//! What is told of blocks: what taken ones wait for, and the state of each.

use super::super::pending::NONE;
use super::{Ask, BlockDeath, CLEAN, Heap, TAINTED, Taken};
use crate::frontier::{Entry, Frontier, Merge};
use crate::inspect::BlockState;
use crate::offset::tlsf::{BlockId, RegionId};
use crate::progress::Progress;

impl Heap {
    /// Whether what was taken waits for an axis that has not reached its epoch.
    #[inline(always)]
    pub(in super::super) fn is_waited_for(
        &self,
        taken: &Taken,
        death: &BlockDeath,
        progress: &dyn Progress,
    ) -> bool {
        let waits = |entry: &Entry| !progress.has_reached(entry.axis, entry.epoch);
        taken.pending
            && (death.as_ref().entries().iter().any(waits)
                || taken.overflow && self.any_entry(taken.block, &waits))
    }

    #[cold]
    #[inline(never)]
    fn any_entry(&self, block: BlockId, holds: &dyn Fn(&Entry) -> bool) -> bool {
        let mut any = false;
        self.for_each_entry(block, &BlockDeath::new(), &mut |entry| any |= holds(&entry));
        any
    }

    /// What a requester has to wait for before it uses what was taken: neither known to it nor reached. `None` when that
    /// is more than a frontier holds.
    pub(in super::super) fn wait_for(
        &self,
        taken: &Taken,
        death: &BlockDeath,
        ask: &Ask<'_>,
    ) -> Option<Frontier> {
        let (mut wait, mut merged) = (Frontier::new(), Merge::Done);
        self.for_each_entry(taken.block, death, &mut |Entry { axis, epoch, .. }| {
            if merged == Merge::Done && !ask.is_over(axis, epoch) {
                merged = wait.advance(axis, epoch);
            }
        });
        (merged == Merge::Done).then_some(wait)
    }

    /// The death of a free block as far as it is not known to be reached: `None` when it is unknown.
    ///
    /// # Panics
    /// When the block is live.
    #[must_use]
    pub fn death_of(&self, block: BlockId) -> Option<BlockDeath> {
        let mut death = BlockDeath::new();
        let shelf = self.tlsf.shelf_of(block)?;
        if shelf == TAINTED {
            return None;
        }
        // Cannot overflow: a shelf has at most MAX_DEATH_AXES axes.
        let _ = self.join_death(block, &mut death);
        Some(death)
    }

    /// Where a block is.
    pub(in super::super) fn place_of(&self, block: BlockId) -> (RegionId, u64) {
        (self.tlsf.region(block), self.tlsf.offset(block))
    }

    /// A live block was taken of parts that died at different times.
    #[inline(always)]
    pub(in super::super) fn has_pieces(&self, live: BlockId) -> bool {
        self.tlsf.label(live).row != NONE
    }

    /// All of a region is clean.
    pub(in super::super) fn is_empty(&self, region: RegionId) -> bool {
        let sole = self.tlsf.sole_free_block(region);
        sole.is_some_and(|block| self.tlsf.shelf_of(block) == Some(CLEAN))
    }

    /// Visits the blocks of a region: offset, size, state.
    pub(in super::super) fn visit(
        &self,
        region: RegionId,
        visit: &mut dyn FnMut(u64, u64, BlockState<'_>),
    ) {
        for block in self.tlsf.blocks(region) {
            if self.tlsf.shelf_of(block).is_some() {
                self.for_each_part(block, &mut |offset, size, death| {
                    let state = match death {
                        None => BlockState::Tainted,
                        Some(death) if death.is_empty() => BlockState::Clean,
                        Some(death) => BlockState::Pending(death.as_ref()),
                    };
                    visit(offset, size, state);
                });
            } else if !self.is_hole(block) {
                let requested = self.tlsf.label(block).requested();
                let (offset, size) = (self.tlsf.offset(block), self.tlsf.size(block));
                visit(offset, size, BlockState::Live { requested });
            }
        }
    }
}
