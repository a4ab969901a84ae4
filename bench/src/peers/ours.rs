//! Strandline's TLSF heap: offsets plus readiness, without a pool's lock and slabs.

use super::Peer;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_core::offset::tlsf::{BlockId, Config, TlsfError};
use strandline_core::pool::tlsf::{Ask, BlockDeath, Coalescing, Heap};
use strandline_core::{Axis, Death, Entry, Epoch, FrontierRef, Progress};

/// What freed blocks wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deaths {
    /// Nothing: blocks are freed idle and acquired by a requester who knows nothing.
    Idle,
    /// A frontier of one entry, which the requester's frontier dominates. Completion trails submission
    /// by this many pairs; `u64::MAX`: nothing ever completes, so every reuse rests on dominance.
    Behind(u64),
}

/// A single queue, or several that take turns and know all about each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues(pub u8);

/// How far each of the queues has come.
#[derive(Debug)]
struct Completed(AtomicU64);

impl Progress for Completed {
    #[inline]
    fn reached(&self, _: Axis) -> Epoch {
        // Relaxed: one thread.
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
enum Known {
    Own(Entry),
    /// Sorted by axis, since queues are numbered upwards; and whose turn it is.
    All(Vec<Entry>, usize),
}

/// Strandline's TLSF heap over one region.
#[derive(Debug)]
pub struct Ours {
    heap: Heap,
    live: Vec<BlockId>,
    deaths: Deaths,
    /// What the requester knows: every queue up to the last pair. A requester with one queue has no list to go through.
    known: Known,
    epoch: Epoch,
    completed: Completed,
    death: BlockDeath,
}

impl Ours {
    /// Over one region of `capacity` bytes, with room for `slots` live blocks.
    ///
    /// # Errors
    /// A configuration or capacity that the heap refuses.
    pub fn new(
        capacity: u64,
        slots: u32,
        config: Config,
        deaths: Deaths,
        queues: Queues,
    ) -> Result<Self, TlsfError> {
        let mut heap = Heap::new(config, Coalescing::Readiness)?;
        heap.add_region(capacity)?;
        let entry = |queue| Entry::new(Axis::queue(0, queue).with_session(1), 1);
        Ok(Self {
            heap,
            live: vec![BlockId::from_index(0); slots as usize],
            deaths,
            known: match queues {
                Queues(1) => Known::Own(entry(0)),
                Queues(count) => Known::All((0..count).map(entry).collect(), 0),
            },
            epoch: 1,
            completed: Completed(AtomicU64::new(0)),
            death: BlockDeath::new(),
        })
    }

    /// The heap, to look at.
    #[must_use]
    pub const fn heap(&self) -> &Heap {
        &self.heap
    }
}

impl Peer for Ours {
    #[inline]
    fn allocate(&mut self, slot: u32, bytes: u32) -> bool {
        let known = match (self.deaths, &self.known) {
            (Deaths::Idle, _) => FrontierRef::EMPTY,
            (Deaths::Behind(_), Known::Own(entry)) => FrontierRef::single(entry),
            (Deaths::Behind(_), Known::All(entries, _)) => {
                let Ok(known) = FrontierRef::try_from_sorted(entries) else { return false };
                known
            }
        };
        let Some(need) = self.heap.need(bytes.into(), 1) else { return false };
        let (frontier, progress) = (known, &self.completed);
        self.heap.poll_next(progress);
        let ask = Ask { need, frontier, progress, requested: bytes.into() };
        let taken = self.heap.acquire(&ask, &mut self.death);
        // As the pool does: the usual look is bounded, this one is not.
        let taken = taken.or_else(|| self.heap.acquire_covered(&ask, &mut self.death));
        let Some(taken) = taken else { return false };
        black_box(taken.offset);
        self.live[slot as usize] = taken.block;
        true
    }

    #[inline]
    fn free(&mut self, slot: u32) {
        let block = self.live[slot as usize];
        let Deaths::Behind(distance) = self.deaths else {
            return self.heap.free(block, Death::Idle, &self.completed);
        };
        self.epoch += 1;
        if let Some(over) = self.epoch.checked_sub(distance) {
            self.completed.0.store(over, Ordering::Relaxed);
        }
        let entry = match &mut self.known {
            Known::Own(entry) => entry,
            Known::All(entries, turn) => {
                *turn = (*turn + 1) % entries.len();
                &mut entries[*turn]
            }
        };
        entry.epoch = self.epoch;
        let death = Death::After(FrontierRef::single(entry));
        self.heap.free(block, death, &self.completed);
    }
}
