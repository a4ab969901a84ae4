//! The segments of a snapshot, block by block: what the allocator held when the snapshot was taken.
//!
//! They are read as far as they make sense: a segment without an address or a block without a size ends its part of the walk.
//!
//! Cost: O(blocks). A list may stand in many places of a small file: the walk visits no more blocks than there are dictionaries.

use super::super::error::Place;
use super::super::pickle::{Arena, Value, Word};
use super::super::state::State;
use super::entry::Entry;
use std::collections::BTreeMap;

/// Devices of which the state is kept.
const MOST_DEVICES: usize = 1024;

/// A block of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// The device, if the segment states it.
    pub(super) device: Option<u32>,
    /// Where it begins, if that is known.
    pub(super) address: Option<u64>,
    /// Bytes, rounded as the allocator rounds.
    pub(super) size: u64,
    /// Bytes that were asked for, if that is stated.
    pub(super) requested: Option<u64>,
    /// The segment's stream.
    pub(super) stream: u64,
    pub(super) state: BlockState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockState {
    /// A program holds it.
    Allocated,
    /// Given up, and other streams still use it.
    Pending,
    /// Free.
    Free,
}

/// A segment, before its blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) device: Option<u32>,
    pub(super) address: Option<u64>,
    pub(super) size: u64,
}

/// Walks over all segments and their blocks.
pub(super) fn walk(
    arena: &Arena,
    segments: Value,
    segment_told: &mut dyn FnMut(Segment),
    block_told: &mut dyn FnMut(Block),
) {
    let Some(segments) = arena.list(segments) else { return };
    let mut left = arena.dictionaries();
    for segment in segments.iter() {
        let Some(fewer) = left.checked_sub(1) else { return };
        left = fewer;
        let segment = Entry::new(arena, segment, Place::Whole);
        let device = segment.known(Word::DEVICE).and_then(|device| u32::try_from(device).ok());
        let address = segment.known(Word::ADDRESS);
        let blocks = segment.get(Word::BLOCKS).and_then(|blocks| arena.list(blocks));
        let of_blocks = || {
            let blocks = blocks.iter().flat_map(|blocks| blocks.iter().take(left));
            blocks.fold(0u64, |sum, block| {
                let block = Entry::new(arena, block, Place::Whole);
                sum.saturating_add(block.known(Word::SIZE).unwrap_or(0))
            })
        };
        let size = segment.known(Word::TOTAL_SIZE).unwrap_or_else(of_blocks);
        segment_told(Segment { device, address, size });
        let Ok(stream) = segment.stream() else { continue };
        let mut next = address;
        for block in blocks.iter().flat_map(|blocks| blocks.iter()) {
            let Some(fewer) = left.checked_sub(1) else { return };
            left = fewer;
            let block = Entry::new(arena, block, Place::Whole);
            // Older snapshots give a block no address: it follows the one before it.
            let address = block.known(Word::ADDRESS).or(next);
            let Some(size) = block.known(Word::SIZE) else { break };
            next = address.and_then(|address| address.checked_add(size));
            let state = match block.get(Word::STATE) {
                Some(Value::Str(Word::ACTIVE_ALLOCATED)) => BlockState::Allocated,
                Some(Value::Str(Word::ACTIVE_AWAITING_FREE | Word::ACTIVE_PENDING_FREE)) => {
                    BlockState::Pending
                }
                _ => BlockState::Free,
            };
            let requested = block.known(Word::REQUESTED_SIZE).filter(|&size| size > 0);
            block_told(Block { device, address, size, requested, stream, state });
        }
    }
}

/// The state of each device.
pub(super) fn states(arena: &Arena, segments: Value) -> BTreeMap<u32, State> {
    // The walk tells a segment, then its blocks: one device's sums, the current segment's, and its current hole.
    let states = core::cell::RefCell::new(Sums::default());
    walk(arena, segments, &mut |segment| states.borrow_mut().segment(&segment), &mut |block| {
        states.borrow_mut().block(&block)
    });
    let mut sums = states.into_inner();
    sums.close();
    sums.states
}

#[derive(Debug, Default)]
struct Sums {
    states: BTreeMap<u32, State>,
    device: u32,
    hole: u64,
    free: u64,
    used: bool,
}

impl Sums {
    fn of_device(&mut self) -> Option<&mut State> {
        if self.states.len() >= MOST_DEVICES && !self.states.contains_key(&self.device) {
            return None;
        }
        let device = self.device;
        Some(self.states.entry(device).or_insert(State { device, ..State::default() }))
    }

    fn segment(&mut self, segment: &Segment) {
        self.close();
        self.device = segment.device.unwrap_or(0);
        if let Some(state) = self.of_device() {
            state.segments += 1;
            state.reserved_bytes = state.reserved_bytes.saturating_add(segment.size);
        }
    }

    fn block(&mut self, block: &Block) {
        if block.state == BlockState::Free {
            self.hole = self.hole.saturating_add(block.size);
            self.free = self.free.saturating_add(block.size);
        } else {
            self.end_hole();
            self.used = true;
        }
        let Some(state) = self.of_device() else { return };
        state.blocks += 1;
        if block.state != BlockState::Free {
            state.active_bytes = state.active_bytes.saturating_add(block.size);
        }
        if block.state == BlockState::Allocated {
            state.allocated_bytes = state.allocated_bytes.saturating_add(block.size);
            let requested = block.requested.unwrap_or(block.size);
            state.requested_bytes = state.requested_bytes.saturating_add(requested);
        }
    }

    fn end_hole(&mut self) {
        let hole = core::mem::take(&mut self.hole);
        if let Some(state) = self.of_device().filter(|_| hole > 0) {
            state.largest_hole_bytes = state.largest_hole_bytes.max(hole);
        }
    }

    /// A segment is over.
    fn close(&mut self) {
        let hole = self.hole;
        self.hole = 0;
        let (free, used) = (core::mem::take(&mut self.free), core::mem::take(&mut self.used));
        if free == 0 {
            return;
        }
        let Some(state) = self.of_device() else { return };
        state.largest_hole_bytes = state.largest_hole_bytes.max(hole);
        let kind = if used {
            &mut state.free_in_segments_bytes
        } else {
            &mut state.free_whole_segments_bytes
        };
        *kind = kind.saturating_add(free);
    }
}
