//! A frontier of bounded size, in place: no allocation, ever.

use core::fmt;
use core::hash::{Hash, Hasher};

use super::join::{self, Joined};
use super::{Entry, FrontierError, FrontierRef, MAX_ENTRIES, Merge, order, order_of};
use crate::axis::{Axis, Epoch};

/// A frontier of at most `N` entries that never allocates. `N` is at most [`MAX_ENTRIES`], checked
/// when compiled.
///
/// ```
/// use strandline_core::{Axis, FixedFrontier, Merge};
///
/// let [a, b] = [Axis::host(1), Axis::host(2)];
/// let mut one = FixedFrontier::<1>::from_entry(a, 3);
/// assert_eq!(one.merge(FixedFrontier::<1>::from_entry(a, 5).as_ref()), Merge::Done);
/// // No room for a second axis: the target is as it was.
/// assert_eq!(one.merge(FixedFrontier::<1>::from_entry(b, 1).as_ref()), Merge::Overflow);
/// assert_eq!(one, FixedFrontier::from_entry(a, 5));
/// ```
#[derive(Clone, Copy)]
pub struct FixedFrontier<const N: usize> {
    /// At most `N`. The entries from here on are vacant.
    len: u8,
    entries: [Entry; N],
}

impl<const N: usize> FixedFrontier<N> {
    /// The most entries it can hold.
    pub const CAPACITY: usize = {
        assert!(N <= MAX_ENTRIES, "a frontier has at most 255 entries");
        N
    };

    /// The empty frontier.
    #[must_use]
    pub const fn new() -> Self {
        let _ = Self::CAPACITY;
        Self { len: 0, entries: [Entry::VACANT; N] }
    }

    /// The frontier of one entry; an epoch of 0 makes it empty. `N` is at least 1, checked when
    /// compiled.
    #[must_use]
    pub const fn from_entry(axis: Axis, epoch: Epoch) -> Self {
        const { assert!(N >= 1, "no room for an entry") };
        let mut frontier = Self::new();
        if epoch != 0 {
            frontier.entries[0] = Entry { axis, epoch };
            frontier.len = 1;
        }
        frontier
    }

    /// Becomes the frontier of one entry, in place; an epoch of 0 makes it empty. `N` is at least 1,
    /// checked when compiled.
    #[inline]
    pub const fn become_entry(&mut self, axis: Axis, epoch: Epoch) {
        const { assert!(N >= 1, "no room for an entry") };
        self.entries[0] = Entry { axis, epoch };
        self.len = (epoch != 0) as u8;
    }

    /// The frontier of these entries, in any order.
    ///
    /// # Errors
    /// When an axis comes twice, an epoch is 0, or there are more than `N` entries.
    pub fn from_entries(entries: impl IntoIterator<Item = Entry>) -> Result<Self, FrontierError> {
        let mut frontier = Self::new();
        let mut len = 0;
        for entry in entries {
            let Some(slot) = frontier.entries.get_mut(len) else {
                return Err(FrontierError::TooMany { limit: N });
            };
            *slot = entry;
            len += 1;
        }
        let used = &mut frontier.entries[..len];
        used.sort_unstable_by_key(|entry| entry.axis);
        order_of(used.iter().copied())?;
        frontier.len = len as u8;
        Ok(frontier)
    }

    /// A copy of `source`, or `None` when it has more than `N` entries.
    #[must_use]
    pub fn from_frontier(source: FrontierRef<'_>) -> Option<Self> {
        (source.len() <= N).then(|| Self::from_valid(source.entries().iter().copied()))
    }

    /// Entries known to satisfy the invariants, at most `N`.
    pub(super) fn from_valid(entries: impl Iterator<Item = Entry>) -> Self {
        let mut frontier = Self::new();
        for (slot, entry) in frontier.entries.iter_mut().zip(entries) {
            *slot = entry;
            frontier.len += 1;
        }
        frontier
    }

    /// The frontier, borrowed.
    #[inline]
    #[must_use]
    pub fn as_ref(&self) -> FrontierRef<'_> {
        FrontierRef::from_valid(match self.len {
            // The usual case, without a call where code is made small.
            1 if N > 0 => core::slice::from_ref(&self.entries[0]),
            len => &self.entries[..usize::from(len)],
        })
    }

    /// The number of axes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the frontier waits for nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The epoch of `axis`, 0 where it is missing.
    #[must_use]
    pub fn get(&self, axis: Axis) -> Epoch {
        self.as_ref().get(axis)
    }

    /// Makes it empty.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// Becomes a copy of `source`, in place. On overflow the target is untouched.
    #[inline]
    pub fn assign(&mut self, source: FrontierRef<'_>) -> Merge {
        match source.entries() {
            // The usual case, without a loop.
            [entry] if N > 0 => self.entries[0] = *entry,
            entries => match self.entries.get_mut(..entries.len()) {
                Some(slots) => slots.copy_from_slice(entries),
                None => return Merge::Overflow,
            },
        }
        self.len = source.len() as u8;
        Merge::Done
    }

    /// Raises every axis to the epoch that `source` has for it: the least frontier that dominates
    /// both. On overflow the target is untouched.
    #[inline]
    pub fn merge(&mut self, source: FrontierRef<'_>) -> Merge {
        let len = usize::from(self.len);
        match join::in_place(&mut self.entries[..len], source.entries(), N) {
            Joined::Whole => Merge::Done,
            Joined::Overflow => Merge::Overflow,
            Joined::Before(rest) => {
                rest.fill(&mut self.entries[..rest.union], len, source.entries());
                self.len = rest.union as u8;
                Merge::Done
            }
        }
    }

    /// Merges, and says whether the target now equals `source`, because `source` dominated it before. After an
    /// overflow the target is untouched and the answer is no, also if `source` dominates it.
    pub fn merge_and_test_source_dominance(&mut self, source: FrontierRef<'_>) -> (Merge, bool) {
        let dominated = order::dominates(source.entries(), self.as_ref().entries());
        let merged = self.merge(source);
        (merged, dominated && merged == Merge::Done)
    }

    /// Raises `axis` to `epoch` if it is below.
    pub fn advance(&mut self, axis: Axis, epoch: Epoch) -> Merge {
        self.merge(FrontierRef::single(&Entry { axis, epoch }))
    }

    /// Puts `axis` at `epoch`, up or down; 0 removes it.
    pub fn set(&mut self, axis: Axis, epoch: Epoch) -> Merge {
        let len = usize::from(self.len);
        match self.entries[..len].binary_search_by_key(&axis, |entry| entry.axis) {
            Ok(at) if epoch == 0 => {
                self.entries.copy_within(at + 1..len, at);
                self.len -= 1;
            }
            Ok(at) => self.entries[at].epoch = epoch,
            Err(_) => return self.advance(axis, epoch),
        }
        Merge::Done
    }
}

impl<const N: usize> Default for FixedFrontier<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> PartialEq for FixedFrontier<N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl<const N: usize> Eq for FixedFrontier<N> {}

impl<const N: usize> Hash for FixedFrontier<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl<'a, const N: usize> From<&'a FixedFrontier<N>> for FrontierRef<'a> {
    fn from(frontier: &'a FixedFrontier<N>) -> Self {
        frontier.as_ref()
    }
}

impl<const N: usize> fmt::Display for FixedFrontier<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl<const N: usize> fmt::Debug for FixedFrontier<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
