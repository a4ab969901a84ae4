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

impl KernelOp {
    /// The memory that comes back with its completion.
    pub(super) fn into_buffer(self) -> Option<IoBuffer> {
        match self {
            Self::Transfer(transfer) => Some(transfer.buffer),
            Self::Nop | Self::Poll { .. } => None,
        }
    }
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
    /// Whoever lets it sleep parks the doorbell's latch first: other threads end transfers, and ring only for a loop that
    /// is parked.
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
    use super::super::op::Direction;
    use super::super::poll::PollSet;
    use super::super::ring::Ring;
    use super::*;
    use core::sync::atomic::Ordering;
    use rustix::event::{EventfdFlags, PollFlags, eventfd};
    use std::collections::BTreeMap;
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

    /// A turn that sleeps, as the loop takes it: with the latch parked, or nothing that ends elsewhere rings.
    fn turn_parked(
        doorbell: &Doorbell,
        backend: &mut dyn Backend,
        end: Option<Instant>,
        done: &mut Vec<Done>,
    ) {
        doorbell.latch().park();
        backend.turn(Sleep::Until(end), done).unwrap();
        doorbell.latch().unpark();
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

    /// Numbers that look random, the same in every run (Marsaglia's xorshift64).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end
        }
    }

    /// What was started and has not come out: whether it was canceled, and for a poll the event it waits for.
    #[derive(Debug, Default)]
    struct Started {
        canceled: bool,
        event: Option<usize>,
        transfer: bool,
    }

    const EVENTS: usize = 4;

    /// The rules that a backend keeps, as a program goes on.
    struct Model {
        started: BTreeMap<u64, Started>,
        events: [(SharedFd, bool); EVENTS],
        file: SharedFd,
        last: u64,
    }

    impl Model {
        fn new() -> Self {
            let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
            let file = std::fs::File::open("/proc/self/exe").unwrap();
            Self {
                started: BTreeMap::new(),
                events: core::array::from_fn(|_| {
                    (SharedFd::from(eventfd(0, flags).unwrap()), false)
                }),
                file: SharedFd::from(file),
                last: 0,
            }
        }

        fn start(&mut self, numbers: &mut Numbers, backend: &mut dyn Backend) {
            self.last += 1;
            let mut started = Started::default();
            let op = match numbers.below(8) {
                0 => KernelOp::Nop,
                1 => {
                    started.transfer = true;
                    let (direction, fd, offset) = (Direction::Read, self.file.clone(), 0);
                    let buffer = IoBuffer::Bytes(vec![0; 4]);
                    KernelOp::Transfer(Transfer { direction, fd, offset, buffer })
                }
                _ => {
                    let index = numbers.below(EVENTS as u64) as usize;
                    started.event = Some(index);
                    let (fd, interest) = (self.events[index].0.clone(), Interest::Readable);
                    KernelOp::Poll { fd, interest }
                }
            };
            self.started.insert(self.last, started);
            backend.start(self.last, op);
        }

        fn cancel(&mut self, numbers: &mut Numbers, backend: &mut dyn Backend) {
            let serial = 1 + numbers.below(self.last.max(1));
            if let Some(started) = self.started.get_mut(&serial) {
                started.canceled = true;
            }
            // Of one that is over it says nothing.
            backend.cancel(serial);
        }

        /// Signals an event, or takes its signal back.
        fn signal(&mut self, index: usize, set: bool) {
            let (fd, is_set) = &mut self.events[index];
            if set {
                rustix::io::write(&*fd, &1_u64.to_ne_bytes()).unwrap();
                *is_set = true;
            } else if core::mem::take(is_set) {
                rustix::io::read(&*fd, &mut [0; 8]).unwrap();
            }
        }

        fn check(&mut self, done: &mut Vec<Done>, backend: &dyn Backend) {
            for Done { serial, result, buffer } in done.drain(..) {
                let started = self.started.remove(&serial);
                let started = started.unwrap_or_else(|| panic!("{serial} came out twice"));
                assert_eq!(buffer.map(|buffer| buffer.len()), started.transfer.then_some(4));
                match result {
                    Ok(bytes) if started.transfer => assert_eq!(bytes, 4),
                    // A signal that was taken back may have ended it before.
                    Ok(events) if started.event.is_some() => {
                        assert_eq!(events, u32::from(PollFlags::IN.bits()));
                    }
                    Ok(zero) => assert_eq!(zero, 0),
                    Err(error) => assert!(
                        started.canceled && matches!(error, Errno::CANCELED | Errno::INTR),
                        "{serial}: {error}"
                    ),
                }
            }
            assert_eq!(backend.in_flight(), self.started.len());
        }
    }

    /// Programs that start, cancel and complete far more than either queue of the ring holds.
    #[test]
    fn every_operation_comes_out_once() {
        let steps = crate::scale::scaled(20_000);
        each(|doorbell, _, backend| {
            let (mut numbers, mut model) = (Numbers(0x5eed), Model::new());
            let mut done = Vec::new();
            for _ in 0..steps {
                match numbers.below(64) {
                    0..40 => model.start(&mut numbers, backend),
                    40..56 => model.cancel(&mut numbers, backend),
                    56..62 => {
                        let index = numbers.below(EVENTS as u64) as usize;
                        model.signal(index, numbers.below(3) == 0);
                    }
                    _ => {
                        backend.turn(Sleep::No, &mut done).unwrap();
                        model.check(&mut done, backend);
                    }
                }
            }
            for index in 0..EVENTS {
                model.signal(index, true);
            }
            let end = Instant::now() + Duration::from_secs(60);
            while !model.started.is_empty() {
                turn_parked(doorbell, backend, Some(end), &mut done);
                assert!(Instant::now() < end, "{} keeps {:?}", backend.kind(), model.started);
                model.check(&mut done, backend);
            }
        });
    }

    /// More than the submission queue holds, the last of which is done at once.
    #[test]
    fn a_turn_that_sleeps_has_given_the_kernel_everything() {
        each(|doorbell, _, backend| {
            let (mut model, mut done) = (Model::new(), Vec::new());
            for serial in 1..=100 {
                let (fd, interest) = (model.events[0].0.clone(), Interest::Readable);
                backend.start(serial, KernelOp::Poll { fd, interest });
                model.started.insert(serial, Started { event: Some(0), ..Started::default() });
            }
            backend.start(101, KernelOp::Nop);
            model.started.insert(101, Started::default());
            let end = Instant::now() + Duration::from_secs(20);
            while model.started.contains_key(&101) {
                turn_parked(doorbell, backend, Some(end), &mut done);
                assert!(Instant::now() < end, "{} sleeps on a backlog", backend.kind());
                model.check(&mut done, backend);
            }
            model.signal(0, true);
            while !model.started.is_empty() {
                turn_parked(doorbell, backend, None, &mut done);
                model.check(&mut done, backend);
            }
        });
    }
}
