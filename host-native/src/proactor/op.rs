//! What a proactor can be asked to do, and what it answers.

use crate::MmapBuffer;
use core::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;
use strandline_core::{Notification, Observation};

/// A file descriptor that operations share with their submitter: it stays open until the last of them
/// is over.
#[derive(Clone, Debug)]
pub struct SharedFd(Arc<OwnedFd>);

impl From<OwnedFd> for SharedFd {
    fn from(fd: OwnedFd) -> Self {
        Self(Arc::new(fd))
    }
}

impl From<Arc<OwnedFd>> for SharedFd {
    fn from(fd: Arc<OwnedFd>) -> Self {
        Self(fd)
    }
}

impl From<File> for SharedFd {
    fn from(file: File) -> Self {
        Self::from(OwnedFd::from(file))
    }
}

impl AsFd for SharedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl SharedFd {
    pub(super) fn raw(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// Memory that a read fills or a write takes: owned by the operation until it is over, then handed back.
#[derive(Debug)]
pub enum IoBuffer {
    /// As many bytes as the vector's length.
    Bytes(Vec<u8>),
    /// Part of a slab. Its bytes are shared: who else touches them meanwhile is a matter of frontiers.
    Slab(MmapBuffer),
}

impl IoBuffer {
    /// Bytes that a read may fill or a write takes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            // A buffer lies in the address space.
            Self::Slab(buffer) => buffer.len() as usize,
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if they are a vector's.
    #[must_use]
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Slab(_) => None,
        }
    }

    /// Where the bytes are; moving the value does not move them.
    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        match self {
            Self::Bytes(bytes) => bytes.as_mut_ptr(),
            Self::Slab(buffer) => buffer.as_ptr(),
        }
    }
}

impl From<Vec<u8>> for IoBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<MmapBuffer> for IoBuffer {
    fn from(buffer: MmapBuffer) -> Self {
        Self::Slab(buffer)
    }
}

/// What a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// There is something to read, or an end of file, or an error.
    Readable,
    /// There is room to write, or an error.
    Writable,
}

impl Interest {
    pub(super) const fn events(self) -> rustix::event::PollFlags {
        match self {
            Self::Readable => rustix::event::PollFlags::IN,
            Self::Writable => rustix::event::PollFlags::OUT,
        }
    }
}

/// Names an operation of one proactor, to cancel it. Never used for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub(super) u64);

impl OpId {
    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// An operation, to be submitted.
#[derive(Debug)]
pub struct Op(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Nop,
    Timer { deadline: Instant },
    Wait { notification: Arc<Notification>, seen: Observation, deadline: Option<Instant> },
    Poll { fd: SharedFd, interest: Interest, deadline: Option<Instant> },
    Event { fd: SharedFd, deadline: Option<Instant> },
    Transfer(Transfer),
    Register(MmapBuffer),
    Unregister(MmapBuffer),
}

/// A read or a write at an offset.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) direction: Direction,
    pub(super) fd: SharedFd,
    pub(super) offset: u64,
    pub(super) buffer: IoBuffer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

impl Op {
    /// Nothing: completes with 0 in the next turn. Shows what a turn costs, and ends a
    /// [`poll`](super::Proactor::poll) that waits.
    #[must_use]
    pub const fn nop() -> Self {
        Self(Kind::Nop)
    }

    /// Completes with 0 at `deadline`, never before.
    #[must_use]
    pub const fn timer(deadline: Instant) -> Self {
        Self(Kind::Timer { deadline })
    }

    /// Completes with 0 once there was a signal after `seen`; with [`OpError::TimedOut`] when `deadline`
    /// (`None`: never) comes first.
    #[must_use]
    pub const fn wait(
        notification: Arc<Notification>,
        seen: Observation,
        deadline: Option<Instant>,
    ) -> Self {
        Self(Kind::Wait { notification, seen, deadline })
    }

    /// Completes once the descriptor is ready, with the `poll(2)` events that it is ready for; with
    /// [`OpError::TimedOut`] when `deadline` (`None`: never) comes first. Nothing is read or written.
    #[must_use]
    pub fn ready(fd: impl Into<SharedFd>, interest: Interest, deadline: Option<Instant>) -> Self {
        Self(Kind::Poll { fd: fd.into(), interest, deadline })
    }

    /// Completes once the counter of an eventfd is not zero: takes the counter and gives its value. Of
    /// several that wait, one takes it. The descriptor must not block.
    #[must_use]
    pub fn event(fd: impl Into<SharedFd>, deadline: Option<Instant>) -> Self {
        Self(Kind::Event { fd: fd.into(), deadline })
    }

    /// Reads into `buffer` from byte `offset` of a file; completes with the number of bytes, which is
    /// less than the buffer's length at the end of the file, and may be less anywhere, as of `pread(2)`.
    #[must_use]
    pub fn read_at(fd: impl Into<SharedFd>, offset: u64, buffer: impl Into<IoBuffer>) -> Self {
        let (fd, buffer) = (fd.into(), buffer.into());
        Self(Kind::Transfer(Transfer { direction: Direction::Read, fd, offset, buffer }))
    }

    /// Writes `buffer` from byte `offset` of a file; completes with the number of bytes, which may be
    /// less than the buffer's length, as of `pwrite(2)`.
    #[must_use]
    pub fn write_at(fd: impl Into<SharedFd>, offset: u64, buffer: impl Into<IoBuffer>) -> Self {
        let (fd, buffer) = (fd.into(), buffer.into());
        Self(Kind::Transfer(Transfer { direction: Direction::Write, fd, offset, buffer }))
    }

    /// Registers a slab's memory with the kernel: reads and writes of buffers within it are then *fixed*,
    /// without pinning pages for each. Completes with 0. The pages count against the limit of locked
    /// memory, and the memory stays mapped until it is unregistered. Where there is no io_uring it
    /// does nothing.
    #[must_use]
    pub const fn register_buffer(buffer: MmapBuffer) -> Self {
        Self(Kind::Register(buffer))
    }

    /// Takes back [`register_buffer`](Self::register_buffer) of the same range. Operations under way keep
    /// what they use.
    #[must_use]
    pub const fn unregister_buffer(buffer: MmapBuffer) -> Self {
        Self(Kind::Unregister(buffer))
    }
}

/// Why an operation did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpError {
    /// It was canceled, or one that came before it in its sequence failed.
    Canceled,
    /// Its deadline came first.
    TimedOut,
    /// The proactor was dropped.
    Closed,
    /// The proactor watches as many notifications as it can.
    TooManyWatches,
    /// The kernel refused.
    Os {
        /// What was asked of it.
        operation: &'static str,
        /// The error number (`errno`).
        code: i32,
    },
}

impl OpError {
    pub(super) fn os(operation: &'static str, error: rustix::io::Errno) -> Self {
        Self::Os { operation, code: error.raw_os_error() }
    }

    /// The kernel's error, if it is one.
    #[must_use]
    pub fn io_error(&self) -> Option<io::Error> {
        match self {
            Self::Os { code, .. } => Some(io::Error::from_raw_os_error(*code)),
            _ => None,
        }
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Canceled => f.write_str("canceled"),
            Self::TimedOut => f.write_str("the deadline came first"),
            Self::Closed => f.write_str("the proactor was dropped"),
            Self::TooManyWatches => f.write_str("the proactor watches too many notifications"),
            Self::Os { operation, code } => {
                write!(f, "{operation}: {}", io::Error::from_raw_os_error(*code))
            }
        }
    }
}

impl core::error::Error for OpError {}

/// How an operation ended.
#[derive(Debug)]
pub struct Completion {
    /// What it is worth: see the constructors of [`Op`].
    pub result: Result<usize, OpError>,
    /// The memory of a read or a write, whatever came of it.
    pub buffer: Option<IoBuffer>,
}

pub(super) type Callback = Box<dyn FnOnce(Completion) + Send>;
