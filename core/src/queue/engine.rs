//! The transitions behind the queues' calls: admit, ask the pool, bind. How buffers and queues end is [`ending`](super::ending).
//!
//! Calls that change what others wait for only note it (`woken`, `dirty`); [`Queues::settle`] then works
//! off the notes until there are none, so transitions never recurse.

use super::buffers::{Buffer, Lookup, State, Waiting};
use super::order::Broken;
use super::{BufferId, Cause, Deferred, Held, Operation, QueueError, QueueEvent, Queues};
use crate::axis::{Axis, Epoch};
use crate::death::Death;
use crate::frontier::{Entry, Frontier, FrontierRef, Merge};
use crate::notification::Observation;
use crate::pool::{Acquire, PoolError, Request, Reservation};

/// A request, wherever it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    size: u64,
    alignment: u64,
    may_wait: bool,
    may_grow: bool,
    wait: FrontierRef<'a>,
    knowledge: FrontierRef<'a>,
    /// Others may have been admitted since.
    parked: bool,
}

impl<'a> Ask<'a> {
    pub(super) const fn of(request: &Request<'a>, knowledge: FrontierRef<'a>) -> Self {
        Self {
            size: request.size,
            alignment: request.alignment,
            may_wait: request.may_wait,
            may_grow: request.may_grow,
            wait: request.frontier,
            knowledge,
            parked: false,
        }
    }

    fn again(waiting: &'a Waiting) -> Self {
        Self {
            size: waiting.size,
            alignment: waiting.alignment,
            may_wait: waiting.may_wait,
            may_grow: waiting.may_grow,
            wait: waiting.wait.as_ref(),
            knowledge: waiting.knowledge.as_ref(),
            parked: waiting.place.is_some(),
        }
    }
}

/// What came of asking a pool.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "taken apart by the caller; a box would allocate")]
pub(super) enum Tried {
    Bound {
        reservation: Reservation,
        /// All that the alloca is to be ordered after, its own queue apart.
        wait: Frontier,
        /// What the pool added to that.
        added: Option<Frontier>,
    },
    Short {
        observed: Observation,
        /// The pool had bytes to wait for, but the alloca must not wait for them.
        refused: bool,
    },
}

/// The error of an operation that is ordered after what has failed.
pub(super) fn refusal(broken: &Broken) -> QueueError {
    QueueError::Failed { axis: broken.origin, failure: broken.failure.clone() }
}

pub(super) fn cause(broken: &Broken) -> Cause {
    Cause::Axis { axis: broken.origin, failure: broken.failure.clone() }
}

/// A wait without what a queue's own order implies.
pub(super) fn without(mut wait: Frontier, own: Axis) -> Frontier {
    // Removing an entry cannot overflow.
    let _ = wait.set(own, 0);
    wait
}

impl Queues {
    /// The queue of `axis` and its next epoch, if an operation may be submitted to it.
    pub(super) fn next(&self, axis: Axis) -> Result<(usize, Epoch), QueueError> {
        if self.closed {
            return Err(QueueError::Shutdown);
        }
        let queue = self.order.find(axis).ok_or(QueueError::UnknownQueue(axis))?;
        if let Some(broken) = self.order.broken(axis) {
            return Err(refusal(broken));
        }
        match self.order.timelines[queue].submitted.checked_add(1) {
            Some(epoch) => Ok((queue, epoch)),
            None => Err(QueueError::OutOfEpochs(axis)),
        }
    }

    /// A buffer that can be deallocated.
    pub(super) fn ending_of(&self, id: BufferId) -> Result<&Buffer, QueueError> {
        match (self.buffers.lookup(id), self.buffers.get(id)) {
            (Lookup::Live, Some(buffer)) if buffer.ending.is_none() => Ok(buffer),
            (Lookup::Never, _) => Err(QueueError::UnknownBuffer(id)),
            _ => Err(QueueError::AlreadyDeallocated(id)),
        }
    }

    /// Whether `queue`'s operation of `epoch` may use a buffer: it has not ended, or ends after that operation.
    pub(super) fn check_use(
        &self,
        queue: usize,
        epoch: Epoch,
        id: BufferId,
    ) -> Result<(), QueueError> {
        let Some(buffer) = self.buffers.get(id) else {
            return Err(match self.buffers.lookup(id) {
                Lookup::Never => QueueError::UnknownBuffer(id),
                Lookup::Live | Lookup::Ended => QueueError::AlreadyDeallocated(id),
            });
        };
        let ends_before = buffer.ending.as_ref().is_some_and(|ending| {
            let end = Entry::new(self.order.timelines[ending.queue].axis, ending.epoch);
            // A cycle: the end is ordered after this use already.
            !self.order.is_cycle(queue, epoch, FrontierRef::single(&end))
        });
        if ends_before { Err(QueueError::AlreadyDeallocated(id)) } else { Ok(()) }
    }

    /// Whether an operation that waits for `wait` can be admitted at once.
    pub(super) fn check_wait(
        &self,
        queue: usize,
        epoch: Epoch,
        wait: FrontierRef<'_>,
    ) -> Result<bool, QueueError> {
        if let Some(broken) = self.order.broken_in(wait) {
            return Err(refusal(broken));
        }
        if self.order.unadmitted(wait).is_none() {
            // All of its past is admitted, except what may be held before it in its own queue; and
            // what is admitted waits for nothing that is not, so not for this.
            return Ok(self.lines[queue].held.is_empty());
        }
        if self.order.is_cycle(queue, epoch, wait) {
            return Err(QueueError::Cycle { axis: self.order.timelines[queue].axis, epoch });
        }
        Ok(false)
    }

    /// Gives out an epoch to an operation that cannot be admitted yet.
    pub(super) fn hold(&mut self, queue: usize, operation: Operation, wait: FrontierRef<'_>) {
        let epoch = self.order.submit(queue, wait);
        let held = &mut self.lines[queue].held;
        held.push_back(Held { epoch, operation, wait: wait.to_frontier() });
        if held.len() == 1 {
            // Files it under what it waits for.
            self.woken.push_back(queue);
            self.settle();
        }
    }

    /// All of the past of the queue's operation at `epoch` is submitted.
    pub(super) fn admit(&mut self, queue: usize, epoch: Epoch, knowledge: Frontier) {
        self.order.admit(queue, epoch, knowledge);
        let watched = &mut self.lines[queue].watched;
        while let Some(&(awaited, watcher)) = watched.first() {
            if awaited > epoch {
                break;
            }
            watched.pop_first();
            self.woken.push_back(watcher);
        }
    }

    /// Works off what the calls before noted.
    pub(super) fn settle(&mut self) {
        loop {
            if let Some(queue) = self.woken.pop_front() {
                self.admit_held(queue);
            } else if let Some((lane, number)) = self.unblocked.pop_front() {
                if let Some(deferred) = self.parking[lane].deferred.remove(&number) {
                    self.put_back(lane, deferred);
                    self.dirty.insert(lane);
                }
            } else if let Some(lane) = self.dirty.pop_first() {
                self.serve(lane);
            } else {
                return;
            }
        }
    }

    /// Admits held operations up to the first that still waits for a submission, and files that one.
    fn admit_held(&mut self, queue: usize) {
        while let Some(first) = self.lines[queue].held.front() {
            if let Some((other, epoch)) = self.order.unadmitted(first.wait.as_ref()) {
                self.lines[other].watched.insert((epoch, queue));
                return;
            }
            let Some(held) = self.lines[queue].held.pop_front() else { return };
            let knowledge = self.order.knowledge(queue, held.wait.as_ref(), &*self.progress);
            match held.operation {
                Operation::Work => self.admit(queue, held.epoch, knowledge),
                Operation::Alloca(id) => {
                    self.admit(queue, held.epoch, knowledge.clone());
                    self.begin_alloca(id, knowledge);
                }
                Operation::Dealloca(id) => {
                    self.admit(queue, held.epoch, knowledge);
                    if let Some(ending) =
                        self.buffers.get_mut(id).and_then(|buffer| buffer.ending.as_mut())
                    {
                        ending.admitted = true;
                    }
                    self.try_end(id);
                }
            }
        }
    }

    /// A held alloca was admitted: asks the pool, or goes to the end of the line.
    fn begin_alloca(&mut self, id: BufferId, known: Frontier) {
        let Some(buffer) = self.buffers.get_mut(id) else { return };
        let State::Waiting(waiting) = &mut buffer.state else { return };
        waiting.knowledge = known;
        let empty = self.parking[buffer.pool].line.is_empty();
        let tried = if empty { self.ask_again(id) } else { None };
        match tried {
            Some(Err(error)) => self.fail_buffer(id, Cause::Pool(error)),
            Some(Ok(tried)) => self.settle_alloca(id, Some(tried)),
            None => self.settle_alloca(id, None),
        }
    }

    /// Asks the pool on behalf of an alloca that waits; `None` when it does not wait.
    fn ask_again(&self, id: BufferId) -> Option<Result<Tried, PoolError>> {
        let buffer = self.buffers.get(id)?;
        let State::Waiting(waiting) = &buffer.state else { return None };
        let ask = Ask::again(waiting);
        Some(self.try_acquire(buffer.pool, buffer.queue, buffer.epoch, &ask))
    }

    /// Asks a pool once, or twice when its first answer is to wait for what must not be waited for.
    pub(super) fn try_acquire(
        &self,
        lane: usize,
        queue: usize,
        epoch: Epoch,
        ask: &Ask<'_>,
    ) -> Result<Tried, PoolError> {
        let pool = &self.pools.pools()[lane];
        let own = self.order.timelines[queue].axis;
        let bound = |reservation, wait, added| {
            Ok(Tried::Bound { reservation, wait: without(wait, own), added })
        };
        let mut request = Request::new(ask.size).aligned(ask.alignment).after(ask.knowledge);
        request.may_grow = ask.may_grow;
        request.may_wait = ask.may_wait;
        loop {
            match pool.acquire(&request)? {
                Acquire::Ready { reservation, .. } => {
                    return bound(reservation, ask.wait.to_frontier(), None);
                }
                Acquire::AfterWait { reservation, wait: added } => {
                    let mut wait = ask.wait.to_frontier();
                    if request.may_wait
                        && self.may_wait(queue, epoch, added.as_ref(), ask.parked)
                        && wait.merge(added.as_ref()) == Merge::Done
                    {
                        return bound(reservation, wait, Some(added));
                    }
                    self.give_back(reservation, None);
                    if !request.may_wait {
                        return Err(PoolError::InvalidConfig(
                            "the pool answered with a wait that was not permitted",
                        ));
                    }
                    // Asked again without the permission, so that the observation is one from after
                    // the reservation was given back: parked on it, giving back wakes nobody.
                    request.may_wait = false;
                }
                Acquire::Exhausted { observed, .. } | Acquire::OverBudget { observed } => {
                    let refused = request.may_wait != ask.may_wait;
                    return Ok(Tried::Short { observed, refused });
                }
            }
        }
    }

    /// Whether an alloca may be ordered after what the pool says as well.
    ///
    /// A new alloca may wait for all that came before it. One that was parked may wait for what came
    /// after it only if that needs no memory any more: otherwise the later one could be waiting for bytes
    /// that are freed behind the parked one, which is in nobody's order and yet a circle.
    fn may_wait(
        &self,
        queue: usize,
        epoch: Epoch,
        added: FrontierRef<'_>,
        was_parked: bool,
    ) -> bool {
        self.order.may_wait(queue, epoch, added, |other| {
            if was_parked { self.resolved_on(other) } else { self.order.timelines[other].admitted }
        })
    }

    /// The last epoch up to which every operation of the queue is decided.
    pub(super) fn resolved_on(&self, queue: usize) -> Epoch {
        match self.lines[queue].unresolved.first() {
            // Epochs that are given out are above 0.
            Some(&epoch) => epoch - 1,
            None => self.order.timelines[queue].admitted,
        }
    }

    /// Binds or parks an admitted alloca. `None`: there are others in line already.
    pub(super) fn settle_alloca(&mut self, id: BufferId, tried: Option<Tried>) {
        match tried {
            Some(Tried::Bound { reservation, wait, added }) => {
                self.bind(id, reservation, wait, added);
            }
            Some(Tried::Short { observed, refused }) => {
                self.park(id);
                self.still_short(id, observed, refused);
            }
            None => self.park(id),
        }
    }

    fn park(&mut self, id: BufferId) {
        let Some(buffer) = self.buffers.get_mut(id) else { return };
        let State::Waiting(waiting) = &mut buffer.state else { return };
        let parking = &mut self.parking[buffer.pool];
        waiting.place = Some(parking.next);
        parking.line.insert(parking.next, id);
        parking.next += 1;
        self.lines[buffer.queue].unresolved.insert(buffer.epoch);
    }

    /// The first in line was told that there is no memory.
    fn still_short(&mut self, id: BufferId, observed: Observation, refused: bool) {
        let Some(buffer) = self.buffers.get_mut(id) else { return };
        self.parking[buffer.pool].observed = Some(observed);
        if let State::Waiting(waiting) = &mut buffer.state
            && refused
        {
            // For good: asking for a wait, only to give it back, would signal the pool each time,
            // and two who share it would wake each other without end.
            waiting.may_wait = false;
        }
    }

    /// Serves parked allocas of a pool in order, until it has nothing for the first.
    fn serve(&mut self, lane: usize) {
        while let Some((_, &id)) = self.parking[lane].line.first_key_value() {
            match self.ask_again(id) {
                Some(Ok(Tried::Bound { reservation, wait, added })) => {
                    self.unpark(id);
                    self.bind(id, reservation, wait, added);
                }
                Some(Ok(Tried::Short { observed, refused })) => {
                    self.still_short(id, observed, refused);
                    return;
                }
                Some(Err(error)) => self.fail_buffer(id, Cause::Pool(error)),
                // Who stops waiting leaves the line, so this is never so; leaving it here would loop.
                None => {
                    self.parking[lane].line.pop_first();
                }
            }
        }
        // Nobody is left to be kept from their bytes.
        while let Some((_, deferred)) = self.parking[lane].deferred.pop_first() {
            self.release_deferred(deferred);
        }
    }

    /// A dealloca's bytes go back to their pool: at once, or, while allocas are parked there, as soon as
    /// everything that the dealloca is ordered after has its memory.
    ///
    /// Until then nobody in line could use them: whoever is ordered before them must not wait for them,
    /// and the others are behind those in line. But a pool may merge them with a neighbour that
    /// somebody in line waits for, and then *that* would be free only after the dealloca, which may
    /// be ordered after the one in line.
    pub(super) fn put_back(&mut self, lane: usize, deferred: Deferred) {
        if !self.parking[lane].line.is_empty()
            && let Some((queue, epoch)) = self.short_of_memory(deferred.death)
        {
            let parking = &mut self.parking[lane];
            let number = parking.next;
            parking.next += 1;
            parking.deferred.insert(number, deferred);
            self.lines[queue].blocked.insert((epoch, lane, number));
            return;
        }
        self.release_deferred(deferred);
    }

    pub(super) fn release_deferred(&self, deferred: Deferred) {
        let Deferred { reservation, death } = deferred;
        self.give_back(reservation, Some(Death::After(FrontierRef::single(&death))));
    }

    /// An undecided operation at or before `entry`, in whatever queue.
    fn short_of_memory(&self, entry: Entry) -> Option<(usize, Epoch)> {
        self.order.any_past(FrontierRef::single(&entry), |queue, epoch| {
            let first = *self.lines[queue].unresolved.first()?;
            (first <= epoch).then_some((queue, first))
        })
    }

    /// An operation is decided, if it was not: what was deferred for its sake is looked at again.
    pub(super) fn resolve(&mut self, queue: usize, epoch: Epoch) {
        if !self.lines[queue].unresolved.remove(&epoch) {
            return;
        }
        let resolved = self.resolved_on(queue);
        let blocked = &mut self.lines[queue].blocked;
        while let Some(&(first, lane, number)) = blocked.first() {
            if first > resolved {
                break;
            }
            blocked.pop_first();
            self.unblocked.push_back((lane, number));
        }
    }

    /// Takes a buffer out of the line, if it is in it.
    pub(super) fn unpark(&mut self, id: BufferId) {
        let Some(buffer) = self.buffers.get_mut(id) else { return };
        if let State::Waiting(waiting) = &mut buffer.state
            && let Some(place) = waiting.place.take()
        {
            self.parking[buffer.pool].line.remove(&place);
        }
    }

    fn bind(
        &mut self,
        id: BufferId,
        reservation: Reservation,
        wait: Frontier,
        added: Option<Frontier>,
    ) {
        let Some(buffer) = self.buffers.get_mut(id) else {
            self.give_back(reservation, None);
            return;
        };
        let (queue, epoch) = (buffer.queue, buffer.epoch);
        let ready = self.outbox.push(QueueEvent::Ready {
            buffer: id,
            axis: self.order.timelines[queue].axis,
            epoch,
            place: (&reservation).into(),
            wait,
        });
        buffer.state = State::Bound { reservation, ready };
        self.resolve(queue, epoch);
        if let Some(added) = added {
            self.order.wait_more(queue, epoch, added.as_ref());
            self.order.learn(queue, added.as_ref());
        }
        self.try_end(id);
    }

    /// Gives a reservation back: unused, or with a death.
    pub(super) fn give_back(&self, reservation: Reservation, death: Option<Death<'_>>) {
        let given = match death {
            Some(death) => self.pools.release(reservation, death),
            None => self.pools.cancel(reservation),
        };
        // The set gave it out, so it takes it back. A pool from outside that refuses its own keeps the
        // bytes reserved, which is safe; there is nobody here who could do better.
        drop(given);
    }

    /// Forgets what the queue has completed.
    pub(super) fn prune(&mut self, queue: usize) {
        let reached = self.order.prune(queue, &*self.progress);
        let allocas = &mut self.lines[queue].allocas;
        while allocas.front().is_some_and(|&(epoch, _)| epoch <= reached) {
            allocas.pop_front();
        }
    }
}
