//! What came of a replay: the verdict first, for people and for programs.

use super::judge::Judge;
use super::player::Played;
use super::{Course, Plan};
use crate::picture::Picture;
use core::fmt;
use serde_json::json;
use std::collections::BTreeSet;
use strandline_core::fleet::Names;
use strandline_replay::oracle::Verdict;
use strandline_replay::size::Bytes;

/// What the trace took of the pool: the same, whoever plays it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blocks asked for.
    pub requests: u64,
    /// Of those, refused.
    pub refused: u64,
    /// Blocks given back.
    pub releases: u64,
    /// Blocks that were there at the end.
    pub live: u64,
    /// The most bytes handed out at once, padding included.
    pub peak_allocated: u64,
    /// The most bytes handed out, or given back and still used, as counted after each turn.
    pub peak_active: u64,
    /// The most bytes of slabs.
    pub peak_reserved: u64,
    /// Blocks of bytes that were never used before.
    pub fresh: u64,
    /// Blocks of bytes that the stream itself was still using.
    pub dominated: u64,
    /// Blocks of bytes that nobody was using any more.
    pub completed: u64,
}

/// What a worker did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worked {
    /// Its number.
    pub worker: u32,
    /// The member that it was.
    pub names: Option<Names>,
    /// Its streams, each an axis.
    pub streams: BTreeSet<u32>,
    /// Blocks that it asked for.
    pub requests: u64,
    /// Of those, refused.
    pub refused: u64,
    /// The most bytes that were lent to it at once.
    pub peak: u64,
}

impl Worked {
    pub(super) fn add(&mut self, stream: u32, played: &Played) {
        self.streams.insert(stream);
        self.requests += played.grants.len() as u64;
        self.refused += played.grants.iter().filter(|grant| grant.is_none()).count() as u64;
        self.peak = self.peak.max(played.peak);
    }
}

/// Workers that were lost, and what became of their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallen {
    /// Their numbers.
    pub workers: Vec<u32>,
    /// Members that failed.
    pub members: u64,
    /// Of those, fenced: nothing of them can touch memory any more.
    pub fenced: u64,
    /// Reservations that were in doubt and came back with the fence.
    pub reservations: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What came of a replay: the verdict first, for people and for programs.
#[derive(Clone, Debug)]
pub struct Report {
    /// The trace's file.
    pub trace: String,
    /// Its format.
    pub format: &'static str,
    /// Its events.
    pub events: u64,
    /// The last event that was played.
    pub played: u64,
    /// Streams.
    pub streams: u32,
    /// The trace has one stream, which was spread over these.
    pub is_spread: bool,
    /// Turns that were played.
    pub turns: u64,
    /// Processes that played; 0 for this one alone.
    pub workers: u32,
    /// Requests that the recorded allocator refused, which were left out.
    pub left_out: u64,
    /// Bytes that could be lent.
    pub capacity: u64,
    /// From the first turn to the last.
    pub seconds: f64,
    /// What the oracle and the stamps found.
    pub verdict: Verdict,
    /// What it took.
    pub totals: Totals,
    /// Who did what.
    pub members: Vec<Worked>,
    /// Who was lost.
    pub fallen: Fallen,
    /// The fleet when the last turn was played; `None` without workers.
    pub fleet: Option<Picture>,
}

/// What a report begins with: all that went wrong, the worst first.
pub(super) fn headline(
    is_sound: bool,
    lost: Option<String>,
    refused: u64,
    requests: u64,
) -> String {
    let unsound = (!is_sound).then(|| "unsound: bytes were used by two at once".to_owned());
    let refused = (refused > 0).then(|| format!("{refused} of {requests} requests were refused"));
    let parts: Vec<String> = [unsound, lost, refused].into_iter().flatten().collect();
    if parts.is_empty() {
        return "ok, every request was satisfied".to_owned();
    }
    parts.join("; ")
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        judge: &Judge,
        course: Course,
        members: Vec<Worked>,
        fallen: Fallen,
        fleet: Option<Picture>,
    ) -> Self {
        let (counts, stats) = (judge.counts(), course.stats);
        Self {
            trace: plan.options.trace.display().to_string(),
            format: plan.scan.format.name(),
            events: plan.scan.totals.events,
            played: course.event,
            streams: plan.streams,
            is_spread: plan.spread.is_some(),
            turns: course.turns,
            workers: plan.options.workers,
            left_out: plan.scan.totals.failures,
            capacity: plan.capacity,
            seconds: course.elapsed.as_secs_f64(),
            verdict: judge.verdict(),
            totals: Totals {
                requests: counts.requests,
                refused: counts.refused,
                releases: counts.releases,
                live: judge.live(),
                peak_allocated: stats.peak_reserved_bytes,
                peak_active: course.peak_active,
                peak_reserved: stats.peak_committed_bytes,
                fresh: stats.fresh,
                dominated: stats.dominated,
                completed: stats.completed,
            },
            members,
            fallen,
            fleet,
        }
    }

    /// 0 when every request was served and no byte was in danger, 1 when not, 3 when a worker was lost.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if !self.fallen.workers.is_empty() {
            3
        } else if self.is_sound() && self.totals.refused == 0 {
            0
        } else {
            1
        }
    }

    /// Both oracles and the stamps found nothing: the one that knows the trace, and the owner's.
    fn is_sound(&self) -> bool {
        self.verdict.is_sound() && self.fleet.as_ref().is_none_or(Picture::is_sound)
    }

    /// What the report begins with.
    #[must_use]
    pub fn headline(&self) -> String {
        let Self { totals, fallen, .. } = self;
        let lost = fallen.workers.split_first().map(|(worker, more)| {
            let more =
                if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            format!("lost worker {worker}{more} after event {}", self.played)
        });
        headline(self.is_sound(), lost, totals.refused, totals.requests)
    }

    /// The report as one object. Numbers are bytes where the key does not say otherwise.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { verdict, totals, fallen, .. } = self;
        let member = |member: &Worked| {
            json!({
                "worker": member.worker,
                "names": member.names.map(|names| names.to_string()).unwrap_or_default(),
                "axes": member.streams.len(),
                "requests": member.requests,
                "refused": member.refused,
                "peak_bytes": member.peak,
            })
        };
        json!({
            "ok": self.exit_code() == 0,
            "verdict": self.headline(),
            "oracle": {
                "overlaps": verdict.overlaps,
                "early_reuse": verdict.early_reuse,
                "corruptions": verdict.corruptions,
            },
            "trace": {
                "file": self.trace,
                "format": self.format.to_string(),
                "events": self.events,
                "played": self.played,
                "streams": self.streams,
                "streams_synthesized": self.is_spread,
                "left_out": self.left_out,
            },
            "workers": self.workers,
            "turns": self.turns,
            "seconds": self.seconds,
            "capacity": self.capacity,
            "totals": {
                "requests": totals.requests,
                "refused": totals.refused,
                "releases": totals.releases,
                "live": totals.live,
                "peak_allocated_bytes": totals.peak_allocated,
                "peak_active_bytes": totals.peak_active,
                "peak_reserved_bytes": totals.peak_reserved,
                "fresh": totals.fresh,
                "dominated": totals.dominated,
                "completed": totals.completed,
            },
            "lost": {
                "workers": fallen.workers,
                "members_failed": fallen.members,
                "members_fenced": fallen.fenced,
                "reservations_in_doubt": fallen.reservations,
                "bytes_in_doubt": fallen.bytes,
            },
            "members": self.members.iter().map(member).collect::<Vec<_>>(),
            "fleet": self.fleet.as_ref().and_then(|fleet| serde_json::to_value(fleet).ok()),
        })
        .to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, totals, fallen, .. } = self;
        writeln!(f, "verdict    {}", self.headline())?;
        writeln!(
            f,
            "oracle     {}: {} overlaps, {} early reuses, {} corruptions",
            if verdict.is_sound() { "sound" } else { "UNSOUND" },
            verdict.overlaps,
            verdict.early_reuse,
            verdict.corruptions
        )?;
        let spread = if self.is_spread { " (synthesized)" } else { "" };
        writeln!(
            f,
            "trace      {} ({}): {} of {} events, {} streams{spread}",
            self.trace, self.format, self.played, self.events, self.streams
        )?;
        let who = match self.workers {
            0 => "this process alone".to_owned(),
            1 => "1 worker".to_owned(),
            many => format!("{many} workers"),
        };
        writeln!(f, "played by  {who}, in {} turns, in {:.2} s", self.turns, self.seconds)?;
        let Totals { requests, refused, releases, live, .. } = totals;
        writeln!(
            f,
            "requests   {requests}, {refused} refused; {releases} released, {live} there at the end"
        )?;
        if self.left_out > 0 {
            writeln!(f, "left out   {} that were refused when it was recorded", self.left_out)?;
        }
        writeln!(
            f,
            "peak       {} allocated, {} active, {} reserved, of {}",
            Bytes(totals.peak_allocated),
            Bytes(totals.peak_active),
            Bytes(totals.peak_reserved),
            Bytes(self.capacity)
        )?;
        writeln!(
            f,
            "reuse      {} fresh, {} dominated, {} completed",
            totals.fresh, totals.dominated, totals.completed
        )?;
        if !self.fallen.workers.is_empty() {
            writeln!(
                f,
                "lost       workers {:?}: {} members failed, {} fenced; {} in doubt in {} blocks, back with the fence",
                fallen.workers,
                fallen.members,
                fallen.fenced,
                Bytes(fallen.bytes),
                fallen.reservations
            )?;
        }
        if !self.members.is_empty() {
            writeln!(f, "\nworker  member   axes   requests    refused   lent at peak")?;
        }
        for member in &self.members {
            let names = member.names.map(|names| names.to_string()).unwrap_or_default();
            writeln!(
                f,
                "{:<7} {names:<7} {:>5} {:>10} {:>10} {:>14}",
                member.worker,
                member.streams.len(),
                member.requests,
                member.refused,
                Bytes(member.peak).to_string()
            )?;
        }
        if let Some(fleet) = &self.fleet {
            write!(f, "\nWhen the last turn was played:\n{fleet}")?;
        }
        Ok(())
    }
}
