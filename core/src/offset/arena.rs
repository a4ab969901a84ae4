//! Bump allocation in a ring of generations.
//!
//! ```text
//!   generation 0  │▓▓▓▓▓▓▓▓▓▓▓▓▓░│  in flight: 3 parts left to release
//!   generation 1  │▓▓▓▓▓▓░░░░░░░░│  current: filled from the left
//!   generation 2  │░░░░░░░░░░░░░░│  next
//! ```
//!
//! A generation holds a batch whose parts die together. Parts are counted as they come and go; when the last has
//! gone the generation is empty and can be filled again from its start. Whether it *may* be (what
//! the batch's deaths wait for) is the owner's affair.
//!
//! Invariants: `top` is at most the generation's size; an empty generation has no parts. Every
//! operation is O(1), but for the choice among generations, which is linear in their number.

use super::align_up;
use alloc::boxed::Box;

/// One generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Generation {
    size: u64,
    top: u64,
    parts: u32,
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
        self.generations[generation] = Generation { size, top: 0, parts: 0 };
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

    /// Takes a part of `size` bytes and makes the generation the current one. Returns the part's start.
    ///
    /// # Panics
    /// When there is no such generation.
    pub fn bump(&mut self, generation: usize, size: u64, alignment: u64) -> Option<u64> {
        let start = self.fit(generation, size, alignment)?;
        let parts = self.generations[generation].parts.checked_add(1)?;
        let at = &mut self.generations[generation];
        at.top = start + size;
        at.parts = parts;
        self.current = generation;
        Some(start)
    }

    /// Moves the end of the last part back to `top`, after the last part was released.
    ///
    /// # Panics
    /// When there is no such generation.
    pub fn rewind(&mut self, generation: usize, top: u64) {
        let generation = &mut self.generations[generation];
        generation.top = generation.top.min(top);
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
    use alloc::vec::Vec;
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
    fn the_last_part_can_be_taken_back() {
        let mut ring = Ring::new(1);
        ring.open(0, 100);
        assert_eq!(ring.bump(0, 10, 1), Some(0));
        assert_eq!(ring.bump(0, 10, 64), Some(64));
        assert!(!ring.release(0));
        ring.rewind(0, 10);
        assert_eq!(ring.bump(0, 90, 1), Some(10));
        assert_eq!(ring.bump(0, 1, 1), None);
    }
}
