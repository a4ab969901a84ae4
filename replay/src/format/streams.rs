//! The table of a trace's streams: the names it uses (handles, pointers), numbered densely as they appear.
//!
//! Cost: O(1) an event, and no hashing while the stream does not change. Memory: bounded by
//! [`Limits::streams`](super::Limits::streams).

use super::error::{ErrorKind, Place, TraceError};
use crate::hash::FastMap;

/// Names to dense numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    names: Vec<u64>,
    numbers: FastMap<u64, u32>,
    last: Option<(u64, u32)>,
    limit: u32,
}

impl Streams {
    /// A table that takes at most `limit` streams.
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, ..Self::default() }
    }

    /// The names, by number.
    pub(crate) fn names(&self) -> &[u64] {
        &self.names
    }

    /// The number of `name`, a new one if it was not seen.
    ///
    /// # Errors
    /// One stream too many.
    #[inline]
    pub(crate) fn number(&mut self, name: u64, at: Place) -> Result<u32, TraceError> {
        if let Some((last, number)) = self.last
            && last == name
        {
            return Ok(number);
        }
        let number = match self.numbers.get(&name) {
            Some(&number) => number,
            None => {
                let number = self.names.len() as u32;
                if number >= self.limit {
                    return Err(TraceError::new(
                        ErrorKind::TooManyStreams,
                        at,
                        format!("one stream more, {name:#x}"),
                        format!("at most {} streams", self.limit),
                        "check that the stream column holds streams; a reader's limits can be raised",
                    ));
                }
                self.names.push(name);
                self.numbers.insert(name, number);
                number
            }
        };
        self.last = Some((name, number));
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_stable_and_limited() {
        let mut streams = Streams::new(2);
        let mut number = |name| streams.number(name, Place::Whole).map_err(|e| e.kind());
        assert_eq!([number(0), number(0), number(7), number(0)], [Ok(0), Ok(0), Ok(1), Ok(0)]);
        assert_eq!(number(8), Err(ErrorKind::TooManyStreams));
        assert_eq!(number(7), Ok(1));
        assert_eq!(streams.names(), [0, 7]);
    }
}
