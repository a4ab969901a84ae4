//! The complete search: everything that is ready for one requester, before the pool refuses, grows or waits.
//!
//! ```text
//!   requester {A@5}     │ live │ clean │ A@3 │ A@9 │ A@4 │ clean │ live │
//!                              └─ a stretch ─┘     └─ a stretch ─┘
//! ```
//!
//! What is clean is merged already, so the bins know its largest stretch; a stretch of several blocks has one that the
//! requester's frontier covers. Those are found through the pending indexes, and each stretch is walked once, from its left
//! end. A byte is ready when each axis of its death is covered by the frontier or reached, some by the one and some by the
//! other. What waits for several axes is listed under the first of them: when that one is covered, the others are looked at.
//!
//! # Cost
//! O(blocks that the frontier covers, and their pieces). What the requester does not know costs nothing, but for blocks of
//! several axes whose first axis it knows and some other one it does not.

use super::super::pending::NONE;
use super::{Ask, BlockDeath, CLEAN, Heap, TAINTED, Taken};
use crate::offset::tlsf::{BlockId, Side};
use alloc::vec::Vec;

impl Heap {
    /// Takes the tightest stretch of adjacent blocks that are ready for the requester, if one of them is covered by its
    /// frontier, or a clean block that [`acquire`](Self::acquire) did not look at. Every axis was
    /// [polled](Self::poll_all) before.
    pub fn acquire_covered(&mut self, ask: &Ask<'_>, death: &mut BlockDeath) -> Option<Taken> {
        if let Some(place) = self.tlsf.find_by_place(CLEAN, ask.need) {
            return self.take(place, ask.requested, death);
        }
        if ask.frontier.is_empty() {
            return None;
        }
        self.deal_unsorted();
        let mut covered = core::mem::take(&mut self.ready);
        self.list_covered(ask, &mut covered);
        let mut at = 0;
        while let Some(&id) = covered.get(at) {
            at += 1;
            let block = BlockId::from_index(id);
            // What is covered as a whole stays whole: whoever knows so much works with large blocks.
            if !self.is_ready(block, ask) {
                self.part(block);
                covered.extend(self.parted.iter().skip(1).map(|part| part.index()));
            }
        }
        let mut tightest: Option<(u64, BlockId, BlockId)> = None;
        for id in covered.drain(..) {
            let block = BlockId::from_index(id);
            let Some((first, last)) = self.stretch_from(block, ask) else {
                continue;
            };
            let size = self.tlsf.offset(last) + self.tlsf.size(last) - self.tlsf.offset(first);
            if tightest.is_none_or(|(least, ..)| size < least)
                && self.tlsf.fits_span(first, last, ask.need)
            {
                tightest = Some((size, first, last));
            }
        }
        self.ready = covered;
        let (_, first, last) = tightest?;
        self.take_span(first, last, Side::Left, ask, death)
    }

    /// Appends the blocks of which the frontier covers some bytes, on the first axis of their shelf.
    fn list_covered(&mut self, ask: &Ask<'_>, covered: &mut Vec<u32>) {
        for entry in ask.frontier.entries() {
            let single = self.single(entry.axis);
            if single != NONE {
                let index = &mut self.classes[single as usize].index;
                index.up_to(&self.tlsf, entry.epoch, covered);
            }
            let first_axis = |&shelf: &u32| self.classes[shelf as usize].axis;
            let from = self.multi_shelves.partition_point(|shelf| first_axis(shelf) < entry.axis);
            for &shelf in &self.multi_shelves[from..] {
                let class = &mut self.classes[shelf as usize];
                if class.axis != entry.axis {
                    break;
                }
                // Where of another axis nothing is known, there is nothing to look at.
                let known = |(&axis, &floor)| ask.is_over(axis, floor);
                if !self.tlsf.shelf_is_empty(shelf)
                    && class.axes.iter().zip(&class.floor).all(known)
                {
                    class.index.up_to(&self.tlsf, entry.epoch, covered);
                }
            }
        }
    }

    /// The stretch of ready blocks around a pending one, if this one stands first in it or behind a clean one that does.
    fn stretch_from(&self, block: BlockId, ask: &Ask<'_>) -> Option<(BlockId, BlockId)> {
        let is_ready = |block| self.is_ready(block, ask);
        let ready_beside = |block, side| {
            let (neighbour, _) = self.tlsf.neighbour(block, side)?;
            is_ready(neighbour).then_some(neighbour)
        };
        if !is_ready(block) {
            return None;
        }
        let mut first = block;
        if let Some(left) = ready_beside(first, Side::Left) {
            // Of two neighbours at most one is clean: another pending one begins the stretch.
            if self.tlsf.shelf_of(left) != Some(CLEAN) || ready_beside(left, Side::Left).is_some() {
                return None;
            }
            first = left;
        }
        let mut last = block;
        while let Some(right) = ready_beside(last, Side::Right) {
            last = right;
        }
        Some((first, last))
    }

    /// All of this free block is ready for the requester. Not to be asked of what has pieces and is covered in part.
    pub(super) fn is_ready(&self, block: BlockId, ask: &Ask<'_>) -> bool {
        match self.tlsf.shelf_of(block) {
            None | Some(TAINTED) => false,
            Some(CLEAN) => true,
            Some(shelf) => {
                let axes = self.classes[shelf as usize].axes.iter().enumerate();
                axes.into_iter().all(|(i, &axis)| ask.is_over(axis, self.epoch_of(block, i)))
            }
        }
    }
}
