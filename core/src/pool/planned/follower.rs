//! A plan as a TLSF pool follows it: the matcher, where the plan's memory is, and what came of it. Under the pool's lock.

use super::PlannedStats;
use super::gaps::{self, Range};
use super::matcher::{Guess, Key, Matcher};
use super::places::Places;
use super::plan::{Plan, PlanError};
use super::recorder::Recorder;
use super::recording::{Recorded, Recording};
use crate::offset::tlsf::{BlockId, RegionId};
use crate::slab::{Slab, SlabId};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// What a planned request earns for strays: so many blocks of the plan may be looked at to find one a gap. A plan that is wrong earns
/// nothing, and costs nothing.
const EARNED: u32 = 32;
/// The most that is saved up.
const SAVED: u32 = 1 << 17;
/// Blocks of the plan that are looked at for a stray at most.
const LOOKS: u32 = 1 << 13;
/// How long a request that the plan does not have is taken to live, in requests.
const STRAY_LIFE: u32 = 128;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Follower {
    matcher: Matcher,
    places: Places,
    /// The place of each block of the plan.
    place_of: Vec<u32>,
    /// How long each block of the plan lives, in requests, as [`in_class`] writes it.
    lives: Vec<u8>,
    /// Bytes of a slab that holds the plan.
    bytes: u64,
    home: Option<(RegionId, SlabId)>,
    /// A step began, and no request of it has come yet.
    began: bool,
    /// Of the slab in `home`.
    home_bytes: u64,
    /// A plan that is too large for `home` leaves it at once, and asks for a slab with the first request.
    moves: bool,
    asks: bool,
    /// Where steps are recorded.
    recorder: Option<Box<Recorder>>,
    /// What is followed from the next step on.
    next: Option<Box<Self>>,
    replanned: u64,
    planned: u64,
    strayed: u64,
    occupied: u64,
    /// Blocks of the plan that may be looked at for strays.
    earned: u32,
    /// Scratch.
    free: Vec<Range>,
    free_blocks: Vec<BlockId>,
    obstacles: Vec<Range>,
}

/// A number of requests in a byte, rounded up: a power of two and an eighth of it.
const fn in_class(requests: u32) -> u8 {
    if requests < 8 {
        return requests as u8;
    }
    let log = requests.ilog2();
    let eighths = requests.div_ceil(1 << (log - 3));
    // 16 eighths are the next power.
    (((log - 2) << 3) + (eighths - 8)) as u8
}

/// The largest number of such a class.
const fn of_class(class: u8) -> u32 {
    if class < 8 {
        return class as u32;
    }
    let (log, eighths) = ((class as u32 >> 3) + 2, (class as u32 & 7) + 8);
    let requests = (eighths as u64) << (log - 3);
    if requests > u32::MAX as u64 { u32::MAX } else { requests as u32 }
}

fn lives(plan: &Plan) -> Vec<u8> {
    (0..).zip(plan.blocks()).map(|(number, block)| in_class(block.until - number)).collect()
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
            matcher: Matcher::new(keys, plan.prologue() as u32),
            places,
            place_of,
            lives: lives(plan),
            bytes: plan.bytes().next_multiple_of(granule),
            home: None,
            began: false,
            home_bytes: 0,
            moves: false,
            asks: false,
            recorder: None,
            next: None,
            replanned: 0,
            planned: 0,
            strayed: 0,
            occupied: 0,
            earned: SAVED,
            free: Vec::new(),
            free_blocks: Vec::new(),
            obstacles: Vec::new(),
        })
    }

    pub(super) fn stats(&self) -> PlannedStats {
        PlannedStats {
            planned: self.planned,
            strayed: self.strayed,
            occupied: self.occupied,
            resynchronised: self.matcher.resynchronised(),
            steps: self.matcher.steps(),
            replanned: self.replanned,
        }
    }

    /// A step begins. Whether another plan is followed from now on, for which there is no slab yet that is large enough.
    pub(super) fn begin_step(&mut self) -> bool {
        if !self.matcher.is_marked()
            && let Some(recorder) = &mut self.recorder
        {
            // What came before the first mark is no step.
            recorder.forget();
        }
        self.matcher.begin_step();
        self.step_began()
    }

    /// The matcher is at the beginning of a step.
    #[inline(never)]
    fn step_began(&mut self) -> bool {
        self.began = true;
        if let Some(recorder) = &mut self.recorder {
            recorder.begin_step();
        }
        let Some(next) = self.next.take() else { return false };
        let Self { mut matcher, places, place_of, lives, bytes, .. } = *next;
        matcher.succeed(&self.matcher);
        (self.matcher, self.places, self.place_of, self.lives) = (matcher, places, place_of, lives);
        self.bytes = bytes;
        self.replanned += 1;
        self.earned = SAVED;
        if self.moves && self.home_bytes < bytes {
            // What stands there stays until it is released, beside the plan.
            self.home = None;
        }
        self.asks = self.moves;
        self.home.is_none() || self.home_bytes < bytes
    }

    /// Plans leave slabs that are too small, whatever still stands there.
    pub(super) const fn move_out(&mut self) {
        self.moves = true;
    }

    /// Records steps from now on.
    pub(super) fn record(&mut self) {
        self.recorder.get_or_insert_default();
    }

    /// The last whole step that was recorded, once, and whether all of it stood where the plan has it. `live` visits the live blocks of a region:
    /// block, first granule, granules.
    pub(in crate::pool) fn take_recording(
        &mut self,
        granule: u64,
        live: impl FnOnce(RegionId, &mut dyn FnMut(u32, u32, u32)),
    ) -> Option<(Recording, bool)> {
        let recorder = self.recorder.as_mut()?;
        let (granted, strayed) = recorder.take_last()?;
        let end = granted.len() as u32;
        let requests = granted.iter().map(|granted| {
            let (until, lives_on) = granted.until(end);
            Recorded {
                size: u64::from(granted.key.units()) * granule,
                alignment: granted.key.alignment() * granule,
                stream: granted.key.stream(),
                until,
                lives_on,
            }
        });
        let requests = requests.collect();
        let mut recording = Recording { requests, fixed: Vec::new(), room: None };
        if let Some((home, _)) = self.home {
            live(home, &mut |block, start, units| {
                if recorder.is_older(block) {
                    let bytes = |granules: u32| u64::from(granules) * granule;
                    recording.fixed.push((bytes(start), bytes(units)));
                }
            });
        }
        recording.room = (!recording.fixed.is_empty()).then_some(self.home_bytes);
        Some((recording, strayed == 0))
    }

    /// From the next step on another plan is followed.
    pub(super) fn follow_next(&mut self, next: Self) {
        self.next = Some(Box::new(next));
    }

    /// A block of the heap was released.
    #[inline(always)]
    pub(in crate::pool) fn freed(&mut self, block: u32) {
        if let Some(recorder) = &mut self.recorder {
            recorder.free(block);
        }
    }

    /// A request was granted and matched: a step may begin with the next one.
    #[inline(always)]
    fn matched(&mut self, key: Key, guess: Option<Guess>, placed: bool, block: u32) {
        if let Some(recorder) = &mut self.recorder {
            recorder.grant(key, block, placed);
        }
        let before = self.matcher.steps();
        self.matcher.accept(key, guess, placed);
        // A matcher that goes far back begins again, but where the host marks steps that is none.
        if self.matcher.steps() != before && !self.matcher.is_marked() {
            self.step_began();
        }
    }

    /// Bytes of the plan, in whole granules.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of memory for the plan itself.
    pub(super) fn footprint(&self) -> usize {
        self.matcher.footprint()
            + self.places.footprint()
            + self.place_of.capacity() * 4
            + self.lives.capacity()
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

    /// Region and first granule of a matched block.
    pub(in crate::pool) fn spot(&self, guess: Guess) -> Option<(RegionId, u32)> {
        let (region, _) = self.home?;
        Some((region, self.places.start(self.place_of[guess.block() as usize])))
    }

    /// A request was placed where the plan has it, as this block of the heap.
    #[inline(always)]
    pub(in crate::pool) fn place_taken(&mut self, key: Key, guess: Guess, block: u32) {
        self.planned += 1;
        self.earned = (self.earned + EARNED).min(SAVED);
        self.places.set(self.place_of.as_slice()[guess.block() as usize], block);
        self.matched(key, Some(guess), true, block);
    }

    /// A request was granted elsewhere, as this block of the heap.
    #[inline(always)]
    pub(in crate::pool) fn stray(&mut self, key: Key, guess: Option<Guess>, block: u32) {
        self.strayed += 1;
        self.occupied += u64::from(guess.is_some());
        self.matched(key, guess, false, block);
    }

    /// Where a request that does not get its place disturbs the plan least: the first granule of a range that is free, and that the plan
    /// does not use as long as the request is likely to live, or else uses for small blocks only. `free` visits the free
    /// blocks that are large enough: region, first granule, granules.
    pub(in crate::pool) fn gap(
        &mut self,
        guess: Option<Guess>,
        units: u32,
        align: u32,
        free: impl FnOnce(&mut dyn FnMut(BlockId, RegionId, u32, u32)),
    ) -> Option<(RegionId, u32, Option<BlockId>)> {
        let (home, _) = self.home?;
        let cursor = self.matcher.cursor();
        let len = self.lives.len() as u32;
        // What comes instead of a block of about its size is likely to be that one, resized.
        let is_alike = |size: u32| size / 2 <= units && units / 2 <= size;
        let resized = (guess.is_none() && cursor < len)
            .then_some(cursor)
            .filter(|&block| is_alike(self.matcher.units(block)));
        let until = match guess.map(Guess::block).or(resized) {
            Some(block) => block.saturating_add(of_class(self.lives[block as usize])),
            None => cursor.saturating_add(STRAY_LIFE),
        };
        let end = until.min(len).min(cursor + LOOKS.min(self.earned));
        let looks = end.checked_sub(cursor).filter(|&looks| looks > 0)?;
        self.free.clear();
        let (ranges, mut beside) = (&mut self.free, None);
        let mut blocks = core::mem::take(&mut self.free_blocks);
        blocks.clear();
        free(&mut |block, region, start, units| {
            if region == home {
                ranges.push((start, start + units));
                blocks.push(block);
            } else if beside.is_none() {
                beside = Some((region, start.next_multiple_of(align), Some(block)));
            }
        });
        self.free_blocks = blocks;
        // What is beside the plan disturbs nothing.
        if beside.is_some() || self.free.is_empty() {
            return beside;
        }
        self.earned -= looks;
        let found = |this: &Self, start: u32| {
            let holds = |&(from, to): &Range| from <= start && start < to;
            let block = this.free.iter().position(holds).map(|at| this.free_blocks[at]);
            Some((home, start, block))
        };
        if let Some(block) = resized
            && units <= self.matcher.units(block)
        {
            let start = self.places.start(self.place_of[block as usize]);
            if self.free.iter().any(|&(from, to)| from <= start && start + units <= to) {
                return found(self, start);
            }
        }
        self.obstacles.clear();
        let mut largest = 0;
        for block in (cursor..cursor + looks).filter(|&block| Some(block) != resized) {
            let size = self.matcher.units(block);
            let start = self.places.start(self.place_of[block as usize]);
            self.obstacles.push((start, start + size));
            largest = largest.max(size);
        }
        self.obstacles.sort_unstable();
        // What is displaced strays in turn: better several small ones than a large one, for which there is no other room at the peak.
        let mut above = 0;
        loop {
            let gap = gaps::tightest(&self.free, &self.obstacles, units, align, above);
            match gap {
                Some(start) => return found(self, start),
                None if above >= largest => return None,
                None => above = units.max(above.saturating_mul(2)),
            }
        }
    }

    /// Bytes of the slab that the plan still needs.
    pub(in crate::pool) fn wants(&self) -> Option<u64> {
        (self.home.is_none() && self.bytes != 0).then_some(self.bytes)
    }

    /// Whether a request that asks for this is the first of its step that the plan has. Once a step.
    #[inline(always)]
    pub(in crate::pool) fn takes_up_step(&mut self, key: Key) -> bool {
        let takes_up = self.began && self.matcher.propose(key).is_some();
        self.began &= !takes_up;
        takes_up
    }

    /// Region and bytes of the plan, if it has a slab.
    pub(in crate::pool) fn housed(&self) -> Option<(RegionId, u64)> {
        self.home.map(|(region, _)| (region, self.bytes))
    }

    /// What it [wants](Self::wants), once for each plan, where that is not to wait until the pool grows by itself.
    pub(in crate::pool) fn asks(&mut self) -> Option<u64> {
        if core::mem::take(&mut self.asks) { self.wants() } else { None }
    }

    /// The pool has a new slab: the plan moves in if it has none that it fits.
    pub(in crate::pool) fn offer(&mut self, region: RegionId, slab: Slab) {
        if self.home.is_none() && self.bytes != 0 && slab.size >= self.bytes {
            (self.home, self.home_bytes) = (Some((region, slab.id)), slab.size);
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_rounded_up_by_at_most_an_eighth() {
        let edges = (0..32).flat_map(|log| (0..40).map(move |i| (1_u64 << log) + i * i));
        for requests in edges.chain([u64::from(u32::MAX)]) {
            let Ok(requests) = u32::try_from(requests) else { continue };
            let back = of_class(in_class(requests));
            assert!(back >= requests && back - requests <= requests / 8, "{requests}: {back}");
        }
    }
}
