//! Bump allocation in a ring of generations.
//!
//! ```text
//!   generation 0  │▓▓▓▓▓▓▓▓▓▓▓▓▓░│  in flight: 3 parts left to release
//!   generation 1  │▓▓▓░▓▓▓░░░░░░░│  current: filled from the left; what alignment skipped is a gap
//!   generation 2  │░░░░░░░░░░░░░░│  next
//! ```
//!
//! A generation holds a batch whose parts die together. Parts are counted as they come and go; when the last has
//! gone the generation is empty and can be filled again from its start. Whether it *may* be (what
//! the batch's deaths wait for) is the owner's affair. What was skipped, or taken and given back unused, stays to be had.
//!
//! Invariants: `top` is at most the generation's size, and no part lies beyond it; gaps lie below it in order, apart from each
//! other and from it; an empty generation has no parts and no gaps. Filling from the left is O(1); the choice among generations is
//! linear in their number, and a look at the gaps in theirs.

use super::align_up;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// One generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Generation {
    size: u64,
    top: u64,
    parts: u32,
    /// Start and end of what is free below `top`.
    gaps: Vec<(u64, u64)>,
    /// No gap is larger.
    largest: u64,
}

/// The ring.
///
/// ```
/// use strandline_core::offset::arena::Ring;
///
/// let mut ring = Ring::new(2);
/// ring.open(0, 100);
/// assert_eq!(ring.fit(0, 60, 1), Some(0));
/// assert_eq!(ring.bump(0, 60, 1), Some(0));
/// assert_eq!(ring.bump(0, 30, 16), Some(64));
/// assert_eq!(ring.bump(0, 30, 1), None, "full");
/// assert!(!ring.release(0));
/// assert!(ring.release(0), "the last part is gone");
/// assert_eq!(ring.bump(0, 100, 1), Some(0));
/// ```
#[derive(Clone, Debug)]
pub struct Ring {
    generations: Box<[Generation]>,
    current: usize,
}

impl Ring {
    /// A ring of `generations` generations without room; at least one.
    #[must_use]
    pub fn new(generations: usize) -> Self {
        let generations = generations.max(1);
        Self { generations: (0..generations).map(|_| Generation::default()).collect(), current: 0 }
    }

    /// Gives an empty generation `size` bytes of room; 0 takes it away.
    ///
    /// # Panics
    /// When there is no such generation.
    pub fn open(&mut self, generation: usize, size: u64) {
        debug_assert_eq!(self.generations[generation].parts, 0, "parts would be lost");
        self.generations[generation] = Generation { size, ..Generation::default() };
    }

    /// All generations, the current one first, then in the order in which they will be filled.
    pub fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let (current, count) = (self.current, self.generations.len());
        (current..count).chain(0..current)
    }

    /// Where a part of `size` bytes would start, if it fits.
    ///
    /// # Panics
    /// When there is no such generation.
    #[must_use]
    pub fn fit(&self, generation: usize, size: u64, alignment: u64) -> Option<u64> {
        let generation = &self.generations[generation];
        let start = align_up(generation.top, alignment)?;
        (start.checked_add(size)? <= generation.size).then_some(start)
    }

    /// Takes a part of `size` bytes behind the others and makes the generation the current one. Returns the part's start.
    ///
    /// # Panics
    /// When there is no such generation.
    pub fn bump(&mut self, generation: usize, size: u64, alignment: u64) -> Option<u64> {
        let start = self.fit(generation, size, alignment)?;
        self.take(generation, start, size).then_some(start)
    }

    /// Takes a part at `start`, if all of it is free, and makes the generation the current one.
    ///
    /// # Panics
    /// When there is no such generation.
    pub fn take(&mut self, generation: usize, start: u64, size: u64) -> bool {
        let at = &mut self.generations[generation];
        let Some(end) = start.checked_add(size).filter(|&end| end <= at.size) else {
            return false;
        };
        let Some(parts) = at.parts.checked_add(1) else { return false };
        if start >= at.top {
            if start > at.top {
                at.gaps.push((at.top, start));
                at.largest = at.largest.max(start - at.top);
            }
            at.top = end;
        } else {
            let place = at.gaps.partition_point(|gap| gap.1 <= start);
            let Some(&(low, high)) =
                at.gaps.get(place).filter(|gap| gap.0 <= start && end <= gap.1)
            else {
                return false;
            };
            let left = [(low, start), (end, high)].into_iter().filter(|gap| gap.0 < gap.1);
            at.gaps.splice(place..=place, left);
        }
        at.parts = parts;
        self.current = generation;
        true
    }

    /// Gives the bytes of a part back that were not used: they are free again at once. The part still
    /// [counts](Self::release).
    ///
    /// # Panics
    /// When there is no such generation.
    pub fn put_back(&mut self, generation: usize, start: u64, size: u64) {
        let at = &mut self.generations[generation];
        let (mut low, mut high) = (start, start + size);
        let first = at.gaps.partition_point(|gap| gap.1 < low);
        let mut last = first;
        while let Some(&gap) = at.gaps.get(last).filter(|gap| gap.0 <= high) {
            (low, high) = (low.min(gap.0), high.max(gap.1));
            last += 1;
        }
        if high >= at.top {
            at.gaps.truncate(first);
            at.top = at.top.min(low);
        } else {
            at.gaps.splice(first..last, [(low, high)]);
            at.largest = at.largest.max(high - low);
        }
    }

    /// What is free of a generation, start and end, in order: the gaps, and the room behind the last part.
    ///
    /// # Panics
    /// When there is no such generation.
    pub fn free(&self, generation: usize) -> impl Iterator<Item = (u64, u64)> {
        let at = &self.generations[generation];
        at.gaps.iter().copied().chain((at.top < at.size).then_some((at.top, at.size)))
    }

    /// The first place for a part in the gaps of which `may` says `Ok`; `Err` says where the next look
    /// makes sense. Linear in the gaps and in the looks, or O(1) when no gap is large enough.
    ///
    /// # Panics
    /// When there is no such generation.
    pub fn seek<T>(
        &mut self,
        generation: usize,
        size: u64,
        alignment: u64,
        mut may: impl FnMut(u64) -> Result<T, u64>,
    ) -> Option<(u64, T)> {
        let mut search = |(low, high): (u64, u64)| {
            let mut start = align_up(low, alignment)?;
            while start.checked_add(size).is_some_and(|end| end <= high) {
                match may(start) {
                    Ok(found) => return Some((start, found)),
                    Err(next) => start = align_up(next.max(start + 1), alignment)?,
                }
            }
            None
        };
        let at = &mut self.generations[generation];
        if at.largest < size {
            return None;
        }
        let mut largest = 0;
        for &gap in &at.gaps {
            largest = largest.max(gap.1 - gap.0);
            let found = search(gap);
            if found.is_some() {
                return found;
            }
        }
        at.largest = largest;
        None
    }

    /// Releases a part. `true` when it was the last: the generation is empty again.
    ///
    /// # Panics
    /// When there is no such generation.
    pub fn release(&mut self, generation: usize) -> bool {
        let generation = &mut self.generations[generation];
        generation.parts = generation.parts.saturating_sub(1);
        if generation.parts == 0 {
            generation.top = 0;
            generation.gaps.clear();
            generation.largest = 0;
        }
        generation.parts == 0
    }

    /// Bytes up to the end of the last part.
    ///
    /// # Panics
    /// When there is no such generation.
    #[must_use]
    pub fn top(&self, generation: usize) -> u64 {
        self.generations[generation].top
    }

    /// Parts not yet released.
    ///
    /// # Panics
    /// When there is no such generation.
    #[must_use]
    pub fn parts(&self, generation: usize) -> u32 {
        self.generations[generation].parts
    }

    /// The generation's room in bytes, 0 while it is not open.
    ///
    /// # Panics
    /// When there is no such generation.
    #[must_use]
    pub fn size(&self, generation: usize) -> u64 {
        self.generations[generation].size
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Parts of a batch are aligned, inside and apart; the generation starts over when all are gone.
        #[test]
        fn parts_do_not_overlap(
            requests in prop::collection::vec((1..300u64, 0..8u32), 1..40),
            size in 1..4000u64,
        ) {
            let mut ring = Ring::new(3);
            ring.open(1, size);
            let mut parts: Vec<(u64, u64)> = Vec::new();
            for (bytes, log) in requests {
                let fits = ring.fit(1, bytes, 1 << log);
                let start = ring.bump(1, bytes, 1 << log);
                prop_assert_eq!(fits, start);
                match start {
                    Some(start) => {
                        let end = parts.last().map_or(0, |(start, bytes)| start + bytes);
                        prop_assert!(start >= end && start % (1 << log) == 0);
                        prop_assert!(start - end < 1 << log, "the gap is no larger than it must be");
                        prop_assert!(start + bytes <= size);
                        parts.push((start, bytes));
                        prop_assert_eq!(ring.order().next(), Some(1));
                    }
                    None => prop_assert!(ring.top(1) + bytes + (1 << log) > size),
                }
            }
            for left in (0..parts.len()).rev() {
                prop_assert_eq!(ring.release(1), left == 0);
            }
            prop_assert_eq!((ring.top(1), ring.parts(1)), (0, 0));
        }
    }

    #[test]
    fn what_was_skipped_or_not_used_can_be_had() {
        let mut ring = Ring::new(1);
        ring.open(0, 100);
        assert_eq!(ring.bump(0, 10, 1), Some(0));
        assert_eq!(ring.bump(0, 10, 64), Some(64));
        let anywhere = |ring: &mut Ring, size| ring.seek(0, size, 4, |_| Ok(())).map(|at| at.0);
        assert_eq!(anywhere(&mut ring, 53), None);
        assert_eq!(anywhere(&mut ring, 52), Some(12));
        ring.put_back(0, 64, 10);
        assert_eq!(ring.bump(0, 90, 1), Some(10));
        assert_eq!(ring.bump(0, 1, 1), None);
        ring.put_back(0, 0, 10);
        assert_eq!(anywhere(&mut ring, 11), None);
        assert_eq!(anywhere(&mut ring, 10), Some(0));
    }

    proptest! {
        /// Against a byte map: what is free is what no part has, and a place is found where there is one.
        #[test]
        fn takes_and_gives_back_what_is_free(
            ops in prop::collection::vec((1..30u64, 0..5u32, 0..4u8, any::<usize>()), 1..80),
        ) {
            const SIZE: u64 = 200;
            let mut ring = Ring::new(1);
            ring.open(0, SIZE);
            let mut taken = [false; SIZE as usize];
            let mut parts: Vec<(u64, u64)> = Vec::new();
            for (size, log, op, pick) in ops {
                let alignment = 1 << log;
                if op == 0 && parts.len() > 1 {
                    let (start, size) = parts.swap_remove(pick % parts.len());
                    ring.put_back(0, start, size);
                    prop_assert!(!ring.release(0));
                    taken[start as usize..(start + size) as usize].fill(false);
                } else {
                    // From some byte on, as an owner may want it.
                    let from = pick as u64 % SIZE;
                    let free = |start: u64| {
                        start.is_multiple_of(alignment) && start >= from
                            && taken[start as usize..(start + size) as usize].iter().all(|t| !t)
                    };
                    let below = ring.top(0).saturating_sub(size - 1);
                    let expected = (0..below).find(|&start| free(start));
                    let may = |start| if start >= from { Ok(()) } else { Err(from) };
                    let found = ring.seek(0, size, alignment, may).map(|at| at.0);
                    prop_assert_eq!(found, expected);
                    let top = ring.fit(0, size, alignment);
                    if let Some(start) = found.or(top) {
                        prop_assert!(ring.take(0, start, size));
                        prop_assert!(!ring.take(0, start, 1), "taken");
                        taken[start as usize..(start + size) as usize].fill(true);
                        parts.push((start, size));
                    }
                }
                let mut shown = [true; SIZE as usize];
                let mut before = None;
                for (start, end) in ring.free(0) {
                    prop_assert!(start < end && before.is_none_or(|before| before < start));
                    before = Some(end);
                    shown[start as usize..end as usize].fill(false);
                }
                prop_assert_eq!(shown, taken);
            }
        }
    }
}
