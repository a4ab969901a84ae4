//! A program that computes with cubecl on a device that it shares with [`Gpu`], and learns from a recording how large cubecl's pages
//! should be.
//!
//! ```text
//!   run ─▶ a trace a stream ─▶ fit (strandline-replay) ─▶ least capacity ─▶ pages of that size, judged by cubecl's own manager
//!    ▲                                                                        │
//!    └──────────────── each stream's first allocation makes its pages so ◀────┘
//! ```
//!
//! cubecl 0.11.3 keeps pools for each stream, and a stream for each thread. It has no option for the size of a page (0.10 had): pages
//! follow the largest allocation so far, and those that were smaller stay until all in them is free. What a program can give is the first
//! allocation. One that is as large as the fitted capacity, made and dropped before any other, makes pages of that size.

mod device;
mod judge;
mod program;
mod record;
mod sizes;

pub use device::{OpenError, Shared, open};
pub use program::{Run, RunError, expected, run};
pub use record::Trace;
pub use sizes::{SizeError, Sizes, sizes};

use strandline_host_wgpu::Gpu;

/// Bytes of a mebibyte, the unit of cubecl's pages.
pub const MIB: u64 = 1 << 20;

/// Whether the device that cubecl computes on is the one that [`Gpu`] watches.
#[must_use]
pub fn is_shared(gpu: &Gpu, shared: &Shared) -> bool {
    gpu.is_same(&shared.gpu)
}
