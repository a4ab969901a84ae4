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
//! - A run is 2 to [`MAX_RUN`] adjacent free blocks of one region, filed under the sum of their sizes.
//!
//! # Cost
//! Every operation is O(1): two bit scans, a few links, and walks that are bounded by constants
//! ([`MAX_RUN`], the placement's scan limit). A block takes 64 bytes of metadata for a label of up to 24.

use alloc::vec::Vec;
use core::fmt;

mod check;
pub mod placement;
mod runs;
mod shelf;

use runs::Runs;
use shelf::{Link, NONE, Lists, Shelf, SizeClasses};

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

/// What a free block carries for its owner.
pub trait Label: Copy + fmt::Debug {
    /// Within a bin, a block goes behind the others when its rank is at least the last one's, and before
    /// them otherwise: blocks that are freed by ascending rank stand in order. Rank 0 always goes first.
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

/// `shelf` of a block that is reserved.
const LIVE: u32 = u32::MAX;
/// `shelf` of a node that is no block.
const VACANT: u32 = u32::MAX - 1;
/// `shelf` of a free block between two shelves, in the middle of an operation of the caller.
const LOOSE: u32 = u32::MAX - 2;

/// One block. 40 bytes and the label: with a label of up to 24 bytes, one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Node<L> {
    /// In granules from the region's start.
    offset: u32,
    /// In granules.
    units: u32,
    /// Neighbours by address; `NONE` at the region's ends.
    left: u32,
    right: u32,
    /// Neighbours in the bin. For a vacant node, `next` links the vacant ones.
    link: Link,
    region: u32,
    run: u32,
    shelf: u32,
    /// When the block was last handed out, on a counter that wraps.
    birth: u32,
    label: L,
}

#[derive(Debug)]
struct Nodes<L>(Vec<Node<L>>);

impl<L> Lists for Nodes<L> {
    #[inline]
    fn link(&mut self, id: u32) -> &mut Link {
        &mut self.0[id as usize].link
    }
    #[inline]
    fn link_ref(&self, id: u32) -> &Link {
        &self.0[id as usize].link
    }
}

#[derive(Debug)]
struct Region {
    /// `NONE` when the slot is vacant.
    first: u32,
    units: u32,
    live: u32,
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
    vacant_regions: Vec<u32>,
    shelves: Vec<Shelf>,
    runs: Runs,
    births: u32,
}

/// A request in granules.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    units: u32,
    /// Alignment in granules, a power of two.
    align: u32,
    /// Which end of a block to cut it from.
    carve: Carve,
}

impl Need {
    /// Bytes that will be taken, in granules of the allocator.
    #[must_use]
    pub const fn units(&self) -> u32 {
        self.units
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
            nodes: Nodes(Vec::new()),
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
        self.nodes.0.len()
    }

    /// Makes an empty shelf; shelves are numbered from 0.
    pub fn add_shelf(&mut self) -> u32 {
        self.shelves.push(Shelf::new(self.classes));
        (self.shelves.len() - 1) as u32
    }

    /// Bytes of free blocks on `shelf`.
    #[must_use]
    pub fn shelf_bytes(&self, shelf: u32) -> u64 {
        self.shelves[shelf as usize].units << self.granule_bits
    }

    /// Free blocks on `shelf`.
    #[must_use]
    pub fn shelf_len(&self, shelf: u32) -> u32 {
        self.shelves[shelf as usize].len
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
                let index = u32::try_from(self.regions.len()).map_err(|_| TlsfError::Full)?;
                self.regions.push(Region { first: NONE, units: 0, live: 0 });
                index
            }
        };
        let Some(first) = self.new_node(Node {
            offset: 0,
            units,
            left: NONE,
            right: NONE,
            link: Link::ALONE,
            region: index,
            run: NONE,
            shelf: LOOSE,
            birth: self.births,
            label,
        }) else {
            self.vacant_regions.push(index);
            return Err(TlsfError::Full);
        };
        self.regions[index as usize] = Region { first, units, live: 0 };
        Ok((RegionId(index), BlockId(first)))
    }

    /// Removes a region that is one free block, which leaves its shelf. Returns whether it was so.
    ///
    /// # Panics
    /// When the region was removed before.
    pub fn remove_region(&mut self, region: RegionId) -> bool {
        let Region { first, units, .. } = self.regions[region.0 as usize];
        let node = &self.nodes.0[first as usize];
        if node.units != units || node.shelf == LIVE {
            return false;
        }
        if node.shelf != LOOSE {
            self.remove(BlockId(first));
        }
        self.drop_node(first);
        self.regions[region.0 as usize].first = NONE;
        self.vacant_regions.push(region.0);
        true
    }

    /// The only block of a region that is wholly free and merged, if it is.
    #[must_use]
    pub fn sole_free_block(&self, region: RegionId) -> Option<BlockId> {
        let Region { first, units, live } = self.regions[region.0 as usize];
        (first != NONE && live == 0 && self.nodes.0[first as usize].units == units)
            .then_some(BlockId(first))
    }

    /// Live blocks of a region.
    #[must_use]
    pub fn live_blocks(&self, region: RegionId) -> u32 {
        self.regions[region.0 as usize].live
    }

    /// The request as this allocator counts; `None` when it exceeds what any region could hold.
    #[inline]
    #[must_use]
    pub fn need(&self, bytes: u64, alignment: u64) -> Option<Need> {
        let units = bytes.checked_add(self.config.granule - 1)? >> self.granule_bits;
        let align = (alignment >> self.granule_bits).max(1);
        let units = u32::try_from(units).ok()?.max(1);
        let align = u32::try_from(align).ok()?;
        units.checked_add(align - 1)?;
        Some(Need { units, align, carve: self.config.placement.carve(bytes) })
    }

    /// Looks on one shelf for a place, as the placement policy says.
    #[inline]
    #[must_use]
    pub fn find(&self, shelf: u32, need: Need) -> Option<Place> {
        self.find_where(shelf, need, |_| true)
    }

    /// [`find`](Self::find) among the blocks whose label `admits`.
    ///
    /// Where not every label is admitted, a bin that holds none among the blocks looked at is
    /// passed over: the search is bounded by the number of bins, never by the number of blocks.
    #[inline]
    pub fn find_where(&self, shelf: u32, need: Need, admits: impl Fn(&L) -> bool) -> Option<Place> {
        match self.config.placement.search {
            Search::Head => self.head_fit(shelf, need, admits),
            Search::Best { scan, tie } => self.best_fit(shelf, need, scan, tie, admits),
        }
    }

    #[inline]
    fn head_fit(&self, shelf: u32, need: Need, admits: impl Fn(&L) -> bool) -> Option<Place> {
        let shelf = &self.shelves[shelf as usize];
        if shelf.len == 0 {
            return None;
        }
        let own = self.classes.floor(need.units);
        if shelf.next_bin(own) == Some(own) {
            let head = shelf.head(own);
            if admits(&self.nodes.0[head as usize].label)
                && let Some(place) = self.fits(head, need, own)
            {
                return Some(place);
            }
        }
        // `need` made sure that this does not overflow. Every block from here on fits.
        let surely = self.classes.ceil(need.units + (need.align - 1)).max(own + 1);
        let mut bin = surely;
        while let Some(found) = shelf.next_bin(bin) {
            let head = shelf.head(found);
            if admits(&self.nodes.0[head as usize].label) {
                return self.fits(head, need, found);
            }
            // Low ranks tend to stand first: if none of the first few is admitted, the rest hardly is.
            let place = self.scan_bin(shelf, found, need, RANKED_SCAN, Tie::First, &admits);
            if place.is_some() {
                return place;
            }
            bin = found + 1;
        }
        // Behind the heads of the bins below, a block that fits may stand.
        let mut bin = own;
        while let Some(found) = shelf.next_bin(bin).filter(|&found| found < surely) {
            let place = self.scan_bin(shelf, found, need, LAST_RESORT_SCAN, Tie::First, &admits);
            if place.is_some() {
                return place;
            }
            bin = found + 1;
        }
        None
    }

    fn best_fit(
        &self,
        shelf: u32,
        need: Need,
        scan: u16,
        tie: Tie,
        admits: impl Fn(&L) -> bool,
    ) -> Option<Place> {
        let shelf = &self.shelves[shelf as usize];
        let mut bin = self.classes.floor(need.units);
        loop {
            bin = shelf.next_bin(bin)?;
            if let Some(place) = self.scan_bin(shelf, bin, need, scan, tie, &admits) {
                let tightness = self.nodes.0[place.block.0 as usize].units;
                return Some(Place { tightness, ..place });
            }
            bin += 1;
        }
    }

    /// The tightest admitted fit among the first `limit` blocks of a bin.
    fn scan_bin(
        &self,
        shelf: &Shelf,
        bin: u32,
        need: Need,
        limit: u16,
        tie: Tie,
        admits: &impl Fn(&L) -> bool,
    ) -> Option<Place> {
        let mut at = shelf.head(bin);
        let mut best: Option<(u32, (u32, u32), Place)> = None;
        for _ in 0..limit {
            let node = &self.nodes.0[at as usize];
            let (units, address) = (node.units, (node.region, node.offset));
            let better = units >= need.units
                && best.is_none_or(|(least, other, _)| {
                    units < least || units == least && tie.prefers(address, other)
                });
            if better
                && admits(&node.label)
                && let Some(place) = self.fits(at, need, bin)
            {
                best = Some((units, address, place));
            }
            at = node.link.next;
            if at == NONE {
                break;
            }
        }
        best.map(|(.., place)| place)
    }

    /// Which end of a free block the request is cut from, by the placement's rule.
    #[inline]
    fn end(&self, node: &Node<L>, need: Need) -> Side {
        let neighbour = |id: u32| {
            let node = self.nodes.0.get(id as usize)?;
            Some(placement::Neighbour { units: node.units, birth: node.birth })
        };
        match need.carve {
            Carve::Low => Side::Left,
            Carve::High => Side::Right,
            rule => rule.end(need.units, neighbour(node.left), neighbour(node.right)),
        }
    }

    /// Where in a block the request would lie, if it fits.
    #[inline]
    fn fits(&self, id: u32, need: Need, bin: u32) -> Option<Place> {
        let node = &self.nodes.0[id as usize];
        if node.units < need.units {
            return None;
        }
        // Used up as a whole, there is no end to choose.
        let end = if node.units == need.units { Side::Left } else { self.end(node, need) };
        let start = place_in(node.offset, node.units, need, end)?;
        Some(Place { block: BlockId(id), start, units: need.units, tightness: bin })
    }

    /// Where in a given free block the request would lie, if it fits.
    #[must_use]
    pub fn fits_in(&self, block: BlockId, need: Need) -> Option<Place> {
        let bin = self.classes.floor(self.nodes.0[block.0 as usize].units);
        self.fits(block.0, need, bin)
    }

    /// Takes the place: returns the block that is now live and whether the free block it was cut from is
    /// gone (it was used up, so its label is the owner's to clean up). What remains of the free block keeps
    /// its id, shelf and label; a second remainder, which alignment can leave on the far side, is
    /// returned loose.
    ///
    /// The free block must be filed on a shelf. `None` when no more blocks can be numbered; nothing has
    /// changed then.
    #[inline]
    pub fn take(&mut self, place: Place) -> Option<Taken> {
        let id = place.block.0;
        let Node { offset, units, shelf, run, region, label, .. } = self.nodes.0[id as usize];
        debug_assert!(shelf < LOOSE, "taken from a block that is not filed");
        let before = place.start - offset;
        let after = units - before - place.units;
        let region_index = region as usize;
        self.births = self.births.wrapping_add(1);
        let birth = self.births;
        if before == 0 && after == 0 {
            self.unfile(id);
            if run != NONE {
                self.runs.cut(&mut self.nodes, id, Side::Left);
                self.runs.cut(&mut self.nodes, id, Side::Right);
            }
            let node = &mut self.nodes.0[id as usize];
            node.shelf = LIVE;
            node.birth = birth;
            self.regions[region_index].live += 1;
            return Some(Taken { block: place.block, source_gone: true, loose: None });
        }
        // All nodes that are needed, or none.
        let live = self.new_node(Node {
            offset: place.start,
            units: place.units,
            left: NONE,
            right: NONE,
            link: Link::ALONE,
            region,
            run: NONE,
            shelf: LIVE,
            birth,
            label,
        })?;
        let far = if before > 0 && after > 0 {
            let Some(far) = self.new_node(Node {
                offset: place.start + place.units,
                units: after,
                left: NONE,
                right: NONE,
                link: Link::ALONE,
                region,
                run: NONE,
                shelf: LOOSE,
                birth,
                label,
            }) else {
                self.drop_node(live);
                return None;
            };
            Some(far)
        } else {
            None
        };
        // What remains under the old id: the left part if there is one, else the right part.
        let (keep_offset, keep_units) =
            if before > 0 { (offset, before) } else { (offset + place.units, after) };
        if run != NONE {
            // The live part parts the run; what is kept stays with the neighbour on its own side.
            let side = if before == 0 { Side::Left } else { Side::Right };
            self.runs.cut(&mut self.nodes, id, side);
        }
        self.resize(id, keep_offset, keep_units);
        if before > 0 {
            self.link_after(id, live);
            if let Some(far) = far {
                self.link_after(live, far);
            }
        } else {
            self.link_before(id, live);
        }
        self.regions[region_index].live += 1;
        Some(Taken { block: BlockId(live), source_gone: false, loose: far.map(BlockId) })
    }

    /// Marks a live block free; it is loose until [`insert`](Self::insert)ed or
    /// [`absorb`](Self::absorb)ed.
    ///
    /// # Panics
    /// When the block is not live.
    #[inline]
    pub fn loosen(&mut self, block: BlockId) {
        let node = &mut self.nodes.0[block.0 as usize];
        assert!(node.shelf == LIVE, "freed a block that is not live");
        node.shelf = LOOSE;
        self.regions[node.region as usize].live -= 1;
    }

    /// A loose block becomes live as it is.
    ///
    /// # Panics
    /// When the block is not loose.
    pub fn enliven(&mut self, block: BlockId) {
        let node = &mut self.nodes.0[block.0 as usize];
        assert!(node.shelf == LOOSE, "only a loose block can be made live");
        node.shelf = LIVE;
        self.regions[node.region as usize].live += 1;
    }

    /// The free neighbour on one side and its shelf, if there is one on any shelf.
    #[inline]
    #[must_use]
    pub fn neighbour(&self, block: BlockId, side: Side) -> Option<(BlockId, u32)> {
        let node = &self.nodes.0[block.0 as usize];
        let at = match side {
            Side::Left => node.left,
            Side::Right => node.right,
        };
        if at == NONE {
            return None;
        }
        let shelf = self.nodes.0[at as usize].shelf;
        (shelf < LOOSE).then_some((BlockId(at), shelf))
    }

    /// Merges a filed neighbour into the loose or filed `block`; the neighbour is gone. A filed
    /// block stays filed, under its new size.
    ///
    /// # Panics
    /// When the two are not adjacent.
    #[inline]
    pub fn absorb(&mut self, block: BlockId, neighbour: BlockId) {
        let (b, n) = (block.0, neighbour.0);
        let from_left = self.nodes.0[n as usize].right == b;
        assert!(from_left || self.nodes.0[n as usize].left == b, "absorbed a block far away");
        self.unfile(n);
        let n_run = self.nodes.0[n as usize].run;
        let one_run = n_run != NONE && n_run == self.nodes.0[b as usize].run;
        if one_run {
            self.runs.leave(&mut self.nodes, n);
        } else if n_run != NONE {
            // `n` stands at the end of its run that faces `b`: cut off on the far side it is alone.
            let far = if from_left { Side::Left } else { Side::Right };
            self.runs.cut(&mut self.nodes, n, far);
        }
        let Node { offset: n_offset, units: n_units, left, right, .. } = self.nodes.0[n as usize];
        let Node { offset, units, shelf, region, .. } = self.nodes.0[b as usize];
        let offset = if from_left { n_offset } else { offset };
        if from_left {
            self.nodes.0[b as usize].left = left;
            if left == NONE {
                self.regions[region as usize].first = b;
            } else {
                self.nodes.0[left as usize].right = b;
            }
        } else {
            self.nodes.0[b as usize].right = right;
            if right != NONE {
                self.nodes.0[right as usize].left = b;
            }
        }
        self.drop_node(n);
        if shelf == LOOSE {
            let node = &mut self.nodes.0[b as usize];
            node.offset = offset;
            node.units = units + n_units;
        } else {
            self.resize(b, offset, units + n_units);
            if !one_run {
                self.join_runs(b);
            }
        }
    }

    /// Files a loose block on a shelf.
    #[inline]
    pub fn insert(&mut self, block: BlockId, shelf: u32, label: L) {
        let id = block.0;
        let node = &mut self.nodes.0[id as usize];
        debug_assert!(node.shelf == LOOSE, "filed a block that is not loose");
        node.shelf = shelf;
        node.label = label;
        self.file(id);
        self.join_runs(id);
    }

    /// Takes a free block off its shelf and out of its run; it is loose then.
    pub fn remove(&mut self, block: BlockId) {
        let id = block.0;
        self.unfile(id);
        if self.nodes.0[id as usize].run != NONE {
            self.runs.cut(&mut self.nodes, id, Side::Left);
            self.runs.cut(&mut self.nodes, id, Side::Right);
        }
        self.nodes.0[id as usize].shelf = LOOSE;
    }

    /// Moves a free block to another shelf under another label. It stays in its run.
    pub fn move_to(&mut self, block: BlockId, shelf: u32, label: L) {
        let id = block.0;
        self.unfile(id);
        let node = &mut self.nodes.0[id as usize];
        node.shelf = shelf;
        node.label = label;
        self.file(id);
    }

    /// The label of a block: of a free one as filed, of a live one as [`set_label`](Self::set_label).
    #[inline]
    #[must_use]
    pub fn label(&self, block: BlockId) -> &L {
        &self.nodes.0[block.0 as usize].label
    }

    /// The label, to be changed in place. The rank of a filed block may only be changed through
    /// [`move_to`](Self::move_to).
    #[inline]
    pub fn label_mut(&mut self, block: BlockId) -> &mut L {
        &mut self.nodes.0[block.0 as usize].label
    }

    /// First byte of a block, from its region's start.
    #[inline]
    #[must_use]
    pub fn offset(&self, block: BlockId) -> u64 {
        u64::from(self.nodes.0[block.0 as usize].offset) << self.granule_bits
    }

    /// Bytes of a block.
    #[inline]
    #[must_use]
    pub fn size(&self, block: BlockId) -> u64 {
        u64::from(self.nodes.0[block.0 as usize].units) << self.granule_bits
    }

    /// The region of a block.
    #[inline]
    #[must_use]
    pub fn region(&self, block: BlockId) -> RegionId {
        RegionId(self.nodes.0[block.0 as usize].region)
    }

    /// The block is a live one of this allocator.
    #[inline]
    #[must_use]
    pub fn is_live(&self, block: BlockId) -> bool {
        self.nodes.0.get(block.0 as usize).is_some_and(|node| node.shelf == LIVE)
    }

    /// The shelf that a block is filed on; `None` for a live one.
    #[inline]
    #[must_use]
    pub fn shelf_of(&self, block: BlockId) -> Option<u32> {
        let shelf = self.nodes.0[block.0 as usize].shelf;
        (shelf < LOOSE).then_some(shelf)
    }

    /// The blocks of a region in order of offset. O(1) a step.
    pub fn blocks(&self, region: RegionId) -> impl Iterator<Item = BlockId> {
        let first = self.regions.get(region.0 as usize).map_or(NONE, |region| region.first);
        core::iter::successors((first != NONE).then_some(first), |&id| {
            let right = self.nodes.0[id as usize].right;
            (right != NONE).then_some(right)
        })
        .map(BlockId)
    }

    /// Free blocks of a shelf that could hold the request, tightest bins first, at most `per_bin` of a bin
    /// (by ascending rank) and `bins` bins.
    pub fn candidates(
        &self,
        shelf: u32,
        need: Need,
        bins: usize,
        per_bin: usize,
    ) -> impl Iterator<Item = Place> {
        let shelf = &self.shelves[shelf as usize];
        let mut bin = shelf.next_bin(self.classes.floor(need.units));
        core::iter::from_fn(move || {
            let at = bin?;
            bin = shelf.next_bin(at + 1);
            Some(at)
        })
        .take(bins)
        .flat_map(move |bin| {
            let head = shelf.head(bin);
            core::iter::successors((head != NONE).then_some(head), |&id| {
                let next = self.nodes.0[id as usize].link.next;
                (next != NONE).then_some(next)
            })
            .take(per_bin)
            .filter_map(move |id| self.fits(id, need, bin))
        })
    }

    /// Upper bound of the largest free block on `shelf`, exact up to the width of a bin. O(1).
    #[must_use]
    pub fn largest_on(&self, shelf: u32) -> u64 {
        let shelf = &self.shelves[shelf as usize];
        let Some(bin) = shelf.last_bin() else { return 0 };
        u64::from(self.nodes.0[shelf.head(bin) as usize].units) << self.granule_bits
    }

    /// Runs whose blocks sum up to at least the request, tightest first, at most `limit`.
    pub fn runs(&self, need: Need, limit: usize) -> impl Iterator<Item = RunId> {
        self.runs.at_least(need.units, limit)
    }

    /// The blocks of a run in order of offset; at most [`MAX_RUN`].
    pub fn run_blocks(&self, run: RunId) -> impl Iterator<Item = BlockId> {
        let (first, last) = self.runs.ends(run);
        core::iter::successors(Some(first), move |&id| {
            (id != last).then(|| self.nodes.0[id as usize].right)
        })
        .map(BlockId)
    }

    /// Whether the request fits into adjacent blocks from `first` to `last`, once they are merged.
    #[must_use]
    pub fn fits_span(&self, first: BlockId, last: BlockId, need: Need) -> bool {
        let (a, b) = (&self.nodes.0[first.0 as usize], &self.nodes.0[last.0 as usize]);
        place_in(a.offset, b.offset + b.units - a.offset, need, Side::Left).is_some()
    }

    /// Whether taking the place uses its free block up.
    #[inline]
    #[must_use]
    pub fn uses_up(&self, place: Place) -> bool {
        self.nodes.0[place.block.0 as usize].units == place.units
    }

    /// The parts of adjacent filed blocks, from `first` to `last`, that the request takes together, in
    /// order; to be [`take`](Self::take)n one by one and [`fuse`](Self::fuse)d. `None` when they
    /// do not hold the request.
    pub fn span_places(&self, first: BlockId, last: BlockId, need: Need) -> Option<Vec<Place>> {
        let (a, b) = (&self.nodes.0[first.0 as usize], &self.nodes.0[last.0 as usize]);
        let start = place_in(a.offset, b.offset + b.units - a.offset, need, Side::Left)?;
        let end = start + need.units;
        let mut places = Vec::new();
        let mut at = first.0;
        loop {
            let node = &self.nodes.0[at as usize];
            let from = start.max(node.offset);
            let to = end.min(node.offset + node.units);
            if from < to {
                places.push(Place {
                    block: BlockId(at),
                    start: from,
                    units: to - from,
                    tightness: self.classes.floor(node.units),
                });
            }
            if at == last.0 {
                return Some(places);
            }
            at = node.right;
        }
    }

    /// Makes one live block of two adjacent live ones, under the id of `left`.
    ///
    /// # Panics
    /// When they are not live neighbours.
    pub fn fuse(&mut self, left: BlockId, right: BlockId) {
        let Node { units, right: next, shelf, region, .. } = self.nodes.0[right.0 as usize];
        let node = &mut self.nodes.0[left.0 as usize];
        assert!(
            node.right == right.0 && node.shelf == LIVE && shelf == LIVE,
            "fused blocks that are not live neighbours"
        );
        node.units += units;
        node.right = next;
        if next != NONE {
            self.nodes.0[next as usize].left = left.0;
        }
        self.regions[region as usize].live -= 1;
        self.drop_node(right.0);
    }

    /// Frees a live block on shelf 0 and merges it with both neighbours there: the plain allocator,
    /// for owners that keep one shelf.
    pub fn free(&mut self, block: BlockId, label: L) -> BlockId {
        self.loosen(block);
        for side in [Side::Left, Side::Right] {
            if let Some((neighbour, 0)) = self.neighbour(block, side) {
                self.absorb(block, neighbour);
            }
        }
        self.insert(block, 0, label);
        block
    }

    #[inline]
    fn file(&mut self, id: u32) {
        let Node { units, shelf, label, .. } = self.nodes.0[id as usize];
        let rank = label.rank();
        let shelf = &mut self.shelves[shelf as usize];
        if rank == 0 {
            shelf.insert_front(&mut self.nodes, id, units);
        } else {
            shelf.insert_ranked(&mut self.nodes, id, units, |nodes, other| {
                nodes.0[other as usize].label.rank() <= rank
            });
        }
    }

    #[inline]
    fn unfile(&mut self, id: u32) {
        let Node { units, shelf, .. } = self.nodes.0[id as usize];
        self.shelves[shelf as usize].remove(&mut self.nodes, id, units);
    }

    /// Gives a filed block another extent, re-filing it if its bin changes.
    #[inline]
    fn resize(&mut self, id: u32, offset: u32, units: u32) {
        let Node { units: old, shelf, run, .. } = self.nodes.0[id as usize];
        let filed = &self.shelves[shelf as usize];
        // An unranked block comes first in its bin again: what was touched last is taken first.
        let in_place = filed.same_bin(old, units)
            && (self.nodes.0[id as usize].label.rank() != 0 || filed.is_head(id, old));
        if in_place {
            self.shelves[shelf as usize].resized(old, units);
        } else {
            self.unfile(id);
        }
        let node = &mut self.nodes.0[id as usize];
        node.offset = offset;
        node.units = units;
        if !in_place {
            self.file(id);
        }
        if run != NONE {
            self.runs.resized(run, old, units);
        }
    }

    /// Joins a filed block with the runs or blocks that now stand beside it.
    #[inline]
    fn join_runs(&mut self, id: u32) {
        let Node { left, right, .. } = self.nodes.0[id as usize];
        if left != NONE && self.nodes.0[left as usize].shelf < LOOSE {
            self.runs.join(&mut self.nodes, left, id);
        }
        if right != NONE && self.nodes.0[right as usize].shelf < LOOSE {
            self.runs.join(&mut self.nodes, id, right);
        }
    }

    #[inline]
    fn new_node(&mut self, node: Node<L>) -> Option<u32> {
        if self.vacant != NONE {
            let id = self.vacant;
            let slot = &mut self.nodes.0[id as usize];
            self.vacant = slot.link.next;
            *slot = node;
            return Some(id);
        }
        // The last ids stand for "none" and the like.
        let id = u32::try_from(self.nodes.0.len()).ok().filter(|&id| id < LOOSE)?;
        self.nodes.0.push(node);
        Some(id)
    }

    #[inline]
    fn drop_node(&mut self, id: u32) {
        let node = &mut self.nodes.0[id as usize];
        node.shelf = VACANT;
        node.link.next = self.vacant;
        self.vacant = id;
    }

    #[inline]
    fn link_after(&mut self, at: u32, new: u32) {
        let right = self.nodes.0[at as usize].right;
        self.nodes.0[new as usize].left = at;
        self.nodes.0[new as usize].right = right;
        self.nodes.0[at as usize].right = new;
        if right != NONE {
            self.nodes.0[right as usize].left = new;
        }
    }

    #[inline]
    fn link_before(&mut self, at: u32, new: u32) {
        let left = self.nodes.0[at as usize].left;
        self.nodes.0[new as usize].right = at;
        self.nodes.0[new as usize].left = left;
        self.nodes.0[at as usize].left = new;
        if left == NONE {
            let region = self.nodes.0[at as usize].region;
            self.regions[region as usize].first = new;
        } else {
            self.nodes.0[left as usize].right = new;
        }
    }
}

/// What [`Tlsf::take`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The live block. Its label is a copy of the source's.
    pub block: BlockId,
    /// The free block was used up: the live block bears its id.
    pub source_gone: bool,
    /// What remains on the far side, to be inserted by the caller.
    pub loose: Option<BlockId>,
}

/// Blocks looked at in a bin whose blocks may or may not fit, before a head search gives up.
const LAST_RESORT_SCAN: u16 = 16;

/// Blocks looked at in a bin for one whose label is admitted.
const RANKED_SCAN: u16 = 4;

/// First granule of the request within a free extent, cut from one end.
#[inline]
fn place_in(offset: u32, units: u32, need: Need, end: Side) -> Option<u32> {
    if units < need.units {
        return None;
    }
    let mask = need.align - 1;
    let last = offset + (units - need.units);
    match end {
        Side::Left => {
            let start = offset.checked_add(mask)? & !mask;
            (start <= last).then_some(start)
        }
        Side::Right => {
            let start = last & !mask;
            (start >= offset).then_some(start)
        }
    }
}

#[cfg(test)]
mod tests;
