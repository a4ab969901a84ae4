//! What a pool missed: free runs of its slabs in which a request would have fitted.
//!
//! ```text
//!   slab 0   │ live │ free, 12 KiB                │ live │ free, 2 KiB │
//!                   └ after {a@7} │ clean, 8 KiB ─┘
//!   request of 4 KiB, refused: the clean 8 KiB are twice that, so it was missed
//! ```
//!
//! A pool may round, sort into classes and look at some candidates only; hence twice the need. What it may not do is to refuse,
//! grow or have someone wait beside memory that serves.
//!
//! # Invariants
//! - Free runs of a slab are disjoint and do not touch: what lies between two of them is taken.
//! - `by_length` has every free run of every slab, once.
//!
//! # Cost
//! O(log n) for each range that starts or ends. A search looks at the free runs that are long enough, and at the deaths in
//! them that are not known to be reached.

use super::Range;
use std::collections::{BTreeMap, BTreeSet};
use strandline_core::SlabId;
use strandline_core::pool::PoolId;

/// What was asked of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// The pool.
    pub pool: PoolId,
    /// Bytes that the request takes out of the pool, padding included.
    pub footprint: u64,
    /// Ranges begin at multiples of so many bytes.
    pub granule: u64,
    /// Only a slab that is wholly free serves, as in an arena.
    pub whole_slabs: bool,
}

/// What a provider of elastic slabs would do yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that it would grant.
    pub bytes: u64,
    /// It grants multiples of so many.
    pub step: u64,
}

/// The slabs of a pool.
#[derive(Clone, Debug)]
pub struct Slabs {
    /// The pool.
    pub pool: PoolId,
    /// Each with its bytes.
    pub sizes: BTreeMap<SlabId, u64>,
}

#[derive(Debug)]
struct Slab {
    pool: PoolId,
    size: u64,
    /// Start → end.
    free: BTreeMap<u64, u64>,
    /// Start → end of what is taken, padding included.
    taken: BTreeMap<u64, u64>,
    /// Start → end of what has no memory, in an elastic slab: neither free nor taken.
    holes: BTreeMap<u64, u64>,
}

impl Slab {
    /// Makes a range free, which merges with what is free beside it.
    fn add(&mut self, by_length: &mut ByLength, id: SlabId, mut start: u64, mut end: u64) {
        if let Some((&before, &stop)) = self.free.range(..start).next_back()
            && stop == start
        {
            self.free.remove(&before);
            by_length.remove(&(stop - before, id, before));
            start = before;
        }
        if let Some(stop) = self.free.remove(&end) {
            by_length.remove(&(stop - end, id, end));
            end = stop;
        }
        self.free.insert(start, end);
        by_length.insert((end - start, id, start));
    }

    /// Cuts what is free of a range out of the free runs.
    fn cut(&mut self, by_length: &mut ByLength, id: SlabId, start: u64, end: u64) {
        while let Some((&from, &to)) = self.free.range(..end).next_back()
            && to > start
        {
            self.free.remove(&from);
            by_length.remove(&(to - from, id, from));
            for (from, to) in [(from, start), (end, to)] {
                if from < to {
                    self.free.insert(from, to);
                    by_length.insert((to - from, id, from));
                }
            }
        }
    }
}

/// (bytes, slab, start) of free runs.
type ByLength = BTreeSet<(u64, SlabId, u64)>;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Fits {
    slabs: BTreeMap<SlabId, Slab>,
    by_length: ByLength,
}

impl Fits {
    /// The slabs that a pool has now.
    pub(super) fn slabs(&mut self, now: &Slabs) {
        let Self { slabs, by_length } = self;
        slabs.retain(|id, slab| {
            let stays = slab.pool != now.pool || now.sizes.get(id) == Some(&slab.size);
            if !stays {
                for (&start, end) in &slab.free {
                    by_length.remove(&(end - start, *id, start));
                }
            }
            stays
        });
        for (&id, &size) in &now.sizes {
            slabs.entry(id).or_insert_with(|| {
                by_length.insert((size, id, 0));
                let free = BTreeMap::from([(0, size)]);
                let (taken, holes) = (BTreeMap::new(), BTreeMap::new());
                Slab { pool: now.pool, size, free, taken, holes }
            });
        }
    }

    /// The slabs of a pool.
    pub(super) fn slabs_of(&self, pool: PoolId) -> Vec<SlabId> {
        self.slabs.iter().filter(|(_, slab)| slab.pool == pool).map(|(id, _)| *id).collect()
    }

    /// A range is in use, with what lies behind it up to `footprint` bytes.
    pub(super) fn take(&mut self, range: Range, footprint: u64) {
        let Range { slab: id, offset, .. } = range;
        let Some(slab) = self.slabs.get_mut(&id) else { return };
        // A pool that hands out what is taken is found by the oracle; here only what is free can be taken.
        let end = offset.saturating_add(footprint).min(slab.size);
        let Some((&start, &stop)) = slab.free.range(..=offset).next_back() else { return };
        let end = end.min(stop);
        if end <= offset {
            return;
        }
        slab.free.remove(&start);
        self.by_length.remove(&(stop - start, id, start));
        for (from, to) in [(start, offset), (end, stop)] {
            if from < to {
                slab.free.insert(from, to);
                self.by_length.insert((to - from, id, from));
            }
        }
        slab.taken.insert(offset, end);
    }

    /// The range is free again, and merges with what is free beside it.
    pub(super) fn give_back(&mut self, range: Range) {
        let Range { slab: id, offset, .. } = range;
        let Some(slab) = self.slabs.get_mut(&id) else { return };
        let Some(end) = slab.taken.remove(&offset) else { return };
        slab.add(&mut self.by_length, id, offset, end);
    }

    /// Memory was put into a range of an elastic slab: of what had none, it is free now.
    pub(super) fn put(&mut self, id: SlabId, start: u64, end: u64) {
        let Some(slab) = self.slabs.get_mut(&id) else { return };
        while let Some((&from, &to)) = slab.holes.range(..end).next_back()
            && to > start
        {
            slab.holes.remove(&from);
            for (from, to) in [(from, start), (end, to)] {
                if from < to {
                    slab.holes.insert(from, to);
                }
            }
            slab.add(&mut self.by_length, id, from.max(start), to.min(end));
        }
    }

    /// A range of an elastic slab, which is free, has no memory any more.
    pub(super) fn take_out(&mut self, id: SlabId, start: u64, end: u64) {
        let Some(slab) = self.slabs.get_mut(&id) else { return };
        let end = end.min(slab.size);
        if start < end {
            slab.cut(&mut self.by_length, id, start, end);
            slab.holes.insert(start, end);
        }
    }

    /// Whether memory for the demand, and as much again, might have been put in beside what is free.
    pub(super) fn could_grow(
        &self,
        demand: &Demand,
        room: Room,
        longest: impl Fn(SlabId, u64, u64) -> u64,
    ) -> bool {
        let enough = demand.footprint.saturating_mul(2);
        let elastic = |slab: &&Slab| {
            slab.pool == demand.pool && !slab.holes.is_empty() && !demand.whole_slabs
        };
        self.slabs.iter().filter(|(_, slab)| elastic(slab)).any(|(&id, slab)| {
            let ends = [0].into_iter().chain(slab.taken.values().copied());
            let starts = slab.taken.keys().copied().chain([slab.size]);
            ends.zip(starts).any(|(from, to)| {
                if to.saturating_sub(from) < enough || longest(id, from, to) < enough {
                    return false;
                }
                let holes = slab.holes.range(from..to).map(|(from, to)| to - from);
                let lacks = holes.fold(0, u64::saturating_add).min(enough);
                // At both ends memory comes in whole steps.
                lacks.saturating_add(2 * room.step) <= room.bytes
            })
        })
    }

    /// Whether a free run of the pool serves. `longest` says how many bytes in a row of a run may be used.
    pub(super) fn could_serve(
        &self,
        demand: &Demand,
        longest: impl Fn(SlabId, u64, u64) -> u64,
    ) -> bool {
        let enough =
            if demand.whole_slabs { demand.footprint } else { demand.footprint.saturating_mul(2) };
        self.by_length.range((enough, SlabId::from_bits(0), 0)..).any(|&(bytes, id, start)| {
            let Some(slab) = self.slabs.get(&id).filter(|slab| slab.pool == demand.pool) else {
                return false;
            };
            let enough = match demand.whole_slabs {
                true if bytes < slab.size => return false,
                true => slab.size,
                false => enough,
            };
            longest(id, start, start + bytes) >= enough
        })
    }
}

#[cfg(test)]
mod tests;
