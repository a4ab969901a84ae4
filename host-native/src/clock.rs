//! Deadlines as the kernel takes them: [`Instant`] is the monotonic clock, but does not show its numbers.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::{Duration, Instant};

/// `deadline` on `CLOCK_MONOTONIC`; `None` when it is beyond that clock's range, which means never. Late by
/// the tens of ns between two readings of the clock, never early.
pub(crate) fn absolute(deadline: Instant) -> Option<Timespec> {
    let left = deadline.saturating_duration_since(Instant::now());
    let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).ok()?;
    Timespec::try_from(now.checked_add(left)?).ok()
}

/// The time until `deadline`; `None` when it is beyond the clock's range.
pub(crate) fn relative(deadline: Instant) -> Option<Timespec> {
    Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok()
}
