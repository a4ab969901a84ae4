//! A pool's counters, all kept up to date as it works: reading them is O(1).

/// What a pool holds and has done.
///
/// Bytes add up: `committed = reserved + free`, `free = clean + pending + tainted`, and
/// `reserved - requested` is padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes in live reservations, padding included.
    pub reserved_bytes: u64,
    /// Bytes that the live reservations asked for.
    pub requested_bytes: u64,
    /// Bytes not reserved.
    pub free_bytes: u64,
    /// Free bytes whose death is not yet reached.
    pub pending_bytes: u64,
    /// Free bytes of unknown death: back after [`quiesce`](super::Pool::quiesce).
    pub tainted_bytes: u64,
    /// Bytes of slabs held.
    pub committed_bytes: u64,
    /// The most that `reserved_bytes` has been.
    pub peak_reserved_bytes: u64,
    /// The most that `requested_bytes` has been.
    pub peak_requested_bytes: u64,
    /// The most that `committed_bytes` has been.
    pub peak_committed_bytes: u64,
    /// The most that `pending_bytes` has been.
    pub peak_pending_bytes: u64,
    /// Slabs held.
    pub slabs: u64,
    /// Live reservations.
    pub live: u64,
    /// Reservations made.
    pub reserves: u64,
    /// Reservations released or canceled.
    pub releases: u64,
    /// Answers [`Origin::Fresh`](super::Origin::Fresh).
    pub fresh: u64,
    /// Pending blocks reused because the requester's frontier dominated their death.
    pub dominated: u64,
    /// Blocks reused because their death had been reached.
    pub completed: u64,
    /// Answers [`AfterWait`](super::Acquire::AfterWait).
    pub waited: u64,
    /// Requests that found nothing ready in the slabs at hand (they grew, waited, or were exhausted).
    pub missed: u64,
    /// Answers [`Exhausted`](super::Acquire::Exhausted).
    pub exhausted: u64,
    /// Answers [`OverBudget`](super::Acquire::OverBudget).
    pub over_budget: u64,
    /// Frontiers with more axes than a block can hold, which became unknown deaths.
    pub tainted: u64,
}

/// Adds these fields. It takes the structure apart, so that a new counter cannot be forgotten; sums
/// saturate, because a pool or provider from outside this crate may report anything.
macro_rules! add_fields {
    ($type:ident { $($field:ident),+ $(,)? } $(but $skipped:ident)?) => {
        |sum: &mut $type, one: &$type| {
            let $type { $($field,)+ $($skipped: _)? } = one;
            $(sum.$field = sum.$field.saturating_add(*$field);)+
        }
    };
}
pub(crate) use add_fields;

impl PoolStats {
    /// Free bytes that anyone may use at once.
    #[must_use]
    pub const fn clean_bytes(&self) -> u64 {
        self.free_bytes - self.pending_bytes - self.tainted_bytes
    }

    /// Adds every counter of another pool. Sums saturate.
    pub fn add(&mut self, other: &Self) {
        add_fields!(PoolStats {
            reserved_bytes,
            requested_bytes,
            free_bytes,
            pending_bytes,
            tainted_bytes,
            committed_bytes,
            peak_reserved_bytes,
            peak_requested_bytes,
            peak_committed_bytes,
            peak_pending_bytes,
            slabs,
            live,
            reserves,
            releases,
            fresh,
            dominated,
            completed,
            waited,
            missed,
            exhausted,
            over_budget,
            tainted,
        })(self, other);
    }

    /// Reserved bytes that nobody asked for: rounding and alignment.
    #[must_use]
    pub const fn padding_bytes(&self) -> u64 {
        self.reserved_bytes - self.requested_bytes
    }
}
