//! Cases that the law in `tests/laws_tracker.rs` does not reach.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use super::*;
use crate::frontier::Frontier;

fn host(ordinal: u32) -> Axis {
    Axis::host(ordinal)
}

fn one(ordinal: u32, epoch: Epoch) -> Frontier {
    Frontier::from_entry(host(ordinal), epoch)
}

fn tracker(axes: u32) -> Tracker {
    let tracker = Tracker::new(axes as usize);
    for ordinal in 0..axes {
        tracker.register(host(ordinal)).unwrap();
    }
    tracker
}

/// Axes that differ in one byte only, whichever it is, do not queue for one slot.
#[test]
fn axes_of_many_machines_sessions_and_queues_are_spread() {
    let kinds: [fn(u8) -> Axis; 4] = [
        |n| Axis::queue(0, 0).with_session(n),
        |n| Axis::queue(0, 0).with_machine(n),
        |n| Axis::queue(n, 0),
        |n| Axis::queue(0, n),
    ];
    for axis in kinds {
        let table = Table::new(256);
        let mut longest = 0;
        for number in 0..=255 {
            let key = !axis(number).to_bits();
            let (index, _) = table.probe(key);
            table.slots[index].key.store(key, crate::sync::atomic::Ordering::SeqCst);
            longest = longest.max(table.displacement(key));
        }
        assert!(longest <= 8, "{longest} slots are passed for {}", axis(7));
    }
}

#[test]
fn every_axis_of_a_full_table_is_found_and_no_other() {
    let tracker = tracker(1000);
    for ordinal in 0..1000 {
        tracker.advance(host(ordinal), u64::from(ordinal) + 1).unwrap();
    }
    for ordinal in 0..1000 {
        assert_eq!(tracker.reached(host(ordinal)), u64::from(ordinal) + 1);
    }
    assert_eq!(tracker.reached(host(1000)), 0);
    assert!(matches!(tracker.advance(host(1000), 1), Err(TrackerError::UnknownAxis(_))));
    assert!(matches!(tracker.register(host(1000)), Err(TrackerError::Full { capacity: 1000 })));
    let listed: Vec<_> = tracker.axes().into_iter().map(|status| status.axis).collect();
    assert_eq!(listed, (0..1000).map(host).collect::<Vec<_>>());
}

#[test]
fn the_axis_of_all_zeros_is_like_any_other_and_that_of_all_ones_is_refused() {
    let tracker = Tracker::new(2);
    let [zeros, ones] = [0, u64::MAX].map(Axis::from_bits);
    tracker.register(zeros).unwrap();
    tracker.advance(zeros, 3).unwrap();
    assert_eq!((tracker.reached(zeros), tracker.reached(ones)), (3, 0));
    assert!(matches!(tracker.register(ones), Err(TrackerError::ReservedAxis)));
    assert!(matches!(tracker.advance(ones, 1), Err(TrackerError::UnknownAxis(_))));
}

#[test]
fn a_tracker_without_room_answers_nonetheless() {
    let tracker = Tracker::new(0);
    assert!(matches!(tracker.register(host(1)), Err(TrackerError::Full { capacity: 0 })));
    assert_eq!(tracker.reached(host(1)), 0);
}

#[test]
fn callbacks_run_by_epoch_then_arrival_and_may_use_the_tracker() {
    let tracker = tracker(2);
    let order = Arc::new(Mutex::new(Vec::new()));
    for (name, epoch) in [("late", 3), ("first", 1), ("second", 1), ("never", 9)] {
        let (order, inner) = (Arc::clone(&order), tracker.clone());
        let callback = move |result: Result<(), WaitError>| {
            if result.is_ok() {
                order.lock().unwrap().push(name);
                inner.advance(host(1), epoch).unwrap();
            }
        };
        let _ = tracker.wait(one(0, epoch).as_ref(), callback).unwrap();
    }
    tracker.advance(host(0), 5).unwrap();
    assert_eq!(*order.lock().unwrap(), ["first", "second", "late"]);
    assert_eq!(tracker.reached(host(1)), 3);
    tracker.fail_axis(host(0), Failure::message("end")).unwrap();
    assert_eq!(tracker.waiting(), 0);
}

#[test]
fn the_last_epoch_of_all_can_be_waited_for() {
    let tracker = tracker(1);
    let mut wait = Box::pin(tracker.wait_async(one(0, Epoch::MAX).as_ref()).unwrap());
    let mut context = Context::from_waker(Waker::noop());
    tracker.advance(host(0), Epoch::MAX - 1).unwrap();
    assert!(wait.as_mut().poll(&mut context).is_pending());
    tracker.advance(host(0), Epoch::MAX).unwrap();
    assert!(matches!(wait.as_mut().poll(&mut context), Poll::Ready(Ok(()))));
}

#[test]
fn a_panic_in_a_callback_leaves_no_one_waiting() {
    let tracker = tracker(1);
    let ran = Arc::new(Mutex::new(0));
    let _ = tracker.wait(one(0, 1).as_ref(), |_| panic!("on purpose")).unwrap();
    for _ in 0..3 {
        let ran = Arc::clone(&ran);
        let _ = tracker.wait(one(0, 1).as_ref(), move |_| *ran.lock().unwrap() += 1).unwrap();
    }
    let advanced = catch_unwind(AssertUnwindSafe(|| tracker.advance(host(0), 1)));
    assert!(advanced.is_err());
    assert_eq!((*ran.lock().unwrap(), tracker.waiting()), (3, 0));
    tracker.advance(host(0), 2).unwrap();
}

#[test]
fn dropping_the_tracker_ends_futures_and_dropping_a_future_cancels() {
    let mut context = Context::from_waker(Waker::noop());
    let tracker = tracker(1);
    let mut wait = Box::pin(tracker.wait_async(one(0, 1).as_ref()).unwrap());
    drop(tracker.wait_async(one(0, 1).as_ref()).unwrap());
    assert_eq!(tracker.waiting(), 1);
    drop(tracker);
    let ended = wait.as_mut().poll(&mut context);
    assert!(matches!(ended, Poll::Ready(Err(WaitError::TrackerDropped))));
}

#[test]
fn a_failed_axis_keeps_what_it_reached() {
    let tracker = tracker(2);
    tracker.advance(host(0), 5).unwrap();
    tracker.fail_axis(host(0), Failure::message("lost")).unwrap();
    assert!(tracker.advance(host(0), 6).is_err());
    assert_eq!(tracker.reached(host(0)), 5);
    let results = Arc::new(Mutex::new(Vec::new()));
    for epoch in [5, 6] {
        let results = Arc::clone(&results);
        let callback = move |result: Result<(), _>| results.lock().unwrap().push(result.is_ok());
        let _ = tracker.wait(one(0, epoch).as_ref(), callback).unwrap();
    }
    assert_eq!(*results.lock().unwrap(), [true, false]);
    assert!(tracker.end_of(host(0)).unwrap().is_some());
    assert!(tracker.end_of(host(1)).unwrap().is_none());
}

#[test]
fn the_number_changes_when_an_axis_moves_and_not_otherwise() {
    let tracker = tracker(2);
    let mut seen = tracker.version();
    assert!(seen.is_some());
    let mut is_news = |tracker: &Tracker| {
        let now = tracker.version();
        core::mem::replace(&mut seen, now) != now
    };
    assert!(!is_news(&tracker));
    tracker.advance(host(0), 3).unwrap();
    assert!(is_news(&tracker));
    // No news, and the end of an axis, are no moves.
    tracker.advance(host(0), 2).unwrap();
    tracker.retire_axis(host(1)).unwrap();
    assert!(!is_news(&tracker));
    tracker.advance(host(0), 4).unwrap();
    tracker.advance(host(0), 5).unwrap();
    assert!(is_news(&tracker));
    // An axis that comes along on its way was nowhere before.
    let other = Tracker::new(1);
    let before = other.version();
    other.register_at(host(0), 9).unwrap();
    assert_ne!(other.version(), before);
}
