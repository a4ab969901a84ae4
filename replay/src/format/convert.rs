//! Writing traces: RMM's log, for RMM's own tools, and the compact form, which loses nothing.
//!
//! ```text
//!   TraceReader ─▶ Checker ─▶ TraceWriter ─▶ any Write
//! ```
//!
//! | what | RMM log | compact |
//! | --- | --- | --- |
//! | time | microseconds from 00:00:00, no date | nanoseconds |
//! | gap of half a day | refused | kept |
//! | action, id, size, stream name, thread | kept | kept |
//! | a block that is given up before it is over | freed when it is over | kept |
//!
//! Memory: a buffer, and the checker's live set while converting. Cost: O(1) an event.

use super::error::TraceError;
use super::fields::DAY_NS;
use super::{Place, TraceReader};
use crate::event::{Action, Event};
use crate::validate::{Checked, Checker, Totals};
use core::fmt;
use std::io::{self, BufWriter, Write};

/// A format that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteFormat {
    /// The RAPIDS Memory Manager's CSV log.
    Rmm,
    /// Strandline's own CSV.
    Compact,
}

/// Why a conversion stopped.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConvertError {
    /// The input is wrong.
    Trace(TraceError),
    /// The output cannot be written.
    Write(io::Error),
    /// Between this event and the one before lies a time that a log without dates cannot show.
    Gap {
        /// The event.
        at: Place,
        /// The gap in nanoseconds.
        gap_ns: u64,
    },
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trace(error) => error.fmt(f),
            Self::Write(error) => write!(f, "the output cannot be written: {error}"),
            Self::Gap { at, gap_ns } => write!(
                f,
                "{at}: found a gap of {} s before it, expected less than half a day, as RMM's log has no date; \
                 write the compact form instead",
                gap_ns / 1_000_000_000
            ),
        }
    }
}

impl std::error::Error for ConvertError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Trace(error) => Some(error),
            Self::Write(error) => Some(error),
            Self::Gap { .. } => None,
        }
    }
}

impl From<TraceError> for ConvertError {
    fn from(error: TraceError) -> Self {
        Self::Trace(error)
    }
}

impl From<io::Error> for ConvertError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Writes events as text, one line each.
#[derive(Debug)]
pub struct TraceWriter<W: Write> {
    out: BufWriter<W>,
    format: WriteFormat,
    last_ns: u64,
}

impl<W: Write> TraceWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// The output's own.
    pub fn new(out: W, format: WriteFormat) -> io::Result<Self> {
        let mut out = BufWriter::new(out);
        out.write_all(match format {
            WriteFormat::Rmm => b"Thread,Time,Action,Pointer,Size,Stream\n".as_slice(),
            WriteFormat::Compact => b"time_ns,action,id,size,stream,thread\n",
        })?;
        Ok(Self { out, format, last_ns: 0 })
    }

    /// Writes one event. `stream` is the trace's own name of the event's stream; `at` is used in the error.
    ///
    /// # Errors
    /// The output's own, or a gap that RMM's log cannot show.
    pub fn write(&mut self, event: &Event, stream: u64, at: Place) -> Result<(), ConvertError> {
        let Event { time_ns, id, size, thread, action, .. } = *event;
        match self.format {
            WriteFormat::Compact => {
                let action = match action {
                    Action::Alloc => "alloc",
                    Action::Free => "free",
                    Action::Failure => "fail",
                    Action::Retire => "retire",
                    Action::Held => "held",
                };
                writeln!(self.out, "{time_ns},{action},{id},{size},{stream},{thread}")?;
            }
            // The bytes are in use until the free.
            WriteFormat::Rmm if action == Action::Retire => return Ok(()),
            WriteFormat::Rmm => {
                let gap_ns = time_ns.saturating_sub(self.last_ns);
                if gap_ns >= DAY_NS / 2 {
                    return Err(ConvertError::Gap { at, gap_ns });
                }
                let us = time_ns % DAY_NS / 1000;
                let (s, us) = (us / 1_000_000, us % 1_000_000);
                let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
                let action = match action {
                    Action::Alloc | Action::Held => "allocate",
                    Action::Free | Action::Retire => "free",
                    Action::Failure => "allocate failure",
                };
                write!(self.out, "{thread},{h:02}:{m:02}:{s:02}.{us:06},{action},")?;
                match id {
                    0 => self.out.write_all(b"(nil)")?,
                    _ => write!(self.out, "{id:#x}")?,
                }
                match stream {
                    0 => writeln!(self.out, ",{size},0")?,
                    _ => writeln!(self.out, ",{size},{stream:#x}")?,
                }
            }
        }
        self.last_ns = time_ns;
        Ok(())
    }

    /// Flushes and returns the output.
    ///
    /// # Errors
    /// The output's own.
    pub fn finish(self) -> io::Result<W> {
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// Writes the rest of `trace` to `out` in another format, checking it on the way: what is written can be read strictly.
/// Faults that lenient reading passes over are left out or mended, and counted in the returned totals.
///
/// # Errors
/// The trace is bad, the output fails, or RMM's log cannot show the trace's times.
pub fn convert(
    trace: &mut TraceReader<'_>,
    out: impl Write,
    format: WriteFormat,
) -> Result<Totals, ConvertError> {
    let mut checker = Checker::new(trace.options(), trace.format());
    let mut writer = TraceWriter::new(out, format)?;
    while let Some(event) = trace.next() {
        let mut event = event?;
        let stream = trace.streams().get(event.stream as usize).copied().unwrap_or(0);
        let at = trace.place(event.line);
        match checker.check(&event)? {
            Checked::Alloc { evicted: Some((_, size)), .. }
            | Checked::Held { evicted: Some((_, size)), .. }
            | Checked::ZeroSized { evicted: Some((_, size)) } => {
                writer.write(&Event { action: Action::Free, size, ..event }, stream, at)?;
            }
            Checked::Free { size, .. } | Checked::Retire { size, .. } => {
                event.size = size;
            }
            // A free may claim another size than the 0 of its allocation.
            Checked::ZeroSized { .. } => event.size = 0,
            Checked::Alloc { .. } | Checked::Held { .. } | Checked::Failure => {}
            Checked::Skipped => continue,
        }
        writer.write(&event, stream, at)?;
    }
    writer.finish()?.flush()?;
    Ok(*checker.totals())
}
