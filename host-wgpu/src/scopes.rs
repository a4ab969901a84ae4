//! Error scopes: what wgpu would tell the device's uncaptured-error handler, as a value.
//!
//! Natively a scope's error is there when the scope is popped. On the web it comes later: the calls count as made, and who made
//! them is told afterwards, by `late`.

#[cfg(target_family = "wasm")]
mod later;
#[cfg(not(target_family = "wasm"))]
mod now;

#[cfg(target_family = "wasm")]
use later as when;
#[cfg(not(target_family = "wasm"))]
use now as when;

pub(crate) use when::{is_same_device, scoped};

use wgpu::Device;

/// What a set of scopes caught, the first of each kind.
#[derive(Debug, Default)]
pub(crate) struct Caught {
    pub(crate) memory: Option<wgpu::Error>,
    pub(crate) validation: Option<wgpu::Error>,
    pub(crate) internal: Option<wgpu::Error>,
}

impl Caught {
    /// Any of them.
    pub(crate) fn any(self) -> Option<wgpu::Error> {
        self.validation.or(self.memory).or(self.internal)
    }
}

/// Runs wgpu calls; what goes wrong is the error, or is told to `late` where it is only known later.
pub(crate) fn checked<T>(
    device: &Device,
    calls: impl FnOnce() -> T,
    late: impl FnOnce(String) + 'static,
) -> Result<T, String> {
    let late = |caught: Caught| {
        if let Some(error) = caught.any() {
            late(error.to_string());
        }
    };
    let (made, caught) = scoped(device, calls, late);
    match caught.any() {
        None => Ok(made),
        Some(error) => Err(error.to_string()),
    }
}

/// For calls whose failure shows where what they made is used.
pub(crate) fn log_late(what: &'static str) -> impl FnOnce(String) + 'static {
    move |error| log::error!("{what}: {error}")
}
