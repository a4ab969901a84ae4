//! The highest values of a run, when they were, and where the free bytes were then.
//!
//! A look at where the free bytes are walks over all blocks. It is taken at a peak of reserved bytes, just before the release that
//! ends it, and paid for by events: each event earns [`CREDIT`] blocks of walking. So looks cost O(1) an event, and where
//! peaks follow each other closely on a large live set, the look that is reported is of an earlier peak; it says of which
//! event.

use crate::pools::Pools;
use strandline_core::PoolStats;
use strandline_core::inspect::BlockState;

/// Blocks that may be walked over for each event.
const CREDIT: u64 = 2;

/// A highest value and the event after which it was first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// The value.
    pub value: u64,
    /// The event, counted from 1.
    pub event: u64,
}

impl Peak {
    fn raise(&mut self, value: u64, event: u64) -> bool {
        let higher = value > self.value;
        if higher {
            *self = Self { value, event };
        }
        higher
    }
}

/// Where the bytes that nobody asked for were, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Free {
    /// After this event.
    pub event: u64,
    /// Bytes in live reservations.
    pub reserved: u64,
    /// Bytes of slabs held.
    pub committed: u64,
    /// The longest run of adjacent free bytes, of whatever readiness.
    pub largest_hole: u64,
    /// The longest run of adjacent bytes that anyone may use at once.
    pub largest_clean: u64,
    /// Runs of adjacent free bytes.
    pub holes: u64,
    /// Blocks, live and free.
    pub blocks: u64,
    /// Free bytes that anyone may use.
    pub clean: u64,
    /// Free bytes whose last use is not over.
    pub pending: u64,
    /// Free bytes of unknown death.
    pub tainted: u64,
    /// Reserved bytes that nobody asked for.
    pub padding: u64,
}

impl Free {
    /// Walks over the pools. O(blocks).
    #[must_use]
    pub fn of(event: u64, pools: &Pools) -> Self {
        let stats = pools.stats();
        let mut free = Self {
            event,
            reserved: stats.reserved_bytes,
            committed: stats.committed_bytes,
            padding: stats.reserved_bytes.saturating_sub(stats.requested_bytes),
            ..Self::default()
        };
        let mut end = None;
        let (mut hole, mut clean) = (0, 0);
        pools.inspect(&mut |block| {
            free.blocks += 1;
            if end != Some((block.slab, block.offset)) {
                (hole, clean) = (0, 0);
            }
            end = block.offset.checked_add(block.size).map(|end| (block.slab, end));
            match block.state {
                BlockState::Live { .. } => {
                    (hole, clean) = (0, 0);
                    return;
                }
                BlockState::Clean => {
                    clean += block.size;
                    free.clean += block.size;
                }
                BlockState::Pending(_) => {
                    clean = 0;
                    free.pending += block.size;
                }
                BlockState::Tainted => {
                    clean = 0;
                    free.tainted += block.size;
                }
            }
            free.holes += u64::from(hole == 0);
            hole += block.size;
            free.largest_hole = free.largest_hole.max(hole);
            free.largest_clean = free.largest_clean.max(clean);
        });
        free
    }
}

/// The highest values of a run.
#[derive(Clone, Debug, Default)]
pub struct Peaks {
    /// Bytes that the live blocks of the trace asked for.
    pub live: Peak,
    /// The same, and those of retired blocks that are not over.
    pub active: Peak,
    /// Bytes that the pools' reservations asked for.
    pub requested: Peak,
    /// Bytes in live reservations, padding included.
    pub reserved: Peak,
    /// Bytes of slabs held.
    pub committed: Peak,
    /// Free bytes whose last use was not over.
    pub pending: Peak,
    /// Slabs held.
    pub slabs: Peak,
    /// Where the free bytes were at a peak of reserved bytes.
    pub free: Free,
    due: bool,
    credit: u64,
    last_blocks: u64,
}

impl Peaks {
    /// Takes in the counters after an event.
    pub(crate) fn update(&mut self, event: u64, live: u64, active: u64, stats: &PoolStats) {
        self.credit += CREDIT;
        self.live.raise(live, event);
        self.active.raise(active, event);
        self.requested.raise(stats.requested_bytes, event);
        self.due |= self.reserved.raise(stats.reserved_bytes, event);
        self.committed.raise(stats.committed_bytes, event);
        self.pending.raise(stats.pending_bytes, event);
        self.slabs.raise(stats.slabs, event);
    }

    /// Before a release: if the last events brought a peak of reserved bytes, this is still its state, and the release ends it.
    pub(crate) fn before_release(&mut self, pools: &Pools) {
        if self.due && self.credit >= self.last_blocks {
            self.look(pools);
        }
        self.due = false;
    }

    fn look(&mut self, pools: &Pools) {
        self.free = Free::of(self.reserved.event, pools);
        self.due = false;
        self.credit = 0;
        self.last_blocks = self.free.blocks;
    }

    /// At the end: a run that ended on its peak, or never had credit for a look, has one now.
    pub(crate) fn settle(&mut self, pools: &Pools) {
        if self.due && pools.stats().reserved_bytes == self.reserved.value {
            self.look(pools);
        }
    }
}
