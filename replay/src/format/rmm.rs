//! RMM's allocation log, as `rmm::mr::logging_resource_adaptor` writes it: one CSV line an event.
//!
//! ```text
//!   Thread,Time,Action,Pointer,Size,Stream
//!   23156,07:57:14.893094,allocate,0x7fda7c899040,2457600,0
//!   │     │ no date       │        │ or (nil)     │       └ hexadecimal handle
//!   │     └ microseconds  └ allocate | free | allocate failure
//!   └ decimal
//! ```
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

/// Parses one line.
pub(super) fn parse(
    columns: &Columns<6>,
    line: &[u8],
    number: u32,
    clock: &mut Clock,
    streams: &mut Streams,
) -> Result<Event, TraceError> {
    let at = Place::Line(number.into());
    let [thread, time, action, pointer, size, stream] = columns.split(line, at)?;
    let action = match action {
        b"allocate" => Action::Alloc,
        b"free" => Action::Free,
        b"allocate failure" => Action::Failure,
        _ => {
            return Err(TraceError::new(
                ErrorKind::BadAction,
                at,
                quote(action),
                "`allocate`, `free` or `allocate failure`",
                "correct or delete the line",
            ));
        }
    };
    let thread = fields::decimal_u32(thread, "a thread id (a decimal number below 2^32)", at)?;
    let time = fields::time_of_day(time)
        .ok_or_else(|| fields::bad_time(time, "a time of day HH:MM:SS.microseconds", at))?;
    let id = fields::hexadecimal(pointer, "a pointer (hexadecimal, or `(nil)`)", at)?;
    let size = fields::decimal(size, "a size in bytes (a decimal number below 2^64)", at)?;
    let stream = fields::hexadecimal(stream, "a stream (hexadecimal)", at)?;
    Ok(Event {
        time_ns: clock.advance(time, at)?,
        id: if action == Action::Failure { 0 } else { id },
        size,
        stream: streams.number(stream, at)?,
        thread,
        line: number,
        action,
    })
}
