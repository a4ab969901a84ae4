//! The planned pool: the very sequence stands where the plan has it, and what happens when it is another, when growth is refused
//! in the middle of a step, when the plan's slab is given back, and when two threads use it.

use super::{KIB, shake};
use crate::support::dice::Dice;
use crate::support::draw::Draw;
use crate::support::generate::op;
use crate::support::planned::{Truth, plan};
use crate::support::program::Op;
use crate::support::progress::Dial;
use crate::support::provider::MockProvider;
use crate::support::scaled;
use crate::support::subject::Subject;
use std::sync::Arc;
use strandline_core::offset::tlsf;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::planned::{
    Plan, PlanBlock, PlanError, PlannedPool, PlannedPoolError, Recording, Replan,
};
use strandline_core::pool::tlsf::{Coalescing, TlsfPoolConfig};
use strandline_core::pool::{PoolHost, Request};
use strandline_core::slab::{Elastic, Trim};
use strandline_core::{Acquire, Axis, Death, Frontier, Pool, Reservation};

fn config() -> TlsfPoolConfig {
    TlsfPoolConfig {
        offsets: tlsf::Config { granule: 64, ..tlsf::Config::default() },
        growth: Growth::slabs_of(16 * KIB),
        ..TlsfPoolConfig::default()
    }
}

/// A plan of a generated program, whose releases are at the ends of its blocks.
fn generated(seed: u64) -> Plan {
    let mut dice = Dice::new(seed);
    let program: Vec<Op> = (0..600).map(|_| op(&mut dice, 8 * KIB)).collect();
    plan(&program, 64, Truth::Right, 1)
}

struct World {
    provider: Arc<MockProvider>,
    pool: PlannedPool,
}

fn world(plan: &Plan) -> World {
    let provider = Arc::new(MockProvider::new(4 * KIB, 4 * KIB, 64 << 20, 64 << 20));
    let host = PoolHost::new(provider.clone(), Arc::new(Dial::new(4)));
    World { provider, pool: PlannedPool::new(host, config(), plan).unwrap() }
}

fn ready(answer: Acquire) -> Reservation {
    match answer {
        Acquire::Ready { reservation, .. } => reservation,
        other => panic!("{other:?}"),
    }
}

/// Plays blocks in order. What each got.
fn play(pool: &PlannedPool, blocks: &[PlanBlock]) -> Vec<u64> {
    let mut held: Vec<(u32, Reservation)> = Vec::new();
    let mut offsets = Vec::new();
    for (number, block) in (0..).zip(blocks) {
        for over in held.extract_if(.., |(until, _)| *until <= number) {
            pool.release(over.1, Death::Idle).unwrap();
        }
        let request = Request::new(block.size).aligned(block.alignment).or_grow();
        let reservation = ready(pool.acquire_on(block.stream, &request).unwrap());
        offsets.push(reservation.offset());
        held.push((block.until, reservation));
    }
    for (_, reservation) in held {
        pool.release(reservation, Death::Idle).unwrap();
    }
    offsets
}

#[test]
fn the_very_sequence_stands_where_the_plan_has_it() {
    for seed in 1..=u64::from(scaled(30)) {
        for marked in [true, false] {
            let plan = generated(seed);
            let World { provider, pool } = world(&plan);
            for step in 1..=3 {
                if marked {
                    pool.begin_step();
                }
                let offsets = play(&pool, plan.blocks());
                let planned = plan.blocks().iter().map(|block| block.offset);
                assert!(offsets.into_iter().eq(planned), "seed {seed}, step {step}");
            }
            let stats = pool.planned_stats();
            assert_eq!(stats.planned, 3 * plan.blocks().len() as u64);
            assert_eq!((stats.strayed, stats.resynchronised, stats.steps), (0, 0, 3));
            assert_eq!(stats.plan_hit_share(), 1.0);
            let committed = pool.stats().peak_committed_bytes;
            assert_eq!(committed, plan.bytes().next_multiple_of(4 * KIB), "seed {seed}");
            drop(pool);
            assert_eq!(provider.crimes(), Vec::<String>::new());
        }
    }
}

/// Some requests more, less and other ones: most others stand where they should.
#[test]
fn another_sequence_is_followed_as_far_as_it_goes() {
    let (mut planned, mut all) = (0, 0);
    for seed in 1..=u64::from(scaled(30)) {
        let plan = generated(seed);
        let World { pool, .. } = world(&plan);
        let mut dice = Dice::new(seed);
        let mut blocks = plan.blocks().to_vec();
        for _ in 0..blocks.len() / 100 {
            let at = dice.below(blocks.len());
            match dice.below(3) {
                0 => drop(blocks.remove(at)),
                1 => blocks.insert(at, PlanBlock { until: at as u32 + 2, ..blocks[at] }),
                _ => blocks[at].size += 64,
            }
        }
        play(&pool, &blocks);
        let stats = pool.planned_stats();
        planned += stats.planned;
        all += blocks.len() as u64;
    }
    let share = planned as f64 / all as f64;
    println!("planned with 1 % of requests changed: {share:.4}");
    assert!(share > 0.9, "{share}");
}

#[test]
fn growth_refused_in_the_middle_of_a_step_moves_nothing_on() {
    let plan = generated(5);
    let World { provider, pool } = world(&plan);
    provider.set_capacity(0);
    for _ in 0..20 {
        let first = plan.blocks()[0];
        let answer = pool.acquire(&Request::new(first.size).or_grow()).unwrap();
        assert!(matches!(answer, Acquire::Exhausted { .. }));
    }
    provider.set_capacity(64 << 20);
    play(&pool, plan.blocks());
    assert_eq!(pool.planned_stats().strayed, 0);
    // Where the plan's slab is too much, others serve.
    let World { provider, pool } = world(&plan);
    provider.set_capacity(plan.bytes() / 2 / KIB * KIB);
    let block = plan.blocks()[0];
    let reservation = ready(pool.acquire(&Request::new(block.size).or_grow()).unwrap());
    assert_eq!(pool.planned_stats().strayed, 1);
    pool.release(reservation, Death::Idle).unwrap();
}

#[test]
fn the_plans_slab_comes_again() {
    let plan = generated(6);
    let World { pool, .. } = world(&plan);
    for _ in 0..3 {
        pool.begin_step();
        play(&pool, plan.blocks());
        assert_ne!(pool.trim(Trim::All).unwrap(), 0);
    }
    assert_eq!(pool.planned_stats().strayed, 0);
    assert_eq!(pool.stats().committed_bytes, 0);
}

/// Over elastic slabs a stray has the memory of what the plan does not use, and leaves it to the plan when the next step begins: the host marks
/// steps, or the pool finds them.
#[test]
fn a_stray_takes_memory_from_the_plan_and_the_next_step_has_it_back() {
    const BLOCK: u64 = 64 * KIB;
    let block = |number: u64, until| PlanBlock {
        offset: number * BLOCK,
        size: BLOCK,
        alignment: 64,
        stream: 0,
        until,
    };
    let plan = Plan::new(3 * BLOCK, vec![block(0, 3), block(1, 2), block(2, 3)]).unwrap();
    for marked in [true, false] {
        let elastic = Elastic { granule: 4 * KIB, reserve: 64 << 20 };
        let provider = MockProvider::new(4 * KIB, 4 * KIB, 64 << 20, 64 << 20);
        let provider = Arc::new(provider.with_elastic(Some(elastic)));
        let host = PoolHost::new(provider.clone(), Arc::new(Dial::new(4)));
        let pool = PlannedPool::new(host, config(), &plan).unwrap();
        let take = |size| ready(pool.acquire(&Request::new(size).or_grow()).unwrap());
        let begin = || {
            if marked {
                pool.begin_step()
            }
        };
        begin();
        let first = take(BLOCK);
        assert_eq!(pool.stats().committed_bytes, 3 * BLOCK, "all of the plan, at once");
        let [second, third] = [take(BLOCK), take(BLOCK)];
        pool.release(second, Death::Idle).unwrap();
        let stray = take(2 * BLOCK);
        assert!(stray.offset() >= 3 * BLOCK, "{stray:?}");
        assert_eq!(pool.stats().committed_bytes, 4 * BLOCK, "the second one's memory");
        for held in [first, third, stray] {
            pool.release(held, Death::Idle).unwrap();
        }
        for _ in 0..3 {
            begin();
            let step = [0, 1, 2].map(|_| take(BLOCK));
            let [a, b, c] = [0, 1, 2].map(|at: usize| step[at].offset());
            assert_eq!([a, b, c], [0, BLOCK, 2 * BLOCK], "marked: {marked}");
            assert_eq!(pool.stats().committed_bytes, 4 * BLOCK);
            for held in step {
                pool.release(held, Death::Idle).unwrap();
            }
        }
        assert_eq!(pool.planned_stats().strayed, 1);
        assert_eq!(pool.stats().peak_committed_bytes, 4 * BLOCK, "no more than was live");
        assert!(provider.crimes().is_empty());
    }
}

/// Who may wait gets its place and waits for what had it last; who may not is served elsewhere.
#[test]
fn a_planned_place_that_is_not_ready_is_waited_for_or_strayed_from() {
    let block = |offset, until| PlanBlock { offset, size: 4096, alignment: 64, stream: 0, until };
    let plan = Plan::new(4096, vec![block(0, 1), block(0, 2)]).unwrap();
    let axis = Axis::from_bits(0);
    let death = Frontier::from_entry(axis, 3);
    let first = |pool: &PlannedPool| {
        let reservation = ready(pool.acquire(&Request::new(4096).or_grow()).unwrap());
        pool.release(reservation, Death::After(death.as_ref())).unwrap();
    };
    let World { pool, .. } = world(&plan);
    first(&pool);
    match pool.acquire(&Request::new(4096).or_wait()).unwrap() {
        Acquire::AfterWait { reservation, wait } => {
            assert_eq!((reservation.offset(), wait), (0, death.clone()));
            pool.cancel(reservation).unwrap();
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.planned_stats().planned, 2);
    let World { pool, .. } = world(&plan);
    first(&pool);
    let answer = pool.acquire(&Request::new(4096).after(death.as_ref())).unwrap();
    assert_eq!(ready(answer).offset(), 0);
    let World { pool, .. } = world(&plan);
    first(&pool);
    let _ = ready(pool.acquire(&Request::new(4096).or_grow()).unwrap());
    let stats = pool.planned_stats();
    assert_eq!((stats.planned, stats.strayed), (1, 1));
}

#[test]
fn what_cannot_work_is_refused_with_the_reason() {
    let host = || {
        let provider = Arc::new(MockProvider::new(4 * KIB, 4 * KIB, 64 << 20, 64 << 20));
        PoolHost::new(provider, Arc::new(Dial::new(1)))
    };
    let block = |offset| PlanBlock { offset, size: 10, alignment: 1, stream: 0, until: 1 };
    let plan = |offset| Plan::new(offset + 10, vec![block(offset)]).unwrap();
    for offset in [63, 65, 64 << 32] {
        let refused = PlannedPool::new(host(), config(), &plan(offset)).map(|pool| pool.id());
        assert_eq!(refused, Err(PlannedPoolError::Plan(PlanError::Granule(0))), "{offset}");
    }
    let eager = TlsfPoolConfig { coalescing: Coalescing::Eager, ..config() };
    assert!(PlannedPool::new(host(), eager, &plan(64)).is_err());
    // More than any slab: harmless.
    let pool = PlannedPool::new(host(), config(), &plan(64 << 30)).unwrap();
    drop(ready(pool.acquire(&Request::new(10).or_grow()).unwrap()));
    assert_eq!(pool.planned_stats().strayed, 1);
    // No block at all.
    let none = Plan::new(0, Vec::new()).unwrap();
    let pool = PlannedPool::new(host(), config(), &none).unwrap();
    for _ in 0..100 {
        drop(ready(pool.acquire(&Request::new(10).or_grow()).unwrap()));
    }
    assert_eq!(pool.planned_stats().plan_hit_share(), 0.0);
}

#[test]
fn a_plan_takes_few_bytes_a_block() {
    let mut dice = Dice::new(1);
    let blocks: Vec<PlanBlock> = (0..100_000)
        .map(|number| {
            let size = 64 + dice.next() % 64;
            let (offset, until) = (u64::from(number) * 128, 100_000);
            PlanBlock { offset, size, alignment: 64, stream: number, until }
        })
        .collect();
    // The worst case: no two blocks begin at one offset. Others take 17 bytes a block, and 8 an offset.
    let plan = Plan::new(100_000 * 128, blocks).unwrap();
    let bytes = world(&plan).pool.plan_footprint() as f64 / 100_000.0;
    println!("{bytes:.2} bytes a block");
    assert!(bytes < 25.3, "{bytes}");
}

#[test]
fn two_threads_and_more_in_one_pool() {
    let mut dice = Dice::new(9);
    let program: Vec<Op> = (0..500).map(|_| op(&mut dice, 30 * KIB)).collect();
    for truth in Truth::ALL {
        for seed in [3, 4] {
            let subject = Subject::planned(KIB, config(), truth, seed);
            shake(30 * KIB, None, |host| subject.make(host, &program).pool);
        }
    }
}

/// Whatever the first plan was, what is requested is planned in the end, around what lives on.
#[test]
fn a_pool_that_records_plans_what_is_requested() {
    for seed in 1..=u64::from(scaled(20)) {
        let right = generated(seed);
        let count = right.blocks().len() as u64;
        // Of another program, and none at all.
        for wrong in [generated(seed + 1000), Plan::new(0, Vec::new()).unwrap()] {
            for weights in [0_u64, 5] {
                let World { provider, pool } = world(&wrong);
                let pool = pool.recording();
                let weight =
                    |n: u64| ready(pool.acquire(&Request::new(1000 + n).or_grow()).unwrap());
                let weights: Vec<Reservation> = (0..weights).map(weight).collect();
                assert_eq!(pool.replan(Recording::first_fit), Ok(Replan::Nothing));
                // What lives on in a slab of the wrong size keeps the plan there.
                let is_pinned = !weights.is_empty() && wrong.bytes() != 0;
                let mut strayed = Vec::new();
                for step in 0..5 {
                    pool.begin_step();
                    let replanned = pool.replan(Recording::first_fit).unwrap();
                    // What is granted before the first step belongs to one that was cut.
                    if step == 1 && !is_pinned {
                        assert_eq!(replanned, Replan::Next, "seed {seed}");
                        assert_eq!(pool.replan(Recording::first_fit), Ok(Replan::Nothing));
                    }
                    let before = pool.planned_stats();
                    play(&pool, right.blocks());
                    let after = pool.planned_stats();
                    assert_eq!(
                        after.planned + after.strayed - before.planned - before.strayed,
                        count
                    );
                    strayed.push(after.strayed - before.strayed);
                }
                if is_pinned && pool.planned_stats().replanned == 0 {
                    assert!(strayed[4] <= strayed[0] + count / 10, "seed {seed}, {strayed:?}");
                } else {
                    assert!(pool.planned_stats().replanned > 0);
                    assert_eq!(strayed[3..], [0, 0], "seed {seed}, {strayed:?}");
                }
                drop(weights);
                drop(pool);
                assert_eq!(provider.crimes(), Vec::<String>::new());
            }
        }
    }
}

/// A plan that is followed to the letter stays; one that is no better than what the pool holds is not taken.
#[test]
fn a_plan_that_is_as_good_is_kept() {
    let plan = generated(3);
    let World { pool, .. } = world(&plan);
    let pool = pool.recording();
    for _ in 0..2 {
        pool.begin_step();
        play(&pool, plan.blocks());
    }
    pool.begin_step();
    let larger = |recording: &Recording| {
        assert_eq!(recording.requests.len(), plan.blocks().len());
        assert_eq!(recording.fixed, []);
        let blocks = plan.blocks().to_vec();
        Some(Plan::new(plan.bytes() + (1 << 20), blocks).unwrap())
    };
    assert_eq!(pool.replan(larger), Ok(Replan::Kept));
    play(&pool, plan.blocks());
    pool.begin_step();
    let odd = |_: &Recording| {
        let block = PlanBlock { offset: 1, size: 1, alignment: 1, stream: 0, until: 1 };
        Plan::new(2, vec![block]).ok()
    };
    assert_eq!(pool.replan(odd), Err(PlanError::Granule(0)));
    assert_eq!(pool.planned_stats().replanned, 0);
    // A pool that does not record has nothing to plan.
    let World { pool, .. } = world(&plan);
    play(&pool, plan.blocks());
    pool.begin_step();
    assert_eq!(pool.replan(Recording::first_fit), Ok(Replan::Nothing));
}

/// What a step recorded is what was asked for, and when it was given back; a step that never ends takes no more memory, and has no plan.
#[test]
fn a_step_is_recorded_as_it_was() {
    let plan = generated(4);
    let World { pool, .. } = world(&plan);
    let pool = pool.recording();
    pool.begin_step();
    play(&pool, plan.blocks());
    pool.begin_step();
    let seen = |recording: &Recording| {
        for (recorded, block) in recording.requests.iter().zip(plan.blocks()) {
            assert_eq!(recorded.size, block.size.next_multiple_of(64));
            assert_eq!((recorded.alignment, recorded.stream), (block.alignment, block.stream));
            assert_eq!(recorded.until, block.until);
        }
        None
    };
    assert_eq!(pool.replan(seen), Ok(Replan::Nothing));
    if scaled(2) == 1 {
        // The million that follows is on one thread, and takes a sanitizer half a minute.
        return;
    }
    for _ in 0..(1 << 20) + 5 {
        let reservation = ready(pool.acquire(&Request::new(64).or_grow()).unwrap());
        pool.release(reservation, Death::Idle).unwrap();
    }
    pool.begin_step();
    assert_eq!(pool.replan(Recording::first_fit), Ok(Replan::Nothing));
}

/// Steps that overlap: with a block live across each boundary and room beside it, a larger plan has its slab from its first request on only if it
/// does not wait for room.
#[test]
fn a_plan_that_moves_takes_its_slab_beside_the_old_one() {
    for moves in [false, true] {
        let World { provider, pool } = world(&Plan::new(0, Vec::new()).unwrap());
        let pool = pool.recording();
        let pool = if moves { pool.moving() } else { pool };
        let ask = |size| ready(pool.acquire(&Request::new(size).or_grow()).unwrap());
        let give = |reservation| pool.release(reservation, Death::Idle).unwrap();
        // Free bytes of slabs in which something lives are enough for what follows.
        let mut old: Vec<Reservation> = (0..8).map(|_| ask(3 * KIB)).collect();
        let mut crossing = None;
        let mut planned = Vec::new();
        for _ in 0..4 {
            pool.begin_step();
            assert!(pool.replan(Recording::first_fit).is_ok());
            let before = pool.planned_stats().planned;
            let small: Vec<Reservation> = (0..4).map(|_| ask(KIB)).collect();
            if let Some(crossing) = crossing.replace(ask(512)) {
                give(crossing);
            }
            small.into_iter().for_each(give);
            planned.push(pool.planned_stats().planned - before);
        }
        assert_eq!(planned[2] >= 4, moves, "{planned:?}");
        let beside = pool.stats().committed_bytes;
        old.drain(..).for_each(give);
        pool.begin_step();
        pool.trim(Trim::All).unwrap();
        let left = pool.stats().committed_bytes;
        assert!(left < beside, "{left} of {beside}: the old slabs go when they are empty");
        give(crossing.unwrap());
        drop(pool);
        assert_eq!(provider.crimes(), Vec::<String>::new());
    }
}
