//! A frontier that owns its entries, in place up to four and on the heap beyond.

use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};

use super::join::{self, Joined};
use super::{
    Entry, FixedFrontier, FrontierError, FrontierRef, MAX_ENTRIES, Merge, order, order_of,
};
use crate::axis::{Axis, Epoch};

/// The most entries that a [`Frontier`] holds without the heap.
pub const INLINE_ENTRIES: usize = 4;

/// An owned frontier: no allocation up to [`INLINE_ENTRIES`] entries, at most [`MAX_ENTRIES`].
///
/// ```
/// use strandline_core::{Axis, Entry, Frontier, Merge};
///
/// let [a, b] = [Axis::queue(0, 0), Axis::queue(0, 1)];
/// let mut frontier = Frontier::from_entry(a, 3);
/// let other = Frontier::from_entries([Entry::new(b, 1), Entry::new(a, 2)])?;
/// assert_eq!(frontier.merge(other.as_ref()), Merge::Done);
/// assert_eq!(frontier.to_string(), "{queue:0.0 @ 3, queue:0.1 @ 1}");
/// # Ok::<(), strandline_core::FrontierError>(())
/// ```
pub struct Frontier {
    repr: Repr,
}

#[derive(Clone)]
enum Repr {
    Inline(FixedFrontier<INLINE_ENTRIES>),
    /// Once on the heap it stays there, so that a frontier that is cleared and filled again and
    /// again allocates once.
    Heap(Vec<Entry>),
}

impl Frontier {
    /// The empty frontier.
    #[must_use]
    pub const fn new() -> Self {
        Self { repr: Repr::Inline(FixedFrontier::new()) }
    }

    /// The frontier of one entry; an epoch of 0 makes it empty.
    #[must_use]
    pub const fn from_entry(axis: Axis, epoch: Epoch) -> Self {
        Self { repr: Repr::Inline(FixedFrontier::from_entry(axis, epoch)) }
    }

    /// The frontier of these entries, in any order. Cost: a sort.
    ///
    /// # Errors
    /// When an axis comes twice, an epoch is 0, or there are more than [`MAX_ENTRIES`] entries.
    ///
    /// ```
    /// use strandline_core::{Axis, Entry, Frontier, FrontierError};
    ///
    /// let axis = Axis::host(1);
    /// assert_eq!(
    ///     Frontier::from_entries([Entry::new(axis, 1), Entry::new(axis, 2)]),
    ///     Err(FrontierError::Duplicate { index: 1, axis }),
    /// );
    /// ```
    pub fn from_entries(entries: impl IntoIterator<Item = Entry>) -> Result<Self, FrontierError> {
        // One more than fits is enough to know, so an endless iterator ends here.
        let mut entries: Vec<Entry> = entries.into_iter().take(MAX_ENTRIES + 1).collect();
        if entries.len() > MAX_ENTRIES {
            return Err(FrontierError::TooMany { limit: MAX_ENTRIES });
        }
        entries.sort_unstable_by_key(|entry| entry.axis);
        order_of(entries.iter().copied())?;
        if entries.len() <= INLINE_ENTRIES {
            return Ok(Self::from_valid(entries.into_iter()));
        }
        Ok(Self { repr: Repr::Heap(entries) })
    }

    /// Entries known to satisfy the invariants.
    pub(super) fn from_valid(entries: impl ExactSizeIterator<Item = Entry>) -> Self {
        let repr = if entries.len() <= INLINE_ENTRIES {
            Repr::Inline(FixedFrontier::from_valid(entries))
        } else {
            Repr::Heap(entries.collect())
        };
        Self { repr }
    }

    /// The frontier, borrowed.
    #[inline]
    #[must_use]
    pub fn as_ref(&self) -> FrontierRef<'_> {
        match &self.repr {
            Repr::Inline(entries) => entries.as_ref(),
            Repr::Heap(entries) => FrontierRef::from_valid(entries),
        }
    }

    /// The number of axes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    /// Whether the frontier waits for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_ref().is_empty()
    }

    /// The epoch of `axis`, 0 where it is missing.
    #[must_use]
    pub fn get(&self, axis: Axis) -> Epoch {
        self.as_ref().get(axis)
    }

    /// Makes it empty. Memory on the heap is kept for reuse.
    pub fn clear(&mut self) {
        match &mut self.repr {
            Repr::Inline(entries) => entries.clear(),
            Repr::Heap(entries) => entries.clear(),
        }
    }

    /// Raises every axis to the epoch that `source` has for it: the least frontier that dominates
    /// both. On overflow, above [`MAX_ENTRIES`] axes, the target is untouched.
    ///
    /// Cost: linear in both; allocates only when the join outgrows the memory at hand.
    #[inline]
    pub fn merge(&mut self, source: FrontierRef<'_>) -> Merge {
        match &mut self.repr {
            Repr::Inline(entries) => match entries.merge(source) {
                Merge::Done => Merge::Done,
                Merge::Overflow => self.spill(source),
            },
            Repr::Heap(entries) => merge_heap(entries, source),
        }
    }

    /// Moves the entries to the heap and merges there.
    #[cold]
    fn spill(&mut self, source: FrontierRef<'_>) -> Merge {
        let own = self.as_ref().entries();
        let union = join::union_len(own, source.entries());
        if union > MAX_ENTRIES {
            return Merge::Overflow;
        }
        let mut entries = Vec::with_capacity(union);
        entries.extend_from_slice(own);
        let merged = merge_heap(&mut entries, source);
        self.repr = Repr::Heap(entries);
        merged
    }

    /// Merges, and says whether the target now equals `source`, because `source` dominated it before. After an
    /// overflow the target is untouched and the answer is no, also if `source` dominates it.
    ///
    /// ```
    /// use strandline_core::{Axis, Frontier, Merge};
    ///
    /// let axis = Axis::host(1);
    /// let mut frontier = Frontier::from_entry(axis, 3);
    /// let [older, newer] = [2, 4].map(|epoch| Frontier::from_entry(axis, epoch));
    /// assert_eq!(frontier.merge_and_test_source_dominance(older.as_ref()), (Merge::Done, false));
    /// assert_eq!(frontier.merge_and_test_source_dominance(newer.as_ref()), (Merge::Done, true));
    /// ```
    pub fn merge_and_test_source_dominance(&mut self, source: FrontierRef<'_>) -> (Merge, bool) {
        let dominated = order::dominates(source.entries(), self.as_ref().entries());
        let merged = self.merge(source);
        (merged, dominated && merged == Merge::Done)
    }

    /// Raises `axis` to `epoch` if it is below.
    ///
    /// ```
    /// use strandline_core::{Axis, Frontier};
    ///
    /// let axis = Axis::host(1);
    /// let mut frontier = Frontier::from_entry(axis, 3);
    /// let _ = frontier.advance(axis, 2);
    /// assert_eq!(frontier.get(axis), 3);
    /// let _ = frontier.set(axis, 2);
    /// assert_eq!(frontier.get(axis), 2);
    /// ```
    #[inline]
    pub fn advance(&mut self, axis: Axis, epoch: Epoch) -> Merge {
        self.merge(FrontierRef::single(&Entry { axis, epoch }))
    }

    /// Puts `axis` at `epoch`, up or down; 0 removes it.
    pub fn set(&mut self, axis: Axis, epoch: Epoch) -> Merge {
        let entries = match &mut self.repr {
            Repr::Inline(entries) => match entries.set(axis, epoch) {
                Merge::Done => return Merge::Done,
                Merge::Overflow => return self.advance(axis, epoch),
            },
            Repr::Heap(entries) => entries,
        };
        match entries.binary_search_by_key(&axis, |entry| entry.axis) {
            Ok(at) if epoch == 0 => {
                entries.remove(at);
                Merge::Done
            }
            Ok(at) => {
                entries[at].epoch = epoch;
                Merge::Done
            }
            Err(_) => self.advance(axis, epoch),
        }
    }
}

#[inline]
fn merge_heap(entries: &mut Vec<Entry>, source: FrontierRef<'_>) -> Merge {
    let len = entries.len();
    match join::in_place(entries, source.entries(), MAX_ENTRIES) {
        Joined::Whole => Merge::Done,
        Joined::Overflow => Merge::Overflow,
        Joined::Before(rest) => {
            entries.resize(rest.union, Entry::VACANT);
            rest.fill(entries, len, source.entries());
            Merge::Done
        }
    }
}

impl Clone for Frontier {
    fn clone(&self) -> Self {
        self.as_ref().to_frontier()
    }

    /// Allocates only when the copy outgrows the memory at hand.
    fn clone_from(&mut self, source: &Self) {
        let source = source.as_ref();
        match &mut self.repr {
            Repr::Inline(entries) => {
                if entries.assign(source) == Merge::Overflow {
                    *self = source.to_frontier();
                }
            }
            Repr::Heap(entries) => {
                entries.clear();
                entries.extend_from_slice(source.entries());
            }
        }
    }
}

impl Default for Frontier {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Frontier {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Frontier {}

impl Hash for Frontier {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl From<FrontierRef<'_>> for Frontier {
    fn from(frontier: FrontierRef<'_>) -> Self {
        frontier.to_frontier()
    }
}

/// The frontier of one entry; an epoch of 0 makes it empty.
impl From<Entry> for Frontier {
    fn from(Entry { axis, epoch }: Entry) -> Self {
        Self::from_entry(axis, epoch)
    }
}

/// The join of all entries: of an axis that comes more than once the latest epoch counts, and an epoch of 0 says nothing. For entries that
/// have to be a frontier's as they are there is [`from_entries`](Frontier::from_entries).
///
/// # Panics
/// With entries of more than [`MAX_ENTRIES`] axes, which no frontier can hold. Who does not know how many there are
/// [merges](Frontier::merge) instead.
impl FromIterator<Entry> for Frontier {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut all = Self::new();
        for Entry { axis, epoch } in entries {
            let merged = all.advance(axis, epoch);
            assert!(merged == Merge::Done, "a frontier holds at most {MAX_ENTRIES} axes");
        }
        all
    }
}

impl<'a> From<&'a Entry> for FrontierRef<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self::single(entry)
    }
}

impl<'a> From<&'a Frontier> for FrontierRef<'a> {
    fn from(frontier: &'a Frontier) -> Self {
        frontier.as_ref()
    }
}

impl fmt::Display for Frontier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl fmt::Debug for Frontier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
