//! The holes of elastic slabs: where a request will lie with the least new memory, and which clean memory can become a hole.
//!
//! # Cost
//! As [`elastic`](super::elastic) says.

use super::guided::Wish;
use super::heap::{CLEAN, Heap};
use super::present::{Present, present};
use crate::offset::tlsf::{BlockId, Need, RegionId};
use crate::slab::Elastic;
use alloc::vec::Vec;

#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    pub(super) region: RegionId,
    /// In granules of the heap, from the region's start.
    pub(super) start: u32,
    pub(super) units: u32,
    pub(super) block: BlockId,
}

impl Hole {
    pub(super) const fn end(&self) -> u32 {
        self.start + self.units
    }
}

/// The elastic regions of a heap and their holes.
#[derive(Debug)]
pub(super) struct Holes {
    /// The provider's granule, in granules of the heap.
    pub(super) step: u32,
    /// Bytes of a heap's granule.
    pub(super) granule: u64,
    /// Bytes of addresses of a region.
    pub(super) reserve: u64,
    /// With their granules.
    pub(super) regions: Vec<(RegionId, u32)>,
    /// By region and start.
    pub(super) list: Vec<Hole>,
    _present: Present,
}

/// Where a request will lie, and what it lacks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    /// In the list.
    pub(super) hole: usize,
    pub(super) region: RegionId,
    /// First granule of the request.
    pub(super) start: u32,
    /// What is to be committed; nothing if they are equal.
    pub(super) from: u32,
    pub(super) to: u32,
}

/// Granules of whole steps in a clean block, its region, the first of them, and the block.
type Clean = (u32, RegionId, u32, BlockId);

/// Clean blocks that are looked at for a small one that is enough.
const LOOKS: usize = 16;

/// Of more of them, all are sorted.
const SINGLES: usize = 4;

/// Where the first of the smallest stands that has `left` granules, else the last of the largest: as if they were sorted.
fn smallest_that_does(clean: &[Clean], left: u64) -> usize {
    let mut best = 0;
    for (at, block) in clean.iter().enumerate().skip(1) {
        let (does, best_does) = (u64::from(block.0) >= left, u64::from(clean[best].0) >= left);
        let is_better = match (does, best_does) {
            (true, true) => *block < clean[best],
            (false, false) => *block > clean[best],
            (does, _) => does,
        };
        if is_better {
            best = at;
        }
    }
    best
}

/// Where clean memory may become holes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    Anywhere,
    In(RegionId),
    /// Not in the first granules of a region.
    Outside(RegionId, u32),
}

impl Holes {
    /// `None` when the provider is not elastic, or its granule is too large for this heap.
    pub(super) fn new(elastic: Option<Elastic>, granule: u64, max_slab_size: u64) -> Option<Self> {
        let Elastic { granule: step, reserve } = elastic?;
        if !step.is_power_of_two() || !granule.is_power_of_two() {
            return None;
        }
        let units = step.max(granule) / granule;
        // A heap counts a region's granules in 32 bits.
        let most = max_slab_size.min((u64::from(u32::MAX) - units) * granule);
        let step = u32::try_from(units).ok().filter(|&units| units < 1 << 31)?;
        Some(Self {
            step,
            granule,
            reserve: reserve.min(most),
            regions: Vec::new(),
            list: Vec::new(),
            _present: present()?,
        })
    }

    pub(super) fn is_elastic(&self, region: RegionId) -> bool {
        self.regions.iter().any(|&(elastic, _)| elastic == region)
    }

    /// The most bytes that stand side by side without a hole.
    pub(super) fn largest_stretch(&self) -> u64 {
        let mut largest = 0;
        for &(region, units) in &self.regions {
            let mut end = 0;
            for hole in self.list.iter().filter(|hole| hole.region == region) {
                largest = largest.max(hole.start - end);
                end = hole.end();
            }
            largest = largest.max(units - end);
        }
        u64::from(largest) * self.granule
    }

    pub(super) fn position(&self, region: RegionId, start: u32) -> usize {
        self.list.partition_point(|hole| (hole.region, hole.start) < (region, start))
    }

    /// The place that is wished for, if one hole is all that it lacks; else the one that lacks the least memory.
    pub(super) fn site(&self, heap: &Heap, need: Need, wish: Option<Wish>) -> Option<Site> {
        let (units, mask) = (need.units(), need.align() - 1);
        let mut best: Option<Site> = None;
        for (index, hole) in self.list.iter().enumerate() {
            let [left, right] = heap.clean_beside(hole.block);
            let (low, high) = (hole.start - left, hole.end() + right);
            let wished = wish.filter(|wish| wish.region == hole.region).map(|wish| wish.start);
            let lowest = low.checked_add(mask).map(|start| start & !mask);
            let highest = high.checked_sub(units).map(|start| start & !mask);
            for start in [wished, lowest, highest].into_iter().flatten() {
                let fits = start >= low && start.checked_add(units).is_some_and(|end| end <= high);
                if !fits {
                    continue;
                }
                let from = start.max(hole.start) / self.step * self.step;
                let to = (start + units).min(hole.end()).next_multiple_of(self.step).max(from);
                let site = Site { hole: index, region: hole.region, start, from, to };
                if Some(start) == wished {
                    return Some(site);
                }
                if best.is_none_or(|best| to - from < best.to - best.from) {
                    best = Some(site);
                }
            }
        }
        best
    }

    /// Takes part of a hole out of the list. `None` when no more blocks can be numbered.
    pub(super) fn lift(&mut self, heap: &mut Heap, site: Site) -> Option<BlockId> {
        let whole = self.list[site.hole];
        let (splits_left, splits_right) = (site.from > whole.start, site.to < whole.end());
        let part = if splits_left { heap.split_hole(whole.block, site.from)? } else { whole.block };
        if splits_right {
            let Some(block) = heap.split_hole(part, site.to) else {
                if splits_left {
                    heap.join_holes(whole.block, part);
                }
                return None;
            };
            let rest = Hole { start: site.to, units: whole.end() - site.to, block, ..whole };
            self.list.insert(site.hole + 1, rest);
        }
        if splits_left {
            self.list[site.hole].units = site.from - whole.start;
        } else {
            self.list.remove(site.hole);
        }
        Some(part)
    }

    /// Puts a hole into the list; it is one with those that it touches.
    pub(super) fn lay(&mut self, heap: &mut Heap, block: BlockId) {
        let (region, (start, units)) = (heap.offsets().region(block), heap.offsets().extent(block));
        let hole = Hole { region, start, units, block };
        let touch =
            |left: &Hole, right: &Hole| left.region == right.region && left.end() == right.start;
        let mut at = self.position(region, start);
        if at > 0 && touch(&self.list[at - 1], &hole) {
            at -= 1;
            heap.join_holes(self.list[at].block, block);
            self.list[at].units += units;
        } else {
            self.list.insert(at, hole);
        }
        if let Some(&right) = self.list.get(at + 1)
            && touch(&self.list[at], &right)
        {
            heap.join_holes(self.list[at].block, right.block);
            self.list[at].units += right.units;
            self.list.remove(at + 1);
        }
    }

    /// Makes holes, in transit, of so many granules at least, as far as whole ones are clean: of few blocks, and small ones.
    /// What the site is for stays.
    pub(super) fn hollow(
        &self,
        heap: &mut Heap,
        wanted: u64,
        spare: Option<(Site, Need)>,
        scope: Scope,
    ) -> Vec<BlockId> {
        let mut made = Vec::new();
        if wanted == 0 {
            return made;
        }
        let usable = |heap: &Heap, block| {
            let offsets = heap.offsets();
            let at = offsets.region(block);
            let (offset, units) = offsets.extent(block);
            let low = match scope {
                Scope::Outside(region, end) if region == at => offset.max(end),
                _ => offset,
            };
            let (from, to) =
                (low.next_multiple_of(self.step), (offset + units) / self.step * self.step);
            let spared = spare.is_some_and(|(site, need)| {
                site.region == at
                    && offset < site.start + need.units()
                    && site.start < offset + units
            });
            let here = match scope {
                Scope::In(region) => region == at,
                Scope::Anywhere | Scope::Outside(..) => self.is_elastic(at),
            };
            (from < to && !spared && here).then(|| (to - from, at, from, block))
        };
        // Almost always one block is enough, and near the first that is large enough stands one of the smallest.
        let large = u32::try_from(wanted).unwrap_or(u32::MAX).max(self.step);
        let enough = heap.offsets().at_least(CLEAN, large).take(LOOKS);
        let enough = enough.filter_map(|block| usable(heap, block));
        let mut clean: Vec<Clean> =
            enough.filter(|&(units, ..)| u64::from(units) >= wanted).min().into_iter().collect();
        if clean.is_empty() {
            let all = heap.offsets().at_least(CLEAN, self.step);
            clean.extend(all.filter_map(|block| usable(heap, block)));
        }
        let mut left = wanted;
        let mut is_sorted = false;
        while left > 0 && !clean.is_empty() {
            // A few are looked for one by one; where many are needed, they are put in order.
            let (units, _, from, block) = if made.len() < SINGLES && wanted < u64::MAX {
                clean.swap_remove(smallest_that_does(&clean, left))
            } else {
                if !is_sorted {
                    clean.sort_unstable();
                    is_sorted = true;
                }
                let at = clean.partition_point(|&(units, ..)| u64::from(units) < left);
                clean.remove(at.min(clean.len() - 1))
            };
            // The end of it: what is free stays one with what is below.
            let some = left.min(u64::from(units)) as u32;
            let some = some.next_multiple_of(self.step);
            let Some(hole) = heap.hollow(block, from + units - some, some) else { break };
            made.push(hole);
            left = left.saturating_sub(u64::from(some));
        }
        made
    }
}
