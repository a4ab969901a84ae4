//! The notification protocol under every interleaving (up to three preemptions): no wake is lost.
#![cfg(loom)]

use std::sync::Arc;
use std::task::{Wake as TaskWake, Waker};

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use strandline_core::notification::{EpochWord, Notification, Wake};

fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

/// Sleeps as a futex does: the word is compared under the lock that the waker takes.
struct Parking {
    lock: Mutex<()>,
    woken: Condvar,
}

impl Parking {
    fn new() -> Arc<Self> {
        Arc::new(Self { lock: Mutex::new(()), woken: Condvar::new() })
    }

    /// Loom reports a deadlock when this is never woken.
    fn sleep_while(&self, word: &EpochWord, expected: u32) {
        let mut guard = self.lock.lock().unwrap();
        while word.load(Ordering::Acquire) == expected {
            guard = self.woken.wait(guard).unwrap();
        }
    }
}

impl Wake for Parking {
    fn wake_all(&self, _word: &EpochWord) {
        drop(self.lock.lock().unwrap());
        self.woken.notify_all();
    }
}

/// Waits for `ready` as a host does. The flag is relaxed: the notification must carry it over.
fn wait_for(notification: &Notification, parking: &Parking, ready: impl Fn() -> bool) {
    loop {
        let seen = notification.observe();
        if ready() {
            return;
        }
        if let Some(wait) = notification.begin_wait(seen) {
            parking.sleep_while(wait.word(), wait.expected());
        }
    }
}

#[test]
fn a_sleeping_thread_is_always_woken() {
    model(|| {
        let parking = Parking::new();
        let notification = Arc::new(Notification::new(Some(parking.clone())));
        let ready = Arc::new(AtomicBool::new(false));
        let signaler = {
            let (notification, ready) = (notification.clone(), ready.clone());
            thread::spawn(move || {
                ready.store(true, Ordering::Relaxed);
                notification.signal_if_observed();
            })
        };
        wait_for(&notification, &parking, || ready.load(Ordering::Relaxed));
        signaler.join().unwrap();
    });
}

#[test]
fn two_signals_wake_one_that_needs_both() {
    model(|| {
        let parking = Parking::new();
        let notification = Arc::new(Notification::new(Some(parking.clone())));
        let count = Arc::new(AtomicUsize::new(0));
        let signalers = [(); 2].map(|()| {
            let (notification, count) = (notification.clone(), count.clone());
            thread::spawn(move || {
                count.fetch_add(1, Ordering::Relaxed);
                notification.signal_if_observed();
            })
        });
        wait_for(&notification, &parking, || count.load(Ordering::Relaxed) == 2);
        for signaler in signalers {
            signaler.join().unwrap();
        }
    });
}

struct Flag(AtomicUsize);

impl TaskWake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_waker_is_called_once_or_never_registered() {
    model(|| {
        let notification = Arc::new(Notification::new(None));
        let flag = Arc::new(Flag(AtomicUsize::new(0)));
        let seen = notification.observe();
        let signaler = {
            let notification = notification.clone();
            thread::spawn(move || notification.signal_if_observed())
        };
        let id = notification.register(seen, Waker::from(flag.clone()));
        signaler.join().unwrap();
        let called = flag.0.load(Ordering::SeqCst);
        assert_eq!(called, usize::from(id.is_some()));
        assert!(id.is_none_or(|id| !notification.unregister(id)));
    });
}

#[test]
fn cancelling_a_waker_wins_or_loses_never_both() {
    model(|| {
        let notification = Arc::new(Notification::new(None));
        let flag = Arc::new(Flag(AtomicUsize::new(0)));
        let id = notification.register(notification.observe(), Waker::from(flag.clone())).unwrap();
        let signaler = {
            let notification = notification.clone();
            thread::spawn(move || notification.signal_if_observed())
        };
        let won = notification.unregister(id);
        signaler.join().unwrap();
        assert_eq!(flag.0.load(Ordering::SeqCst), usize::from(!won));
    });
}
