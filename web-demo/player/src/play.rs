//! The interface `playing`: traces, and runs of them.

use crate::bindings::playing::{
    About, File, Guest, GuestRun, GuestTrace, Held, Kind, Load, Options, Policy, Purpose,
    Run as RunHandle, Source, Trace as TraceHandle,
};
use crate::bindings::{Player, stage};
use crate::planning;
use crate::source::HostFile;
use crate::substrate::{LEDGERS, Link, POOLS, TRACKERS, There};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use strandline_replay::build::Backing;
use strandline_replay::config::{self, Config};
use strandline_replay::engine;
use strandline_replay::format::ReadOptions;
use strandline_replay::lives::Lives;
use strandline_replay::plan::{self, Plan, Wish};
use strandline_replay::planned::Planned;
use strandline_replay::recording;
use strandline_replay::report::{JsonFailure, Report};
use strandline_replay::session::{self, Input, Playback, Scan, Scanning, TraceFile};
use strandline_replay::size::Bytes;
use strandline_replay::synthetic::Synthetic;

/// Errors are sentences for people.
pub(crate) fn told<T>(result: Result<T, impl ToString>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// A source that can be read.
pub(crate) struct Opened {
    pub(crate) file: TraceFile,
    pub(crate) input: Arc<dyn Input>,
    synthetic: bool,
}

/// Names a source to the readers.
pub(crate) fn open(source: Source) -> Result<Opened, String> {
    match source {
        Source::File(File { name, input, device }) => {
            let input: Arc<dyn Input> = Arc::new(HostFile(input));
            let options = ReadOptions { device, ..ReadOptions::default() };
            let file = TraceFile::of(name, input.clone(), options);
            Ok(Opened { file, input, synthetic: false })
        }
        Source::Synthetic(Load { seed, blocks, min_bytes, max_bytes, events }) => {
            let load = Synthetic { seed, blocks, min_bytes, max_bytes, events };
            let input = told(load.into_input())?;
            let file = TraceFile::of("synthetic load", input.clone(), ReadOptions::default());
            Ok(Opened { file, input, synthetic: true })
        }
    }
}

/// A trace, while it is read for the first time and after.
pub(crate) struct Trace {
    pub(crate) file: TraceFile,
    synthetic: bool,
    scanning: RefCell<Option<Scanning>>,
    pub(crate) scan: RefCell<Option<Scan>>,
    lives: RefCell<Option<Lives>>,
    events: Cell<u64>,
}

impl GuestTrace for Trace {
    fn open(source: Source, keep_lives: bool) -> Result<TraceHandle, String> {
        let Opened { file, synthetic, .. } = open(source)?;
        let scanning = told(Scanning::new(&file))?;
        let scanning = if keep_lives { scanning.keeping_lives() } else { scanning };
        let scanning = RefCell::new(Some(scanning));
        let (scan, lives) = (RefCell::new(None), RefCell::new(None));
        let events = Cell::new(0);
        Ok(TraceHandle::new(Self { file, synthetic, scanning, scan, lives, events }))
    }

    fn scan(&self, steps: u32) -> Result<bool, String> {
        let mut scanning = self.scanning.borrow_mut();
        let Some(reading) = scanning.as_mut() else { return Ok(true) };
        let ended = told(reading.advance(steps.into()))?;
        self.events.set(reading.events());
        if ended && let Some(mut read) = scanning.take() {
            *self.lives.borrow_mut() = read.take_lives();
            *self.scan.borrow_mut() = Some(told(read.finish())?);
        }
        Ok(ended)
    }

    fn events(&self) -> u64 {
        self.events.get()
    }

    fn about(&self) -> Option<About> {
        let scan = self.scan.borrow();
        let scan = scan.as_ref()?;
        let format = if self.synthetic { "synthetic" } else { scan.format.name() };
        Some(About { format: format.to_owned(), events: scan.totals.events, streams: scan.streams })
    }

    fn lives(&self) -> Option<Vec<u8>> {
        Some(self.lives.take()?.to_bytes())
    }

    fn state_only(&self) -> bool {
        self.scan.borrow().as_ref().is_some_and(|scan| scan.state_only)
    }

    fn play(&self, options: Options, purpose: Purpose) -> Result<RunHandle, String> {
        let Some(scan) = self.scan.borrow().clone() else {
            return Err("the trace was not read to its end".to_owned());
        };
        let Options { kind, slab, capacity, budget, policy, streams, in_flight, allow_wait, plan } =
            options;
        let following = plan.as_deref().map(planning::following).transpose()?;
        let options = engine::Options {
            spread: streams,
            in_flight,
            allow_wait,
            // A page has no device whose capacity would decide on what was refused.
            as_recorded: true,
            // The run that is reported is checked: the same events.
            unchecked: purpose == Purpose::Copies,
            ..engine::Options::default()
        };
        let wish = Wish {
            kind: kind.map(|kind| match kind {
                Kind::Tlsf => config::Kind::Tlsf,
                Kind::Fixed => config::Kind::Fixed,
                Kind::Arena => config::Kind::Arena,
                Kind::Passthrough => config::Kind::Passthrough,
            }),
            slab: slab.map(Bytes),
            capacity: capacity.map(Bytes),
            budget: budget.map(Bytes),
            policy: policy.map(|policy| match policy {
                Policy::Readiness => config::Policy::Readiness,
                Policy::Eager => config::Policy::Eager,
            }),
        };
        let count = told(session::stream_count(&scan, options))?;
        let plan = match &following {
            Some(following) => Plan {
                config: following.config(wish.capacity, wish.budget),
                choice: following.choice(),
            },
            None => told(plan::plan(&wish, &self.file, &scan, options, &mut |tried, of| {
                stage::choosing(tried as u32, of as u32);
            }))?,
        };
        told(plan.config.check())?;
        let axes = (0..count).map(strandline_replay::streams::axis);
        let capacity = plan.config.capacity.map(|bytes| bytes.0);
        let live = purpose == Purpose::Live && following.is_none();
        let shown = purpose != Purpose::Report;
        let (backing, link) = match &following {
            // Here: the page has the build of the component that makes no such pools, the smaller one.
            Some(following) => {
                let backing = Backing::numbers(capacity).made_by(following.clone());
                (backing, Arc::new(Link::new(axes, false)?))
            }
            None if purpose == Purpose::Copies => {
                // As the slabs of the other component's pools are.
                (Backing::numbers(capacity).rigid(), Arc::new(Link::new(axes, false)?))
            }
            None => There::backing(axes, capacity, shown, live)?,
        };
        let clock = Stopwatch::default();
        clock.show();
        let playback = told(Playback::new(&self.file, &scan, &plan.config, &backing, options))?;
        let playback = if shown { playback.remembering() } else { playback };
        let playback = if live { playback.completing_outside() } else { playback };
        let synthesized = scan.streams == 1 && streams.is_some_and(|streams| streams > 1);
        Ok(RunHandle::new(Run {
            playback: RefCell::new(playback),
            link,
            scan,
            config: plan.config,
            choice: plan.choice,
            following,
            streams: count,
            synthesized,
            clock,
        }))
    }
}

/// The time that a run took, pauses left out.
#[derive(Default)]
struct Stopwatch(Cell<u64>);

impl Stopwatch {
    /// Tells the replay what it shows.
    fn show(&self) {
        strandline_replay::clock::set(self.0.get());
    }

    /// Runs while `work` does.
    fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = stage::now();
        self.show();
        let done = work();
        self.0.set(self.0.get() + stage::now().saturating_sub(start));
        self.show();
        done
    }
}

/// A trace that is being played.
pub(crate) struct Run {
    playback: RefCell<Playback>,
    link: Arc<Link>,
    scan: Scan,
    config: Config,
    choice: String,
    following: Option<Arc<Planned>>,
    streams: u32,
    synthesized: bool,
    clock: Stopwatch,
}

impl GuestRun for Run {
    fn pools(&self) -> Vec<String> {
        // In the order of the pools: a set sorts them by what they take.
        let mut pools = self.config.pools.clone();
        pools.sort_by_key(|pool| pool.up_to.map_or(u64::MAX, |bytes| bytes.0));
        let alone = |pool| Config { pools: vec![pool], ..Config::default() }.to_string();
        pools.into_iter().map(alone).collect()
    }

    fn streams(&self) -> u32 {
        self.streams
    }

    fn synthesized(&self) -> bool {
        self.synthesized
    }

    fn play(&self, up_to: u64, steps: u32) -> Result<bool, String> {
        let playback = &mut *self.playback.borrow_mut();
        told(self.clock.time(|| playback.advance(up_to, steps.into())))
    }

    fn waiting(&self) -> bool {
        self.playback.borrow().is_waiting()
    }

    fn work(&self) -> Vec<u64> {
        self.link.work()
    }

    fn complete(&self, reached: Vec<u64>) {
        let playback = &mut *self.playback.borrow_mut();
        for pair in reached.chunks_exact(2) {
            if let (&[stream, epoch], engine) = (pair, playback.engine())
                && let Ok(stream) = u32::try_from(stream)
            {
                engine.complete_to(stream, epoch);
            }
        }
    }

    fn event(&self) -> u64 {
        self.playback.borrow_mut().engine().event()
    }

    fn ended(&self) -> bool {
        self.playback.borrow().has_ended()
    }

    fn frame(&self) -> Vec<u8> {
        self.playback.borrow_mut().engine().frame().to_bytes()
    }

    fn series(&self) -> Vec<u8> {
        recording::series(self.playback.borrow_mut().engine().timeline())
    }

    fn failure(&self) -> Option<String> {
        let playback = self.playback.borrow();
        // Numbers and texts have a JSON form.
        serde_json::to_string(&JsonFailure::from(playback.failure()?)).ok()
    }

    fn finish(run: RunHandle) -> String {
        let Run { playback, scan, config, choice, following, synthesized, clock, .. } =
            run.into_inner();
        clock.show();
        let outcome = playback.into_inner().finish();
        let report = Report {
            trace: "",
            scan: &scan,
            synthesized,
            choice: &choice,
            outcome: &outcome,
            fit: None,
            capacity: config.capacity.map(|bytes| bytes.0),
            boundary: None,
        };
        let mut json = serde_json::to_value(report.to_json()).unwrap_or_default();
        if let Some(keys) = json.as_object_mut() {
            // The time of a call is below what the host's clock can tell.
            keys.remove("latency_ns");
        }
        if let Some(following) = following {
            following.tell(&mut json);
        }
        json.to_string()
    }
}

impl Guest for Player {
    type Trace = Trace;
    type Run = Run;

    fn held_now() -> Held {
        Held { pools: POOLS.count(), ledgers: LEDGERS.count(), trackers: TRACKERS.count() }
    }
}
