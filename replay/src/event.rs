//! The one form that every trace format is read into: what a program asked of its allocator.
//!
//! ```text
//!   RMM log ─────────┐
//!   PyTorch pickle ──┤                 ┌─ slot, size ─▶ Step ─▶ replay
//!   compact CSV ─────┼─▶ Event ─check──┤
//!   serving log ─sim─┘    (40 bytes)   └──────────────▶ writers
//! ```
//!
//! **Block identity.** [`Event::id`] is what the trace calls the block: an address, or a number. It names
//! one block only while that block is live, and real allocators hand the same address out again and again. A
//! reader assigns nothing more; [`Checker`](crate::validate::Checker) maps each live id to a dense *slot*.
//!
//! **Time** is relative to the first event, in nanoseconds, and never goes back: readers resolve midnight
//! and refuse disorder.
//!
//! **Streams** are numbered densely in order of appearance; a reader's table holds the traces' own names
//! ([`TraceReader::streams`](crate::format::TraceReader::streams)).

/// What happened at an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// A block of `size` bytes was handed out under `id`.
    Alloc,
    /// The block `id` was given back, in the order of its stream.
    Free,
    /// The recorded allocator could not serve `size` bytes. There is no block; `id` is 0.
    Failure,
}

/// One event of a trace. Plain data; copying is free of side effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// Nanoseconds since the first event. Never less than the previous event's.
    pub time_ns: u64,
    /// The trace's name of the block (its address), unique only while the block is live.
    pub id: u64,
    /// Bytes asked for; on a free, the size that the trace states for the block.
    pub size: u64,
    /// Dense number of the stream, in order of first appearance.
    pub stream: u32,
    /// The thread that made the call, as the trace names it; 0 where the trace says nothing.
    pub thread: u32,
    /// Where the event stands: the 1-based line of a text trace (for serving logs, the line of
    /// the request), or the 1-based entry in the device's list of a PyTorch snapshot.
    pub line: u32,
    /// What happened.
    pub action: Action,
}

const _: () = assert!(size_of::<Event>() <= 40, "an event is copied per step: keep it small");
