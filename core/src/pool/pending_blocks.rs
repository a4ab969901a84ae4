//! Pending blocks in order of what they wait for, for pools that keep them under a lock: passthrough, and the
//! rare deaths of fixed-block (several axes, axes without a shelf, unknown).
//!
//! ```text
//!   waits for one axis     singles   (queue:0.1, epoch 4, block 17)   (queue:0.1, epoch 6, block 3)   …
//!   waits for several      joint     each of its axes, likewise: what progress looks at
//!                          filed     (set {0.1, 0.2} and an axis of it, epoch, block): what a search looks at
//! ```
//!
//! A block waits for the axes of its death that have not reached their epochs, and for each of them it stands in a list in
//! order of epochs. When one gets there the block moves on to the set of the others, and after the last it is clean.
//!
//! A requester may have a block of a set when its frontier covers the block on each axis of the set. So the blocks it may
//! have are among the first of *each* of the set's lists: the lists are walked side by side, and the search ends with the
//! shortest. Sets are kept as paths of a tree, axis by axis in ascending order, and a search only goes where its own frontier
//! names the axis.
//!
//! # Cost
//! Filing and taking are O(log n) for each axis. Progress costs that for each block and axis it concerns, and nothing for the
//! others. A search costs a step for each axis it knows and each set that it knows all axes of, and nothing for blocks that
//! wait for an axis it does not know. Within a set it is twice as long as need be at worst when deaths of a set are ordered, as
//! those of queues that work together are.

use crate::index::{Index, Name};
use crate::pool::inbox::unreached;
use crate::table::Table;
use crate::{Axis, Death, Entry, Epoch, Frontier, FrontierRef};
use alloc::vec::Vec;

/// Blocks of an axis among which the soonest is chosen. A preference: one is found wherever there is one.
const CANDIDATES: usize = 16;

/// The set of no axes, above all others.
const ROOT: u32 = 0;

/// What is known of a block.
#[derive(Debug)]
struct Record {
    /// What it waited for when that was last looked at; `None` when that is not known.
    left: Option<Frontier>,
    /// The set of those axes, where they are several.
    set: u32,
    /// Not handed out.
    here: bool,
}

/// A set of axes: that above it, and one more.
#[derive(Clone, Copy, Debug, Default)]
struct Set {
    above: u32,
    axis: u64,
    /// Blocks that wait for just these axes, and sets just below.
    blocks: u32,
    below: u32,
}

#[derive(Debug, Default)]
pub(crate) struct PendingBlocks {
    /// (axis, epoch, block): blocks that wait for one axis, each with the key of its record.
    singles: Index,
    /// (axis, epoch, block): blocks that wait for several, once for each.
    joint: Index,
    /// (set and place of the axis, epoch, block): the same blocks, by what else they wait for.
    filed: Index,
    /// (set, axis, 0): the set with one axis more.
    edges: Index,
    /// The first is that of no axes.
    sets: Vec<Set>,
    vacant: Vec<u32>,
    /// Blocks in `joint`.
    several: u32,
    tainted: Vec<u32>,
    /// (block, 0, 0): the keys of records. That of a block which was handed out from here has the death to restore
    /// should it be canceled; it outlives the reservation and is replaced when the block comes here again.
    keys: Index,
    records: Table<u64, Record>,
}

const fn name(axis: Axis, epoch: Epoch, block: u32) -> Name {
    (axis.to_bits(), epoch, block as u64)
}

/// The list of a set's axis. A frontier has fewer than 256.
const fn list(set: u32, place: usize) -> u64 {
    (set as u64) << 8 | place as u64
}

/// The entries of a list from an epoch on, in order, with the keys of the blocks' records.
fn entries(index: &Index, list: u64, from: Epoch) -> impl Iterator<Item = (Epoch, u32, u64)> {
    let all = index.from((list, from, 0));
    let own = all.take_while(move |((of, ..), _)| *of == list);
    own.map(|((_, epoch, block), key)| (epoch, block as u32, key))
}

/// The first word of each list.
fn lists(index: &Index) -> impl Iterator<Item = u64> {
    let first = |from| index.first_from((from, 0, 0)).map(|((list, ..), _)| list);
    core::iter::successors(first(0), move |&last| first(last.checked_add(1)?))
}

impl PendingBlocks {
    /// Blocks that wait, the tainted ones apart.
    pub(crate) fn pending(&self) -> u32 {
        self.singles.len() as u32 + self.several
    }

    /// Files a block under the axes of its death that have not reached their epochs. `false`: all have, and the block is
    /// the caller's, clean.
    pub(crate) fn file(
        &mut self,
        block: u32,
        death: Death<'_>,
        reached: &dyn Fn(Entry) -> bool,
    ) -> bool {
        let left = death.frontier().map(|frontier| unreached(frontier, reached));
        if left.as_ref().is_some_and(Frontier::is_empty) {
            return false;
        }
        let record = Record { left, set: ROOT, here: true };
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
        self.link(block, key);
        true
    }

    /// Enters a block in the lists of what it waits for.
    fn link(&mut self, block: u32, key: u64) {
        let Self { singles, joint, filed, edges, sets, vacant, several, tainted, records, .. } =
            self;
        let Some(record) = records.get_mut(key) else { return };
        let Some(left) = &record.left else { return tainted.push(block) };
        let left = left.as_ref().entries();
        if let [Entry { axis, epoch }] = *left {
            return singles.insert(name(axis, epoch, block), key);
        }
        if sets.is_empty() {
            sets.push(Set::default());
        }
        let set = left.iter().fold(ROOT, |above, entry| {
            let axis = entry.axis.to_bits();
            let edge = (u64::from(above), axis, 0);
            if let Some(set) = edges.get(edge) {
                return set as u32;
            }
            sets[above as usize].below += 1;
            let made = Set { above, axis, ..Set::default() };
            let set = match vacant.pop() {
                Some(set) => {
                    sets[set as usize] = made;
                    set
                }
                None => {
                    sets.push(made);
                    sets.len() as u32 - 1
                }
            };
            edges.insert(edge, set.into());
            set
        });
        record.set = set;
        sets[set as usize].blocks += 1;
        *several += 1;
        for (place, &Entry { axis, epoch }) in left.iter().enumerate() {
            joint.insert(name(axis, epoch, block), key);
            filed.insert((list(set, place), epoch, block.into()), key);
        }
    }

    /// Takes a block off its lists.
    fn unlink(&mut self, block: u32, key: u64) {
        let Some(Record { left: Some(left), set, .. }) = self.records.get(key) else { return };
        let left = left.as_ref().entries();
        if let [Entry { axis, epoch }] = *left {
            self.singles.remove(name(axis, epoch, block));
            return;
        }
        for (place, &Entry { axis, epoch }) in left.iter().enumerate() {
            self.joint.remove(name(axis, epoch, block));
            self.filed.remove((list(*set, place), epoch, block.into()));
        }
        self.several -= 1;
        let mut at = *set;
        self.sets[at as usize].blocks -= 1;
        // Sets that nothing is in or below any more.
        while at != ROOT
            && let Set { above, axis, blocks: 0, below: 0 } = self.sets[at as usize]
        {
            self.edges.remove((above.into(), axis, 0));
            self.vacant.push(at);
            self.sets[above as usize].below -= 1;
            at = above;
        }
    }

    /// Moves blocks on that an axis got far enough for; hands those to `clean` that wait for nothing more. Whether there
    /// were any.
    pub(crate) fn advance(
        &mut self,
        reached: &dyn Fn(Entry) -> bool,
        clean: &mut dyn FnMut(u32),
    ) -> bool {
        let mut moved = Vec::new();
        for index in [&self.singles, &self.joint] {
            for axis in lists(index) {
                let at = |epoch| reached(Entry::new(Axis::from_bits(axis), epoch));
                // What waits longer for the axis is not looked at.
                let ready = entries(index, axis, 0).take_while(|&(epoch, ..)| at(epoch));
                moved.extend(ready.map(|(_, block, key)| (block, key)));
            }
        }
        for &(block, key) in &moved {
            // One of several axes may be here twice, and wait for nothing by now.
            let Some(record) = self.records.get_mut(key).filter(|record| record.here) else {
                continue;
            };
            let Some(left) = record.left.as_ref() else { continue };
            let now = unreached(left.as_ref(), reached);
            if now == *left {
                continue;
            }
            self.unlink(block, key);
            if now.is_empty() {
                self.forget(block);
                clean(block);
            } else {
                if let Some(record) = self.records.get_mut(key) {
                    record.left = Some(now);
                }
                self.link(block, key);
            }
        }
        !moved.is_empty()
    }

    /// Removes the record of a block.
    fn forget(&mut self, block: u32) {
        if let Some(key) = self.keys.remove((block.into(), 0, 0)) {
            self.records.remove(key);
        }
    }

    /// Everything, tainted or pending, to `clean(block, was_tainted)`.
    pub(crate) fn drain(&mut self, clean: &mut dyn FnMut(u32, bool)) {
        for block in core::mem::take(&mut self.tainted) {
            self.forget(block);
            clean(block, true);
        }
        let mut all = Vec::new();
        for index in [&self.singles, &self.joint] {
            all.extend(index.from((0, 0, 0)).map(|((_, _, block), key)| (block as u32, key)));
        }
        for (block, key) in all {
            if self.records.get(key).is_some_and(|record| record.here) {
                self.unlink(block, key);
                self.forget(block);
                clean(block, false);
            }
        }
    }

    /// A block that `suits` and that whoever knows `frontier` may have: covered on each axis that it waited for when that
    /// was last looked at.
    pub(crate) fn find_covered(
        &self,
        frontier: FrontierRef<'_>,
        suits: &dyn Fn(u32) -> bool,
    ) -> Option<u32> {
        for &Entry { axis, epoch } in frontier.entries() {
            let known = entries(&self.singles, axis.to_bits(), 0);
            let mut known = known.take_while(|&(filed, ..)| filed <= epoch);
            if let Some((_, block, _)) = known.find(|&(_, block, _)| suits(block)) {
                return Some(block);
            }
        }
        if self.several == 0 {
            return None;
        }
        self.find_below(ROOT, frontier.entries(), &mut Vec::new(), frontier, suits)
    }

    /// Searches the sets below one, for axes that `rest` names. `known` is what the requester knows of the axes so far.
    fn find_below(
        &self,
        set: u32,
        rest: &[Entry],
        known: &mut Vec<Epoch>,
        frontier: FrontierRef<'_>,
        suits: &dyn Fn(u32) -> bool,
    ) -> Option<u32> {
        let Set { blocks, below, .. } = *self.sets.get(set as usize)?;
        if blocks != 0
            && let Some(block) = self.find_in(set, known, frontier, suits)
        {
            return Some(block);
        }
        let mut enter = |place: usize, below: u64| {
            known.push(rest[place].epoch);
            let found = self.find_below(below as u32, &rest[place + 1..], known, frontier, suits);
            known.pop();
            found
        };
        // Whichever are fewer: the axes known, or those that there are.
        if below as usize <= rest.len() {
            let mut edges = self.edges.from((set.into(), 0, 0));
            edges.by_ref().take(below as usize).find_map(|((_, axis, _), below)| {
                let axis = Axis::from_bits(axis);
                let place = rest.binary_search_by_key(&axis, |entry| entry.axis).ok()?;
                enter(place, below)
            })
        } else {
            (0..rest.len()).find_map(|place| {
                enter(place, self.edges.get((set.into(), rest[place].axis.to_bits(), 0))?)
            })
        }
    }

    /// Walks the lists of a set side by side up to what is known, until one ends.
    fn find_in(
        &self,
        set: u32,
        known: &[Epoch],
        frontier: FrontierRef<'_>,
        suits: &dyn Fn(u32) -> bool,
    ) -> Option<u32> {
        let lists = known.iter().enumerate().map(|(place, &limit)| {
            entries(&self.filed, list(set, place), 0).take_while(move |&(epoch, ..)| epoch <= limit)
        });
        let mut lists: Vec<_> = lists.collect();
        loop {
            for list in &mut lists {
                let (_, block, key) = list.next()?;
                let left = self.records.get(key).and_then(|record| record.left.as_ref());
                if left.is_some_and(|left| frontier.dominates(left.as_ref())) && suits(block) {
                    return Some(block);
                }
            }
        }
    }

    /// A block that `suits` and has few epochs to wait for beyond `known`, and how many: of several axes those of the
    /// longest wait. There is one unless no block suits.
    pub(crate) fn soonest(
        &self,
        known: &dyn Fn(Axis) -> Epoch,
        suits: &dyn Fn(u32) -> bool,
    ) -> Option<(Epoch, u32)> {
        let mut soonest: Option<(Epoch, u32)> = None;
        for index in [&self.singles, &self.joint] {
            for axis in lists(index) {
                let from = known(Axis::from_bits(axis));
                // A block that is known on this axis stands under another that it is not known on.
                let unknown = entries(index, axis, from.saturating_add(1));
                let suiting = unknown.filter(|&(_, block, _)| suits(block));
                for (epoch, block, key) in suiting.take(CANDIDATES) {
                    if soonest.is_some_and(|(least, _)| epoch - from >= least) {
                        break;
                    }
                    let left = self.records.get(key).and_then(|record| record.left.as_ref());
                    let entries = left.map_or(&[][..], |left| left.as_ref().entries());
                    let left = entries.iter().map(|e| e.epoch.saturating_sub(known(e.axis))).max();
                    let left = left.unwrap_or(epoch - from);
                    if soonest.is_none_or(|(least, _)| left < least) {
                        soonest = Some((left, block));
                    }
                }
            }
        }
        soonest
    }

    /// Takes a block that is here, and remembers what it waited for.
    pub(crate) fn take(&mut self, block: u32) -> Option<FrontierRef<'_>> {
        let key = self.keys.get((block.into(), 0, 0))?;
        self.unlink(block, key);
        let record = self.records.get_mut(key)?;
        record.here = false;
        record.left.as_ref().map(Frontier::as_ref)
    }

    fn record(&self, block: u32) -> Option<&Record> {
        self.records.get(self.keys.get((block.into(), 0, 0))?)
    }

    /// What a block that was handed out from here had waited for.
    pub(crate) fn death_of(&self, block: u32) -> Death<'_> {
        // Handed out from here, so there is one; unknown would be the safe answer.
        self.record(block).map_or(Death::Unknown, Record::death)
    }

    /// The death of a block that is here.
    pub(crate) fn death_here(&self, block: u32) -> Option<Death<'_>> {
        self.record(block).filter(|record| record.here).map(Record::death)
    }
}

impl Record {
    fn death(&self) -> Death<'_> {
        self.left.as_ref().map_or(Death::Unknown, |left| Death::After(left.as_ref()))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
