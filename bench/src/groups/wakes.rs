//! `wake`: from one thread to another that sleeps, and from one thread to many waiters.
//!
//! Two threads hand a turn to and fro, and each sleeps until it has it: one operation is one hand-over. Half
//! of them wake the measured thread, half the other. Wall time, since what is measured is spent asleep.

use crate::harness::{Case, Contender, Goal};
use event_listener::{Event, Listener};
use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::futex;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use strandline_core::{Notification, Observation};
use strandline_host_native::proactor::{Op, Proactor, ProactorHandle, ProactorKind};
use strandline_host_native::{thread_wake, wait};

const RING: &str = "strandline, wait on io_uring";
const THREAD: &str = "strandline, blocked thread";

pub(super) fn cases() -> impl Iterator<Item = Case> {
    let loops = Case {
        group: "wake",
        name: "an event loop, one way".into(),
        unit: "wake",
        reference: 0,
        goals: vec![Goal::ratio(RING, 1.15)],
        contenders: Box::new(|| {
            let mut all = vec![ping_pong("bare eventfd", BareEventfd::pair())];
            if Proactor::builder().kind(ProactorKind::IoUring).build().is_ok() {
                all.push(ping_pong(RING, Looping::pair(ProactorKind::IoUring)));
            }
            all.push(ping_pong("strandline, wait on poll", Looping::pair(ProactorKind::Poll)));
            all
        }),
    };
    let threads = Case {
        group: "wake",
        name: "a blocked thread, one way".into(),
        unit: "wake",
        reference: 0,
        goals: vec![Goal::ratio(THREAD, 1.1)],
        contenders: Box::new(|| {
            vec![
                ping_pong("bare futex", BareFutex::pair()),
                ping_pong(THREAD, Blocking::pair()),
                ping_pong("event-listener", Listening::pair()),
                ping_pong("tokio Notify, current-thread runtime", Tokio::pair()),
            ]
        }),
    };
    [loops, threads].into_iter().chain([1, 16, 256].map(|waiters| Case {
        group: "wake",
        name: format!("{waiters} waiters of one notification"),
        unit: "signal heard by all",
        reference: 0,
        goals: Vec::new(),
        contenders: Box::new(move || many(waiters)),
    }))
}

/// One side of a hand-over. Made on the thread that it stays on.
trait Side {
    /// Sleeps until it has the turn.
    fn wait(&mut self);
    /// Gives the other side the turn.
    fn signal(&mut self);
}

type Make = Box<dyn FnOnce() -> Box<dyn Side> + Send>;

/// The other side's thread. It is joined when dropped.
struct Far {
    near: Box<dyn Side>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Far {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.near.signal();
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "the other side of a hand-over panicked");
        }
    }
}

fn ping_pong(name: &str, [near, far]: [Make; 2]) -> Contender {
    let stop = Arc::new(AtomicBool::new(false));
    let thread = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let mut far = far();
            loop {
                far.wait();
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                far.signal();
            }
        })
    };
    let mut far = Far { near: near(), stop, thread: Some(thread) };
    Contender::new(name, move |count| {
        let start = Instant::now();
        for _ in 0..count.div_ceil(2) {
            far.near.signal();
            far.near.wait();
        }
        // An odd count did one hand-over more than was asked for.
        let rounds = count.div_ceil(2) * 2;
        Duration::from_nanos(
            (start.elapsed().as_nanos() * u128::from(count) / u128::from(rounds)) as u64,
        )
    })
}

/// The two sides of something symmetric, from the two things they wait on.
fn pair<T: Clone + Send + 'static, S: Side + 'static>(
    [near, far]: [T; 2],
    make: fn(mine: T, theirs: T) -> S,
) -> [Make; 2] {
    let (a, b) = (near.clone(), far.clone());
    [Box::new(move || Box::new(make(near, far))), Box::new(move || Box::new(make(b, a)))]
}

struct BareEventfd {
    mine: Arc<OwnedFd>,
    theirs: Arc<OwnedFd>,
}

impl BareEventfd {
    fn pair() -> [Make; 2] {
        let make = || Arc::new(eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd"));
        pair([make(), make()], |mine, theirs| Self { mine, theirs })
    }
}

impl Side for BareEventfd {
    fn wait(&mut self) {
        let read = rustix::io::read(&self.mine, &mut [0; 8]);
        assert_eq!(read, Ok(8));
    }

    fn signal(&mut self) {
        let written = rustix::io::write(&self.theirs, &1_u64.to_ne_bytes());
        assert_eq!(written, Ok(8));
    }
}

struct BareFutex {
    mine: Arc<AtomicU32>,
    theirs: Arc<AtomicU32>,
}

impl BareFutex {
    fn pair() -> [Make; 2] {
        pair([Arc::default(), Arc::default()], |mine, theirs| Self { mine, theirs })
    }
}

impl Side for BareFutex {
    fn wait(&mut self) {
        while self.mine.swap(0, Ordering::Acquire) == 0 {
            // Woken, or it had changed: looked at again.
            let _ = futex::wait(&self.mine, futex::Flags::PRIVATE, 0, None);
        }
    }

    fn signal(&mut self) {
        self.theirs.store(1, Ordering::Release);
        assert!(futex::wake(&self.theirs, futex::Flags::PRIVATE, 1).is_ok());
    }
}

fn notification() -> Arc<Notification> {
    Arc::new(Notification::new(Some(thread_wake())))
}

/// The turn as an observation: what was seen when it came last.
struct Blocking {
    mine: Arc<Notification>,
    theirs: Arc<Notification>,
    seen: Observation,
}

impl Blocking {
    fn pair() -> [Make; 2] {
        let sides = [notification(), notification()].map(|one| (one.observe(), one));
        pair(sides, |(seen, mine), (_, theirs)| Self { mine, theirs, seen })
    }
}

impl Side for Blocking {
    fn wait(&mut self) {
        let _ = wait(&self.mine, self.seen, None);
        self.seen = self.mine.observe();
    }

    fn signal(&mut self) {
        self.theirs.signal_if_observed();
    }
}

struct Looping {
    proactor: Proactor,
    handle: ProactorHandle,
    mine: Arc<Notification>,
    theirs: Arc<Notification>,
    seen: Observation,
}

impl Looping {
    fn pair(kind: ProactorKind) -> [Make; 2] {
        let sides = [notification(), notification()].map(|one| (one.observe(), one, kind));
        pair(sides, |(seen, mine, kind), (_, theirs, _)| {
            let proactor = Proactor::builder().kind(kind).build().expect("a proactor");
            Self { handle: proactor.handle(), proactor, mine, theirs, seen }
        })
    }
}

impl Side for Looping {
    fn wait(&mut self) {
        self.handle.submit(Op::wait(self.mine.clone(), self.seen, None), |done| {
            assert_eq!(done.result, Ok(0));
        });
        let ran = self.proactor.poll(None).expect("the proactor works");
        assert_eq!(ran, 1);
        self.seen = self.mine.observe();
    }

    fn signal(&mut self) {
        self.theirs.signal_if_observed();
    }
}

/// An event and the turn that it tells of.
type Flagged = Arc<(Event, AtomicBool)>;

struct Listening {
    mine: Flagged,
    theirs: Flagged,
}

impl Listening {
    fn pair() -> [Make; 2] {
        pair([Flagged::default(), Flagged::default()], |mine, theirs| Self { mine, theirs })
    }
}

impl Side for Listening {
    fn wait(&mut self) {
        while !self.mine.1.swap(false, Ordering::SeqCst) {
            let listener = self.mine.0.listen();
            if self.mine.1.swap(false, Ordering::SeqCst) {
                return;
            }
            listener.wait();
        }
    }

    fn signal(&mut self) {
        self.theirs.1.store(true, Ordering::SeqCst);
        self.theirs.0.notify(1);
    }
}

struct Tokio {
    runtime: tokio::runtime::Runtime,
    mine: Arc<tokio::sync::Notify>,
    theirs: Arc<tokio::sync::Notify>,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

impl Tokio {
    fn pair() -> [Make; 2] {
        pair([Arc::default(), Arc::default()], |mine, theirs| Self {
            runtime: runtime(),
            mine,
            theirs,
        })
    }
}

impl Side for Tokio {
    fn wait(&mut self) {
        self.runtime.block_on(self.mine.notified());
    }

    fn signal(&mut self) {
        self.theirs.notify_one();
    }
}

/// The measured thread waits `waiters` times on one thing and tells the other thread, which signals it once; an
/// operation ends when all have heard.
fn many(waiters: usize) -> Vec<Contender> {
    let mut all = vec![many_listeners(waiters)];
    for kind in ProactorKind::ALL {
        if Proactor::builder().kind(kind).build().is_ok() {
            all.push(many_waits(waiters, kind));
        }
    }
    all.push(many_notified(waiters));
    all
}

/// Answers each `go` with a call, until dropped.
struct Answering {
    go: BareEventfd,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    fn new(mut answer: impl FnMut() + Send + 'static) -> Self {
        let fd = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd"));
        let stop = Arc::new(AtomicBool::new(false));
        let side = || BareEventfd { mine: fd.clone(), theirs: fd.clone() };
        let thread = {
            let (mut side, stop) = (side(), stop.clone());
            std::thread::spawn(move || {
                loop {
                    side.wait();
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    answer();
                }
            })
        };
        Self { go: side(), stop, thread: Some(thread) }
    }

    fn go(&mut self) {
        self.go.signal();
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.go();
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "the signaling thread panicked");
        }
    }
}

fn timed(name: String, mut once: impl FnMut() + 'static) -> Contender {
    Contender::new(name, move |count| {
        let start = Instant::now();
        for _ in 0..count {
            once();
        }
        start.elapsed()
    })
}

fn many_listeners(waiters: usize) -> Contender {
    let event = Arc::new(Event::new());
    let mut answering = Answering::new({
        let event = event.clone();
        move || {
            event.notify(usize::MAX);
        }
    });
    timed("event-listener".into(), move || {
        let listeners: Vec<_> = (0..waiters).map(|_| event.listen()).collect();
        answering.go();
        listeners.into_iter().for_each(Listener::wait);
    })
}

fn many_notified(waiters: usize) -> Contender {
    let notify = Arc::new(tokio::sync::Notify::new());
    let mut answering = Answering::new({
        let notify = notify.clone();
        move || notify.notify_waiters()
    });
    let runtime = runtime();
    timed("tokio Notify, current-thread runtime".into(), move || {
        runtime.block_on(async {
            // Each counts from here on, polled or not.
            let all: Vec<_> = (0..waiters).map(|_| notify.notified()).collect();
            answering.go();
            for one in all {
                one.await;
            }
        });
    })
}

fn many_waits(waiters: usize, kind: ProactorKind) -> Contender {
    let notification = notification();
    let mut answering = Answering::new({
        let notification = notification.clone();
        move || notification.signal_if_observed()
    });
    let mut proactor = Proactor::builder().kind(kind).build().expect("a proactor");
    let handle = proactor.handle();
    let heard = Arc::new(AtomicUsize::new(0));
    timed(format!("strandline, wait on {kind}"), move || {
        let seen = notification.observe();
        for _ in 0..waiters {
            let heard = heard.clone();
            handle.submit(Op::wait(notification.clone(), seen, None), move |done| {
                assert_eq!(done.result, Ok(0));
                heard.fetch_add(1, Ordering::Relaxed);
            });
        }
        answering.go();
        while heard.load(Ordering::Relaxed) < waiters {
            proactor.poll(None).expect("the proactor works");
        }
        heard.store(0, Ordering::Relaxed);
    })
}
