//! Relays: what happens in one place is told in another.
//!
//! ```text
//!   notification ──▶ notification      every signal, coalesced
//!   event ──▶ semaphore                its count is added to the value
//!   semaphore ──▶ notification         once, at a value
//! ```
//!
//! # Why no signal is lost
//! A relay observes its source before the function that makes it returns, and observes it again *before* it tells
//! the target. Whatever comes after an observation ends the wait for it, so a signal is either told of by
//! this turn of the relay or by the next.
//!
//! Relays must not go round in a circle: it would never come to rest.

use crate::event::Event;
use crate::proactor::{Completion, Op, OpId, ProactorHandle};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use strandline_core::semaphore::TimepointId;
use strandline_core::{Failure, Notification, Semaphore};

/// A relay that works until this is dropped, or its proactor is.
#[must_use = "the relay ends when this is dropped"]
pub struct Relay {
    inner: Arc<Inner>,
}

struct Inner {
    handle: ProactorHandle,
    /// The operation that waits for the source; 0 before the first.
    waiting: AtomicU64,
    stopped: AtomicBool,
}

impl Inner {
    fn new(handle: &ProactorHandle) -> Arc<Self> {
        Arc::new(Self {
            handle: handle.clone(),
            waiting: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        })
    }

    /// Waits once more, unless the relay was dropped.
    fn submit(&self, op: Op, callback: impl FnOnce(Completion) + Send + 'static) {
        // One of the two sees the other: the drop reads the operation after it set the flag, and this
        // reads the flag after it wrote the operation.
        if self.stopped.load(Ordering::SeqCst) {
            return;
        }
        let id = self.handle.submit(op, callback);
        self.waiting.store(id.number(), Ordering::SeqCst);
        if self.stopped.load(Ordering::SeqCst) {
            self.handle.cancel(id);
        }
    }
}

impl Relay {
    /// Looks with `look`, now and each time that `event` is set, and signals what it returns.
    pub(crate) fn repeat<T: Send + 'static>(
        handle: &ProactorHandle,
        event: Event,
        state: T,
        look: impl FnMut(&mut T) -> Option<Arc<Notification>> + Send + 'static,
    ) -> Self {
        let inner = Inner::new(handle);
        look_and_wait(&inner, event, state, look);
        Self { inner }
    }
}

fn look_and_wait<T: Send + 'static>(
    inner: &Arc<Inner>,
    event: Event,
    mut state: T,
    mut look: impl FnMut(&mut T) -> Option<Arc<Notification>> + Send + 'static,
) {
    let changed = look(&mut state);
    let wait = event.wait(None);
    let next = inner.clone();
    inner.submit(wait, move |done| {
        if done.result.is_ok() {
            look_and_wait(&next, event, state, look);
        }
    });
    if let Some(target) = changed {
        target.signal_if_observed();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.inner.stopped.store(true, Ordering::SeqCst);
        let waiting = self.inner.waiting.load(Ordering::SeqCst);
        self.inner.handle.cancel(OpId::from_number(waiting));
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("handle", &self.inner.handle).finish_non_exhaustive()
    }
}

/// Signals `target` after each signal of `source` from now on. Signals that come close together may be told
/// of once.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use strandline_core::Notification;
/// use strandline_host_native::proactor::Proactor;
/// use strandline_host_native::{relay, thread_wake};
///
/// let [source, target] = [(); 2].map(|()| Arc::new(Notification::new(Some(thread_wake()))));
/// let mut proactor = Proactor::new()?;
/// let seen = target.observe();
/// let relay = relay::notification(&proactor.handle(), &source, &target);
/// source.signal_if_observed();
/// proactor.poll(Some(Duration::from_secs(10)))?;
/// assert!(target.changed_since(seen));
/// # drop(relay);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn notification(
    handle: &ProactorHandle,
    source: &Arc<Notification>,
    target: &Arc<Notification>,
) -> Relay {
    let inner = Inner::new(handle);
    wait_for_notification(&inner, source.clone(), target.clone());
    Relay { inner }
}

fn wait_for_notification(inner: &Arc<Inner>, source: Arc<Notification>, target: Arc<Notification>) {
    let wait = Op::wait(source.clone(), source.observe(), None);
    let next = inner.clone();
    inner.submit(wait, move |done| {
        if done.result.is_ok() {
            let seen = target.clone();
            wait_for_notification(&next, source, target);
            seen.signal_if_observed();
        }
    });
}

/// Adds the count of `event` to the value of `semaphore`, each time that it is set. The values that this adds
/// are tainted: nobody here saw the work. The semaphore fails when the event cannot be waited for, or the
/// proactor is dropped; dropping the relay leaves it as it is.
///
/// ```
/// use std::time::Duration;
/// use strandline_core::Semaphore;
/// use strandline_host_native::event::Event;
/// use strandline_host_native::proactor::Proactor;
/// use strandline_host_native::relay;
///
/// let (event, semaphore) = (Event::new()?, Semaphore::new(10));
/// let mut proactor = Proactor::new()?;
/// let relay = relay::event(&proactor.handle(), &event, &semaphore);
/// event.add(3);
/// proactor.poll(Some(Duration::from_secs(10)))?;
/// assert_eq!(semaphore.value(), 13);
/// # drop(relay);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn event(handle: &ProactorHandle, event: &Event, semaphore: &Semaphore) -> Relay {
    let inner = Inner::new(handle);
    wait_for_event(&inner, event.clone(), semaphore.clone());
    Relay { inner }
}

fn wait_for_event(inner: &Arc<Inner>, event: Event, semaphore: Semaphore) {
    let wait = event.wait(None);
    let next = inner.clone();
    inner.submit(wait, move |done| match done.result {
        Ok(count) => {
            if raise(&semaphore, count as u64) {
                wait_for_event(&next, event, semaphore);
            }
        }
        Err(_) if next.stopped.load(Ordering::SeqCst) => {}
        Err(error) => {
            semaphore.fail(Failure::new(error));
        }
    });
}

/// Adds to the value. False when the semaphore has failed, or cannot count further.
fn raise(semaphore: &Semaphore, count: u64) -> bool {
    loop {
        let Some(value) = semaphore.value().checked_add(count) else {
            semaphore.fail(Failure::message("an event counted beyond 2^64"));
            return false;
        };
        match semaphore.signal_unwitnessed(value) {
            Ok(()) => return true,
            // Somebody else raised it meanwhile.
            Err(strandline_core::semaphore::SignalError::NotIncreasing { .. }) => {}
            Err(_) => return false,
        }
    }
}

/// Signals `target` when `semaphore` reaches `value`, or never can. No proactor has a part in it. To take it
/// back: [`Semaphore::cancel`].
pub fn semaphore(semaphore: &Semaphore, value: u64, target: &Arc<Notification>) -> TimepointId {
    let target = target.clone();
    semaphore.on_reach(value, move |_| target.signal_if_observed())
}
