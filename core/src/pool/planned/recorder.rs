//! Records a step while it runs: what is requested, and when it is released.
//!
//! ```text
//!   granted as block #7 of the heap ─▶ request 12; born[#7] = (this step, 12)
//!   block #7 is free again          ─▶ request 12 is over by request 31
//! ```
//!
//! # Cost
//! O(1) a request and a release. 16 bytes a request of the step and of the one before, and 8 bytes a block of the heap.

use super::matcher::Key;
use alloc::vec::Vec;

/// The most requests of a step that is recorded: one that never ends takes no more memory.
const MOST: usize = 1 << 20;

/// A request, as it was granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted {
    pub(super) key: Key,
    /// The number of the first request by which it was released, or [`OPEN`].
    until: u32,
}

const OPEN: u32 = u32::MAX;

impl Granted {
    /// The same in a step of so many requests, and whether it was not released in it.
    pub(super) fn until(self, end: u32) -> (u32, bool) {
        (self.until.min(end), self.until == OPEN)
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Recorder {
    granted: Vec<Granted>,
    is_full: bool,
    /// The step that is recorded now; 0 is none.
    step: u32,
    /// By block of the heap: the step and the request it was granted for.
    born: Vec<(u32, u32)>,
    /// Of the step that is recorded, how many stood where the plan has them.
    planned: usize,
    /// The last whole step: its requests, and how many of them strayed.
    last: Option<(Vec<Granted>, usize)>,
}

impl Recorder {
    /// A request was granted as a block of the heap.
    pub(super) fn grant(&mut self, key: Key, block: u32, planned: bool) {
        let block = block as usize;
        if self.born.len() <= block {
            self.born.resize(block + 1, (0, 0));
        }
        if self.is_full || self.granted.len() == MOST {
            self.is_full = true;
            self.born[block] = (0, 0);
            return;
        }
        // Steps count from 1, so that what was granted before the first is older than all.
        self.step = self.step.max(1);
        self.born[block] = (self.step, self.granted.len() as u32);
        self.planned += usize::from(planned);
        self.granted.push(Granted { key, until: OPEN });
    }

    /// A block of the heap was released.
    pub(super) fn free(&mut self, block: u32) {
        let now = self.granted.len() as u32;
        let Some(born) = self.born.get_mut(block as usize) else { return };
        let (step, number) = core::mem::take(born);
        if step == self.step
            && let Some(granted) = self.granted.get_mut(number as usize)
        {
            granted.until = now;
        }
    }

    /// A step begins, and with it the one before is whole.
    pub(super) fn begin_step(&mut self) {
        let granted = core::mem::take(&mut self.granted);
        let strayed = granted.len() - core::mem::take(&mut self.planned);
        if !core::mem::take(&mut self.is_full) && !granted.is_empty() {
            self.last = Some((granted, strayed));
        }
        self.step = self.step.max(1).saturating_add(1);
    }

    /// What was requested so far is part of no step.
    pub(super) fn forget(&mut self) {
        self.granted.clear();
        self.is_full = false;
        self.planned = 0;
    }

    /// The last whole step, once, and how many of it strayed.
    pub(super) fn take_last(&mut self) -> Option<(Vec<Granted>, usize)> {
        self.last.take()
    }

    /// The block was live before the last whole step began.
    pub(super) fn is_older(&self, block: u32) -> bool {
        let born = self.born.get(block as usize).map_or(0, |&(step, _)| step);
        born + 1 < self.step
    }
}
