//! The engine: plays the steps of a trace through real pools, and has every answer checked.
//!
//! ```text
//!   Step ─▶ Alloc(slot)  acquire after the stream's frontier ─▶ oracle: may these bytes be used?
//!           │                └ AfterWait: the stream waits, what it waits for completes
//!           │            submit "write tag" on the stream
//!           └ Free(slot) submit "check tag" on the stream, release with the death After(stream @ epoch)
//! ```
//!
//! The execution model is that of [`crate::streams`]. With nothing in flight a free is `Idle`: it is over when it is said.
//!
//! **Spreading.** A trace of one stream can be played on several ([`Options::spread`]): allocations go to the streams in turn,
//! [`BURST`] in a row to each, and a block is freed on the stream that it was allocated on. That is how programs of several streams
//! look from the allocator: each stream runs a stretch of layers or requests on its own, and long-lived blocks of all streams
//! lie between each other. Such streams are synthesized, and the report says so.
//!
//! **Retired blocks.** Where the trace says that a block is given up and other streams still use it ([`What::Retire`]), the pool gets it back
//! with a death on an axis of its own, which advances at the recorded end of the use: nobody has it at once, and who may wait can
//! wait for it.
//!
//! **Refused requests.** What the recorded allocator refused is asked for here, and given back at once if it is served, as the recorded
//! program did without. The run goes on either way; the first one that is refused again is the run's failure.
//!
//! **Waiting.** With [`Options::allow_wait`], a request may be answered with memory that must be waited for; and where nothing
//! fits while freed memory is still in flight, the engine lets every stream finish and asks once more before it has the
//! pool grow (a *stall*, counted).
//!
//! # Cost
//! O(log n) an event for n live blocks (the oracle's interval maps); the walk over all blocks that finds the largest hole at a peak is
//! paid for by the events since the last one. Memory: the live set, and what is in flight.

use crate::build::Committed;
use crate::clock::Instant;
use crate::format::MOST_REFUSED;
use crate::hash::FastMap;
use crate::memory::{Tagged, Tags};
use crate::oracle::{Oracle, Range};
use crate::pools::Pools;
use crate::series::{Sample, Timeline};
use crate::streams::{Streams, Work};
use crate::validate::{Step, What};
use std::sync::Arc;
use strandline_core::pool_set::{Need, SetAcquire};
use strandline_core::{
    Acquire, Death, Entry, Epoch, Frontier, FrontierRef, PoolStats, Request, Reservation,
};

mod failure;
mod frame;
mod history;
mod missed;
mod outcome;
mod peaks;
mod recorder;

pub use failure::{Failure, Reason, Waited};
use history::History;
use missed::Asked;
pub use outcome::{Latencies, Outcome};
pub use peaks::{Free, Peak, Peaks};
pub use recorder::{INSTANTS, Instants, MOST_BYTES, Recorder};

/// Allocations in a row that go to one synthesized stream.
pub const BURST: u64 = 16;

/// Longest latency that is told apart, in nanoseconds: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// How a trace is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Play a trace of one stream on this many.
    pub spread: Option<u32>,
    /// Operations by which completion trails submission on each stream.
    pub in_flight: u64,
    /// Answers may require a wait.
    pub allow_wait: bool,
    /// Skip the requests that the recorded allocator refused, as the recorded program had to.
    pub as_recorded: bool,
    /// Leave out what only checks and times (bytes, oracle, latencies, timeline): for searching, and for frames of a run that is checked elsewhere.
    pub unchecked: bool,
}

#[derive(Debug)]
struct Live {
    reservation: Reservation,
    stream: u32,
    /// The operation that allocated it.
    epoch: Epoch,
    tag: u64,
    /// The event that allocated it.
    event: u64,
}

/// A block that the program gave up, and that is in use until the trace says otherwise.
#[derive(Debug)]
enum Retired {
    /// The pool has it back; it may be reused after this operation of a deferred queue.
    Released { queue: u32, epoch: Epoch, bytes: u64 },
    /// There was no queue left to defer it on: it is released when it is over.
    Kept(Live),
}

impl Live {
    fn block(&self) -> Tagged {
        Tagged {
            slab: self.reservation.slab(),
            offset: self.reservation.offset(),
            size: self.reservation.size(),
            tag: self.tag,
        }
    }
}

/// A replay in progress. See the [module](self).
#[derive(Debug)]
pub struct Engine {
    pools: Pools,
    streams: Streams,
    oracle: Oracle,
    options: Options,
    live: Vec<Option<Live>>,
    /// Retired blocks by slot.
    retired: FastMap<usize, Retired>,
    /// Deferred queues without an operation.
    deferred: Vec<u32>,
    refused: Option<Box<Failure>>,
    served: Vec<bool>,
    live_bytes: u64,
    /// Live, or retired and not over.
    active_bytes: u64,
    allocs: u64,
    event: u64,
    peaks: Peaks,
    timeline: Timeline,
    latencies: Latencies,
    waits: u64,
    stalls: u64,
    unsound: Option<Failure>,
    /// Slabs and their bytes when they were last looked at.
    slabs: [u64; 2],
    /// Who knows what of elastic slabs has memory.
    committed: Option<Arc<dyn Committed>>,
    memory: Option<Arc<dyn Tags>>,
    /// Who freed what, for frames; only if that was asked for.
    history: Option<History>,
    start: Instant,
}

impl Engine {
    /// An engine over pools that were built on `streams`' progress. Without `memory` no byte is touched.
    #[must_use]
    pub fn new(
        pools: Pools,
        streams: Streams,
        memory: Option<Arc<dyn Tags>>,
        options: Options,
    ) -> Self {
        let first = streams.count();
        let deferred = (first..first + streams.deferred()).rev().collect();
        Self {
            pools,
            streams,
            oracle: Oracle::new(),
            options,
            live: Vec::new(),
            retired: FastMap::default(),
            deferred,
            refused: None,
            served: Vec::new(),
            live_bytes: 0,
            active_bytes: 0,
            allocs: 0,
            event: 0,
            peaks: Peaks::default(),
            timeline: Timeline::new(),
            // A search plays hundreds of times and measures none: it shall not clear a megabyte each time.
            latencies: Latencies::new(if options.unchecked { 2 } else { LONGEST_NS }),
            waits: 0,
            stalls: 0,
            unsound: None,
            slabs: [0; 2],
            committed: None,
            memory,
            history: None,
            start: Instant::now(),
        }
    }

    /// The same engine, which remembers from now on which stream freed which bytes, for [`frame`](Self::frame). O(log n) an event.
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.history = Some(History::default());
        self
    }

    /// The same engine, which asks `committed` what of elastic slabs has memory. Without, what pools miss there is not looked for.
    #[must_use]
    pub fn asking(mut self, committed: Option<Arc<dyn Committed>>) -> Self {
        self.committed = committed.filter(|_| !self.options.unchecked);
        // From now on changes are kept.
        let _ = self.committed.as_ref().map(|committed| committed.changes());
        self
    }

    /// The same engine, whose operations [complete outside](Streams::completing_outside).
    #[must_use]
    pub fn completing_outside(mut self) -> Self {
        self.streams = self.streams.completing_outside();
        self
    }

    /// Whether a step has to wait until operations of its stream, which complete outside, are over.
    #[must_use]
    pub fn must_wait(&self, step: &Step) -> bool {
        let stream = match step.what {
            What::Alloc(_) | What::Held(_) => self.stream_of_nth(self.allocs, step),
            What::Failure if self.options.as_recorded => return false,
            What::Failure => self.stream_of_nth(self.allocs, step),
            What::Free(slot) | What::Retire(slot) => match self.live.get(slot as usize) {
                Some(Some(live)) if self.options.spread.is_some() => live.stream,
                _ => step.stream,
            },
        };
        self.streams.is_full(stream)
    }

    /// Operations of a stream are over up to `epoch`; what there is no such stream or operation of is passed over.
    pub fn complete_to(&mut self, stream: u32, epoch: Epoch) {
        if stream < self.streams.count() {
            self.streams.complete_to(stream, epoch);
        }
    }

    /// The last event played; 0 before the first.
    #[must_use]
    pub const fn event(&self) -> u64 {
        self.event
    }

    /// Bytes over the events so far.
    #[must_use]
    pub const fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Plays the step of event number `event` (1 is the first).
    ///
    /// # Errors
    /// The pools did not satisfy it. The engine can go on to [`finish`](Self::finish), not to further steps.
    pub fn play(&mut self, event: u64, step: &Step) -> Result<(), Box<Failure>> {
        self.event = event;
        match step.what {
            What::Alloc(slot) => self.alloc(slot as usize, step)?,
            What::Free(slot) => self.free(slot as usize, step)?,
            What::Retire(slot) => self.retire(slot as usize, step)?,
            What::Held(slot) => {
                self.alloc(slot as usize, step)?;
                self.retire(slot as usize, step)?;
            }
            What::Failure if self.options.as_recorded => return Ok(()),
            What::Failure => self.ask_again(step)?,
        }
        if !self.options.unchecked {
            self.note_corruption(step);
            self.sample();
        }
        Ok(())
    }

    fn stream_of_alloc(&mut self, step: &Step) -> u32 {
        let n = self.allocs;
        self.allocs += 1;
        self.stream_of_nth(n, step)
    }

    fn stream_of_nth(&self, n: u64, step: &Step) -> u32 {
        match self.options.spread {
            Some(streams @ 2..) => ((n / BURST) % u64::from(streams)) as u32,
            _ => step.stream,
        }
    }

    fn alloc(&mut self, slot: usize, step: &Step) -> Result<(), Box<Failure>> {
        let stream = self.stream_of_alloc(step);
        let (reservation, wait) = self.acquire(stream, step)?;
        let range = range_of(&reservation);
        if let Some(wait) = &wait {
            self.waits += 1;
            self.streams.wait(stream, wait.as_ref());
        }
        if !self.options.unchecked {
            let footprint = self.footprint_of(&reservation);
            let (known, reached) = (self.streams.frontier(stream), self.streams.tracker());
            let sound = self.oracle.begin_taking(range, footprint, known, reached);
            if !sound && self.unsound.is_none() {
                self.unsound = Some(*self.failure(step, Reason::Unsound));
            }
        }
        let mut live = Live { reservation, stream, epoch: 0, tag: self.allocs, event: self.event };
        live.epoch = self.streams.submit(stream, Work::Write(live.block()), (0, 0));
        if self.live.len() <= slot {
            self.live.resize_with(slot + 1, || None);
        }
        self.live[slot] = Some(live);
        self.live_bytes += step.size;
        self.active_bytes += step.size;
        Ok(())
    }

    /// Asks the pool that the size leads to. Who may wait would rather wait than have the pool grow: it asks for what is there, then lets the streams
    /// finish and asks again if what they free could be enough, and only then permits growth.
    fn acquire(
        &mut self,
        stream: u32,
        step: &Step,
    ) -> Result<(Reservation, Option<Frontier>), Box<Failure>> {
        let mut may_grow = !self.options.allow_wait;
        let (mut stalled, mut missed) = (false, false);
        let need = Need::new(step.size);
        loop {
            let request = Request {
                size: step.size,
                alignment: 1,
                frontier: self.streams.frontier(stream),
                may_wait: self.options.allow_wait,
                may_grow,
            };
            let answer = if self.options.unchecked {
                self.pools.set().acquire(&need, &request)
            } else {
                let start = Instant::now();
                let answer = self.pools.set().acquire(&need, &request);
                self.latencies.acquire.saturating_record(nanoseconds(start));
                answer
            };
            let (pool, answer) = match answer {
                Ok(SetAcquire::Routed { pool, answer }) => (pool.id(), answer),
                Ok(SetAcquire::NoMatch(why)) => {
                    return Err(self.failure(step, Reason::NoPool(why)));
                }
                Err(error) => return Err(self.failure(step, Reason::Pool(error))),
            };
            if !self.options.unchecked {
                // Once a request, however often it is asked.
                let asked = Asked { stream, size: step.size, may_grow };
                missed |= self.note_missed(asked, pool, &answer, missed);
            }
            let reason = match answer {
                Acquire::Ready { reservation, .. } => return Ok((reservation, None)),
                Acquire::AfterWait { reservation, wait } => {
                    return Ok((reservation, Some(wait)));
                }
                Acquire::Exhausted { growth_required, .. } if may_grow => {
                    Reason::Exhausted { growth_required }
                }
                Acquire::Exhausted { .. } => {
                    let asked = self.pools.set().get(pool);
                    let stats = asked.map_or_else(PoolStats::default, |pool| pool.stats());
                    let could_suffice = stats.pending_bytes > 0
                        && stats.pending_bytes + stats.clean_bytes() >= step.size;
                    // A device is not waited for in the middle of an event.
                    if could_suffice && !stalled && !self.streams.complete_outside() {
                        stalled = true;
                        self.stalls += 1;
                        self.streams.drain();
                    } else {
                        may_grow = true;
                    }
                    continue;
                }
                Acquire::OverBudget { .. } => Reason::OverBudget,
            };
            return Err(self.failure(step, reason));
        }
    }

    /// What a reservation takes out of its pool.
    fn footprint_of(&self, reservation: &Reservation) -> u64 {
        let pool = self.pools.set().get(reservation.pool());
        pool.map_or(reservation.size(), |pool| pool.footprint(reservation.size(), 1))
    }

    /// Asks for what the recorded allocator refused, and gives it back.
    fn ask_again(&mut self, step: &Step) -> Result<(), Box<Failure>> {
        let slot = self.live.len();
        let asked = self.alloc(slot, step);
        if self.served.len() < MOST_REFUSED {
            self.served.push(asked.is_ok());
        }
        if let Err(failure) = asked {
            // As when it was recorded: the program goes on without.
            self.refused.get_or_insert(failure);
            return Ok(());
        }
        if !self.options.unchecked {
            self.sample();
        }
        let freed = self.free(slot, step);
        self.live.truncate(slot);
        freed
    }

    /// Gives a block back that is in use until the trace says otherwise.
    fn retire(&mut self, slot: usize, step: &Step) -> Result<(), Box<Failure>> {
        let Some(live) = self.live.get_mut(slot).and_then(Option::take) else {
            return Err(self.failure(step, Reason::NotLive));
        };
        self.live_bytes -= live.reservation.size();
        // A device completes its own operations, and none for the recording.
        let queue = self.deferred.pop().filter(|_| !self.streams.complete_outside());
        let Some(queue) = queue else {
            self.retired.insert(slot, Retired::Kept(live));
            return Ok(());
        };
        let stream = if self.options.spread.is_some() { live.stream } else { step.stream };
        let after = if stream == live.stream { (0, 0) } else { (live.stream, live.epoch) };
        let given_up = self.streams.submit(stream, Work::None, after);
        let epoch = self.streams.submit(queue, Work::Check(live.block()), (stream, given_up));
        let bytes = live.reservation.size();
        self.retired.insert(slot, Retired::Released { queue, epoch, bytes });
        let entry = Entry::new(self.streams.axis(queue), epoch);
        self.release(live.reservation, Death::After(FrontierRef::single(&entry)), stream, step)
    }

    fn free(&mut self, slot: usize, step: &Step) -> Result<(), Box<Failure>> {
        match self.retired.remove(&slot) {
            Some(Retired::Released { queue, epoch, bytes }) => {
                self.active_bytes -= bytes;
                self.streams.complete_to(queue, epoch);
                self.deferred.push(queue);
                return Ok(());
            }
            Some(Retired::Kept(live)) => {
                // What follows takes it for one that is given up now.
                self.live_bytes += live.reservation.size();
                self.live[slot] = Some(live);
            }
            None => {}
        }
        // A validated trace frees only what it allocated.
        let Some(live) = self.live.get_mut(slot).and_then(Option::take) else {
            return Err(self.failure(step, Reason::NotLive));
        };
        let stream = if self.options.spread.is_some() { live.stream } else { step.stream };
        let after = if stream == live.stream { (0, 0) } else { (live.stream, live.epoch) };
        let epoch = self.streams.submit(stream, Work::Check(live.block()), after);
        let entry = Entry::new(self.streams.axis(stream), epoch);
        let death = if self.streams.completes_at_once() {
            Death::Idle
        } else {
            Death::After(FrontierRef::single(&entry))
        };
        self.live_bytes -= live.reservation.size();
        self.active_bytes -= live.reservation.size();
        self.release(live.reservation, death, stream, step)
    }

    /// Hands bytes back to the pool.
    fn release(
        &mut self,
        reservation: Reservation,
        death: Death<'_>,
        stream: u32,
        step: &Step,
    ) -> Result<(), Box<Failure>> {
        let range = range_of(&reservation);
        if let Some(history) = &mut self.history {
            history.free(range, stream, self.event);
        }
        let released = if self.options.unchecked {
            let released = self.pools.set().release(reservation, death);
            // A checked replay asks for the counters after every event, and so has every block filed before the next is freed.
            // The order in which blocks are filed decides where later ones go: a search must file them alike.
            let _ = self.pools.stats();
            released
        } else {
            self.peaks.before_release(&self.pools);
            self.oracle.end(range, death);
            self.oracle.tidy(self.streams.tracker());
            let start = Instant::now();
            let released = self.pools.set().release(reservation, death);
            self.latencies.release.saturating_record(nanoseconds(start));
            released
        };
        released.map_err(|_| self.failure(step, Reason::Refused))
    }

    fn note_corruption(&mut self, step: &Step) {
        if self.streams.corrupted() > self.oracle.verdict().corruptions {
            self.oracle.corrupted();
            if self.unsound.is_none() {
                self.unsound = Some(*self.failure(step, Reason::Corrupted));
            }
        }
        while self.streams.corrupted() > self.oracle.verdict().corruptions {
            self.oracle.corrupted();
        }
    }

    fn sample(&mut self) {
        let stats = self.pools.stats();
        self.timeline.push(
            self.event,
            Sample {
                committed: stats.committed_bytes,
                reserved: stats.reserved_bytes,
                live: self.live_bytes,
                pending: stats.pending_bytes,
                slabs: stats.slabs,
            },
        );
        self.peaks.update(self.event, self.live_bytes, self.active_bytes, &stats);
    }

    fn failure(&self, step: &Step, reason: Reason) -> Box<Failure> {
        let what = match step.what {
            What::Alloc(_) | What::Held(_) | What::Failure => step.size,
            What::Free(_) | What::Retire(_) => 0,
        };
        let mut failure = Failure::new(
            self.event,
            step.line,
            what,
            self.live_bytes,
            reason,
            &self.pools,
            &self.streams,
        );
        failure.refused_before = step.what == What::Failure;
        Box::new(failure)
    }

    /// Lets every stream finish, checks the blocks that are still live, gives them back and sums up.
    #[must_use]
    pub fn finish(mut self, failure: Option<Box<Failure>>) -> Outcome {
        let elapsed = self.start.elapsed();
        let stats = self.pools.stats();
        if self.options.unchecked {
            self.peaks.update(self.event, self.live_bytes, self.active_bytes, &stats);
        }
        self.peaks.settle(&self.pools);
        self.streams.drain();
        let mut live_blocks = 0;
        let mut lost = 0;
        let kept = self.retired.drain().filter_map(|(_, retired)| match retired {
            Retired::Kept(live) => Some(live),
            Retired::Released { .. } => None,
        });
        let mut kept: Vec<Live> = kept.collect();
        kept.sort_by_key(|live| live.event);
        for live in self.live.drain(..).flatten().chain(kept) {
            live_blocks += 1;
            if let Some(memory) = self.memory.as_deref() {
                lost += u64::from(memory.verify(&live.block()) != Ok(true));
            }
            // A pool that refuses its own reservation was counted when it mattered; here nothing is left to lose.
            let _ = self.pools.set().release(live.reservation, Death::Idle);
        }
        // What a device found it tells now; one that is gone has lost the blocks it was to check.
        lost += self.memory.as_deref().map_or(0, |memory| memory.settle().unwrap_or(1));
        let mut verdict = self.oracle.verdict();
        verdict.corruptions = self.streams.corrupted() + lost;
        let refused = self.refused.map(|failure| *failure);
        let failure = self.unsound.or(failure.map(|failure| *failure)).or(refused);
        Outcome {
            events: self.event,
            streams: self.streams.count(),
            kind: self.pools.kind(),
            stats,
            peaks: self.peaks,
            timeline: self.timeline,
            latencies: self.latencies,
            waits: self.waits,
            stalls: self.stalls,
            verdict,
            served: self.served,
            live_blocks,
            failure,
            elapsed,
            device: self.memory.as_deref().and_then(Tags::device),
            unchecked: self.memory.as_deref().map(Tags::unchecked).unwrap_or_default(),
        }
    }
}

fn range_of(reservation: &Reservation) -> Range {
    Range { slab: reservation.slab(), offset: reservation.offset(), size: reservation.size() }
}

fn nanoseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
