//! Slabs that are numbers only: a provider without memory, so that pools are measured and not the system.

use std::sync::{Mutex, MutexGuard, PoisonError};
use strandline_core::slab::{BufferUsage, MemoryType, SlabProperties, SlabStats, SlabTable, Trim};
use strandline_core::{Grant, Slab, SlabError, SlabId, SlabProvider};

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Numbers {
    slabs: Mutex<SlabTable<u64>>,
}

impl Numbers {
    fn lock(&self) -> MutexGuard<'_, SlabTable<u64>> {
        // The table is whole even after a panic elsewhere.
        self.slabs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlabProvider for Numbers {
    fn properties(&self) -> SlabProperties {
        SlabProperties {
            memory_type: MemoryType::NONE,
            usage: BufferUsage::NONE,
            alignment: 4096,
            granularity: 4096,
            max_slab_size: 1 << 38,
        }
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        let id = self.lock().insert(size).map_err(|_| SlabError::Lost)?;
        Ok(Grant::Slab(Slab { id, size }))
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.lock().remove(id).map(drop).ok_or(SlabError::UnknownSlab(id))
    }

    fn trim(&self, _: Trim) -> u64 {
        0
    }

    fn stats(&self) -> SlabStats {
        let slabs = self.lock();
        let committed_bytes = slabs.iter().map(|(_, &size)| size).sum();
        SlabStats { slabs: slabs.len() as u64, committed_bytes, ..SlabStats::default() }
    }

    fn answers_epochs(&self) -> bool {
        false
    }
}
