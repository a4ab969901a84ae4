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
pub mod pool_set;
pub mod progress;
pub mod queue;
mod run_all;
pub mod semaphore;
pub mod slab;
pub(crate) mod sync;
#[cfg(all(test, not(loom)))]
mod test_pool;
pub mod tracker;

pub use axis::{Axis, Domain, Epoch};
pub use death::Death;
pub use failure::Failure;
pub use frontier::{
    Causality, Entry, FixedFrontier, Frontier, FrontierError, FrontierRef, Merge, WireError,
};
pub use notification::{Notification, Observation, Wake};
pub use pool::{Acquire, Pool, PoolError, PoolStats, Request, Reservation};
pub use pool_set::PoolSet;
pub use progress::{NoProgress, Progress};
pub use queue::{BufferId, QueueError, QueueEvent, Queues};
pub use semaphore::Semaphore;
pub use slab::{Grant, Slab, SlabError, SlabId, SlabMap, SlabProvider};
pub use tracker::{AxisStatus, Tracker, TrackerError, WaitError, WaitFuture, WaitId};
