//! Instructions of what must not become slower, counted by valgrind: the same in every run, however busy the machine is.
//!
//! `cargo bench -p strandline-bench --bench instructions` (or `cargo xtask bench --instructions`). It needs valgrind and gungraun's
//! runner: `cargo install gungraun-runner --version 0.20.0`. Each benchmark performs [`COUNT`] operations; set-up is not
//! counted. Limits: more than [`LIMIT`] percent above the last run, or above the named baseline
//! (`-- --save-baseline=main`, then `-- --baseline=main`), fails.

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "gungraun's macros make public items without documentation"
)]

use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};
use std::hint::black_box;
use std::sync::Arc;
use strandline_bench::groups::advance;
use strandline_bench::pairs::{self, Released, Same, Worker};
use strandline_bench::peers::{Deaths, OffsetAllocator, Ours, Peer, Queues};
use strandline_bench::pending::{Pending, Serves};
use strandline_bench::stream::Churn;
use strandline_bench::tape::Tape;
use strandline_core::inspect::{Event, EventSink};
use strandline_core::offset::tlsf::Config;
use strandline_core::pool::tlsf::Coalescing;
use strandline_core::{Axis, Entry, Frontier, Tracker};

/// Operations of one benchmark.
const COUNT: u64 = 1_000;

/// Percent of instructions more than before that fail a run.
const LIMIT: f64 = 5.0;

/// Live blocks of the TLSF pairs.
const LIVE: u32 = 10_000;

/// A peer in the middle of a churn, and the churn.
type Churned<P> = (P, Churn);

fn churned<P: Peer>(make: impl FnOnce(u64) -> Option<P>) -> Churned<P> {
    let churn = Churn::mixed(LIVE);
    let Some(mut peer) = make(2 * churn.peak_bytes()) else { panic!("cannot be set up") };
    assert!(churn.begin(&mut peer), "the start fits");
    for at in 0..churn.len() {
        assert!(churn.step(at, &mut peer), "operation {at} fits");
    }
    (peer, churn)
}

fn ours(deaths: Deaths) -> Churned<Ours> {
    churned(|capacity| Ours::new(capacity, LIVE, Config::default(), deaths, Queues(1)).ok())
}

fn peer() -> Churned<OffsetAllocator> {
    churned(|capacity| Some(OffsetAllocator::new(capacity, LIVE)))
}

fn churn<P: Peer>((mut peer, churn): Churned<P>) -> Churned<P> {
    for at in 0..COUNT as usize {
        assert!(churn.step(at, &mut peer), "operation {at} fits");
    }
    // Given back, so that dropping it is not counted.
    (peer, churn)
}

#[library_benchmark]
#[bench::frontiers(ours(Deaths::Behind(u64::MAX)))]
#[bench::in_flight_64(ours(Deaths::Behind(64)))]
#[bench::idle(ours(Deaths::Idle))]
fn tlsf_pair_10k(state: Churned<Ours>) -> Churned<Ours> {
    churn(state)
}

// Beside ours, for the ratio.
#[library_benchmark]
#[bench::of_the_peer(peer())]
fn offset_allocator_pair_10k(state: Churned<OffsetAllocator>) -> Churned<OffsetAllocator> {
    churn(state)
}

fn tlsf(released: Released) -> Box<dyn Worker> {
    warm(Box::new(Same::new(pairs::tlsf_pool(Coalescing::Readiness), 4096, released)))
}

fn fixed(released: Released) -> Box<dyn Worker> {
    warm(Box::new(Same::new(pairs::fixed_pool(4096), 4096, released)))
}

fn warm(mut worker: Box<dyn Worker>) -> Box<dyn Worker> {
    worker.run(COUNT);
    worker
}

#[library_benchmark]
#[bench::frontiers(tlsf(Released::After))]
#[bench::idle(tlsf(Released::Idle))]
fn tlsf_pool_pair(mut worker: Box<dyn Worker>) -> Box<dyn Worker> {
    worker.run(COUNT);
    worker
}

#[library_benchmark]
#[bench::frontiers(fixed(Released::After))]
#[bench::idle(fixed(Released::Idle))]
fn fixed_pool_pair(mut worker: Box<dyn Worker>) -> Box<dyn Worker> {
    worker.run(COUNT);
    worker
}

/// Hears, and does nothing: what calling a sink costs.
#[derive(Debug)]
struct Deaf;

impl EventSink for Deaf {
    fn event(&self, event: &Event) {
        black_box(event);
    }
}

/// What profiles: with the feature `tracy` its sink, without a profiler connected.
#[cfg(feature = "tracy")]
fn profiler() -> Arc<dyn EventSink> {
    Arc::new(strandline_host_native::TracySink::start())
}

#[cfg(not(feature = "tracy"))]
fn profiler() -> Arc<dyn EventSink> {
    Arc::new(Deaf)
}

fn told(sink: Option<Arc<dyn EventSink>>) -> Box<dyn Worker> {
    let pool = pairs::tlsf_pool_told(Coalescing::Readiness, sink);
    warm(Box::new(Same::new(pool, 4096, Released::Idle)))
}

// `off` must count the same with and without the feature `tracy`: nothing of it is in a pool without a sink.
#[library_benchmark]
#[bench::off(told(None))]
#[bench::a_sink_that_does_nothing(told(Some(Arc::new(Deaf))))]
#[bench::the_profiler(told(Some(profiler())))]
fn tlsf_pool_pair_told(mut worker: Box<dyn Worker>) -> Box<dyn Worker> {
    worker.run(COUNT);
    worker
}

fn pending(pending: u64, axes: u8, serves: Serves) -> Pending {
    let mut pool = Pending::new(pending, axes, serves, Coalescing::Readiness);
    pool.run(COUNT);
    pool
}

#[library_benchmark]
#[bench::none_clean_serves(pending(0, 1, Serves::Clean))]
#[bench::ten_thousand_clean_serves(pending(10_000, 1, Serves::Clean))]
#[bench::ten_thousand_nothing_serves(pending(10_000, 1, Serves::Nothing))]
fn acquire_beside_pending(mut pool: Pending) -> Pending {
    pool.run(COUNT);
    pool
}

#[library_benchmark]
#[bench::no_waiter(advance::tracker(0, false))]
#[bench::ten_thousand(advance::tracker(10_000, false))]
fn advance_beside_waiters(tracker: Tracker) -> Tracker {
    for epoch in 1..=COUNT {
        assert!(tracker.advance(advance::MOVING, epoch).is_ok());
    }
    tracker
}

fn clocks(entries: u32) -> (Frontier, Frontier) {
    let clock = |epoch| {
        let entries = (0..entries).map(|n| Entry::new(Axis::host(n).with_session(1), epoch));
        Frontier::from_entries(entries).unwrap_or_default()
    };
    (clock(5), clock(6))
}

#[library_benchmark]
#[bench::one(clocks(1))]
#[bench::sixteen(clocks(16))]
fn frontier_compare((a, b): (Frontier, Frontier)) -> (Frontier, Frontier) {
    for _ in 0..COUNT {
        black_box(black_box(&a).as_ref().compare(black_box(&b).as_ref()));
    }
    (a, b)
}

library_benchmark_group!(
    name = pairs_of_calls,
    benchmarks = [
        tlsf_pair_10k,
        offset_allocator_pair_10k,
        tlsf_pool_pair,
        tlsf_pool_pair_told,
        fixed_pool_pair
    ]
);

library_benchmark_group!(
    name = growth,
    benchmarks = [acquire_beside_pending, advance_beside_waiters, frontier_compare]
);

main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::default().soft_limits([(EventKind::Ir, LIMIT)])),
    library_benchmark_groups = [pairs_of_calls, growth]
);
