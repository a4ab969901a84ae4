//! The proactor's kernel interface where there is no io_uring: `poll(2)` for descriptors, a few threads for
//! files.
//!
//! ```text
//!   start() ─┬─ polls ──▶ ppoll(doorbell, fd, fd, …) ──▶ Done
//!            └─ transfers ──▶ workers: pread, pwrite ──▶ results, doorbell ──▶ Done
//! ```
//!
//! Cost: a sleep is linear in the descriptors polled (not in notifications or timers).

use super::ProactorKind;
use super::backend::{Backend, Done, KernelOp, Sleep};
use super::doorbell::Doorbell;
use super::handle::Counters;
use super::op::{Interest, SharedFd};
use super::workers::Workers;
use crate::{MmapBuffer, clock};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) struct PollSet {
    doorbell: Arc<Doorbell>,
    counters: Arc<Counters>,
    polls: BTreeMap<u64, (SharedFd, Interest)>,
    /// Done without the kernel.
    ready: Vec<Done>,
    workers: Workers,
}

impl PollSet {
    pub(super) fn new(doorbell: Arc<Doorbell>, counters: Arc<Counters>) -> Self {
        let workers = Workers::new(doorbell.clone());
        Self { doorbell, counters, polls: BTreeMap::new(), ready: Vec::new(), workers }
    }
}

impl Backend for PollSet {
    fn kind(&self) -> ProactorKind {
        ProactorKind::Poll
    }

    fn start(&mut self, serial: u64, op: KernelOp) {
        match op {
            KernelOp::Nop => self.ready.push(Done { serial, result: Ok(0), buffer: None }),
            KernelOp::Poll { fd, interest } => {
                self.polls.insert(serial, (fd, interest));
            }
            KernelOp::Transfer(transfer) => self.workers.start(serial, transfer),
        }
    }

    fn cancel(&mut self, serial: u64) {
        let canceled = |buffer| Done { serial, result: Err(Errno::CANCELED), buffer };
        if self.polls.remove(&serial).is_some() {
            self.ready.push(canceled(None));
        } else if let Some(buffer) = self.workers.cancel(serial) {
            self.ready.push(canceled(Some(buffer)));
        }
    }

    fn in_flight(&self) -> usize {
        self.polls.len() + self.ready.len() + self.workers.in_flight()
    }

    fn turn(&mut self, sleep: Sleep, done: &mut Vec<Done>) -> Result<(), Errno> {
        done.append(&mut self.ready);
        self.workers.take(done);
        let timeout = match sleep {
            Sleep::Until(end) if done.is_empty() => end.map(clock::relative),
            _ if self.polls.is_empty() => return Ok(()),
            _ => Some(Some(Timespec { tv_sec: 0, tv_nsec: 0 })),
        };
        let mut fds = Vec::with_capacity(1 + self.polls.len());
        fds.push(PollFd::new(&self.doorbell, PollFlags::IN));
        fds.extend(self.polls.values().map(|(fd, interest)| PollFd::new(fd, interest.events())));
        Counters::count(&self.counters.system_calls, 1);
        // Nanoseconds: this is ppoll. A timeout beyond the clock's range is none.
        match poll(&mut fds, timeout.flatten().as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        }
        let rang = !fds[0].revents().is_empty();
        let over: Vec<(u64, PollFlags)> = self
            .polls
            .keys()
            .zip(&fds[1..])
            .map(|(serial, fd)| (*serial, fd.revents()))
            .filter(|(_, events)| !events.is_empty())
            .collect();
        drop(fds);
        if rang {
            // The turn ends here, so whoever called it looks for work.
            let _ = self.doorbell.drain();
        }
        for (serial, events) in over {
            self.polls.remove(&serial);
            let result = Ok(u32::from(events.bits()));
            done.push(Done { serial, result, buffer: None });
        }
        self.workers.take(done);
        Ok(())
    }

    fn has_done(&self) -> bool {
        !self.ready.is_empty() || self.workers.has_done()
    }

    fn register(&mut self, _buffer: MmapBuffer) -> Result<(), Errno> {
        Ok(())
    }

    fn unregister(&mut self, _buffer: &MmapBuffer) -> Result<(), Errno> {
        Ok(())
    }
}
