//! The pump: rounds in which everything goes on that can.
//!
//! ```text
//!   call ─▶ lock: core decides, the line gets an item ─▶ unlock ─▶ pump
//!   pump ─▶ lock: ended axes, core's events, which heads can go ─▶ unlock ─▶ encode, submit ─▶ again
//! ```
//!
//! # Invariants
//! - At most one thread is the pump. One that finds another there leaves a note (`again`), so nothing is missed.
//! - Foreign code (commands, callbacks, drops of both) runs with the lock released.
//! - Whatever wgpu does, a panic included, a round ends, and the lock is the next one's.
//!
//! # Cost
//! A round's lists live on between rounds: in the steady state it allocates nothing, whatever wgpu does.

use super::exec::{Exec, failure_of as failure_of_gpu};
use super::failure_of;
use super::ready::Arm;
use super::set::SetInner;
use super::state::{Fence, Item, Kind};
use crate::command::Command;
use crate::gpu::Listener;
use crate::staging::Short;
use crate::timeline::Timeline;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use strandline_core::queue::BufferId;
use strandline_core::{Entry, Epoch, Failure, Frontier, Progress};

/// Items of one line that go out in one submission, at most.
const RUN: usize = 64;

/// What a round works on.
#[derive(Default)]
pub(super) struct Batch {
    /// What can go, each with its line, in an order in which it may.
    items: VecDeque<(usize, Item)>,
    /// Waits to be called for.
    arms: Vec<Arm>,
    /// What failed or ended: dropped with the lock released.
    trash: Vec<Item>,
    /// Buffers that end with the submission under way.
    ended: Vec<BufferId>,
    /// Lists of commands that have been recorded.
    spent: Vec<Vec<Command>>,
    /// Staging that ends with its device.
    lost: Vec<(Arc<Mutex<Exec>>, Failure)>,
    /// Axes that are over with their device.
    fences: Vec<Fence>,
}

/// How the pump's round ended.
enum Round {
    /// Everything went out.
    Done,
    /// The staging rings are in flight: what is left of the batch waits.
    Short,
    /// A line cannot do what it has from an epoch on.
    Failed(usize, Epoch, Failure),
}

impl SetInner {
    /// Lets everything go on that can, unless another thread is at it; then that one does.
    pub(super) fn pump(&self) {
        loop {
            let mut state = self.lock();
            if state.pumping {
                state.again = true;
                return;
            }
            state.pumping = true;
            state.again = false;
            let mut batch = core::mem::take(&mut state.batch);
            state.advance(self.pools());
            state.select(self.tracker(), &mut batch.items, &mut batch.arms);
            core::mem::swap(&mut batch.trash, &mut state.trash);
            batch.lost.extend(state.lost_devices());
            core::mem::swap(&mut batch.fences, &mut state.fences);
            drop(state);
            batch.trash.clear();
            for (exec, failure) in batch.lost.drain(..) {
                exec.lock().unwrap_or_else(PoisonError::into_inner).end(&failure);
            }
            let fenced = !batch.fences.is_empty();
            for (axis, epoch, after) in batch.fences.drain(..) {
                // It was opened here, and has ended with its device.
                let _ = self.tracker().fence_axis_to(axis, epoch, after.as_ref());
            }
            for (frontier, arm) in batch.arms.drain(..) {
                self.arm(frontier, arm);
            }
            let selected = batch.items.len();
            let round = self.execute(&mut batch);
            let progress = selected > batch.items.len();

            let mut state = self.lock();
            while let Some((line, item)) = batch.items.pop_back() {
                let line = &mut state.lines[line];
                line.issued = item.epoch - 1;
                line.items.push_front(item);
            }
            // What was fenced may be memory that somebody waits for.
            let mut more = state.again || progress || fenced;
            if let Round::Failed(line, from, failure) = round {
                let line = &mut state.lines[line];
                line.issued = line.issued.min(from - 1);
                let axis = line.axis;
                state.engine.fail_from(axis, from, &failure);
                more = true;
            }
            state.keep_blanks(&mut batch.spent);
            state.batch = batch;
            state.pumping = false;
            let mut line = 0;
            while let Some((at, gpu, waits)) = state.expectation(line) {
                drop(state);
                gpu.expect(waits);
                line = at + 1;
                state = self.lock();
            }
            drop(state);
            if !more {
                return;
            }
        }
    }

    /// Has the tracker call when a wait is reached, or can never be.
    fn arm(&self, wait: Frontier, axes: Vec<Entry>) {
        let this = self.weak();
        let called = self.tracker().wait(wait.as_ref(), move |reached| {
            let Some(this) = this.upgrade() else { return };
            if let Err(error) = reached {
                let failure = failure_of(error);
                // Which of them ended, the error may tell; those that did not are not affected by being asked about.
                let mut state = this.lock();
                for entry in &axes {
                    if matches!(this.tracker().end_of(entry.axis), Ok(Some(_)))
                        && !this.tracker().has_reached(entry.axis, entry.epoch)
                    {
                        state.ended.push((entry.axis, failure.clone()));
                    }
                }
            }
            this.pump();
        });
        if let Err(error) = called {
            // Axes are checked when they are submitted, and never unregistered.
            log::error!("waiting for {wait:?}: {error}");
        }
    }

    /// Encodes and submits a batch, in order. What does not go out stays in it.
    fn execute(&self, batch: &mut Batch) -> Round {
        while let Some((line, from)) = batch.items.front().map(|(line, item)| (*line, item.epoch)) {
            let (timeline, exec) = {
                let state = self.lock();
                let line = &state.lines[line];
                (line.timeline.clone(), state.devices[line.device].exec.clone())
            };
            let mut exec = exec.lock().unwrap_or_else(PoisonError::into_inner);
            let run = || self.run(line, from, &timeline, &mut exec, batch);
            let round = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
                // wgpu panics when the driver gives up.
                let failure = timeline.gpu().cause(Failure::message("submitting panicked"));
                exec.give_up(&failure);
                Round::Failed(line, from, failure)
            });
            match round {
                Round::Done => {}
                other => return other,
            }
        }
        Round::Done
    }

    /// One submission: items of one line, from the front of the batch, whose first epoch is `from`. What the program records itself
    /// goes out alone: should wgpu refuse it, nothing else is refused with it.
    fn run(
        &self,
        line: usize,
        from: Epoch,
        timeline: &Timeline,
        exec: &mut Exec,
        batch: &mut Batch,
    ) -> Round {
        let mut encoder = None;
        let mut last = None;
        let mut stopped = None;
        let mut foreign = None;
        let mut behind = false;
        for _ in 0..RUN {
            let next = batch.items.front_mut().filter(|(of, _)| *of == line);
            let Some((_, item)) = next else { break };
            let alone = item.kind.is_foreign();
            if alone && last.is_some() {
                // What is before it goes out first.
                break;
            }
            match &mut item.kind {
                Kind::Alloca(_) => {}
                Kind::Dealloca(buffer) => batch.ended.push(*buffer),
                Kind::Work { commands, upload, readback } => {
                    match exec.prepare(*upload, *readback) {
                        Ok(()) => {}
                        Err(Short::Later) => {
                            stopped = Some(Round::Short);
                            break;
                        }
                        Err(Short::Broken(failure)) => {
                            let failure = timeline.gpu().cause(failure);
                            stopped = Some(Round::Failed(line, item.epoch, failure));
                            break;
                        }
                    }
                    if !commands.is_empty() {
                        let encoder = encoder.get_or_insert_with(|| exec.begin(self.pools()));
                        let mut commands = core::mem::take(commands);
                        let encoded = exec.encode_all(encoder, &mut commands, item.epoch);
                        batch.spent.push(commands);
                        if let Err(failure) = encoded {
                            stopped = Some(Round::Failed(line, item.epoch, failure));
                            break;
                        }
                    }
                }
                Kind::Foreign(index) => foreign = index.take(),
            }
            last = Some(item.epoch);
            behind |= item.behind;
            batch.items.pop_front();
            if alone {
                break;
            }
        }
        let Some(last) = last else { return stopped.unwrap_or(Round::Done) };
        let issued = match foreign {
            Some(index) => timeline.issue_foreign(last, index).map_err(failure_of_gpu),
            None => exec.submit(timeline, last, encoder, behind),
        };
        if !batch.ended.is_empty() {
            let mut state = self.lock();
            for buffer in batch.ended.drain(..) {
                match issued {
                    Ok(()) => state.buffers.released(buffer),
                    Err(_) => state.buffers.end(buffer),
                }
            }
        }
        match issued {
            Ok(()) => stopped.unwrap_or(Round::Done),
            Err(failure) => Round::Failed(line, from, failure),
        }
    }
}

impl Listener for SetInner {
    fn progress(&self) {
        for device in 0.. {
            let Some(arrivals) = self.arrivals(device) else { break };
            arrivals.deliver();
        }
        self.pump();
    }
}
