//! The other rule of merging: every free neighbour is merged at once, and the block waits for all that its parts wait for.
//!
//! ```text
//!   │ A@3 │ freed after B@7 │ clean │  ──▶  │        {A@3, B@7}        │
//! ```
//!
//! This is how IREE's TLSF pool treats death frontiers, but for the search, which is the heap's: it looks at the shelves of
//! axes that the requester knows, and at no candidate that is not ready. Ready bytes wait for their neighbours; a join of
//! more axes than a block can hold is unknown, so merging taints. A cancel gives back the joined death.
//!
//! # Cost
//! O(1), linear in the axes of the three deaths.

use super::super::pending::NONE;
use super::Heap;
use crate::death::Death;
use crate::frontier::Merge;
use crate::offset::tlsf::{BlockId, Side};
use crate::pool::inbox::StoredDeath;
use crate::progress::Progress;

impl Heap {
    /// Merges a live block, which is counted as freed, with whatever is free beside it, and files it.
    #[inline(never)]
    pub(super) fn file_merged(
        &mut self,
        block: BlockId,
        death: Death<'_>,
        progress: &dyn Progress,
    ) {
        let mut joined = StoredDeath::IDLE;
        self.taints += u64::from(joined.set(death, progress));
        self.tlsf.loosen(block);
        for side in [Side::Left, Side::Right] {
            if let Some((neighbour, _)) = self.tlsf.neighbour(block, side) {
                self.join_into(&mut joined, neighbour);
                let row = self.tlsf.label(neighbour).row;
                if self.is_pieced(neighbour) {
                    self.forget_pieces(neighbour);
                } else {
                    self.drop_row(row);
                }
                self.tlsf.absorb(block, neighbour);
            }
        }
        // A loose block bears no row.
        self.tlsf.label_mut(block).row = NONE;
        self.file(block, joined.get(), progress);
    }

    fn join_into(&mut self, joined: &mut StoredDeath, neighbour: BlockId) {
        let is_known = match self.death_of(neighbour) {
            None => false,
            Some(_) if joined.unknown => false,
            Some(other) => {
                let merged = joined.after.merge(other.as_ref()) == Merge::Done;
                self.taints += u64::from(!merged);
                merged
            }
        };
        if !is_known {
            joined.unknown = true;
            joined.after.clear();
        }
    }
}
