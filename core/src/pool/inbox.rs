//! The inbox: releases reach a pool without its lock.
//!
//! ```text
//!   release ──▶ push ──▶ [ ticket ] ─▶ [ ticket ] ─▶ ∅         any thread, one compare-exchange
//!   acquire ──▶ drain ─────────────────────────────▶ list      under the pool's lock, one swap
//! ```
//!
//! A ticket is the heap cell that travels with a reservation: it is boxed once, goes out with the
//! reservation, comes back through the inbox with the block's death written into it, and is kept for the
//! next reservation. In the steady state nothing is allocated.
//!
//! # Safety
//! The only unsafe code is the passage of a ticket through a raw pointer. A pusher gives up the boxes
//! (`Box::into_raw`) before it publishes the pointers; a pointer leaves the list only through `drain`, whose
//! swap takes the whole list at once, so exactly one thread gets each pointer and turns it back into the
//! box. Nodes are never read by other pushers beyond the head's address, which is only compared, so
//! there is no reclamation problem and no ABA problem: a head that equals the expected one is the
//! right successor whatever happened to it in between.

use crate::death::Death;
use crate::frontier::{Entry, FixedFrontier, Frontier, FrontierRef, Merge};
use crate::pool::MAX_DEATH_AXES;
use crate::progress::Progress;
use crate::slab::SlabId;
use crate::sync::atomic::{AtomicPtr, Ordering};
use alloc::boxed::Box;
use core::fmt;
use core::ptr;

/// The frontier of a block's death.
pub(crate) type BlockDeath = FixedFrontier<MAX_DEATH_AXES>;

/// A block's death in a fixed place: what [`Death`] borrows, owned.
#[derive(Clone, Copy)]
pub(crate) struct StoredDeath {
    pub(crate) unknown: bool,
    /// Empty when the death is idle or unknown.
    pub(crate) after: BlockDeath,
}

impl StoredDeath {
    pub(crate) const IDLE: Self = Self { unknown: false, after: BlockDeath::new() };

    /// Writes a death down. A frontier of too many axes first loses those already reached; if still
    /// too many are left the death is unknown, and `true` is returned.
    #[inline]
    pub(crate) fn set(&mut self, death: Death<'_>, progress: &dyn Progress) -> bool {
        self.unknown = matches!(death, Death::Unknown);
        self.after.clear();
        if let Death::After(frontier) = death
            && self.after.assign(frontier) == Merge::Overflow
        {
            for &entry in frontier.entries() {
                if progress.has_reached(entry.axis, entry.epoch) {
                    continue;
                }
                if self.after.advance(entry.axis, entry.epoch) == Merge::Overflow {
                    self.after.clear();
                    self.unknown = true;
                    return true;
                }
            }
        }
        false
    }

    #[inline]
    pub(crate) fn get(&self) -> Death<'_> {
        if self.unknown {
            Death::Unknown
        } else if self.after.is_empty() {
            Death::Idle
        } else {
            Death::After(self.after.as_ref())
        }
    }
}

impl fmt::Debug for StoredDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// What travels with a reservation and comes back with it.
pub(crate) struct Ticket {
    /// Owned by the list while the ticket is in the inbox.
    next: *mut Ticket,
    /// The pool's name for the block.
    pub(crate) block: u32,
    /// Bytes that were asked for.
    pub(crate) requested: u64,
    /// Where the block is, from when the ticket came back.
    pub(crate) slab: SlabId,
    pub(crate) offset: u64,
    /// While the reservation is out: the pool knows more of the block's death than the ticket.
    pub(crate) has_pieces: bool,
    /// While the reservation is out: the death to restore if it is canceled. On its way back: the
    /// death of the block.
    pub(crate) death: StoredDeath,
    /// The death instead, where it has more axes than fit there and the pool can keep it all the same.
    pub(crate) wide: Option<Box<Frontier>>,
}

// SAFETY: `next` is only read and written by whoever owns the box: the pusher before it publishes the
// ticket, and the drainer after its swap has taken the list. Everything else in a ticket is plain data.
unsafe impl Send for Ticket {}
// SAFETY: a shared ticket exposes only plain data; `next` is private to this file and is not read
// through a shared reference.
unsafe impl Sync for Ticket {}

impl Ticket {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self {
            next: ptr::null_mut(),
            block: 0,
            requested: 0,
            slab: SlabId::from_bits(0),
            offset: 0,
            has_pieces: false,
            death: StoredDeath::IDLE,
            wide: None,
        })
    }

    /// The block's death is known, and all of it in the ticket.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        !self.death.unknown & !self.has_pieces & self.wide.is_none()
    }

    /// Writes a death down, whatever the number of its axes. Allocates when more than [`MAX_DEATH_AXES`] of them have not
    /// been reached.
    #[inline]
    pub(crate) fn write(&mut self, death: Death<'_>, reached: &dyn Fn(Entry) -> bool) {
        self.wide = None;
        self.death.unknown = matches!(death, Death::Unknown);
        self.death.after.clear();
        if let Death::After(frontier) = death
            && self.death.after.assign(frontier) == Merge::Overflow
        {
            let left = unreached(frontier, reached);
            if self.death.after.assign(left.as_ref()) == Merge::Overflow {
                self.wide = Some(Box::new(left));
            }
        }
    }

    /// What was [written](Self::write).
    pub(crate) fn written(&self) -> Death<'_> {
        self.wide.as_ref().map_or_else(|| self.death.get(), |wide| Death::After((**wide).as_ref()))
    }
}

/// The entries that have not been reached.
pub(crate) fn unreached(frontier: FrontierRef<'_>, reached: &dyn Fn(Entry) -> bool) -> Frontier {
    part(frontier, |entry| !reached(entry))
}

/// What of a death somebody has to wait for who knows `known`.
pub(crate) fn to_wait_for(
    death: FrontierRef<'_>,
    known: FrontierRef<'_>,
    reached: &dyn Fn(Entry) -> bool,
) -> Frontier {
    part(death, |entry| known.get(entry.axis) < entry.epoch && !reached(entry))
}

fn part(frontier: FrontierRef<'_>, keep: impl Fn(Entry) -> bool) -> Frontier {
    // Part of a frontier is one.
    let kept = frontier.entries().iter().copied().filter(|&entry| keep(entry));
    Frontier::from_entries(kept).unwrap_or_default()
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("block", &self.block).field("death", &self.death).finish()
    }
}

/// A lock-free list of returned tickets: many push, the holder of the pool's lock drains.
pub(crate) struct Inbox {
    head: AtomicPtr<Ticket>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Hands a ticket in. Lock-free; one successful compare-exchange.
    #[inline]
    pub(crate) fn push(&self, ticket: Box<Ticket>) {
        let raw = Box::into_raw(ticket);
        // Relaxed: the value is only compared and stored as a successor, never read through.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: it came from the box above and is not published yet: this thread owns it.
            unsafe { (*raw).next = head };
            // Release: the drainer that takes `raw` sees the contents of the ticket. The tickets behind
            // it were published by their own pushers' releases, which this store continues (an
            // atomic read-modify-write carries on the release sequence). Sequentially consistent:
            // whoever asks after this whether anybody observes, and is told that nobody does, is
            // seen by whoever observes later and looks.
            match self.head.compare_exchange_weak(head, raw, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Nothing has been handed in. A hint: a push may be under way.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::SeqCst).is_null()
    }

    /// Takes all tickets in the order in which they were handed in. Cost: one swap, and one pass over
    /// what is there.
    #[inline]
    pub(crate) fn drain(&self) -> Drained {
        let mut reversed = Drained { head: ptr::null_mut() };
        if self.is_empty() {
            return reversed;
        }
        // Acquire: pairs with the release of every push whose ticket is in the list.
        let mut at = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        while !at.is_null() {
            // SAFETY: the swap made this thread the only owner of every ticket in the list, and each came
            // from `Box::into_raw`; nothing is freed here, only the links are turned round.
            let next = unsafe { core::mem::replace(&mut (*at).next, reversed.head) };
            reversed.head = at;
            at = next;
        }
        reversed
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        drop(self.drain());
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("empty", &self.is_empty()).finish()
    }
}

/// Tickets taken from an inbox; what is not taken out is freed with it.
pub(crate) struct Drained {
    head: *mut Ticket,
}

impl Iterator for Drained {
    type Item = Box<Ticket>;

    #[inline]
    fn next(&mut self) -> Option<Box<Ticket>> {
        if self.head.is_null() {
            return None;
        }
        // SAFETY: the swap in `drain` made this the only owner of every ticket in the list; each came
        // from `Box::into_raw` and is turned back exactly once, as `head` moves on past it.
        let ticket = unsafe { Box::from_raw(self.head) };
        self.head = ticket.next;
        Some(ticket)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Axis, NoProgress};
    use alloc::vec::Vec;

    #[test]
    fn tickets_come_back_in_order_and_none_is_lost() {
        let inbox = Inbox::new();
        for block in 0..10 {
            let mut ticket = Ticket::new();
            ticket.block = block;
            inbox.push(ticket);
        }
        let out: Vec<_> = inbox.drain().collect();
        assert!(out.iter().map(|ticket| ticket.block).eq(0..10));
        assert!(inbox.is_empty());
        inbox.push(Ticket::new());
    }

    #[test]
    fn a_death_of_too_many_axes_is_unknown_unless_some_were_reached() {
        #[derive(Debug)]
        struct Reached(u64);
        impl Progress for Reached {
            fn reached(&self, axis: Axis) -> u64 {
                if axis.to_bits() < self.0 { u64::MAX } else { 0 }
            }
        }
        let many = Frontier::from_entries(
            (0..MAX_DEATH_AXES as u64 + 2).map(|i| Entry::new(Axis::from_bits(i), 7)),
        )
        .unwrap();
        let mut death = StoredDeath::IDLE;
        assert!(death.set(Death::After(many.as_ref()), &NoProgress));
        assert!(matches!(death.get(), Death::Unknown));
        assert!(!death.set(Death::After(many.as_ref()), &Reached(2)));
        let Death::After(left) = death.get() else { panic!("{death:?}") };
        assert_eq!(left.entries(), &many.as_ref().entries()[2..]);
        assert!(!death.set(Death::After(many.as_ref()), &Reached(99)));
        assert!(matches!(death.get(), Death::Idle));
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use alloc::vec::Vec;
    use loom::thread;

    /// Two pushers and a drainer: every ticket arrives exactly once, with what its pusher wrote.
    #[test]
    fn no_ticket_is_lost_or_seen_twice() {
        loom::model(|| {
            let inbox = loom::sync::Arc::new(Inbox::new());
            let pushers: Vec<_> = (0..2)
                .map(|t| {
                    let inbox = inbox.clone();
                    thread::spawn(move || {
                        let numbered = |i: u32| {
                            let mut ticket = Ticket::new();
                            ticket.block = t * 2 + i;
                            ticket
                        };
                        (0..2).for_each(|i| inbox.push(numbered(i)));
                    })
                })
                .collect();
            let mut seen: Vec<u32> = inbox.drain().map(|ticket| ticket.block).collect();
            for pusher in pushers {
                pusher.join().unwrap();
            }
            seen.extend(inbox.drain().map(|ticket| ticket.block));
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2, 3]);
        });
    }
}
