//! The state behind a queue set, and the pump.
//!
//! ```text
//!   call ─▶ lock: core decides, the line gets an item ─▶ unlock ─▶ pump
//!   pump ─▶ lock: ended axes, core's events, which heads can go ─▶ unlock ─▶ encode, submit ─▶ again
//! ```
//!
//! # Invariants
//! - A line's items have consecutive epochs, from the one after the last that was issued.
//! - At most one thread is the pump. One that finds another there leaves a note (`again`), so nothing is missed.
//! - Foreign code (commands, callbacks, drops of both) runs with the lock released.

use super::exec::Exec;
use super::{QueueError, StagingStats, failure_of};
use crate::command::{Base, BufferRange, Command, Transient, Work};
use crate::gpu::{Gpu, Listener};
use crate::pools::GpuPools;
use crate::slice::GpuSlice;
use crate::staging::{Arrivals, Short, StagingConfig};
use crate::timeline::Timeline;
use core::fmt;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use strandline_core::pool::PoolId;
use strandline_core::pool_set::PoolSet;
use strandline_core::queue::{BufferId, Parked, QueueEvent};
use strandline_core::{
    Axis, Entry, Epoch, Failure, Frontier, FrontierRef, Pool, Progress, Queues, Request, Tracker,
};
use wgpu::SubmissionIndex;

/// Items of one line that go out in one submission, at most.
const RUN: usize = 64;

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

struct Item {
    epoch: Epoch,
    kind: Kind,
    wait: Frontier,
    /// Core has decided; for work, from the beginning.
    decided: bool,
    /// The tracker will call when the wait is reached.
    armed: bool,
}

/// One queue.
struct Line {
    axis: Axis,
    device: usize,
    timeline: Arc<Timeline>,
    items: VecDeque<Item>,
    /// The last epoch that was handed to wgpu, or is about to be.
    issued: Epoch,
    failed: Option<Failure>,
    /// The device was told that something waits here.
    expecting: bool,
}

struct Device {
    gpu: Gpu,
    exec: Arc<Mutex<Exec>>,
    arrivals: Arrivals,
    upload: Arc<dyn Pool>,
    readback: Arc<dyn Pool>,
    capacity: (u64, u64),
    /// Its loss was taken in.
    lost: bool,
}

/// A buffer's memory, or why there is none.
enum Bound {
    Slice(GpuSlice),
    Failed(Failure),
}

struct State {
    engine: Queues,
    lines: Vec<Line>,
    devices: Vec<Device>,
    bound: HashMap<BufferId, Bound>,
    /// Axes that a wait learned to have ended.
    ended: Vec<(Axis, Failure)>,
    pumping: bool,
    again: bool,
    /// What the pump works on; here between its rounds so that no round allocates.
    batch: VecDeque<(usize, Item)>,
    /// To be dropped with the lock released.
    trash: Vec<Item>,
}

pub(super) struct SetInner {
    pools: Arc<GpuPools>,
    tracker: Tracker,
    state: Mutex<State>,
    this: Weak<SetInner>,
}

/// How the pump's round ended.
enum Round {
    /// Everything went out.
    Done,
    /// The staging rings are in flight: what is left of the batch waits.
    Short,
    /// An epoch of a line cannot be issued.
    Failed(usize, Failure),
}

impl SetInner {
    pub(super) fn new(pools: GpuPools, tracker: &Tracker) -> Arc<Self> {
        let pools = Arc::new(pools);
        // Core wants the set; ours also knows the providers. The pools themselves are shared.
        let set = share(pools.set());
        let engine = Queues::new(Arc::new(set), Arc::new(tracker.clone()));
        Arc::new_cyclic(|this| Self {
            pools,
            tracker: tracker.clone(),
            state: Mutex::new(State {
                engine,
                lines: Vec::new(),
                devices: Vec::new(),
                bound: HashMap::new(),
                ended: Vec::new(),
                pumping: false,
                again: false,
                batch: VecDeque::new(),
                trash: Vec::new(),
            }),
            this: this.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Foreign code runs with the lock released; core does not panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pools(&self) -> &GpuPools {
        &self.pools
    }

    pub(super) const fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    pub(super) fn add_device(
        &self,
        gpu: &Gpu,
        host_axis: Axis,
        staging: StagingConfig,
    ) -> Result<(), QueueError> {
        if self.lock().device_of(gpu).is_some() {
            return Err(QueueError::WrongDevice);
        }
        let exec = Exec::new(gpu, &self.tracker, host_axis, staging)?;
        let device = Device {
            gpu: gpu.clone(),
            arrivals: exec.readback.arrivals(),
            upload: exec.upload.pool().clone(),
            readback: exec.readback.pool().clone(),
            capacity: (exec.upload.capacity(), exec.readback.capacity()),
            exec: Arc::new(Mutex::new(exec)),
            lost: false,
        };
        self.lock().devices.push(device);
        gpu.listen(self.this.clone());
        Ok(())
    }

    pub(super) fn open(&self, gpu: &Gpu, axis: Axis) -> Result<usize, QueueError> {
        if self.lock().device_of(gpu).is_none() {
            let ordinal = match (axis.device(), axis.queue_index()) {
                (Some(device), Some(queue)) => u32::from(device) << 8 | u32::from(queue),
                // Whatever it is, it is one of these; a clash is reported as a duplicate.
                _ => axis.ordinal() as u16 as u32,
            };
            let host = Axis::host(axis.session(), axis.machine(), 0x57_0000 + ordinal);
            self.add_device(gpu, host, StagingConfig::default())?;
        }
        let timeline = Timeline::new(gpu, &self.tracker, axis)?;
        let mut state = self.lock();
        let Some(device) = state.device_of(gpu) else { return Err(QueueError::WrongDevice) };
        state.engine.open(axis)?;
        state.lines.push(Line {
            axis,
            device,
            timeline: Arc::new(timeline),
            items: VecDeque::new(),
            issued: 0,
            failed: None,
            expecting: false,
        });
        Ok(state.lines.len() - 1)
    }

    pub(super) fn alloca(
        &self,
        line: usize,
        axis: Axis,
        pool: PoolId,
        request: &Request<'_>,
    ) -> Result<(Transient, Epoch), QueueError> {
        let mut state = self.lock();
        state.check(line)?;
        let (id, epoch) = state.engine.alloca(axis, pool, request)?;
        state.push(line, epoch, Kind::Alloca, false, Frontier::new());
        drop(state);
        self.pump();
        Ok((Transient { id, pool, size: request.size }, epoch))
    }

    pub(super) fn dealloca(
        &self,
        line: usize,
        axis: Axis,
        buffer: Transient,
        wait: FrontierRef<'_>,
    ) -> Result<Epoch, QueueError> {
        let mut state = self.lock();
        state.check(line)?;
        let epoch = state.engine.dealloca(axis, buffer.id, wait)?;
        state.push(line, epoch, Kind::Dealloca(buffer.id), false, Frontier::new());
        drop(state);
        self.pump();
        Ok(epoch)
    }

    pub(super) fn work(
        &self,
        line: usize,
        axis: Axis,
        wait: FrontierRef<'_>,
        kind: Kind,
    ) -> Result<Epoch, QueueError> {
        let mut state = self.lock();
        let checked = state
            .check(line)
            .and_then(|()| state.engine.work(axis, wait).map_err(QueueError::from));
        match checked {
            Ok(epoch) => {
                state.push(line, epoch, kind, true, wait.to_frontier());
                drop(state);
                self.pump();
                Ok(epoch)
            }
            Err(error) => {
                // Commands own foreign values: dropped with the lock released.
                drop(state);
                drop(kind);
                Err(error)
            }
        }
    }

    pub(super) fn abandon(&self, buffer: Transient) -> Result<(), QueueError> {
        self.lock().engine.abandon(buffer.id)?;
        self.pump();
        Ok(())
    }

    pub(super) fn submitted(&self, axis: Axis) -> Epoch {
        self.lock().engine.submitted(axis).unwrap_or(0)
    }

    pub(super) fn waiting(&self, line: usize) -> usize {
        self.lock().lines[line].items.len()
    }

    pub(super) fn parked(&self) -> Vec<Parked> {
        self.lock().engine.parked().collect()
    }

    pub(super) fn slice_of(&self, buffer: Transient) -> Option<GpuSlice> {
        match self.lock().bound.get(&buffer.id) {
            Some(Bound::Slice(slice)) => Some(slice.clone()),
            Some(Bound::Failed(_)) | None => None,
        }
    }

    pub(super) fn staging_stats(&self, gpu: &Gpu) -> Option<StagingStats> {
        let state = self.lock();
        let device = &state.devices[state.device_of(gpu)?];
        Some(StagingStats { upload: device.upload.stats(), readback: device.readback.stats() })
    }

    pub(super) fn readback_capacity(&self, gpu: &Gpu) -> Result<u64, QueueError> {
        let state = self.lock();
        let device = state.device_of(gpu).ok_or(QueueError::WrongDevice)?;
        Ok(state.devices[device].capacity.1)
    }

    pub(super) fn check_staging(
        &self,
        gpu: &Gpu,
        upload: u64,
        readback: u64,
    ) -> Result<(), QueueError> {
        if (upload, readback) == (0, 0) {
            return Ok(());
        }
        let state = self.lock();
        let device = state.device_of(gpu).ok_or(QueueError::WrongDevice)?;
        let (most_up, most_back) = state.devices[device].capacity;
        for (needed, capacity) in [(upload, most_up), (readback, most_back)] {
            if needed > capacity {
                return Err(QueueError::StagingTooSmall { needed, capacity });
            }
        }
        Ok(())
    }

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
            state.advance(&self.pools);
            let mut arms = Vec::new();
            state.select(&self.tracker, &mut batch, &mut arms);
            let trash = core::mem::take(&mut state.trash);
            drop(state);
            drop(trash);
            for (frontier, arm) in arms {
                self.arm(frontier, arm);
            }
            let selected = batch.len();
            let round = self.execute(&mut batch);
            let progress = selected > batch.len();

            let mut state = self.lock();
            while let Some((line, item)) = batch.pop_back() {
                let line = &mut state.lines[line];
                line.issued = item.epoch - 1;
                line.items.push_front(item);
            }
            state.batch = batch;
            let mut more = state.again || progress;
            if let Round::Failed(line, failure) = round {
                let axis = state.lines[line].axis;
                state.engine.fail(axis, &failure);
                more = true;
            }
            state.pumping = false;
            let expectations = state.expectations();
            drop(state);
            for (gpu, waits) in expectations {
                gpu.expect(waits);
            }
            if !more {
                return;
            }
        }
    }

    /// Has the tracker call when a wait is reached, or can never be.
    fn arm(&self, wait: Frontier, axes: Vec<Entry>) {
        let this = self.this.clone();
        let called = self.tracker.wait(wait.as_ref(), move |reached| {
            let Some(this) = this.upgrade() else { return };
            if let Err(error) = reached {
                let failure = failure_of(error);
                // Which of them ended, the error may tell; those that did not are not affected by being asked about.
                let mut state = this.lock();
                for entry in &axes {
                    if matches!(this.tracker.end_of(entry.axis), Ok(Some(_)))
                        && !this.tracker.has_reached(entry.axis, entry.epoch)
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
    fn execute(&self, batch: &mut VecDeque<(usize, Item)>) -> Round {
        while let Some(&(line, _)) = batch.front() {
            let (timeline, exec) = {
                let state = self.lock();
                let line = &state.lines[line];
                (line.timeline.clone(), state.devices[line.device].exec.clone())
            };
            let mut exec = exec.lock().unwrap_or_else(PoisonError::into_inner);
            match self.run(line, &timeline, &mut exec, batch) {
                Round::Done => {}
                other => return other,
            }
        }
        Round::Done
    }

    /// One submission: items of one line, from the front of the batch.
    fn run(
        &self,
        line: usize,
        timeline: &Timeline,
        exec: &mut Exec,
        batch: &mut VecDeque<(usize, Item)>,
    ) -> Round {
        let mut encoder = None;
        let mut last = None;
        let mut ended: Vec<BufferId> = Vec::new();
        let mut short = None;
        let mut foreign = None;
        for _ in 0..RUN {
            let Some((_, item)) = batch.front_mut().filter(|(of, _)| *of == line) else { break };
            match &mut item.kind {
                Kind::Alloca => {}
                Kind::Dealloca(buffer) => ended.push(*buffer),
                Kind::Work { commands, upload, readback } => {
                    match exec.prepare(*upload, *readback) {
                        Ok(()) => {}
                        Err(Short::Later) => {
                            short = Some(Round::Short);
                            break;
                        }
                        Err(Short::Broken(failure)) => {
                            short = Some(Round::Failed(line, failure));
                            break;
                        }
                    }
                    if !commands.is_empty() {
                        let encoder = encoder.get_or_insert_with(|| exec.begin(&self.pools));
                        let commands = core::mem::take(commands);
                        if let Err(failure) = encode_all(exec, encoder, commands) {
                            short = Some(Round::Failed(line, failure));
                            break;
                        }
                    }
                }
                Kind::Foreign(index) => {
                    if last.is_some() {
                        // What is before it goes out first.
                        break;
                    }
                    foreign = index.take();
                }
            }
            last = Some(item.epoch);
            batch.pop_front();
            if foreign.is_some() {
                break;
            }
        }
        let Some(last) = last else { return short.unwrap_or(Round::Done) };
        let issued = match foreign {
            Some(index) => timeline.issue_foreign(last, index).map_err(Failure::new),
            None => exec.submit(timeline, last, encoder),
        };
        if !ended.is_empty() {
            let mut state = self.lock();
            for buffer in ended {
                state.bound.remove(&buffer);
            }
        }
        match issued {
            Ok(()) => short.unwrap_or(Round::Done),
            Err(failure) => Round::Failed(line, failure),
        }
    }
}

/// Records commands. A panic in the program's own recording is a failure like any other.
fn encode_all(
    exec: &mut Exec,
    encoder: &mut wgpu::CommandEncoder,
    commands: Vec<Command>,
) -> Result<(), Failure> {
    let encoded = catch_unwind(AssertUnwindSafe(|| {
        commands.into_iter().try_for_each(|command| exec.encode(encoder, command))
    }));
    encoded.unwrap_or_else(|_| Err(Failure::message("recording a command panicked")))
}

/// Core's queues take a set of their own; the pools in it are the same.
fn share(pools: &PoolSet) -> PoolSet {
    use strandline_core::pool_set::Registration;
    let mut set = PoolSet::new();
    for (pool, rule) in pools.pools().iter().zip(pools.rules()) {
        let registration =
            if rule.oversized { Registration::oversized() } else { Registration::new() };
        let registration = registration.priority(rule.priority).sizes(rule.min_size, rule.max_size);
        // Each was taken once, under these rules.
        if let Err(error) = set.add(pool.clone(), registration) {
            log::error!("sharing the pools: {error}");
        }
    }
    set
}

impl State {
    fn device_of(&self, gpu: &Gpu) -> Option<usize> {
        self.devices.iter().position(|device| device.gpu.is_same(gpu))
    }

    fn check(&self, line: usize) -> Result<(), QueueError> {
        match &self.lines[line].failed {
            Some(failure) => Err(QueueError::Failed(failure.clone())),
            None => Ok(()),
        }
    }

    fn push(&mut self, line: usize, epoch: Epoch, kind: Kind, decided: bool, wait: Frontier) {
        let item = Item { epoch, kind, wait, decided, armed: false };
        self.lines[line].items.push_back(item);
    }

    /// Takes in what ended, asks core again, and hands its events to the lines.
    fn advance(&mut self, pools: &GpuPools) {
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

    /// Moves to the batch what can go now, in an order in which it may, and lists the waits to be called for.
    fn select(
        &mut self,
        tracker: &Tracker,
        batch: &mut VecDeque<(usize, Item)>,
        arms: &mut Vec<(Frontier, Vec<Entry>)>,
    ) {
        let mut failed: Vec<(usize, Failure)> = Vec::new();
        loop {
            let before = batch.len();
            for position in 0..self.lines.len() {
                if failed.iter().any(|(line, _)| *line == position) {
                    continue;
                }
                while let Some(ready) = self.head(position, tracker, arms) {
                    match ready {
                        Ok(item) => batch.push_back((position, item)),
                        Err(failure) => {
                            failed.push((position, failure));
                            break;
                        }
                    }
                }
            }
            if batch.len() == before {
                break;
            }
        }
        for (line, failure) in failed {
            let axis = self.lines[line].axis;
            self.engine.fail(axis, &failure);
            // Its events are taken in the next round.
            self.again = true;
        }
    }

    /// The first item of a line, if it can go; what makes it fail, if it never can.
    fn head(
        &mut self,
        position: usize,
        tracker: &Tracker,
        arms: &mut Vec<(Frontier, Vec<Entry>)>,
    ) -> Option<Result<Item, Failure>> {
        let line = &self.lines[position];
        let item = line.items.front().filter(|item| item.decided)?;
        let missing = item.wait.as_ref().entries().iter().copied().filter(|entry| {
            entry.axis != line.axis
                && !self.is_ahead(line.device, *entry)
                && !tracker.has_reached(entry.axis, entry.epoch)
        });
        let missing: Vec<Entry> = missing.collect();
        if !missing.is_empty() {
            // On this device only the submission is waited for, and the pump sees that itself.
            let foreign: Vec<Entry> = missing
                .into_iter()
                .filter(|entry| !self.is_here(line.device, entry.axis))
                .collect();
            let item = &mut self.lines[position].items[0];
            if !item.armed && !foreign.is_empty() {
                item.armed = true;
                // A part of a frontier is one.
                if let Ok(wait) = Frontier::from_entries(foreign.iter().copied()) {
                    arms.push((wait, foreign));
                }
            }
            return None;
        }
        let item = &mut self.lines[position].items[0];
        if let Kind::Work { commands, .. } = &mut item.kind {
            for command in commands {
                let (ranges, target) = command.ranges_mut();
                for range in ranges.iter_mut().chain(target) {
                    match resolve(&self.bound, range) {
                        Some(Ok(())) => {}
                        Some(Err(failure)) => return Some(Err(failure)),
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

    /// Lines that began or ceased to wait.
    fn expectations(&mut self) -> Vec<(Gpu, bool)> {
        let mut changed = Vec::new();
        for line in &mut self.lines {
            let waits = !line.items.is_empty();
            if waits != line.expecting {
                line.expecting = waits;
                changed.push((self.devices[line.device].gpu.clone(), waits));
            }
        }
        changed
    }
}

/// Puts a transient buffer's slice in its place. `None` while it waits for its memory.
fn resolve(
    bound: &HashMap<BufferId, Bound>,
    range: &mut BufferRange,
) -> Option<Result<(), Failure>> {
    let Base::Transient(buffer) = range.base else { return Some(Ok(())) };
    match bound.get(&buffer.id)? {
        Bound::Failed(failure) => Some(Err(failure.clone())),
        Bound::Slice(slice) => {
            range.base = Base::Slice(slice.clone());
            Some(Ok(()))
        }
    }
}

impl Listener for SetInner {
    fn progress(&self) {
        let arrivals: Vec<Arrivals> =
            self.lock().devices.iter().map(|device| device.arrivals.clone()).collect();
        for arrivals in arrivals {
            arrivals.deliver();
        }
        self.pump();
    }
}

impl fmt::Debug for SetInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("SetInner")
            .field("engine", &state.engine)
            .field("queues", &state.lines.len())
            .field("devices", &state.devices.len())
            .finish_non_exhaustive()
    }
}
