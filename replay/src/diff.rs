//! Two recorded runs beside each other: peaks, what each source line held, and which allocations both made.
//!
//! Lines are matched by name (file, line, function); allocations by call stack and size, as often as both have them: a longer run
//! matches a shorter one as far as that goes, and what is left over is told. Cost: O(entries).

use crate::explain::Explanation;
use crate::size::Bytes;
use crate::snapshot::{Action, DeviceTrace, Snapshot};
use core::fmt::Write;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// A source line in both runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub line: String,
    /// Bytes that it held at the first run's peak.
    pub a: u64,
    /// Bytes that it held at the second run's peak.
    pub b: u64,
}

/// What differs between two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// Peak bytes of both: allocated, active, reserved.
    pub peaks: [[u64; 2]; 3],
    /// Lines, the largest change first.
    pub lines: Vec<Line>,
    /// Allocations that both made, by call stack and size.
    pub matched: u64,
    /// Allocations that only one of them made.
    pub only: [u64; 2],
}

/// One side: the snapshot, the device, and its explanation at the peak.
pub type Side<'a> = (&'a Snapshot, &'a DeviceTrace, &'a Explanation);

/// Compares two runs.
#[must_use]
pub fn diff(a: Side<'_>, b: Side<'_>) -> Diff {
    let peaks = [0, 1, 2].map(|index| {
        [a.2, b.2].map(|told| {
            let m = told.peaks[index];
            [m.allocated, m.active, m.reserved][index]
        })
    });
    let mut lines: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for (side, told) in [a.2, b.2].into_iter().enumerate() {
        for holder in &told.holders {
            let bytes = &mut lines.entry(&holder.line).or_default()[side];
            *bytes = bytes.saturating_add(holder.bytes);
        }
    }
    let mut lines: Vec<Line> =
        lines.into_iter().map(|(line, [a, b])| Line { line: line.to_owned(), a, b }).collect();
    lines.sort_by(|x, y| {
        y.a.abs_diff(y.b).cmp(&x.a.abs_diff(x.b)).then_with(|| x.line.cmp(&y.line))
    });
    let counts = [a, b].map(|(snapshot, device, _)| made(snapshot, device));
    let all = counts.each_ref().map(|counts| counts.values().sum::<u64>());
    let matched = counts[0]
        .iter()
        .map(|(key, &count)| count.min(counts[1].get(key).copied().unwrap_or(0)))
        .sum();
    Diff { peaks, lines, matched, only: all.map(|all| all - matched) }
}

/// How often each call stack allocated each size.
fn made(snapshot: &Snapshot, device: &DeviceTrace) -> HashMap<(String, u64), u64> {
    let mut by_number: HashMap<(u32, u64), u64> = HashMap::new();
    for entry in device.entries.iter().filter(|e| e.action == Action::Alloc) {
        *by_number.entry((entry.stack, entry.size)).or_default() += 1;
    }
    let mut names: HashMap<u32, String> = HashMap::new();
    let mut made: HashMap<(String, u64), u64> = HashMap::new();
    for ((stack, size), count) in by_number {
        let name = names.entry(stack).or_insert_with(|| {
            let frames: Vec<String> =
                snapshot.stacks.frames(stack).map(ToString::to_string).collect();
            frames.join("\n")
        });
        *made.entry((name.clone(), size)).or_default() += count;
    }
    made
}

impl Diff {
    /// As JSON, with at most `top` lines.
    #[must_use]
    pub fn to_json(&self, top: usize) -> Value {
        let [allocated, active, reserved] = self.peaks;
        json!({ "diff": {
            "peak_allocated_bytes": { "a": allocated[0], "b": allocated[1] },
            "peak_active_bytes": { "a": active[0], "b": active[1] },
            "peak_reserved_bytes": { "a": reserved[0], "b": reserved[1] },
            "allocations": { "matched": self.matched, "only_a": self.only[0], "only_b": self.only[1] },
            "lines": self.lines.iter().take(top).map(|l| json!({
                "line": l.line, "a_bytes": l.a, "b_bytes": l.b,
            })).collect::<Vec<_>>(),
        }})
    }

    /// For people, with at most `top` lines.
    #[must_use]
    pub fn to_text(&self, names: [&str; 2], top: usize) -> String {
        let mut out = String::new();
        let [a, b] = self.peaks[0].map(Bytes);
        let _ = writeln!(out, "peak allocated went from {a} to {b}.\n");
        let _ = writeln!(out, "A  {}\nB  {}\n", names[0], names[1]);
        let _ = writeln!(out, "peak bytes               A             B");
        for (name, [a, b]) in ["allocated", "active", "reserved"].iter().zip(self.peaks) {
            let _ = writeln!(
                out,
                "  {name:<12}{:>12}  {:>12}",
                Bytes(a).to_string(),
                Bytes(b).to_string()
            );
        }
        let [only_a, only_b] = self.only;
        let _ = writeln!(
            out,
            "\nallocations by call stack and size: {} in both, {only_a} only in A, {only_b} only in B",
            self.matched
        );
        let _ = writeln!(out, "\nlines at the peak        A             B");
        let changed = self.lines.iter().filter(|l| l.a != l.b);
        for l in changed.clone().take(top) {
            let word = match (l.a, l.b) {
                (0, _) => "new",
                (_, 0) => "gone",
                (a, b) if b > a => "grew",
                _ => "shrank",
            };
            let _ = writeln!(
                out,
                "  {:>12}  {:>12}  {word:<6}  {}",
                Bytes(l.a).to_string(),
                Bytes(l.b).to_string(),
                l.line
            );
        }
        let rest = changed.count().saturating_sub(top);
        if rest > 0 {
            let _ = writeln!(out, "  … and {rest} more (--top N)");
        }
        out
    }
}
