//! What the recorded allocator held when it refused a request.
//!
//! A snapshot shows its end. Walking the trace backwards from there undoes each entry: an allocation gives its bytes back, a completed
//! free takes them again, and a segment that came goes. At each refusal the sum of the segments is what was reserved, and
//! what no block covers is free.
//!
//! ```text
//!   trace   … alloc, free, oom, alloc, segment_alloc ┤ segments
//!                           ◀──────────────────────── walk
//! ```
//!
//! Cost: O(log n) an entry for n blocks, and O(n) for each of the first [`MOST_REFUSED`] refusals. Memory: the blocks and segments.

use super::super::error::Place;
use super::super::notes::{Circumstances, MOST_REFUSED};
use super::super::pickle::{Arena, List, Value, Word};
use super::entry::Entry;
use super::segments::{self, BlockState};
use std::collections::BTreeMap;

/// PyTorch rounds blocks up to this.
const ROUND: u64 = 512;

/// The most that the recorded allocator had reserved at once, as far as the trace reaches back. None if the snapshot has no segments.
/// Cost: O(entries), and what each of them undoes is one number.
pub(super) fn most_reserved(
    arena: &Arena,
    snapshot_segments: Option<Value>,
    entries: List<'_>,
    device: u32,
) -> Option<u64> {
    let (mut now, mut any) = (0i128, false);
    segments::walk(
        arena,
        snapshot_segments?,
        &mut |segment| {
            if segment.device.is_none_or(|of| of == device) {
                now += i128::from(segment.size);
                any = true;
            }
        },
        &mut |_| (),
    );
    let mut most = now;
    for item in (0..entries.len()).rev().filter_map(|index| entries.get(index)) {
        let entry = Entry::new(arena, item, Place::Whole);
        let size = || i128::from(entry.known(Word::SIZE).unwrap_or(0));
        match entry.action() {
            Some(Word::SEGMENT_ALLOC | Word::SEGMENT_MAP) => now -= size(),
            Some(Word::SEGMENT_FREE | Word::SEGMENT_UNMAP) => now += size(),
            _ => continue,
        }
        most = most.max(now);
    }
    any.then(|| u64::try_from(most).unwrap_or(u64::MAX))
}

/// The circumstances of the refusals in `entries`, a trace of `device`, by [`Event::line`](crate::event::Event::line), last first.
/// `completed`: blocks are given back when their free is completed. `ordinal`: how many refusals there are.
pub(super) fn circumstances(
    arena: &Arena,
    snapshot_segments: Option<Value>,
    entries: List<'_>,
    device: u32,
    completed: bool,
    mut ordinal: u64,
) -> Vec<(u32, Circumstances)> {
    let mut held = Held::default();
    let ours = |of: Option<u32>| of.is_none_or(|of| of == device);
    let mut found = false;
    if let Some(segments) = snapshot_segments {
        let mut blocks = BTreeMap::new();
        segments::walk(
            arena,
            segments,
            &mut |segment| {
                if let (true, Some(address)) = (ours(segment.device), segment.address) {
                    held.insert(address, segment.size);
                    found = true;
                }
            },
            &mut |block| {
                if let (true, Some(address)) = (ours(block.device), block.address)
                    && block.state != BlockState::Free
                {
                    blocks.insert(address, block.size);
                }
            },
        );
        held.blocks = blocks;
    }
    let mut out = Vec::new();
    for index in (0..entries.len()).rev() {
        let Some(item) = entries.get(index) else { break };
        let entry = Entry::new(arena, item, Place::Whole);
        let place = || Some((entry.known(Word::ADDR)?, entry.known(Word::SIZE)?));
        match (entry.action(), found) {
            (Some(Word::OOM), _) => {
                ordinal = ordinal.saturating_sub(1);
                if ordinal >= MOST_REFUSED as u64 {
                    continue;
                }
                out.push((
                    u32::try_from(index + 1).unwrap_or(u32::MAX),
                    Circumstances {
                        // Without segments there is nothing to walk back from.
                        reserved_bytes: found.then(|| held.reserved()),
                        device_free_bytes: entry.known(Word::DEVICE_FREE),
                        largest_hole_bytes: found.then(|| held.largest_hole()),
                    },
                ));
            }
            (Some(action), true) => {
                let Some((address, size)) = place() else { continue };
                match action {
                    Word::ALLOC => {
                        held.blocks.remove(&address);
                    }
                    Word::FREE_COMPLETED if completed => {
                        held.blocks.insert(address, round(size));
                    }
                    Word::FREE_REQUESTED if !completed => {
                        held.blocks.insert(address, round(size));
                    }
                    Word::SEGMENT_ALLOC | Word::SEGMENT_MAP => held.remove(address, size),
                    Word::SEGMENT_FREE | Word::SEGMENT_UNMAP => held.insert(address, size),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    out
}

fn round(size: u64) -> u64 {
    size.checked_next_multiple_of(ROUND).unwrap_or(size)
}

/// Segments and the blocks in use, by address.
#[derive(Debug, Default)]
struct Held {
    /// Begin and end.
    segments: BTreeMap<u64, u64>,
    blocks: BTreeMap<u64, u64>,
}

impl Held {
    fn insert(&mut self, address: u64, size: u64) {
        if size > 0 {
            self.segments.insert(address, address.saturating_add(size));
        }
    }

    /// Takes a range away: a whole segment, or pages of one.
    fn remove(&mut self, address: u64, size: u64) {
        let end = address.saturating_add(size);
        // Whatever begins before the range and reaches into it, and whatever begins within.
        let mut at = end;
        while let Some((&begin, &until)) = self.segments.range(..at).next_back() {
            if until <= address {
                break;
            }
            self.segments.remove(&begin);
            if begin < address {
                self.segments.insert(begin, address);
            }
            if until > end {
                self.segments.insert(end, until);
            }
            at = begin;
        }
    }

    fn reserved(&self) -> u64 {
        self.segments.iter().fold(0, |sum: u64, (begin, end)| sum.saturating_add(end - begin))
    }

    fn largest_hole(&self) -> u64 {
        let mut largest = 0;
        for (&begin, &end) in &self.segments {
            let mut at = begin;
            for (&block, &size) in self.blocks.range(begin..end) {
                largest = largest.max(block.saturating_sub(at));
                at = at.max(block.saturating_add(size));
            }
            largest = largest.max(end.saturating_sub(at));
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_taken_out_of_the_middle() {
        let mut held = Held::default();
        held.insert(0, 100);
        held.insert(100, 100);
        held.remove(90, 20);
        assert_eq!(held.segments, BTreeMap::from([(0, 90), (110, 200)]));
        held.remove(500, 5);
        held.remove(0, 90);
        assert_eq!((held.reserved(), held.largest_hole()), (90, 90));
        held.blocks.insert(120, 10);
        assert_eq!(held.largest_hole(), 70);
        held.blocks.insert(110, 10);
        assert_eq!(held.largest_hole(), 70);
        held.blocks.insert(150, 100);
        assert_eq!(held.largest_hole(), 20);
    }
}
