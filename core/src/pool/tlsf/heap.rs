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
//! - It is listed in that shelf's [`Wheel`] under the epoch of the set's first axis.
//! - `ceiling[i]` is at least the epoch on axis `i` of every block on the shelf.
//!
//! # Cost
//! `free` and `acquire` are O(1) in live, pending and free blocks, linear in the axes of the death and
//! of the requester's frontier. A block that turns clean pays for its own move. `poll_all` looks at each
//! axis once.

use super::wheel::{NONE, Wheel};
use crate::death::Death;
use crate::frontier::{Entry, FixedFrontier, FrontierRef, Merge};
use crate::offset::tlsf::{
    BlockId, Config, Label, Need, Neighbour, Place, RegionId, Tlsf, TlsfError,
};
use crate::pool::MAX_DEATH_AXES;
use crate::progress::Progress;
use crate::{Axis, Epoch};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::Cell;

/// The shelf of blocks that anyone may use.
pub const CLEAN: u32 = 0;
/// The shelf of blocks of unknown death.
pub const TAINTED: u32 = 1;
/// The first shelf of a set of axes.
const FIRST_PENDING: u32 = 2;

/// Acquires between two polls of a shelf.
const POLL_EVERY: u32 = 4;
/// Shelves of more than one axis that an acquire looks at.
const MULTI_PROBES: usize = 16;
/// Shelves that a search for the soonest block looks at.
const WAIT_PROBES: usize = 32;
/// Shelves, empty ones included, that a search goes past.
const MAX_LOOKS: usize = 256;
/// Runs that a search looks at.
const RUN_PROBES: usize = 8;
/// Shelves from which on an empty one is reused before another is made.
const RECYCLE_FROM: usize = 64;

/// The death of one block, or the join of several: at most [`MAX_DEATH_AXES`] axes.
pub type BlockDeath = FixedFrontier<MAX_DEATH_AXES>;

/// What a block carries.
#[derive(Clone, Copy, Debug)]
pub struct Slip {
    /// Pending: the epoch on the shelf's first axis, never 0. Live: the bytes that were asked for.
    /// Else 0.
    word: u64,
    /// Neighbours in the wheel's slot.
    prev: u32,
    next: u32,
    /// Row of the epoch table that holds the epochs of all axes, on shelves of several.
    row: u32,
    /// Slot of the wheel, or none.
    slot: u32,
}

impl Slip {
    const CLEAN: Self = Self { word: 0, prev: NONE, next: NONE, row: NONE, slot: NONE };

    const fn live(requested: u64) -> Self {
        Self { word: requested, ..Self::CLEAN }
    }

    const fn pending(epoch: Epoch, row: u32) -> Self {
        Self { word: epoch, prev: NONE, next: NONE, row, slot: NONE }
    }
}

impl Label for Slip {
    #[inline]
    fn rank(&self) -> u64 {
        self.word
    }
}

impl super::wheel::Links for Tlsf<Slip> {
    #[inline]
    fn links(&mut self, id: u32) -> (&mut u32, &mut u32) {
        let slip = self.label_mut(BlockId::from_index(id));
        (&mut slip.prev, &mut slip.next)
    }
    #[inline]
    fn slot(&mut self, id: u32) -> &mut u32 {
        &mut self.label_mut(BlockId::from_index(id)).slot
    }
    #[inline]
    fn epoch(&self, id: u32) -> Epoch {
        self.label(BlockId::from_index(id)).word
    }
    fn peek(&self, id: u32) -> (u32, u32) {
        let slip = self.label(BlockId::from_index(id));
        (slip.prev, slip.next)
    }
}

/// A set of axes that blocks wait for, and the blocks that do.
#[derive(Debug)]
struct Class {
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

/// Where an axis stands against an epoch.
enum Standing {
    Reached,
    /// Not there yet; blocks that wait for it stand on this shelf.
    Shelf(u32),
    /// Not there yet, and it has no shelf.
    Unlisted,
}

/// What [`Heap::acquire`] found.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Now live.
    pub block: BlockId,
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
    /// Shelves of one axis, by axis.
    singles: Vec<(Axis, u32)>,
    /// The entry of `singles` used last.
    last_single: Cell<(Axis, u32)>,
    /// Shelves of several axes.
    multis: BTreeMap<Vec<Axis>, u32>,
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
        let class =
            || Class { axes: Vec::new(), ceiling: [0; MAX_DEATH_AXES], wheel: Wheel::new() };
        Ok(Self {
            tlsf,
            classes: alloc::vec![class(), class()],
            singles: Vec::new(),
            last_single: Cell::new((Axis::from_bits(0), NONE)),
            multis: BTreeMap::new(),
            multi_shelves: Vec::new(),
            rows: Vec::new(),
            vacant_rows: Vec::new(),
            virgins: Vec::new(),
            poll_cursor: 0,
            ticks: 0,
            moves: 0,
            taints: 0,
            recycle_cursor: 0,
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
    #[inline]
    #[must_use]
    pub fn need(&self, bytes: u64, alignment: u64) -> Option<Need> {
        self.tlsf.need(bytes, alignment)
    }

    /// Looks for a block that whoever knows `frontier` may use at once, takes it and writes down what its
    /// death was. `requested` bytes of it were asked for.
    #[inline]
    pub fn acquire(
        &mut self,
        need: Need,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
        requested: u64,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        self.poll_next(progress);
        let mut shelf_of_one = None;
        let mut best = None;
        for entry in frontier.entries() {
            let Some(shelf) = self.single(entry.axis) else { continue };
            if self.tlsf.shelf_is_empty(shelf) {
                continue;
            }
            if self.classes[shelf as usize].ceiling[0] > entry.epoch {
                let found = self.tlsf.find_where(shelf, need, |slip| slip.word <= entry.epoch);
                best = self.tlsf.tighter(found, best);
            } else if let Some(other) = shelf_of_one.replace(shelf) {
                best = self.tlsf.tighter(self.tlsf.find(other, need), best);
            }
        }
        // Of equally tight places the pending one: who knows less can use the clean one.
        let plain = match shelf_of_one {
            Some(shelf) => self.tlsf.find_on_two(CLEAN, shelf, need),
            None => self.tlsf.find(CLEAN, need),
        };
        best = self.tlsf.tighter(plain, best);
        if !self.multi_shelves.is_empty() && !frontier.is_empty() {
            best = self.find_multi(need, frontier, best);
        }
        if let Some(place) = best {
            return self.take(place, requested, death);
        }
        self.take_ready_run(need, frontier, requested, death)
    }

    /// Takes the pending block, or the adjacent ones, that will be ready soonest, and writes down its
    /// death. Ready soonest is whose farthest axis has the fewest epochs to go. The search looks at a
    /// bounded number of blocks.
    pub fn acquire_pending(
        &mut self,
        need: Need,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
        requested: u64,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        let mut soonest: Option<(Epoch, u64, Place)> = None;
        let shelves = self.classes.len();
        let mut probes = 0;
        for step in 0..shelves.min(MAX_LOOKS) {
            let shelf = (self.poll_cursor + step) % shelves;
            if shelf < FIRST_PENDING as usize || self.tlsf.shelf_is_empty(shelf as u32) {
                continue;
            }
            if probes == WAIT_PROBES {
                break;
            }
            probes += 1;
            for place in self.tlsf.candidates(shelf as u32, need, 4, 2) {
                let key = (self.lag(place.block, frontier, progress), self.tlsf.size(place.block));
                if soonest.is_none_or(|(lag, size, _)| key < (lag, size)) {
                    soonest = Some((key.0, key.1, place));
                }
            }
        }
        let span = self.soonest_span(need, frontier, progress);
        match (soonest, span) {
            (Some((lag, ..)), Some((span_lag, first, last))) if span_lag < lag => {
                self.take_span(first, last, need, requested, death)
            }
            (Some((.., place)), _) => self.take(place, requested, death),
            (None, Some((_, first, last))) => self.take_span(first, last, need, requested, death),
            (None, None) => None,
        }
    }

    /// Frees a live block.
    ///
    /// # Panics
    /// When the block is not live.
    #[inline]
    pub fn free(&mut self, block: BlockId, death: Death<'_>, progress: &dyn Progress) {
        self.reserved -= self.tlsf.size(block);
        self.tlsf.loosen(block);
        match death {
            Death::Idle => self.shelve_plain(block, CLEAN),
            Death::Unknown => self.shelve_plain(block, TAINTED),
            Death::After(frontier) => match frontier.entries() {
                [] => self.shelve_plain(block, CLEAN),
                &[Entry { axis, epoch }] => match self.settle_axis(axis, epoch, progress) {
                    Standing::Shelf(shelf) => self.shelve_single(block, shelf, epoch),
                    Standing::Reached => self.shelve_plain(block, CLEAN),
                    Standing::Unlisted => {
                        self.shelve_among(block, &[axis], &[epoch], progress);
                    }
                },
                entries => {
                    let mut axes = [Axis::from_bits(0); MAX_DEATH_AXES];
                    let mut epochs = [0; MAX_DEATH_AXES];
                    let mut len = 0;
                    for &Entry { axis, epoch } in entries {
                        if matches!(self.settle_axis(axis, epoch, progress), Standing::Reached) {
                            continue;
                        }
                        if len == MAX_DEATH_AXES {
                            self.taints += 1;
                            return self.shelve_plain(block, TAINTED);
                        }
                        axes[len] = axis;
                        epochs[len] = epoch;
                        len += 1;
                    }
                    self.shelve_among(block, &axes[..len], &epochs[..len], progress);
                }
            },
        }
    }

    /// Looks at every axis that blocks wait for; blocks turn clean, or wait for fewer axes. Returns
    /// whether any did. `beyond` is asked for each axis with the latest epoch waited for, when progress
    /// does not know that it was reached.
    pub fn poll_all(
        &mut self,
        progress: &dyn Progress,
        beyond: impl Fn(Axis, Epoch) -> Option<bool>,
    ) -> bool {
        let before = self.moves;
        // Shelves of several axes first: what they give up may land on shelves of fewer.
        for pass in 0..2 {
            for shelf in FIRST_PENDING..self.classes.len() as u32 {
                let class = &self.classes[shelf as usize];
                if (class.axes.len() > 1) != (pass == 0) || self.tlsf.shelf_is_empty(shelf) {
                    continue;
                }
                let (axis, ceiling) = (class.axes[0], class.ceiling[0]);
                let mut reached = progress.reached(axis);
                if reached < ceiling && beyond(axis, ceiling) == Some(true) {
                    reached = ceiling;
                }
                self.advance(shelf, reached, progress);
            }
        }
        self.moves != before
    }

    /// Everything free becomes clean: the device is quiescent.
    pub fn quiesce(&mut self) {
        for shelf in TAINTED..self.classes.len() as u32 {
            let mut at = self.classes[shelf as usize].wheel.take_all(&mut self.tlsf);
            while at != NONE {
                let block = BlockId::from_index(at);
                let slip = *self.tlsf.label(block);
                at = slip.next;
                self.drop_row(slip.row);
                self.turn_clean(block);
            }
        }
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

    /// Bytes that were asked for when a live block was acquired.
    #[must_use]
    pub fn requested(&self, block: BlockId) -> u64 {
        self.tlsf.label(block).word
    }

    /// Checks the invariants by a full walk, for tests.
    ///
    /// # Panics
    /// When one is broken.
    pub fn check(&self) {
        self.tlsf.check();
        for (shelf, class) in self.classes.iter().enumerate() {
            let mut listed = 0;
            class.wheel.check(&self.tlsf, &mut |id| {
                let block = BlockId::from_index(id);
                listed += self.tlsf.size(block);
                assert_eq!(self.tlsf.shelf_of(block), Some(shelf as u32));
                for (i, _) in class.axes.iter().enumerate() {
                    assert!(self.epoch_of(block, i) <= class.ceiling[i], "above the ceiling");
                }
            });
            if shelf != CLEAN as usize {
                assert_eq!(listed, self.tlsf.shelf_bytes(shelf as u32), "shelf {shelf}");
            }
        }
    }

    // ---- searching ----

    #[inline]
    fn single(&self, axis: Axis) -> Option<u32> {
        let (last, shelf) = self.last_single.get();
        if last == axis && shelf != NONE {
            return Some(shelf);
        }
        let at = self.singles.binary_search_by_key(&axis, |&(axis, _)| axis).ok()?;
        self.last_single.set(self.singles[at]);
        Some(self.singles[at].1)
    }

    fn find_multi(
        &self,
        need: Need,
        frontier: FrontierRef<'_>,
        mut best: Option<Place>,
    ) -> Option<Place> {
        let mut probes = 0;
        let start = self.poll_cursor % self.multi_shelves.len();
        let (late, early) = self.multi_shelves.split_at(start);
        for &shelf in early.iter().chain(late).take(MAX_LOOKS) {
            if self.tlsf.shelf_is_empty(shelf) {
                continue;
            }
            if probes == MULTI_PROBES {
                break;
            }
            probes += 1;
            let class = &self.classes[shelf as usize];
            let known = |i: usize| frontier.get(class.axes[i]);
            if (0..class.axes.len()).any(|i| known(i) == 0) {
                continue;
            }
            let all = (0..class.axes.len()).all(|i| class.ceiling[i] <= known(i));
            let found = self.tlsf.find_where(shelf, need, |slip| {
                all || (0..class.axes.len()).all(|i| self.rows[slip.row as usize][i] <= known(i))
            });
            best = self.tlsf.tighter(best, found);
        }
        best
    }

    /// Adjacent blocks that are all ready for the requester, found through the runs.
    fn take_ready_run(
        &mut self,
        need: Need,
        frontier: FrontierRef<'_>,
        requested: u64,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        let mut found = None;
        'runs: for run in self.tlsf.runs(need, RUN_PROBES) {
            let mut first = None;
            for block in self.tlsf.run_blocks(run) {
                if !self.covers(frontier, block) {
                    first = None;
                    continue;
                }
                let first = *first.get_or_insert(block);
                if self.tlsf.fits_span(first, block, need) {
                    found = Some((first, block));
                    break 'runs;
                }
            }
        }
        let (first, last) = found?;
        self.take_span(first, last, need, requested, death)
    }

    /// The adjacent blocks whose slowest is ready soonest.
    fn soonest_span(
        &self,
        need: Need,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
    ) -> Option<(Epoch, BlockId, BlockId)> {
        let mut soonest: Option<(Epoch, BlockId, BlockId)> = None;
        let mut blocks: Vec<(BlockId, Option<Epoch>)> = Vec::new();
        for run in self.tlsf.runs(need, RUN_PROBES) {
            blocks.clear();
            blocks.extend(self.tlsf.run_blocks(run).map(|block| {
                let tainted = self.tlsf.shelf_of(block) == Some(TAINTED);
                (block, (!tainted).then(|| self.lag(block, frontier, progress)))
            }));
            // Of each window that just fits, the slowest block. A run is short, so this is bounded.
            let mut from = 0;
            for to in 0..blocks.len() {
                if blocks[to].1.is_none() {
                    from = to + 1;
                    continue;
                }
                while from < to && self.tlsf.fits_span(blocks[from + 1].0, blocks[to].0, need) {
                    from += 1;
                }
                if from > to || !self.tlsf.fits_span(blocks[from].0, blocks[to].0, need) {
                    continue;
                }
                let window = &blocks[from..=to];
                let lag = window.iter().filter_map(|&(_, lag)| lag).max().unwrap_or(0);
                if soonest.is_none_or(|(best, ..)| lag < best) && self.joins(window) {
                    soonest = Some((lag, blocks[from].0, blocks[to].0));
                }
            }
        }
        soonest
    }

    /// The deaths of these blocks fit into one.
    fn joins(&self, blocks: &[(BlockId, Option<Epoch>)]) -> bool {
        let mut death = BlockDeath::new();
        blocks.iter().all(|&(block, _)| self.join_death(block, &mut death) == Merge::Done)
    }

    /// How many epochs its slowest axis has to go, seen from the requester.
    fn lag(&self, block: BlockId, frontier: FrontierRef<'_>, progress: &dyn Progress) -> Epoch {
        let Some(shelf) = self.tlsf.shelf_of(block) else { return 0 };
        let class = &self.classes[shelf as usize];
        let mut lag = 0;
        for (i, &axis) in class.axes.iter().enumerate() {
            let known = frontier.get(axis).max(progress.reached(axis));
            lag = lag.max(self.epoch_of(block, i).saturating_sub(known));
        }
        lag
    }

    /// The requester may use this free block at once.
    fn covers(&self, frontier: FrontierRef<'_>, block: BlockId) -> bool {
        let Some(shelf) = self.tlsf.shelf_of(block) else { return false };
        if shelf == TAINTED {
            return false;
        }
        let class = &self.classes[shelf as usize];
        class
            .axes
            .iter()
            .enumerate()
            .all(|(i, &axis)| self.epoch_of(block, i) <= frontier.get(axis))
    }

    /// Epoch of a pending block on the `i`th axis of its shelf.
    #[inline]
    fn epoch_of(&self, block: BlockId, i: usize) -> Epoch {
        let slip = self.tlsf.label(block);
        if slip.row == NONE { slip.word } else { self.rows[slip.row as usize][i] }
    }

    fn join_death(&self, block: BlockId, into: &mut BlockDeath) -> Merge {
        let Some(shelf) = self.tlsf.shelf_of(block) else { return Merge::Done };
        let class = &self.classes[shelf as usize];
        let mut entries = [Entry::new(Axis::from_bits(0), 1); MAX_DEATH_AXES];
        for (i, &axis) in class.axes.iter().enumerate() {
            entries[i] = Entry::new(axis, self.epoch_of(block, i));
        }
        match FrontierRef::try_from_sorted(&entries[..class.axes.len()]) {
            Ok(death) => into.merge(death),
            Err(_) => Merge::Overflow,
        }
    }

    // ---- taking ----

    #[inline(always)]
    fn take(&mut self, place: Place, requested: u64, death: &mut BlockDeath) -> Option<Taken> {
        death.clear();
        let block = self.take_part(place, requested, death)?;
        Some(self.took(block, death))
    }

    /// Takes the part of adjacent free blocks, first to last, that the request needs. What is left of
    /// the outer two keeps their deaths; the taken parts become one live block.
    fn take_span(
        &mut self,
        first: BlockId,
        last: BlockId,
        need: Need,
        requested: u64,
        death: &mut BlockDeath,
    ) -> Option<Taken> {
        death.clear();
        let mut taken: Option<BlockId> = None;
        for place in self.tlsf.span_places(first, last, need)? {
            let Some(part) = self.take_part(place, requested, death) else {
                // No more blocks can be numbered. What was taken so far is given back.
                if let Some(block) = taken {
                    self.tlsf.loosen(block);
                    self.shelve_join(block, death);
                }
                return None;
            };
            match taken {
                Some(taken) => self.tlsf.fuse(taken, part),
                None => taken = Some(part),
            }
        }
        taken.map(|block| self.took(block, death))
    }

    #[inline(always)]
    fn took(&mut self, block: BlockId, death: &BlockDeath) -> Taken {
        let (offset, size) = (self.tlsf.offset(block), self.tlsf.size(block));
        self.reserved += size;
        let end = offset + size;
        let virgin = &mut self.virgins[self.tlsf.region(block).index() as usize];
        let mut fresh = false;
        if end > virgin.low && offset < virgin.high {
            fresh = offset >= virgin.low && end <= virgin.high;
            virgin.touch(offset, end);
        }
        Taken { block, fresh, pending: !death.is_empty() }
    }

    /// Takes a place of one free block and joins its death into `death`.
    #[inline(always)]
    fn take_part(
        &mut self,
        place: Place,
        requested: u64,
        death: &mut BlockDeath,
    ) -> Option<BlockId> {
        let source = place.block;
        let shelf = self.tlsf.shelf_of(source)?;
        if shelf == CLEAN {
            let taken = self.tlsf.take(place, Slip::live(requested))?;
            if let Some(loose) = taken.loose {
                self.tlsf.insert(loose, CLEAN, Slip::CLEAN);
            }
            return Some(taken.block);
        }
        let (epoch, row) = {
            let slip = self.tlsf.label(source);
            (slip.word, slip.row)
        };
        let class = &mut self.classes[shelf as usize];
        match class.axes[..] {
            [axis] if death.is_empty() => death.become_entry(axis, epoch),
            // Cannot overflow: of several parts, only those are chosen whose deaths fit into one.
            _ => drop(self.join_death(source, death)),
        }
        // A remainder keeps its source's id and place in the wheel; only a source that is used up leaves
        // it. Unlink first: the label is gone afterwards.
        let class = &mut self.classes[shelf as usize];
        let gone = self.tlsf.uses_up(place);
        if gone {
            class.wheel.remove(&mut self.tlsf, source.index());
        }
        let Some(taken) = self.tlsf.take(place, Slip::live(requested)) else {
            if gone {
                class.wheel.insert(&mut self.tlsf, source.index());
            }
            return None;
        };
        if gone {
            self.drop_row(row);
        }
        if let Some(loose) = taken.loose {
            let row = self.copy_row(row);
            self.tlsf.insert(loose, shelf, Slip::pending(epoch, row));
            self.classes[shelf as usize].wheel.insert(&mut self.tlsf, loose.index());
        }
        Some(taken.block)
    }

    // ---- filing ----

    /// Files a loose block as clean or tainted.
    #[inline]
    fn shelve_plain(&mut self, block: BlockId, shelf: u32) {
        let mut others = false;
        for neighbour in self.tlsf.neighbours(block) {
            match neighbour {
                Neighbour::Free(neighbour, on) if on == shelf => {
                    if shelf == TAINTED {
                        let wheel = &mut self.classes[TAINTED as usize].wheel;
                        wheel.remove(&mut self.tlsf, neighbour.index());
                    }
                    self.tlsf.absorb(block, neighbour);
                    others = true;
                }
                Neighbour::Free(..) => others = true,
                Neighbour::Held => {}
            }
        }
        self.insert(block, shelf, Slip::CLEAN, others);
        if shelf == TAINTED {
            self.classes[TAINTED as usize].wheel.insert(&mut self.tlsf, block.index());
        }
    }

    /// Files a loose block. `others`: there may be free blocks beside it.
    #[inline(always)]
    fn insert(&mut self, block: BlockId, shelf: u32, slip: Slip, others: bool) {
        if others {
            self.tlsf.insert(block, shelf, slip);
        } else {
            self.tlsf.insert_between_held(block, shelf, slip);
        }
    }

    /// Files a loose block on the pending shelf of one axis.
    #[inline]
    fn shelve_single(&mut self, block: BlockId, shelf: u32, epoch: Epoch) {
        let mut latest = epoch;
        let mut others = false;
        for neighbour in self.tlsf.neighbours(block) {
            match neighbour {
                Neighbour::Free(neighbour, on) if on == shelf => {
                    latest = latest.max(self.tlsf.label(neighbour).word);
                    let wheel = &mut self.classes[shelf as usize].wheel;
                    wheel.remove(&mut self.tlsf, neighbour.index());
                    self.tlsf.absorb(block, neighbour);
                    others = true;
                }
                Neighbour::Free(..) => others = true,
                Neighbour::Held => {}
            }
        }
        self.insert(block, shelf, Slip::pending(latest, NONE), others);
        let class = &mut self.classes[shelf as usize];
        class.ceiling[0] = class.ceiling[0].max(epoch);
        class.wheel.insert(&mut self.tlsf, block.index());
    }

    /// Files a loose block on the pending shelf of several axes.
    fn shelve_several(&mut self, block: BlockId, shelf: u32, epochs: &[Epoch]) {
        let mut joined = [0; MAX_DEATH_AXES];
        joined[..epochs.len()].copy_from_slice(epochs);
        for neighbour in self.tlsf.neighbours(block) {
            if let Neighbour::Free(neighbour, on) = neighbour
                && on == shelf
            {
                let row = self.tlsf.label(neighbour).row;
                for (mine, other) in joined.iter_mut().zip(self.rows[row as usize]) {
                    *mine = (*mine).max(other);
                }
                self.drop_row(row);
                self.classes[shelf as usize].wheel.remove(&mut self.tlsf, neighbour.index());
                self.tlsf.absorb(block, neighbour);
            }
        }
        let row = self.new_row(joined);
        self.tlsf.insert(block, shelf, Slip::pending(joined[0], row));
        let class = &mut self.classes[shelf as usize];
        for (ceiling, &epoch) in class.ceiling.iter_mut().zip(epochs) {
            *ceiling = (*ceiling).max(epoch);
        }
        class.wheel.insert(&mut self.tlsf, block.index());
    }

    /// Files a loose block under a death that was written down before.
    fn shelve_join(&mut self, block: BlockId, death: &BlockDeath) {
        let (mut axes, mut epochs) = ([Axis::from_bits(0); MAX_DEATH_AXES], [0; MAX_DEATH_AXES]);
        let entries = death.as_ref().entries();
        for (i, entry) in entries.iter().enumerate() {
            (axes[i], epochs[i]) = (entry.axis, entry.epoch);
        }
        self.shelve_among(
            block,
            &axes[..entries.len()],
            &epochs[..entries.len()],
            &crate::NoProgress,
        );
    }

    /// Files a loose block that waits for these axes, none of which is known to be reached.
    fn shelve_among(
        &mut self,
        block: BlockId,
        axes: &[Axis],
        epochs: &[Epoch],
        progress: &dyn Progress,
    ) {
        if axes.is_empty() {
            return self.shelve_plain(block, CLEAN);
        }
        let Some(shelf) = self.class_for(axes) else {
            self.taints += 1;
            return self.shelve_plain(block, TAINTED);
        };
        // Before anything merges there: what is ready on that shelf must not wait for this block.
        let reached = progress.reached(axes[0]);
        self.advance(shelf, reached, progress);
        match *epochs {
            [epoch] => self.shelve_single(block, shelf, epoch),
            _ => self.shelve_several(block, shelf, epochs),
        }
    }

    /// Whether an axis has reached `epoch`, after the blocks that waited for less turned clean: nothing
    /// that is ready may merge with what is not.
    #[inline]
    fn settle_axis(&mut self, axis: Axis, epoch: Epoch, progress: &dyn Progress) -> Standing {
        let reached = progress.reached(axis);
        let Some(shelf) = self.single(axis) else {
            return if reached >= epoch { Standing::Reached } else { Standing::Unlisted };
        };
        // A host may have vouched for more than progress knows.
        let known = self.classes[shelf as usize].wheel.reached();
        if reached > known {
            self.advance(shelf, reached, progress);
        }
        if reached.max(known) >= epoch { Standing::Reached } else { Standing::Shelf(shelf) }
    }

    /// An axis of a shelf got somewhere: what waited for no more than that turns clean, or moves on to
    /// the shelf of the axes that it still waits for.
    fn advance(&mut self, shelf: u32, to: Epoch, progress: &dyn Progress) {
        if to <= self.classes[shelf as usize].wheel.reached() {
            return;
        }
        let mut at = self.classes[shelf as usize].wheel.advance(&mut self.tlsf, to);
        while at != NONE {
            let block = BlockId::from_index(at);
            let slip = *self.tlsf.label(block);
            at = slip.next;
            self.moves += 1;
            if slip.row == NONE {
                self.turn_clean(block);
            } else {
                self.move_on(block, shelf, slip.row, progress);
            }
        }
        if self.tlsf.shelf_is_empty(shelf) {
            self.classes[shelf as usize].ceiling = [0; MAX_DEATH_AXES];
        }
    }

    /// Every few acquires the next shelf in turn is polled: clean blocks keep coming without a look at
    /// every axis.
    #[inline]
    fn poll_next(&mut self, progress: &dyn Progress) {
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(POLL_EVERY) {
            self.poll_one(progress);
        }
    }

    fn poll_one(&mut self, progress: &dyn Progress) {
        let shelf = self.poll_cursor;
        self.poll_cursor =
            if shelf + 1 < self.classes.len() { shelf + 1 } else { FIRST_PENDING as usize };
        if shelf < FIRST_PENDING as usize || shelf >= self.classes.len() {
            return;
        }
        if !self.tlsf.shelf_is_empty(shelf as u32) {
            let reached = progress.reached(self.classes[shelf].axes[0]);
            self.advance(shelf as u32, reached, progress);
        }
    }

    /// A free block that left its wheel becomes clean and merges with clean neighbours.
    fn turn_clean(&mut self, block: BlockId) {
        self.tlsf.move_to(block, CLEAN, Slip::CLEAN);
        for neighbour in self.tlsf.neighbours(block) {
            if let Neighbour::Free(neighbour, CLEAN) = neighbour {
                self.tlsf.absorb(block, neighbour);
            }
        }
    }

    /// A block of several axes whose first was reached: to the shelf of those that are not.
    fn move_on(&mut self, block: BlockId, shelf: u32, row: u32, progress: &dyn Progress) {
        let epochs = self.rows[row as usize];
        self.drop_row(row);
        let (mut axes, mut left) = ([Axis::from_bits(0); MAX_DEATH_AXES], [0; MAX_DEATH_AXES]);
        let mut len = 0;
        for i in 1..self.classes[shelf as usize].axes.len() {
            let axis = self.classes[shelf as usize].axes[i];
            if progress.reached(axis) < epochs[i] {
                axes[len] = axis;
                left[len] = epochs[i];
                len += 1;
            }
        }
        if len == 0 {
            return self.turn_clean(block);
        }
        self.tlsf.remove(block);
        self.shelve_among(block, &axes[..len], &left[..len], progress);
    }

    // ---- tables ----

    /// The shelf of a sorted set of axes, made if there is none. `None` when tens of thousands of sets
    /// are waited for at once.
    fn class_for(&mut self, axes: &[Axis]) -> Option<u32> {
        let known = match axes {
            [axis] => self.single(*axis),
            _ => self.multis.get(axes).copied(),
        };
        if known.is_some() {
            return known;
        }
        let class =
            Class { axes: axes.to_vec(), ceiling: [0; MAX_DEATH_AXES], wheel: Wheel::new() };
        let shelf = match self.empty_shelf() {
            Some(shelf) => {
                self.forget(shelf);
                self.classes[shelf as usize] = class;
                shelf
            }
            None => {
                let shelf = self.tlsf.add_shelf()?;
                self.classes.push(class);
                shelf
            }
        };
        if let [axis] = *axes {
            let at = self.singles.partition_point(|&(other, _)| other < axis);
            self.singles.insert(at, (axis, shelf));
        } else {
            self.multis.insert(axes.to_vec(), shelf);
            self.multi_shelves.push(shelf);
        }
        Some(shelf)
    }

    /// An empty shelf to reuse, once there are many. Looks at a few in turn.
    fn empty_shelf(&mut self) -> Option<u32> {
        let count = self.classes.len();
        if count < RECYCLE_FROM {
            return None;
        }
        (0..8).find_map(|_| {
            self.recycle_cursor = (self.recycle_cursor + 1) % count;
            let shelf = self.recycle_cursor as u32;
            (shelf >= FIRST_PENDING && self.tlsf.shelf_is_empty(shelf)).then_some(shelf)
        })
    }

    /// A shelf no longer stands for its axes.
    fn forget(&mut self, shelf: u32) {
        let axes = core::mem::take(&mut self.classes[shelf as usize].axes);
        if let [axis] = axes[..] {
            self.singles.retain(|&(other, _)| other != axis);
            self.last_single.set((axis, NONE));
        } else {
            self.multis.remove(&axes);
            self.multi_shelves.retain(|&other| other != shelf);
        }
    }

    fn new_row(&mut self, epochs: [Epoch; MAX_DEATH_AXES]) -> u32 {
        if let Some(row) = self.vacant_rows.pop() {
            self.rows[row as usize] = epochs;
            return row;
        }
        self.rows.push(epochs);
        // At most one row per block, and blocks are numbered in 32 bits.
        (self.rows.len() - 1) as u32
    }

    fn copy_row(&mut self, row: u32) -> u32 {
        if row == NONE { NONE } else { self.new_row(self.rows[row as usize]) }
    }

    fn drop_row(&mut self, row: u32) {
        if row != NONE {
            self.vacant_rows.push(row);
        }
    }
}
