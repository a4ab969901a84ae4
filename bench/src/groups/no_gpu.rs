//! `gpu`, without the feature `wgpu`: no cases.

use crate::harness::Case;

pub(super) fn cases() -> impl Iterator<Item = Case> {
    std::iter::empty()
}

/// Nor to count.
pub(super) fn counts() -> impl Iterator<Item = crate::figures::Count> {
    std::iter::empty()
}
