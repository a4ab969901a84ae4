//! How buffers end, by a dealloca, a failure or on shutdown, and how queues fail.

use super::buffers::{Buffer, State};
use super::engine::{cause, without};
use super::{BufferId, Cause, Deferred, Held, Operation, QueueEvent, Queues};
use crate::axis::Epoch;
use crate::death::Death;
use crate::frontier::{Entry, Frontier};

impl Queues {
    /// Carries out a buffer's dealloca, if it was admitted and the buffer waits for nothing.
    pub(super) fn try_end(&mut self, id: BufferId) {
        let Some(buffer) = self.buffers.get_mut(id) else { return };
        let Some(ending) = buffer.ending.as_ref().filter(|ending| ending.admitted) else { return };
        let (queue, epoch) = (ending.queue, ending.epoch);
        if matches!(buffer.state, State::Waiting(_) | State::Moving) {
            self.lines[queue].unresolved.insert(epoch);
            return;
        }
        let Some(buffer) = self.buffers.remove(id) else { return };
        self.resolve(queue, epoch);
        let axis = self.order.timelines[queue].axis;
        let broken = self.order.broken(axis).filter(|broken| broken.from <= epoch);
        let bound = match buffer.state {
            State::Bound { reservation, .. } => Some(reservation),
            State::Waiting(_) | State::Failed | State::Moving => None,
        };
        match broken.map(cause) {
            Some(cause) => {
                if let Some(reservation) = bound {
                    self.give_back(reservation, Some(Death::Unknown));
                    self.outbox.push(QueueEvent::Failed {
                        buffer: id,
                        axis: self.order.timelines[buffer.queue].axis,
                        epoch: buffer.epoch,
                        wait: None,
                        cause,
                    });
                }
            }
            None => {
                if let Some(reservation) = bound {
                    let death = Entry::new(axis, epoch);
                    self.put_back(buffer.pool, Deferred { reservation, death });
                }
                let wait = buffer.ending.map(|ending| ending.wait).unwrap_or_default();
                let wait = without(wait, axis);
                self.outbox.push(QueueEvent::Released { buffer: id, axis, epoch, wait });
            }
        }
        self.dirty.insert(buffer.pool);
    }

    /// A buffer gets no memory, or loses it.
    pub(super) fn fail_buffer(&mut self, id: BufferId, cause: Cause) {
        self.unpark(id);
        let Some(buffer) = self.buffers.get_mut(id) else { return };
        let (lane, queue, epoch) = (buffer.pool, buffer.queue, buffer.epoch);
        let state = core::mem::replace(&mut buffer.state, State::Failed);
        if matches!(state, State::Failed) {
            return;
        }
        self.drop_state(id, queue, epoch, state, Death::Unknown, cause);
        self.resolve(queue, epoch);
        self.dirty.insert(lane);
        self.try_end(id);
    }

    /// Ends a buffer on shutdown.
    pub(super) fn close_buffer(&mut self, id: BufferId, death: Death<'_>) {
        let Some(Buffer { queue, epoch, state, .. }) = self.buffers.remove(id) else { return };
        self.drop_state(id, queue, epoch, state, death, Cause::Shutdown);
    }

    /// Gives back on shutdown what was deferred: not later than it would have been.
    pub(super) fn close_deferred(&mut self, death: Death<'_>) {
        for lane in 0..self.parking.len() {
            while let Some((_, deferred)) = self.parking[lane].deferred.pop_first() {
                match death {
                    Death::Idle => self.give_back(deferred.reservation, Some(Death::Idle)),
                    // More is known of it: its dealloca.
                    Death::After(_) | Death::Unknown => self.release_deferred(deferred),
                }
            }
        }
    }

    /// Gives back what a buffer has, and says that it failed, unless that was said.
    ///
    /// Memory that the host has heard of dies as given. Where it has not, `Ready` is taken back and
    /// the memory was never used.
    fn drop_state(
        &mut self,
        buffer: BufferId,
        queue: usize,
        epoch: Epoch,
        state: State,
        death: Death<'_>,
        cause: Cause,
    ) {
        let axis = self.order.timelines[queue].axis;
        let failed = |wait| QueueEvent::Failed { buffer, axis, epoch, wait, cause };
        match state {
            State::Failed | State::Moving => {}
            State::Waiting(waiting) => {
                self.outbox.push(failed(Some(without(waiting.wait, axis))));
            }
            State::Bound { reservation, ready } => match self.outbox.unseen(ready) {
                Some(event) => {
                    let wait = match event {
                        QueueEvent::Ready { wait, .. } => core::mem::take(wait),
                        _ => Frontier::new(),
                    };
                    *event = failed(Some(wait));
                    self.give_back(reservation, None);
                }
                None => {
                    self.outbox.push(failed(None));
                    self.give_back(reservation, Some(death));
                }
            },
        }
    }

    /// Fails the operations of a queue from an epoch on.
    pub(super) fn fail_queue(&mut self, queue: usize, from: Epoch) {
        let axis = self.order.timelines[queue].axis;
        let Some(broken) = self.order.broken(axis).cloned() else { return };
        self.outbox.push(QueueEvent::QueueFailed {
            axis,
            from,
            origin: broken.origin,
            failure: broken.failure.clone(),
        });
        let line = &mut self.lines[queue];
        let at = line.held.partition_point(|held| held.epoch < from);
        let held = line.held.split_off(at);
        let at = line.allocas.partition_point(|&(epoch, _)| epoch < from);
        let allocas = line.allocas.split_off(at);
        for (_, id) in allocas {
            self.fail_buffer(id, cause(&broken));
        }
        for Held { operation, .. } in held {
            if let Operation::Dealloca(id) = operation {
                // Nothing will order it: carried out as soon as it can be, the death is unknown.
                if let Some(ending) =
                    self.buffers.get_mut(id).and_then(|buffer| buffer.ending.as_mut())
                {
                    ending.admitted = true;
                }
                self.try_end(id);
            }
        }
    }
}
