//! What a tenant may have at once: [`TenantLimits`].

/// What a tenant may have at once. Everything that it can make the host keep is bounded here.
///
/// ```
/// use strandline_host_tenants::tenant::TenantLimits;
///
/// let limits = TenantLimits { budget: 64 << 20, queues: 1, ..TenantLimits::default() };
/// assert!(limits.clear);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantLimits {
    /// Bytes of pool memory, padding included: what is reserved, and what was released and is still waited
    /// for. The default is 256 MiB.
    pub budget: u64,
    /// Reservations held, those of transient buffers included. The default is 65,536.
    pub reservations: usize,
    /// Released ranges that are still waited for. Releases are never refused, acquires are. The default is
    /// 65,536.
    pub pending: usize,
    /// Transient buffers that were not deallocated. The default is 4,096.
    pub buffers: usize,
    /// Queues, each with a thread; more than 128 count as that. The default is 4.
    pub queues: usize,
    /// Operations submitted to all queues and not done. The default is 4,096.
    pub operations: usize,
    /// Bytes on their way to or from the device: those of writes not done and of readbacks not taken. The
    /// default is 64 MiB.
    pub transfer_bytes: u64,
    /// Whether memory is zeroed before a tenant can read it, so that it sees nothing of whoever had it
    /// before. The default is true; turn it off only where all who share the pools trust each other.
    pub clear: bool,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            budget: 256 << 20,
            reservations: 1 << 16,
            pending: 1 << 16,
            buffers: 1 << 12,
            queues: 4,
            operations: 1 << 12,
            transfer_bytes: 64 << 20,
            clear: true,
        }
    }
}
