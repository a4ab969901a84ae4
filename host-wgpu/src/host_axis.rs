//! The host axis of a device: what the host does with mapped memory, as epochs.
//!
//! ```text
//!   chunk handed to the device ─▶ begin() = 7 ─▶ released to die After(host @ 7)
//!   chunk mapped again         ─▶ done(7)     ─▶ host @ 7 reached, once 1…6 are
//! ```
//!
//! Mappings may end out of order; an axis moves in order. [`Sequencer`] is the arithmetic of that.

use crate::gpu::{Gpu, GpuError};
use crate::timeline::Timeline;
use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};
use strandline_core::{Axis, Epoch, Failure, Tracker};

/// Gives out numbers, takes them back in any order, and says up to which all are back.
#[derive(Debug, Default)]
struct Sequencer {
    last: Epoch,
    reached: Epoch,
    /// Back, but not all before them.
    early: BTreeSet<Epoch>,
}

impl Sequencer {
    const fn begin(&mut self) -> Epoch {
        self.last += 1;
        self.last
    }

    /// The new end of the gap-free part, if it moved.
    fn done(&mut self, epoch: Epoch) -> Option<Epoch> {
        if epoch != self.reached + 1 {
            self.early.insert(epoch);
            return None;
        }
        self.reached = epoch;
        while self.early.first() == Some(&(self.reached + 1)) {
            self.early.pop_first();
            self.reached += 1;
        }
        Some(self.reached)
    }
}

/// The axis of a device's mappings.
#[derive(Debug)]
pub(crate) struct HostAxis {
    timeline: Timeline,
    sequencer: Mutex<Sequencer>,
    /// A mapping failed: what waits for it, or for a later one, waits for ever.
    broken: OnceLock<Failure>,
}

impl HostAxis {
    pub(crate) fn new(gpu: &Gpu, tracker: &Tracker, axis: Axis) -> Result<Self, GpuError> {
        Ok(Self {
            timeline: Timeline::new(gpu, tracker, axis)?,
            sequencer: Mutex::default(),
            broken: OnceLock::new(),
        })
    }

    pub(crate) const fn axis(&self) -> Axis {
        self.timeline.axis()
    }

    /// The epoch of a mapping that is about to be asked for.
    pub(crate) fn begin(&self) -> Epoch {
        self.sequencer.lock().unwrap_or_else(PoisonError::into_inner).begin()
    }

    /// The mapping of `epoch` is there. Called by wgpu: the tracker is told by the polling thread.
    pub(crate) fn done(&self, epoch: Epoch) {
        let mut sequencer = self.sequencer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reached) = sequencer.done(epoch) {
            // Under the lock, so that the axis moves in order. After a loss it does not move at all.
            let _ = self.timeline.issue_empty(reached, false);
        }
    }

    /// The mapping of `epoch` will never be there. Called by wgpu.
    pub(crate) fn fail(&self, epoch: Epoch, failure: Failure) {
        let failure = self.timeline.gpu().cause(failure);
        self.timeline.fail(epoch, self.broken.get_or_init(|| failure));
    }

    /// Why chunks that are mapped again do not come back any more.
    pub(crate) fn broken(&self) -> Option<&Failure> {
        self.broken.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_early_waits_for_the_gap() {
        let mut sequencer = Sequencer::default();
        for epoch in 1..=5 {
            assert_eq!(sequencer.begin(), epoch);
        }
        assert_eq!(sequencer.done(2), None);
        assert_eq!(sequencer.done(4), None);
        assert_eq!(sequencer.done(1), Some(2));
        assert_eq!(sequencer.done(3), Some(4));
        assert_eq!(sequencer.done(5), Some(5));
        assert!(sequencer.early.is_empty());
    }
}
