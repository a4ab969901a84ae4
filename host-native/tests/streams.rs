//! Several streams share one pool over real memory: every byte that a stream's work was given must
//! still hold that work's tag when the work reads it, though the host frees long before the work is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost, Request};
use strandline_core::slab::cache::CacheConfig;
use strandline_core::slab::{SlabMap, SlabProvider};
use strandline_core::{Axis, Death, Frontier, Merge, Tracker};
use strandline_host_native::{
    CachedSlabs, Command, CpuQueue, MmapSlabProvider, allocate, thread_wake,
};

const SLAB: u64 = 1 << 16;

fn rounds() -> u64 {
    match std::env::var("STRANDLINE_TEST_SCALE") {
        Ok(scale) if scale == "small" => 100,
        _ => 3_000,
    }
}

/// Numbers that look random, the same in each run.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// `may_wait`: blocks that are still in use come with the frontier to wait for, and the queue waits.
fn play(streams: u8, may_wait: bool) {
    let provider = Arc::new(MmapSlabProvider::builder().capacity(4 * SLAB).build().unwrap());
    let config = CacheConfig::new(SLAB).counts(1, 2);
    let slabs = Arc::new(CachedSlabs::start(provider.clone(), config).unwrap());
    let tracker = Tracker::new(usize::from(streams));
    let host = PoolHost::new(slabs.clone(), Arc::new(tracker.clone())).with_wake(thread_wake());
    let config = TlsfPoolConfig { growth: Growth::slabs_of(SLAB), ..TlsfPoolConfig::default() };
    let pool = Arc::new(TlsfPool::new(host, config).unwrap());
    let corrupted = Arc::new(AtomicU64::new(0));

    std::thread::scope(|scope| {
        for stream in 0..streams {
            let (pool, slabs, tracker, corrupted) = (&pool, &slabs, &tracker, &corrupted);
            scope.spawn(move || {
                let queue = CpuQueue::new(tracker, Axis::queue(0, stream)).unwrap();
                queue.notify_on_progress(pool.notification().clone());
                let mut random = Sequence(0x5eed + u64::from(stream));
                for round in 0..rounds() {
                    let size = 1 + random.next() % (SLAB / 4);
                    // What this stream's next work is ordered after: all its own work so far.
                    let known = Frontier::from_entry(queue.axis(), queue.submitted());
                    let request = Request::new(size).after(known.as_ref()).or_grow();
                    let request = if may_wait { request.or_wait() } else { request };
                    let (reservation, mut wait) =
                        allocate(&**pool, &request, None).unwrap().into_parts();
                    assert!(may_wait || wait.is_empty());
                    assert_eq!(wait.merge(known.as_ref()), Merge::Done);

                    let buffer = slabs.map(reservation.slab(), reservation.offset(), size).unwrap();
                    let tag = random.next() << 16 | round << 8 | u64::from(stream);
                    let check = {
                        let (buffer, corrupted) = (buffer.clone(), corrupted.clone());
                        move || {
                            let bad = buffer.find_mismatch(tag).is_some();
                            corrupted.fetch_add(u64::from(bad), Ordering::Relaxed);
                        }
                    };
                    let filled = queue.submit(wait.as_ref(), [Command::fill(buffer, tag)]).unwrap();
                    let filled = Frontier::from_entry(queue.axis(), filled);
                    let checked = queue.submit(filled.as_ref(), [Command::call(check)]).unwrap();
                    // Freed at once, as far as the host is concerned.
                    let death = Frontier::from_entry(queue.axis(), checked);
                    pool.release(reservation, Death::After(death.as_ref())).unwrap();
                }
                queue.finish().unwrap();
            });
        }
    });

    assert_eq!(corrupted.load(Ordering::Relaxed), 0);
    let stats = pool.stats();
    assert_eq!((stats.live, stats.reserved_bytes), (0, 0));
    assert_eq!(stats.reserves, u64::from(streams) * rounds());
    assert!(stats.committed_bytes <= 4 * SLAB);
    drop(pool);
    assert_eq!(slabs.stats().slabs, 0, "the pool gave its slabs back");
    drop(slabs);
    assert_eq!(provider.mapped_bytes(), 0, "and the cache gave them back to the system");
}

#[test]
fn no_byte_is_reused_early_when_queues_wait() {
    play(3, true);
}

#[test]
fn no_byte_is_reused_early_when_nobody_may_wait() {
    play(3, false);
}
