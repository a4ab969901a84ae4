//! The latch that decides who must ring a sleeping event loop: at most one of all that wake it.
//!
//! ```text
//!   event loop                              waker (any thread, a signal handler)
//!   ─────────────────────────────           ───────────────────────────────────
//!   park(): latch = PARKED                  leave work
//!   look for work: some? unpark()           wake(): latch = PARKED?
//!   none: sleep until the bell rings                   exchange for AWAKE: won? ring
//! ```
//!
//! # Why no wake is lost
//! Each side writes one thing and then reads the other's, all sequentially consistent: the loop writes
//! the latch and reads the work, the waker writes work and reads the latch. Whichever write comes second
//! in their total order is followed by a read that sees the first. So either the loop sees the work, or
//! the waker sees a parked loop and rings; the bell is an eventfd, which remembers.
//!
//! Every write is an exchange, though only one of them asks what was there: so each comes after the one whose
//! value it took. (C++'s memory model orders plain stores there as well; loom does not know that.)
//!
//! # Cost
//! Waking a loop that is awake is one load. Waking one that sleeps is one exchange and, for the first, one
//! system call.

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::seq_cst_for_loom;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Latch {
    parked: AtomicBool,
}

impl Latch {
    pub(super) fn new() -> Self {
        Self { parked: AtomicBool::new(false) }
    }

    /// The loop is about to sleep. It must look for work after this and before it does.
    pub(super) fn park(&self) {
        self.parked.swap(true, Ordering::SeqCst);
        seq_cst_for_loom();
    }

    /// The loop is awake, by whatever woke it.
    pub(super) fn unpark(&self) {
        // Whoever still reads that it is parked rings in vain, no worse.
        self.parked.swap(false, Ordering::Relaxed);
    }

    /// Called once work has been left: whether the caller must ring the bell.
    #[must_use]
    pub(super) fn wake(&self) -> bool {
        seq_cst_for_loom();
        self.parked.load(Ordering::SeqCst) && self.parked.swap(false, Ordering::SeqCst)
    }
}

#[cfg(all(test, loom))]
mod model;
