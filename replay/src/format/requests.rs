//! Logs of requests to a served language model: when each came, and how many tokens it read and wrote.
//!
//! ```text
//!   TIMESTAMP,ContextTokens,GeneratedTokens
//!   2023-11-16 18:17:03.9799600,4808,10
//! ```
//!
//! The form is that of the Azure LLM inference traces (Patel et al., "Splitwise", ISCA 2024). Columns go by name, and
//! the names that BurstGPT gives the same three are taken too; its times are plain seconds. Memory: one line.
//! [`crate::serving`] turns the requests into events.

use super::error::{Place, TraceError};
use super::fields::{self, Clock, Columns};
use crate::serving::Request;

/// Accepted names of the columns, in the order of the fields.
pub(super) const COLUMNS: [&[&str]; 3] =
    [&["TIMESTAMP"], &["ContextTokens", "Request tokens"], &["GeneratedTokens", "Response tokens"]];

/// Parses one line.
pub(super) fn parse(
    columns: &Columns<3>,
    line: &[u8],
    number: u32,
    clock: &mut Clock,
) -> Result<Request, TraceError> {
    let at = Place::Line(number.into());
    let [time, context, generated] = columns.split(line, at)?;
    let time = fields::timestamp(time).ok_or_else(|| {
        fields::bad_time(time, "a time YYYY-MM-DD HH:MM:SS.fraction, or seconds", at)
    })?;
    let what = "a count of tokens (a decimal number below 2^32)";
    Ok(Request {
        context_tokens: fields::decimal_u32(context, what, at)?,
        generated_tokens: fields::decimal_u32(generated, what, at)?,
        arrival_ns: clock.advance(time, at)?,
        line: number,
    })
}
