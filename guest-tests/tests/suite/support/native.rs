//! The native runner: cases at core's pools and at this crate's queues, without a boundary.

use super::rig::Rig;
use core::future::poll_fn;
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_core::pool::{Origin as CoreOrigin, Pool, Request, ReuseProof};
use strandline_core::pool_set::{Need, NoMatch, Route as CoreRoute};
use strandline_core::slab::{BufferUsage, MemoryType, Trim};
use strandline_core::{
    Acquire, Axis, Causality as CoreCausality, Death as CoreDeath, Entry as CoreEntry, Frontier,
    FrontierRef, Merge, Observation, PoolError, Reservation,
};
use strandline_guest_tests::{
    Answer, Ask, Causality, Death, Entry, Memory, Origin, Properties, Refusal, Route, Slice, Stats,
    Status, World,
};
use strandline_host_native::tenant::{
    self, BufferHandle, BufferState, PoolHandle, QueueHandle, ReadbackHandle, ReservationHandle,
    Tenant, TenantError, WaitFailure,
};

/// Core's pools for what pools do; a tenant of the device for what queues do.
pub(crate) struct NativeWorld<'a> {
    pub(crate) rig: &'a mut Rig,
    pub(crate) tenant: Tenant,
    /// Operations on reservations go through the tenant, which then is who reserved them.
    queues: bool,
}

/// A reservation of a pool, or of the tenant.
#[derive(Debug)]
pub(crate) enum Held {
    Pool(Reservation),
    Tenant(ReservationHandle),
}

impl<'a> NativeWorld<'a> {
    pub(crate) fn new(rig: &'a mut Rig, queues: bool) -> Self {
        let tenant = rig.tenant();
        Self { rig, tenant, queues }
    }

    fn pool(&self, pool: usize) -> &Arc<dyn Pool> {
        &self.rig.pools[pool]
    }
}

fn entries(list: &[Entry]) -> Vec<CoreEntry> {
    list.iter().map(|e| CoreEntry::new(Axis::from_bits(e.axis), e.epoch)).collect()
}

fn list(frontier: FrontierRef<'_>) -> Vec<Entry> {
    let entry = |e: &CoreEntry| Entry { axis: e.axis.to_bits(), epoch: e.epoch };
    frontier.entries().iter().map(entry).collect()
}

fn frontier(list: &[CoreEntry]) -> Result<FrontierRef<'_>, Refusal> {
    FrontierRef::try_from_sorted(list).map_err(|_| Refusal::InvalidFrontier)
}

fn pool_refusal(error: &PoolError) -> Refusal {
    match error {
        PoolError::ZeroSize => Refusal::ZeroSize,
        PoolError::InvalidAlignment { .. } => Refusal::InvalidAlignment,
        PoolError::TooLarge { .. } => Refusal::TooLarge,
        other => Refusal::Other(other.to_string()),
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

fn range(slice: &Slice<'_, NativeWorld<'_>>) -> tenant::Range {
    let memory = match &slice.memory {
        Memory::Transient(buffer) => tenant::Memory::Transient(**buffer),
        Memory::Reserved(Held::Tenant(reservation)) => tenant::Memory::Reserved(*reservation),
        Memory::Reserved(Held::Pool(held)) => panic!("{held:?} is not the tenant's"),
    };
    tenant::Range { memory, offset: slice.offset, len: slice.len }
}

const fn origin(origin: CoreOrigin) -> Origin {
    match origin {
        CoreOrigin::Fresh => Origin::Fresh,
        CoreOrigin::Reused(ReuseProof::Dominance) => Origin::Dominated,
        CoreOrigin::Reused(ReuseProof::Completion) => Origin::Completed,
    }
}

impl World for NativeWorld<'_> {
    type Reservation = Held;
    type Queue = QueueHandle;
    type Buffer = BufferHandle;
    type Readback = ReadbackHandle;

    fn sort(&mut self, unsorted: &[Entry]) -> Result<Vec<Entry>, Refusal> {
        let sorted = Frontier::from_entries(entries(unsorted));
        sorted.map(|f| list(f.as_ref())).map_err(|_| Refusal::InvalidFrontier)
    }

    fn compare(&mut self, a: &[Entry], b: &[Entry]) -> Result<Causality, Refusal> {
        let (a, b) = (entries(a), entries(b));
        Ok(match frontier(&a)?.compare(frontier(&b)?) {
            CoreCausality::Before => Causality::Before,
            CoreCausality::After => Causality::After,
            CoreCausality::Equal => Causality::Equal,
            CoreCausality::Concurrent => Causality::Concurrent,
        })
    }

    fn dominates(&mut self, a: &[Entry], b: &[Entry]) -> Result<bool, Refusal> {
        let (a, b) = (entries(a), entries(b));
        Ok(frontier(&a)?.dominates(frontier(&b)?))
    }

    fn merge(&mut self, a: &[Entry], b: &[Entry]) -> Result<Option<(Vec<Entry>, bool)>, Refusal> {
        let (a, b) = (entries(a), entries(b));
        let mut join = frontier(&a)?.to_frontier();
        Ok(match join.merge_and_test_source_dominance(frontier(&b)?) {
            (Merge::Done, second) => Some((list(join.as_ref()), second)),
            (Merge::Overflow, _) => None,
        })
    }

    fn undominated(
        &mut self,
        a: &[Entry],
        b: &[Entry],
        limit: u32,
    ) -> Result<(Vec<Entry>, u32), Refusal> {
        let (a, b) = (entries(a), entries(b));
        let mut out = vec![CoreEntry::new(Axis::from_bits(0), 0); b.len().min(limit as usize)];
        let count = frontier(&b)?.find_undominated(frontier(&a)?, &mut out);
        out.truncate(count);
        let shown = out.iter().map(|e| Entry { axis: e.axis.to_bits(), epoch: e.epoch }).collect();
        Ok((shown, count as u32))
    }

    fn encode(&mut self, of: &[Entry]) -> Result<Vec<u8>, Refusal> {
        Ok(frontier(&entries(of))?.encode())
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<Vec<Entry>, Refusal> {
        let decoded = Frontier::decode(bytes).map_err(|_| Refusal::InvalidFrontier)?;
        Ok(list(decoded.as_ref()))
    }

    fn submit(&mut self, axis: usize) -> Entry {
        self.rig.submit(axis, &mut self.tenant)
    }

    fn complete(&mut self, entry: Entry) {
        self.rig.complete(entry);
    }

    fn lose(&mut self, axis: usize) {
        self.rig.lose(axis);
    }

    fn quiesce(&mut self) {
        self.rig.quiesce(&mut self.tenant);
    }

    fn acquire(&mut self, pool: usize, ask: &Ask<'_>) -> Result<Answer<Held>, Refusal> {
        let after = entries(ask.after);
        if self.queues {
            let &Ask { size, alignment, may_wait, may_grow, .. } = ask;
            let ask = tenant::Ask { size, alignment, after: &after, may_wait, may_grow };
            let pool = PoolHandle::from_bits(pool as u64);
            return Ok(match self.tenant.acquire(pool, &ask).map_err(refusal)? {
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
                tenant::Answer::OverBudget { observed } => {
                    Answer::OverBudget { seen: observed.word() }
                }
            });
        }
        let request = Request {
            size: ask.size,
            alignment: ask.alignment,
            frontier: frontier(&after)?,
            may_wait: ask.may_wait,
            may_grow: ask.may_grow,
        };
        Ok(match self.pool(pool).acquire(&request).map_err(|error| pool_refusal(&error))? {
            Acquire::Ready { reservation, origin: from } => Answer::Ready {
                offset: reservation.offset(),
                reservation: Held::Pool(reservation),
                origin: origin(from),
            },
            Acquire::AfterWait { reservation, wait } => Answer::AfterWait {
                offset: reservation.offset(),
                reservation: Held::Pool(reservation),
                wait: list(wait.as_ref()),
            },
            Acquire::Exhausted { observed, growth_required } => {
                Answer::Exhausted { seen: observed.word(), growth_required }
            }
            Acquire::OverBudget { observed } => Answer::OverBudget { seen: observed.word() },
        })
    }

    fn release(
        &mut self,
        pool: usize,
        reservation: Held,
        death: Death<'_>,
    ) -> Result<(), (Held, Refusal)> {
        let after = match death {
            Death::After(list) => entries(list),
            Death::Idle | Death::Unknown => Vec::new(),
        };
        match reservation {
            Held::Tenant(reservation) => {
                let returned = match death {
                    Death::Idle => tenant::Returned::Idle,
                    Death::After(_) => tenant::Returned::After(&after),
                    Death::Unknown => tenant::Returned::Unknown,
                };
                let pool = PoolHandle::from_bits(pool as u64);
                let released = self.tenant.release(pool, reservation, returned);
                released.map_err(|error| (Held::Tenant(reservation), refusal(error)))
            }
            Held::Pool(reservation) => {
                let after = match frontier(&after) {
                    Ok(after) => after,
                    Err(refusal) => return Err((Held::Pool(reservation), refusal)),
                };
                let death = match death {
                    Death::Idle => CoreDeath::Idle,
                    Death::After(_) => CoreDeath::After(after),
                    Death::Unknown => CoreDeath::Unknown,
                };
                let released = self.pool(pool).release(reservation, death);
                released.map_err(|error| (Held::Pool(error.reservation), Refusal::OtherPool))
            }
        }
    }

    fn cancel(&mut self, pool: usize, reservation: Held) -> Result<(), (Held, Refusal)> {
        match reservation {
            Held::Tenant(reservation) => {
                let canceled = self.tenant.cancel(PoolHandle::from_bits(pool as u64), reservation);
                canceled.map_err(|error| (Held::Tenant(reservation), refusal(error)))
            }
            Held::Pool(reservation) => {
                let canceled = self.pool(pool).cancel(reservation);
                canceled.map_err(|error| (Held::Pool(error.reservation), Refusal::OtherPool))
            }
        }
    }

    fn poll(&mut self, pool: usize) {
        self.pool(pool).poll();
    }

    fn trim(&mut self, pool: usize) -> Result<u64, Refusal> {
        self.pool(pool).trim(Trim::All).map_err(|error| pool_refusal(&error))
    }

    fn stats(&mut self, pool: usize) -> Stats {
        let stats = self.pool(pool).stats();
        Stats {
            reserved_bytes: stats.reserved_bytes,
            requested_bytes: stats.requested_bytes,
            pending_bytes: stats.pending_bytes,
            tainted_bytes: stats.tainted_bytes,
            live: stats.live,
            reserves: stats.reserves,
            releases: stats.releases,
            fresh: stats.fresh,
            dominated: stats.dominated,
            completed: stats.completed,
            waited: stats.waited,
            exhausted: stats.exhausted,
            over_budget: stats.over_budget,
        }
    }

    fn properties(&mut self, pool: usize) -> Properties {
        let properties = self.pool(pool).properties();
        Properties { alignment: properties.alignment, max_request: properties.max_request }
    }

    fn route(&mut self, size: u64, upload: bool) -> Route {
        let need = if upload {
            Need::new(size).of(MemoryType::HOST_VISIBLE).used_for(BufferUsage::UPLOAD)
        } else {
            Need::new(size).of(MemoryType::DEVICE_LOCAL).used_for(BufferUsage::STORAGE)
        };
        let ids: BTreeMap<_, _> =
            self.rig.pools.iter().enumerate().map(|(at, pool)| (pool.id().to_bits(), at)).collect();
        match self.tenant.route(&need) {
            CoreRoute::Pool(pool) => Route::Pool(ids[&pool.id().to_bits()]),
            CoreRoute::Oversized(pool) => Route::Oversized(ids[&pool.id().to_bits()]),
            CoreRoute::NoMatch(NoMatch::MemoryType) => Route::NoMemoryType,
            CoreRoute::NoMatch(NoMatch::Usage) => Route::NoUsage,
            CoreRoute::NoMatch(NoMatch::Size { largest }) => Route::NoSize(largest),
        }
    }

    fn observe(&mut self, pool: usize) -> u32 {
        self.pool(pool).notification().observe().word()
    }

    async fn changed(&mut self, pool: usize, seen: u32) -> Result<(), Refusal> {
        let notification = self.pool(pool).notification().clone();
        notification.changed(Observation::from_word(seen)).await;
        Ok(())
    }

    fn open_queue(&mut self) -> Result<QueueHandle, Refusal> {
        self.tenant.open_queue().map_err(refusal)
    }

    fn at(&mut self, queue: &QueueHandle, epoch: u64) -> Entry {
        Entry { axis: self.tenant.axis_of(*queue).unwrap().to_bits(), epoch }
    }

    fn reached(&mut self, axis: u64) -> u64 {
        self.tenant.reached(Axis::from_bits(axis))
    }

    fn alloca(
        &mut self,
        queue: &QueueHandle,
        pool: usize,
        ask: &Ask<'_>,
    ) -> Result<(BufferHandle, u64), Refusal> {
        let after = entries(ask.after);
        let &Ask { size, alignment, may_wait, may_grow, .. } = ask;
        let ask = tenant::Ask { size, alignment, after: &after, may_wait, may_grow };
        let pool = PoolHandle::from_bits(pool as u64);
        self.tenant.alloca(*queue, pool, &ask).map_err(refusal)
    }

    fn dealloca(
        &mut self,
        queue: &QueueHandle,
        buffer: BufferHandle,
        wait: &[Entry],
    ) -> Result<u64, (BufferHandle, Refusal)> {
        let freed = self.tenant.dealloca(*queue, buffer, &entries(wait));
        freed.map_err(|error| (buffer, refusal(error)))
    }

    fn fill(
        &mut self,
        queue: &QueueHandle,
        target: &Slice<'_, Self>,
        value: u8,
        wait: &[Entry],
    ) -> Result<u64, Refusal> {
        self.tenant.fill(*queue, range(target), value, &entries(wait)).map_err(refusal)
    }

    fn copy(
        &mut self,
        queue: &QueueHandle,
        source: &Slice<'_, Self>,
        target: &Slice<'_, Self>,
        wait: &[Entry],
    ) -> Result<u64, Refusal> {
        let copied = self.tenant.copy(*queue, range(source), range(target), &entries(wait));
        copied.map_err(refusal)
    }

    fn write(
        &mut self,
        queue: &QueueHandle,
        target: &Slice<'_, Self>,
        bytes: &[u8],
        wait: &[Entry],
    ) -> Result<u64, Refusal> {
        let wait = entries(wait);
        self.tenant.write(*queue, range(target), bytes.to_vec(), &wait).map_err(refusal)
    }

    fn read(
        &mut self,
        queue: &QueueHandle,
        source: &Slice<'_, Self>,
        wait: &[Entry],
    ) -> Result<ReadbackHandle, Refusal> {
        self.tenant.read(*queue, range(source), &entries(wait)).map_err(refusal)
    }

    fn epoch_of(&mut self, readback: &ReadbackHandle) -> u64 {
        self.tenant.epoch_of(*readback).unwrap()
    }

    fn take(&mut self, readback: &ReadbackHandle) -> Result<Option<Vec<u8>>, Refusal> {
        self.tenant.take(*readback).map_err(refusal)
    }

    fn barrier(&mut self, queue: &QueueHandle, wait: &[Entry]) -> Result<u64, Refusal> {
        self.tenant.barrier(*queue, &entries(wait)).map_err(refusal)
    }

    fn status(&mut self, buffer: &BufferHandle) -> Status {
        match self.tenant.status(*buffer).unwrap() {
            BufferState::Waiting => Status::Waiting,
            BufferState::Ready(epoch) => Status::Ready(epoch),
            BufferState::Failed(_) => Status::Failed,
        }
    }

    async fn finish(&mut self, until: &[Entry]) -> Result<(), Refusal> {
        let mut wait = self.tenant.wait(&entries(until)).map_err(wait_refusal)?;
        poll_fn(|context| self.tenant.poll_wait(&mut wait, context)).await.map_err(wait_refusal)
    }
}

fn wait_refusal(failure: WaitFailure) -> Refusal {
    match failure {
        WaitFailure::InvalidFrontier(_) => Refusal::InvalidFrontier,
        WaitFailure::Ended(_) => Refusal::Failed,
        other => Refusal::Other(other.to_string()),
    }
}
