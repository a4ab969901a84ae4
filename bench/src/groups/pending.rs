//! `pending`: an acquire beside free blocks that wait for other axes and fit the request.
//!
//! The reference has none of them pending. Eager merging, which tries candidates one by one, is there to show what
//! it is that does not happen.

use crate::harness::{Case, Contender, Goal, Stopwatch};
use crate::pending::{Pending, Serves};
use strandline_core::pool::tlsf::Coalescing;

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
    all.into_iter().map(|(name, serves)| Case {
        group: "pending",
        name: name.into(),
        unit: "acquire",
        reference: 0,
        goals: SHAPES[1..].iter().map(|&(name, ..)| Goal::ratio(name, 1.5)).collect(),
        contenders: Box::new(move || contenders(serves)),
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
    let mut all: Vec<Contender> = SHAPES
        .into_iter()
        .map(|(name, pending, axes)| one(name, pending, axes, Coalescing::Readiness))
        .collect();
    for (name, pending) in [("eager, 100 pending", 100), ("eager, 10,000 pending", 10_000)] {
        all.push(one(name, pending, 1, Coalescing::Eager));
    }
    all
}
