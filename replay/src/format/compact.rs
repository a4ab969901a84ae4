//! Strandline's own text form: what an [`Event`] holds, and nothing that must be guessed.
//!
//! ```text
//!   time_ns,action,id,size,stream,thread
//!   0,alloc,1,4096,0,0          all numbers decimal; time in nanoseconds since the first event
//!   1500,free,1,4096,0,0        id: unique while the block is live; stream: the trace's own name
//!   1500,fail,0,8192,0,0        fail: the recorded allocator could not serve this size
//!   1500,retire,1,4096,0,0      given up by the program, in use by others until its free; held: so from the beginning
//! ```
//!
//! Unlike RMM's log it has no midnight, keeps nanoseconds, and its ids need not be addresses. Memory: one line.

use super::error::{ErrorKind, Place, TraceError, quote};
use super::fields::{self, Clock, Columns};
use super::streams::Streams;
use crate::event::{Action, Event};

/// Names of the columns, in the order of the fields.
pub(super) const COLUMNS: [&[&str]; 6] =
    [&["time_ns"], &["action"], &["id"], &["size"], &["stream"], &["thread"]];

/// Parses one line.
pub(super) fn parse(
    columns: &Columns<6>,
    line: &[u8],
    number: u32,
    clock: &mut Clock,
    streams: &mut Streams,
) -> Result<Event, TraceError> {
    let at = Place::Line(number.into());
    let [time, action, id, size, stream, thread] = columns.split(line, at)?;
    let action = match action {
        b"alloc" => Action::Alloc,
        b"free" => Action::Free,
        b"fail" => Action::Failure,
        b"retire" => Action::Retire,
        b"held" => Action::Held,
        _ => {
            return Err(TraceError::new(
                ErrorKind::BadAction,
                at,
                quote(action),
                "`alloc`, `free`, `fail`, `retire` or `held`",
                "correct or delete the line",
            ));
        }
    };
    let time = fields::decimal(time, "a time in nanoseconds (a decimal number)", at)?;
    let id = fields::decimal(id, "a block id (a decimal number)", at)?;
    let size = fields::decimal(size, "a size in bytes (a decimal number below 2^64)", at)?;
    let stream = fields::decimal(stream, "a stream (a decimal number)", at)?;
    let thread = fields::decimal(thread, "a thread (a decimal number below 2^64)", at)?;
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
