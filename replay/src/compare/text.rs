//! The comparison for people and programs: a table, the line to paste, and what it is worth.

use super::bounds::POOLS_OF_STREAMS;
use super::{Basis, Comparison, Kind, RECORDED, Row};
use crate::plot::Bar;
use crate::size::{Bytes, counted};
use core::fmt::Write;
use serde_json::{Value, json};

/// What a recommendation saves at least, as a share of what the current settings take: less is shown as 0.0 %.
const WORTH: f64 = 0.0005;

impl Comparison {
    /// The row to recommend: of those that meet every request, what the user can do today. Certified rows go first, then other
    /// settings of the recorded allocator, other allocators, Strandline; among equals the fewest bytes, and then the fewest calls of
    /// the driver. Nothing is recommended that saves less than 0.05 % of what the current settings take.
    #[must_use]
    pub fn best(&self) -> Option<&Row> {
        let current = self.current();
        let saves = |row: &Row, now: &Row| {
            let saved = now.peak_reserved.saturating_sub(row.peak_reserved);
            saved > 0 && saved as f64 >= WORTH * now.peak_reserved as f64
        };
        let better = |row: &&Row| {
            !row.current
                && !row.paste.is_empty()
                && row.is_ok()
                && current.is_none_or(|now| !now.is_ok() || saves(row, now))
        };
        let rank = |kind| match kind {
            Kind::Own => 0,
            Kind::Other | Kind::Run => 1,
            Kind::Strandline | Kind::Planned | Kind::Bound => 2,
        };
        self.rows.iter().filter(better).min_by_key(|row| {
            let calls = row.counts.grants + row.counts.returns;
            (!row.certified, rank(row.kind), row.peak_reserved, calls)
        })
    }

    /// What the run would have taken with the settings it had: from an unused allocator, as all other rows.
    #[must_use]
    pub fn current(&self) -> Option<&Row> {
        self.rows.iter().rev().find(|row| row.current)
    }

    /// Whether nothing fits that can be had today: neither the current settings nor any other allocator's row.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        let today = |row: &&Row| !matches!(row.kind, Kind::Planned | Kind::Bound);
        !self.rows.iter().filter(today).any(Row::is_ok)
    }

    /// Where a request stands, in the words of the trace.
    fn place(&self, at: u32) -> String {
        match (&self.certificate, at) {
            (_, 0) => "before the first entry".to_owned(),
            (Some(_), at) => format!("at entry {}", at - 1),
            (None, at) => format!("at line {at}"),
        }
    }

    /// Its rows as bars of a picture: those of allocators, and Strandline's.
    #[must_use]
    pub fn bars(&self) -> Vec<Bar> {
        let rows = self.rows.iter().filter(|row| row.kind != Kind::Bound);
        let bar = |row: &Row| Bar {
            name: format!("{}: {}", row.allocator, row.settings),
            bytes: row.peak_reserved,
            current: row.current,
            failed: !row.is_ok(),
        };
        rows.map(bar).collect()
    }

    /// As JSON: the keys are stable.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "certificate": self.certificate.as_ref().map_or_else(
                || json!({
                    "addresses": { "reproduced": 0, "of": 0 },
                    "segments": { "reproduced": 0, "of": 0 },
                    "sweeps": { "reproduced": 0, "of": 0 },
                    "first_difference": null,
                    "nothing_to_compare": "the trace carries no segments",
                    "whole": false,
                    "settings": null,
                    "notes": ["rules only: the trace carries no segments"],
                }),
                crate::certify::Certificate::to_json,
            ),
            "compare": {
                "capacity_bytes": self.capacity.map(|(bytes, _)| bytes),
                "peak_active_bytes": self.peak_active,
                "steps": self.steps,
                "best": self.best().map(|row| json!({ "allocator": row.allocator, "settings": row.settings, "paste": row.paste.join("\n") })),
                "rows": self.rows.iter().map(|row| json!({
                    "allocator": row.allocator,
                    "settings": row.settings,
                    "paste": row.paste.join("\n"),
                    "needs": row.needs,
                    "peak_reserved_bytes": row.peak_reserved,
                    "over_active": row.over_active,
                    "ok": row.is_ok(),
                    // As the file counts: entries of a snapshot from 0, lines from 1.
                    "failed_at": match &self.certificate {
                        Some(_) => row.failed_at.and_then(|at| at.checked_sub(1)),
                        None => row.failed_at.filter(|&at| at > 0),
                    },
                    "certified": row.certified,
                    "basis": row.basis().word(),
                    "current": row.current,
                    "grants": row.counts.grants,
                    "returns": row.counts.returns,
                    "sweeps": row.counts.sweeps,
                    "moved": row.counts.moved,
                    "waits": row.counts.waits,
                })).collect::<Vec<_>>(),
            },
        })
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self, file: &str) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out, file);
        out
    }

    fn write(&self, out: &mut String, file: &str) -> core::fmt::Result {
        self.recommend(out)?;
        match &self.certificate {
            Some(certificate) => writeln!(out, "{}.\n", certificate.verdict())?,
            None => writeln!(
                out,
                "rules only: this trace carries no segments, so no model could be compared with the recorded run.\n"
            )?,
        }
        writeln!(
            out,
            "trace       {file}: {}",
            counted(self.steps as u64, "request or free", "requests and frees")
        )?;
        if let Some((bytes, how)) = self.capacity {
            writeln!(out, "device      {} ({how})", Bytes(bytes).at_least())?;
        }
        writeln!(
            out,
            "peak active {}: no allocator can be below\n",
            Bytes(self.peak_active).at_least()
        )?;
        let settings = self.rows.iter().map(|row| row.settings.len()).max().unwrap_or(8).min(52);
        writeln!(
            out,
            "{:<14}{:<settings$}  {:>12} {:>7}  {:<22}{:>9}{:>8}{:>7}{:>8}",
            "allocator", "settings", "reserved", "over", "", "segments", "sweeps", "waits", "moved"
        )?;
        for row in &self.rows {
            let fits = match row.failed_at {
                Some(0) => "fails".to_owned(),
                Some(at) => format!("fails {}", self.place(at)),
                None => "fits".to_owned(),
            };
            write!(
                out,
                "{:<14}{:<settings$}  {:>12} {:>6.2}x  {fits:<22}",
                row.allocator,
                row.settings,
                Bytes(row.peak_reserved).at_least(),
                row.over_active,
            )?;
            match row.kind {
                // A recording tells of no waits and no moves.
                Kind::Own if row.basis() == Basis::Recorded => writeln!(
                    out,
                    "{:>9}{:>8}{:>7}{:>8}  recorded; the model {}",
                    row.counts.grants,
                    row.counts.sweeps,
                    "-",
                    "-",
                    if row.certified {
                        "reproduces it: certified"
                    } else {
                        "does NOT reproduce it"
                    },
                )?,
                Kind::Own | Kind::Other | Kind::Run => writeln!(
                    out,
                    "{:>9}{:>8}{:>7}{:>8}  {}{}",
                    row.counts.grants,
                    row.counts.sweeps,
                    row.counts.waits,
                    row.counts.moved,
                    match row.basis() {
                        Basis::CertifiedModel => "by the certified model",
                        Basis::UncertifiedModel => "by a model NOT certified",
                        Basis::Played => "its own crate, run",
                        _ => "rules only",
                    },
                    if row.current { "  (current settings)" } else { "" },
                )?,
                Kind::Strandline => writeln!(out, "{:>34}played by Strandline's own pools", "")?,
                Kind::Planned => {
                    writeln!(out, "{:>34}if every lifetime were known: `strandline plan`", "")?
                }
                Kind::Bound if row.settings == POOLS_OF_STREAMS => {
                    writeln!(out, "{:>34}none with a pool for each stream can be below", "")?
                }
                Kind::Bound => writeln!(out, "{:>34}no allocator can be below", "")?,
            }
        }
        if self.rows.first().is_some_and(|row| row.allocator == RECORDED) {
            writeln!(
                out,
                "\nOnly the recorded run was recorded, and it begins with what was cached before its first entry. The other rows are what the same \
                 requests would have taken, begun with an unused allocator."
            )?;
        }
        Ok(())
    }

    fn recommend(&self, out: &mut String) -> core::fmt::Result {
        let Some(best) = self.best() else {
            let recorded = self.rows.first().filter(|row| row.allocator == RECORDED);
            return match self.current() {
                Some(now) if now.is_ok() && recorded.is_some_and(|row| !row.is_ok()) => writeln!(
                    out,
                    "no setting that was tried takes less than the current ones. The recorded run failed {}, with what it had cached; \
                     begun with an unused allocator, the same settings take {} and fit.",
                    self.place(recorded.and_then(|row| row.failed_at).unwrap_or_default()),
                    Bytes(now.peak_reserved).at_least()
                ),
                Some(row) if row.is_ok() => {
                    writeln!(
                        out,
                        "nothing to change: no setting that was tried takes less than the current ones."
                    )
                }
                _ if self.is_hopeless() => {
                    writeln!(out, "FAILED: nothing that was tried fits.")?;
                    let plan = self.rows.iter().find(|row| row.kind == Kind::Planned);
                    match plan.filter(|row| row.is_ok()) {
                        Some(plan) => writeln!(
                            out,
                            "A plan of {} would, if every lifetime were known before the run; no allocator here works so.",
                            Bytes(plan.peak_reserved).at_least()
                        ),
                        None => Ok(()),
                    }
                }
                _ => writeln!(out, "nothing to recommend."),
            };
        };
        let against = match self.current() {
            Some(now) if !now.is_ok() => format!(
                "where the current settings fail {}",
                self.place(now.failed_at.unwrap_or_default())
            ),
            Some(now) => format!(
                "{} less than the current settings, {:.1} %",
                Bytes(now.peak_reserved - best.peak_reserved),
                100.0 * (1.0 - best.peak_reserved as f64 / now.peak_reserved.max(1) as f64)
            ),
            None => format!("{:.2}x of what was active", best.over_active),
        };
        writeln!(
            out,
            "{}: {} reserved, {against}. To paste:",
            best.allocator,
            Bytes(best.peak_reserved).at_least()
        )?;
        for line in &best.paste {
            writeln!(out, "    {line}")?;
        }
        if !best.needs.is_empty() {
            writeln!(out, "It needs {}.", best.needs)?;
        }
        if let Some(now) = self.current().filter(|_| best.kind != Kind::Strandline) {
            let calls = |row: &Row| row.counts.grants + row.counts.returns;
            writeln!(
                out,
                "It costs {}, {} and {}; the current settings, begun alike, {}, {} and {}{}.",
                counted(calls(best), "call of the driver", "calls of the driver"),
                counted(best.counts.sweeps, "sweep", "sweeps"),
                counted(best.counts.waits, "wait", "waits"),
                calls(now),
                now.counts.sweeps,
                now.counts.waits,
                match self.rows.first().filter(|row| row.basis() == Basis::Recorded) {
                    Some(row) =>
                        format!("; the recording has {} and {}", calls(row), row.counts.sweeps),
                    None => String::new(),
                }
            )?;
        }
        match best.kind {
            Kind::Strandline => writeln!(
                out,
                "Played by Strandline's own pools, which the program has to use in place of its allocator."
            )?,
            Kind::Run => writeln!(
                out,
                "Played by the pools that this line sets up, which the program has to use in place of its allocator."
            )?,
            _ if !best.certified => writeln!(
                out,
                "NOT certified: by the rules of its source alone; try it before you rely on it."
            )?,
            _ if self.certificate.is_some() => writeln!(
                out,
                "By the certified model: it reproduced the recorded run with its own settings, to the byte. With these nothing was recorded."
            )?,
            _ => {}
        }
        Ok(())
    }
}
