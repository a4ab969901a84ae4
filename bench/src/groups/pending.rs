//! `pending`: an acquire beside free blocks that wait for other axes and fit the request.
//!
//! The reference has none of them pending.

use crate::harness::{Case, Contender, Goal, Stopwatch};
use crate::pending::{Pending, Serves};
use crate::slabs::Numbers;
use std::hint::black_box;
use std::sync::Arc;
use strandline_core::pool::passthrough::{PassthroughPool, PassthroughPoolConfig};
use strandline_core::pool::tlsf::Coalescing;
use strandline_core::pool::{PoolHost, Reservation};
use strandline_core::{Acquire, Axis, Death, Entry, FrontierRef, Pool, Request, Tracker};

const SHAPES: [(&str, u64, u8); 5] = [
    ("none pending", 0, 1),
    ("100 pending", 100, 1),
    ("10,000 pending", 10_000, 1),
    ("10,000 pending on 16 axes", 10_000, 16),
    ("10,000 pending on 255 axes", 10_000, 255),
];

pub(super) fn cases() -> impl Iterator<Item = Case> {
    let all = [
        ("a clean block serves: acquire and release", Serves::Clean),
        ("nothing serves: acquire is exhausted", Serves::Nothing),
    ];
    let tlsf = all.into_iter().map(|(name, serves)| Case {
        group: "pending",
        name: name.into(),
        unit: "acquire",
        reference: 0,
        goals: SHAPES[1..].iter().map(|&(name, ..)| Goal::ratio(name, 1.5)).collect(),
        contenders: Box::new(move || contenders(serves)),
    });
    tlsf.chain(std::iter::once(Case {
        group: "pending",
        name: "passthrough pool, nothing serves: acquire is exhausted".into(),
        unit: "acquire",
        reference: 0,
        goals: vec![Goal::ratio(ALL_AXES, 1.5)],
        contenders: Box::new(|| vec![passthrough("none pending", 0), passthrough(ALL_AXES, 255)]),
    }))
}

const ALL_AXES: &str = "255 slabs pending on 255 axes of a tracker";

/// A pool with slabs of one size that wait for an axis each, none of which ever moves.
fn passthrough(name: &str, axes: u8) -> Contender {
    const SIZE: u64 = 4096;
    let tracker = Tracker::new(256);
    let axis = |queue: u8| Axis::queue(1, queue).with_session(1);
    let host = PoolHost::new(Arc::new(Numbers::default()), Arc::new(tracker.clone()));
    let Ok(pool) = PassthroughPool::new(host, PassthroughPoolConfig::default()) else {
        panic!("the configuration is valid");
    };
    let take = |_| match pool.acquire(&Request::new(SIZE).or_grow()) {
        Ok(Acquire::Ready { reservation, .. }) => reservation,
        other => panic!("{other:?}"),
    };
    // One stays live, so that there is a slab of this size.
    let _live = take(0);
    let taken: Vec<Reservation> = (0..axes).map(take).collect();
    for (queue, reservation) in (0..axes).zip(taken) {
        assert!(tracker.register(axis(queue)).is_ok(), "there is room");
        let entry = Entry::new(axis(queue), 1);
        let death = Death::After(FrontierRef::single(&entry));
        assert!(pool.release(reservation, death).is_ok(), "a slab of this pool");
    }
    pool.poll();
    let entry = Entry::new(Axis::queue(0, 0).with_session(1), 1);
    Contender::new(name, move |count| {
        let request = Request::new(SIZE).after(FrontierRef::single(&entry)).without_growth();
        let clock = Stopwatch::start();
        for _ in 0..count {
            match pool.acquire(&request) {
                Ok(Acquire::Exhausted { observed, .. }) => black_box(observed),
                other => panic!("{other:?}"),
            };
        }
        clock.elapsed()
    })
}

fn contenders(serves: Serves) -> Vec<Contender> {
    let one = |name: &str, pending, axes, coalescing| {
        let mut pool = Pending::new(pending, axes, serves, coalescing);
        Contender::new(name, move |count| {
            let clock = Stopwatch::start();
            pool.run(count);
            clock.elapsed()
        })
    };
    let shapes = SHAPES.into_iter();
    shapes.map(|(name, pending, axes)| one(name, pending, axes, Coalescing::Readiness)).collect()
}
