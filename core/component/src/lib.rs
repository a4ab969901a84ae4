//! The strandline core as a component: the world `substrate` of `wit/`, over `strandline-core`.
//!
//! ```text
//!   host ──calls──▶ exports/*  ──▶ convert ──▶ strandline-core
//!                      │                            │ SlabProvider, Progress, wakers
//!   host ◀─imports── bindings ◀──── imports ◀───────┘
//! ```
//!
//! `bindings` is generated; `convert` is the one place where types of the interface and of the core are
//! turned into each other, each match exhaustive, so that a new case does not compile until it has a
//! counterpart; `imports` makes a provider, a source of progress and wakers out of what the host gives.
//!
//! Nothing but the world's own imports is needed: no clock, no file system, no environment. The component is
//! synchronous and has one thread. It traps only on its own mistakes and when memory runs out; the
//! instance is then of no more use, and its host gives the slabs back.

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

#[allow(unsafe_code, reason = "the ABI's allocator; argued in the file")]
mod bare;
#[allow(
    unsafe_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod bindings;
mod convert;
mod exports;
mod imports;
