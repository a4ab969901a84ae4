//! Waiting to pack: the tightest stretch of free memory, whatever it waits for.
//!
//! ```text
//!   │ live │ clean 4 │ after A 2 │ clean 1 │ live │  clean 3  │ live │
//!          └────────── a stretch of 7 ─────┘      └ a stretch of 3
//! ```
//!
//! A search that takes what is ready first splits large stretches for small requests, only because a
//! tighter one is not ready yet; with many streams the holes that are left fit nothing. Who may wait can
//! have the layout instead that one stream without delay would get: the request goes to the tightest
//! stretch of adjacent free blocks, and waits for the part that it takes. Among stretches of equal size,
//! the one that is ready soonest.
//!
//! # Cost
//! O(1): a bounded number of runs, of shelves and of blocks on each is looked at.

use super::acquire::MAX_LOOKS;
use super::spans::RUN_PROBES;
use super::{Ask, BlockDeath, CLEAN, FIRST_PENDING, Heap, TAINTED, Taken};
use crate::Epoch;
use crate::offset::tlsf::{BlockId, Place, Side};

/// Shelves that a search looks at.
const WAIT_PROBES: usize = 32;
/// Bins of a shelf, and blocks of a bin, that are looked at.
const BINS: usize = 2;
const PER_BIN: usize = 8;

/// A part of a stretch that holds the request.
#[derive(Clone, Copy, Debug)]
struct Window {
    first: BlockId,
    last: BlockId,
    end: Side,
    /// Size of the stretch, then how long its slowest block has to go.
    rank: (u64, Epoch),
}

impl Heap {
    /// Takes the request from the tightest stretch of adjacent free blocks and writes down the death of
    /// what it took. The requester has to wait for as much of that as it does not know.
    pub fn acquire_compact(&mut self, ask: &Ask<'_>, death: &mut BlockDeath) -> Option<Taken> {
        let mut best: Option<Window> = None;
        let mut offer = |window: Option<Window>| {
            if let Some(window) = window
                && best.is_none_or(|best| window.rank < best.rank)
            {
                best = Some(window);
            }
        };
        for run in self.tlsf.runs(ask.need, RUN_PROBES) {
            let (first, last) = self.tlsf.run_ends(run);
            offer(self.window(first, last, ask));
        }
        let shelves = self.classes.len();
        let pending = (0..shelves.min(MAX_LOOKS))
            .map(|step| ((self.poll_cursor + step) % shelves) as u32)
            .filter(|&shelf| shelf >= FIRST_PENDING && !self.tlsf.shelf_is_empty(shelf))
            .take(WAIT_PROBES);
        for shelf in core::iter::once(CLEAN).chain(pending) {
            self.tlsf.candidates(shelf, ask.need, BINS, PER_BIN, &mut |Place { block, .. }| {
                // A block in a run is a part of a larger stretch, which is looked at above.
                if !self.tlsf.is_in_run(block) {
                    offer(self.window(block, block, ask));
                }
                true
            });
        }
        let Window { first, last, end, .. } = best?;
        self.take_span(first, last, end, ask, death)
    }

    /// The blocks at one end of a stretch that hold the request, if they can be waited for.
    fn window(&self, first: BlockId, last: BlockId, ask: &Ask<'_>) -> Option<Window> {
        let (first, last, end, size) = self.tlsf.window(first, last, ask.need)?;
        let mut lag = 0;
        for block in self.tlsf.blocks_between(first, last) {
            if self.tlsf.shelf_of(block) == Some(TAINTED) {
                return None;
            }
            lag = lag.max(self.lag(block, ask));
        }
        Some(Window { first, last, end, rank: (size, lag) })
    }
}
