//! A driver that writes down what it granted and took back, as PyTorch's recorder does.
//!
//! An entry stands for what happened: a refusal, and an attempt that was broken off, leave none. Cost: O(1) an answer.

use super::{Action, Entry};
use strandline_twins::{Answer, Driver};

/// A driver, and the entries of what it did.
#[derive(Debug)]
pub(crate) struct Recorder<D> {
    pub(crate) driver: D,
    pub(crate) entries: Vec<Entry>,
    /// The call stack of what comes next.
    pub(crate) stack: u32,
}

impl<D> Recorder<D> {
    pub(crate) fn new(driver: D) -> Self {
        Self { driver, entries: Vec::new(), stack: 0 }
    }

    /// Adds an entry. Times are the entries' numbers.
    pub(crate) fn note(&mut self, action: Action, address: u64, size: u64, stream: u64) {
        let time_us = self.entries.len() as u64;
        self.entries.push(Entry { action, address, size, stream, time_us, stack: self.stack });
    }
}

impl<D: Driver> Driver for Recorder<D> {
    fn allocate(&mut self, size: u64, stream: u64) -> Answer {
        let answer = self.driver.allocate(size, stream);
        if let Answer::Granted(address) = answer {
            self.note(Action::SegmentAlloc, address, size, stream);
        }
        answer
    }

    fn free(&mut self, address: u64, size: u64, stream: u64) -> bool {
        let goes = self.driver.free(address, size, stream);
        if goes {
            self.note(Action::SegmentFree, address, size, stream);
        }
        goes
    }

    fn reserve(&mut self, page: u64, stream: u64) -> Option<(u64, u64)> {
        self.driver.reserve(page, stream)
    }

    fn map(&mut self, address: u64, size: u64, stream: u64) -> Answer {
        let answer = self.driver.map(address, size, stream);
        if let Answer::Granted(address) = answer {
            self.note(Action::SegmentMap, address, size, stream);
        }
        answer
    }

    fn unmap(&mut self, address: u64, size: u64, stream: u64) -> bool {
        let goes = self.driver.unmap(address, size, stream);
        if goes {
            self.note(Action::SegmentUnmap, address, size, stream);
        }
        goes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says the same to everything.
    struct Same(Answer, bool);

    impl Driver for Same {
        fn allocate(&mut self, _: u64, _: u64) -> Answer {
            self.0
        }
        fn free(&mut self, _: u64, _: u64, _: u64) -> bool {
            self.1
        }
        fn reserve(&mut self, _: u64, _: u64) -> Option<(u64, u64)> {
            None
        }
        fn map(&mut self, _: u64, _: u64, _: u64) -> Answer {
            self.0
        }
        fn unmap(&mut self, _: u64, _: u64, _: u64) -> bool {
            self.1
        }
    }

    #[test]
    fn only_what_happened_is_an_entry() {
        for (answer, goes, entries) in [
            (Answer::Granted(512), true, 4),
            (Answer::Granted(512), false, 2),
            (Answer::Refused, false, 0),
            (Answer::Stop, false, 0),
        ] {
            let mut recorder = Recorder::new(Same(answer, goes));
            assert_eq!(recorder.allocate(4, 0), answer);
            assert_eq!(recorder.map(512, 4, 0), answer);
            assert_eq!(recorder.free(512, 4, 0), goes);
            assert_eq!(recorder.unmap(512, 4, 0), goes);
            assert_eq!(recorder.entries.len(), entries, "{answer:?}");
        }
    }
}
