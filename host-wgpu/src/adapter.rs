//! Which adapters this machine has, and opening one with the limits it really has.
//!
//! wgpu's default limits cap a buffer at 256 MiB and a binding at 128 MiB; a device opened here has what its adapter offers.

use crate::class::UsageClass;
use crate::gpu::{Gpu, GpuError};
use core::fmt;
use strandline_core::slab::{BufferUsage, MemoryType};
use wgpu::{
    Adapter, AdapterInfo, Backends, DeviceDescriptor, DeviceType, Instance, InstanceDescriptor,
    Limits,
};

/// An adapter, and what it can serve.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AdapterReport {
    /// Its name, driver, kind and backend.
    pub info: AdapterInfo,
    /// The limits of a device opened on it.
    pub limits: Limits,
}

impl AdapterReport {
    /// The largest slab, in bytes.
    #[must_use]
    pub const fn max_slab_bytes(&self) -> u64 {
        self.limits.max_buffer_size
    }

    /// The classes of buffers that it serves, with what pools are routed by.
    pub fn classes(&self) -> impl Iterator<Item = (UsageClass, MemoryType, BufferUsage)> {
        UsageClass::SHARED.into_iter().map(|class| (class, class.memory_type(), class.usage()))
    }
}

/// Why no device could be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no adapter at all.
    NoAdapter,
    /// None has a name with this in it.
    NoSuchAdapter {
        /// What was looked for.
        name: String,
        /// The names there are.
        names: Vec<String>,
    },
    /// The adapter refused.
    Device {
        /// Its name.
        adapter: String,
        /// Why.
        error: wgpu::RequestDeviceError,
    },
    /// The device cannot be watched.
    Gpu(GpuError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAdapter => f.write_str(
                "there is no GPU adapter here; a processor can stand in for one: on Debian, install \
                 mesa-vulkan-drivers and libvulkan1",
            ),
            Self::NoSuchAdapter { name, names } => {
                write!(f, "no adapter is called {name:?}; there are: {}", names.join(", "))
            }
            Self::Device { adapter, error } => write!(f, "{adapter}: {error}"),
            Self::Gpu(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Device { error, .. } => Some(error),
            Self::Gpu(error) => Some(error),
            Self::NoAdapter | Self::NoSuchAdapter { .. } => None,
        }
    }
}

impl From<GpuError> for OpenError {
    fn from(error: GpuError) -> Self {
        Self::Gpu(error)
    }
}

fn adapters() -> Vec<Adapter> {
    let instance = Instance::new(InstanceDescriptor::new_without_display_handle_from_env());
    let mut adapters =
        pollster::block_on(instance.enumerate_adapters(Backends::all() - Backends::NOOP));
    adapters.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    adapters
}

/// The faster kinds first.
const fn rank(kind: DeviceType) -> u8 {
    match kind {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    }
}

/// Every adapter of this machine, the fastest kind first. Empty where there is none.
#[must_use]
pub fn list() -> Vec<AdapterReport> {
    let report =
        |adapter: &Adapter| AdapterReport { info: adapter.get_info(), limits: adapter.limits() };
    adapters().iter().map(report).collect()
}

/// Opens the first adapter whose name contains `name`, upper or lower case, or the fastest one.
///
/// # Errors
/// [`OpenError`].
pub fn open(name: Option<&str>) -> Result<Gpu, OpenError> {
    let adapters = adapters();
    if adapters.is_empty() {
        return Err(OpenError::NoAdapter);
    }
    let found = match name {
        None => adapters.first(),
        Some(name) => {
            let wanted = name.to_lowercase();
            adapters.iter().find(|adapter| adapter.get_info().name.to_lowercase().contains(&wanted))
        }
    };
    let Some(adapter) = found else {
        let names = adapters.iter().map(|adapter| adapter.get_info().name).collect();
        return Err(OpenError::NoSuchAdapter { name: name.unwrap_or_default().to_owned(), names });
    };
    let opened = pollster::block_on(adapter.request_device(&DeviceDescriptor {
        label: Some("strandline"),
        required_limits: adapter.limits(),
        ..Default::default()
    }));
    let (device, queue) =
        opened.map_err(|error| OpenError::Device { adapter: adapter.get_info().name, error })?;
    let gpu = Gpu::new(device, queue)?;
    // The device is new, so nobody else has the callback.
    gpu.take_lost_callback();
    Ok(gpu)
}
