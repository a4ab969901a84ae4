//! The row of a plan: where each block would stand if every lifetime were known before.
//!
//! It is no advice: a plan is of one recorded step, and a program has to be changed to follow it (`strandline replay --plan`). It tells what is
//! left to gain between the bounds and the best pool. Who searches, and for how long, is the caller's choice. Cost: O(requests).

use super::{Kind, Requests, Row, Step, ratio};
use crate::lifetimes::BlockLife;
use std::collections::HashMap;
use strandline_twins::Counts;

impl Requests {
    /// The lifetimes of the blocks, for a planner: times are positions in the requests, what is never freed lives to the end, and what
    /// was refused for the moment of its request.
    /// Requests of no bytes need no place and are left out.
    #[must_use]
    pub fn lifetimes(&self) -> Vec<BlockLife> {
        let end = self.steps.len() as u64;
        let mut lives: Vec<BlockLife> = Vec::with_capacity(self.blocks as usize);
        let mut places = vec![usize::MAX; self.blocks as usize];
        let mut streams: HashMap<u64, u32> = HashMap::new();
        let mut number = |stream| {
            let next = streams.len() as u32;
            *streams.entry(stream).or_insert(next)
        };
        for (now, &(line, step)) in (0..).zip(&self.steps) {
            match step {
                Step::Allocate { block, size, stream } if size > 0 => {
                    let stream = number(stream);
                    places[block as usize] = lives.len();
                    lives.push(BlockLife { lower: now, upper: end, size, stream, line });
                }
                Step::Free { block, .. } => {
                    if let Some(life) = lives.get_mut(places[block as usize]) {
                        life.upper = now;
                    }
                }
                // It is asked for again, as every allocator in the table is asked, and given back at once.
                Step::Refused { size, stream } if size > 0 => {
                    let stream = number(stream);
                    lives.push(BlockLife { lower: now, upper: now + 1, size, stream, line });
                }
                Step::Allocate { .. } | Step::Retire { .. } | Step::Refused { .. } => {}
            }
        }
        lives
    }
}

/// The row of a plan of `bytes`; `optimal` if no plan is smaller.
#[must_use]
pub fn planned(bytes: u64, optimal: bool, capacity: Option<u64>, peak_active: u64) -> Row {
    let fits = capacity.is_none_or(|capacity| bytes <= capacity);
    Row {
        allocator: "strandline",
        settings: if optimal { "planned (optimal)" } else { "planned" }.to_owned(),
        paste: Vec::new(),
        needs: "",
        peak_reserved: bytes,
        over_active: ratio(bytes, peak_active),
        // A plan has one size from its beginning to its end: no single request is the one that fails.
        failed_at: (!fits).then_some(0),
        counts: Counts { grants: 1, ..Counts::default() },
        certified: false,
        current: false,
        kind: Kind::Planned,
    }
}
