//! Whether what a frame handed out may still be used: its [`Lease`].
//!
//! With debug assertions or the feature `checks` a lease is a flag that a frame's slices share. Otherwise it is nothing, and never over.

#[cfg(any(debug_assertions, feature = "checks"))]
mod checked;
#[cfg(not(any(debug_assertions, feature = "checks")))]
mod unchecked;

#[cfg(any(debug_assertions, feature = "checks"))]
pub(crate) use checked::{CHECKED, Lease};
#[cfg(not(any(debug_assertions, feature = "checks")))]
pub(crate) use unchecked::{CHECKED, Lease};
