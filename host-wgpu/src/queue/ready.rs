//! What of a queue set can go now: the heads of its lines.
//!
//! A head goes when core has decided it, its memory is there, and what it waits for is reached, or, on the same device, handed
//! to wgpu before it. Heads that go let others go, so the lines are gone through until nothing moves.
//!
//! Cost: a look at each head, and a step for each item that goes. Allocates only for a head that has to wait for something
//! outside its device.

use super::QueueError;
use super::buffers::{Buffers, Memory};
use super::state::{Item, Kind, Line, State};
use crate::command::{Base, BufferRange};
use crate::gpu::Gpu;
use std::collections::VecDeque;
use strandline_core::{Axis, Entry, Epoch, Failure, Frontier, Progress, Tracker};

/// A wait that the tracker is to call for, and its entries.
pub(super) type Arm = (Frontier, Vec<Entry>);

impl State {
    /// Moves to the batch what can go now, in an order in which it may, and lists the waits to be called for.
    pub(super) fn select(
        &mut self,
        tracker: &Tracker,
        batch: &mut VecDeque<(usize, Item)>,
        arms: &mut Vec<Arm>,
    ) {
        let mut failed: Vec<(usize, Epoch, Failure)> = Vec::new();
        loop {
            let before = batch.len();
            for position in 0..self.lines.len() {
                if failed.iter().any(|(line, ..)| *line == position) {
                    continue;
                }
                while let Some(ready) = self.head(position, tracker, arms) {
                    match ready {
                        Ok(item) => batch.push_back((position, item)),
                        Err((epoch, failure)) => {
                            failed.push((position, epoch, failure));
                            break;
                        }
                    }
                }
            }
            if batch.len() == before {
                break;
            }
        }
        for (line, epoch, failure) in failed {
            let axis = self.lines[line].axis;
            self.engine.fail_from(axis, epoch, &failure);
            // Its events are taken in the next round.
            self.again = true;
        }
    }

    /// The first item of a line, if it can go; what makes it fail, if it never can.
    fn head(
        &mut self,
        position: usize,
        tracker: &Tracker,
        arms: &mut Vec<Arm>,
    ) -> Option<Result<Item, (Epoch, Failure)>> {
        let line = &self.lines[position];
        let item = line.items.front()?;
        let waits_for = item.wait.as_ref().entries();
        let is_missing = |entry: &&Entry| self.is_missing(line, **entry, tracker);
        if waits_for.iter().any(|entry| is_missing(&entry)) {
            if item.armed {
                return None;
            }
            // On this device only the submission is waited for, and the pump sees that itself.
            let missing = waits_for.iter().filter(is_missing);
            let foreign: Vec<Entry> =
                missing.filter(|entry| !self.is_here(line.device, entry.axis)).copied().collect();
            // A part of a frontier is one.
            if !foreign.is_empty()
                && let Ok(wait) = Frontier::from_entries(foreign.iter().copied())
            {
                arms.push((wait, foreign));
                self.lines[position].items[0].armed = true;
            }
            return None;
        }
        // Only now: what waits for memory, and for what will never come, must hear of that.
        if !item.decided {
            return None;
        }
        let behind = waits_for.iter().any(|entry| {
            entry.axis != line.axis
                && self.is_here(line.device, entry.axis)
                && !tracker.has_reached(entry.axis, entry.epoch)
        });
        let Self { lines, buffers, .. } = self;
        let item = &mut lines[position].items[0];
        item.behind = behind;
        if let Kind::Work { commands, .. } = &mut item.kind {
            for command in commands {
                let (ranges, target) = command.ranges_mut();
                for range in ranges.iter_mut().chain(target) {
                    match resolve(buffers, range) {
                        Some(Ok(())) => {}
                        Some(Err(failure)) => return Some(Err((item.epoch, failure))),
                        None => return None,
                    }
                }
            }
        }
        let line = &mut self.lines[position];
        let item = line.items.pop_front()?;
        line.issued = item.epoch;
        Some(Ok(item))
    }

    /// Whether an operation of the line has to wait for `entry` still.
    pub(super) fn is_missing(&self, line: &Line, entry: Entry, tracker: &Tracker) -> bool {
        entry.axis != line.axis
            && !self.is_ahead(line.device, entry)
            && !tracker.has_reached(entry.axis, entry.epoch)
    }

    /// Whether `axis` is a queue of the device.
    fn is_here(&self, device: usize, axis: Axis) -> bool {
        self.lines.iter().any(|line| line.axis == axis && line.device == device)
    }

    /// Whether wgpu has, or is about to get, the work of `entry` on the same device: what comes now runs after it.
    fn is_ahead(&self, device: usize, entry: Entry) -> bool {
        self.lines.iter().any(|line| {
            line.axis == entry.axis && line.device == device && line.issued >= entry.epoch
        })
    }

    /// The first line from `from` on that began or ceased to wait: its position, its device, and whether it waits. The
    /// device is to be told.
    pub(super) fn expectation(&mut self, from: usize) -> Option<(usize, Gpu, bool)> {
        let changed = |line: &Line| line.expecting == line.items.is_empty();
        let at = (from..self.lines.len()).find(|&at| changed(&self.lines[at]))?;
        let line = &mut self.lines[at];
        line.expecting = !line.expecting;
        Some((at, self.devices[line.device].gpu.clone(), line.expecting))
    }
}

/// Puts a transient buffer's slice in its place. `None` while it waits for its memory.
fn resolve(buffers: &mut Buffers, range: &mut BufferRange) -> Option<Result<(), Failure>> {
    let Base::Transient(buffer) = range.base else { return Some(Ok(())) };
    let slice = match buffers.memory(buffer.id) {
        Some(Memory::Waiting) => return None,
        Some(Memory::Slice(slice)) => slice.clone(),
        Some(Memory::Failed(failure)) => return Some(Err(failure.clone())),
        // Known as long as this names it.
        None => return Some(Err(Failure::new(QueueError::UnknownBuffer(buffer.id)))),
    };
    range.base = Base::Slice(slice);
    buffers.used(buffer.id);
    Some(Ok(()))
}
