//! `gpu`, without the feature `wgpu`: no cases.

use crate::harness::Case;

pub(super) fn cases() -> impl Iterator<Item = Case> {
    std::iter::empty()
}
