//! A plan as a TLSF pool follows it: the matcher, where the plan's memory is, and what came of it. Under the pool's lock.

use super::PlannedStats;
use super::matcher::{Guess, Key, Matcher};
use super::places::Places;
use super::plan::{Plan, PlanError};
use crate::offset::tlsf::RegionId;
use crate::slab::{Slab, SlabId};
use alloc::vec::Vec;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Follower {
    matcher: Matcher,
    places: Places,
    /// The place of each block of the plan.
    place_of: Vec<u32>,
    /// Bytes of a slab that holds the plan.
    bytes: u64,
    home: Option<(RegionId, SlabId)>,
    planned: u64,
    strayed: u64,
    occupied: u64,
}

impl Follower {
    /// Of a plan, in granules of the pool.
    ///
    /// # Errors
    /// [`PlanError::Granule`].
    pub(super) fn new(plan: &Plan, granule: u64) -> Result<Self, PlanError> {
        let in_granules =
            |bytes: u64| u32::try_from(bytes / granule).ok().filter(|&n| n != u32::MAX);
        let mut offsets = Vec::with_capacity(plan.blocks().len());
        let mut keys = Vec::with_capacity(plan.blocks().len());
        for (number, block) in plan.blocks().iter().enumerate() {
            let units = in_granules(block.size.next_multiple_of(granule));
            let offset = in_granules(block.offset).filter(|_| block.offset.is_multiple_of(granule));
            let (Some(offset), Some(units)) = (offset, units) else {
                return Err(PlanError::Granule(number));
            };
            let alignment = in_granules(block.alignment).unwrap_or(1 << 31).max(1);
            offsets.push(offset);
            keys.push(Key::new(units, alignment, Some(block.stream)));
        }
        let (places, place_of) = Places::new(&offsets);
        Ok(Self {
            matcher: Matcher::new(keys),
            places,
            place_of,
            bytes: plan.bytes().next_multiple_of(granule),
            home: None,
            planned: 0,
            strayed: 0,
            occupied: 0,
        })
    }

    pub(super) fn stats(&self) -> PlannedStats {
        PlannedStats {
            planned: self.planned,
            strayed: self.strayed,
            occupied: self.occupied,
            resynchronised: self.matcher.resynchronised(),
            steps: self.matcher.steps(),
        }
    }

    pub(super) fn begin_step(&mut self) {
        self.matcher.begin_step();
    }

    /// Bytes of memory for the plan itself.
    pub(super) fn footprint(&self) -> usize {
        self.matcher.footprint() + self.places.footprint() + self.place_of.capacity() * 4
    }

    /// Requests that were placed where the plan has them.
    #[inline(always)]
    pub(in crate::pool) const fn planned(&self) -> u64 {
        self.planned
    }

    /// What the next request is, if it asks for this.
    #[inline(always)]
    pub(in crate::pool) fn propose(&self, key: Key) -> Option<Guess> {
        self.matcher.propose(key)
    }

    /// First granule and region of a matched block, and a block that begins there or before; `begins` says whether one begins
    /// at a granule of the region.
    #[inline(always)]
    pub(in crate::pool) fn place(
        &mut self,
        guess: Guess,
        begins: impl Fn(u32, RegionId, u32) -> bool,
    ) -> Option<(RegionId, u32, Option<u32>)> {
        let (region, _) = self.home?;
        let place = self.place_of.as_slice()[guess.block() as usize];
        let near = self.places.near(place, |block, start| begins(block, region, start));
        Some((region, self.places.start(place), near))
    }

    /// A request was placed where the plan has it, as this block of the heap.
    #[inline(always)]
    pub(in crate::pool) fn place_taken(&mut self, key: Key, guess: Guess, block: u32) {
        self.planned += 1;
        self.places.set(self.place_of.as_slice()[guess.block() as usize], block);
        self.matcher.accept(key, Some(guess), true);
    }

    /// A request was granted elsewhere.
    #[inline(always)]
    pub(in crate::pool) fn stray(&mut self, key: Key, guess: Option<Guess>) {
        self.strayed += 1;
        self.occupied += u64::from(guess.is_some());
        self.matcher.accept(key, guess, false);
    }

    /// Bytes of the slab that the plan still needs.
    pub(in crate::pool) fn wants(&self) -> Option<u64> {
        (self.home.is_none() && self.bytes != 0).then_some(self.bytes)
    }

    /// The pool has a new slab: the plan moves in if it has none that it fits.
    pub(in crate::pool) fn offer(&mut self, region: RegionId, slab: Slab) {
        if self.home.is_none() && self.bytes != 0 && slab.size >= self.bytes {
            self.home = Some((region, slab.id));
            self.places.clear();
        }
    }

    /// A slab left the pool.
    pub(in crate::pool) fn lose(&mut self, slab: SlabId) {
        if self.home.is_some_and(|(_, home)| home == slab) {
            self.home = None;
        }
    }
}
