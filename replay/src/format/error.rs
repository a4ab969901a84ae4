//! [`TraceError`]: where a trace is wrong, what stands there, what should, and what to do about it.
//!
//! ```text
//!   line 17: found `-4096`, expected a size in bytes (a decimal number); a size cannot be negative: …
//!   └ Place   └ found        └ expected                                   └ remedy
//! ```
//!
//! The error is one pointer wide, so that `Result<Event, TraceError>` stays small on the hot path. What it quotes
//! from the file is escaped and cut to [`QUOTE_BYTES`], whatever the file holds.

use core::fmt;
use std::borrow::Cow;
use std::io;

/// Most bytes of the input that an error quotes.
pub const QUOTE_BYTES: usize = 64;

/// Where in the trace the error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The input as a whole.
    Whole,
    /// A line of a text trace, counted from 1, the header included.
    Line(u64),
    /// A byte of a binary trace, counted from 0.
    Byte(u64),
    /// The same of a packed one: a byte of what is unpacked.
    UnpackedByte(u64),
    /// An entry of a PyTorch device trace, counted from 1; shown counted from 0, as Python does.
    Entry(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("trace"),
            Self::Line(line) => write!(f, "line {line}"),
            Self::Byte(byte) => write!(f, "byte {byte}"),
            Self::UnpackedByte(byte) => write!(f, "byte {byte} after unpacking"),
            Self::Entry(entry) => write!(f, "trace entry {} (from 0)", entry.saturating_sub(1)),
        }
    }
}

/// The class of a [`TraceError`], for programs; people read its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Reading failed underneath.
    Io,
    /// The input has no bytes.
    Empty,
    /// The content is none of the known formats.
    UnknownFormat,
    /// The gzip layer is damaged.
    CorruptGzip,
    /// The input ends in the middle of something.
    Truncated,
    /// A line is longer than [`Limits::line_bytes`](super::Limits::line_bytes).
    LineTooLong,
    /// A line has too few or too many fields, or none.
    FieldCount,
    /// A field is not a number of the expected form.
    BadNumber,
    /// A number is negative.
    Negative,
    /// A number does not fit its field.
    Overflow,
    /// An action that no version of the format defines.
    BadAction,
    /// A time that does not parse.
    BadTime,
    /// Time went back in a log of requests, or a lifetime ends before it begins.
    Unordered,
    /// A block was allocated at an id that is still live.
    DoubleAlloc,
    /// A block was freed that had just been freed.
    DoubleFree,
    /// A block was freed that the trace never allocated.
    UnknownFree,
    /// A free states another size than the allocation.
    SizeMismatch,
    /// A block of more than 0 bytes at address 0.
    NullPointer,
    /// More blocks are live at once than [`Limits::live_blocks`](super::Limits::live_blocks).
    TooManyLive,
    /// More distinct streams than [`Limits::streams`](super::Limits::streams).
    TooManyStreams,
    /// More lines than a u32 counts.
    TooManyEvents,
    /// The live bytes do not fit a u64.
    LiveBytesOverflow,
    /// The text is no JSON.
    BadJson,
    /// The pickle breaks the rules of its opcodes.
    BadPickle,
    /// The pickle, or JSON, needs more memory than its size and [`Limits::pickle_bytes`](super::Limits::pickle_bytes) allow.
    PickleTooLarge,
    /// The pickle is sound and is not a memory snapshot, or its entries lack what an event needs.
    NotASnapshot,
    /// The snapshot has no such device.
    NoSuchDevice,
    /// An option is out of range.
    BadOptions,
}

/// A trace that cannot be read, and why. Display gives the whole story on one line, file name excepted.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceError(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    place: Place,
    found: String,
    expected: Cow<'static, str>,
    remedy: &'static str,
}

impl TraceError {
    /// An error of `kind` at `place`. `found` and `expected` complete "found …, expected …"; `remedy` says what to do.
    #[cold]
    pub fn new(
        kind: ErrorKind,
        place: Place,
        found: impl Into<String>,
        expected: impl Into<Cow<'static, str>>,
        remedy: &'static str,
    ) -> Self {
        Self(Box::new(Inner {
            kind,
            place,
            found: found.into(),
            expected: expected.into(),
            remedy,
        }))
    }

    /// An error of the reader underneath. Damage of the gzip layer is told apart from I/O.
    #[cold]
    pub(crate) fn from_io(error: &io::Error, place: Place, gzip: bool) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::truncated(place, "the end of the file"),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData if gzip => Self::new(
                ErrorKind::CorruptGzip,
                place,
                format!("damaged gzip data ({error})"),
                "a sound gzip stream",
                "copy or download the file again; `gzip -t` checks it",
            ),
            _ => Self::new(
                ErrorKind::Io,
                place,
                format!("a read error ({error})"),
                "readable input",
                "check the file and its permissions",
            ),
        }
    }

    /// The input ends in the middle of a value.
    #[cold]
    pub(crate) fn truncated(place: Place, found: impl Into<String>) -> Self {
        Self::new(
            ErrorKind::Truncated,
            place,
            found,
            "more data",
            "the file is cut short: copy it again, or let the recording program finish",
        )
    }

    /// The same error, elsewhere.
    #[cold]
    pub(crate) fn at(mut self, place: Place) -> Self {
        self.0.place = place;
        self
    }

    /// The class of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> Place {
        self.0.place
    }

    /// What stands there (escaped and cut).
    #[must_use]
    pub fn found(&self) -> &str {
        &self.0.found
    }

    /// What should stand there.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.0.expected
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        self.0.remedy
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { place, found, expected, remedy, .. } = &*self.0;
        write!(f, "{place}: found {found}, expected {expected}; {remedy}")
    }
}

impl fmt::Debug for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceError({:?}: {self})", self.0.kind)
    }
}

impl std::error::Error for TraceError {}

/// Quotes bytes of the input for a message: escaped, cut, in backticks.
#[cold]
pub(crate) fn quote(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(QUOTE_BYTES)];
    let more = if bytes.len() > QUOTE_BYTES { "…" } else { "" };
    format!("`{}{more}`", shown.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_escaped_and_cut() {
        assert_eq!(quote(b"a\x00\"`"), "`a\\x00\\\"``");
        let long = quote(&[0xff; 1000]);
        assert!(long.len() <= 4 * QUOTE_BYTES + 8, "{long}");
        assert!(long.ends_with("…`"));
    }

    #[test]
    fn an_error_is_one_pointer() {
        assert_eq!(size_of::<TraceError>(), size_of::<usize>());
    }
}
