//! Slabs without memory: what grants and refuses for every replay, by the capacity alone.

use super::{Change, Committed, RESERVE};
use std::sync::{Mutex, MutexGuard, PoisonError};
use strandline_core::slab::extents::Extents;
use strandline_core::slab::{
    BufferUsage, Elastic, MemoryType, SlabProperties, SlabStats, SlabTable,
};
use strandline_core::{Grant, Slab, SlabError, SlabId, SlabProvider};

/// Slabs without memory.
#[derive(Debug)]
pub(super) struct Numbers {
    capacity: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    slabs: SlabTable<Numbered>,
    stats: SlabStats,
    /// What happened since somebody asked, if anybody did.
    changes: Option<Vec<Change>>,
}

/// A slab's size, and what of it has memory if it is elastic.
#[derive(Debug)]
struct Numbered {
    size: u64,
    memory: Option<Extents>,
}

/// Pages of the machines that this runs on, and the least that a mapping can be.
const PAGE: u64 = 4096;

impl Numbers {
    pub(super) fn new(capacity: u64) -> Self {
        let stats = SlabStats { identity: SlabStats::next_identity(), ..SlabStats::default() };
        let state = State { slabs: SlabTable::new(), stats, changes: None };
        Self { capacity, state: Mutex::new(state) }
    }

    /// As [`release`](SlabProvider::release); returns the bytes of its memory.
    pub(super) fn release_bytes(&self, id: SlabId) -> Result<u64, SlabError> {
        let State { slabs, stats, .. } = &mut *self.lock();
        let slab = slabs.remove(id).ok_or(SlabError::UnknownSlab(id))?;
        let size = slab.memory.map_or(slab.size, |memory| memory.bytes());
        stats.count_release(size);
        Ok(size)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two writes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlabProvider for Numbers {
    fn properties(&self) -> SlabProperties {
        SlabProperties {
            memory_type: MemoryType::OPTIMAL,
            usage: BufferUsage::from_bits_truncate(u32::MAX),
            alignment: PAGE,
            granularity: PAGE,
            max_slab_size: 1 << 62,
        }
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        if size == 0 || size > 1 << 62 {
            return Err(SlabError::InvalidSize { size });
        }
        let size = size.next_multiple_of(PAGE);
        let State { slabs, stats, .. } = &mut *self.lock();
        if stats.committed_bytes.checked_add(size).is_none_or(|sum| sum > self.capacity) {
            stats.refusals += 1;
            return Ok(Grant::NoCapacity);
        }
        let Ok(id) = slabs.insert(Numbered { size, memory: None }) else {
            return Ok(Grant::NoCapacity);
        };
        stats.count_acquire(size);
        Ok(Grant::Slab(Slab { id, size }))
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.release_bytes(id).map(drop)
    }

    /// Without a capacity: with one, a slab is all of it.
    fn elastic(&self) -> Option<Elastic> {
        (self.capacity == u64::MAX).then_some(Elastic { granule: PAGE, reserve: RESERVE })
    }

    fn reserve(&self, size: u64) -> Result<Grant, SlabError> {
        if size == 0 || size > 1 << 62 {
            return Err(SlabError::InvalidSize { size });
        }
        let size = size.next_multiple_of(PAGE);
        let State { slabs, stats, .. } = &mut *self.lock();
        let Ok(id) = slabs.insert(Numbered { size, memory: Some(Extents::new()) }) else {
            return Ok(Grant::NoCapacity);
        };
        stats.count_acquire(0);
        Ok(Grant::Slab(Slab { id, size }))
    }

    fn commit(&self, id: SlabId, offset: u64, len: u64) -> Result<bool, SlabError> {
        let State { slabs, stats, changes } = &mut *self.lock();
        if stats.committed_bytes.checked_add(len).is_none_or(|sum| sum > self.capacity) {
            stats.refusals += 1;
            return Ok(false);
        }
        let (memory, end) = range_of(slabs, id, offset, len)?;
        if !memory.insert(offset, end) {
            return Err(SlabError::InvalidRange);
        }
        note(changes, Change { slab: id, start: offset, end, put: true });
        stats.count_commit(len);
        Ok(true)
    }

    fn decommit(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        let State { slabs, stats, changes } = &mut *self.lock();
        let (memory, end) = range_of(slabs, id, offset, len)?;
        if !memory.remove(offset, end) {
            return Err(SlabError::InvalidRange);
        }
        note(changes, Change { slab: id, start: offset, end, put: false });
        stats.count_decommit(len);
        Ok(())
    }

    fn room(&self) -> Option<u64> {
        (self.capacity != u64::MAX).then(|| Committed::room(self))
    }

    fn stats(&self) -> SlabStats {
        self.lock().stats
    }

    fn answers_epochs(&self) -> bool {
        false
    }
}

fn note(changes: &mut Option<Vec<Change>>, change: Change) {
    if let Some(changes) = changes {
        changes.push(change);
    }
}

/// What of an elastic slab has memory, and the end of a range of whole pages of it.
fn range_of(
    slabs: &mut SlabTable<Numbered>,
    id: SlabId,
    offset: u64,
    len: u64,
) -> Result<(&mut Extents, u64), SlabError> {
    let Numbered { size, memory } = slabs.get_mut(id).ok_or(SlabError::UnknownSlab(id))?;
    let whole = offset.is_multiple_of(PAGE) && len.is_multiple_of(PAGE);
    match (memory, offset.checked_add(len)) {
        (Some(memory), Some(end)) if whole && end <= *size => Ok((memory, end)),
        _ => Err(SlabError::InvalidRange),
    }
}

impl Committed for Numbers {
    fn addresses(&self, slab: SlabId) -> Option<u64> {
        let mut state = self.lock();
        let slab = state.slabs.get_mut(slab)?;
        slab.memory.as_ref().map(|_| slab.size)
    }

    fn changes(&self) -> Vec<Change> {
        self.lock().changes.replace(Vec::new()).unwrap_or_default()
    }

    fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.lock().stats.committed_bytes)
    }

    fn step(&self) -> u64 {
        PAGE
    }
}
