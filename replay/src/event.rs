//! The one form that every trace format is read into: what a program asked of its allocator.
//!
//! ```text
//!   RMM log ─────────┐
//!   PyTorch snapshot ┤                 ┌─ slot, size ─▶ Step ─▶ replay
//!   CSV ─────────────┼─▶ Event ─check──┤
//!   serving log ─sim─┘    (48 bytes)   └──────────────▶ writers
//! ```
//!
//! **Block identity.** [`Event::id`] is what the trace calls the block: an address, or a number. It names
//! one block only while that block is in use, and real allocators hand the same address out again and again. A
//! reader assigns nothing more; [`Checker`](crate::validate::Checker) maps each id in use to a dense *slot*.
//!
//! **Allocated and active.** A block is *allocated* (live) until its program gives it up, and *active* until the last stream that
//! uses it is done. In most traces both end at the [`Free`](Action::Free); where they do not, the block is
//! [retired](Action::Retire) first and freed later, and is active but not allocated in between.
//!
//! **Time** is relative to the first event, in nanoseconds, and never goes back: readers resolve midnight, and where a clock
//! stepped back the order of the entries is the truth and the latest time seen counts.
//!
//! **Streams** are numbered densely in order of appearance; a reader's table holds the traces' own names
//! ([`TraceReader::streams`](crate::format::TraceReader::streams)).

/// What happened at an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// A block of `size` bytes was handed out under `id`.
    Alloc,
    /// The block `id` is over: nobody uses its bytes any more. Unless it was retired before, the program gives it up now, in the order of
    /// its stream.
    Free,
    /// The program gave the block `id` up, and other streams use it until its free: it is active and no longer allocated.
    Retire,
    /// A block that was retired before the trace begins: it is active until its free, and never allocated.
    Held,
    /// The recorded allocator could not serve `size` bytes. There is no block; `id` is 0.
    Failure,
}

/// One event of a trace. Plain data; copying is free of side effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// Nanoseconds since the first event. Never less than the previous event's.
    pub time_ns: u64,
    /// The trace's name of the block (its address), unique only while the block is active.
    pub id: u64,
    /// Bytes asked for; when a block is given up, the size that the trace states for it, or [`UNSTATED`](Self::UNSTATED).
    pub size: u64,
    /// The thread that made the call, as the trace names it; 0 where the trace says nothing.
    pub thread: u64,
    /// Dense number of the stream, in order of first appearance.
    pub stream: u32,
    /// Where the event stands: the 1-based line of a text trace (for serving logs, the line of
    /// the request), or the 1-based entry in the device's list of a PyTorch snapshot.
    pub line: u32,
    /// What happened.
    pub action: Action,
}

impl Event {
    /// The size of a block that is given up, where the trace does not state it.
    pub const UNSTATED: u64 = u64::MAX;
}

const _: () = assert!(size_of::<Event>() <= 48, "an event is copied per step: keep it small");
