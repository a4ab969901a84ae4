//! The thread that polls a device: waits for the oldest flight, then settles.
//!
//! ```text
//!   ┌▶ oldest flight? ── yes ─▶ device.poll(Wait { its index }) ─▶ pop ─┐
//!   │        no                                                         │
//!   │   kicked, or somebody expects something ─▶ device.poll(Poll) ─────┤      and is the device lost?
//!   │        no                                                         ▼
//!   │   sleep until the bell ◀───────────────────────────────────── settle
//!   └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Cost: a poll a flight.

use super::{Settler, text_of};
use crate::gpu::{DeviceLost, Shared, Stage};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};
use wgpu::{PollError, PollType, SubmissionIndex};

/// How often the poller looks for work before it sleeps: about a microsecond in all. It does not yield: on a busy machine who yields
/// comes back when others have used up their time, long after who sleeps would have been woken.
const SPINS: u32 = 6;

/// How often a device with nothing in flight is looked at while somebody waits: only a loss can come of it.
const IDLE_LOOK: Duration = Duration::from_millis(20);

/// What a flight is waited for by.
#[derive(Clone, Debug)]
pub(crate) struct Ticket(SubmissionIndex);

impl Ticket {
    /// wgpu has this submission.
    pub(crate) const fn new(_: &Arc<Shared>, index: SubmissionIndex) -> Self {
        Self(index)
    }
}

/// What wakes the polling thread.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    thread: OnceLock<Thread>,
    /// How often it was rung.
    rings: AtomicU64,
    /// The thread is to end.
    stop: AtomicBool,
}

impl Bell {
    /// Wakes the poller. A ring is remembered, so that none is lost between its last look and its sleep.
    pub(crate) fn ring(&self) {
        // Relaxed: it only ends a spin early; what is to be seen is under the lock.
        self.rings.fetch_add(1, Ordering::Relaxed);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// The polling thread of a device.
#[derive(Debug)]
pub(crate) struct Poller {
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Poller {
    pub(crate) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let thread = thread::Builder::new().name("strandline-gpu".into()).spawn(move || {
            // Set once, here.
            let _ = shared.bell.thread.set(thread::current());
            Loop::new(&shared).run();
        })?;
        Ok(Self { thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread after what is in flight, and waits for that.
    pub(crate) fn end(&self, shared: &Shared) {
        {
            // Under the lock, under which the thread looks: it sees this before it reads how often it was rung, or is rung after.
            let _state = shared.lock();
            shared.bell.stop.store(true, Ordering::Relaxed);
        }
        shared.bell.ring();
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
    /// Somebody waits and nothing is in flight: is the device lost?
    Look,
    Settle,
    Stop,
}

struct Loop<'a> {
    shared: &'a Shared,
    settler: Settler,
}

impl<'a> Loop<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, settler: Settler::default() }
    }

    fn run(mut self) {
        loop {
            match self.next_job() {
                Job::Wait(index) => self.wait_for(&index),
                Job::Poll => {
                    // Nothing is in flight, so there is nothing to time out.
                    let _ = poll(self.shared, PollType::Poll);
                }
                Job::Look => {
                    let _ = poll(self.shared, PollType::Poll);
                    if !self.shared.watched.load(Ordering::Relaxed) {
                        self.shared.find_loss();
                    }
                }
                Job::Settle => {}
                Job::Stop => return,
            }
            let Self { shared, settler } = &mut self;
            settler.settle(shared, || sweep(shared));
        }
    }

    fn next_job(&self) -> Job {
        let mut idle = false;
        loop {
            let mut state = self.shared.lock();
            if self.shared.lost.get().is_some() && !self.settler.failed {
                return Job::Settle;
            }
            let boarding = match state.flights.front().map(|oldest| &oldest.stage) {
                Some(Stage::Away(Ticket(index))) => return Job::Wait(index.clone()),
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
            if idle {
                return Job::Look;
            }
            if core::mem::take(&mut state.kicked) {
                return Job::Poll;
            }
            if self.shared.bell.stop.load(Ordering::Relaxed) && !boarding {
                return Job::Stop;
            }
            let expecting = state.expecting > 0 && !self.settler.failed;
            // Read under the lock: who changes something afterwards rings after this.
            let rung = self.shared.bell.rings.load(Ordering::Relaxed);
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
            (0..1 << step).for_each(|_| core::hint::spin_loop());
            self.shared.bell.rings.load(Ordering::Relaxed) != rung
        })
    }

    /// Waits for the oldest flight and takes it off the list.
    fn wait_for(&self, index: &SubmissionIndex) {
        match poll(self.shared, wait(Some(index.clone()))) {
            Ok(()) => {}
            // wgpu did not accept that submission. If the device was lost, wgpu says so once all before it is over, to whoever has
            // the callback.
            Err(Some(PollError::WrongSubmissionIndex(..))) => {
                let _ = poll(self.shared, wait(None));
                if self.shared.find_loss().is_some() {
                    return;
                }
                // Refused by validation: there is nothing to wait for but what came before.
            }
            Err(Some(PollError::Timeout)) => return,
            Err(None) => {
                // Was it a callback that panicked? Then the device still answers.
                if poll(self.shared, wait(Some(index.clone()))).is_err() {
                    let message = "polling it failed".to_owned();
                    self.shared.lose(DeviceLost { reason: "unknown", message });
                    return;
                }
            }
        }
        self.shared.lock().drop_first();
    }
}

const fn wait(submission_index: Option<SubmissionIndex>) -> PollType {
    PollType::Wait { submission_index, timeout: None }
}

/// Polls; a panic in it, from wgpu or from a callback of somebody's mapping, is a value.
fn poll(shared: &Shared, how: PollType) -> Result<(), Option<PollError>> {
    match catch_unwind(AssertUnwindSafe(|| shared.device.poll(how))) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Some(error)),
        Err(panic) => {
            log::error!("polling the device: {}", text_of(&*panic));
            Err(None)
        }
    }
}

/// Whether the device has finished all that wgpu had when it was asked.
pub(crate) fn is_idle(shared: &Shared) -> bool {
    let ask = || shared.device.poll(PollType::Poll).is_ok_and(|status| status.is_queue_empty());
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or(false)
}

/// The device is lost: what it has finished all the same leaves the list.
fn sweep(shared: &Shared) {
    loop {
        let front = shared.lock().flights.front().map(|oldest| oldest.stage.clone());
        match front {
            Some(Stage::Away(Ticket(index))) if poll(shared, wait(Some(index.clone()))).is_ok() => {
            }
            Some(Stage::Void) => {}
            _ => return,
        }
        shared.lock().drop_first();
    }
}
