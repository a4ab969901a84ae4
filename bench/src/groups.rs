//! The groups of cases, one file each.

mod tlsf_pair;

use crate::harness::Case;

/// Every case there is, in the order of the report.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(tlsf_pair::cases());
    cases
}
