//! The explanation for people: the verdict first.

use super::{Explanation, Refusal, Verdict};
use crate::certify::Certificate;
use crate::size::{Bytes, counted};
use core::fmt::{self, Write};

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (asked, active) = (Bytes(self.requested), Bytes(self.moment.active));
        let free = told(self.device_free);
        let (Some(verdict), Some(had)) = (self.verdict, self.had) else {
            return write!(
                f,
                "why is not told: {asked} were asked for with {active} in use; reserved by the process: {}; free on the device: {free}",
                told(self.had.map(|had| had.reserved))
            );
        };
        let (reserved, hole) = (Bytes(had.reserved), Bytes(had.largest_hole));
        let unused = Bytes(had.reserved.saturating_sub(self.moment.active));
        match verdict {
            Verdict::Shortage => write!(
                f,
                "shortage: {asked} were asked for with {active} in use; the process had {reserved} and the device {free} more. \
                 No setting helps: use less, or a larger device"
            ),
            Verdict::Fragmentation => write!(
                f,
                "fragmentation: {asked} were asked for, {unused} of the {reserved} reserved were free, but in pieces of at most {hole}; \
                 the device had {free} more. `strandline compare` tries whether a setting would have saved it"
            ),
            Verdict::OtherPool => write!(
                f,
                "held by another pool: {asked} were asked for; {unused} were free, of which only {} in the pool of the request's stream; \
                 the device had {free} more",
                Bytes(had.own_free)
            ),
            Verdict::OtherProcess => write!(
                f,
                "held by another process: {asked} were asked for with {active} in use; the process had {reserved} and the device only \
                 {free} more, though this process has had more of it before"
            ),
        }
    }
}

impl Certificate {
    /// One line: what the model is worth on this recording.
    #[must_use]
    pub fn verdict(&self) -> String {
        let settings = match self.source {
            crate::certify::Source::File => format!("settings of the file: {}", self.settings),
            other => format!("settings {}: {}", other.word(), self.settings),
        };
        if self.is_whole() {
            return format!(
                "certified: the model reproduces the recorded run to the byte ({settings})"
            );
        }
        if self.addresses.of == 0 {
            return format!("not certified: the trace has no allocation to compare ({settings})");
        }
        if let Some(why) = self.nothing_to_compare {
            return format!("not certified, since the file cannot be checked: {why} ({settings})");
        }
        match &self.first_difference {
            Some(d) => {
                format!(
                    "NOT certified: first difference at entry {}: {} ({settings})",
                    d.index(),
                    d.what
                )
            }
            None => format!("not certified: nothing could be compared ({settings})"),
        }
    }

    fn scores(&self) -> String {
        let mut parts = vec![format!("addresses {}", self.addresses)];
        for (what, score) in [
            ("new segments", self.segments),
            ("maps", self.maps),
            ("freed segments", self.frees),
            ("unmaps", self.unmaps),
            ("sweeps", self.sweeps),
        ] {
            if score.of > 0 {
                parts.push(format!("{what} {score}"));
            }
        }
        parts.join(", ")
    }
}

impl Explanation {
    /// Whether the file tells of the segments that its trace is about.
    pub(crate) fn tells_segments(&self) -> bool {
        self.certificate.nothing_to_compare.is_none()
    }

    /// The report, with at most `top` holders and pinners.
    #[must_use]
    pub fn to_text(&self, file: &str, top: usize) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out, file, top);
        out
    }

    fn write(&self, out: &mut String, file: &str, top: usize) -> fmt::Result {
        let [allocated, active, reserved] = self.peaks;
        match self.refusals.first() {
            Some(refusal) => {
                writeln!(
                    out,
                    "OUT OF MEMORY {} (device {}): {refusal}.",
                    refusal.moment.place(),
                    self.device
                )?;
            }
            // The segments of such a file, if any, are not about its trace.
            None if !self.tells_segments() => writeln!(
                out,
                "no out-of-memory: at most {} allocated; what was reserved is not told (device {}).",
                Bytes(allocated.allocated),
                self.device
            )?,
            None => writeln!(
                out,
                "no out-of-memory: at most {} allocated, {} reserved (device {}).",
                Bytes(allocated.allocated),
                Bytes(reserved.reserved).at_least(),
                self.device
            )?,
        }
        writeln!(out, "{}.\n", self.certificate.verdict())?;
        writeln!(
            out,
            "snapshot    {file}: device {}, of {} in the file; {}, counted from 0",
            self.device,
            counted(u64::from(self.devices), "device", "devices"),
            counted(self.entries as u64, "entry", "entries"),
        )?;
        writeln!(out, "reproduced  {}", self.certificate.scores())?;
        for note in &self.certificate.notes {
            writeln!(out, "            note: {note}")?;
        }
        writeln!(out, "\nbytes                 peak    at entry")?;
        for (name, bytes, at) in [
            ("allocated", Some(allocated.allocated), allocated),
            ("active", Some(active.active), active),
            ("reserved", self.tells_segments().then_some(reserved.reserved), reserved),
        ] {
            let entry = match (bytes, at.index()) {
                (None, _) => String::new(),
                (_, None) => "the start".to_owned(),
                (_, Some(index)) => index.to_string(),
            };
            let line = format!("  {name:<12}{:>12}{entry:>12}", told(bytes));
            writeln!(out, "{}", line.trim_end())?;
        }
        if self.refusals_total > 1 {
            writeln!(out, "\n{} requests were refused:", self.refusals_total)?;
            for refusal in self.refusals.iter().take(top) {
                writeln!(out, "  {}: {refusal}", refusal.moment.place())?;
            }
        }
        let at = self.at;
        writeln!(
            out,
            "\n{} ({}): {} allocated, {} active, {}",
            at.place(),
            self.focus.words(),
            Bytes(at.allocated),
            Bytes(at.active),
            match self.tells_segments() {
                true => format!("{} reserved", Bytes(at.reserved)),
                false => "what was reserved is not told".to_owned(),
            }
        )?;
        if self.unused.is_none() {
            writeln!(out, "\nreserved and not asked for: not told")?;
        }
        let unused = self.unused.unwrap_or_default();
        if self.unused.is_some() {
            writeln!(out, "\nreserved and not asked for: {}", Bytes(unused.total()))?;
        }
        for (bytes, what) in [
            (unused.rounding, "rounding inside allocated blocks"),
            (unused.inside_segments, "holes inside segments"),
            (
                unused.whole_segments,
                "whole cached segments, which empty_cache or a sweep gives back",
            ),
            (unused.waiting, "freed, waiting for streams (record_stream)"),
            (unused.other_streams, "free in other streams' pools"),
            (unused.private_pools, "free in private pools (graphs, MemPool)"),
        ] {
            if bytes > 0 {
                writeln!(out, "  {:>12}  {what}", Bytes(bytes).to_string())?;
            }
        }
        writeln!(out, "\nwho holds it, by source line")?;
        for h in self.holders.iter().take(top) {
            writeln!(
                out,
                "  {:>12}  {}, {}  {}",
                Bytes(h.bytes).to_string(),
                blocks(h.blocks, h.largest),
                ages(h.oldest, h.youngest),
                h.line
            )?;
        }
        more(out, self.holders.len(), top)?;
        writeln!(out, "\nby call stack, innermost first")?;
        for h in self.stacks.iter().take(top.min(3)) {
            writeln!(out, "  {:>12}  {}", Bytes(h.bytes).to_string(), blocks(h.blocks, h.largest))?;
            for frame in h.line.lines().take(12) {
                writeln!(out, "                {frame}")?;
            }
        }
        if !self.pinners.is_empty() {
            writeln!(
                out,
                "\nwho pins the waste: free bytes that would be returned or joined if the line's blocks were elsewhere"
            )?;
            for p in self.pinners.iter().take(top) {
                writeln!(
                    out,
                    "  {:>12}  by {} in {}  {}",
                    Bytes(p.pinned).to_string(),
                    Bytes(p.bytes),
                    count(p.blocks),
                    p.line
                )?;
            }
            more(out, self.pinners.len(), top)?;
        }
        Ok(())
    }
}

fn more(out: &mut String, all: usize, shown: usize) -> fmt::Result {
    if all > shown {
        writeln!(out, "                … and {} more (--top N)", all - shown)
    } else {
        Ok(())
    }
}

fn count(blocks: u64) -> String {
    counted(blocks, "block", "blocks")
}

/// Bytes, or that the file does not tell them.
fn told(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "not told".to_owned(), |bytes| Bytes(bytes).to_string())
}

/// How many blocks, and the largest of several.
fn blocks(blocks: u64, largest: u64) -> String {
    match blocks {
        1 => count(blocks),
        _ => format!("{} up to {}", count(blocks), Bytes(largest)),
    }
}

/// When blocks were allocated. Entry 0 is before the recording.
fn ages(oldest: u32, youngest: u32) -> String {
    match (oldest, youngest) {
        (0, 0) => "before the recording".to_owned(),
        (0, last) => format!("before the recording to entry {}", last - 1),
        (first, last) if first == last => format!("entry {}", first - 1),
        (first, last) => format!("entries {} to {}", first - 1, last - 1),
    }
}
