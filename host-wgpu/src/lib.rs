//! Strandline on the GPU.
#![deny(unsafe_code)]

pub mod adapter;
pub mod class;
pub mod command;
pub mod gpu;
mod host_axis;
pub mod kernel;
mod poller;
pub mod pools;
pub mod queue;
pub mod slab;
pub mod slice;
pub mod staging;
pub mod timeline;

pub use class::UsageClass;
pub use command::{BufferRange, Command, Transient};
pub use gpu::{DeviceLost, Gpu, GpuError};
pub use kernel::{Kernel, KernelError};
pub use pools::GpuPools;
pub use queue::{Queue, QueueError, QueueSet, StagingStats};
pub use slab::WgpuSlabProvider;
pub use slice::{BindingKind, GpuSlice, SliceError};
pub use staging::{ReadBack, StagingConfig};
pub use timeline::Timeline;
