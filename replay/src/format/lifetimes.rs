//! Lifetimes of buffers, as the planners minimalloc and idealloc read and write them.
//!
//! ```text
//!   id,lower,upper,size          in use from lower on, up to upper and not at it; no unit
//!   b1,0,3,1024
//!   id,start,end,size            minimalloc's older files: end is the last time of use, one before upper
//!   b1,0,2,1024
//! ```
//!
//! Without a header a row is `id,lower,upper,size`.
//!
//! Each row is an allocation at `lower` and a free at `upper`; at one time frees come first, then allocations in the order of the rows.
//! A row whose lifetime is empty needs no memory and is counted. Other columns (`alignment`, `offset`, `gaps`) are passed over.
//!
//! Memory: 32 bytes a row, held until the end, since rows come in any order; and the buffers live at once. Of a packed file, no more than
//! [`SLACK`] and [`FACTOR`] times its packed bytes. Cost: O(n log n).

use super::error::{ErrorKind, Place, TraceError};
use super::fields::{self, Columns};
use super::input::Input;
use super::lines::Lines;
use crate::event::{Action, Event};
use core::cmp::Reverse;
use std::collections::BinaryHeap;

const ID: &[&str] = &["id", "buffer", "buffer_id"];
const LOWER: &[&str] = &["lower", "start", "begin"];

/// Names of the columns, in the order of the fields.
const COLUMNS: [&[&str]; 4] = [ID, LOWER, &["upper"], &["size"]];

/// The same where the third is the last time of use.
const CLOSED: [&[&str]; 4] = [ID, LOWER, &["end"], &["size"]];

/// Where the fields stand in a file's rows, and what its third one means.
#[derive(Clone, Debug)]
pub(super) struct Header {
    columns: Columns<4>,
    /// From the last time of use to the first that is not.
    after: u64,
    /// The file has it.
    stated: bool,
}

impl Header {
    /// None if a column is missing.
    pub(super) fn find(line: &[u8]) -> Option<Self> {
        let open = Columns::find(line, &COLUMNS);
        let open = open.map(|columns| Self { columns, after: 0, stated: true });
        open.or_else(|| {
            Some(Self { columns: Columns::find(line, &CLOSED)?, after: 1, stated: true })
        })
    }

    /// That of a file that begins with a row, `id,lower,upper,size`; None if the line is none.
    pub(super) fn missing(line: &[u8]) -> Option<Self> {
        let header = Self { columns: Columns::in_order(), after: 0, stated: false };
        parse(&header, line, 1).ok().map(|_| header)
    }

    /// Whether the file has it.
    pub(super) fn is_stated(&self) -> bool {
        self.stated
    }
}

#[derive(Clone, Copy, Debug)]
struct Row {
    lower: u64,
    upper: u64,
    size: u64,
    line: u32,
}

/// The events of all rows, by time.
#[derive(Debug)]
pub(super) struct Lifetimes {
    /// By their lower ends.
    rows: Vec<Row>,
    at: usize,
    /// Ends of the live ones, and their rows.
    ends: BinaryHeap<Reverse<(u64, u32)>>,
    first: u64,
    /// Rows that need no memory.
    empty: u64,
}

impl Lifetimes {
    /// Reads all rows. Returns whether the last line was cut and left out.
    ///
    /// # Errors
    /// A row is not what it should be.
    pub(super) fn read(lines: &mut Lines<'_>, header: &Header) -> Result<(Self, bool), TraceError> {
        let (mut rows, mut empty, mut cut) = (Vec::new(), 0, false);
        while let Some((number, line)) = lines.next()? {
            match parse(header, line, number) {
                Ok(row) if row.lower == row.upper || row.size == 0 => empty += 1,
                Ok(row) => {
                    if rows.len() == rows.capacity() {
                        super::pickle::grow(&mut rows, 1);
                        check_size(rows.capacity(), lines.input(), number)?;
                    }
                    rows.push(row);
                }
                Err(_) if lines.is_cut() => cut = true,
                Err(error) => return Err(error),
            }
        }
        rows.sort_by_key(|row: &Row| row.lower);
        let first = rows.first().map_or(0, |row| row.lower);
        Ok((Self { rows, at: 0, ends: BinaryHeap::new(), first, empty }, cut))
    }

    /// Rows that need no memory.
    pub(super) fn empty(&self) -> u64 {
        self.empty
    }
}

/// Bytes of memory that any file's rows may take.
const SLACK: u64 = 48 << 20;

/// Bytes of memory for each byte of the file: a row of text has eight at least, so that only a packed file comes near.
const FACTOR: u64 = 16;

/// A packed file can unpack to any number of rows.
fn check_size(rows: usize, input: &Input<'_>, line: u32) -> Result<(), TraceError> {
    let bytes = (rows * size_of::<Row>()) as u64;
    if bytes <= SLACK.saturating_add(FACTOR.saturating_mul(input.file_offset())) {
        return Ok(());
    }
    Err(TraceError::new(
        ErrorKind::Overflow,
        Place::Line(line.into()),
        format!("rows that need more than {bytes} bytes of memory, in a packed file of much less"),
        "a packed file, whose rows need less than sixteen times its packed size and 48 MiB",
        "unpack the file with gunzip and read that",
    ))
}

fn parse(header: &Header, line: &[u8], number: u32) -> Result<Row, TraceError> {
    let at = Place::Line(number.into());
    let [_, lower, upper, size] = header.columns.split(line, at)?;
    let time = "a time (a decimal number below 2^64)";
    let last: u64 = fields::decimal(upper, time, at)?;
    let Some(upper) = last.checked_add(header.after) else {
        return Err(TraceError::new(
            ErrorKind::Overflow,
            at,
            format!("an end at {last}"),
            "a last time of use below 2^64 - 1",
            "correct or delete the line",
        ));
    };
    let row = Row {
        lower: fields::decimal(lower, time, at)?,
        upper,
        size: fields::decimal(size, "a size (a decimal number below 2^64)", at)?,
        line: number,
    };
    if row.upper < row.lower {
        return Err(TraceError::new(
            ErrorKind::Unordered,
            at,
            format!("a lifetime from {} to {}", row.lower, row.upper),
            "an upper end that is not below the lower one",
            "correct or delete the line",
        ));
    }
    Ok(row)
}

impl Iterator for Lifetimes {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let next = self.rows.get(self.at);
        let event = |index: usize, row: &Row, time: u64, action| Event {
            time_ns: time - self.first,
            id: index as u64 + 1,
            size: row.size,
            thread: 0,
            stream: 0,
            line: row.line,
            action,
        };
        if let Some(&Reverse((end, index))) = self.ends.peek()
            && next.is_none_or(|row| end <= row.lower)
        {
            let row = self.rows.get(index as usize)?;
            let event = event(index as usize, row, end, Action::Free);
            self.ends.pop();
            return Some(event);
        }
        let row = *next?;
        let event = event(self.at, &row, row.lower, Action::Alloc);
        self.ends.push(Reverse((row.upper, self.at as u32)));
        self.at += 1;
        Some(event)
    }
}
