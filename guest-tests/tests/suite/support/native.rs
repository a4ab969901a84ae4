//! Work on the processor: core's pools for what pools do, a tenant of the device for what queues do.

use super::convert::{self, entries, list, origin, pool_refusal};
use super::host::{HostWorld, Work};
use super::rig::{Rig, Stage};
use core::future::poll_fn;
use strandline_core::pool_set::{Need, Route};
use strandline_core::{Axis, Entry as CoreEntry, Reservation};
use strandline_guest_tests::{Answer, Ask, Death, Memory, Refusal, Slice, Status};
use strandline_host_tenants::tenant::{
    self, BufferHandle, BufferState, PoolHandle, QueueHandle, ReadbackHandle, ReservationHandle,
    Tenant, TenantError, WaitFailure,
};

/// See the [module](self).
pub(crate) struct NativeWork<'a> {
    rig: &'a mut Rig,
    tenant: Tenant,
    /// Operations on reservations go through the tenant, which then is who reserved them.
    queues: bool,
}

/// A reservation of a pool, or of the tenant.
#[derive(Debug)]
pub(crate) enum Held {
    Pool(Reservation),
    Tenant(ReservationHandle),
}

impl<'a> NativeWork<'a> {
    pub(crate) fn world(rig: &'a mut Rig, queues: bool) -> HostWorld<Self> {
        let tenant = rig.tenant();
        HostWorld(Self { rig, tenant, queues })
    }
}

fn refusal(error: TenantError) -> Refusal {
    match error {
        TenantError::Pool(error) => pool_refusal(&error),
        TenantError::InvalidFrontier(_) => Refusal::InvalidFrontier,
        TenantError::InvalidRange => Refusal::InvalidRange,
        TenantError::NoMemory => Refusal::NoMemory,
        TenantError::Failed { .. } => Refusal::Failed,
        TenantError::OtherPool => Refusal::OtherPool,
        TenantError::Limit(_) => Refusal::Limit,
        other => Refusal::Other(other.to_string()),
    }
}

fn wait_refusal(failure: WaitFailure) -> Refusal {
    match failure {
        WaitFailure::InvalidFrontier(_) => Refusal::InvalidFrontier,
        WaitFailure::Ended(_) => Refusal::Failed,
        other => Refusal::Other(other.to_string()),
    }
}

const fn pool_handle(pool: usize) -> PoolHandle {
    PoolHandle::from_bits(pool as u64)
}

fn ask_of<'a>(ask: &Ask<'_>, after: &'a [CoreEntry]) -> tenant::Ask<'a> {
    let &Ask { size, alignment, may_wait, may_grow, .. } = ask;
    tenant::Ask { size, alignment, after, may_wait, may_grow }
}

fn range(slice: &Slice<'_, HostWorld<NativeWork<'_>>>) -> tenant::Range {
    let memory = match &slice.memory {
        Memory::Transient(buffer) => tenant::Memory::Transient(**buffer),
        Memory::Reserved(Held::Tenant(reservation)) => tenant::Memory::Reserved(*reservation),
        Memory::Reserved(Held::Pool(held)) => panic!("{held:?} is not the tenant's"),
    };
    tenant::Range { memory, offset: slice.offset, len: slice.len }
}

impl Work for NativeWork<'_> {
    type Reservation = Held;
    type Queue = QueueHandle;
    type Buffer = BufferHandle;
    type Readback = ReadbackHandle;
    const GRAIN: u64 = 1;

    fn stage(&mut self) -> &mut Stage {
        &mut self.rig.stage
    }

    fn submitted(&mut self, entry: CoreEntry) {
        self.tenant.lend_axis(entry.axis, entry.epoch);
    }

    fn progressed(&mut self) {
        self.rig.device.progressed();
    }

    fn quiesce(&mut self) {
        self.tenant.quiesce();
    }

    fn route(&self, need: &Need) -> Route<'_> {
        self.tenant.route(need)
    }

    fn acquire(&mut self, pool: usize, ask: &Ask<'_>) -> Result<Answer<Held>, Refusal> {
        if !self.queues {
            return Ok(match convert::acquire(&*self.rig.stage.pools[pool], ask)? {
                Answer::Ready { reservation, offset, origin } => {
                    Answer::Ready { reservation: Held::Pool(reservation), offset, origin }
                }
                Answer::AfterWait { reservation, offset, wait } => {
                    Answer::AfterWait { reservation: Held::Pool(reservation), offset, wait }
                }
                Answer::Exhausted { seen, growth_required } => {
                    Answer::Exhausted { seen, growth_required }
                }
                Answer::OverBudget { seen } => Answer::OverBudget { seen },
            });
        }
        let after = entries(ask.after);
        let answer = self.tenant.acquire(pool_handle(pool), &ask_of(ask, &after));
        Ok(match answer.map_err(refusal)? {
            tenant::Answer::Ready { reservation, place, origin: from } => Answer::Ready {
                reservation: Held::Tenant(reservation),
                offset: place.offset,
                origin: origin(from),
            },
            tenant::Answer::AfterWait { reservation, place, wait } => Answer::AfterWait {
                reservation: Held::Tenant(reservation),
                offset: place.offset,
                wait: list(wait.as_ref()),
            },
            tenant::Answer::Exhausted { observed, growth_required } => {
                Answer::Exhausted { seen: observed.word(), growth_required }
            }
            tenant::Answer::OverBudget { observed } => Answer::OverBudget { seen: observed.word() },
        })
    }

    fn release(
        &mut self,
        pool: usize,
        reservation: Held,
        death: Death<'_>,
    ) -> Result<(), (Held, Refusal)> {
        match reservation {
            Held::Tenant(reservation) => {
                let after = match death {
                    Death::After(list) => entries(list),
                    Death::Idle | Death::Unknown => Vec::new(),
                };
                let returned = match death {
                    Death::Idle => tenant::Returned::Idle,
                    Death::After(_) => tenant::Returned::After(&after),
                    Death::Unknown => tenant::Returned::Unknown,
                };
                let released = self.tenant.release(pool_handle(pool), reservation, returned);
                released.map_err(|error| (Held::Tenant(reservation), refusal(error)))
            }
            Held::Pool(reservation) => {
                let released = convert::release(&*self.rig.stage.pools[pool], reservation, death);
                released.map_err(|(reservation, why)| (Held::Pool(reservation), why))
            }
        }
    }

    fn cancel(&mut self, pool: usize, reservation: Held) -> Result<(), (Held, Refusal)> {
        match reservation {
            Held::Tenant(reservation) => {
                let canceled = self.tenant.cancel(pool_handle(pool), reservation);
                canceled.map_err(|error| (Held::Tenant(reservation), refusal(error)))
            }
            Held::Pool(reservation) => {
                let canceled = convert::cancel(&*self.rig.stage.pools[pool], reservation);
                canceled.map_err(|(reservation, why)| (Held::Pool(reservation), why))
            }
        }
    }

    fn open_queue(&mut self) -> Result<QueueHandle, Refusal> {
        self.tenant.open_queue().map_err(refusal)
    }

    fn axis_of(&self, queue: &QueueHandle) -> Axis {
        self.tenant.axis_of(*queue).unwrap()
    }

    fn reached(&self, axis: Axis) -> u64 {
        self.tenant.reached(axis)
    }

    fn alloca(
        &mut self,
        queue: &QueueHandle,
        pool: usize,
        ask: &Ask<'_>,
    ) -> Result<(BufferHandle, u64), Refusal> {
        let after = entries(ask.after);
        self.tenant.alloca(*queue, pool_handle(pool), &ask_of(ask, &after)).map_err(refusal)
    }

    fn dealloca(
        &mut self,
        queue: &QueueHandle,
        buffer: BufferHandle,
        wait: &[CoreEntry],
    ) -> Result<u64, (BufferHandle, Refusal)> {
        let freed = self.tenant.dealloca(*queue, buffer, wait);
        freed.map_err(|error| (buffer, refusal(error)))
    }

    fn fill(
        &mut self,
        queue: &QueueHandle,
        target: &Slice<'_, HostWorld<Self>>,
        value: u8,
        wait: &[CoreEntry],
    ) -> Result<u64, Refusal> {
        self.tenant.fill(*queue, range(target), value, wait).map_err(refusal)
    }

    fn copy(
        &mut self,
        queue: &QueueHandle,
        source: &Slice<'_, HostWorld<Self>>,
        target: &Slice<'_, HostWorld<Self>>,
        wait: &[CoreEntry],
    ) -> Result<u64, Refusal> {
        self.tenant.copy(*queue, range(source), range(target), wait).map_err(refusal)
    }

    fn write(
        &mut self,
        queue: &QueueHandle,
        target: &Slice<'_, HostWorld<Self>>,
        bytes: &[u8],
        wait: &[CoreEntry],
    ) -> Result<u64, Refusal> {
        self.tenant.write(*queue, range(target), bytes.to_vec(), wait).map_err(refusal)
    }

    fn read(
        &mut self,
        queue: &QueueHandle,
        source: &Slice<'_, HostWorld<Self>>,
        wait: &[CoreEntry],
    ) -> Result<ReadbackHandle, Refusal> {
        self.tenant.read(*queue, range(source), wait).map_err(refusal)
    }

    fn epoch_of(&mut self, readback: &ReadbackHandle) -> u64 {
        self.tenant.epoch_of(*readback).unwrap()
    }

    fn take(&mut self, readback: &ReadbackHandle) -> Result<Option<Vec<u8>>, Refusal> {
        self.tenant.take(*readback).map_err(refusal)
    }

    fn barrier(&mut self, queue: &QueueHandle, wait: &[CoreEntry]) -> Result<u64, Refusal> {
        self.tenant.barrier(*queue, wait).map_err(refusal)
    }

    fn status(&mut self, buffer: &BufferHandle) -> Status {
        match self.tenant.status(*buffer).unwrap() {
            BufferState::Waiting => Status::Waiting,
            BufferState::Ready(epoch) => Status::Ready(epoch),
            BufferState::Failed(_) => Status::Failed,
        }
    }

    async fn finish(&mut self, until: &[CoreEntry]) -> Result<(), Refusal> {
        let mut wait = self.tenant.wait(until).map_err(wait_refusal)?;
        poll_fn(|context| self.tenant.poll_wait(&mut wait, context)).await.map_err(wait_refusal)
    }
}
