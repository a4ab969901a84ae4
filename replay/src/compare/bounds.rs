//! What no allocator can be below: rows that are arithmetic, not models.
//!
//! - **peak active**: the most bytes that were asked for and in use at once. No allocator without compression needs less.
//! - **a pool for each stream**: the sum of what each stream had in use at its own peak. An allocator that keeps a pool a stream, and moves
//!   nothing between them, cannot be below; the difference to the first is what one pool for all streams can save at most.
//!
//! A request that was refused when the run was recorded counts at its moment, as every allocator in the table is asked for it again.
//!
//! Cost: O(requests).

use super::{Kind, Requests, Row, Step, ratio};
use std::collections::HashMap;
use strandline_twins::Counts;

/// The row of allocators that keep a pool for each stream.
pub(super) const POOLS_OF_STREAMS: &str = "a pool for each stream, packed";

/// The bounds: the second one only where there are several streams.
pub(super) fn bounds(requests: &Requests, capacity: Option<u64>) -> Vec<Row> {
    let mut blocks: Vec<(u64, u64)> = vec![(0, 0); requests.blocks as usize];
    let mut streams: HashMap<u64, (u64, u64)> = HashMap::new();
    let (mut active, mut most, mut pools) = (0u64, 0u64, 0u64);
    let mut failed = [None; 2];
    for &(at, step) in &requests.steps {
        match step {
            Step::Allocate { size, stream, .. } | Step::Refused { size, stream } => {
                let asked = active.saturating_add(size);
                most = most.max(asked);
                let (now, peak) = streams.entry(stream).or_default();
                let here = now.saturating_add(size);
                pools = pools.saturating_add(here.saturating_sub(*peak));
                *peak = (*peak).max(here);
                for (failed, bytes) in failed.iter_mut().zip([asked, pools]) {
                    if failed.is_none() && capacity.is_some_and(|capacity| bytes > capacity) {
                        *failed = Some(at);
                    }
                }
                // What was refused is given back at once.
                if let Step::Allocate { block, .. } = step {
                    blocks[block as usize] = (size, stream);
                    (active, *now) = (asked, here);
                }
            }
            Step::Free { block, .. } => {
                let (size, stream) = blocks[block as usize];
                active = active.saturating_sub(size);
                if let Some((now, _)) = streams.get_mut(&stream) {
                    *now = now.saturating_sub(size);
                }
            }
            Step::Retire { .. } => {}
        }
    }
    let row = |settings: &str, bytes, failed_at| Row {
        allocator: "bound",
        settings: settings.to_owned(),
        paste: Vec::new(),
        needs: "",
        peak_reserved: bytes,
        over_active: ratio(bytes, requests.peak_active),
        failed_at,
        counts: Counts::default(),
        certified: false,
        current: false,
        kind: Kind::Bound,
    };
    let first = if most > requests.peak_active {
        "peak active, with what was refused"
    } else {
        "peak active"
    };
    let mut rows = vec![row(first, most, failed[0])];
    if streams.len() > 1 {
        rows.push(row(POOLS_OF_STREAMS, pools, failed[1]));
    }
    rows
}
