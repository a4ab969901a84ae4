//! A queue set's own part: what its handles call.
//!
//! A call takes the lock, has core decide what it can at once, puts an item into its line, and leaves the rest to the
//! [pump](super::pump), with the lock released.

use super::buffers::Memory;
use super::exec::Exec;
use super::standing::Standing;
use super::state::{Device, Kind, Line, State};
use super::{QueueError, StagingStats};
use crate::command::{Command, Transient};
use crate::gpu::{Gpu, GpuError};
use crate::pools::GpuPools;
use crate::slice::GpuSlice;
use crate::staging::{Arrivals, StagingConfig};
use crate::timeline::Timeline;
use core::fmt;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use strandline_core::pool::PoolId;
use strandline_core::pool_set::PoolSet;
use strandline_core::queue::{Cause, Parked};
use strandline_core::{Axis, Epoch, Failure, Frontier, FrontierRef, Queues, Request, Tracker};

pub(super) struct SetInner {
    pools: Arc<GpuPools>,
    tracker: Tracker,
    state: Mutex<State>,
    this: Weak<SetInner>,
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
            state: Mutex::new(State::new(engine)),
            this: this.clone(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Foreign code runs with the lock released; core does not panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    /// An empty list to collect commands in.
    pub(super) fn blank(&self) -> Vec<Command> {
        self.lock().blank()
    }

    /// What takes chunks to their readers, for the device of this number; `None` beyond the last.
    pub(super) fn arrivals(&self, device: usize) -> Option<Arrivals> {
        self.lock().devices.get(device).map(|device| device.arrivals.clone())
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
            return Err(QueueError::KnownDevice);
        }
        let made = Exec::new(gpu, &self.tracker, host_axis, staging);
        let exec = made.map_err(|error| match gpu.find_loss() {
            Some(failure) => GpuError::Lost(failure.clone()).into(),
            None => error,
        })?;
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
            let host = Axis::host(0x57_0000 + ordinal)
                .with_session(axis.session())
                .with_machine(axis.machine());
            self.add_device(gpu, host, StagingConfig::default())?;
        }
        let timeline = Timeline::of_queue(gpu, &self.tracker, axis)?;
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
            abandoned: Some(Frontier::new()),
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
        state.buffers.insert(id);
        state.push(line, epoch, Kind::Alloca(id), false, request.frontier.to_frontier());
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
        state.buffers.deallocate(buffer.id);
        state.push(line, epoch, Kind::Dealloca(buffer.id), false, wait.to_frontier());
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
        match state.take_in(line, axis, wait, kind.commands()) {
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
        let mut state = self.lock();
        state.engine.abandon(buffer.id)?;
        if state.engine.status(buffer.id).is_err() {
            // It had memory, or had failed: whatever names it still has nothing to wait for.
            state.buffers.fail(buffer.id, Failure::message(Cause::Abandoned.to_string()), false);
            state.buffers.end(buffer.id);
        }
        drop(state);
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

    pub(super) fn standing(&self, line: usize) -> Vec<Standing> {
        self.lock().standing(line, &self.tracker)
    }

    pub(super) fn slice_of(&self, buffer: Transient) -> Option<GpuSlice> {
        match self.lock().buffers.living(buffer.id) {
            Some(Memory::Slice(slice)) => Some(slice.clone()),
            Some(Memory::Waiting | Memory::Failed(_)) | None => None,
        }
    }

    pub(super) fn failure_of(&self, buffer: Transient) -> Option<Failure> {
        match self.lock().buffers.living(buffer.id) {
            Some(Memory::Failed(failure)) => Some(failure.clone()),
            Some(Memory::Waiting | Memory::Slice(_)) | None => None,
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

impl fmt::Debug for SetInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("SetInner")
            .field("engine", &state.engine)
            .field("queues", &state.lines.len())
            .field("devices", &state.devices.len())
            .field("buffers", &state.buffers.len())
            .finish_non_exhaustive()
    }
}
