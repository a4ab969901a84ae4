//! Reports: what a replay or a fit says, to people as text and to programs as one JSON object.
//!
//! The keys of the JSON object are an interface: [`Json`] lists them, in order, and they do not change. Keys may be
//! added.

use crate::engine::{Failure, Outcome};
use crate::fit::Fit;
use crate::format::Refused;
use crate::memory::Unchecked;
use crate::session::Scan;
use crate::size::Bytes;
use core::fmt::{self, Write as _};

mod json;
mod reader;
mod serving;
mod state;

pub use json::{
    Boundary, Checked, Json, JsonFailure, JsonFit, JsonGpu, LatencyNs, Memory, Oracle, Pool,
    Quantiles, Reuse, Throughput, Trace,
};
pub use reader::{Device, JsonRefused, Reader};
pub use serving::JsonServing;
pub use state::{JsonState, JsonStateReport, JsonTrace, StateReport};

/// What the reader of a trace did besides reading: lines of a report, and its JSON's `reader`.
#[must_use]
pub fn reading(scan: &Scan) -> (String, Reader) {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = reader::write_notes(&mut text, scan);
    (text, reader::reader(scan))
}

/// All that a report tells.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The trace's name.
    pub trace: &'a str,
    /// What the trace holds.
    pub scan: &'a Scan,
    /// The streams were made up.
    pub synthesized: bool,
    /// Why this pool, for people.
    pub choice: &'a str,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// The fit, if that was asked for.
    pub fit: Option<&'a Fit>,
    /// The most bytes that the pools may take, if that is limited.
    pub capacity: Option<u64>,
    /// What the boundary cost, if the pools were behind one.
    pub boundary: Option<Boundary>,
}

impl<'a> Report<'a> {
    /// Bytes active at the peak, as far as the trace was played.
    fn peak_active(&self) -> u64 {
        self.outcome.peaks.active.value
    }

    /// The first request that the recorded allocator refused, if it cannot be judged: it is served here, and nobody says with how much
    /// memory it would have to be.
    fn unjudged(&self) -> Option<&'a Refused> {
        let first = self.scan.refused.first()?;
        (!self.outcome.served.is_empty() && self.capacity.is_none()).then_some(first)
    }

    /// Requests of a serving log that were left out, because each needs more than the capacity.
    fn rejected(&self) -> u64 {
        self.scan.notes.serving.map_or(0, |serving| serving.rejected)
    }

    /// The trace was satisfied, and soundly, the requests that the recorded allocator refused included; of a serving log, none was left out.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.outcome.is_ok() && self.unjudged().is_none() && self.rejected() == 0
    }

    /// What the pools held at most over what was active at most. 1 when nothing was.
    #[must_use]
    pub fn overhead(&self) -> f64 {
        ratio(self.outcome.peaks.committed.value, self.peak_active())
    }

    /// The hole that counts: at the failure, else at the peak.
    fn largest_hole(&self) -> u64 {
        self.outcome
            .failure
            .as_ref()
            .map_or(self.outcome.peaks.free.largest_hole, |failure| failure.free.largest_hole)
    }

    /// The report as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> Json<'a> {
        let Outcome { peaks, stats, latencies, verdict, .. } = self.outcome;
        Json {
            trace: Trace {
                format: self.scan.format.name(),
                events: self.scan.totals.events,
                streams: self.outcome.streams,
                streams_synthesized: self.synthesized,
                peak_live_bytes: self.scan.totals.peak_live_bytes,
                peak_allocated_bytes: self.scan.totals.peak_live_bytes,
                peak_active_bytes: self.scan.totals.peak_active_bytes,
                device: self.scan.notes.device,
                devices: self.scan.notes.devices,
                device_bytes: self.scan.device_bytes(),
                recorded_peak_reserved_bytes: self.scan.notes.recorded_peak_reserved_bytes,
                refused: reader::refused(self.scan, &self.outcome.served),
                reader: reader::reader(self.scan),
            },
            serving: self.scan.notes.serving.map(Into::into),
            memory: Memory {
                peak_allocated_bytes: peaks.live.value,
                peak_active_bytes: peaks.active.value,
                peak_reserved_bytes: peaks.committed.value,
                final_reserved_bytes: stats.committed_bytes,
            },
            pool: Pool {
                kind: self.outcome.kind,
                choice: self.choice,
                peak_requested_bytes: peaks.requested.value,
                peak_reserved_bytes: peaks.reserved.value,
                peak_committed_bytes: peaks.committed.value,
                peak_pending_bytes: peaks.pending.value,
                final_committed_bytes: stats.committed_bytes,
                largest_hole_bytes: self.largest_hole(),
                overhead: self.overhead(),
                peak_slabs: peaks.slabs.value,
            },
            reuse: Reuse {
                fresh: stats.fresh,
                dominated: stats.dominated,
                completed: stats.completed,
                waited: stats.waited,
                missed: stats.missed,
                tainted: stats.tainted,
                stalled: self.outcome.stalls,
            },
            latency_ns: LatencyNs {
                acquire: Quantiles::of(&latencies.acquire),
                release: Quantiles::of(&latencies.release),
            },
            throughput: Throughput { events_per_s: self.outcome.events_per_s() },
            oracle: Oracle {
                overlaps: verdict.overlaps,
                early_reuse: verdict.early_reuse,
                corruptions: verdict.corruptions,
                missed_fits: verdict.missed_fits,
            },
            checked: self.outcome.unchecked.into(),
            ok: self.is_ok(),
            failure: self.failure_of_any_kind(),
            fit: self.fit.map(|fit| JsonFit {
                capacity_bytes: fit.capacity,
                overhead: ratio(fit.capacity, self.peak_active()),
                config: fit.config.to_toml(),
                stopped: fit.stopped,
                judged: fit.judged,
                candidates: fit.candidates,
                replays: fit.replays,
            }),
            gpu: self.outcome.device.as_ref().map(|device| JsonGpu {
                adapter: device.adapter.clone(),
                submissions: device.submissions,
                completion_ns: Quantiles::of(&device.completion),
            }),
            boundary: self.boundary,
        }
    }

    fn failure_of_any_kind(&self) -> Option<JsonFailure> {
        match (&self.outcome.failure, self.unjudged()) {
            (Some(failure), _) => Some(failure.into()),
            (None, Some(refused)) => Some(JsonFailure {
                event: refused.event,
                bytes_requested: refused.bytes,
                live_bytes: refused.live_bytes,
                allocated_bytes: refused.live_bytes,
                largest_hole_bytes: self.largest_hole(),
                pending_bytes: 0,
                reason: UNJUDGED.to_owned(),
            }),
            (None, None) => None,
        }
    }

    fn bytes(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let peaks = &self.outcome.peaks;
        writeln!(f, "bytes                peak        at event")?;
        for (name, peak) in [
            ("allocated", peaks.live),
            ("active", peaks.active),
            ("requested", peaks.requested),
            ("handed out", peaks.reserved),
            ("reserved", peaks.committed),
            ("pending", peaks.pending),
        ] {
            writeln!(f, "  {name:<10} {:>14} {:>15}", Bytes(peak.value), peak.event)?;
        }
        let over = 100.0 * (self.overhead() - 1.0);
        writeln!(
            f,
            "  packing overhead {:.4} ({over:+.2} %: peak reserved over peak active; 1 is perfect)",
            self.overhead()
        )?;
        let free = self.outcome.failure.as_ref().map_or(&peaks.free, |failure| &failure.free);
        let when = if self.outcome.failure.is_some() {
            "when it failed"
        } else {
            "at the peak of what was handed out"
        };
        writeln!(f, "\nfree bytes {when} (event {})", free.event)?;
        writeln!(
            f,
            "  largest hole {} ({} of it usable at once), {} {} in all",
            Bytes(free.largest_hole),
            Bytes(free.largest_clean.min(free.largest_hole)),
            free.holes,
            if free.holes == 1 { "hole" } else { "holes" }
        )?;
        writeln!(
            f,
            "  clean {}, pending {}, tainted {}, padding {}",
            Bytes(free.clean),
            Bytes(free.pending),
            Bytes(free.tainted),
            Bytes(free.padding)
        )
    }

    fn slabs(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let Outcome { peaks, stats, timeline, .. } = self.outcome;
        writeln!(
            f,
            "slabs      at most {} (event {}), {} at the end with {}",
            peaks.slabs.value,
            peaks.slabs.event,
            stats.slabs,
            Bytes(stats.committed_bytes)
        )?;
        let line = sparkline(timeline.buckets().iter().map(|bucket| bucket.max.slabs), 60);
        writeln!(f, "  over time {line}")
    }

    fn speed(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let Outcome { latencies, elapsed, .. } = self.outcome;
        writeln!(f, "latency ns        p50        p99      p99.9        max")?;
        for (name, histogram) in [("acquire", &latencies.acquire), ("release", &latencies.release)]
        {
            let Quantiles { p50, p99, p999, max } = Quantiles::of(histogram);
            writeln!(f, "  {name:<8} {p50:>10} {p99:>10} {p999:>10} {max:>10}")?;
        }
        if let Some(device) = &self.outcome.device {
            let Quantiles { p50, p99, p999, max } = Quantiles::of(&device.completion);
            writeln!(f, "  complete {p50:>10} {p99:>10} {p999:>10} {max:>10}")?;
            writeln!(
                f,
                "gpu        {}: {} submissions, each complete when the poller says so",
                device.adapter, device.submissions
            )?;
        }
        writeln!(
            f,
            "speed      {:.0} events/s ({:.3} s, reading and checking included)",
            self.outcome.events_per_s(),
            elapsed.as_secs_f64()
        )?;
        if let Some(Boundary { calls, ns_per_call }) = self.boundary {
            writeln!(
                f,
                "boundary   {calls} calls crossed it, {ns_per_call:.0} ns each for the crossing alone: {:.3} s",
                calls as f64 * ns_per_call * 1e-9
            )?;
        }
        Ok(())
    }

    fn failure(&self, f: &mut impl fmt::Write, failure: &Failure) -> fmt::Result {
        let place = reader::place(self.scan, failure.line);
        let again = if failure.refused_before {
            "the recorded allocator refused this request, and so do these pools; "
        } else {
            ""
        };
        writeln!(f, "FAILED at event {} ({place}): {again}{failure}", failure.event)?;
        writeln!(
            f,
            "  allocated {}, largest hole {}, pending {}",
            Bytes(failure.live_bytes),
            Bytes(failure.free.largest_hole),
            Bytes(failure.free.pending)
        )?;
        for waited in failure.waited.iter().take(8) {
            writeln!(f, "  {waited}")?;
        }
        if let Some(more @ 1..) = failure.waited.len().checked_sub(8) {
            writeln!(f, "  and {more} other axes")?;
        }
        Ok(())
    }
}

/// The report for people.
impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scan, outcome, .. } = self;
        let totals = &scan.totals;
        let events = if totals.events == 1 { "event" } else { "events" };
        let format = scan.format.name();
        write!(f, "trace      {} ({format}): {} {events}", self.trace, totals.events)?;
        let played = if outcome.events < totals.events {
            format!(", {} played", outcome.events)
        } else {
            String::new()
        };
        let streams = match (outcome.streams, self.synthesized) {
            (1, false) => "1 stream".to_owned(),
            (n, false) => format!("{n} streams"),
            (n, true) => format!("{n} streams (synthesized: the trace has 1)"),
        };
        writeln!(f, "{played}, {streams}")?;
        reader::write_notes(f, scan)?;
        reader::write_refused(f, scan, &outcome.served)?;
        if let Some(report) = &scan.notes.serving {
            serving::write(f, report)?;
        }
        writeln!(f, "pool       {} ({})\n", outcome.kind, self.choice)?;
        self.bytes(f)?;
        let stats = &outcome.stats;
        writeln!(
            f,
            "\nreuse      fresh {}, dominance {}, completion {}, wait {}; misses {}, tainted {}",
            stats.fresh,
            stats.dominated,
            stats.completed,
            stats.waited,
            stats.missed,
            stats.tainted
        )?;
        if outcome.stalls > 0 {
            writeln!(f, "           {} times all streams had to finish first", outcome.stalls)?;
        }
        self.slabs(f)?;
        f.write_char('\n')?;
        self.speed(f)?;
        let verdict = outcome.verdict;
        let word = if verdict.is_sound() { "sound" } else { "NOT SOUND" };
        writeln!(
            f,
            "oracle     {word}: {} overlaps, {} early reuses, {} corruptions; {} missed fits",
            verdict.overlaps, verdict.early_reuse, verdict.corruptions, verdict.missed_fits
        )?;
        write_unchecked(f, outcome.unchecked)?;
        match (&outcome.failure, self.unjudged()) {
            (Some(failure), _) => self.failure(f, failure)?,
            (None, Some(refused)) => writeln!(
                f,
                "FAILED at event {} ({}): {UNJUDGED}",
                refused.event,
                reader::place(scan, refused.line)
            )?,
            (None, None) if totals.failures > 0 && outcome.served.is_empty() => {
                writeln!(
                    f,
                    "ok         every request was satisfied that was satisfied when recorded"
                )?;
            }
            (None, None) if self.rejected() > 0 => {
                writeln!(f, "FAILED: {} requests need more than the capacity", self.rejected())?;
            }
            (None, None) => writeln!(f, "ok         every request was satisfied")?,
        }
        if let Some(fit) = self.fit {
            let over = ratio(fit.capacity, self.peak_active());
            writeln!(
                f,
                "\nfit        {} bytes ({}) is the smallest capacity found: {over:.4} of peak active ({:+.2} %)",
                fit.capacity,
                Bytes(fit.capacity).at_least(),
                100.0 * (over - 1.0)
            )?;
            if fit.stopped {
                writeln!(
                    f,
                    "stopped    time was up (--for): {} of {} configurations were judged, {} were not tried",
                    fit.judged,
                    fit.candidates,
                    fit.candidates - fit.judged.min(fit.candidates)
                )?;
            }
        }
        Ok(())
    }
}

/// A line about what was played without bytes, if anything was.
fn write_unchecked(f: &mut impl fmt::Write, unchecked: Unchecked) -> fmt::Result {
    let Unchecked { unmapped_bytes, untagged_blocks } = unchecked;
    match (unmapped_bytes, untagged_blocks) {
        (0, 0) => Ok(()),
        (0, blocks) => writeln!(
            f,
            "checked    placement only of {blocks} blocks, whose tags would not fit in the memory for them"
        ),
        (bytes, _) => {
            writeln!(f, "checked    placement only, {} could not be mapped here", Bytes(bytes))
        }
    }
}

/// Said of a refused request that is served here, where nobody says how much memory there was.
const UNJUDGED: &str = "the recorded allocator refused this request, and the file does not tell how much memory it had; say \
    --capacity SIZE to judge it, or --as-recorded to skip it";

/// `of` over `to`; 1 where there is nothing to compare with.
fn ratio(of: u64, to: u64) -> f64 {
    if to == 0 { 1.0 } else { of as f64 / to as f64 }
}

/// Values as bars of one line of text, at most `width` of them; of values that share a bar, the most counts.
fn sparkline(values: impl ExactSizeIterator<Item = u64>, width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let len = values.len();
    let mut columns = vec![0; len.min(width)];
    for (i, value) in values.enumerate() {
        let column = &mut columns[i * len.min(width) / len];
        *column = value.max(*column);
    }
    let most = columns.iter().copied().max().unwrap_or(0).max(1);
    // Rounded up, so that only 0 looks like nothing; the quotient is at most 7.
    columns.iter().map(|value| BARS[(value * 7).div_ceil(most) as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;

    #[test]
    fn quantiles_are_in_order_and_never_above_the_most() {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        for value in [40, 41, 40, 1_000_003, 77] {
            histogram.record(value).unwrap();
        }
        let Quantiles { p50, p99, p999, max } = Quantiles::of(&histogram);
        assert!(p50 <= p99 && p99 <= p999 && p999 <= max, "{p50} {p99} {p999} {max}");
        assert_eq!(p50, 41);
    }

    #[test]
    fn a_line_of_bars_keeps_the_peaks() {
        assert_eq!(sparkline([].into_iter(), 10), "");
        assert_eq!(sparkline([0, 1, 7].into_iter(), 10), "▁▂█");
        let mut values = vec![1; 1000];
        values[500] = 100;
        let line = sparkline(values.into_iter(), 60);
        assert_eq!(line.chars().count(), 60);
        assert_eq!(line.matches('█').count(), 1);
    }

    #[test]
    fn a_ratio_to_nothing_is_one() {
        assert!((ratio(5, 0) - 1.0).abs() < f64::EPSILON);
        assert!((ratio(3, 2) - 1.5).abs() < f64::EPSILON);
    }
}
