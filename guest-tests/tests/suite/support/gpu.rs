//! Work on a GPU: core's pools over GPU buffers, queues of the GPU host.

use super::convert::{self, entries, frontier, pool_refusal, request};
use super::host::{HostWorld, Work};
use super::rig::{Claiming, Pools, Stage, registration};
use core::cell::RefCell;
use std::sync::Arc;
use strandline_core::pool_set::{Need, Route};
use strandline_core::slab::{BufferUsage, MemoryType};
use strandline_core::{
    Axis, Entry as CoreEntry, Frontier, Pool, Progress, QueueError as CoreError, Reservation,
    WaitError,
};
use strandline_guest_tests::{Answer, Ask, Death, Memory, Needs, Refusal, Slice, Status};
use strandline_host_wgpu::{
    BufferRange, Command, Gpu, GpuPools, Queue, QueueError, QueueSet, ReadBack, Transient,
    UsageClass, WgpuSlabProvider,
};

fn wait_refusal(error: WaitError) -> Refusal {
    match error {
        WaitError::Failed { .. } | WaitError::Retired { .. } => Refusal::Failed,
        other => Refusal::Other(other.to_string()),
    }
}

/// A GPU's side of a case.
pub(crate) struct GpuRig {
    stage: Stage,
    gpu: Gpu,
    set: QueueSet,
    queues: Vec<Queue>,
}

impl GpuRig {
    pub(crate) fn new(needs: &Needs, gpu: Gpu, pools: &dyn Pools) -> Self {
        let mut stage = Stage::new();
        let mut gpu_pools = GpuPools::new();
        for needs_of_pool in needs.pools {
            let class =
                if needs_of_pool.upload_only { UsageClass::Upload } else { UsageClass::Storage };
            let slabs = Arc::new(WgpuSlabProvider::new(&gpu, class).capacity(needs.capacity));
            let pool = if needs_of_pool.upload_only {
                stage.add_pool(needs_of_pool, slabs.clone(), pools)
            } else {
                // A case may route anything to a pool. No GPU buffer is for everything, and here none has to be: what is
                // routed is not used, and what is used is storage.
                let claiming = Claiming {
                    memory_type: MemoryType::from_bits_truncate(u32::MAX),
                    usage: BufferUsage::from_bits_truncate(u32::MAX),
                    provider: slabs.clone(),
                };
                stage.add_pool(needs_of_pool, Arc::new(claiming), pools)
            };
            gpu_pools.add(pool, slabs, registration(needs_of_pool)).unwrap();
        }
        let set = QueueSet::new(gpu_pools, &stage.tracker);
        Self { stage, gpu, set, queues: Vec::new() }
    }

    /// After the case: its queues run dry and end. What a failed one still had dies unknown.
    pub(crate) fn end(self) -> Stage {
        for queue in &self.queues {
            // One that failed says so again.
            let _ = queue.finish();
        }
        self.stage
    }
}

/// See the [module](self).
pub(crate) struct GpuWork<'a> {
    rig: &'a mut GpuRig,
}

impl<'a> GpuWork<'a> {
    pub(crate) const fn world(rig: &'a mut GpuRig) -> HostWorld<Self> {
        HostWorld(Self { rig })
    }

    fn pool(&self, pool: usize) -> &Arc<dyn Pool> {
        &self.rig.stage.pools[pool]
    }

    fn range(&self, slice: &Slice<'_, HostWorld<Self>>) -> Result<BufferRange, Refusal> {
        let outside = |_| Refusal::InvalidRange;
        match slice.memory {
            Memory::Transient(buffer) => {
                buffer.transient.slice(slice.offset, slice.len).map_err(outside)
            }
            Memory::Reserved(reservation) => {
                let memory = self.rig.set.pools().slice(reservation);
                let memory = memory.map_err(|error| Refusal::Other(error.to_string()))?;
                Ok(memory.slice(slice.offset, slice.len).map_err(outside)?.into())
            }
        }
    }

    fn submit(queue: &Queue, wait: &[CoreEntry], command: Option<Command>) -> Result<u64, Refusal> {
        queue.submit(frontier(wait)?, command).map_err(refusal)
    }
}

fn refusal(error: QueueError) -> Refusal {
    match error {
        QueueError::Queue(CoreError::Pool(error)) => pool_refusal(&error),
        QueueError::Queue(CoreError::Failed { .. }) | QueueError::Failed(_) => Refusal::Failed,
        QueueError::Slice(_) | QueueError::Sizes { .. } => Refusal::InvalidRange,
        other => Refusal::Other(other.to_string()),
    }
}

/// A transient buffer, and the epoch of its alloca.
#[derive(Debug)]
pub(crate) struct Allocated {
    transient: Transient,
    queue: Queue,
    epoch: u64,
}

/// Bytes on their way, and when they were copied from where they were.
#[derive(Debug)]
pub(crate) struct Reading {
    bytes: RefCell<Option<ReadBack>>,
    at: CoreEntry,
}

impl Work for GpuWork<'_> {
    type Reservation = Reservation;
    type Queue = Queue;
    type Buffer = Allocated;
    type Readback = Reading;
    /// wgpu copies whole words.
    const GRAIN: u64 = 4;

    fn stage(&mut self) -> &mut Stage {
        &mut self.rig.stage
    }

    fn submitted(&mut self, _: CoreEntry) {}

    fn progressed(&mut self) {
        self.rig.set.poll();
    }

    fn quiesce(&mut self) {}

    fn route(&self, need: &Need) -> Route<'_> {
        self.rig.set.pools().set().route(need)
    }

    fn acquire(&mut self, pool: usize, ask: &Ask<'_>) -> Result<Answer<Reservation>, Refusal> {
        convert::acquire(&**self.pool(pool), ask)
    }

    fn release(
        &mut self,
        pool: usize,
        reservation: Reservation,
        death: Death<'_>,
    ) -> Result<(), (Reservation, Refusal)> {
        convert::release(&**self.pool(pool), reservation, death)
    }

    fn cancel(
        &mut self,
        pool: usize,
        reservation: Reservation,
    ) -> Result<(), (Reservation, Refusal)> {
        convert::cancel(&**self.pool(pool), reservation)
    }

    fn open_queue(&mut self) -> Result<Queue, Refusal> {
        let axis = Axis::queue(0, self.rig.queues.len() as u8);
        let queue = self.rig.set.open(&self.rig.gpu, axis).map_err(refusal)?;
        self.rig.queues.push(queue.clone());
        Ok(queue)
    }

    fn axis_of(&self, queue: &Queue) -> Axis {
        queue.axis()
    }

    fn reached(&self, axis: Axis) -> u64 {
        self.rig.stage.tracker.reached(axis)
    }

    fn alloca(
        &mut self,
        queue: &Queue,
        pool: usize,
        ask: &Ask<'_>,
    ) -> Result<(Allocated, u64), Refusal> {
        let after = entries(ask.after);
        let pool = self.pool(pool).id();
        let allocated = queue.alloca(pool, &request(ask, &after)?);
        let (transient, epoch) = allocated.map_err(refusal)?;
        Ok((Allocated { transient, queue: queue.clone(), epoch }, epoch))
    }

    fn dealloca(
        &mut self,
        queue: &Queue,
        buffer: Allocated,
        wait: &[CoreEntry],
    ) -> Result<u64, (Allocated, Refusal)> {
        let ended =
            frontier(wait).and_then(|wait| queue.dealloca(buffer.transient, wait).map_err(refusal));
        ended.map_err(|why| (buffer, why))
    }

    fn fill(
        &mut self,
        queue: &Queue,
        target: &Slice<'_, HostWorld<Self>>,
        value: u8,
        wait: &[CoreEntry],
    ) -> Result<u64, Refusal> {
        let target = self.range(target)?;
        let fill = Command::fill(target, u64::from_le_bytes([value; 8]));
        Self::submit(queue, wait, Some(fill))
    }

    fn copy(
        &mut self,
        queue: &Queue,
        source: &Slice<'_, HostWorld<Self>>,
        target: &Slice<'_, HostWorld<Self>>,
        wait: &[CoreEntry],
    ) -> Result<u64, Refusal> {
        let (source, target) = (self.range(source)?, self.range(target)?);
        Self::submit(queue, wait, Some(Command::copy(source, target)))
    }

    fn write(
        &mut self,
        queue: &Queue,
        target: &Slice<'_, HostWorld<Self>>,
        bytes: &[u8],
        wait: &[CoreEntry],
    ) -> Result<u64, Refusal> {
        let target = self.range(target)?;
        Self::submit(queue, wait, Some(Command::write(target, bytes)))
    }

    fn read(
        &mut self,
        queue: &Queue,
        source: &Slice<'_, HostWorld<Self>>,
        wait: &[CoreEntry],
    ) -> Result<Reading, Refusal> {
        let source = self.range(source)?;
        let bytes = queue.read(frontier(wait)?, source).map_err(refusal)?;
        // A case is the only one to submit.
        let at = queue.frontier().as_ref().entries()[0];
        Ok(Reading { bytes: RefCell::new(Some(bytes)), at })
    }

    fn epoch_of(&mut self, readback: &Reading) -> u64 {
        readback.at.epoch
    }

    fn take(&mut self, readback: &Reading) -> Result<Option<Vec<u8>>, Refusal> {
        let (tracker, at) = (&self.rig.stage.tracker, readback.at);
        if !tracker.has_reached(at.axis, at.epoch) {
            let ended = matches!(tracker.end_of(at.axis), Ok(Some(_)));
            return if ended { Err(Refusal::Failed) } else { Ok(None) };
        }
        // Copied, and on their way to the host.
        let bytes = readback.bytes.take().map(super::block_on).transpose();
        bytes.map_err(|_| Refusal::Failed)
    }

    fn barrier(&mut self, queue: &Queue, wait: &[CoreEntry]) -> Result<u64, Refusal> {
        Self::submit(queue, wait, None)
    }

    fn status(&mut self, buffer: &Allocated) -> Status {
        if buffer.queue.slice_of(buffer.transient).is_some() {
            Status::Ready(buffer.epoch)
        } else if buffer.queue.failure_of(buffer.transient).is_some() {
            Status::Failed
        } else {
            Status::Waiting
        }
    }

    async fn finish(&mut self, until: &[CoreEntry]) -> Result<(), Refusal> {
        let until: Frontier = frontier(until)?.to_frontier();
        let wait = self.rig.stage.tracker.wait_async(until.as_ref());
        wait.map_err(|error| Refusal::Other(error.to_string()))?.await.map_err(wait_refusal)
    }
}
