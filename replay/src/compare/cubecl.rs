//! cubecl's pools, run: the memory manager of the published crate `cubecl-runtime` over a storage that only counts.
//!
//! ```text
//!   requests ─▶ one MemoryManagement a stream ─▶ Counting (a ComputeStorage): bytes, the capacity, no memory
//! ```
//!
//! Nothing is modelled: the crate, pinned to one release, decides what it asks of its storage. What is ours is around it:
//!
//! - A stream has a manager of its own, as in cubecl's own runtimes; memory never goes from one to another.
//! - A block is dropped when its last stream is done with it, since cubecl keeps the bindings of other streams until then.
//! - The largest page is a quarter of the device, at multiples of 512 bytes, as `cubecl-cuda` asks for. Where the device is not known
//!   the smallest common one is taken that has twice the bytes that were active. `cubecl-cuda` 0.10 takes sub-slices and can be told
//!   nothing else; the line to paste is that of `cubecl-wgpu`, whose pages are as large as the adapter's largest binding.
//! - `cubecl.toml` above the working folder is read by the crate, as it is in a program that uses it.
//!
//! Cost: the crate looks at all slices of all pages for each request, O(live blocks); a time limit ends it.

use super::{Kind, Requests, Row, Step, ratio};
use crate::size::Bytes;
use cubecl_ir::MemoryDeviceProperties;
use cubecl_runtime::logging::ServerLogger;
use cubecl_runtime::memory_management::{
    ManagedMemoryHandle, MemoryAllocationMode, MemoryConfiguration, MemoryManagement,
    MemoryManagementOptions,
};
use cubecl_runtime::server::IoError;
use cubecl_runtime::storage::{ComputeStorage, StorageHandle, StorageId, StorageUtilization};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strandline_twins::Counts;

/// The release that is run.
const VERSION: &str = "0.10.0";
/// Pages and slices begin at multiples of this, in bytes.
const ALIGNMENT: u64 = 512;
/// Devices that people have, in GiB.
const DEVICES: [u64; 10] = [8, 12, 16, 24, 32, 48, 80, 96, 141, 192];

/// What all streams' storages have taken of the device.
#[derive(Debug, Default)]
struct Device {
    capacity: Option<u64>,
    used: u64,
    peak: u64,
    counts: Counts,
}

/// A storage without memory.
#[derive(Debug)]
struct Counting {
    device: Arc<Mutex<Device>>,
    sizes: HashMap<StorageId, u64>,
}

impl ComputeStorage for Counting {
    type Resource = ();

    fn alignment(&self) -> usize {
        ALIGNMENT as usize
    }

    fn get(&mut self, _: &StorageHandle) -> Self::Resource {}

    fn alloc(&mut self, size: u64) -> Result<StorageHandle, IoError> {
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        let used = device.used.saturating_add(size);
        if device.capacity.is_some_and(|capacity| used > capacity) {
            let backtrace = cubecl_common::backtrace::BackTrace::capture();
            return Err(IoError::BufferTooBig { size, backtrace });
        }
        device.used = used;
        device.peak = device.peak.max(used);
        device.counts.grants += 1;
        let id = StorageId::new();
        self.sizes.insert(id, size);
        Ok(StorageHandle::new(id, StorageUtilization { offset: 0, size }))
    }

    fn dealloc(&mut self, id: StorageId) {
        let Some(size) = self.sizes.remove(&id) else { return };
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        device.used = device.used.saturating_sub(size);
        device.counts.returns += 1;
    }

    fn flush(&mut self) {}
}

/// Runs cubecl's two configurations, for at most about `time` together.
///
/// # Errors
/// The time did not suffice, in words.
pub fn cubecl(
    requests: &Requests,
    capacity: Option<u64>,
    time: Duration,
) -> Result<Vec<Row>, String> {
    let end = Instant::now() + time;
    let twice = requests.peak_active.saturating_mul(2);
    let common = DEVICES.iter().map(|gib| gib << 30).find(|&bytes| bytes >= twice);
    let device = capacity.or(common).unwrap_or(twice);
    [("sub-slices", true), ("exclusive pages", false)]
        .into_iter()
        .map(|(name, sliced)| {
            let (device_now, failed_at) = play(requests, device, capacity, sliced, end)?;
            let config = if sliced { "SubSlices" } else { "ExclusivePages" };
            Ok(Row {
                allocator: "cubecl",
                settings: format!("{VERSION}, {name}, on {}", Bytes(device)),
                paste: vec![format!(
                    "cubecl_wgpu::init_setup::<cubecl_wgpu::AutoGraphicsApi>(&device, cubecl_wgpu::RuntimeOptions {{ \
                     memory_config: cubecl_runtime::memory_management::MemoryConfiguration::{config}, ..Default::default() }});"
                )],
                needs: "",
                peak_reserved: device_now.peak,
                over_active: ratio(device_now.peak, requests.peak_active),
                failed_at,
                counts: device_now.counts,
                certified: false,
                current: false,
                kind: Kind::Run,
            })
        })
        .collect()
}

fn manager(
    device: &Arc<Mutex<Device>>,
    bytes: u64,
    sliced: bool,
    logger: &Arc<ServerLogger>,
) -> MemoryManagement<Counting> {
    let page = (bytes / 4 / ALIGNMENT * ALIGNMENT).max(ALIGNMENT);
    let properties = MemoryDeviceProperties { max_page_size: page, alignment: ALIGNMENT };
    let config =
        if sliced { MemoryConfiguration::SubSlices } else { MemoryConfiguration::ExclusivePages };
    MemoryManagement::from_configuration(
        Counting { device: device.clone(), sizes: HashMap::new() },
        &properties,
        config,
        logger.clone(),
        MemoryManagementOptions::new("strandline").mode(MemoryAllocationMode::Auto),
    )
}

fn play(
    requests: &Requests,
    bytes: u64,
    capacity: Option<u64>,
    sliced: bool,
    end: Instant,
) -> Result<(Device, Option<u32>), String> {
    let device = Arc::new(Mutex::new(Device { capacity, ..Device::default() }));
    let logger = Arc::new(ServerLogger::default());
    let mut streams: HashMap<u64, MemoryManagement<Counting>> = HashMap::new();
    let mut blocks: Vec<Option<ManagedMemoryHandle>> = vec![None; requests.blocks as usize];
    let mut failed = None;
    for (number, &(at, step)) in requests.steps.iter().enumerate() {
        if number % 1024 == 1023 && Instant::now() > end {
            return Err(format!(
                "cubecl's pools were at request {number} of {} when the time was over",
                requests.steps.len()
            ));
        }
        let (size, stream, block) = match step {
            Step::Allocate { block, size, stream } => (size, stream, Some(block)),
            Step::Refused { size, stream } => (size, stream, None),
            Step::Free { block, .. } => {
                blocks[block as usize] = None;
                continue;
            }
            Step::Retire { .. } => continue,
        };
        let manager =
            streams.entry(stream).or_insert_with(|| manager(&device, bytes, sliced, &logger));
        match (manager.reserve(size), block) {
            (Ok(handle), Some(block)) => blocks[block as usize] = Some(handle),
            (Ok(_), None) => {}
            (Err(_), _) => failed = failed.or(Some(at)),
        }
    }
    drop((blocks, streams));
    let device = Arc::into_inner(device).unwrap_or_default();
    Ok((device.into_inner().unwrap_or_else(PoisonError::into_inner), failed))
}

#[cfg(test)]
mod tests {
    use super::super::tests::growing;
    use super::*;
    use crate::event::{Action, Event};

    #[test]
    fn the_pools_of_the_crate_play() {
        let requests = growing();
        let rows = cubecl(&requests, None, Duration::from_secs(60)).unwrap();
        assert_eq!(rows.len(), 2);
        for row in &rows {
            assert!(row.is_ok() && row.peak_reserved >= requests.peak_active, "{row:?}");
            assert!(row.counts.grants > 0);
        }
        let half = requests.peak_active / 2;
        let rows = cubecl(&requests, Some(half), Duration::from_secs(60)).unwrap();
        assert!(rows.iter().all(|row| row.failed_at > Some(0) && row.peak_reserved <= half));
        assert!(cubecl(&requests, None, Duration::ZERO).is_ok(), "too few to be cut off");
    }

    /// What one stream gave back is not there for another.
    #[test]
    fn a_stream_has_pools_of_its_own() {
        let mut requests = Requests::default();
        let mut line = 0;
        for stream in 0..4 {
            for action in [Action::Alloc, Action::Free] {
                line += 1;
                let id = u64::from(stream);
                requests.push(&Event {
                    time_ns: 0,
                    id,
                    size: 64 << 20,
                    stream,
                    thread: 0,
                    line,
                    action,
                });
            }
        }
        let rows = cubecl(&requests, None, Duration::from_secs(60)).unwrap();
        assert!(rows.iter().all(|row| row.peak_reserved >= 4 * (64 << 20)), "{rows:?}");
    }
}
