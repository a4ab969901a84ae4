//! A trace played by several processes through one lent pool, and by one process through the same pool of its own.
//!
//! ```text
//!   trace ─ script ─▶ turn ─┬─▶ worker 0: streams 0, N, …    asks the owner, writes stamps, looks for them
//!                           ├─▶ worker 1: streams 1, N+1, …             │
//!                           └─▶ …                                       ▼
//!           judge ◀─ ranges, progress, stamps that were gone ◀── the owner's pool, in memory of all
//! ```
//!
//! This process is the owner and hands out the turns: what one stream does before another does something. A turn begins when the one before
//! it is played and the owner has heard how far its stream is. So the order is the trace's, and the same trace has the same totals whoever plays
//! it: `host-fleet/tests/replay.rs` holds it to that.
//!
//! **What that costs in concurrency**: questions of different workers never meet, and a turn waits for one way there and back at least. What does
//! overlap is use: a block is given back with the last [operations](ReplayOptions::in_flight) of its stream in flight, so its bytes are one process's
//! while others are asking for memory, and an early reuse shows in the stamps.
//!
//! Each process reads the trace for itself; only numbers of turns go to the workers, and ranges come back.

mod crew;
mod joined;
mod judge;
mod player;
mod report;
mod script;
mod worker;

pub use joined::{JoinOptions, Part, join};
pub use report::{Fallen, Report, Totals, Worked};
pub use worker::work;

use self::crew::Crew;
use self::judge::Judge;
use self::player::{Bytes, Played, Player, Seat};
use self::script::{Script, Turn};
use crate::FleetError;
use crate::pool::Batched;
use core::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_core::fleet::message::OwnedDeath;
use strandline_core::inspect::{Event, EventSink};
use strandline_core::pool::PoolHost;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::{
    Acquire, Axis, Death, Epoch, Pool, PoolError, Request, Reservation, SlabMap, Tracker,
};
use strandline_host_native::MmapSlabProvider;
use strandline_replay::engine::Options;
use strandline_replay::format::ReadOptions;
use strandline_replay::session::{Scan, SessionError, TraceFile, stream_count};

/// The most workers.
pub const MOST_WORKERS: u32 = 64;

/// The fleet's name, in a folder of its own.
const FLEET: &str = "replay";
/// How long a worker may take to join, and to leave.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a slab, unless a block is larger.
const SLAB: u64 = 64 << 20;

/// How a trace is played.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// The trace.
    pub trace: PathBuf,
    /// Processes that play it: stream `s` is worker `s` mod `workers`. With 0 this process plays all of it, and lends nothing.
    pub workers: u32,
    /// A trace of one stream is played on this many; without, on one for each worker.
    pub streams: Option<u32>,
    /// Operations by which completion trails submission on each stream.
    pub in_flight: u64,
    /// Bytes that are lent at most; without, enough for the peak of the trace twice, once more for each stream, and a slab. They are addresses
    /// until they are touched.
    pub capacity: Option<u64>,
    /// Reads past what a trace that was cut from a longer run may show.
    pub lenient: bool,
}

impl ReplayOptions {
    /// A trace on some workers, 16 operations in flight on each stream.
    #[must_use]
    pub fn new(trace: impl Into<PathBuf>, workers: u32) -> Self {
        let (streams, capacity) = (None, None);
        Self { trace: trace.into(), workers, streams, in_flight: 16, capacity, lenient: false }
    }
}

/// Why a trace could not be played. That a worker was lost, or a request refused, is in the [`Report`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The trace cannot be read.
    Trace(SessionError),
    /// The options do not fit.
    Options(String),
    /// The fleet could not be opened or joined.
    Fleet(FleetError),
    /// The pool.
    Pool(PoolError),
    /// A worker did what it was not told, or did not start.
    Worker(String),
    /// The system.
    Io(io::Error),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trace(error) => error.fmt(f),
            Self::Options(what) | Self::Worker(what) => f.write_str(what),
            Self::Fleet(error) => error.fmt(f),
            Self::Pool(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ReplayError {}

impl From<SessionError> for ReplayError {
    fn from(error: SessionError) -> Self {
        Self::Trace(error)
    }
}

impl From<FleetError> for ReplayError {
    fn from(error: FleetError) -> Self {
        Self::Fleet(error)
    }
}

impl From<io::Error> for ReplayError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Where the owner listens, and the socket of its slabs.
fn files(folder: &Path) -> (String, PathBuf) {
    (format!("unixsock-stream/{}", folder.join("zenoh").display()), folder.join("slabs"))
}

/// Who plays.
trait Table {
    /// Plays a turn; `settle` is called when its questions are answered, and before its stream goes on. `None` when somebody was lost, and there
    /// will be no more.
    fn play(&mut self, turn: &Turn, settle: &dyn Fn()) -> Result<Option<Played>, ReplayError>;
}

/// A trace, and what it is played with.
struct Plan {
    options: ReplayOptions,
    trace: TraceFile,
    scan: Scan,
    streams: u32,
    spread: Option<u32>,
    capacity: u64,
    slab: u64,
}

impl Plan {
    fn new(options: &ReplayOptions) -> Result<Self, ReplayError> {
        let workers = options.workers;
        if workers > MOST_WORKERS {
            return Err(ReplayError::Options(format!("--workers can be at most {MOST_WORKERS}")));
        }
        let read = ReadOptions { lenient: options.lenient, ..ReadOptions::default() };
        let trace = TraceFile::new(&options.trace, read);
        let (scan, streams, spread) = check_streams(&trace, options.streams, workers.max(1))?;
        let peak = scan.totals.peak_active_bytes;
        let slab = SLAB.max(scan.totals.largest_bytes.next_multiple_of(1 << 20));
        let room = peak.saturating_mul(2 + u64::from(streams)).saturating_add(slab);
        let capacity = options.capacity.unwrap_or(room);
        let slab = slab.min(capacity);
        Ok(Self { options: options.clone(), trace, scan, streams, spread, capacity, slab })
    }
}

/// Reads a trace through; how many streams it is played on, and over how many its one stream is spread.
fn check_streams(
    trace: &TraceFile,
    wanted: Option<u32>,
    otherwise: u32,
) -> Result<(Scan, u32, Option<u32>), ReplayError> {
    let scan = trace.scan(&mut |_| {})?;
    if scan.state_only {
        return Err(SessionError::StateOnly(trace.path().to_owned()).into());
    }
    let spread = wanted.or((scan.streams == 1).then_some(otherwise));
    let streams = stream_count(&scan, Options { spread, ..Options::default() })?;
    let spread = (scan.streams == 1 && streams > 1).then_some(streams);
    Ok((scan, streams, spread))
}

/// Plays a trace. `program` is started for each worker with the argument `work` and others, which it is to give to [`work`].
///
/// # Errors
/// [`ReplayError`].
pub fn replay(options: &ReplayOptions, program: &Path) -> Result<Report, ReplayError> {
    let plan = Plan::new(options)?;
    let memory = MmapSlabProvider::builder().shared(true).capacity(plan.capacity).build();
    let memory = Arc::new(memory.map_err(|error| ReplayError::Options(error.to_string()))?);
    let tracker = Tracker::new(plan.streams as usize + 2 * MOST_WORKERS as usize);
    let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone())).with_sink(Arc::new(Deaf));
    let config = TlsfPoolConfig { growth: Growth::slabs_of(plan.slab), ..Default::default() };
    let pool = Arc::new(TlsfPool::new(host, config).map_err(ReplayError::Pool)?);
    let mut judge = Judge::new(plan.streams)?;
    if plan.options.workers == 0 {
        let seat = Own { pool: pool.clone(), tracker, memory };
        let mut player = Player::new(seat, plan.options.in_flight, 0, 1);
        let course = conduct(&plan, &mut player, &*pool, &mut judge)?;
        judge.corrupted(player.finish()?);
        return Ok(Report::new(&plan, &judge, course, Vec::new(), Fallen::default(), None));
    }
    let mut crew = Crew::start(&plan, program, pool.clone(), tracker, memory)?;
    let course = conduct(&plan, &mut crew, &*pool, &mut judge)?;
    // Before they leave.
    let picture = crew.picture();
    let (wrong, fallen) = crew.finish()?;
    judge.corrupted(wrong);
    Ok(Report::new(&plan, &judge, course, crew.worked(), fallen, Some(picture)))
}

/// How it went.
struct Course {
    turns: u64,
    /// The last event played.
    event: u64,
    elapsed: Duration,
    peak_active: u64,
    stats: strandline_core::PoolStats,
}

/// Has one turn played after the other, until the trace ends or somebody is lost.
fn conduct(
    plan: &Plan,
    table: &mut dyn Table,
    pool: &dyn Pool,
    judge: &mut Judge,
) -> Result<Course, ReplayError> {
    let mut script = Script::new(&plan.trace, plan.spread)?;
    let begin = Instant::now();
    let (mut turns, mut event, mut peak_active) = (0, 0, 0);
    while let Some(turn) = script.turn()? {
        // The owner's thread lets the pool look around whenever it likes. Done here each time that something has changed, it finds
        // nothing more to do, and what the pool answers does not depend on when it looks.
        let Some(played) = table.play(&turn, &|| pool.poll())? else { break };
        judge.turn(&turn, &played)?;
        pool.poll();
        let stats = pool.stats();
        peak_active = peak_active.max(stats.reserved_bytes + stats.pending_bytes);
        (turns, event) = (turn.number + 1, turn.event);
    }
    let (elapsed, stats) = (begin.elapsed(), pool.stats());
    Ok(Course { turns, event, elapsed, peak_active, stats })
}

/// Hears nothing of what a pool does. A pool that is heard has no blocks that go from hand to hand within a thread: what it answers depends
/// on its calls then, and not on which of the owner's threads brought them.
#[derive(Debug)]
struct Deaf;

impl EventSink for Deaf {
    fn event(&self, _event: &Event) {}
}

/// At a pool of this process.
struct Own {
    pool: Arc<TlsfPool>,
    tracker: Tracker,
    memory: Arc<MmapSlabProvider>,
}

impl Seat for Own {
    fn register(&self, stream: u32) -> Result<Axis, ReplayError> {
        let axis = strandline_replay::streams::axis(stream);
        let registered = self.tracker.register(axis);
        registered.map_err(|error| ReplayError::Worker(error.to_string()))?;
        Ok(axis)
    }

    fn batch(&self, batch: Vec<Batched>) -> Result<Vec<Result<Acquire, PoolError>>, PoolError> {
        let mut answers = Vec::new();
        for one in batch {
            match one {
                Batched::Acquire(ask) => {
                    let request = Request::new(ask.size).aligned(ask.alignment);
                    answers.push(self.pool.acquire(&request.after(&ask.frontier)));
                }
                Batched::Release(reservation, death) => {
                    let death = match &death {
                        OwnedDeath::Idle => Death::Idle,
                        OwnedDeath::After { frontier } => Death::After(frontier.as_ref()),
                        OwnedDeath::Unknown => Death::Unknown,
                    };
                    let released = self.pool.release(reservation, death);
                    released.map_err(|_| PoolError::InvalidConfig("a release was refused"))?;
                }
            }
        }
        Ok(answers)
    }

    fn bytes(&self, reservation: &Reservation) -> Result<Bytes, ReplayError> {
        let (slab, offset, size) = reservation.range();
        let bytes = self.memory.map(slab, offset, size);
        bytes.map(Bytes::Mapped).map_err(|error| ReplayError::Worker(error.to_string()))
    }

    fn advance(&self, axis: Axis, epoch: Epoch) -> Result<(), ReplayError> {
        let advanced = self.tracker.advance(axis, epoch);
        advanced.map_err(|error| ReplayError::Worker(error.to_string()))
    }

    fn peak(&self) -> u64 {
        self.pool.stats().peak_reserved_bytes
    }
}

impl<S: Seat> Table for Player<S> {
    fn play(&mut self, turn: &Turn, settle: &dyn Fn()) -> Result<Option<Played>, ReplayError> {
        let grants = self.ask(turn)?;
        settle();
        self.complete(turn, grants).map(Some)
    }
}
