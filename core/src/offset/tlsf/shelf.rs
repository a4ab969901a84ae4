//! A shelf: one set of size-class bins, the two-level index of TLSF.
//!
//! ```text
//!   first level (bit i: row i has a non-empty bin)     fl  = ...0110
//!   second level, a row of 2^S bins                    sl[1] = 0100…  sl[2] = 0011…
//!   bins                                               element ⇄ element ⇄ element
//! ```
//!
//! Sizes are counted in granules. Below `2^S` granules each size has a bin of its own; above, each power
//! of two is cut into `2^S` bins. Insert, remove and find are O(1): two bit scans and a few links.
//! (Masmano, Ripoll, Crespo, Real: "TLSF: a new dynamic memory allocator for real-time systems", 2004.)

use alloc::boxed::Box;

/// No node, no run, no bin.
pub(super) const NONE: u32 = u32::MAX;

/// Neighbours in a bin's list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl Link {
    pub(super) const ALONE: Self = Self { prev: NONE, next: NONE };
}

/// Storage whose elements can be linked into lists, by index.
pub(super) trait Lists {
    fn link(&mut self, id: u32) -> &mut Link;
    fn link_ref(&self, id: u32) -> &Link;
    /// The size that an element is filed under.
    fn units(&self, id: u32) -> u32;
}

/// First and last element of a bin.
#[derive(Clone, Copy, Debug)]
struct Bin {
    head: u32,
    tail: u32,
    /// The size of the head: a request is compared with it before the head itself, far away in memory, has arrived.
    head_units: u32,
    /// The highest rank that was filed since the bin was last empty, so that filing looks at no element.
    latest: u64,
}

impl Bin {
    const EMPTY: Self = Self { head: NONE, tail: NONE, head_units: 0, latest: 0 };

    /// Files `id` before the others, of which there are some.
    #[inline(always)]
    fn put_first<R: Lists + ?Sized>(&mut self, lists: &mut R, id: u32, units: u32) {
        let head = core::mem::replace(&mut self.head, id);
        self.head_units = units;
        *lists.link(id) = Link { prev: NONE, next: head };
        lists.link(head).prev = id;
    }
}

/// Maps sizes in granules to bins: a tiny floating-point number with `S` bits of mantissa.
#[derive(Clone, Copy, Debug)]
pub(super) struct SizeClasses {
    bits: u32,
    /// Of a bin's number: its column.
    mask: u32,
}

/// Where a bin stands: `base` is the first bin of its row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) row: u32,
    pub(super) column: u32,
    pub(super) base: u32,
}

impl Spot {
    /// The first bin of some columns of its row.
    #[inline(always)]
    pub(super) fn first(self, columns: u64) -> u32 {
        self.base + columns.trailing_zeros()
    }
}

impl SizeClasses {
    pub(super) const fn new(second_level_bits: u8) -> Self {
        let bits = second_level_bits as u32;
        Self { bits, mask: (1 << bits) - 1 }
    }

    /// The bin a block of `units` is filed in: every block in it is at least the bin's lower bound.
    #[inline(always)]
    pub(super) fn floor(self, units: u32) -> u32 {
        // Setting the bit changes nothing above, and makes the shift 0 below.
        let shift = (units | 1 << self.bits).ilog2() - self.bits;
        (shift << self.bits) + (units >> shift)
    }

    #[inline(always)]
    pub(super) fn spot(self, bin: u32) -> Spot {
        let column = bin & self.mask;
        let base = bin - column;
        Spot { row: bin >> self.bits, column, base }
    }

    /// The first bin all of whose blocks are at least `units`.
    #[inline(always)]
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
    /// Grows to the largest bin ever used. No vector: indexing that is a call where code is made small.
    bins: Box<[Bin]>,
    /// Granules filed.
    pub(super) units: u64,
}

impl Shelf {
    pub(super) fn new(classes: SizeClasses) -> Self {
        Self { classes, first: 0, second: [0; ROWS], bins: Box::default(), units: 0 }
    }

    /// Files `id` under `units`: last in its bin if its rank is at least that of all others, else first.
    /// Rank 0 always goes first.
    #[inline]
    pub(super) fn insert<R: Lists>(&mut self, lists: &mut R, id: u32, units: u32, rank: u64) {
        self.units += u64::from(units);
        self.link(lists, id, self.classes.floor(units), units, rank);
    }

    /// [`insert`](Self::insert) into a bin, without counting.
    #[inline(always)]
    pub(super) fn link<R: Lists + ?Sized>(
        &mut self,
        lists: &mut R,
        id: u32,
        bin: u32,
        units: u32,
        rank: u64,
    ) {
        let at = bin as usize;
        let alone = Bin { head: id, tail: id, head_units: units, latest: rank };
        let Some(bin) = self.bins.get_mut(at) else {
            self.extend(at);
            self.bins[at] = alone;
            *lists.link(id) = Link::ALONE;
            return self.open(at);
        };
        if bin.head == NONE {
            *bin = alone;
            *lists.link(id) = Link::ALONE;
            self.open(at);
        } else if rank != 0 && rank >= bin.latest {
            bin.latest = rank;
            let tail = bin.tail;
            bin.tail = id;
            *lists.link(id) = Link { prev: tail, next: NONE };
            lists.link(tail).next = id;
        } else {
            bin.put_first(lists, id, units);
        }
    }

    /// [`link`](Self::link) that files before the others, whatever the rank: for what remains of the block that was
    /// first in its own bin.
    #[inline(always)]
    pub(super) fn link_first<R: Lists + ?Sized>(
        &mut self,
        lists: &mut R,
        id: u32,
        bin: u32,
        units: u32,
        rank: u64,
    ) {
        match self.bins.get_mut(bin as usize) {
            Some(filed) if filed.head != NONE => filed.put_first(lists, id, units),
            _ => self.link(lists, id, bin, units, rank),
        }
    }

    /// A whole row at a time.
    #[cold]
    #[inline(never)]
    fn extend(&mut self, bin: usize) {
        let mut bins = core::mem::take(&mut self.bins).into_vec();
        bins.resize(((bin >> self.classes.bits) + 1) << self.classes.bits, Bin::EMPTY);
        self.bins = bins.into_boxed_slice();
    }

    #[inline(always)]
    fn open(&mut self, bin: usize) {
        let Spot { row, column, .. } = self.classes.spot(bin as u32);
        self.second[row as usize] |= 1 << column;
        self.first |= 1 << row;
    }

    #[inline(always)]
    fn close(&mut self, bin: usize) {
        let Spot { row, column, .. } = self.classes.spot(bin as u32);
        let columns = &mut self.second[row as usize];
        *columns &= !(1 << column);
        if *columns == 0 {
            self.first &= !(1 << row);
        }
    }

    /// Takes `id`, filed under `units`, out.
    #[inline]
    pub(super) fn remove(&mut self, lists: &mut impl Lists, id: u32, units: u32) {
        self.units -= u64::from(units);
        self.unlink(lists, id, self.classes.floor(units));
    }

    /// [`remove`](Self::remove) from a bin, without counting.
    #[inline(always)]
    pub(super) fn unlink<R: Lists + ?Sized>(&mut self, lists: &mut R, id: u32, bin: u32) {
        let at = bin as usize;
        let &Link { prev, next } = lists.link_ref(id);
        if prev == NONE {
            self.unlink_head(lists, bin, next);
            return;
        }
        lists.link(prev).next = next;
        if next == NONE {
            self.bins[at].tail = prev;
        } else {
            lists.link(next).prev = prev;
        }
    }

    /// Takes the first element of a bin out; `next` follows it.
    #[inline(always)]
    pub(super) fn unlink_head<R: Lists + ?Sized>(&mut self, lists: &mut R, bin: u32, next: u32) {
        let filed = &mut self.bins[bin as usize];
        filed.head = next;
        if next == NONE {
            self.close(bin as usize);
        } else {
            filed.head_units = lists.units(next);
            lists.link(next).prev = NONE;
        }
    }

    /// Both sizes fall into one bin.
    #[inline(always)]
    pub(super) fn same_bin(&self, a: u32, b: u32) -> bool {
        self.classes.floor(a) == self.classes.floor(b)
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.first == 0
    }

    /// The size of an element changed within its bin.
    #[inline]
    pub(super) fn resized(&mut self, is_head: bool, from: u32, to: u32) {
        self.units = self.units - u64::from(from) + u64::from(to);
        if is_head {
            self.head_resized(self.classes.floor(to), to);
        }
    }

    /// [`resized`](Self::resized) of the first element of a bin, without counting.
    #[inline(always)]
    pub(super) fn head_resized(&mut self, bin: u32, to: u32) {
        self.bins[bin as usize].head_units = to;
    }

    /// The first non-empty bin at or above `bin`.
    #[inline(always)]
    pub(super) fn next_bin(&self, bin: u32) -> Option<u32> {
        let spot = self.classes.spot(bin);
        let next = match self.columns(spot) {
            0 => self.first_above(spot),
            columns => spot.first(columns),
        };
        Some(next).filter(|&next| next != NONE)
    }

    /// The columns of non-empty bins in a spot's row, from the spot's own on.
    #[inline(always)]
    pub(super) fn columns(&self, spot: Spot) -> u64 {
        self.second
            .get(spot.row as usize)
            .map_or(0, |&columns| columns >> spot.column << spot.column)
    }

    /// The first non-empty bin above a spot's row, `NONE` if there is none.
    #[inline(always)]
    pub(super) fn first_above(&self, spot: Spot) -> u32 {
        // No row has number 63.
        let rows = self.first >> (spot.row & 63) >> 1;
        if rows == 0 {
            return NONE;
        }
        let row = spot.row + 1 + rows.trailing_zeros();
        (row << self.classes.bits) + self.second[row as usize].trailing_zeros()
    }

    /// The first element of a non-empty bin.
    #[inline(always)]
    pub(super) fn head(&self, bin: u32) -> u32 {
        self.bins[bin as usize].head
    }

    /// The size of the first element of a bin; any number where the bin is empty.
    #[inline(always)]
    pub(super) fn head_units(&self, bin: u32) -> u32 {
        self.bins.get(bin as usize).map_or(0, |bin| bin.head_units)
    }

    pub(super) fn classes(&self) -> SizeClasses {
        self.classes
    }
}

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
