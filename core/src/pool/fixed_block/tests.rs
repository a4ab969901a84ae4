use super::*;
use crate::pool::{Origin, ReuseProof};
use crate::slab::{Grant, Slab, SlabError, SlabProperties, SlabStats};
use crate::{Frontier, NoProgress, Progress};

/// Grants any slab; alignment and granularity of a page.
#[derive(Debug, Default)]
struct Plenty(AtomicU32);

impl crate::slab::SlabProvider for Plenty {
    fn properties(&self) -> SlabProperties {
        SlabProperties {
            memory_type: crate::slab::MemoryType::NONE,
            usage: crate::slab::BufferUsage::NONE,
            alignment: 4096,
            granularity: 4096,
            max_slab_size: 1 << 40,
        }
    }
    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        let id = SlabId::new(self.0.fetch_add(1, Ordering::Relaxed), 0);
        Ok(Grant::Slab(Slab { id, size }))
    }
    fn release(&self, _: SlabId) -> Result<(), SlabError> {
        Ok(())
    }
    fn stats(&self) -> SlabStats {
        SlabStats::default()
    }
}

fn pool(block_size: u64, slab_blocks: u64, progress: impl Progress + 'static) -> FixedBlockPool {
    let host = PoolHost::new(Arc::new(Plenty::default()), Arc::new(progress));
    let growth = Growth { slab_size: block_size * slab_blocks, max_slabs: 4 };
    let config = FixedBlockPoolConfig { block_size, growth, ..FixedBlockPoolConfig::default() };
    FixedBlockPool::new(host, config).unwrap()
}

fn ready(pool: &FixedBlockPool, request: &Request<'_>) -> (Reservation, Origin) {
    match pool.acquire(request).unwrap() {
        Acquire::Ready { reservation, origin } => (reservation, origin),
        other => panic!("{other:?}"),
    }
}

const AXIS: Axis = Axis::host(1);

#[test]
fn sizes_of_slabs_are_multiples_of_block_and_granule() {
    for block_size in [1, 100, 256, 300, 4096, 5000, 12_288, 100_000, 1 << 20] {
        for slab_blocks in [1, 3, 64, 100] {
            let pool = pool(block_size, slab_blocks, NoProgress);
            let shape = pool.shape;
            let sizes = [shape.slab, shape.least_slab];
            assert!(sizes.iter().all(|n| n % shape.stride == 0 && n % 4096 == 0), "{shape:?}");
            assert!(shape.slab / shape.stride <= 1 << shape.shift, "{shape:?}");
            let (reservation, origin) = ready(&pool, &Request::new(block_size).or_grow());
            assert_eq!(origin, Origin::Fresh);
            assert_eq!(pool.stats().committed_bytes, shape.slab);
            pool.release(reservation, Death::Idle).unwrap();
        }
    }
}

#[test]
fn a_block_is_fresh_once_however_it_was_freed() {
    let pool = pool(4096, 2, NoProgress);
    let request = Request::new(4096).or_grow();
    let origins: Vec<_> = (0..3)
        .map(|_| {
            let [one, two] = [ready(&pool, &request), ready(&pool, &request)];
            for reservation in [one.0, two.0] {
                pool.release(reservation, Death::Idle).unwrap();
            }
            [one.1, two.1]
        })
        .collect();
    let completed = Origin::Reused(ReuseProof::Completion);
    assert_eq!(origins, [[Origin::Fresh; 2], [completed; 2], [completed; 2]]);
    // Given back unused, it is as it was.
    let pool = self::pool(4096, 1, NoProgress);
    for _ in 0..2 {
        let (reservation, origin) = ready(&pool, &request);
        assert_eq!(origin, Origin::Fresh);
        pool.cancel(reservation).unwrap();
    }
}

#[test]
fn blocks_of_other_requesters_cost_nothing_and_are_not_touched() {
    let pool = pool(4096, 64, NoProgress);
    let deaths = [5, 3, 9].map(|epoch| Entry::new(AXIS, epoch));
    let all: Vec<_> = (0..64).map(|_| ready(&pool, &Request::new(4096).or_grow()).0).collect();
    for (i, reservation) in all.into_iter().enumerate() {
        let death = FrontierRef::single(&deaths[i % 3]);
        pool.release(reservation, Death::After(death)).unwrap();
    }
    // Whoever is after epoch 3 gets exactly the blocks that died by then.
    let known = Request::new(1).after(FrontierRef::single(&deaths[1])).without_growth();
    let got: Vec<_> = (0..21)
        .map(|_| {
            let (reservation, origin) = ready(&pool, &known);
            assert_eq!(origin, Origin::Reused(ReuseProof::Dominance));
            reservation
        })
        .collect();
    assert!(matches!(pool.acquire(&known), Ok(Acquire::Exhausted { .. })));
    // The next to be ready is one of epoch 5; given back unused it waits for that as before.
    for _ in 0..2 {
        match pool.acquire(&known.or_wait()).unwrap() {
            Acquire::AfterWait { reservation, wait } => {
                assert_eq!(wait, Frontier::from_entry(AXIS, 5));
                pool.cancel(reservation).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    got.into_iter().for_each(|reservation| pool.release(reservation, Death::Unknown).unwrap());
    assert_eq!(pool.stats().tainted_bytes, 21 * 4096);
    pool.quiesce();
    assert_eq!(pool.stats().clean_bytes(), 64 * 4096);
}

#[test]
fn larger_alignments_are_served_by_blocks_that_lie_right() {
    let pool = pool(256, 64, NoProgress);
    let all: Vec<_> =
        (0..4).map(|_| ready(&pool, &Request::new(9).aligned(4096).or_grow()).0).collect();
    assert!(all.iter().all(|reservation| reservation.offset() % 4096 == 0));
    assert_eq!(
        pool.acquire(&Request::new(9).aligned(8192)).unwrap_err(),
        PoolError::InvalidAlignment { alignment: 8192 },
    );
    all.into_iter().for_each(|reservation| pool.release(reservation, Death::Idle).unwrap());
}

#[test]
fn another_pools_reservation_comes_back_unharmed() {
    let [one, two] = [(); 2].map(|()| pool(256, 64, NoProgress));
    let (reservation, _) = ready(&one, &Request::new(9).or_grow());
    let refused = two.release(reservation, Death::Idle).unwrap_err();
    assert_eq!(two.stats().releases, 0);
    one.release(refused.reservation, Death::Idle).unwrap();
    assert_eq!(one.stats().live, 0);
}
