//! Without the feature `component` there is no sandbox to measure.

use crate::harness::Case;

pub(super) const fn cases() -> core::iter::Empty<Case> {
    core::iter::empty()
}
