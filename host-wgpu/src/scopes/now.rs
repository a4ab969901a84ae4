//! Scopes whose errors are there at once.

use super::Caught;
use wgpu::{Device, ErrorFilter};

/// Runs wgpu calls, and tells what went wrong. `late` is not called.
pub(crate) fn scoped<T>(
    device: &Device,
    calls: impl FnOnce() -> T,
    _late: impl FnOnce(Caught) + 'static,
) -> (T, Caught) {
    // An error goes to the first scope, from the inside, that takes its kind.
    let internal = device.push_error_scope(ErrorFilter::Internal);
    let validation = device.push_error_scope(ErrorFilter::Validation);
    let memory = device.push_error_scope(ErrorFilter::OutOfMemory);
    let made = calls();
    let memory = pollster::block_on(memory.pop());
    let validation = pollster::block_on(validation.pop());
    let internal = pollster::block_on(internal.pop());
    (made, Caught { memory, validation, internal })
}
