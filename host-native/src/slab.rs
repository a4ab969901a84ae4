//! Slabs of this machine's memory: [`MmapSlabProvider`].
//!
//! ```text
//!   acquire(size) ──▶ │ guard │ slab: whole pages, zeroed │ guard │ ──▶ SlabId ──map──▶ MmapBuffer
//! ```
//!
//! Where the memory comes from is the builder's to say: [shared](MmapBuilder::shared) with other processes,
//! [on a node](MmapBuilder::numa_node), in huge pages. [`MmapSlabProvider::pages`] tells what the system gave.
//!
//! Each slab is a mapping of its own, so giving it back gives the memory back to the system at once.
//! The provider hands out zeroed memory and never hands the same mapping out twice.
//!
//! An [elastic](MmapBuilder::elastic) slab is a mapping too, of which memory is counted where pools put it, and given back to the
//! system where they take it out. A buffer over memory that was taken out reads zeros.
//!
//! # Invariants
//! - The bytes mapped never exceed the capacity. A released slab whose [`MmapBuffer`]s still live counts
//!   until the last of them is dropped, because its memory does.
//! - Guard pages hold no memory and do not count; [`MmapSlabProvider::guard_bytes`] tells them apart.
//!
//! # Cost
//! An acquire is two to four system calls, and a page fault per page at first use unless prefaulted;
//! that is what the [slab cache](crate::CachedSlabs) hides. The table is locked only to look up.

use crate::buffer::MmapBuffer;
use crate::layout::Layout;
use crate::mem::{Account, MapError, Mapping};
use crate::memfd::Memfd;
use crate::numa::Placement;
use core::fmt;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::slab::extents::Extents;
use strandline_core::slab::{
    BufferUsage, Elastic, Grant, MemoryType, Slab, SlabError, SlabId, SlabMap, SlabProperties,
    SlabProvider, SlabStats, SlabTable,
};

/// Why a provider cannot be built as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MmapConfigError {
    /// The alignment is not a power of two, or above [`MmapBuilder::MAX_ALIGNMENT`].
    InvalidAlignment {
        /// As requested, in bytes.
        alignment: u64,
    },
    /// The machine has no such memory node.
    UnknownNode {
        /// As requested.
        node: u32,
    },
}

impl fmt::Display for MmapConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidAlignment { alignment } => write!(
                f,
                "alignment {alignment} is not a power of two up to {}",
                MmapBuilder::MAX_ALIGNMENT
            ),
            Self::UnknownNode { node } => write!(f, "this machine has no memory node {node}"),
        }
    }
}

impl core::error::Error for MmapConfigError {}

/// How an [`MmapSlabProvider`] is to work; made by [`MmapSlabProvider::builder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "call `build`"]
pub struct MmapBuilder {
    capacity: u64,
    max_slab_size: u64,
    alignment: u64,
    huge_pages: bool,
    prefault: bool,
    guard_pages: bool,
    uncounted: bool,
    elastic: Option<u64>,
    pub(crate) shared: bool,
    pub(crate) node: Option<u32>,
}

impl MmapBuilder {
    /// The largest alignment: 1 GiB, the largest page of today's processors.
    pub const MAX_ALIGNMENT: u64 = 1 << 30;

    /// At most this many bytes mapped at once, rounded to pages; beyond that
    /// [`Grant::NoCapacity`]. Without a limit until it is set.
    pub const fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// The largest slab in bytes. As large as the address space until it is set.
    pub const fn max_slab_size(mut self, bytes: u64) -> Self {
        self.max_slab_size = bytes;
        self
    }

    /// Slabs start at a multiple of `bytes`, a power of two; a page at least.
    pub const fn alignment(mut self, bytes: u64) -> Self {
        self.alignment = bytes;
        self
    }

    /// Asks the system to back slabs with huge pages, and aligns them so that it can. Advice: where
    /// there are none, slabs have ordinary pages.
    pub const fn huge_pages(mut self, yes: bool) -> Self {
        self.huge_pages = yes;
        self
    }

    /// Makes all pages present when a slab is acquired, so that no use faults. Memory that is not there
    /// is then found out at acquire (as no capacity), not at first use.
    pub const fn prefault(mut self, yes: bool) -> Self {
        self.prefault = yes;
        self
    }

    /// Puts an inaccessible page before and after each slab: whoever runs over its end by a raw pointer
    /// stops there.
    pub const fn guard_pages(mut self, yes: bool) -> Self {
        self.guard_pages = yes;
        self
    }

    /// Does not have slabs counted against the system's memory: they are addresses until they are touched, so more can be handed
    /// out than the machine has. Whoever touches more than there is gets the process killed; for those who touch little of much, and
    /// [give back](MmapSlabProvider::discard) what they touched. A system that forbids overcommitment counts them all the same.
    pub const fn uncounted(mut self, yes: bool) -> Self {
        self.uncounted = yes;
        self
    }

    /// Lets pools that can make [elastic](SlabProvider::elastic) slabs of `reserve` bytes of addresses, or more for a larger
    /// request: memory is put into them where it is needed, page by page, or huge page by huge page where those are asked for.
    /// Only memory that was put in counts against the capacity. Addresses are not counted against the system's memory; a system
    /// that forbids overcommitment counts them all the same, and refuses. Memory that is shared with other processes is not
    /// elastic.
    pub const fn elastic(mut self, reserve: u64) -> Self {
        self.elastic = Some(reserve);
        self
    }

    /// The provider.
    ///
    /// # Errors
    /// [`MmapConfigError`].
    pub fn build(self) -> Result<MmapSlabProvider, MmapConfigError> {
        let alignment = self.alignment;
        if !alignment.is_power_of_two() || alignment > Self::MAX_ALIGNMENT {
            return Err(MmapConfigError::InvalidAlignment { alignment });
        }
        let page = rustix::param::page_size();
        let huge = if self.huge_pages { crate::info::huge_page_size().unwrap_or(0) } else { 0 };
        // All three are at most 2^30 or the system's own, so they fit.
        let alignment = (alignment.max(huge) as usize).max(page);
        let largest = isize::MAX as usize - alignment - 2 * page;
        Ok(MmapSlabProvider {
            max_slab_size: self.max_slab_size.min((largest / page * page) as u64),
            page,
            alignment,
            huge_pages: self.huge_pages,
            prefault: self.prefault,
            guard_pages: self.guard_pages,
            uncounted: self.uncounted,
            elastic: self.elastic.filter(|_| cfg!(target_os = "linux") && !self.shared),
            shared: self.shared,
            placement: Placement::choose(self.node)?,
            account: Arc::new(Account::new(self.capacity)),
            state: Mutex::new(State {
                slabs: SlabTable::new(),
                memory: BTreeMap::new(),
                stats: SlabStats { identity: SlabStats::next_identity(), ..Default::default() },
            }),
        })
    }
}

#[derive(Debug)]
struct State {
    slabs: SlabTable<Arc<Mapping>>,
    /// What of elastic slabs has memory.
    memory: BTreeMap<SlabId, Extents>,
    stats: SlabStats,
}

/// A provider of `mmap` memory: anonymous, or memfds that other processes can map.
///
/// ```
/// use strandline_core::{Grant, SlabProvider};
/// use strandline_host_native::MmapSlabProvider;
///
/// let provider = MmapSlabProvider::builder().capacity(1 << 20).guard_pages(true).build()?;
/// let Grant::Slab(slab) = provider.acquire(1 << 20)? else { panic!("out of memory") };
/// assert_eq!(provider.acquire(1)?, Grant::NoCapacity);
/// provider.release(slab.id)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MmapSlabProvider {
    max_slab_size: u64,
    page: usize,
    alignment: usize,
    huge_pages: bool,
    prefault: bool,
    guard_pages: bool,
    uncounted: bool,
    /// Bytes of addresses of an elastic slab.
    elastic: Option<u64>,
    shared: bool,
    pub(crate) placement: Placement,
    account: Arc<Account>,
    state: Mutex<State>,
}

impl MmapSlabProvider {
    /// How it is to work: ordinary pages, no limit, no guards, nothing prefaulted, until said
    /// otherwise.
    pub const fn builder() -> MmapBuilder {
        MmapBuilder {
            capacity: u64::MAX,
            max_slab_size: u64::MAX,
            alignment: 1,
            huge_pages: false,
            prefault: false,
            guard_pages: false,
            uncounted: false,
            elastic: None,
            shared: false,
            node: None,
        }
    }

    /// The most bytes that may be mapped at once.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.account.capacity()
    }

    /// Bytes mapped now: those of slabs, and those of released slabs that buffers still hold.
    #[must_use]
    pub fn mapped_bytes(&self) -> u64 {
        self.account.mapped()
    }

    /// Bytes of address space in guard pages now. They hold no memory.
    #[must_use]
    pub fn guard_bytes(&self) -> u64 {
        self.account.guards()
    }

    /// Gives the memory of the whole pages within a range of a slab back to the system: they hold none until they are touched again, and
    /// read as zero. Slabs that are shared with other processes keep theirs. One system call.
    ///
    /// # Errors
    /// The slab is unknown, the range does not lie in it, or the system cannot.
    pub fn discard(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        let mapping = self.mapping(id)?;
        match offset.checked_add(len) {
            Some(end) if end <= mapping.len() as u64 => {}
            _ => return Err(SlabError::InvalidRange),
        }
        // Both are at most the mapping's length, a usize.
        mapping
            .discard(offset as usize, len as usize)
            .map_err(|error| os(error, "madvise(MADV_DONTNEED)"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two writes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn mapping(&self, id: SlabId) -> Result<Arc<Mapping>, SlabError> {
        self.lock().slabs.get(id).cloned().ok_or(SlabError::UnknownSlab(id))
    }

    /// The mappings of all slabs.
    pub(crate) fn mappings(&self) -> Vec<Arc<Mapping>> {
        self.lock().slabs.iter().map(|(_, mapping)| mapping.clone()).collect()
    }

    /// Bytes of which an elastic slab's memory is a multiple.
    const fn granule(&self) -> u64 {
        if self.huge_pages { self.alignment as u64 } else { self.page as u64 }
    }

    /// Addresses for an elastic slab.
    fn make_elastic(&self, size: u64) -> Result<Mapping, MapError> {
        let layout = Layout::new(size, self.page, self.alignment, self.guard_pages)
            .ok_or(MapError::NoCapacity)?;
        let mapping = Mapping::elastic(layout, &self.account)?;
        self.placement.apply(&mapping).map_err(|error| MapError::Os(error, "mbind"))?;
        if self.huge_pages
            && let Err(error) = mapping.advise_huge_pages()
        {
            log::debug!("no huge pages for an elastic slab of {size} bytes: {error}");
        }
        Ok(mapping)
    }

    /// Files what was made as a slab; `elastic` has no memory yet.
    fn file(&self, made: Result<Mapping, MapError>, elastic: bool) -> Result<Grant, SlabError> {
        let mut state = self.lock();
        let mapping = match made {
            Ok(mapping) => mapping,
            Err(MapError::NoCapacity) => {
                state.stats.refusals += 1;
                return Ok(Grant::NoCapacity);
            }
            Err(MapError::Os(error, operation)) => return Err(os(error, operation)),
        };
        let size = mapping.len() as u64;
        let id = match state.slabs.insert(Arc::new(mapping)) {
            Ok(id) => id,
            Err(mapping) => {
                state.stats.refusals += 1;
                drop((state, mapping));
                return Ok(Grant::NoCapacity);
            }
        };
        if elastic {
            state.memory.insert(id, Extents::new());
        }
        state.stats.count_acquire(if elastic { 0 } else { size });
        Ok(Grant::Slab(Slab { id, size }))
    }

    /// An elastic slab, and the end of a range of whole granules in it.
    fn granules(
        &self,
        id: SlabId,
        offset: u64,
        len: u64,
    ) -> Result<(Arc<Mapping>, u64), SlabError> {
        let mapping = self.mapping(id)?;
        let granule = self.granule();
        let whole = offset.is_multiple_of(granule) && len.is_multiple_of(granule) && len > 0;
        match offset.checked_add(len) {
            Some(end) if whole && end <= mapping.len() as u64 => Ok((mapping, end)),
            _ => Err(SlabError::InvalidRange),
        }
    }

    /// A mapping of at least `size` bytes, made ready as configured.
    fn make(&self, size: u64) -> Result<Mapping, MapError> {
        let layout = Layout::new(size, self.page, self.alignment, self.guard_pages)
            .ok_or(MapError::NoCapacity)?;
        let file = if self.shared { Some(Memfd::new(layout.body)?) } else { None };
        let mapping = Mapping::new(layout, &self.account, file, self.uncounted)?;
        // Before the first page is had.
        self.placement.apply(&mapping).map_err(|error| MapError::Os(error, "mbind"))?;
        if self.huge_pages
            && let Err(error) = mapping.advise_huge_pages()
        {
            log::debug!("no huge pages for a slab of {size} bytes: {error}");
        }
        if self.prefault {
            match mapping.prefault(0, mapping.len()) {
                // EFAULT too says that there is no page to be had.
                Err(Errno::NOMEM | Errno::AGAIN | Errno::FAULT) => {
                    return Err(MapError::NoCapacity);
                }
                Err(error) => return Err(MapError::Os(error, "madvise(MADV_POPULATE_WRITE)")),
                Ok(()) => {}
            }
        }
        Ok(mapping)
    }
}

/// The error with its number, as core names it.
const fn os(error: Errno, operation: &'static str) -> SlabError {
    SlabError::Os { code: error.raw_os_error(), operation }
}

impl SlabProvider for MmapSlabProvider {
    fn properties(&self) -> SlabProperties {
        SlabProperties {
            memory_type: MemoryType::OPTIMAL
                .union(MemoryType::HOST_VISIBLE)
                .union(MemoryType::HOST_COHERENT)
                .union(MemoryType::HOST_CACHED)
                // The device of a CPU queue is the host.
                .union(MemoryType::DEVICE_LOCAL)
                .union(if self.shared { MemoryType::SHARED } else { MemoryType::NONE }),
            usage: BufferUsage::from_bits_truncate(u32::MAX),
            alignment: self.alignment as u64,
            granularity: self.page as u64,
            max_slab_size: self.max_slab_size,
        }
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        if size == 0 || size > self.max_slab_size {
            return Err(SlabError::InvalidSize { size });
        }
        self.file(self.make(size), false)
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        let mapping = {
            let mut state = self.lock();
            let mapping = state.slabs.remove(id).ok_or(SlabError::UnknownSlab(id))?;
            let memory = state.memory.remove(&id);
            state.stats.count_release(memory.map_or(mapping.len() as u64, |memory| memory.bytes()));
            mapping
        };
        // Unmapping takes a while: not under the lock.
        drop(mapping);
        Ok(())
    }

    fn capacity(&self) -> Option<u64> {
        let capacity = self.account.capacity();
        (capacity != u64::MAX).then_some(capacity)
    }

    fn room(&self) -> Option<u64> {
        let capacity = self.account.capacity();
        (capacity != u64::MAX).then(|| capacity.saturating_sub(self.account.mapped()))
    }

    fn elastic(&self) -> Option<Elastic> {
        Some(Elastic { granule: self.granule(), reserve: self.elastic? })
    }

    fn reserve(&self, size: u64) -> Result<Grant, SlabError> {
        if self.elastic.is_none() {
            return Ok(Grant::NoCapacity);
        }
        if size == 0 || size > self.max_slab_size {
            return Err(SlabError::InvalidSize { size });
        }
        self.file(self.make_elastic(size), true)
    }

    fn commit(&self, id: SlabId, offset: u64, len: u64) -> Result<bool, SlabError> {
        let (mapping, end) = self.granules(id, offset, len)?;
        {
            let state = &mut *self.lock();
            let memory = state.memory.get_mut(&id).ok_or(SlabError::InvalidRange)?;
            if !memory.insert(offset, end) {
                return Err(SlabError::InvalidRange);
            }
            if !mapping.commit(len) {
                // It was just inserted.
                let _ = memory.remove(offset, end);
                state.stats.refusals += 1;
                return Ok(false);
            }
            state.stats.count_commit(len);
        }
        if !self.prefault {
            return Ok(true);
        }
        // Both are at most the mapping's length, a usize.
        let failure = match mapping.prefault(offset as usize, len as usize) {
            Ok(()) => return Ok(true),
            Err(Errno::NOMEM | Errno::AGAIN | Errno::FAULT) => None,
            Err(error) => Some(os(error, "madvise(MADV_POPULATE_WRITE)")),
        };
        self.decommit(id, offset, len)?;
        failure.map_or(Ok(false), Err)
    }

    fn decommit(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        let (mapping, end) = self.granules(id, offset, len)?;
        let has_memory = |state: &State| {
            state.memory.get(&id).is_some_and(|memory| memory.contains(offset, end))
        };
        if !has_memory(&self.lock()) {
            return Err(SlabError::InvalidRange);
        }
        // Takes a while: not under the lock.
        mapping
            .discard(offset as usize, len as usize)
            .map_err(|error| os(error, "madvise(MADV_DONTNEED)"))?;
        let state = &mut *self.lock();
        if state.memory.get_mut(&id).is_some_and(|memory| memory.remove(offset, end)) {
            mapping.decommit(len);
            state.stats.count_decommit(len);
        }
        Ok(())
    }

    fn prefault(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        let mapping = self.mapping(id)?;
        match offset.checked_add(len) {
            Some(end) if end <= mapping.len() as u64 => {}
            _ => return Err(SlabError::InvalidRange),
        }
        // Both are at most the mapping's length, a usize.
        mapping
            .prefault(offset as usize, len as usize)
            .map_err(|error| os(error, "madvise(MADV_POPULATE_WRITE)"))
    }

    fn stats(&self) -> SlabStats {
        self.lock().stats
    }

    fn answers_epochs(&self) -> bool {
        false
    }
}

impl SlabMap for MmapSlabProvider {
    type Buffer = MmapBuffer;

    fn map(&self, id: SlabId, offset: u64, len: u64) -> Result<MmapBuffer, SlabError> {
        let mapping = {
            let state = self.lock();
            let elastic = state.memory.get(&id);
            if elastic.is_some_and(|memory| !memory.contains(offset, offset.saturating_add(len))) {
                return Err(SlabError::InvalidRange);
            }
            state.slabs.get(id).cloned().ok_or(SlabError::UnknownSlab(id))?
        };
        MmapBuffer::new(mapping, offset, len).ok_or(SlabError::InvalidRange)
    }
}

#[cfg(test)]
mod tests;
