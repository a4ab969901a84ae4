//! Freeing: which shelf a block belongs to, and what it merges with there.
//!
//! ```text
//!   death idle, or reached      ──▶ clean
//!         unknown               ──▶ tainted
//!         {A@5}                 ──▶ shelf {A}, under the later epoch of what merges
//!         {A@5, B@7}            ──▶ shelf {A, B}, each epoch the later one
//! ```
//!
//! # Cost
//! O(1), linear in the axes of the death.

use super::super::wheel::NONE;
use super::progress::Standing;
use super::{BlockDeath, CLEAN, Heap, Slip, TAINTED};
use crate::death::Death;
use crate::frontier::Entry;
use crate::offset::tlsf::{BlockId, InHand};
use crate::pool::MAX_DEATH_AXES;
use crate::progress::Progress;
use crate::{Axis, Epoch};

impl Heap {
    /// Frees a live block.
    ///
    /// # Panics
    /// When the block is not live.
    #[inline(always)]
    pub fn free(&mut self, block: BlockId, death: Death<'_>, progress: &dyn Progress) {
        match death {
            Death::Idle => self.free_plain(block, CLEAN),
            Death::Unknown => self.free_plain(block, TAINTED),
            Death::After(frontier) => match frontier.entries() {
                [] => self.free_plain(block, CLEAN),
                &[Entry { axis, epoch }] => self.free_after_one(block, progress, axis, epoch),
                entries => self.free_after_several(block, entries, progress),
            },
        }
    }

    /// The shelf of a death of one axis that is not reached, if it has one, and the epoch: where every block of that death
    /// goes, as long as no other is filed and no axis moves.
    pub fn shelf_for(&mut self, death: Death<'_>, progress: &dyn Progress) -> Option<(u32, Epoch)> {
        let Death::After(frontier) = death else { return None };
        let &[Entry { axis, epoch }] = frontier.entries() else { return None };
        match self.settle_axis(axis, epoch, progress) {
            Standing::Shelf(shelf) => Some((shelf, epoch)),
            Standing::Unlisted | Standing::Reached => None,
        }
    }

    /// Frees live blocks as [`shelf_for`](Self::shelf_for) said. Blocks that stand side by side, as those do that were taken
    /// one after the other, are merged before they are filed: the merged block is in hand meanwhile, in no bin.
    ///
    /// # Panics
    /// When a block is not live.
    #[inline(always)]
    pub fn file_each(&mut self, blocks: impl Iterator<Item = BlockId>, shelf: u32, epoch: Epoch) {
        let (mut blocks, mut in_hand) = (blocks, None);
        loop {
            let block = blocks.next();
            if let Some(block) = block {
                self.reserved -= self.tlsf.live_bytes(block);
                // It bears an epoch that is as late, and its place in the wheel stays.
                if let Some(merged) = &mut in_hand
                    && self.tlsf.extend(merged, block, shelf)
                {
                    continue;
                }
            }
            if let Some(merged) = in_hand {
                self.tlsf.put_down(merged, shelf);
            }
            let Some(block) = block else { return };
            in_hand = self.shelve_in_hand(block, shelf, epoch);
        }
    }

    #[inline(never)]
    fn free_plain(&mut self, block: BlockId, shelf: u32) {
        self.reserved -= self.tlsf.live_bytes(block);
        self.shelve_plain(block, shelf);
    }

    // In WebAssembly's code the last arguments go through the stack, which 64-bit ones leave at once.
    #[inline(never)]
    fn free_after_one(
        &mut self,
        block: BlockId,
        progress: &dyn Progress,
        axis: Axis,
        epoch: Epoch,
    ) {
        match self.settle_axis(axis, epoch, progress) {
            Standing::Shelf(shelf) => {
                self.reserved -= self.tlsf.live_bytes(block);
                self.shelve_single(block, shelf, epoch);
            }
            Standing::Reached => self.free_plain(block, CLEAN),
            Standing::Unlisted => {
                self.reserved -= self.tlsf.live_bytes(block);
                self.shelve_among(block, &[axis], &[epoch], progress);
            }
        }
    }

    #[inline(never)]
    fn free_after_several(&mut self, block: BlockId, entries: &[Entry], progress: &dyn Progress) {
        self.reserved -= self.tlsf.live_bytes(block);
        let mut axes = [Axis::from_bits(0); MAX_DEATH_AXES];
        let mut epochs = [0; MAX_DEATH_AXES];
        let mut len = 0;
        for &Entry { axis, epoch } in entries {
            if matches!(self.settle_axis(axis, epoch, progress), Standing::Reached) {
                continue;
            }
            if len == MAX_DEATH_AXES {
                self.taints += 1;
                return self.shelve_plain(block, TAINTED);
            }
            axes[len] = axis;
            epochs[len] = epoch;
            len += 1;
        }
        self.shelve_among(block, &axes[..len], &epochs[..len], progress);
    }

    /// Files a block as clean or tainted.
    #[inline(never)]
    pub(super) fn shelve_plain(&mut self, block: BlockId, shelf: u32) {
        let leave = |other: &mut Slip| {
            other.position = NONE;
            0
        };
        let write = |slip: &mut Slip, _| *slip = Slip::CLEAN;
        let merged = self.tlsf.release(block, shelf, 0, |_, other, _| leave(other), write);
        let bears = match merged {
            Some(merged) => {
                self.tlsf.put_down(merged, shelf);
                merged.block
            }
            None => {
                let leave = &mut |_, other: &mut Slip| leave(other);
                self.tlsf.release_beside(block, shelf, 0, leave, &mut { write });
                block
            }
        };
        if shelf == TAINTED {
            self.begins_to_wait(bears);
        }
    }

    /// Files a block on the pending shelf of one axis.
    #[inline(always)]
    pub(super) fn shelve_single(&mut self, block: BlockId, shelf: u32, epoch: Epoch) {
        if let Some(merged) = self.shelve_in_hand(block, shelf, epoch) {
            self.tlsf.put_down(merged, shelf);
        }
    }

    /// [`shelve_single`](Self::shelve_single), but that the block that bears it all is in no bin yet. `None` where it had to be
    /// filed.
    #[inline(always)]
    fn shelve_in_hand(&mut self, block: BlockId, shelf: u32, epoch: Epoch) -> Option<InHand> {
        let class = &mut self.classes.as_mut_slice()[shelf as usize];
        // A branch, which is always guessed: the next acquire need not wait for what this one stores.
        if class.ceiling[0] < epoch {
            class.ceiling[0] = epoch;
        }
        // Of the neighbour whose id the merged block bears, if any.
        let mut before = 0;
        let join = |rank: Epoch, other: &mut Slip, bears| {
            if bears {
                before = other.word;
            } else {
                other.position = NONE;
            }
            rank.max(other.word)
        };
        // Live blocks and those of one axis have no row, and a live one is not listed.
        let (mut latest, mut position) = (0, NONE);
        let write = |slip: &mut Slip, rank| {
            slip.word = rank;
            (latest, position) = (rank, slip.position);
        };
        let merged = self.tlsf.release(block, shelf, epoch, join, write);
        let Some(merged) = merged else {
            self.shelve_single_beside(block, shelf, epoch);
            return None;
        };
        if position == NONE {
            // It may be among the newcomers already.
            self.newcomers.enter(merged.block.index());
        } else if !class.wheel.may_stay(before, latest) {
            // The later epoch belongs into another slot than that of the neighbour.
            self.begins_to_wait(merged.block);
        }
        Some(merged)
    }

    #[inline(never)]
    fn shelve_single_beside(&mut self, block: BlockId, shelf: u32, epoch: Epoch) {
        let mut join = |rank: Epoch, other: &mut Slip| {
            other.position = NONE;
            rank.max(other.word)
        };
        let mut write = |slip: &mut Slip, rank| slip.word = rank;
        self.tlsf.release_beside(block, shelf, epoch, &mut join, &mut write);
        self.begins_to_wait(block);
    }

    /// A block that was filed is a newcomer.
    #[inline]
    pub(super) fn begins_to_wait(&mut self, block: BlockId) {
        self.tlsf.label_mut(block).position = NONE;
        self.newcomers.enter(block.index());
    }

    /// Files a block on the pending shelf of several axes.
    fn shelve_several(&mut self, block: BlockId, shelf: u32, epochs: &[Epoch]) {
        let class = &mut self.classes[shelf as usize];
        for (ceiling, &epoch) in class.ceiling.iter_mut().zip(epochs) {
            *ceiling = (*ceiling).max(epoch);
        }
        let mut joined = [0; MAX_DEATH_AXES];
        joined[..epochs.len()].copy_from_slice(epochs);
        let (rows, vacant_rows) = (&self.rows, &mut self.vacant_rows);
        let mut join = |_, other: &mut Slip| {
            for (mine, other) in joined.iter_mut().zip(rows[other.row as usize]) {
                *mine = (*mine).max(other);
            }
            vacant_rows.push(other.row);
            other.position = NONE;
            joined[0]
        };
        let mut write = |slip: &mut Slip, rank| *slip = Slip::pending(rank, NONE);
        self.tlsf.release_beside(block, shelf, epochs[0], &mut join, &mut write);
        let row = self.new_row(joined);
        self.tlsf.label_mut(block).row = row;
        self.begins_to_wait(block);
    }

    /// Files a block under a death that was written down before.
    pub(super) fn shelve_join(&mut self, block: BlockId, death: &BlockDeath) {
        let (mut axes, mut epochs) = ([Axis::from_bits(0); MAX_DEATH_AXES], [0; MAX_DEATH_AXES]);
        let entries = death.as_ref().entries();
        for (i, entry) in entries.iter().enumerate() {
            (axes[i], epochs[i]) = (entry.axis, entry.epoch);
        }
        self.shelve_among(
            block,
            &axes[..entries.len()],
            &epochs[..entries.len()],
            &crate::NoProgress,
        );
    }

    /// Files a block that waits for these axes. The caller saw that none is reached, but axes move on by themselves: the
    /// shelf may meanwhile be past what the block waits for. It would stay there for good if its axis has no more to do,
    /// so it is filed without that axis.
    pub(super) fn shelve_among(
        &mut self,
        block: BlockId,
        mut axes: &[Axis],
        mut epochs: &[Epoch],
        progress: &dyn Progress,
    ) {
        // Before anything merges there: what is ready on that shelf must not wait for this block. What
        // moves on meanwhile may need a shelf and be given an empty one, this one too: so the shelf is
        // looked up only when nothing moves any more.
        while let Some(shelf) = self.known_shelf(axes) {
            let reached = progress.reached(axes[0]);
            self.advance(shelf, reached, progress);
            match self.known_shelf(axes) {
                Some(shelf) if self.classes[shelf as usize].wheel.reached() >= epochs[0] => {
                    (axes, epochs) = (&axes[1..], &epochs[1..]);
                }
                _ => break,
            }
        }
        if axes.is_empty() {
            return self.shelve_plain(block, CLEAN);
        }
        let Some(shelf) = self.class_for(axes) else {
            self.taints += 1;
            return self.shelve_plain(block, TAINTED);
        };
        match *epochs {
            [epoch] => {
                // Not the usual way to such a shelf: the general steps do.
                let ceiling = &mut self.classes[shelf as usize].ceiling[0];
                *ceiling = (*ceiling).max(epoch);
                self.shelve_single_beside(block, shelf, epoch);
            }
            _ => self.shelve_several(block, shelf, epochs),
        }
    }
}
