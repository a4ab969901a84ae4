//! What a queue set knows: lines of operations, devices, where buffers are. What core decides comes in here.
//!
//! ```text
//!   line 0   [5 dealloca] [4 work] [3 alloca, undecided]      ◀── core's events decide allocas and deallocas
//!   line 1   [9 work]
//!   buffers  buffer ─▶ its slice, or why it has none, and how many ranges in the lines still name it
//! ```
//!
//! # Invariants
//! - A line's items have consecutive epochs, from the one after the last that was issued. Of a line that has failed those before
//!   its failure are left, and go on.
//! - A buffer is known until its end is over, or has failed, *and* nothing in a line names it: whoever was let in finds either its
//!   memory or the reason why there is none.
//! - Nothing here calls foreign code: what owns foreign values leaves through `trash` and is dropped with the lock released.

use super::QueueError;
use super::buffers::{Buffers, Memory};
use super::exec::Exec;
use super::pump::Batch;
use crate::command::Command;
use crate::gpu::Gpu;
use crate::pools::GpuPools;
use crate::staging::Arrivals;
use crate::timeline::Timeline;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use strandline_core::queue::{BufferId, Cause, QueueEvent};
use strandline_core::{Axis, Epoch, Failure, Frontier, FrontierRef, Merge, Pool, Queues};
use wgpu::SubmissionIndex;

/// The most empty lists of commands that are kept to be filled again.
const MOST_BLANKS: usize = 64;

/// What an operation has the device do.
pub(super) enum Kind {
    /// Begins this buffer.
    Alloca(BufferId),
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

impl Kind {
    /// Whether the program records it, or has submitted it.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign(_)) || self.commands().iter().any(Command::is_foreign)
    }

    /// What it is to do.
    pub(super) fn commands(&self) -> &[Command] {
        match self {
            Self::Work { commands, .. } => commands,
            Self::Alloca(_) | Self::Dealloca(_) | Self::Foreign(_) => &[],
        }
    }
}

pub(super) struct Item {
    pub(super) epoch: Epoch,
    pub(super) kind: Kind,
    /// What the program said, until core has decided; then what core says.
    pub(super) wait: Frontier,
    /// Core has decided; for work, from the beginning.
    pub(super) decided: bool,
    /// The tracker will call when the wait is reached.
    pub(super) armed: bool,
    /// It comes after what another queue of its device has handed to wgpu, and what is not known to be over.
    pub(super) behind: bool,
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
    /// What operations that were given up were to wait for; `None` if that is more than a frontier holds.
    pub(super) abandoned: Option<Frontier>,
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

pub(super) struct State {
    pub(super) engine: Queues,
    pub(super) lines: Vec<Line>,
    pub(super) devices: Vec<Device>,
    pub(super) buffers: Buffers,
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
    /// Devices whose loss was taken in: their staging is to end, with the lock released.
    pub(super) ending: Vec<usize>,
    /// Axes of lost devices that are to be fenced, with the lock released.
    pub(super) fences: Vec<Fence>,
}

/// Up to which epoch an axis does nothing any more, once the frontier is reached.
pub(super) type Fence = (Axis, Epoch, Frontier);

impl State {
    pub(super) fn new(engine: Queues) -> Self {
        Self {
            engine,
            lines: Vec::new(),
            devices: Vec::new(),
            buffers: Buffers::default(),
            ended: Vec::new(),
            pumping: false,
            again: false,
            batch: Batch::default(),
            blanks: Vec::new(),
            trash: Vec::new(),
            ending: Vec::new(),
            fences: Vec::new(),
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

    /// Gives an epoch to work that names these buffers. One that has ended is refused: no event would ever decide it.
    pub(super) fn take_in(
        &mut self,
        line: usize,
        axis: Axis,
        wait: FrontierRef<'_>,
        commands: &[Command],
    ) -> Result<Epoch, QueueError> {
        self.check(line)?;
        let named = || commands.iter().flat_map(Command::transients);
        if let Some(unknown) = named().find(|&buffer| !self.buffers.knows(buffer)) {
            return Err(QueueError::UnknownBuffer(unknown));
        }
        use strandline_core::QueueError as Refused;
        let epoch = self.engine.work_on(axis, wait, named()).map_err(|error| match error {
            Refused::AlreadyDeallocated(id) | Refused::UnknownBuffer(id) => {
                QueueError::UnknownBuffer(id)
            }
            error => error.into(),
        })?;
        named().for_each(|buffer| self.buffers.name(buffer));
        Ok(epoch)
    }

    pub(super) fn push(
        &mut self,
        line: usize,
        epoch: Epoch,
        kind: Kind,
        decided: bool,
        wait: Frontier,
    ) {
        let item = Item { epoch, kind, wait, decided, armed: false, behind: false };
        self.lines[line].items.push_back(item);
    }

    /// Takes in what ended, asks core again, and hands its events to the lines.
    pub(super) fn advance(&mut self, pools: &GpuPools) {
        for device in 0..self.devices.len() {
            let entry = &mut self.devices[device];
            if entry.lost {
                continue;
            }
            // Not before the axes know: what the device had finished does not fail.
            let Some(failure) = entry.gpu.ended().cloned() else { continue };
            entry.lost = true;
            for line in self.lines.iter().filter(|line| line.device == device) {
                self.engine.fail(line.axis, &failure);
            }
            self.give_up(device, &failure);
            self.ending.push(device);
        }
        for (axis, failure) in core::mem::take(&mut self.ended) {
            self.engine.fail(axis, &failure);
        }
        self.engine.poll();
        while let Some(event) = self.engine.next_event() {
            self.take(event, pools);
        }
        for &device in &self.ending {
            let lines = self.lines.iter().filter(|line| line.device == device);
            let fence = |line: &Line| {
                let submitted = self.engine.submitted(line.axis)?;
                Some((line.axis, submitted, line.abandoned.clone()?))
            };
            self.fences.extend(lines.filter_map(fence));
        }
    }

    /// The staging of devices whose loss was just taken in, and why.
    pub(super) fn lost_devices(
        &mut self,
    ) -> impl Iterator<Item = (Arc<Mutex<Exec>>, Failure)> + '_ {
        let Self { ending, devices, .. } = self;
        ending.drain(..).filter_map(|device| {
            let device = &devices[device];
            Some((device.exec.clone(), device.gpu.ended()?.clone()))
        })
    }

    /// The memory of a lost device is of no use to anybody: buffers in it end.
    fn give_up(&mut self, device: usize, failure: &Failure) {
        for buffer in self.buffers.fail_all_of(&self.devices[device].gpu, failure) {
            // One that was deallocated ends with its queue.
            let _ = self.engine.abandon(buffer);
        }
    }

    fn take(&mut self, event: QueueEvent, pools: &GpuPools) {
        match event {
            QueueEvent::Ready { buffer, axis, epoch, place, wait } => {
                let memory = match pools.slice_at(&place) {
                    Ok(slice) => Memory::Slice(slice),
                    Err(error) => Memory::Failed(Failure::new(error)),
                };
                self.buffers.bind(buffer, memory);
                self.decide(axis, epoch, wait);
            }
            QueueEvent::Released { axis, epoch, wait, .. } => self.decide(axis, epoch, wait),
            QueueEvent::Failed { buffer, axis, epoch, wait, cause } => {
                let failure = match cause {
                    Cause::Axis { failure, .. } => failure,
                    other => Failure::message(other.to_string()),
                };
                // Without a wait it had memory.
                self.buffers.fail(buffer, failure, wait.is_none());
                if self.engine.status(buffer).is_err() {
                    self.buffers.end(buffer);
                }
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
            // The tracker was asked for less, perhaps.
            item.armed = false;
        }
    }

    /// A queue does nothing from `from` on. What comes before goes on.
    fn fail(&mut self, axis: Axis, from: Epoch, failure: &Failure) {
        let Some(position) = self.lines.iter().position(|line| line.axis == axis) else { return };
        let line = &mut self.lines[position];
        log::warn!("{axis} failed from epoch {from}: {failure}");
        // Told again only when it reaches further back: then that is the cause of the rest, too.
        line.failed = Some(failure.clone());
        let at = line.items.partition_point(|item| item.epoch < from);
        let items = line.items.split_off(at);
        line.timeline.fail(from, failure);
        for item in items {
            // Whoever freed memory to die with it counts on that as well.
            let all = line.abandoned.as_mut();
            if all.is_some_and(|all| all.merge(item.wait.as_ref()) != Merge::Done) {
                line.abandoned = None;
            }
            for command in item.kind.commands() {
                command.fail(failure);
                command.transients().for_each(|buffer| self.buffers.used(buffer));
            }
            if let Kind::Dealloca(buffer) = item.kind {
                self.buffers.end(buffer);
            }
            self.trash.push(item);
        }
    }
}
