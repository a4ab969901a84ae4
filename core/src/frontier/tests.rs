//! Cases that the laws in `tests/laws_frontier.rs` would meet too rarely.

use super::{Causality, Entry, FixedFrontier, Frontier, FrontierError, MAX_ENTRIES, Merge};
use crate::axis::Axis;

fn frontier(pairs: &[(u32, u64)]) -> Frontier {
    Frontier::from_entries(pairs.iter().map(|&(n, e)| Entry::new(Axis::host(n), e)))
        .expect("a valid frontier")
}

fn wide(count: usize, first: u32) -> Frontier {
    let pairs: alloc::vec::Vec<_> = (first..).take(count).map(|n| (n, 1)).collect();
    frontier(&pairs)
}

#[test]
fn epochs_in_both_halves_of_the_range_compare_by_value() {
    let top = 1 << 63;
    let low = frontier(&[(1, 1), (2, top - 1)]);
    let high = frontier(&[(1, 1), (2, top)]);
    let highest = frontier(&[(1, 1), (2, u64::MAX)]);
    let mixed = frontier(&[(1, top + 1), (2, 1)]);
    assert_eq!(low.as_ref().compare(high.as_ref()), Causality::Before);
    assert_eq!(highest.as_ref().compare(low.as_ref()), Causality::After);
    assert_eq!(highest.as_ref().compare(high.as_ref()), Causality::After);
    assert_eq!(mixed.as_ref().compare(high.as_ref()), Causality::Concurrent);
    assert!(highest.as_ref().dominates(low.as_ref()));
    assert!(!low.as_ref().dominates(highest.as_ref()));
}

#[test]
fn a_join_beyond_the_limit_leaves_the_target_untouched() {
    let mut full = wide(MAX_ENTRIES, 1);
    let before = full.clone();
    assert_eq!(full.merge(frontier(&[(7, 9), (1000, 1)]).as_ref()), Merge::Overflow);
    assert_eq!(full, before);
    assert_eq!(full.merge(frontier(&[(7, 9)]).as_ref()), Merge::Done);
    assert_eq!(full.get(Axis::host(7)), 9);

    // From in place to beyond the limit in one join.
    let mut small = frontier(&[(5000, 1)]);
    assert_eq!(small.merge(full.as_ref()), Merge::Overflow);
    assert_eq!(small, frontier(&[(5000, 1)]));

    let mut fixed = FixedFrontier::<2>::from_frontier(wide(2, 1).as_ref()).expect("it fits");
    assert_eq!(fixed.merge(wide(2, 2).as_ref()), Merge::Overflow);
    assert_eq!(fixed.as_ref(), wide(2, 1).as_ref());
}

#[test]
fn too_many_entries_are_refused_even_when_endless() {
    let endless = (0..).map(|n| Entry::new(Axis::from_bits(n), 1));
    let refused = Frontier::from_entries(endless);
    assert_eq!(refused, Err(FrontierError::TooMany { limit: MAX_ENTRIES }));
}

#[test]
fn set_removes_at_zero_in_place_and_on_the_heap() {
    for count in [1, 4, 5, MAX_ENTRIES] {
        let mut target = wide(count, 1);
        let axis = Axis::host(1);
        assert_eq!(target.set(axis, 0), Merge::Done);
        assert_eq!(target, wide(count - 1, 2));
        assert_eq!(target.set(axis, 1), Merge::Done);
        assert_eq!(target, wide(count, 1));
    }
}
