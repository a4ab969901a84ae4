//! The data lines of a text trace: numbered, blank ones refused unless nothing follows them.

use super::error::{ErrorKind, Place, TraceError};
use super::input::Input;

/// Lines after the header.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    input: Input<'a>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(input: Input<'a>) -> Self {
        Self { input }
    }

    /// The next line and its number, or None at the end.
    ///
    /// # Errors
    /// A blank line stands between others, there are more lines than a u32 counts, or see [`Input::advance_line`].
    pub(crate) fn next(&mut self) -> Result<Option<(u32, &[u8])>, TraceError> {
        let mut blank = None;
        loop {
            if !self.input.advance_line()? {
                return Ok(None);
            }
            if !self.input.line().trim_ascii().is_empty() {
                break;
            }
            blank.get_or_insert(self.input.line_number());
        }
        if let Some(line) = blank {
            return Err(TraceError::new(
                ErrorKind::FieldCount,
                Place::Line(line),
                "a blank line",
                "an event",
                "delete the line",
            ));
        }
        match u32::try_from(self.input.line_number()) {
            Ok(number) => Ok(Some((number, self.input.line()))),
            Err(_) => Err(TraceError::new(
                ErrorKind::TooManyEvents,
                Place::Line(self.input.line_number()),
                "one line more",
                "at most 2^32 - 1 lines",
                "split the trace",
            )),
        }
    }
}
