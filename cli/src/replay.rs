//! `strandline replay`: a trace through real pools.

use crate::Ending;
use crate::args::{OutputArgs, PoolArgs, ReplayArgs, Via, ViaArgs};
use crate::meter::Meter;
use crate::output::{self, Error};
use crate::provider;
use crate::sandbox::Sandbox;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use strandline_replay::build::{Backing, Maker, Native};
use strandline_replay::config::Config;
use strandline_replay::engine::{Instants, Options, Outcome};
use strandline_replay::plan::{self, Wish};
use strandline_replay::plot;
use strandline_replay::report::{Boundary, Report};
use strandline_replay::session::{Scan, TraceFile};

pub(crate) fn run(args: &ReplayArgs) -> Result<Ending, Error> {
    let plot = args.output.plot.as_deref().map(Plot::at).transpose()?;
    let trace = TraceFile::new(&args.trace.path, args.trace.read_options());
    let read = args.pool.config.as_deref().map(read_config).transpose()?;
    let scan = scan(&trace)?;
    let options = args.streams.options();
    let (config, choice) = choose(&args.pool, read, &trace, &scan, options)?;
    let via = via(&args.via)?;
    let capacity = config.capacity.map(|bytes| bytes.0);
    let backing = provider::backing(&args.memory, capacity)?.made_by(via.maker());
    let (outcome, instants) = play(&trace, &scan, &config, &backing, options, plot.as_ref())?;
    // What the sandbox died of says more than the event at which that was noticed.
    let boundary = via.boundary()?;
    let report = Report {
        trace: &trace.path().display().to_string(),
        scan: &scan,
        synthesized: synthesized(&scan, options),
        choice: &choice,
        outcome: &outcome,
        fit: None,
        boundary,
    };
    show(&report, &args.output)?;
    if let Some(plot) = plot {
        plot.write(&trace, &config, &report, instants)?;
    }
    Ok(if outcome.is_ok() { Ending::Satisfied } else { Ending::Unsatisfied })
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
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Config::parse(&text).map_err(|error| format!("{}, {error}", path.display()).into())
}

/// The configuration, and in a few words why it is this one.
fn choose(
    args: &PoolArgs,
    read: Option<Config>,
    trace: &TraceFile,
    scan: &Scan,
    options: Options,
) -> Result<(Config, String), Error> {
    if let Some(config) = read {
        let (capacity, budget) = (args.capacity.or(config.capacity), args.budget.or(config.budget));
        return Ok((Config { capacity, budget, ..config }, "as configured".to_owned()));
    }
    let wish = Wish {
        kind: args.pool.kind(),
        slab: args.slab,
        capacity: args.capacity,
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
        let mut text = serde_json::to_string_pretty(&report.to_json())?;
        text.push('\n');
        output::print(&text)
    } else {
        output::print(&output::coloured(&report.to_string()))
    }
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
