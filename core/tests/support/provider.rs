//! A provider without memory that refuses and fails on command, and knows every slab's fate.

use std::collections::BTreeMap;
use std::sync::Mutex;
use strandline_core::slab::{
    BufferUsage, Grant, MemoryType, Slab, SlabError, SlabId, SlabProperties, SlabProvider,
    SlabStats,
};

#[derive(Debug, Default)]
struct State {
    next: u32,
    out: BTreeMap<SlabId, u64>,
    returned: Vec<SlabId>,
    stats: SlabStats,
    capacity: u64,
    fail_acquires: u32,
    fail_releases: u32,
    /// Failures that came to pass.
    failed: u64,
    /// Things that no pool may do.
    crimes: Vec<String>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct MockProvider {
    properties: SlabProperties,
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
            state: Mutex::new(State { capacity, ..State::default() }),
        }
    }

    /// The next `count` calls of acquire fail.
    pub(crate) fn fail_acquires(&self, count: u32) {
        self.state.lock().unwrap().fail_acquires = count;
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
        self.state.lock().unwrap().failed
    }

    /// Slabs out, with their sizes.
    pub(crate) fn out(&self) -> BTreeMap<SlabId, u64> {
        self.state.lock().unwrap().out.clone()
    }

    /// Slabs that came back since the last call.
    pub(crate) fn take_returned(&self) -> Vec<SlabId> {
        std::mem::take(&mut self.state.lock().unwrap().returned)
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
            state.failed += 1;
            return Err(SlabError::Os { code: 12, operation: "mock acquire" });
        }
        let size = size.next_multiple_of(self.properties.granularity);
        if state.stats.committed_bytes + size > state.capacity {
            state.stats.refusals += 1;
            return Ok(Grant::NoCapacity);
        }
        let id = SlabId::new(state.next, 7);
        state.next += 1;
        state.out.insert(id, size);
        state.stats.count_acquire(size);
        Ok(Grant::Slab(Slab { id, size }))
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        let state = &mut *self.state.lock().unwrap();
        if state.fail_releases > 0 {
            state.fail_releases -= 1;
            state.failed += 1;
            return Err(SlabError::Os { code: 5, operation: "mock release" });
        }
        let Some(size) = state.out.remove(&id) else {
            state.crimes.push(format!("{id:?} was given back and is not out"));
            return Err(SlabError::UnknownSlab(id));
        };
        state.returned.push(id);
        state.stats.count_release(size);
        Ok(())
    }

    fn stats(&self) -> SlabStats {
        self.state.lock().unwrap().stats
    }
}
