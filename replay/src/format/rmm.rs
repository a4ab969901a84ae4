//! RMM's allocation log, as `rmm::mr::logging_resource_adaptor` writes it: one CSV line an event.
//!
//! ```text
//!   Thread,Time,Action,Pointer,Size,Stream
//!   23156,07:57:14.893094,allocate,0x7fda7c899040,2457600,0
//!   │     │ no date       │        │ or (nil)     │       └ hexadecimal handle
//!   │     └ microseconds  └ allocate | free | deallocate | allocate failure
//!   └ decimal, 64 bits
//! ```
//!
//! Logs that people have differ: no header where the log went to a program's own, that program's lines in between, seconds since
//! 1970 in place of a time of day. What does not look like an event is counted as another program's line and passed over.
//!
//! Source: the RAPIDS Memory Manager's documentation and its replay benchmark. Columns go by name, so extra ones do
//! no harm. Memory: one line. Cost: one pass over the bytes.

use super::error::{ErrorKind, Place, TraceError, quote};
use super::fields::{self, Clock, Columns};
use super::streams::Streams;
use crate::event::{Action, Event};

/// Accepted names of the columns, in the order of the fields.
pub(super) const COLUMNS: [&[&str]; 6] =
    [&["Thread"], &["Time"], &["Action"], &["Pointer"], &["Size"], &["Stream"]];

/// Lines of other programs before an error is made of them: this many, and so many for each event.
const FOREIGN: u64 = 100_000;
const FOREIGN_PER_EVENT: u64 = 1000;

/// How a log tells its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    /// HH:MM:SS.microseconds.
    OfDay,
    /// Seconds since 1970, or since the program's own zero.
    Seconds,
}

/// A log in reading.
#[derive(Debug)]
pub(super) struct Log {
    columns: Columns<6>,
    times: Option<Times>,
    clock: Clock,
    events: u64,
    foreign: u64,
}

impl Log {
    pub(super) fn new(columns: Columns<6>, foreign: u64) -> Self {
        Self { columns, times: None, clock: Clock::new(true, true), events: 0, foreign }
    }

    /// Lines that were no event.
    pub(super) fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Times that went back.
    pub(super) fn clamped(&self) -> u64 {
        self.clock.clamped()
    }

    /// Parses one line. None if it is another program's.
    ///
    /// # Errors
    /// It is an event, and its fields are not what they should be; or there are far more foreign lines than events.
    pub(super) fn parse(
        &mut self,
        line: &[u8],
        number: u32,
        streams: &mut Streams,
    ) -> Result<Option<Event>, TraceError> {
        let at = Place::Line(number.into());
        if !looks_like_an_event(line) {
            self.foreign += 1;
            if self.foreign > FOREIGN.max(FOREIGN_PER_EVENT.saturating_mul(self.events)) {
                return Err(TraceError::new(
                    ErrorKind::FieldCount,
                    at,
                    format!(
                        "{} lines that are no event, the last of them {}",
                        self.foreign,
                        quote(line)
                    ),
                    "an allocation log with some lines of other programs in between",
                    "check that the file is an allocation log, or take out what is not: `grep -E 'allocate|free'`",
                ));
            }
            return Ok(None);
        }
        let event = self.event(line, number, at, streams)?;
        self.events += 1;
        Ok(Some(event))
    }

    fn event(
        &mut self,
        line: &[u8],
        number: u32,
        at: Place,
        streams: &mut Streams,
    ) -> Result<Event, TraceError> {
        let [thread, time, action, pointer, size, stream] = self.columns.split(line, at)?;
        let Some(action) = action_of(action) else {
            return Err(TraceError::new(
                ErrorKind::BadAction,
                at,
                quote(action),
                "`allocate`, `free`, `deallocate` or `allocate failure`",
                "correct or delete the line",
            ));
        };
        let thread = fields::decimal(thread, "a thread id (a decimal number below 2^64)", at)?;
        let (times, time) = time_of(time)
            .filter(|(times, _)| self.times.is_none_or(|t| t == *times))
            .ok_or_else(|| {
                let expected = match self.times {
                    None => "a time of day HH:MM:SS.microseconds, or seconds",
                    Some(Times::OfDay) => {
                        "a time of day HH:MM:SS.microseconds, as in the lines above"
                    }
                    Some(Times::Seconds) => "a time in seconds, as in the lines above",
                };
                fields::bad_time(time, expected, at)
            })?;
        if self.times.replace(times).is_none() && times == Times::Seconds {
            self.clock = Clock::new(false, true);
        }
        // A request that was refused has no pointer, and old versions write nothing for it.
        let id = match action {
            Action::Failure => 0,
            _ => fields::hexadecimal(pointer, "a pointer (hexadecimal, or `(nil)`)", at)?,
        };
        let size = fields::decimal(size, "a size in bytes (a decimal number below 2^64)", at)?;
        let stream = fields::hexadecimal(stream, "a stream (hexadecimal)", at)?;
        Ok(Event {
            time_ns: self.clock.advance(time, at)?,
            id,
            size,
            thread,
            stream: streams.number(stream, at)?,
            line: number,
            action,
        })
    }
}

/// The columns of a log without a header, if this is a line of one.
pub(super) fn without_header(line: &[u8]) -> Option<Columns<6>> {
    let columns = Columns::in_order();
    let [thread, time, action, _, _, _] = columns.split(line, Place::Whole).ok()?;
    let thread = !thread.is_empty() && thread.iter().all(u8::is_ascii_digit);
    (thread && time_of(time).is_some() && action_of(action).is_some()).then_some(columns)
}

fn action_of(text: &[u8]) -> Option<Action> {
    match text {
        b"allocate" => Some(Action::Alloc),
        b"free" | b"deallocate" => Some(Action::Free),
        b"allocate failure" => Some(Action::Failure),
        _ => None,
    }
}

fn time_of(text: &[u8]) -> Option<(Times, u64)> {
    match fields::time_of_day(text) {
        Some(time) => Some((Times::OfDay, time)),
        None => fields::seconds(text).map(|time| (Times::Seconds, time)),
    }
}

/// Whether a line is meant to be an event: some field is an action, or it begins with a number and has several fields.
fn looks_like_an_event(line: &[u8]) -> bool {
    let mut fields = line.split(|&b| b == b',').map(fields::bare);
    let first = fields.next().unwrap_or_default();
    let numbered = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
    let mut rest = fields.peekable();
    numbered && rest.peek().is_some() || rest.any(|field| action_of(field).is_some())
}

/// The log of RMM's first versions (0.5 to 0.13, 2019), as `rmm.csv_log()` returned it.
///
/// ```text
///   Event Type,Device ID,Address,Stream,Size (bytes),Free Memory,Total Memory,Current Allocs,Start,End,Elapsed,Location
///   Alloc,0,0x7fae06600000,0,80,0,0,1,1.10549,1.1074,0.00191666,driver.py:683
/// ```
///
/// A free states no size. One device is read.
pub(super) mod first {
    use super::*;

    /// Names of the columns, in the order of the fields.
    pub(in super::super) const COLUMNS: [&[&str]; 6] =
        [&["Event Type"], &["Device ID"], &["Address"], &["Stream"], &["Size (bytes)"], &["Start"]];

    /// A log in reading.
    #[derive(Debug)]
    pub(in super::super) struct Log {
        columns: Columns<6>,
        device: Option<u32>,
        clock: Clock,
        elsewhere: u64,
    }

    impl Log {
        /// Reads `device`, or the first that is met.
        pub(in super::super) fn new(columns: Columns<6>, device: Option<u32>) -> Self {
            Self { columns, device, clock: Clock::new(false, true), elsewhere: 0 }
        }

        /// The device that is read.
        pub(in super::super) fn device(&self) -> Option<u32> {
            self.device
        }

        /// Events of other devices, and reallocations.
        pub(in super::super) fn elsewhere(&self) -> u64 {
            self.elsewhere
        }

        /// Times that went back.
        pub(in super::super) fn clamped(&self) -> u64 {
            self.clock.clamped()
        }

        /// Parses one line. None if it is of another device.
        ///
        /// # Errors
        /// A field is not what it should be.
        pub(in super::super) fn parse(
            &mut self,
            line: &[u8],
            number: u32,
            streams: &mut Streams,
        ) -> Result<Option<Event>, TraceError> {
            let at = Place::Line(number.into());
            // The last column is a path, which may have commas.
            let [event, device, pointer, stream, size, start] =
                self.columns.split_at_least(line, at)?;
            let action = match event {
                b"Alloc" => Action::Alloc,
                b"Free" => Action::Free,
                b"Realloc" => {
                    self.elsewhere += 1;
                    return Ok(None);
                }
                _ => {
                    return Err(TraceError::new(
                        ErrorKind::BadAction,
                        at,
                        quote(event),
                        "`Alloc` or `Free`",
                        "correct or delete the line",
                    ));
                }
            };
            let device = fields::decimal_u32(device, "a device (a decimal number)", at)?;
            if *self.device.get_or_insert(device) != device {
                self.elsewhere += 1;
                return Ok(None);
            }
            let time = fields::seconds(start)
                .ok_or_else(|| fields::bad_time(start, "a time in seconds", at))?;
            let size = fields::decimal(size, "a size in bytes (a decimal number below 2^64)", at)?;
            let id = fields::hexadecimal(pointer, "a pointer (hexadecimal)", at)?;
            let unstated = action == Action::Free && size == 0 && id != 0;
            let stream = fields::hexadecimal(stream, "a stream (hexadecimal)", at)?;
            Ok(Some(Event {
                time_ns: self.clock.advance(time, at)?,
                id,
                size: if unstated { Event::UNSTATED } else { size },
                thread: 0,
                stream: streams.number(stream, at)?,
                line: number,
                action,
            }))
        }
    }
}
