//! How slabs come and go. The provider is called without a lock held.
//!
//! A slab leaves when all its blocks could be taken off the clean shelf: then they are this thread's alone.

use super::counters::Kind;
use super::{CLEAN, FixedBlockPool, Found};
use crate::inspect::Event;
use crate::pool::growth::Growth;
use crate::pool::{Pool, PoolError};
use crate::slab::{Grant, Slab, SlabError, SlabId, Trim};
use crate::sync::atomic::Ordering;

impl FixedBlockPool {
    /// Takes a slab from the provider and keeps its first block for the caller.
    pub(super) fn grow(&self) -> Result<Option<Found>, PoolError> {
        let shape = &self.shape;
        let place = {
            let admin = &mut *self.admin.lock();
            let Some(place) = admin.vacant.pop() else { return Ok(None) };
            place
        };
        let slab = match self.request_slab() {
            Ok(Some(slab)) => slab,
            other => {
                self.vacate(place);
                return other.map(|_| None);
            }
        };
        let blocks = (slab.size / shape.stride).min(1 << shape.shift) as u32;
        let first = place << shape.shift;
        let bytes = u64::from(blocks) * shape.stride;
        // Relaxed: the release that puts the blocks on the shelf publishes both.
        self.places[place as usize].id.store(slab.id.to_bits(), Ordering::Relaxed);
        self.places[place as usize].blocks.store(blocks, Ordering::Relaxed);
        self.slabs.fetch_add(1, Ordering::Relaxed);
        let committed = self.committed.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak_committed.fetch_max(committed, Ordering::Relaxed);
        self.emit(Event::SlabAcquired { pool: self.id, slab: slab.id, size: bytes });
        if blocks > 1 {
            self.blocks.put_range(CLEAN, first + 1, blocks - 1);
            self.notification.signal_if_observed();
        }
        self.blocks.set_key(first, 0);
        Ok(Some(Found { block: first, source: CLEAN, kind: Kind::Fresh, was_pending: false }))
    }

    pub(super) fn request_slab(&self) -> Result<Option<Slab>, PoolError> {
        let provider = &self.host.provider;
        let growth = Growth { slab_size: self.shape.slab, max_slabs: u32::MAX };
        for size in growth.candidates(self.shape.least_slab, 0, &provider.properties()) {
            let Some(size) = size else { continue };
            match provider.acquire(size)? {
                Grant::Slab(slab) if slab.size >= self.shape.stride => return Ok(Some(slab)),
                Grant::Slab(slab) => {
                    // Less than was asked for: of no use, and a fault of the provider.
                    provider.release(slab.id)?;
                    return Err(SlabError::InvalidSize { size }.into());
                }
                Grant::NoCapacity => {}
            }
        }
        Ok(None)
    }

    pub(super) fn vacate(&self, place: u32) {
        self.admin.lock().vacant.push(place);
    }

    /// Gives slabs back all of whose blocks are clean.
    pub(super) fn trim_slabs(&self, how: Trim) -> Result<u64, PoolError> {
        Pool::poll(self);
        let (mut trimmed, mut kept, mut kept_bytes) = (0, 0, 0);
        for (place, at) in self.places.iter().zip(0u32..) {
            let blocks = place.blocks.load(Ordering::Relaxed);
            let first = at << self.shape.shift;
            if blocks == 0 {
                continue;
            }
            let bytes = u64::from(blocks) * self.shape.stride;
            let taken = self.blocks.take_range(CLEAN, first, blocks);
            // From here on nobody else can touch the slab: its blocks are ours. Since the look at
            // the number of blocks another slab may have come here, though.
            let same = taken && place.blocks.load(Ordering::Relaxed) == blocks;
            let keep = how == Trim::Excess && self.retention.keeps(kept, kept_bytes, bytes);
            let id = SlabId::from_bits(place.id.load(Ordering::Relaxed));
            let released = if same && !keep { self.host.provider.release(id) } else { Ok(()) };
            if !same || keep || released.is_err() {
                if taken {
                    for block in first..first + blocks {
                        self.blocks.put(CLEAN, block, self.blocks.key(block));
                    }
                }
                // Also a range that was not taken was hidden for a moment.
                self.notification.signal_if_observed();
                released?;
                if same {
                    kept += 1;
                    kept_bytes += bytes;
                }
                continue;
            }
            place.blocks.store(0, Ordering::Relaxed);
            self.slabs.fetch_sub(1, Ordering::Relaxed);
            self.committed.fetch_sub(bytes, Ordering::Relaxed);
            self.vacate(at);
            self.emit(Event::SlabReleased { pool: self.id, slab: id });
            trimmed += bytes;
        }
        if trimmed != 0 {
            // There is room to grow again.
            self.notification.signal_if_observed();
        }
        Ok(trimmed)
    }
}
