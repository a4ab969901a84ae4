//! An event loop that its caller drives: timers, notifications, events, files, fences.
//!
//! ```text
//!   any thread                          the thread that polls
//!   ──────────                          ─────────────────────
//!   handle.submit(op, callback) ──▶ inbox ─┐            ┌─▶ timers
//!   notification.signal() ──▶ ready bit ───┼─▶ Proactor ┼─▶ watched notifications
//!        └─ only if the loop sleeps ──▶ eventfd         └─▶ io_uring, or poll(2) and threads
//!                                                             │
//!                                  callback(completion) ◀─────┘
//! ```
//!
//! A [`Proactor`] does nothing by itself: [`poll`](Proactor::poll) sleeps until something completes, runs the
//! callbacks, and returns. It stays on the thread that made it. [`ProactorThread`] is the same with a
//! thread of its own. Work is given through a [`ProactorHandle`], from any thread.
//!
//! # What holds
//! - Every callback runs exactly once, with no lock held, on the polling thread (or, once the proactor is
//!   gone, on the submitter's).
//! - An operation owns its memory and descriptor until the kernel is done with them. Dropping the proactor
//!   ends all operations, waits for those that the kernel does not let go of, and runs their callbacks.
//! - Nobody but the polling thread touches the ring. Waking a loop that is awake makes no system call, and of
//!   many who wake one that sleeps, one does.
//! - Deadlines are as exact as the kernel's timers, never early.
//!
//! | file | idea |
//! | --- | --- |
//! | `op` | what can be asked, and the answers |
//! | `handle` | the inbox |
//! | `driver` | the operations under way |
//! | `latch`, `ready`, `doorbell` | how others wake the loop |
//! | `wait_set` | notifications that it waits for |
//! | `serial` | maps by number |
//! | `backend`, `ring` | io_uring |
//! | `poll`, `workers`, `raw` | without it |
//! | `thread` | a loop with its own thread |

mod backend;
mod doorbell;
mod driver;
mod handle;
mod latch;
mod op;
mod poll;
#[allow(unsafe_code, reason = "pread on shared memory; argued in the file")]
mod raw;
mod ready;
#[allow(unsafe_code, reason = "the kernel uses memory that operations name; argued in the file")]
mod ring;
mod serial;
mod thread;
mod wait_set;
mod workers;

use backend::Backend;
use core::fmt;
use core::marker::PhantomData;
pub(crate) use doorbell::Doorbell;
use driver::Driver;
use handle::{Counters, Shared};
use poll::PollSet;
use ring::Ring;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use handle::{ProactorHandle, Sequence};
pub use op::{Completion, Interest, IoBuffer, Op, OpError, OpId, SharedFd};
pub use thread::ProactorThread;

/// The kernel interface below a proactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProactorKind {
    /// io_uring.
    IoUring,
    /// `poll(2)`, and threads for files.
    Poll,
}

impl ProactorKind {
    /// Both, the better one first.
    pub const ALL: [Self; 2] = [Self::IoUring, Self::Poll];
}

impl fmt::Display for ProactorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IoUring => "io_uring",
            Self::Poll => "poll",
        })
    }
}

/// Why there is no proactor, or why it cannot go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProactorError {
    /// The system has no descriptor (or no memory) left for the doorbell.
    Doorbell(io::Error),
    /// io_uring was asked for, and is absent, refused or too old.
    IoUring(io::Error),
    /// The system has no thread to give.
    Thread(io::Error),
    /// The kernel refuses to be waited for.
    Wait(io::Error),
}

impl fmt::Display for ProactorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Doorbell(error) => write!(f, "cannot make an eventfd: {error}"),
            Self::IoUring(error) => write!(f, "io_uring cannot be used here: {error}"),
            Self::Thread(error) => write!(f, "cannot start the proactor's thread: {error}"),
            Self::Wait(error) => write!(f, "the kernel does not wait for events: {error}"),
        }
    }
}

impl core::error::Error for ProactorError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Doorbell(error)
            | Self::IoUring(error)
            | Self::Thread(error)
            | Self::Wait(error) => Some(error),
        }
    }
}

/// What happened in a proactor so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProactorStats {
    /// Operations submitted.
    pub submitted: u64,
    /// Operations whose callback has run, or is about to.
    pub completed: u64,
    /// Reads and writes of registered memory.
    pub fixed_transfers: u64,
    /// System calls that submitted, or waited, or both.
    pub system_calls: u64,
    /// Times that the completion queue was found overflowing.
    pub overflows: u64,
}

/// Settings of a proactor.
#[derive(Clone, Debug)]
#[must_use]
pub struct ProactorBuilder {
    kind: Option<ProactorKind>,
    entries: u32,
}

impl Default for ProactorBuilder {
    fn default() -> Self {
        Self { kind: None, entries: 256 }
    }
}

impl ProactorBuilder {
    /// Forces the kernel interface. By default it is io_uring, and poll where that is refused.
    pub const fn kind(mut self, kind: ProactorKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Entries of the ring's submission queue, 256 by default: rounded up to a power of two and held to
    /// the kernel's limit. It bounds what one system call submits, not what may be in flight.
    pub const fn entries(mut self, entries: u32) -> Self {
        self.entries = entries;
        self
    }

    /// Makes the proactor. It stays on this thread.
    ///
    /// # Errors
    /// [`ProactorError`]; nothing is left behind.
    pub fn build(&self) -> Result<Proactor, ProactorError> {
        let doorbell = Doorbell::new().map_err(|error| ProactorError::Doorbell(error.into()))?;
        let (doorbell, counters) = (Arc::new(doorbell), Arc::<Counters>::default());
        let ring = || Ring::new(self.entries.max(1), doorbell.clone(), counters.clone());
        let poll = || Box::new(PollSet::new(doorbell.clone(), counters.clone()));
        let backend: Box<dyn Backend> = match self.kind {
            Some(ProactorKind::IoUring) => Box::new(ring().map_err(ProactorError::IoUring)?),
            Some(ProactorKind::Poll) => poll(),
            None => match ring() {
                Ok(ring) => Box::new(ring),
                Err(error) => {
                    log::info!("io_uring cannot be used here ({error}): poll is");
                    poll()
                }
            },
        };
        log::debug!("proactor over {}", backend.kind());
        let shared = Arc::new(Shared::new(backend.kind(), doorbell, counters));
        Ok(Proactor { driver: Driver::new(shared, backend), here: PhantomData })
    }

    /// Makes a proactor on a thread of its own.
    ///
    /// # Errors
    /// [`ProactorError`]; nothing is left behind.
    pub fn spawn(&self) -> Result<ProactorThread, ProactorError> {
        ProactorThread::start(self.clone())
    }
}

/// An event loop that its caller drives; see the [module](self).
///
/// ```
/// use std::sync::mpsc;
/// use std::time::{Duration, Instant};
/// use strandline_host_native::proactor::{Op, Proactor};
///
/// let mut proactor = Proactor::new()?;
/// let (sender, receiver) = mpsc::channel();
/// let soon = Instant::now() + Duration::from_millis(1);
/// proactor.handle().submit(Op::timer(soon), move |done| sender.send(done.result).unwrap());
/// while proactor.pending() > 0 {
///     proactor.poll(None)?;
/// }
/// assert_eq!(receiver.recv()?, Ok(0));
/// assert!(Instant::now() >= soon);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Proactor {
    driver: Driver,
    /// The kernel binds a ring to the thread that made it.
    here: PhantomData<*mut ()>,
}

impl Proactor {
    /// A proactor over io_uring, or over poll where that is refused.
    ///
    /// # Errors
    /// [`ProactorError::Doorbell`].
    pub fn new() -> Result<Self, ProactorError> {
        Self::builder().build()
    }

    /// To choose more.
    pub fn builder() -> ProactorBuilder {
        ProactorBuilder::default()
    }

    /// The kernel interface below.
    #[must_use]
    pub fn kind(&self) -> ProactorKind {
        self.driver.shared().kind
    }

    /// To give it work, from any thread.
    #[must_use]
    pub fn handle(&self) -> ProactorHandle {
        ProactorHandle { shared: self.driver.shared().clone() }
    }

    /// Operations that were submitted and whose callback has not run.
    #[must_use]
    pub fn pending(&self) -> usize {
        let stats = self.handle().stats();
        // Each is submitted before it completes, and completes here.
        stats.submitted.saturating_sub(stats.completed) as usize
    }

    /// Sleeps until something completes, at most for `timeout` (`None`: without end), runs the callbacks, and
    /// returns how many ran. A timeout of zero looks and does not sleep. Signals do not end it.
    ///
    /// # Errors
    /// [`ProactorError::Wait`]: the kernel interface is broken.
    ///
    /// # Panics
    /// When a callback does. The other callbacks run in the next poll.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<usize, ProactorError> {
        // A timeout beyond the clock's range is none.
        self.poll_until(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    /// [`poll`](Self::poll) that sleeps until `deadline` at most.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    ///
    /// # Panics
    /// As [`poll`](Self::poll).
    pub fn poll_until(&mut self, deadline: Option<Instant>) -> Result<usize, ProactorError> {
        self.driver.poll(deadline).map_err(|error| ProactorError::Wait(error.into()))
    }
}

/// Ends what is pending, with [`OpError::Closed`] unless it completes first, and waits for it.
impl Drop for Proactor {
    fn drop(&mut self) {
        self.driver.close();
    }
}

impl fmt::Debug for Proactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proactor")
            .field("kind", &self.kind())
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}
