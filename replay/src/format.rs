//! Reading traces: the format is told by the content, and every format becomes [`Event`]s.
//!
//! ```text
//!   any Read ─▶ gzip? ─▶ ┬ 0x80, `(`, `}`, `]`    PyTorch snapshot   (pickle → pytorch)
//!                        └ header line names      RMM log, compact CSV, serving log
//!                                                 (rmm, compact, requests → crate::serving)
//! ```
//!
//! Parsers call no operating system and start no thread: they work over any [`Read`], byte slices included. The caller
//! opens files and puts the file's name before an error.
//!
//! **Memory** is bounded whatever the input: a text trace takes one buffer and its stream table; a serving log adds its batch; a
//! pickle is limited by [`Limits::pickle_bytes`]. Compressed input is streamed. **Nothing panics**: a bad trace is a
//! [`TraceError`], and the iterator ends after it.
//!
//! What a reader checks is each event's form and the order of time; what the events mean together (double frees and
//! the like) is checked by [`Steps`](crate::validate::Steps). What cannot be detected: a text trace cut at the end of a line.

mod compact;
mod convert;
mod error;
mod fields;
mod input;
mod lines;
mod pickle;
mod pytorch;
mod requests;
mod rmm;
mod streams;

pub use convert::{ConvertError, TraceWriter, WriteFormat, convert};
pub use error::{ErrorKind, Place, QUOTE_BYTES, TraceError};

use crate::event::Event;
use crate::serving::{Request, Serving, ServingOptions};
use error::quote;
use fields::{Clock, Columns};
use input::Input;
use lines::Lines;
use std::io::Read;
use streams::Streams;

/// A format that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The RAPIDS Memory Manager's CSV log.
    Rmm,
    /// Strandline's own CSV.
    Compact,
    /// A pickled memory snapshot of PyTorch.
    PyTorch,
    /// A log of requests to a served language model.
    Serving,
}

impl Format {
    /// A short name for reports: `rmm`, `compact`, `pytorch`, `serving`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rmm => "rmm",
            Self::Compact => "compact",
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
    /// Memory to read a pickle with, in bytes, as an estimate from above.
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
    /// Read past what a trace cut from a longer run may show: see [`crate::validate`]. Times that go back are taken as the latest seen.
    pub lenient: bool,
    /// The device of a PyTorch snapshot; none is the one with the most entries. Other formats have one device.
    pub device: Option<u32>,
    /// The engine that a serving log is played on.
    pub serving: ServingOptions,
    /// Bounds on memory.
    pub limits: Limits,
}

/// What a reader did besides reading, for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Times that went back and were moved forward (lenient reading).
    pub clamped_times: u64,
    /// Entries of a PyTorch snapshot that are no allocation, free or failure.
    pub ignored_entries: u64,
    /// Blocks of a PyTorch snapshot that were live before its trace began, allocated at time 0.
    pub preexisting_blocks: u64,
    /// The device of a PyTorch snapshot that is read.
    pub device: Option<u32>,
    /// Devices in the PyTorch snapshot.
    pub devices: u32,
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
    Rmm(Lines<'a>, Columns<6>),
    Compact(Lines<'a>, Columns<6>),
    PyTorch(std::vec::IntoIter<Event>),
    Serving(Box<Serving<Requests<'a>>>),
}

/// The requests of a serving log.
#[derive(Debug)]
struct Requests<'a> {
    lines: Lines<'a>,
    columns: Columns<3>,
    clock: Clock,
}

impl Iterator for Requests<'_> {
    type Item = Result<Request, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, line) = match self.lines.next().transpose()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        Some(requests::parse(&self.columns, line, number, &mut self.clock))
    }
}

impl<'a> TraceReader<'a> {
    /// Detects the format of `input` and reads as far as the first event needs (a PyTorch snapshot: all of it).
    ///
    /// # Errors
    /// The content is no known format, is damaged, or the options are out of range.
    pub fn new(input: impl Read + Send + 'a, options: ReadOptions) -> Result<Self, TraceError> {
        options.serving.block_bytes()?;
        let line_bytes = options.limits.line_bytes.clamp(64, 1 << 20);
        let mut input = Input::new(input, line_bytes)?;
        let compressed = input.gzip();
        let mut streams = Streams::new(options.limits.streams);
        let mut notes = Notes::default();
        let mut daily = false;
        let parser = match detect(&mut input)? {
            Detected::Pickle => {
                let events = pytorch::read(&mut input, &options, &mut streams, &mut notes)?;
                Parser::PyTorch(events.into_iter())
            }
            Detected::Rmm(columns) => {
                daily = true;
                Parser::Rmm(Lines::new(input), columns)
            }
            Detected::Compact(columns) => Parser::Compact(Lines::new(input), columns),
            Detected::Serving(columns) => {
                // Every block of the cache is on one stream, the engine's.
                streams.number(0, Place::Whole)?;
                let clock = Clock::new(false, options.lenient);
                let requests = Requests { lines: Lines::new(input), columns, clock };
                Parser::Serving(Box::new(Serving::new(requests, options.serving)?))
            }
        };
        let clock = Clock::new(daily, options.lenient);
        Ok(Self { parser, compressed, options, clock, streams, notes, done: false })
    }

    /// The format that was detected.
    pub fn format(&self) -> Format {
        match self.parser {
            Parser::Rmm(..) => Format::Rmm,
            Parser::Compact(..) => Format::Compact,
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
        let clamped_times = match &self.parser {
            Parser::Rmm(..) | Parser::Compact(..) => self.clock.clamped(),
            Parser::Serving(serving) => serving.requests().clock.clamped(),
            Parser::PyTorch(..) => self.notes.clamped_times,
        };
        Notes { clamped_times, ..self.notes }
    }

    /// Where an event stands, in the terms of this format.
    pub fn place(&self, event_line: u32) -> Place {
        place(self.format(), event_line)
    }

    fn step(&mut self) -> Result<Option<Event>, TraceError> {
        let (clock, streams) = (&mut self.clock, &mut self.streams);
        match &mut self.parser {
            Parser::Rmm(lines, columns) => match lines.next()? {
                Some((n, line)) => rmm::parse(columns, line, n, clock, streams).map(Some),
                None => Ok(None),
            },
            Parser::Compact(lines, columns) => match lines.next()? {
                Some((n, line)) => compact::parse(columns, line, n, clock, streams).map(Some),
                None => Ok(None),
            },
            Parser::PyTorch(events) => Ok(events.next()),
            Parser::Serving(serving) => serving.next().transpose(),
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

/// Where an event of a format stands.
pub(crate) fn place(format: Format, line: u32) -> Place {
    match format {
        Format::PyTorch => Place::Entry(line.into()),
        _ => Place::Line(line.into()),
    }
}

enum Detected {
    Pickle,
    Rmm(Columns<6>),
    Compact(Columns<6>),
    Serving(Columns<3>),
}

fn detect(input: &mut Input<'_>) -> Result<Detected, TraceError> {
    let head = input.peek(4)?;
    match head {
        [] => {
            return Err(TraceError::new(
                ErrorKind::Empty,
                Place::Whole,
                "an empty file",
                EXPECTED,
                "check that the recording program ran to its end",
            ));
        }
        [0x28, 0xb5, 0x2f, 0xfd] => {
            return Err(unknown("zstd data", "unpack the file, or pack it with gzip"));
        }
        // Protocol 2 and up begin with the opcode that names the protocol; 0 and 1 with a container.
        [0x80 | b'(' | b'}' | b']', ..] => return Ok(Detected::Pickle),
        [0xef, 0xbb, 0xbf, ..] => input.consume(3),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            return Err(unknown("UTF-16 text", "save the file as UTF-8"));
        }
        [b'P', b'K', 3, 4] => {
            return Err(unknown("a zip archive", "unpack it and give the trace inside"));
        }
        [0x1f, 0x8b, ..] => {
            return Err(unknown("gzip inside gzip", "unpack the file once"));
        }
        [b'{' | b'[', ..] => {
            return Err(unknown("JSON", "give the log or the snapshot that it was made from"));
        }
        _ => {}
    }
    input.advance_line()?;
    let header = input.line();
    if let Some(columns) = Columns::find(header, &rmm::COLUMNS) {
        return Ok(Detected::Rmm(columns));
    }
    if let Some(columns) = Columns::find(header, &compact::COLUMNS) {
        return Ok(Detected::Compact(columns));
    }
    if let Some(columns) = Columns::find(header, &requests::COLUMNS) {
        return Ok(Detected::Serving(columns));
    }
    Err(TraceError::new(
        ErrorKind::UnknownFormat,
        Place::Line(1),
        quote(header),
        EXPECTED,
        "check that this is a trace, with its header line",
    ))
}

const EXPECTED: &str = "an RMM log (`Thread,Time,Action,Pointer,Size,Stream`), a compact trace \
    (`time_ns,action,id,size,stream,thread`), a serving log (`TIMESTAMP,ContextTokens,GeneratedTokens`) \
    or a pickled PyTorch snapshot, plain or gzip";

fn unknown(found: &str, remedy: &'static str) -> TraceError {
    TraceError::new(ErrorKind::UnknownFormat, Place::Whole, found, EXPECTED, remedy)
}
