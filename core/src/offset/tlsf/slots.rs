//! A view of slots whose indices were checked when they were given out, and are not checked again.
//!
//! ```text
//!   new_node ──▶ id < len ──▶ links, bins, vacant list ──▶ Slots[id]
//!                (slots are never given back)
//! ```
//!
//! The two operations that carry a pool's traffic index some forty times, almost always with a number that they have just read from
//! a link. Checking each costs 4 to 5 % of their time (measured, on the churn of 10,000 live blocks). Debug builds check all the same,
//! and so do the tests, the fuzz targets and the sanitizers' runs, which are debug builds.
//!
//! # Safety
//! Whoever makes a view vouches for every index that it will be used with, for as long as it lives.

use super::shelf::{Link, Lists};
use super::{Node, Nodes};
use core::ops::{Index, IndexMut};

/// See the [module](self).
#[repr(transparent)]
pub(super) struct Slots<T>([T]);

impl<T> Slots<T> {
    /// # Safety
    /// The view is indexed only with numbers below `slots.len()`.
    #[inline(always)]
    unsafe fn new(slots: &mut [T]) -> &mut Self {
        let slots: *mut [T] = slots;
        // SAFETY: `Slots` is transparent over the slice, and takes over its borrow.
        unsafe { &mut *(slots as *mut Self) }
    }

    /// The slot, checked.
    #[inline(always)]
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.0.get(at)
    }
}

impl<T> Index<usize> for Slots<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, at: usize) -> &T {
        debug_assert!(at < self.0.len(), "slot {at} of {}", self.0.len());
        // SAFETY: who made the view promised that `at` is below its length.
        unsafe { self.0.get_unchecked(at) }
    }
}

impl<T> IndexMut<usize> for Slots<T> {
    #[inline(always)]
    fn index_mut(&mut self, at: usize) -> &mut T {
        debug_assert!(at < self.0.len(), "slot {at} of {}", self.0.len());
        // SAFETY: who made the view promised that `at` is below its length.
        unsafe { self.0.get_unchecked_mut(at) }
    }
}

impl Lists for Slots<Node> {
    #[inline(always)]
    fn link(&mut self, id: u32) -> &mut Link {
        &mut self[id as usize].link
    }
    #[inline(always)]
    fn link_ref(&self, id: u32) -> &Link {
        &self[id as usize].link
    }
}

impl<L> Nodes<L> {
    /// Views of all nodes and their labels.
    ///
    /// # Safety
    /// They are indexed only with ids that [`new_node`](super::Tlsf::new_node) of the same allocator gave out. It pushes a node and its
    /// label together and neither is ever popped, so such an id stays below the length of both.
    #[inline(always)]
    pub(super) unsafe fn slots(&mut self) -> (&mut Slots<Node>, &mut Slots<L>) {
        debug_assert_eq!(self.nodes.len(), self.labels.len(), "a node without a label");
        // SAFETY: the caller's promise, and both have the same length.
        unsafe { (Slots::new(&mut self.nodes), Slots::new(&mut self.labels)) }
    }
}
