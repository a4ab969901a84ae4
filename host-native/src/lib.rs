//! Strandline on the processor: slabs of memory, sleeping threads, queues that do real work.
//!
//! ```text
//!   CpuQueue ──runs──▶ Command(fill, copy, call) ──on──▶ MmapBuffer
//!      │ advances                                            ▲ map
//!   Tracker (core)        allocate(deadline)                 │
//!      ▲ asks                 │ sleeps on releases           │
//!   Pool (core) ◀─────────────┘                              │
//!      └──acquire──▶ CachedSlabs (refill thread) ──▶ MmapSlabProvider
//! ```
//!
//! | file | idea |
//! | --- | --- |
//! | [`slab`] | [`MmapSlabProvider`]: slabs of anonymous memory |
//! | `buffer` | [`MmapBuffer`]: shared bytes without undefined behaviour |
//! | `mem` | mappings; all unsafe code |
//! | [`cache`] | [`CachedSlabs`]: core's slab cache with its refill thread |
//! | [`wake`] | [`thread_wake`], [`wait`], [`wait_frontier`]: threads that sleep |
//! | [`mod@allocate`] | [`allocate()`], [`allocate_ready`]: blocking, with a deadline |
//! | [`queue`] | [`CpuQueue`]: an in-order queue with a worker thread |
//! | [`tenant`] | [`Tenant`](tenant::Tenant): pools and queues for programs that nobody need trust |
//! | `info` | [`machine_info`]: what this machine offers |
//!
//! # Memory
//! Reservations name the same bytes one after another, and what keeps them apart in time is their
//! frontiers, which the compiler cannot see. So a [`MmapBuffer`] reads and writes by relaxed atomics and
//! never lends a slice: a wrong frontier is a wrong result, never undefined behaviour. A buffer
//! keeps its memory mapped, also after its slab was released.
#![deny(unsafe_code)]

pub mod allocate;
mod buffer;
pub mod cache;
#[cfg(feature = "component")]
pub mod component;
mod info;
mod layout;
#[allow(unsafe_code, reason = "mapped memory; argued in the file")]
mod mem;
pub mod queue;
pub mod slab;
pub mod tenant;
pub mod wake;

pub use allocate::{AllocateError, Allocated, Lack, Timeout, allocate, allocate_ready};
pub use buffer::{BufferError, MmapBuffer};
pub use cache::{CacheStartError, CachedSlabs};
pub use info::{MachineInfo, TransparentHugePages, machine_info};
pub use queue::{Command, CpuQueue, HostCallPanicked, QueueError};
pub use slab::{MmapBuilder, MmapConfigError, MmapSlabProvider};
pub use wake::{FrontierWaitError, WaitResult, thread_wake, wait, wait_frontier};

#[cfg(test)]
mod scale;
