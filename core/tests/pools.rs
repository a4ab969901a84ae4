//! Every kind of pool runs generated programs against the oracle, and is shaken by several threads.
#![cfg(not(loom))]

#[path = "support/bytes.rs"]
mod bytes;
#[path = "support/creep.rs"]
mod creep;
#[path = "pools/faults.rs"]
mod faults;
#[path = "pools/parts.rs"]
mod parts;
#[path = "pools/planned.rs"]
mod planned;
#[path = "pools/soak.rs"]
mod soak;
#[path = "pools/still.rs"]
mod still;
mod support;

use bytes::Bytes;
use creep::Creep;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use strandline_core::offset::tlsf::{self, Placement};
use strandline_core::pool::arena::{ArenaPool, ArenaPoolConfig};
use strandline_core::pool::budget::Budget;
use strandline_core::pool::fixed_block::FixedBlockPoolConfig;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::passthrough::PassthroughPoolConfig;
use strandline_core::pool::tlsf::{Coalescing, TlsfPoolConfig, Waiting};
use strandline_core::pool::{PoolHost, Request};
use strandline_core::slab::retain::Retention;
use strandline_core::slab::{Elastic, Trim};
use strandline_core::{Acquire, Death, Entry, Frontier, Pool, SlabId};
use support::generate::op;
use support::planned::Truth;
use support::program::{self, Op};
use support::progress::Dial;
use support::provider::MockProvider;
use support::runs::Runs;
use support::scaled;
use support::subject::{self, Subject};

const KIB: u64 = 1024;
const LEN: usize = 1000;

/// At least 100,000 operations of generated programs.
fn run(subject: &Subject) {
    let config = Config { cases: scaled(110), failure_persistence: None, ..Config::default() };
    let bytes = prop::collection::vec(any::<[u8; 8]>(), LEN);
    let largest = subject.largest();
    let programs = bytes.prop_map(move |bytes| -> Vec<Op> {
        bytes.iter().map(|bytes| op(&mut Bytes(bytes), largest)).collect()
    });
    let outcome = TestRunner::new(config).run(&programs, |program| {
        program::run(subject, &program, |host| subject.make(host, &program))
            .map_err(TestCaseError::fail)
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

const BUDGET: u64 = 1 << 20;

fn fixed(budget: Budget) -> Subject {
    let config = FixedBlockPoolConfig {
        block_size: 1000,
        alignment: 64,
        max_blocks: 700,
        growth: Growth::slabs_of(90 * KIB),
        budget,
        retention: Retention::slabs(1),
    };
    Subject::fixed_block(KIB, config)
}

#[test]
fn fixed_block_programs() {
    run(&fixed(Budget::UNLIMITED));
}

#[test]
fn fixed_block_programs_under_a_budget() {
    run(&fixed(Budget::bytes(100 * KIB)));
}

fn arena() -> Subject {
    let config = ArenaPoolConfig {
        generations: 4,
        generation_size: 64 * KIB,
        budget: Budget::bytes(BUDGET),
        retention: Retention::slabs(1),
    };
    Subject::arena(KIB, config)
}

#[test]
fn arena_programs() {
    run(&arena());
}

fn passthrough() -> Subject {
    let config = PassthroughPoolConfig { max_slabs: 60, budget: Budget::bytes(BUDGET) };
    Subject::passthrough(KIB, config)
}

#[test]
fn passthrough_programs() {
    run(&passthrough());
}

fn tlsf(placement: Placement, coalescing: Coalescing, waiting: Waiting) -> Subject {
    let config = TlsfPoolConfig {
        offsets: tlsf::Config { granule: 64, second_level_bits: 4, placement },
        growth: Growth::slabs_of(128 * KIB),
        budget: Budget::bytes(BUDGET),
        retention: Retention::slabs(1),
        coalescing,
        waiting,
    };
    Subject::tlsf(KIB, config)
}

#[test]
fn tlsf_programs() {
    run(&tlsf(Placement::FAST, Coalescing::Readiness, Waiting::LastResort));
}

#[test]
fn tlsf_programs_packed() {
    run(&tlsf(Placement::PACKED, Coalescing::Readiness, Waiting::LastResort));
}

#[test]
fn tlsf_programs_that_prefer_compact() {
    run(&tlsf(Placement::PACKED, Coalescing::Readiness, Waiting::PreferCompact));
}

/// Few addresses of a slab at once, so that there are several, and so many that there is one.
fn elastic(subject: Subject) -> [Subject; 2] {
    [64, 512].map(|reserve| subject.over(Elastic { granule: 4 * KIB, reserve: reserve * KIB }))
}

#[test]
fn tlsf_programs_elastic() {
    for waiting in [Waiting::LastResort, Waiting::PreferCompact] {
        for subject in elastic(tlsf(Placement::PACKED, Coalescing::Readiness, waiting)) {
            run(&subject);
        }
    }
}

#[test]
fn planned_programs() {
    for truth in Truth::ALL {
        for waiting in [Waiting::LastResort, Waiting::PreferCompact] {
            let subject::Config::Tlsf(config) =
                tlsf(Placement::FAST, Coalescing::Readiness, waiting).config
            else {
                unreachable!("a TLSF pool's configuration")
            };
            run(&Subject::planned(KIB, config, truth, 7));
            run(&Subject::planned(KIB, config, truth, 8));
            for subject in elastic(Subject::planned(KIB, config, truth, 9)) {
                run(&subject);
            }
        }
    }
}

#[test]
fn tlsf_programs_eager() {
    run(&tlsf(Placement::FAST, Coalescing::Eager, Waiting::LastResort));
}

#[test]
fn tlsf_shaken() {
    let subject = tlsf(Placement::FAST, Coalescing::Readiness, Waiting::LastResort);
    shake(30 * KIB, None, |host| subject.make(host, &[]).pool);
}

#[test]
fn tlsf_shaken_elastic() {
    let subject = tlsf(Placement::FAST, Coalescing::Readiness, Waiting::LastResort);
    for elastic in elastic(subject) {
        shake(30 * KIB, elastic.elastic, |host| subject.make(host, &[]).pool);
    }
}

/// Numbers below what is asked for, the same in each run (Marsaglia's xorshift64).
fn dice(mut random: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) % below
    }
}

/// Slabs as arrays of cells: who owns each granule, and what its bytes wait for.
#[derive(Debug, Default)]
struct Cells {
    owner: AtomicU64,
    /// Stream above 48 bits, epoch below; 0 is nothing.
    death: AtomicU64,
}

const GRANULE: u64 = 64;
const THREADS: usize = 4;

/// Threads acquire, use and release; none may ever see bytes of another's, or bytes whose death neither its
/// frontier nor progress covers. Cells are relaxed atomics, so all order comes from the pool.
fn shake(largest: u64, elastic: Option<Elastic>, make: impl Fn(PoolHost) -> Arc<dyn Pool>) {
    let rounds = scaled(20_000);
    let runs = Runs::from_env(1);
    let begin = Instant::now();
    let mut done = 0;
    while !runs.are_over(begin.elapsed(), done) {
        shake_once(largest, elastic, runs.seed.wrapping_add(done), rounds, &make);
        done += 1;
    }
    let operations = done * u64::from(rounds) * THREADS as u64;
    println!("{operations} rounds on {THREADS} threads in {:?}", begin.elapsed());
}

fn shake_once(
    largest: u64,
    elastic: Option<Elastic>,
    seed: u64,
    rounds: u32,
    make: &impl Fn(PoolHost) -> Arc<dyn Pool>,
) {
    let provider = MockProvider::new(4096, 8192, 512 * KIB, 2048 * KIB).with_elastic(elastic);
    let provider = Arc::new(provider);
    let dial = Arc::new(Dial::new(THREADS));
    let pool = make(PoolHost::new(provider.clone(), dial.clone()));
    let slabs: Mutex<HashMap<SlabId, Arc<Vec<Cells>>>> = Mutex::default();
    std::thread::scope(|scope| {
        for me in 0..THREADS {
            let (pool, dial, slabs, provider) = (&pool, &dial, &slabs, &provider);
            scope.spawn(move || {
                let mut known: HashMap<SlabId, Arc<Vec<Cells>>> = HashMap::new();
                let mut cells = |slab: SlabId| {
                    let known = known.entry(slab).or_insert_with(|| {
                        let mut slabs = slabs.lock().unwrap();
                        let make = || {
                            let granules = provider.out()[&slab] / GRANULE;
                            Arc::new((0..granules).map(|_| Cells::default()).collect())
                        };
                        slabs.entry(slab).or_insert_with(make).clone()
                    });
                    known.clone()
                };
                let mut next =
                    dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(4 * seed + me as u64) | 1);
                let axis = Dial::axis(me);
                let mut epoch = 0;
                let mut frontier = Frontier::new();
                let mut held = Vec::new();
                for _ in 0..rounds {
                    if next(64) == 0 {
                        match next(3) {
                            0 => pool.poll(),
                            1 => drop(pool.trim(Trim::All)),
                            _ => assert!(pool.stats().free_bytes <= 2048 * KIB),
                        }
                    }
                    if next(8) == 0 {
                        // Learn how far another stream has come.
                        let other = next(THREADS as u64) as usize;
                        let _ = frontier.advance(Dial::axis(other), dial.at(other));
                    }
                    if held.len() < 12 && next(2) == 0 {
                        let mut request = Request::new(1 + next(largest)).after(frontier.as_ref());
                        request.may_grow = next(4) == 0;
                        request.may_wait = next(8) == 0;
                        let (reservation, wait) = match pool.acquire(&request).unwrap() {
                            Acquire::Ready { reservation, .. } => (reservation, Frontier::new()),
                            Acquire::AfterWait { reservation, wait } => (reservation, wait),
                            Acquire::Exhausted { .. } | Acquire::OverBudget { .. } => continue,
                        };
                        let cells = cells(reservation.slab());
                        for cell in granules(&cells, reservation.offset(), reservation.size()) {
                            let tag = me as u64 + 1;
                            assert_eq!(cell.owner.swap(tag, Ordering::Relaxed), 0, "owned twice");
                            let death = cell.death.load(Ordering::Relaxed);
                            let (stream, epoch) =
                                ((death >> 48) as usize, death & 0xffff_ffff_ffff);
                            let axis = Dial::axis(stream);
                            assert!(
                                frontier.get(axis).max(wait.get(axis)) >= epoch
                                    || dial.at(stream) >= epoch,
                                "reused too early"
                            );
                        }
                        let _ = frontier.merge(wait.as_ref());
                        held.push(reservation);
                    } else if !held.is_empty() {
                        let reservation = held.swap_remove(next(held.len() as u64) as usize);
                        let canceled = next(8) == 0;
                        let others: Vec<Entry> = frontier
                            .as_ref()
                            .entries()
                            .iter()
                            .filter(|e| e.axis != axis)
                            .filter(|e| dial.at(e.axis.ordinal() as usize) < e.epoch)
                            .copied()
                            .collect();
                        let idle = !canceled && others.is_empty() && next(4) == 0;
                        if !canceled {
                            epoch += 1;
                        }
                        if idle {
                            // Reaching the epoch stands for the end of all that came before it.
                            dial.set(me, epoch);
                        }
                        let cells = cells(reservation.slab());
                        for cell in granules(&cells, reservation.offset(), reservation.size()) {
                            if !canceled {
                                let death = if idle { 0 } else { (me as u64) << 48 | epoch };
                                cell.death.store(death, Ordering::Relaxed);
                            }
                            let tag = cell.owner.swap(0, Ordering::Relaxed);
                            assert_eq!(tag, me as u64 + 1, "another's");
                        }
                        let _ = frontier.advance(axis, epoch);
                        // All that the use was ordered after and that is not over: bytes that it
                        // did not touch may still wait for that.
                        let own = Entry::new(axis, epoch.max(1));
                        let death = Frontier::from_entries(others.into_iter().chain([own]));
                        let death = death.unwrap();
                        if canceled {
                            pool.cancel(reservation).unwrap();
                        } else if idle {
                            pool.release(reservation, Death::Idle).unwrap();
                        } else {
                            pool.release(reservation, Death::After(death.as_ref())).unwrap();
                        }
                        if next(4) == 0 {
                            dial.set(me, epoch);
                        }
                    }
                }
                for reservation in held {
                    let cells = cells(reservation.slab());
                    for cell in granules(&cells, reservation.offset(), reservation.size()) {
                        assert_eq!(cell.owner.swap(0, Ordering::Relaxed), me as u64 + 1);
                    }
                    pool.release(reservation, Death::Unknown).unwrap();
                }
            });
        }
    });
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.live, stats.reserved_bytes, stats.requested_bytes), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.clean_bytes(), stats.committed_bytes, "{stats:?}");
    pool.trim(Trim::All).unwrap();
    assert_eq!(pool.stats().slabs, 0, "all are empty: {:?}", pool.stats());
    drop(pool);
    assert!(provider.out().is_empty());
    assert_eq!(provider.crimes(), Vec::<String>::new());
}

/// Axes reach what blocks wait for while the pool decides where to put them. Whenever all that was submitted is over,
/// one poll must find it: no block may wait for an axis to move on that has nothing more to do. Blocks that share the fate
/// of others are free when those are.
fn creep(largest: u64, shares_fate: bool, subject: &Subject) {
    const AXES: usize = 6;
    let provider = Arc::new(MockProvider::new(4096, 8192, 512 * KIB, 2048 * KIB));
    let creep = Arc::new(Creep::new(AXES));
    let pool = subject.make(PoolHost::new(provider.clone(), creep.clone()), &[]).pool;
    let mut next = dice(0x5851_f42d_4c95_7f2d);
    let mut held = Vec::new();
    for round in 0..scaled(40_000).max(4000) {
        if held.len() < 12 && next(2) == 0 {
            let mut request = Request::new(1 + next(largest));
            request.may_grow = next(4) == 0;
            request.may_wait = next(4) == 0;
            if let Acquire::Ready { reservation, .. } | Acquire::AfterWait { reservation, .. } =
                pool.acquire(&request).unwrap()
            {
                held.push(reservation);
            }
        } else if !held.is_empty() {
            let reservation = held.swap_remove(next(held.len() as u64) as usize);
            if next(8) == 0 {
                pool.cancel(reservation).unwrap();
            } else {
                let mut death = Frontier::new();
                for _ in 0..=next(3) {
                    let index = next(AXES as u64) as usize;
                    let _ = death.advance(Dial::axis(index), creep.submit(index));
                }
                pool.release(reservation, Death::After(death.as_ref())).unwrap();
            }
        }
        if round % 50 == 0 {
            creep.finish();
            if shares_fate {
                held.drain(..).for_each(|reservation| pool.cancel(reservation).unwrap());
            }
            pool.poll();
            let stats = pool.stats();
            assert_eq!(stats.pending_bytes, 0, "round {round}: {stats:?}");
        }
    }
    held.into_iter().for_each(|reservation| pool.cancel(reservation).unwrap());
    let stats = pool.stats();
    assert!(stats.completed > 200 && stats.peak_pending_bytes > 0, "nothing was tried: {stats:?}");
    drop(pool);
    assert!(provider.out().is_empty());
}

/// The granules that lie wholly in a range: what two neighbours share belongs to neither.
fn granules(cells: &[Cells], offset: u64, size: u64) -> &[Cells] {
    let first = offset.div_ceil(GRANULE);
    let end = ((offset + size) / GRANULE).max(first);
    &cells[first as usize..end as usize]
}

#[test]
fn tlsf_while_axes_move() {
    // With eager merging readiness is looked up by the search alone: nothing is filed that could stay.
    for waiting in [Waiting::LastResort, Waiting::PreferCompact] {
        creep(30 * KIB, false, &tlsf(Placement::FAST, Coalescing::Readiness, waiting));
    }
}

#[test]
fn fixed_block_while_axes_move() {
    creep(1000, false, &fixed(Budget::UNLIMITED));
}

#[test]
fn arena_while_axes_move() {
    creep(8 * KIB, true, &arena());
}

#[test]
fn passthrough_while_axes_move() {
    creep(30 * KIB, false, &passthrough());
}

#[test]
fn fixed_block_shaken() {
    for budget in [Budget::UNLIMITED, Budget::bytes(48 * KIB)] {
        shake(1000, None, |host| fixed(budget).make(host, &[]).pool);
    }
}

#[test]
fn arena_shaken() {
    shake(8 * KIB, None, |host| {
        let config = ArenaPoolConfig {
            generations: 5,
            generation_size: 128 * KIB,
            ..ArenaPoolConfig::default()
        };
        Arc::new(ArenaPool::new(host, config).unwrap())
    });
}

#[test]
fn passthrough_shaken() {
    let subject = Subject::passthrough(KIB, PassthroughPoolConfig::default());
    shake(30 * KIB, None, |host| subject.make(host, &[]).pool);
}
