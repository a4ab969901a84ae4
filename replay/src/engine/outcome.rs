//! What came of a replay, and how long its calls into the pools took.

use super::{Failure, Peaks};
use crate::memory::{DeviceReport, Unchecked};
use crate::oracle::Verdict;
use crate::series::Timeline;
use hdrhistogram::Histogram;
use std::time::Duration;
use strandline_core::PoolStats;

/// Latencies of the calls into the pools, in nanoseconds. The clock's own cost is part of them.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// Of acquires, refused ones too.
    pub acquire: Histogram<u64>,
    /// Of releases.
    pub release: Histogram<u64>,
}

impl Latencies {
    /// Up to `longest` nanoseconds are told apart.
    pub(super) fn new(longest: u64) -> Self {
        // The bounds are constants within what the histogram supports.
        let histogram =
            || Histogram::new_with_bounds(1, longest, 3).expect("up to a minute at three digits");
        Self { acquire: histogram(), release: histogram() }
    }
}

/// What came of a replay.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Events played: the last one's number.
    pub events: u64,
    /// Streams it was played on.
    pub streams: u32,
    /// The pools' kind.
    pub kind: &'static str,
    /// The pools' counters after the last event.
    pub stats: PoolStats,
    /// The highest values and when they were.
    pub peaks: Peaks,
    /// Bytes over time.
    pub timeline: Timeline,
    /// How long the pools took.
    pub latencies: Latencies,
    /// Answers that required a wait.
    pub waits: u64,
    /// Times that all streams had to finish before memory was found.
    pub stalls: u64,
    /// What the oracle found.
    pub verdict: Verdict,
    /// Whether each request that the recorded allocator refused was served here: the first [`MOST_REFUSED`](crate::format::MOST_REFUSED).
    pub served: Vec<bool>,
    /// Blocks still live at the end.
    pub live_blocks: u64,
    /// The first event that could not be satisfied or was unsound.
    pub failure: Option<Failure>,
    /// From the first event to the last.
    pub elapsed: Duration,
    /// The device whose memory it was, if it was a device's.
    pub device: Option<DeviceReport>,
    /// What was played without bytes.
    pub unchecked: Unchecked,
}

impl Outcome {
    /// The trace was satisfied, and soundly.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.failure.is_none() && self.verdict.is_sound()
    }

    /// Events a second, 0 when no time was measured.
    #[must_use]
    pub fn events_per_s(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.events as f64 / seconds } else { 0.0 }
    }
}
