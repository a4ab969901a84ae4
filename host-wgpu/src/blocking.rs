//! Calls that block a thread until something is reached: natively only, since the web has no thread to block.

use crate::queue::{Queue, QueueError, QueueSet, failure_of};
use crate::staging::ReadBack;
use strandline_core::{Epoch, Failure, Frontier, FrontierRef};

impl QueueSet {
    /// Blocks until `frontier` is reached. Not to be called from a callback of a polling thread, which makes the progress.
    /// The tracker's `wait_async` does not block.
    ///
    /// # Errors
    /// [`QueueError::Tracker`] for an axis that is not registered; [`QueueError::Failed`] when it cannot be reached.
    pub fn wait(&self, frontier: FrontierRef<'_>) -> Result<(), QueueError> {
        let wait = self.tracker().wait_async(frontier)?;
        pollster::block_on(wait).map_err(|error| QueueError::Failed(failure_of(error)))
    }
}

impl Queue {
    /// Blocks until `epoch` of this queue is reached. Not to be called from a callback of the polling thread.
    ///
    /// # Errors
    /// [`QueueError::Failed`] when it cannot be reached.
    pub fn wait(&self, epoch: Epoch) -> Result<(), QueueError> {
        self.set().wait(Frontier::from_entry(self.axis(), epoch).as_ref())
    }

    /// Blocks until everything submitted here is done.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn finish(&self) -> Result<(), QueueError> {
        self.set().wait(self.frontier().as_ref())
    }
}

impl ReadBack {
    /// Blocks until the bytes are there. Not to be called from a callback of the polling thread, which brings them.
    ///
    /// # Errors
    /// The failure of the queue's axis.
    pub fn wait(self) -> Result<Vec<u8>, Failure> {
        pollster::block_on(self)
    }
}
