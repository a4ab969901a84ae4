//! A pool of the other component, as a [`Pool`].
//!
//! ```text
//!   streams ─ advanced ─▶ Link: what the tracker was not told yet
//!                           │ told before each call that may ask
//!   acquire, release, … ────┴─▶ ledger, pool, inspect
//! ```
//!
//! A reservation is a key of the pool's ledger. Here is one thread, so what the trait returns by reference lives here and nothing
//! waits for it.

use super::{convert, snapshot};
use crate::bindings::substrate::pools::{Exhausted, Held, HeldAfterWait, Ledger, Outcome};
use crate::bindings::substrate::tracker::Tracker;
use crate::bindings::substrate::{authority, inspect, pools, types};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::inspect::BlockView;
use strandline_core::pool::{
    Acquire, Pool, PoolHost, PoolId, PoolProperties, PoolStats, ReleaseError, Request, Reservation,
};
use strandline_core::slab::{SlabProvider, Trim};
use strandline_core::{Axis, Death, Epoch, FrontierRef, Notification, PoolError, SlabId};
use strandline_replay::streams::{Listener, Work};

/// How many of something there are now.
#[derive(Debug)]
pub(crate) struct Live(AtomicU32);

impl Live {
    const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// How many. One thread: there is nothing to order.
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn one_less(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Pools of the other component that are held here.
pub(crate) static POOLS: Live = Live::new();
/// Their ledgers.
pub(crate) static LEDGERS: Live = Live::new();
/// Its trackers.
pub(crate) static TRACKERS: Live = Live::new();

/// The other component's knowledge of how far the streams of one run have come.
pub(crate) struct Link {
    tracker: Tracker,
    /// What it was not told yet.
    news: Mutex<Vec<types::Entry>>,
    /// Operations for the host to do: see `run.work` in the interface. Only of a live run.
    work: Option<Mutex<Vec<u64>>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("news", &self.news).finish_non_exhaustive()
    }
}

impl Link {
    /// A tracker for these axes.
    pub(crate) fn new(
        axes: impl ExactSizeIterator<Item = Axis>,
        live: bool,
    ) -> Result<Self, String> {
        let tracker = authority::make_tracker(axes.len() as u32);
        TRACKERS.one_more();
        let link = Self { tracker, news: Mutex::default(), work: live.then(Mutex::default) };
        for axis in axes {
            let registered = link.tracker.register(axis.to_bits(), 0);
            registered.map_err(|error| format!("{axis}: {error:?}"))?;
        }
        Ok(link)
    }

    /// What was submitted since the last call.
    pub(crate) fn work(&self) -> Vec<u64> {
        let work = self.work.as_ref();
        work.map(|work| core::mem::take(&mut *work.lock().unwrap_or_else(PoisonError::into_inner)))
            .unwrap_or_default()
    }

    /// The tracker, for pools to be made on.
    pub(crate) const fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    fn news(&self) -> MutexGuard<'_, Vec<types::Entry>> {
        // One thread: it cannot be poisoned by another.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what there is to tell.
    fn tell(&self) {
        let mut news = self.news();
        if !news.is_empty() {
            // The axes are registered, and only the streams end them: never.
            let _ = self.tracker.advance_batch(&news);
            news.clear();
        }
    }
}

impl Listener for Link {
    fn advanced(&self, axis: Axis, epoch: Epoch) {
        let mut news = self.news();
        let axis = axis.to_bits();
        match news.last_mut() {
            Some(last) if last.axis == axis => last.epoch = epoch,
            _ => news.push(types::Entry { axis, epoch }),
        }
    }

    fn submitted(&self, stream: u32, epoch: Epoch, work: &Work) {
        let Some(list) = &self.work else { return };
        let (slab, offset, size) = match work {
            Work::Write(block) => (block.slab.to_bits(), block.offset, block.size),
            Work::Check(_) | Work::None => (0, 0, 0),
        };
        let operation = [u64::from(stream), epoch, slab, offset, size];
        list.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&operation);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        TRACKERS.one_less();
    }
}

/// A pool of the other component. Dropping it gives its slabs back.
pub(crate) struct OtherPool {
    id: PoolId,
    link: Arc<Link>,
    pool: pools::Pool,
    ledger: Ledger,
    properties: PoolProperties,
    provider: Arc<dyn SlabProvider>,
    notification: Arc<Notification>,
}

impl fmt::Debug for OtherPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherPool")
            .field("id", &self.id)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

impl OtherPool {
    /// What was made there, or why it was not.
    pub(crate) fn new(
        made: Result<pools::Pool, types::PoolError>,
        link: Arc<Link>,
        host: PoolHost,
    ) -> Result<Self, PoolError> {
        let pool = made.map_err(error)?;
        let (ledger, properties) = (pool.ledger(), convert::pool_properties(pool.properties()));
        POOLS.one_more();
        LEDGERS.one_more();
        Ok(Self {
            id: PoolId::next(),
            link,
            pool,
            ledger,
            properties,
            provider: host.provider,
            notification: Arc::new(Notification::new(host.wake)),
        })
    }

    fn hold(&self, key: u32, slab: u64, offset: u64, size: u64) -> Reservation {
        Reservation::foreign(self.id, SlabId::from_bits(slab), offset, size, u64::from(key))
    }

    /// Releases or cancels a reservation of this pool.
    fn give_back(
        &self,
        reservation: Reservation,
        call: impl FnOnce(u32) -> Result<(), pools::LedgerError>,
    ) -> Result<(), ReleaseError> {
        let key = reservation.foreign_token().and_then(|token| u32::try_from(token).ok());
        let Some(key) = key.filter(|_| reservation.pool() == self.id) else {
            return Err(ReleaseError::other_pool(reservation));
        };
        self.link.tell();
        let done = call(key).map_err(|_| ReleaseError::other_pool(reservation));
        self.notification.signal_if_observed();
        done
    }
}

/// What the core would have said. An answer that was not caused is one of a component that is not the right one.
fn error(error: types::PoolError) -> PoolError {
    convert::pool_error(error).unwrap_or(PoolError::Lost)
}

fn permissions(request: &Request<'_>) -> pools::Permissions {
    let mut may = pools::Permissions::empty();
    may.set(pools::Permissions::WAIT, request.may_wait);
    may.set(pools::Permissions::GROW, request.may_grow);
    may
}

impl Pool for OtherPool {
    fn id(&self) -> PoolId {
        self.id
    }

    fn properties(&self) -> PoolProperties {
        self.properties
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        self.link.tell();
        let observed = self.notification.observe();
        let &Request { size, alignment, frontier, .. } = request;
        let after = convert::entries(frontier);
        match self.ledger.acquire(size, alignment, &after, permissions(request)).map_err(error)? {
            Outcome::Ready(Held { key, slab, offset, origin }) => Ok(Acquire::Ready {
                reservation: self.hold(key, slab, offset, size),
                origin: convert::origin(origin),
            }),
            Outcome::AfterWait(HeldAfterWait { key, slab, offset, wait }) => {
                let wait = convert::frontier(&wait).ok_or(PoolError::Lost)?;
                Ok(Acquire::AfterWait { reservation: self.hold(key, slab, offset, size), wait })
            }
            Outcome::Exhausted(Exhausted { observed: _, growth_required }) => {
                Ok(Acquire::Exhausted { observed, growth_required })
            }
            Outcome::OverBudget(_) => Ok(Acquire::OverBudget { observed }),
        }
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        let entries = convert::entries(death.frontier().unwrap_or(FrontierRef::EMPTY));
        let death = match death {
            Death::Idle => types::Death::Idle,
            Death::After(_) => types::Death::After(entries),
            Death::Unknown => types::Death::Unknown,
        };
        self.give_back(reservation, |key| self.ledger.release(key, &death))
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        self.give_back(reservation, |key| self.ledger.cancel(key))
    }

    fn poll(&self) {
        self.link.tell();
        self.pool.poll();
        self.notification.signal_if_observed();
    }

    fn quiesce(&self) {
        self.link.tell();
        authority::quiesce(&self.pool);
        self.notification.signal_if_observed();
    }

    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        self.link.tell();
        let trimmed = self.pool.trim(convert::trim_out(how));
        self.notification.signal_if_observed();
        trimmed.map_err(error)
    }

    fn stats(&self) -> PoolStats {
        self.link.tell();
        convert::pool_stats(self.pool.stats())
    }

    fn provider(&self) -> Option<&Arc<dyn SlabProvider>> {
        Some(&self.provider)
    }

    fn notification(&self) -> &Arc<Notification> {
        &self.notification
    }

    fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        self.link.tell();
        // A snapshot that cannot be read is that of another component; as much of it as can be is shown.
        let _ = snapshot::unpack(&inspect::snapshot(&self.pool), visit);
    }
}

impl Drop for OtherPool {
    fn drop(&mut self) {
        POOLS.one_less();
        LEDGERS.one_less();
    }
}
