//! One device for both: watched by [`Gpu`], computed on by cubecl.

use core::fmt;
use cubecl_wgpu::wgpu::{
    Adapter, Backends, DeviceDescriptor, DeviceType, Features, Instance, InstanceDescriptor,
    MemoryHints, RequestDeviceError,
};
use cubecl_wgpu::{RuntimeOptions, WgpuDevice, WgpuInitError, WgpuSetup, try_init_device};
use strandline_host_wgpu::{Gpu, GpuError};

/// A device that both have.
#[derive(Debug)]
pub struct Shared {
    /// Ours.
    pub gpu: Gpu,
    /// cubecl's name for it.
    pub device: WgpuDevice,
}

/// Why there is no device.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no adapter.
    NoAdapter,
    /// The adapter refused.
    Device(RequestDeviceError),
    /// It cannot be watched.
    Gpu(GpuError),
    /// cubecl does not take it.
    Cubecl(WgpuInitError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAdapter => f.write_str("no GPU adapter"),
            Self::Device(error) => write!(f, "no device: {error}"),
            Self::Gpu(error) => error.fmt(f),
            Self::Cubecl(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoAdapter => None,
            Self::Device(error) => Some(error),
            Self::Gpu(error) => Some(error),
            Self::Cubecl(error) => Some(error),
        }
    }
}

/// Opens a device and gives it to both. Pools of cubecl are empty on a device that is new.
///
/// # Errors
/// [`OpenError`].
pub fn open() -> Result<Shared, OpenError> {
    let instance = Instance::new(InstanceDescriptor::new_without_display_handle_from_env());
    let adapters =
        pollster::block_on(instance.enumerate_adapters(Backends::all() - Backends::NOOP));
    let is_processor = |adapter: &Adapter| adapter.get_info().device_type == DeviceType::Cpu;
    let adapter = adapters.into_iter().min_by_key(is_processor).ok_or(OpenError::NoAdapter)?;
    let features =
        adapter.features() - Features::MAPPABLE_PRIMARY_BUFFERS - Features::all_experimental_mask();
    let opened = pollster::block_on(adapter.request_device(&DeviceDescriptor {
        label: Some("shared"),
        required_features: features,
        required_limits: adapter.limits(),
        // cubecl and we allocate in large pieces.
        memory_hints: MemoryHints::MemoryUsage,
        ..Default::default()
    }));
    let (device, queue) = opened.map_err(OpenError::Device)?;
    let gpu = Gpu::new(device.clone(), queue.clone()).map_err(OpenError::Gpu)?;
    let backend = adapter.get_info().backend;
    let setup = WgpuSetup { instance, adapter, device, queue, backend };
    let device = try_init_device(setup, RuntimeOptions::default()).map_err(OpenError::Cubecl)?;
    Ok(Shared { gpu, device })
}
