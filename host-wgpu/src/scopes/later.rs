//! Scopes whose errors come later.

use super::Caught;
use wgpu::{Device, ErrorFilter};

/// Runs wgpu calls. Nothing is known to be wrong yet; `late` is told.
pub(crate) fn scoped<T>(
    device: &Device,
    calls: impl FnOnce() -> T,
    late: impl FnOnce(Caught) + 'static,
) -> (T, Caught) {
    let internal = device.push_error_scope(ErrorFilter::Internal);
    let validation = device.push_error_scope(ErrorFilter::Validation);
    let memory = device.push_error_scope(ErrorFilter::OutOfMemory);
    let made = calls();
    let (memory, validation, internal) = (memory.pop(), validation.pop(), internal.pop());
    wasm_bindgen_futures::spawn_local(async move {
        late(Caught {
            memory: memory.await,
            validation: validation.await,
            internal: internal.await,
        });
    });
    (made, Caught::default())
}

/// Whether both are handles to one device.
pub(crate) fn is_same_device(one: &Device, other: &Device) -> bool {
    one == other
}
