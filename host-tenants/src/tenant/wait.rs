//! Waiting on a tenant's behalf, without blocking: [`TenantWait`], [`TenantChange`].
//!
//! An alloca that waits for memory is served when somebody looks, and it is a waiting tenant that has
//! reason to: so while it waits, it is woken when a pool that it waits for changes, looks, and
//! waits on.

use super::Tenant;
use super::error::TenantError;
use super::pool::lock;
use super::{Names, PoolHandle};
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use strandline_core::notification::WakerId;
use strandline_core::{
    Axis, Entry, FrontierError, Notification, Observation, WaitError, WaitFuture,
};

/// Why a tenant's wait ended before its frontier was reached.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WaitFailure {
    /// The entries are not those of a frontier.
    InvalidFrontier(FrontierError),
    /// An axis that the tenant does not know.
    UnknownAxis(Axis),
    /// An axis failed or was retired, or the device is gone.
    Ended(WaitError),
}

impl fmt::Display for WaitFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidFrontier(error) => error.fmt(f),
            Self::UnknownAxis(axis) => write!(f, "axis {axis} is not known"),
            Self::Ended(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for WaitFailure {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::InvalidFrontier(error) => Some(error),
            Self::UnknownAxis(_) => None,
            Self::Ended(error) => Some(error),
        }
    }
}

/// Wakers left with notifications, taken back when it ends.
#[derive(Debug, Default)]
struct Registered(Vec<(Arc<Notification>, WakerId)>);

impl Registered {
    fn clear(&mut self) {
        for (notification, id) in self.0.drain(..) {
            notification.unregister(id);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A wait for a frontier; see [`Tenant::poll_wait`].
#[derive(Debug)]
#[must_use = "a wait does nothing unless polled"]
pub struct TenantWait {
    future: WaitFuture,
    registered: Registered,
}

/// A wait for a pool to change; a future of its own, which needs no tenant.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct TenantChange {
    notification: Arc<Notification>,
    seen: Observation,
    registered: Registered,
}

impl Future for TenantChange {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.registered.clear();
        match this.notification.register(this.seen, context.waker().clone()) {
            None => Poll::Ready(()),
            Some(id) => {
                this.registered.0.push((this.notification.clone(), id));
                Poll::Pending
            }
        }
    }
}

impl Tenant {
    /// Begins to wait for these entries: epochs of the tenant's own queues, submitted or not, and of axes that
    /// the host has told it of.
    ///
    /// # Errors
    /// [`WaitFailure`]; nothing waits then.
    pub fn wait(&mut self, entries: &[Entry]) -> Result<TenantWait, WaitFailure> {
        let frontier = Names::frontier(entries).map_err(WaitFailure::InvalidFrontier)?;
        {
            let names = lock(&self.account.names);
            if let Some(entry) = entries.iter().find(|entry| !names.knows(entry.axis)) {
                return Err(WaitFailure::UnknownAxis(entry.axis));
            }
        }
        let future = self
            .account
            .tracker
            .wait_async(frontier)
            .map_err(|_| WaitFailure::UnknownAxis(entries[0].axis))?;
        Ok(TenantWait { future, registered: Registered::default() })
    }

    /// Takes up what was decided since: memory that came free for allocas in line, queues that failed. The other
    /// calls do so as well.
    pub fn poll(&mut self) {
        self.drain();
    }

    /// Whether the wait is over; otherwise the context's waker is called when it is time to ask again.
    pub fn poll_wait(
        &mut self,
        wait: &mut TenantWait,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), WaitFailure>> {
        loop {
            self.drain();
            wait.registered.clear();
            if let Poll::Ready(result) = Pin::new(&mut wait.future).poll(context) {
                return Poll::Ready(result.map_err(WaitFailure::Ended));
            }
            let mut changed = false;
            for parked in self.queues.parked() {
                let Some(pool) = self.set.get(parked.pool) else { continue };
                match pool.notification().register(parked.observed, context.waker().clone()) {
                    Some(id) => wait.registered.0.push((pool.notification().clone(), id)),
                    // It changed since it was asked: ask again.
                    None => changed = true,
                }
            }
            if !changed {
                return Poll::Pending;
            }
        }
    }

    /// Waits until the pool has changed since `seen`.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`].
    pub fn changed(
        &self,
        pool: PoolHandle,
        seen: Observation,
    ) -> Result<TenantChange, TenantError> {
        let notification = self.pool(pool)?.notification().clone();
        Ok(TenantChange { notification, seen, registered: Registered::default() })
    }
}
