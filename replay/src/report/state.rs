//! The report of a file that tells a state and no history: what was reserved, allocated and free at one moment.

use super::reader::{self, JsonRefused, Reader};
use crate::format::State;
use crate::session::Scan;
use crate::size::{Bytes, counted};
use core::fmt;
use serde::Serialize;

/// All that such a report tells.
#[derive(Clone, Copy, Debug)]
pub struct StateReport<'a> {
    /// The file's name.
    pub trace: &'a str,
    /// What it holds.
    pub scan: &'a Scan,
}

/// The JSON object. Sizes in bytes.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct JsonStateReport<'a> {
    pub trace: JsonTrace<'a>,
    pub state: JsonState,
    pub ok: bool,
    pub failure: Option<()>,
}

/// `trace.*` of a file without a trace.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct JsonTrace<'a> {
    pub format: &'a str,
    pub events: u64,
    pub device: Option<u32>,
    pub devices: u32,
    pub refused: Vec<JsonRefused>,
    pub reader: Reader,
}

/// `state.*`
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are the interface, described in the command's help")]
pub struct JsonState {
    pub device: u32,
    pub segments: u64,
    pub blocks: u64,
    pub reserved_bytes: u64,
    pub allocated_bytes: u64,
    pub requested_bytes: u64,
    pub active_bytes: u64,
    pub pending_bytes: u64,
    pub free_bytes: u64,
    pub free_in_segments_bytes: u64,
    pub free_whole_segments_bytes: u64,
    pub largest_hole_bytes: u64,
}

impl From<State> for JsonState {
    fn from(state: State) -> Self {
        Self {
            device: state.device,
            segments: state.segments,
            blocks: state.blocks,
            reserved_bytes: state.reserved_bytes,
            allocated_bytes: state.allocated_bytes,
            requested_bytes: state.requested_bytes,
            active_bytes: state.active_bytes,
            pending_bytes: state.pending_bytes(),
            free_bytes: state.free_bytes(),
            free_in_segments_bytes: state.free_in_segments_bytes,
            free_whole_segments_bytes: state.free_whole_segments_bytes,
            largest_hole_bytes: state.largest_hole_bytes,
        }
    }
}

impl<'a> StateReport<'a> {
    fn state(&self) -> State {
        self.scan.state.unwrap_or_default()
    }

    /// The report as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> JsonStateReport<'a> {
        let scan = self.scan;
        JsonStateReport {
            trace: JsonTrace {
                format: scan.format.name(),
                events: 0,
                device: scan.notes.device,
                devices: scan.notes.devices,
                refused: reader::refused(scan, &[]),
                reader: reader::reader(scan),
            },
            state: self.state().into(),
            ok: true,
            failure: None,
        }
    }
}

/// The report for people.
impl fmt::Display for StateReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        writeln!(
            f,
            "state      {} ({}): {}, {}; no history, so nothing is played",
            self.trace,
            self.scan.format.name(),
            counted(state.segments, "segment", "segments"),
            counted(state.blocks, "block", "blocks")
        )?;
        reader::write_notes(f, self.scan)?;
        writeln!(f, "\nbytes")?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, bytes: u64, what: &str| {
            writeln!(f, "  {name:<22} {:>14}   {what}", Bytes(bytes).to_string())
        };
        row(f, "reserved", state.reserved_bytes, "taken from the device")?;
        row(f, "active", state.active_bytes, "in use")?;
        row(f, "allocated", state.allocated_bytes, "held by the program")?;
        row(f, "pending", state.pending_bytes(), "freed by the program, still in use by a stream")?;
        row(f, "free in segments", state.free_in_segments_bytes, "beside blocks in use")?;
        row(
            f,
            "free whole segments",
            state.free_whole_segments_bytes,
            "could go back to the device",
        )?;
        row(
            f,
            "largest hole",
            state.largest_hole_bytes,
            "the largest request that fits without a new segment",
        )?;
        writeln!(f, "ok         the state was read")
    }
}
