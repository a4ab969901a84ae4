//! Bytes do not get lost, and nobody waits for what cannot come: deaths of many axes, of axes that end and of axes that nobody registered; requests
//! that can never fit; scopes that end early; waits for releases and for progress.

#![cfg(not(loom))]

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use strandline_core::allocate::{Allocated, allocate, allocate_from};
use strandline_core::pool::arena::{ArenaPool, ArenaPoolConfig};
use strandline_core::pool::budget::Budget;
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::passthrough::{PassthroughPool, PassthroughPoolConfig};
use strandline_core::pool::tlsf::{Coalescing, TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{
    ExchangeError, MAX_DEATH_AXES, PoolError, PoolGuard, PoolHost, ReleaseRefusal, Request,
};
use strandline_core::pool_set::{Need, NoMatch, PoolSet, Registration};
use strandline_core::slab::{CpuSlabs, Trim};
use strandline_core::{
    Acquire, Axis, Death, Entry, Failure, Frontier, Pool, Progress, Reservation, Tracker,
    TrackerError, WaitError,
};

const SLAB: u64 = 1 << 16;

fn axis(number: u8) -> Axis {
    Axis::queue(0, number)
}

/// A host of `capacity` bytes, and a tracker of axes 0 to 11.
fn host(capacity: u64) -> (PoolHost, Tracker) {
    let tracker = Tracker::new(16);
    (0..12).for_each(|number| tracker.register(axis(number)).unwrap());
    (PoolHost::new(Arc::new(CpuSlabs::new(capacity)), Arc::new(tracker.clone())), tracker)
}

/// One pool of each kind, each with room for a slab, a block or a generation of `SLAB` bytes.
fn pools(host: &PoolHost, budget: Budget, max_slabs: u32) -> Vec<Arc<dyn Pool>> {
    let growth = Growth { slab_size: SLAB, max_slabs };
    let tlsf = TlsfPoolConfig { growth, budget, ..Default::default() };
    let eager = TlsfPoolConfig { coalescing: Coalescing::Eager, ..tlsf };
    let fixed = FixedBlockPoolConfig {
        block_size: SLAB,
        max_blocks: 4,
        growth,
        budget,
        ..Default::default()
    };
    let arena = ArenaPoolConfig {
        generation_size: SLAB,
        generations: max_slabs.clamp(1, 3),
        budget,
        ..Default::default()
    };
    let passthrough = PassthroughPoolConfig { max_slabs, budget };
    let mut pools: Vec<Arc<dyn Pool>> = vec![
        Arc::new(TlsfPool::new(host.clone(), tlsf).unwrap()),
        Arc::new(TlsfPool::new(host.clone(), eager).unwrap()),
        Arc::new(PassthroughPool::new(host.clone(), passthrough).unwrap()),
    ];
    if max_slabs > 0 {
        pools.push(Arc::new(FixedBlockPool::new(host.clone(), fixed).unwrap()));
        pools.push(Arc::new(ArenaPool::new(host.clone(), arena).unwrap()));
    }
    pools
}

fn take(pool: &dyn Pool, size: u64) -> Reservation {
    pool.acquire(&Request::new(size)).unwrap().into_ready().unwrap()
}

#[test]
fn what_can_never_fit_is_told_at_once() {
    let cases = [
        ("budget", 64 * SLAB, Budget::bytes(SLAB / 2), u32::MAX),
        ("capacity", SLAB / 2, Budget::UNLIMITED, u32::MAX),
        ("both", 4 * SLAB, Budget::bytes(2 * SLAB), 4),
        ("no slab", 64 * SLAB, Budget::UNLIMITED, 0),
        ("nothing", 64 * SLAB, Budget::bytes(0), u32::MAX),
    ];
    for (case, capacity, budget, max_slabs) in cases {
        let (host, _) = host(capacity);
        for pool in pools(&host, budget, max_slabs) {
            let max = pool.properties().max_request;
            let least = capacity.min(budget.limit());
            assert!(max <= least && (max_slabs > 0 || max == 0), "{case} {pool:?}: {max}");
            for size in [max + 1, least + 1, 1 << 40, u64::MAX] {
                for request in [Request::new(size), Request::new(size).or_wait()] {
                    let told = pool.acquire(&request).unwrap_err();
                    assert_eq!(told, PoolError::TooLarge { size, max }, "{case} {pool:?}");
                }
            }
            // And no more is refused than that.
            if max > 0 {
                let all = take(&*pool, max);
                pool.release(all, Death::Idle).unwrap();
                pool.trim(Trim::All).unwrap();
            }
            let stats = pool.stats();
            assert_eq!((stats.over_budget, stats.exhausted), (0, 0), "{case} {pool:?}");
        }
    }
}

/// Waits for more axes than a block remembers, in any of the ways in which bytes are released.
#[test]
fn a_death_of_many_axes_comes_back_as_they_are_reached() {
    let many: Frontier = (0..11).map(|number| Entry::new(axis(number), 5)).collect();
    for way in ["release", "exchange", "batch", "held"] {
        let (host, tracker) = host(SLAB);
        let growth = Growth::slabs_of(SLAB);
        let config = TlsfPoolConfig { growth, budget: Budget::bytes(SLAB), ..Default::default() };
        let pool = TlsfPool::new(host, config).unwrap();
        let all = take(&pool, SLAB);
        let request = Request::new(SLAB);
        match way {
            "release" => pool.release(all, Death::from(&many)).unwrap(),
            "exchange" => {
                let answer = pool.exchange(all, Death::from(&many), &request).unwrap();
                assert!(matches!(answer, Acquire::Exhausted { .. }), "{answer:?}");
            }
            "batch" => {
                pool.release(all, Death::Idle).unwrap();
                let halves = [take(&pool, SLAB / 2), take(&pool, SLAB / 2)];
                let mut held = halves.into_iter();
                pool.release_each(&mut held, Death::from(&many)).unwrap();
            }
            _ => {
                let mut held = core::iter::once(all);
                pool.release_each(&mut held, Death::from(&many)).unwrap();
            }
        }
        let stats = pool.stats();
        let told = (stats.pending_bytes, stats.tainted_bytes, stats.reserved_bytes, stats.live);
        assert_eq!(told, (SLAB, 0, 0, 0), "{way}");
        assert_eq!((stats.tainted, stats.requested_bytes), (0, 0), "{way}");
        let mut shown = Vec::new();
        pool.inspect(&mut |block| shown.push((block.size, format!("{:?}", block.state))));
        assert!(shown.iter().all(|(_, state)| state.starts_with("Pending")), "{way}: {shown:?}");

        // Two axes too many are reached: the others can be waited for, in no more than what is left.
        let nine = |tracker: &Tracker| (0..3).for_each(|n| tracker.advance(axis(n), 5).unwrap());
        nine(&tracker);
        let answer = pool.acquire(&request.or_wait()).unwrap();
        let Acquire::AfterWait { reservation, wait } = answer else { panic!("{way}: {answer:?}") };
        assert_eq!(wait.len(), MAX_DEATH_AXES, "{way}");
        pool.cancel(reservation).unwrap();
        (3..11).for_each(|number| tracker.advance(axis(number), 5).unwrap());
        let all = take(&pool, SLAB);
        pool.release(all, Death::Idle).unwrap();
        assert_eq!(pool.trim(Trim::All).unwrap(), SLAB, "{way}");
    }
}

#[test]
fn a_poll_and_a_quiescent_device_bring_a_wide_death_back() {
    let many: Frontier = (0..11).map(|number| Entry::new(axis(number), 5)).collect();
    let (host, tracker) = host(SLAB);
    let config = TlsfPoolConfig { growth: Growth::slabs_of(SLAB), ..Default::default() };
    let pool = TlsfPool::new(host, config).unwrap();
    for quiesce in [true, false] {
        let all = take(&pool, SLAB);
        pool.release(all, Death::from(&many)).unwrap();
        let answer = pool.acquire(&Request::new(SLAB)).unwrap();
        let Acquire::Exhausted { observed, .. } = answer else { panic!("{answer:?}") };
        if quiesce {
            pool.quiesce();
        } else {
            (0..11).for_each(|number| tracker.advance(axis(number), 5).unwrap());
            pool.poll();
        }
        assert!(pool.notification().changed_since(observed), "whoever waits is told");
        assert_eq!(pool.stats().clean_bytes(), SLAB);
    }
}

#[test]
fn a_death_that_names_an_axis_which_nobody_registered_is_refused() {
    let (host, tracker) = host(64 * SLAB);
    let mistaken = Frontier::from_entry(axis(77), 1);
    for pool in pools(&host, Budget::UNLIMITED, u32::MAX) {
        let block = take(&*pool, 64);
        let refused = pool.release(block, Death::from(&mistaken)).unwrap_err();
        assert_eq!(refused.refusal, ReleaseRefusal::UnknownAxis(axis(77)), "{pool:?}");
        assert!(refused.to_string().contains("not registered"), "{refused}");
        let refused = pool.exchange(refused.reservation, Death::from(&mistaken), &Request::new(64));
        let Err(ExchangeError::Release(refused)) = refused else { panic!("{refused:?}") };
        let block = refused.reservation;
        pool.release(block, Death::Idle).unwrap();
        assert_eq!(pool.stats().live, 0, "{pool:?}");
        // One that has ended is known.
        let known = axis(11);
        let _ = tracker.retire_axis(known);
        let block = take(&*pool, 64);
        pool.release(block, Death::from(&Frontier::from_entry(known, 1))).unwrap();
    }
}

#[test]
fn an_axis_that_ends_gives_its_bytes_back_once_it_is_fenced() {
    for fails in [true, false] {
        let (host, tracker) = host(64 * SLAB);
        let (dead, alive) = (axis(3), axis(4));
        let pools = pools(&host, Budget::bytes(SLAB), 1);
        for pool in &pools {
            let all = take(&**pool, SLAB);
            // A second death of two axes, for those that keep such apart.
            let both: Frontier = [Entry::new(dead, 9), Entry::new(alive, 1)].into_iter().collect();
            let death = if fails { both } else { Frontier::from_entry(dead, 9) };
            pool.release(all, Death::from(&death)).unwrap();
        }
        tracker.advance(alive, 1).unwrap();
        tracker.advance(dead, 2).unwrap();
        assert!(!tracker.fence_axis(dead).unwrap(), "it goes on");
        if fails {
            tracker.fail_axis(dead, Failure::message("kernel bug")).unwrap();
        } else {
            tracker.retire_axis(dead).unwrap();
        }
        for pool in &pools {
            let early = pool.acquire(&Request::new(SLAB).without_growth()).unwrap();
            assert!(early.into_ready().is_err(), "{pool:?}: nobody said that it stopped");
        }
        assert!(tracker.fence_axis(dead).unwrap());
        for pool in &pools {
            let all = take(&**pool, SLAB);
            // What is freed to die there later is free at once.
            pool.release(all, Death::from(&Frontier::from_entry(dead, 10))).unwrap();
            pool.poll();
            assert_eq!(pool.stats().pending_bytes, 0, "{pool:?}");
        }
        // Others wait in vain for what was never done, as before.
        assert_eq!(tracker.reached(dead), 2);
        let result = Arc::new(std::sync::Mutex::new(None));
        let told = result.clone();
        tracker
            .wait(Frontier::from_entry(dead, 9).as_ref(), move |end| {
                *told.lock().unwrap() = Some(end)
            })
            .unwrap();
        assert!(matches!(result.lock().unwrap().take(), Some(Err(_))));
    }
}

/// An epoch that was to come after others' work stands for that as well.
#[test]
fn a_fence_waits_for_what_its_epochs_were_to_wait_for() {
    let (_, tracker) = host(SLAB);
    let memory = tracker.for_memory().unwrap();
    let at = |number, epoch| Frontier::from_entry(axis(number), epoch);
    let fail = |number| tracker.fail_axis(axis(number), Failure::message("lost")).unwrap();
    (1..4).for_each(|number| assert!(fail(number)));
    // 1 waits for 2, 2 for 3, and 3 for 4, which goes on.
    for (number, epoch) in [(1, 10), (2, 20), (3, 30)] {
        let after = at(number + 1, epoch + 10);
        assert!(tracker.fence_axis_to(axis(number), epoch, after.as_ref()).unwrap());
    }
    let reached = || [1, 2, 3].map(|number| memory.reached(axis(number)));
    assert_eq!(reached(), [0, 0, 0]);
    tracker.advance(axis(4), 39).unwrap();
    assert_eq!(reached(), [0, 0, 0]);
    tracker.advance(axis(4), 40).unwrap();
    assert_eq!(reached(), [10, 20, 30], "and no further: later epochs were others'");
    assert_eq!(tracker.reached(axis(1)), 0);
    // In a circle they wait for ever, and nobody else does.
    (5..7).for_each(|number| assert!(fail(number)));
    for (number, other) in [(5, 6), (6, 5)] {
        tracker.fence_axis_to(axis(number), 1, at(other, 1).as_ref()).unwrap();
    }
    assert_eq!(memory.reached(axis(5)), 0);
    assert!(tracker.fence_axis(axis(5)).unwrap());
    assert_eq!((memory.reached(axis(5)), memory.reached(axis(6))), (u64::MAX, 1));
}

/// Were each asked for what it waits for, and that in turn, this would not end.
#[test]
fn many_fences_that_wait_for_each_other_are_settled_at_once() {
    const COUNT: u32 = 96;
    let at = |number| Axis::host(number + 1);
    let tracker = Tracker::new(COUNT as usize + 2);
    (0..COUNT + 2).for_each(|number| tracker.register(at(number)).unwrap());
    for number in 0..COUNT {
        tracker.fail_axis(at(number), Failure::message("lost")).unwrap();
        let after: Frontier = (1..3).map(|step| Entry::new(at(number + step), 1)).collect();
        assert!(tracker.fence_axis_to(at(number), 1, after.as_ref()).unwrap());
    }
    let memory = tracker.for_memory().unwrap();
    assert_eq!(memory.reached(at(0)), 0);
    tracker.advance(at(COUNT), 1).unwrap();
    assert_eq!(memory.reached(at(0)), 0);
    tracker.advance(at(COUNT + 1), 1).unwrap();
    assert!((0..COUNT).all(|number| memory.reached(at(number)) == 1));
}

#[test]
fn retired_axes_give_their_places_back_but_not_their_names() {
    let tracker = Tracker::new(2);
    let stays = Axis::host(1);
    tracker.register(stays).unwrap();
    let axes: Vec<_> = (0..2000_u64).map(|number| Axis::from_bits(number << 8 | 7 << 56)).collect();
    for (&axis, number) in axes.iter().zip(1..) {
        tracker.register(axis).unwrap();
        assert!(matches!(tracker.register(Axis::host(9)), Err(TrackerError::Full { .. })));
        tracker.advance(axis, number).unwrap();
        if number % 2 == 0 {
            tracker.fail_axis(axis, Failure::message("lost")).unwrap();
        }
        assert_eq!(tracker.retire_axis(axis).unwrap(), number % 2 != 0);
        assert!(!tracker.retire_axis(axis).unwrap(), "its place is given back once");
    }
    tracker.advance(stays, 3).unwrap();
    assert_eq!(tracker.reached(stays), 3);
    for (&axis, number) in axes.iter().zip(1..) {
        assert_eq!(tracker.reached(axis), number);
        assert!(matches!(tracker.register(axis), Err(TrackerError::DuplicateAxis(_))));
        assert!(matches!(tracker.advance(axis, number + 1), Err(TrackerError::Ended(_))));
        match tracker.end_of(axis).unwrap() {
            Some(WaitError::Failed { .. }) => assert_eq!(number % 2, 0),
            Some(WaitError::Retired { .. }) => assert_eq!(number % 2, 1),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(tracker.axes().len(), 2001);
}

#[test]
fn a_guard_releases_with_what_was_stated_however_its_scope_ends() {
    let (host, tracker) = host(SLAB);
    let config = TlsfPoolConfig { growth: Growth::slabs_of(SLAB), ..Default::default() };
    let pool = Arc::new(TlsfPool::new(host, config).unwrap());
    let fails = |uses: &[u8]| -> Result<(), Box<dyn std::error::Error>> {
        let mut guard = PoolGuard::new(&*pool, take(&*pool, SLAB), Death::Idle)?;
        uses.iter().for_each(|&number| {
            let _ = guard.used_at(axis(number), 1);
        });
        assert_eq!((guard.size(), guard.offset()), (SLAB, 0));
        Err("something else went wrong".into())
    };
    fails(&[]).unwrap_err();
    assert_eq!(pool.stats().clean_bytes(), SLAB);
    fails(&[1, 2]).unwrap_err();
    assert_eq!(pool.stats().pending_bytes, SLAB);
    tracker.advance(axis(1), 1).unwrap();
    assert!(pool.acquire(&Request::new(SLAB)).unwrap().into_ready().is_err());
    tracker.advance(axis(2), 1).unwrap();

    // A panic is an end too.
    let panicked = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
        let _guard = PoolGuard::new(&*pool, take(&*pool, SLAB), Death::Idle).unwrap();
        std::panic::resume_unwind(Box::new("expected"));
    }));
    assert!(panicked.is_err() && pool.stats().live == 0);

    // Kept, it is linear again; released, it tells of a refusal; dropped with one, it is unknown, not lost.
    let guard = PoolGuard::new(pool.clone(), take(&*pool, SLAB), Death::Unknown).unwrap();
    assert_eq!(guard.death(), Death::Unknown);
    let kept = guard.keep();
    let mut guard = PoolGuard::new(&*pool, kept, Death::Idle).unwrap();
    let _ = guard.used_at(axis(99), 1);
    let refused = guard.release().unwrap_err();
    assert_eq!(refused.refusal, ReleaseRefusal::UnknownAxis(axis(99)));
    let mistaken = Frontier::from_entry(axis(99), 1);
    drop(PoolGuard::new(&*pool, refused.reservation, Death::from(&mistaken)).unwrap());
    assert_eq!(pool.stats().tainted_bytes, SLAB);
    pool.quiesce();
    let other = pools(&self::host(SLAB).0, Budget::UNLIMITED, 1).remove(0);
    let strange = PoolGuard::new(&*pool, take(&*other, 64), Death::Idle).unwrap_err();
    assert_eq!(strange.refusal, ReleaseRefusal::OtherPool);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_future_of_memory_is_woken_by_releases_and_by_progress() {
    let (host, tracker) = host(SLAB);
    for pool in pools(&host, Budget::UNLIMITED, 1) {
        let woken = Arc::new(Count::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        let wakes = || woken.0.swap(0, Ordering::Relaxed);
        let mut poll =
            |future: Pin<&mut dyn Future<Output = Result<Allocated, PoolError>>>| match future
                .poll(&mut context)
            {
                Poll::Ready(done) => Some(done.unwrap().into_parts()),
                Poll::Pending => None,
            };
        let all = take(&*pool, SLAB);
        let mut future = Box::pin(allocate(&*pool, Request::new(SLAB)));
        assert!(poll(future.as_mut()).is_none() && wakes() == 0, "{pool:?}");
        // A release, but of bytes that wait: woken, in vain.
        let epoch = tracker.reached(axis(0)) + 1;
        pool.release(all, Death::from(&Entry::new(axis(0), epoch))).unwrap();
        assert_ne!(wakes(), 0, "{pool:?}");
        assert!(poll(future.as_mut()).is_none() && wakes() == 0, "{pool:?}");
        // Progress alone, of which the pool is not told.
        tracker.advance(axis(0), epoch).unwrap();
        assert_ne!(wakes(), 0, "{pool:?}");
        let (all, wait) = poll(future.as_mut()).unwrap();
        assert!(wait.is_empty());
        drop(future);
        // Dropped, it wakes nobody.
        let mut given_up = Box::pin(allocate(&*pool, Request::new(SLAB)));
        assert!(poll(given_up.as_mut()).is_none());
        drop(given_up);
        pool.release(all, Death::Idle).unwrap();
        tracker.advance(axis(0), epoch + 1).unwrap();
        assert_eq!(wakes(), 0, "{pool:?}");
        let mut large = Box::pin(allocate(&*pool, Request::new(2 * SLAB)));
        let told = large.as_mut().poll(&mut context);
        assert!(matches!(told, Poll::Ready(Err(PoolError::TooLarge { .. }))), "{told:?}");
        pool.trim(Trim::All).unwrap();
    }
    let mut set = PoolSet::new();
    set.add(pools(&host, Budget::UNLIMITED, 1).remove(0), Registration::new()).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    // The request's size counts.
    let mut future = Box::pin(allocate_from(&set, &Need::new(1), Request::new(SLAB)).unwrap());
    let Poll::Ready(got) = future.as_mut().poll(&mut context) else { panic!("it may grow") };
    assert_eq!(got.unwrap().into_parts().0.size(), SLAB);
    let none = allocate_from(&set, &Need::new(1), Request::new(2 * SLAB)).unwrap_err();
    assert!(matches!(none, NoMatch::Size { largest: SLAB }), "{none}");
}
