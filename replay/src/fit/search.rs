//! Which of many candidates plays at a capacity: side by side, and with an answer that does not depend on how many threads there are.
//!
//! ```text
//!   candidates   0   1   2   3   4   5 …        thread A: 0, 2, 5     each takes the next one,
//!                ✗   ✗   ✓   ·   ·              thread B: 1, 3        and drops it once a lower one plays
//! ```
//!
//! # Cost
//! A replay a candidate up to the first that plays, each ended at its first refusal. Memory: the pools' bookkeeping for each thread.

use super::Effort;
use crate::build::Backing;
use crate::config::Config;
use crate::engine::Options;
use crate::session::{SessionError, Tape};
use crate::size::Bytes;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a search works with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search<'a> {
    pub(super) tape: &'a Tape<'a>,
    pub(super) candidates: &'a [Config],
    /// In which order to take them: positions in `candidates`.
    pub(super) order: &'a [usize],
    pub(super) options: Options,
    pub(super) effort: &'a Effort,
}

/// What a look over candidates came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The first in order that plays.
    pub(super) first: Option<usize>,
    /// Candidates that were judged.
    pub(super) judged: usize,
    /// Replays that it took.
    pub(super) replays: u32,
    /// The time was up before all were judged.
    pub(super) stopped: bool,
}

impl Search<'_> {
    /// Whether a candidate plays at a capacity, without touching memory; none if `stop` said so before.
    pub(super) fn plays_at(
        &self,
        position: usize,
        capacity: u64,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<bool>, SessionError> {
        let config = &self.candidates[self.order[position]];
        let config = Config { capacity: Some(Bytes(capacity)), ..config.clone() };
        let options = Options { unchecked: true, ..self.options };
        let backing = Backing::numbers(Some(capacity));
        let outcome = self.tape.play_until(&config, &backing, options, stop)?;
        Ok(outcome.map(|outcome| outcome.failure.is_none()))
    }

    /// The first candidate from position `from` on that plays at a capacity. `progress` is told replays and the position reached.
    pub(super) fn first(
        &self,
        from: usize,
        capacity: u64,
        progress: &mut dyn FnMut(u32, usize),
    ) -> Result<Found, SessionError> {
        let shared = Shared {
            next: AtomicUsize::new(from),
            found: AtomicUsize::new(usize::MAX),
            replays: AtomicU32::new(0),
            stopped: AtomicBool::new(false),
            error: Mutex::new(None),
        };
        let threads = self.effort.threads.min(self.order.len().saturating_sub(from)).max(1);
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| self.work(&shared, capacity, &mut |_, _| ()));
            }
            self.work(&shared, capacity, progress);
        });
        if let Some(error) = shared.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let first = Some(shared.found.into_inner()).filter(|&found| found != usize::MAX);
        let replays = shared.replays.into_inner();
        let stopped = shared.stopped.into_inner();
        let judged = match first {
            Some(first) if !stopped => first + 1 - from,
            _ => replays as usize,
        };
        Ok(Found { first, judged, replays, stopped })
    }

    /// One thread's part. Relaxed: the counters guard no other memory, and the scope's end orders them all.
    fn work(&self, shared: &Shared, capacity: u64, progress: &mut dyn FnMut(u32, usize)) {
        let is_late = |position| shared.found.load(Ordering::Relaxed) < position;
        loop {
            let position = shared.next.fetch_add(1, Ordering::Relaxed);
            if position >= self.order.len() || is_late(position) {
                return;
            }
            progress(shared.replays.load(Ordering::Relaxed), position);
            let stop = || is_late(position) || self.effort.is_spent();
            match self.plays_at(position, capacity, &stop) {
                Ok(Some(plays)) => {
                    shared.replays.fetch_add(1, Ordering::Relaxed);
                    if plays {
                        shared.found.fetch_min(position, Ordering::Relaxed);
                    }
                }
                Ok(None) if is_late(position) => return,
                Ok(None) => {
                    shared.stopped.store(true, Ordering::Relaxed);
                    return;
                }
                Err(error) => {
                    // Nobody has to look further.
                    shared.found.fetch_min(position, Ordering::Relaxed);
                    let mut first = shared.error.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(error);
                    return;
                }
            }
        }
    }
}

/// What threads share.
struct Shared {
    next: AtomicUsize,
    found: AtomicUsize,
    replays: AtomicU32,
    stopped: AtomicBool,
    error: Mutex<Option<SessionError>>,
}
