//! Sleeping on a condition variable, where there is no futex.
//!
//! All notifications share one: a wake is heard by every sleeper, and each looks at its own word.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strandline_core::Wake;
use strandline_core::notification::{EpochWord, Waiting};

static LOCK: Mutex<()> = Mutex::new(());
static SIGNALED: Condvar = Condvar::new();

/// Wakes every sleeping thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThreadWake;

impl ThreadWake {
    pub(super) const fn new() -> Self {
        Self
    }
}

impl Wake for ThreadWake {
    fn wake_all(&self, _word: &EpochWord) {
        // Taking the lock makes sure that no one is between its look and its sleep.
        drop(LOCK.lock().unwrap_or_else(PoisonError::into_inner));
        SIGNALED.notify_all();
    }
}

/// Sleeps until the notification changed or the deadline passed.
pub(super) fn sleep(waiting: &Waiting<'_>, _wake: Option<&dyn Wake>, deadline: Option<Instant>) {
    let mut guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    while !waiting.changed() {
        match deadline.map(|end| end.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => return,
            Some(left) => {
                (guard, _) =
                    SIGNALED.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner);
            }
            None => guard = SIGNALED.wait(guard).unwrap_or_else(PoisonError::into_inner),
        }
    }
}
