//! The counters of pools that are not in a hurry: plain atomics, each exact by itself.
//!
//! Bytes released but not yet looked at under the pool's lock are counted as pending.

use crate::pool::PoolStats;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A number now and the most it has been.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    now: AtomicU64,
    peak: AtomicU64,
}

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        let now = self.now.fetch_add(more, Ordering::Relaxed).wrapping_add(more);
        self.peak.fetch_max(now, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, less: u64) {
        self.now.fetch_sub(less, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Moves from `from`, as counted before, to `to`.
    pub(crate) fn change(&self, from: u64, to: u64) {
        if to >= from { self.add(to - from) } else { self.sub(from - to) }
    }
}

/// Where a reservation came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Fresh,
    Dominated,
    Completed,
    Waited,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) reserved: Counter,
    pub(crate) requested: Counter,
    pub(crate) committed: Counter,
    pub(crate) pending: Counter,
    pub(crate) tainted_bytes: Counter,
    pub(crate) slabs: Counter,
    live: Counter,
    origins: [AtomicU64; 4],
    releases: AtomicU64,
    pub(crate) missed: AtomicU64,
    pub(crate) exhausted: AtomicU64,
    pub(crate) over_budget: AtomicU64,
    pub(crate) tainted: AtomicU64,
}

/// Counts one more.
pub(crate) fn bump(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// A reservation of bytes that were free. `reserved` is left to the caller, who may have counted it
    /// before the search.
    pub(crate) fn acquired(&self, kind: Kind, requested: u64) {
        bump(&self.origins[kind as usize]);
        self.live.add(1);
        self.requested.add(requested);
    }

    pub(crate) fn released(&self, reserved: u64, requested: u64) {
        bump(&self.releases);
        self.live.sub(1);
        self.reserved.sub(reserved);
        self.requested.sub(requested);
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let committed_bytes = self.committed.now();
        // While others are at work the loads may not belong together; the sums must still add up.
        let reserved_bytes = self.reserved.now().min(committed_bytes);
        let free_bytes = committed_bytes - reserved_bytes;
        let tainted_bytes = self.tainted_bytes.now().min(free_bytes);
        let [fresh, dominated, completed, waited] = [0, 1, 2, 3].map(|i| count(&self.origins[i]));
        PoolStats {
            reserved_bytes,
            requested_bytes: self.requested.now().min(reserved_bytes),
            free_bytes,
            pending_bytes: self.pending.now().min(free_bytes - tainted_bytes),
            tainted_bytes,
            committed_bytes,
            peak_reserved_bytes: self.reserved.peak(),
            peak_requested_bytes: self.requested.peak(),
            peak_committed_bytes: self.committed.peak(),
            peak_pending_bytes: self.pending.peak(),
            slabs: self.slabs.now(),
            live: self.live.now(),
            reserves: fresh + dominated + completed + waited,
            releases: count(&self.releases),
            fresh,
            dominated,
            completed,
            waited,
            missed: count(&self.missed),
            exhausted: count(&self.exhausted),
            over_budget: count(&self.over_budget),
            tainted: count(&self.tainted),
        }
    }
}
