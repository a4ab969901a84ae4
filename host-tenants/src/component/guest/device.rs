//! The interface `device`: queues and transient buffers.

use super::bindings::strandline::substrate::device::{
    BufferStatus, DeallocaRefusal, Frontier, Host, HostBuffer, HostQueue, HostReadback, Memory,
    Place, QueueError, Request, Slice, SubmittedAlloca,
};
use super::bindings::strandline::substrate::pools::Permissions;
use super::{Buffer, GuestState, Pool, PoolSet, Queue, Readback, convert, known};
use crate::tenant::{
    self, Ask, BufferHandle, BufferState, PoolHandle, QueueHandle, ReadbackHandle, TenantError,
};
use strandline_core::Axis;
use wasmtime::component::Resource;

impl GuestState {
    fn queue(&self, queue: &Resource<Queue>) -> wasmtime::Result<QueueHandle> {
        Ok(self.table.get(queue)?.0)
    }

    fn range(&self, slice: &Slice) -> wasmtime::Result<tenant::Range> {
        let memory = match &slice.memory {
            Memory::Transient(buffer) => tenant::Memory::Transient(self.table.get(buffer)?.0),
            Memory::Reserved(held) => tenant::Memory::Reserved(self.table.get(held)?.0),
        };
        Ok(tenant::Range { memory, offset: slice.offset, len: slice.len })
    }
}

fn answer<T>(result: Result<T, TenantError>) -> wasmtime::Result<Result<T, QueueError>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(convert::queue_error(error)?)),
    }
}

impl Host for GuestState {
    fn lent_pools(&mut self) -> wasmtime::Result<Vec<Resource<Pool>>> {
        (0..self.tenant.pools())
            .map(|pool| Ok(self.table.push(Pool(PoolHandle::from_bits(pool as u64)))?))
            .collect()
    }

    fn lent_set(&mut self) -> wasmtime::Result<Resource<PoolSet>> {
        Ok(self.table.push(PoolSet(()))?)
    }

    fn open_queue(&mut self) -> wasmtime::Result<Result<Resource<Queue>, QueueError>> {
        let handle = self.table.push(Queue(QueueHandle::from_bits(0)))?;
        match self.tenant.open_queue() {
            Ok(queue) => {
                *self.table.get_mut(&handle)? = Queue(queue);
                Ok(Ok(handle))
            }
            Err(error) => {
                self.table.delete(handle)?;
                answer(Err(error))
            }
        }
    }

    /// Who polls this gets on: what waits for memory in the tenant's queues looks again.
    fn reached(&mut self, axis: u64) -> wasmtime::Result<u64> {
        self.tenant.poll();
        Ok(self.tenant.reached(Axis::from_bits(axis)))
    }
}

impl HostQueue for GuestState {
    fn axis(&mut self, queue: Resource<Queue>) -> wasmtime::Result<u64> {
        known(self.tenant.axis_of(self.queue(&queue)?)).map(Axis::to_bits)
    }

    fn submitted(&mut self, queue: Resource<Queue>) -> wasmtime::Result<u64> {
        known(self.tenant.submitted(self.queue(&queue)?))
    }

    fn alloca(
        &mut self,
        queue: Resource<Queue>,
        pool: Resource<Pool>,
        request: Request,
    ) -> wasmtime::Result<Result<SubmittedAlloca, QueueError>> {
        let queue = self.queue(&queue)?;
        let pool = self.table.get(&pool)?.0;
        let after = convert::entries(&request.after);
        let ask = Ask {
            size: request.size,
            alignment: request.alignment,
            after: &after,
            may_wait: request.may.contains(Permissions::WAIT),
            may_grow: request.may.contains(Permissions::GROW),
        };
        // The handle first: should there be no room for it, nothing has been submitted.
        let handle = self.table.push(Buffer(BufferHandle::from_bits(0)))?;
        match self.tenant.alloca(queue, pool, &ask) {
            Ok((buffer, epoch)) => {
                *self.table.get_mut(&handle)? = Buffer(buffer);
                Ok(Ok(SubmittedAlloca { buffer: handle, epoch }))
            }
            Err(error) => {
                self.table.delete(handle)?;
                answer(Err(error))
            }
        }
    }

    fn dealloca(
        &mut self,
        queue: Resource<Queue>,
        buffer: Resource<Buffer>,
        wait: Frontier,
    ) -> wasmtime::Result<Result<u64, DeallocaRefusal>> {
        let queue = self.queue(&queue)?;
        let handle = self.table.get(&buffer)?.0;
        match self.tenant.dealloca(queue, handle, &convert::entries(&wait)) {
            Ok(epoch) => {
                self.table.delete(buffer)?;
                Ok(Ok(epoch))
            }
            Err(error) => {
                let error = convert::queue_error(error)?;
                Ok(Err(DeallocaRefusal { buffer, error }))
            }
        }
    }

    fn fill(
        &mut self,
        queue: Resource<Queue>,
        target: Slice,
        value: u8,
        wait: Frontier,
    ) -> wasmtime::Result<Result<u64, QueueError>> {
        let (queue, target) = (self.queue(&queue)?, self.range(&target)?);
        answer(self.tenant.fill(queue, target, value, &convert::entries(&wait)))
    }

    fn copy(
        &mut self,
        queue: Resource<Queue>,
        source: Slice,
        target: Slice,
        wait: Frontier,
    ) -> wasmtime::Result<Result<u64, QueueError>> {
        let queue = self.queue(&queue)?;
        let (source, target) = (self.range(&source)?, self.range(&target)?);
        answer(self.tenant.copy(queue, source, target, &convert::entries(&wait)))
    }

    fn write(
        &mut self,
        queue: Resource<Queue>,
        target: Slice,
        bytes: Vec<u8>,
        wait: Frontier,
    ) -> wasmtime::Result<Result<u64, QueueError>> {
        let (queue, target) = (self.queue(&queue)?, self.range(&target)?);
        answer(self.tenant.write(queue, target, bytes, &convert::entries(&wait)))
    }

    fn read(
        &mut self,
        queue: Resource<Queue>,
        source: Slice,
        wait: Frontier,
    ) -> wasmtime::Result<Result<Resource<Readback>, QueueError>> {
        let (queue, source) = (self.queue(&queue)?, self.range(&source)?);
        let handle = self.table.push(Readback(ReadbackHandle::from_bits(0)))?;
        match self.tenant.read(queue, source, &convert::entries(&wait)) {
            Ok(readback) => {
                *self.table.get_mut(&handle)? = Readback(readback);
                Ok(Ok(handle))
            }
            Err(error) => {
                self.table.delete(handle)?;
                answer(Err(error))
            }
        }
    }

    fn barrier(
        &mut self,
        queue: Resource<Queue>,
        wait: Frontier,
    ) -> wasmtime::Result<Result<u64, QueueError>> {
        let queue = self.queue(&queue)?;
        answer(self.tenant.barrier(queue, &convert::entries(&wait)))
    }

    /// The queue goes on; it ends with the guest.
    fn drop(&mut self, queue: Resource<Queue>) -> wasmtime::Result<()> {
        self.table.delete(queue)?;
        Ok(())
    }
}

impl HostBuffer for GuestState {
    fn size(&mut self, buffer: Resource<Buffer>) -> wasmtime::Result<u64> {
        known(self.tenant.size_of(self.table.get(&buffer)?.0))
    }

    /// As [`reached`](Host::reached), for who polls a buffer.
    fn status(&mut self, buffer: Resource<Buffer>) -> wasmtime::Result<BufferStatus> {
        let handle = self.table.get(&buffer)?.0;
        self.tenant.poll();
        Ok(match known(self.tenant.status(handle))? {
            BufferState::Waiting => BufferStatus::Waiting,
            BufferState::Ready(epoch) => BufferStatus::Ready(epoch),
            BufferState::Failed(why) => BufferStatus::Failed(why),
        })
    }

    fn place(&mut self, buffer: Resource<Buffer>) -> wasmtime::Result<Option<Place>> {
        let handle = self.table.get(&buffer)?.0;
        Ok(known(self.tenant.place_of_buffer(handle))?.as_ref().map(convert::place))
    }

    fn drop(&mut self, buffer: Resource<Buffer>) -> wasmtime::Result<()> {
        self.table.delete(buffer)?;
        Ok(())
    }
}

impl HostReadback for GuestState {
    fn epoch(&mut self, readback: Resource<Readback>) -> wasmtime::Result<u64> {
        known(self.tenant.epoch_of(self.table.get(&readback)?.0))
    }

    fn take(
        &mut self,
        readback: Resource<Readback>,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, QueueError>> {
        answer(self.tenant.take(self.table.get(&readback)?.0))
    }

    fn drop(&mut self, readback: Resource<Readback>) -> wasmtime::Result<()> {
        let Readback(handle) = self.table.delete(readback)?;
        self.tenant.forget(handle);
        Ok(())
    }
}
