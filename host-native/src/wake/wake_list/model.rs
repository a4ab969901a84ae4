//! The waiters under every interleaving: no ring is lost, none comes after its bell was dropped.

use super::*;
use crate::sync::atomic::AtomicU32 as Word;
use loom::sync::{Condvar, Mutex};
use loom::thread;

#[derive(Default)]
struct Loud {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Loud {
    /// Loom reports a deadlock when it is never rung.
    fn sleep(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.heard.wait(rung).unwrap();
        }
        *rung = false;
    }
}

impl Bell for Loud {
    fn ring(&self, slot: u32) {
        assert_eq!(slot, 7);
        *self.rung.lock().unwrap() = true;
        self.heard.notify_one();
    }
}

fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

/// What a notification does: advance, then ring.
fn signal(epoch: &Word, wake_list: &WakeList<Loud>) {
    epoch.fetch_add(1, Ordering::SeqCst);
    wake_list.ring(1);
}

fn wait_for(target: u32, epoch: &Word, waiter: &Waiter<Loud>, bell: &Loud) {
    while epoch.load(Ordering::SeqCst) < target {
        let seen = epoch.load(Ordering::SeqCst);
        waiter.arm(1, 7);
        if epoch.load(Ordering::SeqCst) == seen && seen < target {
            bell.sleep();
        }
    }
}

#[test]
fn a_signal_reaches_a_loop_that_arms_meanwhile() {
    model(|| {
        let (wake_list, bell) = (Arc::new(WakeList::new()), Arc::new(Loud::default()));
        let epoch = Arc::new(Word::new(0));
        let signaler = {
            let (wake_list, epoch) = (wake_list.clone(), epoch.clone());
            thread::spawn(move || signal(&epoch, &wake_list))
        };
        let waiter = wake_list.sit(bell.clone());
        wait_for(1, &epoch, &waiter, &bell);
        drop(waiter.leave());
        assert_eq!(Arc::strong_count(&bell), 1);
        signaler.join().unwrap();
    });
}

#[test]
fn two_signalers_wake_a_loop_that_needs_both() {
    model(|| {
        let (wake_list, bell) = (Arc::new(WakeList::new()), Arc::new(Loud::default()));
        let epoch = Arc::new(Word::new(0));
        let waiter = wake_list.sit(bell.clone());
        let signalers: Vec<_> = (0..2)
            .map(|_| {
                let (wake_list, epoch) = (wake_list.clone(), epoch.clone());
                thread::spawn(move || signal(&epoch, &wake_list))
            })
            .collect();
        wait_for(2, &epoch, &waiter, &bell);
        drop(waiter.leave());
        assert_eq!(Arc::strong_count(&bell), 1);
        signalers.into_iter().for_each(|signaler| signaler.join().unwrap());
    });
}

/// A loop leaves while it is being rung, and another takes the waiter: loom would report a bell that is used
/// after its drop, and a count that is off.
#[test]
fn a_seat_changes_hands_while_it_is_rung() {
    model(|| {
        let (wake_list, first) = (Arc::new(WakeList::new()), Arc::new(Loud::default()));
        let epoch = Arc::new(Word::new(0));
        let waiter = wake_list.sit(first.clone());
        waiter.arm(1, 7);
        let signaler = {
            let (wake_list, epoch) = (wake_list.clone(), epoch.clone());
            thread::spawn(move || signal(&epoch, &wake_list))
        };
        drop(waiter.leave());
        assert_eq!(Arc::strong_count(&first), 1, "given back");
        let second = Arc::new(Loud::default());
        let waiter = wake_list.sit(second.clone());
        wait_for(1, &epoch, &waiter, &second);
        drop(waiter.leave());
        assert_eq!(Arc::strong_count(&second), 1);
        signaler.join().unwrap();
    });
}
