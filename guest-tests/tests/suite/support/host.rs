//! A case in the host's own process: [`HostWorld`], whoever runs the work.
//!
//! ```text
//!   case ──▶ HostWorld ──▶ core's algebra, the stage's axes and pools      the same for all
//!                │
//!                └───────▶ Work ◀── native   a tenant of a device, on the processor
//!                               ◀── gpu      a set of GPU queues
//! ```

use super::convert::{counters, entries, entry, frontier, list};
use super::rig::Stage;
use core::fmt::Debug;
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_core::pool::{Pool, PoolId};
use strandline_core::pool_set::{Need, NoMatch, Route as CoreRoute};
use strandline_core::slab::{BufferUsage, MemoryType, Trim};
use strandline_core::{
    Axis, Causality as CoreCausality, Entry as CoreEntry, Frontier, Merge, Observation,
};
use strandline_guest_tests::{
    Answer, Ask, Causality, Death, Entry, Properties, Refusal, Route, Slice, Stats, Status, World,
};

/// What differs with who runs the work: the host's part of it, and the queues.
pub(crate) trait Work: Sized {
    /// As in [`World`].
    type Reservation: Debug;
    /// As in [`World`].
    type Queue: Debug;
    /// As in [`World`].
    type Buffer: Debug;
    /// As in [`World`].
    type Readback: Debug;
    /// As [`World::grain`] says.
    const GRAIN: u64;

    fn stage(&mut self) -> &mut Stage;
    /// The host has submitted an epoch of its own.
    fn submitted(&mut self, entry: CoreEntry);
    /// An axis of the host has moved, or ended.
    fn progressed(&mut self);
    fn quiesce(&mut self);
    fn route(&self, need: &Need) -> CoreRoute<'_>;

    fn acquire(&mut self, pool: usize, ask: &Ask<'_>)
    -> Result<Answer<Self::Reservation>, Refusal>;
    fn release(
        &mut self,
        pool: usize,
        reservation: Self::Reservation,
        death: Death<'_>,
    ) -> Result<(), (Self::Reservation, Refusal)>;
    fn cancel(
        &mut self,
        pool: usize,
        reservation: Self::Reservation,
    ) -> Result<(), (Self::Reservation, Refusal)>;

    fn open_queue(&mut self) -> Result<Self::Queue, Refusal>;
    fn axis_of(&self, queue: &Self::Queue) -> Axis;
    fn reached(&self, axis: Axis) -> u64;
    fn alloca(
        &mut self,
        queue: &Self::Queue,
        pool: usize,
        ask: &Ask<'_>,
    ) -> Result<(Self::Buffer, u64), Refusal>;
    fn dealloca(
        &mut self,
        queue: &Self::Queue,
        buffer: Self::Buffer,
        wait: &[CoreEntry],
    ) -> Result<u64, (Self::Buffer, Refusal)>;
    fn fill(
        &mut self,
        queue: &Self::Queue,
        target: &Slice<'_, HostWorld<Self>>,
        value: u8,
        wait: &[CoreEntry],
    ) -> Result<u64, Refusal>;
    fn copy(
        &mut self,
        queue: &Self::Queue,
        source: &Slice<'_, HostWorld<Self>>,
        target: &Slice<'_, HostWorld<Self>>,
        wait: &[CoreEntry],
    ) -> Result<u64, Refusal>;
    fn write(
        &mut self,
        queue: &Self::Queue,
        target: &Slice<'_, HostWorld<Self>>,
        bytes: &[u8],
        wait: &[CoreEntry],
    ) -> Result<u64, Refusal>;
    fn read(
        &mut self,
        queue: &Self::Queue,
        source: &Slice<'_, HostWorld<Self>>,
        wait: &[CoreEntry],
    ) -> Result<Self::Readback, Refusal>;
    fn epoch_of(&mut self, readback: &Self::Readback) -> u64;
    fn take(&mut self, readback: &Self::Readback) -> Result<Option<Vec<u8>>, Refusal>;
    fn barrier(&mut self, queue: &Self::Queue, wait: &[CoreEntry]) -> Result<u64, Refusal>;
    fn status(&mut self, buffer: &Self::Buffer) -> Status;
    async fn finish(&mut self, until: &[CoreEntry]) -> Result<(), Refusal>;
}

/// See the [module](self).
pub(crate) struct HostWorld<W>(pub(crate) W);

impl<W: Work> HostWorld<W> {
    fn pool(&mut self, pool: usize) -> &Arc<dyn Pool> {
        &self.0.stage().pools[pool]
    }
}

impl<W: Work> World for HostWorld<W> {
    type Reservation = W::Reservation;
    type Queue = W::Queue;
    type Buffer = W::Buffer;
    type Readback = W::Readback;

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
        Ok((out.iter().map(entry).collect(), count as u32))
    }

    fn encode(&mut self, of: &[Entry]) -> Result<Vec<u8>, Refusal> {
        Ok(frontier(&entries(of))?.encode())
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<Vec<Entry>, Refusal> {
        let decoded = Frontier::decode(bytes).map_err(|_| Refusal::InvalidFrontier)?;
        Ok(list(decoded.as_ref()))
    }

    fn submit(&mut self, axis: usize) -> Entry {
        let submitted = self.0.stage().submit(axis);
        self.0.submitted(submitted);
        entry(&submitted)
    }

    fn complete(&mut self, entry: Entry) {
        self.0.stage().complete(entry);
        self.0.progressed();
    }

    fn lose(&mut self, axis: usize) {
        self.0.stage().lose(axis);
        self.0.progressed();
    }

    fn quiesce(&mut self) {
        self.0.quiesce();
        self.0.stage().pools.iter().for_each(|pool| pool.quiesce());
    }

    fn acquire(&mut self, pool: usize, ask: &Ask<'_>) -> Result<Answer<W::Reservation>, Refusal> {
        self.0.acquire(pool, ask)
    }

    fn release(
        &mut self,
        pool: usize,
        reservation: W::Reservation,
        death: Death<'_>,
    ) -> Result<(), (W::Reservation, Refusal)> {
        self.0.release(pool, reservation, death)
    }

    fn cancel(
        &mut self,
        pool: usize,
        reservation: W::Reservation,
    ) -> Result<(), (W::Reservation, Refusal)> {
        self.0.cancel(pool, reservation)
    }

    fn poll(&mut self, pool: usize) {
        self.pool(pool).poll();
    }

    fn trim(&mut self, pool: usize) -> Result<u64, Refusal> {
        self.pool(pool).trim(Trim::All).map_err(|error| super::convert::pool_refusal(&error))
    }

    fn stats(&mut self, pool: usize) -> Stats {
        counters(&self.pool(pool).stats())
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
        let pools = &self.0.stage().pools;
        let at: BTreeMap<PoolId, usize> =
            pools.iter().enumerate().map(|(at, pool)| (pool.id(), at)).collect();
        match self.0.route(&need) {
            CoreRoute::Pool(pool) => Route::Pool(at[&pool.id()]),
            CoreRoute::Oversized(pool) => Route::Oversized(at[&pool.id()]),
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

    fn grain(&self) -> u64 {
        W::GRAIN
    }

    fn open_queue(&mut self) -> Result<W::Queue, Refusal> {
        self.0.open_queue()
    }

    fn at(&mut self, queue: &W::Queue, epoch: u64) -> Entry {
        Entry { axis: self.0.axis_of(queue).to_bits(), epoch }
    }

    fn reached(&mut self, axis: u64) -> u64 {
        self.0.reached(Axis::from_bits(axis))
    }

    fn alloca(
        &mut self,
        queue: &W::Queue,
        pool: usize,
        ask: &Ask<'_>,
    ) -> Result<(W::Buffer, u64), Refusal> {
        self.0.alloca(queue, pool, ask)
    }

    fn dealloca(
        &mut self,
        queue: &W::Queue,
        buffer: W::Buffer,
        wait: &[Entry],
    ) -> Result<u64, (W::Buffer, Refusal)> {
        self.0.dealloca(queue, buffer, &entries(wait))
    }

    fn fill(
        &mut self,
        queue: &W::Queue,
        target: &Slice<'_, Self>,
        value: u8,
        wait: &[Entry],
    ) -> Result<u64, Refusal> {
        self.0.fill(queue, target, value, &entries(wait))
    }

    fn copy(
        &mut self,
        queue: &W::Queue,
        source: &Slice<'_, Self>,
        target: &Slice<'_, Self>,
        wait: &[Entry],
    ) -> Result<u64, Refusal> {
        self.0.copy(queue, source, target, &entries(wait))
    }

    fn write(
        &mut self,
        queue: &W::Queue,
        target: &Slice<'_, Self>,
        bytes: &[u8],
        wait: &[Entry],
    ) -> Result<u64, Refusal> {
        self.0.write(queue, target, bytes, &entries(wait))
    }

    fn read(
        &mut self,
        queue: &W::Queue,
        source: &Slice<'_, Self>,
        wait: &[Entry],
    ) -> Result<W::Readback, Refusal> {
        self.0.read(queue, source, &entries(wait))
    }

    fn epoch_of(&mut self, readback: &W::Readback) -> u64 {
        self.0.epoch_of(readback)
    }

    fn take(&mut self, readback: &W::Readback) -> Result<Option<Vec<u8>>, Refusal> {
        self.0.take(readback)
    }

    fn barrier(&mut self, queue: &W::Queue, wait: &[Entry]) -> Result<u64, Refusal> {
        self.0.barrier(queue, &entries(wait))
    }

    fn status(&mut self, buffer: &W::Buffer) -> Status {
        self.0.status(buffer)
    }

    async fn finish(&mut self, until: &[Entry]) -> Result<(), Refusal> {
        self.0.finish(&entries(until)).await
    }
}
