//! Pictures of an explained run: its segments at one moment, and at some moments for the viewer.
//!
//! Both play the run again, up to what they show. Cost: a run; O(blocks) a moment.

use super::{Explanation, state};
use crate::certify::Run;
use crate::engine::Instants;
use crate::plot::Use;
use crate::recording::{Block, Frame, SlabView, State};
use crate::snapshot::{DeviceTrace, Snapshot};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use strandline_core::{PoolStats, SlabId};
use strandline_twins::{BlockState, SegmentView, Twin};

/// Moments that a page shows at most.
const MOMENTS: usize = 200;
/// Blocks of all moments together, about 50 bytes each.
const MOST_BLOCKS: usize = 1 << 20;

impl Explanation {
    /// The segments at the moment that is looked at ([`at`](Self::at)), for a [`Map`](crate::plot::Map): the pieces of each, with who
    /// holds them.
    #[must_use]
    pub fn map(&self, snapshot: &Snapshot, device: &DeviceTrace) -> Vec<Vec<(u64, Use, String)>> {
        let mut run = Run::new(device, &self.certificate.settings, self.certificate.source);
        while run.moment().entry < self.at.entry && run.step() {}
        let entry = device.entries.get((self.at.entry as usize).saturating_sub(1));
        let stream = entry.map_or(0, |entry| entry.stream);
        let pieces = |segment: SegmentView| {
            let mut pieces = Vec::with_capacity(segment.blocks.len());
            for block in &segment.blocks {
                let who = |live| state::owner(live, &snapshot.stacks);
                let kinds = match block.state {
                    BlockState::Allocated => [(block.size, Use::Allocated), (0, Use::Hole)],
                    BlockState::Pending => [(block.size, Use::Waiting), (0, Use::Hole)],
                    BlockState::Free if segment.pool > 0 || segment.stream != stream => {
                        [(block.size, Use::Other), (0, Use::Hole)]
                    }
                    BlockState::Free => {
                        let whole = state::returnable(&segment, block);
                        [(whole, Use::Whole), (block.size - whole, Use::Hole)]
                    }
                };
                for (bytes, kind) in kinds.into_iter().filter(|&(bytes, _)| bytes > 0) {
                    let live = run.live().get(&block.address);
                    let who = live
                        .filter(|_| block.state != BlockState::Free)
                        .map_or_else(String::new, who);
                    pieces.push((bytes, kind, who));
                }
            }
            pieces
        };
        run.twin().segments().into_iter().map(pieces).collect()
    }

    /// The first request that was refused, as the report of a replay has its `failure`; null if none was.
    #[must_use]
    pub fn page_failure(&self) -> Value {
        let failure = self.refusals.first().map(|refusal| {
            json!({
                "event": refusal.moment.entry,
                "bytes_requested": refusal.requested,
                "live_bytes": refusal.moment.allocated,
                "largest_hole_bytes": refusal.had.map(|had| had.largest_hole),
                "pending_bytes": refusal.moment.active.saturating_sub(refusal.moment.allocated),
                "reason": refusal.verdict.map_or("not told", super::Verdict::word),
            })
        });
        failure.into()
    }

    /// What the viewer shows beside them: the explanation, and what it looks for in the report of a replay.
    #[must_use]
    pub fn page_report(&self, device: &DeviceTrace, top: usize) -> Value {
        let streams: HashSet<u64> = device.entries.iter().map(|entry| entry.stream).collect();
        let mut report = self.to_json(top);
        report["trace"] = json!({
            "format": "PyTorch snapshot, as recorded",
            "events": self.entries,
            "streams": streams.len(),
            "streams_synthesized": false,
        });
        report["failure"] = self.page_failure();
        report
    }

    /// Moments of the run for the viewer: a slab is a segment.
    #[must_use]
    pub fn instants(&self, device: &DeviceTrace) -> Instants {
        let blocks = self.holders.iter().map(|holder| holder.blocks).sum::<u64>() as usize;
        let moments = (MOST_BLOCKS / (2 * blocks + 64)).clamp(2, MOMENTS);
        let stride = self.entries.div_ceil(moments).max(1);
        let mut run = Run::new(device, &self.certificate.settings, self.certificate.source);
        let mut instants = Instants { pools: vec!["PyTorch"], ..Instants::default() };
        let mut streams = HashMap::new();
        let mut next = 0;
        loop {
            let entry = run.moment().entry;
            let looked_at = entry == self.at.entry || entry == self.peaks[0].entry;
            if entry as usize >= next || looked_at {
                next = entry as usize + stride;
                instants.events.push(entry.into());
                instants.frames.push(frame(&run, &mut streams).to_bytes());
            }
            if !run.step() {
                return instants;
            }
        }
    }
}

/// The segments now. `streams` numbers the streams, of all frames alike.
pub(super) fn frame(run: &Run<'_>, streams: &mut HashMap<u64, u32>) -> Frame {
    let moment = run.moment();
    let mut frame = Frame { event: moment.entry.into(), ..Frame::default() };
    let mut stats = PoolStats::default();
    for (number, segment) in (0..).zip(run.twin().segments()) {
        let id = SlabId::new(number, 0);
        frame.slabs.push(SlabView { pool: 0, id, bytes: segment.size });
        frame.addresses.push(segment.address);
        let next = streams.len() as u32;
        let stream = *streams.entry(segment.stream).or_insert(next);
        for block in &segment.blocks {
            let live = run.live().get(&block.address);
            let (state, since) = match block.state {
                BlockState::Allocated => (State::Live, live.map_or(0, |live| live.entry.into())),
                BlockState::Pending => (State::Pending, 0),
                BlockState::Free => (State::Clean, 0),
            };
            // What is handed out is active: a stream still uses a block that waits.
            match state {
                State::Live => {
                    stats.reserved_bytes += block.size;
                    stats.requested_bytes += block.requested;
                    stats.live += 1;
                }
                State::Pending => {
                    stats.reserved_bytes += block.size;
                    stats.requested_bytes += block.size;
                    stats.free_bytes += block.size;
                    stats.pending_bytes += block.size;
                }
                _ => stats.free_bytes += block.size,
            }
            frame.blocks.push(Block {
                slab: number,
                offset: block.address - segment.address,
                bytes: block.size,
                requested: block.requested,
                state,
                stream: Some(stream),
                since,
                death_end: 0,
            });
        }
    }
    stats.committed_bytes = moment.reserved;
    stats.slabs = frame.slabs.len() as u64;
    frame.live_bytes = moment.allocated;
    frame.stats = stats;
    frame
}
