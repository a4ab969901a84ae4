//! Addresses of this machine, with bytes that can be written and read where the machine has them.
//!
//! ```text
//!   acquire ─▶ Numbers: is there capacity? ─▶ map it, uncounted ─┬─ mapped: blocks are tagged, within RESIDENT
//!                        └ the verdict                           └─ refused by this machine: numbers only, and told
//! ```
//!
//! **The verdict does not depend on this machine.** Whether a slab is granted is decided by the capacity alone. A slab is addresses, not
//! memory, until it is touched; and what is touched is bounded by [`RESIDENT`]. What this machine refuses to map, or what would
//! exceed that bound, is played without bytes: placement is checked all the same, and the report [says so](Unchecked).

use super::numbers::Numbers;
use super::{Backing, BuildError, Change, Committed, Native};
use crate::hash::FastMap;
use crate::memory::{Memory, Tagged, Tags, Unchecked};
use resident::Resident;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::slab::{Elastic, Slab, SlabMap, SlabProperties, SlabStats};
use strandline_core::{Grant, SlabError, SlabId, SlabProvider};
use strandline_host_native::MmapSlabProvider;

mod resident;

/// The most memory that tags may keep, in bytes.
pub const RESIDENT: u64 = 2 << 30;

impl Backing {
    /// This machine's memory: anonymous mappings, up to `capacity` bytes, which may be more than the machine has.
    ///
    /// # Errors
    /// The provider could not be made.
    pub fn mmap(capacity: Option<u64>) -> Result<Self, BuildError> {
        let host = MmapSlabProvider::builder()
            .uncounted(true)
            .build()
            .map_err(|error| BuildError::Provider(error.to_string()))?;
        let provider = Arc::new(Mapped::new(host, capacity.unwrap_or(u64::MAX), RESIDENT));
        let committed: Option<Arc<dyn Committed>> = Some(provider.clone());
        let memory: Option<Arc<dyn Tags>> = Some(provider.clone());
        Ok(Self { provider, memory, maker: Arc::new(Native), committed })
    }
}

/// Slabs by numbers, mapped as far as the host maps them.
#[derive(Debug)]
struct Mapped {
    numbers: Numbers,
    host: Host,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Where each slab is mapped, if the host did.
    places: FastMap<SlabId, Option<SlabId>>,
    resident: Resident,
    /// Blocks without a tag: slab, offset, and the tag that was not written.
    untagged: HashSet<(SlabId, u64, u64)>,
    unmapped_bytes: u64,
    unchecked: Unchecked,
}

impl Mapped {
    fn new(host: MmapSlabProvider, capacity: u64, resident: u64) -> Self {
        let page = host.properties().granularity;
        let resident = Resident::new(page, usize::try_from(resident / page).unwrap_or(usize::MAX));
        Self {
            numbers: Numbers::new(capacity),
            host: Host(host),
            state: Mutex::new(State {
                places: FastMap::default(),
                resident,
                untagged: HashSet::new(),
                unmapped_bytes: 0,
                unchecked: Unchecked::default(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two writes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add_unmapped(&mut self, bytes: u64) {
        self.unmapped_bytes += bytes;
        let most = &mut self.unchecked.unmapped_bytes;
        *most = self.unmapped_bytes.max(*most);
    }
}

impl Mapped {
    /// Maps a slab, if the host does. Why it refuses makes no difference: it is not the one that is judged.
    fn place(&self, slab: Slab) -> Option<SlabId> {
        let place = match self.host.0.acquire(slab.size) {
            Ok(Grant::Slab(mapped)) => Some(mapped.id),
            Ok(Grant::NoCapacity) | Err(_) => None,
        };
        self.lock().places.insert(slab.id, place);
        place
    }
}

impl SlabProvider for Mapped {
    fn properties(&self) -> SlabProperties {
        let numbers = self.numbers.properties();
        SlabProperties { memory_type: self.host.0.properties().memory_type, ..numbers }
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        let Grant::Slab(slab) = self.numbers.acquire(size)? else { return Ok(Grant::NoCapacity) };
        if self.place(slab).is_none() {
            self.lock().add_unmapped(slab.size);
        }
        Ok(Grant::Slab(slab))
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        let bytes = self.numbers.release_bytes(id)?;
        let state = &mut *self.lock();
        match state.places.remove(&id).flatten() {
            Some(mapped) => {
                state.resident.forget(id);
                self.host.0.release(mapped)
            }
            None => {
                state.unmapped_bytes -= bytes;
                Ok(())
            }
        }
    }

    fn elastic(&self) -> Option<Elastic> {
        self.numbers.elastic()
    }

    fn reserve(&self, size: u64) -> Result<Grant, SlabError> {
        let Grant::Slab(slab) = self.numbers.reserve(size)? else { return Ok(Grant::NoCapacity) };
        // Addresses, as any slab: see above.
        let _ = self.place(slab);
        Ok(Grant::Slab(slab))
    }

    fn commit(&self, id: SlabId, offset: u64, len: u64) -> Result<bool, SlabError> {
        let granted = self.numbers.commit(id, offset, len)?;
        let state = &mut *self.lock();
        if granted && state.places.get(&id) == Some(&None) {
            state.add_unmapped(len);
        }
        Ok(granted)
    }

    fn decommit(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        self.numbers.decommit(id, offset, len)?;
        let state = &mut *self.lock();
        match state.places.get(&id) {
            Some(&Some(mapped)) => {
                // A system that cannot keeps the pages: more memory than is counted, and nothing wrong.
                let _ = self.host.0.discard(mapped, offset, len);
            }
            _ => state.unmapped_bytes -= len,
        }
        Ok(())
    }

    fn room(&self) -> Option<u64> {
        SlabProvider::room(&self.numbers)
    }

    fn stats(&self) -> SlabStats {
        self.numbers.stats()
    }

    fn answers_epochs(&self) -> bool {
        false
    }
}

impl Committed for Mapped {
    fn addresses(&self, slab: SlabId) -> Option<u64> {
        self.numbers.addresses(slab)
    }

    fn changes(&self) -> Vec<Change> {
        self.numbers.changes()
    }

    fn room(&self) -> u64 {
        Committed::room(&self.numbers)
    }

    fn step(&self) -> u64 {
        self.numbers.step()
    }
}

impl Tags for Mapped {
    fn tag(&self, block: &Tagged) -> Result<(), SlabError> {
        let state = &mut *self.lock();
        let place = *state.places.get(&block.slab).ok_or(SlabError::UnknownSlab(block.slab))?;
        let Some(mapped) = place else { return Ok(()) };
        let places = &state.places;
        let tagged = state.resident.enter(block, &mut |slab, offset, len| {
            if let Some(&Some(mapped)) = places.get(&slab) {
                // A system that cannot keeps the pages: more memory than is counted, and nothing wrong.
                let _ = self.host.0.discard(mapped, offset, len);
            }
        });
        if tagged {
            return Tagged { slab: mapped, ..*block }.write(&self.host);
        }
        state.untagged.insert((block.slab, block.offset, block.tag));
        state.unchecked.untagged_blocks += 1;
        Ok(())
    }

    fn verify(&self, block: &Tagged) -> Result<bool, SlabError> {
        let state = &mut *self.lock();
        let place = *state.places.get(&block.slab).ok_or(SlabError::UnknownSlab(block.slab))?;
        let Some(mapped) = place else { return Ok(true) };
        // Most replays have none, and need not hash for it.
        if !state.untagged.is_empty()
            && state.untagged.remove(&(block.slab, block.offset, block.tag))
        {
            return Ok(true);
        }
        let found = Tagged { slab: mapped, ..*block }.check(&self.host);
        state.resident.leave(block);
        found
    }

    fn unchecked(&self) -> Unchecked {
        self.lock().unchecked
    }
}

/// The host's mappings, with bytes that can be written and read in place.
#[derive(Debug)]
struct Host(MmapSlabProvider);

impl Memory for Host {
    fn write(&self, slab: SlabId, offset: u64, bytes: &[u8]) -> Result<(), SlabError> {
        let buffer = self.0.map(slab, offset, bytes.len() as u64)?;
        buffer.write(0, bytes).map_err(|_| SlabError::InvalidRange)
    }

    fn read(&self, slab: SlabId, offset: u64, bytes: &mut [u8]) -> Result<(), SlabError> {
        let buffer = self.0.map(slab, offset, bytes.len() as u64)?;
        buffer.read(0, bytes).map_err(|_| SlabError::InvalidRange)
    }
}

#[cfg(test)]
mod tests;
