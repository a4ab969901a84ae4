//! Blocks in motion: taken, freed, merged, filed.
//!
//! ```text
//!   filed ──take──▶ live ──loosen──▶ loose ──insert──▶ filed
//!     └──remove──────────────────────▶ ▲
//!   filed or loose ◀──absorb── filed neighbour
//! ```

use super::shelf::{Link, NONE};
use super::{
    BlockId, LIVE, LOOSE, Label, MAX_BLOCKS, Neighbour, NeighbourId, Node, Place, Side, Taken,
    Tlsf, VACANT,
};

impl<L: Label> Tlsf<L> {
    /// Takes the place: returns the block that is now live and whether the free block it was cut from is
    /// gone (it was used up, so its label is the owner's to clean up). What remains of the free block keeps
    /// its id, shelf and label; a second remainder, which alignment can leave on the far side, is
    /// returned loose.
    ///
    /// The live block bears `label`. The free block must be filed on a shelf. `None` when no more blocks
    /// can be numbered; nothing has changed then.
    pub fn take(&mut self, place: Place, label: L) -> Option<Taken> {
        let id = place.block.0;
        let node = self.nodes.at(id);
        debug_assert!(node.shelf < LOOSE, "taken from a block that is not filed");
        let before = place.start - node.offset;
        let after = node.units - before - place.units;
        if before == 0 && after == 0 {
            return Some(self.take_whole(id, label));
        }
        let (region, run) = (node.region, node.run);
        // All nodes that are needed, or none.
        let node = Node {
            offset: place.start,
            units: place.units,
            left: NeighbourId::held(0),
            right: NeighbourId::held(0),
            link: Link::ALONE,
            run: NONE,
            region,
            shelf: LIVE,
        };
        let live = self.new_node(node, label)?;
        if run != NONE {
            // The live part parts the run; what is kept stays with the neighbour on its own side.
            let side = if before == 0 { Side::Left } else { Side::Right };
            self.runs.cut(&mut self.nodes, id, side);
        }
        if before == 0 {
            self.resize(id, place.start + place.units, after);
            self.link_before(id, live);
            return Some(Taken { block: BlockId(live), source_gone: false, loose: None });
        }
        if after == 0 {
            self.resize(id, place.start - before, before);
            self.link_after(id, live);
            return Some(Taken { block: BlockId(live), source_gone: false, loose: None });
        }
        let rest = Node {
            offset: place.start + place.units,
            units: after,
            left: NeighbourId::held(0),
            right: NeighbourId::held(0),
            link: Link::ALONE,
            run: NONE,
            region,
            shelf: LOOSE,
        };
        let Some(far) = self.new_node(rest, label) else {
            self.drop_node(live);
            return None;
        };
        self.resize(id, place.start - before, before);
        self.link_after(id, live);
        self.link_after(live, far);
        Some(Taken { block: BlockId(live), source_gone: false, loose: Some(BlockId(far)) })
    }

    fn take_whole(&mut self, id: u32, label: L) -> Taken {
        self.unfile(id);
        self.births = self.births.wrapping_add(1);
        *self.nodes.label_mut(id) = label;
        let node = self.nodes.at_mut(id);
        node.shelf = LIVE;
        node.link.next = self.births;
        self.tell_neighbours(id, NeighbourId::held(id));
        let node = self.nodes.at(id);
        if node.run != NONE {
            self.runs.cut(&mut self.nodes, id, Side::Left);
            self.runs.cut(&mut self.nodes, id, Side::Right);
        }
        Taken { block: BlockId(id), source_gone: true, loose: None }
    }

    /// Marks a live block free; it is loose until [`insert`](Self::insert)ed or
    /// [`absorb`](Self::absorb)ed.
    ///
    /// # Panics
    /// When the block is not live.
    #[inline]
    pub fn loosen(&mut self, block: BlockId) {
        let node = self.nodes.at_mut(block.0);
        assert!(node.shelf == LIVE, "freed a block that is not live");
        node.shelf = LOOSE;
    }

    /// Makes a loose block live under another label.
    pub(crate) fn hold(&mut self, block: BlockId, label: L) {
        let node = self.nodes.at_mut(block.0);
        debug_assert!(node.shelf == LOOSE, "held a block that is not loose");
        node.shelf = LIVE;
        *self.nodes.label_mut(block.0) = label;
    }

    /// The free neighbour on one side and its shelf, if there is one on any shelf.
    #[inline]
    #[must_use]
    pub fn neighbour(&self, block: BlockId, side: Side) -> Option<(BlockId, u32)> {
        let node = self.nodes.at(block.0);
        let beside = match side {
            Side::Left => node.left,
            Side::Right => node.right,
        };
        let at = beside.id();
        beside.is_filed().then(|| (BlockId(at), u32::from(self.nodes.at(at).shelf)))
    }

    /// What stands on both sides: left, then right.
    #[must_use]
    pub fn neighbours(&self, block: BlockId) -> [Neighbour; 2] {
        let node = self.nodes.at(block.0);
        [node.left, node.right].map(|beside| {
            if !beside.is_filed() {
                return Neighbour::Held;
            }
            let id = beside.id();
            Neighbour::Free(BlockId(id), u32::from(self.nodes.at(id).shelf))
        })
    }

    /// Merges a filed neighbour into the loose or filed `block`; the neighbour is gone. A filed
    /// block stays filed, under its new size.
    ///
    /// # Panics
    /// When the two are not adjacent.
    #[inline]
    pub fn absorb(&mut self, block: BlockId, neighbour: BlockId) {
        let (b, n) = (block.0, neighbour.0);
        let from_left = self.nodes.at(n).right.id() == b;
        assert!(from_left || self.nodes.at(n).left.id() == b, "absorbed a block far away");
        self.unfile(n);
        let n_run = self.nodes.at(n).run;
        let one_run = n_run != NONE && n_run == self.nodes.at(b).run;
        if one_run {
            self.runs.leave(&mut self.nodes, n);
        } else if n_run != NONE {
            // `n` stands at the end of its run that faces `b`: cut off on the far side it is alone.
            let far = if from_left { Side::Left } else { Side::Right };
            self.runs.cut(&mut self.nodes, n, far);
        }
        let &Node { offset: n_offset, units: n_units, left, right, .. } = self.nodes.at(n);
        let &Node { offset, units, shelf, .. } = self.nodes.at(b);
        let offset = if from_left { n_offset } else { offset };
        if from_left {
            self.nodes.at_mut(b).left = left;
            self.nodes.at_mut(left.id()).right = self.beside(b);
        } else {
            self.nodes.at_mut(b).right = right;
            self.nodes.at_mut(right.id()).left = self.beside(b);
        }
        self.drop_node(n);
        if shelf == LOOSE {
            let node = self.nodes.at_mut(b);
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
    pub fn insert(&mut self, block: BlockId, shelf: u32, label: L) {
        let id = block.0;
        let node = self.nodes.at_mut(id);
        debug_assert!(node.shelf == LOOSE, "filed a block that is not loose");
        node.shelf = shelf as u16;
        *self.nodes.label_mut(id) = label;
        self.file(id);
        self.tell_neighbours(id, NeighbourId::filed(id));
        self.join_runs(id);
    }

    /// Takes a free block off its shelf and out of its run; it is loose then.
    pub fn remove(&mut self, block: BlockId) {
        let id = block.0;
        self.unfile(id);
        if self.nodes.at(id).run != NONE {
            self.runs.cut(&mut self.nodes, id, Side::Left);
            self.runs.cut(&mut self.nodes, id, Side::Right);
        }
        self.nodes.at_mut(id).shelf = LOOSE;
        self.tell_neighbours(id, NeighbourId::held(id));
    }

    /// Moves a free block to another shelf under another label. It stays in its run.
    pub fn move_to(&mut self, block: BlockId, shelf: u32, label: L) {
        let id = block.0;
        self.unfile(id);
        let node = self.nodes.at_mut(id);
        node.shelf = shelf as u16;
        *self.nodes.label_mut(id) = label;
        self.file(id);
    }

    /// Whether taking the place uses its free block up.
    #[inline]
    #[must_use]
    pub fn uses_up(&self, place: Place) -> bool {
        self.nodes.at(place.block.0).units == place.units
    }

    /// Makes one live block of two adjacent live ones, under the id of `left`.
    ///
    /// # Panics
    /// When they are not live neighbours.
    pub fn fuse(&mut self, left: BlockId, right: BlockId) {
        let &Node { units, right: next, shelf, .. } = self.nodes.at(right.0);
        let node = self.nodes.at_mut(left.0);
        assert!(
            node.right.id() == right.0 && node.shelf == LIVE && shelf == LIVE,
            "fused blocks that are not live neighbours"
        );
        node.units += units;
        node.right = next;
        self.nodes.at_mut(next.id()).left = NeighbourId::held(left.0);
        self.drop_node(right.0);
    }

    /// Cuts a loose or live block in two at a granule inside of it; the right part is as loose or live, and bears a copy
    /// of the label. `None` when no more blocks can be numbered; nothing has changed then.
    pub(crate) fn split(&mut self, block: BlockId, at: u32) -> Option<BlockId> {
        let node = *self.nodes.at(block.0);
        let label = *self.nodes.label(block.0);
        debug_assert!(node.shelf == LIVE || node.shelf == LOOSE, "split a block that is filed");
        debug_assert!(node.offset < at && at < node.offset + node.units, "split outside");
        let right = Node { offset: at, units: node.offset + node.units - at, ..node };
        let right = self.new_node(right, label)?;
        self.nodes.at_mut(block.0).units = at - node.offset;
        self.link_after(block.0, right);
        Some(BlockId(right))
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

    fn file(&mut self, id: u32) {
        let node = self.nodes.at(id);
        let (units, shelf, rank) = (node.units, node.shelf, self.nodes.label(id).rank());
        self.file_as(id, units, shelf, rank);
    }

    fn file_as(&mut self, id: u32, units: u32, shelf: u16, rank: u64) {
        self.shelves.as_mut_slice()[shelf as usize].insert(&mut self.nodes, id, units, rank);
    }

    fn unfile(&mut self, id: u32) {
        let node = self.nodes.at(id);
        let (units, shelf) = (node.units, node.shelf);
        self.shelves.as_mut_slice()[shelf as usize].remove(&mut self.nodes, id, units);
    }

    /// Gives a filed block another extent, re-filing it if its bin changes.
    fn resize(&mut self, id: u32, offset: u32, units: u32) {
        let rank = self.nodes.label(id).rank();
        let node = self.nodes.at_mut(id);
        let (old, shelf, run) = (node.units, node.shelf, node.run);
        let first = node.link.prev == NONE;
        node.offset = offset;
        node.units = units;
        let filed = &mut self.shelves.as_mut_slice()[shelf as usize];
        // An unranked block comes first in its bin again: what was touched last is taken first.
        if filed.same_bin(old, units) && (rank != 0 || first) {
            filed.resized(first, old, units);
        } else {
            filed.remove(&mut self.nodes, id, old);
            self.file_as(id, units, shelf, rank);
        }
        if run != NONE {
            self.runs.resized(run, old, units);
        }
    }

    /// Joins a filed block with the runs or blocks that now stand beside it.
    #[inline]
    fn join_runs(&mut self, id: u32) {
        let &Node { left, right, .. } = self.nodes.at(id);
        if left.is_filed() {
            self.runs.join(&mut self.nodes, left.id(), id);
        }
        if right.is_filed() {
            self.runs.join(&mut self.nodes, id, right.id());
        }
    }

    /// How a block's neighbours see it.
    #[inline]
    fn beside(&self, id: u32) -> NeighbourId {
        if self.nodes.at(id).shelf < LOOSE { NeighbourId::filed(id) } else { NeighbourId::held(id) }
    }

    /// Both neighbours of a block see it as `this`.
    #[inline]
    fn tell_neighbours(&mut self, id: u32, this: NeighbourId) {
        let &Node { left, right, .. } = self.nodes.at(id);
        self.nodes.at_mut(left.id()).right = this;
        self.nodes.at_mut(right.id()).left = this;
    }

    pub(super) fn new_node(&mut self, node: Node, label: L) -> Option<u32> {
        self.births = self.births.wrapping_add(1);
        let node = Node { link: Link { next: self.births, ..Link::ALONE }, ..node };
        if self.vacant != NONE {
            let id = self.vacant;
            let slot = self.nodes.at_mut(id);
            self.vacant = slot.link.next;
            *slot = node;
            *self.nodes.label_mut(id) = label;
            return Some(id);
        }
        let id = u32::try_from(self.nodes.nodes.len()).ok().filter(|&id| id < MAX_BLOCKS)?;
        self.nodes.nodes.push(node);
        self.nodes.labels.push(label);
        Some(id)
    }

    pub(super) fn drop_node(&mut self, id: u32) {
        let node = self.nodes.at_mut(id);
        node.shelf = VACANT;
        node.link.next = self.vacant;
        self.vacant = id;
    }

    #[inline]
    fn link_after(&mut self, at: u32, new: u32) {
        let (this, new_one) = (self.beside(at), NeighbourId::held(new));
        let right = self.nodes.at(at).right;
        let node = self.nodes.at_mut(new);
        (node.left, node.right) = (this, right);
        self.nodes.at_mut(at).right = new_one;
        self.nodes.at_mut(right.id()).left = new_one;
    }

    fn link_before(&mut self, at: u32, new: u32) {
        let (this, new_one) = (self.beside(at), NeighbourId::held(new));
        let left = self.nodes.at(at).left;
        let node = self.nodes.at_mut(new);
        (node.left, node.right) = (left, this);
        self.nodes.at_mut(at).left = new_one;
        self.nodes.at_mut(left.id()).right = new_one;
    }
}
