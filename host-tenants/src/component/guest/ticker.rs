//! The clock of deadlines: [`Ticker`], a thread that advances the epoch of engines while guests run, and sleeps while none
//! does. Each store looks at its own deadline when the epoch has changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wasmtime::Engine;

#[derive(Default)]
struct Running {
    guests: usize,
    ending: bool,
    /// Who is to be woken when, by number.
    sleepers: BTreeMap<u64, (Instant, Waker)>,
    next: u64,
}

impl Running {
    /// Takes out whom it is time to wake.
    fn due(&mut self) -> Vec<Waker> {
        if self.sleepers.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let due = self.sleepers.extract_if(.., |_, (at, _)| *at <= now);
        due.map(|(_, (_, waker))| waker).collect()
    }
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
                        let due = state.due();
                        if !due.is_empty() {
                            // Foreign code: not under the lock.
                            drop(state);
                            due.into_iter().for_each(Waker::wake);
                            state = lock(running);
                        }
                        changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0
                    };
                }
            })?;
        Ok(Self { running, thread: Some(thread) })
    }

    /// It ticks as long as the value lives.
    pub(super) fn ticking(&self) -> Ticking<'_> {
        let mut running = lock(&self.running.0);
        running.guests += 1;
        running.next += 1;
        let number = running.next;
        drop(running);
        self.running.1.notify_one();
        Ticking { ticker: self, number }
    }
}

/// A guest that runs.
pub(super) struct Ticking<'a> {
    ticker: &'a Ticker,
    number: u64,
}

impl Ticking<'_> {
    /// Wakes once, at this time or a tick later; a later call counts in the place of an earlier one.
    pub(super) fn wake_at(&self, deadline: Instant, waker: &Waker) {
        let mut running = lock(&self.ticker.running.0);
        let old = running.sleepers.insert(self.number, (deadline, waker.clone()));
        // Dropping a waker runs foreign code.
        drop(running);
        drop(old);
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        let mut running = lock(&self.ticker.running.0);
        running.guests -= 1;
        let sleeper = running.sleepers.remove(&self.number);
        drop(running);
        drop(sleeper);
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
