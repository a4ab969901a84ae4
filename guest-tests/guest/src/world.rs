//! [`World`] over the imports of a guest.

use crate::bindings::{device, frontiers, pools, stage, types};
use crate::program;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use strandline_guest_tests::{
    Answer, Ask, Causality, Death, Entry, Memory, Origin, Properties, Refusal, Route, Slice, Stats,
    Status, World,
};

/// The pools that were lent, in order.
#[derive(Debug)]
pub(crate) struct GuestWorld {
    pools: Vec<pools::Pool>,
    set: pools::PoolSet,
    /// What the kind of program keeps.
    own: program::Own,
}

impl GuestWorld {
    pub(crate) fn new() -> Self {
        Self { pools: device::lent_pools(), set: device::lent_set(), own: program::Own::default() }
    }
}

pub(crate) fn entries(list: &[Entry]) -> Vec<types::Entry> {
    list.iter().map(|e| types::Entry { axis: e.axis, epoch: e.epoch }).collect()
}

pub(crate) fn list(entries: &[types::Entry]) -> Vec<Entry> {
    entries.iter().map(|e| Entry { axis: e.axis, epoch: e.epoch }).collect()
}

fn invalid<T>(_: T) -> Refusal {
    Refusal::InvalidFrontier
}

fn pool_refusal(error: types::PoolError) -> Refusal {
    match error {
        types::PoolError::ZeroSize => Refusal::ZeroSize,
        types::PoolError::InvalidAlignment(_) => Refusal::InvalidAlignment,
        types::PoolError::TooLarge(_) => Refusal::TooLarge,
        types::PoolError::InvalidFrontier(_) => Refusal::InvalidFrontier,
        types::PoolError::Limit => Refusal::Limit,
        other => Refusal::Other(format!("{other:?}")),
    }
}

pub(crate) fn queue_refusal(error: device::QueueError) -> Refusal {
    match error {
        device::QueueError::Pool(error) => pool_refusal(error),
        device::QueueError::InvalidFrontier(_) => Refusal::InvalidFrontier,
        device::QueueError::InvalidRange => Refusal::InvalidRange,
        device::QueueError::NoMemory => Refusal::NoMemory,
        device::QueueError::Failed(_) => Refusal::Failed,
        device::QueueError::Limit => Refusal::Limit,
        other => Refusal::Other(format!("{other:?}")),
    }
}

pub(crate) fn refused(refusal: pools::Refusal) -> (pools::Reservation, Refusal) {
    match refusal {
        pools::Refusal::OtherPool(reservation) => (reservation, Refusal::OtherPool),
        pools::Refusal::InvalidDeath(invalid) => (invalid.reservation, Refusal::InvalidFrontier),
        pools::Refusal::NotYours(not) => {
            (not.reservation, Refusal::Other(format!("not yours: {:?}", not.entry)))
        }
        pools::Refusal::Lost(reservation) => {
            (reservation, Refusal::Other("the pool is lost".to_string()))
        }
    }
}

fn request(ask: &Ask<'_>) -> pools::Request {
    let mut may = pools::Permissions::empty();
    may.set(pools::Permissions::WAIT, ask.may_wait);
    may.set(pools::Permissions::GROW, ask.may_grow);
    pools::Request { size: ask.size, alignment: ask.alignment, after: entries(ask.after), may }
}

fn slice<'a>(slice: &Slice<'a, GuestWorld>) -> device::Slice<'a> {
    let memory = match slice.memory {
        Memory::Transient(buffer) => device::Memory::Transient(buffer),
        Memory::Reserved(reservation) => device::Memory::Reserved(reservation),
    };
    device::Slice { memory, offset: slice.offset, len: slice.len }
}

impl World for GuestWorld {
    type Reservation = pools::Reservation;
    type Queue = device::Queue;
    type Buffer = device::Buffer;
    type Readback = device::Readback;

    fn sort(&mut self, unsorted: &[Entry]) -> Result<Vec<Entry>, Refusal> {
        frontiers::from_entries(&entries(unsorted)).map(|f| list(&f)).map_err(invalid)
    }

    fn compare(&mut self, a: &[Entry], b: &[Entry]) -> Result<Causality, Refusal> {
        let compared = frontiers::compare(&entries(a), &entries(b)).map_err(invalid)?;
        Ok(match compared {
            frontiers::Causality::Before => Causality::Before,
            frontiers::Causality::After => Causality::After,
            frontiers::Causality::Equal => Causality::Equal,
            frontiers::Causality::Concurrent => Causality::Concurrent,
        })
    }

    fn dominates(&mut self, a: &[Entry], b: &[Entry]) -> Result<bool, Refusal> {
        frontiers::dominates(&entries(a), &entries(b)).map_err(invalid)
    }

    fn merge(&mut self, a: &[Entry], b: &[Entry]) -> Result<Option<(Vec<Entry>, bool)>, Refusal> {
        let joined = frontiers::merge(&entries(a), &entries(b)).map_err(invalid)?;
        Ok(joined.map(|joined| (list(&joined.join), joined.second_dominates)))
    }

    fn undominated(
        &mut self,
        a: &[Entry],
        b: &[Entry],
        limit: u32,
    ) -> Result<(Vec<Entry>, u32), Refusal> {
        let found = frontiers::find_undominated(&entries(a), &entries(b), limit);
        found.map(|found| (list(&found.entries), found.count)).map_err(invalid)
    }

    fn encode(&mut self, frontier: &[Entry]) -> Result<Vec<u8>, Refusal> {
        frontiers::encode(&entries(frontier)).map_err(invalid)
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<Vec<Entry>, Refusal> {
        frontiers::decode(bytes).map(|f| list(&f)).map_err(invalid)
    }

    fn submit(&mut self, axis: usize) -> Entry {
        let entry = stage::submit(axis as u32);
        Entry { axis: entry.axis, epoch: entry.epoch }
    }

    fn complete(&mut self, entry: Entry) {
        stage::complete(types::Entry { axis: entry.axis, epoch: entry.epoch });
    }

    fn lose(&mut self, axis: usize) {
        stage::lose(axis as u32);
    }

    fn quiesce(&mut self) {
        stage::quiesce();
    }

    fn acquire(
        &mut self,
        pool: usize,
        ask: &Ask<'_>,
    ) -> Result<Answer<pools::Reservation>, Refusal> {
        Ok(match self.pools[pool].acquire(&request(ask)).map_err(pool_refusal)? {
            pools::Acquired::Ready(ready) => Answer::Ready {
                reservation: ready.reservation,
                offset: ready.place.offset,
                origin: match ready.origin {
                    pools::Origin::Fresh => Origin::Fresh,
                    pools::Origin::Dominated => Origin::Dominated,
                    pools::Origin::Completed => Origin::Completed,
                },
            },
            pools::Acquired::AfterWait(after) => Answer::AfterWait {
                reservation: after.reservation,
                offset: after.place.offset,
                wait: list(&after.wait),
            },
            pools::Acquired::Exhausted(exhausted) => Answer::Exhausted {
                seen: exhausted.observed,
                growth_required: exhausted.growth_required,
            },
            pools::Acquired::OverBudget(seen) => Answer::OverBudget { seen },
        })
    }

    fn release(
        &mut self,
        pool: usize,
        reservation: pools::Reservation,
        death: Death<'_>,
    ) -> Result<(), (pools::Reservation, Refusal)> {
        let death = match death {
            Death::Idle => types::Death::Idle,
            Death::After(after) => types::Death::After(entries(after)),
            Death::Unknown => types::Death::Unknown,
        };
        self.pools[pool].release(reservation, &death).map_err(refused)
    }

    fn cancel(
        &mut self,
        pool: usize,
        reservation: pools::Reservation,
    ) -> Result<(), (pools::Reservation, Refusal)> {
        self.pools[pool].cancel(reservation).map_err(refused)
    }

    fn poll(&mut self, pool: usize) {
        self.pools[pool].poll();
    }

    fn trim(&mut self, pool: usize) -> Result<u64, Refusal> {
        self.pools[pool].trim(types::Trim::All).map_err(pool_refusal)
    }

    fn stats(&mut self, pool: usize) -> Stats {
        let stats = self.pools[pool].stats();
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
        let properties = self.pools[pool].properties();
        Properties { alignment: properties.alignment, max_request: properties.max_request }
    }

    fn route(&mut self, size: u64, upload: bool) -> Route {
        let (memory_type, usage) = if upload {
            (types::MemoryType::HOST_VISIBLE, types::BufferUsage::UPLOAD)
        } else {
            (types::MemoryType::DEVICE_LOCAL, types::BufferUsage::STORAGE)
        };
        let at = |id| self.pools.iter().position(|pool| pool.id() == id).unwrap_or(usize::MAX);
        match self.set.route(pools::Need { memory_type, usage, size }) {
            pools::Routed::Pool(id) => Route::Pool(at(id)),
            pools::Routed::Oversized(id) => Route::Oversized(at(id)),
            pools::Routed::NoMatch(pools::NoMatch::MemoryType) => Route::NoMemoryType,
            pools::Routed::NoMatch(pools::NoMatch::Usage) => Route::NoUsage,
            pools::Routed::NoMatch(pools::NoMatch::Size(largest)) => Route::NoSize(largest),
        }
    }

    fn observe(&mut self, pool: usize) -> u32 {
        self.pools[pool].observe()
    }

    async fn changed(&mut self, pool: usize, seen: u32) -> Result<(), Refusal> {
        program::changed(&self.pools[pool], seen).await
    }

    fn open_queue(&mut self) -> Result<device::Queue, Refusal> {
        device::open_queue().map_err(queue_refusal)
    }

    fn at(&mut self, queue: &device::Queue, epoch: u64) -> Entry {
        Entry { axis: queue.axis(), epoch }
    }

    fn reached(&mut self, axis: u64) -> u64 {
        device::reached(axis)
    }

    fn alloca(
        &mut self,
        queue: &device::Queue,
        pool: usize,
        ask: &Ask<'_>,
    ) -> Result<(device::Buffer, u64), Refusal> {
        let submitted = queue.alloca(&self.pools[pool], &request(ask)).map_err(queue_refusal)?;
        Ok((submitted.buffer, submitted.epoch))
    }

    fn dealloca(
        &mut self,
        queue: &device::Queue,
        buffer: device::Buffer,
        wait: &[Entry],
    ) -> Result<u64, (device::Buffer, Refusal)> {
        queue
            .dealloca(buffer, &entries(wait))
            .map_err(|refused| (refused.buffer, queue_refusal(refused.error)))
    }

    fn fill(
        &mut self,
        queue: &device::Queue,
        target: &Slice<'_, Self>,
        value: u8,
        wait: &[Entry],
    ) -> Result<u64, Refusal> {
        queue.fill(&slice(target), value, &entries(wait)).map_err(queue_refusal)
    }

    fn copy(
        &mut self,
        queue: &device::Queue,
        source: &Slice<'_, Self>,
        target: &Slice<'_, Self>,
        wait: &[Entry],
    ) -> Result<u64, Refusal> {
        queue.copy(&slice(source), &slice(target), &entries(wait)).map_err(queue_refusal)
    }

    fn write(
        &mut self,
        queue: &device::Queue,
        target: &Slice<'_, Self>,
        bytes: &[u8],
        wait: &[Entry],
    ) -> Result<u64, Refusal> {
        queue.write(&slice(target), bytes, &entries(wait)).map_err(queue_refusal)
    }

    fn read(
        &mut self,
        queue: &device::Queue,
        source: &Slice<'_, Self>,
        wait: &[Entry],
    ) -> Result<device::Readback, Refusal> {
        queue.read(&slice(source), &entries(wait)).map_err(queue_refusal)
    }

    fn epoch_of(&mut self, readback: &device::Readback) -> u64 {
        readback.epoch()
    }

    fn take(&mut self, readback: &device::Readback) -> Result<Option<Vec<u8>>, Refusal> {
        readback.take().map_err(queue_refusal)
    }

    fn barrier(&mut self, queue: &device::Queue, wait: &[Entry]) -> Result<u64, Refusal> {
        queue.barrier(&entries(wait)).map_err(queue_refusal)
    }

    fn status(&mut self, buffer: &device::Buffer) -> Status {
        match buffer.status() {
            device::BufferStatus::Waiting => Status::Waiting,
            device::BufferStatus::Ready(epoch) => Status::Ready(epoch),
            device::BufferStatus::Failed(_) => Status::Failed,
        }
    }

    async fn finish(&mut self, until: &[Entry]) -> Result<(), Refusal> {
        program::finish(&mut self.own, until).await
    }
}
