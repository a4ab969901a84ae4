//! A puppet that is a tenant of this process.

use super::Puppet;
use crate::support::convert::{entries, list};
use std::collections::BTreeMap;
use strandline_core::{Axis, Frontier};
use strandline_guest_tests::puppet::{
    AFTER, Call, IDLE, MAY_WAIT, OF_BUFFER, Op, TO_BUFFER, outcome,
};
use strandline_host_tenants::tenant::{
    Answer, Ask, BufferHandle, BufferState, Memory, PoolHandle, QueueHandle, Range, ReadbackHandle,
    ReservationHandle, Returned, Tenant,
};

/// Handles stay after what they name has ended, so that it can be named again.
pub(super) struct Native {
    tenant: Tenant,
    queues: Vec<QueueHandle>,
    held: BTreeMap<u64, ReservationHandle>,
    buffers: BTreeMap<u64, BufferHandle>,
    readbacks: BTreeMap<u64, ReadbackHandle>,
}

impl Native {
    pub(super) fn new(tenant: Tenant) -> Self {
        Self {
            tenant,
            queues: Vec::new(),
            held: BTreeMap::new(),
            buffers: BTreeMap::new(),
            readbacks: BTreeMap::new(),
        }
    }

    fn queue(&self, call: &Call) -> Option<QueueHandle> {
        self.queues.get(call.queue as usize).copied()
    }

    fn range(&self, buffer: bool, slot: u64, offset: u64, len: u64) -> Option<Range> {
        let memory = if buffer {
            Memory::Transient(*self.buffers.get(&slot)?)
        } else {
            Memory::Reserved(*self.held.get(&slot)?)
        };
        Some(Range { memory, offset, len })
    }

    /// Keeps what a pool answered.
    fn keep(&mut self, slot: u64, answer: Answer, words: &mut Vec<u64>) {
        let wait = |wait: &Frontier| list(wait.as_ref());
        match answer {
            Answer::Ready { reservation, place, .. } => {
                self.held.insert(slot, reservation);
                outcome(words, Some((place.slab.to_bits(), place.offset)), None);
            }
            Answer::AfterWait { reservation, place, wait: after } => {
                self.held.insert(slot, reservation);
                outcome(words, Some((place.slab.to_bits(), place.offset)), Some(&wait(&after)));
            }
            _ => outcome(words, None, None),
        }
    }
}

impl Puppet for Native {
    fn call(&mut self, call: &Call) -> Option<Vec<u64>> {
        let pool = PoolHandle::from_bits(call.pool);
        let (wait, after) = (entries(&call.wait), entries(&call.death));
        let ask = Ask { may_wait: call.is(MAY_WAIT), ..Ask::new(call.len).after(&wait).or_grow() };
        let death = match call.flags {
            IDLE => Returned::Idle,
            AFTER => Returned::After(&after),
            _ => Returned::Unknown,
        };
        let range = |this: &Self| this.range(call.is(OF_BUFFER), call.slot, call.offset, call.len);
        let mut words = Vec::new();
        match call.op {
            Op::Open => {
                let queue = self.tenant.open_queue().ok()?;
                let axis = self.tenant.axis_of(queue).ok()?;
                words.extend([axis.to_bits(), self.tenant.submitted(queue).ok()?]);
                self.queues.push(queue);
            }
            Op::Acquire => {
                let answer = self.tenant.acquire(pool, &ask).ok()?;
                self.keep(call.slot, answer, &mut words);
            }
            Op::AcquireBatch => {
                for slot in call.slot..call.slot + call.value {
                    let answer = self.tenant.acquire(pool, &ask).ok()?;
                    self.keep(slot, answer, &mut words);
                }
            }
            Op::Release => {
                self.tenant.release(pool, *self.held.get(&call.slot)?, death).ok()?;
            }
            Op::ReleaseBatch => {
                for slot in call.slot..call.slot + call.value {
                    self.tenant.release(pool, *self.held.get(&slot)?, death).ok()?;
                }
            }
            Op::Cancel => self.tenant.cancel(pool, *self.held.get(&call.slot)?).ok()?,
            Op::Exchange => {
                let death = if after.is_empty() { Returned::Idle } else { Returned::After(&after) };
                let held = *self.held.get(&call.slot)?;
                match self.tenant.exchange(pool, held, death, &ask).ok()?.answer() {
                    Ok(answer) => self.keep(call.other, answer, &mut words),
                    Err(_) => outcome(&mut words, None, None),
                }
            }
            Op::Alloca => {
                let (buffer, epoch) = self.tenant.alloca(self.queue(call)?, pool, &ask).ok()?;
                self.buffers.insert(call.slot, buffer);
                words.push(epoch);
            }
            Op::Dealloca => {
                let buffer = *self.buffers.get(&call.slot)?;
                words.push(self.tenant.dealloca(self.queue(call)?, buffer, &wait).ok()?);
            }
            Op::Status => {
                let buffer = *self.buffers.get(&call.slot)?;
                match self.tenant.status(buffer).ok()? {
                    BufferState::Waiting => words.push(0),
                    BufferState::Ready(_) => {
                        let place = self.tenant.place_of_buffer(buffer).ok()??;
                        words.extend([1, place.slab.to_bits(), place.offset]);
                    }
                    BufferState::Failed(_) => words.push(2),
                }
            }
            Op::Fill => {
                let (queue, range) = (self.queue(call)?, range(self)?);
                words.push(self.tenant.fill(queue, range, call.value as u8, &wait).ok()?);
            }
            Op::Copy => {
                let (queue, source) = (self.queue(call)?, range(self)?);
                let target = self.range(call.is(TO_BUFFER), call.other, call.to, call.len)?;
                words.push(self.tenant.copy(queue, source, target, &wait).ok()?);
            }
            Op::Write => {
                let (queue, range) = (self.queue(call)?, range(self)?);
                let bytes = vec![call.value as u8; call.len as usize];
                words.push(self.tenant.write(queue, range, bytes, &wait).ok()?);
            }
            Op::Read => {
                let (queue, range) = (self.queue(call)?, range(self)?);
                let readback = self.tenant.read(queue, range, &wait).ok()?;
                words.push(self.tenant.epoch_of(readback).ok()?);
                self.readbacks.insert(call.other, readback);
            }
            Op::Take => match self.tenant.take(*self.readbacks.get(&call.other)?).ok()? {
                None => words.push(0),
                Some(bytes) => {
                    words.extend([1].into_iter().chain(bytes.into_iter().map(u64::from)))
                }
            },
            Op::Barrier => words.push(self.tenant.barrier(self.queue(call)?, &wait).ok()?),
            Op::Poll => self.tenant.poll(),
            Op::End => {}
        }
        Some(words)
    }

    fn lend(&mut self, axis: u64, epoch: u64) {
        self.tenant.lend_axis(Axis::from_bits(axis), epoch);
    }

    fn charged(&mut self) -> u64 {
        self.tenant.charged().0
    }

    fn keeps_ledgers_apart(&self) -> bool {
        false
    }

    fn end(self: Box<Self>) {}
}
