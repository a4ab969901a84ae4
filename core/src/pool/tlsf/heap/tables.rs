//! The tables behind the shelves: which set of axes has which shelf, and the epochs of blocks that
//! wait for several.
//!
//! # Cost
//! The shelf of the axis asked for last O(1), of another axis or set a binary search; a new one is inserted among the
//! others. An empty shelf is reused once there are many.

use super::super::pending::{NONE, PendingIndex};
use super::{Class, FIRST_PENDING, Heap, NO_AXIS};
use crate::pool::MAX_DEATH_AXES;
use crate::{Axis, Epoch};

/// Shelves from which on an empty one is reused before another is made.
const RECYCLE_FROM: usize = 64;

impl Heap {
    /// The shelf of one axis, `NONE` if it has none.
    #[inline(always)]
    pub(super) fn single(&self, axis: Axis) -> u32 {
        let (last, shelf) = self.last_single.get();
        if last == axis { shelf } else { self.single_of_many(axis) }
    }

    #[inline(never)]
    fn single_of_many(&self, axis: Axis) -> u32 {
        let at = self.singles.binary_search_by_key(&axis, |&(axis, _)| axis);
        let shelf = at.map_or(NONE, |at| self.singles[at].1);
        self.last_single.set((axis, shelf));
        shelf
    }

    /// The shelf of a sorted set of axes, if there is one.
    pub(super) fn known_shelf(&self, axes: &[Axis]) -> Option<u32> {
        match axes {
            [axis] => Some(self.single(*axis)).filter(|&shelf| shelf != NONE),
            _ => self.find_several(axes).ok().map(|at| self.multi_shelves[at]),
        }
    }

    /// The shelf of a sorted set of axes, made if there is none. `None` when tens of thousands of sets
    /// are waited for at once.
    pub(super) fn class_for(&mut self, axes: &[Axis]) -> Option<u32> {
        if let Some(known) = self.known_shelf(axes) {
            return Some(known);
        }
        let class = |shelf| Class {
            axis: axes.first().copied().unwrap_or(NO_AXIS),
            axes: axes.to_vec(),
            ceiling: [0; MAX_DEATH_AXES],
            floor: [0; MAX_DEATH_AXES],
            reached: [0; MAX_DEATH_AXES],
            index: PendingIndex::new(shelf),
        };
        let shelf = match self.empty_shelf() {
            Some(shelf) => {
                self.forget(shelf);
                self.classes[shelf as usize] = class(shelf);
                shelf
            }
            None => {
                let shelf = self.tlsf.add_shelf()?;
                self.classes.push(class(shelf));
                shelf
            }
        };
        if let [axis] = *axes {
            let at = self.singles.partition_point(|&(other, _)| other < axis);
            self.singles.insert(at, (axis, shelf));
            self.last_single.set((axis, shelf));
        } else {
            let (Ok(at) | Err(at)) = self.find_several(axes);
            self.multi_shelves.insert(at, shelf);
        }
        Some(shelf)
    }

    /// Where the shelf of several axes stands among its like, or belongs.
    fn find_several(&self, axes: &[Axis]) -> Result<usize, usize> {
        let axes_of = |&shelf: &u32| &self.classes[shelf as usize].axes[..];
        self.multi_shelves.binary_search_by(|shelf| axes_of(shelf).cmp(axes))
    }

    /// An empty shelf to reuse, once there are many. Looks at a few in turn.
    pub(super) fn empty_shelf(&mut self) -> Option<u32> {
        let count = self.classes.len();
        if count < RECYCLE_FROM {
            return None;
        }
        (0..8).find_map(|_| {
            self.recycle_cursor = (self.recycle_cursor + 1) % count;
            let shelf = self.recycle_cursor as u32;
            (shelf >= FIRST_PENDING && self.tlsf.shelf_is_empty(shelf)).then_some(shelf)
        })
    }

    /// A shelf no longer stands for its axes.
    pub(super) fn forget(&mut self, shelf: u32) {
        let axes = core::mem::take(&mut self.classes[shelf as usize].axes);
        if let [axis] = axes[..] {
            self.singles.retain(|&(other, _)| other != axis);
            self.last_single.set((axis, NONE));
        } else {
            self.multi_shelves.retain(|&other| other != shelf);
        }
    }

    pub(super) fn new_row(&mut self, epochs: [Epoch; MAX_DEATH_AXES]) -> u32 {
        if let Some(row) = self.vacant_rows.pop() {
            self.rows[row as usize] = epochs;
            return row;
        }
        self.rows.push(epochs);
        // At most one row per block, and blocks are numbered in 32 bits.
        (self.rows.len() - 1) as u32
    }

    pub(super) fn copy_row(&mut self, row: u32) -> u32 {
        if row == NONE { NONE } else { self.new_row(self.rows[row as usize]) }
    }

    pub(super) fn drop_row(&mut self, row: u32) {
        if row != NONE {
            self.vacant_rows.push(row);
        }
    }
}
