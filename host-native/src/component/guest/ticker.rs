//! The clock of deadlines: [`Ticker`], a thread that advances the epoch of engines while guests run, and sleeps while none
//! does. Each store looks at its own deadline when the epoch has changed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use wasmtime::Engine;

#[derive(Default)]
struct Running {
    guests: usize,
    ending: bool,
}

/// Advances the epoch of engines while guests run.
pub(super) struct Ticker {
    running: Arc<(Mutex<Running>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(5);

fn lock(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    // Nothing panics with it held.
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ticker {
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(engines: [Engine; 2]) -> std::io::Result<Self> {
        let running = Arc::new((Mutex::new(Running::default()), Condvar::new()));
        let shared = running.clone();
        let thread =
            std::thread::Builder::new().name("guest ticker".to_owned()).spawn(move || {
                let (running, changed) = &*shared;
                let mut state = lock(running);
                while !state.ending {
                    state = if state.guests == 0 {
                        changed.wait(state).unwrap_or_else(PoisonError::into_inner)
                    } else {
                        engines.iter().for_each(Engine::increment_epoch);
                        changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0
                    };
                }
            })?;
        Ok(Self { running, thread: Some(thread) })
    }

    /// It ticks as long as the value lives.
    pub(super) fn ticking(&self) -> Ticking<'_> {
        lock(&self.running.0).guests += 1;
        self.running.1.notify_one();
        Ticking(self)
    }
}

/// A guest that runs.
pub(super) struct Ticking<'a>(&'a Ticker);

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        lock(&self.0.running.0).guests -= 1;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        lock(&self.running.0).ending = true;
        self.running.1.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the guest ticker panicked");
        }
    }
}
