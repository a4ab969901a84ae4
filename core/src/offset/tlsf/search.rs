//! Searching: on one shelf by size, by label, over runs.
//!
//! Nothing here changes the allocator. Every search is bounded by constants: the bins of a shelf, a few
//! blocks of a bin, the blocks of a run.

use super::placement::{self, Carve, Search, Tie};
use super::runs::RunId;
use super::shelf::{NONE, Shelf};
use super::{
    BlockId, EDGE, LIVE, LOOSE, Label, Need, NeighbourId, Node, Place, RegionId, Side, Tlsf,
};
use alloc::vec::Vec;

impl<L: Label> Tlsf<L> {
    /// Looks on one shelf for a place, as the placement policy says.
    #[inline]
    #[must_use]
    pub fn find(&self, shelf: u32, need: Need) -> Option<Place> {
        self.find_where(shelf, need, &|_| true)
    }

    /// [`find`](Self::find) among the blocks whose label `admits`.
    ///
    /// Where not every label is admitted, a bin that holds none among the blocks looked at is
    /// passed over: the search is bounded by the number of bins, never by the number of blocks.
    pub fn find_where(&self, shelf: u32, need: Need, admits: &dyn Fn(&L) -> bool) -> Option<Place> {
        match self.config.placement.search {
            Search::Head => self.head_fit(shelf, need, admits),
            Search::Best { scan, tie } => self.best_fit(shelf, need, scan, tie, admits),
        }
    }

    /// The tighter of two places, the second of two equal ones.
    #[inline(always)]
    pub(crate) fn tighter(&self, a: Option<Place>, b: Option<Place>) -> Option<Place> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if a.tightness < b.tightness { a } else { b }),
            (a, b) => a.or(b),
        }
    }

    #[inline]
    fn head_fit(&self, shelf: u32, need: Need, admits: &dyn Fn(&L) -> bool) -> Option<Place> {
        let shelf = &self.shelves[shelf as usize];
        if shelf.is_empty() {
            return None;
        }
        let own = self.classes.floor(need.units());
        if shelf.next_bin(own) == Some(own) {
            let head = shelf.head(own);
            if admits(self.nodes.label(head))
                && let Some(place) = self.fits(head, need, own)
            {
                return Some(place);
            }
        }
        // `need` made sure that this does not overflow. Every block from here on fits.
        let surely = self.classes.ceil(need.units() + (need.align() - 1)).max(own + 1);
        let mut bin = surely;
        while let Some(found) = shelf.next_bin(bin) {
            let head = shelf.head(found);
            if admits(self.nodes.label(head)) {
                return self.fits(head, need, found);
            }
            // Low ranks tend to stand first: if none of the first few is admitted, the rest hardly is.
            let place = self.scan_bin(shelf, found, need, RANKED_SCAN, Tie::First, admits);
            if place.is_some() {
                return place;
            }
            bin = found + 1;
        }
        // Behind the heads of the bins below, a block that fits may stand.
        let mut bin = own;
        while let Some(found) = shelf.next_bin(bin).filter(|&found| found < surely) {
            let place = self.scan_bin(shelf, found, need, LAST_RESORT_SCAN, Tie::First, admits);
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
        admits: &dyn Fn(&L) -> bool,
    ) -> Option<Place> {
        let shelf = &self.shelves[shelf as usize];
        let mut bin = self.classes.floor(need.units());
        loop {
            bin = shelf.next_bin(bin)?;
            if let Some(place) = self.scan_bin(shelf, bin, need, scan, tie, admits) {
                let tightness = self.nodes.at(place.block.0).units;
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
        admits: &dyn Fn(&L) -> bool,
    ) -> Option<Place> {
        let mut at = shelf.head(bin);
        let mut best: Option<(u32, (u32, u32), Place)> = None;
        for _ in 0..limit {
            let node = self.nodes.at(at);
            let (units, address) = (node.units, (u32::from(node.region), node.offset));
            let better = units >= need.units()
                && best.is_none_or(|(least, other, _)| {
                    units < least || units == least && tie.prefers(address, other)
                });
            if better
                && admits(self.nodes.label(at))
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
    #[inline(always)]
    pub(super) fn end(&self, node: &Node, need: Need) -> Side {
        let neighbour = |beside: NeighbourId| {
            let node = self.nodes.at(beside.id());
            if node.shelf == EDGE {
                return None;
            }
            // One that is free, only not on this shelf, counts as the youngest: it will not stay.
            let birth = if node.shelf == LIVE { node.link.next } else { self.births };
            Some(placement::Neighbour { units: node.units, birth })
        };
        match self.config.placement.rule(need.is_large()) {
            Carve::Low => Side::Left,
            Carve::High => Side::Right,
            rule => rule.end(need.units(), neighbour(node.left), neighbour(node.right)),
        }
    }

    /// Where in a block the request would lie, if it fits.
    #[inline(always)]
    fn fits(&self, id: u32, need: Need, bin: u32) -> Option<Place> {
        let node = self.nodes.at(id);
        if node.units < need.units() {
            return None;
        }
        // Used up as a whole, there is no end to choose.
        let end = if node.units == need.units() { Side::Left } else { self.end(node, need) };
        let start = place_in(node.offset, node.units, need, end)?;
        Some(Place { block: BlockId(id), start, units: need.units(), tightness: bin })
    }

    /// Visits free blocks of a shelf that could hold the request, tightest bins first, at most `per_bin` of a bin
    /// (by ascending rank) and `bins` bins, until `visit` says `false`.
    pub fn candidates(
        &self,
        shelf: u32,
        need: Need,
        bins: usize,
        per_bin: usize,
        visit: &mut dyn FnMut(Place) -> bool,
    ) {
        let shelf = &self.shelves[shelf as usize];
        let mut bin = self.classes.floor(need.units());
        for _ in 0..bins {
            let Some(found) = shelf.next_bin(bin) else { return };
            let mut at = shelf.head(found);
            for _ in 0..per_bin {
                if at == NONE {
                    break;
                }
                if let Some(place) = self.fits(at, need, found)
                    && !visit(place)
                {
                    return;
                }
                at = self.nodes.at(at).link.next;
            }
            bin = found + 1;
        }
    }

    /// The free blocks of a shelf that have at least so many granules, by ascending size class. O(blocks that have as many, or
    /// are of the same class).
    pub(crate) fn at_least(&self, shelf: u32, units: u32) -> impl Iterator<Item = BlockId> + '_ {
        let shelf = &self.shelves[shelf as usize];
        let bins = core::iter::successors(shelf.next_bin(self.classes.floor(units)), |&bin| {
            shelf.next_bin(bin + 1)
        });
        let blocks = bins.flat_map(move |bin| {
            let id = |id: u32| (id != NONE).then_some(id);
            core::iter::successors(id(shelf.head(bin)), move |&at| id(self.nodes.at(at).link.next))
        });
        blocks.filter(move |&at| self.nodes.at(at).units >= units).map(BlockId)
    }

    /// So many granules of a free block, from a granule that is counted from the region's start. `None` when they are not all
    /// in the block, or it is not free.
    pub(crate) fn place_at(&self, block: BlockId, start: u32, units: u32) -> Option<Place> {
        let &Node { offset, units: all, shelf, .. } = self.nodes.at(block.0);
        let end = start.checked_add(units)?;
        let fits = shelf < LOOSE && offset <= start && end <= offset + all;
        let tightness = self.classes.floor(all);
        fits.then_some(Place { block, start, units, tightness })
    }

    /// Runs whose blocks sum up to at least the request, tightest first, at most `limit`.
    pub fn runs(&self, need: Need, limit: usize) -> impl Iterator<Item = RunId> {
        self.runs.at_least(need.units(), limit)
    }

    /// Every stretch of adjacent free blocks is one run: none was too long to be one since the runs were
    /// [mended](Self::mend_runs).
    #[must_use]
    pub(crate) const fn runs_are_whole(&self) -> bool {
        self.runs.are_whole()
    }

    /// Makes one run of each stretch that was too long to be one and is so no more. O(1) if none was too long since the last
    /// call, linear in the blocks otherwise.
    pub(crate) fn mend_runs(&mut self) {
        if self.runs.are_whole() {
            return;
        }
        self.runs.begin_mending();
        let regions: Vec<RegionId> = self.regions().collect();
        for region in regions {
            let blocks: Vec<BlockId> = self.blocks(region).collect();
            for pair in blocks.windows(2) {
                let [left, right] = [pair[0].0, pair[1].0];
                if [left, right].into_iter().all(|id| self.nodes.at(id).shelf < LOOSE) {
                    self.runs.join(&mut self.nodes, left, right);
                }
            }
        }
    }

    /// First and last block of a run.
    #[must_use]
    pub fn run_ends(&self, run: RunId) -> (BlockId, BlockId) {
        let (first, last) = self.runs.ends(run);
        (BlockId(first), BlockId(last))
    }

    /// The blocks of a run in order of offset; at most [`MAX_RUN`](super::MAX_RUN).
    pub fn run_blocks(&self, run: RunId) -> impl Iterator<Item = BlockId> {
        let (first, last) = self.run_ends(run);
        self.blocks_between(first, last)
    }

    /// The block is part of a run.
    #[must_use]
    pub fn is_in_run(&self, block: BlockId) -> bool {
        self.nodes.at(block.0).run != NONE
    }

    /// Adjacent blocks from `first` to `last`, in order of offset.
    pub fn blocks_between(&self, first: BlockId, last: BlockId) -> impl Iterator<Item = BlockId> {
        core::iter::successors(Some(first), move |&id| {
            (id != last).then(|| BlockId(self.nodes.at(id.0).right.id()))
        })
    }

    /// Of adjacent free blocks from `first` to `last`, those that would hold the request at the end that
    /// the placement's rule chooses; that end, and the bytes of all.
    #[must_use]
    pub fn window(
        &self,
        first: BlockId,
        last: BlockId,
        need: Need,
    ) -> Option<(BlockId, BlockId, Side, u64)> {
        let (a, b) = (self.nodes.at(first.0), self.nodes.at(last.0));
        // As one block, between the neighbours of both ends.
        let whole = Node { units: b.offset + b.units - a.offset, right: b.right, ..*a };
        let end = self.end(&whole, need);
        let start = place_in(whole.offset, whole.units, need, end)?;
        let stop = start + need.units();
        let (mut from, mut to) = (first, first);
        for block in self.blocks_between(first, last) {
            let node = self.nodes.at(block.0);
            if node.offset <= start {
                from = block;
            }
            to = block;
            if node.offset + node.units >= stop {
                break;
            }
        }
        Some((from, to, end, u64::from(whole.units) << self.granule_bits))
    }

    /// First granule of the request in adjacent blocks from `first` to `last`, cut from one end, if it fits once they
    /// are merged.
    #[must_use]
    pub(crate) fn place_in_span(
        &self,
        first: BlockId,
        last: BlockId,
        need: Need,
        end: Side,
    ) -> Option<u32> {
        let (a, b) = (self.nodes.at(first.0), self.nodes.at(last.0));
        place_in(a.offset, b.offset + b.units - a.offset, need, end)
    }

    /// Whether the request fits into adjacent blocks from `first` to `last`, once they are merged.
    #[must_use]
    pub fn fits_span(&self, first: BlockId, last: BlockId, need: Need) -> bool {
        self.place_in_span(first, last, need, Side::Left).is_some()
    }

    /// The parts of adjacent filed blocks, from `first` to `last`, that make up `units` granules from `start` on, in order;
    /// to be [`take`](Self::take)n one by one and [`fuse`](Self::fuse)d.
    pub(crate) fn span_places(
        &self,
        first: BlockId,
        last: BlockId,
        start: u32,
        units: u32,
    ) -> Vec<Place> {
        let stop = start + units;
        let mut places = Vec::new();
        for BlockId(at) in self.blocks_between(first, last) {
            let node = self.nodes.at(at);
            let from = start.max(node.offset);
            let to = stop.min(node.offset + node.units);
            if from < to {
                places.push(Place {
                    block: BlockId(at),
                    start: from,
                    units: to - from,
                    tightness: self.classes.floor(node.units),
                });
            }
        }
        places
    }

    /// Looks at every block of a shelf that holds an aligned request or does not, depending on where it is:
    /// [`find`](Self::find) looks at a few of them. Nothing for a request of any alignment, where the size says all.
    /// O(blocks of less than the request and its alignment).
    pub(crate) fn find_by_place(&self, shelf: u32, need: Need) -> Option<Place> {
        if need.align() == 1 {
            return None;
        }
        let shelf = &self.shelves[shelf as usize];
        let mut bin = self.classes.floor(need.units());
        // Of the blocks large enough for any place, the first that is looked at fits.
        while let Some(found) = shelf.next_bin(bin) {
            let mut at = shelf.head(found);
            while at != NONE {
                let place = self.fits(at, need, found);
                if place.is_some() {
                    return place;
                }
                at = self.nodes.at(at).link.next;
            }
            bin = found + 1;
        }
        None
    }
}

/// Blocks looked at in a bin whose blocks may or may not fit, before a head search gives up.
const LAST_RESORT_SCAN: u16 = 16;

/// Blocks looked at in a bin for one whose label is admitted.
const RANKED_SCAN: u16 = 4;

/// First granule of the request within a free extent, cut from one end.
#[inline]
fn place_in(offset: u32, units: u32, need: Need, end: Side) -> Option<u32> {
    if units < need.units() {
        return None;
    }
    let mask = need.align() - 1;
    let last = offset + (units - need.units());
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
