//! The wheel: pending blocks by epoch, so that an axis' progress touches only what it makes ready.
//!
//! ```text
//!   reached = 0b0110_1000
//!   slot 0..2   epochs that differ from it first in bit 0..2      0110_1001 … 0110_1111
//!   slot 4      … in bit 4                                        0111_xxxx
//!   slot 7      … in bit 7                                        1xxx_xxxx
//! ```
//!
//! An epoch later than the one reached goes to the slot of the highest bit in which the two differ. When
//! the axis reaches a later epoch, the slots below the highest changed bit are ready as a whole, the
//! slot of that bit is dealt out again, and the slots above are not looked at. This is the radix heap of
//! Ahuja, Mehlhorn, Orlin and Tarjan ("Faster algorithms for the shortest path problem", 1990), whose
//! one condition, that the minimum never goes back, is what an epoch promises.
//!
//! # Cost
//! Insert and remove O(1). Advance costs nothing for epochs that stay out of reach, but for dealing out:
//! each element moves to a lower slot each time, so at most 64 times in its life, and about log2 of the
//! in-flight depth in practice.

use crate::Epoch;

/// No element.
pub(super) const NONE: u32 = u32::MAX;
/// Not in a wheel.
const NO_SLOT: u32 = u32::MAX;

/// Storage of elements that a wheel links together.
pub(super) trait Links {
    /// Previous and next.
    fn links(&mut self, id: u32) -> (&mut u32, &mut u32);
    fn slot(&mut self, id: u32) -> &mut u32;
    fn epoch(&self, id: u32) -> Epoch;
    /// Previous and next, to look at.
    fn peek(&self, id: u32) -> (u32, u32);
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Wheel {
    reached: Epoch,
    /// Bit `i` is set iff slot `i` is not empty.
    occupied: u64,
    heads: [u32; 64],
}

impl Wheel {
    pub(super) const fn new() -> Self {
        Self { reached: 0, occupied: 0, heads: [NONE; 64] }
    }

    /// The latest epoch advanced to.
    #[inline]
    pub(super) const fn reached(&self) -> Epoch {
        self.reached
    }

    /// Lists an element by its epoch. One that is reached already goes to the lowest slot and comes out
    /// with the next advance.
    #[inline]
    pub(super) fn insert(&mut self, links: &mut impl Links, id: u32) {
        let differs = links.epoch(id).max(self.reached) ^ self.reached;
        let slot = (63 - (differs | 1).leading_zeros()) as usize;
        let head = self.heads[slot];
        *links.slot(id) = slot as u32;
        let (prev, next) = links.links(id);
        *prev = NONE;
        *next = head;
        if head != NONE {
            *links.links(head).0 = id;
        }
        self.heads[slot] = id;
        self.occupied |= 1 << slot;
    }

    /// Takes an element out.
    #[inline]
    pub(super) fn remove(&mut self, links: &mut impl Links, id: u32) {
        let slot = core::mem::replace(links.slot(id), NO_SLOT) as usize;
        let (prev, next) = links.links(id);
        let (prev, next) = (*prev, *next);
        if next != NONE {
            *links.links(next).0 = prev;
        }
        if prev == NONE {
            self.heads[slot] = next;
            if next == NONE {
                self.occupied &= !(1 << slot);
            }
        } else {
            *links.links(prev).1 = next;
        }
    }

    /// The axis reached `to`. Returns the head of a list, linked by `next`, of the elements whose epochs
    /// that covers; they are no longer in the wheel.
    pub(super) fn advance(&mut self, links: &mut impl Links, to: Epoch) -> u32 {
        let changed = self.reached ^ to;
        if to <= self.reached {
            return NONE;
        }
        let highest = 63 - changed.leading_zeros();
        self.reached = to;
        let upto = if highest == 63 { u64::MAX } else { (1 << (highest + 1)) - 1 };
        let mut touched = self.occupied & upto;
        self.occupied &= !upto;
        let mut ready = NONE;
        while touched != 0 {
            let slot = touched.trailing_zeros() as usize;
            touched &= touched - 1;
            let mut at = core::mem::replace(&mut self.heads[slot], NONE);
            while at != NONE {
                let next = *links.links(at).1;
                if links.epoch(at) <= to {
                    *links.slot(at) = NO_SLOT;
                    *links.links(at).1 = ready;
                    ready = at;
                } else {
                    self.insert(links, at);
                }
                at = next;
            }
        }
        ready
    }

    /// Everything, as [`advance`](Self::advance) returns it; the wheel is empty and has reached nothing
    /// more. The elements keep a slot mark that means nothing until they are inserted again.
    pub(super) fn take_all(&mut self, links: &mut impl Links) -> u32 {
        let mut all = NONE;
        while self.occupied != 0 {
            let slot = self.occupied.trailing_zeros() as usize;
            self.occupied &= self.occupied - 1;
            let mut at = core::mem::replace(&mut self.heads[slot], NONE);
            while at != NONE {
                *links.slot(at) = NO_SLOT;
                let next = core::mem::replace(links.links(at).1, all);
                all = at;
                at = next;
            }
        }
        all
    }

    /// Visits every element and checks that it stands where its epoch says, for tests.
    pub(super) fn check(&self, links: &impl Links, visit: &mut dyn FnMut(u32)) {
        for slot in 0..64 {
            assert_eq!(self.occupied >> slot & 1 == 1, self.heads[slot] != NONE);
            let (mut prev, mut at) = (NONE, self.heads[slot]);
            while at != NONE {
                let (p, next) = links.peek(at);
                assert_eq!(p, prev, "broken back link");
                let differs = links.epoch(at).max(self.reached) ^ self.reached;
                assert_eq!(63 - (differs | 1).leading_zeros(), slot as u32, "wrong slot");
                visit(at);
                (prev, at) = (at, next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    struct Element {
        prev: u32,
        next: u32,
        slot: u32,
        epoch: Epoch,
    }

    impl Links for Vec<Element> {
        fn links(&mut self, id: u32) -> (&mut u32, &mut u32) {
            let e = &mut self[id as usize];
            (&mut e.prev, &mut e.next)
        }
        fn slot(&mut self, id: u32) -> &mut u32 {
            &mut self[id as usize].slot
        }
        fn epoch(&self, id: u32) -> Epoch {
            self[id as usize].epoch
        }
        fn peek(&self, id: u32) -> (u32, u32) {
            (self[id as usize].prev, self[id as usize].next)
        }
    }

    fn epochs() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..300, any::<u64>(), (u64::MAX - 9)..=u64::MAX, Just(1 << 63)]
    }

    proptest! {
        #[test]
        fn what_comes_out_is_exactly_what_was_reached(
            inserted in prop::collection::vec(epochs(), 0..60),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            mut steps in prop::collection::vec(epochs(), 1..10),
        ) {
            let mut elements: Vec<_> = inserted
                .iter()
                .map(|&epoch| Element { prev: NONE, next: NONE, slot: NO_SLOT, epoch })
                .collect();
            let mut wheel = Wheel::new();
            let mut inside: Vec<u32> = (0..elements.len() as u32).collect();
            for &id in &inside {
                wheel.insert(&mut elements, id);
            }
            for index in removed {
                if !inside.is_empty() {
                    let id = inside.swap_remove(index.index(inside.len()));
                    wheel.remove(&mut elements, id);
                }
            }
            steps.sort_unstable();
            for to in steps {
                let moved = to > wheel.reached();
                let mut at = wheel.advance(&mut elements, to);
                let mut out = Vec::new();
                while at != NONE {
                    out.push(at);
                    at = elements[at as usize].next;
                }
                out.sort_unstable();
                let (mut ready, rest): (Vec<_>, Vec<_>) =
                    inside.iter().partition(|&&id| moved && elements[id as usize].epoch <= to);
                ready.sort_unstable();
                prop_assert_eq!(out, ready);
                inside = rest;
                let mut seen = Vec::new();
                wheel.check(&elements, &mut |id| seen.push(id));
                seen.sort_unstable();
                inside.sort_unstable();
                prop_assert_eq!(&seen, &inside);
            }
        }
    }
}
