//! The data lines of a text trace: numbered, blank ones passed over.

use super::error::{ErrorKind, Place, TraceError};
use super::input::Input;

/// Lines after the header.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    input: Input<'a>,
    /// The current line is to be read again: it is the first of a trace without a header.
    again: bool,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(input: Input<'a>) -> Self {
        Self { input, again: false }
    }

    /// The same, from the current line on.
    pub(crate) fn with_current(input: Input<'a>) -> Self {
        Self { input, again: true }
    }

    /// Where they come from.
    pub(crate) fn input(&self) -> &Input<'a> {
        &self.input
    }

    /// Whether the last line told has no end: it may be cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.input.line_is_cut()
    }

    /// The next line and its number, or None at the end.
    ///
    /// # Errors
    /// There are more lines than a u32 counts, or see [`Input::advance_line`].
    pub(crate) fn next(&mut self) -> Result<Option<(u32, &[u8])>, TraceError> {
        loop {
            if !core::mem::take(&mut self.again) && !self.input.advance_line()? {
                return Ok(None);
            }
            if !self.input.line().trim_ascii().is_empty() {
                break;
            }
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
