//! The checked steps of a trace, one after the other.

use super::{Checked, Checker, Step, Totals, What};
use crate::event::Event;
use crate::format::{Format, ReadOptions, TraceError, TraceReader};

/// The checked steps of a trace: an iterator that ends after the first error.
///
/// ```
/// use strandline_replay::format::{ErrorKind, ReadOptions, TraceReader};
/// use strandline_replay::validate::What;
///
/// let trace = "time_ns,action,id,size,stream,thread\n\
///              0,alloc,1,64,0,0\n5,free,1,64,0,0\n9,free,1,64,0,0\n";
/// let mut steps = TraceReader::new(trace.as_bytes(), ReadOptions::default())?.steps();
/// assert_eq!(steps.next().unwrap()?.what, What::Alloc(0));
/// assert_eq!(steps.next().unwrap()?.what, What::Free(0));
/// let error = steps.next().unwrap().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::DoubleFree);
/// assert_eq!(steps.totals().peak_live_bytes, 64);
/// # Ok::<(), strandline_replay::format::TraceError>(())
/// ```
#[derive(Debug)]
pub struct Steps<I> {
    events: I,
    checker: Checker,
    queued: Option<Step>,
    done: bool,
}

impl<I: Iterator<Item = Result<Event, TraceError>>> Steps<I> {
    /// Checks `events`, which stand in a trace of `format`.
    pub fn new(events: I, options: &ReadOptions, format: Format) -> Self {
        Self { events, checker: Checker::new(options, format), queued: None, done: false }
    }

    /// Where the events come from.
    pub fn events(&self) -> &I {
        &self.events
    }

    /// The counts so far; those of the trace once the iterator has ended.
    pub fn totals(&self) -> &Totals {
        self.checker.totals()
    }

    fn step(&mut self) -> Result<Option<Step>, TraceError> {
        if let Some(step) = self.queued.take() {
            return Ok(Some(step));
        }
        for event in self.events.by_ref() {
            let event = event?;
            let step = |what, size| {
                let Event { time_ns, stream, line, .. } = event;
                Some(Step { time_ns, size, what, stream, line })
            };
            return Ok(match self.checker.check(&event)? {
                Checked::Alloc { slot, evicted: Some((old, size)) } if size > 0 => {
                    self.queued = step(What::Alloc(slot), event.size);
                    step(What::Free(old), size)
                }
                Checked::Held { slot, evicted: Some((old, size)) } if size > 0 => {
                    self.queued = step(What::Held(slot), event.size);
                    step(What::Free(old), size)
                }
                Checked::Alloc { slot, .. } => step(What::Alloc(slot), event.size),
                Checked::Held { slot, .. } => step(What::Held(slot), event.size),
                Checked::Retire { slot, size } => step(What::Retire(slot), size),
                Checked::ZeroSized { evicted: Some((old, size)) } if size > 0 => {
                    step(What::Free(old), size)
                }
                Checked::Free { slot, size } => step(What::Free(slot), size),
                Checked::Failure => step(What::Failure, event.size),
                Checked::ZeroSized { .. } | Checked::Skipped => continue,
            });
        }
        Ok(None)
    }
}

impl<I: Iterator<Item = Result<Event, TraceError>>> Iterator for Steps<I> {
    type Item = Result<Step, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl<'a> TraceReader<'a> {
    /// The trace's events, checked against each other. Cost and memory: see [`crate::validate`].
    #[must_use]
    pub fn steps(self) -> Steps<TraceReader<'a>> {
        let (options, format) = (*self.options(), self.format());
        Steps::new(self, &options, format)
    }
}
