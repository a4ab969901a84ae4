//! The groups of cases, one file each.

pub mod advance;
mod first_use;
mod fixed_pairs;
mod frontier;
#[cfg(feature = "wgpu")]
mod gpu;
#[cfg(not(feature = "wgpu"))]
#[path = "groups/no_gpu.rs"]
mod gpu;
mod load;
pub mod notification;
mod packing;
mod pending;
mod plans;
mod pool_pairs;
mod rules;
#[cfg(feature = "component")]
mod sandbox;
#[cfg(not(feature = "component"))]
#[path = "groups/no_sandbox.rs"]
mod sandbox;
mod tlsf_pair;
mod traces;
#[cfg(target_os = "linux")]
mod wakes;
/// Wakes are measured where there are proactors.
#[cfg(not(target_os = "linux"))]
mod wakes {
    pub(super) fn cases() -> impl Iterator<Item = crate::harness::Case> {
        std::iter::empty()
    }
}

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

/// All there is, in the order of the report; files to be read have this many bytes.
#[must_use]
pub fn all(file_bytes: u64) -> Vec<Work> {
    let timed = tlsf_pair::cases()
        .chain(traces::cases())
        .chain(pool_pairs::cases())
        .chain(fixed_pairs::cases())
        .chain(pending::cases())
        .chain(advance::cases())
        .chain(frontier::cases())
        .chain(notification::cases())
        .chain(first_use::cases())
        .chain(wakes::cases())
        .chain(load::cases(file_bytes))
        .chain(sandbox::cases())
        .chain(gpu::cases());
    let counted = notification::counts().chain(packing::cases()).chain(plans::cases());
    let counted = counted.chain(rules::cases());
    let counted = counted.chain(gpu::counts());
    timed.map(Work::Timed).chain(counted.map(Work::Counted)).collect()
}
