//! What a planned pool records of a step, and a plan made of it.
//!
//! ```text
//!   fixed      ████                              lived before the step and after it: no plan can move it
//!   requests   ▐▌ ▐████▌ ▐█▌ ▐██████████         the largest first, each at the lowest place that is free while it lives
//! ```
//!
//! # Cost
//! [`first_fit`](Recording::first_fit): O(n · k) for n requests of which k live at once with one, on the caller's thread and without the pool's
//! lock.

use super::plan::{Plan, PlanBlock};
use alloc::vec::Vec;
use core::cmp::Reverse;

/// A request of a recorded step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Bytes, in whole granules of the pool.
    pub size: u64,
    /// A power of two, at least the pool's granule.
    pub alignment: u64,
    /// The queue, where it was told; else 0.
    pub stream: u32,
    /// The number of the first request by which it was released; the number of requests where that was after the last one.
    pub until: u32,
    /// It was still live when the next step began.
    pub lives_on: bool,
}

/// A whole step that a pool recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// In the order in which they were granted.
    pub requests: Vec<Recorded>,
    /// Offsets and sizes in the plan's slab that were live before the step and still are.
    pub fixed: Vec<(u64, u64)>,
    /// What is fixed keeps the plan in its slab, which has so many bytes: a larger plan is not followed. `None` where nothing is.
    pub room: Option<u64>,
}

/// The most requests that [`first_fit`](Recording::first_fit) plans: beyond, its time is better spent by a planner.
const MOST: usize = 1 << 15;

/// A block on its way into a plan.
struct Life {
    first: u32,
    end: u32,
    size: u64,
    alignment: u64,
}

impl Recording {
    /// A plan by first fit, the largest blocks first: a few percent above the best as a rule. What lives on when the step
    /// ends has its bytes for itself from the step's beginning, as the step before it made such a block too. `None` where there is nothing to plan, or
    /// more than 2^15 requests.
    #[must_use]
    pub fn first_fit(&self) -> Option<Plan> {
        let count = self.requests.len();
        if count == 0 || count > MOST {
            return None;
        }
        let lives: Vec<Life> = (0..)
            .zip(&self.requests)
            .map(|(number, request)| Life {
                first: if request.lives_on { 0 } else { number },
                end: request.until,
                size: request.size,
                alignment: request.alignment,
            })
            .collect();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|&number| {
            Reverse((lives[number].size, lives[number].end - lives[number].first))
        });
        // What is placed, by offset: first byte, the byte behind the last, and when.
        let mut placed: Vec<(u64, u64, u32, u32)> = self
            .fixed
            .iter()
            .filter_map(|&(offset, size)| Some((offset, offset.checked_add(size)?, 0, u32::MAX)))
            .collect();
        placed.sort_unstable();
        let mut offsets = alloc::vec![0; count];
        let mut bytes = 0;
        for number in order {
            let life = &lives[number];
            let mut at = 0_u64;
            for &(start, end, first, last) in &placed {
                if last <= life.first || first >= life.end {
                    continue;
                }
                if at.checked_add(life.size)? <= start {
                    break;
                }
                at = at.max(end.checked_next_multiple_of(life.alignment)?);
            }
            let end = at.checked_add(life.size)?;
            offsets[number] = at;
            bytes = bytes.max(end);
            let place = placed.partition_point(|&(start, ..)| start < at);
            placed.insert(place, (at, end, life.first, life.end));
        }
        let block = |(request, offset): (&Recorded, u64)| PlanBlock {
            offset,
            size: request.size,
            alignment: request.alignment,
            stream: request.stream,
            until: request.until,
        };
        Plan::new(bytes, self.requests.iter().zip(offsets).map(block).collect()).ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::vec;

    fn request(size: u64, until: u32) -> Recorded {
        Recorded { size, alignment: 64, stream: 0, until, lives_on: until == 5 }
    }

    fn offsets(recording: &Recording) -> (u64, Vec<u64>) {
        let plan = recording.first_fit().unwrap();
        (plan.bytes(), plan.blocks().iter().map(|block| block.offset).collect())
    }

    #[test]
    fn blocks_share_bytes_when_they_do_not_live_together() {
        let requests =
            vec![request(128, 1), request(64, 3), request(128, 3), request(64, 5), request(64, 5)];
        let free = Recording { requests, fixed: vec![], room: None };
        // The last two live on: they have bytes of their own.
        assert_eq!(offsets(&free), (320, vec![0, 256, 0, 128, 192]));
        let around = Recording { fixed: vec![(64, 64), (256, 64)], ..free };
        assert_eq!(offsets(&around), (448, vec![128, 384, 128, 0, 320]));
    }

    #[test]
    fn nothing_and_too_much_is_no_plan() {
        let recording = |requests| Recording { requests, fixed: vec![], room: None };
        assert_eq!(recording(vec![]).first_fit(), None);
        let many = vec![request(64, 1 << 16); MOST + 1];
        assert_eq!(recording(many).first_fit(), None);
        assert_eq!(recording(vec![request(u64::MAX - 63, 1)]).first_fit(), None);
        let fixed = vec![(u64::MAX, 64), (0, 1)];
        let far = Recording { fixed, ..recording(vec![request(64, 1)]) };
        assert_eq!(offsets(&far), (128, vec![64]));
    }
}
