//! Which pages hold tags of live blocks, so that all others can be given back.
//!
//! ```text
//!   page     users
//!   7        2      two blocks have a place here that is touched
//!   8        0      idle: holds what nobody reads; given back when the limit is reached
//! ```
//!
//! # Invariants
//! - Pages counted never exceed the limit, and every page that a tagged block touches is counted.
//! - An idle page that was given back is not counted.
//!
//! # Cost
//! A look-up for each place of a block that is touched, of which there are at most three. A page is given back once for each time
//! that it was taken. 40 bytes for each page counted.

use crate::hash::FastMap;
use crate::memory::Tagged;
use strandline_core::SlabId;

/// Idle pages that are listed before the list is tidied.
const TIDY: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Resident {
    page: u64,
    limit: usize,
    pages: usize,
    /// Of each slab, the counted pages, with how many places of live blocks they hold.
    slabs: FastMap<SlabId, FastMap<u64, u32>>,
    /// Pages that became idle, perhaps several times, and may be in use again.
    idle: Vec<(SlabId, u64)>,
}

impl Resident {
    /// Pages of `page` bytes, at most `limit` of them.
    pub(super) fn new(page: u64, limit: usize) -> Self {
        Self { page, limit, pages: 0, slabs: FastMap::default(), idle: Vec::new() }
    }

    /// Counts the pages of a block that is about to be tagged. False if they would be too many. `discard` is told the ranges
    /// whose pages are to be given back: slab, offset, length.
    pub(super) fn enter(
        &mut self,
        block: &Tagged,
        discard: &mut dyn FnMut(SlabId, u64, u64),
    ) -> bool {
        let pages = self.pages_of(block);
        if self.pages + self.missing(block.slab, &pages) > self.limit {
            self.give_back(discard);
            if self.pages + self.missing(block.slab, &pages) > self.limit {
                return false;
            }
        }
        let counts = self.slabs.entry(block.slab).or_default();
        for page in pages.iter() {
            let users = counts.entry(page).or_insert_with(|| {
                self.pages += 1;
                0
            });
            *users += 1;
        }
        true
    }

    /// A block that was tagged is over.
    pub(super) fn leave(&mut self, block: &Tagged) {
        let pages = self.pages_of(block);
        let Some(counts) = self.slabs.get_mut(&block.slab) else { return };
        for page in pages.iter() {
            // None if it was checked twice: then it was counted off before.
            let Some(users @ 1..) = counts.get_mut(&page) else { continue };
            *users -= 1;
            if *users == 0 {
                self.idle.push((block.slab, page));
            }
        }
        if self.idle.len() >= TIDY.max(2 * self.pages) {
            self.tidy();
        }
    }

    /// A slab and its pages are gone.
    pub(super) fn forget(&mut self, slab: SlabId) {
        self.pages -= self.slabs.remove(&slab).map_or(0, |counts| counts.len());
    }

    /// Pages counted.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.pages
    }

    /// How many of the pages are not counted yet.
    fn missing(&self, slab: SlabId, pages: &Pages) -> usize {
        let counts = self.slabs.get(&slab);
        pages.iter().filter(|page| counts.is_none_or(|counts| !counts.contains_key(page))).count()
    }

    /// Leaves in the list what is idle, in order.
    fn tidy(&mut self) {
        let slabs = &self.slabs;
        self.idle.retain(|(slab, page)| {
            slabs.get(slab).and_then(|counts| counts.get(page)).is_some_and(|&users| users == 0)
        });
        self.idle.sort_unstable();
        self.idle.dedup();
    }

    /// Gives all idle pages back.
    fn give_back(&mut self, discard: &mut dyn FnMut(SlabId, u64, u64)) {
        self.tidy();
        let page_bytes = self.page;
        let adjacent = |a: &(SlabId, u64), b: &(SlabId, u64)| a.0 == b.0 && a.1 + 1 == b.1;
        for run in self.idle.chunk_by(adjacent) {
            let (slab, first) = run[0];
            discard(slab, first * page_bytes, run.len() as u64 * page_bytes);
            if let Some(counts) = self.slabs.get_mut(&slab) {
                for (_, page) in run {
                    self.pages -= usize::from(counts.remove(page).is_some());
                }
            }
        }
        self.idle.clear();
    }

    /// The pages that a block's tag touches, in order.
    fn pages_of(&self, block: &Tagged) -> Pages {
        let mut out = Pages::default();
        // Nothing here fails.
        let _ = block.pieces(|at, len| {
            let first = (block.offset + at) / self.page;
            let last = (block.offset + at + len as u64 - 1) / self.page;
            (first..=last).for_each(|page| out.push(page));
            Ok(())
        });
        out
    }
}

/// Few pages, each once: three places of up to 512 bytes lie in at most six.
#[derive(Default)]
struct Pages {
    pages: [u64; 6],
    len: usize,
}

impl Pages {
    fn push(&mut self, page: u64) {
        if self.iter().next_back() != Some(page)
            && let Some(slot) = self.pages.get_mut(self.len)
        {
            *slot = page;
            self.len += 1;
        }
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = u64> + '_ {
        self.pages[..self.len].iter().copied()
    }
}
