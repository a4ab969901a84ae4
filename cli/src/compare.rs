//! `strandline compare`: what other settings and allocators would have needed, and the line to paste.

use crate::Ending;
use crate::args::TraceArgs;
use crate::explain::{device, open_if_snapshot};
use crate::output::{self, Error};
use crate::plan::search::Search;
use clap::Args;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use strandline_planner::Lifetime;
use strandline_planner::streams::Waits;
use strandline_replay::compare::{
    Options, Recorded, Requests, compare, compare_device, cubecl, export, fitted, planned,
};
use strandline_replay::format::Format;
use strandline_replay::plot::Bars;
use strandline_replay::session::{SessionError, TraceFile};
use strandline_replay::size::Bytes;
use strandline_twins::torch::Settings;

pub(crate) const EXAMPLES: &str = "\
Examples:
  Which setting would need less memory for the run that this snapshot recorded?
    strandline compare snapshot.pickle
  Would it have fitted into 16 GiB, and with which setting?
    strandline compare snapshot.pickle --capacity 16GiB
  More values of numeric settings, for a program:
    strandline compare snapshot.pickle --sweep --json
  The run as it would have been, for PyTorch's own viewer:
    strandline compare snapshot.pickle --export better.pickle
  An RMM log, by the rules of each allocator alone:
    strandline compare rmm_log.csv

Rows are sorted by what you can do today: the current settings, each setting of the recorded allocator, other allocators, Strandline's \
pools (--fit-seconds), a plan with every lifetime known (--plan-seconds), and what no allocator can be below.

Exit status: 0 something fits; 1 nothing that was tried does; 2 bad input.";

/// How long cubecl's pools may play, where they are built in.
const CUBECL: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    trace: TraceArgs,
    /// The device's memory [default: what a snapshot tells at its out-of-memory, or no limit]
    #[arg(long, help_heading = "Comparison", value_name = "SIZE")]
    capacity: Option<Bytes>,
    /// Try more values of numeric settings
    #[arg(long, help_heading = "Comparison")]
    sweep: bool,
    /// Write the run as PyTorch would have had it with the recommended settings: a snapshot for its own viewer (only of a snapshot)
    #[arg(long, help_heading = "Comparison", value_name = "FILE.pickle")]
    export: Option<PathBuf>,
    /// Draw a bar for each row
    #[arg(long, help_heading = "Comparison", value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// How long a configuration of Strandline is searched for; 0: not at all
    #[arg(long, help_heading = "Comparison", value_name = "SECONDS", default_value_t = 5)]
    fit_seconds: u32,
    /// How long a plan is searched for, as `strandline plan` does; 0: not at all
    #[arg(long, help_heading = "Comparison", value_name = "SECONDS", default_value_t = 2)]
    plan_seconds: u32,
    /// Print one JSON object
    #[arg(long, help_heading = "Comparison")]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &CompareArgs) -> Result<Ending, Error> {
    if args.trace.all_devices() {
        return Err("compare takes one device: say which one, as in --device 0".into());
    }
    let plot = args.plot.as_deref().map(|path| output::picture(path, false)).transpose()?;
    let options = Options { capacity: args.capacity.map(|bytes| bytes.0), sweep: args.sweep };
    let trace = TraceFile::new(&args.trace.path, args.trace.read_options(None));
    let (mut told, requests) = if let Some(snapshot) = open_if_snapshot(&args.trace.path)? {
        let device = device(&snapshot, &args.trace.path, args.trace.read_options(None).device)?;
        if device.is_state_only() {
            return Err(SessionError::StateOnly(args.trace.path.clone()).into());
        }
        let (told, requests) = compare_device(&snapshot, device, options);
        if let (Some(path), Some(certificate)) = (&args.export, &told.certificate) {
            let best = told.best().filter(|row| row.certified).and_then(|row| row.paste.first());
            let line = best.and_then(|line| line.split_once('=')).map(|(_, conf)| conf);
            let mut settings = match line {
                Some(conf) => Settings::parse(conf)?,
                None => certificate.settings.clone(),
            };
            let capacity = told.capacity.map(|(bytes, _)| bytes);
            if settings.gc_threshold > 0.0 {
                settings.limit = capacity;
            }
            let failed = |error: std::io::Error| format!("{}: {error}", path.display());
            let mut file = BufWriter::new(File::create(path).map_err(failed)?);
            export(&snapshot, device, &requests, &settings, capacity, &mut file)
                .and_then(|()| file.flush())
                .map_err(failed)?;
        }
        (told, requests)
    } else {
        if args.export.is_some() {
            return Err(
                "--export writes a run of a PyTorch snapshot, and this trace is none".into()
            );
        }
        let mut reader = trace.open()?;
        let recorded = match reader.format() {
            Format::Rmm | Format::RmmDebug => Recorded::Rmm,
            _ => Recorded::Unknown,
        };
        let mut requests = Requests::default();
        for event in reader.by_ref() {
            let event = event.map_err(|e| SessionError::Trace(trace.path().to_owned(), e))?;
            requests.push(&event);
        }
        let capacity = options.capacity.map(|bytes| (bytes, "as given"));
        (compare(&requests, capacity, recorded, false, args.sweep), requests)
    };
    let capacity = told.capacity.map(|(bytes, _)| bytes);
    match cubecl(&requests, capacity, CUBECL) {
        Ok(rows) => rows.into_iter().for_each(|row| told.add(row)),
        Err(error) => log::warn!("no row for cubecl: {error}"),
    }
    if args.fit_seconds > 0 {
        let time = Duration::from_secs(args.fit_seconds.into());
        match fitted(&trace, capacity, told.peak_active, time) {
            Ok(Some(row)) => told.add(row),
            Ok(None) => {}
            // The other rows are worth having without it.
            Err(error) => log::warn!("no row for strandline: {error}"),
        }
    }
    if args.plan_seconds > 0 {
        match plan(&requests, Duration::from_secs(args.plan_seconds.into())) {
            Ok(Some((bytes, optimal))) => {
                told.add(planned(bytes, optimal, capacity, told.peak_active));
            }
            Ok(None) => {}
            Err(error) => log::warn!("no row for a plan: {error}"),
        }
    }
    if let Some((path, _)) = plot {
        let title = args.trace.path.file_name().unwrap_or_default().to_string_lossy();
        let title = format!("{title}: reserved at the peak");
        let bars = told.bars();
        output::write(path, Bars { title: &title, bars: &bars, least: told.peak_active }.to_svg())?;
    }
    if args.json {
        output::print(&(serde_json::to_string_pretty(&told.to_json())? + "\n"))?;
    } else {
        output::print(&output::coloured(&told.to_text(&args.trace.path.display().to_string())))?;
    }
    Ok(if told.is_hopeless() { Ending::Unsatisfied } else { Ending::Satisfied })
}

/// The size of the best plan that is found in time, and whether no plan is smaller. None if there is nothing to place.
fn plan(requests: &Requests, limit: Duration) -> Result<Option<(u64, bool)>, Error> {
    let life = |block: strandline_replay::lifetimes::BlockLife| Lifetime {
        lower: block.lower,
        upper: block.upper,
        size: block.size,
        alignment: crate::plan::ALIGNMENT,
        stream: block.stream,
    };
    let lifetimes: Vec<Lifetime> = requests.lifetimes().into_iter().map(life).collect();
    if lifetimes.is_empty() {
        return Ok(None);
    }
    let search = Search { waits: Waits::Allowed, enough: 0, seed: 0, start: Instant::now(), limit };
    let plan = search.run(&lifetimes)?;
    strandline_planner::check::check(&lifetimes, &plan.offsets, plan.bytes).map_err(|fault| {
        format!("the plan is not sound, which is a fault of strandline: {fault}")
    })?;
    Ok(Some((plan.bytes, plan.optimal)))
}
