//! The ledger against a model that keeps every byte's state in a table.

use super::*;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_core::pool::PoolId;

#[derive(Default)]
struct Dial([AtomicU64; 3]);

impl Progress for Dial {
    fn reached(&self, axis: Axis) -> Epoch {
        self.0[axis.ordinal() as usize].load(Ordering::Relaxed)
    }
}

fn axis(index: usize) -> Axis {
    Axis::host(index as u32)
}

/// What a pool handed out at `offset`.
fn at(offset: u64, len: u64) -> Reservation {
    Reservation::foreign(PoolId::next(), SlabId::new(0, 0), offset, len, 0)
}

fn after(entries: &[(usize, Epoch)]) -> Frontier {
    let mut frontier = Frontier::new();
    for &(index, epoch) in entries {
        let _ = frontier.advance(axis(index), epoch);
    }
    frontier
}

#[test]
fn a_release_stays_charged_until_its_death() {
    let dial = Dial::default();
    let mut ledger = Ledger::new(100, 10, 10, 1);
    let key = ledger.take(0, 60, at(0, 50)).unwrap();
    assert_eq!(ledger.room(41), Room::No);
    assert_eq!(ledger.give(key, after(&[(0, 2)]).as_ref(), &dial).unwrap().size(), 50);
    assert_eq!((ledger.sums(0).held, ledger.sums(0).pending), (0, 60));
    assert_eq!(ledger.room(60), Room::InOwnBytes);
    // Other bytes: the pinned ones still count.
    assert_eq!(ledger.take(0, 60, at(60, 60)).unwrap_err().offset(), 60);
    // The same bytes again: they count once.
    let key = ledger.take(0, 60, at(0, 60)).unwrap();
    assert_eq!((ledger.charged(), ledger.peak_bytes()), (60, 60));
    // Given back unused: what was pending is pending again.
    assert!(ledger.restore(key).is_some() && ledger.restore(key).is_none());
    assert_eq!((ledger.sums(0).held, ledger.sums(0).pending), (0, 60));
    dial.0[0].store(2, Ordering::Relaxed);
    ledger.settle(&dial);
    assert_eq!(ledger.charged(), 0);
}

#[test]
fn a_death_of_two_axes_is_charged_until_the_later() {
    let dial = Dial::default();
    let mut ledger = Ledger::new(100, 10, 10, 1);
    let key = ledger.take(0, 16, at(8, 16)).unwrap();
    ledger.give(key, after(&[(0, 1), (1, 1)]).as_ref(), &dial);
    dial.0[0].store(1, Ordering::Relaxed);
    ledger.settle(&dial);
    assert_eq!(ledger.sums(0).pending, 16);
    dial.0[1].store(1, Ordering::Relaxed);
    ledger.settle(&dial);
    assert_eq!(ledger.sums(0).pending, 0);
}

#[test]
fn counts_are_limits_too() {
    let mut ledger = Ledger::new(u64::MAX, 1, 1, 1);
    let key = ledger.take(0, 1, at(0, 1)).unwrap();
    assert!(!ledger.has_place());
    ledger.give(key, after(&[(0, 1)]).as_ref(), &Dial::default());
    assert!(!ledger.has_place(), "as many pending ranges as are kept track of");
}

#[derive(Clone, Debug)]
enum Op {
    Take { at: u64, len: u64 },
    Give { which: usize, axis: usize, epoch: Epoch, second: Epoch },
    Restore { which: usize },
    Advance { axis: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..48_u64, 1..16_u64).prop_map(|(at, len)| Op::Take { at, len }),
        2 => (0..8_usize, 0..2_usize, 0..9_u64, 0..9_u64).prop_map(|(which, axis, epoch, second)| Op::Give { which, axis, epoch, second }),
        1 => (0..8_usize).prop_map(|which| Op::Restore { which }),
        1 => (0..3_usize).prop_map(|axis| Op::Advance { axis }),
    ]
}

/// A byte of the model.
#[derive(Clone, Debug, Default, PartialEq)]
struct Byte {
    held: bool,
    death: Frontier,
}

proptest! {
    #[test]
    fn adds_up_byte_by_byte(ops in prop::collection::vec(op(), 0..80)) {
        let dial = Dial::default();
        let budget = 40;
        let mut ledger = Ledger::new(budget, usize::MAX, usize::MAX, 1);
        let mut bytes = vec![Byte::default(); 64];
        let mut held: Vec<(u64, u64, u64, Vec<Byte>)> = Vec::new();
        let pending = |byte: &Byte| !byte.held && !byte.death.as_ref().is_satisfied(&dial);
        for op in ops {
            match op {
                Op::Take { at: from, len } => {
                    let range = from as usize..(from + len) as usize;
                    // The pool never hands out what is held.
                    if bytes[range.clone()].iter().any(|byte| byte.held) {
                        continue;
                    }
                    ledger.settle(&dial);
                    let outside = bytes.iter().enumerate().filter(|(i, byte)| byte.held || !range.contains(i) && pending(byte)).count() as u64;
                    let taken = ledger.take(0, len, at(from, len));
                    prop_assert_eq!(taken.is_ok(), outside + len <= budget);
                    if let Ok(key) = taken {
                        held.push((key, from, len, bytes[range.clone()].to_vec()));
                        bytes[range].iter_mut().for_each(|byte| byte.held = true);
                    }
                }
                Op::Give { which, axis: index, epoch, second } if which < held.len() => {
                    let (key, at, len, _) = held.swap_remove(which);
                    let death = after(&[(index, epoch), (index + 1, second)]);
                    prop_assert_eq!(ledger.give(key, death.as_ref(), &dial).map(|back| back.offset()), Some(at));
                    for byte in &mut bytes[at as usize..(at + len) as usize] {
                        *byte = Byte { held: false, death: death.clone() };
                    }
                }
                Op::Restore { which } if which < held.len() => {
                    let (key, at, len, before) = held.swap_remove(which);
                    prop_assert_eq!(ledger.restore(key).map(|back| back.offset()), Some(at));
                    bytes[at as usize..(at + len) as usize].clone_from_slice(&before);
                }
                Op::Advance { axis } => {
                    dial.0[axis].fetch_add(1, Ordering::Relaxed);
                }
                Op::Give { .. } | Op::Restore { .. } => {}
            }
            ledger.settle(&dial);
            let model = bytes.iter().filter(|byte| byte.held).count() as u64;
            prop_assert_eq!(ledger.sums(0).held, model);
            let model = bytes.iter().filter(|byte| pending(byte)).count() as u64;
            prop_assert_eq!(ledger.sums(0).pending, model);
            prop_assert!(ledger.charged() <= budget);
            let sums = ledger.sums(0);
            prop_assert_eq!((sums.held + sums.pending, sums.count), (ledger.charged(), held.len() as u64));
            prop_assert_eq!(sums.requested, sums.held);
        }
        for (key, ..) in held {
            ledger.give(key, FrontierRef::EMPTY, &dial);
        }
        for axis in &dial.0 {
            axis.store(u64::MAX, Ordering::Relaxed);
        }
        ledger.settle(&dial);
        prop_assert_eq!((ledger.charged(), ledger.by_epoch.len(), ledger.pending.len()), (0, 0, 0));
    }
}
