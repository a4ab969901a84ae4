//! The join of two frontiers: the larger epoch on every axis, in place.
//!
//! ```text
//!   target  a3  c1  d7          same axes: one pass, epochs only
//!   source  b2  c4              else: count the union, then fill from the back,
//!   ──────────────────          so that no entry is overwritten before it was read
//!   target  a3  b2  c4  d7
//! ```
//!
//! Counting first means that a join that does not fit leaves its target untouched. Cost: linear
//! in both lengths; nothing is allocated here.

use super::Entry;

/// Entries per step of the check: the compiler turns a step of this size into vector code.
const STEP: usize = 4;

/// The bits in which axes differ, and the bits in which epochs differ, over lists of equal length.
#[inline(always)]
fn differences(a: &[Entry], b: &[Entry]) -> (u64, u64) {
    let (mut axes, mut epochs) = (0, 0);
    let mut add = |x: &Entry, y: &Entry| {
        axes |= x.axis.to_bits() ^ y.axis.to_bits();
        epochs |= x.epoch ^ y.epoch;
    };
    let ((steps_a, rest_a), (steps_b, rest_b)) = (a.as_chunks::<STEP>(), b.as_chunks::<STEP>());
    for (x, y) in steps_a.iter().zip(steps_b) {
        for i in 0..STEP {
            add(&x[i], &y[i]);
        }
    }
    for (x, y) in rest_a.iter().zip(rest_b) {
        add(x, y);
    }
    (axes, epochs)
}

/// Joins `source` into `target` when both have the same axes; does nothing and says no otherwise.
///
/// Joining what is there already, as every signal of an unchanged frontier does, writes nothing.
#[inline]
pub(super) fn same_axes(target: &mut [Entry], source: &[Entry]) -> bool {
    if target.len() != source.len() {
        return false;
    }
    let (axes, epochs) = differences(target, source);
    if axes != 0 {
        return false;
    }
    if epochs != 0 {
        for (t, s) in target.iter_mut().zip(source) {
            t.epoch = t.epoch.max(s.epoch);
        }
    }
    true
}

/// The number of axes in either list.
pub(super) fn union_len(a: &[Entry], b: &[Entry]) -> usize {
    let (mut i, mut j, mut common) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        i += usize::from(x.axis <= y.axis);
        j += usize::from(y.axis <= x.axis);
        common += usize::from(x.axis == y.axis);
    }
    a.len() + b.len() - common
}

/// Joins `source` into the first `len` entries of `target`, whose length is that of the union.
///
/// The write position never falls below the number of entries still unread in `target`: the
/// entries left to write include all those left to read.
pub(super) fn fill_from_back(target: &mut [Entry], len: usize, source: &[Entry]) {
    let (mut i, mut j) = (len, source.len());
    for k in (0..target.len()).rev() {
        if j == 0 {
            // What is left of the target is in place already.
            return;
        }
        let s = source[j - 1];
        target[k] = if i > 0 && target[i - 1].axis >= s.axis {
            let mut t = target[i - 1];
            i -= 1;
            if t.axis == s.axis {
                t.epoch = t.epoch.max(s.epoch);
                j -= 1;
            }
            t
        } else {
            j -= 1;
            s
        };
    }
}
