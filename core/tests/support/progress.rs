//! Progress that a test moves by hand.

use std::sync::atomic::{AtomicU64, Ordering};
use strandline_core::{Axis, Epoch, Progress};

/// Host axes 0 to n - 1, each at an epoch.
#[derive(Debug)]
pub(crate) struct Dial {
    axes: Vec<AtomicU64>,
    /// How often one was moved.
    moves: AtomicU64,
}

impl Dial {
    pub(crate) fn new(axes: usize) -> Self {
        let axes = (0..axes).map(|_| AtomicU64::new(0)).collect();
        Self { axes, moves: AtomicU64::new(0) }
    }

    pub(crate) fn axis(index: usize) -> Axis {
        Axis::host(index as u32)
    }

    pub(crate) fn set(&self, index: usize, epoch: Epoch) {
        self.axes[index].fetch_max(epoch, Ordering::SeqCst);
        self.moves.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn at(&self, index: usize) -> Epoch {
        self.axes[index].load(Ordering::Acquire)
    }
}

impl Progress for Dial {
    fn reached(&self, axis: Axis) -> Epoch {
        self.axes.get(axis.ordinal() as usize).map_or(0, |epoch| epoch.load(Ordering::SeqCst))
    }

    fn version(&self) -> Option<u64> {
        Some(self.moves.load(Ordering::SeqCst))
    }
}
