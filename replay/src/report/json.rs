//! The JSON object of a report.

use super::{JsonRefused, JsonServing, Reader};
use crate::engine::Failure;
use crate::memory::Unchecked;
use hdrhistogram::Histogram;
use serde::Serialize;

/// What it costs to have the pools behind a boundary.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Boundary {
    /// Calls that crossed it.
    pub calls: u64,
    /// What a call that does nothing takes, in nanoseconds: the crossing alone.
    pub ns_per_call: f64,
}

/// The JSON object. Sizes in bytes, times in nanoseconds.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct Json<'a> {
    pub trace: Trace<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<JsonServing>,
    pub memory: Memory,
    pub pool: Pool<'a>,
    pub reuse: Reuse,
    pub latency_ns: LatencyNs,
    pub throughput: Throughput,
    pub oracle: Oracle,
    pub checked: Checked,
    pub ok: bool,
    pub failure: Option<JsonFailure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit: Option<JsonFit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<JsonGpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boundary: Option<Boundary>,
}

/// `gpu.*`, only of a replay on a GPU.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct JsonGpu {
    pub adapter: String,
    pub submissions: u64,
    pub completion_ns: Quantiles,
}

/// `trace.*`
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct Trace<'a> {
    pub format: &'a str,
    pub events: u64,
    pub streams: u32,
    pub streams_synthesized: bool,
    pub peak_live_bytes: u64,
    pub peak_allocated_bytes: u64,
    pub peak_active_bytes: u64,
    pub device: Option<u32>,
    pub devices: u32,
    pub device_bytes: Option<u64>,
    pub recorded_peak_reserved_bytes: Option<u64>,
    pub refused: Vec<JsonRefused>,
    pub reader: Reader,
}

/// `memory.*`: what was played, in the words of PyTorch and RMM.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct Memory {
    pub peak_allocated_bytes: u64,
    pub peak_active_bytes: u64,
    pub peak_reserved_bytes: u64,
    pub final_reserved_bytes: u64,
}

/// `pool.*`, in older words: `reserved` is what was handed out, `committed` what the pools hold.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct Pool<'a> {
    pub kind: &'a str,
    pub choice: &'a str,
    pub peak_requested_bytes: u64,
    pub peak_reserved_bytes: u64,
    pub peak_committed_bytes: u64,
    pub peak_pending_bytes: u64,
    pub final_committed_bytes: u64,
    pub largest_hole_bytes: u64,
    pub overhead: f64,
    pub peak_slabs: u64,
}

/// `reuse.*`: counts.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct Reuse {
    pub fresh: u64,
    pub dominated: u64,
    pub completed: u64,
    pub waited: u64,
    pub missed: u64,
    pub tainted: u64,
    pub stalled: u64,
}

/// `latency_ns.*`
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct LatencyNs {
    pub acquire: Quantiles,
    pub release: Quantiles,
}

/// `latency_ns.acquire.*` and `latency_ns.release.*`
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct Quantiles {
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Quantiles {
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        // A quantile is reported as the upper end of its bucket, which may lie above the largest value seen.
        let max = histogram.max();
        let at = |quantile| histogram.value_at_quantile(quantile).min(max);
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max }
    }
}

/// `throughput.*`
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct Throughput {
    pub events_per_s: f64,
}

/// `oracle.*`: counts. The first three are 0 for a sound pool, the last for one that finds what is there.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct Oracle {
    pub overlaps: u64,
    pub early_reuse: u64,
    pub corruptions: u64,
    pub missed_fits: u64,
}

/// `checked.*`: whether every block's bytes were written and checked, or only its placement.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct Checked {
    /// `bytes` or `placement`.
    pub what: &'static str,
    pub unmapped_bytes: u64,
    pub untagged_blocks: u64,
}

impl From<Unchecked> for Checked {
    fn from(unchecked: Unchecked) -> Self {
        let Unchecked { unmapped_bytes, untagged_blocks } = unchecked;
        let what = if unchecked == Unchecked::default() { "bytes" } else { "placement" };
        Self { what, unmapped_bytes, untagged_blocks }
    }
}

/// `failure.*`, or null.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct JsonFailure {
    pub event: u64,
    pub bytes_requested: u64,
    pub live_bytes: u64,
    pub allocated_bytes: u64,
    pub largest_hole_bytes: u64,
    pub pending_bytes: u64,
    pub reason: String,
}

impl From<&Failure> for JsonFailure {
    fn from(failure: &Failure) -> Self {
        Self {
            event: failure.event,
            bytes_requested: failure.bytes_requested,
            live_bytes: failure.live_bytes,
            allocated_bytes: failure.live_bytes,
            largest_hole_bytes: failure.free.largest_hole,
            pending_bytes: failure.free.pending,
            reason: failure.to_string(),
        }
    }
}

/// `fit.*`, only of `fit`.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct JsonFit {
    pub capacity_bytes: u64,
    pub overhead: f64,
    pub config: String,
    /// The time was up: see `judged` and `candidates`.
    pub stopped: bool,
    pub judged: usize,
    pub candidates: usize,
    pub replays: u32,
}
