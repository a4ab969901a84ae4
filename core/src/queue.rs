//! Queues: memory allocated and freed in the order of queued work, before that work has run.
//!
//! ```text
//!  host ── alloca(queue, pool, request) ─▶ ┌──────────────────────────────────────────────┐
//!       ── dealloca(queue, buffer, wait) ▶ │ held    something it waits for is yet to be  │
//!       ── work(queue, wait) ────────────▶ │   │     submitted to a queue here            │
//!                                          │   ▼ admitted                                 │
//!       ── poll(): progress was made ────▶ │ parked  first come first served, per pool,   │
//!       ── notify(pool): it was signaled ▶ │   │     until the pool has memory            │
//!       ── fail(axis) ───────────────────▶ │   ▼ bound                                    │
//!                                          │ Ready ──▶ … ──▶ Released                     │
//!  host ◀── next_event() ───────────────── └──────────────────────────────────────────────┘
//! ```
//!
//! [`Queues`] is a state machine for all queues of a device (or of several) that share pools. It
//! starts no thread, never blocks and reads no clock. The host submits, says when progress was made or
//! a pool was signaled, drains events, and does the waiting: an event carries the frontier that its
//! epoch is to be ordered after, in whatever way the device orders things.
//!
//! # When is there memory?
//! As soon as it can be *proven* to be free by the time the alloca runs, usually on submission. An
//! operation at epoch `n` of a queue is ordered after epochs `1…n-1` of that queue, after its wait
//! frontier, and after all that those are ordered after. This knowledge is the frontier that the pool
//! is asked with: bytes whose death it dominates are handed out while the device still uses them.
//! A dealloca releases on submission too, with a death of the one entry `{queue @ its epoch}`; that
//! says everything, because the epoch is not reached before all it waits for is.
//!
//! Where a request permits waiting, the pool may answer with bytes that die later. The queue then orders the
//! alloca after that death, unless the death is itself ordered after the alloca, or after another alloca
//! that came later and has no memory yet (which may need what is freed behind this one). Such bytes could
//! deadlock the device, so they are given back unused and the alloca goes on as one that does not
//! permit waiting.
//!
//! # Parked allocas and what comes behind them
//! An alloca that finds no memory is parked. Later operations of its queue are still taken, and a
//! dealloca among them is carried out: in a queue that stopped there, an alloca could wait for memory
//! that is freed behind it. Allocas that are parked on one pool are served strictly in the order of their
//! admission; one that comes later never overtakes, not even with a smaller size.
//!
//! Bytes that are freed behind an alloca without memory are of no use to those in line: who comes
//! before the free must not wait for it. They would even do harm there, because a pool merges what
//! waits for one axis, and bytes that somebody in line can have soon would be joined with bytes that die in
//! his own future. So while there is a line, such bytes go back to the pool only when all that their
//! dealloca is ordered after has its memory, which is before it can run.
//!
//! A program that frees, in the order of its submission, before it takes more than the pools hold, always gets
//! all its memory once the device makes progress. One that does not may stay parked; the host sees
//! it ([`parked`](Queues::parked)) and can [`abandon`](Queues::abandon) a buffer.
//!
//! # Waiting for the future
//! A wait frontier may name epochs of these queues that are not submitted yet. The operation, and those
//! behind it in its queue, are then *held*: they get their epochs, but take their place among the parked only
//! once all of their past is submitted, or a place could be taken before one that it depends on.
//! An operation that would wait for itself, however indirectly, is refused. Axes without a
//! queue here are opaque: the host vouches that they do not wait for what is parked here.
//!
//! # Failure
//! [`fail`](Queues::fail) breaks an axis beyond what it has reached ([`fail_from`](Queues::fail_from): from an epoch on), and
//! every queue from the first operation on that is ordered after that, and so on. A queue is one timeline, so all behind such an operation fails with it. Buffers
//! whose alloca is among them fail. Bytes that the host has heard of come back with
//! [`Death::Unknown`], because nobody knows what the device still does with them; others come back as if
//! never taken. Buffers whose alloca had completed stay usable: they are deallocated on another queue.
//! An alloca that fails alone (its pool's provider broke, or it was abandoned) fails its buffer only;
//! the host may go on to the next epoch or fail the axis.
//!
//! # Invariants
//! - Epochs of a queue are gap-free, and an `Err` gives none out.
//! - A reservation is bound to exactly one live buffer, and goes back to its pool exactly once.
//! - The order between operations, with what the pools added, has no cycle.
//! - Pools with parked allocas have been asked since the last observation that [`parked`](Queues::parked) reports.
//!
//! # Cost
//! | operation | cost |
//! | --- | --- |
//! | `alloca`, `dealloca`, `work` | the pool's, and a step per axis waited for; `log` of the parked |
//! | `poll` | a step per queue; one question to each pool with parked allocas |
//! | `notify` | one question to the pool |
//! | each alloca that is served | the pool's |
//! | `fail` | a step per queue and axis; those that fail |
//!
//! None of them grows with the operations that stay parked, held or unfinished. An operation that
//! names another queue in its wait gathers that queue's past in a list; one that does not, with nothing
//! parked and few axes, allocates nothing itself.

use crate::axis::{Axis, Epoch};
use crate::death::Death;
use crate::failure::Failure;
use crate::frontier::{Entry, Frontier, FrontierRef, Merge};
use crate::notification::Observation;
use crate::pool::{PoolError, PoolId, Request, Reservation};
use crate::pool_set::PoolSet;
use crate::progress::Progress;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

mod buffers;
mod ending;
mod engine;
mod event;
mod order;
mod outbox;
mod standing;
#[cfg(all(test, not(loom)))]
mod tests;

pub use buffers::BufferId;
pub use event::{Cause, Place, QueueError, QueueEvent};
pub use standing::{BufferStatus, Parked, Withheld};

use buffers::{Buffer, Buffers, Ending, Lookup, State, Waiting};
use engine::{Ask, Tried};
use order::Order;
use outbox::Outbox;

/// What becomes of an operation once its past is submitted.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Alloca(BufferId),
    Dealloca(BufferId),
    Work,
}

/// An operation some of whose past is not submitted yet.
#[derive(Debug)]
struct Held {
    epoch: Epoch,
    operation: Operation,
    wait: Frontier,
}

/// What is kept of one queue beside its timeline.
#[derive(Debug, Default)]
struct Line {
    held: VecDeque<Held>,
    /// Queues whose first held operation waits until this one has admitted the epoch.
    watched: BTreeSet<(Epoch, usize)>,
    /// Allocas that have not completed, by ascending epoch. Some may have ended since.
    allocas: VecDeque<(Epoch, BufferId)>,
    /// Admitted operations whose event is still out.
    unresolved: BTreeSet<Epoch>,
    /// Bytes to go back to their pool once all up to the epoch is decided: pool and number.
    blocked: BTreeSet<(Epoch, usize, u64)>,
}

/// The bytes of a dealloca that are not back in their pool yet; see `put_back`.
#[derive(Debug)]
struct Deferred {
    reservation: Reservation,
    /// The dealloca: when they die.
    death: Entry,
}

/// Allocas that wait for one pool, in order of admission.
#[derive(Debug, Default)]
struct Parking {
    next: u64,
    line: BTreeMap<u64, BufferId>,
    /// Taken before the pool was last asked on behalf of the first in line.
    observed: Option<Observation>,
    /// Empty when the line is.
    deferred: BTreeMap<u64, Deferred>,
}

/// The queues of a host: see the [module](self).
///
/// A host that submits from several threads puts it under its lock; pools and their providers are called
/// from within.
///
/// ```
/// # use strandline_core::{pool::{PoolId, Request}, pool_set::PoolSet};
/// use strandline_core::queue::{QueueError, Queues};
/// use strandline_core::{Axis, FrontierRef, NoProgress};
/// use std::sync::Arc;
///
/// let axis = Axis::queue(0, 0);
/// let mut queues = Queues::new(Arc::new(PoolSet::new()), Arc::new(NoProgress));
/// queues.open(axis)?;
/// // Other work takes its epochs here as well, so that the axis has one writer.
/// assert_eq!(queues.work(axis, FrontierRef::EMPTY)?, 1);
/// let nowhere = queues.alloca(axis, PoolId::next(), &Request::new(64));
/// assert!(matches!(nowhere, Err(QueueError::UnknownPool(_))));
/// # Ok::<(), QueueError>(())
/// ```
pub struct Queues {
    pools: Arc<PoolSet>,
    progress: Arc<dyn Progress>,
    order: Order,
    /// One for each timeline of `order`.
    lines: Vec<Line>,
    /// One for each pool of the set.
    parking: Vec<Parking>,
    buffers: Buffers,
    outbox: Outbox,
    /// Queues whose held operations are to be looked at before the call returns.
    woken: VecDeque<usize>,
    /// Bytes that may be able to go back to their pool: pool and number.
    unblocked: VecDeque<(usize, u64)>,
    /// Pools whose parked allocas are to be looked at before the call returns.
    dirty: BTreeSet<usize>,
    closed: bool,
}

impl Queues {
    /// No queue yet, over these pools. `progress` must be the one that the pools see.
    #[must_use]
    pub fn new(pools: Arc<PoolSet>, progress: Arc<dyn Progress>) -> Self {
        let parking = pools.pools().iter().map(|_| Parking::default()).collect();
        Self {
            pools,
            progress,
            order: Order::default(),
            lines: Vec::new(),
            parking,
            buffers: Buffers::new(),
            outbox: Outbox::default(),
            woken: VecDeque::new(),
            unblocked: VecDeque::new(),
            dirty: BTreeSet::new(),
            closed: false,
        }
    }

    /// The pools, to route requests: `queues.pools().route(&need)` names the pool for an alloca.
    #[must_use]
    pub const fn pools(&self) -> &Arc<PoolSet> {
        &self.pools
    }

    /// Opens the queue of `axis`. From here on all its epochs are given out here, the next one after what
    /// the axis has reached.
    ///
    /// # Errors
    /// [`QueueError::DuplicateQueue`], [`QueueError::Failed`] when the axis failed before,
    /// [`QueueError::Shutdown`].
    pub fn open(&mut self, axis: Axis) -> Result<(), QueueError> {
        if self.closed {
            return Err(QueueError::Shutdown);
        }
        if let Some(broken) = self.order.broken(axis) {
            return Err(engine::refusal(broken));
        }
        match self.order.open(axis, self.progress.reached(axis)) {
            Some(_) => {
                self.lines.push(Line::default());
                Ok(())
            }
            None => Err(QueueError::DuplicateQueue(axis)),
        }
    }

    /// Submits an alloca: `request.size` bytes of `pool`, usable from the returned epoch of `axis` on. The
    /// operation waits for `request.frontier`. A [`QueueEvent::Ready`] or [`QueueEvent::Failed`]
    /// follows, at once or later; the buffer can be named in deallocas right away.
    ///
    /// # Errors
    /// [`QueueError`]; nothing has changed then. A provider that breaks on the spot is reported
    /// here, one that breaks later by [`QueueEvent::Failed`].
    pub fn alloca(
        &mut self,
        axis: Axis,
        pool: PoolId,
        request: &Request<'_>,
    ) -> Result<(BufferId, Epoch), QueueError> {
        let (queue, epoch) = self.next(axis)?;
        self.prune(queue);
        let lane = self.pools.position(pool).ok_or(QueueError::UnknownPool(pool))?;
        request.validate()?;
        let max = self.pools.pools()[lane].properties().max_request;
        if request.size > max {
            return Err(PoolError::TooLarge { size: request.size, max }.into());
        }
        if !self.buffers.has_room() {
            return Err(QueueError::TooManyBuffers);
        }
        let admitted = self.check_wait(queue, epoch, request.frontier)?;
        let buffer = |state| Buffer { pool: lane, queue, epoch, state, ending: None };
        if !admitted {
            let id = self
                .buffers
                .insert(buffer(State::Waiting(Waiting::new(request, Frontier::new()))))
                .ok_or(QueueError::TooManyBuffers)?;
            self.hold(queue, Operation::Alloca(id), request.frontier);
            self.lines[queue].allocas.push_back((epoch, id));
            return Ok((id, epoch));
        }
        let knowledge = self.order.knowledge(queue, request.frontier, &*self.progress);
        let tried = if self.parking[lane].line.is_empty() {
            let ask = Ask::of(request, knowledge.as_ref());
            Some(self.try_acquire(lane, queue, epoch, &ask)?)
        } else {
            None
        };
        self.order.submit(queue, request.frontier);
        let waiting = match &tried {
            Some(Tried::Bound { .. }) => State::Moving,
            _ => State::Waiting(Waiting::new(request, knowledge.clone())),
        };
        // There was room, and nothing has been inserted since.
        let id = self.buffers.insert(buffer(waiting)).ok_or(QueueError::TooManyBuffers)?;
        self.admit(queue, epoch, knowledge);
        self.lines[queue].allocas.push_back((epoch, id));
        self.settle_alloca(id, tried);
        self.settle();
        Ok((id, epoch))
    }

    /// Submits a dealloca: the buffer ends at the returned epoch of `axis`, which waits for `wait` and for the
    /// alloca. The buffer may still be waiting for its memory, and other queues may still use it, as
    /// long as `wait` covers that use. A [`QueueEvent::Released`] follows, at once or later.
    ///
    /// # Errors
    /// [`QueueError`]; nothing has changed then. On a queue that has failed nothing can be
    /// deallocated: use another one, or [`abandon`](Self::abandon).
    pub fn dealloca(
        &mut self,
        axis: Axis,
        id: BufferId,
        wait: FrontierRef<'_>,
    ) -> Result<Epoch, QueueError> {
        let (queue, epoch) = self.next(axis)?;
        self.prune(queue);
        let buffer = self.ending_of(id)?;
        let mut wait = wait.to_frontier();
        if buffer.queue != queue && !matches!(buffer.state, State::Failed) {
            let alloca = self.order.timelines[buffer.queue].axis;
            if wait.advance(alloca, buffer.epoch) == Merge::Overflow {
                return Err(QueueError::TooManyAxes);
            }
        }
        let admitted = self.check_wait(queue, epoch, wait.as_ref())?;
        if admitted {
            let knowledge = self.order.knowledge(queue, wait.as_ref(), &*self.progress);
            self.order.submit(queue, wait.as_ref());
            self.admit(queue, epoch, knowledge);
        } else {
            self.hold(queue, Operation::Dealloca(id), wait.as_ref());
        }
        if let Some(buffer) = self.buffers.get_mut(id) {
            buffer.ending = Some(Ending { queue, epoch, wait, admitted });
        }
        self.try_end(id);
        self.settle();
        Ok(epoch)
    }

    /// Gives an epoch of `axis` to other work of the host, which waits for `wait`. No event follows: the host
    /// schedules it like any other.
    ///
    /// # Errors
    /// [`QueueError`]; nothing has changed then.
    pub fn work(&mut self, axis: Axis, wait: FrontierRef<'_>) -> Result<Epoch, QueueError> {
        let (queue, epoch) = self.next(axis)?;
        self.prune(queue);
        if self.check_wait(queue, epoch, wait)? {
            let knowledge = self.order.knowledge(queue, wait, &*self.progress);
            self.order.submit(queue, wait);
            self.admit(queue, epoch, knowledge);
        } else {
            self.hold(queue, Operation::Work, wait);
        }
        self.settle();
        Ok(epoch)
    }

    /// As [`work`](Self::work), for work that uses these buffers. A buffer may wait for its memory still; that the
    /// work comes after the alloca is for `wait` to say. One that has ended is refused here, because nobody would ever
    /// hear of it: a dealloca that was submitted must be ordered after the work.
    ///
    /// # Errors
    /// [`QueueError::AlreadyDeallocated`], [`QueueError::UnknownBuffer`], and those of `work`; nothing has changed
    /// then.
    pub fn work_on(
        &mut self,
        axis: Axis,
        wait: FrontierRef<'_>,
        buffers: impl IntoIterator<Item = BufferId>,
    ) -> Result<Epoch, QueueError> {
        let (queue, epoch) = self.next(axis)?;
        for id in buffers {
            self.check_use(queue, epoch, id)?;
        }
        self.work(axis, wait)
    }

    /// Progress was made, or a pool was signaled: forgets what has completed, and asks every pool with parked
    /// allocas on behalf of the first in line. To be called whenever an axis advances while anything is
    /// [`parked`](Self::parked): what has been reached becomes free without a signal.
    pub fn poll(&mut self) {
        for queue in 0..self.lines.len() {
            self.prune(queue);
        }
        for (lane, parking) in self.parking.iter().enumerate() {
            if !parking.line.is_empty() {
                self.dirty.insert(lane);
            }
        }
        self.settle();
    }

    /// The pool's notification was signaled: asks it on behalf of the first in line.
    ///
    /// # Errors
    /// [`QueueError::UnknownPool`].
    pub fn notify(&mut self, pool: PoolId) -> Result<(), QueueError> {
        let lane = self.pools.position(pool).ok_or(QueueError::UnknownPool(pool))?;
        self.dirty.insert(lane);
        self.settle();
        Ok(())
    }

    /// `axis`, a queue here or not, will not get beyond what it has reached: fails what depends on
    /// that. Sticky; the first failure of an axis is the one that is told, until one reaches further back.
    ///
    /// Blocks that were freed to die at an epoch of a failed queue stay pending until the pool is
    /// [quiesced](crate::pool::Pool::quiesce).
    pub fn fail(&mut self, axis: Axis, failure: &Failure) {
        self.fail_from(axis, 0, failure);
    }

    /// As [`fail`](Self::fail), but only `from` and later epochs of `axis` will not be reached: what comes before them goes
    /// on, and so does what depends only on that. What has been reached does not fail, whatever `from` says.
    pub fn fail_from(&mut self, axis: Axis, from: Epoch, failure: &Failure) {
        if self.closed {
            return;
        }
        // What has completed does not fail.
        for queue in 0..self.lines.len() {
            self.prune(queue);
        }
        let from = from.max(self.progress.reached(axis).saturating_add(1));
        let hit = self.order.fail(axis, from, failure);
        for &(queue, from) in &hit {
            self.fail_queue(queue, from);
        }
        self.settle();
    }

    /// Gives a buffer up without ordering that after anything. One that waits fails, and its id stays valid
    /// for the dealloca that may be on its way. One that has memory ends: the bytes
    /// come back with [`Death::Unknown`], or as if never taken when its [`QueueEvent::Ready`] was not drained
    /// yet. One that has failed ends.
    ///
    /// # Errors
    /// [`QueueError::UnknownBuffer`]; [`QueueError::AlreadyDeallocated`], unless it still waits for memory.
    pub fn abandon(&mut self, id: BufferId) -> Result<(), QueueError> {
        let buffer = match self.buffers.lookup(id) {
            Lookup::Live => self.buffers.get(id),
            Lookup::Ended => return Err(QueueError::AlreadyDeallocated(id)),
            Lookup::Never => None,
        };
        let Some(buffer) = buffer else { return Err(QueueError::UnknownBuffer(id)) };
        let waits = matches!(buffer.state, State::Waiting(_));
        if !waits && buffer.ending.is_some() {
            return Err(QueueError::AlreadyDeallocated(id));
        }
        self.fail_buffer(id, Cause::Abandoned);
        if !waits {
            self.buffers.remove(id);
        }
        self.settle();
        Ok(())
    }

    /// Ends everything: buffers that wait fail, and all memory goes back to its pools. Memory that the host
    /// has heard of comes back with `death`: [`Death::Idle`] if the device is known to
    /// be idle, otherwise [`Death::Unknown`] or a frontier of its last work. Events can still be drained.
    pub fn shutdown(&mut self, death: Death<'_>) {
        if self.closed {
            return;
        }
        self.closed = true;
        let ids: Vec<BufferId> = self.buffers.ids().collect();
        for id in ids {
            self.close_buffer(id, death);
        }
        self.close_deferred(death);
        for line in &mut self.lines {
            *line = Line::default();
        }
        for parking in &mut self.parking {
            *parking = Parking::default();
        }
    }

    /// The next thing to know or do, oldest first.
    pub fn next_event(&mut self) -> Option<QueueEvent> {
        self.outbox.pop()
    }

    /// All events there are. Those not taken stay.
    pub fn drain(&mut self) -> impl Iterator<Item = QueueEvent> + '_ {
        core::iter::from_fn(|| self.next_event())
    }

    /// How a buffer stands.
    ///
    /// # Errors
    /// [`QueueError::UnknownBuffer`], or [`QueueError::AlreadyDeallocated`] when it has ended.
    pub fn status(&self, id: BufferId) -> Result<BufferStatus, QueueError> {
        let buffer = match self.buffers.lookup(id) {
            Lookup::Live => self.buffers.get(id),
            Lookup::Ended => return Err(QueueError::AlreadyDeallocated(id)),
            Lookup::Never => None,
        };
        match buffer.map(|buffer| &buffer.state) {
            Some(State::Waiting(_) | State::Moving) => Ok(BufferStatus::Waiting),
            Some(State::Bound { reservation, .. }) => Ok(BufferStatus::Ready(reservation.into())),
            Some(State::Failed) => Ok(BufferStatus::Failed),
            None => Err(QueueError::UnknownBuffer(id)),
        }
    }

    /// The last epoch of `axis` up to which every operation is decided: their events have been
    /// issued, so a device that is fed in order can be fed up to here. `None` without such a queue.
    #[must_use]
    pub fn resolved(&self, axis: Axis) -> Option<Epoch> {
        Some(self.resolved_on(self.order.find(axis)?))
    }

    /// The last epoch of `axis` that was given out. `None` without such a queue.
    #[must_use]
    pub fn submitted(&self, axis: Axis) -> Option<Epoch> {
        let queue = self.order.find(axis)?;
        Some(self.order.timelines[queue].submitted)
    }

    /// The pools with parked allocas, how many, the first in line, and what was observed before the pool was last asked: a
    /// host that sleeps on the pool's notification with it misses no release. Progress of an axis can
    /// free memory as well, without a signal.
    pub fn parked(&self) -> impl Iterator<Item = Parked> + '_ {
        self.parking.iter().zip(self.pools.pools()).filter_map(|(parking, pool)| {
            let observed = parking.observed?;
            let (_, &first) = parking.line.first_key_value()?;
            let buffer = self.buffers.get(first)?;
            let State::Waiting(waiting) = &buffer.state else { return None };
            Some(Parked {
                pool: pool.id(),
                count: parking.line.len(),
                observed,
                first,
                size: waiting.size,
                at: Entry::new(self.order.timelines[buffer.queue].axis, buffer.epoch),
            })
        })
    }

    /// The queues that stand still because what they wait for was not submitted: with [`parked`](Self::parked), all that any of these queues
    /// waits for here. What was passed on to the host by events, its device waits for.
    pub fn held(&self) -> impl Iterator<Item = Withheld> + '_ {
        self.lines.iter().zip(&self.order.timelines).filter_map(|(line, timeline)| {
            let first = line.held.front()?;
            let (other, epoch) = self.order.unadmitted(first.wait.as_ref())?;
            Some(Withheld {
                at: Entry::new(timeline.axis, first.epoch),
                count: line.held.len(),
                waits_for: Entry::new(self.order.timelines[other].axis, epoch),
            })
        })
    }

    /// What has been submitted to the queue of `axis` so far, as a frontier to wait for or to release after: empty before the first operation.
    ///
    /// # Errors
    /// [`QueueError::UnknownQueue`].
    pub fn frontier(&self, axis: Axis) -> Result<Frontier, QueueError> {
        let epoch = self.submitted(axis).ok_or(QueueError::UnknownQueue(axis))?;
        Ok(Frontier::from_entry(axis, epoch))
    }

    /// Buffers whose ids are valid.
    #[must_use]
    pub const fn live(&self) -> usize {
        self.buffers.len()
    }
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queues")
            .field("queues", &self.lines.len())
            .field("buffers", &self.buffers.len())
            .field("events", &self.outbox.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// Whatever still holds memory gives it back, with [`Death::Unknown`].
impl Drop for Queues {
    fn drop(&mut self) {
        self.shutdown(Death::Unknown);
    }
}
