//! How much memory an elastic slab needs for a request, at the least.
//!
//! ```text
//!   │ live │ clean │ hole ────────────│ clean │ live │
//!            └──── request ────┘                          lacks what it has of the hole, in whole granules of the provider
//! ```
//! A place has one hole and what is clean on both sides of it: that is all that one piece of memory can make whole.

use super::{Fate, HOLE, Missed, Need, Oracle, Slab};
use strandline_core::Progress;

/// What a stretch of a slab is to a request that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ground {
    Hole,
    /// Nobody holds it, and nothing is left to wait for.
    Clean,
    Taken,
}

/// The stretches of a slab: start, end, and what they are. Neighbours differ.
fn grounds(slab: &Slab) -> Vec<(u64, u64, Ground)> {
    let mut all: Vec<(u64, u64, Ground)> = Vec::new();
    let mut begin = 0;
    for segment in &slab.segments {
        let ground = match (segment.holder, segment.fate) {
            (HOLE, _) => Ground::Hole,
            (0, Fate::CLEAN | Fate::OVER) => Ground::Clean,
            _ => Ground::Taken,
        };
        match all.last_mut() {
            Some(last) if last.2 == ground => last.1 = segment.end,
            _ => all.push((begin, segment.end, ground)),
        }
        begin = segment.end;
    }
    all
}

/// What a place of `len` bytes between `low` and `high` lacks of the hole from `begin` to `end`, where that is the least: from
/// which byte to which.
fn least_here(
    (low, high): (u64, u64),
    (begin, end): (u64, u64),
    len: u64,
    alignment: u64,
    step: u64,
) -> Option<(u64, u64)> {
    let last = high.checked_sub(len)?;
    // What is lacking changes where either end of the place passes a granule.
    let marks = (begin..=end).step_by(step as usize);
    let marks = marks.flat_map(|mark| [mark, mark.saturating_sub(len)]).chain([low, last]);
    let starts = marks.flat_map(|at| [at / alignment * alignment, at.next_multiple_of(alignment)]);
    let lacks = starts.filter(|start| (low..=last).contains(start)).map(|start| {
        let from = start.max(begin) / step * step;
        (from, (start + len).min(end).next_multiple_of(step).max(from))
    });
    lacks.min_by_key(|(from, to)| to - from)
}

impl Oracle {
    /// Where an elastic slab at hand lacks the least memory for a request, and which, in granules of `step`. `None` if none
    /// has a place for it.
    pub(crate) fn least_growth(
        &mut self,
        need: Need,
        step: u64,
        progress: &dyn Progress,
    ) -> Option<Missed> {
        self.tidy(progress);
        let len = need.footprint;
        let of_slab = |slab: &Slab| {
            let grounds = grounds(slab);
            let clean = |at: Option<usize>| {
                at.and_then(|at| grounds.get(at)).filter(|ground| ground.2 == Ground::Clean)
            };
            let holes = grounds.iter().enumerate().filter(|(_, ground)| ground.2 == Ground::Hole);
            let least = holes.filter_map(|(at, &(begin, end, _))| {
                let low = clean(at.checked_sub(1)).map_or(begin, |left| left.0);
                let high = clean(Some(at + 1)).map_or(end, |right| right.1);
                least_here((low, high), (begin, end), len, need.alignment, step)
            });
            let least = least.min_by_key(|(from, to)| to - from);
            least.map(|(start, end)| Missed { slab: slab.id, start, end })
        };
        self.slabs.iter().filter_map(of_slab).min_by_key(|lack| lack.end - lack.start)
    }
}
