//! Time that goes on while the machine sleeps.

use rustix::time::{DynamicClockId, clock_gettime_dynamic};
use std::io;
use strandline_core::fleet::Time;

/// Nanoseconds since the machine was started.
///
/// # Errors
/// The kernel has no such clock (Linux before 2.6.39).
pub(crate) fn try_now() -> io::Result<Time> {
    let time = clock_gettime_dynamic(DynamicClockId::Boottime)?;
    // Neither is negative for a clock that begins with the machine.
    Ok(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// [`try_now`], once it has worked.
pub(crate) fn now() -> Time {
    try_now().unwrap_or_else(|_| unreachable!("asked when the fleet was opened"))
}

/// The time of day in nanoseconds: greater than that of every process that started before.
pub(crate) fn of_day() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
