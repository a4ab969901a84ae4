//! The thread that polls a device: waits for the oldest flight, then tells trackers and listeners.
//!
//! ```text
//!   ┌▶ oldest flight? ── yes ─▶ device.poll(Wait { its index }) ─▶ pop ─┐
//!   │        no                                                         │
//!   │   kicked, or somebody expects something ─▶ device.poll(Poll) ─────┤
//!   │        no                                                         ▼
//!   │   sleep until the bell ◀──────── settle: advance, fail or retire axes; tell the listeners
//!   └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Invariants: an axis is advanced only past flights that wgpu accepted and the device finished, in order; it
//! is failed or retired once, after that.
//!
//! Cost: a poll a flight. No allocation while nothing fails.

use crate::gpu::{DeviceLost, IDLE_LOOK, Listener, Shared, Stage, State};
use core::sync::atomic::Ordering;
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;
use strandline_core::{Axis, Epoch, Failure, Tracker};
use wgpu::{PollError, PollType, SubmissionIndex};

/// How often the poller looks for work before it sleeps: a few microseconds in all.
const SPINS: u32 = 12;

/// The polling thread of a device.
#[derive(Debug)]
pub(crate) struct Poller {
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Poller {
    pub(crate) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let thread = thread::Builder::new().name("strandline-gpu".into()).spawn(move || {
            // Set once, here.
            let _ = shared.thread.set(thread::current());
            Loop::new(&shared).run();
        })?;
        Ok(Self { thread: Mutex::new(Some(thread)) })
    }

    /// Waits for the thread's end, which somebody has asked for.
    pub(crate) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        if thread.thread().id() == thread::current().id() {
            // The last handle was dropped by a callback of this thread: it ends by itself.
            return;
        }
        if thread.join().is_err() {
            log::error!("the polling thread panicked");
        }
    }
}

/// What to do next.
enum Job {
    Wait(SubmissionIndex),
    Poll,
    Settle,
    Stop,
}

/// How an axis moved or ended.
enum News {
    Advance(Tracker, Axis, Epoch),
    Fail(Tracker, Axis, Failure),
    Retire(Tracker, Axis),
}

struct Loop<'a> {
    shared: &'a Shared,
    news: Vec<News>,
    listeners: Vec<Arc<dyn Listener>>,
    /// The axes have been failed.
    failed: bool,
}

impl<'a> Loop<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, news: Vec::new(), listeners: Vec::new(), failed: false }
    }

    fn run(mut self) {
        loop {
            match self.next_job() {
                Job::Wait(index) => self.wait_for(&index),
                Job::Poll => {
                    // Nothing is in flight, so there is nothing to time out.
                    let _ = self.poll(PollType::Poll);
                }
                Job::Settle => {}
                Job::Stop => return,
            }
            self.settle();
        }
    }

    fn next_job(&self) -> Job {
        let mut idle = false;
        loop {
            let mut state = self.shared.lock();
            if self.shared.lost.get().is_some() && !self.failed {
                return Job::Settle;
            }
            let boarding = match state.flights.front().map(|oldest| &oldest.stage) {
                Some(Stage::Away(index)) => return Job::Wait(index.clone()),
                Some(Stage::Void) => {
                    state.drop_first();
                    return Job::Settle;
                }
                Some(Stage::Boarding) => true,
                None => false,
            };
            if core::mem::take(&mut state.moved) || state.tell {
                return Job::Settle;
            }
            if core::mem::take(&mut state.kicked) || idle {
                return Job::Poll;
            }
            if state.stop && !boarding {
                return Job::Stop;
            }
            let expecting = state.expecting > 0 && !self.failed;
            // Read under the lock: who changes something afterwards rings after this.
            let rung = self.shared.rings.load(Ordering::Relaxed);
            drop(state);
            if self.spin(rung) {
                continue;
            }
            if expecting {
                let begun = Instant::now();
                thread::park_timeout(IDLE_LOOK);
                idle = begun.elapsed() >= IDLE_LOOK;
            } else {
                thread::park();
            }
        }
    }

    /// Waits a little for a ring after number `rung`: whoever submits again and again is served without a sleep between.
    fn spin(&self, rung: u64) -> bool {
        (0..SPINS).any(|step| {
            if step < SPINS / 2 {
                (0..1 << step).for_each(|_| core::hint::spin_loop());
            } else {
                thread::yield_now();
            }
            self.shared.rings.load(Ordering::Relaxed) != rung
        })
    }

    /// Polls; a panic in it, from wgpu or from a callback of somebody's mapping, is a value.
    fn poll(&self, how: PollType) -> Result<(), Option<PollError>> {
        match catch_unwind(AssertUnwindSafe(|| self.shared.device.poll(how))) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Some(error)),
            Err(panic) => {
                log::error!("polling the device: {}", text_of(&*panic));
                Err(None)
            }
        }
    }

    /// Waits for the oldest flight and takes it off the list.
    fn wait_for(&self, index: &SubmissionIndex) {
        match self.poll(wait(Some(index.clone()))) {
            Ok(()) => {}
            // wgpu did not accept that submission. If the device was lost, wgpu says so once all before it is over.
            Err(Some(PollError::WrongSubmissionIndex(..))) => {
                let _ = self.poll(wait(None));
                if self.shared.lost.get().is_some() {
                    return;
                }
                // Refused by validation: there is nothing to wait for but what came before.
            }
            Err(Some(PollError::Timeout)) => return,
            Err(None) => {
                // Was it a callback that panicked? Then the device still answers.
                if self.poll(wait(Some(index.clone()))).is_err() {
                    let message = "polling it failed".to_owned();
                    self.shared.lose(DeviceLost { reason: "unknown", message });
                    return;
                }
            }
        }
        self.shared.lock().drop_first();
    }

    /// The device is lost: what it has finished all the same leaves the list.
    fn sweep(&self) {
        loop {
            let front = self.shared.lock().flights.front().map(|oldest| oldest.stage.clone());
            match front {
                Some(Stage::Away(index)) if self.poll(wait(Some(index.clone()))).is_ok() => {}
                Some(Stage::Void) => {}
                _ => return,
            }
            self.shared.lock().drop_first();
        }
    }

    /// Tells trackers and listeners what has become of the axes.
    fn settle(&mut self) {
        let lost = self.shared.lost.get().filter(|_| !self.failed);
        if lost.is_some() {
            self.failed = true;
            self.sweep();
        }
        let mut state = self.shared.lock();
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
                News::Fail(tracker, axis, failure) => drop(tracker.fail_axis(axis, failure)),
                News::Retire(tracker, axis) => drop(tracker.retire_axis(axis)),
            });
        }
        for listener in self.listeners.drain(..) {
            guarded(|| listener.progress());
        }
    }
}

const fn wait(submission_index: Option<SubmissionIndex>) -> PollType {
    PollType::Wait { submission_index, timeout: None }
}

/// What is new on each line. With `lost`, all of them end. One that is to fail is not advanced any more: what is on its way may
/// be what failed.
fn collect(state: &mut State, lost: Option<&Failure>, news: &mut Vec<News>) {
    for place in &mut state.lines {
        let Some(line) = place else { continue };
        let reached = line.reached();
        if reached > line.settled && line.failing.is_none() {
            line.settled = reached;
            news.push(News::Advance(line.tracker.clone(), line.axis, reached));
        }
        if let Some(failure) = lost.or(line.failing.as_ref()) {
            news.push(News::Fail(line.tracker.clone(), line.axis, failure.clone()));
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
