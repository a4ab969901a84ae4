//! `advance`: an axis moves by one epoch beside waiters that this does not satisfy.
//!
//! Waiters wait for epochs far ahead, each for another one. Those that wait for a second axis too may be filed
//! under either.

use crate::harness::{Case, Contender, Goal, Stopwatch};
use strandline_core::{Axis, Entry, FrontierRef, Tracker};

/// The axis that moves.
pub const MOVING: Axis = Axis::queue(0, 0).with_session(1);
const STILL: Axis = Axis::queue(0, 1).with_session(1);

/// Name, waiters, whether they wait for a second axis.
const SHAPES: [(&str, u64, bool); 5] = [
    ("no waiter", 0, false),
    ("64 waiters", 64, false),
    ("256 waiters", 256, false),
    ("10,000 waiters", 10_000, false),
    ("10,000 waiters, for a second axis too", 10_000, true),
];

pub(super) fn cases() -> impl Iterator<Item = Case> {
    let contenders =
        || SHAPES.into_iter().map(|(name, waiters, both)| contender(name, waiters, both)).collect();
    let goals = SHAPES[1..].iter().map(|&(name, ..)| Goal::ratio(name, 2.0)).collect();
    std::iter::once(Case {
        group: "advance",
        name: "waiters it does not satisfy".into(),
        unit: "advance",
        reference: 0,
        goals,
        contenders: Box::new(contenders),
    })
}

fn contender(name: &str, waiters: u64, both: bool) -> Contender {
    let (tracker, mut epoch) = (tracker(waiters, both), 0);
    Contender::new(name, move |count| {
        let clock = Stopwatch::start();
        for _ in 0..count {
            epoch += 1;
            assert!(tracker.advance(MOVING, epoch).is_ok());
        }
        let time = clock.elapsed();
        assert_eq!(tracker.waiting() as u64, waiters, "none was satisfied");
        time
    })
}

/// A tracker of two axes, with waiters for epochs that no run reaches.
///
/// # Panics
/// Never: the axes are registered and there is room.
#[must_use]
pub fn tracker(waiters: u64, both: bool) -> Tracker {
    let tracker = Tracker::new(16);
    for axis in [MOVING, STILL] {
        assert!(tracker.register(axis).is_ok(), "there is room");
    }
    for waiter in 0..waiters {
        let far = (1 << 40) + waiter;
        let entries = [Entry::new(MOVING, far), Entry::new(STILL, far)];
        let frontier = FrontierRef::try_from_sorted(&entries[..if both { 2 } else { 1 }]);
        let wait = frontier.map(|frontier| tracker.wait(frontier, |_| {}));
        assert!(matches!(wait, Ok(Ok(_))), "the axes are registered");
    }
    tracker
}
