//! Copies of a run on its way, so that a moment that turns out to matter is reached again without playing all of it.
//!
//! Only the latest copy is held, and those that somebody keeps. Cost: a copy takes O(live blocks), and is made no more often than once for
//! four times as many entries.

use crate::certify::Run;
use std::rc::Rc;

/// A run at some entry.
pub(super) type Checkpoint<'d> = Rc<Run<'d>>;

/// Entries between two copies are a share of all.
const SHARE: usize = 64;

/// The latest copy of a run.
#[derive(Debug)]
pub(super) struct Checkpoints<'d> {
    stride: usize,
    latest: Option<Checkpoint<'d>>,
    /// The entry from which the next copy is due.
    next: usize,
}

impl<'d> Checkpoints<'d> {
    /// Of a run of so many entries.
    pub(super) fn new(entries: usize) -> Self {
        Self { stride: entries / SHARE, latest: None, next: 0 }
    }

    /// Sees the run at its present entry. Returns the latest copy, which is not after that.
    pub(super) fn see(&mut self, run: &Run<'d>) -> &Checkpoint<'d> {
        let entry = run.moment().entry as usize;
        if entry >= self.next {
            self.latest = None;
            self.next = entry.saturating_add(self.stride.max(4 * run.live().len())).max(entry + 1);
        }
        self.latest.get_or_insert_with(|| Rc::new(run.clone()))
    }
}
