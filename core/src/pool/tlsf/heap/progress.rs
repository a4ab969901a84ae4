//! Progress: axes get somewhere, and blocks that waited for it turn clean.
//!
//! ```text
//!   A reaches 5:   {A@5}  ──▶ clean          {A@5, B@7} ──▶ shelf {B}
//! ```
//!
//! # Cost
//! A block that is ready pays for its own move; those that are not cost nothing.

use super::super::wheel::NONE;
use super::{CLEAN, FIRST_PENDING, Heap, Slip, TAINTED};
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
    /// does not know that it was reached.
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
                let (axis, ceiling) = (class.axes[0], class.ceiling[0]);
                let mut reached = progress.reached(axis);
                if reached < ceiling && beyond(axis, ceiling) == Some(true) {
                    reached = ceiling;
                }
                self.advance(shelf, reached, progress);
            }
        }
        self.moves != before
    }

    /// Everything free becomes clean: the device is quiescent.
    pub fn quiesce(&mut self) {
        self.deal_newcomers(NONE, &mut Vec::new());
        for shelf in TAINTED..self.classes.len() as u32 {
            let mut all = core::mem::take(&mut self.ready);
            self.classes[shelf as usize].wheel.take_all(&mut self.tlsf, &mut all);
            for id in all.drain(..) {
                let block = BlockId::from_index(id);
                let row = self.tlsf.label(block).row;
                self.drop_row(row);
                self.turn_clean(block);
            }
            self.ready = all;
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
        let known = class.wheel.reached();
        if reached > known {
            self.advance(shelf, reached, progress);
        }
        if reached.max(known) >= epoch { Standing::Reached } else { Standing::Shelf(shelf) }
    }

    /// An axis of a shelf got somewhere: what waited for no more than that turns clean, or moves on to
    /// the shelf of the axes that it still waits for.
    pub(super) fn advance(&mut self, shelf: u32, to: Epoch, progress: &dyn Progress) {
        if to <= self.classes[shelf as usize].wheel.reached() {
            return;
        }
        // What moves on may make another shelf advance, so the scratch goes along.
        let mut ready = core::mem::take(&mut self.ready);
        self.classes[shelf as usize].wheel.advance(&mut self.tlsf, to, &mut ready);
        self.deal_newcomers(shelf, &mut ready);
        self.moves += ready.len() as u64;
        for id in ready.drain(..) {
            let block = BlockId::from_index(id);
            let row = self.tlsf.label(block).row;
            if row == NONE {
                self.turn_clean(block);
            } else {
                self.move_on(block, shelf, row, progress);
            }
        }
        self.ready = ready;
        if self.tlsf.shelf_is_empty(shelf) {
            self.classes[shelf as usize].ceiling = [0; MAX_DEATH_AXES];
        }
    }

    /// Deals the newcomers out to the wheels of their shelves. Those of `advanced` that are reached become
    /// `ready`; other shelves' come out when their own axis next moves.
    fn deal_newcomers(&mut self, advanced: u32, ready: &mut Vec<u32>) {
        let mut all = core::mem::take(&mut self.dealt);
        self.newcomers.take(&mut all);
        for id in all.drain(..) {
            // It may have been taken since, or have turned clean.
            match self.tlsf.shelf_of(BlockId::from_index(id)) {
                None | Some(CLEAN) => {}
                Some(shelf) => {
                    let wheel = &mut self.classes[shelf as usize].wheel;
                    if shelf == advanced {
                        wheel.settle(&mut self.tlsf, id, ready);
                    } else {
                        wheel.insert(&mut self.tlsf, id);
                    }
                }
            }
        }
        self.dealt = all;
    }

    /// Every few acquires the next shelf in turn is polled: clean blocks keep coming without a look at
    /// every axis.
    #[inline]
    pub(super) fn poll_next(&mut self, progress: &dyn Progress) {
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
            if reached > class.wheel.reached() {
                self.advance(shelf as u32, reached, progress);
            }
        }
    }

    /// A free block that left its wheel becomes clean and merges with clean neighbours.
    pub(super) fn turn_clean(&mut self, block: BlockId) {
        self.tlsf.move_to(block, CLEAN, Slip::CLEAN);
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
