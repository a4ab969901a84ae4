//! The memory that the processes share: an epoch word and a word for each participant.
//!
//! ```text
//!   0   magic, version      written by the maker, before anyone else has the file
//!   64  epoch               the futex word
//!   128 slots[16]           armed (bit 31), threads asleep (the other bits)
//! ```
//!
//! # Safety
//! 1. The file is a memfd sealed against shrinking and growing, which is checked before it is mapped: so the
//!    mapping is all there, and no other process can take pages away (that would be `SIGBUS`).
//! 2. Everything in it is an atomic of 32 bits, for which every bit pattern is valid: another process may write
//!    whatever it wants whenever it wants.
//! 3. The mapping is unmapped on drop, and lent out by reference only.

use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicU32;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;

/// Participants at most.
pub(super) const SLOTS: usize = 16;
const SIZE: usize = 4096;
const MAGIC: u32 = u32::from_le_bytes(*b"Strd");
const VERSION: u32 = 1;
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

#[repr(C, align(64))]
struct Head {
    magic: AtomicU32,
    version: AtomicU32,
}

#[repr(C, align(64))]
struct Word(AtomicU32);

#[repr(C, align(64))]
struct Page {
    head: Head,
    epoch: Word,
    slots: [AtomicU32; SLOTS],
}

const _: () = assert!(size_of::<Page>() <= SIZE);

/// A mapping of the shared memory, and the file behind it: an open file description of its own, so that
/// its locks are its own.
#[derive(Debug)]
pub(super) struct SharedPage {
    page: NonNull<Page>,
    file: OwnedFd,
}

// SAFETY: memory of the process, lent out as atomics only.
unsafe impl Send for SharedPage {}
// SAFETY: as above.
unsafe impl Sync for SharedPage {}

impl SharedPage {
    /// Makes the memory.
    pub(super) fn create() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("strandline notification", flags)?;
        rustix::fs::ftruncate(&file, SIZE as u64)?;
        rustix::fs::fcntl_add_seals(&file, SEALS | SealFlags::SEAL)?;
        let shared = Self::map(file)?;
        shared.page().head.version.store(VERSION, Ordering::Relaxed);
        shared.page().head.magic.store(MAGIC, Ordering::Release);
        Ok(shared)
    }

    /// Maps memory that another process made.
    ///
    /// # Errors
    /// `InvalidData`: it is not what [`create`](Self::create) makes. Others: the system's.
    pub(super) fn open(file: OwnedFd) -> io::Result<Self> {
        // Only memfds have seals.
        let sealed = rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SEALS));
        let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
        if !sealed || size < SIZE as u64 {
            return Err(invalid("not a sealed memory file of the right size"));
        }
        let shared = Self::map(file)?;
        let head = &shared.page().head;
        if head.magic.load(Ordering::Acquire) != MAGIC
            || head.version.load(Ordering::Relaxed) != VERSION
        {
            return Err(invalid("not a shared notification of this version"));
        }
        Ok(shared)
    }

    fn map(file: OwnedFd) -> io::Result<Self> {
        // Opened anew: file descriptions that are passed between processes are the same one, and so are
        // their locks.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let own = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a mapping at an address of the kernel's choice touches no memory that exists. The file cannot
        // shrink: it is sealed, which was checked or done by the caller.
        let mapped = unsafe {
            rustix::mm::mmap(ptr::null_mut(), SIZE, access, MapFlags::SHARED, own.as_fd(), 0)
        }?;
        let page = NonNull::new(mapped.cast()).ok_or(Errno::FAULT)?;
        Ok(Self { page, file: own })
    }

    fn page(&self) -> &Page {
        // SAFETY: mapped, page-aligned, at least as long as a `Page`, and all of it atomics.
        unsafe { self.page.as_ref() }
    }

    pub(super) fn epoch(&self) -> &AtomicU32 {
        &self.page().epoch.0
    }

    pub(super) fn slots(&self) -> &[AtomicU32; SLOTS] {
        &self.page().slots
    }

    pub(super) const fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Takes a slot for this file description: until it is closed, or the process ends in whatever way. False
    /// when another has it.
    pub(super) fn lock(&self, slot: usize) -> io::Result<bool> {
        // SAFETY: all zeros is a valid `flock`, a struct of integers.
        let mut lock: libc::flock = unsafe { core::mem::zeroed() };
        lock.l_type = libc::F_WRLCK as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
        lock.l_start = slot as libc::off_t;
        lock.l_len = 1;
        // SAFETY: the descriptor is ours, and the kernel reads one `flock`.
        let result =
            unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
        if result == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match Errno::from_io_error(&error) {
            Some(Errno::AGAIN | Errno::ACCESS) => Ok(false),
            _ => Err(error),
        }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and borrows of it borrow this value.
        if let Err(error) = unsafe { rustix::mm::munmap(self.page.as_ptr().cast(), SIZE) } {
            log::error!("munmap of a shared notification failed: {error}");
        }
    }
}

pub(super) fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
