//! Two recorded runs beside each other: peaks, what each source line held, and which allocations both made.
//!
//! ```text
//!   snapshot ─▶ explained at its peak ─┐
//!   any other trace ─▶ requests ───────┴─▶ Side ─▶ diff: peaks, lines, allocations in both
//! ```
//!
//! Lines are matched by name (file, line, function); allocations by call stack and size, as often as both have them: a longer run
//! matches a shorter one as far as that goes, and what is left over is told. Traces without call stacks (logs of RMM, compact traces)
//! have blocks by size in place of lines: one for each power of two. Cost: O(entries).

use crate::compare::{Requests, Step};
use crate::explain::Explanation;
use crate::size::{Bytes, counted};
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
    /// The device of each, and how many its file lists, where it is a snapshot.
    pub devices: [Option<(u32, u32)>; 2],
    /// Peak bytes of both: allocated, active, reserved; None where a run does not tell them.
    pub peaks: [[Option<u64>; 2]; 3],
    /// Lines, the largest change first.
    pub lines: Vec<Line>,
    /// Allocations that both made, by call stack and size.
    pub matched: u64,
    /// Allocations that only one of them made.
    pub only: [u64; 2],
    /// Whether each holds a state at one moment, and no allocation.
    pub states: [bool; 2],
}

/// One of the runs.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// The device, and how many the file lists.
    device: Option<(u32, u32)>,
    peaks: [Option<u64>; 3],
    /// Bytes at the peak of the allocated ones, by line.
    lines: BTreeMap<String, u64>,
    /// How often each call stack allocated each size.
    made: HashMap<(String, u64), u64>,
}

impl Side {
    /// A recorded device, explained at its peak ([`explain_peak`](crate::explain::explain_peak)).
    #[must_use]
    pub fn of_snapshot(snapshot: &Snapshot, device: &DeviceTrace, told: &Explanation) -> Self {
        let [allocated, active, reserved] = told.peaks;
        let reserved = told.tells_segments().then_some(reserved.reserved);
        let mut side = Self {
            device: Some((told.device, told.devices)),
            peaks: [Some(allocated.allocated), Some(active.active), reserved],
            ..Self::default()
        };
        for holder in &told.holders {
            let bytes = side.lines.entry(holder.line.clone()).or_default();
            *bytes = bytes.saturating_add(holder.bytes);
        }
        let mut by_number: HashMap<(u32, u64), u64> = HashMap::new();
        for entry in device.entries.iter().filter(|e| e.action == Action::Alloc) {
            *by_number.entry((entry.stack, entry.size)).or_default() += 1;
        }
        let mut names: HashMap<u32, String> = HashMap::new();
        for ((stack, size), count) in by_number {
            let name = names.entry(stack).or_insert_with(|| {
                let frames: Vec<String> =
                    snapshot.stacks.frames(stack).map(ToString::to_string).collect();
                frames.join("\n")
            });
            *side.made.entry((name.clone(), size)).or_default() += count;
        }
        side
    }

    /// A trace without call stacks; `device` and how many the file lists, if it tells of any.
    #[must_use]
    pub fn of_requests(requests: &Requests, device: Option<(u32, u32)>) -> Self {
        let mut side = Self { device, ..Self::default() };
        let mut run = Blocks::default();
        let (mut peak, mut peak_at, mut peak_active) = (0, 0, 0);
        for (at, &(_, step)) in requests.steps.iter().enumerate() {
            run.step(step);
            if run.allocated > peak {
                (peak, peak_at) = (run.allocated, at);
            }
            peak_active = peak_active.max(run.active);
            if let Step::Allocate { size, .. } = step {
                *side.made.entry((String::new(), size)).or_default() += 1;
            }
        }
        side.peaks = [Some(peak), Some(peak_active), None];
        let mut run = Blocks::default();
        for &(_, step) in requests.steps.iter().take(peak_at + 1) {
            run.step(step);
        }
        for &(size, _) in run.live.values().filter(|&&(_, retired)| !retired) {
            let least = size.checked_next_power_of_two().unwrap_or(u64::MAX);
            let line = format!("(no call stacks) blocks of up to {}", Bytes(least));
            let bytes = side.lines.entry(line).or_default();
            *bytes = bytes.saturating_add(size);
        }
        side
    }
}

/// The live blocks of a trace: bytes, and whether the program gave them back.
#[derive(Debug, Default)]
struct Blocks {
    live: HashMap<u32, (u64, bool)>,
    allocated: u64,
    active: u64,
}

impl Blocks {
    fn step(&mut self, step: Step) {
        match step {
            Step::Allocate { block, size, .. } => {
                self.live.insert(block, (size, false));
                self.allocated = self.allocated.saturating_add(size);
                self.active = self.active.saturating_add(size);
            }
            Step::Retire { block, .. } => {
                if let Some((size, retired)) = self.live.get_mut(&block)
                    && !core::mem::replace(retired, true)
                {
                    self.allocated = self.allocated.saturating_sub(*size);
                }
            }
            Step::Free { block, .. } => {
                if let Some((size, retired)) = self.live.remove(&block) {
                    self.active = self.active.saturating_sub(size);
                    if !retired {
                        self.allocated = self.allocated.saturating_sub(size);
                    }
                }
            }
            Step::Refused { .. } => {}
        }
    }
}

/// Compares two runs.
#[must_use]
pub fn diff(a: &Side, b: &Side) -> Diff {
    let peaks = [0, 1, 2].map(|index| [a.peaks[index], b.peaks[index]]);
    let mut lines: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for (number, side) in [a, b].into_iter().enumerate() {
        for (line, &bytes) in &side.lines {
            lines.entry(line).or_default()[number] = bytes;
        }
    }
    let mut lines: Vec<Line> =
        lines.into_iter().map(|(line, [a, b])| Line { line: line.to_owned(), a, b }).collect();
    lines.sort_by(|x, y| {
        y.a.abs_diff(y.b).cmp(&x.a.abs_diff(x.b)).then_with(|| x.line.cmp(&y.line))
    });
    let all = [a, b].map(|side| side.made.values().sum::<u64>());
    let matched =
        a.made.iter().map(|(key, &count)| count.min(b.made.get(key).copied().unwrap_or(0))).sum();
    let states = all.map(|all| all == 0);
    let devices = [a.device, b.device];
    Diff { devices, peaks, lines, matched, only: all.map(|all| all - matched), states }
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
            "device": { "a": self.devices[0].map(|(device, _)| device), "b": self.devices[1].map(|(device, _)| device) },
            "state_only": { "a": self.states[0], "b": self.states[1] },
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
        let bytes = |bytes: Option<u64>| {
            bytes.map_or_else(|| "not told".to_owned(), |bytes| Bytes(bytes).to_string())
        };
        let [a, b] = self.peaks[0].map(bytes);
        let _ = writeln!(out, "peak allocated went from {a} to {b}.\n");
        for ((side, name), device) in ["A", "B"].iter().zip(names).zip(self.devices) {
            let device = device.map_or_else(String::new, |(device, of)| {
                format!(
                    ": device {device}, of {} in the file",
                    counted(of.into(), "device", "devices")
                )
            });
            let _ = writeln!(out, "{side}  {name}{device}");
        }
        out.push('\n');
        for (name, _) in ["A", "B"].iter().zip(self.states).filter(|&(_, state)| state) {
            let _ = writeln!(
                out,
                "{name} holds no allocation: it is compared by what was live when it was written.\n"
            );
        }
        let _ = writeln!(out, "peak bytes               A             B");
        for (name, [a, b]) in ["allocated", "active", "reserved"].iter().zip(self.peaks) {
            let _ = writeln!(out, "  {name:<12}{:>12}  {:>12}", bytes(a), bytes(b));
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
