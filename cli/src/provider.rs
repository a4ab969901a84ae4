//! Whose memory a trace is played in: this machine's, or a GPU's where the command was built with one.

use crate::args::{MemoryArgs, ProviderKind};
use crate::output::Error;
use strandline_replay::build::Backing;

#[cfg(feature = "wgpu")]
mod gpu;
#[cfg(not(feature = "wgpu"))]
#[path = "provider/no_gpu.rs"]
mod gpu;

pub(crate) use gpu::{Adapters, adapters};

/// The memory that was asked for, up to `capacity` bytes.
pub(crate) fn backing(args: &MemoryArgs, capacity: Option<u64>) -> Result<Backing, Error> {
    match (args.provider, &args.adapter) {
        (ProviderKind::Wgpu, adapter) => gpu::backing(adapter.as_deref(), capacity),
        (ProviderKind::Mmap, None) => Ok(Backing::mmap(capacity)?),
        (ProviderKind::Mmap, Some(_)) => Err("--adapter needs --provider wgpu".into()),
    }
}
