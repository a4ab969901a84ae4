//! Sleeping by futex, on Linux.

use rustix::io::Errno;
use rustix::thread::{Timespec, futex};
use std::time::{Duration, Instant};
use strandline_core::Wake;
use strandline_core::notification::{EpochWord, Waiting};

/// Wakes every thread that the kernel has put to sleep on the word.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThreadWake;

impl Wake for ThreadWake {
    fn wake_all(&self, word: &EpochWord) {
        // The kernel counts in a signed int.
        if let Err(error) = futex::wake(word, futex::Flags::PRIVATE, i32::MAX as u32) {
            log::error!("futex wake failed: {error}");
        }
    }
}

/// Sleeps until the notification changed or the deadline passed.
pub(super) fn sleep(waiting: &Waiting<'_>, deadline: Option<Instant>) {
    while !waiting.changed() {
        let left = match deadline.map(|end| end.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => return,
            // A timeout beyond the clock's range is none.
            Some(left) => Timespec::try_from(left).ok(),
            None => None,
        };
        match futex::wait(waiting.word(), futex::Flags::PRIVATE, waiting.expected(), left.as_ref())
        {
            // Woken, interrupted, out of time, or the word had changed: the loop looks again.
            Ok(()) | Err(Errno::INTR | Errno::TIMEDOUT | Errno::AGAIN) => {}
            // A sandbox may forbid the call. Looking again and again is slow but right.
            Err(error) => {
                log::error!("futex wait failed: {error}");
                std::thread::yield_now();
            }
        }
    }
}
