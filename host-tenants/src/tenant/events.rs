//! What a tenant's queues decided since they were last looked at: memory that came free, operations and queues that failed.

use super::Tenant;
use super::host_queue::{HostQueue, Target};
use strandline_core::pool::Pool;
use strandline_core::queue::Place;
use strandline_core::{Axis, Failure, QueueEvent};
use strandline_host_native::MmapBuffer;

impl Tenant {
    /// Takes up what was decided since: memory that came free, queues that failed.
    pub(super) fn drain(&mut self) {
        if self.host_queues.is_empty() {
            return;
        }
        self.queues.poll();
        loop {
            while let Some(event) = self.queues.next_event() {
                self.take_up(event);
            }
            let mut broken = None;
            for host_queue in &mut self.host_queues {
                if let Err(error) = host_queue.flush() {
                    let failure = Failure::new(error);
                    host_queue.fail(0, failure.clone());
                    broken = Some((host_queue.cpu().axis(), failure));
                    break;
                }
            }
            let Some((axis, failure)) = broken else { break };
            // What it does not take, its axis must not seem to reach. If the axis has ended already, that stands.
            if let Err(error) = self.account.tracker.fail_axis(axis, failure.clone()) {
                log::error!("{axis} cannot fail: {error}");
            }
            self.queues.fail(axis, &failure);
        }
    }

    fn lane_on(&mut self, axis: Axis) -> Option<&mut HostQueue> {
        self.host_queues.iter_mut().find(|host_queue| host_queue.cpu().axis() == axis)
    }

    fn take_up(&mut self, event: QueueEvent) {
        match event {
            QueueEvent::Ready { buffer, axis, epoch, place, wait } => {
                let Some(memory) = self.by_id.get(&buffer).cloned() else { return };
                let clear = self.limits.clear;
                let mapped = self.map(&place);
                // Set once: an alloca is ready or fails, once.
                let _ = memory.set(mapped);
                let clear = if clear {
                    vec![Target { memory, offset: 0, len: place.size }]
                } else {
                    Vec::new()
                };
                if let Some(host_queue) = self.lane_on(axis) {
                    host_queue.decide(epoch, wait, clear);
                }
            }
            QueueEvent::Released { buffer, axis, epoch, wait } => {
                self.by_id.remove(&buffer);
                if let Some(host_queue) = self.lane_on(axis) {
                    host_queue.decide(epoch, wait, Vec::new());
                }
            }
            QueueEvent::Failed { buffer, axis, epoch, wait, cause } => {
                if let Some(memory) = self.by_id.get(&buffer) {
                    let _ = memory.set(Err(cause.to_string()));
                }
                if let Some(wait) = wait
                    && let Some(host_queue) = self.lane_on(axis)
                {
                    host_queue.decide(epoch, wait, Vec::new());
                }
            }
            QueueEvent::QueueFailed { axis, from, failure, .. } => {
                if let Some(host_queue) = self.lane_on(axis) {
                    host_queue.fail(from, failure);
                }
            }
        }
    }

    fn map(&self, place: &Place) -> Result<(MmapBuffer, Place), String> {
        let index = self.pools.iter().position(|pool| pool.id() == place.pool);
        let index = index.ok_or("no such pool")?;
        self.device.map(index, *place).map_err(|error| error.to_string())
    }
}
