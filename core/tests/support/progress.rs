//! Progress that a test moves by hand, and progress that moves by itself.

use std::sync::atomic::{AtomicU64, Ordering};
use strandline_core::{Axis, Epoch, Progress};

/// Host axes 0 to n - 1, each at an epoch.
#[derive(Debug)]
pub(crate) struct Dial(Vec<AtomicU64>);

impl Dial {
    pub(crate) fn new(axes: usize) -> Self {
        Self((0..axes).map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn axis(index: usize) -> Axis {
        Axis::host(0, 0, index as u32)
    }

    pub(crate) fn set(&self, index: usize, epoch: Epoch) {
        self.0[index].fetch_max(epoch, Ordering::Release);
    }

    pub(crate) fn at(&self, index: usize) -> Epoch {
        self.0[index].load(Ordering::Acquire)
    }
}

impl Progress for Dial {
    fn reached(&self, axis: Axis) -> Epoch {
        self.0.get(axis.ordinal() as usize).map_or(0, |epoch| epoch.load(Ordering::Acquire))
    }
}

/// Axes that get on between any two looks at them, as real ones do while a pool is at work: the same way in each
/// run.
#[derive(Debug)]
pub(crate) struct Creep {
    dial: Dial,
    submitted: Dial,
    looks: AtomicU64,
}

impl Creep {
    pub(crate) fn new(axes: usize) -> Self {
        Self { dial: Dial::new(axes), submitted: Dial::new(axes), looks: AtomicU64::new(0) }
    }

    /// The next epoch of an axis, to be reached some day.
    pub(crate) fn submit(&self, index: usize) -> Epoch {
        let epoch = self.submitted.at(index) + 1;
        self.submitted.set(index, epoch);
        epoch
    }

    /// Everything that was submitted is done.
    pub(crate) fn finish(&self) {
        for (index, epoch) in self.submitted.0.iter().enumerate() {
            self.dial.set(index, epoch.load(Ordering::Acquire));
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
