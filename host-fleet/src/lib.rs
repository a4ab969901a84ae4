//! A pool that several processes and machines share, over [zenoh](https://zenoh.io).
//!
//! ```text
//!   member process                        owner process                       member process
//!   ┌────────────────┐   query: ask     ┌────────────────┐                   ┌────────────────┐
//!   │ FleetMember    │ ───────────────▶ │ FleetOwner     │ ◀───────────────  │ FleetMember    │
//!   │  RemotePool    │ ◀─────────────── │  pool, tracker │                   │                │
//!   └────────────────┘   reply          └────────────────┘                   └────────────────┘
//!        │  publication: progress ──────────▶│◀──────────────────────────────────▶  │
//!        │◀──────────── publication: digest ─┘────────────────────────────────────▶ │
//!        └── mmap ◀── descriptors of slabs over a Unix socket (same machine)
//! ```
//!
//! The rules are in [`strandline_core::fleet`]; here messages are carried, time is read and processes are ended. Nothing relies on zenoh to
//! deliver or to order: what is lost is said again. The owner is zenoh's router and listens, members are clients and connect.
//!
//! | module | what it has |
//! | --- | --- |
//! | [`link`] | endpoints and TLS; plain TCP leaves the machine only if asked to |
//! | [`owner`] | [`FleetOwner`]: lends a pool, fences who is gone |
//! | [`member`] | [`FleetMember`]: joins, renews, tells progress |
//! | [`pool`] | [`RemotePool`]: the lent pool behind [`strandline_core::Pool`] |
//! | [`local`] | the owner's slabs mapped by members of the same machine |
//! | [`transfer`] | lent memory read and written by messages, where it is not mapped |
//! | [`config`] | the files of a pool and of who is admitted |
//! | [`picture`] | the fleet for people: members, axes, lag, bytes lent, in doubt, fenced |
//! | [`replay`] | a trace played by worker processes through one lent pool |
//!
//! # What it is not
//! Members are programs of one operator, trusted with the truth about their own work. A program that is not is a tenant of a member.

#![warn(missing_docs, missing_debug_implementations, unreachable_pub)]
#![deny(unsafe_code)]

mod clock;
pub mod config;
mod error;
mod keys;
pub mod link;
pub mod local;
pub mod member;
pub mod owner;
pub mod picture;
pub mod pool;
pub mod replay;
pub mod transfer;
mod watch;

pub use error::FleetError;
pub use link::Link;
pub use member::FleetMember;
pub use owner::{FleetOwner, OwnerOptions};
pub use pool::RemotePool;
pub use watch::Found;
