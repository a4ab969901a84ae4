//! The oracle: what every byte of every slab is, and what each answer of a pool must therefore be.
//!
//! ```text
//!   slab 0   │ live, holder 3 │ after {a@7, b@2} │ clean, used │ never handed out │ unknown │
//! ```
//! It believes what the program does, never what the pool says. A byte's death stands until the byte is released
//! again; taking it does not change that, so a cancel needs no undoing.
//!
//! Of an answer it asks, byte by byte and axis by axis: may the requester use it, is the origin true, is the wait enough
//! and no more than that. Of a refusal, of growth and of a wait it asks whether there was a range that the requester
//! might have used ([`Oracle::could_serve`]).
//!
//! Bytes of an elastic slab without memory are held by nobody who could give them back ([`HOLE`]): a pool that hands them out, or
//! takes the memory of bytes that are in use or waited for, is found out.
//!
//! Pools hand out different things, so it is told what ([`Unit`]), and by which of the laws to judge ([`Laws`]).
//!
//! Cost: a step is linear in the segments of a slab, which are merged whenever they are looked through.

mod growth;

use super::laws::{Laws, Unit};
use std::fmt;
use strandline_core::inspect::{BlockState, BlockView};
use strandline_core::pool::{Origin, ReuseProof};
use strandline_core::{Entry, Frontier, FrontierRef, Progress, SlabId};

pub(crate) type Verdict = Result<(), String>;

macro_rules! ensure {
    ($that:expr, $($what:tt)+) => {
        if !$that {
            return Err(format!($($what)+));
        }
    };
}
pub(crate) use ensure;

/// What a byte waits for, as a place in the list of deaths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fate(u32);

impl Fate {
    /// Waits for nothing, and nothing was ever to be waited for since the last use.
    const CLEAN: Self = Self(0);
    /// Had a death, which is over.
    const OVER: Self = Self(1);
    const UNKNOWN: Self = Self(u32::MAX);
}

/// The holder of bytes of an elastic slab that have no memory.
const HOLE: u32 = u32::MAX;

/// Whether a byte was ever handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hands {
    Never,
    /// Only to those who gave it back unused.
    Unused,
    Used,
}

/// What a fate names.
#[derive(Clone, Debug)]
struct End {
    frontier: Frontier,
    /// Known to be reached.
    over: bool,
    /// Of more axes than a pool must remember, when it was released: the pool need not hand the bytes out before fewer are left.
    many: bool,
}

impl End {
    const fn nothing() -> Self {
        Self { frontier: Frontier::new(), over: true, many: false }
    }
}

/// Bytes up to `end` from the end of the segment before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    end: u64,
    /// Who holds them, 0 for nobody; [`HOLE`] if they have no memory.
    holder: u32,
    hands: Hands,
    fate: Fate,
}

/// The batch that fills an arena's generation: start and end of its parts, those given back included, unless unused.
#[derive(Debug, Default)]
struct Batch {
    parts: Vec<(u64, u64)>,
    live: u32,
}

impl Batch {
    /// What no part has: the gaps between them, and what lies behind the last.
    fn free(&self, size: u64) -> (Vec<(u64, u64)>, u64) {
        let mut parts = self.parts.clone();
        parts.sort_unstable();
        let (mut gaps, mut end) = (Vec::new(), 0);
        for (start, stop) in parts {
            if start > end {
                gaps.push((end, start));
            }
            end = stop;
        }
        (gaps, end.min(size))
    }
}

#[derive(Debug)]
struct Slab {
    id: SlabId,
    segments: Vec<Segment>,
    batch: Batch,
}

impl Slab {
    fn size(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.end)
    }

    /// Makes segments begin and end at these bytes; where those between them are.
    fn cut(&mut self, start: u64, end: u64) -> std::ops::Range<usize> {
        let cut_at = |at: u64, segments: &mut Vec<Segment>| {
            let index = segments.partition_point(|segment| segment.end <= at);
            let begin = if index == 0 { 0 } else { segments[index - 1].end };
            if begin < at && index < segments.len() {
                let left = Segment { end: at, ..segments[index] };
                segments.insert(index, left);
                return index + 1;
            }
            index
        };
        let first = cut_at(start, &mut self.segments);
        let last = cut_at(end, &mut self.segments);
        first..last
    }

    /// The segments that share bytes with `start..end`.
    fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, &Segment)> {
        let first = self.segments.partition_point(|segment| segment.end <= start);
        let mut begin = if first == 0 { 0 } else { self.segments[first - 1].end };
        self.segments[first..].iter().map_while(move |segment| {
            let from = std::mem::replace(&mut begin, segment.end);
            (from < end).then_some((from, segment))
        })
    }
}

/// What a requester knows and what the world has reached.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) frontier: FrontierRef<'a>,
    /// Whether what the requester is ordered after is ordered after this, though it may not name it.
    pub(crate) implied: &'a dyn Fn(FrontierRef<'_>, Entry) -> bool,
    pub(crate) progress: &'a dyn Progress,
}

impl Known<'_> {
    fn reached(&self, entry: Entry) -> bool {
        self.progress.has_reached(entry.axis, entry.epoch)
    }

    fn covered(&self, entry: Entry) -> bool {
        self.frontier.get(entry.axis) >= entry.epoch
    }

    fn usable(&self, entry: Entry) -> bool {
        self.covered(entry) || self.reached(entry)
    }
}

/// A range that a pool handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slab: SlabId,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// How it was handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handed<'a> {
    Ready(Origin),
    After(FrontierRef<'a>),
}

/// What a request comes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub(crate) size: u64,
    pub(crate) alignment: u64,
    /// [`Pool::footprint`](strandline_core::Pool::footprint) of it.
    pub(crate) footprint: u64,
}

/// Bytes that would have served a request.
#[derive(Debug)]
pub(crate) struct Missed {
    pub(crate) slab: SlabId,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}..{}", self.slab, self.start, self.end)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Oracle {
    unit: Unit,
    laws: Laws,
    slabs: Vec<Slab>,
    /// What fates name; the first two wait for nothing.
    deaths: Vec<End>,
    next_holder: u32,
    pub(crate) live: u64,
    pub(crate) requested: u64,
    /// Bytes that live reservations take out of their slabs, but for what an arena's alignment skips.
    pub(crate) reserved: u64,
    pub(crate) peak_requested: u64,
    pub(crate) peak_reserved: u64,
}

impl Oracle {
    pub(crate) fn new(unit: Unit, laws: Laws) -> Self {
        Self {
            unit,
            laws,
            slabs: Vec::new(),
            deaths: vec![End::nothing(), End::nothing()],
            next_holder: 1,
            live: 0,
            requested: 0,
            reserved: 0,
            peak_requested: 0,
            peak_reserved: 0,
        }
    }

    /// A slab came from the provider.
    pub(crate) fn add_slab(&mut self, id: SlabId, size: u64) {
        let fresh = Segment { end: size, holder: 0, hands: Hands::Never, fate: Fate::CLEAN };
        let at = self.slabs.partition_point(|slab| slab.id < id);
        let slab = Slab { id, segments: vec![fresh], batch: Batch::default() };
        self.slabs.insert(at, slab);
    }

    /// An elastic slab came from the provider, without memory.
    pub(crate) fn add_elastic(&mut self, id: SlabId, size: u64) {
        self.add_slab(id, size);
        let at = self.find(id).expect("it was just added");
        self.slabs[at].segments[0].holder = HOLE;
    }

    /// The provider put memory into an elastic slab.
    pub(crate) fn commit(&mut self, id: SlabId, start: u64, end: u64) -> Verdict {
        let Some(at) = self.find(id) else { return Err(format!("{id:?} is not at hand")) };
        let slab = &mut self.slabs[at];
        let range = slab.cut(start, end);
        for segment in &mut slab.segments[range] {
            ensure!(segment.holder == HOLE, "{id:?} {start}..{end} had memory: {segment:?}");
            segment.holder = 0;
        }
        Ok(())
    }

    /// The provider took memory out of an elastic slab: nobody held it, and no work is left that may touch it.
    pub(crate) fn decommit(
        &mut self,
        id: SlabId,
        start: u64,
        end: u64,
        progress: &dyn Progress,
    ) -> Verdict {
        let Some(at) = self.find(id) else { return Err(format!("{id:?} is not at hand")) };
        let range = self.slabs[at].cut(start, end);
        for index in range {
            let segment = self.slabs[at].segments[index];
            ensure!(segment.holder != HOLE, "{id:?} {start}..{end} had no memory: {segment:?}");
            self.check_over(id, &segment, progress)?;
            self.slabs[at].segments[index].holder = HOLE;
        }
        Ok(())
    }

    /// None of these bytes of a slab has memory.
    pub(crate) fn is_hole(&self, id: SlabId, start: u64, end: u64) -> bool {
        let slab = self.find(id).map(|at| &self.slabs[at]);
        slab.is_some_and(|s| s.overlapping(start, end).all(|(_, segment)| segment.holder == HOLE))
    }

    pub(crate) fn slab_size(&self, id: SlabId) -> Option<u64> {
        self.find(id).map(|at| self.slabs[at].size())
    }

    /// The most bytes that have memory side by side in a slab at hand.
    pub(crate) fn largest_slab(&self) -> u64 {
        let stretches = self.slabs.iter().flat_map(|slab| {
            let mut begin = 0;
            slab.segments.iter().map(move |segment| {
                if segment.holder == HOLE {
                    begin = segment.end;
                }
                segment.end - begin
            })
        });
        stretches.max().unwrap_or(0)
    }

    pub(crate) fn has_slab_of(&self, size: u64) -> bool {
        self.slabs.iter().any(|slab| slab.size() == size)
    }

    fn find(&self, id: SlabId) -> Option<usize> {
        self.slabs.binary_search_by_key(&id, |slab| slab.id).ok()
    }

    /// The bytes that a reservation takes out of its slab.
    fn extent(&self, place: Place) -> (u64, u64) {
        let Place { slab, offset, size } = place;
        match self.unit {
            Unit::Range { granule } => {
                (offset / granule * granule, (offset + size).next_multiple_of(granule))
            }
            Unit::Block { stride } => (offset, offset + stride),
            Unit::Slab => (0, self.slab_size(slab).unwrap_or(0)),
            Unit::Batch => (offset, offset + size),
        }
    }

    /// Bytes were handed out: rightly so?
    pub(crate) fn take(&mut self, place: Place, handed: Handed<'_>, known: &Known<'_>) -> Verdict {
        let (start, end) = self.extent(place);
        let Some(at) = self.find(place.slab) else {
            return Err(format!("{:?} is not at hand", place.slab));
        };
        ensure!(end <= self.slabs[at].size(), "{place:?} lies outside its slab");
        self.check_use(at, start, end, handed, known)?;
        match handed {
            Handed::Ready(origin) => self.check_origin(at, start, end, origin, known)?,
            Handed::After(wait) => self.check_wait(at, start, end, wait, known)?,
        }
        let holder = self.next_holder;
        self.next_holder += 1;
        let slab = &mut self.slabs[at];
        let range = slab.cut(start, end);
        slab.segments[range].iter_mut().for_each(|segment| segment.holder = holder);
        slab.batch.live += 1;
        slab.batch.parts.push((start, end));
        self.live += 1;
        self.requested += place.size;
        self.peak_requested = self.peak_requested.max(self.requested);
        self.reserved += end - start;
        self.peak_reserved = self.peak_reserved.max(self.reserved);
        Ok(())
    }

    /// No byte belongs to another, and each may be used: after the wait, if there is one.
    fn check_use(
        &self,
        at: usize,
        start: u64,
        end: u64,
        handed: Handed<'_>,
        known: &Known<'_>,
    ) -> Verdict {
        let slab = &self.slabs[at];
        let wait = match handed {
            Handed::Ready(_) => FrontierRef::EMPTY,
            Handed::After(wait) => wait,
        };
        let fine = |&entry: &Entry| known.usable(entry) || wait.get(entry.axis) >= entry.epoch;
        for (begin, segment) in slab.overlapping(start, end) {
            let range = || format!("{:?} {start}..{end}: {begin}..{}", slab.id, segment.end);
            ensure!(segment.holder == 0, "{} has a holder already", range());
            ensure!(segment.fate != Fate::UNKNOWN, "{} has an unknown death", range());
            let End { frontier: death, over, .. } = &self.deaths[segment.fate.0 as usize];
            ensure!(
                *over || death.as_ref().entries().iter().all(fine),
                "{} handed out too early: it waits for {death}, known is {}, told {handed:?}",
                range(),
                known.frontier
            );
        }
        Ok(())
    }

    /// The deaths that an answer about these bytes is about.
    fn deaths_of(&self, at: usize, start: u64, end: u64) -> impl Iterator<Item = Entry> + '_ {
        let segments = self.slabs[at].overlapping(start, end);
        segments.flat_map(|(_, segment)| {
            self.deaths[segment.fate.0 as usize].frontier.as_ref().entries().iter().copied()
        })
    }

    fn check_origin(
        &self,
        at: usize,
        start: u64,
        end: u64,
        origin: Origin,
        known: &Known<'_>,
    ) -> Verdict {
        if !self.laws.labels {
            return Ok(());
        }
        let slab = &self.slabs[at];
        let range = || format!("{:?} {start}..{end} is {origin:?}", slab.id);
        let any = |hands| slab.overlapping(start, end).any(|(_, s)| s.hands == hands);
        match origin {
            Origin::Fresh => ensure!(!any(Hands::Used), "{}, but was used", range()),
            Origin::Reused(_) => {
                let mut hands = slab.overlapping(start, end).map(|(_, segment)| segment.hands);
                ensure!(hands.any(|h| h != Hands::Never), "{}, never handed out", range());
            }
        }
        let mut deaths = self.deaths_of(at, start, end);
        match origin {
            Origin::Reused(ReuseProof::Completion) => {
                let reached = deaths.find(|e| !known.reached(*e));
                ensure!(reached.is_none(), "{}, but {reached:?} is not reached", range());
            }
            Origin::Reused(ReuseProof::Dominance) => {
                if !matches!(self.unit, Unit::Range { .. }) {
                    let open = deaths.find(|e| !known.reached(*e));
                    ensure!(open.is_some(), "{}, but all is reached", range());
                    return Ok(());
                }
                // Where neighbours share their deaths, those of the others may not be reached.
                if !self.laws.exact_deaths {
                    return Ok(());
                }
                // Each axis covered, or some not reached: what is both may be called either.
                if slab.overlapping(start, end).any(|(_, s)| s.fate == Fate::OVER) {
                    return Ok(());
                }
                let entries: Vec<Entry> = deaths.collect();
                let all_reached = entries.iter().all(|e| known.reached(*e));
                let all_covered = entries.iter().all(|e| known.covered(*e));
                let clean = all_reached && (!all_covered || entries.is_empty());
                ensure!(!clean, "{}, but it was reached and not covered: {entries:?}", range());
            }
            Origin::Fresh => {}
        }
        Ok(())
    }

    /// That the wait is enough is seen byte by byte. Here: that nothing is too much.
    fn check_wait(
        &self,
        at: usize,
        start: u64,
        end: u64,
        wait: FrontierRef<'_>,
        known: &Known<'_>,
    ) -> Verdict {
        ensure!(!wait.is_empty(), "a wait for nothing");
        if !self.laws.minimal_wait {
            return Ok(());
        }
        for entry in wait.entries() {
            let range = || format!("{:?} {start}..{end}: wait for {entry:?}", self.slabs[at].id);
            ensure!(!known.reached(*entry), "{}, which is reached", range());
            ensure!(!known.covered(*entry), "{}, which {} covers", range(), known.frontier);
            let mut needed = self.deaths_of(at, start, end);
            ensure!(
                needed.any(|e| e.axis == entry.axis && e.epoch >= entry.epoch),
                "{}, which no byte waits for",
                range()
            );
        }
        Ok(())
    }

    /// The range was given back unused.
    pub(crate) fn cancel(&mut self, place: Place, progress: &dyn Progress) {
        self.give_back(place, None, progress);
    }

    /// The range was given back and dies like this; `None` is unknown.
    pub(crate) fn release(
        &mut self,
        place: Place,
        death: Option<FrontierRef<'_>>,
        progress: &dyn Progress,
    ) {
        self.give_back(place, Some(death), progress);
    }

    fn give_back(
        &mut self,
        place: Place,
        used: Option<Option<FrontierRef<'_>>>,
        progress: &dyn Progress,
    ) {
        let (start, end) = self.extent(place);
        let at = self.find(place.slab).expect("a live range has a slab");
        let fate = match used {
            None | Some(Some(FrontierRef::EMPTY)) => Fate::CLEAN,
            Some(None) => Fate::UNKNOWN,
            Some(Some(death)) => {
                let many = open_axes(death, progress) > self.unit.most_axes();
                self.deaths.push(End { frontier: death.to_frontier(), over: false, many });
                Fate(self.deaths.len() as u32 - 1)
            }
        };
        let slab = &mut self.slabs[at];
        let range = slab.cut(start, end);
        if used.is_some() {
            let free = Segment { end, holder: 0, hands: Hands::Used, fate };
            slab.segments[range.start] = free;
            slab.segments.drain(range.start + 1..range.end);
        } else {
            for segment in &mut slab.segments[range] {
                segment.holder = 0;
                if segment.hands == Hands::Never {
                    segment.hands = Hands::Unused;
                }
            }
        }
        let batch = &mut slab.batch;
        if used.is_none() {
            batch.parts.retain(|part| *part != (start, end));
        }
        batch.live -= 1;
        if batch.live == 0 {
            batch.parts.clear();
        }
        self.live -= 1;
        self.requested -= place.size;
        self.reserved -= end - start;
    }

    /// Nothing waits for anything any more.
    pub(crate) fn quiesce(&mut self) {
        for slab in &mut self.slabs {
            for segment in &mut slab.segments {
                if segment.fate != Fate::CLEAN {
                    segment.fate = Fate::OVER;
                }
            }
        }
    }

    /// A slab went back to the provider: nobody holds it, and no work is left that may touch it.
    pub(crate) fn return_slab(&mut self, id: SlabId, progress: &dyn Progress) -> Verdict {
        let Some(at) = self.find(id) else { return Ok(()) };
        let slab = self.slabs.remove(at);
        let with_memory = slab.segments.iter().filter(|segment| segment.holder != HOLE);
        with_memory.into_iter().try_for_each(|segment| self.check_over(id, segment, progress))
    }

    /// Nobody holds these bytes, and nothing is left to wait for.
    fn check_over(&self, id: SlabId, segment: &Segment, progress: &dyn Progress) -> Verdict {
        ensure!(segment.holder == 0, "{id:?} went back with a live range: {segment:?}");
        ensure!(segment.fate != Fate::UNKNOWN, "{id:?} went back in spite of {segment:?}");
        let End { frontier: death, over, .. } = &self.deaths[segment.fate.0 as usize];
        let over = *over || death.as_ref().is_satisfied(progress);
        ensure!(over, "{id:?} went back while {segment:?} waits for {death}");
        Ok(())
    }

    /// Forgets what has been reached, and merges the segments that no longer differ.
    fn tidy(&mut self, progress: &dyn Progress) {
        let Self { slabs, deaths, .. } = self;
        let mut reached = |fate: Fate| {
            let End { frontier, over, .. } = &mut deaths[fate.0 as usize];
            *over = *over || frontier.as_ref().is_satisfied(progress);
            *over
        };
        for slab in slabs {
            let mut kept = 0;
            for index in 0..slab.segments.len() {
                let mut segment = slab.segments[index];
                let is_named = segment.fate > Fate::OVER && segment.fate != Fate::UNKNOWN;
                if is_named && reached(segment.fate) {
                    segment.fate = Fate::OVER;
                }
                let same = kept > 0 && {
                    let before = slab.segments[kept - 1];
                    Segment { end: segment.end, ..before } == segment
                };
                kept -= usize::from(same);
                slab.segments[kept] = segment;
                kept += 1;
            }
            slab.segments.truncate(kept);
        }
    }

    /// A range that the requester might use at once, or could wait for if `waiting`, and which is so large that the pool
    /// must find it: twice what is needed where ranges of any size are handed out.
    pub(crate) fn could_serve(
        &mut self,
        need: Need,
        known: &Known<'_>,
        waiting: bool,
    ) -> Option<Missed> {
        self.tidy(known.progress);
        let free = |segment: &Segment| {
            if segment.holder != 0 || segment.fate == Fate::UNKNOWN {
                return false;
            }
            let End { frontier, over, many } = &self.deaths[segment.fate.0 as usize];
            let few = || open_axes(frontier.as_ref(), known.progress) <= self.unit.most_axes();
            (!many || few())
                && (*over
                    || waiting
                    || frontier.as_ref().entries().iter().all(|e| known.usable(*e)))
        };
        let missed = |slab: &Slab, start, end| Some(Missed { slab: slab.id, start, end });
        match self.unit {
            Unit::Range { granule } => {
                let slack = need.alignment.max(granule) - granule;
                let enough = 2 * (need.footprint.max(need.size.next_multiple_of(granule)) + slack);
                self.slabs.iter().find_map(|slab| {
                    let mut start = 0;
                    for segment in &slab.segments {
                        if !free(segment) {
                            start = segment.end;
                        } else if segment.end - start >= enough {
                            return missed(slab, start, segment.end);
                        }
                    }
                    None
                })
            }
            Unit::Block { stride } => self.slabs.iter().find_map(|slab| {
                let whole = slab.size() / stride * stride;
                let mut begin = 0;
                for segment in &slab.segments {
                    let mut block = begin;
                    begin = segment.end;
                    if free(segment) {
                        while block < segment.end.min(whole) {
                            if block.is_multiple_of(need.alignment) {
                                return missed(slab, block, block + stride);
                            }
                            block += stride;
                        }
                    }
                }
                None
            }),
            Unit::Slab => self.slabs.iter().find_map(|slab| {
                let fits = slab.size() == need.footprint && slab.segments.iter().all(free);
                if fits { missed(slab, 0, slab.size()) } else { None }
            }),
            Unit::Batch => self.slabs.iter().find_map(|slab| {
                let all_free =
                    |start, end| slab.overlapping(start, end).all(|(_, segment)| free(segment));
                let (gaps, top) = slab.batch.free(slab.size());
                let behind = top.next_multiple_of(need.alignment);
                if behind + need.size <= slab.size() && all_free(behind, behind + need.size) {
                    return missed(slab, behind, behind + need.size);
                }
                gaps.into_iter().find_map(|(low, high)| {
                    let mut start = low.next_multiple_of(need.alignment);
                    while start + need.size <= high {
                        if all_free(start, start + need.size) {
                            return missed(slab, start, start + need.size);
                        }
                        start += need.alignment;
                    }
                    None
                })
            }),
        }
    }

    /// Free bytes whose death is neither reached nor unknown.
    pub(crate) fn pending(&mut self, progress: &dyn Progress) -> u64 {
        self.tidy(progress);
        let mut bytes = 0;
        for slab in &self.slabs {
            let mut begin = 0;
            for segment in &slab.segments {
                let waits = segment.fate > Fate::OVER && segment.fate != Fate::UNKNOWN;
                if segment.holder == 0 && waits {
                    bytes += segment.end - begin;
                }
                begin = segment.end;
            }
        }
        bytes
    }

    /// What the pool shows of a block against what is known of its bytes.
    pub(crate) fn check_block(&self, block: &BlockView<'_>, known: &Known<'_>) -> Verdict {
        let Some(at) = self.find(block.slab) else {
            return Err(format!("{block:?} lies in a slab that is not at hand"));
        };
        let slab = &self.slabs[at];
        let end = block.offset + block.size;
        let implied = |by: FrontierRef<'_>, e: Entry| {
            known.reached(e) || by.get(e.axis) >= e.epoch || (known.implied)(by, e)
        };
        let holders = || slab.overlapping(block.offset, end).map(|(_, segment)| segment.holder);
        let covered = |by: FrontierRef<'_>| {
            slab.overlapping(block.offset, end).all(|(_, segment)| {
                segment.fate != Fate::UNKNOWN && {
                    let End { frontier: death, over, .. } = &self.deaths[segment.fate.0 as usize];
                    *over || death.as_ref().entries().iter().all(|e| implied(by, *e))
                }
            })
        };
        let free = holders().all(|holder| holder == 0);
        let agrees = match block.state {
            BlockState::Live { .. } => {
                let first = holders().next().unwrap_or(0);
                first != 0 && holders().all(|holder| holder == first)
            }
            BlockState::Clean => free && covered(FrontierRef::EMPTY),
            // An empty one marks bytes that nobody may have before their batch is over.
            BlockState::Pending(death) => free && (death.is_empty() || covered(death)),
            BlockState::Tainted => free,
        };
        let list = || {
            let of = |(begin, s): (u64, &Segment)| {
                let death = self.deaths.get(s.fate.0 as usize).map(|end| end.frontier.to_string());
                format!("{begin}..{} of {}, {death:?}", s.end, s.holder)
            };
            slab.overlapping(block.offset, end).map(of).collect::<Vec<_>>()
        };
        ensure!(agrees, "{block:?} holds {:?}", list());
        if self.laws.exact_deaths
            && let BlockState::Pending(death) = block.state
        {
            for (_, segment) in slab.overlapping(block.offset, end) {
                let own = &self.deaths[segment.fate.0 as usize].frontier;
                let raised = death
                    .entries()
                    .iter()
                    .find(|e| !known.reached(**e) && own.get(e.axis) < e.epoch);
                ensure!(raised.is_none(), "{block:?} was raised to {raised:?}: {:?}", list());
            }
        }
        Ok(())
    }
}

/// Axes of a death that are not reached.
fn open_axes(death: FrontierRef<'_>, progress: &dyn Progress) -> usize {
    death.entries().iter().filter(|e| !progress.has_reached(e.axis, e.epoch)).count()
}
