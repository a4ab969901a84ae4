//! What every pool promises: [`Pool`], its [`Request`]s and their [`Acquire`] outcomes.
//!
//! ```text
//!                       ┌─ Ready { Fresh | Reused }     use it now
//!   acquire(&Request) ──┼─ AfterWait { wait }           use it after `wait` (only if permitted)
//!                       ├─ Exhausted { observed }       nothing reserved: wait on `observed`, or grow
//!                       └─ OverBudget { observed }      nothing reserved: release something first
//!
//!   release(reservation, death)                         Idle | After(frontier) | Unknown
//! ```
//!
//! Capacity is a value: the four outcomes are all `Ok`. An `Err` is an invalid argument or a broken
//! provider. A [`Reservation`] is linear: it can be neither cloned nor copied, and releasing consumes
//! it, so a double release does not compile.

use crate::inspect::EventSink;
use crate::notification::{Notification, Observation, Wake};
use crate::progress::Progress;
use crate::slab::{BufferUsage, MemoryType, SlabId, SlabProvider, Trim};
#[cfg(feature = "hosted")]
use crate::{Axis, frontier::Entry};
use crate::{Death, Frontier, FrontierRef};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

pub mod arena;
pub mod budget;
pub(crate) mod counters;
mod error;
pub mod fixed_block;
pub mod growth;
mod guard;
#[allow(unsafe_code, reason = "tickets pass through a raw pointer; argued in the file")]
pub(crate) mod inbox;
pub mod passthrough;
pub(crate) mod pending_blocks;
#[cfg(feature = "planned")]
pub mod planned;
#[cfg(not(feature = "planned"))]
#[path = "pool/planned/absent.rs"]
mod planned;
pub mod stats;
pub(crate) mod still;
pub mod tlsf;

pub use error::{ExchangeError, PoolError, ReleaseError, ReleaseRefusal};
pub use guard::PoolGuard;
pub use stats::PoolStats;

/// Names one pool of this process; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(u64);

impl PoolId {
    /// A new id, different from every other in this process.
    #[must_use]
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only uniqueness matters, and the counter cannot wrap within a machine's life.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The id as a number, for display and wire forms.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

/// What a pool prints: its kind and its number, as in `ArenaPool(pool#3)`. Digit by digit: in the component, where nobody
/// prints a pool, nothing else needs the machinery of formatting.
pub(crate) fn show(f: &mut fmt::Formatter<'_>, kind: &str, PoolId(id): PoolId) -> fmt::Result {
    f.write_str(kind)?;
    f.write_str("(pool#")?;
    let mut place = 1;
    while id / place >= 10 {
        place *= 10;
    }
    while place != 0 {
        f.write_char(char::from(b'0' + (id / place % 10) as u8))?;
        place /= 10;
    }
    f.write_str(")")
}

impl fmt::Debug for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool#{}", self.0)
    }
}

/// What is asked of a pool: how much, how aligned, on whose behalf, and with which permissions.
///
/// ```
/// use strandline_core::{FrontierRef, pool::Request};
/// let request = Request::new(4096).aligned(256).after(FrontierRef::EMPTY);
/// assert_eq!(request.size, 4096);
/// assert!(request.may_grow && !request.may_wait);
/// assert!(!request.without_growth().may_grow);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Bytes wanted, at least 1.
    pub size: u64,
    /// Power of two; may exceed the pool's own alignment, and not that of the
    /// [provider's slabs](crate::slab::SlabProperties::alignment).
    pub alignment: u64,
    /// What is known to have happened before the reservation is used: the requester's frontier.
    pub frontier: FrontierRef<'a>,
    /// The answer may be [`Acquire::AfterWait`].
    pub may_wait: bool,
    /// The pool may ask its provider for another slab.
    pub may_grow: bool,
}

impl<'a> Request<'a> {
    /// `size` bytes, any alignment, knowing nothing; the pool may grow for it, and the answer requires no wait.
    #[must_use]
    pub const fn new(size: u64) -> Self {
        Self { size, alignment: 1, frontier: FrontierRef::EMPTY, may_wait: false, may_grow: true }
    }

    /// Start at a multiple of `alignment` bytes.
    #[must_use]
    pub const fn aligned(mut self, alignment: u64) -> Self {
        self.alignment = alignment;
        self
    }

    /// The reservation will be used after `frontier`: a reference to a frontier, or to an entry.
    #[must_use]
    pub fn after(mut self, frontier: impl Into<FrontierRef<'a>>) -> Self {
        self.frontier = frontier.into();
        self
    }

    /// Permit an answer that requires a wait.
    #[must_use]
    pub const fn or_wait(mut self) -> Self {
        self.may_wait = true;
        self
    }

    /// Permit the pool to grow, as it may from the start.
    #[must_use]
    pub const fn or_grow(mut self) -> Self {
        self.may_grow = true;
        self
    }

    /// Only what the slabs at hand have: the pool may not ask its provider for another.
    #[must_use]
    pub const fn without_growth(mut self) -> Self {
        self.may_grow = false;
        self
    }

    /// Checks what every pool checks first.
    pub(crate) fn validate(&self) -> Result<(), PoolError> {
        if self.size == 0 {
            return Err(PoolError::ZeroSize);
        }
        if !self.alignment.is_power_of_two() {
            return Err(PoolError::InvalidAlignment { alignment: self.alignment });
        }
        Ok(())
    }
}

/// Where a ready reservation's bytes come from. Whatever it is, each byte may be used at once: each axis of its death has
/// reached its epoch, or is covered by the requester's frontier, some by the one and some by the other.
///
/// An origin tells how the bytes came to be ready when the pool looked. What may still use them is for the requester to
/// derive from what it knows: only [`ReuseProof::Completion`] says that nothing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Never handed out before, none of it.
    Fresh,
    /// Some of it was used before, and the death of each byte is reached or covered on every axis.
    Reused(ReuseProof),
}

/// What proved that bytes which were used before may be used at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReuseProof {
    /// At least one axis of some byte's death had not reached its epoch, and the requester's frontier covers every axis that
    /// had not: its queue is ordered after what still uses the bytes. The other axes may be reached only, not covered.
    Dominance,
    /// Every axis of every byte's death had reached its epoch. Nothing that the requester knows was needed.
    Completion,
}

/// The answer to a [`Request`].
#[derive(Debug)]
#[must_use = "an acquired reservation must be released; the other outcomes must be acted on"]
pub enum Acquire {
    /// Usable now.
    Ready {
        /// The bytes.
        reservation: Reservation,
        /// Where they come from.
        origin: Origin,
    },
    /// Reserved, but the use must be ordered after `wait`. Giving it back unused with
    /// [`Pool::cancel`] restores the block's death exactly.
    AfterWait {
        /// The bytes.
        reservation: Reservation,
        /// What to wait for before they are used: of each byte's death the axes that are neither covered by the requester's
        /// frontier nor reached, and no others.
        wait: Frontier,
    },
    /// Nothing that may be used fits. Nothing is reserved.
    Exhausted {
        /// Taken before the search: waiting on it [misses](Pool#observations-and-who-is-woken) neither a release nor a completion.
        observed: Observation,
        /// No slab at hand could hold it, even with everything released: only growth can help.
        growth_required: bool,
    },
    /// The pool's budget does not allow it now. Nothing is reserved.
    OverBudget {
        /// Taken before the search: waiting on it [misses](Pool#observations-and-who-is-woken) neither a release nor a completion.
        observed: Observation,
    },
}

impl Acquire {
    /// The bytes, if they are usable now; any other answer as it was.
    ///
    /// # Errors
    /// The answer, when it is not [`Ready`](Self::Ready).
    #[expect(clippy::result_large_err, reason = "the answer itself, not an error to be passed on")]
    pub fn into_ready(self) -> Result<Reservation, Self> {
        match self {
            Self::Ready { reservation, .. } => Ok(reservation),
            other => Err(other),
        }
    }
}

/// A range of a slab, held until it is released to the pool it came from.
///
/// Dropping one without releasing it is safe and keeps its bytes reserved until the pool itself is
/// dropped: memory that a device may still be using is never handed on by accident.
#[must_use = "a reservation holds memory until it is released to its pool"]
pub struct Reservation {
    pub(crate) pool: PoolId,
    pub(crate) slab: SlabId,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) token: Token,
}

/// How a pool recognizes its own reservation.
pub(crate) enum Token {
    /// A block index of a pool whose blocks have a fixed place (fixed-block).
    Block(u64),
    /// A ticket that travels back through the pool's inbox.
    Ticket(Box<inbox::Ticket>),
    /// A token of a pool that lives outside this crate.
    Foreign(u64),
}

impl Reservation {
    /// A reservation of a pool implemented outside this crate. `token` comes back through
    /// [`foreign_token`](Self::foreign_token); the pools of this crate refuse such reservations.
    pub const fn foreign(pool: PoolId, slab: SlabId, offset: u64, size: u64, token: u64) -> Self {
        Self { pool, slab, offset, size, token: Token::Foreign(token) }
    }

    /// The token given to [`foreign`](Self::foreign), if this is such a reservation.
    #[must_use]
    pub const fn foreign_token(&self) -> Option<u64> {
        match self.token {
            Token::Foreign(token) => Some(token),
            Token::Block(_) | Token::Ticket(_) => None,
        }
    }

    /// The pool to release it to.
    #[must_use]
    pub const fn pool(&self) -> PoolId {
        self.pool
    }

    /// The slab that holds the bytes.
    #[must_use]
    pub const fn slab(&self) -> SlabId {
        self.slab
    }

    /// Where they start, in bytes from the slab's start.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes that were asked for.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Slab, offset and size at once: how providers are asked for the bytes.
    #[must_use]
    pub const fn range(&self) -> (SlabId, u64, u64) {
        (self.slab, self.offset, self.size)
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reservation({:?} {:?} {}+{})", self.pool, self.slab, self.offset, self.size)
    }
}

/// What a pool is and serves. Constant over its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolProperties {
    /// `"tlsf"`, `"planned"`, `"fixed-block"`, `"arena"`, `"passthrough"`, or another implementation's name.
    pub kind: &'static str,
    /// How its memory can be reached.
    pub memory_type: MemoryType,
    /// What its memory may be used for.
    pub usage: BufferUsage,
    /// Every reservation starts at a multiple of this many bytes.
    pub alignment: u64,
    /// The largest request it can ever serve, in bytes.
    pub max_request: u64,
}

/// A pool: policy over slabs. All methods may be called from any thread.
///
/// # Who may use what
/// An answer is [`Ready`](Acquire::Ready) if each axis of what each byte waits for has reached its epoch or is covered by the
/// requester's frontier, axis by axis: half of them reached and half covered will do. A wait names what is neither. Nothing is
/// refused, waited for or grown for while what the pool hands out is there and ready: a block of the fixed-block pool, a slab of
/// the request's size of the passthrough pool, of the arena the bytes behind the last part of a generation, and its gaps.
///
/// # Observations, and who is woken
/// [`Exhausted`](Acquire::Exhausted) and [`OverBudget`](Acquire::OverBudget) hold an observation of the pool's
/// [`notification`](Self::notification) that was taken before the search. It is signaled
///
/// - by every release and cancel, if anybody has observed it since the last signal, and by [`quiesce`](Self::quiesce);
/// - by every call that finds out that an axis has got to an epoch which free bytes waited for, whoever makes it:
///   [`poll`](Self::poll), [`trim`](Self::trim), or an acquire that leaves what it found to others;
/// - by whatever else makes room: slabs that are given back, and growth that leaves something.
///
/// So a waiter looks again whenever memory may have become usable. A pool has no thread and is not told of progress: that an
/// axis moved on is found out by the next such call, and a host in which somebody waits polls the pool as epochs are reached. A
/// call that moved its own observation on in this way has looked again before it refuses.
pub trait Pool: fmt::Debug + Send + Sync {
    /// Names this pool.
    fn id(&self) -> PoolId;

    /// What it is and serves.
    fn properties(&self) -> PoolProperties;

    /// The most bytes that a reservation of `size` bytes with this alignment takes out of the pool, padding
    /// included: what a share of the pool is charged. Saturates at `u64::MAX`.
    fn footprint(&self, size: u64, alignment: u64) -> u64 {
        let _ = alignment;
        size.checked_next_multiple_of(self.properties().alignment.max(1)).unwrap_or(u64::MAX)
    }

    /// Looks for memory that the requester may use.
    ///
    /// # Errors
    /// [`PoolError`] for an invalid request or a failing provider; nothing is reserved then.
    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError>;

    /// Gives a reservation back, saying what its last uses still wait for. Never takes the pool's lock.
    ///
    /// # Errors
    /// [`ReleaseError`] returns a reservation of another pool, and one whose death names an axis that the pool's
    /// [`Progress`] does not [know](Progress::is_known).
    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError>;

    /// [`release`](Self::release), then [`acquire`](Self::acquire), in one step if the pool can: a whole turn of a block
    /// under one lock. The answers and the counters are those of the two.
    ///
    /// # Errors
    /// [`ExchangeError`]: of the two calls the one that failed.
    fn exchange(
        &self,
        reservation: Reservation,
        death: Death<'_>,
        request: &Request<'_>,
    ) -> Result<Acquire, ExchangeError> {
        self.release(reservation, death)?;
        Ok(self.acquire(request)?)
    }

    /// Gives an unused reservation back: the block's death becomes exactly what it was before.
    ///
    /// # Errors
    /// [`ReleaseError`] returns a reservation of another pool.
    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError>;

    /// Looks at the axes that freed blocks wait for, and makes those blocks clean whose deaths have been
    /// reached. Acquire does this by itself; calling it moves the work to a quieter moment.
    fn poll(&self);

    /// The device is known to be quiescent: every freed block, also of unknown death, becomes clean.
    fn quiesce(&self);

    /// Gives empty slabs back to the provider; returns the bytes.
    ///
    /// # Errors
    /// The provider's first failure; slabs already given back stay so.
    fn trim(&self, how: Trim) -> Result<u64, PoolError>;

    /// The counters now. O(1) for every pool.
    fn stats(&self) -> PoolStats;

    /// Where its slabs come from, so that sums over pools can count a shared provider once; `None` for a
    /// pool that does not say.
    fn provider(&self) -> Option<&Arc<dyn SlabProvider>> {
        None
    }

    /// Who tells it how far axes have come, so that whoever waits for memory can wait for that too; `None` for a pool that does not
    /// say.
    #[cfg(feature = "hosted")]
    fn progress(&self) -> Option<&Arc<dyn Progress>> {
        None
    }

    /// What [`Acquire::Exhausted`]'s observation is one of, signaled by releases and by completions that are
    /// [found out](Self#observations-and-who-is-woken).
    fn notification(&self) -> &Arc<Notification>;

    /// Visits every block of every slab in order of slab and offset, under the pool's lock.
    fn inspect(&self, visit: &mut dyn FnMut(&crate::inspect::BlockView<'_>));
}

/// What a host gives a pool to stand on.
#[derive(Clone)]
pub struct PoolHost {
    /// Where slabs come from.
    pub provider: Arc<dyn SlabProvider>,
    /// Which epochs have been reached.
    pub progress: Arc<dyn Progress>,
    /// Wakes threads that wait on the pool's notification; `None` when no thread ever does.
    pub wake: Option<Arc<dyn Wake>>,
    /// Told of every reservation, release and slab; `None` costs a branch.
    pub sink: Option<Arc<dyn EventSink>>,
}

impl PoolHost {
    /// A host of slabs and progress, without wakes or a sink. What `progress` says [of memory](Progress::for_memory) is what pools
    /// go by.
    #[must_use]
    pub fn new(provider: Arc<dyn SlabProvider>, progress: Arc<dyn Progress>) -> Self {
        #[cfg(feature = "hosted")]
        let progress = progress.for_memory().unwrap_or(progress);
        Self { provider, progress, wake: None, sink: None }
    }

    /// Threads that wait on the pool's notification are woken by `wake`.
    #[must_use]
    pub fn with_wake(mut self, wake: Arc<dyn Wake>) -> Self {
        self.wake = Some(wake);
        self
    }

    /// `sink` is told of what happens.
    #[must_use]
    pub fn with_sink(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.sink = Some(sink);
        self
    }
}

impl PoolHost {
    /// Hands a reservation on whose death names only axes that are known.
    #[cfg(feature = "hosted")]
    #[inline]
    pub(crate) fn check(
        &self,
        reservation: Reservation,
        death: Death<'_>,
    ) -> Result<Reservation, ReleaseError> {
        match self.unknown(death) {
            None => Ok(reservation),
            Some(axis) => Err(ReleaseError::unknown_axis(reservation, axis)),
        }
    }

    /// Where there is no `Progress` that knows its axes, there is nothing to check.
    #[cfg(not(feature = "hosted"))]
    #[inline]
    pub(crate) fn check(
        &self,
        reservation: Reservation,
        _: Death<'_>,
    ) -> Result<Reservation, ReleaseError> {
        Ok(reservation)
    }

    /// An axis of a death that nobody registered.
    #[cfg(feature = "hosted")]
    #[inline]
    pub(crate) fn unknown(&self, death: Death<'_>) -> Option<Axis> {
        let Death::After(frontier) = death else { return None };
        let unknown = |entry: &&Entry| !self.progress.is_known(entry.axis);
        frontier.entries().iter().find(unknown).map(|entry| entry.axis)
    }
}

impl fmt::Debug for PoolHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolHost").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// The most axes by which the TLSF pool files a freed block. One whose death has more, after those already reached are dropped, is
/// kept aside until no more than so many are left to be reached, and nobody gets it before. The other pools file by any number of
/// axes, and have a place for so many without allocating.
pub const MAX_DEATH_AXES: usize = 8;
