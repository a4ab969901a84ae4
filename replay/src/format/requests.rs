//! Logs of requests to a served language model: when each came, how many tokens it read and wrote, and perhaps what its prompt is.
//!
//! ```text
//!   TIMESTAMP,ContextTokens,GeneratedTokens
//!   2023-11-16 18:17:03.9799600,4808,10
//!
//!   {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 48]}
//! ```
//!
//! Tables: the Azure LLM inference traces of 2023 and 2024 (Patel et al., "Splitwise", ISCA 2024), BurstGPT, Vidur's and
//! splitwise-sim's. Columns go by name; times are dates or plain seconds. JSON lines: Mooncake's traces (Qin et al., FAST 2025), whose
//! times are milliseconds, and Bailian's (Alibaba), whose times are seconds and whose lines have a `chat_id`. Where both the input and
//! the output are told, other members are passed over.
//!
//! Where a time goes back, the order of the lines is the truth. Memory: one line. [`crate::serving`] turns the requests into events.

use super::error::{ErrorKind, Place, TraceError, quote};
use super::fields::{self, Clock, Columns};
use super::lines::Lines;
use crate::serving::Request;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Accepted names of the columns, in the order of the fields.
pub(super) const COLUMNS: [&[&str]; 3] = [
    &["TIMESTAMP", "arrived_at", "arrival_timestamp"],
    &["ContextTokens", "Request tokens", "num_prefill_tokens", "prompt_size"],
    &["GeneratedTokens", "Response tokens", "num_decode_tokens", "token_size"],
];

/// Longest line of JSON, in bytes: a prompt of two million tokens has hashes of fewer.
pub(super) const JSON_LINE_BYTES: usize = 1 << 20;

/// The requests of a log.
#[derive(Debug)]
pub(super) struct Requests<'a> {
    lines: Lines<'a>,
    form: Form,
    clock: Clock,
    cut: bool,
}

/// How a line is read.
#[derive(Debug)]
pub(super) enum Form {
    Table(Columns<3>),
    Json,
}

impl<'a> Requests<'a> {
    pub(super) fn new(lines: Lines<'a>, form: Form) -> Self {
        Self { lines, form, clock: Clock::new(false, true), cut: false }
    }

    /// Times that went back.
    pub(super) fn clamped(&self) -> u64 {
        self.clock.clamped()
    }

    /// The last line is cut and was left out.
    pub(super) const fn cut(&self) -> bool {
        self.cut
    }
}

impl Iterator for Requests<'_> {
    type Item = Result<Request, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, line) = match self.lines.next().transpose()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        let request = match &self.form {
            Form::Table(columns) => row(columns, line, number, &mut self.clock),
            Form::Json => object(line, number, &mut self.clock),
        };
        if request.is_err() && self.lines.is_cut() {
            self.cut = true;
            return None;
        }
        Some(request)
    }
}

/// Parses one row of a table.
fn row(
    columns: &Columns<3>,
    line: &[u8],
    number: u32,
    clock: &mut Clock,
) -> Result<Request, TraceError> {
    let at = Place::Line(number.into());
    let [time, context, generated] = columns.split(line, at)?;
    let time = fields::timestamp(time).or_else(|| scientific(time)).ok_or_else(|| {
        fields::bad_time(time, "a time YYYY-MM-DD HH:MM:SS.fraction, or seconds", at)
    })?;
    let what = "a count of tokens (a decimal number below 2^32)";
    Ok(Request {
        context_tokens: fields::decimal_u32(whole(context), what, at)?,
        generated_tokens: fields::decimal_u32(whole(generated), what, at)?,
        arrival_ns: clock.advance(time, at)?,
        line: number,
        hashes: Vec::new(),
    })
}

/// A count without the `.0` that data frames add where another row's is missing.
fn whole(count: &[u8]) -> &[u8] {
    let digits = count.iter().position(|&b| b == b'.').map(|at| count.split_at(at));
    match digits {
        Some((digits, [b'.', zeros @ ..])) if zeros.iter().all(|&b| b == b'0') => digits,
        _ => count,
    }
}

/// Seconds as programs print small ones: `5.1e-05`.
fn scientific(text: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(text).ok()?;
    if !text.contains(['e', 'E']) {
        return None;
    }
    nanoseconds(text.parse().ok()?, 1e9)
}

/// Nanoseconds of a time in a unit that has `each` of them.
fn nanoseconds(time: f64, each: f64) -> Option<u64> {
    let time = (time * each).round();
    // Beyond 2^63 there is no time that a log could mean.
    (0.0..9.2e18).contains(&time).then_some(time as u64)
}

/// A line of JSON. Numbers beyond their type are refused by the parser.
#[derive(Deserialize)]
struct Line {
    timestamp: f64,
    input_length: u32,
    output_length: u32,
    #[serde(default)]
    hash_ids: Vec<u64>,
    chat_id: Option<IgnoredAny>,
}

/// Whether a file begins with an object of a log of requests.
pub(super) fn is_json(head: &[u8]) -> bool {
    let has = |name: &[u8]| head.windows(name.len()).any(|window| window == name);
    head.trim_ascii_start().starts_with(b"{")
        && has(b"\"timestamp\"")
        && has(b"\"input_length\"")
        && has(b"\"output_length\"")
}

/// Parses one line of JSON.
fn object(line: &[u8], number: u32, clock: &mut Clock) -> Result<Request, TraceError> {
    let at = Place::Line(number.into());
    let wrong = |what: String| {
        TraceError::new(
            ErrorKind::BadJson,
            at,
            format!("{what} in {}", quote(line)),
            "an object with timestamp, input_length and output_length, and perhaps hash_ids, all numbers from 0",
            "correct or delete the line",
        )
    };
    let Line { timestamp, input_length, output_length, hash_ids, chat_id } =
        serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
    let each = if chat_id.is_some() { 1e9 } else { 1e6 };
    let time =
        nanoseconds(timestamp, each).ok_or_else(|| wrong(format!("the time {timestamp}")))?;
    Ok(Request {
        context_tokens: input_length,
        generated_tokens: output_length,
        arrival_ns: clock.advance(time, at)?,
        line: number,
        hashes: hash_ids,
    })
}
