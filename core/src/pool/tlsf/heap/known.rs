//! Who knows every death finds memory as if there were none: what waits for one axis merges as what is clean does.

use super::{Ask, BlockDeath, CLEAN, Heap};
use crate::offset::tlsf::{BlockId, Config, Side};
use crate::pool::tlsf::Coalescing;
use crate::{Axis, Death, Entry, Epoch, FrontierRef, NoProgress};
use proptest::prelude::*;

const AXIS: Axis = Axis::queue(0, 0);

/// A heap, its live blocks, and an axis that never reaches anything.
struct Churn {
    heap: Heap,
    live: Vec<BlockId>,
    epoch: Epoch,
}

impl Churn {
    fn acquire(&mut self, bytes: u64) {
        let entry = Entry::new(AXIS, self.epoch);
        let Some(need) = self.heap.need(bytes, 1) else { panic!("{bytes} bytes are no request") };
        let frontier = FrontierRef::single(&entry);
        let ask = Ask { need, frontier, progress: &NoProgress, requested: bytes };
        let Some(taken) = self.heap.acquire(&ask, &mut BlockDeath::new()) else {
            panic!("{bytes} bytes do not fit")
        };
        self.live.push(taken.block);
    }

    fn free(&mut self, at: usize) {
        self.epoch += 1;
        let block = self.live.swap_remove(at % self.live.len());
        let entry = Entry::new(AXIS, self.epoch);
        self.heap.free(block, Death::After(FrontierRef::single(&entry)), &NoProgress);
    }

    /// Two free blocks side by side are a clean one and one that waits.
    fn check(&self) {
        self.heap.check();
        let offsets = self.heap.offsets();
        for region in offsets.regions() {
            for block in offsets.blocks(region) {
                let shelf = offsets.shelf_of(block);
                if shelf.is_some()
                    && let Some((_, beside)) = offsets.neighbour(block, Side::Right)
                {
                    assert!(shelf != Some(beside), "{block:?} and what follows wait alike");
                    assert!([shelf, Some(beside)].contains(&Some(CLEAN)));
                }
            }
        }
    }
}

proptest! {
    /// Clean blocks come and go between those that wait: a few of them are freed idle.
    #[test]
    fn what_waits_for_one_axis_is_merged(
        turns in proptest::collection::vec((0..1000_usize, 1..64_u64, 0..8_u8), 1..400),
    ) {
        let mut heap = Heap::new(Config::default(), Coalescing::Readiness).unwrap();
        heap.add_region(1 << 20).unwrap();
        let mut churn = Churn { heap, live: Vec::new(), epoch: 1 };
        (0..24).for_each(|_| churn.acquire(4096));
        for (at, granules, idle) in turns {
            if idle == 0 {
                let block = churn.live.swap_remove(at % churn.live.len());
                churn.heap.free(block, Death::Idle, &NoProgress);
            } else {
                churn.free(at);
            }
            churn.acquire(granules * 256);
            churn.check();
        }
    }
}
