//! The join of two frontiers: the larger epoch on every axis, in place.
//!
//! ```text
//!   target  a3  b1  d7          as long as the target has the source's axes: epochs only
//!   source  b2  c4  d9          from the first that it lacks on, here c: count the union of what is left,
//!   ──────────────────          then fill from the back, so that no entry is overwritten before it was read
//!   target  a3  b2  c4  d9
//! ```
//!
//! A join that does not fit leaves its target untouched: where it may not fit, the union is counted before anything is
//! written. Cost: linear in both lengths; nothing is allocated here.

use super::Entry;

/// Entries per step: the compiler turns a step of this size into vector code.
const STEP: usize = 4;

/// What became of a join of a source into the entries of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// The target has all of it.
    Whole,
    /// The target has an axis less, and everything before it: the rest needs room.
    Before(Rest),
    /// More axes than fit; the target is as it was.
    Overflow,
}

/// What is left of a join when the target lacks an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    /// Entries at the front of the target that stay where they are.
    kept: usize,
    /// The first entry of the source that is not joined.
    next: usize,
    /// Entries of the whole join.
    pub(super) union: usize,
}

impl Rest {
    /// Joins the rest into a target of `len` entries and room for the union, which is the slice's length.
    pub(super) fn fill(self, target: &mut [Entry], len: usize, source: &[Entry]) {
        fill_from_back(&mut target[self.kept..], len - self.kept, &source[self.next..]);
    }
}

/// Joins `source` into `target` in place, up to the first axis that the target lacks. A join of more than `limit` entries is not begun.
#[inline]
pub(super) fn in_place(target: &mut [Entry], source: &[Entry], limit: usize) -> Joined {
    // The usual case, without a loop.
    if let ([known], [new]) = (&mut *target, source)
        && known.axis == new.axis
    {
        known.epoch = known.epoch.max(new.epoch);
        return Joined::Whole;
    }
    if same_axes(target, source) {
        return Joined::Whole;
    }
    differing_axes(target, source, limit)
}

/// [`in_place`], where not all axes are the same.
fn differing_axes(target: &mut [Entry], source: &[Entry], limit: usize) -> Joined {
    if target.len() + source.len() > limit
        && !has_all(target, source)
        && union_len(target, source) > limit
    {
        return Joined::Overflow;
    }
    let (kept, next) = raise(target, source);
    if next == source.len() {
        return Joined::Whole;
    }
    let union = kept + union_len(&target[kept..], &source[next..]);
    Joined::Before(Rest { kept, next, union })
}

/// Whether the target has every axis of the source.
fn has_all(target: &[Entry], source: &[Entry]) -> bool {
    let mut rest = target.iter();
    source.iter().all(|new| {
        rest.find(|known| known.axis >= new.axis).is_some_and(|known| known.axis == new.axis)
    })
}

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
fn same_axes(target: &mut [Entry], source: &[Entry]) -> bool {
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

/// Raises the target's epochs to the source's up to the first axis that it lacks: how many of its own entries lie before that axis, and how
/// many of the source's. Where all of the source stands in one stretch of the target, as when one knows an axis more, that is one pass.
fn raise(target: &mut [Entry], source: &[Entry]) -> (usize, usize) {
    let Some(first) = source.first() else { return (0, 0) };
    let begin = target.iter().position(|known| known.axis >= first.axis);
    let begin = begin.unwrap_or(target.len());
    if in_one_stretch(target, begin, source) {
        return (begin + source.len(), source.len());
    }
    let (mut i, mut j) = (begin, 0);
    while let (Some(known), Some(new)) = (target.get_mut(i), source.get(j)) {
        if known.axis > new.axis {
            break;
        }
        let is_same = known.axis == new.axis;
        if is_same {
            known.epoch = known.epoch.max(new.epoch);
        }
        (i, j) = (i + 1, j + usize::from(is_same));
    }
    (i, j)
}

/// Joins the source into as many entries of the target from `at` on, if these have its axes.
fn in_one_stretch(target: &mut [Entry], at: usize, source: &[Entry]) -> bool {
    let Some(stretch) = target.get_mut(at..at + source.len()) else { return false };
    // The last one tells, where another axis lies between, without a look at the others.
    let last = |entries: &[Entry]| entries.last().map(|entry| entry.axis);
    last(stretch) == last(source) && same_axes(stretch, source)
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
fn fill_from_back(target: &mut [Entry], len: usize, source: &[Entry]) {
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
