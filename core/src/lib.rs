//! Allocation pools and async frontiers: which bytes of a device's memory a piece of queued work may use,
//! and when, decided without waiting for the device.
//!
//! A queue runs behind the program that feeds it. Memory that the program frees may still be read by work
//! in flight, so an allocator either waits, or keeps the memory aside, or keeps a pool per queue. Here, a
//! freed block carries its *death*: the point on each queue's timeline after which nobody touches it. A
//! requester carries its *frontier*: what is known to have happened before it will use the memory. If
//! the frontier covers the death, the block is reused at once, across queues, while the device runs.
//!
//! ```text
//!   axis A   ──1──2──3──4──5──▶      release(block, After{A@4})
//!   axis B   ──1──2──3──▶            acquire(frontier {A@4, B@3})  ✓ reuses it now
//!                                    acquire(frontier {B@3})       ✗ not ordered after A@4
//! ```
//!
//! # Layers
//!
//! Arrows point down only. The crate has no thread, no clock, no blocking and no system call: hosts drive
//! it, and [`SlabProvider`], [`Progress`] and [`Wake`] are what they supply.
//!
//! ```text
//!   allocate      waits for memory, as a future
//!     │
//!   queue         queue-ordered alloca and dealloca: submit, feed progress, drain events
//!     │
//!   pool_set      routes by memory type, usage, size, priority
//!     │
//!   pool          tlsf · planned · fixed_block · arena · passthrough: acquire and release
//!     ├── offset  arithmetic on ranges; knows no frontier and no slab
//!     ├── slab    providers, caches, generational ids
//!     └── death ─ frontier ─ axis
//!   tracker       axes and who waits for them      semaphore   timelines with frontiers
//!   notification  observe, check, wait: no lost wake
//!   table         values under checked keys: slabs, reservations
//!   inspect       what people, pictures and tracers see
//!   fleet         a pool lent to other processes and machines: messages in, messages out
//! ```
//!
//! The [`glossary`] has every word, and what PyTorch, RMM, wgpu and wasmtime call the same thing. The model is that of IREE's
//! allocation pools and async frontier substrate (iree-org/iree, pull request 24236).
//!
//! # A pool at work
//!
//! ```
//! # use std::sync::Arc;
//! # use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
//! # use strandline_core::pool::{Pool, PoolHost, Request};
//! # use strandline_core::slab::CpuSlabs;
//! # use strandline_core::{Axis, Death, Frontier, Tracker};
//! let (slabs, tracker) = (Arc::new(CpuSlabs::new(64 << 20)), Tracker::new(16));
//! let queue = Axis::queue(0, 0);
//! tracker.register(queue)?;
//! let host = PoolHost::new(slabs.clone(), Arc::new(tracker.clone()));
//! let pool = TlsfPool::new(host, TlsfPoolConfig::default())?;
//! let block = pool.acquire(&Request::new(4096))?.into_ready().expect("it may grow");
//! slabs.bytes(block.range(), |bytes| bytes.fill(7))?; // or the device does, as the queue's first work
//! let work = Frontier::from_entry(queue, 1);
//! pool.release(block, Death::from(&work))?; // freed at once, though the device has not even started
//! let again = pool.acquire(&Request::new(4096).after(&work))?; // who comes after that work reuses it now
//! # assert!(again.into_ready().is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Who knows nothing of that work is served when `tracker.advance(queue, 1)` says that it is done; [`allocate`](mod@allocate) waits for it.
//! Memory of a device, queues that run the work, and threads that wait come from a host: `strandline-host-native`, `strandline-host-wgpu`.
//!
//! # Three rules
//!
//! - **Capacity is a value.** Exhausted, over budget, must wait: outcomes of [`Pool::acquire`]. An `Err` is
//!   an invalid argument or broken infrastructure.
//! - **A reservation is linear.** It can be neither cloned nor copied; releasing consumes it.
//! - **No search grows with what is not ready.** Ten thousand blocks in flight cost an acquire nothing.
//!
//! # Features
//!
//! All are on by default and only add. `std`: a mutex that parks, and places of retired axes for others; without it the crate is
//! `no_std + alloc`, and its locks spin, which is meant for one thread. `hosted`: what a component leaves to its host, which is waits for
//! any progress, fences, and deaths of unknown axes. `elastic`, `planned`: kinds of TLSF pools. `fleet`: pools that processes
//! and machines share.
//!
//! # Unsafe code
//!
//! Denied but for named files that argue it: the passage of release tickets through the inbox, and the
//! spin mutex of builds without `std`. Both are model-checked or tested under the sanitizers.

#![cfg_attr(not(any(feature = "std", loom, test)), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

#[cfg(feature = "hosted")]
pub mod allocate;
pub mod axis;
pub mod death;
pub mod failure;
#[cfg(feature = "fleet")]
pub mod fleet;
pub mod frontier;
#[cfg(doc)]
#[doc = include_str!("../glossary.md")]
pub mod glossary {}
pub(crate) mod index;
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
pub mod table;
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
pub use pool::{Acquire, Pool, PoolError, PoolGuard, PoolStats, Request, Reservation};
pub use pool_set::PoolSet;
pub use progress::{NoProgress, Progress};
pub use queue::{BufferId, QueueError, QueueEvent, Queues};
pub use semaphore::Semaphore;
pub use slab::{Grant, Slab, SlabError, SlabId, SlabMap, SlabProvider};
pub use tracker::{AxisStatus, Tracker, TrackerError, WaitError, WaitFuture, WaitId};
