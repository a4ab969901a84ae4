//! `strandline fit`: the smallest capacity, and the configuration that gets there.

use crate::Ending;
use crate::args::FitArgs;
use crate::meter::Meter;
use crate::output::{self, Error};
use crate::replay::{Plot, play, scan, show, synthesized};
use std::fs;
use strandline_replay::build::Backing;
use strandline_replay::fit;
use strandline_replay::report::Report;
use strandline_replay::session::{SessionError, TraceFile};
use strandline_replay::size::Bytes;

pub(crate) fn run(args: &FitArgs) -> Result<Ending, Error> {
    let plot = args.output.plot.as_deref().map(Plot::at).transpose()?;
    if args.trace.all_devices() {
        return Err("fit takes one device: say which one, as in --device 0".into());
    }
    let trace = TraceFile::new(&args.trace.path, args.trace.read_options());
    let scan = scan(&trace)?;
    if scan.state_only {
        return Err(SessionError::StateOnly(trace.path().to_owned()).into());
    }
    let options = args.streams.options();
    let candidates = fit::candidates(&scan);
    let fitted = {
        let meter = Meter::new("fitting", candidates.len() as u64);
        fit::fit(&trace, &scan, &candidates, options, &mut |replays, number| {
            meter.at(number as u64);
            meter.say(format!("{replays} replays"));
        })?
    };
    // The search was over numbers; the report is of a replay over memory, with every byte checked.
    let backing = Backing::mmap(fitted.config.capacity.map(|bytes| bytes.0))?;
    let (outcome, instants) =
        play(&trace, &scan, &fitted.config, &backing, options, plot.as_ref())?;
    let report = Report {
        trace: &trace.path().display().to_string(),
        scan: &scan,
        synthesized: synthesized(&scan, options),
        choice: &format!("the best of {} configurations: {}", candidates.len(), fitted.config),
        outcome: &outcome,
        fit: Some(&fitted),
        capacity: Some(fitted.capacity),
        boundary: None,
    };
    show(&report, &args.output)?;
    let toml = format!(
        "# strandline fit {}: {} for peak active {}\n{}",
        trace.path().display(),
        Bytes(fitted.capacity),
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
