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
//! meets one, the block has those bytes for as long as it lives. What no neighbour ever shows stays unknown. An expandable range appears in the
//! file as the stretches that are mapped; its start is taken to be the lowest address that the file names, since its pages are
//! counted from there.
//!
//! Cost: O(1) an entry, and O(log n) one beside a block that was live at the start.

use crate::hash::FastMap;
use crate::snapshot::{Action, Block, BlockState, DeviceTrace, Entry, Segment};
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
    let mut live: FastMap<u64, Before> = FastMap::default();
    for s in &device.segments {
        if s.expandable {
            add(&mut mapped, s.address, s.address.saturating_add(s.size), s.stream, s.small);
        } else {
            let &Segment { size, stream, small, pool, .. } = s;
            fixed.insert(s.address, Fixed { size, stream, small, pool });
        }
    }
    live.extend(at_end(device));
    let known = !device.segments.is_empty();
    let requested = device.entries.iter().any(|e| e.action == Action::FreeRequested);
    for (index, entry) in device.entries.iter().enumerate().rev() {
        let (address, size, stream) = (entry.address, entry.size, entry.stream);
        let end = address.saturating_add(size);
        let fault = match entry.action {
            Action::Alloc => (live.remove(&address).is_none() && known)
                .then_some("the block is not among the segments' blocks at the end"),
            Action::FreeCompleted => {
                let before = Before { pending: requested, ..freed(entry, settings) };
                live.insert(address, before)
                    .is_some()
                    .then_some("the block is freed and live at the same time")
            }
            Action::FreeRequested => {
                live.entry(address).or_insert_with(|| freed(entry, settings)).pending = false;
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
    start.live = live.into_iter().collect();
    if !settings.expandable {
        close_all(device, settings, &mut start.live);
    }
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

/// The live blocks at the end, by address.
fn at_end(device: &DeviceTrace) -> impl Iterator<Item = (u64, Before)> {
    device.segments.iter().flat_map(|s| {
        s.blocks.iter().filter(|b| b.state != BlockState::Free).map(|b| {
            let &Block { address, size, requested, state, stack } = b;
            let pending = state == BlockState::Pending;
            (address, Before { size, requested, stream: s.stream, pending, stack })
        })
    })
}

/// What a free tells of its block.
fn freed(entry: &Entry, settings: &Settings) -> Before {
    let size = settings.round(entry.size).unwrap_or(entry.size);
    Before { size, requested: entry.size, stream: entry.stream, pending: false, stack: 0 }
}

/// Walks back once more, for the gaps: only blocks that are live at the start matter, and what ever lay right behind them.
fn close_all(device: &DeviceTrace, settings: &Settings, start: &mut BTreeMap<u64, Before>) {
    // Where a block may begin that shows such a gap, or whose own gap counts.
    let mut windows: Vec<(u64, u64)> = Vec::new();
    for (&address, before) in &*start {
        let end = address.saturating_add(before.size).saturating_add(SMALL_SIZE);
        match windows.last_mut().filter(|last| last.1 >= address) {
            Some(last) => last.1 = last.1.max(end),
            None => windows.push((address, end)),
        }
    }
    let matters = |address: u64| {
        let after = windows.partition_point(|&(from, _)| from <= address);
        after.checked_sub(1).is_some_and(|at| address <= windows[at].1)
    };
    if windows.is_empty() {
        return;
    }
    let mut fixed: BTreeMap<u64, Fixed> = BTreeMap::new();
    for &Segment { address, size, stream, small, pool, expandable, .. } in &device.segments {
        if !expandable {
            fixed.insert(address, Fixed { size, stream, small, pool });
        }
    }
    let mut live: BTreeMap<u64, Before> =
        at_end(device).filter(|&(address, _)| matters(address)).collect();
    for entry in device.entries.iter().rev() {
        let &Entry { address, size, stream, .. } = entry;
        match entry.action {
            Action::SegmentAlloc => {
                fixed.remove(&address);
            }
            Action::SegmentFree => {
                let small = size == SMALL_SEGMENT;
                fixed.insert(address, Fixed { size, stream, small, pool: 0 });
            }
            Action::Alloc if matters(address) => {
                live.remove(&address);
            }
            Action::FreeCompleted if matters(address) => {
                live.insert(address, freed(entry, settings));
                close_gaps(&mut live, &fixed, address);
            }
            Action::FreeRequested if matters(address) => {
                live.entry(address).or_insert_with(|| freed(entry, settings));
            }
            _ => {}
        }
    }
    for (address, before) in start {
        if let Some(walked) = live.get(address) {
            before.size = walked.size;
        }
    }
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
