//! Progress: axes get somewhere, and blocks that waited for it turn clean.
//!
//! ```text
//!   A reaches 5:   {A@5}  ──▶ clean          {A@5, B@7} ──▶ shelf {B}
//! ```
//!
//! # Cost
//! A block that is ready pays for its own move; those that are not cost nothing.

use super::super::pending::NONE;
use super::{BlockLabel, CLEAN, FIRST_PENDING, Heap};
use crate::offset::tlsf::{BlockId, Neighbour};
use crate::pool::MAX_DEATH_AXES;
use crate::progress::Progress;
use crate::{Axis, Epoch};
use alloc::vec::Vec;

/// Acquires between two polls of a shelf. Each release settles its own axes besides.
const POLL_EVERY: u32 = 64;

/// Where an axis stands against an epoch.
pub(super) enum Standing {
    Reached,
    /// Not there yet; blocks that wait for it stand on this shelf.
    Shelf(u32),
    /// Not there yet, and it has no shelf.
    Unlisted,
}

impl Heap {
    /// Looks at every axis that blocks wait for; blocks turn clean, or wait for fewer axes. Returns
    /// whether any did. `beyond` is asked for each axis with the latest epoch waited for, when progress
    /// does not know that it was reached, and if not that, with one after the other from the earliest on.
    pub fn poll_all(
        &mut self,
        progress: &dyn Progress,
        beyond: impl Fn(Axis, Epoch) -> Option<bool>,
    ) -> bool {
        let before = self.moves;
        // Shelves of several axes first: what they give up may land on shelves of fewer.
        for pass in 0..2 {
            for shelf in FIRST_PENDING..self.classes.len() as u32 {
                let class = &self.classes[shelf as usize];
                if (class.axes.len() > 1) != (pass == 0) || self.tlsf.shelf_is_empty(shelf) {
                    continue;
                }
                let (axis, ceiling) = (class.axis, class.ceiling[0]);
                let mut reached = progress.reached(axis);
                let answer = if reached < ceiling { beyond(axis, ceiling) } else { None };
                if answer == Some(true) {
                    reached = ceiling;
                }
                self.look_at_others(shelf, progress);
                self.advance(shelf, reached, progress);
                if answer == Some(false) {
                    self.deal_unsorted();
                    // Blocks that move on may leave the shelf to other axes.
                    while let Some(class) = self.classes.get_mut(shelf as usize)
                        && class.axis == axis
                        && let Some(next) = class.index.earliest(&self.tlsf)
                        && beyond(axis, next) == Some(true)
                    {
                        self.advance(shelf, next, progress);
                    }
                }
            }
        }
        self.moves != before
    }

    /// Blocks are filed by the first axis of their shelf. If another has got to where one may wait for, who knows the rest may use
    /// it, though it does not move.
    fn look_at_others(&mut self, shelf: u32, progress: &dyn Progress) {
        let class = &mut self.classes[shelf as usize];
        for (i, &axis) in class.axes.iter().enumerate().skip(1) {
            let reached = progress.reached(axis);
            if reached > class.reached[i] {
                class.reached[i] = reached;
                self.moves += u64::from(reached >= class.floor[i]);
            }
        }
    }

    /// Everything free becomes clean: the device is quiescent. O(blocks).
    pub fn quiesce(&mut self) {
        let regions = self.tlsf.regions();
        let waits = |block: &BlockId| self.tlsf.shelf_of(*block).is_some_and(|on| on != CLEAN);
        let all: Vec<_> =
            regions.flat_map(|region| self.tlsf.blocks(region)).filter(waits).collect();
        for block in all {
            let row = self.tlsf.label(block).row;
            if self.is_pieced(block) {
                self.forget_pieces(block);
            } else {
                self.drop_row(row);
            }
            self.turn_clean(block);
        }
    }

    /// Whether an axis has reached `epoch`, after the blocks that waited for less turned clean: nothing
    /// that is ready may merge with what is not.
    #[inline]
    pub(super) fn settle_axis(
        &mut self,
        axis: Axis,
        epoch: Epoch,
        progress: &dyn Progress,
    ) -> Standing {
        let reached = progress.reached(axis);
        let shelf = self.single(axis);
        let Some(class) = self.classes.get(shelf as usize) else {
            return if reached >= epoch { Standing::Reached } else { Standing::Unlisted };
        };
        // A host may have vouched for more than progress knows.
        let known = class.reached[0];
        if reached > known {
            self.advance(shelf, reached, progress);
        }
        if reached.max(known) >= epoch { Standing::Reached } else { Standing::Shelf(shelf) }
    }

    /// An axis of a shelf got somewhere: what waited for no more than that turns clean, or moves on to
    /// the shelf of the axes that it still waits for.
    pub(super) fn advance(&mut self, shelf: u32, to: Epoch, progress: &dyn Progress) {
        if to <= self.classes[shelf as usize].reached[0] {
            return;
        }
        self.classes[shelf as usize].reached[0] = to;
        self.deal_unsorted();
        // What moves on may make another shelf advance, so the scratch goes along.
        let mut ready = core::mem::take(&mut self.ready);
        self.classes[shelf as usize].index.advance(&mut self.tlsf, to, &mut ready);
        let is_single = self.classes[shelf as usize].axes.len() == 1;
        for id in ready.drain(..) {
            let block = BlockId::from_index(id);
            let earliest = self.earliest(block);
            if earliest > to {
                // The bytes that waited for less were cut off.
                self.classes[shelf as usize].index.insert(&mut self.tlsf, id, earliest);
            } else if is_single {
                self.turn_pieces_clean(block, to);
            } else {
                self.moves += 1;
                self.move_on(block, shelf, self.tlsf.label(block).row, progress);
            }
        }
        self.ready = ready;
        if self.tlsf.shelf_is_empty(shelf) {
            self.classes[shelf as usize].ceiling = [0; MAX_DEATH_AXES];
        }
    }

    /// What waited for no more than `to` of a block on a shelf of one axis turns clean.
    fn turn_pieces_clean(&mut self, block: BlockId, to: Epoch) {
        if !self.is_pieced(block) {
            self.moves += 1;
            return self.turn_clean(block);
        }
        self.part(block);
        let mut parted = core::mem::take(&mut self.parted);
        for part in parted.drain(..) {
            // One that could not be parted goes on to wait as a whole.
            if !self.is_pieced(part) && self.tlsf.label(part).word <= to {
                self.moves += 1;
                self.turn_clean(part);
            }
        }
        self.parted = parted;
    }

    /// Lists the unsorted blocks in the indexes of their shelves.
    pub(super) fn deal_unsorted(&mut self) {
        let mut all = core::mem::take(&mut self.dealt);
        self.unsorted.take(&mut all);
        for id in all.drain(..) {
            let block = BlockId::from_index(id);
            // It may have been taken since, or have turned clean.
            if let Some(shelf) = self.tlsf.shelf_of(block)
                && shelf >= FIRST_PENDING
                && self.tlsf.label(block).stamp == NONE
            {
                let earliest = self.earliest(block);
                self.classes[shelf as usize].index.insert(&mut self.tlsf, id, earliest);
            }
        }
        self.dealt = all;
    }

    /// Every few acquires the next shelf in turn is polled: clean blocks keep coming without a look at
    /// every axis.
    #[inline]
    pub fn poll_next(&mut self, progress: &dyn Progress) {
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(POLL_EVERY) {
            self.poll_one(progress);
        }
    }

    #[inline(never)]
    fn poll_one(&mut self, progress: &dyn Progress) {
        let shelf = self.poll_cursor;
        self.poll_cursor =
            if shelf + 1 < self.classes.len() { shelf + 1 } else { FIRST_PENDING as usize };
        if shelf < FIRST_PENDING as usize || shelf >= self.classes.len() {
            return;
        }
        if !self.tlsf.shelf_is_empty(shelf as u32) {
            let class = &self.classes[shelf];
            let reached = progress.reached(class.axis);
            if reached > class.reached[0] {
                self.advance(shelf as u32, reached, progress);
            }
        }
    }

    /// A free block that left its index becomes clean and merges with clean neighbours.
    pub(super) fn turn_clean(&mut self, block: BlockId) {
        self.tlsf.move_to(block, CLEAN, BlockLabel::CLEAN);
        for neighbour in self.tlsf.neighbours(block) {
            if let Neighbour::Free(neighbour, CLEAN) = neighbour {
                self.tlsf.absorb(block, neighbour);
            }
        }
    }

    /// A block of several axes whose first was reached: to the shelf of those that are not.
    pub(super) fn move_on(
        &mut self,
        block: BlockId,
        shelf: u32,
        row: u32,
        progress: &dyn Progress,
    ) {
        let epochs = self.rows[row as usize];
        self.drop_row(row);
        self.tlsf.label_mut(block).row = NONE;
        let (mut axes, mut left) = ([Axis::from_bits(0); MAX_DEATH_AXES], [0; MAX_DEATH_AXES]);
        let mut len = 0;
        let waited = self.classes[shelf as usize].axes.iter().zip(epochs).skip(1);
        for (&axis, epoch) in waited.filter(|&(&axis, epoch)| progress.reached(axis) < epoch) {
            (axes[len], left[len]) = (axis, epoch);
            len += 1;
        }
        if len == 0 {
            return self.turn_clean(block);
        }
        self.tlsf.remove(block);
        self.shelve_among(block, &axes[..len], &left[..len], progress);
    }
}
