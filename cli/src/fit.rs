//! `strandline fit`: the smallest capacity, and the configuration that gets there; with `--plan`, what a plan of the first step is worth.

mod planned;

use crate::Ending;
use crate::args::FitArgs;
use crate::meter::Meter;
use crate::output::{self, Error};
use crate::replay::{Plot, play, scan, show, synthesized};
use std::fs;
use std::time::{Duration, Instant};
use strandline_replay::build::Backing;
use strandline_replay::fit::{self, Effort, Fit};
use strandline_replay::report::Report;
use strandline_replay::session::{Scan, SessionError, TraceFile};
use strandline_replay::size::Bytes;

pub(crate) const EXAMPLES: &str = "\
Examples:
  strandline fit traces/vit_infer.csv.gz
  strandline fit traces/vit_infer.csv.gz --for 5
  strandline fit traces/bert_train.csv.gz --plan
  strandline fit traces/azure_llm_code_2023.csv.gz --at-most-queued 0.05
  strandline fit traces/vit_infer.csv.gz --output vit.toml && strandline replay traces/vit_infer.csv.gz --config vit.toml";

pub(crate) fn run(args: &FitArgs) -> Result<Ending, Error> {
    let plot = args.output.plot.as_deref().map(Plot::at).transpose()?;
    if args.trace.all_devices() {
        return Err("fit takes one device: say which one, as in --device 0".into());
    }
    if args.plan {
        return planned::run(args);
    }
    let start = Instant::now();
    let (trace, scan, served) = read(args)?;
    if scan.state_only {
        return Err(SessionError::StateOnly(trace.path().to_owned()).into());
    }
    let options = args.streams.options();
    let candidates = fit::candidates(&scan);
    let mut fitted = {
        let meter = Meter::new("fitting", candidates.len() as u64);
        let effort = Effort::from_now(Some(left(args.limit, start.elapsed())));
        fit::fit(&trace, &scan, &candidates, options, &effort, &mut |at| {
            meter.at(at.judged as u64);
            let best = at.best.map_or_else(String::new, |best| format!(", best {}", Bytes(best)));
            meter.say(format!("{} replays{best}", at.replays));
        })?
    };
    if let Some(capacity) = served {
        // With less than what was found for the queue, others would wait.
        fitted.capacity = capacity.0;
        fitted.config.capacity = Some(capacity);
    }
    // The search was over numbers; the report is of a replay over memory, with every byte checked.
    let backing = Backing::mmap(fitted.config.capacity.map(|bytes| bytes.0))?;
    let (outcome, instants) =
        play(&trace, &scan, &fitted.config, &backing, options, plot.as_ref())?;
    let report = Report {
        trace: &trace.path().display().to_string(),
        scan: &scan,
        synthesized: synthesized(&scan, options),
        choice: &format!("{}: {}", tried(&fitted), fitted.config),
        outcome: &outcome,
        fit: Some(&fitted),
        capacity: Some(fitted.capacity),
        boundary: None,
    };
    show(&report, &args.output)?;
    let toml = format!(
        "# strandline fit {}: {} for peak active {}\n{}",
        trace.path().display(),
        Bytes(fitted.capacity).at_least(),
        Bytes(scan.totals.peak_active_bytes),
        fitted.config.to_toml()
    );
    match &args.output_config {
        Some(path) => {
            fs::write(path, toml).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        None if !args.output.json => output::print(&format!("\n{toml}"))?,
        None => {}
    }
    if let Some(plot) = plot {
        plot.write(&trace, &fitted.config, &report, instants)?;
    }
    Ok(if report.is_ok() { Ending::Satisfied } else { Ending::Unsatisfied })
}

/// Of how many configurations it is the best.
fn tried(fitted: &Fit) -> String {
    let Fit { judged, candidates, .. } = *fitted;
    match (judged.min(candidates), candidates) {
        (1, 1) => "the only configuration for blocks of one size".to_owned(),
        (judged, candidates) if judged == candidates => {
            format!("the best of {candidates} configurations")
        }
        (1, candidates) => format!("the first of {candidates} configurations, no other was tried"),
        (judged, candidates) => format!("the best of {judged} of {candidates} configurations"),
    }
}

/// Reads the trace: of a serving log, within the capacity at which as few requests queue as they shall, if that is asked.
fn read(args: &FitArgs) -> Result<(TraceFile, Scan, Option<Bytes>), Error> {
    let open = |capacity| TraceFile::new(&args.trace.path, args.trace.read_options(capacity));
    let trace = open(None);
    let unlimited = scan(&trace)?;
    let Some(share) = args.at_most_queued else { return Ok((trace, unlimited, None)) };
    let options = args.trace.read_options(None).serving;
    let meter = Meter::new("queueing", 0);
    let capacity = fit::least_for_queue(&options, &unlimited, share, &mut |capacity, scans| {
        meter.at(scans);
        open(Some(Bytes(capacity))).scan(&mut |_| ())
    })?;
    let trace = open(Some(Bytes(capacity)));
    let within = scan(&trace)?;
    Ok((trace, within, Some(Bytes(capacity))))
}

/// A replay with every byte checked takes this many times as long as reading the trace, at most about: six to nine were measured where reading
/// is cheapest (2 million lines of a compact CSV).
const REPLAY: u32 = 14;

/// How much of `limit` seconds is left for the search, when reading took `reading` and the report's replay is still to come.
fn left(limit: f64, reading: Duration) -> Duration {
    // The command line has none that a clock cannot hold.
    let limit = Duration::try_from_secs_f64(limit).unwrap_or(Duration::MAX);
    limit.saturating_sub(reading * (1 + REPLAY))
}
