//! Not written yet.
pub mod event;
pub mod format;
pub mod serving;
pub mod validate;
