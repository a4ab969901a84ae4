//! Pending blocks in order of what they wait for, for pools that keep them under a lock: passthrough, and the
//! rare deaths of fixed-block (several axes, axes without a shelf, unknown).
//!
//! ```text
//!   by_axis:  queue:0.1 ─▶ { (epoch 4, block 17): {0.1@4, 0.2@9},  (epoch 6, block 3): … }
//!             queue:0.2 ─▶ { … }
//! ```
//!
//! A block is filed under one axis that has not reached its epoch. When it does, the block moves on to another
//! such axis, and after the last it is clean. So progress costs O(log n) for each block it concerns and
//! nothing for the others; a requester looks at the earliest few of its own axes.

use crate::pool::inbox::StoredDeath;
use crate::{Axis, Death, Entry, Epoch, FrontierRef};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Blocks of an axis that a requester looks at.
const CANDIDATES: usize = 16;

type Filed = BTreeMap<(Epoch, u32), StoredDeath>;

#[derive(Debug, Default)]
pub(crate) struct Side {
    by_axis: BTreeMap<Axis, Filed>,
    tainted: Vec<u32>,
    /// The deaths of blocks handed out from here, to restore should they be canceled. An entry
    /// outlives the reservation and is replaced when the block comes here again.
    out: BTreeMap<u32, StoredDeath>,
    pending: u32,
}

impl Side {
    /// Blocks filed, the tainted ones apart.
    pub(crate) const fn pending(&self) -> u32 {
        self.pending
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
            Death::Idle => None,
            Death::Unknown => {
                self.tainted.push(block);
                return true;
            }
            Death::After(frontier) => frontier.entries().iter().copied().find(|e| !reached(*e)),
        };
        let Some(Entry { axis, epoch }) = waits else { return false };
        self.by_axis.entry(axis).or_default().insert((epoch, block), death);
        self.pending += 1;
        true
    }

    /// Moves blocks on whose axis has come far enough; hands those to `clean` that wait for nothing more.
    pub(crate) fn advance(&mut self, reached: &dyn Fn(Entry) -> bool, mut clean: impl FnMut(u32)) {
        let mut moved = Vec::new();
        for (&axis, filed) in &mut self.by_axis {
            while let Some(first) = filed.first_entry() {
                let &(epoch, block) = first.key();
                if !reached(Entry::new(axis, epoch)) {
                    break;
                }
                moved.push((block, first.remove()));
            }
        }
        if moved.is_empty() {
            return;
        }
        self.by_axis.retain(|_, filed| !filed.is_empty());
        self.pending -= moved.len() as u32;
        for (block, death) in moved {
            if !self.file(block, death, reached) {
                clean(block);
            }
        }
    }

    /// Everything, tainted or pending, to `clean(block, was_tainted)`.
    pub(crate) fn drain(&mut self, mut clean: impl FnMut(u32, bool)) {
        self.tainted.drain(..).for_each(|block| clean(block, true));
        for filed in core::mem::take(&mut self.by_axis).into_values() {
            filed.into_keys().for_each(|(_, block)| clean(block, false));
        }
        self.pending = 0;
    }

    /// Takes a block that `suits` and whose death is covered on every axis, by the frontier or because it was
    /// reached, among the earliest of each of the frontier's axes.
    pub(crate) fn take_dominated(
        &mut self,
        frontier: FrontierRef<'_>,
        reached: &dyn Fn(Entry) -> bool,
        suits: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        for entry in frontier.entries() {
            let Some(filed) = self.by_axis.get(&entry.axis) else { continue };
            let found = filed
                .range(..=(entry.epoch, u32::MAX))
                .take(CANDIDATES)
                .find(|((_, block), death)| match death.get() {
                    Death::After(death) => {
                        let known = |e: &Entry| frontier.get(e.axis) >= e.epoch || reached(*e);
                        death.entries().iter().all(known) && suits(*block)
                    }
                    Death::Idle | Death::Unknown => false,
                })
                .map(|(&key, _)| key);
            if let Some(key) = found {
                return self.take(entry.axis, key);
            }
        }
        None
    }

    /// The block that has the fewest epochs to wait for on its axis, as `reached` counts them.
    pub(crate) fn soonest(
        &self,
        reached: &dyn Fn(Axis) -> Epoch,
        suits: impl Fn(u32) -> bool,
    ) -> Option<(Epoch, Axis, (Epoch, u32))> {
        self.by_axis
            .iter()
            .filter_map(|(&axis, filed)| {
                let key = *filed.keys().take(CANDIDATES).find(|(_, block)| suits(*block))?;
                Some((key.0.saturating_sub(reached(axis)), axis, key))
            })
            .min_by_key(|(left, ..)| *left)
    }

    /// Takes the block filed under this key and remembers its death.
    pub(crate) fn take(&mut self, axis: Axis, key: (Epoch, u32)) -> Option<u32> {
        let filed = self.by_axis.get_mut(&axis)?;
        let death = filed.remove(&key)?;
        if filed.is_empty() {
            self.by_axis.remove(&axis);
        }
        self.pending -= 1;
        self.out.insert(key.1, death);
        Some(key.1)
    }

    /// The death that a block handed out from here had.
    pub(crate) fn death_of(&self, block: u32) -> StoredDeath {
        // Handed out from here, so there is one; unknown would be the safe answer.
        self.out.get(&block).copied().unwrap_or_else(|| {
            let mut unknown = StoredDeath::IDLE;
            unknown.set(Death::Unknown, &crate::NoProgress);
            unknown
        })
    }

    /// Every block here, with its death.
    pub(crate) fn blocks(&self) -> BTreeMap<u32, StoredDeath> {
        let filed = self.by_axis.values().flatten().map(|(&(_, block), &death)| (block, death));
        let mut unknown = StoredDeath::IDLE;
        unknown.set(Death::Unknown, &crate::NoProgress);
        filed.chain(self.tainted.iter().map(|&block| (block, unknown))).collect()
    }
}
