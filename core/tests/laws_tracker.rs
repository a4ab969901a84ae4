//! The tracker against a list of waiters that is searched from end to end.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use strandline_core::{
    Axis, Entry, Failure, Frontier, Progress, Tracker, TrackerError, WaitError, WaitId,
};

const AXES: usize = 5;

fn axis(index: usize) -> Axis {
    Axis::queue(index as u8, 0)
}

#[derive(Clone, Debug)]
enum Step {
    Advance(usize, u64),
    Wait(Vec<(usize, u64)>),
    Cancel(usize),
    Fail(usize),
    Retire(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop::collection::btree_map(0..AXES, 1..30_u64, 0..=AXES);
    prop_oneof![
        20 => (0..AXES, 0..30_u64).prop_map(|(axis, epoch)| Step::Advance(axis, epoch)),
        20 => wait.prop_map(|entries| Step::Wait(entries.into_iter().collect())),
        5 => (0..100_usize).prop_map(Step::Cancel),
        1 => (0..AXES).prop_map(Step::Fail),
        1 => (0..AXES).prop_map(Step::Retire),
    ]
}

/// What became of a wait.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Waiting,
    Reached,
    Failed(Axis),
    Retired(Axis),
    Cancelled,
    Dropped,
}

impl From<Result<(), WaitError>> for Fate {
    fn from(result: Result<(), WaitError>) -> Self {
        match result {
            Ok(()) => Self::Reached,
            Err(WaitError::Failed { axis, failure }) => {
                assert_eq!(failure.to_string(), "lost");
                Self::Failed(axis)
            }
            Err(WaitError::Retired { axis }) => Self::Retired(axis),
            Err(WaitError::TrackerDropped) => Self::Dropped,
        }
    }
}

#[derive(Default)]
struct Oracle {
    reached: [u64; AXES],
    ended: [Option<Fate>; AXES],
    waits: Vec<(Vec<(usize, u64)>, Fate)>,
}

impl Oracle {
    /// What a wait that is still open comes to now. Of several ended axes any may be named.
    fn settle(&mut self) -> Vec<Vec<Fate>> {
        let (reached, ended) = (&self.reached, &self.ended);
        let fates = |entries: &[(usize, u64)]| -> Vec<Fate> {
            let short = || entries.iter().filter(|&&(axis, epoch)| reached[axis] < epoch);
            if short().next().is_none() {
                return vec![Fate::Reached];
            }
            let over: Vec<Fate> = short().filter_map(|&(axis, _)| ended[axis].clone()).collect();
            if over.is_empty() { vec![Fate::Waiting] } else { over }
        };
        self.waits
            .iter()
            .map(|(entries, fate)| match fate {
                Fate::Waiting => fates(entries),
                settled => vec![settled.clone()],
            })
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn exactly_those_are_woken_whose_frontier_is_reached(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let tracker = Tracker::new(AXES);
        for index in 0..AXES {
            tracker.register(axis(index)).unwrap();
        }
        let mut oracle = Oracle::default();
        let fates = Arc::new(Mutex::new(Vec::<Fate>::new()));
        let mut ids: Vec<WaitId> = Vec::new();
        for step in steps {
            match step {
                Step::Advance(index, epoch) => {
                    let result = tracker.advance(axis(index), epoch);
                    if oracle.ended[index].is_some() {
                        let refused = matches!(result, Err(TrackerError::Ended(_)));
                        prop_assert!(refused);
                    } else {
                        prop_assert!(result.is_ok());
                        oracle.reached[index] = oracle.reached[index].max(epoch);
                    }
                }
                Step::Wait(entries) => {
                    let frontier = Frontier::from_entries(
                        entries.iter().map(|&(index, epoch)| Entry::new(axis(index), epoch)),
                    ).unwrap();
                    let number = fates.lock().unwrap().len();
                    fates.lock().unwrap().push(Fate::Waiting);
                    oracle.waits.push((entries, Fate::Waiting));
                    let fates = Arc::clone(&fates);
                    ids.push(tracker.wait(frontier.as_ref(), move |result| {
                        let before =
                            std::mem::replace(&mut fates.lock().unwrap()[number], result.into());
                        assert_eq!(before, Fate::Waiting, "a wait ends once");
                    }).unwrap());
                }
                Step::Cancel(number) if !ids.is_empty() => {
                    let number = number % ids.len();
                    let won = tracker.cancel(ids[number]);
                    prop_assert_eq!(won, oracle.waits[number].1 == Fate::Waiting);
                    if won {
                        oracle.waits[number].1 = Fate::Cancelled;
                        fates.lock().unwrap()[number] = Fate::Cancelled;
                    }
                }
                Step::Cancel(_) => {}
                Step::Fail(index) => {
                    let first = tracker.fail_axis(axis(index), Failure::message("lost")).unwrap();
                    prop_assert_eq!(first, oracle.ended[index].is_none());
                    oracle.ended[index].get_or_insert(Fate::Failed(axis(index)));
                }
                Step::Retire(index) => {
                    let first = tracker.retire_axis(axis(index)).unwrap();
                    prop_assert_eq!(first, oracle.ended[index].is_none());
                    oracle.ended[index].get_or_insert(Fate::Retired(axis(index)));
                }
            }
            let allowed = oracle.settle();
            let now = fates.lock().unwrap().clone();
            for (number, (fate, allowed)) in now.iter().zip(&allowed).enumerate() {
                prop_assert!(allowed.contains(fate), "wait {number}: {fate:?}, not {allowed:?}");
                oracle.waits[number].1 = fate.clone();
            }
            for index in 0..AXES {
                prop_assert_eq!(tracker.reached(axis(index)), oracle.reached[index]);
            }
            let open = now.iter().filter(|&fate| *fate == Fate::Waiting).count();
            prop_assert_eq!(tracker.waiting(), open);
        }
        drop(tracker);
        prop_assert!(fates.lock().unwrap().iter().all(|fate| *fate != Fate::Waiting));
    }
}

/// Threads that advance against threads that wait, for the sanitizers and for locks that spin: every
/// wait ends once, with success, and none is left.
#[test]
fn threads_wake_every_wait_once() {
    const EPOCHS: u64 = 2_000;
    let tracker = Tracker::new(AXES);
    for index in 0..AXES {
        tracker.register(axis(index)).unwrap();
    }
    let ended: Arc<Vec<AtomicU32>> = Arc::new((0..2 * EPOCHS).map(|_| AtomicU32::new(0)).collect());
    std::thread::scope(|scope| {
        for index in 0..AXES {
            let tracker = tracker.clone();
            scope.spawn(move || {
                for epoch in 1..=EPOCHS {
                    tracker.advance(axis(index), epoch).unwrap();
                }
            });
        }
        for half in 0..2 {
            let (tracker, ended) = (tracker.clone(), Arc::clone(&ended));
            scope.spawn(move || {
                for step in 0..EPOCHS {
                    // Spread over the axes and around where they are.
                    let entries =
                        (0..AXES).filter(|index| (step >> index) & 1 == half).map(|index| {
                            Entry::new(axis(index), 1 + (step * 7 + index as u64) % EPOCHS)
                        });
                    let frontier = Frontier::from_entries(entries).unwrap();
                    let (ended, number) = (Arc::clone(&ended), (half * EPOCHS + step) as usize);
                    tracker
                        .wait(frontier.as_ref(), move |result| {
                            result.unwrap();
                            ended[number].fetch_add(1, Ordering::Relaxed);
                        })
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(tracker.waiting(), 0);
    assert!(ended.iter().all(|ended| ended.load(Ordering::Relaxed) == 1));
}
