//! What a case can see and do: [`World`]. The shape is that of the interface definitions in `wit/`.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;

/// A point on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The axis' 64 bits.
    pub axis: u64,
    /// The epoch.
    pub epoch: u64,
}

/// How one frontier stands to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as the core's")]
pub enum Causality {
    Before,
    After,
    Equal,
    Concurrent,
}

/// What last uses still wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death<'a> {
    /// Nothing.
    Idle,
    /// These entries.
    After(&'a [Entry]),
    /// Nobody knows.
    Unknown,
}

/// What is asked of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// Bytes.
    pub size: u64,
    /// Start at a multiple of so many bytes.
    pub alignment: u64,
    /// What the requester is ordered after.
    pub after: &'a [Entry],
    /// The answer may require a wait.
    pub may_wait: bool,
    /// The pool may grow.
    pub may_grow: bool,
}

impl<'a> Ask<'a> {
    /// `size` bytes, with neither permission.
    #[must_use]
    pub const fn new(size: u64) -> Self {
        Self { size, alignment: 1, after: &[], may_wait: false, may_grow: false }
    }

    /// Aligned to so many bytes.
    #[must_use]
    pub const fn aligned(mut self, alignment: u64) -> Self {
        self.alignment = alignment;
        self
    }

    /// On behalf of work that is ordered after these entries.
    #[must_use]
    pub const fn after(mut self, entries: &'a [Entry]) -> Self {
        self.after = entries;
        self
    }

    /// Permit an answer that requires a wait.
    #[must_use]
    pub const fn or_wait(mut self) -> Self {
        self.may_wait = true;
        self
    }

    /// Permit growth.
    #[must_use]
    pub const fn or_grow(mut self) -> Self {
        self.may_grow = true;
        self
    }
}

/// Where ready bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as the core's")]
pub enum Origin {
    Fresh,
    Dominated,
    Completed,
}

/// A pool's answer.
#[derive(Debug)]
pub enum Answer<R> {
    /// Usable now.
    Ready {
        /// The reservation.
        reservation: R,
        /// The first byte, from the slab's start.
        offset: u64,
        /// Where it comes from.
        origin: Origin,
    },
    /// Usable after a wait.
    AfterWait {
        /// The reservation.
        reservation: R,
        /// The first byte, from the slab's start.
        offset: u64,
        /// What to wait for.
        wait: Vec<Entry>,
    },
    /// Nothing fits.
    Exhausted {
        /// Taken before the search.
        seen: u32,
        /// Only growth helps.
        growth_required: bool,
    },
    /// The budget does not allow it.
    OverBudget {
        /// Taken before the search.
        seen: u32,
    },
}

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as the core's")]
pub enum Refusal {
    ZeroSize,
    InvalidAlignment,
    TooLarge,
    InvalidFrontier,
    InvalidRange,
    NoMemory,
    Failed,
    OtherPool,
    Limit,
    /// Not one of these; in words.
    Other(String),
}

/// Where a request goes, by the position of the pool in [`Needs::pools`](crate::Needs::pools).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as the core's")]
pub enum Route {
    Pool(usize),
    Oversized(usize),
    NoMemoryType,
    NoUsage,
    NoSize(u64),
}

/// The counters that every implementation has in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as the core's")]
pub struct Stats {
    pub reserved_bytes: u64,
    pub requested_bytes: u64,
    pub pending_bytes: u64,
    pub tainted_bytes: u64,
    pub live: u64,
    pub reserves: u64,
    pub releases: u64,
    pub fresh: u64,
    pub dominated: u64,
    pub completed: u64,
    pub waited: u64,
    pub exhausted: u64,
    pub over_budget: u64,
}

/// What a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Every reservation starts at a multiple of this.
    pub alignment: u64,
    /// The largest request.
    pub max_request: u64,
}

/// How a transient buffer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as the tenant's")]
pub enum Status {
    Waiting,
    Ready(u64),
    Failed,
}

/// Memory that an operation uses.
#[derive(Debug)]
pub enum Memory<'a, W: World + ?Sized> {
    /// A transient buffer.
    Transient(&'a W::Buffer),
    /// A reservation.
    Reserved(&'a W::Reservation),
}

/// A range of memory.
#[derive(Debug)]
pub struct Slice<'a, W: World + ?Sized> {
    /// The memory.
    pub memory: Memory<'a, W>,
    /// The first byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// An implementation, as a case sees it.
#[expect(async_fn_in_trait, reason = "a world stays on one thread")]
#[expect(clippy::missing_errors_doc, reason = "what is refused, and when, is what the cases say")]
pub trait World {
    /// A reservation of a pool.
    type Reservation: Debug;
    /// A queue.
    type Queue: Debug;
    /// A transient buffer.
    type Buffer: Debug;
    /// Bytes on their way from a queue.
    type Readback: Debug;

    // The algebra of frontiers.

    /// Sorts entries into a frontier.
    fn sort(&mut self, entries: &[Entry]) -> Result<Vec<Entry>, Refusal>;
    /// How `a` stands to `b`.
    fn compare(&mut self, a: &[Entry], b: &[Entry]) -> Result<Causality, Refusal>;
    /// Whether `a` is at or above `b` on every axis.
    fn dominates(&mut self, a: &[Entry], b: &[Entry]) -> Result<bool, Refusal>;
    /// The join, and whether it is `b`; `None` when it does not fit.
    fn merge(&mut self, a: &[Entry], b: &[Entry]) -> Result<Option<(Vec<Entry>, bool)>, Refusal>;
    /// The first of the entries of `b` that `a` does not cover, and how many there are.
    fn undominated(
        &mut self,
        a: &[Entry],
        b: &[Entry],
        limit: u32,
    ) -> Result<(Vec<Entry>, u32), Refusal>;
    /// The wire form.
    fn encode(&mut self, frontier: &[Entry]) -> Result<Vec<u8>, Refusal>;
    /// From the wire form.
    fn decode(&mut self, bytes: &[u8]) -> Result<Vec<Entry>, Refusal>;

    // The host's axes: 0 to 3.

    /// The host submits work on one of its axes: its next epoch.
    fn submit(&mut self, axis: usize) -> Entry;
    /// That work is done.
    fn complete(&mut self, entry: Entry);
    /// The axis fails.
    fn lose(&mut self, axis: usize);
    /// The host knows that its devices are idle.
    fn quiesce(&mut self);

    // Pools, by their position in the case's needs.

    /// Asks a pool.
    fn acquire(&mut self, pool: usize, ask: &Ask<'_>)
    -> Result<Answer<Self::Reservation>, Refusal>;
    /// Gives back; refused, the reservation comes back.
    fn release(
        &mut self,
        pool: usize,
        reservation: Self::Reservation,
        death: Death<'_>,
    ) -> Result<(), (Self::Reservation, Refusal)>;
    /// Gives back unused.
    fn cancel(
        &mut self,
        pool: usize,
        reservation: Self::Reservation,
    ) -> Result<(), (Self::Reservation, Refusal)>;
    /// Finds out what has become ready.
    fn poll(&mut self, pool: usize);
    /// Gives empty slabs back; the bytes.
    fn trim(&mut self, pool: usize) -> Result<u64, Refusal>;
    /// The counters.
    fn stats(&mut self, pool: usize) -> Stats;
    /// What it is.
    fn properties(&mut self, pool: usize) -> Properties;
    /// Where a request of `size` bytes goes; `upload` asks for memory that the host writes, for uploads,
    /// otherwise for device memory to be used as storage.
    fn route(&mut self, size: u64, upload: bool) -> Route;
    /// The epoch word of a pool.
    fn observe(&mut self, pool: usize) -> u32;
    /// Waits until it is not `seen` any more.
    async fn changed(&mut self, pool: usize, seen: u32) -> Result<(), Refusal>;

    // Queues.

    /// Operations begin at, and are of, multiples of so many bytes: 1, or what the device copies at once.
    fn grain(&self) -> u64 {
        1
    }

    /// Opens a queue.
    fn open_queue(&mut self) -> Result<Self::Queue, Refusal>;
    /// A point on a queue's axis.
    fn at(&mut self, queue: &Self::Queue, epoch: u64) -> Entry;
    /// How far an axis has come.
    fn reached(&mut self, axis: u64) -> u64;
    /// Allocates in queue order.
    fn alloca(
        &mut self,
        queue: &Self::Queue,
        pool: usize,
        ask: &Ask<'_>,
    ) -> Result<(Self::Buffer, u64), Refusal>;
    /// Frees in queue order; refused, the buffer comes back.
    fn dealloca(
        &mut self,
        queue: &Self::Queue,
        buffer: Self::Buffer,
        wait: &[Entry],
    ) -> Result<u64, (Self::Buffer, Refusal)>;
    /// Fills a range.
    fn fill(
        &mut self,
        queue: &Self::Queue,
        target: &Slice<'_, Self>,
        value: u8,
        wait: &[Entry],
    ) -> Result<u64, Refusal>;
    /// Copies a range.
    fn copy(
        &mut self,
        queue: &Self::Queue,
        source: &Slice<'_, Self>,
        target: &Slice<'_, Self>,
        wait: &[Entry],
    ) -> Result<u64, Refusal>;
    /// Writes bytes.
    fn write(
        &mut self,
        queue: &Self::Queue,
        target: &Slice<'_, Self>,
        bytes: &[u8],
        wait: &[Entry],
    ) -> Result<u64, Refusal>;
    /// Reads a range.
    fn read(
        &mut self,
        queue: &Self::Queue,
        source: &Slice<'_, Self>,
        wait: &[Entry],
    ) -> Result<Self::Readback, Refusal>;
    /// The epoch at which the bytes are there.
    fn epoch_of(&mut self, readback: &Self::Readback) -> u64;
    /// The bytes, once.
    fn take(&mut self, readback: &Self::Readback) -> Result<Option<Vec<u8>>, Refusal>;
    /// An epoch after `wait`.
    fn barrier(&mut self, queue: &Self::Queue, wait: &[Entry]) -> Result<u64, Refusal>;
    /// How a buffer stands.
    fn status(&mut self, buffer: &Self::Buffer) -> Status;
    /// Waits until these entries are reached.
    async fn finish(&mut self, entries: &[Entry]) -> Result<(), Refusal>;
}
