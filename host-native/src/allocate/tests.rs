use super::*;
use crate::scale::scaled;
use crate::{Command, CpuQueue, MmapSlabProvider, thread_wake};
use core::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;
use strandline_core::pool::PoolHost;
use strandline_core::pool::budget::Budget;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::{Axis, Death, Failure, Frontier, FrontierRef, SlabMap};

const SLAB: u64 = 1 << 16;

struct Rig {
    provider: Arc<MmapSlabProvider>,
    tracker: Tracker,
    pool: TlsfPool,
}

/// A pool of one slab at most, reserving no more than `budget` at once.
fn rig(budget: Budget) -> Rig {
    let provider = Arc::new(MmapSlabProvider::builder().capacity(SLAB).build().unwrap());
    let tracker = Tracker::new(8);
    let host = PoolHost::new(provider.clone(), Arc::new(tracker.clone())).with_wake(thread_wake());
    let config =
        TlsfPoolConfig { growth: Growth::slabs_of(SLAB), budget, ..TlsfPoolConfig::default() };
    Rig { provider, tracker, pool: TlsfPool::new(host, config).unwrap() }
}

fn whole() -> Request<'static> {
    Request::new(SLAB).or_grow()
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(2))
}

/// All of the pool, freed but for `frontier`.
fn leave_pending(rig: &Rig, frontier: FrontierRef<'_>) {
    let (reservation, _) = allocate(&rig.pool, &whole(), None).unwrap().into_parts();
    rig.pool.release(reservation, Death::After(frontier)).unwrap();
}

#[test]
fn what_can_never_be_fails_at_once() {
    let rig = rig(Budget::UNLIMITED);
    let failed = |request: &Request<'_>| match allocate(&rig.pool, request, None) {
        Err(AllocateError::Pool(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed(&Request::new(0)), PoolError::ZeroSize);
    assert_eq!(failed(&Request::new(1).aligned(3)), PoolError::InvalidAlignment { alignment: 3 });
    assert!(matches!(failed(&Request::new(u64::MAX).or_grow()), PoolError::TooLarge { .. }));
    let steep = failed(&Request::new(1).aligned(1 << 40));
    assert!(steep.to_string().contains("above that of the pool's slabs"), "{steep}");
}

/// A slab is cut into whole granules, and into none where a granule is larger than it.
#[test]
fn a_granule_beyond_every_slab_serves_nothing_and_says_so() {
    let provider = Arc::new(MmapSlabProvider::builder().capacity(4096).build().unwrap());
    let host = PoolHost::new(provider, Arc::new(Tracker::new(1))).with_wake(thread_wake());
    let mut config = TlsfPoolConfig { growth: Growth::slabs_of(4096), ..TlsfPoolConfig::default() };
    config.offsets.granule = 8192;
    let pool = TlsfPool::new(host, config).unwrap();
    assert_eq!(pool.properties().max_request, 0);
    let answer = allocate(&pool, &Request::new(1), None);
    let never = PoolError::TooLarge { size: 1, max: 0 };
    assert!(matches!(answer, Err(AllocateError::Pool(error)) if error == never), "{answer:?}");
}

#[test]
fn a_timeout_says_what_was_missing() {
    let rig = rig(Budget::UNLIMITED);
    let (held, frontier) = allocate(&rig.pool, &whole(), soon()).unwrap().into_parts();
    assert!(frontier.is_empty());
    // Long past, yet one attempt is made.
    let late = allocate(&rig.pool, &Request::new(SLAB / 2).or_grow(), Some(Instant::now()));
    let Err(AllocateError::Timeout(timeout)) = late else { panic!("{late:?}") };
    assert_eq!((timeout.size, timeout.missing_bytes), (SLAB / 2, SLAB / 2));
    assert_eq!((timeout.free_bytes, timeout.reserved_bytes), (0, SLAB));
    assert!(matches!(timeout.lack, Lack::Memory { .. }));
    let text = AllocateError::Timeout(timeout).to_string();
    assert!(text.contains("32768 bytes missing") && text.contains("65536 reserved"), "{text}");
    rig.pool.release(held, Death::Idle).unwrap();
}

#[test]
fn a_timeout_tells_budget_from_memory() {
    let rig = rig(Budget::bytes(SLAB / 2));
    let half = Request::new(SLAB / 2).or_grow();
    let (held, _) = allocate(&rig.pool, &half, None).unwrap().into_parts();
    let late = allocate(&rig.pool, &half, soon());
    let Err(AllocateError::Timeout(timeout)) = late else { panic!("{late:?}") };
    assert_eq!(timeout.lack, Lack::Budget);
    rig.pool.release(held, Death::Idle).unwrap();
}

#[test]
fn with_permission_a_pending_block_comes_with_its_frontier() {
    let rig = rig(Budget::UNLIMITED);
    let axis = Axis::host(1);
    rig.tracker.register(axis).unwrap();
    let death = Frontier::from_entry(axis, 1);
    leave_pending(&rig, death.as_ref());
    let allocated = allocate(&rig.pool, &whole().or_wait(), None).unwrap();
    let Allocated::AfterWait { reservation, wait } = allocated else { panic!("{allocated:?}") };
    assert_eq!(wait, death);
    rig.pool.cancel(reservation).unwrap();
    assert_eq!(rig.pool.stats().pending_bytes, SLAB);
}

#[test]
fn allocate_ready_waits_for_the_block_itself() {
    let rig = rig(Budget::UNLIMITED);
    let axis = Axis::host(1);
    rig.tracker.register(axis).unwrap();
    leave_pending(&rig, Frontier::from_entry(axis, 1).as_ref());

    let late = allocate_ready(&rig.pool, &whole(), &rig.tracker, soon());
    let Err(AllocateError::Timeout(timeout)) = late else { panic!("{late:?}") };
    assert_eq!((timeout.lack, timeout.pending_bytes), (Lack::Progress, SLAB));

    std::thread::scope(|scope| {
        scope.spawn(|| rig.tracker.advance(axis, 1));
        let reservation = allocate_ready(&rig.pool, &whole(), &rig.tracker, None).unwrap();
        rig.pool
            .release(reservation, Death::After(Frontier::from_entry(axis, 2).as_ref()))
            .unwrap();
    });

    rig.tracker.fail_axis(axis, Failure::message("device lost")).unwrap();
    let failed = allocate_ready(&rig.pool, &whole(), &rig.tracker, None);
    let Err(AllocateError::Wait(error)) = failed else { panic!("{failed:?}") };
    assert!(error.to_string().contains("device lost"));
    let stats = rig.pool.stats();
    assert_eq!((stats.live, stats.reserved_bytes, stats.pending_bytes), (0, 0, SLAB));
}

#[test]
fn progress_wakes_where_a_queue_signals_the_pool() {
    let rig = rig(Budget::UNLIMITED);
    let queue = CpuQueue::new(&rig.tracker, Axis::queue(0, 0)).unwrap();
    queue.notify_on_progress(rig.pool.notification().clone());
    for _ in 0..scaled(100) {
        let (go, gone) = mpsc::channel();
        let wait_for_go = move || gone.recv().unwrap();
        let epoch = queue.submit(FrontierRef::EMPTY, [Command::call(wait_for_go)]).unwrap();
        leave_pending(&rig, Frontier::from_entry(queue.axis(), epoch).as_ref());
        go.send(()).unwrap();
        // No permission to wait: only progress can make the block usable, and only the queue tells.
        let allocated = allocate(&rig.pool, &whole(), None).unwrap();
        let Allocated::Ready { reservation, .. } = allocated else { panic!("{allocated:?}") };
        rig.pool.release(reservation, Death::Idle).unwrap();
    }
    queue.finish().unwrap();
}

/// More threads than there is memory for: each release must wake whoever can use it, or this hangs.
#[test]
fn threads_take_turns_in_a_pool_that_is_too_small() {
    let rig = rig(Budget::UNLIMITED);
    std::thread::scope(|scope| {
        for me in 1..=4u64 {
            let rig = &rig;
            scope.spawn(move || {
                for round in 0..scaled(1_000) as u64 {
                    let request = Request::new(SLAB / 4 * (1 + (me + round) % 4)).or_grow();
                    let (reservation, wait) =
                        allocate(&rig.pool, &request, None).unwrap().into_parts();
                    assert!(wait.is_empty());
                    let (slab, offset) = (reservation.slab(), reservation.offset());
                    let buffer = rig.provider.map(slab, offset, reservation.size()).unwrap();
                    let (first, last) = (
                        buffer.slice(0, 64).unwrap(),
                        buffer.slice(buffer.len() - 64, 64).unwrap(),
                    );
                    let tag = me << 32 | round;
                    first.fill_u64(tag);
                    last.fill_u64(tag);
                    std::thread::yield_now();
                    assert_eq!(first.find_mismatch(tag), None);
                    assert_eq!(last.find_mismatch(tag), None);
                    rig.pool.release(reservation, Death::Idle).unwrap();
                }
            });
        }
    });
    let stats = rig.pool.stats();
    assert_eq!((stats.live, stats.reserved_bytes), (0, 0));
}

#[test]
fn a_pool_that_wakes_nobody_is_refused() {
    let provider = Arc::new(MmapSlabProvider::builder().capacity(SLAB).build().unwrap());
    let host = PoolHost::new(provider, Arc::new(Tracker::new(1)));
    let deaf = Arc::new(TlsfPool::new(host, TlsfPoolConfig::default()).unwrap());
    let refused = allocate(&*deaf, &Request::new(1), soon());
    assert!(matches!(refused, Err(AllocateError::NoWake)), "{refused:?}");
    let refused = Allocator::new(deaf.clone());
    assert!(matches!(refused, Err(AllocateError::NoWake)), "{refused:?}");
    let mut set = PoolSet::new();
    set.add(Arc::new(rig(Budget::UNLIMITED).pool), Registration::new()).unwrap();
    set.add(deaf, Registration::new()).unwrap();
    let refused = Allocator::over(Arc::new(set));
    assert!(refused.unwrap_err().to_string().contains("with_wake"));
}

/// What was freed earlier comes ready by progress alone, and no queue signals the pool.
#[test]
fn progress_wakes_without_anybodys_help() {
    let rig = rig(Budget::UNLIMITED);
    let queue = CpuQueue::new(&rig.tracker, Axis::queue(0, 0)).unwrap();
    for _ in 0..scaled(100) {
        let (go, gone) = mpsc::channel();
        let wait_for_go = move || gone.recv().unwrap();
        let epoch = queue.submit(FrontierRef::EMPTY, [Command::call(wait_for_go)]).unwrap();
        leave_pending(&rig, Frontier::from_entry(queue.axis(), epoch).as_ref());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::yield_now();
                go.send(()).unwrap();
            });
            let allocated = allocate(&rig.pool, &Request::new(SLAB), None).unwrap();
            let Allocated::Ready { reservation, .. } = allocated else { panic!("{allocated:?}") };
            rig.pool.release(reservation, Death::Idle).unwrap();
        });
    }
    queue.finish().unwrap();
}

/// A queue whose worker has stopped touches nothing any more: what was to die there comes back, and whoever waits is woken.
#[test]
fn a_queue_that_fails_or_ends_gives_bytes_back() {
    for fails in [true, false] {
        let rig = rig(Budget::UNLIMITED);
        let queue = CpuQueue::new(&rig.tracker, Axis::queue(0, 0)).unwrap();
        let (go, gone) = mpsc::channel();
        let fail = move || {
            gone.recv().unwrap();
            if fails { Err(Failure::message("kernel bug")) } else { Ok(()) }
        };
        queue.submit(FrontierRef::EMPTY, [Command::try_call(fail)]).unwrap();
        // Never begun: the queue fails, or is dropped, before. It stands for what it was to wait for, too.
        let other = Axis::host(1);
        rig.tracker.register(other).unwrap();
        let last = queue.submit(Frontier::from_entry(other, 1).as_ref(), []).unwrap();
        leave_pending(&rig, Frontier::from_entry(queue.axis(), last).as_ref());
        assert!(allocate(&rig.pool, &Request::new(SLAB), soon()).is_err(), "it still runs");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| allocate(&rig.pool, &Request::new(SLAB), None));
            go.send(()).unwrap();
            if !fails {
                drop(queue);
            }
            while rig.tracker.end_of(Axis::queue(0, 0)).unwrap().is_none() {
                std::thread::yield_now();
            }
            assert!(allocate(&rig.pool, &Request::new(SLAB), soon()).is_err(), "others may run");
            rig.tracker.advance(other, 1).unwrap();
            let (reservation, wait) = waits.join().unwrap().unwrap().into_parts();
            assert!(wait.is_empty());
            rig.pool.release(reservation, Death::Idle).unwrap();
        });
        let stats = rig.pool.stats();
        assert_eq!((stats.pending_bytes, stats.tainted_bytes, stats.live), (0, 0, 0));
    }
}

/// However often it is woken in vain.
#[test]
fn a_deadline_is_kept_amid_progress_without_end() {
    let rig = rig(Budget::UNLIMITED);
    let axis = Axis::host(1);
    rig.tracker.register(axis).unwrap();
    let (held, _) = allocate(&rig.pool, &Request::new(SLAB), None).unwrap().into_parts();
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let epochs = 1..u64::MAX;
            for epoch in epochs.take_while(|_| !ended.load(Ordering::Relaxed)) {
                rig.tracker.advance(axis, epoch).unwrap();
                rig.pool.notification().signal_if_observed();
            }
        });
        let deadline = Instant::now() + Duration::from_millis(30);
        let late = allocate(&rig.pool, &Request::new(SLAB), Some(deadline));
        assert!(matches!(late, Err(AllocateError::Timeout(_))), "{late:?}");
        assert!(Instant::now() >= deadline);
        ended.store(true, Ordering::Relaxed);
    });
    rig.pool.release(held, Death::Idle).unwrap();
}

#[test]
fn an_allocator_routes_and_waits_on_the_pool_that_serves() {
    let [small, large] = [rig(Budget::bytes(SLAB / 4)), rig(Budget::UNLIMITED)];
    let mut set = PoolSet::new();
    set.add(Arc::new(small.pool), Registration::new().priority(1)).unwrap();
    set.add(Arc::new(large.pool), Registration::new()).unwrap();
    let allocator = Allocator::over(Arc::new(set)).unwrap();
    let pools = allocator.pools().clone();
    let (few, _) = allocator.allocate(&Request::new(SLAB / 4), None).unwrap().into_parts();
    let (many, _) = allocator.allocate(&Request::new(SLAB), None).unwrap().into_parts();
    assert_eq!([few.pool(), many.pool()], [pools.pools()[0].id(), pools.pools()[1].id()]);
    let late = allocator.allocate(&Request::new(1), soon());
    let Err(AllocateError::Timeout(Timeout { lack: Lack::Budget, .. })) = late else {
        panic!("{late:?}");
    };
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| allocator.allocate(&Request::new(SLAB), None));
        pools.release(many, Death::Idle).unwrap();
        pools.release(waits.join().unwrap().unwrap().into_parts().0, Death::Idle).unwrap();
    });
    pools.release(few, Death::Idle).unwrap();
    let never = allocator.allocate(&Request::new(SLAB + 1), None);
    assert!(
        matches!(never, Err(AllocateError::NoPool(NoMatch::Size { largest: SLAB }))),
        "{never:?}"
    );
    // The request's size counts, as it does where a set acquires.
    let need = Need::new(1);
    let future = allocator.allocate_async(&need, Request::new(SLAB)).unwrap();
    let mut context = core::task::Context::from_waker(core::task::Waker::noop());
    let got = core::pin::pin!(future).poll(&mut context);
    let core::task::Poll::Ready(got) = got else { panic!("there is room") };
    let got = got.unwrap().into_parts().0;
    assert_eq!(got.size(), SLAB);
    pools.release(got, Death::Idle).unwrap();
    let got = allocator.allocate_for(&need, &Request::new(SLAB), soon()).unwrap().into_parts().0;
    assert_eq!(got.size(), SLAB);
    pools.release(got, Death::Idle).unwrap();
    let none = allocator.allocate(&Request::new(0), soon());
    assert!(matches!(none, Err(AllocateError::Pool(PoolError::ZeroSize))), "{none:?}");
}
