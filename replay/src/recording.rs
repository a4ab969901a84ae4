//! What a picture of a run shows, packed: frames (the pools at one instant), the series over all events, and a recording
//! that holds some of both.
//!
//! ```text
//!   Engine::frame ─▶ Frame ─▶ bytes ─┐
//!   Timeline ─────── series ─▶ bytes ┼─▶ Recording ─▶ bytes ─▶ one file, or from worker to page
//!   what there is to say: JSON ──────┘
//! ```
//!
//! Everything is little-endian, and every column is aligned to its width if the bytes are aligned to 8, so that a reader may look
//! at the columns in place. Bytes, events and epochs are 64-bit floats, which is what the readers of pictures count in: exact
//! below 2^53. The one decoder is `web-demo/src/engine/decode.ts`.
//!
//! **Frame.** A head of eight `u32`: magic `SLF1`, slabs, axes, blocks, entries of deaths, bytes of names, addresses, 0. Then the columns, one after
//! the other, in this order (n of each kind as the head says):
//!
//! | kind | columns |
//! | --- | --- |
//! | `f64` | the event; 11 [counters](COUNTERS); 7 [bytes](BYTES) |
//! | `f64` | slabs: bytes; address (none, or one for each: see the head) |
//! | `f64` | axes: submitted; completed |
//! | `f64` | blocks: offset; bytes; requested; since |
//! | `f64` | deaths: epoch |
//! | `u32` | slabs: pool; index; generation |
//! | `u32` | axes: end of the name, in bytes of names |
//! | `u32` | blocks: slab; stream (all ones: nobody knows); end of the death, in entries |
//! | `u32` | deaths: axis |
//! | `u8` | blocks: state (0 live, 1 clean, 2 pending, 3 tainted); then the names, UTF-8 |
//!
//! **Series.** Two `u32`: magic `SLS1`, buckets. Then `f64` columns: first event; min and max of committed, of reserved, of live, of pending.
//!
//! **Recording.** Four `u32`: magic `SLR1`, bytes of the JSON text, bytes of the series, frames. Then `u32` bytes of each frame, then
//! the text, the series and the frames, each preceded by zeros up to a multiple of 8.
//!
//! Cost: a frame takes O(blocks) to make and 50 bytes a block.

use crate::series::{Sample, Timeline};
use strandline_core::{Axis, Epoch, PoolStats, SlabId};

/// The counters of a frame, in order; see [`PoolStats`].
pub const COUNTERS: [&str; 11] = [
    "reserves",
    "releases",
    "fresh",
    "dominated",
    "completed",
    "waited",
    "missed",
    "exhausted",
    "over_budget",
    "tainted",
    "slabs",
];

/// The sums of bytes of a frame, in order.
pub const BYTES: [&str; 7] =
    ["committed", "reserved", "live", "pending", "clean", "tainted", "padding"];

const FRAME: [u8; 4] = *b"SLF1";
const SERIES: [u8; 4] = *b"SLS1";
const RECORDING: [u8; 4] = *b"SLR1";

/// A slab of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabView {
    /// Position of its pool among the run's pools.
    pub pool: u32,
    /// Its id.
    pub id: SlabId,
    /// Bytes, as far as its blocks reach.
    pub bytes: u64,
}

/// What a block of a frame is doing. The values are those of the component's packed snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Reserved.
    Live = 0,
    /// Free, usable by anyone.
    Clean = 1,
    /// Free, usable by who is ordered after its death.
    Pending = 2,
    /// Free, of unknown death.
    Tainted = 3,
}

/// A block of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Position of its slab in the frame.
    pub slab: u32,
    /// First byte, from the slab's start.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
    /// Bytes that were asked for; 0 of a free block.
    pub requested: u64,
    /// What it is doing.
    pub state: State,
    /// The stream that holds it, or freed it last, if that is known.
    pub stream: Option<u32>,
    /// The event since which it is live; 0 of a free block, and where it is not known.
    pub since: u64,
    /// Where its death ends in [`Frame::deaths`]; it begins where that of the block before ends.
    pub death_end: u32,
}

/// An axis of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisView {
    /// The axis.
    pub axis: Axis,
    /// The last epoch given out.
    pub submitted: Epoch,
    /// The last epoch reached.
    pub completed: Epoch,
}

/// The pools at one instant: what [`Engine::frame`](crate::engine::Engine::frame) sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// After this event; 0 is before the first.
    pub event: u64,
    /// The slabs, pool by pool, in order of their ids.
    pub slabs: Vec<SlabView>,
    /// Where each slab begins, if that is known: as many as there are slabs, or none.
    pub addresses: Vec<u64>,
    /// The blocks, in order of slab and offset.
    pub blocks: Vec<Block>,
    /// Deaths of pending blocks: positions in `axes`, with epochs.
    pub deaths: Vec<(u32, Epoch)>,
    /// The axes: one a stream, in order.
    pub axes: Vec<AxisView>,
    /// The counters, summed over the pools.
    pub stats: PoolStats,
    /// Bytes that the live blocks of the trace asked for.
    pub live_bytes: u64,
}

impl Frame {
    fn counters(&self) -> [u64; COUNTERS.len()] {
        let stats = &self.stats;
        [
            stats.reserves,
            stats.releases,
            stats.fresh,
            stats.dominated,
            stats.completed,
            stats.waited,
            stats.missed,
            stats.exhausted,
            stats.over_budget,
            stats.tainted,
            stats.slabs,
        ]
    }

    fn sums(&self) -> [u64; BYTES.len()] {
        let stats = &self.stats;
        [
            stats.committed_bytes,
            stats.reserved_bytes,
            self.live_bytes,
            stats.pending_bytes,
            stats.clean_bytes(),
            stats.tainted_bytes,
            stats.padding_bytes(),
        ]
    }

    /// The frame, packed; see the [module](self). At most 2^32 blocks, slabs, axes and entries of deaths, which is what positions
    /// in it can name.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let names: Vec<String> = self.axes.iter().map(|axis| axis.axis.to_string()).collect();
        let name_bytes: usize = names.iter().map(String::len).sum();
        let Self { slabs, addresses, blocks, deaths, axes, .. } = self;
        let mut out = Columns(Vec::with_capacity(
            200 + 28 * slabs.len()
                + 20 * axes.len()
                + 45 * blocks.len()
                + 12 * deaths.len()
                + name_bytes,
        ));
        out.0.extend_from_slice(&FRAME);
        let counts = [slabs.len(), axes.len(), blocks.len(), deaths.len(), name_bytes];
        out.words(counts.map(|count| count as u32));
        out.words([addresses.len() as u32, 0]);
        out.floats([self.event]);
        out.floats(self.counters());
        out.floats(self.sums());
        out.floats(slabs.iter().map(|slab| slab.bytes));
        out.floats(addresses.iter().copied());
        out.floats(axes.iter().map(|axis| axis.submitted));
        out.floats(axes.iter().map(|axis| axis.completed));
        out.floats(blocks.iter().map(|block| block.offset));
        out.floats(blocks.iter().map(|block| block.bytes));
        out.floats(blocks.iter().map(|block| block.requested));
        out.floats(blocks.iter().map(|block| block.since));
        out.floats(deaths.iter().map(|&(_, epoch)| epoch));
        out.words(slabs.iter().map(|slab| slab.pool));
        out.words(slabs.iter().map(|slab| slab.id.index()));
        out.words(slabs.iter().map(|slab| slab.id.generation()));
        out.words(names.iter().scan(0, |end, name| {
            *end += name.len() as u32;
            Some(*end)
        }));
        out.words(blocks.iter().map(|block| block.slab));
        out.words(blocks.iter().map(|block| block.stream.unwrap_or(u32::MAX)));
        out.words(blocks.iter().map(|block| block.death_end));
        out.words(deaths.iter().map(|&(axis, _)| axis));
        out.0.extend(blocks.iter().map(|block| block.state as u8));
        names.iter().for_each(|name| out.0.extend_from_slice(name.as_bytes()));
        out.0
    }
}

/// The series of a run, packed; see the [module](self).
#[must_use]
pub fn series(timeline: &Timeline) -> Vec<u8> {
    let buckets = timeline.buckets();
    let mut out = Columns(Vec::with_capacity(8 + 72 * buckets.len()));
    out.0.extend_from_slice(&SERIES);
    out.words([buckets.len() as u32]);
    out.floats(buckets.iter().map(|bucket| bucket.event));
    let values: [fn(&Sample) -> u64; 4] =
        [|s| s.committed, |s| s.reserved, |s| s.live, |s| s.pending];
    for value in values {
        out.floats(buckets.iter().map(|bucket| value(&bucket.min)));
        out.floats(buckets.iter().map(|bucket| value(&bucket.max)));
    }
    out.0
}

/// Some instants of a run, with its series and whatever there is to say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// A JSON text: what the run is, its report and its failure.
    pub about: String,
    /// The [`series`].
    pub series: Vec<u8>,
    /// [Packed frames](Frame::to_bytes), in ascending order of events.
    pub frames: Vec<Vec<u8>>,
}

impl Recording {
    /// The recording, packed; see the [module](self). Each part may have up to 4 GiB.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { about, series, frames } = self;
        let mut out = Columns(RECORDING.to_vec());
        out.words([about.len() as u32, series.len() as u32, frames.len() as u32]);
        out.words(frames.iter().map(|frame| frame.len() as u32));
        let parts = [about.as_bytes(), series].into_iter().chain(frames.iter().map(Vec::as_slice));
        for part in parts {
            out.0.resize(out.0.len().next_multiple_of(8), 0);
            out.0.extend_from_slice(part);
        }
        out.0
    }
}

/// Bytes that columns are appended to.
struct Columns(Vec<u8>);

impl Columns {
    fn floats(&mut self, values: impl IntoIterator<Item = u64>) {
        for value in values {
            self.0.extend_from_slice(&(value as f64).to_le_bytes());
        }
    }

    fn words(&mut self, values: impl IntoIterator<Item = u32>) {
        for value in values {
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
