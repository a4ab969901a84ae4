//! The exported interfaces, one file each.

mod authority;
mod frontiers;
mod inspect;
mod ledger;
mod pools;
mod tracker;
