//! Who notices what the device has finished, and tells trackers and listeners.
//!
//! ```text
//!   thread   a thread waits for the oldest flight        natively
//!   web      the browser calls, flight by flight         on the web: there is no thread, and nothing to poll
//!       └──▶ drop what is over from the list ──▶ settle: advance, fail or retire axes; tell the listeners
//! ```
//!
//! Invariants: an axis is advanced only past flights that wgpu accepted and the device finished, in order; it
//! is failed or retired once, after that.
//!
//! Cost: a step for each line. No allocation while nothing fails.

use crate::gpu::{Listener, Shared, State};
use core::sync::atomic::Ordering;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use strandline_core::{Axis, Epoch, Failure, FrontierRef, Tracker};

#[cfg(not(target_family = "wasm"))]
mod thread;
#[cfg(target_family = "wasm")]
mod web;

#[cfg(not(target_family = "wasm"))]
pub(crate) use thread::{Bell, Poller, Ticket, is_idle};
#[cfg(target_family = "wasm")]
pub(crate) use web::{Bell, Poller, Ticket, is_idle};

/// How an axis moved or ended.
enum News {
    Advance(Tracker, Axis, Epoch),
    /// And is fenced up to an epoch, as far as that is known here.
    Fail(Tracker, Axis, Failure, Option<Epoch>),
    Retire(Tracker, Axis),
}

/// Who tells; its lists are used again.
#[derive(Default)]
struct Settler {
    news: Vec<News>,
    listeners: Vec<Arc<dyn Listener>>,
    /// The axes have been failed.
    failed: bool,
}

impl Settler {
    /// Tells trackers and listeners what has become of the axes. On a lost device `sweep` is called once, before they fail, to
    /// take off the list what was finished all the same.
    fn settle(&mut self, shared: &Shared, sweep: impl FnOnce()) {
        let lost = shared.lost.get().filter(|_| !self.failed);
        if lost.is_some() {
            self.failed = true;
            sweep();
        }
        let mut state = shared.lock();
        collect(&mut state, lost, &mut self.news);
        if self.news.is_empty() && !core::mem::take(&mut state.tell) && lost.is_none() {
            return;
        }
        state.listeners.retain(|listener| match listener.upgrade() {
            Some(listener) => {
                self.listeners.push(listener);
                true
            }
            None => false,
        });
        drop(state);
        for news in self.news.drain(..) {
            // An axis that somebody else ended takes no more news; that is theirs to know.
            guarded(|| match news {
                News::Advance(tracker, axis, epoch) => drop(tracker.advance(axis, epoch)),
                News::Fail(tracker, axis, failure, fenced) => {
                    drop(tracker.fail_axis(axis, failure));
                    if let Some(last) = fenced {
                        drop(tracker.fence_axis_to(axis, last, FrontierRef::EMPTY));
                    }
                }
                News::Retire(tracker, axis) => drop(tracker.retire_axis(axis)),
            });
        }
        if lost.is_some() {
            // Release: see `Gpu::ended`.
            shared.told.store(true, Ordering::Release);
        }
        for listener in self.listeners.drain(..) {
            guarded(|| listener.progress());
        }
    }
}

/// What is new on each line. With `lost`, all of them end. One that is to fail is advanced to the epoch before its failure.
fn collect(state: &mut State, lost: Option<&Failure>, news: &mut Vec<News>) {
    for place in &mut state.lines {
        let Some(line) = place else { continue };
        let reached = line.reached();
        if reached > line.settled {
            line.settled = reached;
            news.push(News::Advance(line.tracker.clone(), line.axis, reached));
        }
        if let Some(failure) = line.ending().or(lost) {
            // What a lost device was to do, it does no more. Of a refused submission others may be on their way yet.
            let fenced = (lost.is_some() && !line.of_queue).then_some(line.last);
            news.push(News::Fail(line.tracker.clone(), line.axis, failure.clone(), fenced));
            *place = None;
        } else if line.closing && reached == line.last {
            news.push(News::Retire(line.tracker.clone(), line.axis));
            *place = None;
        }
    }
    if lost.is_some() {
        state.departed += state.flights.len() as u64;
        state.flights.clear();
    }
}

/// Runs what may call foreign code. Its panic stops here.
fn guarded(call: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
        log::error!("a callback panicked: {}", text_of(&*panic));
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}
