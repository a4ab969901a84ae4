//! The two operations that carry a pool's traffic, each in one pass: the first block of a bin is cut,
//! and a live block is freed together with what it merges with.
//!
//! ```text
//!   cut        │ left │        head        │      │ left │ live │   head   │
//!   release    │ free │ block │ free │            │        free         │
//! ```
//!
//! They do what [`find`](Tlsf::find) and [`take`](Tlsf::take), and [`absorb`](Tlsf::absorb) and
//! [`insert`](Tlsf::insert) do step by step, and leave whatever is rare (runs, alignment, closer searches)
//! to those. A freed block merges into its neighbour and not the other way round, so that only blocks
//! that had to be looked at anyway are written to.
//!
//! # Cost
//! O(1): at most two bins and three blocks besides the one at hand.

use super::placement::{Carve, Search};
use super::shelf::NONE;
use super::{BlockId, Detail, LIVE, LOOSE, Label, Need, Neighbour, Place, Side, Tlsf, VACANT};

/// The first block of a bin, large enough for the request it was found for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) block: BlockId,
    pub(crate) shelf: u32,
    bin: u32,
}

/// What [`Tlsf::cut_head`] made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) block: BlockId,
    /// First byte, from the region's start.
    pub(crate) offset: u64,
    /// Index of the region.
    pub(crate) region: u32,
}

impl<L: Label> Tlsf<L> {
    /// The tighter of the blocks that [`find`](Self::find) would see first on two shelves, the second
    /// shelf's of two equally tight ones; `b` is [`u32::MAX`] where there is no second. `None` says
    /// nothing: the request is not a plain one, or blocks that fit stand behind others.
    #[inline(always)]
    pub(crate) fn find_head(&self, a: u32, b: u32, need: Need) -> Option<Head> {
        if need.align != 1 || self.config.placement.search != Search::Head {
            return None;
        }
        let own = self.classes.floor(need.units);
        let surely = self.classes.ceil(need.units).max(own + 1);
        let (mut bin, mut shelf) = (NONE, b);
        if b != NONE {
            bin = self.head_bin(b, own, surely, need.units);
        }
        // Where the bins of the other shelf begin above, its heads need no look.
        let first = self.shelves[a as usize].first_bin(own);
        if first < bin {
            let other =
                if first >= surely { first } else { self.head_bin(a, own, surely, need.units) };
            if other < bin {
                (bin, shelf) = (other, a);
            }
        }
        if bin == NONE {
            return None;
        }
        Some(Head { block: BlockId(self.shelves[shelf as usize].head(bin)), shelf, bin })
    }

    /// The bin whose first block is taken: the request's own if that block fits, else the next one that
    /// is not empty, else `NONE`.
    #[inline(always)]
    fn head_bin(&self, shelf: u32, own: u32, surely: u32, units: u32) -> u32 {
        let shelf = &self.shelves[shelf as usize];
        let bin = shelf.first_bin(own);
        if bin >= surely || self.nodes.at(shelf.head(bin)).units >= units {
            return bin;
        }
        shelf.first_bin(surely)
    }

    /// Takes a request from the block that [`find_head`](Self::find_head) found for it. What remains of
    /// the free block keeps its id, shelf and label. `None` when no more blocks can be numbered; nothing
    /// has changed then.
    #[inline(always)]
    pub(crate) fn cut_head(&mut self, head: Head, need: Need, label: L) -> Option<Cut> {
        let Head { block: BlockId(id), shelf, bin } = head;
        let node = self.nodes.at(id);
        let (offset, units, region, next) = (node.offset, node.units, node.region, node.link.next);
        let (left, right) = (node.left, node.right);
        if node.run != NONE {
            return self.cut_run(head, need, label);
        }
        let rest = units - need.units;
        let filed = &mut self.shelves[shelf as usize];
        filed.units -= u64::from(need.units);
        if rest == 0 {
            filed.unlink_head(&mut self.nodes, bin, next);
            self.births = self.births.wrapping_add(1);
            *self.nodes.detail_mut(id) = Detail { label, birth: self.births };
            self.nodes.at_mut(id).shelf = LIVE;
            return Some(self.cut(id, offset, region));
        }
        let high = match need.carve {
            Carve::Low => false,
            Carve::High => true,
            _ => self.cuts_high(id, need),
        };
        let live = match self.vacant {
            NONE => self.more_nodes(shelf, need.units)?,
            live => live,
        };
        let rest_bin = self.classes.floor(rest);
        if rest_bin != bin {
            let rank = self.nodes.detail(id).label.rank();
            let filed = &mut self.shelves[shelf as usize];
            filed.unlink_head(&mut self.nodes, bin, next);
            filed.link(&mut self.nodes, id, rest_bin, rank);
        }
        self.births = self.births.wrapping_add(1);
        *self.nodes.detail_mut(live) = Detail { label, birth: self.births };
        let node = self.nodes.at_mut(id);
        node.units = rest;
        let start = if high {
            node.right = live;
            offset + rest
        } else {
            node.left = live;
            node.offset = offset + need.units;
            offset
        };
        let (left, right) = if high { (id, right) } else { (left, id) };
        let node = self.nodes.at_mut(live);
        self.vacant = node.link.next;
        node.offset = start;
        node.units = need.units;
        node.left = left;
        node.right = right;
        node.run = NONE;
        node.region = region;
        node.shelf = LIVE;
        if high {
            if right != NONE {
                self.nodes.at_mut(right).left = live;
            }
        } else {
            self.follow(left, live, region);
        }
        Some(self.cut(live, start, region))
    }

    #[inline(always)]
    fn cut(&self, id: u32, offset: u32, region: u16) -> Cut {
        let offset = u64::from(offset) << self.granule_bits;
        Cut { block: BlockId(id), offset, region: u32::from(region) }
    }

    /// `right` stands after `left` now, or first in its region.
    #[inline(always)]
    fn follow(&mut self, left: u32, right: u32, region: u16) {
        if left == NONE {
            self.regions[region as usize].first = right;
        } else {
            self.nodes.at_mut(left).right = right;
        }
    }

    /// The block is in a run, which is cut along with it.
    #[cold]
    #[inline(never)]
    fn cut_run(&mut self, head: Head, need: Need, label: L) -> Option<Cut> {
        let node = self.nodes.at(head.block.0);
        let high = self.cuts_high(head.block.0, need);
        let start = if high { node.offset + (node.units - need.units) } else { node.offset };
        let place = Place { block: head.block, start, units: need.units, tightness: head.bin };
        let taken = self.take(place, label)?;
        let node = self.nodes.at(taken.block.0);
        Some(self.cut(taken.block.0, node.offset, node.region))
    }

    #[inline(never)]
    fn cuts_high(&self, id: u32, need: Need) -> bool {
        let node = self.nodes.at(id);
        node.units != need.units && self.end(node, need) == Side::Right
    }

    /// A vacant node behind the others. On failure the units counted off are counted back.
    #[cold]
    #[inline(never)]
    fn more_nodes(&mut self, shelf: u32, units: u32) -> Option<u32> {
        let node = super::Node::VACANT;
        let label = self.nodes.details.first().map(|detail| detail.label);
        let Some(id) = label.and_then(|label| self.new_node(node, label)) else {
            self.shelves[shelf as usize].units += u64::from(units);
            return None;
        };
        Some(id)
    }

    /// Files a live or loose block on a shelf and merges it with its neighbours there; returns the
    /// block that bears it all. `join` is called for each neighbour that merges, with the block's label, the
    /// neighbour's, and whether the result bears the neighbour's id.
    ///
    /// # Panics
    /// When the block is neither live nor loose.
    #[inline(always)]
    pub(crate) fn release(
        &mut self,
        block: BlockId,
        shelf: u32,
        mut label: L,
        mut join: impl FnMut(&mut L, &mut L, bool),
    ) -> BlockId {
        let BlockId(id) = block;
        let node = self.nodes.at(id);
        let (offset, units, region) = (node.offset, node.units, node.region);
        let (left, right) = (node.left, node.right);
        assert!(node.shelf == LIVE || node.shelf == LOOSE, "freed a block that is not live");
        // Shelves are numbered in 16 bits.
        let on = shelf as u16;
        let beside = |id: u32| match self.nodes.nodes.get(id as usize) {
            Some(node) => (node.shelf, node.units, node.run),
            None => (LIVE, 0, NONE),
        };
        let (left_on, left_units, left_run) = beside(left);
        let (right_on, right_units, right_run) = beside(right);
        let (left_joins, right_joins) = (left_on == on, right_on == on);
        if !left_joins && left_on < LOOSE
            || !right_joins && right_on < LOOSE
            || left_joins && left_run != NONE
            || right_joins && right_run != NONE
        {
            return self.release_beside(block, shelf, label, join);
        }
        let filed = &mut self.shelves[shelf as usize];
        filed.units += u64::from(units);
        if !left_joins && !right_joins {
            let rank = label.rank();
            self.nodes.at_mut(id).shelf = on;
            self.nodes.detail_mut(id).label = label;
            filed.link(&mut self.nodes, id, self.classes.floor(units), rank);
            return block;
        }
        let (bears, total);
        if left_joins {
            filed.unlink(&mut self.nodes, left, self.classes.floor(left_units));
            join(&mut label, &mut self.nodes.detail_mut(left).label, true);
            let mut next = right;
            total = if right_joins {
                filed.unlink(&mut self.nodes, right, self.classes.floor(right_units));
                join(&mut label, &mut self.nodes.detail_mut(right).label, false);
                next = self.nodes.at(right).right;
                self.nodes.at_mut(right).shelf = VACANT;
                self.nodes.at_mut(right).link.next = self.vacant;
                self.vacant = right;
                left_units + units + right_units
            } else {
                left_units + units
            };
            let node = self.nodes.at_mut(left);
            node.units = total;
            node.right = next;
            if next != NONE {
                self.nodes.at_mut(next).left = left;
            }
            bears = left;
        } else {
            filed.unlink(&mut self.nodes, right, self.classes.floor(right_units));
            join(&mut label, &mut self.nodes.detail_mut(right).label, true);
            total = units + right_units;
            let node = self.nodes.at_mut(right);
            node.units = total;
            node.offset = offset;
            node.left = left;
            self.follow(left, right, region);
            bears = right;
        }
        let node = self.nodes.at_mut(id);
        node.shelf = VACANT;
        node.link.next = self.vacant;
        self.vacant = id;
        let rank = label.rank();
        self.nodes.detail_mut(bears).label = label;
        self.shelves[shelf as usize].link(&mut self.nodes, bears, self.classes.floor(total), rank);
        BlockId(bears)
    }

    /// [`release`](Self::release) beside free blocks of other shelves: runs change.
    #[cold]
    #[inline(never)]
    fn release_beside(
        &mut self,
        block: BlockId,
        shelf: u32,
        mut label: L,
        mut join: impl FnMut(&mut L, &mut L, bool),
    ) -> BlockId {
        self.nodes.at_mut(block.0).shelf = LOOSE;
        for neighbour in self.neighbours(block) {
            if let Neighbour::Free(neighbour, on) = neighbour
                && on == shelf
            {
                join(&mut label, self.label_mut(neighbour), false);
                self.absorb(block, neighbour);
            }
        }
        self.insert(block, shelf, label);
        block
    }
}
