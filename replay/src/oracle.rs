//! The oracle: an independent witness that no byte has two owners and none is reused before its death.
//!
//! ```text
//!   slab 0   live  [0, 4096)   [8192, 12288)                 must never overlap
//!            dead  [4096, 8192) → {queue:0.1 @ 17}           a new owner must be ordered after this,
//!                                                            or it must have been reached
//! ```
//!
//! It keeps two interval maps per slab and shares no code with the pools: live ranges, and freed ranges with
//! their deaths. Of a byte's history only its last death matters, because whoever owned it last was itself ordered
//! after all the owners before. Deaths that have been reached say nothing any more and are dropped.
//!
//! # Invariants
//! - Live ranges of a slab are disjoint, and so are dead ranges; a byte is in at most one of the two.
//! - A handed-out range that overlaps a live one is counted, and not recorded: the verdict on later events is about
//!   the owner that was there first.
//!
//! Of the slabs that it is told of it also keeps the free runs, and so can say what a pool missed: see [`fits`].
//!
//! # Cost
//! O(log n) for each range that starts or ends, n the ranges known of the slab. A range that ends adds one dead range,
//! and each is removed once, so sums over a run are O(events · log n). Memory: the live set, and twice the dead ranges that
//! are still waited for.

use crate::hash::FastMap;
use std::collections::BTreeMap;
use strandline_core::pool::PoolId;
use strandline_core::{Death, Frontier, FrontierRef, Progress, SlabId};

pub mod fits;

use fits::Fits;
pub use fits::{Demand, Room, Slabs};

/// What the oracle found, as counts: all zero for a sound pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Ranges handed out while one of their bytes was live, or outside their slab, or ended without having been live.
    pub overlaps: u64,
    /// Ranges handed out while the last use of one of their bytes was neither over nor ordered before.
    pub early_reuse: u64,
    /// Ranges whose bytes were not what their owner had written. The oracle sees no bytes: who looks at them
    /// reports through [`Oracle::corrupted`].
    pub corruptions: u64,
    /// Requests that were refused, grew or had to wait though memory for twice as much was there that they might have used:
    /// no fault, but memory wasted. See [`fits`].
    pub missed_fits: u64,
}

impl Verdict {
    /// No byte was in danger.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.overlaps == 0 && self.early_reuse == 0 && self.corruptions == 0
    }

    /// All findings of unsoundness together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.overlaps + self.early_reuse + self.corruptions
    }
}

/// A range of bytes of a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The slab.
    pub slab: SlabId,
    /// First byte.
    pub offset: u64,
    /// Bytes, above 0.
    pub size: u64,
}

/// A death that is kept.
#[derive(Clone, Debug)]
enum Kept {
    After(Frontier),
    Unknown,
}

impl Kept {
    fn is_reached(&self, progress: &dyn Progress) -> bool {
        match self {
            Self::After(frontier) => frontier.as_ref().is_satisfied(progress),
            Self::Unknown => false,
        }
    }
}

#[derive(Debug, Default)]
struct SlabHistory {
    /// Start → end.
    live: BTreeMap<u64, u64>,
    /// Start → (end, what the last use waits for).
    dead: BTreeMap<u64, (u64, Kept)>,
}

/// Watches what a pool hands out and takes back. See the [module](self).
///
/// ```
/// use strandline_core::{Axis, Death, Frontier, FrontierRef, NoProgress, SlabId};
/// use strandline_replay::oracle::{Oracle, Range};
///
/// let mut oracle = Oracle::new();
/// let range = Range { slab: SlabId::new(0, 0), offset: 0, size: 4096 };
/// let freed = Frontier::from_entry(Axis::queue(0, 1), 7);
///
/// assert!(oracle.begin(range, FrontierRef::EMPTY, &NoProgress));
/// assert!(oracle.end(range, Death::After(freed.as_ref())));
/// // Nobody has reached 7, and the next owner is not ordered after it:
/// assert!(!oracle.begin(range, FrontierRef::EMPTY, &NoProgress));
/// assert_eq!(oracle.verdict().early_reuse, 1);
/// ```
#[derive(Debug, Default)]
pub struct Oracle {
    slabs: FastMap<SlabId, SlabHistory>,
    verdict: Verdict,
    live: usize,
    dead: usize,
    /// Dead ranges at which the reached ones are swept out.
    sweep_at: usize,
    fits: Fits,
}

const LEAST_SWEEP: usize = 1024;

impl Oracle {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { sweep_at: LEAST_SWEEP, ..Self::default() }
    }

    /// What was found so far.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Live ranges.
    #[must_use]
    pub const fn live(&self) -> usize {
        self.live
    }

    /// A range was handed out to someone who is ordered after `frontier` (for an answer that requires a wait: what the
    /// requester knew, joined with the wait). Returns whether that was sound; if not, it is counted.
    pub fn begin(
        &mut self,
        range: Range,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
    ) -> bool {
        self.begin_taking(range, range.size, frontier, progress)
    }

    /// [`begin`](Self::begin)s a range that takes `footprint` bytes out of its slab, padding included.
    pub fn begin_taking(
        &mut self,
        range: Range,
        footprint: u64,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
    ) -> bool {
        let Some(end) = range.offset.checked_add(range.size).filter(|_| range.size > 0) else {
            self.verdict.overlaps += 1;
            return false;
        };
        let start = range.offset;
        let slab = self.slabs.entry(range.slab).or_default();
        if let Some((_, &before_end)) = slab.live.range(..end).next_back()
            && before_end > start
        {
            self.verdict.overlaps += 1;
            return false;
        }
        slab.live.insert(start, end);
        self.fits.take(range, footprint.max(range.size));
        self.live += 1;
        let early = slab.claim(start, end, frontier, progress, &mut self.dead);
        self.verdict.early_reuse += u64::from(early);
        !early
    }

    /// A range was given back, and its last use ends with `death`. Returns whether exactly this range was live; if not,
    /// it is counted among the overlaps.
    pub fn end(&mut self, range: Range, death: Death<'_>) -> bool {
        let live = self.slabs.get_mut(&range.slab).filter(|slab| {
            slab.live.get(&range.offset).is_some_and(|end| end - range.offset == range.size)
        });
        let Some(slab) = live else {
            self.verdict.overlaps += 1;
            return false;
        };
        let end = range.offset + range.size;
        slab.live.remove(&range.offset);
        self.fits.give_back(range);
        self.live -= 1;
        let kept = match death {
            Death::Idle => return true,
            Death::After(frontier) if frontier.is_empty() => return true,
            Death::After(frontier) => Kept::After(frontier.to_frontier()),
            Death::Unknown => Kept::Unknown,
        };
        // The range was cut out of the dead map when it was handed out: nothing is overwritten.
        slab.dead.insert(range.offset, (end, kept));
        self.dead += 1;
        true
    }

    /// The bytes of a live range were not what its owner had written.
    pub fn corrupted(&mut self) {
        self.verdict.corruptions += 1;
    }

    /// The device is quiescent: no use is outstanding, and no death is waited for any more.
    pub fn quiesced(&mut self) {
        for slab in self.slabs.values_mut() {
            slab.dead.clear();
        }
        self.dead = 0;
    }

    /// The slabs that a pool has now, with their sizes. Ranges in others are not looked at for what was missed.
    pub fn slabs(&mut self, slabs: &Slabs) {
        self.fits.slabs(slabs);
    }

    /// A request was refused, made its pool grow, or has to wait. Whether a range was there instead that the requester,
    /// ordered after `frontier`, might have used: twice what it needs, in one piece. If so, it is counted.
    pub fn missed(
        &mut self,
        demand: &Demand,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
    ) -> bool {
        let Self { fits, slabs, .. } = self;
        let missed = fits.could_serve(demand, usable(slabs, demand.granule, frontier, progress));
        self.verdict.missed_fits += u64::from(missed);
        missed
    }

    /// The slabs of a pool that it was told of.
    #[must_use]
    pub fn slabs_of(&self, pool: PoolId) -> Vec<SlabId> {
        self.fits.slabs_of(pool)
    }

    /// Memory was put into an elastic slab from `start` to `end`, or taken out. A slab has memory throughout until it is taken out.
    pub fn committed(&mut self, slab: SlabId, start: u64, end: u64, put: bool) {
        if put {
            self.fits.put(slab, start, end);
        } else {
            self.fits.take_out(slab, start, end);
        }
    }

    /// A request was refused by a pool that may put memory into its elastic slabs. Whether what `room` the provider has, beside ranges
    /// that the requester might have used, would have served: twice what it needs, in one piece. If so, it is counted.
    pub fn missed_growth(
        &mut self,
        demand: &Demand,
        room: Room,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
    ) -> bool {
        let Self { fits, slabs, .. } = self;
        let usable = usable(slabs, demand.granule, frontier, progress);
        let missed = fits.could_grow(demand, room, usable);
        self.verdict.missed_fits += u64::from(missed);
        missed
    }

    /// Drops what has been reached, when enough has gathered for that to cost O(1) a range. Call it now and then, for
    /// instance after each release.
    pub fn tidy(&mut self, progress: &dyn Progress) {
        if self.dead < self.sweep_at {
            return;
        }
        self.slabs.retain(|_, slab| {
            slab.dead.retain(|_, (_, death)| !death.is_reached(progress));
            !slab.live.is_empty() || !slab.dead.is_empty()
        });
        self.dead = self.slabs.values().map(|slab| slab.dead.len()).sum();
        self.sweep_at = (2 * self.dead).max(LEAST_SWEEP);
    }
}

impl SlabHistory {
    /// Cuts `[start, end)` out of the dead ranges; says whether one of them forbids the new use.
    fn claim(
        &mut self,
        start: u64,
        end: u64,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
        count: &mut usize,
    ) -> bool {
        let mut early = false;
        // From the right: the last dead range that starts before `end`, until one ends before `start`.
        while let Some((&from, &(to, _))) = self.dead.range(..end).next_back()
            && to > start
        {
            let Some((_, death)) = self.dead.remove(&from) else { break };
            *count -= 1;
            if death.is_reached(progress) {
                continue;
            }
            early |= match &death {
                Kept::After(needed) => !covered(frontier, needed.as_ref(), progress),
                Kept::Unknown => true,
            };
            if to > end {
                self.dead.insert(end, (to, death.clone()));
                *count += 1;
            }
            if from < start {
                self.dead.insert(from, (start, death));
                *count += 1;
                // What lies further left is another range and ends at or before `from`.
                break;
            }
        }
        early
    }
}

impl SlabHistory {
    /// The longest stretch between `start` and `end`, where nothing is live, whose last uses are all over or ordered before.
    /// It begins at a multiple of `granule`.
    fn longest_usable(
        &self,
        start: u64,
        end: u64,
        granule: u64,
        frontier: FrontierRef<'_>,
        progress: &dyn Progress,
    ) -> u64 {
        let (mut from, mut longest) = (start, 0);
        // One that begins before may reach in: what a block left over that was handed out in the middle of it.
        let before = self.dead.range(..start).next_back().filter(|(_, (stop, _))| *stop > start);
        for (&dead, (stop, death)) in before.into_iter().chain(self.dead.range(start..end)) {
            // What is left of an older death in a later block's padding died with that block.
            let dead = dead.max(start).next_multiple_of(granule);
            if dead >= *stop {
                continue;
            }
            let usable = match death {
                Kept::After(needed) => covered(frontier, needed.as_ref(), progress),
                Kept::Unknown => false,
            };
            if !usable {
                longest = longest.max(dead.saturating_sub(from));
                from = stop.next_multiple_of(granule);
            }
        }
        longest.max(end.saturating_sub(from))
    }
}

/// Of a stretch of a slab where nothing is live, the bytes in a row that may be used.
fn usable(
    slabs: &FastMap<SlabId, SlabHistory>,
    granule: u64,
    frontier: FrontierRef<'_>,
    progress: &dyn Progress,
) -> impl Fn(SlabId, u64, u64) -> u64 {
    move |slab, start, end| {
        let history = slabs.get(&slab);
        history.map_or(end - start, |history| {
            history.longest_usable(start, end, granule, frontier, progress)
        })
    }
}

/// Axis by axis: ordered before the requester, or reached.
fn covered(frontier: FrontierRef<'_>, needed: FrontierRef<'_>, progress: &dyn Progress) -> bool {
    needed.entries().iter().all(|entry| {
        frontier.get(entry.axis) >= entry.epoch || progress.has_reached(entry.axis, entry.epoch)
    })
}

#[cfg(test)]
mod tests;
