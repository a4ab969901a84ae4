//! Freeing: which shelf a block belongs to, and what it merges with there.
//!
//! ```text
//!   death idle, or reached      ──▶ clean
//!         unknown               ──▶ tainted
//!         {A@5}                 ──▶ shelf {A}, merged with its neighbours there; see `pieces.rs`
//!         {A@5, B@7}            ──▶ shelf {A, B}, merged with neighbours of the same death
//! ```
//!
//! That is the rule of [`Coalescing::Readiness`]; `eager.rs` has the other one.
//!
//! # Cost
//! O(1), linear in the axes of the death.

use super::super::Coalescing;
use super::super::pending::{NONE, PendingIndex};
use super::pieces::MergedSide;
use super::progress::Standing;
use super::{BlockLabel, CLEAN, Heap, TAINTED};
use crate::death::Death;
use crate::frontier::Entry;
use crate::offset::tlsf::BlockId;
use crate::pool::MAX_DEATH_AXES;
use crate::progress::Progress;
use crate::{Axis, Epoch};

/// What a block that dies at an epoch of one axis merges with.
struct Merging {
    epoch: Epoch,
    sides: [MergedSide; 2],
    count: usize,
    /// All of it dies at that epoch.
    alike: bool,
}

impl Merging {
    #[inline(always)]
    const fn new(epoch: Epoch) -> Self {
        Self { epoch, sides: [MergedSide { word: 0, row: NONE }; 2], count: 0, alike: true }
    }

    #[inline(always)]
    fn add(&mut self, other: &BlockLabel) {
        self.alike &= (other.word == self.epoch) & (other.row == NONE);
        self.sides[self.count] = MergedSide { word: other.word, row: other.row };
        self.count += 1;
    }
}

impl Heap {
    /// Frees a live block.
    ///
    /// # Panics
    /// When the block is not live.
    #[inline(always)]
    pub fn free(&mut self, block: BlockId, death: Death<'_>, progress: &dyn Progress) {
        self.reserved -= self.tlsf.live_bytes(block);
        if self.tlsf.label(block).row != NONE {
            self.forget_pieces(block);
        }
        match self.rule {
            Coalescing::Readiness => self.file(block, death, progress),
            Coalescing::Eager => self.file_merged(block, death, progress),
        }
    }

    /// Files a block that is in no bin.
    #[inline(always)]
    pub(super) fn file(&mut self, block: BlockId, death: Death<'_>, progress: &dyn Progress) {
        match death {
            Death::Idle => self.shelve_plain(block, CLEAN),
            Death::Unknown => self.shelve_plain(block, TAINTED),
            Death::After(frontier) => match frontier.entries() {
                [] => self.shelve_plain(block, CLEAN),
                &[entry] => self.file_after_one(block, entry, progress),
                entries => self.file_after_several(block, entries, progress),
            },
        }
    }

    #[inline(never)]
    fn file_after_one(
        &mut self,
        block: BlockId,
        Entry { axis, epoch }: Entry,
        progress: &dyn Progress,
    ) {
        match self.settle_axis(axis, epoch, progress) {
            Standing::Shelf(shelf) => self.shelve_single(block, shelf, epoch),
            Standing::Reached => self.shelve_plain(block, CLEAN),
            Standing::Unlisted => self.shelve_among(block, &[axis], &[epoch], progress),
        }
    }

    #[inline(never)]
    fn file_after_several(&mut self, block: BlockId, entries: &[Entry], progress: &dyn Progress) {
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
        let write = |label: &mut BlockLabel, _| *label = BlockLabel::CLEAN;
        if self.tlsf.release(block, shelf, 0, |_, _| 0, write).is_none() {
            self.tlsf.release_beside(block, shelf, BlockLabel::CLEAN, &mut |_, _| true);
        }
    }

    /// Files a block on the pending shelf of one axis.
    #[inline(always)]
    fn shelve_single(&mut self, block: BlockId, shelf: u32, epoch: Epoch) {
        let class = &mut self.classes.as_mut_slice()[shelf as usize];
        // A branch, which is always guessed: the next acquire need not wait for what this one stores.
        if class.ceiling[0] < epoch {
            class.ceiling[0] = epoch;
        }
        let (start, units) = self.tlsf.extent(block);
        let mut merging = Merging::new(epoch);
        // The neighbour whose id the merged block bears is the first.
        let join = |rank: Epoch, other: &mut BlockLabel| {
            merging.add(other);
            rank.max(other.word)
        };
        // A live block is not listed.
        let mut stamp = NONE;
        let write = |label: &mut BlockLabel, rank| {
            label.word = rank;
            stamp = label.stamp;
        };
        let Some(merged) = self.tlsf.release(block, shelf, epoch, join, write) else {
            return self.shelve_single_beside(block, shelf, epoch);
        };
        let Merging { sides, count, alike, .. } = merging;
        if !alike {
            self.write_pieces(merged, (start, start + units), shelf, epoch, sides);
        }
        // The neighbour's entry stays good, if nothing that merged waits for less.
        if stamp == NONE {
            // It may be on the unsorted list already.
            self.unsorted.enter(merged.index());
        } else if !alike && (count == 2 || epoch < sides[0].word) {
            self.begins_to_wait(merged);
        }
    }

    /// [`shelve_single`](Self::shelve_single) beside free blocks of other shelves too.
    #[inline(never)]
    fn shelve_single_beside(&mut self, block: BlockId, shelf: u32, epoch: Epoch) {
        let (start, units) = self.tlsf.extent(block);
        let mut merging = Merging::new(epoch);
        let mut join = |label: &mut BlockLabel, other: &mut BlockLabel| {
            merging.add(other);
            label.word = label.word.max(other.word);
            true
        };
        self.tlsf.release_beside(block, shelf, BlockLabel::pending(epoch, NONE), &mut join);
        if !merging.alike {
            self.write_pieces(block, (start, start + units), shelf, epoch, merging.sides);
        }
        self.begins_to_wait(block);
    }

    /// Puts a block that was filed on the unsorted list.
    #[inline]
    pub(super) fn begins_to_wait(&mut self, block: BlockId) {
        PendingIndex::remove(&mut self.tlsf, block.index());
        self.unsorted.enter(block.index());
    }

    /// Files a block on the pending shelf of several axes, and merges it with neighbours that die alike.
    fn shelve_several(&mut self, block: BlockId, shelf: u32, epochs: &[Epoch]) {
        let class = &mut self.classes[shelf as usize];
        let is_first = self.tlsf.shelf_is_empty(shelf);
        for (i, &epoch) in epochs.iter().enumerate() {
            class.ceiling[i] = class.ceiling[i].max(epoch);
            class.floor[i] = if is_first { epoch } else { class.floor[i].min(epoch) };
        }
        let mut own = [0; MAX_DEATH_AXES];
        own[..epochs.len()].copy_from_slice(epochs);
        let (rows, vacant_rows) = (&self.rows, &mut self.vacant_rows);
        let mut join = |_: &mut BlockLabel, other: &mut BlockLabel| {
            let alike = rows[other.row as usize] == own;
            if alike {
                vacant_rows.push(other.row);
            }
            alike
        };
        let label = BlockLabel::pending(epochs[0], NONE);
        self.tlsf.release_beside(block, shelf, label, &mut join);
        let row = self.new_row(own);
        self.tlsf.label_mut(block).row = row;
        self.begins_to_wait(block);
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
                Some(shelf) if self.classes[shelf as usize].reached[0] >= epochs[0] => {
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
