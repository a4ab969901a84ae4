//! An axis of submissions: [`Timeline`].
//!
//! ```text
//!   submit([commands]) ─▶ epoch 1     submit(…) ─▶ epoch 2     submitted(index) ─▶ epoch 3
//!        │ wgpu has it                                              │ you gave it to wgpu
//!        ▼                                                          ▼
//!   device finishes ─▶ poller ─▶ tracker.advance(axis, 1) … 2 … 3
//! ```
//!
//! # Invariants
//! - Epochs are given out gap-free from 1, whatever the number of threads, and reached in order. When a submission returns its
//!   epoch, wgpu has that submission, and whatever is submitted after that comes behind it on the device.
//! - An epoch is reached when the device has finished its submission and those of all epochs before it, not earlier. On a
//!   device that is lost before that, it never is.
//! - A submission that wgpu's validation refuses does nothing: its epoch is reached with the one before it. One that is refused
//!   because the device is lost never is: the device is looked at before the epoch counts.
//! - A failure begins at an epoch: what is before it goes on, and the axis fails once that is reached.
//!
//! # One queue, several axes
//! wgpu has one queue for each device. Programs with several logical streams may give each a timeline of its own on the one
//! [`Gpu`], so that none waits for another's parked work, or use one for all.
//!
//! # Cost
//! A submission takes a lock twice, never while wgpu runs, and wakes the poller if it sleeps.

use crate::gpu::{Flight, Gpu, GpuError, Line, Shared, Stage, State};
use crate::poller::Ticket;
use crate::scopes::checked;
use core::fmt;
use std::sync::{Arc, MutexGuard};
use strandline_core::{Axis, Entry, Epoch, Failure, Frontier, Tracker};
use wgpu::{CommandBuffer, SubmissionIndex};

/// The axis of a device queue's submissions; see the [module](self).
///
/// ```
/// # let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
/// use strandline_core::{Axis, Frontier, Tracker};
/// use strandline_host_wgpu::{Gpu, Timeline};
///
/// let gpu = Gpu::new(device, queue)?;
/// let tracker = Tracker::new(4);
/// let timeline = Timeline::new(&gpu, &tracker, Axis::queue(0, 0))?;
///
/// // Yours: you submit, the timeline is told.
/// let encoder = gpu.device().create_command_encoder(&Default::default());
/// let index = gpu.queue().submit([encoder.finish()]);
/// let epoch = timeline.submitted(index)?;
///
/// let done = Frontier::from_entry(timeline.axis(), epoch);
/// pollster::block_on(tracker.wait_async(done.as_ref())?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Timeline {
    gpu: Gpu,
    axis: Axis,
    tracker: Tracker,
    line: usize,
}

impl Timeline {
    /// Registers `axis` with `tracker` and begins.
    ///
    /// # Errors
    /// [`GpuError::Tracker`], [`GpuError::Lost`].
    pub fn new(gpu: &Gpu, tracker: &Tracker, axis: Axis) -> Result<Self, GpuError> {
        Self::begin(gpu, tracker, axis, false)
    }

    /// The axis of a queue, which fences it itself after a loss.
    pub(crate) fn of_queue(gpu: &Gpu, tracker: &Tracker, axis: Axis) -> Result<Self, GpuError> {
        Self::begin(gpu, tracker, axis, true)
    }

    fn begin(gpu: &Gpu, tracker: &Tracker, axis: Axis, of_queue: bool) -> Result<Self, GpuError> {
        let mut state = gpu.shared().lock();
        if let Some(failure) = gpu.lost() {
            return Err(GpuError::Lost(failure.clone()));
        }
        tracker.register(axis)?;
        let line = Line::new(axis, tracker.clone(), of_queue);
        // Places are not used again: a flight of a failed line may still name its place.
        let position = state.lines.len();
        state.lines.push(Some(line));
        drop(state);
        Ok(Self { gpu: gpu.clone(), axis, tracker: tracker.clone(), line: position })
    }

    /// The axis.
    #[must_use]
    pub const fn axis(&self) -> Axis {
        self.axis
    }

    /// The device.
    #[must_use]
    pub const fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Who is told of progress.
    #[must_use]
    pub const fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// The last epoch that was given out, 0 before the first.
    #[must_use]
    pub fn last(&self) -> Epoch {
        let state = self.gpu.shared().lock();
        // Gone after a loss; nothing is given out then.
        state.lines.get(self.line).and_then(Option::as_ref).map_or(0, |line| line.last)
    }

    /// What everything submitted from now on is ordered after on this axis: all that wgpu has.
    ///
    /// Bytes that die at these epochs may be used by whatever you submit next, also by a `queue.write_buffer`,
    /// which lands before the next submission. They may not be used by host mappings.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        let issued = self.gpu.shared().lock().issued(self.line);
        match issued {
            0 => Frontier::new(),
            epoch => Frontier::from_entry(self.axis, epoch),
        }
    }

    /// What this axis will have reached when `epoch` is over.
    #[must_use]
    pub const fn entry(&self, epoch: Epoch) -> Entry {
        Entry::new(self.axis, epoch)
    }

    /// Submits, and returns the epoch that is reached when the device has finished.
    ///
    /// # Errors
    /// [`GpuError::Lost`]; the commands are dropped then.
    pub fn submit(
        &self,
        commands: impl IntoIterator<Item = CommandBuffer>,
    ) -> Result<Epoch, GpuError> {
        let boarding = self.board(None)?;
        let epoch = boarding.epoch;
        boarding.depart(self.gpu.queue().submit(commands));
        Ok(epoch)
    }

    /// Takes a submission that you made yourself into the axis; returns its epoch, which is reached no earlier than those
    /// before it.
    ///
    /// # Errors
    /// [`GpuError::Lost`].
    pub fn submitted(&self, index: SubmissionIndex) -> Result<Epoch, GpuError> {
        let boarding = self.board(None)?;
        let epoch = boarding.epoch;
        boarding.depart(index);
        Ok(epoch)
    }

    /// Gives out an epoch for which the device has nothing to do: it is reached with the one before it.
    ///
    /// # Errors
    /// [`GpuError::Lost`].
    pub fn mark(&self) -> Result<Epoch, GpuError> {
        self.pass(None, false)
    }

    /// Has the device do the work of epochs that were given out elsewhere, up to `epoch`: `submit` hands it to wgpu. When wgpu
    /// refuses it, the axis fails from the first of them on.
    pub(crate) fn issue(
        &self,
        epoch: Epoch,
        submit: impl FnOnce() -> SubmissionIndex,
    ) -> Result<(), GpuError> {
        let boarding = self.board(Some(epoch))?;
        let first = boarding.first;
        let (shared, line) = (Arc::downgrade(self.gpu.shared()), self.line);
        let late = move |text| {
            if let Some(shared) = shared.upgrade() {
                fail(&shared, line, first, &Failure::message(text));
            }
        };
        match checked(self.gpu.device(), submit, late) {
            Ok(index) => boarding.depart(index),
            Err(text) => {
                let failure = self.gpu.cause(Failure::message(text));
                // Before the flight is over, so that its epoch is never reached.
                self.fail(first, &failure);
                drop(boarding);
                return Err(GpuError::Refused(failure));
            }
        }
        Ok(())
    }

    /// Takes epochs that were given out elsewhere, up to `epoch`, for which the device has nothing to do. With `behind` they come
    /// after what other axes of the device have in flight.
    pub(crate) fn issue_empty(&self, epoch: Epoch, behind: bool) -> Result<(), GpuError> {
        self.pass(Some(epoch), behind).map(drop)
    }

    /// Takes a submission that wgpu has already as the work of epochs that were given out elsewhere.
    pub(crate) fn issue_foreign(
        &self,
        epoch: Epoch,
        index: SubmissionIndex,
    ) -> Result<(), GpuError> {
        self.board(Some(epoch))?.depart(index);
        Ok(())
    }

    /// What comes at `from` or later will never be reached. The axis ends with that, once it has come to the epoch before.
    pub(crate) fn fail(&self, from: Epoch, failure: &Failure) {
        fail(self.gpu.shared(), self.line, from, failure);
    }

    /// Raises the last epoch without work.
    fn pass(&self, up_to: Option<Epoch>, behind: bool) -> Result<Epoch, GpuError> {
        let mut state = self.open()?;
        let line = self.line_of(&mut state)?;
        let idle = line.firsts.is_empty();
        let first = line.last + 1;
        let epoch = up_to.unwrap_or(first);
        line.last = epoch;
        if behind {
            // A flight of nothing, that is over once all before it are, and told after they were.
            line.firsts.push_back(first);
            state.flights.push_back(Flight { stage: Stage::Void, line: self.line, first });
            drop(state);
            self.gpu.shared().ring();
        } else if idle {
            state.moved = true;
            drop(state);
            self.gpu.shared().ring();
        }
        // Otherwise it is reached with the flight before it, which the poller waits for already.
        Ok(epoch)
    }

    /// Gives out the next epoch, or those up to `up_to`, and a place among the flights.
    fn board(&self, up_to: Option<Epoch>) -> Result<Boarding<'_>, GpuError> {
        let mut state = self.open()?;
        let line = self.line_of(&mut state)?;
        let first = line.last + 1;
        let epoch = up_to.unwrap_or(first);
        line.last = epoch;
        line.firsts.push_back(first);
        line.boarding += 1;
        let number = state.departed + state.flights.len() as u64;
        state.flights.push_back(Flight { stage: Stage::Boarding, line: self.line, first });
        Ok(Boarding { timeline: self, number, first, epoch })
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, GpuError> {
        let state = self.gpu.shared().lock();
        match self.gpu.lost() {
            Some(failure) => Err(GpuError::Lost(failure.clone())),
            None => Ok(state),
        }
    }

    fn line_of<'a>(&self, state: &'a mut State) -> Result<&'a mut Line, GpuError> {
        let line = state.lines.get_mut(self.line).and_then(Option::as_mut);
        line.ok_or_else(|| {
            let ended = || Failure::message("the axis has ended");
            GpuError::Lost(self.gpu.lost().cloned().unwrap_or_else(ended))
        })
    }
}

/// Has a line end before `from`, unless it has ended.
fn fail(shared: &Shared, line: usize, from: Epoch, failure: &Failure) {
    let mut state = shared.lock();
    if let Some(Some(line)) = state.lines.get_mut(line) {
        line.fail(from, failure);
        state.moved = true;
    }
    drop(state);
    shared.ring();
}

/// An epoch whose submission is on its way to wgpu. Should wgpu panic on it, it counts as over with the one before.
struct Boarding<'a> {
    timeline: &'a Timeline,
    number: u64,
    first: Epoch,
    epoch: Epoch,
}

impl Boarding<'_> {
    fn depart(self, index: SubmissionIndex) {
        let ticket = Ticket::new(self.timeline.gpu.shared(), index);
        self.set(Stage::Away(ticket));
        core::mem::forget(self);
    }

    fn set(&self, stage: Stage) {
        let shared = self.timeline.gpu.shared();
        let mut state = shared.lock();
        // A loss may have swept it away.
        if let Some(flight) = state.flight(self.number) {
            flight.stage = stage;
            if let Some(Some(line)) = state.lines.get_mut(self.timeline.line) {
                line.boarding -= 1;
            }
        }
        drop(state);
        shared.ring();
    }
}

impl Drop for Boarding<'_> {
    fn drop(&mut self) {
        self.set(Stage::Void);
    }
}

/// Retires the axis once all its submissions are over.
impl Drop for Timeline {
    fn drop(&mut self) {
        let mut state = self.gpu.shared().lock();
        if let Some(line) = state.lines.get_mut(self.line).and_then(Option::as_mut)
            && line.axis == self.axis
        {
            line.closing = true;
            state.moved = true;
        }
        drop(state);
        self.gpu.shared().ring();
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline")
            .field("axis", &self.axis)
            .field("last", &self.last())
            .finish_non_exhaustive()
    }
}
