//! The execution model: every stream is an axis, and what is submitted on it completes later, in order.
//!
//! ```text
//!   stream 0   ─ op 1 ─ op 2 ─ op 3 ─ op 4 ─ op 5 ─▶ submitted epoch 5
//!                         ▲ completed epoch 2        in flight: 3
//! ```
//!
//! - An event of the trace is an operation with the next epoch of its stream's axis.
//! - Completion trails submission by `in_flight` operations on each stream; with 0 an operation completes as it is submitted.
//! - The work of an operation (writing a block's tag, checking it) is done when the operation *completes*, as a device would do
//!   it. So a block that is reused too early is overwritten before its last owner looks at it, and that is noticed.
//! - An operation may have to come after one of another stream (a free on another stream than the allocation): it
//!   completes that one first.
//! - Or operations [complete outside](Streams::completing_outside): a device runs them, in the order of their submission, and says
//!   when one is over. Then no more than `in_flight` may be under way on a stream, and who submits has to wait.
//! - A stream that has to wait joins what it waits for into its frontier, and what it waits for is completed.
//!
//! Cost: O(1) an operation, amortized. Memory: what is in flight.

use crate::memory::{Tagged, Tags};
use std::collections::VecDeque;
use std::sync::Arc;
use strandline_core::{Axis, Entry, Epoch, Frontier, FrontierRef, Progress, Tracker, TrackerError};

/// Most streams: what 16 bits of device and queue number tell apart.
pub const MAX_STREAMS: u32 = 1 << 16;

/// What an operation does when it completes.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Writes a block's tag: its first use.
    Write(Tagged),
    /// Checks a block's tag: its last use.
    Check(Tagged),
    /// Touches no byte.
    None,
}

/// Is told how far axes come: who keeps progress somewhere else.
pub trait Listener: core::fmt::Debug + Send + Sync {
    /// An axis has come to an epoch.
    fn advanced(&self, axis: Axis, epoch: Epoch);

    /// An operation was submitted. Where operations [complete outside](Streams::completing_outside), this is the moment to begin it.
    fn submitted(&self, stream: u32, epoch: Epoch, work: &Work) {
        let _ = (stream, epoch, work);
    }
}

#[derive(Clone, Debug)]
struct Operation {
    work: Work,
    /// Comes after this operation of another stream; epoch 0 when it need not.
    after: (u32, Epoch),
    /// What it comes after, itself included; only where operations complete outside.
    frontier: Option<Frontier>,
}

#[derive(Debug)]
struct Queue {
    axis: Axis,
    /// What is ordered before the next operation: the stream's own work, and all that it waited for.
    frontier: Frontier,
    submitted: Epoch,
    in_flight: VecDeque<Operation>,
    /// Its operations are over when [`Streams::complete_to`] says so, or who waits for them.
    deferred: bool,
}

impl Queue {
    fn completed(&self) -> Epoch {
        self.submitted - self.in_flight.len() as u64
    }
}

/// The streams of a replay. See the [module](self).
#[derive(Debug)]
pub struct Streams {
    tracker: Tracker,
    /// The streams, and behind them the deferred queues.
    queues: Vec<Queue>,
    count: u32,
    in_flight: u64,
    outside: bool,
    memory: Option<Arc<dyn Tags>>,
    listener: Option<Arc<dyn Listener>>,
    corrupted: u64,
    first_corrupted: Option<Tagged>,
    /// Scratch of [`complete`](Self::complete).
    needed: Vec<(u32, Epoch)>,
}

impl Streams {
    /// `count` streams (at most [`MAX_STREAMS`]) on which completion trails by `in_flight` operations. Without `memory` no byte is
    /// touched.
    ///
    /// # Errors
    /// There is no room for the axes.
    pub fn new(
        count: u32,
        in_flight: u64,
        memory: Option<Arc<dyn Tags>>,
    ) -> Result<Self, TrackerError> {
        Self::deferring(count, 0, in_flight, memory)
    }

    /// The same, and `deferred` queues behind them: numbers `count` and up. What is submitted to one of those is over when
    /// [`complete_to`](Self::complete_to) says so: the recorded end of a use that no stream of the trace shows. There are as many as axes
    /// are left.
    ///
    /// # Errors
    /// As of [`new`](Self::new).
    pub fn deferring(
        count: u32,
        deferred: u32,
        in_flight: u64,
        memory: Option<Arc<dyn Tags>>,
    ) -> Result<Self, TrackerError> {
        let count = count.min(MAX_STREAMS);
        let deferred = deferred.min(MAX_STREAMS - count);
        let tracker = Tracker::new((count + deferred) as usize);
        let queues = (0..count + deferred).map(|number| {
            let axis = axis(number);
            tracker.register(axis)?;
            let (frontier, in_flight) = (Frontier::new(), VecDeque::new());
            Ok(Queue { axis, frontier, submitted: 0, in_flight, deferred: number >= count })
        });
        let queues = queues.collect::<Result<_, TrackerError>>()?;
        Ok(Self {
            tracker,
            queues,
            count,
            in_flight,
            outside: false,
            memory,
            listener: None,
            corrupted: 0,
            first_corrupted: None,
            needed: Vec::new(),
        })
    }

    /// The same streams, which tell `listener` of every advance as well.
    #[must_use]
    pub fn telling(self, listener: Option<Arc<dyn Listener>>) -> Self {
        Self { listener, ..self }
    }

    /// The same streams, whose operations are over when [`complete_to`](Self::complete_to) says so. A limit of 0 in flight stays what it
    /// is: such operations complete as they are submitted.
    #[must_use]
    pub fn completing_outside(self) -> Self {
        let outside = self.in_flight > 0;
        Self { outside, ..self }
    }

    /// Whether operations are completed by [`complete_to`](Self::complete_to).
    #[must_use]
    pub const fn complete_outside(&self) -> bool {
        self.outside
    }

    /// Whether a stream has as many operations under way as it may have, of those that are completed outside.
    ///
    /// # Panics
    /// There is no such stream.
    #[must_use]
    pub fn is_full(&self, stream: u32) -> bool {
        self.outside && self.queues[stream as usize].in_flight.len() as u64 >= self.in_flight
    }

    /// A stream's operations are over up to `epoch`, and those that they come after.
    ///
    /// # Panics
    /// There is no such stream.
    pub fn complete_to(&mut self, stream: u32, epoch: Epoch) {
        self.complete(stream, epoch);
    }

    /// Who knows how far each stream has come: what pools are built on.
    #[must_use]
    pub fn progress(&self) -> Arc<dyn Progress> {
        Arc::new(self.tracker.clone())
    }

    /// As [`progress`](Self::progress), borrowed.
    #[must_use]
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// How many streams there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many deferred queues there are.
    #[must_use]
    pub fn deferred(&self) -> u32 {
        self.queues.len() as u32 - self.count
    }

    /// Whether operations complete as they are submitted.
    #[must_use]
    pub const fn completes_at_once(&self) -> bool {
        self.in_flight == 0
    }

    /// The axis of a stream.
    ///
    /// # Panics
    /// There is no such stream.
    #[must_use]
    pub fn axis(&self, stream: u32) -> Axis {
        self.queues[stream as usize].axis
    }

    /// The last epoch that a stream gave out; 0 before the first.
    ///
    /// # Panics
    /// There is no such stream.
    #[must_use]
    pub fn submitted(&self, stream: u32) -> Epoch {
        self.queues[stream as usize].submitted
    }

    /// What is ordered before the next operation of a stream.
    ///
    /// # Panics
    /// There is no such stream.
    #[must_use]
    pub fn frontier(&self, stream: u32) -> FrontierRef<'_> {
        self.queues[stream as usize].frontier.as_ref()
    }

    /// Blocks whose bytes were not what had been written, so far.
    #[must_use]
    pub const fn corrupted(&self) -> u64 {
        self.corrupted
    }

    /// Submits an operation, which comes after the operation `after.1` of stream `after.0` (epoch 0: after nothing but its own
    /// stream), and completes what is due. Returns its epoch.
    ///
    /// # Panics
    /// There is no such stream, or none of number `after.0`.
    pub fn submit(&mut self, stream: u32, work: Work, after: (u32, Epoch)) -> Epoch {
        // What was never submitted would never complete.
        let after = (after.0, after.1.min(self.queues[after.0 as usize].submitted));
        let deferred = self.queues[stream as usize].deferred;
        let outside = self.outside && !deferred;
        if outside && after.1 > 0 {
            self.learn(stream, Entry::new(self.queues[after.0 as usize].axis, after.1));
        }
        let queue = &mut self.queues[stream as usize];
        queue.submitted += 1;
        let (axis, epoch) = (queue.axis, queue.submitted);
        // The own axis takes a place in a frontier that has one from the first operation on: this cannot overflow.
        let _ = queue.frontier.advance(axis, epoch);
        let frontier = outside.then(|| queue.frontier.clone());
        queue.in_flight.push_back(Operation { work, after, frontier });
        if let Some(listener) = self.listener.as_ref().filter(|_| !deferred) {
            listener.submitted(stream, epoch, &work);
        }
        if let Some(due @ 1..) = epoch.checked_sub(self.in_flight)
            && !self.outside
            && !deferred
        {
            self.complete(stream, due);
        }
        epoch
    }

    /// A stream waits: its next operation comes after `wait`, all of which completes. Outside, the order of submission is enough.
    ///
    /// # Panics
    /// There is no such stream.
    pub fn wait(&mut self, stream: u32, wait: FrontierRef<'_>) {
        if self.outside {
            wait.entries().iter().for_each(|entry| self.learn(stream, *entry));
            return;
        }
        // A join that would not fit changes nothing, and the frontier is then merely less than is known.
        let _ = self.queues[stream as usize].frontier.merge(wait);
        for entry in wait.entries() {
            if let Some(of) = stream_of(entry.axis).filter(|&of| (of as usize) < self.queues.len())
            {
                self.complete(of, entry.epoch);
            }
        }
    }

    /// What a stream does next comes after an operation, and so after all that this one came after. Of one that is over there is nothing more
    /// to know: what it came after is over too.
    fn learn(&mut self, stream: u32, entry: Entry) {
        let of = stream_of(entry.axis).and_then(|of| self.queues.get(of as usize));
        let behind = of.and_then(|queue| {
            let at = entry.epoch.checked_sub(queue.completed() + 1)?;
            queue.in_flight.get(usize::try_from(at).ok()?)?.frontier.clone()
        });
        let known = behind.unwrap_or_else(|| Frontier::from_entry(entry.axis, entry.epoch));
        // A join that would not fit changes nothing, and the frontier is then merely less than is known.
        let _ = self.queues[stream as usize].frontier.merge(known.as_ref());
    }

    /// Completes all that was submitted on every stream.
    pub fn drain(&mut self) {
        for stream in 0..self.queues.len() as u32 {
            let submitted = self.queues[stream as usize].submitted;
            self.complete(stream, submitted);
        }
    }

    /// Completes a stream up to `epoch`, and first what its operations come after.
    fn complete(&mut self, stream: u32, epoch: Epoch) {
        // A list instead of recursion: operations come only after earlier ones, but the chain may be long.
        let mut needed = core::mem::take(&mut self.needed);
        needed.push((stream, epoch));
        while let Some(&(stream, epoch)) = needed.last() {
            let queue = &mut self.queues[stream as usize];
            let completed = queue.completed();
            if completed >= epoch.min(queue.submitted) {
                // An axis that is registered and never fails takes every epoch.
                let _ = self.tracker.advance(queue.axis, completed);
                if let Some(listener) = &self.listener {
                    listener.advanced(queue.axis, completed);
                }
                needed.pop();
                continue;
            }
            let Some(&Operation { work, after, .. }) = queue.in_flight.front() else {
                needed.pop();
                continue;
            };
            if self.queues[after.0 as usize].completed() < after.1 {
                needed.push(after);
                continue;
            }
            self.queues[stream as usize].in_flight.pop_front();
            self.execute(work);
        }
        self.needed = needed;
    }

    fn execute(&mut self, work: Work) {
        let Some(memory) = self.memory.as_deref() else { return };
        let (sound, block) = match work {
            Work::Write(block) => (memory.tag(&block).is_ok(), block),
            Work::Check(block) => (memory.verify(&block) == Ok(true), block),
            Work::None => return,
        };
        if !sound {
            self.corrupted += 1;
            self.first_corrupted.get_or_insert(block);
        }
    }

    /// The first block found corrupted.
    #[must_use]
    pub const fn first_corrupted(&self) -> Option<Tagged> {
        self.first_corrupted
    }
}

/// The axis of a stream: queue `stream % 256` of device `stream / 256`.
#[must_use]
pub fn axis(stream: u32) -> Axis {
    Axis::queue((stream >> 8) as u8, stream as u8)
}

/// The inverse of [`axis`].
pub(crate) fn stream_of(axis: Axis) -> Option<u32> {
    Some(u32::from(axis.device()?) << 8 | u32::from(axis.queue_index()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Heap;
    use strandline_core::{Grant, SlabProvider};

    fn streams(count: u32, in_flight: u64) -> Streams {
        Streams::new(count, in_flight, None).unwrap()
    }

    #[test]
    fn completion_trails_submission() {
        let mut s = streams(2, 3);
        let (a, b) = (s.axis(0), s.axis(1));
        for epoch in 1..=10 {
            assert_eq!(s.submit(0, Work::None, (0, 0)), epoch);
            assert_eq!(s.tracker().reached(a), epoch.saturating_sub(3));
            assert_eq!(s.frontier(0).get(a), epoch);
        }
        assert_eq!(s.tracker().reached(b), 0);
        s.drain();
        assert_eq!(s.tracker().reached(a), 10);
        let mut s = streams(1, 0);
        assert!(s.completes_at_once());
        s.submit(0, Work::None, (0, 0));
        assert_eq!(s.tracker().reached(a), 1);
    }

    #[test]
    fn what_is_deferred_is_over_when_that_is_said_or_waited_for() {
        let mut s = Streams::deferring(1, 2, 0, None).unwrap();
        assert_eq!((s.count(), s.deferred()), (1, 2));
        let (first, second) = (s.axis(1), s.axis(2));
        let epoch = s.submit(0, Work::None, (0, 0));
        assert_eq!(s.submit(1, Work::None, (0, epoch)), 1);
        assert_eq!(s.submit(2, Work::None, (0, epoch)), 1);
        assert_eq!((s.tracker().reached(first), s.tracker().reached(second)), (0, 0));
        s.complete_to(2, 1);
        assert_eq!((s.tracker().reached(first), s.tracker().reached(second)), (0, 1));
        s.wait(0, Frontier::from_entry(first, 1).as_ref());
        assert_eq!(s.tracker().reached(first), 1);
        s.submit(1, Work::None, (0, 0));
        s.drain();
        assert_eq!(s.tracker().reached(first), 2);
    }

    #[test]
    fn an_operation_completes_what_it_comes_after() {
        let mut s = streams(3, 2);
        // 2 comes after 1, which comes after 0; all still in flight.
        let on_0 = s.submit(0, Work::None, (0, 0));
        let on_1 = s.submit(1, Work::None, (0, on_0));
        s.submit(2, Work::None, (1, on_1));
        let axes = [0, 1, 2].map(|i| s.axis(i));
        assert_eq!(axes.map(|axis| s.tracker().reached(axis)), [0, 0, 0]);
        s.submit(2, Work::None, (0, 0));
        s.submit(2, Work::None, (0, 0));
        assert_eq!(axes.map(|axis| s.tracker().reached(axis)), [1, 1, 1]);
    }

    #[test]
    fn a_wait_joins_and_completes() {
        let mut s = streams(2, 100);
        for _ in 0..5 {
            s.submit(1, Work::None, (0, 0));
        }
        let (a, b) = (s.axis(0), s.axis(1));
        let wait = Frontier::from_entry(b, 3);
        s.wait(0, wait.as_ref());
        assert_eq!((s.tracker().reached(a), s.tracker().reached(b)), (0, 3));
        assert_eq!(s.frontier(0).get(b), 3);
        // An epoch that was never submitted, an axis that is no stream: no harm.
        s.wait(0, Frontier::from_entry(b, 99).as_ref());
        s.wait(0, Frontier::from_entry(Axis::host(1), 9).as_ref());
        assert_eq!(s.tracker().reached(b), 5);
    }

    #[test]
    fn a_long_chain_of_dependencies_does_not_exhaust_the_stack() {
        let mut s = streams(2, 1 << 20);
        let mut last = (1, 0);
        for i in 0..300_000u32 {
            last = (i % 2, s.submit(i % 2, Work::None, last));
        }
        s.drain();
        assert_eq!(s.tracker().reached(s.axis(0)), 150_000);
        assert_eq!(s.tracker().reached(s.axis(1)), 150_000);
    }

    #[test]
    fn a_block_reused_before_its_last_use_is_found_by_its_bytes() {
        for (wait, found) in [(false, 1), (true, 0)] {
            let heap = Arc::new(Heap::new(1 << 20));
            let Ok(Grant::Slab(slab)) = heap.acquire(4096) else { panic!("no slab") };
            let mut s = Streams::new(2, 4, Some(heap)).unwrap();
            let block = |tag| Tagged { slab: slab.id, offset: 0, size: 512, tag };
            s.submit(0, Work::Write(block(1)), (0, 0));
            let freed = s.submit(0, Work::Check(block(1)), (0, 0));
            if wait {
                let wait = Frontier::from_entry(s.axis(0), freed);
                s.wait(1, wait.as_ref());
            }
            // Stream 1 runs ahead of stream 0.
            s.submit(0, Work::None, (0, 0));
            s.submit(1, Work::Write(block(2)), (0, 0));
            s.submit(0, Work::None, (0, 0));
            s.submit(0, Work::None, (0, 0));
            for _ in 0..4 {
                s.submit(1, Work::None, (0, 0));
            }
            s.drain();
            assert_eq!(s.corrupted(), found);
        }
    }
}
