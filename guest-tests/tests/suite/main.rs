//! Conformance over every boundary, and hostile guests: one program, so that the guests are compiled once.

mod conformance;
#[cfg(feature = "guests")]
mod hostile;
mod support;
