//! A trace on disk, looked at once and then played as often as needed.
//!
//! ```text
//!   scan:  open ─▶ steps ─▶ totals, sizes, streams      every fault of the trace is found before anything is played
//!   play:  open ─▶ steps ─▶ engine ─▶ outcome
//! ```
//!
//! A trace is read twice so that it is never held: memory is bounded by the live set, not by the trace. So it must be a
//! regular file, or another [`Input`] that can be opened again. A snapshot, which has to be read to its end before its first event,
//! is read once and kept, packed.

use crate::build::{self, Backing, BuildError, DEFAULT_GRANULE, Sizes, Small};
use crate::config::Config;
use crate::engine::{Engine, Options, Outcome};
use crate::format::{
    Format, Held, Notes, Place, ReadOptions, Refused, State, TraceError, TraceReader,
};
use crate::streams::{MAX_STREAMS, Streams};
use crate::validate::{Step, Totals, What};
use core::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

mod playback;

pub use playback::{Playback, Scanning};

mod record;

/// Events between two calls of a progress callback.
pub const TICK: u64 = 4096;

/// Bytes that can be read from the beginning as often as needed, and are the same every time.
pub trait Input: fmt::Debug + Send + Sync {
    /// Begins to read.
    ///
    /// # Errors
    /// It cannot be read.
    fn open(&self) -> io::Result<Box<dyn Read + Send>>;
}

/// A trace file and how it is read.
#[derive(Clone, Debug)]
pub struct TraceFile {
    path: PathBuf,
    /// What stands for a file, if something does.
    input: Option<Arc<dyn Input>>,
    options: ReadOptions,
    /// What was read already and need not be read again.
    held: Arc<OnceLock<Held>>,
}

/// Why a trace could not be played. Everything here is about the input; a trace that was played and not satisfied is an
/// [`Outcome`].
#[derive(Debug)]
#[non_exhaustive]
pub enum SessionError {
    /// The file cannot be opened or is not a regular file.
    Open(PathBuf, io::Error),
    /// The trace is not sound.
    Trace(PathBuf, TraceError),
    /// The trace asks for nothing.
    Nothing(PathBuf),
    /// The file tells a state, and nothing that could be played.
    StateOnly(PathBuf),
    /// A file is not what it should be, in a line or as a whole; the text says how.
    File(PathBuf, Option<u64>, String),
    /// The configuration does not build.
    Build(BuildError),
    /// The options do not fit the trace; the text says what to change.
    Options(String),
}

/// What to do with a state where a trace is needed.
const STATE_ONLY: &str = "`strandline replay` and `strandline explain` report the state; to have a trace, call \
    torch.cuda.memory._record_memory_history() before the allocations";

/// Opens a file to be read.
///
/// # Errors
/// It cannot be opened, or is a folder.
pub fn open_file(path: &Path) -> Result<File, SessionError> {
    let open = |error| SessionError::Open(path.to_owned(), error);
    let file = File::open(path).map_err(open)?;
    if file.metadata().map_err(open)?.is_dir() {
        let what = "a folder; name a file in it";
        return Err(open(io::Error::new(io::ErrorKind::IsADirectory, what)));
    }
    Ok(file)
}

/// An error in parts, for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorParts {
    /// The file.
    pub file: Option<PathBuf>,
    /// The place in it.
    pub place: Option<Place>,
    /// What was found, or what failed.
    pub what: String,
    /// What was expected.
    pub expected: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl SessionError {
    /// The error in parts.
    #[must_use]
    pub fn parts(&self) -> ErrorParts {
        let of = |file: Option<&PathBuf>, what: String| ErrorParts {
            file: file.cloned(),
            place: None,
            what,
            expected: None,
            remedy: None,
        };
        match self {
            Self::Open(path, error) => ErrorParts {
                expected: Some("a file that can be read".to_owned()),
                remedy: Some("check the name, and who may read the file".to_owned()),
                ..of(Some(path), error.to_string())
            },
            Self::Trace(path, error) => ErrorParts {
                place: Some(error.place()),
                expected: Some(error.expected().to_owned()),
                remedy: Some(error.remedy().to_owned()),
                ..of(Some(path), error.found().to_owned())
            },
            Self::Nothing(path) => ErrorParts {
                expected: Some("at least one allocation".to_owned()),
                remedy: Some("check that the recording program ran to its end".to_owned()),
                ..of(Some(path), "no allocation".to_owned())
            },
            Self::StateOnly(path) => ErrorParts {
                expected: Some("allocations".to_owned()),
                remedy: Some(STATE_ONLY.to_owned()),
                ..of(Some(path), "a snapshot of a state without a trace".to_owned())
            },
            Self::File(path, line, what) => {
                ErrorParts { place: line.map(Place::Line), ..of(Some(path), what.clone()) }
            }
            Self::Build(error) => of(None, error.to_string()),
            Self::Options(error) => of(None, error.clone()),
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(path, error) => write!(f, "{}: {error}", path.display()),
            Self::File(path, Some(line), what) => {
                write!(f, "{}, line {line}: {what}", path.display())
            }
            Self::File(path, None, what) => write!(f, "{}: {what}", path.display()),
            Self::Trace(path, error) => match error.place() {
                Place::Whole => write!(f, "{}: {error}", path.display()),
                _ => write!(f, "{}, {error}", path.display()),
            },
            Self::Nothing(path) => write!(
                f,
                "{}: trace: found no allocation, expected at least one; check that the recording program ran to its \
                 end",
                path.display()
            ),
            Self::StateOnly(path) => write!(
                f,
                "{}: trace: found a snapshot of a state without a trace, expected allocations; {STATE_ONLY}",
                path.display()
            ),
            Self::Build(error) => error.fmt(f),
            Self::Options(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(_, error) => Some(error),
            Self::Trace(_, error) => Some(error),
            Self::Build(error) => Some(error),
            Self::Nothing(_) | Self::StateOnly(_) | Self::File(..) | Self::Options(_) => None,
        }
    }
}

impl From<BuildError> for SessionError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

/// What a whole trace holds.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The format that was detected.
    pub format: Format,
    /// Counts and peaks.
    pub totals: Totals,
    /// Streams of the trace itself.
    pub streams: u32,
    /// Smallest and largest block.
    pub sizes: Sizes,
    /// What the reader did besides reading.
    pub notes: Notes,
    /// The requests that were refused when it was recorded: the first [`MOST_REFUSED`](crate::format::MOST_REFUSED).
    pub refused: Vec<Refused>,
    /// The state of the recorded allocator when the file was written, if the file tells it.
    pub state: Option<State>,
    /// The file tells a state and nothing that could be played.
    pub state_only: bool,
}

impl Scan {
    /// Bytes of the device that the trace was recorded on, as far as the refused requests tell: what the allocator held and what the
    /// device had free, and at least what was active at once. None if no request was refused, or the file does not tell.
    #[must_use]
    pub fn device_bytes(&self) -> Option<u64> {
        let told = self.refused.iter().map(Refused::device_bytes).collect::<Option<Vec<u64>>>()?;
        let most = told.into_iter().max()?;
        Some(most.max(self.totals.peak_active_bytes))
    }
}

impl TraceFile {
    /// A trace at `path`, read with `options`.
    pub fn new(path: impl Into<PathBuf>, options: ReadOptions) -> Self {
        Self { path: path.into(), input: None, options, held: Arc::default() }
    }

    /// A trace that is no file: `input`, by a name for messages.
    pub fn of(name: impl Into<PathBuf>, input: Arc<dyn Input>, options: ReadOptions) -> Self {
        Self { path: name.into(), input: Some(input), options, held: Arc::default() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it and detects its format.
    ///
    /// # Errors
    /// The file cannot be read or is no trace.
    pub fn open(&self) -> Result<TraceReader<'static>, SessionError> {
        if let Some(held) = self.held.get() {
            return Ok(TraceReader::again(held));
        }
        let reader = self.read()?;
        if let Some(held) = reader.hold() {
            // Whoever else read it at the same time holds the same.
            let _ = self.held.set(held);
        }
        Ok(reader)
    }

    fn read(&self) -> Result<TraceReader<'static>, SessionError> {
        let open = |error| SessionError::Open(self.path.clone(), error);
        if let Some(input) = &self.input {
            let bytes = input.open().map_err(open)?;
            return TraceReader::new(bytes, self.options).map_err(|error| self.wrong(error));
        }
        let file = open_file(&self.path)?;
        if !file.metadata().map_err(open)?.is_file() {
            let what = "not a regular file; a trace is read twice: write it to a file first";
            return Err(open(io::Error::new(io::ErrorKind::InvalidInput, what)));
        }
        TraceReader::new(BufReader::with_capacity(1 << 16, file), self.options)
            .map_err(|error| self.wrong(error))
    }

    fn wrong(&self, error: TraceError) -> SessionError {
        SessionError::Trace(self.path.clone(), error)
    }

    /// Reads all of it. `progress` is told the number of events now and then.
    ///
    /// # Errors
    /// The trace is not sound, or asks for nothing.
    pub fn scan(&self, progress: &mut dyn FnMut(u64)) -> Result<Scan, SessionError> {
        let mut scanning = Scanning::new(self)?;
        while !scanning.advance(TICK)? {
            progress(scanning.events());
        }
        scanning.finish()
    }

    /// Plays it through the pools of `config`. `progress` is told the number of events now and then.
    ///
    /// # Errors
    /// The trace, the configuration or the options are not sound. That the trace is not satisfied is an outcome.
    pub fn play(
        &self,
        scan: &Scan,
        config: &Config,
        backing: &Backing,
        options: Options,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Outcome, SessionError> {
        let mut playback = Playback::new(self, scan, config, backing, options)?;
        while playback.advance(u64::MAX, TICK)? {
            progress(playback.engine().event());
        }
        Ok(playback.finish())
    }
}

/// The most steps that a [`Tape`] holds: 160 MiB of them.
pub const HELD: u64 = 1 << 22;

/// A trace that is played many times over: its steps are held if there are at most [`HELD`], else read each time.
#[derive(Debug)]
pub struct Tape<'a> {
    trace: &'a TraceFile,
    scan: &'a Scan,
    /// Steps with the numbers of their events.
    pub(crate) held: Option<Vec<(u64, Step)>>,
}

impl<'a> Tape<'a> {
    /// Reads a trace that was scanned, if it is to be held.
    ///
    /// # Errors
    /// The trace is not what it was when it was scanned.
    pub fn new(trace: &'a TraceFile, scan: &'a Scan) -> Result<Self, SessionError> {
        // A step has its own event, or is the free that a lenient reader puts before one.
        let held = if scan.totals.events <= HELD / 2
            || scan.totals.skipped.missed_frees == 0 && scan.totals.events <= HELD
        {
            let mut held = Vec::new();
            let mut steps = trace.open()?.steps();
            while let Some(step) = steps.next() {
                held.push((steps.totals().events, step.map_err(|error| trace.wrong(error))?));
            }
            Some(held)
        } else {
            None
        };
        Ok(Self { trace, scan, held })
    }

    /// What the trace holds.
    #[must_use]
    pub const fn scan(&self) -> &Scan {
        self.scan
    }

    /// As [`TraceFile::play`], and asks now and then whether to stop. None if it was to.
    ///
    /// # Errors
    /// As of [`TraceFile::play`].
    pub fn play_until(
        &self,
        config: &Config,
        backing: &Backing,
        options: Options,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Outcome>, SessionError> {
        if stop() {
            return Ok(None);
        }
        let Some(held) = &self.held else {
            let mut playback = Playback::new(self.trace, self.scan, config, backing, options)?;
            while playback.advance(u64::MAX, TICK)? {
                if stop() {
                    return Ok(None);
                }
            }
            return Ok(Some(playback.finish()));
        };
        let mut engine = engine(self.scan, config, backing, options)?;
        for steps in held.chunks(TICK as usize) {
            for (event, step) in steps {
                if let Err(failure) = engine.play(*event, step) {
                    return Ok(Some(engine.finish(Some(failure))));
                }
            }
            if stop() {
                return Ok(None);
            }
        }
        Ok(Some(engine.finish(None)))
    }
}

/// An engine over new pools.
fn engine(
    scan: &Scan,
    config: &Config,
    backing: &Backing,
    options: Options,
) -> Result<Engine, SessionError> {
    let count = stream_count(scan, options)?;
    let memory = backing.memory.clone().filter(|_| !options.unchecked);
    let deferred = scan.totals.peak_pending_blocks;
    let streams = Streams::deferring(count, deferred, options.in_flight, memory.clone())
        .map_err(|error| SessionError::Options(format!("{count} streams: {error}")))?
        .telling(backing.maker.listener());
    let pools = build::pools(config, scan.sizes, backing, &streams.progress())?;
    Ok(Engine::new(pools, streams, memory, options).asking(backing.committed.clone()))
}

/// The live blocks of up to a size.
#[derive(Debug)]
struct Live {
    small: Small,
    bytes: u64,
    blocks: u32,
}

impl Live {
    fn up_to(up_to: u64) -> Self {
        Self { small: Small { up_to, ..Small::default() }, bytes: 0, blocks: 0 }
    }

    fn count(&mut self, step: &Step) {
        let small = &mut self.small;
        if step.size > small.up_to {
            return;
        }
        let bytes = step.size.next_multiple_of(DEFAULT_GRANULE);
        match step.what {
            What::Alloc(_) | What::Held(_) => {
                self.bytes += bytes;
                self.blocks += 1;
                small.largest = small.largest.max(step.size);
                small.peak_bytes = small.peak_bytes.max(self.bytes);
                small.peak_blocks = small.peak_blocks.max(self.blocks);
            }
            What::Free(_) => {
                self.bytes -= bytes;
                self.blocks -= 1;
            }
            What::Retire(_) | What::Failure => {}
        }
    }
}

/// How many streams a trace is played on.
///
/// # Errors
/// The options ask for a number that does not fit the trace.
pub fn stream_count(scan: &Scan, options: Options) -> Result<u32, SessionError> {
    match options.spread {
        Some(0) => Err(SessionError::Options("--streams must be at least 1".to_owned())),
        Some(spread) if spread > MAX_STREAMS => {
            Err(SessionError::Options(format!("--streams can be at most {MAX_STREAMS}")))
        }
        Some(spread) if scan.streams > 1 && spread != scan.streams => {
            Err(SessionError::Options(format!(
                "the trace has {} streams of its own, which are kept; leave --streams out",
                scan.streams
            )))
        }
        Some(spread) => Ok(spread),
        None => Ok(scan.streams.min(MAX_STREAMS)),
    }
}
