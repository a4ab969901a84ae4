//! Allocation pools and async frontiers.
#![cfg_attr(not(any(feature = "std", loom, test)), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod axis;
pub mod death;
pub mod failure;
pub mod frontier;
pub mod inspect;
pub mod notification;
pub mod offset;
mod oneshot;
pub mod pool;
pub mod progress;
mod run_all;
pub mod slab;
pub mod semaphore;
pub(crate) mod sync;
pub mod tracker;

pub use axis::{Axis, Domain, Epoch};
pub use death::Death;
pub use failure::Failure;
pub use frontier::{
    Causality, Entry, FixedFrontier, Frontier, FrontierError, FrontierRef, Merge, WireError,
};
pub use notification::{Notification, Observation, Wake};
pub use pool::{Acquire, Pool, PoolError, PoolStats, Request, Reservation};
pub use progress::{NoProgress, Progress};
pub use slab::{Grant, Slab, SlabError, SlabId, SlabMap, SlabProvider};
pub use semaphore::Semaphore;
pub use tracker::{AxisStatus, Tracker, TrackerError, WaitError, WaitFuture, WaitId};
