//! Searches beyond single ready blocks: adjacent blocks that fit together, and blocks that are not
//! ready yet.
//!
//! ```text
//!   │ live │ {A@3} │ clean │ {B@7} │ live │     for {A@3}: the first two, as one
//!                                              for who waits: all three, after B@7
//! ```
//!
//! # Cost
//! Bounded by constants: a few shelves, a few runs, and the blocks of a run.

use super::super::wheel::NONE;
use super::acquire::MAX_LOOKS;
use super::{BlockDeath, FIRST_PENDING, Heap, TAINTED, Taken};
use crate::frontier::{Entry, FrontierRef, Merge};
use crate::offset::tlsf::{BlockId, Need, Place, Side};
use crate::pool::MAX_DEATH_AXES;
use crate::progress::Progress;
use crate::{Axis, Epoch};
use alloc::vec::Vec;

/// Shelves that a search for the soonest block looks at.
pub(super) const WAIT_PROBES: usize = 32;
/// Runs that a search looks at.
pub(super) const RUN_PROBES: usize = 8;

impl Heap {
    /// Takes the pending block, or the adjacent ones, that will be ready soonest, and writes down its
    /// death. Ready soonest is whose farthest axis has the fewest epochs to go. The search looks at a
    /// bounded number of blocks.
    pub fn acquire_pending(
        &mut self,
        need: Need,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
        requested: u64,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        let mut soonest: Option<(Epoch, u64, Place)> = None;
        let shelves = self.classes.len();
        let mut probes = 0;
        for step in 0..shelves.min(MAX_LOOKS) {
            let shelf = (self.poll_cursor + step) % shelves;
            if shelf < FIRST_PENDING as usize || self.tlsf.shelf_is_empty(shelf as u32) {
                continue;
            }
            if probes == WAIT_PROBES {
                break;
            }
            probes += 1;
            self.tlsf.candidates(shelf as u32, need, 4, 2, &mut |place| {
                let key = (self.lag(place.block, frontier, progress), self.tlsf.size(place.block));
                if soonest.is_none_or(|(lag, size, _)| key < (lag, size)) {
                    soonest = Some((key.0, key.1, place));
                }
                true
            });
        }
        let span = self.soonest_span(need, frontier, progress);
        match (soonest, span) {
            (Some((lag, ..)), Some((span_lag, first, last))) if span_lag < lag => {
                self.take_span(first, last, need, Side::Left, requested, death)
            }
            (Some((.., place)), _) => self.take(place, requested, death),
            (None, Some((_, first, last))) => {
                self.take_span(first, last, need, Side::Left, requested, death)
            }
            (None, None) => None,
        }
    }

    /// Adjacent blocks that are all ready for the requester, found through the runs.
    pub(super) fn take_ready_run(
        &mut self,
        need: Need,
        frontier: FrontierRef<'_>,
        requested: u64,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        let mut found = None;
        'runs: for run in self.tlsf.runs(need, RUN_PROBES) {
            let mut first = None;
            let mut joined = BlockDeath::new();
            for block in self.tlsf.run_blocks(run) {
                if !self.covers(frontier, block) {
                    first = None;
                    continue;
                }
                let mut from = *first.get_or_insert(block);
                if from == block {
                    joined.clear();
                }
                // A requester may cover more axes than the death of one block can hold.
                while self.join_death(block, &mut joined) != Merge::Done {
                    joined.clear();
                    let mut rest = self.tlsf.blocks_between(from, block).skip(1);
                    from = rest.next().unwrap_or(block);
                    let between = self.tlsf.blocks_between(from, block);
                    for before in between.take_while(|&before| before != block) {
                        // Cannot overflow: with one block more it did not.
                        let _ = self.join_death(before, &mut joined);
                    }
                }
                first = Some(from);
                let first = from;
                if self.tlsf.fits_span(first, block, need) {
                    found = Some((first, block));
                    break 'runs;
                }
            }
        }
        let (first, last) = found?;
        self.take_span(first, last, need, Side::Left, requested, death)
    }

    /// The adjacent blocks whose slowest is ready soonest.
    pub(super) fn soonest_span(
        &self,
        need: Need,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
    ) -> Option<(Epoch, BlockId, BlockId)> {
        let mut soonest: Option<(Epoch, BlockId, BlockId)> = None;
        let mut blocks: Vec<(BlockId, Option<Epoch>)> = Vec::new();
        for run in self.tlsf.runs(need, RUN_PROBES) {
            blocks.clear();
            blocks.extend(self.tlsf.run_blocks(run).map(|block| {
                let tainted = self.tlsf.shelf_of(block) == Some(TAINTED);
                (block, (!tainted).then(|| self.lag(block, frontier, progress)))
            }));
            // Of each window that just fits, the slowest block. A run is short, so this is bounded.
            let mut from = 0;
            for to in 0..blocks.len() {
                if blocks[to].1.is_none() {
                    from = to + 1;
                    continue;
                }
                while from < to && self.tlsf.fits_span(blocks[from + 1].0, blocks[to].0, need) {
                    from += 1;
                }
                if from > to || !self.tlsf.fits_span(blocks[from].0, blocks[to].0, need) {
                    continue;
                }
                let window = &blocks[from..=to];
                let lag = window.iter().filter_map(|&(_, lag)| lag).max().unwrap_or(0);
                if soonest.is_none_or(|(best, ..)| lag < best) && self.joins(window) {
                    soonest = Some((lag, blocks[from].0, blocks[to].0));
                }
            }
        }
        soonest
    }

    /// The deaths of these blocks fit into one.
    pub(super) fn joins(&self, blocks: &[(BlockId, Option<Epoch>)]) -> bool {
        let mut death = BlockDeath::new();
        blocks.iter().all(|&(block, _)| self.join_death(block, &mut death) == Merge::Done)
    }

    /// Takes the part of adjacent free blocks, first to last, that the request needs. What is left of
    /// the outer two keeps their deaths; the taken parts become one live block.
    pub(super) fn take_span(
        &mut self,
        first: BlockId,
        last: BlockId,
        need: Need,
        end: Side,
        requested: u64,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        death.clear();
        let mut taken: Option<BlockId> = None;
        for place in self.tlsf.span_places(first, last, need, end)? {
            let Some(part) = self.take_part(place, requested, death) else {
                // No more blocks can be numbered. What was taken so far is given back.
                if let Some(block) = taken {
                    self.shelve_join(block, death);
                }
                return None;
            };
            match taken {
                Some(taken) => self.tlsf.fuse(taken, part),
                None => taken = Some(part),
            }
        }
        taken.map(|block| self.took_block(block, death))
    }

    /// How many epochs its slowest axis has to go, seen from the requester.
    pub(super) fn lag(
        &self,
        block: BlockId,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
    ) -> Epoch {
        let Some(shelf) = self.tlsf.shelf_of(block) else { return 0 };
        let class = &self.classes[shelf as usize];
        let mut lag = 0;
        for (i, &axis) in class.axes.iter().enumerate() {
            let known = frontier.get(axis).max(progress.reached(axis));
            lag = lag.max(self.epoch_of(block, i).saturating_sub(known));
        }
        lag
    }

    /// The requester may use this free block at once.
    pub(super) fn covers(&self, frontier: FrontierRef<'_>, block: BlockId) -> bool {
        let Some(shelf) = self.tlsf.shelf_of(block) else { return false };
        if shelf == TAINTED {
            return false;
        }
        let class = &self.classes[shelf as usize];
        class
            .axes
            .iter()
            .enumerate()
            .all(|(i, &axis)| self.epoch_of(block, i) <= frontier.get(axis))
    }

    /// Epoch of a pending block on the `i`th axis of its shelf.
    #[inline]
    pub(super) fn epoch_of(&self, block: BlockId, i: usize) -> Epoch {
        let slip = self.tlsf.label(block);
        if slip.row == NONE { slip.word } else { self.rows[slip.row as usize][i] }
    }

    pub(super) fn join_death(&self, block: BlockId, into: &mut BlockDeath) -> Merge {
        let Some(shelf) = self.tlsf.shelf_of(block) else { return Merge::Done };
        let class = &self.classes[shelf as usize];
        let mut entries = [Entry::new(Axis::from_bits(0), 1); MAX_DEATH_AXES];
        for (i, &axis) in class.axes.iter().enumerate() {
            entries[i] = Entry::new(axis, self.epoch_of(block, i));
        }
        match FrontierRef::try_from_sorted(&entries[..class.axes.len()]) {
            Ok(death) => into.merge(death),
            Err(_) => Merge::Overflow,
        }
    }
}
