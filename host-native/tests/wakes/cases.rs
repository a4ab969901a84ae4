//! The cases. Each is true of every backend.

use super::backends::{Backend, Signal};
use super::support::{PATIENCE, patience, scaled};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use strandline_host_native::WaitResult::{Signaled, TimedOut};

pub(crate) fn a_stale_observation_does_not_sleep(backend: &impl Backend) {
    let notification = backend.notification();
    let seen = notification.observe();
    notification.signal();
    assert!(notification.changed_since(seen));
    assert_eq!(notification.wait(seen, None), Signaled);
    // As often as one asks.
    assert_eq!(notification.wait(seen, patience()), Signaled);
}

/// Observe, look, wait: the signal comes after the look, before or after the sleep.
pub(crate) fn a_signal_after_the_look_ends_the_wait(backend: &impl Backend) {
    for _ in 0..scaled(64) {
        let notification = backend.notification();
        let ready = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                ready.store(true, Ordering::Relaxed);
                notification.signal();
            });
            loop {
                let seen = notification.observe();
                if ready.load(Ordering::Relaxed) {
                    break;
                }
                assert_eq!(notification.wait(seen, patience()), Signaled);
            }
        });
    }
}

pub(crate) fn a_signal_reaches_every_waiter(backend: &impl Backend) {
    const WAITERS: usize = 8;
    for _ in 0..scaled(16) {
        let notification = backend.notification();
        let seen = notification.observe();
        let observed = Barrier::new(WAITERS + 1);
        thread::scope(|scope| {
            for _ in 0..WAITERS {
                scope.spawn(|| {
                    observed.wait();
                    assert_eq!(notification.wait(seen, patience()), Signaled);
                });
            }
            observed.wait();
            notification.signal();
        });
    }
}

/// However many signals: one wait ends for all of them, and the next waits for the next.
pub(crate) fn signals_that_come_close_together_count_as_one(backend: &impl Backend) {
    let notification = backend.notification();
    let seen = notification.observe();
    for _ in 0..1000 {
        notification.signal();
    }
    assert_eq!(notification.wait(seen, patience()), Signaled);
    let seen = notification.observe();
    let soon = Instant::now() + Duration::from_millis(2);
    assert_eq!(notification.wait(seen, Some(soon)), TimedOut);
}

pub(crate) fn a_deadline_ends_the_wait_and_not_before(backend: &impl Backend) {
    let notification = backend.notification();
    let mut best = Duration::MAX;
    for micros in [1, 50, 333, 1000, 2500] {
        // Late is a busy machine; late every time would be a rounding.
        for _ in 0..8 {
            let end = Instant::now() + Duration::from_micros(micros);
            assert_eq!(notification.wait(notification.observe(), Some(end)), TimedOut);
            let late = Instant::now().checked_duration_since(end).expect("not before its deadline");
            best = best.min(late);
        }
    }
    assert!(best < Duration::from_micros(900), "late by {best:?} at best: rounded up?");
}

pub(crate) fn a_deadline_that_has_passed_looks_once(backend: &impl Backend) {
    let notification = backend.notification();
    let past = Some(Instant::now());
    assert_eq!(notification.wait(notification.observe(), past), TimedOut);
    let seen = notification.observe();
    notification.signal();
    assert_eq!(notification.wait(seen, past), Signaled, "signaled before it was looked at");
}

/// Whichever is first: never a hang, and what is said is true.
pub(crate) fn a_deadline_may_race_with_a_signal(backend: &impl Backend) {
    let notification = backend.notification();
    for round in 0..scaled(200) as u64 {
        let seen = notification.observe();
        thread::scope(|scope| {
            scope.spawn(|| notification.signal());
            let end = Instant::now() + Duration::from_micros(round % 60);
            match notification.wait(seen, Some(end)) {
                Signaled => assert!(notification.changed_since(seen)),
                TimedOut => assert!(Instant::now() >= end),
            }
        });
    }
}

/// Each waits until it has the turn: one lost wake and nobody goes on.
pub(crate) fn no_wake_is_lost_between_two_that_take_turns(backend: &impl Backend) {
    const THREADS: u64 = 2;
    let turns = scaled(2000) as u64;
    let (notification, turn) = (backend.notification(), AtomicU64::new(0));
    thread::scope(|scope| {
        for me in 0..THREADS {
            let (notification, turn) = (&notification, &turn);
            scope.spawn(move || {
                loop {
                    let seen = notification.observe();
                    let now = turn.load(Ordering::Relaxed);
                    if now >= turns {
                        return;
                    }
                    if now % THREADS == me {
                        turn.store(now + 1, Ordering::Relaxed);
                        notification.signal();
                    } else {
                        assert_eq!(notification.wait(seen, patience()), Signaled);
                    }
                }
            });
        }
    });
}

/// One thread signals once for each time that the other registers, at no particular moment.
pub(crate) fn registering_races_with_signaling(backend: &impl Backend) {
    let rounds = scaled(2000);
    let notification = backend.notification();
    let (asked, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=rounds {
                while asked.load(Ordering::Acquire) < round {
                    thread::yield_now();
                }
                answered.store(round, Ordering::Relaxed);
                notification.signal();
            }
        });
        for round in 1..=rounds {
            let seen = notification.observe();
            asked.store(round, Ordering::Release);
            let mut seen = seen;
            while answered.load(Ordering::Relaxed) < round {
                assert_eq!(notification.wait(seen, patience()), Signaled);
                seen = notification.observe();
            }
        }
    });
}

/// What the handler signals. One test at a time uses it.
static IN_HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static HANDLER: std::sync::Mutex<()> = std::sync::Mutex::new(());

extern "C" fn handle<S: Signal>(_signal: libc::c_int) {
    // SAFETY: null, or a notification that the test keeps until the handler is gone.
    if let Some(notification) = unsafe { IN_HANDLER.load(Ordering::SeqCst).cast::<S>().as_ref() } {
        notification.signal();
    }
}

extern "C" fn ignore(_signal: libc::c_int) {}

/// Sets the handler of SIGUSR1, without SA_RESTART: sleeps are interrupted.
fn set_handler(handler: extern "C" fn(libc::c_int)) {
    // SAFETY: an all-zero `sigaction` is valid; the handlers of this file call only what signal handlers may.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, core::ptr::null_mut()), 0);
    }
}

/// The threads that signals are sent to.
struct Target(libc::pthread_t);

// SAFETY: a thread's name, used while the thread lives.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    fn this_thread() -> Self {
        // SAFETY: always works.
        Self(unsafe { libc::pthread_self() })
    }

    fn interrupt(&self) {
        // SAFETY: the thread outlives this value, as the tests are written.
        unsafe { libc::pthread_kill(self.0, libc::SIGUSR1) };
    }
}

/// The waiting thread itself is interrupted, at any point of its wait, by a handler that signals what it waits
/// for.
pub(crate) fn a_signal_handler_may_signal<B: Backend>(backend: &B) {
    let _one = HANDLER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let notification = backend.notification();
    IN_HANDLER.store((&raw const notification).cast_mut().cast(), Ordering::SeqCst);
    set_handler(handle::<B::Signal>);
    let (target, rounds) = (Target::this_thread(), AtomicUsize::new(0));
    let total = scaled(400);
    thread::scope(|scope| {
        scope.spawn(|| {
            while rounds.load(Ordering::SeqCst) < total {
                target.interrupt();
                thread::yield_now();
            }
        });
        while rounds.load(Ordering::SeqCst) < total {
            assert_eq!(notification.wait(notification.observe(), patience()), Signaled);
            rounds.fetch_add(1, Ordering::SeqCst);
        }
    });
    set_handler(ignore);
    IN_HANDLER.store(core::ptr::null_mut(), Ordering::SeqCst);
}

pub(crate) fn interrupted_sleeps_go_on(backend: &impl Backend) {
    let _one = HANDLER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    set_handler(ignore);
    let notification = backend.notification();
    let (target, over) = (Target::this_thread(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                target.interrupt();
                thread::yield_now();
            }
        });
        for _ in 0..8 {
            let end = Instant::now() + Duration::from_millis(2);
            assert_eq!(notification.wait(notification.observe(), Some(end)), TimedOut);
            assert!(Instant::now() >= end);
        }
        over.store(true, Ordering::SeqCst);
    });
}

/// Signalers still ring when the last waiter is gone and its notification is dropped.
pub(crate) fn many_notifications_come_and_go(backend: &impl Backend) {
    for _ in 0..scaled(300) {
        let notification = backend.notification();
        let seen = notification.observe();
        let late = notification.clone();
        let signaler = thread::spawn(move || {
            for _ in 0..4 {
                late.signal();
            }
        });
        assert_eq!(notification.wait(seen, Some(Instant::now() + PATIENCE)), Signaled);
        drop(notification);
        signaler.join().unwrap();
    }
}

pub(crate) fn two_waiters_of_different_observations(backend: &impl Backend) {
    let notification = backend.notification();
    let old = notification.observe();
    notification.signal();
    let new = notification.observe();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| notification.wait(new, patience()));
        assert_eq!(notification.wait(old, patience()), Signaled);
        let soon = Instant::now() + Duration::from_millis(1);
        assert_eq!(notification.wait(new, Some(soon)), TimedOut);
        notification.signal();
        assert_eq!(waiter.join().unwrap(), Signaled);
    });
}
