//! The tracker's lock-free advance against waits, cancellation and failure, under every
//! interleaving (up to three preemptions).
#![cfg(loom)]

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use strandline_core::{Axis, Entry, Failure, Frontier, Progress, Tracker};

const A: Axis = Axis::host(1);
const B: Axis = Axis::host(2);

fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

fn tracker() -> Tracker {
    let tracker = Tracker::new(2);
    tracker.register(A).unwrap();
    tracker.register(B).unwrap();
    tracker
}

fn both(a: u64, b: u64) -> Frontier {
    Frontier::from_entries([Entry::new(A, a), Entry::new(B, b)]).unwrap()
}

/// Counts how often a callback ran with success and how often with an error.
#[derive(Clone)]
struct Calls(Arc<[AtomicUsize; 2]>);

impl Calls {
    fn new() -> Self {
        Self(Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]))
    }

    fn wait(&self, tracker: &Tracker, frontier: &Frontier) -> strandline_core::WaitId {
        let calls = self.clone();
        tracker
            .wait(frontier.as_ref(), move |result| {
                calls.0[usize::from(result.is_err())].fetch_add(1, Ordering::SeqCst);
            })
            .unwrap()
    }

    fn get(&self) -> (usize, usize) {
        (self.0[0].load(Ordering::SeqCst), self.0[1].load(Ordering::SeqCst))
    }
}

#[test]
fn a_wait_that_races_its_advance_fires_once() {
    model(|| {
        let (tracker, calls) = (tracker(), Calls::new());
        let advancer = {
            let tracker = tracker.clone();
            thread::spawn(move || tracker.advance(A, 1).unwrap())
        };
        calls.wait(&tracker, &Frontier::from_entry(A, 1));
        advancer.join().unwrap();
        assert_eq!(calls.get(), (1, 0));
        assert_eq!(tracker.waiting(), 0);
    });
}

#[test]
fn a_wait_on_two_axes_fires_once_when_both_race() {
    model(|| {
        let (tracker, calls) = (tracker(), Calls::new());
        let advancers = [A, B].map(|axis| {
            let tracker = tracker.clone();
            thread::spawn(move || tracker.advance(axis, 1).unwrap())
        });
        calls.wait(&tracker, &both(1, 1));
        for advancer in advancers {
            advancer.join().unwrap();
        }
        assert_eq!(calls.get(), (1, 0));
    });
}

#[test]
fn advances_of_one_axis_from_two_threads_wake_both_epochs() {
    model(|| {
        let (tracker, calls) = (tracker(), Calls::new());
        calls.wait(&tracker, &Frontier::from_entry(A, 1));
        let advancer = {
            let tracker = tracker.clone();
            thread::spawn(move || tracker.advance(A, 1).unwrap())
        };
        tracker.advance(A, 2).unwrap();
        calls.wait(&tracker, &Frontier::from_entry(A, 2));
        advancer.join().unwrap();
        assert_eq!(calls.get(), (2, 0));
        assert_eq!(tracker.reached(A), 2);
    });
}

#[test]
fn two_waits_file_while_the_axis_advances() {
    model(|| {
        let (tracker, calls) = (tracker(), Calls::new());
        let others = [1, 2].map(|epoch| {
            let (tracker, calls) = (tracker.clone(), calls.clone());
            thread::spawn(move || {
                calls.wait(&tracker, &Frontier::from_entry(A, epoch));
            })
        });
        tracker.advance(A, 2).unwrap();
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(calls.get(), (2, 0));
    });
}

#[test]
fn cancelling_wins_or_the_callback_runs() {
    model(|| {
        let (tracker, calls) = (tracker(), Calls::new());
        let id = calls.wait(&tracker, &Frontier::from_entry(A, 1));
        let advancer = {
            let tracker = tracker.clone();
            thread::spawn(move || tracker.advance(A, 1).unwrap())
        };
        let won = tracker.cancel(id);
        advancer.join().unwrap();
        assert_eq!(calls.get(), (usize::from(!won), 0));
    });
}

#[test]
fn a_failure_that_races_an_advance_leaves_no_one_waiting() {
    model(|| {
        let (tracker, calls) = (tracker(), Calls::new());
        calls.wait(&tracker, &Frontier::from_entry(A, 1));
        let advancer = {
            let tracker = tracker.clone();
            // Whether the advance or the failure came first is for the model to choose.
            thread::spawn(move || drop(tracker.advance(A, 1)))
        };
        tracker.fail_axis(A, Failure::message("lost")).unwrap();
        advancer.join().unwrap();
        let (reached, failed) = calls.get();
        assert_eq!(reached + failed, 1);
        assert_eq!(tracker.waiting(), 0);
    });
}

#[test]
fn what_was_done_before_an_epoch_is_seen_by_whoever_sees_it_reached() {
    model(|| {
        let tracker = tracker();
        let written = Arc::new(AtomicUsize::new(0));
        let advancer = {
            let (tracker, written) = (tracker.clone(), written.clone());
            thread::spawn(move || {
                written.store(1, Ordering::Relaxed);
                tracker.advance(A, 1).unwrap();
            })
        };
        if tracker.has_reached(A, 1) {
            assert_eq!(written.load(Ordering::Relaxed), 1);
        }
        advancer.join().unwrap();
    });
}

#[test]
fn an_axis_is_found_whole_or_not_at_all() {
    model(|| {
        let tracker = Tracker::new(1);
        let registrar = {
            let tracker = tracker.clone();
            thread::spawn(move || tracker.register_at(A, 5).unwrap())
        };
        match tracker.advance(A, 6) {
            Ok(()) => assert_eq!(tracker.reached(A), 6),
            Err(_) => assert!(matches!(tracker.reached(A), 0 | 5)),
        }
        registrar.join().unwrap();
    });
}

/// What a look saw: the number, and then both axes.
fn look(tracker: &Tracker) -> (Option<u64>, [u64; 2]) {
    let version = tracker.version();
    (version, [A, B].map(|axis| tracker.reached(axis)))
}

#[test]
fn who_sees_the_same_number_has_missed_no_advance() {
    model(|| {
        let tracker = tracker();
        let advancers = [A, B].map(|axis| {
            let tracker = tracker.clone();
            thread::spawn(move || tracker.advance(axis, 1).unwrap())
        });
        let (version, seen) = look(&tracker);
        for advancer in advancers {
            advancer.join().unwrap();
        }
        if tracker.version() == version {
            assert_eq!(seen, [1, 1]);
        }
    });
}

#[test]
fn two_who_look_miss_no_advance_either() {
    model(|| {
        let tracker = tracker();
        let threads = {
            let (advancing, looking) = (tracker.clone(), tracker.clone());
            let advancer = thread::spawn(move || advancing.advance(A, 1).unwrap());
            (advancer, thread::spawn(move || look(&looking)))
        };
        let mine = look(&tracker);
        threads.0.join().unwrap();
        let other = threads.1.join().unwrap();
        let now = tracker.version();
        for (version, seen) in [mine, other] {
            assert!(version != now || seen == [1, 0]);
        }
    });
}

#[test]
fn who_is_woken_sees_another_number() {
    model(|| {
        let tracker = tracker();
        let (version, seen) = look(&tracker);
        assert_eq!(seen, [0, 0]);
        let told = Arc::new(AtomicUsize::new(0));
        {
            let (asked, told) = (tracker.clone(), told.clone());
            let wait = move |_: Result<(), strandline_core::WaitError>| {
                told.store(1 + usize::from(asked.version() != version), Ordering::SeqCst);
            };
            tracker.wait(Frontier::from_entry(A, 1).as_ref(), wait).unwrap();
        }
        let advancer = {
            let tracker = tracker.clone();
            thread::spawn(move || tracker.advance(A, 1).unwrap())
        };
        tracker.advance(B, 1).unwrap();
        advancer.join().unwrap();
        assert_eq!(told.load(Ordering::SeqCst), 2);
    });
}
