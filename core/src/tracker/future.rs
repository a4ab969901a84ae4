//! A wait as a future.

use super::{Inner, WaitError, WaitId};
use crate::oneshot::Oneshot;
use alloc::sync::{Arc, Weak};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// The future of [`Tracker::wait_async`](super::Tracker::wait_async).
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct WaitFuture {
    pub(super) tracker: Weak<Inner>,
    pub(super) id: WaitId,
    pub(super) result: Arc<Oneshot<Result<(), WaitError>>>,
}

impl Future for WaitFuture {
    type Output = Result<(), WaitError>;

    /// Pending for good once it has given its result.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.result.poll(context)
    }
}

impl Drop for WaitFuture {
    fn drop(&mut self) {
        if let Some(tracker) = self.tracker.upgrade() {
            tracker.cancel(self.id);
        }
    }
}
