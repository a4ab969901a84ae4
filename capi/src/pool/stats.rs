//! A pool's counters.

use super::{live, strandline_pool};
use crate::status::{Output, guard, strandline_status};

/// A pool's counters. Bytes of reservations have padding included.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct strandline_pool_stats {
    /// Bytes in live reservations.
    pub reserved_bytes: u64,
    /// Bytes that the live reservations asked for.
    pub requested_bytes: u64,
    /// Bytes not reserved.
    pub free_bytes: u64,
    /// Free bytes that something may still use.
    pub pending_bytes: u64,
    /// Free bytes of which nobody knows: back after strandline_pool_quiesce.
    pub tainted_bytes: u64,
    /// Bytes of slabs held.
    pub committed_bytes: u64,
    /// The most that `reserved_bytes` has been.
    pub peak_reserved_bytes: u64,
    /// The most that `committed_bytes` has been.
    pub peak_committed_bytes: u64,
    /// Slabs held.
    pub slabs: u64,
    /// Live reservations.
    pub live: u64,
    /// Reservations made.
    pub reserves: u64,
    /// Reservations given back.
    pub releases: u64,
    /// Answers with fresh bytes.
    pub fresh: u64,
    /// Answers with bytes that the requester is ordered after.
    pub dominated: u64,
    /// Answers with bytes that nothing uses any more.
    pub completed: u64,
    /// Answers that had to be waited for.
    pub waited: u64,
    /// Requests that found nothing.
    pub exhausted: u64,
    /// Requests that the budget did not allow.
    pub over_budget: u64,
}

/// The counters now. Any thread.
///
/// # Safety
/// `stats` is null or a place for them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_pool_counters(
    pool: strandline_pool,
    stats: *mut strandline_pool_stats,
) -> strandline_status {
    guard(|| {
        // SAFETY: the caller's.
        let out = unsafe { Output::new(stats, "stats")? };
        live::with(pool.id, |live| {
            let now = live.pool.stats();
            out.set(strandline_pool_stats {
                reserved_bytes: now.reserved_bytes,
                requested_bytes: now.requested_bytes,
                free_bytes: now.free_bytes,
                pending_bytes: now.pending_bytes,
                tainted_bytes: now.tainted_bytes,
                committed_bytes: now.committed_bytes,
                peak_reserved_bytes: now.peak_reserved_bytes,
                peak_committed_bytes: now.peak_committed_bytes,
                slabs: now.slabs,
                live: now.live,
                reserves: now.reserves,
                releases: now.releases,
                fresh: now.fresh,
                dominated: now.dominated,
                completed: now.completed,
                waited: now.waited,
                exhausted: now.exhausted,
                over_budget: now.over_budget,
            });
            Ok(())
        })
    })
}
