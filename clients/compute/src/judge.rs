//! What cubecl's own memory manager would hold: the published crate over a storage that counts bytes and has none.

use crate::MIB;
use crate::record::{Event, Trace};
use cubecl_core::server::IoError;
use cubecl_ir::MemoryDeviceProperties;
use cubecl_server::logging::ServerLogger;
use cubecl_server::memory_management::{
    ErrorGraph, ManagedMemoryHandle, MemoryAllocationMode, MemoryConfiguration, MemoryManagement,
    MemoryManagementOptions, PageUpdate,
};
use cubecl_server::storage::{ComputeStorage, StorageHandle, StorageId, StorageUtilization};
use std::collections::HashMap;
use std::sync::Arc;

/// A storage without memory.
#[derive(Debug)]
struct Counting {
    alignment: u64,
    sizes: HashMap<StorageId, u64>,
    used: u64,
}

impl ComputeStorage for Counting {
    type Resource = ();

    fn alignment(&self) -> usize {
        self.alignment as usize
    }

    fn get(&mut self, _: &StorageHandle) -> Result<(), IoError> {
        Ok(())
    }

    fn alloc(&mut self, size: u64) -> Result<StorageHandle, IoError> {
        let id = StorageId::new();
        self.sizes.insert(id, size);
        self.used += size;
        Ok(StorageHandle::new(id, StorageUtilization { offset: 0, size }))
    }

    fn dealloc(&mut self, id: StorageId) {
        self.used -= self.sizes.remove(&id).unwrap_or(0);
    }

    fn flush(&mut self) {}

    fn bytes_allocated(&self) -> u64 {
        self.used
    }
}

/// The most bytes that a stream's manager holds while it plays the trace, when its first pages have `page` bytes.
///
/// # Errors
/// The manager refused a request.
pub(crate) fn reserved(
    trace: &Trace,
    device: &MemoryDeviceProperties,
    page: Option<u64>,
) -> Result<u64, IoError> {
    let mut memory = MemoryManagement::from_configuration(
        Counting { alignment: device.alignment, sizes: HashMap::new(), used: 0 },
        device,
        MemoryConfiguration::default(),
        Arc::new(ServerLogger::default()),
        MemoryManagementOptions::new("judge").mode(MemoryAllocationMode::Auto),
    );
    let failures = &mut ErrorGraph::default();
    let mut blocks: HashMap<u64, ManagedMemoryHandle> = HashMap::new();
    let mut peak = 0;
    if let Some(page) = page {
        drop(memory.reserve(page - MIB, PageUpdate::Allow, failures)?);
    }
    for event in &trace.events {
        match *event {
            Event::Alloc { id, size } => {
                blocks.insert(id, memory.reserve(size, PageUpdate::Allow, failures)?);
                peak = peak.max(memory.bytes_allocated());
            }
            Event::Free { id, .. } => drop(blocks.remove(&id)),
        }
    }
    Ok(peak)
}
