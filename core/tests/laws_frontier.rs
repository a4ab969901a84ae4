//! The algebra of frontiers, against a map from axis to epoch that is obviously right.
#![cfg(not(loom))]

use std::collections::BTreeMap;

use proptest::prelude::*;
use strandline_core::{
    Axis, Causality, Entry, FixedFrontier, Frontier, FrontierError, FrontierRef, Merge, Progress,
    WireError,
};

type Model = BTreeMap<Axis, u64>;

/// Few axes and few epochs, so that lists often agree; now and then the ends of the range, where
/// differences wrap.
fn model(axes: u64, entries: usize) -> impl Strategy<Value = Model> {
    let epoch = prop_oneof![
        8 => 1..4_u64,
        1 => (1 << 63) - 2..(1_u64 << 63) + 2,
        1 => u64::MAX - 1..=u64::MAX,
    ];
    prop::collection::btree_map((0..axes).prop_map(Axis::from_bits), epoch, 0..=entries)
}

/// Pairs that share their axes half of the time, as they do in practice.
fn pair() -> impl Strategy<Value = (Model, Model)> {
    (model(24, 20), model(24, 20), any::<bool>()).prop_map(|(a, b, same)| {
        if !same {
            return (a, b);
        }
        let epochs: Vec<u64> = b.values().copied().chain([2]).collect();
        let b = a.keys().copied().zip(epochs.into_iter().cycle()).collect();
        (a, b)
    })
}

fn frontier(model: &Model) -> Frontier {
    Frontier::from_entries(model.iter().map(|(&axis, &epoch)| Entry::new(axis, epoch))).unwrap()
}

fn join(a: &Model, b: &Model) -> Model {
    let mut joined = a.clone();
    for (&axis, &epoch) in b {
        let own = joined.entry(axis).or_default();
        *own = epoch.max(*own);
    }
    joined
}

fn at_or_below(a: &Model, b: &Model) -> bool {
    a.iter().all(|(axis, &epoch)| b.get(axis).is_some_and(|&other| epoch <= other))
}

fn joined(a: &Frontier, b: &Frontier) -> Frontier {
    let mut joined = a.clone();
    assert_eq!(joined.merge(b.as_ref()), Merge::Done);
    joined
}

/// Progress exactly as far as a model says.
struct Reached(Model);

impl Progress for Reached {
    fn reached(&self, axis: Axis) -> u64 {
        self.0.get(&axis).copied().unwrap_or(0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(700))]

    #[test]
    fn comparing_is_what_the_model_says((a, b) in pair()) {
        let (x, y) = (frontier(&a), frontier(&b));
        let expected = match (at_or_below(&a, &b), at_or_below(&b, &a)) {
            (true, true) => Causality::Equal,
            (true, false) => Causality::Before,
            (false, true) => Causality::After,
            (false, false) => Causality::Concurrent,
        };
        prop_assert_eq!(x.as_ref().compare(y.as_ref()), expected);
        prop_assert_eq!(y.as_ref().compare(x.as_ref()), expected.reverse());
        prop_assert_eq!(x.as_ref().dominates(y.as_ref()), at_or_below(&b, &a));
        prop_assert_eq!(x == y, expected == Causality::Equal);
        prop_assert_eq!(y.as_ref().is_satisfied(&Reached(a.clone())), at_or_below(&b, &a));
        for bits in 0..24 {
            let axis = Axis::from_bits(bits);
            prop_assert_eq!(x.get(axis), a.get(&axis).copied().unwrap_or(0));
        }
    }

    #[test]
    fn domination_is_transitive((a, b) in pair(), c in model(24, 20)) {
        let (x, y, z) = (frontier(&a), frontier(&b), frontier(&c));
        // Joins make chains, which three independent frontiers hardly ever are.
        let xy = joined(&x, &y);
        let xyz = joined(&xy, &z);
        prop_assert!(xy.as_ref().dominates(x.as_ref()));
        prop_assert!(xyz.as_ref().dominates(xy.as_ref()));
        prop_assert!(xyz.as_ref().dominates(x.as_ref()));
    }

    #[test]
    fn a_copy_over_another_is_a_copy((a, b) in pair(), c in model(24, 20)) {
        let mut copy = frontier(&b);
        copy.clone_from(&frontier(&a));
        prop_assert_eq!(&copy, &frontier(&a));
        prop_assert_eq!(joined(&copy, &frontier(&c)), frontier(&join(&a, &c)));
    }

    #[test]
    fn joining_is_the_least_upper_bound((a, b) in pair(), c in model(24, 20)) {
        let (x, y, z) = (frontier(&a), frontier(&b), frontier(&c));
        let xy = joined(&x, &y);
        prop_assert_eq!(&xy, &frontier(&join(&a, &b)));
        prop_assert_eq!(&xy, &joined(&y, &x), "commutative");
        prop_assert_eq!(joined(&xy, &z), joined(&x, &joined(&y, &z)), "associative");
        prop_assert_eq!(&joined(&x, &x), &x, "idempotent");
        prop_assert_eq!(&joined(&x, &Frontier::new()), &x, "empty is neutral");
        if z.as_ref().dominates(x.as_ref()) && z.as_ref().dominates(y.as_ref()) {
            prop_assert!(z.as_ref().dominates(xy.as_ref()));
        }
        let mut tested = x.clone();
        let (merge, dominated) = tested.merge_and_test_source_dominance(y.as_ref());
        prop_assert_eq!(merge, Merge::Done);
        prop_assert_eq!(dominated, y.as_ref().dominates(x.as_ref()));
        prop_assert_eq!(tested == y, dominated);
    }

    #[test]
    fn a_fixed_frontier_does_the_same_or_nothing((a, b) in pair()) {
        const N: usize = 12;
        let (x, y) = (frontier(&a), frontier(&b));
        let built = FixedFrontier::<N>::from_entries(x.as_ref().entries().iter().rev().copied());
        let Some(mut fixed) = FixedFrontier::<N>::from_frontier(x.as_ref()) else {
            prop_assert_eq!(built, Err(FrontierError::TooMany { limit: N }));
            return Ok(());
        };
        prop_assert_eq!(built, Ok(fixed));
        let expected = joined(&x, &y);
        if expected.len() <= N {
            prop_assert_eq!(fixed.merge(y.as_ref()), Merge::Done);
            prop_assert_eq!(fixed.as_ref(), expected.as_ref());
        } else {
            prop_assert_eq!(fixed.merge(y.as_ref()), Merge::Overflow);
            prop_assert_eq!(fixed.as_ref(), x.as_ref());
        }
    }

    #[test]
    fn whoever_is_told_of_dominance_holds_the_source((a, b) in pair(), above: bool) {
        const N: usize = 12;
        let x = frontier(&a);
        // Half of the time a source that dominates, and may be too long to be held.
        let y = if above { joined(&x, &frontier(&b)) } else { frontier(&b) };
        let Some(mut fixed) = FixedFrontier::<N>::from_frontier(x.as_ref()) else { return Ok(()) };
        let (merged, equal) = fixed.merge_and_test_source_dominance(y.as_ref());
        prop_assert_eq!(equal, fixed.as_ref() == y.as_ref());
        let dominates = y.as_ref().dominates(x.as_ref());
        prop_assert_eq!(equal, dominates && merged == Merge::Done);
        if merged == Merge::Overflow {
            prop_assert_eq!(fixed.as_ref(), x.as_ref());
        }
        let mut owned = x.clone();
        let (merged, equal) = owned.merge_and_test_source_dominance(y.as_ref());
        prop_assert_eq!((merged, equal), (Merge::Done, dominates));
        prop_assert_eq!(equal, owned == y);
    }

    #[test]
    fn setting_is_what_a_map_does(
        start in model(12, 12),
        changes in prop::collection::vec((0..12_u64, 0..4_u64, any::<bool>()), 0..40),
    ) {
        let (mut expected, mut heap) = (start.clone(), frontier(&start));
        let mut fixed = FixedFrontier::<12>::from_frontier(heap.as_ref()).unwrap();
        for (bits, epoch, raise) in changes {
            let axis = Axis::from_bits(bits);
            let own = expected.get(&axis).copied().unwrap_or(0);
            let merges = if raise {
                [heap.advance(axis, epoch), fixed.advance(axis, epoch)]
            } else {
                [heap.set(axis, epoch), fixed.set(axis, epoch)]
            };
            prop_assert_eq!(merges, [Merge::Done; 2]);
            match if raise { own.max(epoch) } else { epoch } {
                0 => expected.remove(&axis),
                epoch => expected.insert(axis, epoch),
            };
            prop_assert_eq!(&heap, &frontier(&expected));
            prop_assert_eq!(fixed.as_ref(), heap.as_ref());
        }
    }

    #[test]
    fn what_is_undominated_is_counted_in_full((a, b) in pair(), room in 0..6_usize) {
        let expected: Vec<Entry> = a
            .iter()
            .filter(|&(axis, &epoch)| b.get(axis).is_none_or(|&other| other < epoch))
            .map(|(&axis, &epoch)| Entry::new(axis, epoch))
            .collect();
        let mut out = vec![Entry::new(Axis::from_bits(99), 99); room];
        let count = frontier(&a).as_ref().find_undominated(frontier(&b).as_ref(), &mut out);
        prop_assert_eq!(count, expected.len());
        let written = room.min(count);
        prop_assert_eq!(&out[..written], &expected[..written]);
        prop_assert!(out[written..].iter().all(|entry| entry.epoch == 99));
    }

    #[test]
    fn only_sorted_unique_positive_entries_are_a_frontier(
        entries in prop::collection::vec((0..6_u64, 0..3_u64), 0..6),
    ) {
        let entries: Vec<Entry> =
            entries.iter().map(|&(bits, e)| Entry::new(Axis::from_bits(bits), e)).collect();
        let ascending = entries.windows(2).all(|two| two[0].axis < two[1].axis);
        let positive = entries.iter().all(|entry| entry.epoch > 0);
        prop_assert_eq!(FrontierRef::try_from_sorted(&entries).is_ok(), ascending && positive);
        let mut axes: Vec<Axis> = entries.iter().map(|entry| entry.axis).collect();
        axes.sort_unstable();
        let unique = axes.windows(2).all(|two| two[0] != two[1]);
        prop_assert_eq!(Frontier::from_entries(entries).is_ok(), unique && positive);
    }

    #[test]
    fn the_wire_form_goes_there_and_back(a in model(300, 255), tail in 1..40_usize) {
        let original = frontier(&a);
        let bytes = original.as_ref().encode();
        prop_assert_eq!(bytes.len(), 8 + 16 * original.len());
        prop_assert_eq!(Frontier::decode(&bytes), Ok(original.clone()));
        let fixed = FixedFrontier::<255>::decode(&bytes).unwrap();
        prop_assert_eq!(fixed.as_ref(), original.as_ref());

        // Too long, too short by any amount; a prefix does not mind what follows.
        let mut longer = bytes.clone();
        longer.resize(bytes.len() + tail, 0);
        let (expected, actual) = (bytes.len(), longer.len());
        prop_assert_eq!(Frontier::decode(&longer), Err(WireError::Length { expected, actual }));
        prop_assert_eq!(Frontier::decode_prefix(&longer), Ok((original.clone(), expected)));
        let short = &bytes[..bytes.len().saturating_sub(tail)];
        let refused = matches!(Frontier::decode(short), Err(WireError::Length { .. }));
        prop_assert!(refused);
        let mut small = vec![7; bytes.len() - 1];
        prop_assert_eq!(original.as_ref().encode_into(&mut small), None);
        prop_assert!(small.iter().all(|&byte| byte == 7));
    }

    #[test]
    fn reserved_bytes_order_duplicates_and_zeros_are_refused(
        a in model(40, 12), at in 0..1000_usize, byte in 1..=255_u8,
    ) {
        let bytes = frontier(&a).as_ref().encode();
        let mut reserved = bytes.clone();
        reserved[1 + at % 7] = byte;
        let offset = 1 + at % 7;
        prop_assert_eq!(Frontier::decode(&reserved), Err(WireError::Reserved { offset }));
        if a.is_empty() {
            return Ok(());
        }
        let index = at % a.len();
        let entry = 8 + 16 * index;
        let mut zero = bytes.clone();
        zero[entry + 8..entry + 16].fill(0);
        let axis = frontier(&a).as_ref().entries()[index].axis;
        let error = FrontierError::ZeroEpoch { index, axis };
        prop_assert_eq!(Frontier::decode(&zero), Err(WireError::Entries(error)));
        if index == 0 {
            return Ok(());
        }
        let (before, own) = (entry - 16..entry - 8, entry..entry + 8);
        let mut twice = bytes.clone();
        twice.copy_within(before.clone(), own.start);
        let axis = frontier(&a).as_ref().entries()[index - 1].axis;
        let error = FrontierError::Duplicate { index, axis };
        prop_assert_eq!(Frontier::decode(&twice), Err(WireError::Entries(error)));
        let mut swapped = bytes.clone();
        swapped[before.clone()].copy_from_slice(&bytes[own.clone()]);
        swapped[own].copy_from_slice(&bytes[before]);
        let refused = matches!(
            Frontier::decode(&swapped),
            Err(WireError::Entries(FrontierError::Unsorted { .. }))
        );
        prop_assert!(refused);
    }

    /// Bytes that decode are the one encoding of what they decode to.
    #[test]
    fn decoding_accepts_nothing_but_the_encoding(
        mut bytes in prop::collection::vec(prop_oneof![Just(0_u8), 0..3_u8, any::<u8>()], 0..60),
        fit in any::<bool>(),
    ) {
        if fit && bytes.len() >= 8 {
            // Mostly well formed, so that the checks of the entries are met.
            bytes[..8].fill(0);
            bytes[0] = ((bytes.len() - 8) / 16) as u8;
            bytes.truncate(8 + 16 * usize::from(bytes[0]));
        }
        if let Ok(decoded) = Frontier::decode(&bytes) {
            prop_assert_eq!(decoded.as_ref().encode(), bytes);
        }
    }
}
