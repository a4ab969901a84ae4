//! An allocation as a future: [`allocate`] waits for memory without a thread, on any executor.
//!
//! ```text
//!   poll ─▶ acquire ─▶ Ready, AfterWait                          done
//!              └─▶ Exhausted, OverBudget ─▶ the waker is kept by the pool's notification, which releases signal,
//!                                           and by the tracker's, which progress signals; either polls again
//! ```
//!
//! What comes free by progress alone is nobody's signal to a pool, which has no thread and is told of nothing. So who waits is told of
//! both: of releases by the pool, and of progress by whoever the pool [asks about it](Pool::progress). A pool over a
//! [`Progress`](crate::Progress) that does not [tell](crate::Progress::moved) wakes on releases only.
//!
//! Dropping the future gives up; nothing is reserved then. A deadline is the executor's to keep: it drops the future.
//!
//! # Cost
//! While any future waits, each advance of any axis of the tracker polls it once, and costs a search.

use crate::Frontier;
use crate::notification::{Notification, WakerId, Watching};
use crate::pool::{Acquire, Origin, Pool, PoolError, Request, Reservation};
use crate::pool_set::{Need, NoMatch, PoolSet, Route};
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::ops::Deref;
use core::pin::Pin;
use core::sync::atomic::{Ordering, fence};
use core::task::{Context, Poll};

/// Memory that was allocated. Release it to its pool.
#[derive(Debug)]
#[must_use = "a reservation holds memory until it is released to its pool"]
pub enum Allocated {
    /// Usable now.
    Ready {
        /// The bytes.
        reservation: Reservation,
        /// Where they come from.
        origin: Origin,
    },
    /// Usable after `wait`, which the caller must order its use after. Only a request that [permits](Request::or_wait) it is answered so.
    AfterWait {
        /// The bytes.
        reservation: Reservation,
        /// What to wait for before they are used.
        wait: Frontier,
    },
}

impl Allocated {
    /// The bytes, and what to wait for before they are used: nothing when they are ready.
    pub fn into_parts(self) -> (Reservation, Frontier) {
        match self {
            Self::Ready { reservation, .. } => (reservation, Frontier::new()),
            Self::AfterWait { reservation, wait } => (reservation, wait),
        }
    }
}

/// How often one poll looks again before it lets others have their turn.
const LOOKS: usize = 8;

/// Acquires, as soon as there is memory. The request may [grow](Request::new) the pool unless it says otherwise.
///
/// ```
/// # use std::sync::Arc;
/// # use strandline_core::pool::{PoolHost, tlsf::{TlsfPool, TlsfPoolConfig}, growth::Growth};
/// # use strandline_core::slab::CpuSlabs;
/// use core::future::Future;
/// use core::task::{Context, Poll, Waker};
/// use strandline_core::allocate::{Allocated, allocate};
/// use strandline_core::pool::{Pool, Request};
/// use strandline_core::{Axis, Death, Frontier, Tracker};
///
/// # let tracker = Tracker::new(1);
/// # let axis = Axis::host(1);
/// # tracker.register(axis)?;
/// # let host = PoolHost::new(Arc::new(CpuSlabs::new(4096)), Arc::new(tracker.clone()));
/// # let config = TlsfPoolConfig { growth: Growth::slabs_of(4096), ..Default::default() };
/// # let pool = TlsfPool::new(host, config)?;
/// let all = pool.acquire(&Request::new(4096))?.into_ready().unwrap();
/// pool.release(all, Death::from(&Frontier::from_entry(axis, 1)))?;
///
/// let mut more = Box::pin(allocate(&pool, Request::new(4096)));
/// let mut context = Context::from_waker(Waker::noop());
/// assert!(more.as_mut().poll(&mut context).is_pending());
/// tracker.advance(axis, 1)?;
/// assert!(matches!(more.as_mut().poll(&mut context), Poll::Ready(Ok(Allocated::Ready { .. }))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const fn allocate<P: Deref<Target: Pool>>(pool: P, request: Request<'_>) -> Allocate<'_, P> {
    Allocate { pool, request, watching: None, waits: [None; 2] }
}

/// [`allocate`] from the pool that the set routes `need` to. The size that counts is the request's.
///
/// # Errors
/// [`NoMatch`] when no pool serves it.
pub fn allocate_from<'r>(
    pools: &PoolSet,
    need: &Need,
    request: Request<'r>,
) -> Result<Allocate<'r, Arc<dyn Pool>>, NoMatch> {
    match pools.route(&Need { size: request.size, ..*need }) {
        Route::Pool(pool) | Route::Oversized(pool) => Ok(allocate(pool.clone(), request)),
        Route::NoMatch(why) => Err(why),
    }
}

/// The future of [`allocate`].
///
/// Its output is an error for a request that the pool could never serve, or a provider that broke; nothing is reserved then.
#[must_use = "futures do nothing unless polled"]
pub struct Allocate<'r, P: Deref<Target: Pool>> {
    pool: P,
    request: Request<'r>,
    /// Counts as an observer of progress while this waits.
    watching: Option<Watching>,
    /// Where the waker is: with the pool's notification, and with that of progress.
    waits: [Option<WakerId>; 2],
}

impl<P: Deref<Target: Pool>> Allocate<'_, P> {
    fn forget_wakers(&mut self) {
        let [released, moved] = core::mem::take(&mut self.waits);
        if let Some(id) = released {
            self.pool.notification().unregister(id);
        }
        if let (Some(id), Some(watching)) = (moved, &self.watching) {
            watching.notification().unregister(id);
        }
    }
}

impl<P: Deref<Target: Pool> + Unpin> Future for Allocate<'_, P> {
    type Output = Result<Allocated, PoolError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.forget_wakers();
        if this.watching.is_none() {
            this.watching =
                this.pool.progress().and_then(|who| who.moved()).map(Notification::watch);
        }
        for _ in 0..LOOKS {
            // Counted before the look, and this before what it reads: an advance that this look misses sees the watcher.
            fence(Ordering::SeqCst);
            let moved = this.watching.as_ref().map(|watching| {
                let notification = watching.notification();
                (notification, notification.observe())
            });
            let observed = match this.pool.acquire(&this.request) {
                Ok(Acquire::Ready { reservation, origin }) => {
                    return Poll::Ready(Ok(Allocated::Ready { reservation, origin }));
                }
                Ok(Acquire::AfterWait { reservation, wait }) => {
                    return Poll::Ready(Ok(Allocated::AfterWait { reservation, wait }));
                }
                Ok(Acquire::Exhausted { observed, .. } | Acquire::OverBudget { observed }) => {
                    observed
                }
                Err(error) => return Poll::Ready(Err(error)),
            };
            let waker = || context.waker().clone();
            let Some(released) = this.pool.notification().register(observed, waker()) else {
                continue;
            };
            this.waits[0] = Some(released);
            match moved.map(|(notification, seen)| notification.register(seen, waker())) {
                Some(None) => this.forget_wakers(),
                id => {
                    this.waits[1] = id.flatten();
                    return Poll::Pending;
                }
            }
        }
        // There is news without end: others shall have their turn.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<P: Deref<Target: Pool>> Drop for Allocate<'_, P> {
    fn drop(&mut self) {
        self.forget_wakers();
    }
}

impl<P: Deref<Target: Pool>> fmt::Debug for Allocate<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allocate").field("request", &self.request).finish_non_exhaustive()
    }
}
