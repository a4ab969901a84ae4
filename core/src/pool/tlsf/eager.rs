//! The heap as eager merging makes it: the policy that readiness is compared with.
//!
//! Every free neighbour is merged at once, whatever it waits for; the merged block waits for all of it.
//! A request tries candidate after candidate until it meets one that its frontier or progress covers.
//! This is how IREE's TLSF pool treats death frontiers. Two costs follow, and comparing shows them:
//! ready bytes wait for their neighbours, and a search is linear in the free blocks that are not
//! ready. A join of more axes than a block can hold is unknown: merging taints.
//!
//! Its answers are as true as the other's: what it hands out is ready, `Completion` means that every axis was reached, and
//! a wait names what is neither known nor reached. But the deaths that it goes by are those of merged blocks, later than those
//! of the bytes: it refuses what readiness finds, and a cancel gives back the joined death.
//!
//! # Cost
//! `free` O(1); `acquire` O(free blocks that would fit and are not ready).

use super::heap::{BlockDeath, Slip, Taken};
use super::virgin::Virgin;
use crate::death::Death;
use crate::frontier::{FrontierRef, Merge};
use crate::offset::tlsf::{BlockId, Config, Need, RegionId, Side, Tlsf, TlsfError};
use crate::pool::inbox::StoredDeath;
use crate::progress::Progress;
use alloc::vec::Vec;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct EagerHeap {
    /// A label has the block's row in `deaths`, and its rank is 0: a filed block's word is.
    tlsf: Tlsf<Slip>,
    deaths: Vec<StoredDeath>,
    vacant: Vec<u32>,
    virgins: Vec<Virgin>,
    committed: u64,
    reserved: u64,
    /// Free bytes with a death other than idle, and those of unknown death.
    pending: u64,
    tainted: u64,
    /// Joins that had more axes than a block holds.
    pub(super) taints: u64,
    /// Deaths that were found to be reached on an axis.
    moves: u64,
}

impl EagerHeap {
    pub(super) fn new(config: Config) -> Result<Self, TlsfError> {
        let mut tlsf = Tlsf::new(config)?;
        tlsf.add_shelf().ok_or(TlsfError::Full)?;
        Ok(Self {
            tlsf,
            deaths: Vec::new(),
            vacant: Vec::new(),
            virgins: Vec::new(),
            committed: 0,
            reserved: 0,
            pending: 0,
            tainted: 0,
            taints: 0,
            moves: 0,
        })
    }

    pub(super) fn offsets(&self) -> &Tlsf<Slip> {
        &self.tlsf
    }

    pub(super) fn committed_bytes(&self) -> u64 {
        self.committed
    }

    pub(super) fn reserved_bytes(&self) -> u64 {
        self.reserved
    }

    pub(super) fn pending_bytes(&self) -> u64 {
        self.pending
    }

    pub(super) fn tainted_bytes(&self) -> u64 {
        self.tainted
    }

    pub(super) fn add_region(&mut self, bytes: u64) -> Result<RegionId, TlsfError> {
        let row = self.new_row(StoredDeath::IDLE);
        let slip = Slip::in_row(row, 0);
        let (region, block) = match self.tlsf.add_region(bytes, slip) {
            Ok(added) => added,
            Err(error) => {
                self.vacant.push(row);
                return Err(error);
            }
        };
        let size = self.tlsf.size(block);
        let index = region.index() as usize;
        if index == self.virgins.len() {
            self.virgins.push(Virgin::new(size));
        } else {
            self.virgins[index] = Virgin::new(size);
        }
        self.committed += size;
        self.tlsf.insert(block, 0, slip);
        Ok(region)
    }

    /// What of a region was never handed out.
    pub(super) fn untouched(&self, region: RegionId) -> Virgin {
        self.virgins[region.index() as usize].clone()
    }

    /// The region is of bytes that were known before: so much of it was never handed out.
    pub(super) fn set_untouched(&mut self, region: RegionId, untouched: Virgin) {
        self.virgins[region.index() as usize] = untouched;
    }

    pub(super) fn remove_region(
        &mut self,
        region: RegionId,
        progress: &dyn Progress,
    ) -> Option<u64> {
        let block = self.tlsf.sole_free_block(region)?;
        let row = self.tlsf.label(block).row();
        let death = &self.deaths[row as usize];
        if death.unknown || !death.after.as_ref().is_satisfied(progress) {
            return None;
        }
        let size = self.tlsf.size(block);
        self.uncount(row, size);
        self.vacant.push(row);
        self.tlsf.remove_region(region).then(|| {
            self.committed -= size;
            size
        })
    }

    /// Tries candidate after candidate; when none is ready and `may_wait`, the first that is known.
    pub(super) fn acquire(
        &mut self,
        need: Need,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
        requested: u64,
        may_wait: bool,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        let mut known = None;
        let mut ready = None;
        self.tlsf.candidates(0, need, usize::MAX, usize::MAX, &mut |place| {
            let death = &self.deaths[self.tlsf.label(place.block).row() as usize];
            if !death.unknown && known.is_none() {
                known = Some(place);
            }
            let is_ready = !death.unknown
                && death.after.as_ref().entries().iter().all(|entry| {
                    frontier.get(entry.axis) >= entry.epoch
                        || progress.has_reached(entry.axis, entry.epoch)
                });
            if is_ready {
                ready = Some(place);
            }
            !is_ready
        });
        let place = ready.or(if may_wait { known } else { None })?;
        let source = place.block;
        let slip = *self.tlsf.label(source);
        let was = self.deaths[slip.row() as usize];
        let before = self.tlsf.size(source);
        let taken = self.tlsf.take(place, Slip::in_row(slip.row(), requested))?;
        let size = self.tlsf.size(taken.block);
        self.uncount(slip.row(), size);
        *death = was.after;
        if taken.source_gone {
            self.vacant.push(slip.row());
        }
        if let Some(loose) = taken.loose {
            let row = self.new_row(was);
            self.tlsf.insert(loose, 0, Slip::in_row(row, 0));
        }
        debug_assert!(size <= before);
        self.reserved += size;
        let (region, offset) = (self.tlsf.region(taken.block), self.tlsf.offset(taken.block));
        let fresh = self.virgins[region.index() as usize].touch(offset, offset + size);
        let (block, pending) = (taken.block, !death.is_empty());
        Some(Taken { block, region, offset, fresh, pending, overflow: false })
    }

    pub(super) fn free(&mut self, block: BlockId, death: Death<'_>, progress: &dyn Progress) {
        let mut size = self.tlsf.size(block);
        self.reserved -= size;
        self.tlsf.loosen(block);
        let mut joined = StoredDeath::IDLE;
        joined.set(death, progress);
        for side in [Side::Left, Side::Right] {
            if let Some((neighbour, _)) = self.tlsf.neighbour(block, side) {
                let row = self.tlsf.label(neighbour).row();
                let merged = self.tlsf.size(neighbour);
                size += merged;
                self.uncount(row, merged);
                self.vacant.push(row);
                let other = self.deaths[row as usize];
                self.join(&mut joined, &other);
                self.tlsf.absorb(block, neighbour);
            }
        }
        let row = self.new_row(joined);
        self.count(row, size);
        self.tlsf.insert(block, 0, Slip::in_row(row, 0));
    }

    pub(super) const fn moves(&self) -> u64 {
        self.moves
    }

    /// Forgets what free blocks wait for no more. Whether there was any. O(blocks).
    pub(super) fn poll(&mut self, progress: &dyn Progress) -> bool {
        let before = self.moves;
        let blocks = self.tlsf.regions().flat_map(|region| self.tlsf.blocks(region));
        let free: Vec<_> = blocks.filter(|&block| self.tlsf.shelf_of(block).is_some()).collect();
        for block in free {
            let row = self.tlsf.label(block).row();
            let size = self.tlsf.size(block);
            let mut left = BlockDeath::new();
            let death = &self.deaths[row as usize];
            for entry in death.after.as_ref().entries() {
                if !progress.has_reached(entry.axis, entry.epoch) {
                    // It has room for as many as were there.
                    let _ = left.advance(entry.axis, entry.epoch);
                }
            }
            if left.as_ref().len() < death.after.as_ref().len() {
                self.moves += 1;
                self.uncount(row, size);
                self.deaths[row as usize].after = left;
                self.count(row, size);
            }
        }
        self.moves != before
    }

    pub(super) fn quiesce(&mut self) {
        for death in &mut self.deaths {
            *death = StoredDeath::IDLE;
        }
        (self.pending, self.tainted) = (0, 0);
    }

    /// The death of a free block, `None` when it is unknown.
    pub(super) fn death_of(&self, block: BlockId) -> Option<BlockDeath> {
        let death = &self.deaths[self.tlsf.label(block).row() as usize];
        (!death.unknown).then_some(death.after)
    }

    fn join(&mut self, into: &mut StoredDeath, other: &StoredDeath) {
        if into.unknown || other.unknown {
            into.unknown = true;
            into.after.clear();
        } else if into.after.merge(other.after.as_ref()) == Merge::Overflow {
            into.unknown = true;
            into.after.clear();
            self.taints += 1;
        }
    }

    fn count(&mut self, row: u32, size: u64) {
        let death = &self.deaths[row as usize];
        if death.unknown {
            self.tainted += size;
        } else if !death.after.is_empty() {
            self.pending += size;
        }
    }

    fn uncount(&mut self, row: u32, size: u64) {
        let death = &self.deaths[row as usize];
        if death.unknown {
            self.tainted -= size;
        } else if !death.after.is_empty() {
            self.pending -= size;
        }
    }

    fn new_row(&mut self, death: StoredDeath) -> u32 {
        if let Some(row) = self.vacant.pop() {
            self.deaths[row as usize] = death;
            return row;
        }
        self.deaths.push(death);
        // At most one row per block, and blocks are numbered in 32 bits.
        (self.deaths.len() - 1) as u32
    }
}
