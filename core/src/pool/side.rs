//! Pending blocks in order of what they wait for, for pools that keep them under a lock: passthrough, and the
//! rare deaths of fixed-block (several axes, axes without a shelf, unknown).
//!
//! ```text
//!   filed:    (queue:0.1, epoch 4, block 17)   (queue:0.1, epoch 6, block 3)   (queue:0.2, …
//!   records:   block 17: {0.1@4, 0.2@9}         block 3: …
//! ```
//!
//! A block is filed under one axis that has not reached its epoch. When it does, the block moves on to another
//! such axis, and after the last it is clean. So progress costs O(log n) for each block it concerns and
//! nothing for the others; a requester looks at the earliest few of its own axes.

use crate::index::{Index, Name};
use crate::pool::inbox::StoredDeath;
use crate::table::Table;
use crate::{Axis, Death, Entry, Epoch, FrontierRef};
use alloc::vec::Vec;

/// Blocks of an axis that a requester looks at.
const CANDIDATES: usize = 16;

/// What is known of a block.
#[derive(Debug)]
struct Record {
    death: StoredDeath,
    /// Not handed out.
    here: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Side {
    /// (axis, epoch, block): the blocks by what they wait for, each with the key of its record.
    filed: Index,
    tainted: Vec<u32>,
    /// (block, 0, 0): the keys of records. That of a block which was handed out from here has the death to restore
    /// should it be canceled; it outlives the reservation and is replaced when the block comes here again.
    keys: Index,
    records: Table<u64, Record>,
}

const fn name(axis: Axis, epoch: Epoch, block: u32) -> Name {
    (axis.to_bits(), epoch, block as u64)
}

impl Side {
    /// Blocks filed, the tainted ones apart.
    pub(crate) fn pending(&self) -> u32 {
        self.filed.len() as u32
    }

    /// Files a block under the first axis of its death that `reached` has behind its epoch. `false`: all are
    /// reached, and the block is the caller's, clean.
    pub(crate) fn file(
        &mut self,
        block: u32,
        death: StoredDeath,
        reached: &dyn Fn(Entry) -> bool,
    ) -> bool {
        let waits = match death.get() {
            Death::Idle => return false,
            Death::Unknown => None,
            Death::After(frontier) => {
                match frontier.entries().iter().copied().find(|e| !reached(*e)) {
                    None => return false,
                    waits => waits,
                }
            }
        };
        let record = Record { death, here: true };
        let known = self.keys.get((block.into(), 0, 0));
        let key = match known.and_then(|key| Some((key, self.records.get_mut(key)?))) {
            Some((key, place)) => {
                *place = record;
                key
            }
            None => {
                // There are fewer blocks than keys.
                let key = self.records.insert(record).unwrap_or(u64::MAX);
                self.keys.insert((block.into(), 0, 0), key);
                key
            }
        };
        match waits {
            Some(Entry { axis, epoch }) => self.filed.insert(name(axis, epoch, block), key),
            None => self.tainted.push(block),
        }
        true
    }

    /// Moves blocks on whose axis has come far enough; hands those to `clean` that wait for nothing more.
    pub(crate) fn advance(&mut self, reached: &dyn Fn(Entry) -> bool, clean: &mut dyn FnMut(u32)) {
        let mut moved = Vec::new();
        let mut from = (0, 0, 0);
        while let Some((name, _)) = self.filed.first_from(from) {
            let (axis, epoch, block) = name;
            if reached(Entry::new(Axis::from_bits(axis), epoch)) {
                self.filed.remove(name);
                moved.push(block as u32);
            } else {
                // What else waits for this axis waits longer.
                let Some(next) = axis.checked_add(1) else { break };
                from = (next, 0, 0);
            }
        }
        for block in moved {
            let Some(death) = self.forget(block) else { continue };
            if !self.file(block, death, reached) {
                clean(block);
            }
        }
    }

    /// Removes the record of a block.
    fn forget(&mut self, block: u32) -> Option<StoredDeath> {
        let key = self.keys.remove((block.into(), 0, 0))?;
        Some(self.records.remove(key)?.death)
    }

    /// Everything, tainted or pending, to `clean(block, was_tainted)`.
    pub(crate) fn drain(&mut self, clean: &mut dyn FnMut(u32, bool)) {
        for block in core::mem::take(&mut self.tainted) {
            self.forget(block);
            clean(block, true);
        }
        for ((_, _, block), _) in core::mem::take(&mut self.filed).from((0, 0, 0)) {
            self.forget(block as u32);
            clean(block as u32, false);
        }
    }

    /// The blocks that wait for an axis, soonest first.
    fn waiting_for(&self, axis: Axis) -> impl Iterator<Item = (Epoch, u32, u64)> {
        let filed = self.filed.from((axis.to_bits(), 0, 0));
        filed
            .take_while(move |((other, ..), _)| *other == axis.to_bits())
            .map(|((_, epoch, block), key)| (epoch, block as u32, key))
    }

    /// Takes a block that `suits` and whose death is covered on every axis, by the frontier or because it was
    /// reached, among the earliest of each of the frontier's axes.
    pub(crate) fn take_dominated(
        &mut self,
        frontier: FrontierRef<'_>,
        reached: &dyn Fn(Entry) -> bool,
        suits: &dyn Fn(u32) -> bool,
    ) -> Option<u32> {
        for &Entry { axis, epoch } in frontier.entries() {
            let found = self
                .waiting_for(axis)
                .take_while(|(filed, ..)| *filed <= epoch)
                .take(CANDIDATES)
                .find(|&(_, block, key)| match self.records.get(key).map(|r| r.death.get()) {
                    Some(Death::After(death)) => {
                        let known = |e: &Entry| frontier.get(e.axis) >= e.epoch || reached(*e);
                        death.entries().iter().all(known) && suits(block)
                    }
                    _ => false,
                });
            if let Some((epoch, block, _)) = found {
                return self.take(axis, (epoch, block));
            }
        }
        None
    }

    /// The block that has the fewest epochs to wait for on its axis, as `reached` counts them.
    pub(crate) fn soonest(
        &self,
        reached: &dyn Fn(Axis) -> Epoch,
        suits: &dyn Fn(u32) -> bool,
    ) -> Option<(Epoch, Axis, (Epoch, u32))> {
        let mut soonest: Option<(Epoch, Axis, (Epoch, u32))> = None;
        let mut from = (0, 0, 0);
        while let Some(((axis, ..), _)) = self.filed.first_from(from) {
            let at = Axis::from_bits(axis);
            let suiting = self.waiting_for(at).take(CANDIDATES).find(|&(_, block, _)| suits(block));
            if let Some((epoch, block, _)) = suiting {
                let left = epoch.saturating_sub(reached(at));
                if soonest.is_none_or(|(least, ..)| left < least) {
                    soonest = Some((left, at, (epoch, block)));
                }
            }
            let Some(next) = axis.checked_add(1) else { break };
            from = (next, 0, 0);
        }
        soonest
    }

    /// Takes the block filed under this key and remembers its death.
    pub(crate) fn take(&mut self, axis: Axis, (epoch, block): (Epoch, u32)) -> Option<u32> {
        let key = self.filed.remove(name(axis, epoch, block))?;
        if let Some(record) = self.records.get_mut(key) {
            record.here = false;
        }
        Some(block)
    }

    fn record(&self, block: u32) -> Option<&Record> {
        self.records.get(self.keys.get((block.into(), 0, 0))?)
    }

    /// The death that a block handed out from here had.
    pub(crate) fn death_of(&self, block: u32) -> StoredDeath {
        // Handed out from here, so there is one; unknown would be the safe answer.
        self.record(block).map_or_else(
            || {
                let mut unknown = StoredDeath::IDLE;
                unknown.set(Death::Unknown, &crate::NoProgress);
                unknown
            },
            |record| record.death,
        )
    }

    /// The death of a block that is here.
    pub(crate) fn death_here(&self, block: u32) -> Option<Death<'_>> {
        self.record(block).filter(|record| record.here).map(|record| record.death.get())
    }
}
