//! The host's side of a case: a tracker with axes, providers, pools, a device.

use std::sync::Arc;
use strandline_core::pool::arena::{ArenaPool, ArenaPoolConfig};
use strandline_core::pool::budget::Budget;
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::passthrough::{PassthroughPool, PassthroughPoolConfig};
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost};
use strandline_core::pool_set::Registration;
use strandline_core::slab::{BufferUsage, MemoryType, SlabProperties, SlabStats, Trim};
use strandline_core::{Axis, Failure, Grant, SlabError, SlabId, SlabMap, SlabProvider, Tracker};
use strandline_guest_tests::{Entry, Needs, PoolKind, PoolNeeds};
use strandline_host_native::tenant::{Device, Lent, Tenant, TenantLimits};
use strandline_host_native::{MmapBuffer, MmapSlabProvider, thread_wake};

/// Memory that work can be done on.
pub(crate) type Slabs = Arc<dyn SlabMap<Buffer = MmapBuffer>>;

/// Where a rig's memory comes from: the providers' axis of the matrix.
pub(crate) trait Memory {
    /// A provider of `capacity` bytes.
    fn provider(&self, capacity: u64) -> Slabs;
}

/// Where a rig's pools live: the boundaries' axis of the matrix.
pub(crate) trait Pools {
    /// A pool of this kind over the host's slabs.
    fn pool(&self, needs: &PoolNeeds, host: PoolHost) -> Arc<dyn Pool>;
}

/// Anonymous memory of this machine.
pub(crate) struct Cpu;

impl Memory for Cpu {
    fn provider(&self, capacity: u64) -> Slabs {
        Arc::new(MmapSlabProvider::builder().capacity(capacity).build().unwrap())
    }
}

/// Core's pools in this process.
pub(crate) struct Native;

pub(crate) fn tlsf(needs: &PoolNeeds, slab: u64) -> TlsfPoolConfig {
    let (growth, budget) = (Growth::slabs_of(slab), Budget::bytes(needs.budget));
    TlsfPoolConfig { growth, budget, ..TlsfPoolConfig::default() }
}

pub(crate) fn fixed(needs: &PoolNeeds, block: u64) -> FixedBlockPoolConfig {
    FixedBlockPoolConfig {
        block_size: block,
        alignment: 256,
        max_blocks: 64,
        growth: Growth::slabs_of(16 * block),
        budget: Budget::bytes(needs.budget),
        ..FixedBlockPoolConfig::default()
    }
}

pub(crate) fn arena(needs: &PoolNeeds, generation: u64) -> ArenaPoolConfig {
    ArenaPoolConfig {
        generations: 3,
        generation_size: generation,
        budget: Budget::bytes(needs.budget),
        ..ArenaPoolConfig::default()
    }
}

pub(crate) fn passthrough(needs: &PoolNeeds) -> PassthroughPoolConfig {
    let budget = Budget::bytes(needs.budget);
    PassthroughPoolConfig { budget, ..PassthroughPoolConfig::default() }
}

impl Pools for Native {
    fn pool(&self, needs: &PoolNeeds, host: PoolHost) -> Arc<dyn Pool> {
        match needs.kind {
            PoolKind::Tlsf { slab } => Arc::new(TlsfPool::new(host, tlsf(needs, slab)).unwrap()),
            PoolKind::Fixed { block } => {
                Arc::new(FixedBlockPool::new(host, fixed(needs, block)).unwrap())
            }
            PoolKind::Arena { generation } => {
                Arc::new(ArenaPool::new(host, arena(needs, generation)).unwrap())
            }
            PoolKind::Passthrough => {
                Arc::new(PassthroughPool::new(host, passthrough(needs)).unwrap())
            }
        }
    }
}

/// A provider that says something else of its memory.
#[derive(Debug)]
struct UploadOnly(Slabs);

impl SlabProvider for UploadOnly {
    fn properties(&self) -> SlabProperties {
        SlabProperties {
            memory_type: MemoryType::HOST_VISIBLE,
            usage: BufferUsage::UPLOAD.union(BufferUsage::TRANSFER),
            ..self.0.properties()
        }
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        self.0.acquire(size)
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.0.release(id)
    }

    fn trim(&self, how: Trim) -> u64 {
        self.0.trim(how)
    }

    fn stats(&self) -> SlabStats {
        self.0.stats()
    }
}

impl SlabMap for UploadOnly {
    type Buffer = MmapBuffer;

    fn map(&self, id: SlabId, offset: u64, len: u64) -> Result<MmapBuffer, SlabError> {
        self.0.map(id, offset, len)
    }
}

/// See the [module](self).
pub(crate) struct Rig {
    pub(crate) tracker: Tracker,
    axes: [Axis; 4],
    submitted: [u64; 4],
    pub(crate) pools: Vec<Arc<dyn Pool>>,
    pub(crate) device: Arc<Device>,
}

impl Rig {
    pub(crate) fn new(needs: &Needs, memory: &dyn Memory, pools: &dyn Pools) -> Self {
        let tracker = Tracker::new(64);
        let axes = [0, 1, 2, 3].map(|i| Axis::host(0, 0, i));
        for axis in axes {
            tracker.register(axis).unwrap();
        }
        let mut made = Vec::new();
        let mut lent = Vec::new();
        for needs_of_pool in needs.pools {
            let mut slabs = memory.provider(needs.capacity);
            if needs_of_pool.upload_only {
                slabs = Arc::new(UploadOnly(slabs));
            }
            let host =
                PoolHost::new(slabs.clone(), Arc::new(tracker.clone())).with_wake(thread_wake());
            let pool = pools.pool(needs_of_pool, host);
            made.push(pool.clone());
            let registration = if needs_of_pool.oversized {
                Registration::oversized()
            } else {
                let max = needs_of_pool.max_size;
                Registration::new().priority(needs_of_pool.priority).sizes(1, max)
            };
            lent.push(Lent { registration, may_trim: true, ..Lent::new(pool, slabs) });
        }
        let device = Device::new(0, tracker.clone(), lent);
        Self { tracker, axes, submitted: [0; 4], pools: made, device }
    }

    /// A tenant with plenty.
    pub(crate) fn tenant(&self) -> Tenant {
        let limits = TenantLimits { budget: 1 << 30, ..TenantLimits::default() };
        Tenant::new(&self.device, limits).unwrap()
    }

    pub(crate) fn submit(&mut self, axis: usize, tenant: &mut Tenant) -> Entry {
        self.submitted[axis] += 1;
        tenant.lend_axis(self.axes[axis], self.submitted[axis]);
        Entry { axis: self.axes[axis].to_bits(), epoch: self.submitted[axis] }
    }

    pub(crate) fn complete(&self, entry: Entry) {
        self.tracker.advance(Axis::from_bits(entry.axis), entry.epoch).unwrap();
        self.device.progressed();
    }

    pub(crate) fn lose(&self, axis: usize) {
        self.tracker.fail_axis(self.axes[axis], Failure::message("device lost")).unwrap();
        self.device.progressed();
    }

    pub(crate) fn quiesce(&self, tenant: &mut Tenant) {
        tenant.quiesce();
        self.pools.iter().for_each(|pool| pool.quiesce());
    }

    /// After the case: what it held has come back, and every byte can be used again.
    pub(crate) fn assert_empty(&self) {
        let deadline = std::time::Instant::now() + super::PATIENCE;
        for pool in &self.pools {
            loop {
                pool.poll();
                let stats = pool.stats();
                if stats.live == 0 && stats.reserved_bytes == 0 && stats.pending_bytes == 0 {
                    break;
                }
                assert!(std::time::Instant::now() < deadline, "left behind: {stats:?}");
                std::thread::yield_now();
            }
        }
    }
}
