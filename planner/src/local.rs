//! Local search over orders: what stands too high is placed earlier.
//!
//! ```text
//!   order ─ first fit ─▶ height        blocks that reach above the goal move forward, a few others at random;
//!     ▲                    │           the new order is kept unless it is higher
//!     └── move forward ◀───┘
//! ```
//!
//! This is squeaky wheel optimization (Joslin and Clements, 1999) over the first fit of `first_fit`. An order that already stands above
//! the height to keep is given up in the middle. Cost of a step: one first fit.

use crate::first_fit::FirstFit;
use crate::problem::Part;
use crate::random::Random;
use alloc::vec::Vec;

/// An order and its height.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    order: Vec<u32>,
    pub(crate) height: u64,
    offsets: Vec<u64>,
    /// Steps since the height last fell.
    stale: u32,
}

impl Local {
    /// Begins with an order and what first fit made of it.
    pub(crate) fn new(order: Vec<u32>, offsets: Vec<u64>, height: u64) -> Self {
        Self { order, height, offsets, stale: 0 }
    }

    /// Steps since the height last fell.
    pub(crate) const fn stale(&self) -> u32 {
        self.stale
    }

    /// One step. Returns the offsets where the height fell.
    pub(crate) fn step(
        &mut self,
        part: &Part,
        fit: &mut FirstFit<'_>,
        goal: u64,
        random: &mut Random,
        go_on: &dyn Fn() -> bool,
    ) -> Option<&[u64]> {
        let order = self.moved(part, goal, random);
        let height = fit.place(&order, self.height, go_on);
        self.stale = self.stale.saturating_add(1);
        let height = height?;
        let fell = height < self.height;
        self.order = order;
        self.height = height;
        self.offsets.clone_from(&fit.offsets);
        if !fell {
            return None;
        }
        self.stale = 0;
        Some(&self.offsets)
    }

    /// The order with some of what is too high moved forward.
    fn moved(&self, part: &Part, goal: u64, random: &mut Random) -> Vec<u32> {
        let count = self.order.len();
        let mut order = self.order.clone();
        let high: Vec<usize> = (0..count)
            .filter(|&place| {
                let number = self.order[place] as usize;
                self.offsets[number] + part.blocks[number].size > goal
            })
            .collect();
        for _ in 0..=random.below(3) {
            // Now and then something else moves too: it may be in the way.
            let from = if high.is_empty() || random.below(4) == 0 {
                random.below(count)
            } else {
                high[random.below(high.len())]
            };
            let mut to = random.below(from + 1);
            if random.below(2) == 0 {
                // Near places more often than far ones.
                to = to.max(random.below(from + 1)).max(random.below(from + 1));
            }
            order[to..=from].rotate_right(1);
        }
        order
    }
}
