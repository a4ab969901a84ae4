//! The state before a trace's first entry, from the segments at its end: the trace is walked backwards.
//!
//! | entry | undone |
//! | --- | --- |
//! | `alloc` | the block is no longer live |
//! | `free_completed` | the block is live again |
//! | `free_requested` | it is allocated, not pending |
//! | `segment_alloc`, `segment_map` | the segment, the pages are gone |
//! | `segment_free`, `segment_unmap` | they are back |
//!
//! Free blocks need no care: they are the gaps ([`Torch::restore`](strandline_twins::torch::Torch::restore)). In the large pool a gap of at most
//! 1 MiB behind a live block is no free block, but the part of that block that was too little to be split off: whenever the walk
//! meets one, the block has those bytes for as long as it lives. What no neighbour ever shows stays unknown.
//!  An expandable range appears in the
//! file as the stretches that are mapped; its start is taken to be the lowest address that the file names, since its pages are
//! counted from there.
//!
//! Cost: O(log n) an entry.

use crate::snapshot::{Action, BlockState, DeviceTrace};
use core::ops::Bound;
use std::collections::BTreeMap;
use strandline_twins::torch::settings::{SMALL_SEGMENT, SMALL_SIZE};
use strandline_twins::torch::{Settings, StartBlock, StartSegment};

/// A block that was live before the first entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) size: u64,
    pub(super) requested: u64,
    pub(super) stream: u64,
    pub(super) pending: bool,
    /// The call stack of its allocation, if the segments still name the block.
    pub(super) stack: u32,
}

/// The start of a trace.
#[derive(Debug, Default)]
pub(super) struct Start {
    pub(super) segments: Vec<StartSegment>,
    /// Live blocks by address, those that lie in no segment included.
    pub(super) live: BTreeMap<u64, Before>,
    /// Entries that contradict the segments at the end.
    pub(super) contradictions: u64,
    /// The first such entry, from 1: the last one met on the way back.
    pub(super) contradiction: Option<(u32, &'static str)>,
}

/// Mapped stretches: start, and end, stream, whether it is of the small pool.
type Mapped = BTreeMap<u64, (u64, u64, bool)>;

#[derive(Clone, Copy)]
struct Fixed {
    size: u64,
    stream: u64,
    small: bool,
    pool: u32,
}

pub(super) fn start(device: &DeviceTrace, settings: &Settings) -> Start {
    let mut start = Start::default();
    let mut fixed: BTreeMap<u64, Fixed> = BTreeMap::new();
    let mut mapped: Mapped = BTreeMap::new();
    let mut live: BTreeMap<u64, Before> = BTreeMap::new();
    for s in &device.segments {
        if s.expandable {
            add(&mut mapped, s.address, s.address.saturating_add(s.size), s.stream, s.small);
        } else {
            let &crate::snapshot::Segment { size, stream, small, pool, .. } = s;
            fixed.insert(s.address, Fixed { size, stream, small, pool });
        }
        for b in s.blocks.iter().filter(|b| b.state != BlockState::Free) {
            let pending = b.state == BlockState::Pending;
            let before = Before {
                size: b.size,
                requested: b.requested,
                stream: s.stream,
                pending,
                stack: b.stack,
            };
            live.insert(b.address, before);
        }
    }
    let known = !device.segments.is_empty();
    let requested = device.entries.iter().any(|e| e.action == Action::FreeRequested);
    for (index, entry) in device.entries.iter().enumerate().rev() {
        let (address, size, stream) = (entry.address, entry.size, entry.stream);
        let end = address.saturating_add(size);
        let fault = match entry.action {
            Action::Alloc => (live.remove(&address).is_none() && known)
                .then_some("the block is not among the segments' blocks at the end"),
            Action::FreeCompleted => {
                let before = Before {
                    size: settings.round(size).unwrap_or(size),
                    requested: size,
                    stream,
                    pending: requested,
                    stack: 0,
                };
                let twice = live.insert(address, before).is_some();
                if !settings.expandable {
                    close_gaps(&mut live, &fixed, address);
                }
                twice.then_some("the block is freed and live at the same time")
            }
            Action::FreeRequested => {
                let before = live.entry(address).or_insert(Before {
                    size: settings.round(size).unwrap_or(size),
                    requested: size,
                    stream,
                    pending: false,
                    stack: 0,
                });
                before.pending = false;
                None
            }
            Action::SegmentAlloc => (fixed.remove(&address).is_none() && known)
                .then_some("the segment is not among those at the end"),
            Action::SegmentFree => {
                let small = size == SMALL_SEGMENT;
                fixed
                    .insert(address, Fixed { size, stream, small, pool: 0 })
                    .is_some()
                    .then_some("the segment is freed and there at the same time")
            }
            Action::SegmentMap => (!cut(&mut mapped, address, end) && known)
                .then_some("the pages are not among those mapped at the end"),
            Action::SegmentUnmap => {
                let small = beside(&mapped, address, end, stream)
                    .unwrap_or_else(|| !size.is_multiple_of(settings.page(false)));
                (!add(&mut mapped, address, end, stream, small))
                    .then_some("the pages are unmapped and mapped at the same time")
            }
            Action::OutOfMemory | Action::Mark => None,
        };
        if let Some(fault) = fault {
            start.contradictions += 1;
            start.contradiction = Some((u32::try_from(index + 1).unwrap_or(u32::MAX), fault));
        }
    }
    start.live = live;
    for (&address, f) in &fixed {
        start.segments.push(StartSegment {
            address,
            size: f.size,
            stream: f.stream,
            pool: f.pool,
            small: f.small,
            live: blocks(&start.live, address, address.saturating_add(f.size)),
            ..StartSegment::default()
        });
    }
    ranges(device, settings, &mapped, &mut start);
    start
}

/// Gives the bytes of a gap too small for a free block, behind the block at `address` and before it, to the block that they follow.
fn close_gaps(live: &mut BTreeMap<u64, Before>, fixed: &BTreeMap<u64, Fixed>, address: u64) {
    let segment = fixed.range(..=address).next_back().map(|(&from, f)| (from, f));
    let Some((from, to)) = segment
        .filter(|(from, f)| !f.small && address - from < f.size)
        .map(|(from, f)| (from, from.saturating_add(f.size)))
    else {
        return;
    };
    let next = live
        .range((Bound::Excluded(address), Bound::Unbounded))
        .next()
        .map_or(to, |(&next, _)| next.min(to));
    let prev = live.range(from..address).next_back().map(|(&prev, _)| prev);
    for (block, end) in [(Some(address), next), (prev, address)] {
        if let Some(before) = block.and_then(|block| live.get_mut(&block))
            && let Some(room) = block.and_then(|block| end.checked_sub(block))
            && room > before.size
            && room - before.size <= SMALL_SIZE
        {
            before.size = room;
        }
    }
}

/// Expandable ranges: one for each stream and pool that has something mapped.
fn ranges(device: &DeviceTrace, settings: &Settings, mapped: &Mapped, start: &mut Start) {
    let mut ranges: BTreeMap<(u64, bool), StartSegment> = BTreeMap::new();
    for (&from, &(to, stream, small)) in mapped {
        let range = ranges.entry((stream, small)).or_insert_with(|| StartSegment {
            address: from,
            stream,
            small,
            page: settings.page(small),
            ..StartSegment::default()
        });
        range.mapped.push((from, to));
        range.live.extend(blocks(&start.live, from, to));
    }
    let mut ranges: Vec<StartSegment> = ranges.into_values().collect();
    for range in &mut ranges {
        // Pages that were mapped later may lie before: the range's own start is the lowest, if the pages agree with it.
        let lower = device.entries.iter().filter(|e| {
            e.action == Action::SegmentMap
                && e.stream == range.stream
                && e.address < range.address
                && (range.address - e.address).is_multiple_of(range.page)
                && (e.size == SMALL_SEGMENT) == range.small
        });
        range.address = lower.map(|e| e.address).min().unwrap_or(range.address);
    }
    ranges.sort_by_key(|range| range.address);
    let bases: Vec<u64> = ranges.iter().map(|range| range.address).collect();
    for (index, mut range) in ranges.into_iter().enumerate() {
        let room = match bases.get(index + 1) {
            Some(&next) => next.saturating_sub(range.address),
            None => u64::MAX - range.address,
        };
        let room = room.min(super::RANGE);
        range.size = room / range.page * range.page;
        start.segments.push(range);
    }
}

/// The live blocks that begin in a stretch of addresses.
fn blocks(live: &BTreeMap<u64, Before>, from: u64, to: u64) -> Vec<StartBlock> {
    if from >= to {
        return Vec::new();
    }
    let inside = live.range(from..to);
    inside
        .map(|(&address, b)| StartBlock {
            address,
            size: b.size,
            requested: b.requested,
            pending: b.pending,
        })
        .collect()
}

/// The pool of the stretch that touches these addresses.
fn beside(mapped: &Mapped, from: u64, to: u64, stream: u64) -> Option<bool> {
    let before = mapped.range(..from).next_back().filter(|(_, stretch)| stretch.0 == from);
    let after = mapped.get_key_value(&to);
    let mut of = before.into_iter().chain(after).filter(|(_, stretch)| stretch.1 == stream);
    of.next().map(|(_, stretch)| stretch.2)
}

/// Adds a stretch, joined with those it touches. False: some of it was there.
fn add(mapped: &mut Mapped, from: u64, to: u64, stream: u64, small: bool) -> bool {
    if from >= to {
        return false;
    }
    if mapped.range(..to).next_back().is_some_and(|(_, stretch)| stretch.0 > from) {
        return false;
    }
    let (mut first, mut last) = (from, to);
    if let Some((&before, &(end, of, pool))) = mapped.range(..from).next_back()
        && (end, of, pool) == (from, stream, small)
    {
        first = before;
    }
    if let Some(&(end, of, pool)) = mapped.get(&to)
        && (of, pool) == (stream, small)
    {
        mapped.remove(&to);
        last = end;
    }
    mapped.insert(first, (last, stream, small));
    true
}

/// Takes a stretch out. False: it was not there as a whole.
fn cut(mapped: &mut Mapped, from: u64, to: u64) -> bool {
    let covering = mapped.range(..=from).next_back().map(|(&at, &stretch)| (at, stretch));
    let Some((at, (end, stream, small))) =
        covering.filter(|&(_, (end, ..))| end >= to && from < to)
    else {
        return false;
    };
    mapped.remove(&at);
    if at < from {
        mapped.insert(at, (from, stream, small));
    }
    if to < end {
        mapped.insert(to, (end, stream, small));
    }
    true
}
