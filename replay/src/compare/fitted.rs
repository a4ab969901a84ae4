//! The row of Strandline itself: the smallest capacity that a search over its configurations finds, played over numbers alone.
//!
//! The search of [`fit`](crate::fit) takes as long as there are candidates; here it ends when its time is over, with the best so far.
//! Nobody models anything: the pools that play are the pools that a program would use. Cost: as many replays as the time allows, and one.

use super::{Kind, Row, ratio};
use crate::engine::Options;
use crate::fit::{Effort, candidates, fit};
use crate::session::{SessionError, TraceFile};
use std::time::Duration;
use strandline_twins::Counts;

/// Plays `trace` through Strandline for at most about `time`. None if the file tells a state and nothing to play.
///
/// # Errors
/// The trace cannot be read, or no configuration plays it.
pub fn fitted(
    trace: &TraceFile,
    capacity: Option<u64>,
    peak_active: u64,
    time: Duration,
) -> Result<Option<Row>, SessionError> {
    let effort = Effort::from_now(Some(time));
    let scan = trace.scan(&mut |_| ())?;
    if scan.state_only {
        return Ok(None);
    }
    let candidates = candidates(&scan);
    let fitted = fit(trace, &scan, &candidates, Options::default(), &effort, &mut |_| ())?;
    let fits = capacity.is_none_or(|bytes| fitted.capacity <= bytes);
    let toml = fitted.config.to_toml();
    Ok(Some(Row {
        allocator: "strandline",
        settings: "fitted".to_owned(),
        paste: toml.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect(),
        needs: "",
        peak_reserved: fitted.capacity,
        over_active: ratio(fitted.capacity, peak_active),
        // The search is over the capacity of the whole run: which event is the first that does not fit into less is not known.
        failed_at: (!fits).then_some(0),
        counts: Counts { grants: 1, ..Counts::default() },
        certified: false,
        current: false,
        kind: Kind::Strandline,
    }))
}
