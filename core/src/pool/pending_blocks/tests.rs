use super::*;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use core::cell::Cell;
use proptest::prelude::*;

const AXES: u64 = 5;

fn frontier(entries: &[(u64, Epoch)]) -> Frontier {
    let mut frontier = Frontier::new();
    for &(axis, epoch) in entries {
        let _ = frontier.advance(Axis::from_bits(axis), epoch);
    }
    frontier
}

fn after(pending: &mut PendingBlocks, block: u32, entries: &[(u64, Epoch)]) {
    assert!(pending.file(block, Death::After(frontier(entries).as_ref()), &|_| false));
}

/// A search looks at no block that waits for an axis which the requester does not know, and of blocks of one set at the
/// fewest that any of its axes leaves.
#[test]
fn a_search_does_not_grow_with_what_is_not_ready() {
    let mut pending = PendingBlocks::default();
    for block in 0..10_000 {
        let epoch = u64::from(block) + 10;
        after(&mut pending, block, &[(0, epoch), (u64::from(block) % 300 + 1, 2), (400, epoch)]);
    }
    let looks = Cell::new(0);
    let suits = |_| {
        looks.set(looks.get() + 1);
        true
    };
    for known in [&[][..], &[(0, 1 << 40)], &[(400, 1 << 40)], &[(0, 9), (1, 9), (400, 1 << 40)]] {
        assert_eq!(pending.find_covered(frontier(known).as_ref(), &suits), None);
    }
    assert_eq!(looks.get(), 0);
    let known = frontier(&[(0, 1 << 40), (1, 2), (400, 10)]);
    assert_eq!(pending.find_covered(known.as_ref(), &suits), Some(0));
}

#[test]
fn sets_that_are_left_are_forgotten() {
    let mut pending = PendingBlocks::default();
    for round in 0..1000 {
        after(&mut pending, 7, &[(round, 1), (round + 1, 1), (round + 2, 1)]);
        let taken = pending.take(7).map(FrontierRef::len);
        assert_eq!((taken, pending.pending()), (Some(3), 0));
    }
    assert!(pending.sets.len() <= 4 && pending.edges.len() == 0, "{:?}", pending.sets);
    assert_eq!(
        pending.death_of(7),
        Death::After(frontier(&[(999, 1), (1000, 1), (1001, 1)]).as_ref())
    );
}

#[derive(Clone, Debug)]
enum Op {
    File { block: u32, death: Vec<(u64, Epoch)> },
    Reach { axis: u64, epoch: Epoch },
    Find { known: Vec<(u64, Epoch)>, multiple: u32 },
    Soonest { multiple: u32 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let entries = || prop::collection::vec((0..AXES, 1..12_u64), 0..4);
    let op = prop_oneof![
        4 => (0..40_u32, entries()).prop_map(|(block, death)| Op::File { block, death }),
        2 => (0..AXES, 1..12_u64).prop_map(|(axis, epoch)| Op::Reach { axis, epoch }),
        4 => (entries(), 0..3_u32).prop_map(|(known, log)| Op::Find { known, multiple: 1 << log }),
        1 => (0..3_u32).prop_map(|log| Op::Soonest { multiple: 1 << log }),
    ];
    prop::collection::vec(op, 1..200)
}

proptest! {
    /// Against a list: a block is found exactly when one is covered, and progress makes clean what it should.
    #[test]
    fn finds_what_is_covered(ops in ops()) {
        let mut pending = PendingBlocks::default();
        let mut model: BTreeMap<u32, Frontier> = BTreeMap::new();
        let mut now = [0; AXES as usize];
        for op in ops {
            let reached = |e: crate::Entry| now[e.axis.to_bits() as usize] >= e.epoch;
            match op {
                Op::File { block, death } => {
                    if let Entry::Vacant(place) = model.entry(block) {
                        let death = frontier(&death);
                        let filed = pending.file(block, Death::After(death.as_ref()), &reached);
                        prop_assert_eq!(filed, !death.as_ref().entries().iter().all(|e| reached(*e)));
                        if filed {
                            place.insert(unreached(death.as_ref(), &reached));
                        }
                    }
                }
                Op::Reach { axis, epoch } => {
                    now[axis as usize] = epoch.max(now[axis as usize]);
                    let reached = |e: crate::Entry| now[e.axis.to_bits() as usize] >= e.epoch;
                    let mut clean = Vec::new();
                    let moved = pending.advance(&reached, &mut |block| clean.push(block));
                    let mut changed = false;
                    let mut over = Vec::new();
                    model.retain(|block, left| {
                        let less = unreached(left.as_ref(), &reached);
                        changed |= less != *left;
                        *left = less;
                        if left.is_empty() {
                            over.push(*block);
                        }
                        !left.is_empty()
                    });
                    clean.sort_unstable();
                    prop_assert_eq!(clean, over);
                    prop_assert_eq!(moved, changed);
                }
                Op::Find { known, multiple } => {
                    let known = frontier(&known);
                    let suits = |block: u32| block.is_multiple_of(multiple);
                    let found = pending.find_covered(known.as_ref(), &suits);
                    let covered = |(block, left): (&u32, &Frontier)| {
                        suits(*block) && known.as_ref().dominates(left.as_ref())
                    };
                    prop_assert_eq!(found.is_some(), model.iter().any(covered));
                    if let Some(block) = found {
                        let left = model.remove(&block).unwrap();
                        prop_assert!(covered((&block, &left)));
                        prop_assert_eq!(pending.take(block), Some(left.as_ref()));
                    }
                }
                Op::Soonest { multiple } => {
                    let suits = |block: u32| block.is_multiple_of(multiple);
                    let known = |axis: Axis| now[axis.to_bits() as usize];
                    let found = pending.soonest(&known, &suits);
                    prop_assert_eq!(found.is_some(), model.keys().any(|block| suits(*block)));
                    if let Some((left, block)) = found {
                        let waits = model[&block].as_ref().entries().iter();
                        let longest = waits.map(|e| e.epoch - known(e.axis)).max();
                        prop_assert_eq!(Some(left), longest);
                    }
                }
            }
            prop_assert_eq!(pending.pending() as usize, model.len());
        }
    }
}
