//! What a guest may take of its host: [`GuestLimits`].

use std::time::{Duration, Instant};
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder};

/// What a guest may take of its host, beside what its [`TenantLimits`](crate::tenant::TenantLimits) say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestLimits {
    /// Bytes of each linear memory. The default is 64 MiB.
    pub memory_bytes: usize,
    /// Linear memories. The default is 4.
    pub memories: usize,
    /// Tables, of all instances. The default is 16.
    pub tables: usize,
    /// Elements of each table. The default is 65,536.
    pub table_elements: usize,
    /// Core instances. The default is 32.
    pub instances: usize,
    /// Handles that the guest holds, and as many that the host keeps for it; also waits at once. The
    /// default is 65,536.
    pub handles: usize,
    /// Bytes that one call may have copied into the host's memory. The default is 64 MiB.
    pub call_bytes: usize,
    /// How long it may run, waits included; without end when `None`. The default is 60 s.
    pub timeout: Option<Duration>,
}

impl Default for GuestLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            memories: 4,
            tables: 16,
            table_elements: 1 << 16,
            instances: 32,
            handles: 1 << 16,
            call_bytes: 64 << 20,
            timeout: Some(Duration::from_secs(60)),
        }
    }
}

impl GuestLimits {
    /// When a guest that begins now must have ended; never when `None`.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }

    /// Sets of a store what these limits say of calls and handles. What code may grow to is for the embedder to set:
    /// [`store_limits`](Self::store_limits) in the store's data, with [`Store::limiter`].
    pub fn apply<T>(&self, store: &mut Store<T>) {
        store.set_hostcall_fuel(self.call_bytes);
        store.set_max_component_handles(self.handles);
    }

    /// What these limits say of memories, tables and instances, as a limiter of wasmtime.
    #[must_use]
    pub fn store_limits(&self) -> StoreLimits {
        StoreLimitsBuilder::new()
            .memory_size(self.memory_bytes)
            .memories(self.memories)
            .tables(self.tables)
            .table_elements(self.table_elements)
            .instances(self.instances)
            .build()
    }
}
