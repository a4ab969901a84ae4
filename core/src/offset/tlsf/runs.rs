//! Runs: adjacent free blocks that stand on different shelves.
//!
//! ```text
//!   │ live │ shelf 0 │ shelf 3 │ shelf 0 │ live │
//!            └── first              last ─┘        one run: sum of sizes, filed by it
//! ```
//!
//! A run is an index entry, not a block: it makes "which holes would be large enough if their parts were
//! merged" a bin lookup instead of a walk over the region.
//!
//! # Invariants
//! - A run holds 2 to [`MAX_RUN`] filed blocks, adjacent in address order; a block is in at most one run.
//! - `units` is the sum of its blocks' sizes, and the run is filed under it.
//!
//! # Cost
//! Joining and cutting re-label the shorter side: at most `MAX_RUN / 2` steps. Nothing here is touched
//! while neighbours of a block are live.

use super::shelf::{Link, Lists, NONE, Shelf, SizeClasses};
use super::{Nodes, Side};
use alloc::vec::Vec;

/// The most blocks in one run: it bounds the work of joining and cutting. A longer stretch of free
/// blocks is several runs.
pub const MAX_RUN: u32 = 64;

/// A run of a [`Tlsf`](super::Tlsf). Valid until the allocator changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(u32);

#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    link: Link,
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) units: u32,
    /// 0 for a vacant record, whose `link.next` links the vacant ones.
    pub(super) len: u32,
}

#[derive(Debug)]
struct Records(Vec<Run>);

impl Lists for Records {
    fn link(&mut self, id: u32) -> &mut Link {
        &mut self.0.as_mut_slice()[id as usize].link
    }
    fn link_ref(&self, id: u32) -> &Link {
        &self.0.as_slice()[id as usize].link
    }
    fn units(&self, id: u32) -> u32 {
        self.0.as_slice()[id as usize].units
    }
}

#[derive(Debug)]
pub(super) struct Runs {
    records: Records,
    vacant: u32,
    shelf: Shelf,
    /// A stretch was too long to be one run, and whether that is still so was not looked at since. It may be short by now,
    /// and several runs all the same.
    parted: bool,
}

impl Runs {
    pub(super) fn new(classes: SizeClasses) -> Self {
        Self {
            records: Records(Vec::new()),
            vacant: NONE,
            shelf: Shelf::new(classes),
            parted: false,
        }
    }

    /// `left` and `right` are filed neighbours: make them one run if their length allows.
    pub(super) fn join<L>(&mut self, nodes: &mut Nodes<L>, left: u32, right: u32) {
        let (l, r) = (nodes.at(left), nodes.at(right));
        let (l_run, r_run) = (l.run, r.run);
        let (l_units, r_units) = (l.units, r.units);
        match (l_run != NONE, r_run != NONE) {
            (false, false) => {
                let run = self.add(left, right, l_units + r_units, 2);
                nodes.at_mut(left).run = run;
                nodes.at_mut(right).run = run;
            }
            (true, false) if self.record(l_run).len < MAX_RUN => {
                nodes.at_mut(right).run = l_run;
                self.change(l_run, |run| {
                    run.last = right;
                    run.units += r_units;
                    run.len += 1;
                });
            }
            (false, true) if self.record(r_run).len < MAX_RUN => {
                nodes.at_mut(left).run = r_run;
                self.change(r_run, |run| {
                    run.first = left;
                    run.units += l_units;
                    run.len += 1;
                });
            }
            (true, true) if l_run != r_run => {
                let (a, b) = (*self.record(l_run), *self.record(r_run));
                if a.len + b.len > MAX_RUN {
                    self.parted = true;
                    return;
                }
                let (keep, gone) = if a.len >= b.len { (l_run, r_run) } else { (r_run, l_run) };
                let relabeled = *self.record(gone);
                self.drop(gone);
                let mut at = relabeled.first;
                loop {
                    nodes.at_mut(at).run = keep;
                    if at == relabeled.last {
                        break;
                    }
                    at = nodes.at(at).right.id();
                }
                self.change(keep, |run| {
                    run.first = a.first;
                    run.last = b.last;
                    run.units = a.units + b.units;
                    run.len = a.len + b.len;
                });
            }
            _ => self.parted |= l_run != r_run,
        }
    }

    /// Parts `id` from its neighbour on `side`, if both are in one run. What is left alone is in no run.
    #[inline]
    pub(super) fn cut<L>(&mut self, nodes: &mut Nodes<L>, id: u32, side: Side) {
        if nodes.at(id).run == NONE {
            return;
        }
        // A neighbour in another run is the last of it.
        let left = match side {
            Side::Left => nodes.at(id).left.id(),
            Side::Right => id,
        };
        self.cut_after(nodes, left);
    }

    /// Parts `left_end` from its right neighbour.
    #[inline(never)]
    fn cut_after<L>(&mut self, nodes: &mut Nodes<L>, left_end: u32) {
        let run = nodes.at(left_end).run;
        if run == NONE {
            return;
        }
        let whole = *self.record(run);
        if whole.last == left_end {
            return;
        }
        let right_start = nodes.at(left_end).right.id();
        // Walk both sides in step until the shorter one ends.
        let (mut l, mut r) = (left_end, right_start);
        let (mut l_units, mut r_units) = (nodes.at(l).units, nodes.at(r).units);
        let mut len = 1;
        let left_is_shorter = loop {
            if l == whole.first {
                break true;
            }
            if r == whole.last {
                break false;
            }
            l = nodes.at(l).left.id();
            r = nodes.at(r).right.id();
            l_units += nodes.at(l).units;
            r_units += nodes.at(r).units;
            len += 1;
        };
        let (first, last, units) = if left_is_shorter {
            (whole.first, left_end, l_units)
        } else {
            (right_start, whole.last, r_units)
        };
        self.change(run, |run| {
            if left_is_shorter {
                run.first = right_start;
            } else {
                run.last = left_end;
            }
            run.units -= units;
            run.len -= len;
        });
        self.dissolve_if_alone(nodes, run);
        let new = if len > 1 { self.add(first, last, units, len) } else { NONE };
        let mut at = first;
        loop {
            nodes.at_mut(at).run = new;
            if at == last {
                break;
            }
            at = nodes.at(at).right.id();
        }
    }

    /// `id` is about to be merged into a neighbour in the same run: it leaves the run, which loses its
    /// units until the neighbour's growth is reported by [`resized`](Self::resized).
    pub(super) fn leave<L>(&mut self, nodes: &mut Nodes<L>, id: u32) {
        let node = nodes.at(id);
        let (run, units, left, right) = (node.run, node.units, node.left.id(), node.right.id());
        self.change(run, |run| {
            if run.first == id {
                run.first = right;
            }
            if run.last == id {
                run.last = left;
            }
            run.units -= units;
            run.len -= 1;
        });
        nodes.at_mut(id).run = NONE;
        self.dissolve_if_alone(nodes, run);
    }

    /// A block of the run changed its size.
    pub(super) fn resized(&mut self, run: u32, from: u32, to: u32) {
        self.change(run, |run| run.units = run.units - from + to);
    }

    pub(super) fn at_least(&self, units: u32, limit: usize) -> impl Iterator<Item = RunId> {
        let shelf = &self.shelf;
        let mut bin = shelf.next_bin(shelf.classes().floor(units));
        let mut at = bin.map(|bin| shelf.head(bin));
        core::iter::from_fn(move || {
            let id = at?;
            let here = bin?;
            let next = self.records.link_ref(id).next;
            if next == NONE {
                bin = shelf.next_bin(here + 1);
                at = bin.map(|bin| shelf.head(bin));
            } else {
                at = Some(next);
            }
            Some(RunId(id))
        })
        .take(limit)
        .filter(move |&id| self.record(id.0).units >= units)
    }

    pub(super) fn ends(&self, run: RunId) -> (u32, u32) {
        let run = self.record(run.0);
        (run.first, run.last)
    }

    /// Whether the block is the last of the run on the high side, or on the low one.
    #[inline(always)]
    pub(super) fn ends_with(&self, run: u32, id: u32, high: bool) -> bool {
        let run = self.record(run);
        id == if high { run.last } else { run.first }
    }

    pub(super) fn record(&self, run: u32) -> &Run {
        &self.records.0.as_slice()[run as usize]
    }

    /// Records in use, for the checker.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Run)> {
        (0..).zip(&self.records.0).filter(|(_, run)| run.len > 0)
    }

    /// Every stretch of adjacent free blocks is one run.
    pub(super) const fn are_whole(&self) -> bool {
        !self.parted
    }

    /// All neighbours are about to be [joined](Self::join): what is too long then is found out again.
    pub(super) const fn begin_mending(&mut self) {
        self.parted = false;
    }

    fn dissolve_if_alone<L>(&mut self, nodes: &mut Nodes<L>, run: u32) {
        let Run { first, len, .. } = *self.record(run);
        if len == 1 {
            nodes.at_mut(first).run = NONE;
            self.drop(run);
        }
    }

    fn change(&mut self, run: u32, change: impl FnOnce(&mut Run)) {
        let record = &mut self.records.0.as_mut_slice()[run as usize];
        let from = record.units;
        change(record);
        let to = record.units;
        if self.shelf.same_bin(from, to) {
            self.shelf.resized(record.link.prev == NONE, from, to);
        } else {
            self.shelf.remove(&mut self.records, run, from);
            self.shelf.insert(&mut self.records, run, to, 0);
        }
    }

    fn add(&mut self, first: u32, last: u32, units: u32, len: u32) -> u32 {
        let record = Run { link: Link::ALONE, first, last, units, len };
        let id = if self.vacant == NONE {
            self.records.0.push(record);
            // Fewer runs than blocks, and blocks are numbered in 32 bits.
            (self.records.0.len() - 1) as u32
        } else {
            let id = self.vacant;
            self.vacant = self.records.0[id as usize].link.next;
            self.records.0[id as usize] = record;
            id
        };
        self.shelf.insert(&mut self.records, id, units, 0);
        id
    }

    fn drop(&mut self, run: u32) {
        let units = self.record(run).units;
        self.shelf.remove(&mut self.records, run, units);
        let record = &mut self.records.0[run as usize];
        record.len = 0;
        record.link.next = self.vacant;
        self.vacant = run;
    }
}
