//! `strandline replay`: a trace through real pools.

use crate::Ending;
use crate::args::{OutputArgs, PoolArgs, ReplayArgs, Via, ViaArgs};
use crate::meter::Meter;
use crate::output::{self, Error};
use crate::planned::Following;
use crate::provider;
use crate::sandbox::Sandbox;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use strandline_replay::build::{Backing, Maker, Native};
use strandline_replay::config::Config;
use strandline_replay::engine::{Instants, Options, Outcome};
use strandline_replay::plan::{self, Wish};
use strandline_replay::plot;
use strandline_replay::report::{Boundary, Report, StateReport};
use strandline_replay::session::{Scan, SessionError, TraceFile, open_file};
use strandline_replay::size::Bytes;

pub(crate) fn run(args: &ReplayArgs) -> Result<Ending, Error> {
    let plot = args.output.plot.as_deref().map(Plot::at).transpose()?;
    if args.trace.all_devices() && plot.is_some() {
        return Err("a plot is of one device: say which one, as in --device 0".into());
    }
    let read = args.pool.config.as_deref().map(read_config).transpose()?;
    let limited = limit(&args.pool, read.as_ref());
    let trace = TraceFile::new(&args.trace.path, args.trace.read_options(limited));
    let scanned = scan(&trace)?;
    if !args.trace.all_devices() {
        let told = one(args, read, &trace, &scanned, plot.as_ref())?;
        told.show(args.output.json)?;
        return Ok(told.ending());
    }
    let devices: Vec<u32> = scanned
        .notes
        .holdings
        .iter()
        .filter(|holding| holding.is_in_use())
        .map(|holding| holding.device)
        .collect();
    if devices.is_empty() {
        return Err("--device all is for PyTorch snapshots: this trace has one device".into());
    }
    let mut all = Vec::new();
    for device in devices {
        let trace = TraceFile::new(&args.trace.path, args.trace.read_options_of(device));
        let scanned = scan(&trace)?;
        let told = one(args, read.clone(), &trace, &scanned, None)?;
        if !args.output.json {
            told.show(false)?;
            output::print("\n")?;
        }
        all.push(told);
    }
    let ok = all.iter().all(|told| told.ok);
    if args.output.json {
        let devices: Vec<_> = all.into_iter().map(|told| told.json).collect();
        print_json(&serde_json::json!({ "ok": ok, "devices": devices }))?;
    }
    Ok(if ok { Ending::Satisfied } else { Ending::Unsatisfied })
}

/// What a device's trace came to.
struct Told {
    ok: bool,
    text: String,
    json: serde_json::Value,
}

impl Told {
    fn show(&self, json: bool) -> Result<(), Error> {
        if json { print_json(&self.json) } else { output::print(&output::coloured(&self.text)) }
    }

    fn ending(&self) -> Ending {
        if self.ok { Ending::Satisfied } else { Ending::Unsatisfied }
    }
}

/// Plays the trace of one device, or tells its state where there is nothing to play.
fn one(
    args: &ReplayArgs,
    read: Option<Config>,
    trace: &TraceFile,
    scan: &Scan,
    plot: Option<&Plot<'_>>,
) -> Result<Told, Error> {
    let name = trace.path().display().to_string();
    if scan.state_only {
        let report = StateReport { trace: &name, scan };
        let json = serde_json::to_value(report.to_json())?;
        return Ok(Told { ok: true, text: report.to_string(), json });
    }
    let options = args.streams.options();
    // What a recorded device refused is judged at the capacity of that device.
    let of_device = scan.device_bytes().map(Bytes).filter(|_| !options.as_recorded);
    let limited = limit(&args.pool, read.as_ref());
    let wanted = limited.or(of_device);
    let following = args.plan.as_deref().map(Following::read).transpose()?;
    let (config, choice) = match &following {
        Some(plan) => (plan.maker.config(wanted, args.pool.budget), plan.maker.choice()),
        None => choose(&args.pool, wanted, read, trace, scan, options)?,
    };
    let choice = match (limited, of_device) {
        (None, Some(device)) => {
            format!("{choice}; capacity {}, the recorded device's", device.at_least())
        }
        _ => choice,
    };
    let via = via(&args.via)?;
    let capacity = config.capacity.map(|bytes| bytes.0);
    let maker = following.as_ref().map_or_else(|| via.maker(), |plan| plan.maker.clone());
    let backing = provider::backing(&args.memory, capacity)?.made_by(maker);
    let (outcome, instants) = play(trace, scan, &config, &backing, options, plot)?;
    // What the sandbox died of says more than the event at which that was noticed.
    let boundary = via.boundary()?;
    let report = Report {
        trace: &name,
        scan,
        synthesized: synthesized(scan, options),
        choice: &choice,
        outcome: &outcome,
        fit: None,
        capacity: capacity.or(config.budget.map(|bytes| bytes.0)),
        boundary,
    };
    let mut told = Told {
        ok: report.is_ok(),
        text: report.to_string(),
        json: serde_json::to_value(report.to_json())?,
    };
    if let Some(plan) = &following {
        plan.tell(&mut told.text, &mut told.json);
    }
    if let Some(plot) = plot {
        plot.write(trace, &config, &report, instants)?;
    }
    Ok(told)
}

/// The capacity that was asked for.
fn limit(args: &PoolArgs, read: Option<&Config>) -> Option<Bytes> {
    args.capacity.or(read.and_then(|config| config.capacity))
}

/// Reads the whole trace once.
pub(crate) fn scan(trace: &TraceFile) -> Result<Scan, Error> {
    let meter = Meter::new("reading", 0);
    Ok(trace.scan(&mut |events| meter.at(events))?)
}

/// Plays it over real memory, and keeps some instants if they are to be plotted.
pub(crate) fn play(
    trace: &TraceFile,
    scan: &Scan,
    config: &Config,
    backing: &Backing,
    options: Options,
    plot: Option<&Plot<'_>>,
) -> Result<(Outcome, Instants), Error> {
    let meter = Meter::new("replaying", scan.totals.events);
    let mut progress = |events| meter.at(events);
    Ok(if plot.is_some_and(|plot| plot.html) {
        trace.record(scan, config, backing, options, &mut progress)?
    } else {
        (trace.play(scan, config, backing, options, &mut progress)?, Instants::default())
    })
}

/// Whether the streams are made up: the trace has one.
pub(crate) fn synthesized(scan: &Scan, options: Options) -> bool {
    scan.streams == 1 && options.spread.is_some_and(|streams| streams > 1)
}

fn read_config(path: &Path) -> Result<Config, Error> {
    let failed = |line, what: String| SessionError::File(path.to_owned(), line, what);
    let mut text = String::new();
    open_file(path)?.read_to_string(&mut text).map_err(|error| failed(None, error.to_string()))?;
    let parsed = Config::parse(&text);
    Ok(parsed.map_err(|error| failed(error.line.map(|line| line as u64), error.message))?)
}

/// The configuration, and in a few words why it is this one.
fn choose(
    args: &PoolArgs,
    capacity: Option<Bytes>,
    read: Option<Config>,
    trace: &TraceFile,
    scan: &Scan,
    options: Options,
) -> Result<(Config, String), Error> {
    if let Some(config) = read {
        let budget = args.budget.or(config.budget);
        return Ok((Config { capacity, budget, ..config }, "as configured".to_owned()));
    }
    let wish = Wish {
        kind: args.pool.kind(),
        slab: args.slab,
        capacity,
        budget: args.budget,
        policy: args.policy.map(Into::into),
    };
    let mut meter = None;
    let plan = plan::plan(&wish, trace, scan, options, &mut |number, of| {
        meter.get_or_insert_with(|| Meter::new("choosing", of as u64)).at(number as u64);
    })?;
    Ok((plan.config, plan.choice))
}

/// Where the pools are to be.
fn via(args: &ViaArgs) -> Result<Place, Error> {
    match args.via {
        Via::Native if args.component.is_some() => {
            Err("--component names what --via component uses".into())
        }
        Via::Native => Ok(Place::Here),
        Via::Component => Ok(Place::There(Sandbox::start(args.component.as_deref())?)),
    }
}

/// Where the pools are.
enum Place {
    Here,
    There(Sandbox),
}

impl Place {
    fn maker(&self) -> Arc<dyn Maker> {
        match self {
            Self::Here => Arc::new(Native),
            Self::There(sandbox) => sandbox.maker(),
        }
    }

    fn boundary(&self) -> Result<Option<Boundary>, Error> {
        match self {
            Self::Here => Ok(None),
            Self::There(sandbox) => sandbox.boundary().map(Some),
        }
    }
}

/// Prints the report.
pub(crate) fn show(report: &Report<'_>, args: &OutputArgs) -> Result<(), Error> {
    if args.json {
        print_json(&report.to_json())
    } else {
        output::print(&output::coloured(&report.to_string()))
    }
}

/// Prints one JSON object.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    output::print(&text)
}

/// A plot to be written.
pub(crate) struct Plot<'a> {
    path: &'a Path,
    html: bool,
}

impl<'a> Plot<'a> {
    /// Where and in which form; checked before the work is done.
    pub(crate) fn at(path: &'a Path) -> Result<Self, Error> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("svg") => Ok(Self { path, html: false }),
            Some("html") => Ok(Self { path, html: true }),
            _ => Err(format!("{}: a plot's name ends in .svg or .html", path.display()).into()),
        }
    }

    pub(crate) fn write(
        &self,
        trace: &TraceFile,
        config: &Config,
        report: &Report<'_>,
        instants: Instants,
    ) -> Result<(), Error> {
        let title = trace.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Outcome { timeline, failure, peaks, .. } = report.outcome;
        let failure = failure.as_ref().map(|failure| failure.event);
        let plot = plot::Plot {
            title: &title,
            timeline,
            capacity: config.capacity.map(|bytes| bytes.0),
            events: report.scan.totals.events,
            failure,
            words: plot::Words::Replay,
        };
        let text = if self.html {
            let first_shown = failure.unwrap_or(peaks.live.event);
            let report = serde_json::to_value(report.to_json())?;
            plot::Page { plot, instants, first_shown, report: &report }.to_html()?
        } else {
            plot.to_svg()
        };
        fs::write(self.path, text)
            .map_err(|error| format!("{}: {error}", self.path.display()).into())
    }
}
