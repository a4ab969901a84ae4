//! The groups of cases, one file each.

mod advance;
mod frontier;
mod notification;
mod pending;
mod pool_pairs;
mod tlsf_pair;
mod traces;

use crate::harness::Case;

/// Every case there is, in the order of the report.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(tlsf_pair::cases());
    cases.extend(traces::cases());
    cases.extend(pool_pairs::cases());
    cases.extend(pending::cases());
    cases.extend(advance::cases());
    cases.extend(frontier::cases());
    cases.extend(notification::cases());
    cases
}
