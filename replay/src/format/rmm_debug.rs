//! RMM's debug log (`rmm_log.txt`): what its pools tell of themselves, one line each.
//!
//! ```text
//!   [ 24740][16:33:00:198861][error ] [A][Stream 0x1][Upstream 35006976B][FAILURE maximum pool size exceeded]
//!   [ 24740][16:33:00:198870][trace ] [A][stream 0x1][256B][0x7f3a40000000]
//!    thread  time             level    A: allocation, D: deallocation
//! ```
//!
//! At its usual level the log holds failures only; they are read as refused requests. At the level `trace` every allocation is
//! there, and is played. Everything else it says is counted.
//!
//! Memory: one line. Cost: one pass over the bytes.

use super::error::{Place, TraceError};
use super::fields::{self, Clock};
use super::streams::Streams;
use crate::event::{Action, Event};

/// A log in reading.
#[derive(Debug)]
pub(super) struct Log {
    clock: Clock,
    other: u64,
}

/// The three brackets before a message, and the message.
struct Line<'l> {
    thread: &'l [u8],
    time: &'l [u8],
    message: &'l [u8],
}

fn bracket(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"[")?;
    let end = text.iter().position(|&b| b == b']')?;
    Some((text[..end].trim_ascii(), &text[end + 1..]))
}

impl<'l> Line<'l> {
    fn of(line: &'l [u8]) -> Option<Self> {
        let (thread, rest) = bracket(line)?;
        let (time, rest) = bracket(rest)?;
        let (_level, message) = bracket(rest)?;
        let numbered = !thread.is_empty() && thread.iter().all(u8::is_ascii_digit);
        (numbered && fields::time_of_day(time).is_some()).then_some(Self {
            thread,
            time,
            message: message.trim_ascii(),
        })
    }
}

/// Whether a line is one of such a log.
pub(super) fn is_line(line: &[u8]) -> bool {
    Line::of(line).is_some()
}

impl Log {
    pub(super) fn new() -> Self {
        Self { clock: Clock::new(true, true), other: 0 }
    }

    /// Lines that tell of no allocation.
    pub(super) fn other(&self) -> u64 {
        self.other
    }

    /// Times that went back.
    pub(super) fn clamped(&self) -> u64 {
        self.clock.clamped()
    }

    /// Parses one line. None if it tells of no allocation.
    ///
    /// # Errors
    /// There are too many streams.
    pub(super) fn parse(
        &mut self,
        line: &[u8],
        number: u32,
        streams: &mut Streams,
    ) -> Result<Option<Event>, TraceError> {
        let at = Place::Line(number.into());
        let told = Line::of(line).and_then(|line| {
            let (action, id, size, stream) = request(line.message)?;
            let thread = fields::decimal(line.thread, "", at).ok()?;
            Some((action, id, size, stream, thread, fields::time_of_day(line.time)?))
        });
        let Some((action, id, size, stream, thread, time)) = told else {
            self.other += 1;
            return Ok(None);
        };
        Ok(Some(Event {
            time_ns: self.clock.advance(time, at)?,
            id,
            size,
            thread,
            stream: streams.number(stream, at)?,
            line: number,
            action,
        }))
    }
}

/// What a message tells: the action, the pointer, the bytes and the stream.
fn request(message: &[u8]) -> Option<(Action, u64, u64, u64)> {
    let (kind, rest) = bracket(message)?;
    let action = match kind {
        b"A" => Action::Alloc,
        b"D" => Action::Free,
        _ => return None,
    };
    let (stream, rest) = bracket(rest)?;
    let (size, rest) = bracket(rest)?;
    let (outcome, _) = bracket(rest)?;
    let handle = stream.rsplit(|&b| b == b' ').next()?;
    let stream = fields::hexadecimal(handle, "", Place::Whole).unwrap_or(0);
    let digits = size.rsplit(|&b| b == b' ').next()?.strip_suffix(b"B")?;
    let size = fields::decimal(digits, "", Place::Whole).ok()?;
    if outcome.starts_with(b"FAILURE") {
        return Some((Action::Failure, 0, size, stream));
    }
    let id = fields::hexadecimal(outcome, "", Place::Whole).ok()?;
    Some((action, id, size, stream))
}
