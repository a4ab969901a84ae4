//! Notifications that several processes share.
//!
//! ```text
//!   process A                       memfd                        process B
//!   ─────────                  ┌─────────────┐                   ─────────
//!   signal() ─── += 1 ────────▶│ epoch       │◀── futex ──────── wait(): a blocked thread
//!        │                     │ slot 0 (A)  │
//!        └── armed? exchange ─▶│ slot 1 (B)  │◀── armed ──────── mirror(): a proactor
//!            won: eventfd 1 ═══╪═════════════╪═════════════════▶ └▶ a notification of B's own
//!                              └─────────────┘
//! ```
//!
//! The protocol is the one of [`Notification`]: observe, look, wait on the observation. The epoch word is a futex
//! in shared memory, and every participant has an eventfd for its event loops; the descriptors go over a
//! Unix socket. Within a process, any number of loops wait on a local notification that
//! [mirrors](SharedNotification::mirror) the shared one.
//!
//! # What a participant's death does
//! Nothing: there is no lock in the shared memory. Its slot is held by a lock on the file, which the kernel
//! lets go of with the process; until somebody takes the slot over, what the dead one left in it costs
//! signalers at most one system call each. A process killed *between* advancing the epoch and waking takes
//! that wake with it; waiters that must survive this wait with a deadline.
//!
//! # Trust
//! Participants can deny each other wakes, and cause spurious ones. They cannot make each other fault: the
//! memory is sealed against resizing, every access is atomic, and any value is valid.
//!
//! # Cost
//! A signal with nobody waiting: one atomic addition and a load for each slot, all in one cache line.

#[allow(unsafe_code, reason = "memory shared between processes; argued in the file")]
mod page;
mod pass;

use crate::clock;
use crate::event::Event;
use crate::proactor::ProactorHandle;
use crate::relay::Relay;
use crate::wake::WaitResult;
use core::num::NonZeroU32;
use core::sync::atomic::Ordering;
use page::{SLOTS, SharedPage, invalid};
use rustix::io::Errno;
use rustix::thread::futex;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;
use strandline_core::Notification;

/// Set in a slot while an event loop is to be woken by the participant's eventfd.
const ARMED: u32 = 1 << 31;

/// A snapshot of the epoch: what a waiter has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedObservation(u32);

#[derive(Debug)]
struct Inner {
    page: SharedPage,
    /// One for each participant that there can be.
    events: Vec<Event>,
    slot: usize,
}

/// A participant's view of a notification that processes share; see the [module](self). Clones are the same
/// participant.
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use strandline_host_native::WaitResult;
/// use strandline_host_native::shared::SharedNotification;
///
/// let (here, there) = UnixStream::pair()?;
/// let ours = SharedNotification::create(2)?;
/// ours.send(&here)?;
/// // This may as well be another process.
/// let theirs = SharedNotification::receive(&there)?;
/// let seen = theirs.observe();
/// ours.signal();
/// assert_eq!(theirs.wait(seen, None), WaitResult::Signaled);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SharedNotification {
    inner: Arc<Inner>,
}

impl SharedNotification {
    /// Participants that a shared notification can have at most.
    pub const MAX_PARTICIPANTS: usize = SLOTS;

    /// Makes a notification for `participants` processes, this one included.
    ///
    /// # Errors
    /// `InvalidInput`: none, or more than [`MAX_PARTICIPANTS`](Self::MAX_PARTICIPANTS). Others are the system's:
    /// it has no descriptor or memory left, or does not show `/proc/self/fd`.
    pub fn create(participants: usize) -> io::Result<Self> {
        if participants == 0 || participants > SLOTS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let page = SharedPage::create()?;
        let events = (0..participants).map(|_| Event::new()).collect::<Result<_, _>>()?;
        Self::join(page, events)
    }

    /// Takes the first slot that nobody has.
    fn join(page: SharedPage, events: Vec<Event>) -> io::Result<Self> {
        for slot in 0..events.len() {
            if page.lock(slot)? {
                // What a participant that died has left.
                page.slots()[slot].store(0, Ordering::SeqCst);
                events[slot].take();
                return Ok(Self { inner: Arc::new(Inner { page, events, slot }) });
            }
        }
        Err(io::Error::new(io::ErrorKind::QuotaExceeded, "all participants are there already"))
    }

    /// Sends all that another process needs to take part, over a Unix socket. It may pass it on.
    ///
    /// # Errors
    /// The socket's.
    pub fn send(&self, socket: impl AsFd) -> io::Result<()> {
        let events = self.inner.events.iter().map(AsFd::as_fd);
        let fds: Vec<_> = std::iter::once(self.inner.page.file().as_fd()).chain(events).collect();
        pass::send(socket, &fds)
    }

    /// Receives a notification and takes part in it. Blocks until it comes, if the socket does.
    ///
    /// # Errors
    /// `InvalidData`: what came is not a shared notification. `QuotaExceeded`: there are as many participants as
    /// there may be. `UnexpectedEof`: nobody will send one. Others are the system's. Descriptors that
    /// came are closed.
    pub fn receive(socket: impl AsFd) -> io::Result<Self> {
        let mut fds = pass::receive(socket)?.into_iter();
        let file = fds.next().ok_or_else(|| invalid("a message without descriptors"))?;
        let page = SharedPage::open(file)?;
        let events: Vec<Event> = fds.map(Event::from_fd).collect::<Result<_, _>>()?;
        if events.is_empty() || events.len() > SLOTS {
            return Err(invalid("a number of descriptors that cannot be"));
        }
        Self::join(page, events)
    }

    /// Which of the participants this is: below the number given to [`create`](Self::create).
    #[must_use]
    pub fn participant(&self) -> usize {
        self.inner.slot
    }

    /// What there is to see now. Take it before looking at the state that the signals are about.
    #[must_use]
    pub fn observe(&self) -> SharedObservation {
        SharedObservation(self.inner.page.epoch().load(Ordering::SeqCst))
    }

    /// Whether there was a signal since.
    #[must_use]
    pub fn changed_since(&self, seen: SharedObservation) -> bool {
        self.observe() != seen
    }

    /// Advances the epoch and wakes whoever waits, in whatever process. Takes no lock and does not touch `errno`:
    /// signal handlers may call it.
    ///
    /// Cost: no system call when nobody waits; otherwise one for all threads, and one for every participant
    /// whose event loop sleeps.
    pub fn signal(&self) {
        let Inner { page, events, .. } = &*self.inner;
        page.epoch().fetch_add(1, Ordering::SeqCst);
        let mut asleep = 0;
        for (slot, event) in page.slots().iter().zip(events) {
            let mut state = slot.load(Ordering::SeqCst);
            if state & ARMED != 0 {
                state = slot.fetch_and(!ARMED, Ordering::SeqCst);
                // Of many signalers one rings.
                if state & ARMED != 0 {
                    event.set();
                }
            }
            asleep |= state & !ARMED;
        }
        if asleep != 0 {
            // Not PRIVATE: the sleepers may be in other processes. It fails for bad addresses only.
            let _ = futex::wake(page.epoch(), futex::Flags::empty(), i32::MAX as u32);
        }
    }

    /// Sleeps until there is a signal after `seen`, or until `deadline` (`None`: for ever).
    pub fn wait(&self, seen: SharedObservation, deadline: Option<Instant>) -> WaitResult {
        let Inner { page, slot, .. } = &*self.inner;
        let state = &page.slots()[*slot];
        // Counted before the kernel compares the word; a signaler advances it before it looks here.
        state.fetch_add(1, Ordering::SeqCst);
        let end = deadline.and_then(clock::absolute);
        let result = loop {
            if self.changed_since(seen) {
                break WaitResult::Signaled;
            }
            let (flags, any) = (futex::Flags::empty(), NonZeroU32::MAX);
            match futex::wait_bitset(page.epoch(), flags, seen.0, end.as_ref(), any) {
                // Woken, interrupted, or the word had changed: the loop looks again.
                Ok(()) | Err(Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::TIMEDOUT) if self.changed_since(seen) => break WaitResult::Signaled,
                Err(Errno::TIMEDOUT) => break WaitResult::TimedOut,
                Err(error) => {
                    log::error!("futex wait failed: {error}");
                    if deadline.is_some_and(|end| end <= Instant::now()) {
                        break WaitResult::TimedOut;
                    }
                    std::thread::yield_now();
                }
            }
        };
        // Another process may have written anything here; ours is a count of threads, so it wraps as it may.
        state.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Signals `target`, a notification of this process, after each signal from now on: for event loops, and
    /// for whatever waits on notifications. Signals that come close together may be told of once. One mirror
    /// per participant at a time: the next one takes the wakes of the one before.
    ///
    /// The mirror ends when the [`Relay`] is dropped, or its proactor is.
    pub fn mirror(&self, handle: &ProactorHandle, target: &Arc<Notification>) -> Relay {
        let seen = self.observe();
        let (shared, target) = (self.clone(), target.clone());
        Relay::repeat(handle, self.inner.events[self.inner.slot].clone(), seen, move |seen| {
            let Inner { page, slot, .. } = &*shared.inner;
            // Armed, then compared: a signal in between is seen here, a later one rings.
            page.slots()[*slot].fetch_or(ARMED, Ordering::SeqCst);
            let now = shared.observe();
            (now != *seen).then(|| {
                *seen = now;
                target.clone()
            })
        })
    }
}

/// Leaves: nobody wakes it any more. The slot is free when the file is closed.
impl Drop for Inner {
    fn drop(&mut self) {
        self.page.slots()[self.slot].store(0, Ordering::SeqCst);
    }
}
