//! Strandline on the GPU, through wgpu: buffers as slabs, submissions as timelines, queues that do real work.
//!
//! ```text
//!   QueueSet ── Queue: alloca, dealloca, fill, copy, write, dispatch, read        Transients: your own encoders
//!      │  decides memory with core's Queues; parks, pumps                               │
//!      ├──────────────▶ Timeline: an axis; submit ─▶ epoch ◀────────────────────────────┤
//!      │                    │ flights                                                   │
//!      │                   Gpu: device, queue, the thread that polls ─▶ Tracker (core)  │
//!      ▼                                                                                ▼
//!   GpuPools: pools (core) over WgpuSlabProvider, one for each usage class ──▶ GpuSlice { buffer, offset, size }
//! ```
//!
//! | file | idea |
//! | --- | --- |
//! | [`class`] | [`UsageClass`]: which uses may share a buffer |
//! | [`slab`] | [`WgpuSlabProvider`]: slabs that are buffers |
//! | [`slice`](mod@slice) | [`GpuSlice`]: a range as wgpu's calls take it, checked first |
//! | [`gpu`] | [`Gpu`]: a device, its poller, its loss |
//! | [`timeline`] | [`Timeline`]: submissions as epochs |
//! | [`pools`] | [`GpuPools`]: from reservations to slices |
//! | [`queue`] | [`QueueSet`], [`Queue`]: memory and work in one order |
//! | [`command`], [`kernel`] | what queues are given to do |
//! | [`staging`] | rings of mapped chunks, and the host axis of a device |
//! | [`transient`] | [`Transients`]: in place of `device.create_buffer` |
//! | [`upload`] | [`UploadRing`]: in place of `StagingBelt` |
//! | [`adapter`] | which devices there are |
//!
//! Coming from plain wgpu, read the [`guide`] first.
//!
//! # What wgpu is trusted with
//! Memory safety: everything here is safe code, and a wrong frontier is a wrong result, never undefined behaviour. wgpu also
//! orders accesses within its one queue; what is decided here is which bytes a piece of work gets, and when work goes out.
//!
//! # Features
//! `native` (default): Vulkan, Metal and DX12. `checks`: [`Misuse`] is looked for also without debug assertions.
//!
//! The wgpu whose types these are is [re-exported](wgpu).
//!
//! # On the web
//! Without default features it builds for `wasm32-unknown-unknown`, on the browser's WebGPU. There is no polling thread, nothing that
//! blocks, and no list of adapters: bring your own device, and await.
#![deny(unsafe_code)]

#[cfg(not(target_family = "wasm"))]
pub mod adapter;
#[cfg(not(target_family = "wasm"))]
mod blocking;
pub mod class;
pub mod command;
pub mod gpu;
mod host_axis;
pub mod kernel;
mod lease;
mod loss;
mod misuse;
mod poller;
pub mod pools;
pub mod queue;
mod scopes;
pub mod slab;
pub mod slice;
pub mod staging;
pub mod timeline;
pub mod transient;
pub mod upload;

#[doc = include_str!("../GUIDE.md")]
pub mod guide {}

pub use class::UsageClass;
pub use command::{BufferRange, Command, Transient};
pub use gpu::{DeviceLost, Gpu, GpuError};
pub use kernel::{Kernel, KernelError};
pub use misuse::Misuse;
pub use pools::GpuPools;
pub use queue::{Queue, QueueError, QueueSet, StagingStats, Standing, WaitsFor};
pub use slab::WgpuSlabProvider;
pub use slice::{BindingKind, GpuSlice, SliceError};
pub use staging::{ReadBack, StagingConfig};
pub use timeline::Timeline;
pub use transient::{Frame, TransientError, Transients, TransientsConfig};
pub use upload::{UploadError, UploadRing, Uploads};
pub use wgpu;
