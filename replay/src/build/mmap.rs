//! Real memory of this machine, with bytes that can be written and read.

use super::{Backing, BuildError, Native};
use crate::memory::Memory;
use std::sync::Arc;
use strandline_core::slab::{SlabMap, SlabProperties, SlabStats};
use strandline_core::{Grant, SlabError, SlabId, SlabProvider};
use strandline_host_native::{MmapBuilder, MmapSlabProvider};

impl Backing {
    /// Real memory: anonymous mappings, up to `capacity` bytes.
    ///
    /// # Errors
    /// The provider could not be made.
    pub fn mmap(capacity: Option<u64>) -> Result<Self, BuildError> {
        let builder: MmapBuilder = MmapSlabProvider::builder();
        let provider = builder
            .capacity(capacity.unwrap_or(u64::MAX))
            .build()
            .map_err(|error| BuildError::Provider(error.to_string()))?;
        let provider = Arc::new(Mapped(provider));
        Ok(Self { provider: provider.clone(), memory: Some(provider), maker: Arc::new(Native) })
    }
}

/// [`MmapSlabProvider`] with bytes that can be written and read in place.
#[derive(Debug)]
struct Mapped(MmapSlabProvider);

impl SlabProvider for Mapped {
    fn properties(&self) -> SlabProperties {
        self.0.properties()
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        self.0.acquire(size)
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.0.release(id)
    }

    fn stats(&self) -> SlabStats {
        self.0.stats()
    }
}

impl Memory for Mapped {
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
mod tests {
    use super::*;

    #[test]
    fn numbers_grant_and_refuse_as_real_memory_does() {
        let backings = [Backing::numbers(Some(10_000)), Backing::mmap(Some(10_000)).unwrap()];
        for backing in backings {
            let provider = &backing.provider;
            let Ok(Grant::Slab(slab)) = provider.acquire(1) else { panic!("{backing:?}") };
            assert_eq!(slab.size, 4096);
            assert_eq!(provider.acquire(4097), Ok(Grant::NoCapacity));
            let Ok(Grant::Slab(_)) = provider.acquire(4096) else { panic!("{backing:?}") };
            assert_eq!(
                provider.acquire(1),
                Ok(Grant::NoCapacity),
                "8192 of 8192 whole pages are out"
            );
            assert_eq!(provider.release(slab.id), Ok(()));
            assert!(matches!(provider.release(slab.id), Err(SlabError::UnknownSlab(_))));
            assert_eq!(provider.stats().committed_bytes, 4096);
            assert!(matches!(provider.acquire(0), Err(SlabError::InvalidSize { .. })));
        }
    }

    #[test]
    fn mapped_bytes_are_read_back_and_ranges_are_checked() {
        let memory = Mapped(MmapSlabProvider::builder().build().unwrap());
        let Ok(Grant::Slab(slab)) = memory.acquire(4096) else { panic!("no memory") };
        memory.write(slab.id, 4090, b"strand").unwrap();
        let mut read = [0; 6];
        memory.read(slab.id, 4090, &mut read).unwrap();
        assert_eq!(&read, b"strand");
        assert!(memory.write(slab.id, 4091, b"strand").is_err());
        memory.release(slab.id).unwrap();
        assert!(memory.read(slab.id, 0, &mut read).is_err());
    }
}
