//! Threads that read and write files where the kernel does it only while a thread waits.
//!
//! They start with the first transfer, up to [`THREADS`], and end with the proactor. Each takes the oldest
//! transfer, so those of one file may end in another order than they were started, as with io_uring.

use super::backend::Done;
use super::doorbell::Doorbell;
use super::op::{IoBuffer, Transfer};
use super::raw;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

const THREADS: usize = 4;

#[derive(Default)]
struct State {
    queue: VecDeque<(u64, Transfer)>,
    done: Vec<Done>,
    /// Threads with nothing to do.
    idle: usize,
    stop: bool,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    doorbell: Arc<Doorbell>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing can panic with it locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some((serial, mut transfer)) = state.queue.pop_front() {
                drop(state);
                let result = raw::transfer(&mut transfer);
                let done = Done { serial, result, buffer: Some(transfer.buffer) };
                state = self.lock();
                state.done.push(done);
                drop(state);
                self.doorbell.wake();
                state = self.lock();
            } else if state.stop {
                return;
            } else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    in_flight: usize,
}

impl Workers {
    pub(super) fn new(doorbell: Arc<Doorbell>) -> Self {
        let (state, work) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { state, work, doorbell });
        Self { shared, threads: Vec::new(), in_flight: 0 }
    }

    pub(super) fn start(&mut self, serial: u64, transfer: Transfer) {
        self.in_flight += 1;
        let mut state = self.shared.lock();
        state.queue.push_back((serial, transfer));
        let enough = state.queue.len() <= state.idle || self.threads.len() >= THREADS;
        drop(state);
        self.shared.work.notify_one();
        if enough {
            return;
        }
        let shared = self.shared.clone();
        let spawned =
            thread::Builder::new().name("proactor file".into()).spawn(move || shared.work());
        match spawned {
            Ok(thread) => self.threads.push(thread),
            // Those that are there do it later.
            Err(_) if !self.threads.is_empty() => {}
            Err(error) => {
                let code = error.raw_os_error().map_or(Errno::AGAIN, Errno::from_raw_os_error);
                let mut state = self.shared.lock();
                while let Some((serial, transfer)) = state.queue.pop_front() {
                    let buffer = Some(transfer.buffer);
                    state.done.push(Done { serial, result: Err(code), buffer });
                }
            }
        }
    }

    /// Takes a transfer back that has not begun; `None` when it has.
    pub(super) fn cancel(&mut self, serial: u64) -> Option<IoBuffer> {
        let mut state = self.shared.lock();
        let index = state.queue.iter().position(|(queued, _)| *queued == serial)?;
        let (_, transfer) = state.queue.remove(index)?;
        self.in_flight -= 1;
        Some(transfer.buffer)
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn has_done(&self) -> bool {
        self.in_flight > 0 && !self.shared.lock().done.is_empty()
    }

    pub(super) fn take(&mut self, done: &mut Vec<Done>) {
        if self.in_flight == 0 {
            return;
        }
        let mut state = self.shared.lock();
        self.in_flight -= state.done.len();
        done.append(&mut state.done);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a proactor's file thread panicked");
            }
        }
    }
}
