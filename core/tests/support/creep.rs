//! Progress that moves by itself. Not one of the support's modules: not every test that shares those uses it.

use crate::support::progress::Dial;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_core::{Axis, Epoch, Progress};

/// Axes that get on between any two looks at them, as real ones do while a pool is at work: the same way in each
/// run.
#[derive(Debug)]
pub(crate) struct Creep {
    dial: Dial,
    submitted: Dial,
    looks: AtomicU64,
    axes: usize,
}

impl Creep {
    pub(crate) fn new(axes: usize) -> Self {
        Self { dial: Dial::new(axes), submitted: Dial::new(axes), looks: AtomicU64::new(0), axes }
    }

    /// The next epoch of an axis, to be reached some day.
    pub(crate) fn submit(&self, index: usize) -> Epoch {
        let epoch = self.submitted.at(index) + 1;
        self.submitted.set(index, epoch);
        epoch
    }

    /// Everything that was submitted is done.
    pub(crate) fn finish(&self) {
        for index in 0..self.axes {
            self.dial.set(index, self.submitted.at(index));
        }
    }
}

impl Progress for Creep {
    fn reached(&self, axis: Axis) -> Epoch {
        let index = axis.ordinal() as usize;
        let now = self.dial.at(index);
        // Weyl's sequence: no pattern that a pool's own counters could fall in with.
        let look = self.looks.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if look >> 62 == 0 {
            let next = now + 1 + (look >> 60 & 3);
            self.dial.set(index, next.min(self.submitted.at(index)));
        }
        now
    }
}
