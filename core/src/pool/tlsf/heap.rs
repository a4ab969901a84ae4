//! The heap of a TLSF pool: offsets plus readiness, for one thread at a time.
//!
//! ```text
//!   shelf 0   clean      death reached: anyone may take these
//!   shelf 1   tainted    death unknown: back when the device is quiescent
//!   shelf 2…  pending    one shelf per set of axes that blocks wait for: {A}, {B}, {A, B}, …
//!
//!   requester with frontier F looks at: shelf 0, and the shelves whose axes F speaks of.
//!   Shelves of other axes are never touched: a thousand blocks in flight there cost nothing.
//! ```
//!
//! Clean neighbours merge at once, and so do those that wait for one axis, each piece with its own epoch: a merge never
//! makes a byte wait longer (see `pieces.rs`). What waits for several axes merges with what dies alike. What stays apart is
//! joined when it is reached, for a requester for whom all parts are ready (see `ready.rs`), or for one who may wait (see
//! `spans.rs`).
//!
//! # Invariants
//! - A pending block is on the shelf of exactly the axes it waits for, and none of its bytes had reached their
//!   epoch on the first of them when that axis was last polled.
//! - It is on the unsorted list (`unsorted.rs`), or else listed in that shelf's index (`pending.rs`) under an epoch of
//!   the set's first axis that none of its bytes waits for less than.
//! - `ceiling[i]` is at least the epoch on axis `i` of every block on the shelf, `floor[i]` at most.
//!
//! # Cost
//! `free` and `acquire` are O(1) in live, pending and free blocks (`free` amortised: an index is swept of
//! what left now and then), linear in the axes of the death and
//! of the requester's frontier. A block that turns clean pays for its own move. `poll_all` looks at each
//! axis once. [`acquire_covered`](Heap::acquire_covered) is linear in what the requester's frontier covers.

mod acquire;
#[cfg(all(test, not(loom)))]
mod check;
mod compact;
mod eager;
mod filing;
mod holes;
#[cfg(all(test, not(loom)))]
mod known;
mod look;
mod pieces;
mod placed;
mod progress;
mod ready;
mod spans;
mod tables;

pub(super) use placed::At;

use super::Coalescing;
use super::pending::{Listed, NONE, PendingIndex};
use super::unsorted::Unsorted;
use super::untouched::Untouched;
use crate::frontier::{FixedFrontier, FrontierRef};
use crate::offset::tlsf::{BlockId, Config, Label, Need, RegionId, Tlsf, TlsfError};
use crate::pool::MAX_DEATH_AXES;
use crate::progress::Progress;
use crate::{Axis, Epoch};
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;

/// The shelf of blocks that anyone may use.
pub(super) const CLEAN: u32 = 0;
/// The shelf of blocks of unknown death.
pub(super) const TAINTED: u32 = 1;
/// Stands where no axis does.
const NO_AXIS: Axis = Axis::from_bits(0);
/// The first shelf of a set of axes.
const FIRST_PENDING: u32 = 2;

/// The death of one block, or the join of several: at most [`MAX_DEATH_AXES`] axes.
pub type BlockDeath = FixedFrontier<MAX_DEATH_AXES>;

/// What a block carries.
#[derive(Clone, Copy, Debug)]
pub struct BlockLabel {
    /// Pending: the epoch on the shelf's first axis, never 0; of a block with pieces at least the latest. Live: the bytes
    /// that were asked for. Else 0.
    word: u64,
    /// On shelves of several axes the row of the epoch table that holds all of them. On shelves of one axis, and live: the
    /// row of its pieces, or none.
    row: u32,
    /// The stamp of its entry in the shelf's pending index, or none: unsorted blocks and those that do not wait.
    stamp: u32,
}

impl BlockLabel {
    const CLEAN: Self = Self { word: 0, row: NONE, stamp: NONE };

    const fn live(requested: u64) -> Self {
        Self { word: requested, ..Self::CLEAN }
    }

    const fn pending(epoch: Epoch, row: u32) -> Self {
        Self { word: epoch, row, stamp: NONE }
    }

    pub(super) const fn requested(&self) -> u64 {
        self.word
    }
}

impl Label for BlockLabel {
    #[inline]
    fn rank(&self) -> u64 {
        self.word
    }
}

impl Listed for Tlsf<BlockLabel> {
    #[inline]
    fn stamp(&self, id: u32) -> u32 {
        self.label(BlockId::from_index(id)).stamp
    }
    #[inline]
    fn set_stamp(&mut self, id: u32, stamp: u32) {
        self.label_mut(BlockId::from_index(id)).stamp = stamp;
    }
    #[inline]
    fn shelf(&self, id: u32) -> Option<u32> {
        self.shelf_of(BlockId::from_index(id))
    }
}

/// A set of axes that blocks wait for, and the blocks that do.
#[derive(Debug)]
struct Class {
    /// The first of `axes`.
    axis: Axis,
    /// Sorted. Empty for the clean and the tainted shelf.
    axes: Vec<Axis>,
    /// Of each axis, an epoch that no block waits for more than.
    ceiling: [Epoch; MAX_DEATH_AXES],
    /// Of each axis, an epoch that no block waits for less than; of several axes only.
    floor: [Epoch; MAX_DEATH_AXES],
    /// Of each axis, the latest epoch that was looked at: of the first by the blocks, which wait for more; of the others by
    /// [`poll_all`](Heap::poll_all).
    reached: [Epoch; MAX_DEATH_AXES],
    index: PendingIndex,
}

/// What an acquire asks of the heap.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// How much, and how aligned.
    pub need: Need,
    /// What the requester knows.
    pub frontier: FrontierRef<'a>,
    /// How far axes are.
    pub progress: &'a dyn Progress,
    /// Bytes that were asked for.
    pub requested: u64,
}

impl Ask<'_> {
    /// The requester need not wait for this: its frontier covers it, or it is reached.
    #[inline]
    fn is_over(&self, axis: Axis, epoch: Epoch) -> bool {
        self.frontier.get(axis) >= epoch || self.progress.has_reached(axis, epoch)
    }
}

impl fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("need", &self.need)
            .field("frontier", &self.frontier)
            .finish_non_exhaustive()
    }
}

/// What [`Heap::acquire`] found.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Now live.
    pub block: BlockId,
    /// Where it is.
    pub region: RegionId,
    /// First byte, from the region's start.
    pub offset: u64,
    /// Never handed out before.
    pub fresh: bool,
    /// Some of it was pending: its death is in the `death` that was passed.
    pub pending: bool,
    /// It waited for more axes than that `death` holds; [`Heap::for_each_entry`] knows all.
    pub overflow: bool,
}

/// Free blocks by readiness, over the offsets of all slabs; the module says how.
#[derive(Debug)]
pub struct Heap {
    /// What a freed block merges with.
    rule: Coalescing,
    tlsf: Tlsf<BlockLabel>,
    /// By shelf.
    classes: Vec<Class>,
    unsorted: Unsorted,
    /// Shelves of one axis, by axis.
    singles: Vec<(Axis, u32)>,
    /// The axis asked for last, and its shelf if it has one.
    last_single: Cell<(Axis, u32)>,
    /// Shelves of several axes, sorted by these.
    multi_shelves: Vec<u32>,
    /// Epochs of blocks on shelves of several axes.
    rows: Vec<[Epoch; MAX_DEATH_AXES]>,
    vacant_rows: Vec<u32>,
    pieces: pieces::Pieces,
    untouched_ranges: Vec<Untouched>,
    /// Where the rotating looks at shelves go on.
    poll_cursor: usize,
    ticks: u32,
    /// How often an axis' progress made blocks usable by more requesters.
    moves: u64,
    taints: u64,
    recycle_cursor: usize,
    /// Scratch: what an advance made ready.
    ready: Vec<u32>,
    /// Scratch: unsorted blocks on their way to their indexes.
    dealt: Vec<u32>,
    /// What the last [`part`](Self::part) made.
    parted: Vec<BlockId>,
    committed: u64,
    reserved: u64,
}

impl Heap {
    /// A heap without memory.
    ///
    /// # Errors
    /// As [`Tlsf::new`].
    pub fn new(config: Config, rule: Coalescing) -> Result<Self, TlsfError> {
        let mut tlsf = Tlsf::new(config)?;
        tlsf.add_shelf().ok_or(TlsfError::Full)?;
        tlsf.add_shelf().ok_or(TlsfError::Full)?;
        let class = |shelf| Class {
            axis: NO_AXIS,
            axes: Vec::new(),
            ceiling: [0; MAX_DEATH_AXES],
            floor: [0; MAX_DEATH_AXES],
            reached: [0; MAX_DEATH_AXES],
            index: PendingIndex::new(shelf),
        };
        Ok(Self {
            rule,
            tlsf,
            classes: alloc::vec![class(CLEAN), class(TAINTED)],
            unsorted: Unsorted::new(),
            singles: Vec::new(),
            last_single: Cell::new((NO_AXIS, NONE)),
            multi_shelves: Vec::new(),
            rows: Vec::new(),
            vacant_rows: Vec::new(),
            pieces: pieces::Pieces::new(),
            untouched_ranges: Vec::new(),
            poll_cursor: 0,
            ticks: 0,
            moves: 0,
            taints: 0,
            recycle_cursor: 0,
            ready: Vec::new(),
            dealt: Vec::new(),
            parted: Vec::new(),
            committed: 0,
            reserved: 0,
        })
    }

    /// The offsets below, to look at.
    #[must_use]
    pub const fn offsets(&self) -> &Tlsf<BlockLabel> {
        &self.tlsf
    }

    /// Bytes that a request will take.
    #[inline]
    pub(super) fn bytes(&self, need: Need) -> u64 {
        self.tlsf.bytes(need)
    }

    /// Bytes in regions, without holes.
    #[must_use]
    pub const fn committed_bytes(&self) -> u64 {
        self.committed
    }

    /// Bytes in live blocks.
    #[must_use]
    pub const fn reserved_bytes(&self) -> u64 {
        self.reserved
    }

    /// Free bytes that wait for an axis.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        self.committed
            - self.reserved
            - self.tlsf.shelf_bytes(CLEAN)
            - self.tlsf.shelf_bytes(TAINTED)
    }

    /// Free bytes of unknown death.
    #[must_use]
    pub fn tainted_bytes(&self) -> u64 {
        self.tlsf.shelf_bytes(TAINTED)
    }

    /// Deaths of too many axes, or of too many different sets of axes, that became unknown.
    #[must_use]
    pub const fn taints(&self) -> u64 {
        self.taints
    }

    /// How often an axis' progress made free blocks usable by more requesters than before.
    #[inline(always)]
    pub(super) const fn moves(&self) -> u64 {
        self.moves
    }

    /// Adds a region of `bytes` clean, untouched bytes.
    ///
    /// # Errors
    /// As [`Tlsf::add_region`].
    pub fn add_region(&mut self, bytes: u64) -> Result<RegionId, TlsfError> {
        let (region, block) = self.tlsf.add_region(bytes, BlockLabel::CLEAN)?;
        let size = self.tlsf.size(block);
        self.committed += size;
        self.set_untouched(region, Untouched::new(size));
        self.tlsf.insert(block, CLEAN, BlockLabel::CLEAN);
        Ok(region)
    }

    /// What of a region was never handed out.
    pub(super) fn untouched(&self, region: RegionId) -> Untouched {
        self.untouched_ranges[region.index() as usize].clone()
    }

    /// What of a region was never handed out: of a new one, or of one whose bytes were known before.
    pub(super) fn set_untouched(&mut self, region: RegionId, untouched: Untouched) {
        let index = region.index() as usize;
        if index == self.untouched_ranges.len() {
            self.untouched_ranges.push(untouched);
        } else {
            self.untouched_ranges[index] = untouched;
        }
    }

    /// Removes a region that is wholly clean. Returns its bytes, `None` when something of it is in use
    /// or pending.
    pub fn remove_region(&mut self, region: RegionId) -> Option<u64> {
        let block = self.tlsf.sole_free_block(region)?;
        if self.tlsf.shelf_of(block) != Some(CLEAN) {
            return None;
        }
        let size = self.tlsf.size(block);
        self.tlsf.remove_region(region).then(|| {
            self.committed -= size;
            size
        })
    }

    /// The request as this heap counts; `None` when it exceeds what any region could hold.
    #[cfg(any(all(test, not(loom)), feature = "heap"))]
    #[must_use]
    pub fn need(&self, bytes: u64, alignment: u64) -> Option<Need> {
        self.tlsf.need(bytes, alignment)
    }
}
