//! Order, failure, taint, links and multiple waits, and how they end.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};
use std::sync::Mutex;

use super::*;
use crate::axis::Epoch;
use crate::frontier::{Entry, MAX_ENTRIES};
use crate::progress::Progress;

fn host(ordinal: u32) -> Axis {
    Axis::host(ordinal)
}

fn one(ordinal: u32, epoch: Epoch) -> Frontier {
    Frontier::from_entry(host(ordinal), epoch)
}

/// What callbacks were told, in order.
struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T: Send + 'static> Log<T> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn push<A>(
        &self,
        entry: impl FnOnce(A) -> T + Send + 'static,
    ) -> impl FnOnce(A) + Send + 'static {
        let log = Arc::clone(&self.0);
        move |argument| log.lock().unwrap().push(entry(argument))
    }

    fn take(&self) -> Vec<T> {
        core::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn why(error: &SemaphoreError) -> alloc::string::String {
    match error {
        SemaphoreError::Failed(failure) => failure.to_string(),
        SemaphoreError::Dropped => "dropped".into(),
        SemaphoreError::Nothing => "nothing".into(),
    }
}

#[test]
fn timepoints_fire_by_value_then_arrival_and_only_once() {
    let (semaphore, log) = (Semaphore::new(0), Log::new());
    for (name, value) in [("c", 3), ("a", 1), ("b", 1), ("late", 4)] {
        semaphore.on_reach(value, log.push(move |result: Result<_, _>| (name, result.is_ok())));
    }
    semaphore.signal(3, FrontierRef::EMPTY).unwrap();
    assert_eq!(log.take(), [("a", true), ("b", true), ("c", true)]);
    semaphore.on_reach(2, log.push(|result: Result<_, _>| ("at once", result.is_ok())));
    assert_eq!(log.take(), [("at once", true)]);
    assert!(matches!(
        semaphore.signal(3, FrontierRef::EMPTY),
        Err(SignalError::NotIncreasing { current: 3, requested: 3 })
    ));
    assert_eq!(log.take(), []);
    semaphore.signal(4, FrontierRef::EMPTY).unwrap();
    assert_eq!(log.take(), [("late", true)]);
}

#[test]
fn waiters_inherit_the_join_of_all_signals() {
    let semaphore = Semaphore::new(0);
    semaphore.signal(1, one(1, 7).as_ref()).unwrap();
    semaphore.signal(2, one(2, 3).as_ref()).unwrap();
    semaphore.signal(3, one(1, 5).as_ref()).unwrap();
    let joined = Frontier::from_entries([Entry::new(host(1), 7), Entry::new(host(2), 3)]).unwrap();
    assert_eq!(semaphore.snapshot(), Signaled { value: 3, frontier: joined, tainted: false });
}

#[test]
fn the_first_failure_stays_and_what_was_reached_stays_reached() {
    let (semaphore, log) = (Semaphore::new(2), Log::new());
    let told = |result: Result<Signaled, SemaphoreError>| result.map_err(|error| why(&error)).err();
    semaphore.on_reach(5, log.push(told));
    assert!(semaphore.fail(Failure::message("first")));
    assert!(!semaphore.fail(Failure::message("second")));
    semaphore.on_reach(6, log.push(told));
    semaphore.on_reach(2, log.push(told));
    assert_eq!(log.take(), [Some("first".into()), Some("first".into()), None]);
    assert!(matches!(semaphore.signal(9, FrontierRef::EMPTY), Err(SignalError::Failed(_))));
    assert_eq!(semaphore.value(), 2);
}

#[test]
fn taint_begins_above_the_last_witnessed_value_and_stays() {
    let (semaphore, log) = (Semaphore::new(0), Log::new());
    for value in [2, 3] {
        semaphore.on_reach(
            value,
            log.push(move |signaled: Result<Signaled, _>| {
                (value, signaled.is_ok_and(|signaled| signaled.tainted))
            }),
        );
    }
    semaphore.signal(2, one(1, 1).as_ref()).unwrap();
    semaphore.signal_unwitnessed(4).unwrap();
    semaphore.signal(5, one(1, 2).as_ref()).unwrap();
    assert_eq!(log.take(), [(2, false), (3, true)]);
    assert_eq!(semaphore.tainted_from(), Some(3));
    assert!(semaphore.snapshot().tainted);
}

#[test]
fn a_frontier_that_does_not_fit_taints() {
    let semaphore = Semaphore::new(0);
    let full = Frontier::from_entries((0..MAX_ENTRIES as u32).map(|n| Entry::new(host(n), 1)));
    semaphore.signal(1, full.unwrap().as_ref()).unwrap();
    assert_eq!(semaphore.tainted_from(), None);
    semaphore.signal(2, one(1000, 1).as_ref()).unwrap();
    assert_eq!(semaphore.tainted_from(), Some(2));
}

#[test]
fn a_long_chain_of_links_takes_no_stack() {
    let chain: Vec<Semaphore> = (0..100_000).map(|_| Semaphore::new(0)).collect();
    for pair in chain.windows(2) {
        pair[0].link(1, &pair[1], 1);
        pair[0].link(2, &pair[1], 2);
    }
    let last = &chain[chain.len() - 1];
    chain[0].signal(1, one(1, 4).as_ref()).unwrap();
    assert_eq!((last.value(), last.snapshot().frontier), (1, one(1, 4)));
    chain[0].fail(Failure::message("lost"));
    assert_eq!(last.failure().unwrap().to_string(), "lost");
}

#[test]
fn links_in_a_ring_end_and_carry_taint() {
    let [a, b] = [Semaphore::new(0), Semaphore::new(0)];
    a.link(1, &b, 1);
    b.link(1, &a, 1);
    a.signal_unwitnessed(1).unwrap();
    assert_eq!((b.value(), b.tainted_from()), (1, Some(1)));
    // A target that is ahead stays as it is, and a dropped one is forgotten.
    a.link(2, &b, 1);
    a.link(2, &Semaphore::new(0), 1);
    a.signal(2, FrontierRef::EMPTY).unwrap();
    assert_eq!(b.value(), 1);
}

#[test]
fn dropping_a_semaphore_ends_its_waits() {
    let (semaphore, other, log) = (Semaphore::new(0), Semaphore::new(0), Log::new());
    let mut future = Box::pin(semaphore.reach_async(1));
    semaphore.on_reach(1, log.push(|result: Result<_, _>| why(&result.unwrap_err())));
    semaphore.link(1, &other, 1);
    drop(semaphore);
    assert_eq!(log.take(), ["dropped"]);
    let ended = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ended, Poll::Ready(Err(SemaphoreError::Dropped))));
    assert_eq!(
        (other.value(), other.failure().unwrap().to_string().as_str()),
        (0, "the semaphore was dropped")
    );
}

#[test]
fn a_link_that_cannot_fire_any_more_fails_its_target() {
    let log = Log::new();
    // Dropped before the value: whoever waits for the target is told why, through links of links too.
    let chain: Vec<Semaphore> = (0..100_000).map(|_| Semaphore::new(0)).collect();
    for pair in chain.windows(2) {
        pair[0].link(1, &pair[1], 1);
    }
    let last = chain[chain.len() - 1].clone();
    last.on_reach(1, log.push(|result: Result<_, _>| why(&result.unwrap_err())));
    drop(chain);
    assert_eq!(log.take(), ["the semaphore was dropped"]);
    let failure = last.failure().unwrap();
    assert!(matches!(failure.get_ref().downcast_ref(), Some(SemaphoreError::Dropped)));

    // One that has come so far needs the link no more, and one that was taken back does nothing.
    let [source, ahead, released] = [Semaphore::new(0), Semaphore::new(3), Semaphore::new(0)];
    source.link(1, &ahead, 3);
    let id = source.link(1, &released, 1);
    assert!(source.cancel(id));
    drop(source);
    assert!(ahead.failure().is_none() && released.failure().is_none());
    let failing = Semaphore::new(0);
    failing.link(1, &ahead, 3);
    failing.link(1, &released, 1);
    failing.fail(Failure::message("lost"));
    assert!(ahead.failure().is_none());
    assert_eq!(released.failure().unwrap().to_string(), "lost");
}

#[test]
fn publishing_again_changes_nothing() {
    let (semaphore, log) = (Semaphore::new(0), Log::new());
    semaphore.on_reach(2, log.push(|result: Result<Signaled, _>| result.unwrap().frontier.len()));
    assert!(semaphore.publish(2, one(1, 7).as_ref()).unwrap());
    let once = semaphore.snapshot();
    for _ in 0..2 {
        assert!(!semaphore.publish(2, one(1, 7).as_ref()).unwrap());
        assert!(!semaphore.publish(1, one(1, 3).as_ref()).unwrap());
    }
    assert_eq!((semaphore.snapshot(), log.take()), (once, [1].into()));
    // What another watcher saw of the same value is inherited by those who come to wait.
    assert!(!semaphore.publish(2, one(2, 4).as_ref()).unwrap());
    assert_eq!(semaphore.snapshot().frontier.get(host(2)), 4);
    // Reached values stay so after a failure; others are refused.
    semaphore.fail(Failure::message("lost"));
    assert!(!semaphore.publish(2, one(1, 7).as_ref()).unwrap());
    assert!(matches!(semaphore.publish(3, FrontierRef::EMPTY), Err(SignalError::Failed(_))));
    // What does not fit taints what it would have vouched for.
    let full = Frontier::from_entries((0..MAX_ENTRIES as u32).map(|n| Entry::new(host(n), 1)));
    let semaphore = Semaphore::new(4);
    semaphore.signal(5, full.unwrap().as_ref()).unwrap();
    assert!(!semaphore.publish(4, one(1000, 1).as_ref()).unwrap());
    assert_eq!(semaphore.tainted_from(), Some(4));
}

#[test]
fn the_taint_watermark_only_goes_down() {
    let semaphore = Semaphore::new(0);
    semaphore.mark_tainted_above(u64::MAX);
    assert_eq!(semaphore.tainted_from(), None);
    semaphore.signal(10, FrontierRef::EMPTY).unwrap();
    for (above, from) in [(12, 13), (5, 6), (7, 6), (0, 1)] {
        semaphore.mark_tainted_above(above);
        assert_eq!(semaphore.tainted_from(), Some(from));
    }
    assert!(semaphore.snapshot().tainted);
    semaphore.clear_taint();
    // A signal that was not witnessed lowers it too, as far as it reaches.
    semaphore.mark_tainted_above(20);
    semaphore.signal_unwitnessed(12).unwrap();
    assert_eq!(semaphore.tainted_from(), Some(11));
}

fn met(result: Result<Met, SemaphoreError>) -> Result<(usize, usize, bool), alloc::string::String> {
    result.map(|met| (met.index, met.frontier.len(), met.tainted)).map_err(|error| why(&error))
}

#[test]
fn all_waits_for_the_last_and_joins() {
    let ([a, b], log) = ([Semaphore::new(0), Semaphore::new(0)], Log::new());
    wait_all(&[(&a, 1), (&b, 1), (&a, 2)], log.push(met));
    b.signal_unwitnessed(1).unwrap();
    a.signal(1, one(1, 1).as_ref()).unwrap();
    assert_eq!(log.take(), []);
    a.signal(2, one(2, 1).as_ref()).unwrap();
    assert_eq!(log.take(), [Ok((2, 2, true))]);
    // The first failure ends it, and the other timepoints go with it.
    wait_all(&[(&a, 9), (&b, 9)], log.push(met));
    b.fail(Failure::message("lost"));
    assert_eq!(log.take(), [Err("lost".into())]);
    assert!(a.inner.state.lock().timepoints.is_empty());
}

#[test]
fn any_takes_the_first_and_cancels_the_rest() {
    let ([a, b], log) = ([Semaphore::new(0), Semaphore::new(0)], Log::new());
    wait_any(&[(&a, 1), (&b, 1)], log.push(met));
    b.signal(1, one(1, 1).as_ref()).unwrap();
    assert_eq!(log.take(), [Ok((1, 1, false))]);
    assert!(a.inner.state.lock().timepoints.is_empty());
    // One that is reached already ends it before the others are asked.
    wait_any(&[(&b, 1), (&a, 1)], log.push(met));
    assert_eq!(log.take(), [Ok((0, 1, false))]);
    assert!(a.inner.state.lock().timepoints.is_empty());
    // A failure ends it only when no other can be reached.
    wait_any(&[(&a, 9), (&b, 9)], log.push(met));
    a.fail(Failure::message("first"));
    assert_eq!(log.take(), []);
    drop(b);
    assert_eq!(log.take(), [Err("dropped".into())]);
}

#[test]
fn of_nothing_all_is_met_and_any_never() {
    let log = Log::new();
    wait_all(&[], log.push(met));
    wait_any(&[], log.push(met));
    assert_eq!(log.take(), [Ok((0, 0, false)), Err("nothing".into())]);
}

#[test]
fn cancelled_waits_leave_nothing_behind() {
    let ([a, b], log) = ([Semaphore::new(0), Semaphore::new(0)], Log::new());
    let wait = wait_all(&[(&a, 1), (&b, 1)], log.push(met));
    assert!(wait.cancel());
    assert!(!wait.cancel());
    drop(wait_any_async(&[(&a, 1), (&b, 1)]));
    drop(a.reach_async(1));
    for semaphore in [&a, &b] {
        assert!(semaphore.inner.state.lock().timepoints.is_empty());
        semaphore.signal(1, FrontierRef::EMPTY).unwrap();
    }
    assert_eq!(log.take(), []);
}

#[test]
fn futures_of_many_end_with_them() {
    let [a, b] = [Semaphore::new(0), Semaphore::new(0)];
    let mut context = Context::from_waker(Waker::noop());
    let mut all = Box::pin(wait_all_async(&[(&a, 1), (&b, 1)]));
    a.signal(1, FrontierRef::EMPTY).unwrap();
    assert!(all.as_mut().poll(&mut context).is_pending());
    b.signal(1, FrontierRef::EMPTY).unwrap();
    assert!(matches!(all.as_mut().poll(&mut context), Poll::Ready(Ok(Met { index: 1, .. }))));
}

#[test]
fn a_bound_axis_follows_and_failures_go_both_ways() {
    let tracker = Tracker::new(5);
    for ordinal in 0..5 {
        tracker.register(host(ordinal)).unwrap();
    }
    let [a, b, c] = [(); 3].map(|()| Semaphore::new(1));
    for (ordinal, semaphore) in [(0, &a), (1, &b), (2, &c)] {
        semaphore.bind(&tracker, host(ordinal)).unwrap();
    }
    let bound = a.bind(&tracker, host(1));
    assert!(matches!(bound, Err(BindError::Bound { axis }) if axis == host(0)));
    a.signal(4, FrontierRef::EMPTY).unwrap();
    assert_eq!(tracker.reached(host(0)), 4);

    a.fail(Failure::message("lost"));
    let end = tracker.end_of(host(0)).unwrap();
    assert!(
        matches!(end, Some(WaitError::Failed { failure, .. }) if failure.to_string() == "lost")
    );
    let late = Semaphore::new(0).bind(&tracker, host(0));
    assert!(matches!(late, Err(BindError::Tracker(TrackerError::Ended(_)))));

    tracker.fail_axis(host(1), Failure::message("reset")).unwrap();
    assert_eq!(b.failure().unwrap().to_string(), "reset");

    // One that is dropped raises its axis no more: whoever waits for that is told. What was reached stays so.
    let (gone, log) = (Semaphore::new(0), Log::new());
    gone.bind(&tracker, host(3)).unwrap();
    tracker
        .wait(Frontier::from_entry(host(3), 3).as_ref(), log.push(|ended| format!("{ended:?}")))
        .unwrap();
    gone.signal(2, FrontierRef::EMPTY).unwrap();
    assert!(log.take().is_empty());
    drop(gone);
    assert!(log.take()[0].contains("Dropped"));
    assert_eq!(tracker.reached(host(3)), 2);

    // One that had failed before leaves the axis what it had reached.
    let failed = Semaphore::new(5);
    failed.fail(Failure::message("early"));
    failed.bind(&tracker, host(4)).unwrap();
    assert_eq!(tracker.reached(host(4)), 5);
    assert!(tracker.end_of(host(4)).unwrap().is_some());

    // Tearing the tracker down is no failure of the semaphore.
    drop(tracker);
    assert!(c.failure().is_none());
    c.signal(2, FrontierRef::EMPTY).unwrap();
}
