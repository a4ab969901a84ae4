use super::*;
use crate::scale::scaled;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strandline_core::notification::Waiting;
use strandline_core::{Axis, Failure, Frontier};

/// One way to sleep, and how to end it.
#[derive(Clone, Copy)]
struct Sleeper {
    wake: fn() -> Arc<dyn Wake>,
    sleep: fn(&Waiting<'_>, Option<&dyn Wake>, Option<Instant>),
}

const SLEEPERS: &[Sleeper] = &[
    #[cfg(target_os = "linux")]
    Sleeper { wake: || Arc::new(futex::ThreadWake::new()), sleep: futex::sleep },
    Sleeper { wake: || Arc::new(park::ThreadWake::new()), sleep: park::sleep },
];

/// Threads hand a turn around in a ring, each sleeping until it has it: one lost wake and this hangs.
#[test]
fn no_wake_is_lost_around_a_ring() {
    const THREADS: u64 = 4;
    let turns = scaled(4_000) as u64;
    for Sleeper { wake, sleep } in SLEEPERS {
        let wake = wake();
        let changed = Notification::new(Some(wake.clone()));
        let turn = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for me in 0..THREADS {
                let (changed, turn, wake) = (&changed, &turn, &wake);
                scope.spawn(move || {
                    loop {
                        let seen = changed.observe();
                        let now = turn.load(Ordering::Acquire);
                        if now >= turns {
                            return;
                        }
                        if now % THREADS == me {
                            turn.store(now + 1, Ordering::Release);
                            changed.signal_if_observed();
                        } else if let Some(waiting) = changed.begin_wait(seen) {
                            sleep(&waiting, Some(&**wake), None);
                            assert!(waiting.changed());
                        }
                    }
                });
            }
        });
        assert_eq!(turn.into_inner(), turns);
    }
}

#[test]
fn a_sleep_ends_at_its_deadline_and_not_before() {
    for Sleeper { wake, sleep } in SLEEPERS {
        let changed = Notification::new(Some(wake()));
        let waiting = changed.begin_wait(changed.observe()).unwrap();
        let end = Instant::now() + Duration::from_millis(5);
        sleep(&waiting, None, Some(end));
        assert!(Instant::now() >= end && !waiting.changed());
        sleep(&waiting, None, Some(end));
        drop(waiting);
    }
}

#[test]
fn a_stale_observation_does_not_sleep() {
    let changed = Notification::new(Some(thread_wake()));
    let seen = changed.observe();
    changed.signal();
    assert_eq!(wait(&changed, seen, None), WaitResult::Signaled);
    // Signaled before the deadline counts, however late it is looked at.
    assert_eq!(wait(&changed, seen, Some(Instant::now())), WaitResult::Signaled);
    assert_eq!(wait(&changed, changed.observe(), Some(Instant::now())), WaitResult::TimedOut);
}

fn tracker() -> (Tracker, Axis, Frontier) {
    let (tracker, axis) = (Tracker::new(2), Axis::host(1));
    tracker.register(axis).unwrap();
    (tracker, axis, Frontier::from_entry(axis, 2))
}

#[test]
fn a_frontier_wait_tells_how_it_ended() {
    let (tracker, axis, frontier) = tracker();
    assert!(wait_frontier(&tracker, FrontierRef::EMPTY, None).is_ok());
    let soon = Instant::now() + Duration::from_millis(2);
    let late = wait_frontier(&tracker, frontier.as_ref(), Some(soon));
    assert!(matches!(late, Err(FrontierWaitError::TimedOut)));
    assert_eq!(tracker.waiting(), 0, "a wait that timed out is taken back");
    let unknown = Frontier::from_entry(Axis::host(9), 1);
    assert!(matches!(
        wait_frontier(&tracker, unknown.as_ref(), None),
        Err(FrontierWaitError::Tracker(TrackerError::UnknownAxis(_)))
    ));
    std::thread::scope(|scope| {
        scope.spawn(|| tracker.fail_axis(axis, Failure::message("lost")));
        let failed = wait_frontier(&tracker, frontier.as_ref(), None).unwrap_err();
        assert!(failed.to_string().contains("lost"), "{failed}");
        assert!(matches!(failed, FrontierWaitError::Ended(WaitError::Failed { .. })));
    });
}

/// The deadline and the last advance come at about the same time, whichever is first: never a hang, and
/// reached means reached.
#[test]
fn a_deadline_may_race_with_progress() {
    for round in 0..scaled(400) as u64 {
        let (tracker, axis, frontier) = tracker();
        std::thread::scope(|scope| {
            scope.spawn(|| tracker.advance(axis, 2));
            let deadline = Instant::now() + Duration::from_micros(round % 50);
            match wait_frontier(&tracker, frontier.as_ref(), Some(deadline)) {
                Ok(()) => assert!(frontier.as_ref().is_satisfied(&tracker)),
                Err(error) => assert!(matches!(error, FrontierWaitError::TimedOut)),
            }
        });
        assert_eq!(tracker.waiting(), 0);
    }
}
