//! Explored by loom: a refill that the provider refuses, beside slabs that come back.

use super::*;
use loom::thread;

const SIZE: u64 = 1;

/// Room for two slabs of one byte, or one of two.
#[derive(Debug)]
struct Provider {
    room: Mutex<u64>,
}

impl SlabProvider for Provider {
    fn properties(&self) -> SlabProperties {
        slabs_up_to(2 * SIZE)
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        let mut room = self.room.lock();
        let Some(left) = room.checked_sub(size) else { return Ok(Grant::NoCapacity) };
        *room = left;
        // Which slab it is says how large it is.
        Ok(Grant::Slab(Slab { id: SlabId::new(size as u32, 0), size }))
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        *self.room.lock() += u64::from(id.index());
        Ok(())
    }

    fn stats(&self) -> SlabStats {
        SlabStats::default()
    }
}

/// A host's thread turns once beside the releases; afterwards it turns only if it was woken. Then all is ready that
/// there is room for.
fn refills_beside_releases(slabs: u32, sizes: &'static [u64]) {
    loom::model(move || {
        let provider = Arc::new(Provider { room: Mutex::new(2 * SIZE) });
        let config = CacheConfig::new(SIZE).counts(slabs, slabs);
        let cache = Arc::new(SlabCache::new(provider, config, None).unwrap());
        let out: Vec<SlabId> = sizes
            .iter()
            .map(|&size| match cache.acquire(size).unwrap() {
                Grant::Slab(slab) => slab.id,
                Grant::NoCapacity => panic!("there is room"),
            })
            .collect();
        let turn = |cache: &SlabCache<Provider>| {
            let seen = cache.refill_wanted().observe();
            while cache.refill() == Refill::Added {}
            seen
        };
        let host = {
            let cache = cache.clone();
            thread::spawn(move || turn(&cache))
        };
        for id in out {
            cache.release(id).unwrap();
        }
        let mut seen = host.join().unwrap();
        while cache.refill_wanted().changed_since(seen) {
            seen = turn(&cache);
        }
        assert_eq!(cache.cache_stats().ready, u64::from(slabs));
    });
}

#[test]
fn a_large_slab_that_comes_back_is_room_for_a_small_one() {
    refills_beside_releases(1, &[2 * SIZE]);
}

#[test]
fn slabs_that_come_back_are_ready_again() {
    refills_beside_releases(2, &[SIZE, SIZE]);
}
