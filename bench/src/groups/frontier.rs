//! `frontier`: comparing and merging vector clocks of 1 to 128 entries.
//!
//! *Same axes*: every epoch of the left is below the right's, so that all entries must be seen. *Shifted by one axis*: all axes but
//! one are shared, and only the last entry tells that the two are concurrent. *Nothing new*: the target
//! already has all of it, the common case of a merge. *All newer*: every epoch rises. *Interleaved, nothing new*: the target has
//! every axis of the source, and as many between them. *Interleaved, all missing*: it has only those between them; each call begins
//! with a copy of the same target. The reference is the plain two-pointer walk over sorted vectors, written below. The goals in
//! nanoseconds are half of what IREE took on a machine of this kind.

use crate::harness::{Case, Contender, Goal, Stopwatch};
use std::cmp::Ordering;
use std::hint::black_box;
use strandline_core::{Axis, Causality, Entry, Frontier, Merge};

const OURS: &str = "strandline";
const PLAIN: &str = "two-pointer walk";
const SIZES: [usize; 5] = [1, 4, 16, 64, 128];

#[derive(Clone, Copy)]
enum Work {
    CompareSame,
    CompareShifted,
    MergeNothing,
    MergeNewer,
    MergeShifted,
    MergeInterleaved,
    MergeMissing,
}

pub(super) fn cases() -> impl Iterator<Item = Case> {
    let works = [
        ("compare, same axes", Work::CompareSame),
        ("compare, shifted by one axis", Work::CompareShifted),
        ("merge, same axes, nothing new", Work::MergeNothing),
        ("merge, same axes, all newer", Work::MergeNewer),
        ("merge, shifted by one axis, nothing new", Work::MergeShifted),
        ("merge, interleaved, nothing new", Work::MergeInterleaved),
        ("merge, interleaved, all missing", Work::MergeMissing),
    ];
    works.into_iter().flat_map(|(name, work)| {
        SIZES.into_iter().map(move |size| Case {
            group: "frontier",
            name: format!("{name}, {size} {}", if size == 1 { "entry" } else { "entries" }),
            unit: "call",
            reference: 0,
            goals: goal(work, size).into_iter().collect(),
            contenders: Box::new(move || contenders(work, size)),
        })
    })
}

fn goal(work: Work, size: usize) -> Option<Goal> {
    match (work, size) {
        (Work::CompareSame, 16) => Some(Goal::ns(OURS, 9.0)),
        (Work::CompareSame, 64) => Some(Goal::ns(OURS, 35.0)),
        (Work::MergeNewer, 64) => Some(Goal::ns(OURS, 29.0)),
        (Work::MergeNothing | Work::MergeNewer, 1) => Some(Goal::ratio(OURS, 1.1)),
        (Work::MergeShifted, 16 | 64) => Some(Goal::ratio(OURS, 0.5)),
        (Work::MergeInterleaved | Work::MergeMissing, 16 | 64) => Some(Goal::ratio(OURS, 1.2)),
        _ => None,
    }
}

/// Axes from `first` on, all at one epoch.
fn entries(first: usize, len: usize, epoch: u64) -> Vec<Entry> {
    (first..first + len).map(|n| Entry::new(Axis::host(n as u32).with_session(1), epoch)).collect()
}

/// As many axes, every second one from `first` on.
fn every_second(first: usize, len: usize, epoch: u64) -> Vec<Entry> {
    entries(first, (2 * len).min(255), epoch).into_iter().step_by(2).collect()
}

fn frontier(entries: &[Entry]) -> Frontier {
    match Frontier::from_entries(entries.iter().copied()) {
        Ok(frontier) => frontier,
        Err(error) => panic!("{error}"),
    }
}

fn timed(name: &str, mut call: impl FnMut() + 'static) -> Contender {
    Contender::new(name, move |count| {
        let clock = Stopwatch::start();
        for _ in 0..count {
            call();
        }
        clock.elapsed()
    })
}

fn contenders(work: Work, size: usize) -> Vec<Contender> {
    match work {
        Work::CompareSame => compare(entries(1, size, 5), entries(1, size, 6), Causality::Before),
        Work::CompareShifted => {
            // On the shared axes, and on its first one, the right is ahead; only the left has the last axis. With
            // one entry there is no shared axis.
            compare(entries(1, size, 5), entries(0, size, 6), Causality::Concurrent)
        }
        Work::MergeNothing => merge_nothing(entries(1, size, 6), entries(1, size, 5)),
        Work::MergeShifted => {
            // The target knows one axis more at the front and lacks none.
            let source = entries(1, size, 5);
            merge_nothing(entries(0, size + 1, 6), source)
        }
        Work::MergeNewer => merge_newer(size),
        Work::MergeInterleaved => {
            merge_nothing(entries(0, (2 * size).min(255), 6), every_second(0, size, 5))
        }
        Work::MergeMissing => merge_missing(size),
    }
}

fn compare(left: Vec<Entry>, right: Vec<Entry>, expected: Causality) -> Vec<Contender> {
    let (a, b) = (frontier(&left), frontier(&right));
    assert_eq!(a.as_ref().compare(b.as_ref()), expected);
    assert_eq!(plain_compare(&left, &right), expected);
    vec![
        timed(PLAIN, move || {
            black_box(plain_compare(black_box(&left), black_box(&right)));
        }),
        timed(OURS, move || {
            black_box(black_box(&a).as_ref().compare(black_box(&b).as_ref()));
        }),
    ]
}

fn merge_nothing(target: Vec<Entry>, source: Vec<Entry>) -> Vec<Contender> {
    let (mut a, b) = (frontier(&target), frontier(&source));
    let before = a.clone();
    assert_eq!(a.merge(b.as_ref()), Merge::Done);
    assert_eq!(a, before, "nothing new");
    let mut target = target;
    vec![
        timed(PLAIN, move || plain_merge(black_box(&mut target), black_box(&source))),
        timed(OURS, move || {
            let _ = black_box(black_box(&mut a).merge(black_box(&b).as_ref()));
        }),
    ]
}

/// Sources in rising order; after the last the target starts again, which is spread over all of them.
fn merge_newer(size: usize) -> Vec<Contender> {
    const RISES: u64 = 64;
    let sources: Vec<Vec<Entry>> = (2..2 + RISES).map(|epoch| entries(1, size, epoch)).collect();
    let start = entries(1, size, 1);
    let ours: Vec<Frontier> = sources.iter().map(|source| frontier(source)).collect();
    let ours_start = frontier(&start);
    let (mut plain, mut plain_at) = (start.clone(), 0);
    let (mut target, mut at) = (ours_start.clone(), 0);
    vec![
        timed(PLAIN, move || {
            if plain_at == sources.len() {
                plain_at = 0;
                plain.clone_from(&start);
            }
            plain_merge(black_box(&mut plain), black_box(&sources[plain_at]));
            plain_at += 1;
        }),
        timed(OURS, move || {
            if at == ours.len() {
                at = 0;
                target.clone_from(&ours_start);
            }
            let _ = black_box(black_box(&mut target).merge(black_box(&ours[at]).as_ref()));
            at += 1;
        }),
    ]
}

/// Every axis of the source is missing, and lies between two of the target's.
fn merge_missing(size: usize) -> Vec<Contender> {
    let len = size.min(127);
    let (start, source) = (every_second(0, len, 6), every_second(1, len, 5));
    let (ours_start, ours) = (frontier(&start), frontier(&source));
    let (mut plain, mut target) = (start.clone(), ours_start.clone());
    vec![
        timed(PLAIN, move || {
            plain.clone_from(&start);
            plain_merge(black_box(&mut plain), black_box(&source));
        }),
        timed(OURS, move || {
            target.clone_from(&ours_start);
            let _ = black_box(black_box(&mut target).merge(black_box(&ours).as_ref()));
        }),
    ]
}

/// The textbook comparison of sorted vector clocks.
fn plain_compare(left: &[Entry], right: &[Entry]) -> Causality {
    let (mut i, mut j) = (0, 0);
    let (mut less, mut greater) = (false, false);
    while i < left.len() || j < right.len() {
        let order = match (left.get(i), right.get(j)) {
            (Some(a), Some(b)) => a.axis.cmp(&b.axis),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        match order {
            Ordering::Less => (greater, i) = (true, i + 1),
            Ordering::Greater => (less, j) = (true, j + 1),
            Ordering::Equal => {
                less |= left[i].epoch < right[j].epoch;
                greater |= left[i].epoch > right[j].epoch;
                (i, j) = (i + 1, j + 1);
            }
        }
        if less && greater {
            return Causality::Concurrent;
        }
    }
    match (less, greater) {
        (false, false) => Causality::Equal,
        (true, _) => Causality::Before,
        (false, true) => Causality::After,
    }
}

/// The textbook join, in place where the axes are the target's, else into a new vector.
fn plain_merge(target: &mut Vec<Entry>, source: &[Entry]) {
    let mut i = 0;
    for (j, b) in source.iter().enumerate() {
        while target.get(i).is_some_and(|a| a.axis < b.axis) {
            i += 1;
        }
        match target.get_mut(i) {
            Some(a) if a.axis == b.axis => a.epoch = a.epoch.max(b.epoch),
            _ => {
                *target = plain_union(target, &source[j..]);
                return;
            }
        }
    }
}

/// The larger epoch on every axis of either, in a new vector.
fn plain_union(left: &[Entry], right: &[Entry]) -> Vec<Entry> {
    let mut union = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (left.get(i), right.get(j)) {
        (i, j) = (i + usize::from(a.axis <= b.axis), j + usize::from(b.axis <= a.axis));
        union.push(match a.axis.cmp(&b.axis) {
            Ordering::Less => *a,
            Ordering::Greater => *b,
            Ordering::Equal => Entry::new(a.axis, a.epoch.max(b.epoch)),
        });
    }
    union.extend_from_slice(&left[i..]);
    union.extend_from_slice(&right[j..]);
    union
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_walks_agree_with_the_library() {
        let sets = [
            entries(0, 4, 2),
            entries(1, 4, 2),
            entries(0, 4, 3),
            entries(2, 9, 1),
            Vec::new(),
            every_second(1, 9, 4),
        ];
        for left in &sets {
            for right in &sets {
                let mut merged = frontier(left);
                assert_eq!(
                    plain_compare(left, right),
                    merged.as_ref().compare(frontier(right).as_ref())
                );
                assert_eq!(merged.merge(frontier(right).as_ref()), Merge::Done);
                let mut plain = left.clone();
                plain_merge(&mut plain, right);
                assert_eq!(frontier(&plain), merged);
            }
        }
    }
}
