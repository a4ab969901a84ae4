//! Progress on the web: the browser calls when a submission is done, and everything is settled in a task of its own.
//!
//! A ring asks for a task, unless one is on its way. So trackers' callbacks and listeners never run inside a call of the program, as
//! with the thread.

use super::Settler;
use crate::gpu::{Shared, Stage};
use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use wgpu::{PollType, SubmissionIndex};

/// What a flight is known to be over by.
#[derive(Clone, Debug)]
pub(crate) struct Ticket(Arc<AtomicBool>);

impl Ticket {
    /// wgpu has this submission: the browser is asked to tell when what it has is done.
    pub(crate) fn new(shared: &Arc<Shared>, _: SubmissionIndex) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        // What is in flight keeps the device's state, so that its axes get there after the last handle is gone.
        let (flag, state) = (done.clone(), shared.clone());
        shared.queue.on_submitted_work_done(move || {
            flag.store(true, Ordering::Relaxed);
            state.ring();
        });
        Self(done)
    }
}

/// What asks for a task.
#[derive(Default)]
pub(crate) struct Bell {
    shared: OnceLock<Weak<Shared>>,
    /// A task is on its way.
    rung: AtomicBool,
    settler: Mutex<Settler>,
}

impl Bell {
    /// Has everything settled soon.
    pub(crate) fn ring(&self) {
        let Some(shared) = self.shared.get().and_then(Weak::upgrade) else { return };
        if !self.rung.swap(true, Ordering::Relaxed) {
            wasm_bindgen_futures::spawn_local(async move { turn(&shared) });
        }
    }
}

/// Takes off the list what is over, and settles.
fn turn(shared: &Shared) {
    // First: what rings from here on is for the next task.
    shared.bell.rung.store(false, Ordering::Relaxed);
    let mut state = shared.lock();
    state.moved = false;
    let kicked = core::mem::take(&mut state.kicked);
    loop {
        match state.flights.front().map(|oldest| &oldest.stage) {
            Some(Stage::Away(Ticket(done))) if done.load(Ordering::Relaxed) => {}
            Some(Stage::Void) => {}
            _ => break,
        }
        state.drop_first();
    }
    drop(state);
    if kicked {
        // The browser needs no poll; an implementation below it that does gets one.
        let _ = shared.device.poll(PollType::Poll);
    }
    let mut settler = shared.bell.settler.lock().unwrap_or_else(PoisonError::into_inner);
    settler.settle(shared, || ());
}

/// The browser does not say.
pub(crate) const fn is_idle(_: &Shared) -> bool {
    false
}

/// Stands where natively a thread is.
#[derive(Debug)]
pub(crate) struct Poller;

impl Poller {
    /// Begins to listen to the bell.
    pub(crate) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        // Set once, here.
        let _ = shared.bell.shared.set(Arc::downgrade(&shared));
        Ok(Self)
    }

    /// Nothing: what is in flight ends by itself.
    pub(crate) fn end(&self, _: &Shared) {}
}
