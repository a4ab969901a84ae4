//! Who waits for what: every waiter is filed under one axis that has not come far enough.
//!
//! ```text
//!   waiting for {a @ 3, b @ 9, c @ 2}         filed: (slot of a, 3, serial) ─▶ waiter
//!     a reaches 3:  refile                           (slot of b, 9, serial) ─▶ waiter
//!     b reaches 9:  c is at 5 already, so fire
//! ```
//!
//! One ordered map holds all of them by (slot, epoch, serial), so those that an advance satisfies
//! stand together at the front of their slot, oldest first within an epoch; the others are not looked
//! at. All of this runs under the tracker's lock; what fires is handed out and runs after it.
//!
//! Cost: filing, refiling and cancelling are logarithmic in the number of waiters. A waiter is
//! refiled at most once for each of its axes. Ending an axis looks at every waiter.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::table::{ENDED, NONE, Table};
use super::{End, WaitError, WaitId};
use crate::axis::{Axis, Epoch};
use crate::frontier::{Entry, Frontier, FrontierRef};
use crate::index::{Index, Name};
use crate::run_all::run_all;

/// What runs when a wait is over.
pub(super) type Callback = Box<dyn FnOnce(Result<(), WaitError>) + Send>;

struct Waiter {
    serial: u64,
    frontier: Frontier,
    /// The entry of `frontier` that it is filed under. Those before it are reached.
    at: usize,
    callback: Callback,
}

/// (slot, epoch, serial): where a waiter is filed.
const fn name(slot: usize, epoch: Epoch, serial: u64) -> Name {
    (slot as u64, epoch, serial)
}

/// All waiters, and the axes that have ended.
#[derive(Default)]
pub(super) struct Waiters {
    /// Waiters by index; vacant where `free` says so.
    waiters: Vec<Option<Waiter>>,
    free: Vec<usize>,
    /// Where each of them is filed, and its index.
    filed: Index,
    /// By slot.
    ends: Vec<(usize, End)>,
    /// Slots of axes that were retired, in order.
    #[cfg(feature = "std")]
    retired: Vec<usize>,
    last_serial: u64,
}

impl Waiters {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.filed.len()
    }

    /// How the axis in `slot` ended, if it did.
    pub(super) fn end(&self, slot: usize) -> Option<&End> {
        Some(&self.ends[self.place_of_end(slot).ok()?].1)
    }

    /// Where the end of the axis in `slot` is, or would go.
    fn place_of_end(&self, slot: usize) -> Result<usize, usize> {
        self.ends.binary_search_by_key(&slot, |(slot, _)| *slot)
    }

    /// Files a waiter for `frontier`, whose axes are all in the table; or puts it on `fired` when it
    /// needs to wait no longer.
    pub(super) fn add(
        &mut self,
        table: &Table,
        frontier: Frontier,
        callback: Callback,
        fired: &mut Fired,
    ) -> WaitId {
        self.last_serial += 1;
        let serial = self.last_serial;
        if let Some(error) = self.hopeless(table, frontier.as_ref()) {
            fired.push(callback, Err(error));
            // Never filed, so there is nothing to cancel under this name.
            return WaitId { index: usize::MAX, serial };
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.waiters.push(None);
            self.waiters.len() - 1
        });
        self.file(table, index, Waiter { serial, frontier, at: 0, callback }, fired);
        WaitId { index, serial }
    }

    /// Files a waiter under its first entry from `at` on that is not reached; without one, fires it.
    /// Its place in `waiters` is vacant before, and none of the axes that it needs has ended: a
    /// waiter is not added when one has, and taken out when one does.
    fn file(&mut self, table: &Table, index: usize, mut waiter: Waiter, fired: &mut Fired) {
        while let Some(&Entry { axis, epoch }) = waiter.frontier.as_ref().entries().get(waiter.at) {
            // Every axis was looked up before the waiter was added, and axes are never removed.
            if let Some((at, slot)) = table.find(axis)
                && slot.reached() < epoch
            {
                if !slot.want(epoch) {
                    self.filed.insert(name(at, epoch, waiter.serial), index as u64);
                    self.waiters[index] = Some(waiter);
                    return;
                }
                // Reached in the meantime: want what was wanted before.
                slot.set_wanted(self.first(at));
            }
            waiter.at += 1;
        }
        self.free.push(index);
        fired.push(waiter.callback, Ok(()));
    }

    /// Why `frontier` can never be reached, when one of its axes has ended below its epoch.
    fn hopeless(&self, table: &Table, frontier: FrontierRef<'_>) -> Option<WaitError> {
        if self.ends.is_empty() {
            return None;
        }
        frontier.entries().iter().find_map(|&Entry { axis, epoch }| {
            let (at, slot) = table.find(axis)?;
            let end = self.end(at)?;
            (slot.reached() < epoch).then(|| end.to_error(axis))
        })
    }

    /// Takes the waiter filed here out, or `None` when there is none.
    fn unfile(&mut self, name: Name) -> Option<(usize, Waiter)> {
        let index = self.filed.remove(name)? as usize;
        Some((index, self.waiters[index].take()?))
    }

    /// The lowest epoch waited for in `slot`.
    fn first(&self, slot: usize) -> Epoch {
        self.first_name(slot).map_or(NONE, |(_, epoch, _)| epoch)
    }

    fn first_name(&self, slot: usize) -> Option<Name> {
        let (name, _) = self.filed.first_from(name(slot, 0, 0))?;
        (name.0 == slot as u64).then_some(name)
    }

    /// Refiles or fires every waiter filed under `slot` that the axis has reached, and returns how
    /// far that was.
    pub(super) fn reached(&mut self, table: &Table, slot: usize, fired: &mut Fired) -> Epoch {
        let axis = table.slot(slot);
        let reached = axis.reached();
        while let Some(name) = self.first_name(slot).filter(|&(_, epoch, _)| epoch <= reached) {
            if let Some((index, waiter)) = self.unfile(name) {
                self.file(table, index, waiter, fired);
            }
        }
        // Whoever raised the axis beyond `reached` since read a `wanted` at or below what is filed,
        // and is waiting for the lock to do this again.
        axis.set_wanted(self.first(slot));
        reached
    }

    /// Ends the axis in `slot` and fires every waiter that still needs it. The first end counts:
    /// false when it has ended before.
    pub(super) fn end_axis(
        &mut self,
        table: &Table,
        (axis, slot): (Axis, usize),
        end: End,
        fired: &mut Fired,
    ) -> bool {
        let Err(place) = self.place_of_end(slot) else { return false };
        // What was reached before the end counts, even if the advance that did it has not come here.
        // Read once: what an advance raises from here on finds the axis ended, and wakes no one.
        let reached = self.reached(table, slot, fired);
        for index in 0..self.waiters.len() {
            let needs_it = |waiter: &mut Waiter| waiter.frontier.get(axis) > reached;
            let Some(waiter) = self.waiters[index].take_if(needs_it) else { continue };
            self.forget(table, index, &waiter);
            fired.push(waiter.callback, Err(end.to_error(axis)));
        }
        self.ends.insert(place, (slot, end));
        table.slot(slot).set_wanted(ENDED);
        true
    }

    /// Notes that the axis in `slot` is retired; whether it was not before.
    #[cfg(feature = "std")]
    pub(super) fn retire(&mut self, slot: usize) -> bool {
        let place = self.retired.binary_search(&slot);
        if let Err(place) = place {
            self.retired.insert(place, slot);
        }
        place.is_err()
    }

    /// Takes a waiter out, if it still waits.
    pub(super) fn remove(&mut self, table: &Table, id: WaitId) -> Option<Callback> {
        let waiter =
            self.waiters.get_mut(id.index)?.take_if(|waiter| waiter.serial == id.serial)?;
        self.forget(table, id.index, &waiter);
        Some(waiter.callback)
    }

    /// Clears up after a waiter that was taken from `index` while filed.
    fn forget(&mut self, table: &Table, index: usize, waiter: &Waiter) {
        self.free.push(index);
        let Some(&Entry { axis, epoch }) = waiter.frontier.as_ref().entries().get(waiter.at) else {
            return;
        };
        let Some((at, slot)) = table.find(axis) else { return };
        self.filed.remove(name(at, epoch, waiter.serial));
        slot.set_wanted(self.first(at));
    }

    /// Takes all callbacks, oldest first.
    pub(super) fn take_all(&mut self) -> Vec<Callback> {
        self.filed = Index::default();
        self.free.clear();
        let mut waiters = core::mem::take(&mut self.waiters);
        let mut by_age = Index::default();
        for (waiter, index) in waiters.iter().zip(0..) {
            if let Some(waiter) = waiter {
                by_age.insert((waiter.serial, 0, 0), index);
            }
        }
        let take = |index| Some(waiters[index as usize].take()?.callback);
        by_age.words().filter_map(take).collect()
    }
}

impl fmt::Debug for Waiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiters")
            .field("waiting", &self.filed.len())
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

/// Callbacks whose wait is over, to be run once the lock is released.
#[derive(Default)]
pub(super) struct Fired(Vec<(Callback, Result<(), WaitError>)>);

impl Fired {
    fn push(&mut self, callback: Callback, result: Result<(), WaitError>) {
        self.0.push((callback, result));
    }

    /// Runs them, in order.
    pub(super) fn run(self) {
        run_all(self.0.into_iter().map(|(callback, result)| move || callback(result)));
    }
}
