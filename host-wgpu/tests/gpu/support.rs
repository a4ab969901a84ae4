//! What the tests share: devices, and pools over them.

pub(crate) use super::real::real;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{PoolHost, PoolId};
use strandline_core::pool_set::Registration;
use strandline_core::{Axis, Pool, Progress, Tracker};
use strandline_host_wgpu::{Gpu, GpuPools, UsageClass, WgpuSlabProvider};

/// A device that runs copies and fills at once, and kernels not at all.
pub(crate) fn noop() -> Gpu {
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    Gpu::new(device, queue).unwrap()
}

/// The devices that a test of logic runs on.
pub(crate) fn both() -> Vec<Gpu> {
    [Some(noop()), real()].into_iter().flatten().collect()
}

pub(crate) fn queue_axis(device: u8, queue: u8) -> Axis {
    Axis::queue(device, queue)
}

/// A TLSF pool of one class, and its provider.
pub(crate) fn tlsf(
    gpu: &Gpu,
    progress: Arc<dyn Progress>,
    class: UsageClass,
    slab: u64,
    slabs: u32,
) -> (Arc<dyn Pool>, Arc<WgpuSlabProvider>) {
    let provider = Arc::new(WgpuSlabProvider::new(gpu, class));
    let growth = Growth { slab_size: slab, max_slabs: slabs };
    let config = TlsfPoolConfig { growth, ..TlsfPoolConfig::default() };
    let pool = TlsfPool::new(PoolHost::new(provider.clone(), progress), config).unwrap();
    (Arc::new(pool), provider)
}

/// One storage pool of up to `slabs` slabs.
pub(crate) fn storage(gpu: &Gpu, tracker: &Tracker, slab: u64, slabs: u32) -> (GpuPools, PoolId) {
    let (pool, provider) = tlsf(gpu, Arc::new(tracker.clone()), UsageClass::Storage, slab, slabs);
    let mut pools = GpuPools::new();
    let id = pools.add(pool, provider, Registration::new()).unwrap();
    (pools, id)
}

/// Eight-byte words.
pub(crate) fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Whether this process runs only `test`. If not, one that does is run, by the shell with `script`, and must pass; the caller then has
/// nothing more to do.
#[cfg(unix)]
pub(crate) fn alone(test: &str, script: &str) -> bool {
    const ALONE: &str = "STRANDLINE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
    false
}

/// Long enough for any machine; a test that gets here has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until it is so.
///
/// # Panics
/// It never is.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}
