//! Hot slots: a block that a thread gives back and asks for again goes from hand to hand, past lock, inbox and heap.
//!
//! ```text
//!   release ─▶ the thread's seat, if it asked for just this size last ─▶ acquire of this size, if the requester
//!                │ full, or another size                                 may use the block at once
//!                ▼                                                         │ else
//!              inbox                                                     inbox, lock
//! ```
//!
//! A *seat* is one thread's slots; a thread without one, and a pool that packs or follows a plan, use none. To the heap a
//! block in a slot is live. So whoever holds the pool's lock [empties](Slots::empty) the seats before it refuses, grows,
//! lets a requester wait, trims, or raises a peak; and who only looks [lifts](Slots::lift) what is there and lays it back.
//!
//! # Why no release is lost
//! Whoever refuses observes the notification, then empties the seats, then looks once more. Whoever releases puts the block
//! into its slot, then asks whether the notification is observed. All four are read-modify-writes or follow one: if the
//! emptying came before the block, the releaser reads what the emptying wrote into the slot, so it sees the observation,
//! and signals. The mask of seats is treated alike: a block is in its slot before its seat's bit is looked at, and the
//! bits are taken before the slots are.
//!
//! # Safety
//! The only unsafe code is the passage of a ticket through a raw pointer, as in the inbox: a pointer comes from
//! `Box::into_raw` as it is put into a slot that held none, and leaves it through a swap, so that exactly one thread turns
//! it back into the box.
//!
//! # Cost
//! A block put and taken: one compare-exchange and one swap on memory that other threads do not write. Emptying: one swap,
//! and one for each slot of a seat that was used since.

use crate::frontier::FrontierRef;
use crate::pool::fixed_block::seat::{SEATS, seat};
use crate::pool::inbox::Ticket;
use crate::pool::{Origin, Request, ReuseProof};
use crate::progress::Progress;
use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ptr;

/// Sizes of a seat.
const SIZES: usize = if cfg!(loom) { 1 } else { 8 };
/// Blocks of one size.
const DEPTH: usize = if cfg!(loom) { 1 } else { 4 };
/// Seats: of builds without threads one.
const COUNT: usize = if cfg!(all(feature = "std", not(loom))) { SEATS } else { 1 };

/// One thread's slots. Others only take out.
#[repr(align(128))]
struct Seat {
    /// Bytes that were asked for last, by place.
    asked: [AtomicU64; SIZES],
    /// Bytes that were put into slots and taken from them by the thread, and by whoever emptied them.
    put: AtomicU64,
    taken: AtomicU64,
    emptied: AtomicU64,
    dominated: AtomicU64,
    completed: AtomicU64,
    slots: [[AtomicPtr<Ticket>; DEPTH]; SIZES],
}

/// See the [module](self).
pub(super) struct Slots {
    seats: Box<[Seat]>,
    /// A bit for each seat that may hold something.
    filled: AtomicU32,
    /// A bit for each seat that ever did.
    used: AtomicU32,
    /// Bytes that each seat may hold before free bytes that wait would be more than ever.
    room: AtomicU64,
    /// The most bytes that a seat holds.
    most: u64,
    /// The heap's granule, less 1.
    below: u64,
}

/// How often blocks went from hand to hand, by what proved that they might.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) dominated: u64,
    pub(super) completed: u64,
}

/// What was lifted out of a slot, and where it goes back to.
pub(super) struct Lifted {
    seat: u32,
    slot: u32,
    pub(super) ticket: Box<Ticket>,
}

/// Adds to a counter of which this thread is the only writer, if threads have seats of their own.
#[inline(always)]
fn add(count: &AtomicU64, more: u64) {
    // Release: who sees bytes taken sees them put, too.
    if COUNT > 1 {
        count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Release);
    } else {
        count.fetch_add(more, Ordering::Release);
    }
}

/// The place of a size.
#[inline(always)]
const fn place(size: u64) -> usize {
    // Of a Fibonacci hash the upper bits; sizes are multiples of small powers of two.
    (size.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % SIZES
}

/// The seat of this thread.
#[inline(always)]
pub(super) fn mine() -> Option<usize> {
    if cfg!(feature = "std") { seat() } else { Some(0) }
}

/// Where a block comes from that died so, if the requester may use it at once.
#[inline(always)]
fn origin(
    death: FrontierRef<'_>,
    frontier: FrontierRef<'_>,
    progress: &dyn Progress,
) -> Option<Origin> {
    let mut proof = ReuseProof::Completion;
    for entry in death.entries() {
        if !progress.has_reached(entry.axis, entry.epoch) {
            if frontier.get(entry.axis) < entry.epoch {
                return None;
            }
            proof = ReuseProof::Dominance;
        }
    }
    Some(Origin::Reused(proof))
}

impl Slots {
    /// For a heap of this granule, a power of two; a seat holds at most so many bytes.
    pub(super) fn new(granule: u64, most: u64) -> Self {
        let slot = |_| AtomicPtr::new(ptr::null_mut());
        let seat = |_| Seat {
            asked: core::array::from_fn(|_| AtomicU64::new(0)),
            put: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            emptied: AtomicU64::new(0),
            dominated: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            slots: core::array::from_fn(|_| core::array::from_fn(slot)),
        };
        Self {
            seats: (0..COUNT).map(seat).collect(),
            filled: AtomicU32::new(0),
            used: AtomicU32::new(0),
            room: AtomicU64::new(0),
            most,
            below: granule - 1,
        }
    }

    /// Bytes of the block behind a reservation of this size.
    #[inline(always)]
    pub(super) const fn bytes(&self, requested: u64) -> u64 {
        // It was served: rounding up does not overflow.
        (requested + self.below) & !self.below
    }

    /// Takes a block of just this size that the requester may use at once. One that it may not use goes to `inbox`. From now on
    /// blocks of this size are kept.
    #[inline(always)]
    pub(super) fn take(
        &self,
        seat: usize,
        request: &Request<'_>,
        progress: &dyn Progress,
        inbox: impl Fn(Box<Ticket>),
    ) -> Option<(Box<Ticket>, Origin)> {
        let at = place(request.size);
        let seat = &self.seats[seat];
        if seat.asked[at].load(Ordering::Relaxed) != request.size {
            self.ask(seat, at, request.size, inbox);
            return None;
        }
        for slot in seat.slots[at].iter().rev() {
            if slot.load(Ordering::Relaxed).is_null() {
                continue;
            }
            let Some(ticket) = self.pull(slot) else { continue };
            add(&seat.taken, self.bytes(ticket.requested));
            let fits =
                ticket.requested == request.size && ticket.offset & (request.alignment - 1) == 0;
            let origin = origin(ticket.death.after.as_ref(), request.frontier, progress);
            match origin.filter(|_| fits) {
                Some(origin) => {
                    let is_over = matches!(origin, Origin::Reused(ReuseProof::Completion));
                    add(if is_over { &seat.completed } else { &seat.dominated }, 1);
                    return Some((ticket, origin));
                }
                None => inbox(ticket),
            }
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn ask(&self, seat: &Seat, at: usize, size: u64, inbox: impl Fn(Box<Ticket>)) {
        seat.asked[at].store(size, Ordering::Relaxed);
        // Usually there is nothing, and a look is cheaper than a swap.
        let filled = |slot: &&AtomicPtr<Ticket>| !slot.load(Ordering::Relaxed).is_null();
        for ticket in seat.slots[at].iter().filter(filled).filter_map(|slot| self.pull(slot)) {
            add(&seat.taken, self.bytes(ticket.requested));
            inbox(ticket);
        }
    }

    /// Keeps a block that died, or gives its ticket back.
    #[inline(always)]
    pub(super) fn put(&self, number: usize, ticket: Box<Ticket>) -> Option<Box<Ticket>> {
        let (seat, at) = (&self.seats[number], place(ticket.requested));
        if seat.asked[at].load(Ordering::Relaxed) != ticket.requested || !ticket.is_plain() {
            return Some(ticket);
        }
        let size = self.bytes(ticket.requested);
        let room = if ticket.death.after.is_empty() {
            self.most
        } else {
            self.most.min(self.room.load(Ordering::Relaxed))
        };
        if seat.held() + size > room {
            return Some(ticket);
        }
        // Counted before it is there, so that nobody sees more than is counted.
        add(&seat.put, size);
        let raw = Box::into_raw(ticket);
        for slot in &seat.slots[at] {
            if !slot.load(Ordering::Relaxed).is_null() {
                continue;
            }
            // Release: whoever takes it sees the contents of the ticket. Acquire: if the slot was emptied, what was done
            // before that.
            let put =
                slot.compare_exchange(ptr::null_mut(), raw, Ordering::AcqRel, Ordering::Relaxed);
            if put.is_ok() {
                self.mark(number);
                return None;
            }
        }
        add(&seat.taken, size);
        // SAFETY: it came from the box above, and no slot has it.
        Some(unsafe { Box::from_raw(raw) })
    }

    /// The seat may hold something.
    #[inline(always)]
    fn mark(&self, seat: usize) {
        let bit = 1 << seat;
        if self.filled.load(Ordering::Relaxed) & bit == 0 {
            // Read-modify-writes: they see who emptied before.
            self.filled.fetch_or(bit, Ordering::AcqRel);
            self.used.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Takes a ticket out of a slot.
    #[inline(always)]
    fn pull(&self, slot: &AtomicPtr<Ticket>) -> Option<Box<Ticket>> {
        let raw = slot.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: it came from `Box::into_raw`, and the swap made this thread its only owner.
        (!raw.is_null()).then(|| unsafe { Box::from_raw(raw) })
    }

    /// Some seat may hold something.
    #[inline(always)]
    pub(super) fn are_filled(&self) -> bool {
        self.filled.load(Ordering::Relaxed) != 0
    }

    /// Bytes in all seats; a little more while others put and take.
    pub(super) fn held(&self) -> u64 {
        let held = |sum: u64, seat: &Seat| sum.saturating_add(seat.held());
        self.seats.iter().fold(0, held)
    }

    /// Takes out everything that there is. Under the pool's lock, and after the observation of one who is to be woken.
    #[inline(never)]
    pub(super) fn lift(&self) -> Vec<Lifted> {
        let mut all = Vec::new();
        let mut filled = self.filled.swap(0, Ordering::AcqRel);
        while filled != 0 {
            let number = filled.trailing_zeros();
            filled &= filled - 1;
            let seat = &self.seats[number as usize];
            let mut emptied = 0;
            for (at, slot) in (0..).zip(seat.slots.iter().flatten()) {
                if let Some(ticket) = self.pull(slot) {
                    emptied += self.bytes(ticket.requested);
                    all.push(Lifted { seat: number, slot: at, ticket });
                }
            }
            // Under the lock: there is one writer.
            let before = seat.emptied.load(Ordering::Relaxed);
            seat.emptied.store(before.wrapping_add(emptied), Ordering::Relaxed);
        }
        all
    }

    /// Puts back what was lifted, under the same lock. What there is no place for goes to `inbox`.
    pub(super) fn lay(&self, all: Vec<Lifted>, inbox: impl Fn(Box<Ticket>)) {
        for Lifted { seat: number, slot, ticket } in all {
            let seat = &self.seats[number as usize];
            let slot = &seat.slots[slot as usize / DEPTH][slot as usize % DEPTH];
            let size = self.bytes(ticket.requested);
            let emptied = seat.emptied.load(Ordering::Relaxed);
            seat.emptied.store(emptied.wrapping_sub(size), Ordering::Relaxed);
            let raw = Box::into_raw(ticket);
            let none = ptr::null_mut();
            if slot.compare_exchange(none, raw, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.mark(number as usize);
            } else {
                seat.emptied.store(emptied, Ordering::Relaxed);
                // SAFETY: it came from the box above, and no slot has it.
                inbox(unsafe { Box::from_raw(raw) });
            }
        }
    }

    /// Takes out everything that there is, for good.
    pub(super) fn empty(&self) -> impl Iterator<Item = Box<Ticket>> {
        let all = if self.are_filled_surely() { self.lift() } else { Vec::new() };
        all.into_iter().map(|lifted| lifted.ticket)
    }

    /// [`are_filled`](Self::are_filled), in an order with those who put something in.
    fn are_filled_surely(&self) -> bool {
        self.filled.fetch_or(0, Ordering::AcqRel) != 0
    }

    /// How many free bytes that wait may be more than now, without being more than ever.
    #[inline(always)]
    pub(super) fn leave_room(&self, bytes: u64) {
        let seats = self.used.load(Ordering::Relaxed).count_ones().max(1);
        self.room.store(bytes / u64::from(seats), Ordering::Relaxed);
    }

    /// How often blocks went from hand to hand.
    pub(super) fn passed(&self) -> Passed {
        let mut sum = Passed::default();
        for seat in &self.seats {
            sum.dominated += seat.dominated.load(Ordering::Relaxed);
            sum.completed += seat.completed.load(Ordering::Relaxed);
        }
        sum
    }
}

impl Seat {
    /// Bytes in its slots; while others put, take and empty at most a little more.
    #[inline(always)]
    fn held(&self) -> u64 {
        // What was taken comes first, and with it what was put before: the other way around bytes that are put and taken in between would
        // be missing, down to less than nothing.
        let taken = self.taken.load(Ordering::Acquire);
        let emptied = self.emptied.load(Ordering::Relaxed);
        self.put.load(Ordering::Relaxed).wrapping_sub(taken).wrapping_sub(emptied)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        drop(self.lift());
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("filled", &self.are_filled()).finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, feature = "std", not(loom)))]
mod tests;
