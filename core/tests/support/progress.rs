//! Progress that a test moves by hand.

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
