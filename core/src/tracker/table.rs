//! The axis table: which axes there are and how far each has come, read without a lock.
//!
//! ```text
//!   hash(axis) ─▶ ┌──────┬─────────┬────────┐
//!                 │ key  │ reached │ wanted │   one cache line a slot, open addressing,
//!                 ├──────┼─────────┼────────┤   linear probing, at most half full
//!                 │  0   │    –    │   –    │   0: vacant, the probe ends here
//!                 └──────┴─────────┴────────┘
//! ```
//!
//! Slots are filled once and never freed, so a probe needs no lock: a key that is there was written
//! after the rest of its slot (release, acquire), and one that is not there yet was not registered
//! when the probe began. What waits for an axis that was retired can thus be answered for ever, and no late advance can hit
//! another axis. Slots of retired axes are made up for: when a table is full, a next one of twice the size is chained to it,
//! where what it lacks is looked up.
//!
//! # The handshake of `reached` and `wanted`
//! `wanted` is the lowest epoch that some waiter filed under this axis waits for, [`NONE`] without
//! any. It is written only with the tracker's lock held. Whoever advances raises `reached` and then
//! reads `wanted`; whoever files a waiter lowers `wanted` and then reads `reached`. All four accesses
//! are sequentially consistent, so in their one total order the second write is followed by a read
//! that sees the first: either the advance sees the waiter and takes the lock to wake it, or the
//! waiter sees the epoch. An advance below `wanted` touches no lock and nothing but its slot,
//! however many wait.
//!
//! Cost: a lookup is one multiplication and, on average, less than two probes; the worst case, axes
//! chosen to collide, is linear in the number of axes.

use alloc::boxed::Box;

use super::version::Version;
use crate::axis::{Axis, Epoch};
#[cfg(feature = "hosted")]
use crate::sync::atomic::AtomicBool;
#[cfg(feature = "std")]
use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::seq_cst_for_loom;

/// `wanted` when no one waits. A waiter for the last epoch of all has the same value; that one
/// advance then takes the lock, as it has to.
pub(super) const NONE: Epoch = Epoch::MAX;

/// `wanted` when the axis has failed or was retired: below every epoch, so every advance takes the
/// lock and learns of it there.
pub(super) const ENDED: Epoch = 0;

/// One axis. A cache line of its own, because axes are advanced by different threads.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    /// The axis's bits inverted; 0 while vacant.
    pub(super) key: AtomicU64,
    reached: AtomicU64,
    wanted: AtomicU64,
    /// The axis has ended, and nothing of it up to this epoch touches memory any more.
    #[cfg(feature = "hosted")]
    fenced: AtomicU64,
    /// There are fences of the axis that wait for others.
    #[cfg(feature = "hosted")]
    conditional: AtomicBool,
}

impl Slot {
    fn vacant() -> Self {
        Self {
            key: AtomicU64::new(0),
            reached: AtomicU64::new(0),
            wanted: AtomicU64::new(NONE),
            #[cfg(feature = "hosted")]
            fenced: AtomicU64::new(0),
            #[cfg(feature = "hosted")]
            conditional: AtomicBool::new(false),
        }
    }

    /// Nothing of the axis up to `epoch` touches memory any more. Releases what was done before.
    #[cfg(feature = "hosted")]
    pub(super) fn fence(&self, epoch: Epoch) {
        self.fenced.fetch_max(epoch, Ordering::SeqCst);
        seq_cst_for_loom();
    }

    /// Says whether there are fences that wait for others. With the tracker's lock held.
    #[cfg(feature = "hosted")]
    pub(super) fn set_conditional(&self, yes: bool) {
        self.conditional.store(yes, Ordering::SeqCst);
        seq_cst_for_loom();
    }

    /// Whether there are fences that wait for others.
    #[cfg(feature = "hosted")]
    #[inline]
    pub(super) fn is_conditional(&self) -> bool {
        self.conditional.load(Ordering::SeqCst)
    }

    /// How far the axis has come as far as memory is concerned.
    #[cfg(feature = "hosted")]
    #[inline]
    pub(super) fn reached_or_fenced(&self) -> Epoch {
        self.reached().max(self.fenced.load(Ordering::SeqCst))
    }

    /// How far the axis has come; acquires what was done before it came there.
    // Sequentially consistent: see `version.rs`.
    #[inline]
    pub(super) fn reached(&self) -> Epoch {
        self.reached.load(Ordering::SeqCst)
    }

    /// Raises the axis to `epoch`, and says whether waiters may have to be woken. With `epoch` no
    /// news there are none: whoever raised it as far wakes them.
    #[inline]
    pub(super) fn advance(&self, epoch: Epoch, version: &Version) -> bool {
        if self.wanted.load(Ordering::Relaxed) == ENDED {
            return true;
        }
        let mut seen = self.reached.load(Ordering::Relaxed);
        while seen < epoch {
            match self.reached.compare_exchange_weak(
                seen,
                epoch,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    seq_cst_for_loom();
                    // Before anybody is woken: who is may look.
                    version.moved();
                    return self.wanted.load(Ordering::SeqCst) <= epoch;
                }
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Lowers `wanted` to `epoch`, and says whether the axis has come that far meanwhile. With the
    /// tracker's lock held.
    pub(super) fn want(&self, epoch: Epoch) -> bool {
        // Relaxed: written under the lock that is held.
        if self.wanted.load(Ordering::Relaxed) > epoch {
            self.wanted.store(epoch, Ordering::SeqCst);
        }
        seq_cst_for_loom();
        self.reached.load(Ordering::SeqCst) >= epoch
    }

    /// Sets `wanted` to the lowest epoch that is still waited for, or [`ENDED`]. With the tracker's
    /// lock held.
    pub(super) fn set_wanted(&self, epoch: Epoch) {
        self.wanted.store(epoch, Ordering::SeqCst);
    }
}

/// All axes of a tracker.
#[derive(Debug)]
pub(super) struct Table {
    /// A power of two, at least twice the capacity.
    pub(super) slots: Box<[Slot]>,
    /// Axes that may be here.
    #[cfg(feature = "std")]
    capacity: usize,
    /// Axes that are. Written with the tracker's lock held.
    #[cfg(feature = "std")]
    filled: AtomicUsize,
    /// Where the axes are that came when this was full.
    #[cfg(feature = "std")]
    next: std::sync::OnceLock<Box<Table>>,
}

impl Table {
    /// A table for `capacity` axes.
    pub(super) fn new(capacity: usize) -> Self {
        let size = (2 * capacity).next_power_of_two().max(2);
        Self {
            slots: (0..size).map(|_| Slot::vacant()).collect(),
            #[cfg(feature = "std")]
            capacity,
            #[cfg(feature = "std")]
            filled: AtomicUsize::new(0),
            #[cfg(feature = "std")]
            next: std::sync::OnceLock::new(),
        }
    }

    /// The table behind this one.
    #[inline]
    fn next(&self) -> Option<&Self> {
        #[cfg(feature = "std")]
        return self.next.get().map(|next| &**next);
        #[cfg(not(feature = "std"))]
        None
    }

    /// The tables from this one on.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        core::iter::successors(Some(self), |table| table.next())
    }

    /// Where the probe for `key` begins.
    #[inline]
    fn home(&self, key: u64) -> usize {
        // Fibonacci hashing: the multiplier spreads neighbouring axes, and only the highest bits of the product depend on all
        // bits of the key. The session and the machine are its highest bytes. There are at least two slots.
        (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - self.slots.len().trailing_zeros()))
            as usize
    }

    /// How many slots are passed on the way to `key`, for tests.
    #[cfg(all(test, not(loom)))]
    pub(super) fn displacement(&self, key: u64) -> usize {
        self.probe(key).0.wrapping_sub(self.home(key)) & (self.slots.len() - 1)
    }

    /// Where `key` is, or would go: the first slot of its probe that holds it or is vacant.
    #[inline]
    pub(super) fn probe(&self, key: u64) -> (usize, bool) {
        let mask = self.slots.len() - 1;
        let mut index = self.home(key);
        loop {
            // Sequentially consistent, as it says how far an axis that is new has come: see `version.rs`.
            match self.slots[index].key.load(Ordering::SeqCst) {
                found if found == key => return (index, true),
                0 => return (index, false),
                // Ends: at least half of the slots are vacant.
                _ => index = (index + 1) & mask,
            }
        }
    }

    /// The slot of `axis` and its index.
    #[inline]
    pub(super) fn find(&self, axis: Axis) -> Option<(usize, &Slot)> {
        let key = !axis.to_bits();
        if key == 0 {
            return None;
        }
        let (index, found) = self.probe(key);
        if found {
            return Some((index, &self.slots[index]));
        }
        let (index, slot) = self.next()?.find(axis)?;
        Some((self.slots.len() + index, slot))
    }

    /// The slot at an index that [`find`](Self::find) gave.
    pub(super) fn slot(&self, index: usize) -> &Slot {
        match self.next() {
            Some(next) if index >= self.slots.len() => next.slot(index - self.slots.len()),
            _ => &self.slots[index],
        }
    }

    /// Adds `axis`, which is not there yet, at `epoch`. With the tracker's lock held. Without `std`, where no table is
    /// chained, with fewer axes in this one than its capacity.
    pub(super) fn insert(&self, axis: Axis, epoch: Epoch, version: &Version) {
        #[cfg(feature = "std")]
        let filled = self.filled.load(Ordering::Relaxed);
        #[cfg(feature = "std")]
        if filled >= self.capacity {
            // Twice as many each time: few tables, however many axes come and go.
            let capacity = self.capacity.max(8) * 2;
            let next = self.next.get_or_init(|| Box::new(Self::new(capacity)));
            return next.insert(axis, epoch, version);
        }
        #[cfg(feature = "std")]
        self.filled.store(filled + 1, Ordering::Relaxed);
        let key = !axis.to_bits();
        let (index, _) = self.probe(key);
        let slot = &self.slots[index];
        slot.reached.store(epoch, Ordering::Relaxed);
        // Last, and releasing: whoever finds the key sees the rest.
        slot.key.store(key, Ordering::SeqCst);
        seq_cst_for_loom();
        version.moved();
    }

    /// The axes and their indices, in no particular order.
    pub(super) fn axes(&self) -> impl Iterator<Item = (Axis, usize)> {
        let slots = self.chain().flat_map(|table| table.slots.iter());
        slots.enumerate().filter_map(|(index, slot)| match slot.key.load(Ordering::Acquire) {
            0 => None,
            key => Some((Axis::from_bits(!key), index)),
        })
    }
}
