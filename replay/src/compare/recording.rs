//! The recorded run's own numbers, read off its entries: no model has a part in them.
//!
//! What is reserved at the end is the sum of the segments. Walking back, each segment that came takes its bytes away, and each that went
//! brings them back. Cost: O(entries).

use crate::certify::Certificate;
use crate::snapshot::{Action, DeviceTrace};
use strandline_twins::Counts;

/// What was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recording {
    /// Most bytes reserved.
    pub(super) peak_reserved: u64,
    /// The first entry, counted from 1, after which more was reserved than a capacity; 0: before the first.
    pub(super) exceeds: Option<u32>,
    /// Calls of the driver, and sweeps. A recording tells of no waits and no moves.
    pub(super) counts: Counts,
}

/// Reads a device's recording.
pub(super) fn of(
    device: &DeviceTrace,
    certificate: &Certificate,
    capacity: Option<u64>,
) -> Recording {
    let delta = |entry: &crate::snapshot::Entry| match entry.action {
        action if action.comes() => i128::from(entry.size),
        action if action.goes() => -i128::from(entry.size),
        _ => 0,
    };
    let end: i128 = device.segments.iter().map(|segment| i128::from(segment.size)).sum();
    let mut now = end - device.entries.iter().map(delta).sum::<i128>();
    let mut counts = Counts { sweeps: certificate.sweeps.of, ..Counts::default() };
    let bytes = |bytes: i128| u64::try_from(bytes.max(0)).unwrap_or(u64::MAX);
    let mut told = Recording { peak_reserved: bytes(now), ..Recording::default() };
    let exceeds = |now: i128| capacity.is_some_and(|capacity| bytes(now) > capacity);
    if exceeds(now) {
        told.exceeds = Some(0);
    }
    for (at, entry) in (1u32..).zip(&device.entries) {
        match entry.action {
            Action::SegmentAlloc | Action::SegmentMap => counts.grants += 1,
            Action::SegmentFree | Action::SegmentUnmap => counts.returns += 1,
            _ => continue,
        }
        now += delta(entry);
        told.peak_reserved = told.peak_reserved.max(bytes(now));
        if told.exceeds.is_none() && exceeds(now) {
            told.exceeds = Some(at);
        }
    }
    Recording { counts, ..told }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certify::certify;
    use crate::snapshot::{Entry, Segment};

    #[test]
    fn the_numbers_are_the_files_own() {
        let entry = |action, address, size| Entry {
            action,
            address,
            size,
            stream: 0,
            time_us: 0,
            stack: 0,
        };
        let device = DeviceTrace {
            number: 0,
            entries: vec![
                entry(Action::SegmentFree, 1 << 30, 10),
                entry(Action::SegmentAlloc, 1 << 31, 7),
                entry(Action::Mark, 0, 99),
                entry(Action::SegmentMap, 1 << 32, 5),
                entry(Action::SegmentUnmap, 1 << 32, 5),
            ],
            segments: vec![Segment {
                address: 1 << 31,
                size: 7,
                stream: 0,
                small: true,
                pool: 0,
                expandable: false,
                blocks: Vec::new(),
            }],
        };
        let certificate = certify(&device, None, &mut |_, _| ());
        let told = of(&device, &certificate, None);
        assert_eq!((told.peak_reserved, told.exceeds), (12, None));
        assert_eq!((told.counts.grants, told.counts.returns), (2, 2));
        // 10 before the first entry, then 0, 7 and 12.
        assert_eq!(of(&device, &certificate, Some(9)).exceeds, Some(0));
        assert_eq!(of(&device, &certificate, Some(11)).exceeds, Some(4));
        assert_eq!(of(&device, &certificate, Some(12)).exceeds, None);
    }
}
