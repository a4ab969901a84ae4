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
pub mod placement;
mod quick;
mod runs;
mod search;
mod shelf;

use runs::Runs;
use shelf::{Link, Lists, NONE, Shelf, SizeClasses};

pub(crate) use quick::InHand;

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

/// How a [`Tlsf`] counts and classes sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Every offset and size is a multiple of this many bytes; a power of two.
    pub granule: u64,
    /// Each power of two of sizes is cut into `2^second_level_bits` bins; 3 to 6.
    pub second_level_bits: u8,
    /// Where requests are placed.
    pub placement: Placement,
}

impl Default for Config {
    fn default() -> Self {
        Self { granule: 256, second_level_bits: 5, placement: Placement::FAST }
    }
}

impl Config {
    /// A request in granules; `None` when it exceeds what any region could hold.
    #[inline]
    #[must_use]
    pub fn need(&self, bytes: u64, alignment: u64) -> Option<Need> {
        let granule_bits = self.granule.trailing_zeros();
        let units = bytes.checked_add(self.granule.saturating_sub(1))?.checked_shr(granule_bits)?;
        let align = alignment.checked_shr(granule_bits)?.max(1);
        let units = u32::try_from(units).ok()?.max(1);
        let align = u32::try_from(align).ok()?;
        units.checked_add(align - 1)?;
        Some(Need::new(units, align, self.placement.is_large(bytes)))
    }
}

/// The most blocks, live and free, that can be numbered: their metadata alone would fill 16 GiB. Owners
/// may rely on the upper bits of an id being 0.
pub const MAX_BLOCKS: u32 = 1 << 28;

/// `shelf` of a block that is reserved.
const LIVE: u16 = u16::MAX;
/// `shelf` of a node that is no block.
const VACANT: u16 = u16::MAX - 1;
/// `shelf` of a region's edge, the node before its first block and after its last: never free, of no size.
const EDGE: u16 = u16::MAX - 2;
/// `shelf` of a free block between two shelves, in the middle of an operation of the caller.
const LOOSE: u16 = u16::MAX - 3;

/// A neighbour by address, and whether it is filed on a shelf: most blocks are freed between live ones, and then
/// no neighbour, which may be anywhere in memory, has to arrive before the rest can go on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Beside(u32);

impl Beside {
    /// Above the bits of an id.
    const FILED: u32 = 1 << 31;

    #[inline(always)]
    const fn held(id: u32) -> Self {
        Self(id)
    }

    #[inline(always)]
    const fn filed(id: u32) -> Self {
        Self(id | Self::FILED)
    }

    #[inline(always)]
    const fn id(self) -> u32 {
        self.0 & !Self::FILED
    }

    #[inline(always)]
    const fn is_filed(self) -> bool {
        self.0 & Self::FILED != 0
    }
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_filed() { "filed" } else { "held" };
        write!(f, "{what}#{}", self.id())
    }
}

/// What every walk over neighbours and bins reads: half a cache line, and never parts of two.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
struct Node {
    /// In granules from the region's start.
    offset: u32,
    /// In granules.
    units: u32,
    /// Neighbours by address: a ring through all blocks of the region and its edge.
    left: Beside,
    right: Beside,
    /// Neighbours in the bin. For a vacant node, `next` links the vacant ones; for a live one, `next` is its birth:
    /// when it was handed out, on a counter that wraps.
    link: Link,
    run: u32,
    region: u16,
    shelf: u16,
}

/// Labels stand apart: a look at a neighbour seldom goes on to its label, and the nodes of a large heap fit a cache
/// that both would not.
#[derive(Debug)]
struct Nodes<L> {
    nodes: Vec<Node>,
    labels: Vec<L>,
}

// Here and on other usual ways the index is into a slice: where code is made small, one into a vector is a call.
impl<L> Nodes<L> {
    const fn new() -> Self {
        Self { nodes: Vec::new(), labels: Vec::new() }
    }

    #[inline(always)]
    fn at(&self, id: u32) -> &Node {
        &self.nodes.as_slice()[id as usize]
    }

    #[inline(always)]
    fn at_mut(&mut self, id: u32) -> &mut Node {
        &mut self.nodes.as_mut_slice()[id as usize]
    }

    #[inline(always)]
    fn get(&self, id: u32) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    #[inline(always)]
    fn label(&self, id: u32) -> &L {
        &self.labels.as_slice()[id as usize]
    }

    #[inline(always)]
    fn label_mut(&mut self, id: u32) -> &mut L {
        &mut self.labels.as_mut_slice()[id as usize]
    }
}

impl<L> Lists for Nodes<L> {
    #[inline(always)]
    fn link(&mut self, id: u32) -> &mut Link {
        &mut self.at_mut(id).link
    }
    #[inline(always)]
    fn link_ref(&self, id: u32) -> &Link {
        &self.at(id).link
    }
    #[inline(always)]
    fn units(&self, id: u32) -> u32 {
        self.at(id).units
    }
}

impl Lists for [Node] {
    #[inline(always)]
    fn link(&mut self, id: u32) -> &mut Link {
        &mut self[id as usize].link
    }
    #[inline(always)]
    fn link_ref(&self, id: u32) -> &Link {
        &self[id as usize].link
    }
    #[inline(always)]
    fn units(&self, id: u32) -> u32 {
        self[id as usize].units
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

/// A request in granules.
///
/// One word, because it is handed down through every search: a struct of parts would be written and read again
/// at each step.
#[derive(Clone, Copy)]
pub struct Need(u64);

impl Need {
    const ALIGN_SHIFT: u32 = 32;
    const LARGE: u64 = 1 << 63;

    /// `align` is a power of two.
    #[inline(always)]
    const fn new(units: u32, align: u32, large: bool) -> Self {
        let large = if large { Self::LARGE } else { 0 };
        Self(units as u64 | (align.trailing_zeros() as u64) << Self::ALIGN_SHIFT | large)
    }

    /// Bytes that will be taken, in granules of the allocator.
    #[inline(always)]
    #[must_use]
    pub const fn units(self) -> u32 {
        self.0 as u32
    }

    /// Alignment in granules, a power of two.
    #[inline(always)]
    pub(crate) const fn align(self) -> u32 {
        1 << ((self.0 >> Self::ALIGN_SHIFT) as u32 & 31)
    }

    /// Whether it follows the rule for large requests.
    #[inline(always)]
    const fn is_large(self) -> bool {
        self.0 & Self::LARGE != 0
    }
}

impl fmt::Debug for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Need")
            .field("units", &self.units())
            .field("align", &self.align())
            .field("large", &self.is_large())
            .finish()
    }
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
            left: Beside::held(0),
            right: Beside::held(0),
            link: Link::ALONE,
            run: NONE,
            region: index,
            shelf: EDGE,
        };
        let Some(edge) = self.new_node(edge, label) else {
            self.vacant_regions.push(index);
            return Err(TlsfError::Full);
        };
        let (left, right) = (Beside::held(edge), Beside::held(edge));
        let block = Node { units, left, right, shelf: LOOSE, ..*self.nodes.at(edge) };
        let Some(block) = self.new_node(block, label) else {
            self.drop_node(edge);
            self.vacant_regions.push(index);
            return Err(TlsfError::Full);
        };
        let node = self.nodes.at_mut(edge);
        (node.left, node.right) = (Beside::held(block), Beside::held(block));
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
