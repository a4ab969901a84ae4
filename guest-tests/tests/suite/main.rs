//! Conformance over every boundary, and hostile guests: one program, so that the guests are compiled once.

#[cfg(feature = "guest-c")]
mod c_guest;
#[cfg(feature = "guests")]
mod calls;
mod conformance;
#[cfg(feature = "guests")]
mod hostile;
mod model;
mod support;
