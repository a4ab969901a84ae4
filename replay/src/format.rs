//! Reading traces: the format is told by the content, and every format becomes [`Event`]s.
//!
//! ```text
//!   any Read ─▶ gzip? ─▶ ┬ 0x80, `(`, `}`, `]`    PyTorch snapshot        (pickle → pytorch)
//!                        ├ `{`, `[`               the same as JSON        (json → pytorch), or requests in JSON lines
//!                        ├ a header line names    RMM log, compact CSV, lifetimes, serving log
//!                        │                        (rmm, compact, lifetimes, requests → crate::serving)
//!                        └ lines look like        RMM log without header, RMM debug log
//! ```
//!
//! Parsers call no operating system and start no thread: they work over any [`Read`], byte slices included. The caller
//! opens files and puts the file's name before an error.
//!
//! **Memory** is bounded whatever the input: a text trace takes one buffer and its stream table; a serving log adds its batch; lifetimes
//! are held; a snapshot takes less than the file, and never more than four times the file and 64 MiB. Compressed input is
//! streamed. **Nothing panics**: a bad trace is a [`TraceError`], and the iterator ends after it.
//!
//! **What is passed over is told** in [`Notes`]: lines of other programs, a last line that was cut, entries of unknown kinds, times that
//! go back.
//!
//! What a reader checks is each event's form; what the events mean together (double frees and
//! the like) is checked by [`Steps`](crate::validate::Steps). What cannot be detected: a text trace cut at the end of a line.

mod compact;
mod convert;
mod error;
mod fields;
mod foreign;
mod input;
mod json;
mod lifetimes;
mod lines;
mod notes;
pub(crate) mod pickle;
mod pytorch;
mod requests;
mod rmm;
mod rmm_debug;
mod state;
mod streams;

pub use convert::{ConvertError, TraceWriter, WriteFormat, convert};
pub use error::{ErrorKind, Place, QUOTE_BYTES, TraceError};
pub use notes::{Circumstances, Holding, MOST_REFUSED, Notes, Refused, Shortage};
pub(crate) use pytorch::choose_device;
pub use state::State;

use crate::event::Event;
use crate::serving::{Serving, ServingOptions};
use crate::size::counted;
use error::quote;
use fields::{Clock, Columns};
use input::Input;
use lifetimes::Lifetimes;
use lines::Lines;
use pickle::Keep;
use requests::{Form, Requests};
use std::io::Read;
use streams::Streams;

/// A format that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The RAPIDS Memory Manager's CSV log, of any age.
    Rmm,
    /// The RAPIDS Memory Manager's debug log.
    RmmDebug,
    /// Strandline's own CSV.
    Compact,
    /// Lifetimes of buffers, as planners use them.
    Lifetimes,
    /// A memory snapshot of PyTorch, pickled or as JSON.
    PyTorch,
    /// A log of requests to a served language model.
    Serving,
}

impl Format {
    /// A short name for reports: `rmm`, `rmm-debug`, `compact`, `lifetimes`, `pytorch`, `serving`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rmm => "rmm",
            Self::RmmDebug => "rmm-debug",
            Self::Compact => "compact",
            Self::Lifetimes => "lifetimes",
            Self::PyTorch => "pytorch",
            Self::Serving => "serving",
        }
    }
}

/// What a trace may take of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest line of a text trace, in bytes; taken as between 64 and 2^20.
    pub line_bytes: usize,
    /// Memory to read a snapshot with, in bytes, from above; its size bounds it besides.
    pub pickle_bytes: u64,
    /// Distinct streams.
    pub streams: u32,
    /// Blocks live at once.
    pub live_blocks: u32,
}

impl Default for Limits {
    /// Lines of 4 KiB, pickles of 2 GiB, 65,536 streams, 2^24 live blocks.
    fn default() -> Self {
        Self { line_bytes: 4096, pickle_bytes: 2 << 30, streams: 1 << 16, live_blocks: 1 << 24 }
    }
}

/// How a trace is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Read past what a trace cut from a longer run may show: see [`crate::validate`].
    pub lenient: bool,
    /// The device of a PyTorch snapshot; none is the busiest of those that refused a request, or the busiest. RMM's first logs name
    /// devices too; none is the first one met. Other formats have one device.
    pub device: Option<u32>,
    /// The engine that a serving log is played on.
    pub serving: ServingOptions,
    /// Bounds on memory.
    pub limits: Limits,
}

/// An iterator over the events of a trace. It ends after the first error.
///
/// ```
/// use strandline_replay::format::{Format, ReadOptions, TraceReader};
///
/// let log = "Thread,Time,Action,Pointer,Size,Stream\n\
///            7,23:59:59.999999,allocate,0x7f00,512,0\n\
///            7,00:00:00.000001,free,0x7f00,512,0\n";
/// let mut trace = TraceReader::new(log.as_bytes(), ReadOptions::default())?;
/// assert_eq!(trace.format(), Format::Rmm);
/// let last = trace.by_ref().last().unwrap()?;
/// assert_eq!((last.id, last.time_ns), (0x7f00, 2000));
/// # Ok::<(), strandline_replay::format::TraceError>(())
/// ```
#[derive(Debug)]
pub struct TraceReader<'a> {
    parser: Parser<'a>,
    compressed: bool,
    options: ReadOptions,
    clock: Clock,
    streams: Streams,
    notes: Notes,
    done: bool,
}

#[derive(Debug)]
enum Parser<'a> {
    Rmm(Lines<'a>, rmm::Log),
    RmmFirst(Lines<'a>, rmm::first::Log),
    RmmDebug(Lines<'a>, rmm_debug::Log),
    Compact(Lines<'a>, Columns<6>),
    Lifetimes(Lifetimes),
    PyTorch(Box<pytorch::Snapshot>),
    Serving(Box<Serving<Requests<'a>>>),
}

/// A trace that had to be read to its end before its first event: it need not be read twice.
#[derive(Debug)]
pub(crate) struct Held {
    snapshot: pytorch::Snapshot,
    compressed: bool,
    options: ReadOptions,
    streams: Streams,
    notes: Notes,
}

impl<'a> TraceReader<'a> {
    /// Detects the format of `input` and reads as far as the first event needs (snapshots and lifetimes: all of it).
    ///
    /// # Errors
    /// The content is no known format, is damaged, or the options are out of range.
    pub fn new(input: impl Read + Send + 'a, options: ReadOptions) -> Result<Self, TraceError> {
        options.serving.block_bytes()?;
        let line_bytes = options.limits.line_bytes.clamp(64, 1 << 20);
        let mut input = Input::new(input, line_bytes)?;
        let compressed = input.gzip();
        let mut streams = Streams::new(options.limits.streams);
        let mut notes = Notes { devices: 1, ..Notes::default() };
        let limit = options.limits.pickle_bytes;
        let snapshot = |read: (pickle::Arena, pickle::Value), streams: &mut _, notes: &mut _| {
            let (arena, root) = read;
            pytorch::Snapshot::new(arena, root, options.device, streams, notes)
        };
        let parser = match detect(&mut input)? {
            Detected::Pickle => {
                let read = pickle::read(&mut input, limit, Keep::Trace)?;
                Parser::PyTorch(Box::new(snapshot(read, &mut streams, &mut notes)?))
            }
            Detected::Json => {
                let read = json::read(&mut input, limit, Keep::Trace)?;
                Parser::PyTorch(Box::new(snapshot(read, &mut streams, &mut notes)?))
            }
            Detected::Rmm { columns, header, foreign } => {
                let lines = if header { Lines::new(input) } else { Lines::with_current(input) };
                Parser::Rmm(lines, rmm::Log::new(columns, foreign))
            }
            Detected::RmmFirst(columns) => {
                Parser::RmmFirst(Lines::new(input), rmm::first::Log::new(columns, options.device))
            }
            Detected::RmmDebug => {
                Parser::RmmDebug(Lines::with_current(input), rmm_debug::Log::new())
            }
            Detected::Compact(columns) => Parser::Compact(Lines::new(input), columns),
            Detected::Lifetimes(header) => {
                streams.number(0, Place::Whole)?;
                let mut lines =
                    if header.is_stated() { Lines::new(input) } else { Lines::with_current(input) };
                let (rows, cut) = Lifetimes::read(&mut lines, &header)?;
                notes.cut_last_line = cut;
                Parser::Lifetimes(rows)
            }
            Detected::Serving(form) => {
                // Every block of the cache is on one stream, the engine's.
                streams.number(0, Place::Whole)?;
                if let Form::Json = form {
                    input.allow_lines_of(requests::JSON_LINE_BYTES);
                }
                let requests = Requests::new(Lines::new(input), form);
                Parser::Serving(Box::new(Serving::new(requests, options.serving)?))
            }
        };
        if let Some(device) = options.device
            && !matches!(parser, Parser::PyTorch(..) | Parser::RmmFirst(..))
        {
            return Err(TraceError::new(
                ErrorKind::BadOptions,
                Place::Whole,
                format!("a trace that tells of no devices, and device {device} asked for"),
                "a trace of several devices, as PyTorch's snapshots are",
                "leave --device out",
            ));
        }
        let clock = Clock::new(false, true);
        Ok(Self { parser, compressed, options, clock, streams, notes, done: false })
    }

    /// What was read to the end already, to be read again without the file; the reader must be at its first event.
    pub(crate) fn hold(&self) -> Option<Held> {
        match &self.parser {
            Parser::PyTorch(snapshot) => Some(Held {
                snapshot: (**snapshot).clone(),
                compressed: self.compressed,
                options: self.options,
                streams: self.streams.clone(),
                notes: self.notes.clone(),
            }),
            _ => None,
        }
    }

    /// A reader of what is held, at its first event.
    pub(crate) fn again(held: &Held) -> Self {
        Self {
            parser: Parser::PyTorch(Box::new(held.snapshot.clone())),
            compressed: held.compressed,
            options: held.options,
            clock: Clock::new(false, true),
            streams: held.streams.clone(),
            notes: held.notes.clone(),
            done: false,
        }
    }

    /// The format that was detected.
    pub fn format(&self) -> Format {
        match self.parser {
            Parser::Rmm(..) | Parser::RmmFirst(..) => Format::Rmm,
            Parser::RmmDebug(..) => Format::RmmDebug,
            Parser::Compact(..) => Format::Compact,
            Parser::Lifetimes(..) => Format::Lifetimes,
            Parser::PyTorch(..) => Format::PyTorch,
            Parser::Serving(..) => Format::Serving,
        }
    }

    /// Whether the input is gzip.
    pub fn compressed(&self) -> bool {
        self.compressed
    }

    /// The options it was opened with.
    pub fn options(&self) -> &ReadOptions {
        &self.options
    }

    /// The trace's own names of its streams, by [`Event::stream`]; complete once the iterator has ended.
    pub fn streams(&self) -> &[u64] {
        self.streams.names()
    }

    /// What was done besides reading, so far.
    pub fn notes(&self) -> Notes {
        let mut notes = self.notes.clone();
        match &self.parser {
            Parser::Rmm(_, log) => {
                (notes.clamped_times, notes.foreign_lines) = (log.clamped(), log.foreign());
            }
            Parser::RmmFirst(_, log) => {
                notes.clamped_times = log.clamped();
                notes.device = log.device();
                if log.elsewhere() > 0 {
                    let what = (
                        "event of another device, or reallocation",
                        "events of other devices, and reallocations",
                    );
                    notes.left_out.push(counted(log.elsewhere(), what.0, what.1));
                }
            }
            Parser::RmmDebug(_, log) => {
                notes.clamped_times = log.clamped();
                notes.ignored_entries = log.other();
                if log.other() > 0 {
                    let (one, many) =
                        ("line that tells of no allocation", "lines that tell of no allocation");
                    notes.left_out.push(counted(log.other(), one, many));
                }
            }
            Parser::Compact(..) => notes.clamped_times = self.clock.clamped(),
            Parser::Lifetimes(rows) => {
                notes.ignored_entries = rows.empty();
                if rows.empty() > 0 {
                    let (one, many) = (
                        "row whose lifetime or size is empty",
                        "rows whose lifetime or size is empty",
                    );
                    notes.left_out.push(counted(rows.empty(), one, many));
                }
            }
            Parser::PyTorch(snapshot) => notes.clamped_times = snapshot.clamped(),
            Parser::Serving(serving) => {
                let requests = serving.requests();
                notes.clamped_times = requests.clamped();
                notes.cut_last_line = requests.cut();
                notes.serving = Some(serving.report());
            }
        }
        notes
    }

    /// What the file tells of the moment at which the request of an event was refused.
    pub fn circumstances(&self, event_line: u32) -> Circumstances {
        match &self.parser {
            Parser::PyTorch(snapshot) => snapshot.circumstances(event_line),
            _ => Circumstances::default(),
        }
    }

    /// Where the recorded program set marks, as [lines](Event::line): before the event of that line or the next one. Only PyTorch's
    /// snapshots have any.
    pub fn marks(&self) -> Vec<u32> {
        match &self.parser {
            Parser::PyTorch(snapshot) => snapshot.marks(),
            _ => Vec::new(),
        }
    }

    /// The state of the recorded allocator when the file was written, if the file tells it.
    pub fn state(&self) -> Option<State> {
        match &self.parser {
            Parser::PyTorch(snapshot) => snapshot.state(),
            _ => None,
        }
    }

    /// Whether the file tells a state and nothing that could be played.
    pub fn is_state_only(&self) -> bool {
        matches!(&self.parser, Parser::PyTorch(snapshot) if snapshot.is_state_only())
    }

    /// Where an event stands, in the terms of this format.
    pub fn place(&self, event_line: u32) -> Place {
        place(self.format(), event_line)
    }

    fn step(&mut self) -> Result<Option<Event>, TraceError> {
        let streams = &mut self.streams;
        loop {
            let (read, cut) = match &mut self.parser {
                Parser::Rmm(lines, log) => {
                    let Some((n, line)) = lines.next()? else { return Ok(None) };
                    (log.parse(line, n, streams), lines.is_cut())
                }
                Parser::RmmFirst(lines, log) => {
                    let Some((n, line)) = lines.next()? else { return Ok(None) };
                    (log.parse(line, n, streams), lines.is_cut())
                }
                Parser::RmmDebug(lines, log) => {
                    let Some((n, line)) = lines.next()? else { return Ok(None) };
                    (log.parse(line, n, streams), lines.is_cut())
                }
                Parser::Compact(lines, columns) => {
                    let Some((n, line)) = lines.next()? else { return Ok(None) };
                    let event = compact::parse(columns, line, n, &mut self.clock, streams);
                    (event.map(Some), lines.is_cut())
                }
                Parser::Lifetimes(rows) => return Ok(rows.next()),
                Parser::PyTorch(snapshot) => return snapshot.next(streams),
                Parser::Serving(serving) => return serving.next().transpose(),
            };
            match read {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) => {}
                // The last line was cut in the middle: what stands before it is whole.
                Err(_) if cut => {
                    self.notes.cut_last_line = true;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Iterator for TraceReader<'_> {
    type Item = Result<Event, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

/// Reads a snapshot with everything in it, for [`crate::snapshot`]: a pickle, or the same as JSON.
pub(crate) fn everything(
    input: impl Read + Send,
    limits: Limits,
) -> Result<(pickle::Arena, pickle::Value), TraceError> {
    let mut input = Input::new(input, limits.line_bytes.clamp(64, 1 << 20))?;
    match detect(&mut input)? {
        Detected::Pickle => pickle::read(&mut input, limits.pickle_bytes, Keep::Everything),
        Detected::Json => json::read(&mut input, limits.pickle_bytes, Keep::Everything),
        _ => Err(TraceError::new(
            ErrorKind::NotASnapshot,
            Place::Whole,
            "a trace of another format",
            "a PyTorch memory snapshot, as a pickle or as JSON",
            "`strandline compare` and `replay` read other traces; only a snapshot can be explained",
        )),
    }
}

/// Where an event of a format stands.
pub(crate) fn place(format: Format, line: u32) -> Place {
    match format {
        Format::PyTorch => Place::Entry(line.into()),
        _ => Place::Line(line.into()),
    }
}

enum Detected {
    Pickle,
    Json,
    Rmm {
        columns: Columns<6>,
        /// The current line is the header.
        header: bool,
        /// Lines of other programs before it.
        foreign: u64,
    },
    RmmFirst(Columns<6>),
    RmmDebug,
    Compact(Columns<6>),
    Lifetimes(lifetimes::Header),
    Serving(Form),
}

/// Lines in which an RMM log may begin, after those of other programs.
const SEARCHED: u64 = 10_000;

/// How much of a JSON file tells what it is.
const JSON_HEAD: usize = 4096;

fn detect(input: &mut Input<'_>) -> Result<Detected, TraceError> {
    if input.peek(3)?.starts_with(&[0xef, 0xbb, 0xbf]) {
        input.consume(3);
    }
    let head = input.peek_some(JSON_HEAD)?;
    if head.is_empty() {
        return Err(TraceError::new(
            ErrorKind::Empty,
            Place::Whole,
            "an empty file",
            EXPECTED,
            "check that the recording program ran to its end",
        ));
    }
    if let Some(error) = foreign::binary(head) {
        return Err(error);
    }
    // Protocol 2 and up begin with the opcode that names the protocol; 0 and 1 with a container.
    if let [0x80 | b'(' | b'}' | b']', ..] = head {
        return Ok(Detected::Pickle);
    }
    if requests::is_json(head) {
        return Ok(Detected::Serving(Form::Json));
    }
    let line = head.split(|&b| b == b'\n').next().unwrap_or_default();
    if !rmm_debug::is_line(line) && matches!(head.trim_ascii_start(), [b'{' | b'[', ..]) {
        return foreign::json(head).map_or(Ok(Detected::Json), Err);
    }
    let mut first = None;
    while input.line_number() < SEARCHED && input.advance_line()? {
        let line = input.line();
        let number = input.line_number();
        if let Some(columns) = Columns::find(line, &rmm::COLUMNS) {
            return Ok(Detected::Rmm { columns, header: true, foreign: number - 1 });
        }
        if let Some(columns) = rmm::without_header(line) {
            return Ok(Detected::Rmm { columns, header: false, foreign: number - 1 });
        }
        if rmm_debug::is_line(line) {
            return Ok(Detected::RmmDebug);
        }
        if number == 1 {
            if let Some(columns) = Columns::find(line, &rmm::first::COLUMNS) {
                return Ok(Detected::RmmFirst(columns));
            }
            if let Some(columns) = Columns::find(line, &compact::COLUMNS) {
                return Ok(Detected::Compact(columns));
            }
            if let Some(header) = lifetimes::Header::find(line) {
                return Ok(Detected::Lifetimes(header));
            }
            if let Some(columns) = Columns::find(line, &requests::COLUMNS) {
                return Ok(Detected::Serving(Form::Table(columns)));
            }
            if let Some(header) = lifetimes::Header::missing(line) {
                return Ok(Detected::Lifetimes(header));
            }
            if let Some(error) = foreign::text(line) {
                return Err(error);
            }
            first = Some(quote(line));
        }
    }
    Err(TraceError::new(
        ErrorKind::UnknownFormat,
        Place::Line(1),
        first.unwrap_or_default(),
        EXPECTED,
        "check that this is a trace, with its header line",
    ))
}

const EXPECTED: &str = "an RMM log (`Thread,Time,Action,Pointer,Size,Stream`), a compact trace \
    (`time_ns,action,id,size,stream,thread`), lifetimes (`id,lower,upper,size`), a serving log \
    (`TIMESTAMP,ContextTokens,GeneratedTokens`, or JSON lines with `timestamp`, `input_length`, `output_length`) or a PyTorch snapshot (a pickle or JSON), plain or gzip";
