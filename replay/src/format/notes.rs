//! What a reader did besides reading, for the report: nothing is left out in silence.
//!
//! Cost: a counter an event. Memory: bounded, whatever the trace.

use crate::serving::ServingReport;
use core::fmt;

/// Requests that were refused when the trace was recorded, of which the circumstances are kept.
pub const MOST_REFUSED: usize = 256;

/// Unknown actions that are named; more are counted together.
const MOST_NAMED: usize = 16;

/// What a reader did besides reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Times that went back: the order of the entries is the truth, and the latest time seen counts.
    pub clamped_times: u64,
    /// Entries of the trace by kind, in the trace's own words.
    pub entries: Vec<(String, u64)>,
    /// Entries that are no event of an allocator, those of unknown kinds included.
    pub ignored_entries: u64,
    /// Blocks that were there before the trace began, allocated at time 0.
    pub preexisting_blocks: u64,
    /// Of those, blocks that their program had given up and that other streams still used.
    pub preexisting_pending_blocks: u64,
    /// Lines of other programs between those of the trace.
    pub foreign_lines: u64,
    /// The last line was cut and left out.
    pub cut_last_line: bool,
    /// The device that is read.
    pub device: Option<u32>,
    /// Devices that the trace tells of.
    pub devices: u32,
    /// The most bytes that the recorded allocator had taken from the device at once, where the file tells.
    pub recorded_peak_reserved_bytes: Option<u64>,
    /// What each device of a snapshot holds.
    pub holdings: Vec<Holding>,
    /// Of a log of requests, what they went through.
    pub serving: Option<ServingReport>,
    /// What else was left out: one phrase each.
    pub left_out: Vec<String>,
}

impl Notes {
    /// Counts entries of a kind.
    pub(crate) fn count_many(&mut self, kind: &str, more: u64) {
        let kinds = self.entries.len();
        let known = self.entries.iter_mut().find(|(name, _)| name == kind);
        match known {
            Some((_, count)) => *count += more,
            None if kinds < MOST_NAMED => self.entries.push((kind.to_owned(), more)),
            None => match self.entries.last_mut() {
                Some((name, count)) if name == "others" => *count += more,
                _ => self.entries.push(("others".to_owned(), more)),
            },
        }
    }
}

/// What one device of a snapshot holds when the snapshot was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// The device's number.
    pub device: u32,
    /// Entries of its trace.
    pub entries: u64,
    /// Allocations among them.
    pub allocs: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Bytes that the allocator took from the device.
    pub reserved_bytes: u64,
    /// Bytes of blocks that are in use.
    pub active_bytes: u64,
}

impl Holding {
    /// Whether the snapshot tells anything of the device.
    #[must_use]
    pub const fn is_in_use(&self) -> bool {
        self.entries > 0 || self.reserved_bytes > 0
    }
}

/// What a file tells of the moment at which a request was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Bytes that the recorded allocator had taken from the device.
    pub reserved_bytes: Option<u64>,
    /// Bytes that the device had free.
    pub device_free_bytes: Option<u64>,
    /// The longest run of free bytes within what the allocator had.
    pub largest_hole_bytes: Option<u64>,
}

/// A request that the recorded allocator refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Where it stands: [`Event::line`](crate::event::Event::line).
    pub line: u32,
    /// The number of the event, counted from 1.
    pub event: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Bytes allocated at that moment.
    pub live_bytes: u64,
    /// What the file tells besides.
    pub circumstances: Circumstances,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// What was live and what was asked for exceed the device.
    Real,
    /// They would have fitted, packed.
    Fragmentation,
    /// The file does not tell how much memory there was.
    Unknown,
}

impl Refused {
    /// Bytes live and asked for.
    #[must_use]
    pub const fn need(&self) -> u64 {
        self.live_bytes.saturating_add(self.bytes)
    }

    /// Bytes that the recorded process could have: what its allocator held and what the device had free.
    #[must_use]
    pub fn device_bytes(&self) -> Option<u64> {
        let Circumstances { reserved_bytes, device_free_bytes, .. } = self.circumstances;
        Some(reserved_bytes?.saturating_add(device_free_bytes?))
    }

    /// Why it was refused.
    #[must_use]
    pub fn shortage(&self) -> Shortage {
        match self.device_bytes() {
            None => Shortage::Unknown,
            Some(device) if self.need() > device => Shortage::Real,
            Some(_) => Shortage::Fragmentation,
        }
    }
}

/// The verdict, in one sentence.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::size::Bytes;
        let (need, device) = (Bytes(self.need()), self.device_bytes().map(Bytes));
        match (self.shortage(), device) {
            (Shortage::Real, Some(device)) => {
                write!(f, "real shortage: live and asked are {need}, and the device had {device}")
            }
            (Shortage::Fragmentation, Some(device)) => write!(
                f,
                "fragmentation: live and asked are {need}, which fits into the device's {device} if packed"
            ),
            _ => write!(
                f,
                "unknown cause: live and asked are {need}, and the file does not tell how much memory there was"
            ),
        }
    }
}
