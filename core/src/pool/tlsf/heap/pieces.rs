//! Pieces: blocks whose bytes died at different times.
//!
//! ```text
//!   on the shelf of A     │   A@5   │ A@9 │  A@7  │      one free block, one place in the bins; three pieces
//!   live                  │ clean │ A@5 │ B@3,C@4 │      taken as one; to be given back as three if it is canceled
//! ```
//!
//! A requester who knows all that a shelf waits for wants its neighbours merged, and quickly; everybody else may use only
//! what died early enough. So freeing merges blocks of one axis whatever their epochs, and writes down which bytes wait for
//! which. Whoever looks closer than at the whole [`part`](Heap::part)s such a block first: its pieces become blocks of their
//! own, which stay apart until their deaths are equal or reached. A part is paid for by the merge that made the piece.
//!
//! # Invariants
//! - The pieces of a block tile it in order of offset; two neighbours differ in their deaths.
//! - A free block has pieces only on a shelf of one axis, and then at least two. Its word is at least the latest epoch.
//!
//! # Cost
//! Of a cut, linear in the pieces that are cut off; of a merge, in those of the part that has fewer; else in those of the
//! block at hand. Pieces come one with each release, and are gone when they are taken: a merge moves each of them
//! logarithmically often.

use super::super::pending::{NONE, PendingIndex};
use super::{BlockDeath, BlockLabel, Heap};
use crate::death::Death;
use crate::frontier::{Entry, Merge};
use crate::offset::tlsf::BlockId;
use crate::progress::Progress;
use crate::{Axis, Epoch};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Pieces that a row which is not used keeps room for.
const KEPT: usize = 256;

/// Bytes that wait for an epoch, from `start` to where the next piece begins. Several of one start are the axes of one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// In granules from the region's start.
    start: u32,
    axis: Axis,
    /// 0 for clean bytes.
    epoch: Epoch,
}

/// The pieces of blocks, by row.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    rows: Vec<VecDeque<Piece>>,
    vacant: Vec<u32>,
}

impl Pieces {
    pub(super) const fn new() -> Self {
        Self { rows: Vec::new(), vacant: Vec::new() }
    }

    fn of(&self, row: u32) -> &VecDeque<Piece> {
        &self.rows[row as usize]
    }

    fn of_mut(&mut self, row: u32) -> &mut VecDeque<Piece> {
        &mut self.rows[row as usize]
    }

    /// An empty row.
    fn open(&mut self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            self.rows.push(VecDeque::new());
            // Fewer than blocks, which are numbered in 28 bits.
            (self.rows.len() - 1) as u32
        })
    }

    /// Empties a row, to be used again.
    fn close(&mut self, row: u32) {
        let pieces = &mut self.rows[row as usize];
        pieces.clear();
        // What joined a very long stretch does not hold its memory for ever.
        if pieces.capacity() > KEPT {
            pieces.shrink_to(KEPT);
        }
        self.vacant.push(row);
    }

    /// The pieces of two rows, one behind the other. Which of the rows bears them all.
    fn join(&mut self, left: u32, right: u32) -> u32 {
        let is_left = self.of(left).len() >= self.of(right).len();
        let (into, from) = if is_left { (left, right) } else { (right, left) };
        let mut more = core::mem::take(self.of_mut(from));
        let pieces = self.of_mut(into);
        if is_left {
            more.drain(..).for_each(|piece| push(pieces, piece));
        } else {
            more.drain(..).rev().for_each(|piece| push_front(pieces, piece));
        }
        *self.of_mut(from) = more;
        self.close(from);
        into
    }
}

/// Appends a piece, unless the one before has its death.
fn push(pieces: &mut VecDeque<Piece>, piece: Piece) {
    let same = |last: &Piece| (last.axis, last.epoch) == (piece.axis, piece.epoch);
    if !pieces.back().is_some_and(same) {
        pieces.push_back(piece);
    }
}

/// Puts a piece before the first, or lets that one begin with it, if it has the same death.
fn push_front(pieces: &mut VecDeque<Piece>, piece: Piece) {
    match pieces.front_mut() {
        Some(first) if (first.axis, first.epoch) == (piece.axis, piece.epoch) => {
            first.start = piece.start;
        }
        _ => pieces.push_front(piece),
    }
}

/// What was merged on one side of a block: the epoch of all of it, or its row.
#[derive(Clone, Copy, Debug)]
pub(super) struct MergedSide {
    pub(super) word: Epoch,
    pub(super) row: u32,
}

impl Heap {
    /// A free block on the shelf of one axis, or a live one, has pieces of different deaths.
    #[inline(always)]
    pub(super) fn is_pieced(&self, block: BlockId) -> bool {
        self.tlsf.label(block).row != NONE && self.shelf_of_one(block).is_none_or(|one| one)
    }

    /// Whether a free block's shelf is of one axis; `None` for a live block.
    #[inline(always)]
    fn shelf_of_one(&self, block: BlockId) -> Option<bool> {
        let shelf = self.tlsf.shelf_of(block)?;
        Some(self.classes[shelf as usize].axes.len() < 2)
    }

    /// `merged` was made of a block with this extent and its neighbours on the same shelf, `sides` in order of offset, of
    /// which not all die at `epoch`. Writes down which bytes do when.
    #[inline(never)]
    pub(super) fn write_pieces(
        &mut self,
        merged: BlockId,
        (from, to): (u32, u32),
        shelf: u32,
        epoch: Epoch,
        sides: [MergedSide; 2],
    ) {
        let axis = self.classes[shelf as usize].axis;
        let (low, units) = self.tlsf.extent(merged);
        let left = (low < from).then_some(sides[0]);
        let right = (low + units > to).then_some(sides[usize::from(left.is_some())]);
        let own = Piece { start: from, axis, epoch };
        let table = &mut self.pieces;
        let mut row = match (left, right) {
            (Some(left), _) if left.row != NONE => {
                push(table.of_mut(left.row), own);
                left.row
            }
            (None, Some(right)) if right.row != NONE => {
                push_front(table.of_mut(right.row), own);
                right.row
            }
            _ => {
                let row = table.open();
                let pieces = table.of_mut(row);
                if let Some(left) = left {
                    pieces.push_back(Piece { start: low, axis, epoch: left.word });
                }
                push(pieces, own);
                row
            }
        };
        if let Some(right) = right
            && right.row != row
        {
            if right.row == NONE {
                push(table.of_mut(row), Piece { start: to, axis, epoch: right.word });
            } else {
                row = table.join(row, right.row);
            }
        }
        let pieces = self.pieces.of(row);
        let (first, len) = (pieces.front().map_or(0, |first| first.epoch), pieces.len());
        let label = self.tlsf.label_mut(merged);
        if len == 1 {
            (label.word, label.row) = (first, NONE);
            self.pieces.close(row);
        } else {
            label.row = row;
        }
    }

    /// `live` was cut from one end of a free block, `source`, that had pieces in `row`, or is all of it. Deals them out, and
    /// writes down the join of what the live block waited for.
    #[inline(never)]
    pub(super) fn deal_pieces(
        &mut self,
        source: BlockId,
        row: u32,
        live: BlockId,
        death: &mut BlockDeath,
    ) {
        let (from, units) = self.tlsf.extent(live);
        let to = from + units;
        let kept = self.pieces.of_mut(row);
        let Some(&Piece { axis, epoch, start }) = kept.front() else { return };
        if live == source {
            let latest = kept.iter().fold(epoch, |latest, piece| latest.max(piece.epoch));
            death.become_entry(axis, latest);
            self.tlsf.label_mut(live).row = row;
            return;
        }
        let is_low = start == from;
        // Usually what was cut lies in one piece.
        let single = if is_low {
            let ends = kept.get(1).map_or(to, |second| second.start);
            if ends == to {
                kept.pop_front();
            } else if let Some(first) = kept.front_mut()
                && ends > to
            {
                first.start = to;
            }
            (ends >= to).then_some(epoch)
        } else {
            let last = kept.back().copied().filter(|last| last.start <= from);
            if last.is_some_and(|last| last.start == from) {
                kept.pop_back();
            }
            last.map(|last| last.epoch)
        };
        let latest = single.unwrap_or_else(|| self.deal_several(row, live, (from, to), is_low));
        death.become_entry(axis, latest);
        // What remains.
        let kept = self.pieces.of(row);
        let (first, len) = (kept.front().map_or(0, |first| first.epoch), kept.len());
        let label = self.tlsf.label_mut(source);
        if len == 1 {
            (label.word, label.row) = (first, NONE);
            self.pieces.close(row);
        }
    }

    /// Moves the pieces between `from` and `to`, an end of what `row` bears, to a row of the live block's own. The latest epoch
    /// of them. The piece that lies across the cut is in both.
    #[inline(never)]
    fn deal_several(
        &mut self,
        row: u32,
        live: BlockId,
        (from, to): (u32, u32),
        is_low: bool,
    ) -> Epoch {
        let of_live = self.pieces.open();
        let mut taken = core::mem::take(self.pieces.of_mut(of_live));
        let kept = self.pieces.of_mut(row);
        let mut latest = 0;
        if is_low {
            while let Some(&piece) = kept.front()
                && piece.start < to
            {
                kept.pop_front();
                taken.push_back(piece);
                latest = latest.max(piece.epoch);
            }
            if let Some(&across) = taken.back()
                && kept.front().is_none_or(|next| next.start > to)
            {
                kept.push_front(Piece { start: to, ..across });
            }
        } else {
            while let Some(&piece) = kept.back()
                && piece.start >= from
            {
                kept.pop_back();
                taken.push_front(piece);
                latest = latest.max(piece.epoch);
            }
            if let Some(&across) = kept.back()
                && taken.front().is_none_or(|next| next.start > from)
            {
                taken.push_front(Piece { start: from, ..across });
                latest = latest.max(across.epoch);
            }
        }
        *self.pieces.of_mut(of_live) = taken;
        self.tlsf.label_mut(live).row = of_live;
        latest
    }

    /// Makes blocks of a free block's pieces, on the same shelf; they are in `parted` then, in order of offset, and the
    /// first bears the block's id. A block without pieces stays as it is. `false` when no more blocks can be numbered: some
    /// of it stays one block.
    pub(super) fn part(&mut self, block: BlockId) -> bool {
        self.parted.clear();
        let BlockLabel { word, row, .. } = *self.tlsf.label(block);
        if !self.is_pieced(block) {
            self.parted.push(block);
            return true;
        }
        let Some(shelf) = self.tlsf.shelf_of(block) else { return true };
        self.tlsf.remove(block);
        PendingIndex::remove(&mut self.tlsf, block.index());
        let mut pieces = core::mem::take(self.pieces.of_mut(row));
        // From the right, so that the block keeps its left end.
        while pieces.len() > 1
            && let Some(&Piece { start, epoch, .. }) = pieces.back()
            && let Some(right) = self.tlsf.split(block, start)
        {
            pieces.pop_back();
            self.tlsf.insert(right, shelf, BlockLabel::pending(epoch, NONE));
            self.begins_to_wait(right);
            self.parted.push(right);
        }
        let whole = pieces.len() == 1;
        if let (true, Some(first)) = (whole, pieces.front()) {
            self.tlsf.insert(block, shelf, BlockLabel::pending(first.epoch, NONE));
            pieces.clear();
            *self.pieces.of_mut(row) = pieces;
            self.pieces.close(row);
        } else {
            *self.pieces.of_mut(row) = pieces;
            self.tlsf.insert(block, shelf, BlockLabel::pending(word, row));
        }
        self.begins_to_wait(block);
        self.parted.push(block);
        self.parted.reverse();
        whole
    }

    /// The earliest epoch on its shelf's first axis that some of a pending block waits for.
    pub(super) fn earliest(&self, block: BlockId) -> Epoch {
        let label = self.tlsf.label(block);
        if label.row == NONE {
            return label.word;
        }
        if self.is_pieced(block) {
            let epochs = self.pieces.of(label.row).iter().map(|piece| piece.epoch);
            return epochs.min().unwrap_or(label.word);
        }
        self.rows[label.row as usize][0]
    }

    /// Opens a row for a live block that will be made of parts, each to be [`note`](Self::note)d.
    pub(super) fn open_notes(&mut self) -> u32 {
        self.pieces.open()
    }

    /// Writes down what a free block waits for, of which the granules from `start` on are about to be taken.
    pub(super) fn note(&mut self, row: u32, block: BlockId, start: u32) {
        let shelf = self.tlsf.shelf_of(block).unwrap_or(super::CLEAN);
        let class = &self.classes[shelf as usize];
        let pieces = self.pieces.of_mut(row);
        if class.axes.len() < 2 {
            let piece = Piece { start, axis: class.axis, epoch: self.tlsf.label(block).word };
            let of_one = match pieces.len() {
                0 | 1 => true,
                len => pieces[len - 2].start != pieces[len - 1].start,
            };
            return if of_one { push(pieces, piece) } else { pieces.push_back(piece) };
        }
        let epochs = self.rows[self.tlsf.label(block).row as usize];
        for (&axis, epoch) in class.axes.iter().zip(epochs) {
            pieces.push_back(Piece { start, axis, epoch });
        }
    }

    /// Nothing was taken after all.
    pub(super) fn discard_notes(&mut self, row: u32) {
        self.pieces.close(row);
    }

    /// Gives a live block back of which all is noted, and maybe what begins at `end`, behind it.
    pub(super) fn give_back(&mut self, row: u32, live: BlockId, end: u32) {
        let pieces = self.pieces.of_mut(row);
        while pieces.back().is_some_and(|last| last.start >= end) {
            pieces.pop_back();
        }
        self.tlsf.label_mut(live).row = row;
        // It was not counted yet.
        self.reserved += self.tlsf.size(live);
        self.cancel(live, Death::Unknown, &crate::NoProgress);
    }

    /// All parts of a live block are noted. If there are several, they are its pieces.
    pub(super) fn close_notes(&mut self, row: u32, live: BlockId) {
        let pieces = self.pieces.of(row);
        let several =
            pieces.back().map(|last| last.start) != pieces.front().map(|first| first.start);
        if several {
            self.tlsf.label_mut(live).row = row;
        } else {
            self.pieces.close(row);
        }
    }

    /// A live block is about to be freed as one.
    #[inline(never)]
    pub(super) fn forget_pieces(&mut self, live: BlockId) {
        let row = core::mem::replace(&mut self.tlsf.label_mut(live).row, NONE);
        self.pieces.close(row);
    }

    /// Frees a live block that was not used: every byte dies as it had before. `death` is what
    /// [`acquire`](Self::acquire) wrote down.
    ///
    /// # Panics
    /// When the block is not live.
    pub fn cancel(&mut self, block: BlockId, death: Death<'_>, progress: &dyn Progress) {
        assert!(self.tlsf.is_live(block), "canceled a block that is not live");
        let row = self.tlsf.label(block).row;
        if row == NONE {
            return self.free(block, death, progress);
        }
        self.tlsf.label_mut(block).row = NONE;
        let mut pieces = core::mem::take(self.pieces.of_mut(row));
        // From the right, so that the block keeps its left end.
        let mut joined = BlockDeath::new();
        let mut unknown = false;
        while let Some(&Piece { start, axis, epoch }) = pieces.back() {
            pieces.pop_back();
            if epoch != 0 {
                unknown |= joined.advance(axis, epoch) != Merge::Done;
            }
            if pieces.back().is_some_and(|before| before.start == start) {
                continue;
            }
            let part = if pieces.is_empty() { Some(block) } else { self.tlsf.split(block, start) };
            // Where no more blocks can be numbered, it is given back with what stands before it.
            let Some(part) = part else { continue };
            let death = if unknown { Death::Unknown } else { Death::After(joined.as_ref()) };
            self.free(part, death, progress);
            (joined, unknown) = (BlockDeath::new(), false);
        }
        *self.pieces.of_mut(row) = pieces;
        self.pieces.close(row);
    }

    /// Visits what the bytes of a live block waited for when they were taken; `death` is what
    /// [`acquire`](Self::acquire) wrote down.
    pub fn for_each_entry(&self, block: BlockId, death: &BlockDeath, visit: &mut dyn FnMut(Entry)) {
        let row = self.tlsf.label(block).row;
        if row == NONE {
            return death.as_ref().entries().iter().copied().for_each(visit);
        }
        for piece in self.pieces.of(row).iter().filter(|piece| piece.epoch != 0) {
            visit(Entry::new(piece.axis, piece.epoch));
        }
    }

    /// Visits the parts of a free block: first byte, bytes and death, which is `None` where it is unknown.
    pub fn for_each_part(
        &self,
        block: BlockId,
        visit: &mut dyn FnMut(u64, u64, Option<&BlockDeath>),
    ) {
        let (offset, size) = (self.tlsf.offset(block), self.tlsf.size(block));
        if !self.is_pieced(block) {
            return visit(offset, size, self.death_of(block).as_ref());
        }
        let pieces = self.pieces.of(self.tlsf.label(block).row);
        let (start, units) = self.tlsf.extent(block);
        for (at, piece) in pieces.iter().enumerate() {
            let end = pieces.get(at + 1).map_or(start + units, |next| next.start);
            let death = BlockDeath::from_entry(piece.axis, piece.epoch);
            let (from, size) = (self.tlsf.bytes_of(piece.start), end - piece.start);
            visit(from, self.tlsf.bytes_of(size), Some(&death));
        }
    }

    /// Checks the pieces of a block, for tests.
    #[cfg(all(test, not(loom)))]
    pub(super) fn check_pieces(&self, block: BlockId) {
        let label = self.tlsf.label(block);
        if !self.is_pieced(block) {
            return;
        }
        let pieces = self.pieces.of(label.row);
        let (start, units) = self.tlsf.extent(block);
        assert!(!self.pieces.vacant.contains(&label.row), "pieces of another block");
        assert!(pieces.len() > 1, "{block:?} has one piece");
        assert_eq!(pieces.front().map(|first| first.start), Some(start), "{block:?}");
        let starts = pieces.iter().map(|piece| piece.start);
        assert!(starts.clone().is_sorted() && starts.clone().all(|at| at < start + units));
        if let Some(shelf) = self.tlsf.shelf_of(block) {
            assert!(starts.is_sorted_by(|a, b| a < b));
            let axis = self.classes[shelf as usize].axis;
            assert!(pieces.iter().all(|piece| piece.axis == axis && piece.epoch <= label.word));
        }
    }

    /// Rows in use, for tests.
    #[cfg(all(test, not(loom)))]
    pub(super) fn rows_of_pieces(&self) -> usize {
        self.pieces.rows.len() - self.pieces.vacant.len()
    }
}
