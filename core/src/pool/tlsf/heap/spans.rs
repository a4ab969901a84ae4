//! Waiting: the blocks that are ready soonest, one or several adjacent ones; and taking what spans several blocks.
//!
//! ```text
//!   │ live │ {A@3} │ clean │ {B@7} │ live │     for {A@3}: the first two, as one (see `ready.rs`)
//!                                              for who waits: all three, after B@7
//! ```
//!
//! # Cost
//! A few blocks of each shelf that has some, a few runs, and the blocks of a run. Only where these hold nothing that can be
//! waited for, all runs large enough are looked at, and the blocks that hold an aligned request by chance; and all blocks,
//! where a stretch is too long to be one run.

use super::super::pending::NONE;
use super::{Ask, BlockDeath, FIRST_PENDING, Heap, TAINTED, Taken};
use crate::frontier::{Entry, FrontierRef, Merge};
use crate::offset::tlsf::{BlockId, Place, Side};
use crate::pool::MAX_DEATH_AXES;
use crate::{Axis, Epoch};
use alloc::collections::VecDeque;

/// Runs that a search looks at first.
pub(super) const RUN_PROBES: usize = 8;

/// Adjacent blocks, and how long the slowest has to go.
type Span = (Epoch, BlockId, BlockId);

impl Heap {
    /// Takes the pending block, or the adjacent ones, that will be ready soonest, and writes down its
    /// death. Ready soonest is whose farthest axis has the fewest epochs to go.
    pub fn acquire_pending(&mut self, ask: &Ask<'_>, death: &mut BlockDeath) -> Option<Taken> {
        let &Ask { need, requested, .. } = ask;
        let mut soonest: Option<(Epoch, u64, Place)> = None;
        let shelves = self.classes.len();
        for step in 0..shelves {
            let shelf = (self.poll_cursor + step) % shelves;
            if shelf < FIRST_PENDING as usize || self.tlsf.shelf_is_empty(shelf as u32) {
                continue;
            }
            self.tlsf.candidates(shelf as u32, need, 4, 2, &mut |place| {
                let key = (self.lag(place.block, ask), self.tlsf.size(place.block));
                if soonest.is_none_or(|(lag, size, _)| key < (lag, size)) {
                    soonest = Some((key.0, key.1, place));
                }
                true
            });
        }
        let mut span = self.soonest_in_runs(ask, RUN_PROBES);
        if soonest.is_none() && span.is_none() {
            let by_place = (FIRST_PENDING..shelves as u32)
                .find_map(|shelf| self.tlsf.find_by_place(shelf, need));
            if let Some(place) = by_place {
                return self.take(place, requested, death);
            }
            self.tlsf.mend_runs();
            span = self.soonest_in_runs(ask, usize::MAX).or_else(|| self.soonest_anywhere(ask));
        }
        match (soonest, span) {
            (Some((lag, ..)), Some((span_lag, first, last))) if span_lag < lag => {
                self.take_span(first, last, Side::Left, ask, death)
            }
            (Some((.., place)), _) => self.take(place, requested, death),
            (None, Some((_, first, last))) => self.take_span(first, last, Side::Left, ask, death),
            (None, None) => None,
        }
    }

    /// The adjacent blocks whose slowest is ready soonest, in some of the runs.
    fn soonest_in_runs(&self, ask: &Ask<'_>, limit: usize) -> Option<Span> {
        let mut soonest = None;
        for run in self.tlsf.runs(ask.need, limit) {
            self.soonest_span(self.tlsf.run_blocks(run), ask, &mut soonest);
        }
        soonest
    }

    /// The same in all there is, where some stretch is several runs.
    fn soonest_anywhere(&self, ask: &Ask<'_>) -> Option<Span> {
        let mut soonest = None;
        if !self.tlsf.runs_are_whole() {
            for region in self.tlsf.regions() {
                let blocks = self.tlsf.blocks(region);
                self.soonest_span(blocks, ask, &mut soonest);
            }
        }
        soonest
    }

    /// Of adjacent blocks, and of each window of free ones that just fits, the one whose slowest is ready soonest.
    fn soonest_span(
        &self,
        blocks: impl Iterator<Item = BlockId>,
        ask: &Ask<'_>,
        soonest: &mut Option<Span>,
    ) {
        // Blocks of the window, and lags that no later one exceeds.
        let mut window: VecDeque<BlockId> = VecDeque::new();
        let mut lags: VecDeque<(BlockId, Epoch)> = VecDeque::new();
        for to in blocks {
            if self.tlsf.shelf_of(to).is_none_or(|shelf| shelf == TAINTED) {
                window.clear();
                lags.clear();
                continue;
            }
            let lag = self.lag(to, ask);
            while lags.back().is_some_and(|&(_, before)| before <= lag) {
                lags.pop_back();
            }
            lags.push_back((to, lag));
            window.push_back(to);
            while let Some(&second) = window.get(1)
                && self.tlsf.fits_span(second, to, ask.need)
            {
                if lags.front().map(|&(block, _)| block) == window.pop_front() {
                    lags.pop_front();
                }
            }
            if let (Some(&from), Some(&(_, lag))) = (window.front(), lags.front())
                && self.tlsf.fits_span(from, to, ask.need)
                && soonest.is_none_or(|(best, ..)| lag < best)
            {
                *soonest = Some((lag, from, to));
            }
        }
    }

    /// Takes the part of adjacent free blocks, first to last, that the request needs. What is left of
    /// the outer two keeps their deaths; the taken parts become one live block.
    pub(super) fn take_span(
        &mut self,
        first: BlockId,
        last: BlockId,
        end: Side,
        ask: &Ask<'_>,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        let start = self.tlsf.place_in_span(first, last, ask.need, end)?;
        self.take_range(first, last, (start, ask.need.units()), ask.requested, death)
    }

    /// Takes some granules of adjacent free blocks, first to last, as one live block that remembers what each part of it
    /// waited for.
    pub(super) fn take_range(
        &mut self,
        first: BlockId,
        mut last: BlockId,
        (start, units): (u32, u32),
        requested: u64,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        death.clear();
        // The first piece of a block bears its id, so the first block stays what it is.
        let mut at = first;
        loop {
            if !self.part(at) {
                return None;
            }
            let end = self.parted.last().copied().unwrap_or(at);
            if at == last {
                last = end;
                break;
            }
            (at, _) = self.tlsf.neighbour(end, Side::Right)?;
        }
        let notes = self.open_notes();
        let mut overflow = false;
        let mut taken: Option<BlockId> = None;
        for place in self.tlsf.span_places(first, last, start, units) {
            let mut joined = *death;
            let merged = self.join_death(place.block, &mut joined);
            let (from, _) = place.part();
            self.note(notes, place.block, from);
            let Some(part) = self.take_part(place, requested) else {
                // No more blocks can be numbered. What was taken so far is given back; what was noted last begins where
                // it ends.
                match taken {
                    Some(block) => self.give_back(notes, block, from),
                    None => self.discard_notes(notes),
                }
                return None;
            };
            *death = joined;
            overflow |= merged != Merge::Done;
            match taken {
                Some(taken) => self.tlsf.fuse(taken, part),
                None => taken = Some(part),
            }
        }
        let block = taken?;
        self.close_notes(notes, block);
        Some(self.took_block(block, !death.is_empty(), overflow))
    }

    /// How many epochs its slowest axis has to go, seen from the requester.
    pub(super) fn lag(&self, block: BlockId, ask: &Ask<'_>) -> Epoch {
        let Some(shelf) = self.tlsf.shelf_of(block) else { return 0 };
        let class = &self.classes[shelf as usize];
        let mut lag = 0;
        for (i, &axis) in class.axes.iter().enumerate() {
            let known = ask.frontier.get(axis).max(ask.progress.reached(axis));
            lag = lag.max(self.epoch_of(block, i).saturating_sub(known));
        }
        lag
    }

    /// Epoch of a pending block on the `i`th axis of its shelf; of one with pieces at least the latest.
    #[inline]
    pub(super) fn epoch_of(&self, block: BlockId, i: usize) -> Epoch {
        let label = self.tlsf.label(block);
        if label.row == NONE || self.is_pieced(block) {
            label.word
        } else {
            self.rows[label.row as usize][i]
        }
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
