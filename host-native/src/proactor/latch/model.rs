//! The latch and the ready set under every interleaving: work that is left is found or rung for.

use super::*;
use crate::proactor::ready::ReadySet;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// An eventfd: it counts, and reading waits until it is not zero.
#[derive(Default)]
struct Bell {
    count: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.count.lock().unwrap() += 1;
        self.rung.notify_one();
    }

    /// Loom reports a deadlock when it is never rung.
    fn sleep(&self) {
        let mut count = self.count.lock().unwrap();
        while *count == 0 {
            count = self.rung.wait(count).unwrap();
        }
        *count = 0;
    }
}

struct Loop {
    latch: Latch,
    ready: ReadySet,
    bell: Bell,
}

impl Loop {
    fn wake(&self, member: u32) {
        self.ready.add(member);
        if self.latch.wake() {
            self.bell.ring();
        }
    }

    /// Takes members until `all` of them have come, sleeping as a proactor does.
    fn take(&self, all: u64) {
        let mut found = 0;
        while found != all {
            self.latch.park();
            if self.ready.is_empty() {
                self.bell.sleep();
            }
            self.latch.unpark();
            self.ready.take(|member| found |= 1 << member);
        }
    }
}

fn model(wakers: u32) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let shared =
            Arc::new(Loop { latch: Latch::new(), ready: ReadySet::new(), bell: Bell::default() });
        shared.ready.prepare(0);
        let threads: Vec<_> = (0..wakers)
            .map(|member| {
                let shared = shared.clone();
                thread::spawn(move || shared.wake(member))
            })
            .collect();
        shared.take((1 << wakers) - 1);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_wake_is_found_or_rung_for() {
    model(1);
}

#[test]
fn two_wakes_are_both_found() {
    model(2);
}
