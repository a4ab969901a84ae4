//! A pool that several processes and machines share: the rules, without a network, a clock or a thread.
//!
//! ```text
//!    member 1/1                     owner                        member 1/2
//!   ┌───────────┐  Join, Renew   ┌──────────────┐   Call       ┌───────────┐
//!   │ Member    │ ─────────────▶ │ Owner        │ ◀─────────── │ Member    │
//!   │  own axes │ ◀───────────── │  pool        │ ───────────▶ │  own axes │
//!   │  tracker  │  answers       │  tracker     │   answers    │  tracker  │
//!   └───────────┘                └──────────────┘              └───────────┘
//!        │   ◀────── Digest ──────────┘  └────── Digest ──────▶      │
//!        └──────────── Progress: axis ↦ greatest epoch ──────────────┘
//! ```
//!
//! The [`Owner`] has the pool and lends its memory; a [`Member`] is one process that joined. A host carries their messages as bytes
//! and tells them the time. Nothing depends on delivery: messages may be lost, doubled, delayed and reordered.
//!
//! - **Progress is a map** from axis to greatest epoch. Merging is maximum, and whole maps are sent again now and then.
//! - **Joining** gives a member a session byte and a machine byte that no axis of this owner ever had, and a snapshot of all axes.
//!   The names of a member that is gone are not given out again; 65,535 joins later joining is refused.
//! - **A member speaks for its own axes only**, by the [`Peer`] that the host vouches for.
//! - **Failed is not reached.** The axes of a member that is gone fail. What it held, and what dies at its axes, is *in doubt* and comes
//!   back when the host says that the member is [fenced](Owner::fenced): that nothing of it can touch lent memory any more.
//! - **Leases.** A member stops touching lent memory before the owner's lease for it is over: [`lease`] has the argument.
//! - **Memory that is not mapped** is read and written by requests, with a key that ends with the reservation: [`remote`] has the argument.
//! - **Requests are answered once**: each has a number, an answer is kept until the member says that it came.
//!
//! # What a release must say
//! A death names *every* machine whose work touches the bytes, not only the last in an order: when machine A hands bytes to
//! machine B, what B reaches says nothing of A if A is lost. The bytes that a member got because its own frontier covered their earlier
//! death keep that death besides: the owner adds it by itself.
//!
//! Members are trusted with the truth about their own work, and with nothing else. A program that is not is a tenant of a member.
//!
//! # Cost
//! A request costs the pool's work and a few lookups, logarithmic in the members; progress a lookup an axis. Ticks are linear
//! in the members, whole digests in the axes.

pub mod lease;
mod member;
pub mod message;
mod names;
mod owner;
pub mod remote;
mod wire;

pub use member::{CallError, CallId, Ending, Member, MemberConfig, MemberEvent, Outgoing};
pub use names::{Names, Peer};
pub use owner::{
    Cause, Counters, FenceError, Fencing, Limits, MemberState, MemberStatus, Owner, OwnerConfig,
    OwnerEvent, OwnerStatus, SlabBytes,
};
pub use wire::DecodeError;

/// A host's time in nanoseconds since any fixed moment. It must go on while the machine sleeps, as `CLOCK_BOOTTIME` does, and its
/// rate must keep within [`OwnerConfig::drift_ppm`].
pub type Time = u64;
