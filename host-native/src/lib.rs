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
//! | [`slab`] | [`MmapSlabProvider`]: slabs of this machine's memory |
//! | `memfd` | [`SharedSlab`]: slabs that another process can map |
//! | `numa` | [`MmapBuilder::numa_node`]: slabs bound to a memory node |
//! | `pages` | [`PageReport`]: resident and huge pages as the kernel counts them; prefault, timed |
//! | `buffer` | [`MmapBuffer`]: shared bytes without undefined behaviour |
//! | `mem` | mappings; all unsafe code |
//! | [`cache`] | [`CachedSlabs`]: core's slab cache with its refill thread |
//! | [`wake`] | [`thread_wake`], [`wait`], [`wait_frontier`]: threads that sleep |
//! | [`mod@allocate`] | [`allocate()`], [`allocate_ready`]: blocking, with a deadline |
//! | [`queue`] | [`CpuQueue`]: an in-order queue with a worker thread |
//! | [`proactor`] | [`Proactor`](proactor::Proactor): an event loop over io_uring, or poll |
//! | [`event`] | [`Event`](event::Event): an eventfd that is set and taken |
//! | [`fence`] | descriptors that become ready, and semaphores |
//! | [`relay`] | notifications, events and semaphores that tell each other |
//! | [`shared`] | [`SharedNotification`](shared::SharedNotification): one for several processes |
//! | [`io_axis`] | [`IoAxis`](io_axis::IoAxis): reads and writes of files as epochs |
//! | `trace`, `tracy` | pools and queues in the Tracy profiler; feature `tracy` |
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
#[cfg(all(target_os = "linux", not(loom)))]
mod clock;
#[cfg(all(target_os = "linux", not(loom)))]
pub mod event;
#[cfg(all(target_os = "linux", not(loom)))]
pub mod fence;
mod info;
#[cfg(all(target_os = "linux", not(loom)))]
pub mod io_axis;
mod layout;
#[allow(unsafe_code, reason = "mapped memory; argued in the file")]
mod mem;
#[cfg_attr(not(target_os = "linux"), path = "memfd/absent.rs")]
mod memfd;
#[allow(unsafe_code, reason = "two system calls without a wrapper; argued in the file")]
mod numa;
mod pages;
#[cfg(all(target_os = "linux", not(loom)))]
pub mod proactor;
/// The parts that loom checks; the others sleep in the kernel, which it cannot.
#[cfg(all(test, loom))]
mod proactor {
    mod latch;
    mod ready;
}
pub mod queue;
#[cfg(all(target_os = "linux", not(loom)))]
pub mod relay;
#[cfg(all(target_os = "linux", not(loom)))]
pub mod shared;
pub mod slab;
#[cfg(target_os = "linux")]
mod sync;
#[cfg(any(feature = "tracy", test))]
mod trace;
#[cfg(feature = "tracy")]
#[allow(unsafe_code, reason = "calls of Tracy's C interface; argued in the file")]
mod tracy;
pub mod wake;

pub use allocate::{AllocateError, Allocated, Allocator, Lack, Timeout, allocate, allocate_ready};
pub use buffer::{BufferError, MmapBuffer};
pub use cache::{CacheStartError, CachedSlabs};
pub use info::{MachineInfo, TransparentHugePages, machine_info};
#[cfg(target_os = "linux")]
pub use memfd::{SharedSlab, SharedSlabError};
pub use numa::{Placement, memory_nodes};
pub use pages::{PageReport, PrefaultReport, measure_prefault};
pub use queue::{Command, CpuQueue, CpuQueueBuilder, HostCallPanicked, QueueError, Standing};
pub use slab::{MmapBuilder, MmapConfigError, MmapSlabProvider};
#[cfg(feature = "tracy")]
pub use tracy::TracySink;
pub use wake::{FrontierWaitError, WaitResult, thread_wake, wait, wait_frontier};

#[cfg(test)]
mod scale;
