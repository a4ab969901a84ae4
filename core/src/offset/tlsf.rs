//! TLSF over any number of regions, with out-of-band metadata and several shelves of free blocks.
//!
//! ```text
//!   region 0   │ live │ free, shelf 0 │ free, shelf 2 │ live │      blocks in address order
//!                      └───── one run: adjacent free blocks on different shelves ─┘
//!   shelf 0    bins by size ──▶ block ⇄ block …      (say: usable by anyone)
//!   shelf 2    bins by size ──▶ block ⇄ block …      (say: usable after axis 2)
//!   runs       bins by size ──▶ run ⇄ run …          (what merging across shelves could give)
//! ```
//!
//! One set of bins serves all regions, so no search probes region by region. Blocks are merged by the
//! caller, shelf by shelf, with [`neighbour`](Tlsf::neighbour) and [`absorb`](Tlsf::absorb): the policy of
//! what may merge with what stays outside. What stands side by side on different shelves is
//! remembered as a *run*, so that a caller in need can find and merge it without a scan.
//!
//! # Invariants
//! - Blocks of a region tile it: each starts where its left neighbour ends.
//! - A free block is filed on exactly one shelf, under its size; a live block on none.
//! - The blocks of a region and its edge, a node of no size, are a ring: every block has two neighbours.
//! - A block knows which of its neighbours are filed.
//! - A run is 2 to [`MAX_RUN`] adjacent free blocks of one region, filed under the sum of their sizes.
//!
//! # Cost
//! Every operation is O(1): two bit scans, a few links, and walks that are bounded by constants
//! ([`MAX_RUN`], the placement's scan limit). A block takes 32 bytes of metadata, half a cache line, and its label;
//! a region takes as much once for its edge.

use alloc::vec::Vec;
use core::fmt;

mod at;
mod blocks;
mod check;
mod need;
mod nodes;
pub mod placement;
mod quick;
mod runs;
mod search;
mod shelf;

use nodes::{EDGE, LIVE, LOOSE, NeighbourId, Node, Nodes, VACANT};
use runs::Runs;
use shelf::{Link, NONE, Shelf, SizeClasses};

pub(crate) use quick::Head;

pub use need::{Config, Need};
pub use nodes::MAX_BLOCKS;
pub use placement::{Carve, Placement, Search, Tie};
pub use runs::{MAX_RUN, RunId};

/// A block of a [`Tlsf`]. Valid from the call that returned it until the block is freed or absorbed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(u32);

impl BlockId {
    /// The id as an index: dense, below [`Tlsf::capacity`].
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0
    }

    /// The inverse of [`index`](Self::index). A wrong index panics where it is used; it never reaches
    /// memory.
    #[must_use]
    pub const fn from_index(index: u32) -> Self {
        Self(index)
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block#{}", self.0)
    }
}

/// A region of a [`Tlsf`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(u32);

impl RegionId {
    /// The id as an index: dense, reused after the region was removed.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0
    }

    /// The inverse of [`index`](Self::index).
    #[must_use]
    pub const fn from_index(index: u32) -> Self {
        Self(index)
    }
}

impl fmt::Debug for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "region#{}", self.0)
    }
}

/// Which of the neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards lower offsets.
    Left,
    /// Towards higher offsets.
    Right,
}

/// What stands beside a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// A free block on this shelf.
    Free(BlockId, u32),
    /// A live or loose block, or the region's edge.
    Held,
}

/// What a free block carries for its owner.
pub trait Label: Copy + fmt::Debug {
    /// Within a bin, a block goes behind the others when its rank is at least that of all who came since the
    /// bin was last empty, and before them otherwise: blocks that are freed by ascending rank stand in
    /// order. Rank 0 always goes first.
    fn rank(&self) -> u64;
}

impl Label for () {
    fn rank(&self) -> u64 {
        0
    }
}

#[derive(Debug)]
struct Region {
    /// The node that stands for both edges; `NONE` when the slot is vacant.
    edge: u32,
    units: u32,
}

/// A place found by [`Tlsf::find`]: a free block and the part of it to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The free block.
    pub block: BlockId,
    /// First granule of the part, from the region's start.
    start: u32,
    units: u32,
    /// The block's size, or its class where the placement does not look closer; smaller is tighter.
    tightness: u32,
}

impl Place {
    /// First granule of the part, from the region's start, and its granules.
    pub(crate) const fn part(&self) -> (u32, u32) {
        (self.start, self.units)
    }

    /// Orders places by how tightly they fit.
    #[must_use]
    pub const fn tightness(&self) -> u32 {
        self.tightness
    }
}

/// The offset allocator. `L` is what each free block carries.
#[derive(Debug)]
pub struct Tlsf<L> {
    config: Config,
    granule_bits: u32,
    classes: SizeClasses,
    nodes: Nodes<L>,
    vacant: u32,
    regions: Vec<Region>,
    vacant_regions: Vec<u16>,
    shelves: Vec<Shelf>,
    runs: Runs,
    births: u32,
}

/// Why a [`Tlsf`] cannot be configured or extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsfError {
    /// The granule is not a power of two.
    Granule,
    /// The second level has fewer than 3 or more than 6 bits.
    SecondLevel,
    /// A region is smaller than a granule or has more than 2^32 - 1 of them.
    RegionSize,
    /// Too many blocks or regions to number.
    Full,
}

impl fmt::Display for TlsfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Granule => "the granule is not a power of two",
            Self::SecondLevel => "the second level has fewer than 3 or more than 6 bits",
            Self::RegionSize => "a region is smaller than a granule or has 2^32 of them or more",
            Self::Full => "more blocks or regions than can be numbered",
        })
    }
}

impl core::error::Error for TlsfError {}

impl<L: Label> Tlsf<L> {
    /// An allocator without regions.
    ///
    /// # Errors
    /// [`TlsfError::Granule`] or [`TlsfError::SecondLevel`].
    pub fn new(config: Config) -> Result<Self, TlsfError> {
        if !config.granule.is_power_of_two() {
            return Err(TlsfError::Granule);
        }
        if !(3..=6).contains(&config.second_level_bits) {
            return Err(TlsfError::SecondLevel);
        }
        let classes = SizeClasses::new(config.second_level_bits);
        Ok(Self {
            config,
            granule_bits: config.granule.trailing_zeros(),
            classes,
            nodes: Nodes::new(),
            vacant: NONE,
            regions: Vec::new(),
            vacant_regions: Vec::new(),
            shelves: Vec::new(),
            runs: Runs::new(classes),
            births: 0,
        })
    }

    /// How sizes are counted and classed.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Upper bound of block indices ever used; what a side table must hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.nodes.nodes.len()
    }

    /// Makes an empty shelf; shelves are numbered from 0. `None` when there are 2^16 - 3 of them.
    pub fn add_shelf(&mut self) -> Option<u32> {
        let index = u16::try_from(self.shelves.len()).ok().filter(|&index| index < LOOSE)?;
        self.shelves.push(Shelf::new(self.classes));
        Some(u32::from(index))
    }

    /// Bytes of free blocks on `shelf`.
    #[must_use]
    pub fn shelf_bytes(&self, shelf: u32) -> u64 {
        self.shelves[shelf as usize].units << self.granule_bits
    }

    /// Nothing is filed on `shelf`.
    #[inline]
    #[must_use]
    pub fn shelf_is_empty(&self, shelf: u32) -> bool {
        self.shelves[shelf as usize].is_empty()
    }

    /// Adds a region of `bytes` (rounded down to granules) as one loose free block, to be
    /// [`insert`](Self::insert)ed.
    ///
    /// # Errors
    /// [`TlsfError::RegionSize`] or [`TlsfError::Full`].
    pub fn add_region(&mut self, bytes: u64, label: L) -> Result<(RegionId, BlockId), TlsfError> {
        let units = bytes >> self.granule_bits;
        let units = match u32::try_from(units) {
            Ok(units) if units > 0 && units < u32::MAX => units,
            _ => return Err(TlsfError::RegionSize),
        };
        let index = match self.vacant_regions.pop() {
            Some(index) => index,
            None => {
                let index = u16::try_from(self.regions.len()).map_err(|_| TlsfError::Full)?;
                self.regions.push(Region { edge: NONE, units: 0 });
                index
            }
        };
        let edge = Node {
            offset: 0,
            units: 0,
            left: NeighbourId::held(0),
            right: NeighbourId::held(0),
            link: Link::ALONE,
            run: NONE,
            region: index,
            shelf: EDGE,
        };
        let Some(edge) = self.new_node(edge, label) else {
            self.vacant_regions.push(index);
            return Err(TlsfError::Full);
        };
        let (left, right) = (NeighbourId::held(edge), NeighbourId::held(edge));
        let block = Node { units, left, right, shelf: LOOSE, ..*self.nodes.at(edge) };
        let Some(block) = self.new_node(block, label) else {
            self.drop_node(edge);
            self.vacant_regions.push(index);
            return Err(TlsfError::Full);
        };
        let node = self.nodes.at_mut(edge);
        (node.left, node.right) = (NeighbourId::held(block), NeighbourId::held(block));
        self.regions[index as usize] = Region { edge, units };
        Ok((RegionId(u32::from(index)), BlockId(block)))
    }

    /// Removes a region that is one free block, which leaves its shelf. Returns whether it was so.
    ///
    /// # Panics
    /// When the region was removed before.
    pub fn remove_region(&mut self, region: RegionId) -> bool {
        let Region { edge, units } = self.regions[region.0 as usize];
        let first = self.nodes.at(edge).right.id();
        let node = self.nodes.at(first);
        if node.units != units || node.shelf == LIVE {
            return false;
        }
        if node.shelf != LOOSE {
            self.remove(BlockId(first));
        }
        self.drop_node(first);
        self.drop_node(edge);
        self.regions[region.0 as usize].edge = NONE;
        // A region's index fits: it was made from one that does.
        self.vacant_regions.push(region.0 as u16);
        true
    }

    /// The only block of a region that is wholly free and merged, if it is.
    #[must_use]
    pub fn sole_free_block(&self, region: RegionId) -> Option<BlockId> {
        let Region { edge, units } = self.regions[region.0 as usize];
        let first = self.nodes.get(edge)?.right.id();
        let node = self.nodes.at(first);
        (node.units == units && node.shelf < LOOSE).then_some(BlockId(first))
    }

    /// The request as this allocator counts; see [`Config::need`].
    #[inline]
    #[must_use]
    pub fn need(&self, bytes: u64, alignment: u64) -> Option<Need> {
        self.config.need(bytes, alignment)
    }

    /// Bytes that a request takes.
    #[inline]
    pub(crate) fn bytes(&self, need: Need) -> u64 {
        u64::from(need.units()) << self.granule_bits
    }

    /// The label of a block: of a free one as filed, of a live one as taken.
    #[inline]
    #[must_use]
    pub fn label(&self, block: BlockId) -> &L {
        self.nodes.label(block.0)
    }

    /// The label, to be changed in place. The rank of a filed block may only be changed through
    /// [`move_to`](Self::move_to).
    #[inline]
    pub fn label_mut(&mut self, block: BlockId) -> &mut L {
        self.nodes.label_mut(block.0)
    }

    /// First byte of a block, from its region's start.
    #[inline]
    #[must_use]
    pub fn offset(&self, block: BlockId) -> u64 {
        u64::from(self.nodes.at(block.0).offset) << self.granule_bits
    }

    /// First granule of a block, from its region's start, and its granules.
    #[inline(always)]
    pub(crate) fn extent(&self, block: BlockId) -> (u32, u32) {
        let node = self.nodes.at(block.0);
        (node.offset, node.units)
    }

    /// Bytes of this many granules.
    #[inline(always)]
    pub(crate) fn bytes_of(&self, units: u32) -> u64 {
        u64::from(units) << self.granule_bits
    }

    /// Bytes of a block.
    #[inline]
    #[must_use]
    pub fn size(&self, block: BlockId) -> u64 {
        u64::from(self.nodes.at(block.0).units) << self.granule_bits
    }

    /// Bytes of a block that is known to be live.
    ///
    /// # Panics
    /// When it is not.
    #[inline(always)]
    pub(crate) fn live_bytes(&self, block: BlockId) -> u64 {
        let node = &self.nodes.nodes.as_slice()[block.0 as usize];
        assert!(node.shelf == LIVE, "freed a block that is not live");
        u64::from(node.units) << self.granule_bits
    }

    /// The region of a block.
    #[inline]
    #[must_use]
    pub fn region(&self, block: BlockId) -> RegionId {
        RegionId(u32::from(self.nodes.at(block.0).region))
    }

    /// The block is a live one of this allocator.
    #[inline]
    #[must_use]
    pub fn is_live(&self, block: BlockId) -> bool {
        self.nodes.get(block.0).is_some_and(|node| node.shelf == LIVE)
    }

    /// The shelf that a block is filed on; `None` for a live one.
    #[inline]
    #[must_use]
    pub fn shelf_of(&self, block: BlockId) -> Option<u32> {
        let shelf = self.nodes.at(block.0).shelf;
        (shelf < LOOSE).then_some(u32::from(shelf))
    }

    /// The regions there are.
    pub fn regions(&self) -> impl Iterator<Item = RegionId> {
        let regions = (0..).zip(&self.regions).filter(|(_, region)| region.edge != NONE);
        regions.map(|(index, _)| RegionId(index))
    }

    /// The blocks of a region in order of offset. O(1) a step.
    pub fn blocks(&self, region: RegionId) -> impl Iterator<Item = BlockId> {
        let edge = self.regions.get(region.0 as usize).map_or(NONE, |region| region.edge);
        let mut at = edge;
        core::iter::from_fn(move || {
            at = self.nodes.get(at)?.right.id();
            (at != edge).then_some(BlockId(at))
        })
    }
}

/// What [`Tlsf::take`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The live block.
    pub block: BlockId,
    /// The free block was used up: the live block bears its id.
    pub source_gone: bool,
    /// What remains on the far side, to be inserted by the caller.
    pub loose: Option<BlockId>,
}

#[cfg(test)]
mod tests;
