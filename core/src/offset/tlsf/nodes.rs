//! Blocks in memory: what a block knows of itself and of its neighbours, and its label beside it.

use super::shelf::{Link, Lists};
use alloc::vec::Vec;
use core::fmt;

/// The most blocks, live and free, that can be numbered: their metadata alone would fill 16 GiB. Owners
/// may rely on the upper bits of an id being 0.
pub const MAX_BLOCKS: u32 = 1 << 28;

/// `shelf` of a block that is reserved.
pub(super) const LIVE: u16 = u16::MAX;
/// `shelf` of a node that is no block.
pub(super) const VACANT: u16 = u16::MAX - 1;
/// `shelf` of a region's edge, the node before its first block and after its last: never free, of no size.
pub(super) const EDGE: u16 = u16::MAX - 2;
/// `shelf` of a free block between two shelves, in the middle of an operation of the caller.
pub(super) const LOOSE: u16 = u16::MAX - 3;

/// A neighbour by address, and whether it is filed on a shelf: most blocks are freed between live ones, and then
/// no neighbour, which may be anywhere in memory, has to arrive before the rest can go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct NeighbourId(u32);

impl NeighbourId {
    /// Above the bits of an id.
    const FILED: u32 = 1 << 31;

    #[inline(always)]
    pub(super) const fn held(id: u32) -> Self {
        Self(id)
    }

    #[inline(always)]
    pub(super) const fn filed(id: u32) -> Self {
        Self(id | Self::FILED)
    }

    #[inline(always)]
    pub(super) const fn id(self) -> u32 {
        self.0 & !Self::FILED
    }

    #[inline(always)]
    pub(super) const fn is_filed(self) -> bool {
        self.0 & Self::FILED != 0
    }
}

impl fmt::Debug for NeighbourId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_filed() { "filed" } else { "held" };
        write!(f, "{what}#{}", self.id())
    }
}

/// What every walk over neighbours and bins reads: half a cache line, and never parts of two.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct Node {
    /// In granules from the region's start.
    pub(super) offset: u32,
    /// In granules.
    pub(super) units: u32,
    /// Neighbours by address: a ring through all blocks of the region and its edge.
    pub(super) left: NeighbourId,
    pub(super) right: NeighbourId,
    /// Neighbours in the bin. For a vacant node, `next` links the vacant ones; for a live one, `next` is its birth:
    /// when it was handed out, on a counter that wraps.
    pub(super) link: Link,
    pub(super) run: u32,
    pub(super) region: u16,
    pub(super) shelf: u16,
}

/// Labels stand apart: a look at a neighbour seldom goes on to its label, and the nodes of a large heap fit a cache
/// that both would not.
#[derive(Debug)]
pub(super) struct Nodes<L> {
    pub(super) nodes: Vec<Node>,
    pub(super) labels: Vec<L>,
}

// Here and on other usual ways the index is into a slice: where code is made small, one into a vector is a call.
impl<L> Nodes<L> {
    pub(super) const fn new() -> Self {
        Self { nodes: Vec::new(), labels: Vec::new() }
    }

    #[inline(always)]
    pub(super) fn at(&self, id: u32) -> &Node {
        &self.nodes.as_slice()[id as usize]
    }

    #[inline(always)]
    pub(super) fn at_mut(&mut self, id: u32) -> &mut Node {
        &mut self.nodes.as_mut_slice()[id as usize]
    }

    #[inline(always)]
    pub(super) fn get(&self, id: u32) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    #[inline(always)]
    pub(super) fn label(&self, id: u32) -> &L {
        &self.labels.as_slice()[id as usize]
    }

    #[inline(always)]
    pub(super) fn label_mut(&mut self, id: u32) -> &mut L {
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
