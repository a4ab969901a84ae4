//! What a signal or a failure sets off, to be done once the lock is released.
//!
//! Links raise or fail further semaphores, which may have links of their own. They are followed
//! here, one after the other, and never nested: a chain of any length takes no more stack than one
//! link, and no two locks are ever held at once.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use super::{Callback, Inner, SemaphoreError, Signaled, Timepoint};
use crate::axis::{Axis, Epoch};
use crate::failure::Failure;
use crate::run_all::run_all;
use crate::tracker::WeakTracker;

/// A call out of the semaphore, into code that is not ours or that takes other locks.
pub(super) enum Call {
    Back(Callback, Result<Signaled, SemaphoreError>),
    Advance {
        tracker: WeakTracker,
        axis: Axis,
        epoch: Epoch,
    },
    /// Beyond what the semaphore has reached: whoever raised it to that may not have come to say so yet.
    FailAxis {
        tracker: WeakTracker,
        axis: Axis,
        reached: Epoch,
        failure: Failure,
    },
}

impl Call {
    fn make(self) {
        // An axis that has ended refuses, and has told the semaphore so through its own wait.
        match self {
            Self::Back(callback, result) => callback(result),
            Self::Advance { tracker, axis, epoch } => {
                if let Some(tracker) = tracker.upgrade() {
                    drop(tracker.advance(axis, epoch));
                }
            }
            Self::FailAxis { tracker, axis, reached, failure } => {
                if let Some(tracker) = tracker.upgrade() {
                    drop(tracker.advance(axis, reached));
                    drop(tracker.fail_axis(axis, failure));
                }
            }
        }
    }
}

enum Step {
    Call(Call),
    Raise { target: Arc<Inner>, value: u64, from: Signaled },
    Fail { target: Arc<Inner>, value: u64, failure: Failure },
}

/// Steps in the order in which they came up.
#[derive(Default)]
pub(super) struct Work(VecDeque<Step>);

impl Work {
    pub(super) fn push(&mut self, call: Call) {
        self.0.push_back(Step::Call(call));
    }

    /// Adds what a timepoint does. Called with its semaphore's lock held.
    pub(super) fn fire(&mut self, timepoint: Timepoint, result: Result<Signaled, SemaphoreError>) {
        let step = match timepoint {
            Timepoint::Call(callback) => Step::Call(Call::Back(callback, result)),
            Timepoint::Signal { target, value } => {
                let Some(target) = target.upgrade() else { return };
                match result {
                    Ok(from) => Step::Raise { target, value, from },
                    Err(SemaphoreError::Failed(failure)) => Step::Fail { target, value, failure },
                    Err(ended @ (SemaphoreError::Dropped | SemaphoreError::Nothing)) => {
                        Step::Fail { target, value, failure: Failure::new(ended) }
                    }
                }
            }
        };
        self.0.push_back(step);
    }

    /// Does everything, also what comes up on the way.
    pub(super) fn run(self) {
        run_all(self.map(|call| || call.make()));
    }
}

/// Follows links up to the next call.
impl Iterator for Work {
    type Item = Call;

    fn next(&mut self) -> Option<Call> {
        loop {
            match self.0.pop_front()? {
                Step::Call(call) => return Some(call),
                Step::Raise { target, value, from } => {
                    // A target that has come so far, or has failed, is left as it is.
                    drop(target.raise(value, from.frontier.as_ref(), from.tainted, self));
                }
                // Nor is one that has come so far failed.
                Step::Fail { target, value, failure } => {
                    target.fail_below(value, &failure, self);
                }
            }
        }
    }
}
