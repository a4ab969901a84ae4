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

/// Whether both are handles to one device. wgpu compares numbers that each instance counts for itself, so devices of two instances may be
/// equal: an error on the one is then looked for in a scope of the other.
pub(crate) fn is_same_device(one: &Device, other: &Device) -> bool {
    if one != other {
        return false;
    }
    let outer = other.push_error_scope(ErrorFilter::Validation);
    let inner = one.push_error_scope(ErrorFilter::Validation);
    // No buffer is without uses. What is made is no buffer, and is dropped.
    drop(other.create_buffer(&wgpu::BufferDescriptor {
        label: Some("which device?"),
        size: wgpu::COPY_BUFFER_ALIGNMENT,
        usage: wgpu::BufferUsages::empty(),
        mapped_at_creation: false,
    }));
    let caught = pollster::block_on(inner.pop());
    drop(pollster::block_on(outer.pop()));
    caught.is_some()
}
