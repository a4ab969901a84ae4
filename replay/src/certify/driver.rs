//! The driver of a recorded run: what a twin asks for is compared with the entries that follow, and answered by them.
//!
//! Only answers are taken from the file: the address of a segment, and that there was none to be had. A refusal leaves no entry;
//! it shows as something else standing where the segment would: a segment that goes back, or the out-of-memory.

use super::{Certificate, RANGE};
use crate::snapshot::{Action, Entry};
use strandline_twins::{Answer, Driver};

/// A cursor over the entries of one operation.
pub(super) struct RecordedDriver<'a> {
    pub(super) entries: &'a [Entry],
    /// The next entry that is not accounted for.
    pub(super) at: usize,
    /// The entry of the request, or of what follows the operation.
    pub(super) end: usize,
    pub(super) certificate: &'a mut Certificate,
    /// Bytes that the file's driver events of this operation added.
    pub(super) delta: i64,
    /// Releases that were accounted for.
    pub(super) released: u64,
    /// A release that the twin wanted is not what the file has next.
    pub(super) strayed: bool,
}

impl RecordedDriver<'_> {
    /// The next entry of the driver, if it stands before the request.
    fn next(&mut self) -> Option<Entry> {
        while self.at < self.end {
            let entry = self.entries[self.at];
            if entry.action.is_driver() {
                return Some(entry);
            }
            self.at += 1;
        }
        None
    }

    /// Counts the next entry as reproduced.
    fn meet(&mut self, entry: Entry) {
        self.at += 1;
        let size = i64::try_from(entry.size).unwrap_or(i64::MAX);
        self.delta = self.delta.saturating_add(if entry.action.comes() { size } else { -size });
        self.released += u64::from(entry.action.goes());
        self.certificate.score(entry.action).add(true);
    }

    fn refused(&mut self) -> bool {
        match self.next() {
            Some(next) => next.action.goes(),
            None => self.entries.get(self.end).is_some_and(|e| e.action == Action::OutOfMemory),
        }
    }

    fn differs(&mut self, what: impl FnOnce() -> String) {
        let number = self.at.min(self.entries.len() - 1) + 1;
        self.certificate.differs(number, what);
    }

    fn come(&mut self, action: Action, address: Option<u64>, size: u64, stream: u64) -> Answer {
        if self.refused() {
            return Answer::Refused;
        }
        match self.next() {
            Some(e)
                if (e.action, e.size, e.stream) == (action, size, stream)
                    && address.is_none_or(|address| address == e.address) =>
            {
                self.meet(e);
                Answer::Granted(e.address)
            }
            other => {
                self.differs(|| match (other, address) {
                    (Some(e), Some(address)) => format!(
                        "the model maps {size} bytes at {address:#x}, the file has {} of {} bytes at {:#x}",
                        e.action.word(), e.size, e.address
                    ),
                    (Some(e), None) => format!(
                        "the model asks the driver for {size} bytes, the file has {} of {} bytes",
                        e.action.word(), e.size
                    ),
                    (None, _) => format!(
                        "the model has no cached block and asks the driver for {size} bytes, the recorded allocator did not"
                    ),
                });
                Answer::Stop
            }
        }
    }

    fn go(&mut self, action: Action, address: u64, size: u64) -> bool {
        match self.next() {
            Some(e) if (e.action, e.address, e.size) == (action, address, size) => {
                self.meet(e);
                true
            }
            other => {
                // Nothing at all was released here: the request is what differs, and says so.
                self.strayed = true;
                if let Some(e) = other {
                    self.differs(|| {
                        format!(
                            "the model gives back {size} bytes at {address:#x}, the file has {} of {} bytes at {:#x}",
                            e.action.word(), e.size, e.address
                        )
                    });
                }
                false
            }
        }
    }
}

impl Driver for RecordedDriver<'_> {
    fn allocate(&mut self, size: u64, stream: u64) -> Answer {
        self.come(Action::SegmentAlloc, None, size, stream)
    }

    fn free(&mut self, address: u64, size: u64, _stream: u64) -> bool {
        self.go(Action::SegmentFree, address, size)
    }

    fn reserve(&mut self, page: u64, stream: u64) -> Option<(u64, u64)> {
        let next = self.next().filter(|e| (e.action, e.stream) == (Action::SegmentMap, stream))?;
        let room = RANGE.min(u64::MAX - next.address);
        Some((next.address, room / page * page))
    }

    fn map(&mut self, address: u64, size: u64, stream: u64) -> Answer {
        self.come(Action::SegmentMap, Some(address), size, stream)
    }

    fn unmap(&mut self, address: u64, size: u64, _stream: u64) -> bool {
        self.go(Action::SegmentUnmap, address, size)
    }
}
