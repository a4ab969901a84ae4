//! One face for the two heaps, so that the pool around them is written once.

use super::Coalescing;
use super::eager::EagerHeap;
use super::heap::{BlockDeath, CLEAN, Heap, Taken};
use super::virgin::Virgin;
use crate::Epoch;
use crate::death::Death;
use crate::frontier::{Entry, Frontier, FrontierRef, Merge};
use crate::inspect::BlockState;
use crate::offset::tlsf::{BlockId, Config, Need, RegionId, TlsfError};
use crate::progress::Progress;
use crate::slab::SlabProvider;
use alloc::boxed::Box;

/// What an acquire looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seek {
    /// What the requester may use at once, where it is usually found.
    Ready,
    /// What the requester may use at once, wherever it is. Every axis was polled before.
    Covered,
    /// What it will be able to use soonest.
    Soonest,
    /// The tightest stretch of free memory, ready or not.
    Tightest,
}

/// What an acquire is told, in one piece: in WebAssembly's code, what goes through the stack is waited for.
pub(super) struct Ask<'a> {
    pub(super) seek: Seek,
    pub(super) need: Need,
    pub(super) frontier: FrontierRef<'a>,
    pub(super) progress: &'a dyn Progress,
    /// Bytes.
    pub(super) requested: u64,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each pool, and the large one is the usual one"
)]
pub(super) enum Engine {
    Readiness(Heap),
    // Boxed, as it is there to be compared with: the other must not pay for its size.
    Eager(Box<EagerHeap>),
}

/// Calls the same method of whichever heap it is.
macro_rules! either {
    ($self:expr, $heap:ident => $call:expr) => {
        match $self {
            Engine::Readiness($heap) => $call,
            Engine::Eager($heap) => $call,
        }
    };
}

impl Engine {
    pub(super) fn new(config: Config, coalescing: Coalescing) -> Result<Self, TlsfError> {
        Ok(match coalescing {
            Coalescing::Readiness => Self::Readiness(Heap::new(config)?),
            Coalescing::Eager => Self::Eager(Box::new(EagerHeap::new(config)?)),
        })
    }

    /// Bytes that a request will take.
    pub(super) fn reserve_size(&self, need: Need) -> u64 {
        let granule = either!(self, heap => heap.offsets().config().granule);
        u64::from(need.units()) * granule
    }

    pub(super) fn committed_bytes(&self) -> u64 {
        either!(self, heap => heap.committed_bytes())
    }

    pub(super) fn reserved_bytes(&self) -> u64 {
        either!(self, heap => heap.reserved_bytes())
    }

    pub(super) fn pending_bytes(&self) -> u64 {
        either!(self, heap => heap.pending_bytes())
    }

    pub(super) fn tainted_bytes(&self) -> u64 {
        either!(self, heap => heap.tainted_bytes())
    }

    /// Deaths that became unknown in the heap.
    pub(super) fn taints(&self) -> u64 {
        match self {
            Self::Readiness(heap) => heap.taints(),
            Self::Eager(heap) => heap.taints,
        }
    }

    /// How often free bytes were found to be usable by more requesters than before, without a release.
    #[inline(always)]
    pub(super) fn moves(&self) -> u64 {
        either!(self, heap => heap.moves())
    }

    pub(super) fn add_region(&mut self, bytes: u64) -> Result<RegionId, TlsfError> {
        either!(self, heap => heap.add_region(bytes))
    }

    /// The heap that keeps blocks by readiness, if it is that one.
    pub(super) fn heap(&self) -> Option<&Heap> {
        match self {
            Self::Readiness(heap) => Some(heap),
            Self::Eager(_) => None,
        }
    }

    pub(super) fn heap_mut(&mut self) -> Option<&mut Heap> {
        match self {
            Self::Readiness(heap) => Some(heap),
            Self::Eager(_) => None,
        }
    }

    /// What of a region was never handed out.
    pub(super) fn untouched(&self, region: RegionId) -> Virgin {
        either!(self, heap => heap.untouched(region))
    }

    /// The region is of bytes that were known before: so much of it was never handed out.
    pub(super) fn set_untouched(&mut self, region: RegionId, untouched: Virgin) {
        either!(self, heap => heap.set_untouched(region, untouched));
    }

    /// Nothing of the region is in use or pending on anything that is not merged with the rest.
    pub(super) fn is_empty(&self, region: RegionId) -> bool {
        match self {
            Self::Readiness(heap) => {
                let offsets = heap.offsets();
                offsets.sole_free_block(region).is_some_and(|b| offsets.shelf_of(b) == Some(CLEAN))
            }
            Self::Eager(heap) => heap.offsets().sole_free_block(region).is_some(),
        }
    }

    pub(super) fn remove_region(
        &mut self,
        region: RegionId,
        progress: &dyn Progress,
    ) -> Option<u64> {
        match self {
            Self::Readiness(heap) => heap.remove_region(region),
            Self::Eager(heap) => heap.remove_region(region, progress),
        }
    }

    /// Whether what was taken waits for an axis that has not reached its epoch.
    #[inline(always)]
    pub(super) fn is_waited_for(
        &self,
        taken: &Taken,
        death: &BlockDeath,
        progress: &dyn Progress,
    ) -> bool {
        let waits = |entry: &Entry| !progress.has_reached(entry.axis, entry.epoch);
        taken.pending
            && (death.as_ref().entries().iter().any(waits)
                || taken.overflow && self.any(taken, &waits))
    }

    #[cold]
    #[inline(never)]
    fn any(&self, taken: &Taken, holds: &dyn Fn(&Entry) -> bool) -> bool {
        let mut any = false;
        if let Self::Readiness(heap) = self {
            heap.for_each_entry(taken.block, &BlockDeath::new(), &mut |entry| any |= holds(&entry));
        }
        any
    }

    /// What a requester has to wait for before it uses what was taken: neither known to it nor reached. `None` when that
    /// is more than a frontier holds.
    pub(super) fn wait_for(
        &self,
        taken: &Taken,
        death: &BlockDeath,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
    ) -> Option<Frontier> {
        let (mut wait, mut merged) = (Frontier::new(), Merge::Done);
        let mut visit = |Entry { axis, epoch, .. }: Entry| {
            if frontier.get(axis) < epoch
                && !progress.has_reached(axis, epoch)
                && merged == Merge::Done
            {
                merged = wait.advance(axis, epoch);
            }
        };
        match self {
            Self::Readiness(heap) => heap.for_each_entry(taken.block, death, &mut visit),
            Self::Eager(_) => death.as_ref().entries().iter().copied().for_each(visit),
        }
        (merged == Merge::Done).then_some(wait)
    }

    /// [`acquire`](Self::acquire)s what is ready, on the usual way.
    // Always: a pool's acquire is this, twice over, and half as much again when it is called.
    #[inline(always)]
    pub(super) fn acquire_ready(&mut self, ask: &Ask<'_>, death: &mut BlockDeath) -> Option<Taken> {
        match self {
            Self::Readiness(heap) => {
                heap.acquire(ask.need, ask.frontier, ask.progress, ask.requested, death)
            }
            Self::Eager(_) => self.acquire(ask, death),
        }
    }

    #[inline(never)]
    pub(super) fn acquire(&mut self, ask: &Ask<'_>, death: &mut BlockDeath) -> Option<Taken> {
        let &Ask { seek, need, frontier, progress, requested } = ask;
        match (self, seek) {
            (Self::Readiness(heap), Seek::Ready) => {
                heap.acquire_again(need, frontier, progress, requested, death)
            }
            (Self::Readiness(heap), Seek::Soonest) => {
                heap.acquire_pending(need, frontier, progress, requested, death)
            }
            (Self::Readiness(heap), Seek::Tightest) => {
                heap.acquire_compact(need, frontier, progress, requested, death)
            }
            (Self::Readiness(heap), Seek::Covered) => {
                heap.acquire_covered(need, frontier, progress, requested, death)
            }
            // Eager merging has no such search: its first one looks everywhere.
            (Self::Eager(_), Seek::Tightest | Seek::Covered) => None,
            (Self::Eager(heap), Seek::Ready | Seek::Soonest) => {
                let may_wait = seek == Seek::Soonest;
                heap.acquire(need, frontier, progress, requested, may_wait, death)
            }
        }
    }

    #[inline]
    pub(super) fn free(&mut self, block: BlockId, death: Death<'_>, progress: &dyn Progress) {
        either!(self, heap => heap.free(block, death, progress));
    }

    /// Frees a block as if it had not been acquired.
    #[cold]
    #[inline(never)]
    pub(super) fn cancel(&mut self, block: BlockId, death: Death<'_>, progress: &dyn Progress) {
        match self {
            Self::Readiness(heap) => heap.cancel(block, death, progress),
            Self::Eager(heap) => heap.free(block, death, progress),
        }
    }

    /// Where every block of this death is filed, while progress stands still: the shelf, and the epoch. `None` where each
    /// has to be looked at.
    pub(super) fn shelf_for(
        &mut self,
        death: Death<'_>,
        progress: &dyn Progress,
    ) -> Option<(u32, Epoch)> {
        match self {
            Self::Readiness(heap) => heap.shelf_for(death, progress),
            Self::Eager(_) => None,
        }
    }

    /// [`free`](Self::free)s blocks, where [`shelf_for`](Self::shelf_for) said.
    #[inline(always)]
    pub(super) fn file_each(
        &mut self,
        blocks: impl Iterator<Item = BlockId>,
        shelf: u32,
        epoch: Epoch,
    ) {
        match self {
            Self::Readiness(heap) => heap.file_each(blocks, shelf, epoch),
            Self::Eager(_) => unreachable!("eager merging names no shelf"),
        }
    }

    /// Where a block is.
    /// Bytes of a block.
    #[cfg(feature = "hosted")]
    pub(super) fn size_of(&self, block: BlockId) -> u64 {
        either!(self, heap => heap.offsets().size(block))
    }

    pub(super) fn place_of(&self, block: BlockId) -> (RegionId, u64) {
        either!(self, heap => (heap.offsets().region(block), heap.offsets().offset(block)))
    }

    /// Whether free bytes were found to be usable by more requesters than before.
    pub(super) fn poll_all(&mut self, progress: &dyn Progress, device: &dyn SlabProvider) -> bool {
        match self {
            Self::Readiness(heap) => {
                heap.poll_all(progress, |axis, epoch| device.query_epoch(axis, epoch))
            }
            Self::Eager(heap) => heap.poll(progress),
        }
    }

    pub(super) fn quiesce(&mut self) {
        either!(self, heap => heap.quiesce());
    }

    /// Visits the blocks of a region: offset, size, state.
    pub(super) fn visit(&self, region: RegionId, visit: &mut dyn FnMut(u64, u64, BlockState<'_>)) {
        let offsets = either!(self, heap => heap.offsets());
        fn state(death: Option<&BlockDeath>) -> BlockState<'_> {
            match death {
                None => BlockState::Tainted,
                Some(death) if death.is_empty() => BlockState::Clean,
                Some(death) => BlockState::Pending(death.as_ref()),
            }
        }
        for block in offsets.blocks(region) {
            let (offset, size) = (offsets.offset(block), offsets.size(block));
            if offsets.shelf_of(block).is_none() {
                if self.heap().is_some_and(|heap| heap.is_hole(block)) {
                    continue;
                }
                let requested = offsets.label(block).requested();
                visit(offset, size, BlockState::Live { requested });
                continue;
            }
            match self {
                Self::Readiness(heap) => heap.for_each_part(block, &mut |offset, size, death| {
                    visit(offset, size, state(death));
                }),
                Self::Eager(heap) => visit(offset, size, state(heap.death_of(block).as_ref())),
            }
        }
    }
}
