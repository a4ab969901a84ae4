//! Scanning and playing in slices, for whoever has other things to do in between.
//!
//! ```text
//!   Scanning   advance(n) advance(n) … ─▶ Scan
//!   Playback   advance(up to, n) … engine().frame() … ─▶ Outcome
//! ```
//!
//! A slice is bounded by the events that it may take, so it takes bounded time. What comes out does not depend on the slices.

use super::{Live, Scan, SessionError, TraceFile, engine};
use crate::build::{Backing, SMALL, Sizes};
use crate::config::Config;
use crate::engine::{Engine, Failure, Options, Outcome};
use crate::format::{MOST_REFUSED, Refused, TraceReader};
use crate::lives::Lives;
use crate::serving::ServingReport;
use crate::validate::{Step, Steps, What};

/// A trace that is being read to its end for the first time.
#[derive(Debug)]
pub struct Scanning {
    trace: TraceFile,
    steps: Steps<TraceReader<'static>>,
    smallest: u64,
    largest: u64,
    /// Most bytes needed at once, those of refused requests too.
    most: u64,
    small: [Live; SMALL.len()],
    lives: Option<Lives>,
    refused: Vec<Refused>,
}

impl Scanning {
    /// Opens a trace.
    ///
    /// # Errors
    /// It cannot be read or is no trace.
    pub fn new(trace: &TraceFile) -> Result<Self, SessionError> {
        Ok(Self {
            trace: trace.clone(),
            steps: trace.open()?.steps(),
            smallest: u64::MAX,
            largest: 0,
            most: 0,
            small: SMALL.map(Live::up_to),
            lives: None,
            refused: Vec::new(),
        })
    }

    /// Keeps every block that is read, for a picture: [`take_lives`](Self::take_lives).
    #[must_use]
    pub fn keeping_lives(mut self) -> Self {
        self.lives = Some(Lives::default());
        self
    }

    /// The blocks that were read, once, if they were [kept](Self::keeping_lives).
    pub fn take_lives(&mut self) -> Option<Lives> {
        self.lives.take()
    }

    /// Reads `at_most` more steps. True when that was the end.
    ///
    /// # Errors
    /// The trace is not sound.
    pub fn advance(&mut self, at_most: u64) -> Result<bool, SessionError> {
        for _ in 0..at_most {
            let Some(step) = self.steps.next() else { return Ok(true) };
            let step = step.map_err(|error| self.trace.wrong(error))?;
            if let What::Alloc(_) | What::Held(_) | What::Failure = step.what
                && step.size > 0
            {
                self.smallest = self.smallest.min(step.size);
                self.largest = self.largest.max(step.size);
            }
            if step.what == What::Failure {
                self.refuse(&step);
            }
            self.small.iter_mut().for_each(|live| live.count(&step));
            if let Some(lives) = &mut self.lives {
                let event = u32::try_from(self.steps.totals().events).unwrap_or(u32::MAX);
                lives.see(event, &step);
            }
        }
        Ok(false)
    }

    /// A request that was refused when the trace was recorded.
    fn refuse(&mut self, step: &Step) {
        let totals = self.steps.totals();
        self.most = self.most.max(totals.active_bytes.saturating_add(step.size));
        if self.refused.len() < MOST_REFUSED {
            self.refused.push(Refused {
                line: step.line,
                event: totals.events,
                bytes: step.size,
                live_bytes: totals.live_bytes,
                circumstances: self.steps.events().circumstances(step.line),
            });
        }
    }

    /// Events read so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.steps.totals().events
    }

    /// What was read: what the trace holds, once its end was reached.
    ///
    /// # Errors
    /// It asks for nothing.
    pub fn finish(self) -> Result<Scan, SessionError> {
        let totals = *self.steps.totals();
        let reader = self.steps.events();
        let state_only = reader.is_state_only();
        let notes = reader.notes();
        if let Some(ServingReport {
            requests, rejected: 1.., capacity_blocks: Some(blocks), ..
        }) = notes.serving
            && totals.allocs == 0
        {
            let error = format!(
                "the capacity has room for {blocks} blocks, and each of the {requests} requests needs more or none"
            );
            return Err(SessionError::Options(error));
        }
        if totals.allocs == 0 && totals.failures == 0 && !state_only {
            return Err(SessionError::Nothing(self.trace.path));
        }
        Ok(Scan {
            format: reader.format(),
            totals,
            streams: (reader.streams().len() as u32).max(1),
            sizes: Sizes {
                smallest: self.smallest,
                largest: self.largest,
                peak_blocks: totals.peak_live_blocks,
                peak_bytes: totals.peak_active_bytes.max(self.most),
                small: self.small.map(|live| live.small),
            },
            notes,
            refused: self.refused,
            state: reader.state(),
            state_only,
        })
    }
}

/// A trace that is being played.
///
/// ```
/// use strandline_replay::build::Backing;
/// use strandline_replay::config::{Config, Kind, PoolSpec};
/// use strandline_replay::engine::Options;
/// use strandline_replay::format::ReadOptions;
/// use strandline_replay::session::{Playback, TraceFile};
/// use strandline_replay::synthetic::Synthetic;
///
/// let load = Synthetic { events: 1000, ..Synthetic::default() };
/// let trace = TraceFile::of("load", load.into_input()?, ReadOptions::default());
/// let scan = trace.scan(&mut |_| ())?;
/// let config = Config { pools: vec![PoolSpec::of(Kind::Tlsf)], ..Config::default() };
/// let mut playback =
///     Playback::new(&trace, &scan, &config, &Backing::numbers(None), Options::default())?;
/// while playback.advance(500, 100)? {}
/// assert_eq!(playback.engine().frame().event, 500);
/// while playback.advance(u64::MAX, 100)? {}
/// assert!(playback.finish().is_ok());
/// # Ok::<(), strandline_replay::session::SessionError>(())
/// ```
#[derive(Debug)]
pub struct Playback {
    trace: TraceFile,
    steps: Steps<TraceReader<'static>>,
    engine: Engine,
    /// Read already, and to be played later.
    next: Option<(u64, Step)>,
    failure: Option<Box<Failure>>,
    ended: bool,
    waiting: bool,
}

impl Playback {
    /// Makes the pools of a configuration, and opens the trace.
    ///
    /// # Errors
    /// As of [`TraceFile::play`].
    pub fn new(
        trace: &TraceFile,
        scan: &Scan,
        config: &Config,
        backing: &Backing,
        options: Options,
    ) -> Result<Self, SessionError> {
        Ok(Self {
            trace: trace.clone(),
            steps: trace.open()?.steps(),
            engine: engine(scan, config, backing, options)?,
            next: None,
            failure: None,
            ended: false,
            waiting: false,
        })
    }

    /// The same, whose frames [name the stream](Engine::remembering) that freed a block last.
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.engine = self.engine.remembering();
        self
    }

    /// The same, whose operations [complete outside](crate::streams::Streams::completing_outside).
    #[must_use]
    pub fn completing_outside(mut self) -> Self {
        self.engine = self.engine.completing_outside();
        self
    }

    /// Plays on to the last step at or before event `up_to`, but no more than `at_most` steps. True when that was not enough to get there.
    ///
    /// # Errors
    /// The trace is not sound. That it is not satisfied is no error: see [`failure`](Self::failure). Nor is that a step
    /// [has to wait](Self::is_waiting).
    pub fn advance(&mut self, up_to: u64, at_most: u64) -> Result<bool, SessionError> {
        self.waiting = false;
        for _ in 0..at_most {
            if self.ended {
                return Ok(false);
            }
            if self.next.is_none() {
                let step =
                    self.steps.next().transpose().map_err(|error| self.trace.wrong(error))?;
                self.next = step.map(|step| (self.steps.totals().events, step));
            }
            match self.next {
                None => self.ended = true,
                Some((event, _)) if event > up_to => return Ok(false),
                Some((_, step)) if self.engine.must_wait(&step) => {
                    self.waiting = true;
                    return Ok(true);
                }
                Some((event, step)) => {
                    self.next = None;
                    if let Err(failure) = self.engine.play(event, &step) {
                        self.failure = Some(failure);
                        self.ended = true;
                    }
                }
            }
        }
        Ok(!self.ended && self.engine.event() < up_to)
    }

    /// The engine, to be looked at.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The event that could not be satisfied, once it was met. Nothing is played after it.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_deref()
    }

    /// The next step has to wait for operations that complete outside: nothing is played until the engine is told.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// All was played that can be.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// What came of it so far.
    #[must_use]
    pub fn finish(self) -> Outcome {
        self.engine.finish(self.failure)
    }
}
