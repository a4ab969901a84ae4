//! The capacity at which few requests of a serving log have to wait for memory.
//!
//! A bisection over whole blocks, each step one pass over the log: no pool is asked, as blocks of one size fit wherever there are enough.
//! Fewer blocks make more requests wait, almost always; what is found is a capacity that serves, one block below which does not.

use crate::serving::ServingOptions;
use crate::session::{Scan, SessionError};

/// The least capacity, in bytes, at which at most `share` (0 to 1) of the requests wait for memory, to be admitted or preempted, and none is left out. `unlimited` is the log
/// without a capacity. `scan` reads it within a capacity; it is told how often it was called before.
///
/// # Errors
/// The trace is no log of requests, or cannot be read again.
pub fn least_for_queue(
    options: &ServingOptions,
    unlimited: &Scan,
    share: f64,
    scan: &mut dyn FnMut(u64, u64) -> Result<Scan, SessionError>,
) -> Result<u64, SessionError> {
    let Some(report) = unlimited.notes.serving else {
        let error = "--at-most-queued is for logs of requests to a served model";
        return Err(SessionError::Options(error.to_owned()));
    };
    let bytes = |blocks| {
        options.capacity_for(blocks).map_err(|error| SessionError::Options(error.to_string()))
    };
    // A share of requests, which are fewer than 2^53.
    let most = share * report.requests as f64;
    // With as many as were live at once nobody waits.
    let mut high = u64::from(unlimited.totals.peak_live_blocks).max(1);
    let mut low = 0;
    let mut scans = 0;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let serves = match scan(bytes(middle)?, scans) {
            Ok(scan) => scan.notes.serving.is_some_and(|report| {
                report.rejected == 0 && report.waited_for_memory as f64 <= most
            }),
            // Not one request fits.
            Err(SessionError::Options(_)) => false,
            Err(error) => return Err(error),
        };
        scans += 1;
        if serves {
            high = middle;
        } else {
            low = middle;
        }
    }
    bytes(high)
}
