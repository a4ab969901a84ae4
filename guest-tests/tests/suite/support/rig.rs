//! The host's side of a case: a tracker with axes, providers and pools, and a device that lends them.

use std::sync::Arc;
use strandline_core::pool::arena::{ArenaPool, ArenaPoolConfig};
use strandline_core::pool::budget::Budget;
use strandline_core::pool::fixed_block::{FixedBlockPool, FixedBlockPoolConfig};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::passthrough::{PassthroughPool, PassthroughPoolConfig};
use strandline_core::pool::planned::{Plan, PlanBlock, PlannedPool};
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost};
use strandline_core::pool_set::Registration;
use strandline_core::slab::{BufferUsage, MemoryType, SlabProperties, SlabStats, Trim};
use strandline_core::{
    Axis, Entry as CoreEntry, Failure, Grant, SlabError, SlabId, SlabMap, SlabProvider, Tracker,
};
use strandline_guest_tests::{Entry, Needs, PoolKind, PoolNeeds};
use strandline_host_native::{MmapBuffer, MmapSlabProvider, thread_wake};
use strandline_host_tenants::tenant::{Device, SharedPool, Tenant, TenantLimits};

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

/// A plan of four requests of 4 KiB in the middle of `bytes`: the third and the fourth take the memory of the one before.
pub(crate) fn plan(bytes: u64) -> Plan {
    let block =
        |(offset, until)| PlanBlock { offset, size: 4096, alignment: 256, stream: 0, until };
    let middle = bytes / 2;
    let blocks = [(middle, 2), (middle + 4096, 4), (middle, 3), (middle, 4)];
    Plan::new(bytes, blocks.map(block).to_vec()).unwrap()
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
            PoolKind::Planned { slab } => {
                Arc::new(PlannedPool::new(host, tlsf(needs, slab), &plan(slab)).unwrap())
            }
            PoolKind::Passthrough => {
                Arc::new(PassthroughPool::new(host, passthrough(needs)).unwrap())
            }
        }
    }
}

/// A provider that says something else of its memory.
#[derive(Debug)]
pub(crate) struct Claiming<P: ?Sized> {
    pub(crate) memory_type: MemoryType,
    pub(crate) usage: BufferUsage,
    pub(crate) provider: Arc<P>,
}

impl<P: ?Sized> Claiming<P> {
    /// For uploads only.
    pub(crate) const fn upload_only(provider: Arc<P>) -> Self {
        let usage = BufferUsage::UPLOAD.union(BufferUsage::TRANSFER);
        Self { memory_type: MemoryType::HOST_VISIBLE, usage, provider }
    }
}

impl<P: SlabProvider + ?Sized> SlabProvider for Claiming<P> {
    fn properties(&self) -> SlabProperties {
        let (memory_type, usage) = (self.memory_type, self.usage);
        SlabProperties { memory_type, usage, ..self.provider.properties() }
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        self.provider.acquire(size)
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.provider.release(id)
    }

    fn trim(&self, how: Trim) -> u64 {
        self.provider.trim(how)
    }

    fn stats(&self) -> SlabStats {
        self.provider.stats()
    }
}

impl<P: SlabMap + ?Sized> SlabMap for Claiming<P> {
    type Buffer = P::Buffer;

    fn map(&self, id: SlabId, offset: u64, len: u64) -> Result<P::Buffer, SlabError> {
        self.provider.map(id, offset, len)
    }
}

/// Where a case's pool stands in the pool set.
pub(crate) const fn registration(needs: &PoolNeeds) -> Registration {
    if needs.oversized {
        return Registration::oversized();
    }
    Registration::new().priority(needs.priority).sizes(1, needs.max_size)
}

/// What every host has: a tracker, axes of its own that the case moves, and pools.
pub(crate) struct Stage {
    pub(crate) tracker: Tracker,
    axes: [Axis; 4],
    submitted: [u64; 4],
    pub(crate) pools: Vec<Arc<dyn Pool>>,
}

impl Stage {
    /// No pools yet.
    pub(crate) fn new() -> Self {
        let tracker = Tracker::new(64);
        let axes = [0, 1, 2, 3].map(Axis::host);
        for axis in axes {
            tracker.register(axis).unwrap();
        }
        Self { tracker, axes, submitted: [0; 4], pools: Vec::new() }
    }

    /// Makes the next pool, over a provider's slabs.
    pub(crate) fn add_pool(
        &mut self,
        needs: &PoolNeeds,
        slabs: Arc<dyn SlabProvider>,
        pools: &dyn Pools,
    ) -> Arc<dyn Pool> {
        let host = PoolHost::new(slabs, Arc::new(self.tracker.clone())).with_wake(thread_wake());
        let pool = pools.pool(needs, host);
        self.pools.push(pool.clone());
        pool
    }

    /// One of the host's axes.
    pub(crate) const fn axis(&self, axis: usize) -> Axis {
        self.axes[axis]
    }

    pub(crate) fn submit(&mut self, axis: usize) -> CoreEntry {
        self.submitted[axis] += 1;
        CoreEntry::new(self.axes[axis], self.submitted[axis])
    }

    pub(crate) fn complete(&self, entry: Entry) {
        self.tracker.advance(Axis::from_bits(entry.axis), entry.epoch).unwrap();
    }

    pub(crate) fn lose(&self, axis: usize) {
        self.tracker.fail_axis(self.axes[axis], Failure::message("device lost")).unwrap();
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

/// Tenants' side: the pools are lent by a device whose queues the processor runs.
pub(crate) struct Rig {
    pub(crate) stage: Stage,
    pub(crate) device: Arc<Device>,
}

impl Rig {
    pub(crate) fn new(needs: &Needs, memory: &dyn Memory, pools: &dyn Pools) -> Self {
        let mut stage = Stage::new();
        let mut lent = Vec::new();
        for needs_of_pool in needs.pools {
            let mut slabs = memory.provider(needs.capacity);
            if needs_of_pool.upload_only {
                slabs = Arc::new(Claiming::upload_only(slabs));
            }
            let pool = stage.add_pool(needs_of_pool, slabs.clone(), pools);
            let registration = registration(needs_of_pool);
            lent.push(SharedPool { registration, may_trim: true, ..SharedPool::new(pool, slabs) });
        }
        let device = Device::new(0, stage.tracker.clone(), lent);
        Self { stage, device }
    }

    /// A tenant with plenty.
    pub(crate) fn tenant(&self) -> Tenant {
        let limits = TenantLimits { budget: 1 << 30, ..TenantLimits::default() };
        Tenant::new(&self.device, limits).unwrap()
    }
}
