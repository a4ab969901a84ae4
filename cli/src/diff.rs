//! `strandline diff`: what changed between two recorded runs, by source line where they have call stacks.

use crate::Ending;
use crate::args::one_device;
use crate::explain::{device, open_if_snapshot};
use crate::output::{self, Error};
use clap::Args;
use std::path::{Path, PathBuf};
use strandline_replay::compare::Requests;
use strandline_replay::diff::{Side, diff};
use strandline_replay::explain::explain_peak;
use strandline_replay::format::ReadOptions;
use strandline_replay::session::{SessionError, TraceFile};
use strandline_replay::snapshot::Snapshot;

pub(crate) const EXAMPLES: &str = "\
Examples:
  strandline diff before.pickle after.pickle
  strandline diff before.pickle after.pickle --top 30 --json
  strandline diff rmm_before.csv rmm_after.csv

Lines are compared at each run's peak of allocated bytes. Allocations are matched by call stack and size, so that a longer run \
still matches a shorter one. Only PyTorch snapshots have call stacks: where one of the two is another trace, blocks by size (one row a \
power of two) stand in place of lines, and reserved bytes are not told.

Exit status: 0 the runs are compared; 2 bad input.";

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The first run: a PyTorch memory snapshot, or any trace that `replay` takes
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The second run
    #[arg(value_name = "B")]
    b: PathBuf,
    /// The device of a snapshot [default: one with an out-of-memory, or the busiest]
    #[arg(long, value_name = "N", value_parser = one_device)]
    device: Option<u32>,
    /// How many lines are shown
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &DiffArgs) -> Result<Ending, Error> {
    let (a, b) = match (open_if_snapshot(&args.a)?, open_if_snapshot(&args.b)?) {
        (Some(a), Some(b)) => {
            let side = |read: Snapshot, path| snapshot(&read, path, args.device);
            (side(a, &args.a)?, side(b, &args.b)?)
        }
        _ => (log(&args.a, args.device)?, log(&args.b, args.device)?),
    };
    let told = diff(&a, &b);
    if args.json {
        let text = serde_json::to_string_pretty(&told.to_json(args.top))?;
        output::print(&(text + "\n"))?;
    } else {
        let names = [&args.a, &args.b].map(|path| path.display().to_string());
        output::print(&told.to_text([&names[0], &names[1]], args.top))?;
    }
    Ok(Ending::Satisfied)
}

/// A snapshot, at its peak whatever failed: two runs of which one failed are compared at what they held most.
fn snapshot(snapshot: &Snapshot, path: &Path, number: Option<u32>) -> Result<Side, Error> {
    let device = device(snapshot, path, number)?;
    Ok(Side::of_snapshot(snapshot, device, &explain_peak(snapshot, device)))
}

/// A trace, by its requests alone.
fn log(path: &Path, device: Option<u32>) -> Result<Side, Error> {
    let trace = TraceFile::new(path, ReadOptions { device, ..ReadOptions::default() });
    let mut reader = trace.open()?;
    if reader.is_state_only() {
        let what =
            "a snapshot of a state without a trace can be compared with another snapshot only";
        return Err(SessionError::File(path.to_owned(), None, what.to_owned()).into());
    }
    let mut requests = Requests::default();
    for event in reader.by_ref() {
        let event = event.map_err(|error| SessionError::Trace(path.to_owned(), error))?;
        requests.push(&event);
    }
    let notes = reader.notes();
    Ok(Side::of_requests(&requests, notes.device.map(|device| (device, notes.devices))))
}
