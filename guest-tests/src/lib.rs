//! Conformance: what pools, frontiers and queues do, written once, for every implementation and every boundary.
//!
//! ```text
//!   case ──▶ World ◀── native            core's pools, host-native's queues
//!                  ◀── guest             the same, from inside a sandboxed guest over the host's pools
//!                  ◀── …                 whatever else: a row of `tests/conformance.rs`
//! ```
//!
//! A case is an async function over a [`World`]: it sees pools that the runner has made as the case [needs](Needs),
//! axes of the host that the case itself moves, and queues. It tells time nowhere and sleeps nowhere. It
//! returns what it found wrong instead of panicking, because a panic says nothing across a boundary.
//!
//! The crate is `no_std` and has no dependency, so the same cases are compiled into guests.
//!
//! # A case and its runners
//! [`for_each_case!`] hands the list of cases to a macro of the runner, which makes a test of each: a case that
//! is not run does not exist. A function that is not in the list is dead code, which does not compile
//! here.
#![no_std]
#![deny(unsafe_code, dead_code)]

extern crate alloc;

mod cases;
mod check;
mod needs;
pub mod puppet;
mod world;

pub use cases::{NAMES, needs_of, run};
pub use check::Wrong;
pub use needs::{Needs, PoolKind, PoolNeeds};
pub use world::{
    Answer, Ask, Causality, Death, Entry, Memory, Origin, Properties, Refusal, Route, Slice, Stats,
    Status, World,
};
