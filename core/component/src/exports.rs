//! The exported interfaces, one file each.

mod authority;
mod frontiers;
mod inspect;
mod ledger;
#[cfg(feature = "plans")]
mod plans;
mod pools;
mod tracker;
