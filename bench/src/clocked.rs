//! Streams on a simulated clock: every operation takes one tick.
//!
//! ```text
//!   tick        0   1   2   3   4   5
//!   host        submits at once, until a stream has `in_flight` operations under way
//!   stream 0    ├ 1 ┼ 2 ┼ 3 ┤
//!   stream 1    ├ 1 ┤           ├ 2 ┤      operation 2 waits for operation 3 of stream 0: two ticks lost
//! ```
//!
//! The host takes no time. It submits operations in the order of a trace, and blocks only while the stream that it submits to
//! has `in_flight` operations under way; with 0, until the operation is over. Axes are advanced to what is over when the host looks.
//!
//! A second clock runs the same operations without waits and stalls. The last operation's end on the first clock over its
//! end on the second is what waiting costs.

use strandline_core::{Axis, Entry, Epoch, Frontier, FrontierRef, Tracker, TrackerError};

/// One clock: when each operation ends, and the host's time.
#[derive(Debug, Default)]
struct Clock {
    host: u64,
    /// By stream, then by epoch less 1.
    ends: Vec<Vec<u64>>,
}

impl Clock {
    fn new(streams: u32) -> Self {
        Self { host: 0, ends: vec![Vec::new(); streams as usize] }
    }

    /// Runs the next operation of a stream, not before tick `earliest`.
    fn submit(&mut self, stream: usize, in_flight: u64, earliest: u64) {
        let ends = &mut self.ends[stream];
        let submitted = ends.len() as u64;
        if let Some(due) = submitted.checked_sub(in_flight.max(1))
            && let Some(&over) = ends.get(due as usize)
        {
            self.host = self.host.max(over);
        }
        let end = ends.last().copied().unwrap_or(0).max(self.host).max(earliest) + 1;
        ends.push(end);
        if in_flight == 0 {
            self.host = end;
        }
    }

    fn makespan(&self) -> u64 {
        self.ends.iter().filter_map(|ends| ends.last()).copied().max().unwrap_or(0)
    }
}

#[derive(Debug)]
struct Queue {
    axis: Axis,
    known: Frontier,
    /// Operations that are over at the host's time.
    over: usize,
    /// The tick at which everything that the next operation waits for is over.
    earliest: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Streams {
    tracker: Tracker,
    queues: Vec<Queue>,
    in_flight: u64,
    clock: Clock,
    free: Clock,
}

impl Streams {
    /// `count` streams, at most 256.
    ///
    /// # Errors
    /// The tracker has no room for them.
    pub fn new(count: u32, in_flight: u64) -> Result<Self, TrackerError> {
        let count = count.min(256);
        let tracker = Tracker::new(count as usize);
        let queues = (0..count).map(|number| {
            let axis = Axis::queue(0, number as u8).with_session(1);
            tracker.register(axis)?;
            Ok(Queue { axis, known: Frontier::new(), over: 0, earliest: 0 })
        });
        let queues = queues.collect::<Result<_, TrackerError>>()?;
        let (clock, free) = (Clock::new(count), Clock::new(count));
        Ok(Self { tracker, queues, in_flight, clock, free })
    }

    /// Who knows how far each stream has come.
    #[must_use]
    pub const fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// What is ordered before the next operation of a stream.
    ///
    /// # Panics
    /// There is no such stream.
    #[must_use]
    pub fn known(&self, stream: u32) -> FrontierRef<'_> {
        self.queues[stream as usize].known.as_ref()
    }

    /// Submits an operation; its epoch on its stream's axis.
    ///
    /// # Panics
    /// There is no such stream.
    pub fn submit(&mut self, stream: u32) -> Entry {
        let queue = &mut self.queues[stream as usize];
        self.clock.submit(stream as usize, self.in_flight, queue.earliest);
        self.free.submit(stream as usize, self.in_flight, 0);
        let epoch = self.clock.ends[stream as usize].len() as Epoch;
        let axis = queue.axis;
        // The stream's own axis is there from its first operation on, and 256 streams wait for at most 255 others.
        let _ = queue.known.advance(axis, epoch);
        self.look();
        Entry::new(axis, epoch)
    }

    /// The next operation of a stream comes after `wait`.
    ///
    /// # Panics
    /// There is no such stream.
    pub fn wait(&mut self, stream: u32, wait: FrontierRef<'_>) {
        let mut earliest = 0;
        for entry in wait.entries() {
            let of = self.queues.iter().position(|queue| queue.axis == entry.axis);
            let end = of.and_then(|of| self.clock.ends[of].get(entry.epoch as usize - 1));
            earliest = earliest.max(end.copied().unwrap_or(0));
        }
        let queue = &mut self.queues[stream as usize];
        queue.earliest = queue.earliest.max(earliest);
        let _ = queue.known.merge(wait);
    }

    /// The host waits until every stream is idle.
    pub fn drain(&mut self) {
        self.clock.host = self.clock.host.max(self.clock.makespan());
        self.look();
    }

    /// The last operation's end over its end had nothing waited; 1 of no operation.
    #[must_use]
    pub fn time_waited(&self) -> f64 {
        self.clock.makespan().max(1) as f64 / self.free.makespan().max(1) as f64
    }

    /// Advances every axis to what is over.
    fn look(&mut self) {
        let host = self.clock.host;
        for (queue, ends) in self.queues.iter_mut().zip(&self.clock.ends) {
            let before = queue.over;
            while ends.get(queue.over).is_some_and(|&end| end <= host) {
                queue.over += 1;
            }
            if queue.over > before {
                // An axis that is registered and never fails takes every epoch.
                let _ = self.tracker.advance(queue.axis, queue.over as Epoch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_core::Progress;

    #[test]
    fn completion_trails_by_what_may_be_in_flight() {
        for in_flight in [0, 1, 3] {
            let mut streams = Streams::new(1, in_flight).unwrap();
            for epoch in 1..=9 {
                let entry = streams.submit(0);
                assert_eq!(entry.epoch, epoch);
                let over = epoch.saturating_sub(in_flight);
                assert_eq!(streams.tracker().reached(entry.axis), over, "{in_flight} in flight");
            }
        }
    }

    #[test]
    fn streams_run_side_by_side_and_a_wait_is_time_lost() {
        let mut streams = Streams::new(2, 100).unwrap();
        let mut last = streams.submit(0);
        for _ in 0..9 {
            last = streams.submit(0);
        }
        streams.submit(1);
        // Ten ticks and one, side by side.
        assert_eq!(streams.time_waited(), 1.0);
        streams.wait(1, FrontierRef::single(&last));
        for _ in 0..9 {
            streams.submit(1);
        }
        // From tick 10 nine more, where ten would have been enough.
        assert_eq!(streams.time_waited(), 1.9);
        assert_eq!(streams.known(1).get(last.axis), 10);
    }

    #[test]
    fn a_stall_lets_everything_finish() {
        let mut streams = Streams::new(2, 100).unwrap();
        let entries = [streams.submit(0), streams.submit(0), streams.submit(1)];
        streams.drain();
        assert_eq!(entries.map(|entry| streams.tracker().reached(entry.axis)), [2, 2, 1]);
        // It would have run in tick 2.
        streams.submit(1);
        assert_eq!(streams.time_waited(), 1.5);
    }

    #[test]
    fn the_host_blocks_while_a_stream_is_full() {
        let mut streams = Streams::new(2, 2).unwrap();
        for _ in 0..5 {
            streams.submit(0);
        }
        // Three are over, so two ticks of the other stream's time are past: its first operation ends at 4.
        streams.submit(1);
        streams.drain();
        assert_eq!(streams.clock.ends[1], [4]);
        assert_eq!(streams.time_waited(), 1.0);
    }
}
