//! The groups of cases, one file each.

pub mod advance;
mod fixed_pairs;
mod frontier;
#[cfg(feature = "wgpu")]
mod gpu;
#[cfg(not(feature = "wgpu"))]
#[path = "groups/no_gpu.rs"]
mod gpu;
mod notification;
mod packing;
mod pending;
mod pool_pairs;
mod tlsf_pair;
mod traces;

use crate::figures::Count;
use crate::harness::Case;

/// Something to be measured.
#[derive(Debug)]
pub enum Work {
    /// By the clock.
    Timed(Case),
    /// By counting.
    Counted(Count),
}

impl Work {
    /// What filters are matched against: `group: case`.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Timed(case) => format!("{}: {}", case.group, case.name),
            Self::Counted(count) => format!("{}: {}", count.group, count.name),
        }
    }
}

/// All there is, in the order of the report.
#[must_use]
pub fn all() -> Vec<Work> {
    let timed = tlsf_pair::cases()
        .chain(traces::cases())
        .chain(pool_pairs::cases())
        .chain(fixed_pairs::cases())
        .chain(pending::cases())
        .chain(advance::cases())
        .chain(frontier::cases())
        .chain(notification::cases())
        .chain(gpu::cases());
    timed.map(Work::Timed).chain(packing::cases().map(Work::Counted)).collect()
}
