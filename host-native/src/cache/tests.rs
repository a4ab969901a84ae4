use super::*;
use crate::scale::scaled;
use crate::{MmapBuffer, MmapSlabProvider};
use core::sync::atomic::AtomicU64;

const SIZE: u64 = 1 << 16;

/// Waits until the refill thread has done as much as it will.
fn settle<P: SlabProvider + ?Sized>(cache: &CachedSlabs<P>, ready: u64) {
    while cache.cache_stats().ready != ready {
        thread::yield_now();
    }
}

fn slab<P: SlabProvider + ?Sized>(cache: &CachedSlabs<P>, size: u64) -> strandline_core::Slab {
    match cache.acquire(size).unwrap() {
        Grant::Slab(slab) => slab,
        Grant::NoCapacity => panic!("no capacity for {size}"),
    }
}

#[test]
fn the_thread_fills_to_the_target_and_refills_what_was_taken() {
    let provider = Arc::new(MmapSlabProvider::builder().build().unwrap());
    let config = CacheConfig::new(SIZE).counts(3, 3).prefaulted();
    let cache = CachedSlabs::start(provider.clone(), config).unwrap();
    settle(&cache, 3);
    let first = slab(&cache, SIZE);
    settle(&cache, 3);
    let buffer: MmapBuffer = cache.map(first.id, 0, SIZE).unwrap();
    buffer.fill_u64(7);
    assert_eq!(buffer.find_mismatch(7), None);
    assert_eq!(provider.stats().committed_bytes, 4 * SIZE);
    cache.release(first.id).unwrap();
    drop(cache);
    assert_eq!(provider.stats().slabs, 0);
}

/// Fails on the refill thread only, while told to; counts how often that thread asked.
#[derive(Debug)]
struct Failing {
    inner: MmapSlabProvider,
    failing: AtomicBool,
    refills: AtomicU64,
}

impl SlabProvider for Failing {
    fn properties(&self) -> SlabProperties {
        self.inner.properties()
    }
    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        if thread::current().name() == Some("strandline-slabs") {
            self.refills.fetch_add(1, Ordering::AcqRel);
            if self.failing.load(Ordering::Acquire) {
                return Err(SlabError::Lost);
            }
        }
        self.inner.acquire(size)
    }
    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.inner.release(id)
    }
    fn stats(&self) -> SlabStats {
        self.inner.stats()
    }
}

#[test]
fn a_failed_refill_reaches_the_next_caller_and_is_not_repeated_meanwhile() {
    let provider = Arc::new(Failing {
        inner: MmapSlabProvider::builder().build().unwrap(),
        failing: AtomicBool::new(true),
        refills: AtomicU64::new(0),
    });
    let config = CacheConfig::new(SIZE).counts(1, 1);
    let cache = CachedSlabs::start(provider.clone(), config).unwrap();
    let mut held = Vec::new();
    for told in 1..=3 {
        // Callers are served by the provider until the failure of the refill is filed.
        loop {
            match cache.acquire(SIZE) {
                Ok(Grant::Slab(slab)) => held.push(slab),
                Ok(Grant::NoCapacity) => panic!("there is no capacity limit"),
                Err(error) => break assert_eq!(error, SlabError::Lost),
            }
            thread::yield_now();
        }
        let refills = provider.refills.load(Ordering::Acquire);
        assert!(refills == told || refills == told + 1, "{refills} refills, {told} callers told");
    }
    provider.failing.store(false, Ordering::Release);
    // The thread may have failed once more before it was told; then the next caller is.
    while cache.cache_stats().ready == 0 {
        match cache.acquire(SIZE) {
            Ok(Grant::Slab(slab)) => held.push(slab),
            Ok(Grant::NoCapacity) => panic!("there is no capacity limit"),
            Err(error) => assert_eq!(error, SlabError::Lost),
        }
        thread::yield_now();
    }
    for slab in held {
        cache.release(slab.id).unwrap();
    }
    drop(cache);
    assert_eq!(provider.stats().slabs, 0);
}

#[test]
fn a_refused_refill_does_not_spin_and_resumes_with_capacity() {
    let provider = Arc::new(MmapSlabProvider::builder().capacity(2 * SIZE).build().unwrap());
    let config = CacheConfig::new(SIZE).counts(2, 2);
    let cache = CachedSlabs::start(provider.clone(), config).unwrap();
    settle(&cache, 2);
    let held = [slab(&cache, SIZE), slab(&cache, SIZE)];
    while provider.stats().refusals == 0 {
        thread::yield_now();
    }
    for slab in held {
        cache.release(slab.id).unwrap();
    }
    settle(&cache, 2);
    let refusals = provider.stats().refusals;
    assert!(refusals <= 4, "one for each thing that happened, at most: {refusals}");
}

#[test]
fn threads_share_a_cache() {
    let provider = Arc::new(MmapSlabProvider::builder().capacity(16 * SIZE).build().unwrap());
    let config = CacheConfig::new(SIZE).counts(2, 6);
    let cache = CachedSlabs::start(provider.clone(), config).unwrap();
    let served = AtomicU64::new(0);
    thread::scope(|scope| {
        for me in 0..3u64 {
            let (cache, served) = (&cache, &served);
            scope.spawn(move || {
                for round in 0..scaled(2_000) as u64 {
                    let size = if round % 16 == me { 2 * SIZE } else { SIZE };
                    let Grant::Slab(slab) = cache.acquire(size).unwrap() else { continue };
                    let tag = me << 32 | round;
                    let buffer = cache.map(slab.id, 8, 64).unwrap();
                    buffer.fill_u64(tag);
                    assert_eq!(buffer.find_mismatch(tag), None, "nobody else has it");
                    drop(buffer);
                    cache.release(slab.id).unwrap();
                    if round % 64 == 63 {
                        cache.trim(Trim::Excess);
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let stats = cache.stats();
    assert_eq!((stats.slabs, stats.committed_bytes), (0, 0));
    assert_eq!(stats.releases, served.into_inner());
    drop(cache);
    assert_eq!((provider.stats().slabs, provider.mapped_bytes()), (0, 0));
}

#[test]
fn a_cache_of_an_impossible_size_does_not_start() {
    let provider = Arc::new(MmapSlabProvider::builder().build().unwrap());
    let error = CachedSlabs::start(provider, CacheConfig::new(0)).unwrap_err();
    assert!(matches!(error, CacheStartError::Slab(SlabError::InvalidSize { size: 0 })));
}
