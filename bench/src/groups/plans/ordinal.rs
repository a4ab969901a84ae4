//! A plan that is followed by ordinal, as STAlloc does: request number n is block n of the plan, if it has its size.
//!
//! What differs, or whose bytes are taken, is served beside the plan by an allocator of its own, which is the caller's. One request more or
//! less shifts all that follow: they find the wrong block, of another size as a rule.

use super::perturb::Op;
use std::collections::{BTreeMap, HashMap};
use strandline_replay::planned::Plan;

/// See the [module](self).
pub(super) struct Ordinal<'p> {
    plan: &'p Plan,
    next: usize,
    /// Live ranges of the plan, and the block of each program's block that has one.
    live: BTreeMap<u64, u64>,
    places: HashMap<u32, u64>,
    hits: u64,
}

impl<'p> Ordinal<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        Self { plan, next: 0, live: BTreeMap::new(), places: HashMap::new(), hits: 0 }
    }

    /// Whether it was served by the plan; else it is the caller's to serve.
    pub(super) fn play(&mut self, op: Op) -> bool {
        match op {
            Op::Acquire { block, size } => {
                let planned = self.plan.blocks().get(self.next).copied();
                self.next += 1;
                let Some(planned) = planned.filter(|planned| planned.size == size) else {
                    return false;
                };
                let end = planned.offset + size;
                let below = self.live.range(..end).next_back();
                if below.is_some_and(|(_, &other)| other > planned.offset) {
                    return false;
                }
                self.live.insert(planned.offset, end);
                self.places.insert(block, planned.offset);
                self.hits += 1;
                true
            }
            Op::Release { block } => match self.places.remove(&block) {
                Some(offset) => self.live.remove(&offset).is_some(),
                None => false,
            },
        }
    }

    /// The plan's memory.
    pub(super) const fn bytes(&self) -> u64 {
        self.plan.bytes()
    }

    /// The share of requests that stood where the plan has them.
    pub(super) fn share(&self) -> f64 {
        self.hits as f64 / self.next.max(1) as f64
    }
}
