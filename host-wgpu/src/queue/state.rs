//! What a queue set knows: lines of operations, devices, where buffers are. What core decides comes in here.
//!
//! ```text
//!   line 0   [5 dealloca] [4 work] [3 alloca, undecided]      ◀── core's events decide allocas and deallocas
//!   line 1   [9 work]
//!   bound    buffer ─▶ its slice, or why it has none
//! ```
//!
//! # Invariants
//! - A line's items have consecutive epochs, from the one after the last that was issued.
//! - Nothing here calls foreign code: what owns foreign values leaves through `trash` and is dropped with the lock released.

use super::QueueError;
use super::exec::Exec;
use super::pump::Batch;
use crate::command::{Command, Work};
use crate::gpu::Gpu;
use crate::pools::GpuPools;
use crate::slice::GpuSlice;
use crate::staging::Arrivals;
use crate::timeline::Timeline;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use strandline_core::queue::{BufferId, QueueEvent};
use strandline_core::{Axis, Epoch, Failure, Frontier, Pool, Queues};
use wgpu::SubmissionIndex;

/// The most empty lists of commands that are kept to be filled again.
const MOST_BLANKS: usize = 64;

/// What an operation has the device do.
pub(super) enum Kind {
    Alloca,
    /// Ends this buffer.
    Dealloca(BufferId),
    Work {
        commands: Vec<Command>,
        upload: u64,
        readback: u64,
    },
    /// The program has submitted it; taken when issued.
    Foreign(Option<SubmissionIndex>),
}

pub(super) struct Item {
    pub(super) epoch: Epoch,
    pub(super) kind: Kind,
    pub(super) wait: Frontier,
    /// Core has decided; for work, from the beginning.
    pub(super) decided: bool,
    /// The tracker will call when the wait is reached.
    pub(super) armed: bool,
}

/// One queue.
pub(super) struct Line {
    pub(super) axis: Axis,
    pub(super) device: usize,
    pub(super) timeline: Arc<Timeline>,
    pub(super) items: VecDeque<Item>,
    /// The last epoch that was handed to wgpu, or is about to be.
    pub(super) issued: Epoch,
    pub(super) failed: Option<Failure>,
    /// The device was told that something waits here.
    pub(super) expecting: bool,
}

pub(super) struct Device {
    pub(super) gpu: Gpu,
    pub(super) exec: Arc<Mutex<Exec>>,
    pub(super) arrivals: Arrivals,
    pub(super) upload: Arc<dyn Pool>,
    pub(super) readback: Arc<dyn Pool>,
    pub(super) capacity: (u64, u64),
    /// Its loss was taken in.
    pub(super) lost: bool,
}

/// A buffer's memory, or why there is none.
pub(super) enum Bound {
    Slice(GpuSlice),
    Failed(Failure),
}

pub(super) struct State {
    pub(super) engine: Queues,
    pub(super) lines: Vec<Line>,
    pub(super) devices: Vec<Device>,
    pub(super) bound: HashMap<BufferId, Bound>,
    /// Axes that a wait learned to have ended.
    pub(super) ended: Vec<(Axis, Failure)>,
    pub(super) pumping: bool,
    pub(super) again: bool,
    /// What the pump works on; here between its rounds so that no round allocates.
    pub(super) batch: Batch,
    /// Lists that commands are collected in, empty.
    blanks: Vec<Vec<Command>>,
    /// To be dropped with the lock released.
    pub(super) trash: Vec<Item>,
}

impl State {
    pub(super) fn new(engine: Queues) -> Self {
        Self {
            engine,
            lines: Vec::new(),
            devices: Vec::new(),
            bound: HashMap::new(),
            ended: Vec::new(),
            pumping: false,
            again: false,
            batch: Batch::default(),
            blanks: Vec::new(),
            trash: Vec::new(),
        }
    }

    /// An empty list, with room if one was used before.
    pub(super) fn blank(&mut self) -> Vec<Command> {
        self.blanks.pop().unwrap_or_default()
    }

    /// Keeps lists that were emptied.
    pub(super) fn keep_blanks(&mut self, spent: &mut Vec<Vec<Command>>) {
        let room = MOST_BLANKS.saturating_sub(self.blanks.len());
        self.blanks.extend(spent.drain(..).take(room));
    }

    pub(super) fn device_of(&self, gpu: &Gpu) -> Option<usize> {
        self.devices.iter().position(|device| device.gpu.is_same(gpu))
    }

    pub(super) fn check(&self, line: usize) -> Result<(), QueueError> {
        match &self.lines[line].failed {
            Some(failure) => Err(QueueError::Failed(failure.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn push(
        &mut self,
        line: usize,
        epoch: Epoch,
        kind: Kind,
        decided: bool,
        wait: Frontier,
    ) {
        let item = Item { epoch, kind, wait, decided, armed: false };
        self.lines[line].items.push_back(item);
    }

    /// Takes in what ended, asks core again, and hands its events to the lines.
    pub(super) fn advance(&mut self, pools: &GpuPools) {
        for device in 0..self.devices.len() {
            let entry = &mut self.devices[device];
            if entry.lost {
                continue;
            }
            let Some(failure) = entry.gpu.lost().cloned() else { continue };
            entry.lost = true;
            for line in self.lines.iter().filter(|line| line.device == device) {
                self.engine.fail(line.axis, &failure);
            }
            self.give_up(device);
        }
        for (axis, failure) in core::mem::take(&mut self.ended) {
            self.engine.fail(axis, &failure);
        }
        self.engine.poll();
        while let Some(event) = self.engine.next_event() {
            self.take(event, pools);
        }
    }

    /// The memory of a lost device is of no use to anybody: buffers in it end.
    fn give_up(&mut self, device: usize) {
        let gpu = &self.devices[device].gpu;
        let here = |bound: &Bound| matches!(bound, Bound::Slice(slice) if slice.gpu().is_same(gpu));
        let buffers: Vec<BufferId> =
            self.bound.iter().filter(|(_, bound)| here(bound)).map(|(id, _)| *id).collect();
        for buffer in buffers {
            // One that was deallocated ends with its queue.
            let _ = self.engine.abandon(buffer);
        }
    }

    fn take(&mut self, event: QueueEvent, pools: &GpuPools) {
        match event {
            QueueEvent::Ready { buffer, axis, epoch, place, wait } => {
                let bound = match pools.slice_at(&place) {
                    Ok(slice) => Bound::Slice(slice),
                    Err(error) => Bound::Failed(Failure::new(error)),
                };
                self.bound.insert(buffer, bound);
                self.decide(axis, epoch, wait);
            }
            QueueEvent::Released { axis, epoch, wait, .. } => self.decide(axis, epoch, wait),
            QueueEvent::Failed { buffer, axis, epoch, wait, cause } => {
                let failure = match cause {
                    strandline_core::queue::Cause::Axis { failure, .. } => failure,
                    other => Failure::message(other.to_string()),
                };
                self.bound.insert(buffer, Bound::Failed(failure));
                if let Some(wait) = wait {
                    self.decide(axis, epoch, wait);
                }
            }
            QueueEvent::QueueFailed { axis, from, failure, .. } => self.fail(axis, from, &failure),
        }
    }

    /// An alloca or dealloca may go, once `wait` is reached.
    fn decide(&mut self, axis: Axis, epoch: Epoch, wait: Frontier) {
        let Some(line) = self.lines.iter_mut().find(|line| line.axis == axis) else { return };
        let Some(first) = line.items.front().map(|item| item.epoch) else { return };
        let Some(place) = epoch.checked_sub(first).and_then(|place| usize::try_from(place).ok())
        else {
            return;
        };
        if let Some(item) = line.items.get_mut(place) {
            item.decided = true;
            item.wait = wait;
        }
    }

    /// A queue does nothing from `from` on.
    fn fail(&mut self, axis: Axis, from: Epoch, failure: &Failure) {
        let Some(position) = self.lines.iter().position(|line| line.axis == axis) else { return };
        let line = &mut self.lines[position];
        log::warn!("{axis} failed from epoch {from}: {failure}");
        line.failed.get_or_insert_with(|| failure.clone());
        let at = line.items.partition_point(|item| item.epoch < from);
        let items = line.items.split_off(at);
        line.timeline.fail(failure);
        for item in items {
            match &item.kind {
                Kind::Dealloca(buffer) => {
                    self.bound.remove(buffer);
                }
                Kind::Work { commands, .. } => {
                    for command in commands {
                        if let Work::Read { sink, .. } = &command.0 {
                            sink.fail(failure);
                        }
                    }
                }
                Kind::Alloca | Kind::Foreign(_) => {}
            }
            self.trash.push(item);
        }
    }
}
