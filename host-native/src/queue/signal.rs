//! How a queue's epochs reach its axis: at once, on the worker, or carried by a proactor.
//!
//! ```text
//!   worker: epoch n done ──┬─▶ tracker.advance(axis, n), listeners           no proactor
//!                          └─▶ done = n, bell.signal() ──▶ proactor's loop: the same, on its thread
//! ```
//!
//! With a proactor, whoever waits for the axis is called on the thread that polls, never on a worker: a host
//! whose state belongs to one thread needs no lock. Epochs that are done while the loop is busy arrive as one.
//!
//! # Invariants
//! - What a worker has done reaches the axis before the axis fails or is retired.
//! - A proactor that is gone carries nothing: from then on the worker advances the axis itself, and nothing that
//!   was done meanwhile is left behind.

use super::{lock, text_of};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use strandline_core::{Axis, Epoch, Notification, Tracker, TrackerError};

/// Brings epochs to an axis in its own time.
pub(super) trait Carrier: core::fmt::Debug + Send + Sync {
    /// Something is done. False: it will not be carried.
    fn carry(&self) -> bool;
}

/// One queue's axis.
#[derive(Debug)]
pub(super) struct Signal {
    axis: Axis,
    tracker: Tracker,
    /// The last epoch that is done.
    done: AtomicU64,
    /// The axis has ended, or is about to.
    over: AtomicBool,
    carrier: OnceLock<Box<dyn Carrier>>,
    /// Signaled after each epoch.
    listeners: Mutex<Vec<Arc<Notification>>>,
}

impl Signal {
    pub(super) fn new(axis: Axis, tracker: Tracker) -> Arc<Self> {
        Arc::new(Self {
            axis,
            tracker,
            done: AtomicU64::new(0),
            over: AtomicBool::new(false),
            carrier: OnceLock::new(),
            listeners: Mutex::new(Vec::new()),
        })
    }

    pub(super) fn listen(&self, notification: Arc<Notification>) {
        lock(&self.listeners).push(notification);
    }

    /// Has epochs carried from now on.
    pub(super) fn set_carrier(&self, carrier: Box<dyn Carrier>) {
        // A queue is built with one at most.
        let _ = self.carrier.set(carrier);
    }

    /// The work of `epoch` is done.
    pub(super) fn reached(&self, epoch: Epoch) {
        // Release: who reads it sees the work. Sequentially consistent, because the carrier's end
        // stores and loads the other way round: one of the two sees the other.
        self.done.store(epoch, Ordering::SeqCst);
        let carried = self.carrier.get().is_some_and(|carrier| carrier.carry());
        if !carried {
            self.deliver();
        }
    }

    /// Advances the axis to what is done, and tells the listeners.
    pub(super) fn deliver(&self) {
        let done = self.done.load(Ordering::SeqCst);
        self.guarded("advancing", || match self.tracker.advance(self.axis, done) {
            // The worker has delivered this itself.
            Err(TrackerError::Ended(_)) if self.over.load(Ordering::Acquire) => Ok(()),
            result => result,
        });
        self.tell_listeners();
    }

    /// What is done has arrived, and `end` ends the axis.
    pub(super) fn end(
        &self,
        doing: &str,
        end: impl FnOnce(&Tracker) -> Result<bool, TrackerError>,
    ) {
        if self.carrier.get().is_some() && !self.over.load(Ordering::Acquire) {
            self.deliver();
        }
        self.over.store(true, Ordering::Release);
        self.guarded(doing, || end(&self.tracker).map(drop));
        self.tell_listeners();
        if let Some(carrier) = self.carrier.get() {
            // It finds that this is over, and rests.
            carrier.carry();
        }
    }

    /// Whether the axis has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(super) fn tell_listeners(&self) {
        // Signals run foreign wakers: not under the lock.
        let listeners = lock(&self.listeners).clone();
        self.guarded("signaling", || {
            listeners.iter().for_each(|listener| listener.signal_if_observed());
            Ok(())
        });
    }

    /// Runs something that may call foreign code on this thread. Its panic is not this queue's failure:
    /// the work was done, and the thread goes on.
    pub(super) fn guarded(&self, doing: &str, call: impl FnOnce() -> Result<(), TrackerError>) {
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::error!("{} {doing}: {error}", self.axis),
            Err(panic) => {
                log::error!("{} {doing}: a callback panicked: {}", self.axis, text_of(&*panic));
            }
        }
    }
}
