//! Slabs on the heap of this program: [`CpuSlabs`], to begin with and to test with.

use super::{
    BufferUsage, Grant, MemoryType, Slab, SlabError, SlabId, SlabProperties, SlabProvider,
    SlabStats, SlabTable,
};
use crate::sync::Mutex;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// Where a slab starts, and its size's unit.
const ALIGNMENT: usize = 4096;

/// The bytes of a slab: those from `start` on, so that it is aligned.
struct Body {
    bytes: Vec<u8>,
    start: usize,
}

struct State {
    slabs: SlabTable<Arc<Mutex<Body>>>,
    stats: SlabStats,
}

/// A provider of zeroed memory on the heap, whose bytes are reached without unsafe code.
///
/// For programs that compute on the processor, and for tests. The memory behind a device, or memory that other processes or the
/// system's I/O see, comes from a host's provider.
///
/// ```
/// use strandline_core::slab::{CpuSlabs, Grant, SlabProvider};
///
/// let slabs = CpuSlabs::new(1 << 20);
/// let Grant::Slab(slab) = slabs.acquire(4096)? else { panic!("out of memory") };
/// slabs.bytes((slab.id, 0, 8), |bytes| bytes.fill(7))?;
/// assert_eq!(slabs.bytes((slab.id, 4, 8), |bytes| bytes.to_vec())?, [7, 7, 7, 7, 0, 0, 0, 0]);
/// # Ok::<(), strandline_core::SlabError>(())
/// ```
pub struct CpuSlabs {
    capacity: u64,
    state: Mutex<State>,
}

impl CpuSlabs {
    /// Hands out at most `capacity` bytes at once.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        let stats = SlabStats { identity: SlabStats::next_identity(), ..SlabStats::default() };
        Self { capacity, state: Mutex::new(State { slabs: SlabTable::new(), stats }) }
    }

    /// Lets `look` read and write the bytes of a range: slab, offset and length, as
    /// [`Reservation::range`](crate::Reservation::range) says them. Nobody else reaches bytes of the slab meanwhile: `look` must not ask for
    /// more of it.
    ///
    /// # Errors
    /// [`SlabError::UnknownSlab`] or [`SlabError::InvalidRange`].
    pub fn bytes<R>(
        &self,
        (id, offset, len): (SlabId, u64, u64),
        look: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R, SlabError> {
        let body = self.state.lock().slabs.get(id).cloned().ok_or(SlabError::UnknownSlab(id))?;
        let Body { bytes, start } = &mut *body.lock();
        let [offset, len] = [offset, len].map(usize::try_from);
        let (Ok(offset), Ok(len)) = (offset, len) else { return Err(SlabError::InvalidRange) };
        let slab = &mut bytes[*start..];
        let end = offset.checked_add(len).ok_or(SlabError::InvalidRange)?;
        slab.get_mut(offset..end).map(look).ok_or(SlabError::InvalidRange)
    }
}

/// Zeroed bytes, aligned; `None` where the heap has no room.
fn make(size: usize) -> Option<Body> {
    let mut bytes = Vec::new();
    let whole = size.checked_add(ALIGNMENT)?;
    bytes.try_reserve_exact(whole).ok()?;
    bytes.resize(whole, 0);
    // The heap's blocks do not move, and neither does what a vector holds that is never changed in length.
    let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    bytes.truncate(start + size);
    Some(Body { bytes, start })
}

impl SlabProvider for CpuSlabs {
    fn properties(&self) -> SlabProperties {
        SlabProperties {
            memory_type: MemoryType::OPTIMAL
                .union(MemoryType::HOST_VISIBLE)
                .union(MemoryType::HOST_COHERENT)
                .union(MemoryType::HOST_CACHED)
                // The device is the processor.
                .union(MemoryType::DEVICE_LOCAL),
            usage: BufferUsage::from_bits_truncate(u32::MAX),
            alignment: ALIGNMENT as u64,
            granularity: ALIGNMENT as u64,
            max_slab_size: (isize::MAX as u64 / 2) & !(ALIGNMENT as u64 - 1),
        }
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        if size == 0 || size > self.properties().max_slab_size {
            return Err(SlabError::InvalidSize { size });
        }
        // Below the largest slab, so neither can overflow.
        let size = size.next_multiple_of(ALIGNMENT as u64);
        let mut state = self.state.lock();
        let fits = size <= self.capacity.saturating_sub(state.stats.committed_bytes);
        let body = if fits { make(size as usize) } else { None };
        let id = body.and_then(|body| state.slabs.insert(Arc::new(Mutex::new(body))).ok());
        let Some(id) = id else {
            state.stats.refusals += 1;
            return Ok(Grant::NoCapacity);
        };
        state.stats.count_acquire(size);
        Ok(Grant::Slab(Slab { id, size }))
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        let mut state = self.state.lock();
        let body = state.slabs.remove(id).ok_or(SlabError::UnknownSlab(id))?;
        let size = {
            let body = body.lock();
            body.bytes.len() - body.start
        };
        state.stats.count_release(size as u64);
        Ok(())
    }

    #[cfg(feature = "hosted")]
    fn capacity(&self) -> Option<u64> {
        Some(self.capacity)
    }

    fn room(&self) -> Option<u64> {
        Some(self.capacity.saturating_sub(self.state.lock().stats.committed_bytes))
    }

    fn stats(&self) -> SlabStats {
        self.state.lock().stats
    }
}

impl fmt::Debug for CpuSlabs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuSlabs").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn slabs_are_aligned_zeroed_and_counted() {
        let slabs = CpuSlabs::new(3 * 4096);
        let Grant::Slab(one) = slabs.acquire(1).unwrap() else { panic!() };
        let Grant::Slab(two) = slabs.acquire(4097).unwrap() else { panic!() };
        assert_eq!((one.size, two.size, slabs.room()), (4096, 8192, Some(0)));
        assert_eq!(slabs.acquire(1).unwrap(), Grant::NoCapacity);
        slabs
            .bytes((two.id, 0, 8192), |bytes| {
                assert!(
                    bytes.as_ptr().align_offset(ALIGNMENT) == 0 && bytes.iter().all(|&b| b == 0)
                );
                bytes.fill(1);
            })
            .unwrap();
        for (offset, len) in [(8192, 1), (u64::MAX, 1), (0, 8193), (1, u64::MAX)] {
            assert_eq!(slabs.bytes((two.id, offset, len), |_| ()), Err(SlabError::InvalidRange));
        }
        slabs.release(two.id).unwrap();
        assert_eq!(slabs.release(two.id), Err(SlabError::UnknownSlab(two.id)));
        assert_eq!(slabs.bytes((two.id, 0, 1), |_| ()), Err(SlabError::UnknownSlab(two.id)));
        assert_eq!(slabs.acquire(0), Err(SlabError::InvalidSize { size: 0 }));
        assert_eq!(slabs.acquire(u64::MAX), Err(SlabError::InvalidSize { size: u64::MAX }));
        let stats = slabs.stats();
        assert_eq!((stats.slabs, stats.committed_bytes, stats.refusals), (1, 4096, 1));
    }
}
