//! One transfer: parts in flight, their shortcomings, and the way back of the reservation.
//!
//! ```text
//!   range      │ part 0 │ part 1 │ part 2 │ … │ part n │      at most PARTS in flight, begun in order
//!   part 1     │ read 0.6 │ the rest again  │                 short: goes on where it ended
//!   part 2                │ 0 bytes: end of file at its start │ no part begins after this
//! ```
//!
//! # How the reservation always comes back
//! Every part's callback holds the job. The job ends when the last of them lets go of it, whatever happened: its drop
//! *is* its end. A proactor that is gone, a tracker that is gone, a wait that is canceled all drop callbacks, and so
//! end the job.

use super::{Direction, Inner, OnError, TransferError, Transferred};
use crate::MmapBuffer;
use crate::proactor::{Completion, Op, OpError, SharedFd};
use rustix::io::Errno;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::{Epoch, Failure, Reservation, WaitError};

/// Bytes of a part: large enough that a part costs nothing beside its bytes, small enough that several run at once.
const PART: u64 = 4 << 20;

/// Parts of one transfer in flight.
const PARTS: usize = 8;

pub(super) type Done = Box<dyn FnOnce(Transferred) + Send>;

pub(super) struct Job {
    pub(super) inner: Arc<Inner>,
    pub(super) epoch: Epoch,
    pub(super) direction: Direction,
    pub(super) file: SharedFd,
    /// Of the file's first byte.
    pub(super) offset: u64,
    /// As long as the transfer.
    pub(super) buffer: MmapBuffer,
    pub(super) on_error: OnError,
    pub(super) progress: Mutex<Progress>,
    pub(super) back: Mutex<Option<(Reservation, Done)>>,
}

/// How far it is.
#[derive(Default)]
pub(super) struct Progress {
    began: bool,
    /// Where the next part begins.
    next: u64,
    /// Bytes transferred.
    moved: u64,
    /// The first byte that did not make it, and why.
    failed: Option<(u64, TransferError)>,
}

impl Job {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Nothing can panic with it locked.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it waited for was reached, or never will be.
    pub(super) fn go(self: &Arc<Self>, waited: Result<(), WaitError>) {
        if let Err(error) = waited {
            return self.fail(0, TransferError::NeverReady(error));
        }
        if let Some(failure) = self.inner.failure() {
            return self.fail(0, TransferError::Failed(failure));
        }
        self.progress().began = true;
        for _ in 0..PARTS {
            self.next_part();
        }
    }

    fn next_part(self: &Arc<Self>) {
        let (at, len) = {
            let mut progress = self.progress();
            let at = progress.next;
            let len = (self.buffer.len() - at).min(PART);
            if len == 0 || progress.failed.is_some() {
                return;
            }
            progress.next += len;
            (at, len)
        };
        self.part(at, len);
    }

    fn part(self: &Arc<Self>, at: u64, len: u64) {
        let Ok(buffer) = self.buffer.slice(at, len) else { return };
        let (file, offset) = (self.file.clone(), self.offset + at);
        let op = match self.direction {
            Direction::Read => Op::read_at(file, offset, buffer),
            Direction::Write => Op::write_at(file, offset, buffer),
        };
        let job = self.clone();
        self.inner.handle.submit(op, move |completion| job.part_over(at, len, &completion));
    }

    fn part_over(self: &Arc<Self>, at: u64, len: u64, completion: &Completion) {
        const AGAIN: i32 = Errno::INTR.raw_os_error();
        if let Ok(count) = completion.result {
            self.progress().moved += count as u64;
        }
        match completion.result {
            Ok(0) => {
                let bytes = at;
                self.fail(
                    at,
                    match self.direction {
                        Direction::Read => TransferError::EndOfFile { bytes },
                        Direction::Write => TransferError::NothingWritten { bytes },
                    },
                );
            }
            Ok(count) if (count as u64) < len => self.part(at + count as u64, len - count as u64),
            Ok(_) => self.next_part(),
            Err(OpError::Os { code: AGAIN, .. }) => self.part(at, len),
            Err(OpError::Os { operation, code }) => {
                self.fail(at, TransferError::Os { operation, code, bytes: at });
            }
            Err(_) => self.fail(at, TransferError::Closed { bytes: at }),
        }
    }

    /// Of several failures the one that comes first in the range counts: all before it was transferred, since parts begin
    /// in order and those that began come to an end.
    fn fail(&self, at: u64, error: TransferError) {
        let mut progress = self.progress();
        if progress.failed.as_ref().is_none_or(|(first, _)| at < *first) {
            progress.failed = Some((at, error));
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let progress =
            core::mem::take(self.progress.get_mut().unwrap_or_else(PoisonError::into_inner));
        let len = self.buffer.len();
        let result = match progress.failed {
            Some((_, error)) => Err(error),
            None if progress.began && progress.moved == len => Ok(len),
            // It was dropped before it could begin, or a part of it was.
            None => Err(TransferError::Closed { bytes: 0 }),
        };
        let back = self.back.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let outcome = match (&result, self.on_error) {
            (Err(error), OnError::FailAxis) => Err(Failure::new(error.clone())),
            _ => Ok(()),
        };
        let epoch = self.epoch;
        if let Some((reservation, done)) = back {
            // Foreign code, in a drop: a panic must not become an abort, nor keep the epoch from being told.
            let told = catch_unwind(AssertUnwindSafe(|| {
                done(Transferred { reservation, epoch, result });
            }));
            if told.is_err() {
                log::error!("{} @ {epoch}: a callback panicked", self.inner.axis);
            }
        }
        self.inner.over(epoch, outcome);
    }
}
