//! What the two kernel interfaces have in common: they take operations on descriptors and give completions.

use super::ProactorKind;
use super::op::{Interest, IoBuffer, SharedFd, Transfer};
use crate::MmapBuffer;
use rustix::io::Errno;
use std::time::Instant;

/// What the kernel is asked for. Owned by the backend until it is over, memory and descriptor included.
#[derive(Debug)]
pub(super) enum KernelOp {
    Nop,
    Poll { fd: SharedFd, interest: Interest },
    Transfer(Transfer),
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) serial: u64,
    pub(super) result: Result<u32, Errno>,
    pub(super) buffer: Option<IoBuffer>,
}

/// How long a turn may sleep.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sleep {
    /// Not at all.
    No,
    /// Until something is done, the doorbell rings, or this passes (`None`: never).
    Until(Option<Instant>),
}

pub(super) trait Backend {
    fn kind(&self) -> ProactorKind;

    /// Takes an operation. Each comes out of [`turn`](Self::turn) exactly once.
    fn start(&mut self, serial: u64, op: KernelOp);

    /// Asks for an operation to end early, with `ECANCELED`. It may end otherwise all the same.
    fn cancel(&mut self, serial: u64);

    /// Operations that were started and have not come out.
    fn in_flight(&self) -> usize;

    /// Gives the kernel what was started, and collects what is done. It may return without anything.
    ///
    /// # Errors
    /// The kernel interface is broken. Interruptions are none.
    fn turn(&mut self, sleep: Sleep, done: &mut Vec<Done>) -> Result<(), Errno>;

    /// Whether a turn would find something that does not ring the doorbell.
    fn has_done(&self) -> bool;

    /// Registers memory for fixed transfers.
    fn register(&mut self, buffer: MmapBuffer) -> Result<(), Errno>;

    /// Takes that back.
    fn unregister(&mut self, buffer: &MmapBuffer) -> Result<(), Errno>;
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::doorbell::Doorbell;
    use super::super::handle::Counters;
    use super::super::poll::PollSet;
    use super::super::ring::Ring;
    use super::*;
    use core::sync::atomic::Ordering;
    use rustix::event::{EventfdFlags, eventfd};
    use std::sync::Arc;
    use std::time::Duration;

    /// Every backend that this machine has, with its doorbell.
    fn each(mut test: impl FnMut(&Doorbell, &Counters, &mut dyn Backend)) {
        let parts = || (Arc::new(Doorbell::new().unwrap()), Arc::new(Counters::default()));
        let (doorbell, counters) = parts();
        test(&doorbell, &counters, &mut PollSet::new(doorbell.clone(), counters.clone()));
        let (doorbell, counters) = parts();
        if let Ok(mut ring) = Ring::new(2, doorbell.clone(), counters.clone()) {
            test(&doorbell, &counters, &mut ring);
        }
    }

    /// What a loop does that found no work: somebody leaves some, and rings, between its look and its sleep.
    fn turn_on_a_ring(doorbell: &Doorbell, backend: &mut dyn Backend, done: &mut Vec<Done>) {
        doorbell.latch().park();
        doorbell.wake();
        let end = Instant::now() + Duration::from_secs(20);
        backend.turn(Sleep::Until(Some(end)), done).unwrap();
        assert!(Instant::now() < end, "{} slept on a ring", backend.kind());
        doorbell.latch().unpark();
    }

    #[test]
    fn a_ring_between_the_look_and_the_sleep_ends_the_turn() {
        each(|doorbell, _, backend| {
            // The first turn has to arm the doorbell; the others find it armed.
            for _ in 0..3 {
                turn_on_a_ring(doorbell, backend, &mut Vec::new());
            }
        });
    }

    /// When the completion queue overflows, io_uring ends the poll of the doorbell, which is armed anew then.
    #[test]
    fn a_ring_after_an_overflow_ends_the_turn() {
        each(|doorbell, counters, backend| {
            let mut done = Vec::new();
            for round in 0..50 {
                let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
                let event = SharedFd::from(eventfd(0, flags).unwrap());
                for serial in 0..64 {
                    let (fd, interest) = (event.clone(), Interest::Readable);
                    backend.start(round * 64 + serial, KernelOp::Poll { fd, interest });
                }
                backend.turn(Sleep::No, &mut done).unwrap();
                assert_eq!((done.len(), backend.in_flight()), (0, 64));
                // All at once, into a queue that holds a few.
                rustix::io::write(&event, &1_u64.to_ne_bytes()).unwrap();
                while backend.in_flight() > 0 {
                    doorbell.latch().park();
                    doorbell.wake();
                    backend.turn(Sleep::Until(None), &mut done).unwrap();
                    doorbell.latch().unpark();
                }
                assert_eq!(done.drain(..).filter(|done| done.result.is_ok()).count(), 64);
                turn_on_a_ring(doorbell, backend, &mut done);
            }
            if backend.kind() == ProactorKind::IoUring {
                assert_ne!(counters.overflows.load(Ordering::Relaxed), 0);
            }
        });
    }
}
