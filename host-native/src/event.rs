//! An event: an eventfd that one side sets and the other takes.
//!
//! Unlike a notification, which everybody hears, an event is taken: of several operations that wait for
//! it one gets the count, and it is zero again. It may come from another process or a driver.

use crate::proactor::{Op, SharedFd};
use core::fmt;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// See the [module](self). Cheap to clone; clones are the same event.
///
/// ```
/// use std::time::Duration;
/// use strandline_host_native::event::Event;
/// use strandline_host_native::proactor::Proactor;
///
/// let event = Event::new()?;
/// let mut proactor = Proactor::new()?;
/// event.set();
/// event.set();
/// proactor.handle().submit(event.wait(None), |done| assert_eq!(done.result, Ok(2)));
/// assert_eq!(proactor.poll(Some(Duration::from_secs(10)))?, 1);
/// assert_eq!(event.take(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Event {
    fd: SharedFd,
}

impl Event {
    /// An event that is not set.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd: fd.into() })
    }

    /// An eventfd made elsewhere. It is made non-blocking, for everybody who has it.
    ///
    /// # Errors
    /// The descriptor does not take flags.
    pub fn from_fd(fd: impl Into<SharedFd>) -> io::Result<Self> {
        let fd = fd.into();
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd })
    }

    /// Adds one to its count. Takes no lock and does not touch `errno`: signal handlers may call it.
    pub fn set(&self) {
        self.add(1);
    }

    /// Adds `count`, held to what an eventfd holds (2^64 - 2): more is lost, the event stays set.
    pub fn add(&self, count: u64) {
        let count = count.min(u64::MAX - 1);
        while rustix::io::write(&self.fd, &count.to_ne_bytes()) == Err(Errno::INTR) {}
    }

    /// Takes the count; 0 when it is not set. Does not wait.
    pub fn take(&self) -> u64 {
        let mut count = [0; 8];
        while rustix::io::read(&self.fd, &mut count) == Err(Errno::INTR) {}
        u64::from_ne_bytes(count)
    }

    /// The operation that waits until it is set, and takes the count: see [`Op::event`].
    #[must_use]
    pub fn wait(&self, deadline: Option<Instant>) -> Op {
        Op::event(self.fd.clone(), deadline)
    }

    /// Its descriptor, to share.
    #[must_use]
    pub const fn fd(&self) -> &SharedFd {
        &self.fd
    }
}

impl From<Event> for SharedFd {
    fn from(event: Event) -> Self {
        event.fd
    }
}

impl TryFrom<OwnedFd> for Event {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<Self> {
        Self::from_fd(fd)
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("fd", &self.fd).finish()
    }
}
