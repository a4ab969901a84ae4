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
//! to those. A freed block merges into its neighbour and not the other way round, so that blocks that had
//! to be looked at anyway are written to. Neighbours that stay are told whether the block is filed, with a
//! store that nothing waits for; they are looked at only where the block knows that they are filed.
//!
//! # Cost
//! O(1): at most two bins and three blocks besides the one at hand.

use super::placement::{Carve, Search};
use super::shelf::{NONE, Shelf, Spot};
use super::{
    BlockId, LIVE, LOOSE, Label, Need, Neighbour, NeighbourId, Node, Place, RegionId, Side, Tlsf,
    VACANT,
};

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
    pub(crate) region: RegionId,
}

impl Head {
    #[inline(always)]
    fn of(filed: &Shelf, shelf: u32, bin: u32) -> Self {
        Self { block: BlockId(filed.head(bin)), shelf, bin }
    }
}

/// Of a neighbour: whether it is on this shelf, its size and its run.
// Not a closure, which small code would call.
#[inline(always)]
fn beside(nodes: &[Node], beside: NeighbourId, on: u16) -> (bool, u32, u32) {
    let node = &nodes[beside.id() as usize];
    (node.shelf == on, node.units, node.run)
}

/// The columns of a row from the request's own bin on, whose first blocks fit.
#[inline(always)]
fn fitting(shelf: &Shelf, own: u32, spot: Spot, units: u32) -> u64 {
    // Whether the first block of a bin fits cannot be guessed: no branch on it.
    shelf.columns(spot) & !(u64::from(shelf.head_units(own) < units) << spot.column)
}

impl<L: Label> Tlsf<L> {
    /// The tighter of the blocks that [`find`](Self::find) would see first on two shelves, the second
    /// shelf's of two equally tight ones; `b` is [`u32::MAX`] where there is no second. `None` says
    /// nothing: the request is not a plain one, or blocks that fit stand behind others.
    #[inline(always)]
    pub(crate) fn find_head(&self, a: u32, b: u32, need: Need) -> Option<Head> {
        if need.align() != 1 || self.config.placement.search != Search::Head {
            return None;
        }
        let own = self.classes.floor(need.units());
        let spot = self.classes.spot(own);
        let on_a = &self.shelves.as_slice()[a as usize];
        // Each way out is one of its own: what follows need not wait for a choice between shelves that is made in
        // data.
        let Some(on_b) = self.shelves.get(b as usize) else {
            let columns = fitting(on_a, own, spot, need.units());
            if columns != 0 {
                return Some(Head::of(on_a, a, spot.first(columns)));
            }
            let bin = on_a.first_above(spot);
            return (bin != NONE).then(|| Head::of(on_a, a, bin));
        };
        let columns = fitting(on_b, own, spot, need.units());
        // Of the other shelf, only lower bins are tighter.
        let tighter = (columns & columns.wrapping_neg()).wrapping_sub(1);
        if on_a.columns(spot) & tighter != 0 {
            let columns = fitting(on_a, own, spot, need.units()) & tighter;
            if columns != 0 {
                return Some(Head::of(on_a, a, spot.first(columns)));
            }
        }
        if columns != 0 {
            return Some(Head::of(on_b, b, spot.first(columns)));
        }
        let (bin, other) = (on_b.first_above(spot), on_a.first_above(spot));
        if other < bin {
            return Some(Head::of(on_a, a, other));
        }
        (bin != NONE).then(|| Head::of(on_b, b, bin))
    }

    /// Takes a request from the block that [`find_head`](Self::find_head) found for it. What remains of
    /// the free block keeps its id, shelf and label; `write` makes the live block's. `None` when no more
    /// blocks can be numbered; nothing has changed then.
    #[inline(always)]
    pub(crate) fn cut_head(
        &mut self,
        head: Head,
        need: Need,
        write: impl FnOnce(&mut L),
    ) -> Option<Cut> {
        let Head { block: BlockId(id), shelf, bin } = head;
        let high =
            self.config.placement.rule(need.is_large()) != Carve::Low && self.cuts_high(id, need);
        // Held as a slice, so that its ends need not be read again after every write.
        let (nodes, labels) = (&mut self.nodes.nodes[..], &mut self.nodes.labels[..]);
        let filed = &mut self.shelves.as_mut_slice()[shelf as usize];
        let node = &mut nodes[id as usize];
        let (offset, region, run, next) = (node.offset, node.region, node.run, node.link.next);
        let units = filed.head_units(bin);
        let rest = units - need.units();
        // A run that is cut at its end only becomes smaller.
        if run != NONE && (rest == 0 || !self.runs.ends_with(run, id, high)) {
            return self.cut_step_by_step(id, bin, need, write);
        }
        self.births = self.births.wrapping_add(1);
        let birth = self.births;
        if rest == 0 {
            node.shelf = LIVE;
            let (left, right) = (node.left.id(), node.right.id());
            nodes[left as usize].right = NeighbourId::held(id);
            nodes[right as usize].left = NeighbourId::held(id);
            filed.units -= u64::from(need.units());
            filed.unlink_head(nodes, bin, next);
            nodes[id as usize].link.next = birth;
            write(&mut labels[id as usize]);
            return Some(self.cut(id, offset, region));
        }
        let live = self.vacant;
        if live == NONE {
            return self.cut_step_by_step(id, bin, need, write);
        }
        let node = &mut nodes[id as usize];
        let (left, right, start);
        if high {
            (left, right, start) = (NeighbourId::filed(id), node.right, offset + rest);
            node.right = NeighbourId::held(live);
        } else {
            (left, right, start) = (node.left, NeighbourId::filed(id), offset);
            node.left = NeighbourId::held(live);
            node.offset = offset + need.units();
        }
        node.units = rest;
        filed.units -= u64::from(need.units());
        let rest_bin = self.classes.floor(rest);
        if rest_bin != bin {
            let rank = labels[id as usize].rank();
            filed.unlink_head(nodes, bin, next);
            filed.link_first(nodes, id, rest_bin, rest, rank);
        } else {
            filed.head_resized(bin, rest);
        }
        if run != NONE {
            self.runs.resized(run, units, rest);
        }
        write(&mut labels[live as usize]);
        let node = &mut nodes[live as usize];
        self.vacant = node.link.next;
        node.link.next = birth;
        node.offset = start;
        node.units = need.units();
        node.left = left;
        node.right = right;
        node.run = NONE;
        node.region = region;
        node.shelf = LIVE;
        if high {
            nodes[right.id() as usize].left = NeighbourId::held(live);
        } else {
            nodes[left.id() as usize].right = NeighbourId::held(live);
        }
        Some(self.cut(live, start, region))
    }

    #[inline(always)]
    fn cut(&self, id: u32, offset: u32, region: u16) -> Cut {
        let offset = u64::from(offset) << self.granule_bits;
        Cut { block: BlockId(id), offset, region: RegionId(u32::from(region)) }
    }

    /// Whatever is rare about a cut: a run that is parted, no vacant node.
    #[inline(always)]
    fn cut_step_by_step(
        &mut self,
        id: u32,
        bin: u32,
        need: Need,
        write: impl FnOnce(&mut L),
    ) -> Option<Cut> {
        let live = self.take_step_by_step(id, bin, need)?.0;
        write(self.nodes.label_mut(live));
        let node = self.nodes.at(live);
        Some(self.cut(live, node.offset, node.region))
    }

    #[cold]
    #[inline(never)]
    fn take_step_by_step(&mut self, id: u32, bin: u32, need: Need) -> Option<BlockId> {
        let node = self.nodes.at(id);
        let high = self.cuts_high(id, need);
        let start = if high { node.offset + (node.units - need.units()) } else { node.offset };
        let place = Place { block: BlockId(id), start, units: need.units(), tightness: bin };
        let label = *self.nodes.label(id);
        Some(self.take(place, label)?.block)
    }

    #[inline(never)]
    fn cuts_high(&self, id: u32, need: Need) -> bool {
        let node = self.nodes.at(id);
        node.units != need.units() && self.end(node, need) == Side::Right
    }

    /// Puts a live or loose block on a shelf and merges it with its neighbours there; returns the
    /// block that bears it all. `join` is called for each neighbour that merges, with the rank so far and the neighbour's
    /// label, first for the one whose id the result bears; it returns the rank of both. `write` changes the label that the
    /// result bears, and its rank is what it is given.
    ///
    /// `None` where runs would change; nothing has changed then, and the block is to be filed by
    /// [`release_beside`](Self::release_beside).
    #[inline(always)]
    pub(crate) fn release(
        &mut self,
        block: BlockId,
        shelf: u32,
        mut rank: u64,
        mut join: impl FnMut(u64, &mut L) -> u64,
        write: impl FnOnce(&mut L, u64),
    ) -> Option<BlockId> {
        let BlockId(id) = block;
        let (nodes, labels) = (&mut self.nodes.nodes[..], &mut self.nodes.labels[..]);
        let node = &nodes[id as usize];
        let (units, left, right) = (node.units, node.left, node.right);
        debug_assert!(node.shelf == LIVE || node.shelf == LOOSE, "filed a block that is filed");
        // Shelves are numbered in 16 bits.
        let on = shelf as u16;
        let classes = self.classes;
        let (bears, total);
        if !left.is_filed() && !right.is_filed() {
            nodes[id as usize].shelf = on;
            nodes[left.id() as usize].right = NeighbourId::filed(id);
            nodes[right.id() as usize].left = NeighbourId::filed(id);
            (bears, total) = (id, units);
        } else {
            let (left_joins, left_units, left_run) = beside(nodes, left, on);
            let (right_joins, right_units, right_run) = beside(nodes, right, on);
            // One branch for all that is rare about both: a neighbour on another shelf, or in a run. Live blocks are in no
            // run, and `NONE` is all ones.
            let apart = (left.is_filed() != left_joins) | (right.is_filed() != right_joins);
            if apart | (left_run & right_run != NONE) {
                return None;
            }
            let filed = &mut self.shelves.as_mut_slice()[shelf as usize];
            let node = nodes[id as usize];
            nodes[id as usize].shelf = VACANT;
            nodes[id as usize].link.next = self.vacant;
            self.vacant = id;
            if left_joins {
                let left = left.id();
                filed.unlink(nodes, left, classes.floor(left_units));
                rank = join(rank, &mut labels[left as usize]);
                let mut next = right;
                total = left_units + units + if right_joins { right_units } else { 0 };
                if right_joins {
                    let right = right.id();
                    filed.unlink(nodes, right, classes.floor(right_units));
                    rank = join(rank, &mut labels[right as usize]);
                    let node = &mut nodes[right as usize];
                    next = node.right;
                    node.shelf = VACANT;
                    node.link.next = self.vacant;
                    self.vacant = right;
                }
                nodes[next.id() as usize].left = NeighbourId::filed(left);
                nodes[left as usize].right = next;
                bears = left;
            } else {
                let right = right.id();
                filed.unlink(nodes, right, classes.floor(right_units));
                rank = join(rank, &mut labels[right as usize]);
                total = units + right_units;
                nodes[left.id() as usize].right = NeighbourId::filed(right);
                let joined = &mut nodes[right as usize];
                joined.offset = node.offset;
                joined.left = left;
                bears = right;
            }
        }
        let filed = &mut self.shelves.as_mut_slice()[shelf as usize];
        filed.units += u64::from(units);
        nodes[bears as usize].units = total;
        write(&mut labels[bears as usize], rank);
        filed.link(nodes, bears, classes.floor(total), total, rank);
        Some(BlockId(bears))
    }

    /// [`release`](Self::release) beside free blocks of any shelf, step by step: runs may change. `join` says whether a
    /// neighbour on the same shelf merges, the left one first; it may change the label, which comes first. The result always
    /// bears the block's own id.
    pub(crate) fn release_beside(
        &mut self,
        block: BlockId,
        shelf: u32,
        mut label: L,
        join: &mut dyn FnMut(&mut L, &mut L) -> bool,
    ) {
        self.nodes.at_mut(block.0).shelf = LOOSE;
        for neighbour in self.neighbours(block) {
            if let Neighbour::Free(neighbour, on) = neighbour
                && on == shelf
                && join(&mut label, self.label_mut(neighbour))
            {
                self.absorb(block, neighbour);
            }
        }
        self.insert(block, shelf, label);
    }
}
