//! What the reader of a trace did, and what the recorded allocator refused: for people and for programs.

use crate::format::{Format, Holding, Notes, Place, Refused};
use crate::session::Scan;
use crate::size::{Bytes, counted};
use core::fmt::{self, Write};
use serde::Serialize;
use std::collections::BTreeMap;

/// `trace.reader.*`: what was done besides reading.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct Reader {
    pub entries: BTreeMap<String, u64>,
    pub ignored_entries: u64,
    pub preexisting_blocks: u64,
    pub preexisting_pending_blocks: u64,
    pub clamped_times: u64,
    pub foreign_lines: u64,
    pub cut_last_line: bool,
    pub retired_blocks: u64,
    pub implied_frees: u64,
    pub skipped_faults: u64,
    pub refused_requests: u64,
    pub left_out: Vec<String>,
    pub devices: Vec<Device>,
}

/// `trace.reader.devices[]`: what each device of a snapshot holds.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct Device {
    pub device: u32,
    pub entries: u64,
    pub allocations: u64,
    pub refused: u64,
    pub reserved_bytes: u64,
    pub active_bytes: u64,
}

/// `trace.refused[]`: a request that the recorded allocator refused.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct JsonRefused {
    /// Where it stands: the list index of a snapshot, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    pub event: u64,
    pub bytes_requested: u64,
    pub live_bytes: u64,
    pub allocated_bytes: u64,
    pub reserved_bytes: Option<u64>,
    pub device_free_bytes: Option<u64>,
    pub device_bytes: Option<u64>,
    pub largest_hole_bytes: Option<u64>,
    pub cause: &'static str,
    pub verdict: String,
    /// Whether it was served here; null where it was not asked for.
    pub served: Option<bool>,
}

/// The reader's notes as JSON.
pub(super) fn reader(scan: &Scan) -> Reader {
    let Notes { entries, holdings, .. } = &scan.notes;
    let device = |holding: &Holding| Device {
        device: holding.device,
        entries: holding.entries,
        allocations: holding.allocs,
        refused: holding.refused,
        reserved_bytes: holding.reserved_bytes,
        active_bytes: holding.active_bytes,
    };
    Reader {
        entries: entries.iter().cloned().collect(),
        ignored_entries: scan.notes.ignored_entries,
        preexisting_blocks: scan.notes.preexisting_blocks,
        preexisting_pending_blocks: scan.notes.preexisting_pending_blocks,
        clamped_times: scan.notes.clamped_times,
        foreign_lines: scan.notes.foreign_lines,
        cut_last_line: scan.notes.cut_last_line,
        retired_blocks: scan.totals.retired,
        implied_frees: scan.totals.implied_frees,
        skipped_faults: scan.totals.skipped.total(),
        refused_requests: scan.totals.failures,
        left_out: scan.notes.left_out.clone(),
        devices: holdings.iter().filter(|holding| holding.is_in_use()).map(device).collect(),
    }
}

/// The refused requests as JSON. `served` are their outcomes, as far as they were asked for here.
pub(super) fn refused(scan: &Scan, served: &[bool]) -> Vec<JsonRefused> {
    use crate::format::Shortage;
    let one = |(index, refused): (usize, &Refused)| {
        let circumstances = refused.circumstances;
        let in_snapshot = scan.format == Format::PyTorch;
        JsonRefused {
            entry: in_snapshot.then_some(u64::from(refused.line).saturating_sub(1)),
            line: (!in_snapshot).then_some(refused.line.into()),
            event: refused.event,
            bytes_requested: refused.bytes,
            live_bytes: refused.live_bytes,
            allocated_bytes: refused.live_bytes,
            reserved_bytes: circumstances.reserved_bytes,
            device_free_bytes: circumstances.device_free_bytes,
            device_bytes: refused.device_bytes(),
            largest_hole_bytes: circumstances.largest_hole_bytes,
            cause: match refused.shortage() {
                Shortage::Real => "shortage",
                Shortage::Fragmentation => "fragmentation",
                Shortage::Unknown => "unknown",
            },
            verdict: refused.to_string(),
            served: served.get(index).copied(),
        }
    };
    scan.refused.iter().enumerate().map(one).collect()
}

/// Where an event stands, in the words of the format.
pub(super) fn place(scan: &Scan, line: u32) -> String {
    match (scan.format, scan.notes.device) {
        (Format::PyTorch, Some(device)) if line > 0 => {
            format!("device_traces[{device}][{}]", line - 1)
        }
        (Format::PyTorch, _) => Place::Entry(line.into()).to_string(),
        _ => Place::Line(line.into()).to_string(),
    }
}

/// Lines about the device, and what was passed over.
pub(super) fn write_notes(f: &mut impl Write, scan: &Scan) -> fmt::Result {
    let Notes { device, devices, holdings, .. } = &scan.notes;
    if let Some(device) = device {
        let count = if *devices == 1 { "device" } else { "devices" };
        writeln!(f, "device     {device}, of {devices} {count} in the file")?;
        for other in holdings.iter().filter(|other| other.device != *device && other.is_in_use()) {
            writeln!(
                f,
                "           not played: device {} with {}, {} refused; reserved {}, active {} (--device {}, or all)",
                other.device,
                counted(other.entries, "entry", "entries"),
                other.refused,
                Bytes(other.reserved_bytes),
                Bytes(other.active_bytes),
                other.device
            )?;
        }
    }
    if let (Some(most), false) = (scan.notes.recorded_peak_reserved_bytes, scan.state_only) {
        writeln!(
            f,
            "recorded   the recorded allocator had {} reserved at most",
            Bytes(most).at_least()
        )?;
    }
    let said = notes(scan);
    for (index, note) in said.iter().enumerate() {
        writeln!(f, "{}{note}", if index == 0 { "reader     " } else { "           " })?;
    }
    Ok(())
}

/// What the reader did besides reading, a phrase each.
fn notes(scan: &Scan) -> Vec<String> {
    let (notes, totals) = (&scan.notes, &scan.totals);
    let mut out = Vec::new();
    let mut tell = |count: u64, one: &str, many: &str| match count {
        0 => {}
        1 => out.push(format!("1 {one}")),
        n => out.push(format!("{n} {many}")),
    };
    // Of a state all blocks are from before.
    let before = if scan.state_only { 0 } else { notes.preexisting_blocks };
    let held = if scan.state_only { 0 } else { notes.preexisting_pending_blocks };
    tell(
        before,
        "block was there before the trace began; it is allocated first",
        "blocks were there before the trace began; they are allocated first",
    );
    tell(
        held,
        "of them was freed by its program and still in use",
        "of them were freed by their programs and still in use",
    );
    tell(
        totals.retired,
        "block stayed active after its program freed it, until the recorded completion",
        "blocks stayed active after their programs freed them, until the recorded completion",
    );
    tell(
        totals.implied_frees,
        "completion of a free is missing; the block's address came up again",
        "completions of frees are missing; the blocks' addresses came up again",
    );
    tell(
        notes.clamped_times,
        "time is before that of the event above; the order of the entries counts",
        "times are before those of the events above; the order of the entries counts",
    );
    tell(
        notes.foreign_lines,
        "line of another program was passed over",
        "lines of other programs were passed over",
    );
    tell(totals.skipped.total(), "fault was passed over", "faults were passed over");
    if notes.cut_last_line {
        out.push("the last line is cut and was left out".to_owned());
    }
    out.extend(notes.left_out.iter().map(|what| format!("left out: {what}")));
    if !notes.entries.is_empty() {
        let kinds = notes.entries.iter().map(|(kind, count)| format!("{count} {kind}"));
        out.push(format!("entries: {}", kinds.collect::<Vec<_>>().join(", ")));
    }
    out
}

/// Lines about the refused requests. `served` are their outcomes here.
pub(super) fn write_refused(f: &mut impl Write, scan: &Scan, served: &[bool]) -> fmt::Result {
    const SHOWN: usize = 8;
    for (index, refused) in scan.refused.iter().take(SHOWN).enumerate() {
        write!(
            f,
            "refused    {} when recorded, at {}: live {}",
            Bytes(refused.bytes),
            place(scan, refused.line),
            Bytes(refused.live_bytes)
        )?;
        let circumstances = refused.circumstances;
        for (what, bytes) in [
            ("reserved", circumstances.reserved_bytes),
            ("device free", circumstances.device_free_bytes),
            ("largest hole", circumstances.largest_hole_bytes),
        ] {
            if let Some(bytes) = bytes {
                write!(f, ", {what} {}", Bytes(bytes))?;
            }
        }
        writeln!(f, "\n           {refused}")?;
        match served.get(index) {
            Some(true) => writeln!(f, "           served here")?,
            Some(false) => writeln!(f, "           refused here too")?,
            None => writeln!(f, "           not asked for here")?,
        }
    }
    if let Some(more @ 1..) = scan.totals.failures.checked_sub(SHOWN as u64) {
        writeln!(f, "           and {more} more")?;
    }
    Ok(())
}
