//! What the text formats share: columns found by name, numbers, and times that may not go back.
//!
//! ```text
//!   header   Thread , Time , Action , Pointer , Size , Stream      matched by name, in any order
//!   place    0        1      2        3         4      5           column i of the file holds field place[i]
//! ```
//!
//! Nothing here allocates except to describe an error.

use super::error::{ErrorKind, Place, TraceError, quote};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Nanoseconds in a day.
pub(crate) const DAY_NS: u64 = 86_400 * 1_000_000_000;

/// Columns that a header may have at most.
const MAX_COLUMNS: usize = 64;

/// Where the `N` fields of a format stand in a file's lines.
#[derive(Clone, Debug)]
pub(crate) struct Columns<const N: usize> {
    /// For each column of the file, the field it holds, or `N` for none.
    place: Vec<usize>,
}

impl<const N: usize> Columns<N> {
    /// Matches a header against the accepted names of each field. None if a field is missing or named twice.
    pub(crate) fn find(header: &[u8], names: &[&[&str]; N]) -> Option<Self> {
        let mut place = Vec::new();
        let mut seen = [false; N];
        for column in header.split(|&b| b == b',') {
            if place.len() == MAX_COLUMNS {
                return None;
            }
            let column = bare(column);
            let field = names
                .iter()
                .position(|accepted| {
                    accepted.iter().any(|name| column.eq_ignore_ascii_case(name.as_bytes()))
                })
                .unwrap_or(N);
            if let Some(seen) = seen.get_mut(field)
                && core::mem::replace(seen, true)
            {
                return None;
            }
            place.push(field);
        }
        seen.iter().all(|&s| s).then_some(Self { place })
    }

    /// The fields in their own order, as in a file without a header.
    pub(crate) fn in_order() -> Self {
        Self { place: (0..N).collect() }
    }

    /// Splits a line into the format's fields, blanks trimmed.
    pub(crate) fn split<'l>(&self, line: &'l [u8], at: Place) -> Result<[&'l [u8]; N], TraceError> {
        self.split_up_to(line, at, false)
    }

    /// The same for a line whose last column may have commas.
    pub(crate) fn split_at_least<'l>(
        &self,
        line: &'l [u8],
        at: Place,
    ) -> Result<[&'l [u8]; N], TraceError> {
        self.split_up_to(line, at, true)
    }

    fn split_up_to<'l>(
        &self,
        line: &'l [u8],
        at: Place,
        more: bool,
    ) -> Result<[&'l [u8]; N], TraceError> {
        let mut out = [&line[..0]; N];
        let mut count = 0;
        for field in line.split(|&b| b == b',') {
            match self.place.get(count) {
                Some(&place) => {
                    if let Some(slot) = out.get_mut(place) {
                        *slot = bare(field);
                    }
                }
                None if more => break,
                None => return Err(self.wrong_count(line, at)),
            }
            count += 1;
        }
        if count == self.place.len() { Ok(out) } else { Err(self.wrong_count(line, at)) }
    }

    #[cold]
    fn wrong_count(&self, line: &[u8], at: Place) -> TraceError {
        let count = line.split(|&b| b == b',').count();
        TraceError::new(
            ErrorKind::FieldCount,
            at,
            format!("{count} fields in {}", quote(line)),
            format!("{} fields, as in the header", self.place.len()),
            "correct or delete the line",
        )
    }
}

/// A field without blanks, and without the quotes that spreadsheets put around it.
pub(crate) fn bare(field: &[u8]) -> &[u8] {
    match field.trim_ascii() {
        [b'"', inner @ .., b'"'] => inner.trim_ascii(),
        field => field,
    }
}

/// Parses a decimal u64: digits only.
pub(crate) fn decimal(field: &[u8], what: &'static str, at: Place) -> Result<u64, TraceError> {
    number(field, 10).map_err(|kind| bad_number(kind, field, what, at))
}

/// Parses a hexadecimal u64, with or without `0x`; `(nil)` is 0, as C libraries print a null pointer.
pub(crate) fn hexadecimal(field: &[u8], what: &'static str, at: Place) -> Result<u64, TraceError> {
    if field == b"(nil)" {
        return Ok(0);
    }
    let digits = field.strip_prefix(b"0x").or_else(|| field.strip_prefix(b"0X")).unwrap_or(field);
    number(digits, 16).map_err(|kind| bad_number(kind, field, what, at))
}

/// Parses a decimal number that must fit a u32.
pub(crate) fn decimal_u32(field: &[u8], what: &'static str, at: Place) -> Result<u32, TraceError> {
    u32::try_from(decimal(field, what, at)?)
        .map_err(|_| bad_number(ErrorKind::Overflow, field, what, at))
}

fn number(digits: &[u8], radix: u64) -> Result<u64, ErrorKind> {
    if let [b'-', rest @ ..] = digits {
        let negative = !rest.is_empty() && rest.iter().all(u8::is_ascii_digit);
        return Err(if negative { ErrorKind::Negative } else { ErrorKind::BadNumber });
    }
    if digits.is_empty() {
        return Err(ErrorKind::BadNumber);
    }
    let mut value = Some(0u64);
    for &digit in digits {
        let digit = (digit as char).to_digit(radix as u32).ok_or(ErrorKind::BadNumber)?;
        value = value.and_then(|v| v.checked_mul(radix)?.checked_add(u64::from(digit)));
    }
    value.ok_or(ErrorKind::Overflow)
}

#[cold]
fn bad_number(kind: ErrorKind, field: &[u8], what: &'static str, at: Place) -> TraceError {
    let remedy = match kind {
        ErrorKind::Negative => "it cannot be negative: correct or delete the line",
        ErrorKind::Overflow => "it is too large: correct or delete the line",
        _ => "correct or delete the line",
    };
    TraceError::new(kind, at, quote(field), what, remedy)
}

/// Parses the digits of a fraction of a second into nanoseconds; digits beyond the ninth are dropped.
fn fraction_ns(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut ns = 0;
    for i in 0..9 {
        ns = ns * 10 + digits.get(i).map_or(0, |d| u64::from(d - b'0'));
    }
    Some(ns)
}

fn two(digits: &[u8], below: u64) -> Option<u64> {
    match digits {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => {
            Some(u64::from(a - b'0') * 10 + u64::from(b - b'0')).filter(|&v| v < below)
        }
        _ => None,
    }
}

/// Parses `HH:MM:SS[.fraction]`, also with `:` before the fraction as older RMM wrote it, to nanoseconds since midnight.
pub(crate) fn time_of_day(text: &[u8]) -> Option<u64> {
    if text.len() < 8 || text[2] != b':' || text[5] != b':' {
        return None;
    }
    // 60 is a leap second.
    let seconds = two(&text[0..2], 24)? * 3600 + two(&text[3..5], 60)? * 60 + two(&text[6..8], 61)?;
    let fraction = match &text[8..] {
        [] => 0,
        [b'.' | b':', digits @ ..] => fraction_ns(digits)?,
        _ => return None,
    };
    Some((seconds * 1_000_000_000 + fraction).min(DAY_NS - 1))
}

/// Parses `YYYY-MM-DD HH:MM:SS[.fraction][Z|±HH:MM]` (or with `T`), or plain seconds `12.5`, to nanoseconds since
/// 1970 or since the trace's own zero. Without an offset a time is taken as UTC.
pub(crate) fn timestamp(text: &[u8]) -> Option<u64> {
    if text.len() < 19 || text[4] != b'-' {
        return seconds(text);
    }
    let text = core::str::from_utf8(text).ok()?;
    // A civil time would be read with its offset ignored: the other way round.
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    u64::try_from(time.as_nanosecond()).ok()
}

/// Parses plain seconds `12.5` to nanoseconds.
pub(crate) fn seconds(text: &[u8]) -> Option<u64> {
    let mut parts = text.splitn(2, |&b| b == b'.');
    let seconds = number(parts.next()?, 10).ok()?;
    let fraction = parts.next().map_or(Some(0), fraction_ns)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

#[cold]
pub(crate) fn bad_time(field: &[u8], expected: &'static str, at: Place) -> TraceError {
    TraceError::new(ErrorKind::BadTime, at, quote(field), expected, "correct or delete the line")
}

/// Turns a trace's times into nanoseconds since its first event. Where a time goes back, the order of the lines is the truth: the latest
/// time seen counts, and the step is counted.
///
/// A time of day names no date. The day is chosen so that a step back of more than 12 hours is midnight, and a step
/// forward of more than 23 hours is a late line from before midnight (a step back). A gap of a day or more leaves no
/// trace and is lost.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    daily: bool,
    lenient: bool,
    /// The last time read, in the trace's own terms, and what it became.
    last: Option<(u64, u64)>,
    clamped: u64,
}

impl Clock {
    /// `daily`: times are times of day. `lenient`: a time that goes back is taken as the latest seen.
    pub(crate) fn new(daily: bool, lenient: bool) -> Self {
        Self { daily, lenient, last: None, clamped: 0 }
    }

    /// Times that went back and were moved forward.
    pub(crate) fn clamped(&self) -> u64 {
        self.clamped
    }

    /// Relative time of the next event.
    ///
    /// # Errors
    /// Time goes back, and the clock is not lenient.
    #[inline]
    pub(crate) fn advance(&mut self, time: u64, at: Place) -> Result<u64, TraceError> {
        let Some((last, relative)) = self.last else {
            self.last = Some((time, 0));
            return Ok(0);
        };
        let (forward, step) = match time.checked_sub(last) {
            Some(ahead) if self.daily && ahead > DAY_NS / 24 * 23 => (false, DAY_NS - ahead),
            Some(ahead) => (true, ahead),
            None if self.daily && last - time > DAY_NS / 2 => (true, DAY_NS - (last - time)),
            None => (false, last - time),
        };
        if forward {
            let now = relative.saturating_add(step);
            self.last = Some((time, now));
            return Ok(now);
        }
        if self.lenient {
            self.clamped += 1;
            return Ok(relative);
        }
        Err(TraceError::new(
            ErrorKind::Unordered,
            at,
            format!("a time {} us before that of the event above", step.div_ceil(1000)),
            "times that never go back",
            "sort the requests by time, or read them with --lenient to take the order of the lines",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Place = Place::Line(1);
    const HOUR: u64 = DAY_NS / 24;

    #[test]
    fn numbers() {
        assert_eq!(decimal(b"18446744073709551615", "n", AT).unwrap(), u64::MAX);
        assert_eq!(
            decimal(b"18446744073709551616", "n", AT).unwrap_err().kind(),
            ErrorKind::Overflow
        );
        assert_eq!(decimal(b"-5", "n", AT).unwrap_err().kind(), ErrorKind::Negative);
        for bad in [&b""[..], b"-", b"+1", b"1.5", b"0x1", b"1 2", b"\xff"] {
            assert_eq!(decimal(bad, "n", AT).unwrap_err().kind(), ErrorKind::BadNumber, "{bad:?}");
        }
        assert_eq!(hexadecimal(b"(nil)", "n", AT).unwrap(), 0);
        assert_eq!(hexadecimal(b"0x7fda7C", "n", AT).unwrap(), 0x7f_da7c);
        assert_eq!(hexadecimal(b"ffffffffffffffff", "n", AT).unwrap(), u64::MAX);
        assert_eq!(hexadecimal(b"0x", "n", AT).unwrap_err().kind(), ErrorKind::BadNumber);
        assert_eq!(decimal_u32(b"4294967296", "n", AT).unwrap_err().kind(), ErrorKind::Overflow);
    }

    #[test]
    fn times_of_day() {
        assert_eq!(time_of_day(b"00:00:00"), Some(0));
        assert_eq!(time_of_day(b"01:02:03.000004"), Some(3_723_000_004_000));
        assert_eq!(time_of_day(b"01:02:03:5"), Some(3_723_500_000_000));
        assert_eq!(time_of_day(b"23:59:60.999999999"), Some(DAY_NS - 1));
        for bad in ["", "24:00:00", "00:60:00", "0:00:00", "00:00:00.", "00:00:00.x", "00-00-00"] {
            assert_eq!(time_of_day(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn timestamps() {
        assert_eq!(timestamp(b"1970-01-01 00:00:00"), Some(0));
        // `date -u -d '2023-11-16 18:17:03.97996' +%s.%N`
        assert_eq!(timestamp(b"2023-11-16 18:17:03.9799600"), Some(1_700_158_623_979_960_000));
        assert_eq!(timestamp(b"2024-02-29T23:00:00Z"), Some(1_709_247_600_000_000_000));
        assert_eq!(timestamp(b"2024-03-01 01:00:00.5+02:00"), Some(1_709_247_600_500_000_000));
        assert_eq!(timestamp(b"12.25"), Some(12_250_000_000));
        assert_eq!(timestamp(b"7"), Some(7_000_000_000));
        for bad in [
            "",
            ".",
            "1.",
            "-1",
            "2023-02-29 00:00:00",
            "2023-13-01 00:00:00",
            "1969-01-01 00:00:00",
        ] {
            assert_eq!(timestamp(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn midnight_is_crossed_and_disorder_is_not() {
        let mut clock = Clock::new(true, false);
        assert_eq!(clock.advance(23 * HOUR, AT).unwrap(), 0);
        assert_eq!(clock.advance(HOUR, AT).unwrap(), 2 * HOUR);
        assert_eq!(clock.advance(14 * HOUR, AT).unwrap(), 15 * HOUR);
        assert_eq!(clock.advance(14 * HOUR - 1, AT).unwrap_err().kind(), ErrorKind::Unordered);
        // A late line from before midnight is a step back, not a day ahead.
        let mut clock = Clock::new(true, true);
        assert_eq!(clock.advance(DAY_NS - 10, AT).unwrap(), 0);
        assert_eq!(clock.advance(5, AT).unwrap(), 15);
        assert_eq!(clock.advance(DAY_NS - 1, AT).unwrap(), 15);
        assert_eq!(clock.advance(6, AT).unwrap(), 16);
        assert_eq!(clock.clamped(), 1);
    }

    #[test]
    fn columns_go_by_name() {
        let names = [&["a", "alpha"][..], &["b"]];
        let columns = Columns::find(b"x, B ,Alpha", &names).unwrap();
        assert_eq!(columns.split(b"1, 2,3", AT).unwrap(), [&b"3"[..], b"2"]);
        assert_eq!(columns.split(b"1,2", AT).unwrap_err().kind(), ErrorKind::FieldCount);
        assert_eq!(columns.split(b"1,2,3,4", AT).unwrap_err().kind(), ErrorKind::FieldCount);
        assert!(Columns::find(b"a,alpha,b", &names).is_none());
        assert!(Columns::find(b"a", &names).is_none());
    }
}
