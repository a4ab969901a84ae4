//! For tests: slabs on the heap, and a small first-fit pool that can be told to break each of the rules.

use crate::memory::Memory;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use strandline_core::inspect::{BlockState, BlockView};
use strandline_core::pool::{Origin, PoolHost, PoolId, PoolProperties, ReleaseError, ReuseProof};
use strandline_core::slab::{BufferUsage, MemoryType, SlabProperties, SlabStats, SlabTable, Trim};
use strandline_core::{
    Acquire, Death, Frontier, Grant, Notification, Pool, PoolError, PoolStats, Request,
    Reservation, Slab, SlabError, SlabId, SlabProvider,
};

/// Slabs of zeroed heap memory, up to a capacity.
#[derive(Debug)]
pub(crate) struct Heap {
    capacity: u64,
    state: Mutex<(SlabTable<Vec<u8>>, SlabStats)>,
}

impl Heap {
    pub(crate) fn new(capacity: u64) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    fn with<R>(
        &self,
        slab: SlabId,
        offset: u64,
        len: usize,
        f: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R, SlabError> {
        let mut state = self.state.lock().unwrap();
        let slab = state.0.get_mut(slab).ok_or(SlabError::UnknownSlab(slab))?;
        let offset = usize::try_from(offset).map_err(|_| SlabError::InvalidRange)?;
        let range = offset..offset.checked_add(len).ok_or(SlabError::InvalidRange)?;
        slab.get_mut(range).map(f).ok_or(SlabError::InvalidRange)
    }
}

impl Memory for Heap {
    fn write(&self, slab: SlabId, offset: u64, bytes: &[u8]) -> Result<(), SlabError> {
        self.with(slab, offset, bytes.len(), |to| to.copy_from_slice(bytes))
    }

    fn read(&self, slab: SlabId, offset: u64, bytes: &mut [u8]) -> Result<(), SlabError> {
        self.with(slab, offset, bytes.len(), |from| bytes.copy_from_slice(from))
    }
}

impl SlabProvider for Heap {
    fn properties(&self) -> SlabProperties {
        SlabProperties {
            memory_type: MemoryType::HOST_VISIBLE,
            usage: BufferUsage::STORAGE,
            alignment: 4096,
            granularity: 4096,
            max_slab_size: 1 << 40,
        }
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        let mut state = self.state.lock().unwrap();
        let size = size.next_multiple_of(4096);
        if state.1.committed_bytes.checked_add(size).is_none_or(|sum| sum > self.capacity) {
            state.1.refusals += 1;
            return Ok(Grant::NoCapacity);
        }
        state.1.committed_bytes += size;
        state.1.slabs += 1;
        let id = state.0.insert(vec![0; size as usize]).map_err(|_| SlabError::Lost)?;
        Ok(Grant::Slab(Slab { id, size }))
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        let mut state = self.state.lock().unwrap();
        let slab = state.0.remove(id).ok_or(SlabError::UnknownSlab(id))?;
        state.1.committed_bytes -= slab.len() as u64;
        state.1.slabs -= 1;
        Ok(())
    }

    fn stats(&self) -> SlabStats {
        self.state.lock().unwrap().1
    }
}

/// A rule that [`FirstFit`] breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// Hands pending blocks out as if they were ready.
    IgnoresDeaths,
    /// Hands out blocks that are live.
    Overlaps,
}

#[derive(Clone, Debug)]
enum Block {
    Live { requested: u64 },
    Free(Option<Frontier>),
    Tainted,
}

/// One slab, searched from its start; every block keeps its own death.
pub(crate) struct FirstFit {
    id: PoolId,
    host: PoolHost,
    flaw: Flaw,
    slab_size: u64,
    notification: Arc<Notification>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slab: Option<Slab>,
    /// Offset → size and state; tiles the slab.
    blocks: BTreeMap<u64, (u64, Block)>,
    stats: PoolStats,
}

impl core::fmt::Debug for FirstFit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FirstFit").field("flaw", &self.flaw).finish_non_exhaustive()
    }
}

impl FirstFit {
    pub(crate) fn new(host: PoolHost, slab_size: u64, flaw: Flaw) -> Self {
        let notification = Arc::new(Notification::new(None));
        Self { id: PoolId::next(), host, flaw, slab_size, notification, state: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool for FirstFit {
    fn id(&self) -> PoolId {
        self.id
    }

    fn properties(&self) -> PoolProperties {
        PoolProperties {
            kind: "first-fit",
            memory_type: MemoryType::HOST_VISIBLE,
            usage: BufferUsage::STORAGE,
            alignment: 1,
            max_request: self.slab_size,
        }
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        let mut state = self.lock();
        let observed = self.notification.observe();
        if state.slab.is_none() {
            let Grant::Slab(slab) = self.host.provider.acquire(self.slab_size)? else {
                return Ok(Acquire::Exhausted { observed, growth_required: true });
            };
            state.stats.committed_bytes = slab.size;
            state.stats.free_bytes = slab.size;
            state.stats.slabs = 1;
            state.blocks.insert(0, (slab.size, Block::Free(None)));
            state.slab = Some(slab);
        }
        let slab = state.slab.as_ref().map_or(SlabId::new(0, 0), |slab| slab.id);
        let progress = &*self.host.progress;
        let mut waiting = None;
        let mut found = None;
        for (&offset, (size, block)) in &state.blocks {
            match block {
                Block::Live { .. } if self.flaw == Flaw::Overlaps && *size >= request.size => {
                    state.stats.requested_bytes += request.size;
                    let size = request.size;
                    let reservation = Reservation::foreign(self.id, slab, offset, size, u64::MAX);
                    return Ok(Acquire::Ready { reservation, origin: Origin::Fresh });
                }
                Block::Free(death) if *size >= request.size => {
                    let death = death.as_ref().map_or(Default::default(), Frontier::as_ref);
                    let ready = self.flaw == Flaw::IgnoresDeaths
                        || request.frontier.dominates(death)
                        || death.is_satisfied(progress);
                    if ready {
                        found = Some((offset, None));
                        break;
                    }
                    if request.may_wait {
                        waiting.get_or_insert((offset, Some(death.to_frontier())));
                    }
                }
                _ => {}
            }
        }
        let Some((offset, wait)) = found.or(waiting) else {
            state.stats.exhausted += 1;
            return Ok(Acquire::Exhausted { observed, growth_required: true });
        };
        let Some((size, Block::Free(death))) = state.blocks.remove(&offset) else {
            return Err(PoolError::TooManyBlocks);
        };
        if size > request.size {
            let rest = (size - request.size, Block::Free(death.clone()));
            state.blocks.insert(offset + request.size, rest);
        }
        state.blocks.insert(offset, (request.size, Block::Live { requested: request.size }));
        let stats = &mut state.stats;
        stats.reserved_bytes += request.size;
        stats.requested_bytes += request.size;
        stats.free_bytes -= request.size;
        stats.live += 1;
        stats.reserves += 1;
        let reservation = Reservation::foreign(self.id, slab, offset, request.size, offset);
        Ok(match wait {
            Some(wait) => {
                stats.waited += 1;
                Acquire::AfterWait { reservation, wait }
            }
            None if death.is_none() => {
                stats.fresh += 1;
                Acquire::Ready { reservation, origin: Origin::Fresh }
            }
            None => {
                stats.dominated += 1;
                Acquire::Ready { reservation, origin: Origin::Reused(ReuseProof::Dominance) }
            }
        })
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        if reservation.pool() != self.id {
            return Err(ReleaseError::other_pool(reservation));
        }
        let mut state = self.lock();
        state.stats.requested_bytes -= reservation.size();
        if reservation.foreign_token() == Some(u64::MAX) {
            return Ok(());
        }
        let block = match death {
            Death::Idle => Block::Free(None),
            Death::After(frontier) => Block::Free(Some(frontier.to_frontier())),
            Death::Unknown => Block::Tainted,
        };
        let size = reservation.size();
        state.stats.reserved_bytes -= size;
        state.stats.free_bytes += size;
        state.stats.live -= 1;
        state.stats.releases += 1;
        let mut at = (reservation.offset(), size);
        if let Block::Free(None) = block {
            if let Some((&left, &(len, Block::Free(None)))) = state.blocks.range(..at.0).next_back()
            {
                state.blocks.remove(&left);
                at = (left, at.1 + len);
            }
            let end = reservation.offset() + size;
            if let Some(&(len, Block::Free(None))) = state.blocks.get(&end) {
                state.blocks.remove(&end);
                at.1 += len;
            }
        }
        state.blocks.remove(&reservation.offset());
        state.blocks.insert(at.0, (at.1, block));
        drop(state);
        self.notification.signal_if_observed();
        Ok(())
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        self.release(reservation, Death::Idle)
    }

    fn poll(&self) {}

    fn quiesce(&self) {
        for (_, block) in self.lock().blocks.values_mut() {
            if !matches!(block, Block::Live { .. }) {
                *block = Block::Free(None);
            }
        }
    }

    fn trim(&self, _how: Trim) -> Result<u64, PoolError> {
        Ok(0)
    }

    fn stats(&self) -> PoolStats {
        let state = self.lock();
        let mut stats = state.stats;
        let pending = |block: &Block| match block {
            Block::Free(Some(death)) => !death.as_ref().is_satisfied(&*self.host.progress),
            _ => false,
        };
        stats.pending_bytes =
            state.blocks.values().filter(|(_, block)| pending(block)).map(|(size, _)| size).sum();
        stats
    }

    fn notification(&self) -> &Arc<Notification> {
        &self.notification
    }

    fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        let state = self.lock();
        let Some(slab) = &state.slab else { return };
        for (&offset, (size, block)) in &state.blocks {
            let state = match block {
                Block::Live { requested } => BlockState::Live { requested: *requested },
                Block::Free(Some(death)) if !death.as_ref().is_satisfied(&*self.host.progress) => {
                    BlockState::Pending(death.as_ref())
                }
                Block::Free(_) => BlockState::Clean,
                Block::Tainted => BlockState::Tainted,
            };
            visit(&BlockView { slab: slab.id, offset, size: *size, state });
        }
    }
}
