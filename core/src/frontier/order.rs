//! The order of frontiers: compare, dominate, and the walk over two sorted lists.
//!
//! Epochs in a frontier are never 0 and a missing axis reads as 0. So a list that has an axis the
//! other lacks is not below it, and lengths decide most of the question before any walk:
//!
//! | lengths | axes | answer |
//! | --- | --- | --- |
//! | equal | the same | one pass over the epochs, with no branch |
//! | equal | differ | concurrent: each has an axis that the other lacks |
//! | a longer | any | after if a dominates b, else concurrent |
//!
//! Cost: linear in the longer list, nothing allocated.

use super::{Causality, Entry};

/// What a branch-free pass over two lists of equal length found, as bits to be tested once.
#[derive(Clone, Copy, Default)]
struct Pass {
    /// Non-zero when an axis differs.
    axes: u64,
    /// Top bit: some epoch of `a` is below that of `b`.
    below: u64,
    /// Top bit: some epoch of `a` is above that of `b`.
    above: u64,
    /// Top bit: two epochs lie in different halves of the range, and `below` and `above` are
    /// not to be trusted.
    halves: u64,
}

/// Compares entry by entry. The sign of a wrapping difference is the order as long as both epochs
/// lie in the same half of the range, which all do that count less than 2^63 events; it needs no
/// comparison, and all lanes do the same arithmetic, so it becomes plain vector code everywhere.
#[inline(always)]
fn pass(a: &[Entry], b: &[Entry]) -> Pass {
    let mut found = Pass::default();
    for (x, y) in a.iter().zip(b) {
        found.axes |= x.axis.to_bits() ^ y.axis.to_bits();
        found.below |= x.epoch.wrapping_sub(y.epoch);
        found.above |= y.epoch.wrapping_sub(x.epoch);
        found.halves |= x.epoch ^ y.epoch;
    }
    found
}

const fn top(bits: u64) -> bool {
    bits >> 63 != 0
}

/// Whether some epoch is below and whether some is above, over lists with the same axes;
/// `None` when the axes differ.
#[inline]
fn same_axes(a: &[Entry], b: &[Entry]) -> Option<(bool, bool)> {
    let found = pass(a, b);
    if found.axes != 0 {
        return None;
    }
    if top(found.halves) {
        return Some(exact(a, b));
    }
    Some((top(found.below), top(found.above)))
}

/// The same answer by comparisons, for epochs from 2^63 up.
#[cold]
fn exact(a: &[Entry], b: &[Entry]) -> (bool, bool) {
    let pairs = || a.iter().zip(b);
    (pairs().any(|(x, y)| x.epoch < y.epoch), pairs().any(|(x, y)| x.epoch > y.epoch))
}

/// How `a` stands to `b`. Both are sorted, without duplicates or zero epochs.
#[inline]
pub(super) fn compare(a: &[Entry], b: &[Entry]) -> Causality {
    if a.len() == b.len() {
        return match same_axes(a, b) {
            Some((false, false)) => Causality::Equal,
            Some((true, false)) => Causality::Before,
            Some((false, true)) => Causality::After,
            Some((true, true)) | None => Causality::Concurrent,
        };
    }
    if a.len() > b.len() {
        if covers(a, b) { Causality::After } else { Causality::Concurrent }
    } else if covers(b, a) {
        Causality::Before
    } else {
        Causality::Concurrent
    }
}

/// Whether `a` is at or above `b` on every axis.
#[inline]
pub(super) fn dominates(a: &[Entry], b: &[Entry]) -> bool {
    if a.len() < b.len() {
        return false;
    }
    if let ([x], [y]) = (a, b) {
        return x.axis == y.axis && x.epoch >= y.epoch;
    }
    if a.len() == b.len() {
        return matches!(same_axes(a, b), Some((false, _)));
    }
    covers(a, b)
}

/// `dominates` by a walk, for lists whose axes differ.
fn covers(a: &[Entry], b: &[Entry]) -> bool {
    let mut rest = a.iter();
    b.iter().all(|y| {
        rest.find(|x| x.axis >= y.axis).is_some_and(|x| x.axis == y.axis && x.epoch >= y.epoch)
    })
}

/// Calls `found` with each entry of `a` that is not covered by `b`.
pub(super) fn undominated(a: &[Entry], b: &[Entry], mut found: impl FnMut(Entry)) {
    let mut rest = b.iter().peekable();
    for x in a {
        while rest.next_if(|y| y.axis < x.axis).is_some() {}
        let epoch = rest.next_if(|y| y.axis == x.axis).map_or(0, |y| y.epoch);
        if epoch < x.epoch {
            found(*x);
        }
    }
}
