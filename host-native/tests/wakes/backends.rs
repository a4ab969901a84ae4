//! The ways to sleep on a notification, each as a thing that blocks its caller.

use super::support::{PATIENCE, available, proactor};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::Instant;
use strandline_core::{Notification, Observation};
use strandline_host_native::proactor::{
    Completion, Op, OpError, Proactor, ProactorKind, ProactorThread,
};
use strandline_host_native::relay::Relay;
use strandline_host_native::shared::SharedNotification;
use strandline_host_native::{WaitResult, thread_wake, wait};

/// A way to sleep.
pub(crate) trait Backend: Sync {
    type Signal: Signal;

    fn notification(&self) -> Self::Signal;
}

/// A notification, and how to wait for it.
pub(crate) trait Signal: Clone + Send + Sync + 'static {
    type Seen: Copy + Send + Sync;

    fn observe(&self) -> Self::Seen;
    fn signal(&self);
    fn changed_since(&self, seen: Self::Seen) -> bool;
    /// Blocks the caller. Several may, at the same time.
    fn wait(&self, seen: Self::Seen, deadline: Option<Instant>) -> WaitResult;
}

pub(crate) struct Blocked;

#[derive(Clone)]
pub(crate) struct BlockedSignal(Arc<Notification>);

fn local() -> Arc<Notification> {
    Arc::new(Notification::new(Some(thread_wake())))
}

impl Backend for Blocked {
    type Signal = BlockedSignal;

    fn notification(&self) -> BlockedSignal {
        BlockedSignal(local())
    }
}

impl Signal for BlockedSignal {
    type Seen = Observation;

    fn observe(&self) -> Observation {
        self.0.observe()
    }

    fn signal(&self) {
        self.0.signal_if_observed();
    }

    fn changed_since(&self, seen: Observation) -> bool {
        self.0.changed_since(seen)
    }

    fn wait(&self, seen: Observation, deadline: Option<Instant>) -> WaitResult {
        wait(&self.0, seen, deadline)
    }
}

fn outcome(result: Result<usize, OpError>) -> WaitResult {
    match result {
        Ok(_) => WaitResult::Signaled,
        Err(OpError::TimedOut) => WaitResult::TimedOut,
        Err(error) => panic!("{error}"),
    }
}

/// Each wait has a proactor of its own, polled by the waiting thread.
pub(crate) struct Looping(ProactorKind);

impl Looping {
    pub(crate) fn new(kind: ProactorKind) -> Option<Self> {
        available(kind).then_some(Self(kind))
    }
}

#[derive(Clone)]
pub(crate) struct LoopingSignal {
    kind: ProactorKind,
    notification: Arc<Notification>,
}

impl Backend for Looping {
    type Signal = LoopingSignal;

    fn notification(&self) -> LoopingSignal {
        LoopingSignal { kind: self.0, notification: local() }
    }
}

thread_local! {
    /// Kept from wait to wait: making a ring takes longer than what is tested.
    static LOOPS: std::cell::RefCell<Vec<Proactor>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn with_loop<T>(kind: ProactorKind, work: impl FnOnce(&mut Proactor) -> T) -> T {
    LOOPS.with_borrow_mut(|loops| {
        let index = loops.iter().position(|one| one.kind() == kind).unwrap_or_else(|| {
            loops.push(proactor(kind));
            loops.len() - 1
        });
        work(&mut loops[index])
    })
}

impl Signal for LoopingSignal {
    type Seen = Observation;

    fn observe(&self) -> Observation {
        self.notification.observe()
    }

    fn signal(&self) {
        self.notification.signal_if_observed();
    }

    fn changed_since(&self, seen: Observation) -> bool {
        self.notification.changed_since(seen)
    }

    fn wait(&self, seen: Observation, deadline: Option<Instant>) -> WaitResult {
        with_loop(self.kind, |proactor| {
            let (sender, receiver) = mpsc::channel();
            let op = Op::wait(self.notification.clone(), seen, deadline);
            proactor.handle().submit(op, move |done| sender.send(done.result).unwrap());
            loop {
                if let Ok(result) = receiver.try_recv() {
                    return outcome(result);
                }
                assert_ne!(proactor.poll(Some(PATIENCE)).unwrap(), 0, "nothing in a minute");
            }
        })
    }
}

/// All waits on one proactor with its own thread.
pub(crate) struct Threaded(Arc<ProactorThread>);

impl Threaded {
    pub(crate) fn new(kind: ProactorKind) -> Option<Self> {
        available(kind).then(|| Self(Arc::new(Proactor::builder().kind(kind).spawn().unwrap())))
    }
}

#[derive(Clone)]
pub(crate) struct ThreadedSignal {
    proactor: Arc<ProactorThread>,
    notification: Arc<Notification>,
}

impl Backend for Threaded {
    type Signal = ThreadedSignal;

    fn notification(&self) -> ThreadedSignal {
        ThreadedSignal { proactor: self.0.clone(), notification: local() }
    }
}

impl Signal for ThreadedSignal {
    type Seen = Observation;

    fn observe(&self) -> Observation {
        self.notification.observe()
    }

    fn signal(&self) {
        self.notification.signal_if_observed();
    }

    fn changed_since(&self, seen: Observation) -> bool {
        self.notification.changed_since(seen)
    }

    fn wait(&self, seen: Observation, deadline: Option<Instant>) -> WaitResult {
        let (sender, receiver) = mpsc::channel();
        let op = Op::wait(self.notification.clone(), seen, deadline);
        self.proactor.handle().submit(op, move |done: Completion| {
            sender.send(done.result).unwrap();
        });
        outcome(receiver.recv_timeout(PATIENCE).unwrap())
    }
}

/// Two participants of a notification that processes share: one signals, the other waits. That both are in this
/// process makes no difference to either.
pub(crate) struct Shared;

#[derive(Clone)]
pub(crate) struct SharedSignal {
    signals: SharedNotification,
    waits: SharedNotification,
}

fn shared() -> SharedSignal {
    let (here, there) = UnixStream::pair().unwrap();
    let signals = SharedNotification::create(2).unwrap();
    signals.send(&here).unwrap();
    let waits = SharedNotification::receive(&there).unwrap();
    assert_ne!(signals.participant(), waits.participant());
    SharedSignal { signals, waits }
}

impl Backend for Shared {
    type Signal = SharedSignal;

    fn notification(&self) -> SharedSignal {
        shared()
    }
}

impl Signal for SharedSignal {
    type Seen = strandline_host_native::shared::SharedObservation;

    fn observe(&self) -> Self::Seen {
        self.waits.observe()
    }

    fn signal(&self) {
        self.signals.signal();
    }

    fn changed_since(&self, seen: Self::Seen) -> bool {
        self.waits.changed_since(seen)
    }

    fn wait(&self, seen: Self::Seen, deadline: Option<Instant>) -> WaitResult {
        self.waits.wait(seen, deadline)
    }
}

/// A shared notification whose second participant mirrors it with an event loop.
pub(crate) struct SharedLooping(Threaded);

impl SharedLooping {
    pub(crate) fn new(kind: ProactorKind) -> Option<Self> {
        Threaded::new(kind).map(Self)
    }
}

#[derive(Clone)]
pub(crate) struct MirroredSignal {
    shared: SharedSignal,
    local: ThreadedSignal,
    _mirror: Arc<Relay>,
}

impl Backend for SharedLooping {
    type Signal = MirroredSignal;

    fn notification(&self) -> MirroredSignal {
        let (shared, local) = (shared(), self.0.notification());
        let mirror = shared.waits.mirror(self.0.0.handle(), &local.notification);
        MirroredSignal { shared, local, _mirror: Arc::new(mirror) }
    }
}

impl Signal for MirroredSignal {
    type Seen = (strandline_host_native::shared::SharedObservation, Observation);

    fn observe(&self) -> Self::Seen {
        // The local one first: whatever it misses of the shared one comes to it later.
        let local = self.local.observe();
        (self.shared.observe(), local)
    }

    fn signal(&self) {
        self.shared.signal();
    }

    fn changed_since(&self, seen: Self::Seen) -> bool {
        self.shared.changed_since(seen.0)
    }

    /// Waits on the local one until the shared one has changed.
    fn wait(&self, seen: Self::Seen, deadline: Option<Instant>) -> WaitResult {
        let mut local = seen.1;
        loop {
            if self.changed_since(seen) {
                return WaitResult::Signaled;
            }
            if self.local.wait(local, deadline) == WaitResult::TimedOut {
                let signaled = self.changed_since(seen);
                return if signaled { WaitResult::Signaled } else { WaitResult::TimedOut };
            }
            local = self.local.observe();
        }
    }
}
