//! Looking into pools: what people, pictures and tracers see.
//!
//! [`Pool::inspect`](crate::pool::Pool::inspect) visits blocks in order of slab and offset;
//! [`EventSink`] is told of what happens as it happens.

use crate::FrontierRef;
use crate::axis::{Axis, Epoch};
use crate::pool::{PoolId, PoolStats};
use crate::slab::SlabId;

/// What a block is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState<'a> {
    /// Reserved. `requested` bytes of it were asked for; the rest is padding.
    Live {
        /// Bytes asked for.
        requested: u64,
    },
    /// Free, usable by anyone.
    Clean,
    /// Free, usable by who is ordered after this frontier.
    Pending(FrontierRef<'a>),
    /// Free, but nobody knows when its last use ends.
    Tainted,
}

/// One block of a slab.
#[derive(Clone, Copy, Debug)]
pub struct BlockView<'a> {
    /// The slab.
    pub slab: SlabId,
    /// First byte, from the slab's start.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// What it is doing.
    pub state: BlockState<'a>,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A range was reserved.
    Reserved {
        /// By this pool.
        pool: PoolId,
        /// In this slab.
        slab: SlabId,
        /// First byte.
        offset: u64,
        /// Bytes asked for.
        size: u64,
    },
    /// A range was released.
    Released {
        /// To this pool.
        pool: PoolId,
        /// In this slab.
        slab: SlabId,
        /// First byte.
        offset: u64,
        /// Bytes that had been asked for.
        size: u64,
    },
    /// A pool took a slab from its provider.
    SlabAcquired {
        /// This pool.
        pool: PoolId,
        /// The slab.
        slab: SlabId,
        /// Its bytes.
        size: u64,
    },
    /// A pool gave a slab back to its provider.
    SlabReleased {
        /// This pool.
        pool: PoolId,
        /// The slab.
        slab: SlabId,
    },
    /// Work was submitted to a queue. For one queue, in the order of epochs.
    Submitted {
        /// The queue.
        axis: Axis,
        /// What the queue's axis reaches when the work is done.
        epoch: Epoch,
    },
    /// A queue began to run submitted work: all that it waited for was reached.
    Began {
        /// The queue.
        axis: Axis,
        /// The work.
        epoch: Epoch,
    },
    /// A queue has done submitted work.
    Completed {
        /// The queue.
        axis: Axis,
        /// The work.
        epoch: Epoch,
    },
    /// A queue ended: what has not completed never will.
    Ended {
        /// The queue.
        axis: Axis,
    },
}

/// Receives [`Event`]s of pools and of the queues that hosts run. Called without locks held where that is possible,
/// and must not call back. Events of different threads may come in either order: a range may be heard to be
/// reserved again before it is heard to be released.
pub trait EventSink: core::fmt::Debug + Send + Sync {
    /// `event` happened.
    fn event(&self, event: &Event);
}

/// Where the bytes of a pool are, from one walk over its blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The pool's counters at the time of the walk.
    pub stats: PoolStats,
    /// Blocks seen, live and free.
    pub blocks: u64,
    /// The largest run of adjacent clean bytes.
    pub largest_clean_bytes: u64,
    /// The largest run of adjacent free bytes of any readiness.
    pub largest_hole_bytes: u64,
}

impl Snapshot {
    /// Walks over `pool`. O(blocks), under the pool's lock.
    #[must_use]
    pub fn of(pool: &dyn crate::pool::Pool) -> Self {
        let mut out = Self { stats: pool.stats(), ..Self::default() };
        let mut end = None;
        let (mut clean, mut hole) = (0, 0);
        pool.inspect(&mut |block| {
            out.blocks += 1;
            if end != Some((block.slab, block.offset)) {
                (clean, hole) = (0, 0);
            }
            end = Some((block.slab, block.offset + block.size));
            match block.state {
                BlockState::Live { .. } => (clean, hole) = (0, 0),
                BlockState::Clean => {
                    clean += block.size;
                    hole += block.size;
                }
                BlockState::Pending(_) | BlockState::Tainted => {
                    clean = 0;
                    hole += block.size;
                }
            }
            out.largest_clean_bytes = out.largest_clean_bytes.max(clean);
            out.largest_hole_bytes = out.largest_hole_bytes.max(hole);
        });
        out
    }
}
