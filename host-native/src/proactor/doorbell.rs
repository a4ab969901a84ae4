//! What others hold of a proactor to wake it: ready bits, a latch, and an eventfd that its loop polls.

use super::latch::Latch;
use super::ready::ReadySet;
use core::fmt;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// See the [module](self). Ringing it takes no lock and allocates nothing, so signal handlers may.
pub(crate) struct Doorbell {
    latch: Latch,
    ready: ReadySet,
    bell: OwnedFd,
}

impl Doorbell {
    /// # Errors
    /// The system has no descriptor left.
    pub(super) fn new() -> Result<Self, Errno> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { latch: Latch::new(), ready: ReadySet::new(), bell })
    }

    pub(super) const fn latch(&self) -> &Latch {
        &self.latch
    }

    pub(super) const fn ready(&self) -> &ReadySet {
        &self.ready
    }

    /// Says that the notification watched under `slot` may have changed.
    pub(crate) fn ring(&self, slot: u32) {
        self.ready.add(slot);
        self.wake();
    }

    /// Says that there is work.
    pub(super) fn wake(&self) {
        if self.latch.wake() {
            // It cannot fail: the counter would have to hold 2^64 - 2 rings. Whoever rings may be a
            // signal handler, so there is no one to tell.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// Takes all rings off the counter; whether there were any. Work that came with them is looked for after
    /// it, before the loop sleeps.
    #[must_use]
    pub(super) fn drain(&self) -> bool {
        // The one way to fail is that there is nothing to take.
        rustix::io::read(&self.bell, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").field("latch", &self.latch).finish_non_exhaustive()
    }
}

/// Rings for one slot: what a notification is given where its host wake is not ours.
pub(super) struct SlotWaker {
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) slot: u32,
}

impl std::task::Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.doorbell.ring(self.slot);
    }
}
