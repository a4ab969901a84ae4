//! Memory of the process as slabs see it: a mapping with guards, lent out as atomic words.
//!
//! ```text
//!   Mapping:   │ guard │ body: [AtomicU64; len / 8]           │ guard │
//!              │ NONE  │   ▲               ▲                   │ NONE  │
//!                          │               │
//!   MmapBuffer:       Arc + 24..80    Arc + 64..300      (may overlap: they alias)
//! ```
//!
//! A body is anonymous memory of this process, or a sealed memfd that other processes can map.
//!
//! # Safety
//! All memory that safe code sees is lent by this file. It rests on three facts:
//! 1. A [`Region`] owns `[base, base + len)`: the kernel returned it, nobody else knows it, and only
//!    its drop unmaps what is left of it.
//! 2. The body of a [`Mapping`] is readable, writable and initialized from construction to drop, and is
//!    lent only as `&[AtomicU64]` borrowed from the mapping. Whoever holds an [`Arc`] of it, as a
//!    [`MmapBuffer`](crate::MmapBuffer) does, keeps the memory, also after the slab was released.
//!    A memfd's size is sealed before it is mapped, so no other holder of it can take pages away.
//! 3. So every access by safe code is atomic and of one size, 8 bytes, aligned: such accesses may race.
//!    Another process that maps the same memfd changes bytes like a device does: atomically or torn, but
//!    never under a reference of this program's.
//!    What foreign code does through [`as_ptr`](crate::MmapBuffer::as_ptr) is its own to argue.

use crate::layout::Layout;
use crate::memfd::Memfd;
use core::ops::Range;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicU64, Ordering};
use rustix::io::Errno;
#[cfg(target_os = "linux")]
use rustix::mm::Advice;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
use std::sync::Arc;

const WORD: usize = size_of::<AtomicU64>();

/// What asks the system not to count a mapping against its memory.
#[cfg(target_os = "linux")]
const UNCOUNTED: MapFlags = MapFlags::NORESERVE;
#[cfg(not(target_os = "linux"))]
const UNCOUNTED: MapFlags = MapFlags::empty();

/// Bytes mapped by one provider, shared with its mappings so that a mapping can outlive its slab.
#[derive(Debug)]
pub(crate) struct Account {
    capacity: u64,
    mapped: AtomicU64,
    guards: AtomicU64,
}

impl Account {
    pub(crate) const fn new(capacity: u64) -> Self {
        Self { capacity, mapped: AtomicU64::new(0), guards: AtomicU64::new(0) }
    }

    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn mapped(&self) -> u64 {
        self.mapped.load(Ordering::Relaxed)
    }

    pub(crate) fn guards(&self) -> u64 {
        self.guards.load(Ordering::Relaxed)
    }

    /// Takes `bytes` of the capacity, or nothing.
    fn take(&self, bytes: u64) -> bool {
        // Relaxed: the counter guards no other memory.
        let taken = self.mapped.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |mapped| {
            mapped.checked_add(bytes).filter(|sum| *sum <= self.capacity)
        });
        taken.is_ok()
    }
}

/// What one mapping takes of its account: given back when dropped.
#[derive(Debug)]
struct Share {
    account: Arc<Account>,
    /// Those of an elastic mapping come and go.
    bytes: AtomicU64,
    guards: u64,
}

impl Share {
    fn take(account: &Arc<Account>, layout: &Layout) -> Option<Self> {
        let share = Self::empty(account, layout);
        share.more(layout.body as u64).then_some(share)
    }

    /// Only the guards.
    fn empty(account: &Arc<Account>, layout: &Layout) -> Self {
        let guards = 2 * layout.guard as u64;
        account.guards.fetch_add(guards, Ordering::Relaxed);
        Self { account: account.clone(), bytes: AtomicU64::new(0), guards }
    }

    /// Takes `bytes` more, or nothing.
    fn more(&self, bytes: u64) -> bool {
        let taken = self.account.take(bytes);
        if taken {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }

    /// Gives back `bytes` of those taken.
    fn less(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.account.mapped.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.guards.fetch_sub(self.guards, Ordering::Relaxed);
        self.account.mapped.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// Why there is no mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapError {
    /// The account or the system has no memory left for it.
    NoCapacity,
    /// The system refused otherwise.
    Os(Errno, &'static str),
}

impl MapError {
    pub(crate) fn of(error: Errno, operation: &'static str) -> Self {
        // ENOMEM covers memory, address space and the number of mappings alike. EAGAIN is what locked
        // memory beyond its limit gets.
        if matches!(error, Errno::NOMEM | Errno::AGAIN) {
            Self::NoCapacity
        } else {
            Self::Os(error, operation)
        }
    }
}

/// Address space of this process that no one else knows; unmapped on drop.
#[derive(Debug)]
struct Region {
    base: NonNull<u8>,
    len: usize,
}

impl Region {
    /// Reserves `len` inaccessible bytes. `uncounted` memory is not held against what the system has when it is committed later, where
    /// the system's policy permits that.
    fn reserve(len: usize, uncounted: bool) -> Result<Self, MapError> {
        let access = ProtFlags::empty();
        let flags = if uncounted { MapFlags::PRIVATE | UNCOUNTED } else { MapFlags::PRIVATE };
        // SAFETY: a mapping at an address of the kernel's choice touches no memory that exists.
        let mapped = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, access, flags) };
        let base = mapped.map_err(|error| MapError::of(error, "mmap"))?;
        match NonNull::new(base.cast()) {
            Some(base) => Ok(Self { base, len }),
            None => Err(MapError::Os(Errno::FAULT, "mmap")),
        }
    }

    /// Unmaps the first `head` and the last `tail` bytes. Both are page multiples and at most `len`
    /// together.
    fn shrink(&mut self, head: usize, tail: usize) -> Result<(), MapError> {
        debug_assert!(head + tail <= self.len);
        if tail > 0 {
            // SAFETY: the range is the end of this region, and nothing borrows from a region.
            unsafe { rustix::mm::munmap(self.base.add(self.len - tail).as_ptr().cast(), tail) }
                .map_err(|error| MapError::of(error, "munmap"))?;
            self.len -= tail;
        }
        if head > 0 {
            // SAFETY: as above, of its start.
            unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), head) }
                .map_err(|error| MapError::of(error, "munmap"))?;
            // SAFETY: `head` bytes lie in the region.
            self.base = unsafe { self.base.add(head) };
            self.len -= head;
        }
        Ok(())
    }

    /// Maps all of `file`, shared.
    fn of_file(file: &Memfd, len: usize) -> Result<Self, MapError> {
        debug_assert_eq!(len as u64, file.len());
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a mapping at an address of the kernel's choice touches no memory that exists.
        let mapped =
            unsafe { rustix::mm::mmap(ptr::null_mut(), len, access, MapFlags::SHARED, file, 0) };
        let base = mapped.map_err(|error| MapError::of(error, "mmap"))?;
        match NonNull::new(base.cast()) {
            Some(base) => Ok(Self { base, len }),
            None => Err(MapError::Os(Errno::FAULT, "mmap")),
        }
    }

    /// Replaces the range by the memory of `file`, shared. The range is one of pages of this region and
    /// as long as the file, whose size cannot change. After an error the region must be forgotten: the
    /// range may have been unmapped already, and another thread's memory may lie there now.
    fn share(&mut self, offset: usize, len: usize, file: &Memfd) -> Result<(), MapError> {
        debug_assert!(offset + len <= self.len);
        debug_assert_eq!(len as u64, file.len());
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: the range lies in this region, which nobody borrows yet, so nothing else is replaced.
        unsafe {
            rustix::mm::mmap(self.base.add(offset).as_ptr().cast(), len, access, flags, file, 0)
        }
        .map(drop)
        .map_err(|error| MapError::of(error, "mmap"))
    }

    /// Makes bytes readable and writable, zeroed: here the system counts them against its memory, so
    /// surplus and guards are never counted. The range is one of pages of this region.
    fn commit(&mut self, offset: usize, len: usize) -> Result<(), MapError> {
        debug_assert!(offset + len <= self.len);
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the range lies in this region, which nobody borrows yet.
        unsafe { rustix::mm::mprotect(self.base.add(offset).as_ptr().cast(), len, access) }
            .map_err(|error| MapError::of(error, "mprotect"))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the region is this value's own; a borrow of its bytes borrows its owner.
        if let Err(error) = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) } {
            log::error!("munmap of {} bytes failed: {error}", self.len);
        }
    }
}

/// Memory, zeroed by the system when it was new.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// Guard, body, guard.
    region: Region,
    layout: Layout,
    /// What the body is, unless it is anonymous.
    file: Option<Memfd>,
    /// Dropped after the region, so the capacity is free only once the memory is.
    share: Share,
}

// SAFETY: the mapping is memory of the process, not of a thread; any thread may unmap it.
unsafe impl Send for Mapping {}
// SAFETY: a shared mapping only lends its bytes as atomics.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps memory according to `layout`: that of `file`, which is as long as the body, or anonymous
    /// memory, [`uncounted`](crate::MmapBuilder::uncounted) or not.
    pub(crate) fn new(
        layout: Layout,
        account: &Arc<Account>,
        mut file: Option<Memfd>,
        uncounted: bool,
    ) -> Result<Self, MapError> {
        let share = Share::take(account, &layout).ok_or(MapError::NoCapacity)?;
        // No guard and no alignment: nothing around the body is needed.
        if let Some(file) = file.take_if(|_| layout.reserve == layout.body) {
            let region = Region::of_file(&file, layout.body)?;
            return Ok(Self { region, layout, file: Some(file), share });
        }
        let mut region = Region::reserve(layout.reserve, uncounted)?;
        let (head, tail) = layout.surplus(region.base.as_ptr().addr());
        region.shrink(head, tail)?;
        match &file {
            Some(file) => {
                if let Err(error) = region.share(layout.guard, layout.body, file) {
                    core::mem::forget(region);
                    return Err(error);
                }
            }
            None => region.commit(layout.guard, layout.body)?,
        }
        Ok(Self { region, layout, file, share })
    }

    /// Maps addresses according to `layout`, uncounted: readable and writable, but nothing of the account's capacity is taken
    /// before [`commit`](Self::commit).
    pub(crate) fn elastic(layout: Layout, account: &Arc<Account>) -> Result<Self, MapError> {
        let share = Share::empty(account, &layout);
        let mut region = Region::reserve(layout.reserve, true)?;
        let (head, tail) = layout.surplus(region.base.as_ptr().addr());
        region.shrink(head, tail)?;
        region.commit(layout.guard, layout.body)?;
        Ok(Self { region, layout, file: None, share })
    }

    /// Takes `bytes` of the account's capacity for this elastic mapping, or nothing.
    pub(crate) fn commit(&self, bytes: u64) -> bool {
        self.share.more(bytes)
    }

    /// Gives back `bytes` that [`commit`](Self::commit) took.
    pub(crate) fn decommit(&self, bytes: u64) {
        self.share.less(bytes);
    }

    /// What other processes can map.
    pub(crate) const fn file(&self) -> Option<&Memfd> {
        self.file.as_ref()
    }

    /// The addresses of the body.
    pub(crate) fn addresses(&self) -> Range<usize> {
        let start = self.body().as_ptr().addr();
        start..start + self.len()
    }

    /// Usable bytes: a multiple of the page size.
    pub(crate) const fn len(&self) -> usize {
        self.layout.body
    }

    pub(crate) fn body(&self) -> NonNull<u8> {
        // SAFETY: the guard lies within the mapping.
        unsafe { self.region.base.add(self.layout.guard) }
    }

    /// All bytes, as words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the body is `len` readable and writable bytes, page-aligned, initialized (the system
        // zeroes them; a memfd cannot shrink below them), alive as long as `self`, and only ever accessed as these atomics.
        unsafe { slice::from_raw_parts(self.body().as_ptr().cast(), self.len() / WORD) }
    }

    /// Asks for huge pages. Advice: a system without them says so, and nothing is lost.
    pub(crate) fn advise_huge_pages(&self) -> Result<(), Errno> {
        #[cfg(target_os = "linux")]
        {
            // SAFETY: the range is the body of this mapping; this advice changes no contents.
            unsafe {
                rustix::mm::madvise(self.body().as_ptr().cast(), self.len(), Advice::LinuxHugepage)
            }
        }
        #[cfg(not(target_os = "linux"))]
        {
            Err(Errno::INVAL)
        }
    }

    /// Makes the pages of `[offset, offset + len)` present and writable, contents unchanged. The range
    /// must lie in the body.
    pub(crate) fn prefault(&self, offset: usize, len: usize) -> Result<(), Errno> {
        let page = self.layout.page;
        let start = offset / page * page;
        let end = (offset + len).next_multiple_of(page).min(self.len());
        if start >= end {
            return Ok(());
        }
        match self.populate(start, end - start) {
            // Older kernels do not know the advice.
            Err(Errno::INVAL | Errno::NOSYS) => {
                self.touch(start, end);
                Ok(())
            }
            result => result,
        }
    }

    /// Gives the whole pages within `[offset, offset + len)` back to the system; they read as zero then. The range must lie in the
    /// body. A body that other processes share keeps its pages.
    pub(crate) fn discard(&self, offset: usize, len: usize) -> Result<(), Errno> {
        let page = self.layout.page;
        let start = offset.next_multiple_of(page);
        let end = (offset + len) / page * page;
        if start >= end || self.file.is_some() {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        {
            // SAFETY: the range lies in the body of this mapping. Its bytes become zeros, as if another thread had stored them: whoever
            // borrows them has atomics.
            unsafe {
                let at = self.body().add(start).as_ptr().cast();
                rustix::mm::madvise(at, end - start, Advice::LinuxDontNeed)
            }
        }
        #[cfg(not(target_os = "linux"))]
        {
            Err(Errno::NOSYS)
        }
    }

    #[cfg(target_os = "linux")]
    fn populate(&self, start: usize, len: usize) -> Result<(), Errno> {
        loop {
            // SAFETY: the range lies in the body of this mapping; populating changes no contents.
            let result = unsafe {
                let at = self.body().add(start).as_ptr().cast();
                rustix::mm::madvise(at, len, Advice::LinuxPopulateWrite)
            };
            if result != Err(Errno::INTR) {
                return result;
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn populate(&self, _start: usize, _len: usize) -> Result<(), Errno> {
        Err(Errno::NOSYS)
    }

    /// Writes every page without changing it.
    pub(crate) fn touch(&self, start: usize, end: usize) {
        for word in self.words()[start / WORD..end / WORD].iter().step_by(self.layout.page / WORD) {
            // A zero is exchanged for a zero; anything else shows that the page is there already. An
            // idempotent read-modify-write would not do: compilers turn it into a load, which maps the
            // shared zero page.
            let _ = word.compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}
