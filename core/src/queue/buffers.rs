//! Transient buffers under generational ids: a stale id never resolves to another buffer.
//!
//! Insert, get and remove are O(1). A slot whose generation would wrap is retired.

use super::outbox::Sequence;
use crate::axis::Epoch;
use crate::frontier::Frontier;
use crate::pool::{Request, Reservation};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

/// Names a transient buffer: whose it is, a slot, and the generation of that slot. Never used twice, and never by two
/// [`Queues`](super::Queues) of one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId {
    index: u32,
    generation: u32,
    /// The number of the queues that gave it out.
    owner: u32,
}

impl BufferId {
    /// Its parts in one number.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        (self.owner as u128) << 64 | (self.generation as u128) << 32 | self.index as u128
    }

    /// The inverse of [`to_bits`](Self::to_bits). An id that was never given out is refused wherever
    /// it is used.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32, owner: (bits >> 64) as u32 }
    }
}

impl fmt::Debug for BufferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "buffer#{}.{}", self.index, self.generation)
    }
}

/// An alloca that has no memory yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) size: u64,
    pub(super) alignment: u64,
    pub(super) may_wait: bool,
    pub(super) may_grow: bool,
    /// What the caller said to wait for.
    pub(super) wait: Frontier,
    /// What it is known to be ordered after; set on admission.
    pub(super) knowledge: Frontier,
    /// Where it stands in its pool's line, once it does.
    pub(super) place: Option<u64>,
}

impl Waiting {
    pub(super) fn new(request: &Request<'_>, knowledge: Frontier) -> Box<Self> {
        Box::new(Self {
            size: request.size,
            alignment: request.alignment,
            may_wait: request.may_wait,
            may_grow: request.may_grow,
            wait: request.frontier.to_frontier(),
            knowledge,
            place: None,
        })
    }
}

/// How far a buffer has come.
#[derive(Debug)]
pub(super) enum State {
    /// Held or parked.
    Waiting(Box<Waiting>),
    /// It has memory; the number of the event that says so.
    Bound { reservation: Reservation, ready: Sequence },
    /// It never will.
    Failed,
    /// Only while a change is under way.
    Moving,
}

/// A dealloca that was submitted and not carried out.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) queue: usize,
    pub(super) epoch: Epoch,
    pub(super) wait: Frontier,
    /// Its past is submitted: only the buffer's memory is missing.
    pub(super) admitted: bool,
}

#[derive(Debug)]
pub(super) struct Buffer {
    /// The pool's position in the set.
    pub(super) pool: usize,
    /// The queue of its alloca.
    pub(super) queue: usize,
    pub(super) epoch: Epoch,
    pub(super) state: State,
    pub(super) ending: Option<Ending>,
}

#[derive(Debug)]
struct Slot {
    /// Of the buffer in it, or of the next one.
    generation: u32,
    buffer: Option<Buffer>,
}

/// What an id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    Live,
    Ended,
    Never,
}

#[derive(Debug)]
pub(super) struct Buffers {
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
    owner: u32,
}

impl Buffers {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // Relaxed: only uniqueness matters.
        let owner = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { slots: Vec::new(), free: Vec::new(), live: 0, owner }
    }

    /// Where an id of these buffers has its slot.
    fn slot(&self, id: BufferId) -> Option<&Slot> {
        self.slots.get(id.index as usize).filter(|_| id.owner == self.owner)
    }

    /// `None` when 2^32 slots are in use or retired; the buffer is dropped.
    pub(super) fn insert(&mut self, buffer: Buffer) -> Option<BufferId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot { generation: 0, buffer: None });
                index
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.buffer = Some(buffer);
        self.live += 1;
        Some(BufferId { index, generation: slot.generation, owner: self.owner })
    }

    /// Whether another buffer can be inserted.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() || u32::try_from(self.slots.len()).is_ok()
    }

    pub(super) fn lookup(&self, id: BufferId) -> Lookup {
        match self.slot(id) {
            Some(slot) if slot.generation == id.generation && slot.buffer.is_some() => Lookup::Live,
            // The generation of an empty slot has not been given out yet, except a retired slot's.
            Some(slot) if id.generation < slot.generation => Lookup::Ended,
            Some(slot) if slot.generation == u32::MAX && id.generation == u32::MAX => Lookup::Ended,
            _ => Lookup::Never,
        }
    }

    pub(super) fn get(&self, id: BufferId) -> Option<&Buffer> {
        let slot = self.slot(id)?;
        slot.buffer.as_ref().filter(|_| slot.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: BufferId) -> Option<&mut Buffer> {
        if id.owner != self.owner {
            return None;
        }
        let slot = self.slots.get_mut(id.index as usize)?;
        slot.buffer.as_mut().filter(|_| slot.generation == id.generation)
    }

    pub(super) fn remove(&mut self, id: BufferId) -> Option<Buffer> {
        if id.owner != self.owner {
            return None;
        }
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let buffer = slot.buffer.take()?;
        self.live -= 1;
        // At the last generation the slot is retired: it stays empty and off the free list.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(id.index);
        }
        Some(buffer)
    }

    /// The ids of all buffers, by slot.
    pub(super) fn ids(&self) -> impl Iterator<Item = BufferId> + '_ {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.buffer.is_some()).map(
            |(index, slot)| BufferId {
                // Slots are only pushed at positions that fit.
                index: index as u32,
                generation: slot.generation,
                owner: self.owner,
            },
        )
    }

    pub(super) const fn len(&self) -> usize {
        self.live
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn buffer() -> Buffer {
        Buffer { pool: 0, queue: 0, epoch: 1, state: State::Failed, ending: None }
    }

    #[test]
    fn an_id_never_resolves_twice() {
        let mut buffers = Buffers::new();
        let first = buffers.insert(buffer()).unwrap();
        assert_eq!(buffers.lookup(first), Lookup::Live);
        assert!(buffers.remove(first).is_some());
        assert_eq!(buffers.lookup(first), Lookup::Ended);
        assert!(buffers.remove(first).is_none());
        let second = buffers.insert(buffer()).unwrap();
        assert_ne!(first, second);
        assert!(buffers.get(first).is_none() && buffers.get_mut(first).is_none());
        assert_eq!(buffers.lookup(BufferId::from_bits(7)), Lookup::Never);
        let future = BufferId { generation: 9, ..second };
        assert_eq!(buffers.lookup(future), Lookup::Never);
        assert_eq!(BufferId::from_bits(second.to_bits()), second);
    }

    #[test]
    fn a_slot_whose_generation_would_wrap_is_retired() {
        let mut buffers = Buffers::new();
        let first = buffers.insert(buffer()).unwrap();
        buffers.slots[0].generation = u32::MAX;
        let last = BufferId { generation: u32::MAX, ..first };
        assert!(buffers.remove(last).is_some());
        assert_eq!(buffers.lookup(last), Lookup::Ended);
        let other = buffers.insert(buffer()).unwrap();
        assert_eq!(other.index, 1);
        assert_eq!(buffers.len(), 1);
    }
}
