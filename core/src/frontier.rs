//! Frontiers: how far each of several axes must have come, as one value.
//!
//! ```text
//!   queue:0.0  ──●──●──●──●──┊─────       A frontier is a cut across timelines, a vector clock:
//!   queue:0.1  ──●──●──┊──●──●──●──       sorted pairs of axis and epoch. An axis that is not
//!   host:4     ──●──●──●──┊──●─────       in the list is at epoch 0, "nothing yet".
//!                 { 0.0 @ 4, 0.1 @ 2, host:4 @ 3 }
//! ```
//!
//! Three types hold the same thing: [`FrontierRef`] borrows it, [`Frontier`] owns it (without the
//! heap up to [`INLINE_ENTRIES`]), [`FixedFrontier`] owns it and never allocates.
//!
//! Invariants, kept by every constructor: axes strictly ascend, no epoch is 0, at most
//! [`MAX_ENTRIES`] entries. Frontiers are ordered only in part, so there is no `PartialOrd` (its
//! operators would promise too much) but [`FrontierRef::compare`].
//!
//! Cost: comparing and joining are linear in the number of entries; lists with the same axes, the
//! usual case, take one pass without branches.

mod fixed;
mod join;
mod order;
mod owned;
#[cfg(test)]
mod tests;
mod wire;

use core::fmt;

pub use fixed::FixedFrontier;
pub use owned::{Frontier, INLINE_ENTRIES};
pub use wire::WireError;

use crate::axis::{Axis, Epoch};
use crate::progress::Progress;

/// The most entries that a frontier can have: its encoding counts them in a byte.
pub const MAX_ENTRIES: usize = u8::MAX as usize;

/// One axis of a frontier and the epoch it must have reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Entry {
    /// The axis.
    pub axis: Axis,
    /// The epoch, from 1 up within a frontier.
    pub epoch: Epoch,
}

impl Entry {
    /// The entry of `axis` at `epoch`.
    #[must_use]
    pub const fn new(axis: Axis, epoch: Epoch) -> Self {
        Self { axis, epoch }
    }

    /// Fills the slots of arrays that hold no entry.
    const VACANT: Self = Self { axis: Axis::from_bits(0), epoch: 0 };
}

/// How one frontier stands to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Causality {
    /// At or below the other on every axis, and below it on one.
    Before,
    /// At or above the other on every axis, and above it on one.
    After,
    /// The same on every axis.
    Equal,
    /// Below on one axis and above on another.
    Concurrent,
}

impl Causality {
    /// How the other frontier stands to this one.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Before => Self::After,
            Self::After => Self::Before,
            same => same,
        }
    }
}

/// What became of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Merge {
    /// The target is now the join of both.
    Done,
    /// The join has more entries than the target can hold, and the target is as it was.
    Overflow,
}

/// Why entries are not those of a frontier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontierError {
    /// An axis is below the one before it.
    Unsorted {
        /// The position of the entry.
        index: usize,
    },
    /// An axis stands there twice.
    Duplicate {
        /// The position of its second entry (once sorted).
        index: usize,
        /// The axis.
        axis: Axis,
    },
    /// An epoch is 0, which says nothing.
    ZeroEpoch {
        /// The position of the entry (once sorted).
        index: usize,
        /// Its axis.
        axis: Axis,
    },
    /// There are more entries than fit.
    TooMany {
        /// How many fit.
        limit: usize,
    },
}

impl fmt::Display for FrontierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsorted { index } => write!(f, "entry {index} is below the one before it"),
            Self::Duplicate { index, axis } => write!(f, "entry {index} repeats axis {axis}"),
            Self::ZeroEpoch { index, axis } => {
                write!(f, "entry {index}, axis {axis}, has epoch 0")
            }
            Self::TooMany { limit } => write!(f, "more than {limit} entries"),
        }
    }
}

impl core::error::Error for FrontierError {}

/// Checks that entries are those of a frontier, whatever their number.
fn order_of(entries: impl Iterator<Item = Entry>) -> Result<(), FrontierError> {
    let mut last = None;
    for (index, Entry { axis, epoch }) in entries.enumerate() {
        match last {
            Some(last) if last == axis => return Err(FrontierError::Duplicate { index, axis }),
            Some(last) if last > axis => return Err(FrontierError::Unsorted { index }),
            _ => {}
        }
        if epoch == 0 {
            return Err(FrontierError::ZeroEpoch { index, axis });
        }
        last = Some(axis);
    }
    Ok(())
}

/// A borrowed frontier: a slice of entries that is known to be sorted, without duplicates and
/// without zero epochs.
///
/// ```
/// use strandline_core::{Axis, Causality, Frontier};
///
/// let [a, b] = [Axis::queue(0, 0), Axis::queue(0, 1)];
/// let mut early = Frontier::from_entry(a, 3);
/// let late = Frontier::from_entry(a, 5);
/// assert_eq!(early.as_ref().compare(late.as_ref()), Causality::Before);
///
/// let _ = early.advance(b, 1);
/// assert_eq!(early.as_ref().compare(late.as_ref()), Causality::Concurrent);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrontierRef<'a> {
    entries: &'a [Entry],
}

impl<'a> FrontierRef<'a> {
    /// The frontier that waits for nothing.
    pub const EMPTY: Self = Self { entries: &[] };

    /// The frontier of one entry; an epoch of 0 says nothing, so it makes the empty frontier.
    ///
    /// ```
    /// use strandline_core::{Axis, Entry, FrontierRef};
    ///
    /// let entry = Entry::new(Axis::host(1), 4);
    /// assert_eq!(FrontierRef::single(&entry).get(entry.axis), 4);
    /// ```
    #[must_use]
    pub const fn single(entry: &'a Entry) -> Self {
        if entry.epoch == 0 {
            return Self::EMPTY;
        }
        Self { entries: core::slice::from_ref(entry) }
    }

    /// The frontier of entries that are sorted already. Cost: one pass over them.
    ///
    /// # Errors
    /// When an axis is not above the one before it, an epoch is 0, or there are more than
    /// [`MAX_ENTRIES`] entries.
    ///
    /// ```
    /// use strandline_core::{Axis, Entry, FrontierError, FrontierRef};
    ///
    /// let entries = [Entry::new(Axis::host(2), 4), Entry::new(Axis::host(1), 4)];
    /// assert_eq!(
    ///     FrontierRef::try_from_sorted(&entries),
    ///     Err(FrontierError::Unsorted { index: 1 }),
    /// );
    /// ```
    pub fn try_from_sorted(entries: &'a [Entry]) -> Result<Self, FrontierError> {
        if entries.len() > MAX_ENTRIES {
            return Err(FrontierError::TooMany { limit: MAX_ENTRIES });
        }
        order_of(entries.iter().copied())?;
        Ok(Self { entries })
    }

    /// Entries known to satisfy the invariants.
    const fn from_valid(entries: &'a [Entry]) -> Self {
        Self { entries }
    }

    /// The entries, by ascending axis.
    #[must_use]
    pub const fn entries(self) -> &'a [Entry] {
        self.entries
    }

    /// The number of axes.
    #[must_use]
    pub const fn len(self) -> usize {
        self.entries.len()
    }

    /// Whether the frontier waits for nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.entries.is_empty()
    }

    /// The epoch of `axis`, 0 where it is missing. Cost: logarithmic.
    ///
    /// ```
    /// use strandline_core::{Axis, Frontier};
    ///
    /// let frontier = Frontier::from_entry(Axis::host(1), 7);
    /// assert_eq!(frontier.as_ref().get(Axis::host(1)), 7);
    /// assert_eq!(frontier.as_ref().get(Axis::host(2)), 0);
    /// ```
    #[must_use]
    pub fn get(self, axis: Axis) -> Epoch {
        match self.entries.binary_search_by_key(&axis, |entry| entry.axis) {
            Ok(at) => self.entries[at].epoch,
            Err(_) => 0,
        }
    }

    /// How this frontier stands to `other`.
    #[inline]
    #[must_use]
    pub fn compare(self, other: FrontierRef<'_>) -> Causality {
        order::compare(self.entries, other.entries)
    }

    /// Whether this frontier is at or above `other` on every axis: whoever is ordered after this
    /// one is ordered after `other` too.
    ///
    /// ```
    /// use strandline_core::{Axis, Frontier, FrontierRef};
    ///
    /// let [a, b] = [Axis::queue(0, 0), Axis::queue(0, 1)];
    /// let mut both = Frontier::from_entry(a, 2);
    /// let _ = both.advance(b, 2);
    /// let one = Frontier::from_entry(b, 2);
    /// assert!(both.as_ref().dominates(one.as_ref()));
    /// assert!(!one.as_ref().dominates(both.as_ref()));
    /// assert!(one.as_ref().dominates(FrontierRef::EMPTY));
    /// ```
    #[inline]
    #[must_use]
    pub fn dominates(self, other: FrontierRef<'_>) -> bool {
        match (self.entries, other.entries) {
            // The usual question of a pool: one queue about what one queue did.
            (&[known], &[other]) => known.axis == other.axis && known.epoch >= other.epoch,
            _ => order::dominates(self.entries, other.entries),
        }
    }

    /// Whether every axis has reached its epoch. Stops at the first that has not.
    #[inline]
    #[must_use]
    pub fn is_satisfied(self, progress: &(impl Progress + ?Sized)) -> bool {
        self.entries.iter().all(|entry| progress.has_reached(entry.axis, entry.epoch))
    }

    /// Writes the entries of this frontier that `other` does not cover to the start of `out`, as
    /// many as fit, and returns how many there are in all: above `out.len()`, some are missing.
    ///
    /// ```
    /// use strandline_core::{Axis, Entry, Frontier, FrontierRef};
    ///
    /// let entries = [Entry::new(Axis::host(1), 4), Entry::new(Axis::host(2), 4)];
    /// let frontier = FrontierRef::try_from_sorted(&entries).unwrap();
    /// let mut out = entries[..1].to_vec();
    /// assert_eq!(frontier.find_undominated(FrontierRef::EMPTY, &mut out), 2);
    /// assert_eq!(frontier.find_undominated(FrontierRef::single(&entries[0]), &mut out), 1);
    /// assert_eq!(out, [entries[1]]);
    /// ```
    #[must_use]
    pub fn find_undominated(self, other: FrontierRef<'_>, out: &mut [Entry]) -> usize {
        let mut count = 0;
        order::undominated(self.entries, other.entries, |entry| {
            if let Some(slot) = out.get_mut(count) {
                *slot = entry;
            }
            count += 1;
        });
        count
    }

    /// An owned copy. Allocates when there are more than [`INLINE_ENTRIES`].
    #[must_use]
    pub fn to_frontier(self) -> Frontier {
        Frontier::from_valid(self.entries.iter().copied())
    }
}

impl Default for FrontierRef<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Writes `{queue:0.0 @ 4, host:1 @ 2}`.
///
/// ```
/// use strandline_core::{Axis, Frontier};
///
/// assert_eq!(Frontier::from_entry(Axis::host(1), 2).to_string(), "{host:1 @ 2}");
/// ```
impl fmt::Display for FrontierRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, Entry { axis, epoch }) in self.entries.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{axis} @ {epoch}")?;
        }
        f.write_str("}")
    }
}

/// The same as [`Display`](fmt::Display).
impl fmt::Debug for FrontierRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
