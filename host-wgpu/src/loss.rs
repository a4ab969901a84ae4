//! How the loss of a device is noticed, whoever has wgpu's one device-lost callback.
//!
//! ```text
//!   callback   wgpu calls                                 if it was given to us: who sets another drops ours, and that is noticed
//!   refusal    wgpu refused something: lost, or wrong?    ─▶ probe
//!   look       somebody waits, the callback is not ours   ─▶ probe, now and then
//! ```
//!
//! A lost device refuses everything, and wgpu says so to the callback only: a call that failed looks as if its arguments had been
//! wrong. A probe is a call that has no arguments to be wrong: a buffer of four bytes, mapped from the beginning. On a lost device
//! there is nothing behind it to map.
//!
//! Invariant: no failure is told as anybody's mistake, and no refused epoch counts as reached, before the device was probed.
//!
//! Cost: nothing while nothing fails. A probe is a `create_buffer`, and neither waits nor calls anybody's code.

use crate::gpu::{DeviceLost, Shared};
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use strandline_core::Failure;
use wgpu::{Device, DeviceLostReason};

/// What ours in wgpu's callback holds: dropped, it tells that wgpu will not call.
struct Watch(Arc<AtomicBool>);

impl Drop for Watch {
    fn drop(&mut self) {
        // wgpu drops it with a lock held: nothing is called from here, not even the poller. It looks for itself.
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Shared {
    /// Takes wgpu's device-lost callback.
    pub(crate) fn watch(self: &Arc<Self>) {
        self.watched.store(true, Ordering::Relaxed);
        let (shared, watch) = (Arc::downgrade(self), Watch(self.watched.clone()));
        self.device.set_device_lost_callback(move |reason, message| {
            let _goes_with_this = &watch;
            if let Some(shared) = shared.upgrade() {
                shared.report(reason, message);
            }
        });
    }

    /// Takes note of a loss. Without the state's lock: wgpu calls this from wherever it notices, maybe from a submission of ours.
    pub(crate) fn report(&self, reason: DeviceLostReason, message: String) {
        let reason = match reason {
            DeviceLostReason::Destroyed => "destroyed",
            DeviceLostReason::Unknown => "unknown",
        };
        self.lose(DeviceLost { reason, message });
        self.ring();
    }

    /// Why the device is lost; wgpu is asked when nobody has told. For whoever was just refused something.
    pub(crate) fn find_loss(&self) -> Option<&Failure> {
        if self.lost.get().is_none() && is_gone(&self.device) {
            let message = "it takes no more work".to_owned();
            self.report(DeviceLostReason::Unknown, message);
        }
        self.lost.get()
    }

    /// The cause of what failed: the loss of the device, if it is lost.
    pub(crate) fn cause(&self, otherwise: Failure) -> Failure {
        self.find_loss().cloned().unwrap_or(otherwise)
    }
}

/// Whether the device refuses what cannot be wrong.
#[cfg(not(target_family = "wasm"))]
fn is_gone(device: &Device) -> bool {
    let probe = || {
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("probe"),
            size: wgpu::COPY_BUFFER_ALIGNMENT,
            usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        });
        buffer.get_mapped_range_mut(..).is_ok()
    };
    let (mapped, caught) = crate::scopes::scoped(device, probe, drop);
    // Out of memory is not lost.
    !mapped && caught.any().is_none()
}

/// The browser tells everybody who asked, and maps buffers of lost devices as of others.
#[cfg(target_family = "wasm")]
fn is_gone(_: &Device) -> bool {
    false
}
