//! The pool's counters, one stripe for each seat: an acquire and a release write only lines that no other
//! thread writes.
//!
//! ```text
//!   stripe of seat 0     fresh 7  dominated 2 …  live +9   padding 40   pending -1     thread A alone
//!   stripe of seat 1     fresh 1  dominated 0 …  live -3   padding 16   pending +4     thread B alone
//!   shared stripe        …                                                             all without a seat
//!                        ───────────────────────────────────────────────
//!   totals               sums, modulo 2^64: one thread may release what another acquired
//! ```
//!
//! Totals are exact whenever no operation is under way. The peaks are looked at each time that a thread's own
//! share is higher than ever: exact for one thread; with several, a peak that arises without any of
//! them at its own highest is missed.

use super::seat::{SEATS, seat};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use alloc::boxed::Box;

/// Where an acquired block came from, as a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Fresh,
    Dominated,
    Completed,
    Waited,
}

#[derive(Debug)]
#[repr(align(128))]
struct Stripe {
    origins: [AtomicU64; 4],
    live: AtomicU64,
    padding: AtomicU64,
    pending: AtomicU64,
    /// The highest that this stripe's own live, requested and pending were, as signed numbers.
    high: [AtomicU64; 3],
    hint: AtomicU32,
}

/// Sums over all stripes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) origins: [u64; 4],
    pub(super) live: u64,
    pub(super) requested: u64,
    pub(super) pending: u64,
}

#[derive(Debug)]
pub(super) struct Counters {
    block: u64,
    stripes: Box<[Stripe]>,
    /// Bit i: stripe i was written.
    used: AtomicU32,
    peak_live: AtomicU64,
    peak_requested: AtomicU64,
    peak_pending: AtomicU64,
}

/// The calling thread's stripe.
#[derive(Clone, Copy)]
pub(super) struct Mine<'a> {
    counters: &'a Counters,
    stripe: &'a Stripe,
    alone: bool,
}

impl Counters {
    /// Counters of blocks of `block` bytes. Threads start to look for blocks apart from each other, spread
    /// over the `spread` blocks of a slab.
    pub(super) fn new(block: u64, spread: u32) -> Self {
        let stripe = |seat: usize| Stripe {
            origins: Default::default(),
            live: AtomicU64::new(0),
            padding: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            high: Default::default(),
            // Seat 1 half way, seats 2 and 3 at the quarters, and so on: few threads are far apart.
            hint: AtomicU32::new(
                ((u64::from((seat as u32).reverse_bits()) * u64::from(spread)) >> 32) as u32,
            ),
        };
        Self {
            block,
            stripes: (0..=SEATS).map(stripe).collect(),
            used: AtomicU32::new(0),
            peak_live: AtomicU64::new(0),
            peak_requested: AtomicU64::new(0),
            peak_pending: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(super) fn mine(&self) -> Mine<'_> {
        let (index, alone) = match seat() {
            Some(seat) => (seat, true),
            None => (SEATS, false),
        };
        if self.used.load(Ordering::Relaxed) & 1 << index == 0 {
            self.used.fetch_or(1 << index, Ordering::Relaxed);
        }
        Mine { counters: self, stripe: &self.stripes[index], alone }
    }

    pub(super) fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        let mut padding = 0u64;
        let mut used = self.used.load(Ordering::Relaxed);
        while used != 0 {
            let stripe = &self.stripes[used.trailing_zeros() as usize];
            used &= used - 1;
            let add = |to: &mut u64, cell: &AtomicU64| {
                *to = to.wrapping_add(cell.load(Ordering::Relaxed));
            };
            for (to, cell) in sum.origins.iter_mut().zip(&stripe.origins) {
                add(to, cell);
            }
            add(&mut sum.live, &stripe.live);
            add(&mut padding, &stripe.padding);
            add(&mut sum.pending, &stripe.pending);
        }
        // Between two loads another thread may have released what a third acquired: such a sum is
        // below zero, and nothing is nearer to the truth.
        let at_least_0 = |sum: u64| if (sum as i64) < 0 { 0 } else { sum };
        sum.live = at_least_0(sum.live);
        sum.pending = at_least_0(sum.pending);
        sum.requested = at_least_0(sum.live.wrapping_mul(self.block).wrapping_sub(padding));
        sum
    }

    /// The peaks of live blocks, requested bytes and pending blocks.
    pub(super) fn peaks(&self) -> [u64; 3] {
        [&self.peak_live, &self.peak_requested, &self.peak_pending]
            .map(|peak| peak.load(Ordering::Relaxed))
    }

    #[cold]
    fn note_peaks(&self) {
        let totals = self.totals();
        for (peak, now) in [
            (&self.peak_live, totals.live),
            (&self.peak_requested, totals.requested),
            (&self.peak_pending, totals.pending),
        ] {
            if peak.load(Ordering::Relaxed) < now {
                peak.fetch_max(now, Ordering::Relaxed);
            }
        }
    }
}

impl Mine<'_> {
    /// Adds to a cell and returns its new value.
    #[inline]
    fn add(self, cell: &AtomicU64, delta: u64) -> u64 {
        if self.alone {
            // The only writer: no read-modify-write needed.
            let sum = cell.load(Ordering::Relaxed).wrapping_add(delta);
            cell.store(sum, Ordering::Relaxed);
            sum
        } else {
            cell.fetch_add(delta, Ordering::Relaxed).wrapping_add(delta)
        }
    }

    /// Whether `now` is this stripe's highest yet.
    #[inline]
    fn highest(self, which: usize, now: u64) -> bool {
        let high = &self.stripe.high[which];
        let higher = now as i64 > high.load(Ordering::Relaxed) as i64;
        if higher {
            high.store(now, Ordering::Relaxed);
        }
        higher
    }

    #[inline]
    pub(super) fn acquired(self, kind: Kind, padding: u64, was_pending: bool) {
        let stripe = self.stripe;
        self.add(&stripe.origins[kind as usize], 1);
        let live = self.add(&stripe.live, 1);
        let padding = if padding == 0 {
            stripe.padding.load(Ordering::Relaxed)
        } else {
            self.add(&stripe.padding, padding)
        };
        if was_pending {
            self.add(&stripe.pending, 1u64.wrapping_neg());
        }
        let requested = live.wrapping_mul(self.counters.block).wrapping_sub(padding);
        if self.highest(0, live) | self.highest(1, requested) {
            self.counters.note_peaks();
        }
    }

    #[inline]
    pub(super) fn released(self, padding: u64, is_pending: bool) {
        let stripe = self.stripe;
        self.add(&stripe.live, 1u64.wrapping_neg());
        if padding != 0 {
            self.add(&stripe.padding, padding.wrapping_neg());
        }
        if is_pending {
            let pending = self.add(&stripe.pending, 1);
            if self.highest(2, pending) {
                self.counters.note_peaks();
            }
        }
    }

    /// `count` pending blocks became clean.
    pub(super) fn cleaned(self, count: u64) {
        self.add(&self.stripe.pending, count.wrapping_neg());
    }

    /// Where this thread looks first.
    #[inline]
    pub(super) fn hint(self) -> u32 {
        self.stripe.hint.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_hint(self, block: u32) {
        self.stripe.hint.store(block, Ordering::Relaxed);
    }
}
