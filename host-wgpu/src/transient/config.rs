//! How much memory [`Transients`](super::Transients) take, and how soon they give it back.

/// Sizes and limits of [`Transients`](super::Transients). All sizes are in bytes.
///
/// ```
/// # let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
/// use strandline_host_wgpu::{Gpu, Transients, TransientsConfig};
///
/// let gpu = Gpu::new(device, queue)?;
/// let mut config = TransientsConfig::default();
/// config.capacity = 256 << 20;
/// let transients = Transients::new(&gpu, config)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransientsConfig {
    /// The first slab of a class whose buffers are shared; each further one has half of what those before it have together, if that is more.
    pub first_slab: u64,
    /// The largest slab that is made for more than one buffer.
    pub largest_slab: u64,
    /// What is larger than this gets a buffer of its own, whatever its use.
    pub exclusive_above: u64,
    /// The most that is taken from the device at once, in all classes together; at least 256. An upload takes 4 KiB at least.
    pub capacity: u64,
    /// The most that is handed out at once; at least 256.
    pub budget: u64,
    /// For so many submissions memory that nobody needs is kept.
    pub retain: u32,
    /// Shared buffers of frames that repeat get the same bytes in each: see [`Transients::planned`](super::Transients::planned).
    pub planned: bool,
}

impl Default for TransientsConfig {
    /// Slabs of 64 KiB to 4 MiB, buffers of their own above 256 KiB, no limits but the device's, and 15 submissions: half a second of a
    /// program that draws 30 pictures a second.
    fn default() -> Self {
        Self {
            first_slab: 64 << 10,
            largest_slab: 4 << 20,
            exclusive_above: 256 << 10,
            capacity: u64::MAX,
            budget: u64::MAX,
            retain: 15,
            planned: false,
        }
    }
}

/// The default, with this as the largest slab.
impl From<u64> for TransientsConfig {
    fn from(largest_slab: u64) -> Self {
        Self { largest_slab, ..Self::default() }
    }
}
