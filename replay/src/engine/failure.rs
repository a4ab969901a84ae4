//! Why an event failed: what was asked, what was there, and what the free bytes were waiting for.

use super::peaks::Free;
use crate::pools::Pools;
use crate::size::Bytes;
use crate::streams::{Streams, stream_of};
use core::fmt;
use std::collections::BTreeMap;
use strandline_core::inspect::BlockState;
use strandline_core::pool_set::NoMatch;
use strandline_core::{Axis, Epoch, PoolError, Progress};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing fits, and the pool could not grow.
    Exhausted {
        /// A larger pool could have served it.
        growth_required: bool,
    },
    /// The budget does not allow it.
    OverBudget,
    /// The pool or its provider reported an error.
    Pool(PoolError),
    /// No pool of the configuration will ever serve a request of this size.
    NoPool(NoMatch),
    /// Bytes were handed out that were live, or whose last use was not over.
    Unsound,
    /// A block's bytes were not what had been written.
    Corrupted,
    /// A pool refused to take its own reservation back.
    Refused,
    /// A block was freed that is not live.
    NotLive,
}

/// An axis that free bytes wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// The axis.
    pub axis: Axis,
    /// The latest epoch waited for.
    pub epoch: Epoch,
    /// How far the axis has come.
    pub reached: Epoch,
    /// Free bytes that wait for it (and perhaps for others too).
    pub bytes: u64,
    /// It is no stream of the trace: the recording says when the free is completed.
    pub deferred: bool,
}

/// The first event that failed, and the state of the pools at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The event's number, counted from 1.
    pub event: u64,
    /// Where it stands in the trace: [`Step::line`](crate::validate::Step::line).
    pub line: u32,
    /// Bytes asked for; 0 when the event asked for none.
    pub bytes_requested: u64,
    /// Bytes live in the trace.
    pub live_bytes: u64,
    /// The recorded allocator refused the request too.
    pub refused_before: bool,
    /// What happened.
    pub reason: Reason,
    /// Where the free bytes were.
    pub free: Free,
    /// What the pending ones waited for, most bytes first.
    pub waited: Vec<Waited>,
}

impl Failure {
    pub(super) fn new(
        event: u64,
        line: u32,
        bytes_requested: u64,
        live_bytes: u64,
        reason: Reason,
        pools: &Pools,
        streams: &Streams,
    ) -> Self {
        let mut axes: BTreeMap<Axis, (Epoch, u64)> = BTreeMap::new();
        let progress = streams.tracker();
        pools.inspect(&mut |block| {
            if let BlockState::Pending(frontier) = block.state {
                for entry in frontier.entries() {
                    if !progress.has_reached(entry.axis, entry.epoch) {
                        let (epoch, bytes) = axes.entry(entry.axis).or_default();
                        *epoch = entry.epoch.max(*epoch);
                        *bytes += block.size;
                    }
                }
            }
        });
        let mut waited: Vec<_> = axes
            .into_iter()
            .map(|(axis, (epoch, bytes))| Waited {
                axis,
                epoch,
                reached: progress.reached(axis),
                bytes,
                deferred: stream_of(axis).is_some_and(|stream| stream >= streams.count()),
            })
            .collect();
        waited.sort_by_key(|waited| core::cmp::Reverse(waited.bytes));
        let free = Free::of(event, pools);
        let refused_before = false;
        Self { event, line, bytes_requested, live_bytes, refused_before, reason, free, waited }
    }
}

/// What so many bytes wait for.
impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { axis, epoch, reached, bytes, deferred } = self;
        if *deferred {
            return write!(f, "{} wait for the recorded completion of their free", Bytes(*bytes));
        }
        write!(f, "{} wait for {axis} to reach {epoch} (now {reached})", Bytes(*bytes))
    }
}

/// The reason in a sentence, without the event's number and place.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Free { largest_hole, holes, clean, pending, tainted, committed, .. } = self.free;
        let size = Bytes(self.bytes_requested);
        match self.reason {
            Reason::Exhausted { growth_required } => {
                let free = clean + pending + tainted;
                write!(f, "exhausted: {size} requested")?;
                if growth_required {
                    write!(f, ", and no further slab was granted")?;
                }
                write!(
                    f,
                    "; {} of {} committed are free, in {holes} {}, the largest {}",
                    Bytes(free),
                    Bytes(committed),
                    if holes == 1 { "hole" } else { "holes" },
                    Bytes(largest_hole),
                )?;
            }
            Reason::OverBudget => write!(
                f,
                "over budget: {size} requested beside {} reserved",
                Bytes(self.free.reserved)
            )?,
            Reason::Pool(error) => write!(f, "pool error: {error}")?,
            Reason::NoPool(NoMatch::Size { largest }) => write!(
                f,
                "beyond every pool: {size} requested, and by its slabs, its capacity or its budget none will ever serve more than {}",
                Bytes(largest)
            )?,
            Reason::NoPool(why) => write!(f, "no pool of the configuration serves {size}: {why}")?,
            Reason::Unsound => write!(
                f,
                "unsound: the pool handed out bytes that were live or whose last use was not over"
            )?,
            Reason::Corrupted => {
                write!(f, "corrupted: a block did not hold what was written to it")?
            }
            Reason::Refused => write!(f, "a pool refused its own reservation")?,
            Reason::NotLive => write!(f, "a block was freed that is not live")?,
        }
        if let [first, rest @ ..] = &self.waited[..] {
            write!(f, "; {first}")?;
            if !rest.is_empty() {
                let more: u64 = rest.iter().map(|waited| waited.bytes).sum();
                write!(f, ", {} for {} other axes", Bytes(more), rest.len())?;
            }
        }
        Ok(())
    }
}
