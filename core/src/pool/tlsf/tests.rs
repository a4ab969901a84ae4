//! The rules of readiness, one by one. Generated programs with an oracle stand in `tests/pools.rs`.

use super::*;
use crate::offset::tlsf::BlockId;
use crate::pool::{ExchangeError, Origin, ReuseProof};
use crate::slab::{BufferUsage, Grant, MemoryType, Slab, SlabError, SlabStats, SlabTable};
use crate::{Axis, Entry, Epoch, Frontier, FrontierRef, Progress, SlabId, SlabProvider};
use alloc::collections::BTreeMap;
use core::ops::ControlFlow;
use proptest::collection;
use proptest::prelude::*;

#[derive(Debug)]
struct Provider {
    slabs: Mutex<SlabTable<u64>>,
    capacity: u64,
}

impl SlabProvider for Provider {
    fn properties(&self) -> SlabProperties {
        SlabProperties {
            memory_type: MemoryType::NONE,
            usage: BufferUsage::NONE,
            alignment: 4096,
            granularity: 256,
            max_slab_size: 1 << 40,
        }
    }
    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        let mut slabs = self.slabs.lock();
        let held: u64 = slabs.iter().map(|(_, size)| size).sum();
        if held + size > self.capacity {
            return Ok(Grant::NoCapacity);
        }
        let id = slabs.insert(size).map_err(|_| SlabError::Lost)?;
        Ok(Grant::Slab(Slab { id, size }))
    }
    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.slabs.lock().remove(id).map(drop).ok_or(SlabError::UnknownSlab(id))
    }
    fn stats(&self) -> SlabStats {
        SlabStats::default()
    }
}

#[derive(Debug, Default)]
struct Axes(Mutex<BTreeMap<Axis, Epoch>>);

impl Axes {
    fn advance(&self, axis: Axis, epoch: Epoch) {
        self.0.lock().insert(axis, epoch);
    }
}

impl Progress for Axes {
    fn reached(&self, axis: Axis) -> Epoch {
        self.0.lock().get(&axis).copied().unwrap_or(0)
    }
}

const A: Axis = Axis::queue(0, 1);
const B: Axis = Axis::queue(0, 2);

fn pool(capacity: u64, coalescing: Coalescing) -> (TlsfPool, Arc<Provider>, Arc<Axes>) {
    let provider = Arc::new(Provider { slabs: Mutex::new(SlabTable::new()), capacity });
    let axes = Arc::new(Axes::default());
    let host = PoolHost::new(provider.clone(), axes.clone());
    let config = TlsfPoolConfig {
        growth: Growth::slabs_of(capacity),
        coalescing,
        ..TlsfPoolConfig::default()
    };
    (TlsfPool::new(host, config).unwrap(), provider, axes)
}

fn after(entries: &[(Axis, Epoch)]) -> Frontier {
    Frontier::from_entries(entries.iter().map(|&(axis, epoch)| Entry::new(axis, epoch))).unwrap()
}

fn ready(answer: Result<Acquire, PoolError>) -> (Reservation, Origin) {
    match answer.unwrap() {
        Acquire::Ready { reservation, origin } => (reservation, origin),
        other => panic!("not ready: {other:?}"),
    }
}

fn fill(pool: &TlsfPool, blocks: u64, size: u64) -> Vec<Reservation> {
    (0..blocks).map(|_| ready(pool.acquire(&Request::new(size).or_grow())).0).collect()
}

#[test]
fn a_pending_block_serves_who_comes_after_it_and_nobody_else() {
    let (pool, _, axes) = pool(1024, Coalescing::Readiness);
    let [held] = fill(&pool, 1, 1024).try_into().unwrap();
    let death = after(&[(A, 5)]);
    pool.release(held, Death::After(death.as_ref())).unwrap();
    let ask = |frontier: &Frontier| pool.acquire(&Request::new(1024).after(frontier.as_ref()));
    assert!(matches!(
        ask(&after(&[(A, 4), (B, 9)])).unwrap(),
        Acquire::Exhausted { growth_required: false, .. }
    ));
    assert_eq!(pool.stats().pending_bytes, 1024);
    let (held, origin) = ready(ask(&after(&[(A, 5)])));
    assert_eq!(origin, Origin::Reused(ReuseProof::Dominance));
    pool.release(held, Death::After(death.as_ref())).unwrap();
    axes.advance(A, 5);
    let (held, origin) = ready(ask(&Frontier::default()));
    assert_eq!(origin, Origin::Reused(ReuseProof::Completion));
    pool.release(held, Death::Idle).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.fresh, stats.dominated, stats.completed), (1, 1, 1));
    assert_eq!((stats.missed, stats.exhausted), (2, 1));
}

#[test]
fn a_ready_block_never_waits_for_its_neighbour() {
    for (coalescing, serves) in [(Coalescing::Readiness, true), (Coalescing::Eager, false)] {
        let (pool, _, _) = pool(1024, coalescing);
        let [a, b, c, d] = fill(&pool, 4, 256).try_into().unwrap();
        pool.release(b, Death::Idle).unwrap();
        let death = after(&[(A, 5)]);
        pool.release(c, Death::After(death.as_ref())).unwrap();
        let answer = pool.acquire(&Request::new(256)).unwrap();
        assert_eq!(matches!(answer, Acquire::Ready { .. }), serves, "{coalescing:?}");
        drop((a, d, answer));
    }
}

#[test]
fn adjacent_blocks_of_different_readiness_serve_who_may_use_all_of_them() {
    let (pool, _, _) = pool(1024, Coalescing::Readiness);
    let [a, b, c, d] = fill(&pool, 4, 256).try_into().unwrap();
    let (on_a, on_b) = (after(&[(A, 3)]), after(&[(B, 7)]));
    pool.release(a, Death::Idle).unwrap();
    pool.release(b, Death::After(on_a.as_ref())).unwrap();
    pool.release(c, Death::After(on_b.as_ref())).unwrap();
    // Clean and A, for who is after A.
    let (span, _) = ready(pool.acquire(&Request::new(512).after(on_a.as_ref())));
    assert_eq!(span.offset(), 0);
    pool.cancel(span).unwrap();
    // Canceled: each part dies as before.
    let none = pool.acquire(&Request::new(768).after(on_a.as_ref())).unwrap();
    assert!(matches!(none, Acquire::Exhausted { .. }));
    let both = after(&[(A, 3), (B, 7)]);
    let (span, origin) = ready(pool.acquire(&Request::new(768).after(both.as_ref())));
    assert_eq!(origin, Origin::Reused(ReuseProof::Dominance));
    pool.release(span, Death::After(both.as_ref())).unwrap();
    pool.release(d, Death::After(both.as_ref())).unwrap();
    assert!(matches!(
        pool.acquire(&Request::new(1024).after(both.as_ref())).unwrap(),
        Acquire::Ready { .. }
    ));
}

#[test]
fn a_wait_is_for_the_soonest_and_canceling_restores_the_death() {
    let (pool, provider, axes) = pool(1024, Coalescing::Readiness);
    let [a, b, c, d] = fill(&pool, 4, 256).try_into().unwrap();
    axes.advance(A, 10);
    let (late, soon) = (after(&[(A, 90)]), after(&[(B, 7)]));
    pool.release(a, Death::After(late.as_ref())).unwrap();
    pool.release(c, Death::After(soon.as_ref())).unwrap();
    let request = Request::new(200).or_wait().or_grow();
    for _ in 0..2 {
        let Acquire::AfterWait { reservation, wait } = pool.acquire(&request).unwrap() else {
            panic!("expected a wait");
        };
        assert_eq!((reservation.offset(), &wait), (512, &soon));
        pool.cancel(reservation).unwrap();
    }
    assert_eq!(pool.stats().waited, 2);
    assert_eq!(provider.slabs.lock().len(), 1, "waiting comes before growth");
    axes.advance(B, 7);
    let (reservation, _) = ready(pool.acquire(&request));
    assert_eq!(reservation.offset(), 512);
    drop((b, d, reservation));
}

#[test]
fn unknown_deaths_come_back_when_the_device_is_quiescent() {
    let (pool, _, axes) = pool(1024, Coalescing::Readiness);
    let [a, b, c, d] = fill(&pool, 4, 256).try_into().unwrap();
    pool.release(a, Death::Unknown).unwrap();
    pool.release(b, Death::Unknown).unwrap();
    let death = after(&[(A, 5)]);
    pool.release(c, Death::After(death.as_ref())).unwrap();
    pool.release(d, Death::Idle).unwrap();
    axes.advance(A, 5);
    let stats = pool.stats();
    assert_eq!((stats.tainted_bytes, stats.clean_bytes()), (512, 512));
    assert!(matches!(
        pool.acquire(&Request::new(1024).or_wait()).unwrap(),
        Acquire::Exhausted { .. }
    ));
    pool.quiesce();
    let (all, _) = ready(pool.acquire(&Request::new(1024)));
    drop(all);
}

#[test]
fn a_death_on_several_axes_shrinks_as_they_are_reached() {
    let (pool, _, axes) = pool(1024, Coalescing::Readiness);
    let [held] = fill(&pool, 1, 1024).try_into().unwrap();
    let death = after(&[(A, 5), (B, 7)]);
    pool.release(held, Death::After(death.as_ref())).unwrap();
    let ask = |entries: &[(Axis, Epoch)]| {
        let frontier = after(entries);
        pool.acquire(&Request::new(1024).after(frontier.as_ref())).unwrap()
    };
    assert!(matches!(ask(&[(A, 5)]), Acquire::Exhausted { .. }));
    assert!(matches!(ask(&[(B, 7)]), Acquire::Exhausted { .. }));
    axes.advance(A, 6);
    // The frontier covers one axis, progress the other.
    let Acquire::Ready { reservation, .. } = ask(&[(B, 7)]) else { panic!("B is covered") };
    pool.release(reservation, Death::Idle).unwrap();
    assert_eq!(pool.stats().pending_bytes, 0);
}

#[test]
fn budgets_and_capacity_are_values_and_bad_requests_are_errors() {
    let provider = Arc::new(Provider { slabs: Mutex::new(SlabTable::new()), capacity: 4096 });
    let config = TlsfPoolConfig {
        growth: Growth::slabs_of(1024),
        budget: Budget::bytes(2048),
        ..TlsfPoolConfig::default()
    };
    let host = PoolHost::new(provider.clone(), Arc::new(crate::NoProgress));
    let pool = TlsfPool::new(host, config).unwrap();
    assert_eq!(pool.acquire(&Request::new(0)).unwrap_err(), PoolError::ZeroSize);
    for alignment in [0, 3, 8192] {
        assert_eq!(
            pool.acquire(&Request::new(1).aligned(alignment)).unwrap_err(),
            PoolError::InvalidAlignment { alignment }
        );
    }
    assert!(matches!(
        pool.acquire(&Request::new(u64::MAX)).unwrap_err(),
        PoolError::TooLarge { .. }
    ));
    assert!(matches!(
        pool.acquire(&Request::new(1).without_growth()).unwrap(),
        Acquire::Exhausted { growth_required: true, .. }
    ));
    let held = fill(&pool, 8, 256);
    let Acquire::OverBudget { observed } = pool.acquire(&Request::new(1).or_grow()).unwrap() else {
        panic!("the budget is spent");
    };
    for reservation in held {
        pool.release(reservation, Death::Idle).unwrap();
    }
    assert!(pool.notification().changed_since(observed));
    assert_eq!(pool.trim(Trim::All), Ok(2048));
    assert_eq!(pool.stats().committed_bytes, 0);
    // A larger request gets a slab of its own, and a refused ordinary slab falls back to what is needed.
    let big = fill(&pool, 1, 2000);
    assert_eq!(provider.slabs.lock().iter().map(|(_, size)| *size).max(), Some(2048));
    drop(big);
    drop(pool);
    assert!(provider.slabs.lock().is_empty());
}

#[test]
fn many_sets_of_axes_do_not_pile_up() {
    let (pool, _, axes) = pool(1 << 20, Coalescing::Readiness);
    for round in 1..300u64 {
        let [a, b] = fill(&pool, 2, 256).try_into().unwrap();
        let x = Axis::host(round as u32);
        let y = Axis::host(round as u32 + 1);
        pool.release(a, Death::After(after(&[(x, round)]).as_ref())).unwrap();
        pool.release(b, Death::After(after(&[(x, round), (y, round)]).as_ref())).unwrap();
        if round % 3 == 0 {
            for axis in 0..=round as u32 + 1 {
                axes.advance(Axis::host(axis), round);
            }
            pool.poll();
        }
    }
    pool.quiesce();
    assert_eq!(pool.stats().clean_bytes(), 1 << 20);
    assert_eq!(pool.trim(Trim::All), Ok(1 << 20));
}

/// Shelves of axes that nobody waits for any more are reused for others, also while blocks move on from
/// one set of axes to the next. A free block must never claim to be ready before its bytes are.
#[test]
fn reused_shelves_keep_every_death() {
    const CELL: u64 = 256;
    let (pool, _, axes) = pool(256 * CELL, Coalescing::Readiness);
    let axis = |i: u64| Axis::host(i as u32);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut held = Vec::new();
    let mut deaths: Vec<Vec<(Axis, Epoch)>> = alloc::vec![Vec::new(); 256];
    let mut submitted = [1; 8];
    let rounds = match std::env::var("STRANDLINE_TEST_SCALE") {
        _ if cfg!(miri) => 200,
        Ok(scale) if scale == "small" => 5000,
        _ => 100_000,
    };
    for _ in 0..rounds {
        match random(8) {
            0..4 => {
                let request = Request::new(CELL * (1 + random(5))).or_grow();
                if let Acquire::Ready { reservation, .. } = pool.acquire(&request).unwrap() {
                    held.push(reservation);
                }
            }
            4..7 if !held.is_empty() => {
                let index = random(held.len() as u64) as usize;
                let reservation: Reservation = held.swap_remove(index);
                let mut death = BTreeMap::new();
                for _ in 0..1 + random(4) {
                    let i = random(submitted.len() as u64);
                    submitted[i as usize] += 1;
                    death.insert(axis(i), submitted[i as usize]);
                }
                let death: Vec<_> = death.into_iter().collect();
                let first = (reservation.offset() / CELL) as usize;
                for cell in &mut deaths[first..first + (reservation.size() / CELL) as usize] {
                    cell.clone_from(&death);
                }
                pool.release(reservation, Death::After(after(&death).as_ref())).unwrap();
            }
            _ => {
                let i = random(submitted.len() as u64);
                let reached = axes.reached(axis(i));
                let ahead = submitted[i as usize] - reached;
                axes.advance(axis(i), reached + random(ahead + 1));
            }
        }
        pool.inspect(&mut |block| {
            let known = match block.state {
                crate::inspect::BlockState::Pending(frontier) => frontier,
                crate::inspect::BlockState::Clean => FrontierRef::EMPTY,
                _ => return,
            };
            let cells =
                (block.offset / CELL) as usize..((block.offset + block.size) / CELL) as usize;
            for &(axis, epoch) in deaths[cells].iter().flatten() {
                assert!(
                    known.get(axis) >= epoch || axes.reached(axis) >= epoch,
                    "{block:?} forgot {axis:?}@{epoch}"
                );
            }
        });
    }
}

#[test]
fn a_stretch_of_more_axes_than_a_death_holds_is_taken_as_one_and_given_back_in_parts() {
    let blocks = crate::pool::MAX_DEATH_AXES as u64 + 2;
    let (pool, _, axes) = pool(256 * blocks, Coalescing::Readiness);
    let axis = |i: u64| Axis::queue(0, i as u8 + 1);
    // Each dies on an axis of its own; the requester knows them all.
    for (i, held) in fill(&pool, blocks, 256).into_iter().enumerate() {
        pool.release(held, Death::After(after(&[(axis(i as u64), 5)]).as_ref())).unwrap();
    }
    let all: Vec<_> = (0..blocks).map(|i| (axis(i), 5)).collect();
    let all = after(&all);
    let pending = pool.stats().pending_bytes;
    let request = Request::new(256 * blocks);
    let (held, origin) = ready(pool.acquire(&request.after(all.as_ref())));
    assert_eq!(origin, Origin::Reused(ReuseProof::Dominance));
    pool.cancel(held).unwrap();
    // Nothing was forgotten: who knows nothing gets nothing, and is told of all axes if it may wait.
    assert_eq!(pool.stats().pending_bytes, pending);
    assert!(matches!(pool.acquire(&Request::new(256)).unwrap(), Acquire::Exhausted { .. }));
    let Acquire::AfterWait { reservation, wait } = pool.acquire(&request.or_wait()).unwrap() else {
        panic!("all of it can be waited for");
    };
    assert_eq!(wait, all);
    pool.cancel(reservation).unwrap();
    axes.advance(axis(3), 5);
    assert_eq!(ready(pool.acquire(&Request::new(256))).0.offset(), 3 * 256);
}

/// What batches and single calls must agree in.
fn outcome(answer: &Result<Acquire, PoolError>) -> alloc::string::String {
    match answer {
        Ok(Acquire::Ready { reservation, origin }) => {
            alloc::format!("{:?}+{} {origin:?}", reservation.offset(), reservation.size())
        }
        Ok(Acquire::AfterWait { reservation, wait }) => {
            alloc::format!("{:?}+{} after {wait:?}", reservation.offset(), reservation.size())
        }
        Ok(Acquire::Exhausted { growth_required, .. }) => {
            alloc::format!("exhausted {growth_required}")
        }
        Ok(Acquire::OverBudget { .. }) => "over budget".into(),
        Err(error) => alloc::format!("{error:?}"),
    }
}

fn keep(answer: Result<Acquire, PoolError>, held: &mut Vec<Reservation>) {
    if let Ok(Acquire::Ready { reservation, .. } | Acquire::AfterWait { reservation, .. }) = answer
    {
        held.push(reservation);
    }
}

proptest! {
    /// Batches, exchanges and as many single calls answer alike and count alike, whatever the deaths, the progress between them,
    /// and the policy.
    #[test]
    fn a_batch_or_an_exchange_is_as_many_single_calls(
        steps in collection::vec(
            (
                collection::vec((prop_oneof![1_u64..700, 0_u64..3000], prop_oneof![4 => Just(0_u32), 1 => 0_u32..13]), 0..12),
                0_usize..12,
                (prop_oneof![Just(1_usize), 0_usize..7], prop_oneof![4_u64..9, 1_u64..40]),
                any::<(bool, bool)>(),
                (any::<bool>(), any::<bool>(), prop_oneof![8 => 1_u64..4, 1 => 1_u64..40]),
            ),
            1..48,
        ),
        eager in any::<bool>(),
        packs in any::<bool>(),
        budget in prop_oneof![Just(u64::MAX), Just(12 << 10)],
    ) {
        let make = || {
            let provider =
                Arc::new(Provider { slabs: Mutex::new(SlabTable::new()), capacity: 32 << 10 });
            let axes = Arc::new(Axes::default());
            let config = TlsfPoolConfig {
                growth: Growth::slabs_of(8 << 10),
                budget: Budget::bytes(budget),
                coalescing: if eager { Coalescing::Eager } else { Coalescing::Readiness },
                waiting: if packs { Waiting::PreferCompact } else { Waiting::LastResort },
                ..TlsfPoolConfig::default()
            };
            (TlsfPool::new(PoolHost::new(provider, axes.clone()), config).unwrap(), axes)
        };
        let (many, one) = (make(), make());
        let (mut held_many, mut held_one) = (Vec::new(), Vec::new());
        for (asks, back, (death, epoch), (may_wait, may_grow), (backwards, on_a, reached)) in steps {
            let known = after(&[(A, epoch)]);
            let requests = asks.iter().map(|&(size, alignment)| Request {
                may_wait,
                may_grow,
                ..Request::new(size).aligned(1 << alignment).after(known.as_ref())
            });
            let mut told = Vec::new();
            many.0.acquire_each(requests.clone(), |answer| {
                told.push(outcome(&answer));
                keep(answer, &mut held_many);
                ControlFlow::Continue(())
            });
            for (request, batched) in requests.clone().zip(told) {
                let answer = one.0.acquire(&request);
                prop_assert_eq!(outcome(&answer), batched);
                keep(answer, &mut held_one);
            }
            prop_assert_eq!(one.0.stats(), many.0.stats());
            let axis = if on_a { A } else { B };
            // Forward only.
            let reached = reached.max(one.1.reached(axis));
            many.1.advance(axis, reached);
            one.1.advance(axis, reached);
            let deaths = [
                after(&[]),
                after(&[(A, epoch)]),
                after(&[(B, epoch)]),
                after(&[(A, epoch), (B, 3)]),
                // More axes than a death can have.
                Frontier::from_entries((1..20).map(|i| Entry::new(Axis::queue(0, i), epoch)))
                    .unwrap(),
            ];
            let death = match death {
                5 => Death::Unknown,
                6 => Death::Idle,
                n => Death::After(deaths[n].as_ref()),
            };
            // The first first, or the last: neighbours are merged from either side.
            let back = back.min(held_one.len());
            if backwards {
                held_many[..back].reverse();
                held_one[..back].reverse();
            }
            many.0.release_each(&mut held_many.drain(..back), death).unwrap();
            for reservation in held_one.drain(..back) {
                one.0.release(reservation, death).unwrap();
            }
            prop_assert_eq!(one.0.stats(), many.0.stats());
            // What is left is exchanged, one after the other.
            for request in requests {
                let (Some(of_many), Some(of_one)) = (held_many.pop(), held_one.pop()) else {
                    break;
                };
                one.0.release(of_one, death).unwrap();
                let answer = one.0.acquire(&request);
                let exchanged = many.0.exchange(of_many, death, &request).map_err(|error| match error {
                    ExchangeError::Acquire(error) => error,
                    ExchangeError::Release(refused) => panic!("{refused}"),
                });
                prop_assert_eq!(outcome(&answer), outcome(&exchanged));
                keep(answer, &mut held_one);
                keep(exchanged, &mut held_many);
                prop_assert_eq!(one.0.stats(), many.0.stats());
            }
        }
    }
}

#[test]
fn a_batch_stops_where_it_is_told_to_and_at_a_stranger() {
    let (ours, _, _) = pool(4096, Coalescing::Readiness);
    let (theirs, _, _) = pool(4096, Coalescing::Readiness);
    let mut held = Vec::new();
    ours.acquire_each((0..8).map(|_| Request::new(256).or_grow()), |answer| {
        held.push(ready(answer).0);
        if held.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((held.len(), ours.stats().live), (3, 3));
    held.insert(1, fill(&theirs, 1, 256).remove(0));
    let mut held = held.into_iter();
    let refused = ours.release_each(&mut held, Death::Idle).unwrap_err().reservation;
    let asked = Request::new(64);
    let Err(ExchangeError::Release(refused)) = ours.exchange(refused, Death::Idle, &asked) else {
        panic!("a stranger is exchanged")
    };
    let refused = refused.reservation;
    assert_eq!((held.len(), ours.stats().live), (2, 2));
    theirs.release(refused, Death::Idle).unwrap();
    ours.release_each(&mut held, Death::Idle).unwrap();
    assert_eq!(ours.stats().live, 0);
}

/// The invariants of the heap, after every step of generated programs.
#[test]
fn the_heap_stays_what_it_promises() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for round in 0..if cfg!(miri) { 1 } else { 150 } {
        let axes = Axes::default();
        let axis = |i: u64| Axis::host(i as u32);
        let config = Config { granule: 1, ..Config::default() };
        let rule = if round % 3 == 2 { Coalescing::Eager } else { Coalescing::Readiness };
        let mut heap = Heap::new(config, rule).unwrap();
        heap.add_region(100 + random(400)).unwrap();
        let count = 1 + round % 5;
        let mut submitted = [0_u64; 5];
        let mut held: Vec<(BlockId, heap::BlockDeath)> = Vec::new();
        for _ in 0..400 {
            let known: Vec<_> = (0..count)
                .map(|i| (axis(i), submitted[i as usize].saturating_sub(random(12))))
                .filter(|&(_, epoch)| epoch > 0)
                .collect();
            let known = after(&known);
            match random(16) {
                0..7 => {
                    let most = if random(6) == 0 { 80 } else { 9 };
                    let size = 1 + random(most);
                    let alignment = if random(6) == 0 { 1 << random(5) } else { 1 };
                    let need = heap.need(size, alignment).unwrap();
                    let mut death = heap::BlockDeath::new();
                    let (frontier, progress) = (known.as_ref(), &axes as &dyn Progress);
                    let ask = heap::Ask { need, frontier, progress, requested: size };
                    heap.poll_next(progress);
                    let mut taken = heap.acquire(&ask, &mut death);
                    if taken.is_none() {
                        heap.poll_all(progress, |_, _| None);
                        heap.check();
                        taken = heap.acquire_covered(&ask, &mut death);
                    }
                    if taken.is_none() && random(2) == 0 {
                        taken = if random(2) == 0 {
                            heap.acquire_pending(&ask, &mut death)
                        } else {
                            heap.acquire_compact(&ask, &mut death)
                        };
                    }
                    held.extend(taken.map(|taken| (taken.block, death)));
                }
                7..12 if !held.is_empty() => {
                    let (block, _) = held.swap_remove(random(held.len() as u64) as usize);
                    let mut death = BTreeMap::new();
                    let several = if random(4) == 0 { random(3) } else { 0 };
                    for _ in 0..=several {
                        let i = random(count);
                        submitted[i as usize] += random(2);
                        death.insert(axis(i), submitted[i as usize].max(1));
                    }
                    let death = after(&death.into_iter().collect::<Vec<_>>());
                    let death = match random(30) {
                        0 => Death::Unknown,
                        1 => Death::Idle,
                        _ => Death::After(death.as_ref()),
                    };
                    heap.free(block, death, &axes);
                }
                12 if !held.is_empty() => {
                    let (block, death) = held.swap_remove(random(held.len() as u64) as usize);
                    heap.cancel(block, Death::After(death.as_ref()), &axes);
                }
                13 => {
                    let i = random(count);
                    let ahead = submitted[i as usize].saturating_sub(axes.reached(axis(i)));
                    axes.advance(axis(i), axes.reached(axis(i)) + random(ahead + 1));
                }
                14 => drop(heap.poll_all(&axes, |_, epoch| Some(epoch % 3 == 0))),
                _ if random(8) == 0 => heap.quiesce(),
                _ => {}
            }
            heap.check();
        }
        for (block, _) in held {
            heap.free(block, Death::Unknown, &axes);
        }
        heap.quiesce();
        heap.check();
        let committed = heap.committed_bytes();
        assert_eq!(heap.remove_region(RegionId::from_index(0)), Some(committed));
    }
}
