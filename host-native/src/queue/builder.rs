//! How a queue is started: [`CpuQueueBuilder`].

use super::signal::Signal;
use super::{CpuQueue, Mode, QueueError, Shared, State};
use crate::wake::thread_wake;
use core::fmt;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread;
use strandline_core::inspect::EventSink;
use strandline_core::{Axis, Frontier, Notification, Tracker};

/// A queue to be started; made by [`CpuQueue::builder`].
#[must_use = "call `start`"]
pub struct CpuQueueBuilder {
    tracker: Tracker,
    axis: Axis,
    sink: Option<Arc<dyn EventSink>>,
    pub(super) carry: Option<Carry>,
}

/// Gives an axis a carrier.
pub(super) type Carry = Box<dyn FnOnce(&Arc<Signal>) + Send>;

impl CpuQueueBuilder {
    pub(super) fn new(tracker: Tracker, axis: Axis) -> Self {
        Self { tracker, axis, sink: None, carry: None }
    }

    /// `sink` is told of each submission: when it came, began and was done. It is called with the queue's lock held or
    /// on the worker, so it must be quick and not call back. Without one it costs a branch.
    pub fn sink(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.sink = Some(sink);
        self
    }

    /// Registers the axis with the tracker and starts the worker.
    ///
    /// # Errors
    /// [`QueueError::Tracker`] when the axis cannot be registered; [`QueueError::Thread`], after which
    /// the axis is retired.
    pub fn start(self) -> Result<CpuQueue, QueueError> {
        let Self { tracker, axis, sink, carry } = self;
        tracker.register(axis)?;
        let signal = Signal::new(axis, tracker.clone());
        if let Some(carry) = carry {
            carry(&signal);
        }
        let shared = Arc::new(Shared {
            axis,
            tracker: tracker.clone(),
            signal,
            state: Mutex::new(State {
                fifo: VecDeque::new(),
                submitted: 0,
                mode: Mode::Running,
                failed: None,
                abandoned: Some(Frontier::new()),
            }),
            bell: Arc::new(Notification::new(Some(thread_wake()))),
            sink,
        });
        let spawned = {
            let shared = shared.clone();
            thread::Builder::new().name(axis.to_string()).spawn(move || shared.work())
        };
        match spawned {
            Ok(worker) => Ok(CpuQueue { shared, worker: Some(worker) }),
            Err(error) => {
                shared.signal.end("retiring", |tracker| tracker.retire_axis(axis));
                Err(QueueError::Thread(error))
            }
        }
    }
}

impl fmt::Debug for CpuQueueBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuQueueBuilder").field("axis", &self.axis).finish_non_exhaustive()
    }
}
