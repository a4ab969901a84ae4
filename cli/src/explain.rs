//! `strandline explain`: what happened in the run that a PyTorch memory snapshot recorded.

use crate::Ending;
use crate::args::one_device;
use crate::output::{self, Error};
use clap::Args;
use std::path::{Path, PathBuf};
use strandline_replay::explain::explain;
use strandline_replay::format::{ErrorKind, Limits, TraceError};
use strandline_replay::plot::{Map, Page, Plot, Words};
use strandline_replay::session::{SessionError, open_file};
use strandline_replay::snapshot::{self, DeviceTrace, Snapshot};

pub(crate) const EXAMPLES: &str = "\
Examples:
  Is this fragmentation, or do I need a larger device? Which line holds the memory?
    strandline explain snapshot.pickle
  What was live at entry 12345, the 20 largest holders?
    strandline explain snapshot.pickle --at 12345 --top 20
  For a program, and a picture:
    strandline explain snapshot.pickle --json --plot run.svg
  Where the holes are, and whose blocks lie between them:
    strandline explain snapshot.pickle --map memory.svg

A snapshot is what torch.cuda.memory._dump_snapshot writes, after torch.cuda.memory._record_memory_history().

Exit status: 0 the snapshot is explained, whatever the verdict; 2 bad input.";

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The snapshot, plain or gzip
    #[arg(value_name = "SNAPSHOT")]
    path: PathBuf,
    /// The device [default: one with an out-of-memory, or the busiest]
    #[arg(long, value_name = "N", value_parser = one_device)]
    device: Option<u32>,
    /// The entry to look at, counted from 0 as in the file's list; a segment comes with the request that it serves [default: the first out-of-memory, or the peak]
    #[arg(long, value_name = "ENTRY")]
    at: Option<u32>,
    /// How many holders and pinners are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw reserved, active and allocated bytes over the entries; in HTML with the segments at some moments
    #[arg(long, value_name = "FILE.svg|FILE.html")]
    plot: Option<PathBuf>,
    /// Draw the segments at the entry that is looked at: what is in use, and the free bytes by kind
    #[arg(long, value_name = "FILE.svg")]
    map: Option<PathBuf>,
}

/// Reads a snapshot. Errors name the file.
pub(crate) fn open(path: &Path) -> Result<Snapshot, SessionError> {
    read(path)?.map_err(|error| SessionError::Trace(path.to_owned(), error))
}

/// Reads a snapshot; None if the file is of another format. Errors name the file.
pub(crate) fn open_if_snapshot(path: &Path) -> Result<Option<Snapshot>, SessionError> {
    match read(path)? {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(error) if error.kind() == ErrorKind::NotASnapshot => Ok(None),
        Err(error) => Err(SessionError::Trace(path.to_owned(), error)),
    }
}

fn read(path: &Path) -> Result<Result<Snapshot, TraceError>, SessionError> {
    let file = open_file(path)?;
    let limits = Limits { pickle_bytes: 64 << 30, ..Limits::default() };
    Ok(snapshot::read(file, limits))
}

/// The device that is meant.
pub(crate) fn device<'s>(
    snapshot: &'s Snapshot,
    path: &Path,
    number: Option<u32>,
) -> Result<&'s DeviceTrace, SessionError> {
    snapshot.device(number).map_err(|error| SessionError::Trace(path.to_owned(), error))
}

pub(crate) fn run(args: &ExplainArgs) -> Result<Ending, Error> {
    let plot = args.plot.as_deref().map(|path| output::picture(path, true)).transpose()?;
    let map = args.map.as_deref().map(|path| output::picture(path, false)).transpose()?;
    let snapshot = open(&args.path)?;
    let device = device(&snapshot, &args.path, args.device)?;
    if let Some(at) = args.at
        && at as usize >= device.entries.len()
    {
        let last = match device.entries.len() {
            0 => "its trace has none".to_owned(),
            entries => format!("the last one is {}, counted from 0", entries - 1),
        };
        let what = format!("device {} has no entry {at}: {last}", device.number);
        return Err(SessionError::File(args.path.clone(), None, what).into());
    }
    let told = explain(&snapshot, device, args.at.map(|at| at + 1));
    let title = args.path.file_name().unwrap_or_default().to_string_lossy();
    if let Some((path, html)) = plot {
        let plot = Plot {
            title: &title,
            timeline: &told.timeline,
            capacity: None,
            events: told.entries as u64,
            failure: told.refusals.first().map(|r| r.moment.entry.into()),
            words: Words::Recorded,
        };
        let text = if html {
            let (instants, report) = (told.instants(device), told.page_report(device, args.top));
            let first_shown = told.at.entry.into();
            Page { plot, instants, first_shown, report: &report }.to_html()?
        } else {
            plot.to_svg()
        };
        output::write(path, text)?;
    }
    if let Some((path, _)) = map {
        let title = format!("{title}, {}", told.at.place());
        let segments = told.map(&snapshot, device);
        output::write(path, Map { title: &title, segments: &segments }.to_svg())?;
    }
    if args.json {
        let text = serde_json::to_string_pretty(&told.to_json(args.top))?;
        output::print(&(text + "\n"))?;
    } else {
        output::print(&told.to_text(&args.path.display().to_string(), args.top))?;
    }
    Ok(Ending::Satisfied)
}
