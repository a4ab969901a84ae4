use super::*;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use proptest::prelude::*;

/// Counts slabs, refuses beyond a capacity, fails on demand, and panics on a wrong id.
#[derive(Debug)]
struct Provider {
    capacity: u64,
    live: Mutex<SlabTable<u64>>,
    used: AtomicU64,
    fail_acquire: AtomicBool,
    fail_prefault: AtomicBool,
    calls: AtomicU64,
}

const LOST: SlabError = SlabError::Lost;

impl Provider {
    fn new(capacity: u64) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            live: Mutex::new(SlabTable::new()),
            used: AtomicU64::new(0),
            fail_acquire: AtomicBool::new(false),
            fail_prefault: AtomicBool::new(false),
            calls: AtomicU64::new(0),
        })
    }

    fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl SlabProvider for Provider {
    fn properties(&self) -> SlabProperties {
        slabs_up_to(1 << 20)
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.fail_acquire.load(Ordering::Relaxed) {
            return Err(LOST);
        }
        if size > self.properties().max_slab_size {
            return Err(SlabError::InvalidSize { size });
        }
        let mut live = self.live.lock();
        if self.used() + size > self.capacity {
            return Ok(Grant::NoCapacity);
        }
        self.used.fetch_add(size, Ordering::Relaxed);
        Ok(Grant::Slab(Slab { id: live.insert(size).unwrap(), size }))
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        let size = self.live.lock().remove(id).expect("a slab of this provider");
        self.used.fetch_sub(size, Ordering::Relaxed);
        Ok(())
    }

    fn prefault(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        let live = self.live.lock();
        assert!(offset + len <= *live.get(id).expect("a slab of this provider"));
        if self.fail_prefault.load(Ordering::Relaxed) { Err(LOST) } else { Ok(()) }
    }

    fn stats(&self) -> SlabStats {
        SlabStats::default()
    }
}

impl SlabMap for Provider {
    type Buffer = (SlabId, u64, u64);

    fn map(&self, id: SlabId, offset: u64, len: u64) -> Result<Self::Buffer, SlabError> {
        self.live.lock().get(id).map(|_| (id, offset, len)).ok_or(SlabError::UnknownSlab(id))
    }
}

const SIZE: u64 = 100;

fn cache(provider: &Arc<Provider>, target: u32, maximum: u32) -> SlabCache<Provider> {
    let config = CacheConfig::new(SIZE).counts(target, maximum);
    SlabCache::new(provider.clone(), config, None).unwrap()
}

fn slab(cache: &dyn SlabProvider, size: u64) -> Slab {
    match cache.acquire(size).unwrap() {
        Grant::Slab(slab) => slab,
        Grant::NoCapacity => panic!("no capacity for {size}"),
    }
}

fn fill(cache: &SlabCache<Provider>) {
    while cache.refill() == Refill::Added {}
}

#[test]
fn kept_follows_the_average_from_target_to_maximum() {
    let config = CacheConfig::new(SIZE).counts(2, 10);
    for (reuse, kept) in
        [(Ema(0), 2), (Ema(1), 3), (Ema::HALF, 6), (Ema(Ema::ONE - 1), 10), (Ema(Ema::ONE), 10)]
    {
        assert_eq!(config.kept(reuse), kept, "{reuse:?}");
    }
    let all = CacheConfig::new(SIZE).counts(0, u32::MAX);
    assert_eq!(all.kept(Ema(Ema::ONE)), u32::MAX);
    assert_eq!(CacheConfig::new(SIZE).counts(5, 1).kept(Ema(Ema::ONE)), 5);
}

#[test]
fn what_is_prepared_ahead_is_served_without_the_provider() {
    let provider = Provider::new(1000);
    let cache = cache(&provider, 3, 4);
    fill(&cache);
    assert_eq!((provider.used(), cache.stats().cached_bytes, cache.stats().slabs), (300, 300, 0));
    let calls = provider.calls();
    let slabs = [1, SIZE, SIZE / 2].map(|size| slab(&cache, size));
    assert!(slabs.iter().all(|slab| slab.size == SIZE));
    assert_eq!(provider.calls(), calls, "hits");
    let fourth = slab(&cache, SIZE);
    assert_eq!(provider.calls(), calls + 1, "a miss asks the provider");
    let stats = cache.cache_stats();
    assert_eq!((stats.hits, stats.misses, stats.refilled), (3, 1, 3));
    for slab in slabs.into_iter().chain([fourth]) {
        cache.release(slab.id).unwrap();
    }
    drop(cache);
    assert_eq!(provider.used(), 0);
}

#[test]
fn oversized_requests_bypass_and_may_take_what_is_held_ready() {
    let provider = Provider::new(500);
    let cache = cache(&provider, 4, 4);
    fill(&cache);
    let small = slab(&cache, 1);
    let large = slab(&cache, 350);
    assert_eq!((large.size, cache.cache_stats().ready), (350, 0), "the ready slabs made room");
    assert_eq!(cache.acquire(351), Ok(Grant::NoCapacity));
    assert_eq!(cache.acquire(0), Err(SlabError::InvalidSize { size: 0 }));
    assert_eq!(cache.acquire(1 << 21), Err(SlabError::InvalidSize { size: 1 << 21 }));
    cache.release(large.id).unwrap();
    assert_eq!((provider.used(), cache.stats().refusals), (100, 2));
    cache.release(small.id).unwrap();
}

#[test]
fn a_stale_id_resolves_to_nothing_though_its_memory_goes_out_again() {
    let provider = Provider::new(1000);
    let cache = cache(&provider, 1, 1);
    let first = slab(&cache, SIZE);
    let buffer = cache.map(first.id, 10, 5).unwrap();
    cache.release(first.id).unwrap();
    let second = slab(&cache, SIZE);
    assert_eq!(cache.map(second.id, 10, 5), Ok(buffer), "the same memory");
    assert_ne!(first.id, second.id);
    assert_eq!(cache.map(first.id, 0, 1), Err(SlabError::UnknownSlab(first.id)));
    assert_eq!(cache.release(first.id), Err(SlabError::UnknownSlab(first.id)));
    assert_eq!(cache.prefault(first.id, 0, 1), Err(SlabError::UnknownSlab(first.id)));
    cache.prefault(second.id, 0, SIZE).unwrap();
    cache.release(second.id).unwrap();
}

#[test]
fn a_refill_error_reaches_the_next_caller_once() {
    let provider = Provider::new(1000);
    let cache = cache(&provider, 2, 2);
    assert_eq!(cache.refill(), Refill::Added);
    provider.fail_acquire.store(true, Ordering::Relaxed);
    let calls = provider.calls();
    assert_eq!(cache.refill(), Refill::Failed);
    assert_eq!(cache.refill(), Refill::Idle, "it rests until someone knows");
    assert_eq!(provider.calls(), calls + 1);
    assert_eq!(cache.acquire(1), Err(LOST));
    provider.fail_acquire.store(false, Ordering::Relaxed);
    let held = slab(&cache, 1);
    fill(&cache);
    assert_eq!(cache.cache_stats().ready, 2);
    cache.release(held.id).unwrap();
}

#[test]
fn a_slab_that_cannot_be_prefaulted_goes_back() {
    let provider = Provider::new(1000);
    provider.fail_prefault.store(true, Ordering::Relaxed);
    let config = CacheConfig::new(SIZE).counts(1, 1).prefaulted();
    let cache = SlabCache::new(provider.clone(), config, None).unwrap();
    assert_eq!(cache.refill(), Refill::Failed);
    assert_eq!(provider.used(), 0);
    assert_eq!(cache.acquire(1), Err(LOST));
}

#[test]
fn a_refused_refill_rests_until_something_changes() {
    let provider = Provider::new(SIZE);
    let cache = cache(&provider, 1, 1);
    let held = slab(&cache, SIZE);
    assert_eq!(cache.refill(), Refill::Refused);
    let calls = provider.calls();
    let wanted = cache.refill_wanted().observe();
    assert_eq!(cache.refill(), Refill::Idle);
    assert_eq!(provider.calls(), calls);
    assert_eq!(cache.acquire(SIZE), Ok(Grant::NoCapacity));
    assert!(cache.refill_wanted().changed_since(wanted));
    assert_eq!(cache.refill(), Refill::Refused);
    cache.release(held.id).unwrap();
    assert_eq!(cache.cache_stats().ready, 1);
}

/// Something else happens to the cache while a refusal, or a slab that comes back, is under way.
struct Meanwhile {
    provider: Arc<Provider>,
    happens: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Meanwhile {
    fn new(capacity: u64) -> Arc<Self> {
        Arc::new(Self { provider: Provider::new(capacity), happens: Mutex::new(None) })
    }

    fn happen(&self) {
        // Taken first: what happens comes back to this provider.
        let happens = self.happens.lock().take();
        if let Some(happens) = happens {
            happens();
        }
    }
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)
    }
}

impl SlabProvider for Meanwhile {
    fn properties(&self) -> SlabProperties {
        self.provider.properties()
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        let grant = self.provider.acquire(size)?;
        if grant == Grant::NoCapacity {
            self.happen();
        }
        Ok(grant)
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.happen();
        self.provider.release(id)
    }

    fn stats(&self) -> SlabStats {
        self.provider.stats()
    }
}

#[test]
fn what_comes_back_during_a_refused_refill_ends_the_rest() {
    let provider = Meanwhile::new(2 * SIZE);
    let config = CacheConfig::new(SIZE).counts(2, 2);
    let cache = Arc::new(SlabCache::new(provider.clone(), config, None).unwrap());
    let out = [slab(&*cache, SIZE), slab(&*cache, SIZE)];
    let returning = cache.clone();
    *provider.happens.lock() = Some(Box::new(move || {
        for slab in out {
            returning.release(slab.id).unwrap();
        }
    }));
    let seen = cache.refill_wanted().observe();
    assert_eq!(cache.refill(), Refill::Refused);
    assert!(cache.refill_wanted().changed_since(seen), "whoever sleeps on it is told");
    // One slab is kept in the place that the refill had reserved; the other went back to the provider.
    assert_eq!((cache.refill(), cache.refill()), (Refill::Added, Refill::Idle));
    assert_eq!(cache.cache_stats().ready, 2);
}

#[test]
fn a_refill_refused_before_a_slab_has_arrived_does_not_rest_after_it() {
    let provider = Meanwhile::new(2 * SIZE);
    let config = CacheConfig::new(SIZE).counts(1, 1);
    let cache = Arc::new(SlabCache::new(provider.clone(), config, None).unwrap());
    let large = slab(&*cache, 2 * SIZE);
    let refilling = cache.clone();
    *provider.happens.lock() =
        Some(Box::new(move || assert_eq!(refilling.refill(), Refill::Refused)));
    let seen = cache.refill_wanted().observe();
    cache.release(large.id).unwrap();
    assert!(cache.refill_wanted().changed_since(seen), "whoever sleeps on it is told");
    assert_eq!((cache.refill(), cache.refill()), (Refill::Added, Refill::Idle));
}

#[test]
fn trim_gives_back_what_is_ready_and_is_not_undone_at_once() {
    let provider = Provider::new(10_000);
    let cache = cache(&provider, 2, 8);
    let slabs: Vec<_> = (0..4).map(|_| slab(&cache, SIZE)).collect();
    for slab in slabs {
        cache.release(slab.id).unwrap();
    }
    let ready = cache.cache_stats().ready;
    assert!(ready > 2, "an undecided cache keeps some of them: {ready}");
    assert_eq!(cache.trim(Trim::Excess), (ready - 2) * SIZE);
    assert_eq!(cache.trim(Trim::All), 2 * SIZE);
    assert_eq!(provider.used(), 0);
    assert_eq!(cache.refill(), Refill::Idle);
    let held = slab(&cache, SIZE);
    assert_eq!(cache.refill(), Refill::Added);
    cache.release(held.id).unwrap();
}

#[test]
fn a_workload_that_breathes_keeps_its_slabs_and_one_that_shrinks_gives_them_back() {
    let provider = Provider::new(10_000);
    let cache = cache(&provider, 0, 8);
    for _ in 0..100 {
        let held = slab(&cache, SIZE);
        cache.release(held.id).unwrap();
    }
    assert_eq!(cache.cache_stats().reuse.permille(), 1000);
    assert_eq!(provider.calls(), 1, "one slab served them all");

    let slabs: Vec<_> = (0..60).map(|_| slab(&cache, SIZE)).collect();
    for slab in slabs {
        cache.release(slab.id).unwrap();
    }
    assert!(cache.cache_stats().reuse.permille() < 10);
    assert!(cache.cache_stats().ready <= 8);
    let calls = provider.calls();
    for _ in 0..8 {
        let slabs: Vec<_> = (0..8).map(|_| slab(&cache, SIZE)).collect();
        for slab in slabs {
            cache.release(slab.id).unwrap();
        }
    }
    assert!(provider.calls() - calls < 8 * 8, "the regretted ones bring the average back");
}

#[test]
fn sizes_that_the_provider_does_not_have_are_refused() {
    let provider = Provider::new(1000);
    for size in [0, 1 << 21] {
        let made = SlabCache::new(provider.clone(), CacheConfig::new(size), None);
        assert_eq!(made.unwrap_err(), SlabError::InvalidSize { size });
    }
    let raised = SlabCache::new(provider, CacheConfig::new(1).counts(7, 2), None).unwrap();
    assert_eq!(raised.config().maximum, 7);
}

#[derive(Clone, Debug)]
enum Op {
    Acquire(u64),
    Release(usize),
    Refill,
    Trim(Trim),
    Fail(bool),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(
        prop_oneof![
            4 => (1..300u64).prop_map(Op::Acquire),
            4 => any::<usize>().prop_map(Op::Release),
            3 => Just(Op::Refill),
            1 => prop_oneof![Just(Trim::All), Just(Trim::Excess)].prop_map(Op::Trim),
            1 => any::<bool>().prop_map(Op::Fail),
        ],
        0..200,
    )
}

proptest! {
    /// Whatever happens, the provider's bytes are those out plus those ready, every grant is large
    /// enough, and nothing is left after the drop.
    #[test]
    fn every_slab_is_accounted_for(ops in ops(), target in 0..4u32, maximum in 0..6u32) {
        let provider = Provider::new(1500);
        let cache = cache(&provider, target, maximum);
        let mut out: Vec<Slab> = Vec::new();
        for op in ops {
            match op {
                Op::Acquire(size) => match cache.acquire(size) {
                    Ok(Grant::Slab(slab)) => {
                        prop_assert!(slab.size >= size);
                        prop_assert!(out.iter().all(|other| other.id != slab.id));
                        out.push(slab);
                    }
                    Ok(Grant::NoCapacity) => {}
                    Err(error) => prop_assert_eq!(error, LOST),
                },
                Op::Release(at) if !out.is_empty() => {
                    let slab = out.swap_remove(at % out.len());
                    prop_assert_eq!(cache.release(slab.id), Ok(()));
                    prop_assert_eq!(cache.release(slab.id), Err(SlabError::UnknownSlab(slab.id)));
                }
                Op::Release(_) => {}
                Op::Refill => { let _ = cache.refill(); }
                Op::Trim(how) => { cache.trim(how); }
                Op::Fail(fail) => provider.fail_acquire.store(fail, Ordering::Relaxed),
            }
            let stats = cache.stats();
            prop_assert!(cache.cache_stats().ready <= u64::from(cache.config().maximum));
            prop_assert_eq!(stats.committed_bytes, out.iter().map(|slab| slab.size).sum::<u64>());
            prop_assert_eq!(stats.slabs, out.len() as u64);
            prop_assert_eq!(stats.acquires - stats.releases, stats.slabs);
            prop_assert_eq!(provider.used(), stats.committed_bytes + stats.cached_bytes);
        }
        for slab in out {
            prop_assert_eq!(cache.release(slab.id), Ok(()));
        }
        drop(cache);
        prop_assert_eq!(provider.used(), 0);
    }
}
