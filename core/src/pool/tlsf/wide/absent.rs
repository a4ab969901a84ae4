//! What stands in the place of [`wide`](super) in a build without `hosted`: a death of more axes than a block remembers is unknown there, and
//! counted.

use crate::Frontier;
use crate::death::Death;
use crate::pool::inbox::{Inbox, Ticket};
use crate::progress::Progress;
use crate::sync::atomic::{AtomicU64, Ordering};
use alloc::boxed::Box;

#[derive(Debug, Default)]
pub(super) struct Wide {
    taints: AtomicU64,
}

/// What is aside: nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) requested: u64,
}

impl Wide {
    /// Counts a death that was given up.
    pub(super) fn put(
        &self,
        ticket: Box<Ticket>,
        _: Death<'_>,
        _: u64,
        _: &dyn Progress,
    ) -> Result<(), Box<Ticket>> {
        // Relaxed: a counter.
        self.taints.fetch_add(1, Ordering::Relaxed);
        Err(ticket)
    }

    pub(super) const fn sums(&self) -> Sums {
        Sums { count: 0, bytes: 0, requested: 0 }
    }

    pub(super) const fn bytes(&self) -> u64 {
        0
    }

    pub(super) const fn look(&self, _: &dyn Progress, _: &Inbox) -> bool {
        false
    }

    pub(super) const fn quiesce(&self, _: &dyn Progress, _: &Inbox) {}

    pub(super) fn each(&self, _: impl FnMut(&Ticket, &Frontier)) {}

    pub(super) fn taints(&self) -> u64 {
        self.taints.load(Ordering::Relaxed)
    }
}
