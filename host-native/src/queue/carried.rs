//! A queue's axis, signaled through a proactor: [`CpuQueueBuilder::proactor`].
//!
//! The queue has a notification; the proactor waits for it, delivers, and waits again. A signal to a loop that is
//! awake makes no system call, and one wait serves all epochs that are done by the time it ends.

use super::CpuQueueBuilder;
use super::signal::{Carrier, Signal};
use crate::proactor::{Op, ProactorHandle};
use crate::wake::thread_wake;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use strandline_core::{Notification, Observation};

#[derive(Debug)]
struct Carried {
    bell: Arc<Notification>,
    /// The proactor waits no more.
    closed: AtomicBool,
}

/// The queue's half.
#[derive(Debug)]
struct Bell(Arc<Carried>);

impl Carrier for Bell {
    fn carry(&self) -> bool {
        self.0.bell.signal_if_observed();
        // Sequentially consistent with the end of the wait: see `wait`.
        !self.0.closed.load(Ordering::SeqCst)
    }
}

/// Has `signal` delivered by the proactor behind `handle`.
pub(super) fn carry(handle: ProactorHandle, signal: &Arc<Signal>) {
    let bell = Arc::new(Notification::new(Some(thread_wake())));
    let seen = bell.observe();
    let carried = Arc::new(Carried { bell, closed: AtomicBool::new(false) });
    signal.set_carrier(Box::new(Bell(carried.clone())));
    wait(handle, carried, signal.clone(), seen);
}

fn wait(handle: ProactorHandle, carried: Arc<Carried>, signal: Arc<Signal>, seen: Observation) {
    let op = Op::wait(carried.bell.clone(), seen, None);
    handle.clone().submit(op, move |completion| {
        // Before the look at what is done: a signal after this ends the next wait at once.
        let seen = carried.bell.observe();
        if completion.result.is_err() {
            // No proactor any more. The worker stores what is done and then looks at this flag; here it is the other
            // way round, so one of the two delivers it.
            carried.closed.store(true, Ordering::SeqCst);
        }
        if signal.is_over() {
            return;
        }
        signal.deliver();
        if completion.result.is_ok() {
            wait(handle, carried, signal, seen);
        }
    });
}

impl CpuQueueBuilder {
    /// Signals the queue's axis through a proactor: the axis advances on the thread that polls it, and whoever
    /// waits for the axis is called there. Epochs that are done between two turns of the loop arrive as one.
    ///
    /// The proactor must be polled for the axis to advance, until the queue is finished or dropped (which delivers what
    /// is done by itself). When the proactor is dropped, the worker signals the axis as if there had been none.
    pub fn proactor(mut self, handle: ProactorHandle) -> Self {
        self.carry = Some(Box::new(move |signal| carry(handle, signal)));
        self
    }
}

#[cfg(test)]
mod tests;
