//! Slabs that another process can map: [`MmapBuilder::shared`], [`MmapSlabProvider::share`],
//! [`SharedSlab`].
//!
//! ```text
//!   this process                                  another process
//!   provider ── acquire ──▶ slab = one memfd      SharedSlab::try_from(fd) ── map ──▶ MmapBuffer
//!      │                        ▲                        ▲                                │
//!      └── share(slab) ──▶ SharedSlab ── Unix socket ────┘      same bytes ◀──────────────┘
//! ```
//!
//! Each slab is a memfd of its own, so the peer sees that slab and nothing else, and the bytes stay for as long
//! as either side maps them. A slab that was released is never handed out again as another, so a peer that
//! still holds it sees nothing new.
//!
//! The size is sealed when the memory is made, and a descriptor whose size is not sealed is refused: without the
//! seal a peer could cut the memory off, and the next access here would be a bus error.
//!
//! # Cost
//! Three system calls more per slab than anonymous memory. Pages are the kernel's shared memory: they are had at first use,
//! and a system that has none left then ends the process, so [prefault](MmapBuilder::prefault) what must not fail.

use crate::buffer::MmapBuffer;
use crate::layout::Layout;
use crate::mem::{Account, MapError, Mapping};
use crate::slab::{MmapBuilder, MmapSlabProvider};
use core::fmt;
use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use strandline_core::slab::{SlabError, SlabId};

/// Memory whose size never changes.
#[derive(Debug)]
pub(crate) struct Memfd {
    file: OwnedFd,
    len: u64,
}

/// What keeps the size as it is, also against who gets the descriptor.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

impl Memfd {
    /// `len` zeroed bytes, a multiple of the page.
    pub(crate) fn new(len: usize) -> Result<Self, MapError> {
        let make = |extra: MemfdFlags| {
            memfd_create("strandline slab", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | extra)
        };
        // Not executable, where the kernel (6.3) knows the flag: some systems refuse memfds without it.
        let file = match make(MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => make(MemfdFlags::empty()),
            made => made,
        }
        .map_err(|error| MapError::of(error, "memfd_create"))?;
        let len = len as u64;
        ftruncate(&file, len).map_err(|error| MapError::of(error, "ftruncate"))?;
        fcntl_add_seals(&file, SEALS).map_err(|error| MapError::of(error, "fcntl(F_ADD_SEALS)"))?;
        Ok(Self { file, len })
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Another handle to the same memory.
    fn share(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, len: self.len })
    }
}

impl AsFd for Memfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Why a slab cannot be shared, or a descriptor is not a slab.
#[derive(Debug)]
#[non_exhaustive]
pub enum SharedSlabError {
    /// No such slab.
    Slab(SlabError),
    /// The provider was not built with [`MmapBuilder::shared`].
    NotShared,
    /// The descriptor is not a memfd.
    NotMemory,
    /// The descriptor's size can still change, so mapping it would be unsafe.
    Resizable,
    /// The descriptor's size is not a positive multiple of the page.
    Size {
        /// Its bytes.
        bytes: u64,
    },
    /// The system refused.
    Os(io::Error),
}

impl fmt::Display for SharedSlabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slab(error) => error.fmt(f),
            Self::NotShared => f.write_str("the slabs of this provider are private memory"),
            Self::NotMemory => f.write_str("the descriptor is not a memfd"),
            Self::Resizable => f.write_str("the memfd's size is not sealed"),
            Self::Size { bytes } => {
                write!(f, "a memfd of {bytes} bytes is not a positive number of pages")
            }
            Self::Os(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SharedSlabError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Slab(error) => Some(error),
            Self::Os(error) => Some(error),
            _ => None,
        }
    }
}

/// The memory of one slab, as something that can be sent to another process and mapped there.
///
/// It keeps the memory, whatever becomes of the slab. To send it, use its descriptor ([`AsFd`], or `into` an
/// [`OwnedFd`]): over a Unix socket, or as a child's standard input. The other side makes it a
/// [`SharedSlab`] again by [`TryFrom<OwnedFd>`](TryFrom), which trusts nothing.
///
/// ```
/// use std::os::fd::OwnedFd;
/// use strandline_core::{Grant, SlabMap, SlabProvider};
/// use strandline_host_native::{MmapSlabProvider, SharedSlab};
///
/// let provider = MmapSlabProvider::builder().shared(true).build()?;
/// let Grant::Slab(slab) = provider.acquire(4096)? else { panic!("out of memory") };
/// let sent = OwnedFd::from(provider.share(slab.id)?);
///
/// // In the other process:
/// let there = SharedSlab::try_from(sent)?.map()?;
/// there.fill(7);
///
/// let here = provider.map(slab.id, 0, slab.size)?;
/// assert_eq!(here.find_mismatch(0x0707_0707_0707_0707), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SharedSlab(Memfd);

impl SharedSlab {
    /// Its size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.0.len()
    }

    /// Maps all of it. The buffer keeps the memory; what it maps counts for no provider here.
    ///
    /// # Errors
    /// [`SharedSlabError::Os`] when there is no descriptor or address space left.
    pub fn map(&self) -> Result<MmapBuffer, SharedSlabError> {
        let page = rustix::param::page_size();
        let file = self.0.share().map_err(SharedSlabError::Os)?;
        let no_room = || SharedSlabError::Os(Errno::NOMEM.into());
        let layout = Layout::new(file.len(), page, page, false).ok_or_else(no_room)?;
        let account = Arc::new(Account::new(u64::MAX));
        let mapping =
            Mapping::new(layout, &account, Some(file), false).map_err(|error| match error {
                MapError::NoCapacity => no_room(),
                MapError::Os(error, _) => SharedSlabError::Os(error.into()),
            })?;
        let len = mapping.len() as u64;
        MmapBuffer::new(Arc::new(mapping), 0, len).ok_or_else(no_room)
    }
}

impl AsFd for SharedSlab {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<SharedSlab> for OwnedFd {
    fn from(slab: SharedSlab) -> Self {
        slab.0.file
    }
}

/// From wherever the descriptor came.
impl TryFrom<OwnedFd> for SharedSlab {
    type Error = SharedSlabError;

    fn try_from(file: OwnedFd) -> Result<Self, SharedSlabError> {
        let seals = match fcntl_get_seals(&file) {
            // What cannot be sealed is no memfd.
            Err(Errno::INVAL | Errno::BADF) => return Err(SharedSlabError::NotMemory),
            other => other.map_err(|error| SharedSlabError::Os(error.into()))?,
        };
        if !seals.contains(SealFlags::SHRINK.union(SealFlags::GROW)) {
            return Err(SharedSlabError::Resizable);
        }
        // Sealed, so this stays true.
        let stat = fstat(&file).map_err(|error| SharedSlabError::Os(error.into()))?;
        let len = u64::try_from(stat.st_size).unwrap_or(0);
        if len == 0 || !len.is_multiple_of(rustix::param::page_size() as u64) {
            return Err(SharedSlabError::Size { bytes: len });
        }
        Ok(Self(Memfd { file, len }))
    }
}

impl MmapBuilder {
    /// Makes each slab a memfd, which [`MmapSlabProvider::share`] lets another process map. The memory
    /// type then says [`SHARED`](strandline_core::slab::MemoryType::SHARED).
    pub const fn shared(mut self, yes: bool) -> Self {
        self.shared = yes;
        self
    }
}

impl MmapSlabProvider {
    /// A handle to the memory of a slab, to be sent to another process.
    ///
    /// Frontiers do not travel with it: what the peer may read or write, and when, is for the two processes to agree on.
    ///
    /// # Errors
    /// [`SharedSlabError::Slab`], [`SharedSlabError::NotShared`], or [`SharedSlabError::Os`] when the process
    /// has no descriptor left.
    pub fn share(&self, id: SlabId) -> Result<SharedSlab, SharedSlabError> {
        let mapping = self.mapping(id).map_err(SharedSlabError::Slab)?;
        let file = mapping.file().ok_or(SharedSlabError::NotShared)?;
        file.share().map(SharedSlab).map_err(SharedSlabError::Os)
    }
}

#[cfg(test)]
mod tests;
