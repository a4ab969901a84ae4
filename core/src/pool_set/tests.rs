//! The table of routes, and a set over real pools.

use super::*;
use crate::NoProgress;
use crate::slab::{
    BufferUsage, Grant, MemoryType, SlabError, SlabId, SlabProperties, SlabProvider,
};
use crate::test_pool::TestPool;

const HOST: MemoryType = MemoryType::HOST_VISIBLE;
const DEVICE: MemoryType = MemoryType::DEVICE_LOCAL;
const OPTIMAL: MemoryType = MemoryType::OPTIMAL;
const COPY: BufferUsage = BufferUsage::TRANSFER;
const STORAGE: BufferUsage = BufferUsage::STORAGE;

fn rule(
    priority: i32,
    memory_type: MemoryType,
    usage: BufferUsage,
    (min_size, max_size): (u64, u64),
) -> Rule {
    Rule { priority, memory_type, usage, min_size, max_size, oversized: false }
}

fn oversized(memory_type: MemoryType, usage: BufferUsage, sizes: (u64, u64)) -> Rule {
    Rule { oversized: true, ..rule(0, memory_type, usage, sizes) }
}

#[test]
fn table_of_routes() {
    let rules = [
        rule(9, HOST, COPY, (1, 64)),
        rule(5, DEVICE, COPY.union(STORAGE), (1, 1024)),
        rule(5, DEVICE.union(OPTIMAL), COPY.union(STORAGE), (1, 512)),
        rule(5, DEVICE.union(HOST), COPY, (16, 1024)),
        rule(1, HOST.union(OPTIMAL), COPY, (256, 4096)),
        oversized(DEVICE, COPY.union(STORAGE), (1, 1 << 20)),
        oversized(HOST, COPY, (1, 1 << 30)),
    ];
    let pool = Decision::Pool;
    let size = |largest| Decision::NoMatch(NoMatch::Size { largest });
    for (memory_type, usage, bytes, want) in [
        // Priority, then registration, then the size range.
        (HOST, COPY, 64, pool(0)),
        (HOST, COPY, 65, pool(3)),
        (HOST, COPY, 2000, pool(4)),
        (DEVICE, STORAGE, 100, pool(1)),
        (MemoryType::NONE, BufferUsage::NONE, 1, pool(0)),
        // Optimal comes first within a priority, if it fits; it neither rules out nor outranks.
        (DEVICE.union(OPTIMAL), STORAGE, 100, pool(2)),
        (DEVICE.union(OPTIMAL), STORAGE, 600, pool(1)),
        (HOST.union(OPTIMAL), COPY, 30, pool(0)),
        (HOST.union(OPTIMAL), COPY, 300, pool(3)),
        (HOST.union(DEVICE).union(OPTIMAL), COPY, 300, pool(3)),
        // Oversized: too large for all that fit otherwise.
        (DEVICE, STORAGE, 1025, Decision::Oversized(5)),
        (HOST, COPY, 4097, Decision::Oversized(6)),
        (DEVICE, COPY, 1 << 20, Decision::Oversized(5)),
        (DEVICE, COPY, (1 << 20) + 1, size(1 << 20)),
        // A size below the range of the only pool that fits is no oversized one.
        (HOST.union(DEVICE), COPY, 8, size(1024)),
        // No oversized pool has both.
        (HOST.union(DEVICE), COPY, 5000, size(1024)),
        // What ruled out the last.
        (MemoryType::SHARED, COPY, 1, Decision::NoMatch(NoMatch::MemoryType)),
        (HOST, STORAGE, 1, Decision::NoMatch(NoMatch::Usage)),
        (HOST, BufferUsage::INDIRECT, 1, Decision::NoMatch(NoMatch::Usage)),
    ] {
        let need = Need::new(bytes).of(memory_type).used_for(usage);
        assert_eq!(route(&rules, &need), want, "{need:?}");
    }
}

#[test]
fn only_oversized_pools_have_no_opinion_on_what_is_large() {
    let rules = [oversized(HOST, COPY, (1, 1 << 20))];
    let need = Need::new(1 << 19).of(HOST);
    assert_eq!(route(&rules, &need), Decision::NoMatch(NoMatch::MemoryType));
    assert_eq!(route(&[], &need), Decision::NoMatch(NoMatch::MemoryType));
}

#[derive(Debug)]
struct Provider(SlabStats);

impl SlabProvider for Provider {
    fn properties(&self) -> SlabProperties {
        SlabProperties {
            memory_type: HOST,
            usage: COPY,
            alignment: 1,
            granularity: 1,
            max_slab_size: 0,
        }
    }

    fn acquire(&self, _size: u64) -> Result<Grant, SlabError> {
        Ok(Grant::NoCapacity)
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        Err(SlabError::UnknownSlab(id))
    }

    fn trim(&self, _how: Trim) -> u64 {
        self.0.cached_bytes
    }

    fn stats(&self) -> SlabStats {
        self.0
    }
}

fn provider(identity: u64) -> Arc<dyn SlabProvider> {
    let stats = SlabStats { identity, committed_bytes: 100, cached_bytes: 7, ..Default::default() };
    Arc::new(Provider(stats))
}

fn pool(units: usize, provider: Option<&Arc<dyn SlabProvider>>) -> Arc<TestPool> {
    let mut pool = TestPool::new(units, Arc::new(NoProgress));
    pool.provider = provider.cloned();
    Arc::new(pool)
}

#[test]
fn a_set_routes_acquires_and_takes_back() {
    let [small, large, huge] = [4, 16, 64].map(|units| pool(units, None));
    let mut set = PoolSet::new();
    // Registered in an order that is not the one they are considered in.
    set.add(huge.clone(), Registration::oversized().priority(99)).unwrap();
    set.add(large.clone(), Registration::new()).unwrap();
    set.add(small.clone(), Registration::new().priority(1).sizes(1, 4)).unwrap();
    assert_eq!(
        set.add(small.clone(), Registration::new()),
        Err(PoolSetError::DuplicatePool(small.id()))
    );
    assert_eq!(
        set.add(pool(8, None), Registration::new().sizes(9, 20)),
        Err(PoolSetError::EmptySizeRange { min: 9, max: 8 })
    );
    for (position, pool) in set.pools().iter().enumerate() {
        assert_eq!(set.position(pool.id()), Some(position));
        assert_eq!(set.get(pool.id()).unwrap().id(), pool.id());
    }

    let need = Need::new(1).of(HOST);
    let none = set.acquire(&need, &Request::new(0));
    assert!(matches!(none, Err(PoolError::ZeroSize)), "{none:?}");
    for (size, want) in [(1, &small), (4, &small), (5, &large), (16, &large), (17, &huge)] {
        let SetAcquire::Routed { pool, answer: Acquire::Ready { reservation, .. } } =
            set.acquire(&need, &Request::new(size)).unwrap()
        else {
            panic!("{size}")
        };
        assert_eq!((pool.id(), reservation.pool()), (want.id(), want.id()), "{size}");
        assert_eq!(want.live(), 1);
        if size % 2 == 0 {
            set.release(reservation, Death::Idle).unwrap();
        } else {
            set.cancel(reservation).unwrap();
        }
        assert_eq!(want.live(), 0);
    }
    assert!(matches!(set.route(&Need::new(17).of(HOST)), Route::Oversized(_)));
    let none = set.acquire(&need, &Request::new(65)).unwrap();
    assert!(matches!(none, SetAcquire::NoMatch(NoMatch::Size { largest: 64 })));
    assert!(matches!(
        set.acquire(&need, &Request::new(1).aligned(3)),
        Err(PoolError::InvalidAlignment { .. })
    ));

    // An exhausted pool's answer stands: nothing spills over.
    let Acquire::Ready { reservation, .. } = small.acquire(&Request::new(4)).unwrap() else {
        panic!("it is empty")
    };
    let full = set.acquire(&need, &Request::new(1)).unwrap();
    assert!(matches!(full, SetAcquire::Routed { answer: Acquire::Exhausted { .. }, .. }));
    small.release(reservation, Death::Idle).unwrap();

    let stranger = pool(1, None);
    let Acquire::Ready { reservation, .. } = stranger.acquire(&Request::new(1)).unwrap() else {
        panic!("it is empty")
    };
    let refused = set.release(reservation, Death::Idle).unwrap_err();
    let refused = set.cancel(refused.reservation).unwrap_err();
    stranger.cancel(refused.reservation).unwrap();
}

#[test]
fn a_shared_provider_counts_once() {
    let [shared, other] = [1, 2].map(provider);
    let mut set = PoolSet::new();
    for provider in [Some(&shared), Some(&other), None, Some(&shared)] {
        set.add(pool(10, provider), Registration::new()).unwrap();
    }
    let stats = set.stats();
    assert_eq!(stats.pools.committed_bytes, 40);
    assert_eq!((stats.provider_count, stats.providers.committed_bytes), (2, 200));
    assert_eq!(stats.providers.identity, 0);
    assert_eq!(set.trim(Trim::All), Ok(14));
}

#[test]
fn sums_saturate() {
    let mut sum = PoolStats { reserves: u64::MAX, live: 1, ..PoolStats::default() };
    sum.add(&PoolStats { reserves: 1, live: 2, ..PoolStats::default() });
    assert_eq!((sum.reserves, sum.live), (u64::MAX, 3));
}
