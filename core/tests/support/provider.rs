//! A provider without memory that refuses and fails on command, and knows every slab's fate.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use strandline_core::slab::extents::Extents;
use strandline_core::slab::{
    BufferUsage, Elastic, Grant, MemoryType, Slab, SlabError, SlabId, SlabProperties, SlabProvider,
    SlabStats,
};

#[derive(Debug, Default)]
struct State {
    next: u32,
    out: BTreeMap<SlabId, u64>,
    /// What has memory of those that are elastic.
    elastic: BTreeMap<SlabId, Extents>,
    moved: Vec<Moved>,
    stats: SlabStats,
    capacity: u64,
    refuse: u32,
    fail_acquires: u32,
    fail_releases: u32,
    /// Things that no pool may do.
    crimes: Vec<String>,
}

/// A slab, or memory of one, that came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Out(SlabId, u64),
    Back(SlabId),
    /// An elastic one, of so many bytes of addresses.
    Reserved(SlabId, u64),
    /// Memory from a byte to another of an elastic one.
    Committed(SlabId, u64, u64),
    Decommitted(SlabId, u64, u64),
}

impl Moved {
    /// Memory came.
    pub(crate) const fn is_grant(&self) -> bool {
        matches!(self, Self::Out(..) | Self::Committed(..))
    }

    /// Bytes that came, less those that went; of slabs that are not elastic, all that came.
    pub(crate) fn net(moved: &[Self]) -> i128 {
        let bytes = |moved: &Self| match *moved {
            Self::Out(_, size) => i128::from(size),
            Self::Committed(_, start, end) => i128::from(end - start),
            Self::Decommitted(_, start, end) => -i128::from(end - start),
            Self::Back(_) | Self::Reserved(..) => 0,
        };
        moved.iter().map(bytes).sum()
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct MockProvider {
    properties: SlabProperties,
    elastic: Option<Elastic>,
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
            elastic: None,
            news: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            state: Mutex::new(State { capacity, ..State::default() }),
        }
    }

    /// Its slabs can be elastic.
    pub(crate) fn with_elastic(self, elastic: Option<Elastic>) -> Self {
        Self { elastic, ..self }
    }

    /// Whether a call fails, or finds no capacity, on command: `None` if neither.
    fn commanded(
        &self,
        state: &mut State,
        operation: &'static str,
    ) -> Option<Result<(), SlabError>> {
        if state.fail_acquires > 0 {
            state.fail_acquires -= 1;
            self.failed.fetch_add(1, Ordering::Relaxed);
            return Some(Err(SlabError::Os { code: 12, operation }));
        }
        let refuse = state.refuse > 0;
        state.refuse = state.refuse.saturating_sub(1);
        if refuse {
            state.stats.refusals += 1;
        }
        refuse.then_some(Ok(()))
    }

    fn commanded_to_keep(
        &self,
        state: &mut State,
        operation: &'static str,
    ) -> Result<(), SlabError> {
        if state.fail_releases > 0 {
            state.fail_releases -= 1;
            self.failed.fetch_add(1, Ordering::Relaxed);
            return Err(SlabError::Os { code: 5, operation });
        }
        Ok(())
    }

    /// Whole granules of an elastic slab, or a crime.
    fn range(&self, state: &mut State, id: SlabId, start: u64, len: u64) -> Result<u64, SlabError> {
        let granule = self.elastic.map_or(0, |elastic| elastic.granule);
        let size = state.out.get(&id).copied().unwrap_or(0);
        let whole = start.is_multiple_of(granule) && len.is_multiple_of(granule) && len > 0;
        if !state.elastic.contains_key(&id) || !whole || start + len > size {
            state.crimes.push(format!("{id:?} has no {len} bytes from {start}"));
            return Err(SlabError::InvalidRange);
        }
        Ok(start + len)
    }

    /// The next `count` calls of acquire, reserve and commit fail.
    pub(crate) fn fail_acquires(&self, count: u32) {
        self.state.lock().unwrap().fail_acquires = count;
    }

    /// The next `count` calls of acquire, reserve and commit find no capacity.
    pub(crate) fn refuse(&self, count: u32) {
        self.state.lock().unwrap().refuse = count;
    }

    /// The next `count` calls of release and decommit fail; the slab stays out, and what is in it.
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
        if let Some(commanded) = self.commanded(state, "mock acquire") {
            return commanded.map(|()| Grant::NoCapacity);
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
        state.moved.push(Moved::Out(id, size));
        self.news.store(true, Ordering::Relaxed);
        Ok(Grant::Slab(Slab { id, size }))
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        let state = &mut *self.state.lock().unwrap();
        self.commanded_to_keep(state, "mock release")?;
        let Some(size) = state.out.remove(&id) else {
            state.crimes.push(format!("{id:?} was given back and is not out"));
            return Err(SlabError::UnknownSlab(id));
        };
        state.moved.push(Moved::Back(id));
        self.news.store(true, Ordering::Relaxed);
        let committed = state.elastic.remove(&id).map_or(size, |memory| memory.bytes());
        state.stats.count_release(committed);
        Ok(())
    }

    fn elastic(&self) -> Option<Elastic> {
        self.elastic
    }

    fn reserve(&self, size: u64) -> Result<Grant, SlabError> {
        let state = &mut *self.state.lock().unwrap();
        if size == 0 || size > self.properties.max_slab_size {
            state.crimes.push(format!("asked for {size} bytes of addresses"));
            return Err(SlabError::InvalidSize { size });
        }
        if let Some(commanded) = self.commanded(state, "mock reserve") {
            return commanded.map(|()| Grant::NoCapacity);
        }
        let size = size.next_multiple_of(self.properties.granularity);
        let id = SlabId::new(state.next, 7);
        state.next += 1;
        state.out.insert(id, size);
        state.elastic.insert(id, Extents::new());
        state.stats.count_acquire(0);
        state.moved.push(Moved::Reserved(id, size));
        self.news.store(true, Ordering::Relaxed);
        Ok(Grant::Slab(Slab { id, size }))
    }

    fn commit(&self, id: SlabId, offset: u64, len: u64) -> Result<bool, SlabError> {
        let state = &mut *self.state.lock().unwrap();
        let end = self.range(state, id, offset, len)?;
        if let Some(commanded) = self.commanded(state, "mock commit") {
            return commanded.map(|()| false);
        }
        if state.stats.committed_bytes + len > state.capacity {
            state.stats.refusals += 1;
            return Ok(false);
        }
        if !state.elastic.get_mut(&id).is_some_and(|memory| memory.insert(offset, end)) {
            state.crimes.push(format!("{id:?} {offset}..{end} has memory already"));
            return Err(SlabError::InvalidRange);
        }
        state.stats.count_commit(len);
        state.moved.push(Moved::Committed(id, offset, end));
        self.news.store(true, Ordering::Relaxed);
        Ok(true)
    }

    fn decommit(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        let state = &mut *self.state.lock().unwrap();
        let end = self.range(state, id, offset, len)?;
        self.commanded_to_keep(state, "mock decommit")?;
        if !state.elastic.get_mut(&id).is_some_and(|memory| memory.remove(offset, end)) {
            state.crimes.push(format!("{id:?} {offset}..{end} has no memory"));
            return Err(SlabError::InvalidRange);
        }
        state.stats.count_decommit(len);
        state.moved.push(Moved::Decommitted(id, offset, end));
        self.news.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn stats(&self) -> SlabStats {
        self.state.lock().unwrap().stats
    }

    fn answers_epochs(&self) -> bool {
        false
    }
}
