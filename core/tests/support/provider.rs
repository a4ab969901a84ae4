//! A provider without memory that refuses and fails on command, and knows every slab's fate.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use strandline_core::slab::{
    BufferUsage, Grant, MemoryType, Slab, SlabError, SlabId, SlabProperties, SlabProvider,
    SlabStats,
};

#[derive(Debug, Default)]
struct State {
    next: u32,
    out: BTreeMap<SlabId, u64>,
    moved: Vec<Moved>,
    stats: SlabStats,
    capacity: u64,
    refuse: u32,
    fail_acquires: u32,
    fail_releases: u32,
    /// Things that no pool may do.
    crimes: Vec<String>,
}

/// A slab that came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Out(SlabId, u64),
    Back(SlabId),
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct MockProvider {
    properties: SlabProperties,
    /// Whether slabs moved or crimes happened since they were last asked for.
    news: AtomicBool,
    failed: AtomicU64,
    state: Mutex<State>,
}

impl MockProvider {
    pub(crate) fn new(granularity: u64, alignment: u64, max_slab_size: u64, capacity: u64) -> Self {
        Self {
            properties: SlabProperties {
                memory_type: MemoryType::HOST_VISIBLE,
                usage: BufferUsage::TRANSFER,
                alignment,
                granularity,
                max_slab_size,
            },
            news: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            state: Mutex::new(State { capacity, ..State::default() }),
        }
    }

    /// The next `count` calls of acquire fail.
    pub(crate) fn fail_acquires(&self, count: u32) {
        self.state.lock().unwrap().fail_acquires = count;
    }

    /// The next `count` calls of acquire find no capacity.
    pub(crate) fn refuse(&self, count: u32) {
        self.state.lock().unwrap().refuse = count;
    }

    /// The next `count` calls of release fail; the slab stays out.
    pub(crate) fn fail_releases(&self, count: u32) {
        self.state.lock().unwrap().fail_releases = count;
    }

    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.state.lock().unwrap().capacity = bytes;
    }

    /// How often it has failed on command.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Slabs out, with their sizes.
    pub(crate) fn out(&self) -> BTreeMap<SlabId, u64> {
        self.state.lock().unwrap().out.clone()
    }

    /// Slabs that moved since the last call, in order.
    pub(crate) fn take_moved(&self) -> Vec<Moved> {
        if !self.news.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        std::mem::take(&mut self.state.lock().unwrap().moved)
    }

    pub(crate) fn crimes(&self) -> Vec<String> {
        self.state.lock().unwrap().crimes.clone()
    }
}

impl SlabProvider for MockProvider {
    fn properties(&self) -> SlabProperties {
        self.properties
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        let state = &mut *self.state.lock().unwrap();
        if size == 0 || size > self.properties.max_slab_size {
            state.crimes.push(format!("asked for a slab of {size} bytes"));
            return Err(SlabError::InvalidSize { size });
        }
        if state.fail_acquires > 0 {
            state.fail_acquires -= 1;
            self.failed.fetch_add(1, Ordering::Relaxed);
            return Err(SlabError::Os { code: 12, operation: "mock acquire" });
        }
        let size = size.next_multiple_of(self.properties.granularity);
        let refuse = state.refuse > 0;
        state.refuse = state.refuse.saturating_sub(1);
        if refuse || state.stats.committed_bytes + size > state.capacity {
            state.stats.refusals += 1;
            return Ok(Grant::NoCapacity);
        }
        let id = SlabId::new(state.next, 7);
        state.next += 1;
        state.out.insert(id, size);
        state.stats.count_acquire(size);
        state.moved.push(Moved::Out(id, size));
        self.news.store(true, Ordering::Relaxed);
        Ok(Grant::Slab(Slab { id, size }))
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        let state = &mut *self.state.lock().unwrap();
        if state.fail_releases > 0 {
            state.fail_releases -= 1;
            self.failed.fetch_add(1, Ordering::Relaxed);
            return Err(SlabError::Os { code: 5, operation: "mock release" });
        }
        let Some(size) = state.out.remove(&id) else {
            state.crimes.push(format!("{id:?} was given back and is not out"));
            return Err(SlabError::UnknownSlab(id));
        };
        state.moved.push(Moved::Back(id));
        self.news.store(true, Ordering::Relaxed);
        state.stats.count_release(size);
        Ok(())
    }

    fn stats(&self) -> SlabStats {
        self.state.lock().unwrap().stats
    }
}
