//! Acquiring what is ready: the search over shelves, and the taking.
//!
//! ```text
//!   requester {A@9}    clean     anything
//!                      {A}       all of it, where the shelf's latest epoch is at most 9; else what is
//!                      {A, B}    never: nothing is known of B
//! ```
//!
//! # Invariants
//! What remains of a block that was cut keeps its shelf, its epochs and its entry in the pending index.
//!
//! # Cost
//! O(1) in blocks. Under a frontier of at most one axis, usually two looks at bins and one cut.

use super::super::pending::NONE;
use super::{Ask, BlockDeath, BlockLabel, CLEAN, Heap, Taken};
use crate::frontier::{Entry, FrontierRef, Merge};
use crate::offset::tlsf::{BlockId, Head, Need, Place, RegionId};

/// Shelves of more than one axis that an acquire looks at.
const MULTI_PROBES: usize = 16;
/// Shelves, empty ones included, that a search goes past.
pub(super) const MAX_LOOKS: usize = 256;

impl Heap {
    /// Looks for a block that the requester may use at once, takes it and writes down what its death was.
    // Always: of an acquire's instructions, a tenth would save and restore registers around the call.
    #[inline(always)]
    pub fn acquire(&mut self, ask: &Ask<'_>, death: &mut BlockDeath) -> Option<Taken> {
        match self.first_of_bin(ask) {
            Some(head) => self.take_first(head, ask, death),
            None => self.acquire_any(ask, death),
        }
    }

    /// The usual case: one axis at most, which covers all of its shelf, and a block that fits is first in its bin.
    #[inline(always)]
    fn first_of_bin(&self, ask: &Ask<'_>) -> Option<Head> {
        let (shelf, epoch) = match *ask.frontier.entries() {
            [] => (NONE, 0),
            [Entry { axis, epoch }] if self.multi_shelves.is_empty() => (self.single(axis), epoch),
            _ => return None,
        };
        if self.classes.get(shelf as usize).is_some_and(|class| class.ceiling[0] > epoch) {
            return None;
        }
        self.tlsf.find_head(CLEAN, shelf, ask.need)
    }

    #[inline(always)]
    fn take_first(&mut self, head: Head, ask: &Ask<'_>, death: &mut BlockDeath) -> Option<Taken> {
        let &Ask { need, requested, .. } = ask;
        let mut row = NONE;
        if head.shelf == CLEAN {
            death.clear();
        } else {
            let label = self.tlsf.label(head.block);
            row = label.row;
            death.become_entry(self.classes.as_slice()[head.shelf as usize].axis, label.word);
        }
        let cut = self.tlsf.cut_head(head, need, |label| *label = BlockLabel::live(requested))?;
        if row != NONE {
            self.deal_pieces(head.block, row, cut.block, death);
        }
        let size = self.tlsf.bytes(need);
        Some(self.took(cut.block, cut.offset, size, cut.region, head.shelf != CLEAN))
    }

    /// [`acquire`](Self::acquire) under any frontier, with every search there is.
    #[inline(never)]
    fn acquire_any(&mut self, ask: &Ask<'_>, death: &mut BlockDeath) -> Option<Taken> {
        let &Ask { need, frontier, .. } = ask;
        let mut shelf_of_one = None;
        let mut best = None;
        for entry in frontier.entries() {
            let shelf = self.single(entry.axis);
            if shelf == NONE || self.tlsf.shelf_is_empty(shelf) {
                continue;
            }
            if self.classes[shelf as usize].ceiling[0] > entry.epoch {
                let found = self.tlsf.find_where(shelf, need, &|label| label.word <= entry.epoch);
                best = self.tlsf.tighter(found, best);
            } else if let Some(other) = shelf_of_one.replace(shelf) {
                best = self.tlsf.tighter(self.tlsf.find(other, need), best);
            }
        }
        // Of equally tight places the pending one: who knows less can use the clean one.
        let plain = match shelf_of_one {
            Some(shelf) => {
                self.tlsf.tighter(self.tlsf.find(CLEAN, need), self.tlsf.find(shelf, need))
            }
            None => self.tlsf.find(CLEAN, need),
        };
        best = self.tlsf.tighter(plain, best);
        if !self.multi_shelves.is_empty() && !frontier.is_empty() {
            best = self.find_multi(need, frontier, best);
        }
        self.take(best?, ask.requested, death)
    }

    pub(super) fn find_multi(
        &self,
        need: Need,
        frontier: FrontierRef<'_>,
        mut best: Option<Place>,
    ) -> Option<Place> {
        let mut probes = 0;
        let start = self.poll_cursor % self.multi_shelves.len();
        let (late, early) = self.multi_shelves.split_at(start);
        for &shelf in early.iter().chain(late).take(MAX_LOOKS) {
            if self.tlsf.shelf_is_empty(shelf) {
                continue;
            }
            if probes == MULTI_PROBES {
                break;
            }
            probes += 1;
            let class = &self.classes[shelf as usize];
            let known = |i: usize| frontier.get(class.axes[i]);
            if (0..class.axes.len()).any(|i| known(i) == 0) {
                continue;
            }
            let all = (0..class.axes.len()).all(|i| class.ceiling[i] <= known(i));
            let found = self.tlsf.find_where(shelf, need, &|label| {
                all || (0..class.axes.len()).all(|i| self.rows[label.row as usize][i] <= known(i))
            });
            best = self.tlsf.tighter(best, found);
        }
        best
    }

    pub(super) fn take(
        &mut self,
        place: Place,
        requested: u64,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        let block = place.block;
        if self.is_pieced(block) {
            let (start, units) = place.part();
            let (from, all) = self.tlsf.extent(block);
            if start != from && start + units != from + all {
                return self.take_range(block, block, (start, units), requested, death);
            }
            let row = self.tlsf.label(block).row;
            let live = self.tlsf.take(place, BlockLabel::live(requested))?.block;
            self.deal_pieces(block, row, live, death);
            return Some(self.took_block(live, true, false));
        }
        death.clear();
        let merged = self.join_death(block, death);
        let block = self.take_part(place, requested)?;
        Some(self.took_block(block, !death.is_empty(), merged != Merge::Done))
    }

    /// A block became live: counts it.
    pub(super) fn took_block(&mut self, block: BlockId, pending: bool, overflow: bool) -> Taken {
        let (offset, size) = (self.tlsf.offset(block), self.tlsf.size(block));
        let region = self.tlsf.region(block);
        Taken { overflow, ..self.took(block, offset, size, region, pending) }
    }

    #[inline(always)]
    pub(super) fn took(
        &mut self,
        block: BlockId,
        offset: u64,
        size: u64,
        region: RegionId,
        pending: bool,
    ) -> Taken {
        self.reserved += size;
        let untouched = &mut self.untouched_ranges.as_mut_slice()[region.index() as usize];
        let fresh = untouched.touch(offset, offset + size);
        Taken { block, region, offset, fresh, pending, overflow: false }
    }

    /// Takes a place of one free block that has no pieces.
    pub(super) fn take_part(&mut self, place: Place, requested: u64) -> Option<BlockId> {
        let source = place.block;
        let shelf = self.tlsf.shelf_of(source)?;
        let BlockLabel { word, row, .. } = *self.tlsf.label(source);
        let taken = self.tlsf.take(place, BlockLabel::live(requested))?;
        if taken.source_gone {
            // A remainder keeps its source's id, epochs and entry; a source that was used up has none.
            self.drop_row(row);
        }
        if let Some(loose) = taken.loose {
            let row = self.copy_row(row);
            self.tlsf.insert(loose, shelf, BlockLabel { word, row, stamp: NONE });
            if shelf >= super::FIRST_PENDING {
                self.begins_to_wait(loose);
            }
        }
        Some(taken.block)
    }
}
