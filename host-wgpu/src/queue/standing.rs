//! Why a queue stands still: what each of its operations that wgpu does not have waits for.
//!
//! Cost: a step for each operation and each axis and range that it names, with the set's lock held. For people and logs.

use super::buffers::Memory;
use super::state::{Item, Kind, State};
use core::fmt;
use strandline_core::queue::BufferId;
use strandline_core::{Axis, Entry, Epoch, Tracker};

/// Something that an operation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// The operation of the same queue before it.
    Before(Epoch),
    /// An epoch of another axis: that it is reached, or, on the same device, that it is handed to wgpu.
    Axis(Entry),
    /// The memory of a buffer: its pool has none, or what its alloca waits for was not submitted yet. The alloca itself, its
    /// dealloca, and what uses it wait for this.
    Memory(BufferId),
    /// A staging chunk: all are in flight.
    Staging,
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(epoch) => write!(f, "epoch {epoch} before it"),
            Self::Axis(Entry { axis, epoch }) => write!(f, "{axis} @ {epoch}"),
            Self::Memory(buffer) => write!(f, "memory for {buffer:?}"),
            Self::Staging => f.write_str("a staging chunk"),
        }
    }
}

/// An operation that wgpu does not have yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// The queue.
    pub axis: Axis,
    /// The operation.
    pub epoch: Epoch,
    /// Everything that it waits for; empty when it is about to go.
    pub waits_for: Vec<WaitsFor>,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} @ {} waits for ", self.axis, self.epoch)?;
        for (i, what) in self.waits_for.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{what}")?;
        }
        if self.waits_for.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}

impl State {
    pub(super) fn standing(&self, position: usize, tracker: &Tracker) -> Vec<Standing> {
        let line = &self.lines[position];
        let mut before = None;
        let one = |item: &Item| {
            let mut waits_for = Vec::new();
            waits_for.extend(before.replace(item.epoch).map(WaitsFor::Before));
            let missing = item.wait.as_ref().entries().iter();
            let missing = missing.filter(|entry| self.is_missing(line, **entry, tracker));
            waits_for.extend(missing.map(|entry| WaitsFor::Axis(*entry)));
            match &item.kind {
                Kind::Alloca(buffer) | Kind::Dealloca(buffer) if !item.decided => {
                    waits_for.push(WaitsFor::Memory(*buffer));
                }
                Kind::Work { commands, upload, readback } => {
                    for command in commands {
                        let waiting = command.transients().filter(|&buffer| {
                            matches!(self.buffers.memory(buffer), Some(Memory::Waiting))
                        });
                        for buffer in waiting {
                            if !waits_for.contains(&WaitsFor::Memory(buffer)) {
                                waits_for.push(WaitsFor::Memory(buffer));
                            }
                        }
                    }
                    if waits_for.is_empty() && (*upload, *readback) != (0, 0) {
                        waits_for.push(WaitsFor::Staging);
                    }
                }
                Kind::Alloca(_) | Kind::Dealloca(_) | Kind::Foreign(_) => {}
            }
            Standing { axis: line.axis, epoch: item.epoch, waits_for }
        };
        line.items.iter().map(one).collect()
    }
}
