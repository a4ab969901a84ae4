//! The proactor's kernel interface where there is no io_uring: `poll(2)` for descriptors, a few threads for
//! files.
//!
//! ```text
//!   start() ─┬─ polls ──▶ ppoll(doorbell, fd, fd, …) ──▶ Done
//!            └─ transfers ──▶ workers: pread, pwrite ──▶ results, doorbell ──▶ Done
//! ```
//!
//! Each descriptor is polled once, however many operations wait for it: `poll(2)` takes no more entries than the
//! process may have descriptors.
//!
//! Cost: a sleep is linear in the descriptors polled (not in notifications or timers), and in the operations that wait
//! for those that are ready.

use super::ProactorKind;
use super::backend::{Backend, Done, KernelOp, Sleep};
use super::doorbell::Doorbell;
use super::handle::Counters;
use super::op::{Interest, SharedFd};
use super::serial::SerialMap;
use super::workers::Workers;
use crate::{MmapBuffer, clock};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::sync::Arc;

/// What `poll(2)` tells unasked.
const UNASKED: PollFlags = PollFlags::ERR.union(PollFlags::HUP).union(PollFlags::NVAL);

/// A descriptor and the operations that wait for it, at least one.
struct Watched {
    fd: SharedFd,
    waits: Vec<(u64, Interest)>,
}

impl Watched {
    /// All that anyone waits for.
    fn events(&self) -> PollFlags {
        self.waits.iter().fold(PollFlags::empty(), |all, (_, interest)| all | interest.events())
    }
}

pub(super) struct PollSet {
    doorbell: Arc<Doorbell>,
    counters: Arc<Counters>,
    /// By number: that is one descriptor's as long as an operation shares it.
    watched: BTreeMap<RawFd, Watched>,
    /// The descriptor that each poll waits for.
    polls: SerialMap<u64, RawFd>,
    /// Done without the kernel.
    ready: Vec<Done>,
    workers: Workers,
}

impl PollSet {
    pub(super) fn new(doorbell: Arc<Doorbell>, counters: Arc<Counters>) -> Self {
        let workers = Workers::new(doorbell.clone());
        Self {
            doorbell,
            counters,
            watched: BTreeMap::new(),
            polls: SerialMap::default(),
            ready: Vec::new(),
            workers,
        }
    }
}

impl PollSet {
    /// Ends the polls of a descriptor that wait for one of `events`, or that an error ends.
    fn take_ready(&mut self, number: RawFd, events: PollFlags, done: &mut Vec<Done>) {
        let Some(watched) = self.watched.get_mut(&number) else { return };
        let polls = &mut self.polls;
        watched.waits.retain(|(serial, interest)| {
            let own = events & (interest.events() | UNASKED);
            if !own.is_empty() {
                polls.remove(serial);
                let result = Ok(u32::from(own.bits()));
                done.push(Done { serial: *serial, result, buffer: None });
            }
            own.is_empty()
        });
        if watched.waits.is_empty() {
            self.watched.remove(&number);
        }
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
                let number = fd.raw();
                self.polls.insert(serial, number);
                let watched = self.watched.entry(number);
                let watched = watched.or_insert_with(|| Watched { fd, waits: Vec::new() });
                watched.waits.push((serial, interest));
            }
            KernelOp::Transfer(transfer) => self.workers.start(serial, transfer),
        }
    }

    fn cancel(&mut self, serial: u64) {
        let canceled = |buffer| Done { serial, result: Err(Errno::CANCELED), buffer };
        if let Some(number) = self.polls.remove(&serial) {
            if let Some(watched) = self.watched.get_mut(&number) {
                watched.waits.retain(|(other, _)| *other != serial);
                if watched.waits.is_empty() {
                    self.watched.remove(&number);
                }
            }
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
        let mut fds = Vec::with_capacity(1 + self.watched.len());
        fds.push(PollFd::new(&self.doorbell, PollFlags::IN));
        fds.extend(self.watched.values().map(|watched| PollFd::new(&watched.fd, watched.events())));
        Counters::count(&self.counters.system_calls, 1);
        // Nanoseconds: this is ppoll. A timeout beyond the clock's range is none.
        match poll(&mut fds, timeout.flatten().as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        }
        let rang = !fds[0].revents().is_empty();
        let ready: Vec<(RawFd, PollFlags)> = self
            .watched
            .keys()
            .zip(&fds[1..])
            .map(|(number, fd)| (*number, fd.revents()))
            .filter(|(_, events)| !events.is_empty())
            .collect();
        drop(fds);
        if rang {
            // The turn ends here, so whoever called it looks for work.
            let _ = self.doorbell.drain();
        }
        for (number, events) in ready {
            self.take_ready(number, events, done);
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
