//! What others hold of a proactor to give it work: an inbox and a doorbell.

use super::doorbell::Doorbell;
use super::op::{Callback, Completion, Kind, Op, OpError, OpId};
use super::{ProactorKind, ProactorStats};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An operation on its way to the loop.
pub(super) struct Submission {
    pub(super) serial: u64,
    pub(super) kind: Kind,
    pub(super) callback: Callback,
}

pub(super) enum Message {
    Submit(Submission),
    Sequence(Vec<Submission>),
    Cancel(u64),
}

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) messages: Vec<Message>,
    pub(super) closed: bool,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) submitted: AtomicU64,
    pub(super) completed: AtomicU64,
    pub(super) fixed: AtomicU64,
    pub(super) system_calls: AtomicU64,
    pub(super) overflows: AtomicU64,
}

impl Counters {
    pub(super) fn count(counter: &AtomicU64, by: u64) {
        // It guards no other memory.
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

/// What the loop and its handles share.
pub(super) struct Shared {
    pub(super) kind: ProactorKind,
    pub(super) doorbell: Arc<Doorbell>,
    inbox: Mutex<Inbox>,
    last_serial: AtomicU64,
    pub(super) counters: Arc<Counters>,
}

impl Shared {
    pub(super) fn new(
        kind: ProactorKind,
        doorbell: Arc<Doorbell>,
        counters: Arc<Counters>,
    ) -> Self {
        let (inbox, last_serial) = (Mutex::default(), AtomicU64::new(0));
        Self { kind, doorbell, inbox, last_serial, counters }
    }

    pub(super) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // No foreign code runs with it locked, so poison means nothing.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serial(&self) -> u64 {
        self.last_serial.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Leaves a message, or hands it back when nobody will read it.
    fn send(&self, message: Message) -> Result<(), Message> {
        {
            let mut inbox = self.inbox();
            if inbox.closed {
                return Err(message);
            }
            inbox.messages.push(message);
        }
        self.doorbell.wake();
        Ok(())
    }
}

/// Gives a proactor work, from any thread; from [`Proactor::handle`](super::Proactor::handle). Cheap to clone.
#[derive(Clone)]
pub struct ProactorHandle {
    pub(super) shared: Arc<Shared>,
}

impl ProactorHandle {
    /// Has `op` done, and `callback` run with what came of it: exactly once, on the thread that polls, with
    /// no lock held. When the proactor is gone it runs here and now, with [`OpError::Closed`].
    ///
    /// A callback must not block: everything else waits for it. It may submit and cancel.
    ///
    /// Cost: a lock, and a system call if the loop sleeps.
    pub fn submit(&self, op: Op, callback: impl FnOnce(Completion) + Send + 'static) -> OpId {
        let submission = self.submission(op, Box::new(callback));
        let id = OpId(submission.serial);
        self.deliver(Message::Submit(submission));
        id
    }

    /// Has operations done one after the other: each starts when the one before it has succeeded. When
    /// one fails, or is canceled, all that come after it end with [`OpError::Canceled`].
    ///
    /// Any kind of operation may stand anywhere in a sequence; a short read or write is no failure.
    pub fn submit_sequence(&self, sequence: Sequence) -> Vec<OpId> {
        let submissions: Vec<_> = sequence
            .steps
            .into_iter()
            .map(|(op, callback)| self.submission(op, callback))
            .collect();
        let ids = submissions.iter().map(|submission| OpId(submission.serial)).collect();
        if !submissions.is_empty() {
            self.deliver(Message::Sequence(submissions));
        }
        ids
    }

    fn submission(&self, op: Op, callback: Callback) -> Submission {
        Counters::count(&self.shared.counters.submitted, 1);
        Submission { serial: self.shared.serial(), kind: op.0, callback }
    }

    fn deliver(&self, message: Message) {
        match self.shared.send(message) {
            Ok(()) | Err(Message::Cancel(_)) => {}
            Err(Message::Submit(submission)) => self.refuse(submission),
            Err(Message::Sequence(all)) => all.into_iter().for_each(|one| self.refuse(one)),
        }
    }

    fn refuse(&self, submission: Submission) {
        Counters::count(&self.shared.counters.completed, 1);
        let Submission { kind, callback, .. } = submission;
        callback(Completion { result: Err(OpError::Closed), buffer: kind.into_buffer() });
    }

    /// Asks for an operation to end early. Its callback tells who won: [`OpError::Canceled`] if this did.
    /// One that is over already, or under way and not to be stopped (a read of a disk), is
    /// left as it is.
    pub fn cancel(&self, id: OpId) {
        self.deliver(Message::Cancel(id.0));
    }

    /// The kernel interface below.
    #[must_use]
    pub fn kind(&self) -> ProactorKind {
        self.shared.kind
    }

    /// What happened so far. The counters are read one after the other, while others may count on.
    #[must_use]
    pub fn stats(&self) -> ProactorStats {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProactorStats {
            submitted: read(&counters.submitted),
            completed: read(&counters.completed),
            fixed_transfers: read(&counters.fixed),
            system_calls: read(&counters.system_calls),
            overflows: read(&counters.overflows),
        }
    }
}

impl fmt::Debug for ProactorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProactorHandle").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl Kind {
    /// The memory that comes back when nothing was done.
    pub(super) fn into_buffer(self) -> Option<super::IoBuffer> {
        match self {
            Self::Transfer(transfer) => Some(transfer.buffer),
            _ => None,
        }
    }
}

/// Operations to be done one after the other: see [`ProactorHandle::submit_sequence`].
#[derive(Default)]
#[must_use = "a sequence does nothing until it is submitted"]
pub struct Sequence {
    steps: Vec<(Op, Callback)>,
}

impl Sequence {
    /// A sequence of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an operation at the end.
    pub fn then(mut self, op: Op, callback: impl FnOnce(Completion) + Send + 'static) -> Self {
        self.steps.push((op, Box::new(callback)));
        self
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|(op, _)| op)).finish()
    }
}
