//! The C interface: `include/strandline.h` is made from this crate.
//!
//! ```text
//!   C ──handle, pointers──▶ guard ──▶ handles: is it one of ours, and live? ──▶ core, host-native
//!                             └─ a status; the text of what was wrong stays for strandline_message
//! ```
//!
//! Handles are numbers that are looked up, never addresses: one that was given back, that is of another pool, or that
//! nobody ever handed out, is answered with a status. Pointers are null or point to what their type says; null is answered with a
//! status where something is needed. Nothing unwinds into C: a panic becomes a status.

#![allow(non_camel_case_types, reason = "the names of the header")]

mod frontier;
mod handle;
mod pool;
mod slabs;
mod slots;
mod status;
mod tracker;

pub use frontier::*;
pub use pool::*;
pub use slabs::*;
pub use status::{strandline_message, strandline_status};
pub use tracker::*;
