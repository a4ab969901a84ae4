//! A shelf: one set of size-class bins, the two-level index of TLSF.
//!
//! ```text
//!   first level (bit i: row i has a non-empty bin)     fl  = ...0110
//!   second level, a row of 2^S bins                    sl[1] = 0100…  sl[2] = 0011…
//!   heads                                              ring ⇄ ring ⇄ ring (circular, head first)
//! ```
//!
//! Sizes are counted in granules. Below `2^S` granules each size has a bin of its own; above, each power
//! of two is cut into `2^S` bins. Insert, remove and find are O(1): two bit scans and a few links.
//! (Masmano, Ripoll, Crespo, Real: "TLSF: a new dynamic memory allocator for real-time systems", 2004.)

use alloc::vec::Vec;

/// No node, no run, no bin.
pub(super) const NONE: u32 = u32::MAX;

/// Neighbours in a bin's ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl Ring {
    pub(super) const ALONE: Self = Self { prev: NONE, next: NONE };
}

/// Storage whose elements can be linked into rings, by index.
pub(super) trait Rings {
    fn ring(&mut self, id: u32) -> &mut Ring;
    fn ring_ref(&self, id: u32) -> &Ring;
}

/// Maps sizes in granules to bins: a tiny floating-point number with `S` bits of mantissa.
#[derive(Clone, Copy, Debug)]
pub(super) struct SizeClasses {
    bits: u32,
}

impl SizeClasses {
    pub(super) const fn new(second_level_bits: u8) -> Self {
        Self { bits: second_level_bits as u32 }
    }

    /// The bin a block of `units` is filed in: every block in it is at least the bin's lower bound.
    #[inline]
    pub(super) fn floor(self, units: u32) -> u32 {
        let bits = self.bits;
        if units < 1 << bits {
            return units;
        }
        let shift = units.ilog2() - bits;
        (shift << bits) + (units >> shift)
    }

    /// The first bin all of whose blocks are at least `units`.
    #[inline]
    pub(super) fn ceil(self, units: u32) -> u32 {
        let bits = self.bits;
        if units < 1 << bits {
            return units;
        }
        let shift = units.ilog2() - bits;
        let low = (1u64 << shift) - 1;
        let rounded = u64::from(units) + low;
        // Rounding may carry into the next power of two; the formula below is continuous there.
        let shift = rounded.ilog2() - bits;
        (shift << bits) + (rounded >> shift) as u32
    }
}

const ROWS: usize = 33;

/// Bins of one readiness class.
#[derive(Debug)]
pub(super) struct Shelf {
    classes: SizeClasses,
    /// Bit `r` is set iff `second[r] != 0`.
    first: u64,
    /// Bit `c` of `second[r]` is set iff bin `r * 2^S + c` is not empty.
    second: [u64; ROWS],
    /// First element of each bin's ring; grows to the largest bin ever used.
    heads: Vec<u32>,
    /// Elements filed.
    pub(super) len: u32,
    /// Granules filed.
    pub(super) units: u64,
}

impl Shelf {
    pub(super) fn new(classes: SizeClasses) -> Self {
        Self { classes, first: 0, second: [0; ROWS], heads: Vec::new(), len: 0, units: 0 }
    }

    /// Files `id` under `units`, first in its bin's ring.
    #[inline]
    pub(super) fn insert_front<R: Rings>(&mut self, rings: &mut R, id: u32, units: u32) {
        self.insert(rings, id, units, None::<fn(&R, u32) -> bool>);
    }

    /// Files `id` under `units`, behind the last element of its bin that it `may_follow`.
    #[inline]
    pub(super) fn insert_ranked<R: Rings>(
        &mut self,
        rings: &mut R,
        id: u32,
        units: u32,
        may_follow: impl Fn(&R, u32) -> bool,
    ) {
        self.insert(rings, id, units, Some(may_follow));
    }

    #[inline]
    fn insert<R: Rings>(
        &mut self,
        rings: &mut R,
        id: u32,
        units: u32,
        may_follow: Option<impl Fn(&R, u32) -> bool>,
    ) {
        self.len += 1;
        self.units += u64::from(units);
        let bin = self.classes.floor(units);
        let (row, column) = (bin >> self.classes.bits, bin & ((1 << self.classes.bits) - 1));
        if self.second[row as usize] >> column & 1 == 0 {
            if bin as usize >= self.heads.len() {
                // A whole row at a time.
                self.heads.resize(((row as usize) + 1) << self.classes.bits, NONE);
            }
            self.second[row as usize] |= 1 << column;
            self.first |= 1 << row;
            self.heads[bin as usize] = id;
            *rings.ring(id) = Ring { prev: id, next: id };
            return;
        }
        let head = self.heads[bin as usize];
        let tail = rings.ring_ref(head).prev;
        // `before` is the element that `id` will stand behind in the ring.
        let (before, new_head) = match may_follow {
            None => (tail, true),
            Some(may_follow) => {
                let mut at = tail;
                let mut steps = 0;
                loop {
                    if may_follow(rings, at) {
                        break (at, false);
                    }
                    if at == head {
                        break (tail, true);
                    }
                    steps += 1;
                    if steps == MAX_SORT_STEPS {
                        break (at, false);
                    }
                    at = rings.ring_ref(at).prev;
                }
            }
        };
        let next = rings.ring_ref(before).next;
        *rings.ring(id) = Ring { prev: before, next };
        rings.ring(before).next = id;
        rings.ring(next).prev = id;
        if new_head {
            self.heads[bin as usize] = id;
        }
    }

    /// Takes `id`, filed under `units`, out.
    #[inline]
    pub(super) fn remove(&mut self, rings: &mut impl Rings, id: u32, units: u32) {
        self.len -= 1;
        self.units -= u64::from(units);
        let bin = self.classes.floor(units);
        let Ring { prev, next } = *rings.ring_ref(id);
        if next == id {
            let (row, column) = (bin >> self.classes.bits, bin & ((1 << self.classes.bits) - 1));
            self.heads[bin as usize] = NONE;
            self.second[row as usize] &= !(1 << column);
            if self.second[row as usize] == 0 {
                self.first &= !(1 << row);
            }
            return;
        }
        rings.ring(prev).next = next;
        rings.ring(next).prev = prev;
        if self.heads[bin as usize] == id {
            self.heads[bin as usize] = next;
        }
    }

    /// Both sizes fall into one bin.
    #[inline]
    pub(super) fn same_bin(&self, a: u32, b: u32) -> bool {
        self.classes.floor(a) == self.classes.floor(b)
    }

    /// The element stands first in the bin of `units`.
    #[inline]
    pub(super) fn is_head(&self, id: u32, units: u32) -> bool {
        self.heads[self.classes.floor(units) as usize] == id
    }

    /// The size of an element changed within its bin.
    #[inline]
    pub(super) fn resized(&mut self, from: u32, to: u32) {
        self.units = self.units - u64::from(from) + u64::from(to);
    }

    /// The first non-empty bin at or above `bin`.
    #[inline]
    pub(super) fn next_bin(&self, bin: u32) -> Option<u32> {
        let bits = self.classes.bits;
        let (row, column) = (bin >> bits, bin & ((1 << bits) - 1));
        if row as usize >= ROWS {
            return None;
        }
        let in_row = self.second[row as usize] & u64::MAX << column;
        if in_row != 0 {
            return Some((row << bits) + in_row.trailing_zeros());
        }
        // `row + 1` is at most 33, so the shift cannot overflow.
        let rows = self.first & u64::MAX << (row + 1);
        if rows == 0 {
            return None;
        }
        let row = rows.trailing_zeros();
        Some((row << bits) + self.second[row as usize].trailing_zeros())
    }

    /// The last non-empty bin.
    pub(super) fn last_bin(&self) -> Option<u32> {
        if self.first == 0 {
            return None;
        }
        let row = self.first.ilog2();
        Some((row << self.classes.bits) + self.second[row as usize].ilog2())
    }

    /// The first element of a non-empty bin.
    #[inline]
    pub(super) fn head(&self, bin: u32) -> u32 {
        self.heads[bin as usize]
    }

    pub(super) fn classes(&self) -> SizeClasses {
        self.classes
    }
}

/// How far an insertion walks to keep a ring sorted. Elements that arrive more than this far out of
/// order stand where the walk ended, so that insertion stays O(1).
const MAX_SORT_STEPS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_continuous_and_ceil_covers() {
        for bits in 3..=6 {
            let classes = SizeClasses::new(bits);
            let mut last = 0;
            for units in 1..200_000 {
                let bin = classes.floor(units);
                assert!(bin == last || bin == last + 1, "bits {bits} units {units}");
                last = bin;
                let up = classes.ceil(units);
                assert!(up == bin || up == bin + 1);
                // Only a size on its bin's lower bound may start there.
                assert_eq!(up == bin, units == 1 || classes.floor(units - 1) != bin);
            }
            let top = classes.floor(u32::MAX);
            assert!((top >> bits) < ROWS as u32);
            assert!(classes.ceil(u32::MAX) >> bits < ROWS as u32 + 1);
        }
    }
}
