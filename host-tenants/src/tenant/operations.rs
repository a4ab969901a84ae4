//! Queues on a tenant's behalf: alloca, dealloca, fill, copy, write, read.
//!
//! What an operation uses decides what it waits for, beyond what the tenant says: a transient buffer's alloca
//! when that is on another queue, and for a reservation whatever the tenant counted on when it got it. The
//! first use of a reservation zeroes it, and uses on other queues wait for that. A dealloca waits for every use that was
//! submitted, on whatever queue, its alloca's own included.

use super::error::{Limit, TenantError};
use super::host_queue::{HostQueue, Memory as Cell, Slot, Target, Transfer, Work};
use super::pool::{lock, unreached};
use super::{
    Ask, BufferHandle, PoolHandle, QueueHandle, ReadbackHandle, ReservationHandle, Tenant,
    Transient,
};
use std::sync::{Arc, OnceLock};
use strandline_core::pool::Pool;
use strandline_core::queue::{Parked, Place};
use strandline_core::{Axis, Entry, Epoch, Frontier, Merge, PoolError, Progress, QueueError};
use strandline_host_native::queue::Standing;

/// The most queues of one tenant, so that a frontier has room for all of them.
const MAX_QUEUES: usize = 128;

/// Memory that an operation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// A transient buffer, from its alloca on.
    Transient(BufferHandle),
    /// A reservation.
    Reserved(ReservationHandle),
}

/// A range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The memory.
    pub memory: Memory,
    /// The first byte, from its start.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// How a transient buffer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BufferState {
    /// No memory yet.
    Waiting,
    /// It has memory, usable from this epoch of its queue on.
    Ready(Epoch),
    /// It never will; why, in words.
    Failed(String),
}

#[derive(Debug)]
pub(super) struct Readback {
    slot: Arc<Slot>,
    memory: Cell,
    queue: usize,
    epoch: Epoch,
}

/// What an operation needs beside its arguments.
#[derive(Default)]
struct Needs {
    clear: Vec<Target>,
    used: Vec<Memory>,
}

fn refusal(error: QueueError) -> TenantError {
    match error {
        QueueError::Pool(error) => TenantError::Pool(error),
        QueueError::Failed { axis, failure } => TenantError::Failed { axis, failure },
        QueueError::Cycle { .. } => TenantError::Cycle,
        QueueError::TooManyAxes => TenantError::TooManyAxes,
        QueueError::OutOfEpochs(_) => TenantError::Limit(Limit::Operations),
        QueueError::TooManyBuffers => TenantError::Limit(Limit::Buffers),
        QueueError::Shutdown => TenantError::Shutdown,
        // The tenant's tables and core's agree on what there is.
        _ => TenantError::UnknownHandle,
    }
}

impl Tenant {
    /// Opens a queue on an axis of its own.
    ///
    /// # Errors
    /// [`TenantError::Limit`].
    pub fn open_queue(&mut self) -> Result<QueueHandle, TenantError> {
        if self.host_queues.len() >= self.limits.queues.min(MAX_QUEUES) {
            return Err(TenantError::Limit(Limit::Queues));
        }
        let cpu = self.device.lease()?;
        let axis = cpu.axis();
        if let Err(error) = self.queues.open(axis) {
            self.device.rest(cpu);
            return Err(refusal(error));
        }
        lock(&self.account.names).own(axis, cpu.submitted());
        self.host_queues.push(HostQueue::new(cpu));
        Ok(QueueHandle(self.host_queues.len() as u64 - 1))
    }

    /// The axis of a queue.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`].
    pub fn axis_of(&self, queue: QueueHandle) -> Result<Axis, TenantError> {
        Ok(self.host_queue(queue)?.1)
    }

    /// The last epoch that a queue gave out.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`].
    pub fn submitted(&self, queue: QueueHandle) -> Result<Epoch, TenantError> {
        let (_, axis) = self.host_queue(queue)?;
        self.queues.submitted(axis).ok_or(TenantError::UnknownHandle)
    }

    /// What the queue has been given so far, as a frontier to wait for or to release after.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`].
    pub fn frontier(&self, queue: QueueHandle) -> Result<Frontier, TenantError> {
        let (_, axis) = self.host_queue(queue)?;
        Ok(Frontier::from_entry(axis, self.submitted(queue)?))
    }

    /// Why the tenant's queues stand still: the first alloca of each pool that waits for memory, and each queue's operations that have it
    /// and have not begun, with what they wait for. A snapshot, for people and logs.
    pub fn parked(&mut self) -> (Vec<Parked>, Vec<(Axis, Standing)>) {
        self.drain();
        let standing = self.host_queues.iter().flat_map(|host_queue| {
            let axis = host_queue.cpu().axis();
            host_queue.cpu().parked().into_iter().map(move |standing| (axis, standing))
        });
        (self.queues.parked().collect(), standing.collect())
    }

    /// Allocates in queue order: the buffer may be used from the returned epoch on, which waits for
    /// `ask.after`. Later operations can name it at once.
    ///
    /// # Errors
    /// [`TenantError`]; also [`PoolError::TooLarge`] for what the budget never allows.
    pub fn alloca(
        &mut self,
        queue: QueueHandle,
        pool: PoolHandle,
        ask: &Ask<'_>,
    ) -> Result<(BufferHandle, Epoch), TenantError> {
        let axis = self.ready_lane(queue)?;
        let (_, pool) = self.tenant_pool(pool)?;
        let (pool_id, footprint) = (pool.id(), pool.footprint(ask.size, ask.alignment));
        let after = self.account.check(ask.after)?;
        if self.buffers.len() >= self.limits.buffers {
            return Err(TenantError::Limit(Limit::Buffers));
        }
        if footprint > self.limits.budget {
            let (size, max) = (ask.size, pool.properties().max_request);
            return Err(PoolError::TooLarge { size, max }.into());
        }
        let (id, epoch) =
            self.queues.alloca(axis, pool_id, &ask.request(after)).map_err(refusal)?;
        let memory: Cell = Arc::new(OnceLock::new());
        let handle = self.new_handle();
        let index = queue.0 as usize;
        let transient = Transient {
            id,
            queue: index,
            epoch,
            size: ask.size,
            memory: memory.clone(),
            uses: Frontier::from_entry(axis, epoch),
        };
        self.buffers.insert(handle, transient);
        self.by_id.insert(id, memory);
        let wait = (after.to_frontier(), false);
        self.stage(index, axis, epoch, wait, Vec::new(), Work::Nothing);
        Ok((BufferHandle(handle), epoch))
    }

    /// Frees in queue order, after `wait` and every use that was submitted.
    ///
    /// # Errors
    /// [`TenantError`]; the buffer is then as it was.
    pub fn dealloca(
        &mut self,
        queue: QueueHandle,
        buffer: BufferHandle,
        wait: &[Entry],
    ) -> Result<Epoch, TenantError> {
        let axis = self.ready_lane(queue)?;
        let mut wait = self.account.check(wait)?.to_frontier();
        let transient = self.buffers.get(&buffer.0).ok_or(TenantError::UnknownHandle)?;
        // Of a buffer that never got memory, nothing was used.
        if !matches!(transient.memory.get(), Some(Err(_))) {
            merge(&mut wait, &unreached(transient.uses.as_ref(), &self.account.tracker))?;
        }
        let epoch = self.queues.dealloca(axis, transient.id, wait.as_ref()).map_err(refusal)?;
        self.buffers.remove(&buffer.0);
        self.stage(queue.0 as usize, axis, epoch, (wait, false), Vec::new(), Work::Nothing);
        Ok(epoch)
    }

    /// Fills a range with copies of a byte.
    ///
    /// # Errors
    /// [`TenantError`].
    pub fn fill(
        &mut self,
        queue: QueueHandle,
        target: Range,
        value: u8,
        wait: &[Entry],
    ) -> Result<Epoch, TenantError> {
        let (axis, mut wait) = self.begin(queue, wait)?;
        let mut needs = Needs::default();
        let target = self.target(queue, &target, &mut wait, &mut needs)?;
        self.operate(queue, axis, wait, needs, Work::Fill { target, value })
    }

    /// Copies a range to one of the same length that does not overlap it.
    ///
    /// # Errors
    /// [`TenantError`].
    pub fn copy(
        &mut self,
        queue: QueueHandle,
        source: Range,
        target: Range,
        wait: &[Entry],
    ) -> Result<Epoch, TenantError> {
        let (axis, mut wait) = self.begin(queue, wait)?;
        let mut needs = Needs::default();
        let from = self.target(queue, &source, &mut wait, &mut needs)?;
        let to = self.target(queue, &target, &mut wait, &mut needs)?;
        // Both ends were checked against the memory's size, so the sums hold.
        let apart = source.memory != target.memory
            || source.offset + source.len <= target.offset
            || target.offset + target.len <= source.offset;
        if source.len != target.len || !apart {
            return Err(TenantError::InvalidRange);
        }
        self.operate(queue, axis, wait, needs, Work::Copy { source: from, target: to })
    }

    /// Writes bytes to a range of that length.
    ///
    /// # Errors
    /// [`TenantError`].
    pub fn write(
        &mut self,
        queue: QueueHandle,
        target: Range,
        bytes: Vec<u8>,
        wait: &[Entry],
    ) -> Result<Epoch, TenantError> {
        let (axis, mut wait) = self.begin(queue, wait)?;
        let mut needs = Needs::default();
        let len = target.len;
        let target = self.target(queue, &target, &mut wait, &mut needs)?;
        if len != bytes.len() as u64 {
            return Err(TenantError::InvalidRange);
        }
        let transfer = self.transfer(len)?;
        self.operate(queue, axis, wait, needs, Work::Write { target, bytes, transfer })
    }

    /// Reads a range; [`take`](Self::take) gives the bytes.
    ///
    /// # Errors
    /// [`TenantError`].
    pub fn read(
        &mut self,
        queue: QueueHandle,
        source: Range,
        wait: &[Entry],
    ) -> Result<ReadbackHandle, TenantError> {
        let (axis, mut wait) = self.begin(queue, wait)?;
        if self.readbacks.len() >= self.limits.operations {
            return Err(TenantError::Limit(Limit::Operations));
        }
        let mut needs = Needs::default();
        let len = source.len;
        let source = self.target(queue, &source, &mut wait, &mut needs)?;
        let transfer = self.transfer(len)?;
        let slot = Arc::new(Slot::default());
        let memory = source.memory.clone();
        let work = Work::Read { source, slot: slot.clone(), transfer };
        let epoch = self.operate(queue, axis, wait, needs, work)?;
        let handle = self.new_handle();
        let queue = queue.0 as usize;
        self.readbacks.insert(handle, Readback { slot, memory, queue, epoch });
        Ok(ReadbackHandle(handle))
    }

    /// An epoch after `wait`.
    ///
    /// # Errors
    /// [`TenantError`].
    pub fn barrier(&mut self, queue: QueueHandle, wait: &[Entry]) -> Result<Epoch, TenantError> {
        let (axis, wait) = self.begin(queue, wait)?;
        self.operate(queue, axis, wait, Needs::default(), Work::Nothing)
    }

    /// The epoch at which a readback is there.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`].
    pub fn epoch_of(&self, readback: ReadbackHandle) -> Result<Epoch, TenantError> {
        Ok(self.readback(readback)?.epoch)
    }

    /// The bytes of a readback: none before its epoch is reached, and none a second time.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`], [`TenantError::NoMemory`], [`TenantError::Failed`].
    pub fn take(&mut self, readback: ReadbackHandle) -> Result<Option<Vec<u8>>, TenantError> {
        self.drain();
        let readback = self.readback(readback)?;
        if matches!(readback.memory.get(), Some(Err(_))) {
            return Err(TenantError::NoMemory);
        }
        let host_queue = &self.host_queues[readback.queue];
        let axis = host_queue.cpu().axis();
        if self.account.tracker.reached(axis) >= readback.epoch {
            return Ok(readback.slot.take());
        }
        match host_queue.failure() {
            Some(failure) => Err(TenantError::Failed { axis, failure: failure.clone() }),
            None => Ok(None),
        }
    }

    /// The readback is not wanted any more.
    pub fn forget(&mut self, readback: ReadbackHandle) {
        self.readbacks.remove(&readback.0);
    }

    /// How a transient buffer stands.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`].
    pub fn status(&mut self, buffer: BufferHandle) -> Result<BufferState, TenantError> {
        self.drain();
        let transient = self.transient(buffer)?;
        Ok(match transient.memory.get() {
            None => BufferState::Waiting,
            Some(Ok(_)) => BufferState::Ready(transient.epoch),
            Some(Err(why)) => BufferState::Failed(why.clone()),
        })
    }

    /// Bytes of a transient buffer.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`].
    pub fn size_of(&self, buffer: BufferHandle) -> Result<u64, TenantError> {
        Ok(self.transient(buffer)?.size)
    }

    /// Where the bytes of a transient buffer are, once it has any.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`].
    pub fn place_of_buffer(&mut self, buffer: BufferHandle) -> Result<Option<Place>, TenantError> {
        self.drain();
        let place = self.transient(buffer)?.memory.get();
        Ok(place.and_then(|memory| memory.as_ref().ok()).map(|&(_, place)| place))
    }

    fn readback(&self, readback: ReadbackHandle) -> Result<&Readback, TenantError> {
        self.readbacks.get(&readback.0).ok_or(TenantError::UnknownHandle)
    }

    fn transient(&self, buffer: BufferHandle) -> Result<&Transient, TenantError> {
        self.buffers.get(&buffer.0).ok_or(TenantError::UnknownHandle)
    }

    fn host_queue(&self, queue: QueueHandle) -> Result<(&HostQueue, Axis), TenantError> {
        let index = usize::try_from(queue.0).map_err(|_| TenantError::UnknownHandle)?;
        let host_queue = self.host_queues.get(index).ok_or(TenantError::UnknownHandle)?;
        Ok((host_queue, host_queue.cpu().axis()))
    }

    /// The axis of a queue that can take another operation.
    fn ready_lane(&mut self, queue: QueueHandle) -> Result<Axis, TenantError> {
        self.drain();
        let (host_queue, axis) = self.host_queue(queue)?;
        if let Some(failure) = host_queue.failure() {
            return Err(TenantError::Failed { axis, failure: failure.clone() });
        }
        let in_flight: u64 = self
            .host_queues
            .iter()
            .map(|host_queue| {
                let axis = host_queue.cpu().axis();
                let submitted = self.queues.submitted(axis).unwrap_or(0);
                submitted.saturating_sub(self.account.tracker.reached(axis))
            })
            .sum();
        if in_flight >= self.limits.operations as u64 {
            return Err(TenantError::Limit(Limit::Operations));
        }
        Ok(axis)
    }

    fn begin(
        &mut self,
        queue: QueueHandle,
        wait: &[Entry],
    ) -> Result<(Axis, Frontier), TenantError> {
        let axis = self.ready_lane(queue)?;
        Ok((axis, self.account.check(wait)?.to_frontier()))
    }

    fn transfer(&self, bytes: u64) -> Result<Transfer, TenantError> {
        Transfer::charge(&self.transfer, bytes, self.limits.transfer_bytes)
            .ok_or(TenantError::Limit(Limit::TransferBytes))
    }

    /// Checks a range, and adds what its use waits for.
    fn target(
        &mut self,
        queue: QueueHandle,
        range: &Range,
        wait: &mut Frontier,
        needs: &mut Needs,
    ) -> Result<Target, TenantError> {
        let inside = |size: u64| range.offset.checked_add(range.len).is_some_and(|end| end <= size);
        let memory = match range.memory {
            Memory::Transient(buffer) => {
                let transient = self.transient(buffer)?;
                if !inside(transient.size) {
                    return Err(TenantError::InvalidRange);
                }
                if matches!(transient.memory.get(), Some(Err(_))) {
                    return Err(TenantError::NoMemory);
                }
                if transient.queue != queue.0 as usize {
                    let axis = self.host_queues[transient.queue].cpu().axis();
                    advance(wait, axis, transient.epoch)?;
                }
                transient.memory.clone()
            }
            Memory::Reserved(reservation) => {
                let holding =
                    self.holdings.get_mut(reservation.0).ok_or(TenantError::UnknownHandle)?;
                let size = holding.reservation.size();
                if !inside(size) {
                    return Err(TenantError::InvalidRange);
                }
                let memory = match &holding.memory {
                    Some(memory) => memory.clone(),
                    None => {
                        let place = Place::from(&holding.reservation);
                        let mapped = self.device.map(holding.pool, place);
                        let mapped = mapped.map_err(PoolError::Provider)?;
                        holding.memory.insert(Cell::new(OnceLock::from(Ok(mapped)))).clone()
                    }
                };
                match holding.first_use {
                    Some((axis, epoch)) => advance(wait, axis, epoch)?,
                    None => {
                        merge(wait, &holding.death)?;
                        if self.limits.clear {
                            let memory = memory.clone();
                            needs.clear.push(Target { memory, offset: 0, len: size });
                        }
                    }
                }
                memory
            }
        };
        needs.used.push(range.memory);
        Ok(Target { memory, offset: range.offset, len: range.len })
    }

    /// Submits an operation.
    fn operate(
        &mut self,
        queue: QueueHandle,
        axis: Axis,
        wait: Frontier,
        needs: Needs,
        work: Work,
    ) -> Result<Epoch, TenantError> {
        let epoch = self.queues.work(axis, wait.as_ref()).map_err(refusal)?;
        for memory in needs.used {
            match memory {
                Memory::Transient(buffer) => {
                    if let Some(transient) = self.buffers.get_mut(&buffer.0) {
                        // A tenant has fewer queues than a frontier has room for.
                        let _: Merge = transient.uses.advance(axis, epoch);
                    }
                }
                Memory::Reserved(reservation) => {
                    if let Some(holding) = self.holdings.get_mut(reservation.0) {
                        if holding.first_use.is_none() {
                            // It was waited for.
                            holding.death = Frontier::new();
                            holding.first_use = Some((axis, epoch));
                        }
                        let _: Merge = holding.death.advance(axis, epoch);
                    }
                }
            }
        }
        self.stage(queue.0 as usize, axis, epoch, (wait, true), needs.clear, work);
        Ok(epoch)
    }

    fn stage(
        &mut self,
        queue: usize,
        axis: Axis,
        epoch: Epoch,
        wait: (Frontier, bool),
        clear: Vec<Target>,
        work: Work,
    ) {
        lock(&self.account.names).submitted(axis, epoch);
        self.host_queues[queue].stage(epoch, wait, clear, work);
        self.drain();
    }
}

fn merge(wait: &mut Frontier, more: &Frontier) -> Result<(), TenantError> {
    match wait.merge(more.as_ref()) {
        Merge::Done => Ok(()),
        Merge::Overflow => Err(TenantError::TooManyAxes),
    }
}

fn advance(wait: &mut Frontier, axis: Axis, epoch: Epoch) -> Result<(), TenantError> {
    match wait.advance(axis, epoch) {
        Merge::Done => Ok(()),
        Merge::Overflow => Err(TenantError::TooManyAxes),
    }
}
