//! Sleeping by futex, on Linux, and ringing the event loops that watch.

use super::wake_list::{Bell, WakeList};
use crate::clock;
use crate::proactor::Doorbell;
use core::any::Any;
use core::num::NonZeroU32;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};
use rustix::io::Errno;
use rustix::thread::futex;
use std::sync::Arc;
use std::time::Instant;
use strandline_core::Wake;
use strandline_core::notification::{EpochWord, Waiting};

/// Wakes every thread that the kernel has put to sleep on the word, and every loop that watches it. Takes no
/// lock, allocates nothing and does not touch `errno`: signal handlers may call it.
#[derive(Debug)]
pub(crate) struct ThreadWake {
    /// Threads asleep, or about to be, on any word.
    sleepers: AtomicU32,
    wake_list: Arc<WakeList<Doorbell>>,
}

impl Bell for Doorbell {
    fn ring(&self, slot: u32) {
        Doorbell::ring(self, slot);
    }
}

impl ThreadWake {
    pub(super) fn new() -> Self {
        Self { sleepers: AtomicU32::new(0), wake_list: Arc::new(WakeList::new()) }
    }

    /// The wake as one of ours.
    pub(crate) fn of(wake: &dyn Wake) -> Option<&Self> {
        let wake: &dyn Any = wake;
        wake.downcast_ref()
    }

    pub(crate) fn wake_list(&self) -> &Arc<WakeList<Doorbell>> {
        &self.wake_list
    }
}

/// What waiters know a word by.
pub(crate) fn address(word: &EpochWord) -> usize {
    ptr::from_ref(word).addr()
}

impl Wake for ThreadWake {
    fn wake_all(&self, word: &EpochWord) {
        // A sleeper counts itself before the kernel compares the word, and the word was advanced before this: one
        // that is missed here does not fall asleep.
        if self.sleepers.load(Ordering::SeqCst) != 0 {
            // It fails for words that are not aligned or mapped only. The kernel counts in a signed int.
            let _ = futex::wake(word, futex::Flags::PRIVATE, i32::MAX as u32);
        }
        self.wake_list.ring(address(word));
    }
}

/// Sleeps until the notification changed or the deadline passed.
pub(super) fn sleep(waiting: &Waiting<'_>, wake: Option<&dyn Wake>, deadline: Option<Instant>) {
    let sleepers = wake.and_then(ThreadWake::of).map(|wake| &wake.sleepers);
    if let Some(sleepers) = sleepers {
        sleepers.fetch_add(1, Ordering::SeqCst);
    }
    sleep_counted(waiting, deadline);
    if let Some(sleepers) = sleepers {
        sleepers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn sleep_counted(waiting: &Waiting<'_>, deadline: Option<Instant>) {
    // Absolute: what interrupts the sleep does not prolong it. Beyond the clock's range is never.
    let end = deadline.and_then(clock::absolute);
    while !waiting.changed() {
        let any = NonZeroU32::MAX;
        let (word, expected) = (waiting.word(), waiting.expected());
        match futex::wait_bitset(word, futex::Flags::PRIVATE, expected, end.as_ref(), any) {
            // Woken, interrupted, or the word had changed: the loop looks again.
            Ok(()) | Err(Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::TIMEDOUT) => return,
            // A sandbox may forbid the call. Looking again and again is slow but right.
            Err(error) => {
                log::error!("futex wait failed: {error}");
                if deadline.is_some_and(|end| end <= Instant::now()) {
                    return;
                }
                std::thread::yield_now();
            }
        }
    }
}
