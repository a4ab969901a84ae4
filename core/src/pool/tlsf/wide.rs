//! Deaths of more axes than a block remembers, kept until enough of the axes have got there.
//!
//! ```text
//!   release, 11 axes ─▶ aside ──── 3 of them reached ────▶ inbox ─▶ a shelf, as any block
//! ```
//!
//! Until then the block is nobody's: neither live nor free to the heap, pending to whoever asks for the counters, and not in
//! the budget. A requester who covers the whole death gets it no earlier.
//!
//! # Cost
//! A release of such a death allocates and takes a lock of its own. A miss, a poll and a trim look at the axes of each block that is
//! aside; where there is none, at a counter.

use crate::death::Death;
use crate::frontier::{Entry, Frontier};
use crate::pool::MAX_DEATH_AXES;
use crate::pool::inbox::{Inbox, Ticket, unreached};
use crate::progress::Progress;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use alloc::boxed::Box;
use alloc::vec::Vec;

#[derive(Debug)]
struct Aside {
    ticket: Box<Ticket>,
    /// Bytes that it takes of the pool.
    bytes: u64,
    /// What of its death was not reached when that was last looked at.
    left: Frontier,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Wide {
    list: Mutex<Vec<Aside>>,
    count: AtomicU64,
    bytes: AtomicU64,
    requested: AtomicU64,
}

/// What is aside, in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) requested: u64,
}

impl Wide {
    /// Keeps a block whose death has too many axes; `bytes` is what it takes of the pool. `Err`: enough of them are reached, and
    /// the death is in the ticket.
    pub(super) fn put(
        &self,
        mut ticket: Box<Ticket>,
        death: Death<'_>,
        bytes: u64,
        progress: &dyn Progress,
    ) -> Result<(), Box<Ticket>> {
        let Death::After(frontier) = death else { return Err(ticket) };
        let left = unreached(frontier, &|entry| progress.has_reached(entry.axis, entry.epoch));
        if left.len() <= MAX_DEATH_AXES {
            // Reduced to what a block remembers.
            ticket.death.set(Death::After(left.as_ref()), progress);
            return Err(ticket);
        }
        // Relaxed: counters.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.requested.fetch_add(ticket.requested, Ordering::Relaxed);
        let mut list = self.list.lock();
        list.push(Aside { ticket, bytes, left });
        self.count.store(list.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// What is aside now.
    #[inline]
    pub(super) fn sums(&self) -> Sums {
        let [count, bytes, requested] =
            [&self.count, &self.bytes, &self.requested].map(|sum| sum.load(Ordering::Relaxed));
        Sums { count, bytes, requested }
    }

    /// Bytes that are aside.
    #[inline]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Hands in what a block can remember by now. Whether there was any.
    #[inline]
    pub(super) fn look(&self, progress: &dyn Progress, inbox: &Inbox) -> bool {
        self.count.load(Ordering::Relaxed) != 0 && self.look_at_all(progress, inbox)
    }

    #[cold]
    fn look_at_all(&self, progress: &dyn Progress, inbox: &Inbox) -> bool {
        self.sort(inbox, |aside| {
            let reached = |entry: Entry| progress.has_reached(entry.axis, entry.epoch);
            aside.left = unreached(aside.left.as_ref(), &reached);
            let fits = aside.left.len() <= MAX_DEATH_AXES;
            if fits {
                aside.ticket.death.set(Death::After(aside.left.as_ref()), progress);
            }
            fits
        })
    }

    /// Visits the blocks that are aside with what they wait for.
    pub(super) fn each(&self, mut visit: impl FnMut(&Ticket, &Frontier)) {
        self.list.lock().iter().for_each(|aside| visit(&aside.ticket, &aside.left));
    }

    /// Deaths that were given up: none.
    pub(super) const fn taints(&self) -> u64 {
        0
    }

    /// Hands everything in: the device is quiescent.
    pub(super) fn quiesce(&self, progress: &dyn Progress, inbox: &Inbox) {
        let _: bool = self.sort(inbox, |aside| {
            aside.ticket.death.set(Death::Idle, progress);
            true
        });
    }

    /// Hands in what `fits`. Whether there was any.
    fn sort(&self, inbox: &Inbox, mut fits: impl FnMut(&mut Aside) -> bool) -> bool {
        let mut list = self.list.lock();
        let (mut at, mut any) = (0, false);
        while let Some(aside) = list.get_mut(at) {
            if fits(aside) {
                let Aside { ticket, bytes, .. } = list.swap_remove(at);
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.requested.fetch_sub(ticket.requested, Ordering::Relaxed);
                inbox.push(ticket);
                any = true;
            } else {
                at += 1;
            }
        }
        self.count.store(list.len() as u64, Ordering::Relaxed);
        any
    }
}
