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
//! Neighbours merge at once within a shelf, where merging takes the later epoch of each axis. Blocks
//! of different shelves stay apart, so merging never makes a clean block wait; when a block turns clean
//! it merges with clean neighbours. What merging across shelves *would* give is found through runs
//! (see [`offset::tlsf`](crate::offset::tlsf)), and only for a requester for whom all parts are ready, or
//! who may wait.
//!
//! # Invariants
//! - A pending block is on the shelf of exactly the axes it waits for, and none of them had reached its
//!   epoch when the shelf's axis was last polled.
//! - It is among the newcomers (`newcomers.rs`), or else listed in that shelf's wheel (`wheel.rs`) under the epoch of
//!   the set's first axis. An advance deals the newcomers of all shelves out to their wheels.
//! - `ceiling[i]` is at least the epoch on axis `i` of every block on the shelf.
//!
//! # Cost
//! `free` and `acquire` are O(1) in live, pending and free blocks (`free` amortised: the wheel is swept of
//! what left now and then), linear in the axes of the death and
//! of the requester's frontier. A block that turns clean pays for its own move. `poll_all` looks at each
//! axis once.

mod acquire;
mod compact;
mod filing;
mod progress;
mod spans;
mod tables;

use super::newcomers::Newcomers;
use super::wheel::{NONE, Wheel};
use crate::frontier::FixedFrontier;
use crate::offset::tlsf::{BlockId, Config, Label, Need, RegionId, Tlsf, TlsfError};
use crate::pool::MAX_DEATH_AXES;
use crate::{Axis, Epoch};
use alloc::vec::Vec;
use core::cell::Cell;

/// The shelf of blocks that anyone may use.
pub const CLEAN: u32 = 0;
/// The shelf of blocks of unknown death.
pub const TAINTED: u32 = 1;
/// Stands where no axis does.
const NO_AXIS: Axis = Axis::from_bits(0);
/// The first shelf of a set of axes.
const FIRST_PENDING: u32 = 2;

/// The death of one block, or the join of several: at most [`MAX_DEATH_AXES`] axes.
pub type BlockDeath = FixedFrontier<MAX_DEATH_AXES>;

/// What a block carries.
#[derive(Clone, Copy, Debug)]
pub struct Slip {
    /// Pending: the epoch on the shelf's first axis, never 0. Live: the bytes that were asked for.
    /// Else 0.
    word: u64,
    /// Row of the epoch table that holds the epochs of all axes, on shelves of several.
    row: u32,
    /// Where the shelf's wheel lists it, or none: newcomers and blocks that do not wait.
    position: u32,
}

impl Slip {
    const CLEAN: Self = Self { word: 0, row: NONE, position: NONE };

    const fn live(requested: u64) -> Self {
        Self { word: requested, ..Self::CLEAN }
    }

    const fn pending(epoch: Epoch, row: u32) -> Self {
        Self { word: epoch, row, position: NONE }
    }

    /// A block in a row of the eager heap's own table. Live: with the bytes that were asked for; else with 0.
    pub(super) const fn in_row(row: u32, requested: u64) -> Self {
        Self { word: requested, row, position: NONE }
    }

    pub(super) const fn row(&self) -> u32 {
        self.row
    }

    pub(super) const fn requested(&self) -> u64 {
        self.word
    }
}

impl Label for Slip {
    #[inline]
    fn rank(&self) -> u64 {
        self.word
    }
}

impl super::wheel::Listed for Tlsf<Slip> {
    #[inline]
    fn position(&self, id: u32) -> u32 {
        self.label(BlockId::from_index(id)).position
    }
    #[inline]
    fn set_position(&mut self, id: u32, position: u32) {
        self.label_mut(BlockId::from_index(id)).position = position;
    }
    #[inline]
    fn epoch(&self, id: u32) -> Epoch {
        self.label(BlockId::from_index(id)).word
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
    ceiling: [Epoch; MAX_DEATH_AXES],
    wheel: Wheel,
}

/// The untouched part of a region: what was never handed out.
#[derive(Clone, Copy, Debug)]
struct Virgin {
    low: u64,
    high: u64,
}

impl Virgin {
    /// A part was handed out. What stays untouched is the larger part beside it.
    fn touch(&mut self, from: u64, to: u64) {
        if from.saturating_sub(self.low) < self.high.saturating_sub(to) {
            self.low = to;
        } else {
            self.high = from.max(self.low);
        }
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
}

/// See the [module](self).
#[derive(Debug)]
pub struct Heap {
    tlsf: Tlsf<Slip>,
    /// By shelf.
    classes: Vec<Class>,
    newcomers: Newcomers,
    /// Shelves of one axis, by axis.
    singles: Vec<(Axis, u32)>,
    /// The axis asked for last, and its shelf if it has one.
    last_single: Cell<(Axis, u32)>,
    /// Shelves of several axes, sorted by these.
    multi_shelves: Vec<u32>,
    /// Epochs of blocks on shelves of several axes.
    rows: Vec<[Epoch; MAX_DEATH_AXES]>,
    vacant_rows: Vec<u32>,
    virgins: Vec<Virgin>,
    /// Where the rotating looks at shelves go on.
    poll_cursor: usize,
    ticks: u32,
    /// Blocks that an axis' progress moved.
    moves: u64,
    taints: u64,
    recycle_cursor: usize,
    /// Scratch: what an advance made ready.
    ready: Vec<u32>,
    /// Scratch: newcomers on their way to their wheels.
    dealt: Vec<u32>,
    committed: u64,
    reserved: u64,
}

impl Heap {
    /// A heap without memory.
    ///
    /// # Errors
    /// As [`Tlsf::new`].
    pub fn new(config: Config) -> Result<Self, TlsfError> {
        let mut tlsf = Tlsf::new(config)?;
        tlsf.add_shelf().ok_or(TlsfError::Full)?;
        tlsf.add_shelf().ok_or(TlsfError::Full)?;
        let class = |shelf| Class {
            axis: NO_AXIS,
            axes: Vec::new(),
            ceiling: [0; MAX_DEATH_AXES],
            wheel: Wheel::new(shelf),
        };
        Ok(Self {
            tlsf,
            classes: alloc::vec![class(CLEAN), class(TAINTED)],
            newcomers: Newcomers::new(),
            singles: Vec::new(),
            last_single: Cell::new((NO_AXIS, NONE)),
            multi_shelves: Vec::new(),
            rows: Vec::new(),
            vacant_rows: Vec::new(),
            virgins: Vec::new(),
            poll_cursor: 0,
            ticks: 0,
            moves: 0,
            taints: 0,
            recycle_cursor: 0,
            ready: Vec::new(),
            dealt: Vec::new(),
            committed: 0,
            reserved: 0,
        })
    }

    /// The offsets below, to look at.
    #[must_use]
    pub const fn offsets(&self) -> &Tlsf<Slip> {
        &self.tlsf
    }

    /// Bytes in regions.
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

    /// Adds a region of `bytes` clean, untouched bytes.
    ///
    /// # Errors
    /// As [`Tlsf::add_region`].
    pub fn add_region(&mut self, bytes: u64) -> Result<RegionId, TlsfError> {
        let (region, block) = self.tlsf.add_region(bytes, Slip::CLEAN)?;
        let size = self.tlsf.size(block);
        self.committed += size;
        let virgin = Virgin { low: 0, high: size };
        let index = region.index() as usize;
        if index == self.virgins.len() {
            self.virgins.push(virgin);
        } else {
            self.virgins[index] = virgin;
        }
        self.tlsf.insert(block, CLEAN, Slip::CLEAN);
        Ok(region)
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
    #[inline(always)]
    #[must_use]
    pub fn need(&self, bytes: u64, alignment: u64) -> Option<Need> {
        self.tlsf.need(bytes, alignment)
    }

    /// The death of a free block as far as it is not known to be reached: `None` when it is unknown.
    ///
    /// # Panics
    /// When the block is live.
    #[must_use]
    pub fn death_of(&self, block: BlockId) -> Option<BlockDeath> {
        let mut death = BlockDeath::new();
        let shelf = self.tlsf.shelf_of(block)?;
        if shelf == TAINTED {
            return None;
        }
        // Cannot overflow: a shelf has at most MAX_DEATH_AXES axes.
        let _ = self.join_death(block, &mut death);
        Some(death)
    }

    /// Checks the invariants by a full walk, for tests.
    ///
    /// # Panics
    /// When one is broken.
    pub fn check(&self) {
        self.tlsf.check();
        for id in 0..self.tlsf.capacity() as u32 {
            let slip = self.tlsf.label(BlockId::from_index(id));
            assert!(!self.newcomers.contains(id) || slip.position == NONE, "listed twice");
        }
        for (shelf, class) in self.classes.iter().enumerate() {
            let mut listed = 0;
            let mut visit = |id| {
                let block = BlockId::from_index(id);
                listed += self.tlsf.size(block);
                assert_eq!(self.tlsf.shelf_of(block), Some(shelf as u32));
                for (i, _) in class.axes.iter().enumerate() {
                    assert!(self.epoch_of(block, i) <= class.ceiling[i], "above the ceiling");
                }
            };
            class.wheel.check(&self.tlsf, &mut visit);
            let here =
                |id: &&u32| self.tlsf.shelf_of(BlockId::from_index(**id)) == Some(shelf as u32);
            self.newcomers
                .ids()
                .iter()
                .filter(here)
                .filter(|_| shelf != CLEAN as usize)
                .for_each(|&id| visit(id));
            if shelf != CLEAN as usize {
                assert_eq!(listed, self.tlsf.shelf_bytes(shelf as u32), "shelf {shelf}");
            }
        }
    }
}
