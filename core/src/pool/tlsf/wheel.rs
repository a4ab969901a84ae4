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
//! An element knows where it is listed. What leaves only forgets that, and is passed over when its list is next gone
//! through: leaving touches nothing but the element itself, whose neighbours in the list may be anywhere in memory.
//!
//! # Invariants
//! - An element is in the wheel iff the list of its epoch's slot holds it at its position.
//!
//! # Cost
//! Remove O(1), insert O(1) amortised: a full list is swept of what left, and grows if more than a quarter of
//! it stays. Advance costs nothing for epochs that stay out of reach, but for dealing out: each element moves to a
//! lower slot each time, so at most 64 times in its life, and about log2 of the in-flight depth in practice.

use crate::Epoch;
use alloc::vec::Vec;

/// No element, no position.
pub(super) const NONE: u32 = u32::MAX;

/// Storage of elements that a wheel lists.
pub(super) trait Listed {
    /// Where the element is listed, `NONE` if it is not. The wheel's own.
    fn position(&self, id: u32) -> u32;
    fn set_position(&mut self, id: u32, position: u32);
    fn epoch(&self, id: u32) -> Epoch;
    /// The shelf the element is filed on, if it is.
    fn shelf(&self, id: u32) -> Option<u32>;
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Wheel {
    /// The shelf whose blocks it lists. One that left may be listed by another shelf's wheel, at the same
    /// position by chance.
    shelf: u32,
    reached: Epoch,
    /// Bit `i` is set iff list `i` is not empty.
    occupied: u64,
    /// By slot, up to the highest that was ever used.
    lists: Vec<Vec<u32>>,
}

/// The slot of an epoch; of one that is reached already the lowest.
#[inline(always)]
const fn slot_of(epoch: Epoch, reached: Epoch) -> usize {
    let differs = if epoch > reached { epoch ^ reached } else { 0 };
    (63 - (differs | 1).leading_zeros()) as usize
}

impl Wheel {
    pub(super) const fn new(shelf: u32) -> Self {
        Self { shelf, reached: 0, occupied: 0, lists: Vec::new() }
    }

    /// The latest epoch advanced to.
    #[inline]
    pub(super) const fn reached(&self) -> Epoch {
        self.reached
    }

    /// An element that is listed under one epoch need not move to be listed under another.
    #[inline(always)]
    pub(super) const fn may_stay(&self, a: Epoch, b: Epoch) -> bool {
        slot_of(a, self.reached) == slot_of(b, self.reached)
    }

    /// Lists an element in the slot of its epoch. One that is reached already comes out with the next advance.
    pub(super) fn insert(&mut self, elements: &mut impl Listed, id: u32) {
        let slot = slot_of(elements.epoch(id), self.reached);
        if slot >= self.lists.len() {
            self.lists.resize_with(slot + 1, Vec::new);
        }
        let (list, reached, shelf) = (&mut self.lists[slot], self.reached, self.shelf);
        if list.len() == list.capacity() {
            elements.set_position(id, NONE);
            sweep(list, |id, at, kept| {
                let listed = is_listed(elements, id, at, shelf, slot, reached);
                if listed {
                    elements.set_position(id, kept);
                }
                listed
            });
        }
        elements.set_position(id, list.len() as u32);
        list.push(id);
        self.occupied |= 1 << slot;
    }

    /// Takes an element out.
    #[inline]
    pub(super) fn remove(elements: &mut impl Listed, id: u32) {
        elements.set_position(id, NONE);
    }

    /// The axis reached `to`. Appends the elements whose epochs that covers to `ready`; they are no
    /// longer in the wheel.
    pub(super) fn advance(&mut self, elements: &mut impl Listed, to: Epoch, ready: &mut Vec<u32>) {
        if to <= self.reached {
            return;
        }
        let before = core::mem::replace(&mut self.reached, to);
        let highest = 63 - (before ^ to).leading_zeros();
        let upto = if highest == 63 { u64::MAX } else { (1 << (highest + 1)) - 1 };
        let mut touched = self.occupied & upto;
        self.occupied &= !upto;
        while touched != 0 {
            let slot = touched.trailing_zeros() as usize;
            touched &= touched - 1;
            let mut list = core::mem::take(&mut self.lists[slot]);
            for (at, &id) in list.iter().enumerate() {
                if is_listed(elements, id, at as u32, self.shelf, slot, before) {
                    self.settle(elements, id, ready);
                }
            }
            list.clear();
            // What is not reached went to lower slots, so nothing was listed here meanwhile.
            self.lists[slot] = list;
        }
    }

    /// An element that is in no list is ready, or goes to the slot of its epoch.
    #[inline]
    pub(super) fn settle(&mut self, elements: &mut impl Listed, id: u32, ready: &mut Vec<u32>) {
        if elements.epoch(id) <= self.reached {
            elements.set_position(id, NONE);
            ready.push(id);
        } else {
            self.insert(elements, id);
        }
    }

    /// Appends everything to `all`; the wheel is empty and has reached nothing more.
    pub(super) fn take_all(&mut self, elements: &mut impl Listed, all: &mut Vec<u32>) {
        self.occupied = 0;
        for (slot, list) in self.lists.iter_mut().enumerate() {
            for (at, id) in list.drain(..).enumerate() {
                if is_listed(elements, id, at as u32, self.shelf, slot, self.reached) {
                    elements.set_position(id, NONE);
                    all.push(id);
                }
            }
        }
    }

    /// Visits every element and checks the slots, for tests.
    pub(super) fn check(&self, elements: &impl Listed, visit: &mut dyn FnMut(u32)) {
        assert!(self.lists.len() <= 64);
        for (slot, list) in self.lists.iter().enumerate() {
            assert_eq!(self.occupied >> slot & 1 == 1, !list.is_empty());
            for (at, &id) in list.iter().enumerate() {
                if is_listed(elements, id, at as u32, self.shelf, slot, self.reached) {
                    visit(id);
                }
            }
        }
    }
}

/// The element that a slot's list names is still there: it has neither left nor moved.
#[inline(always)]
fn is_listed(
    elements: &impl Listed,
    id: u32,
    at: u32,
    shelf: u32,
    slot: usize,
    reached: Epoch,
) -> bool {
    elements.position(id) == at
        && elements.shelf(id) == Some(shelf)
        && slot_of(elements.epoch(id), reached) == slot
}

/// Keeps what is still listed, told its position before and the one it gets, and makes room for as many
/// again where more than a quarter stays: at most eight times the elements, of which there are at most 2^28.
fn sweep(list: &mut Vec<u32>, mut keeps: impl FnMut(u32, u32, u32) -> bool) {
    let mut kept = 0;
    for at in 0..list.len() {
        let id = list[at];
        if keeps(id, at as u32, kept as u32) {
            list[kept] = id;
            kept += 1;
        }
    }
    list.truncate(kept);
    if kept >= list.capacity() / 4 {
        list.reserve_exact(list.capacity().max(4) * 2 - kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    struct Element {
        position: u32,
        epoch: Epoch,
    }

    impl Listed for Vec<Element> {
        fn position(&self, id: u32) -> u32 {
            self[id as usize].position
        }
        fn set_position(&mut self, id: u32, position: u32) {
            self[id as usize].position = position;
        }
        fn epoch(&self, id: u32) -> Epoch {
            self[id as usize].epoch
        }
        fn shelf(&self, _: u32) -> Option<u32> {
            Some(0)
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
                .map(|&epoch| Element { position: NONE, epoch })
                .collect();
            let mut wheel = Wheel::new(0);
            let mut inside: Vec<u32> = (0..elements.len() as u32).collect();
            for &id in &inside {
                wheel.insert(&mut elements, id);
            }
            for index in removed {
                if !inside.is_empty() {
                    let id = inside.swap_remove(index.index(inside.len()));
                    Wheel::remove(&mut elements, id);
                }
            }
            steps.sort_unstable();
            for to in steps {
                let moved = to > wheel.reached();
                let mut out = Vec::new();
                wheel.advance(&mut elements, to, &mut out);
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

        #[test]
        fn coming_and_going_neither_loses_nor_repeats_anybody(
            steps in prop::collection::vec((0u32..12, 0u64..64, 0u8..8), 1..400),
        ) {
            let mut elements: Vec<_> = (0..12).map(|_| Element { position: NONE, epoch: 0 }).collect();
            let mut wheel = Wheel::new(0);
            let mut inside: alloc::collections::BTreeMap<u32, Epoch> = Default::default();
            let mut last = 0;
            for (id, ahead, what) in steps {
                match what {
                    0..5 => {
                        let epoch = last + ahead;
                        let kept = inside
                            .insert(id, epoch)
                            .is_some_and(|before| wheel.may_stay(before, epoch));
                        elements[id as usize].epoch = epoch;
                        if !kept {
                            wheel.insert(&mut elements, id);
                        }
                    }
                    5..7 => {
                        inside.remove(&id);
                        Wheel::remove(&mut elements, id);
                    }
                    _ => {
                        last += ahead / 4 + 1;
                        let mut out = Vec::new();
                        wheel.advance(&mut elements, last, &mut out);
                        out.sort_unstable();
                        let ready: Vec<_> =
                            inside.iter().filter(|&(_, e)| *e <= last).map(|(&id, _)| id).collect();
                        prop_assert_eq!(out, ready);
                        inside.retain(|_, epoch| *epoch > last);
                    }
                }
                let mut seen = Vec::new();
                wheel.check(&elements, &mut |id| seen.push(id));
                seen.sort_unstable();
                prop_assert_eq!(seen, inside.keys().copied().collect::<Vec<_>>());
                prop_assert!(wheel.lists.iter().all(|list| list.capacity() <= 64));
            }
            let mut all = Vec::new();
            wheel.take_all(&mut elements, &mut all);
            all.sort_unstable();
            prop_assert_eq!(all, inside.into_keys().collect::<Vec<_>>());
        }
    }
}
