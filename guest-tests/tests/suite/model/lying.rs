//! A pool whose answers say something wrong of where bytes come from.

use std::fmt;
use std::sync::Arc;
use strandline_core::inspect::BlockView;
use strandline_core::pool::{
    ExchangeError, Origin, PoolId, PoolProperties, PoolStats, ReleaseError,
};
use strandline_core::slab::Trim;
use strandline_core::{
    Acquire, Death, Notification, Pool, PoolError, Request, Reservation, SlabProvider,
};

/// The pool in it, but that every origin is `label`.
pub(super) struct Lying {
    pub(super) pool: Arc<dyn Pool>,
    pub(super) label: Origin,
}

impl Lying {
    fn relabel(&self, answer: Acquire) -> Acquire {
        match answer {
            Acquire::Ready { reservation, origin: _ } => {
                Acquire::Ready { reservation, origin: self.label }
            }
            other => other,
        }
    }
}

impl Pool for Lying {
    fn id(&self) -> PoolId {
        self.pool.id()
    }

    fn properties(&self) -> PoolProperties {
        self.pool.properties()
    }

    fn footprint(&self, size: u64, alignment: u64) -> u64 {
        self.pool.footprint(size, alignment)
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        self.pool.acquire(request).map(|answer| self.relabel(answer))
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        self.pool.release(reservation, death)
    }

    fn exchange(
        &self,
        reservation: Reservation,
        death: Death<'_>,
        request: &Request<'_>,
    ) -> Result<Acquire, ExchangeError> {
        self.pool.exchange(reservation, death, request).map(|answer| self.relabel(answer))
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        self.pool.cancel(reservation)
    }

    fn poll(&self) {
        self.pool.poll();
    }

    fn quiesce(&self) {
        self.pool.quiesce();
    }

    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        self.pool.trim(how)
    }

    fn stats(&self) -> PoolStats {
        self.pool.stats()
    }

    fn provider(&self) -> Option<&Arc<dyn SlabProvider>> {
        self.pool.provider()
    }

    fn notification(&self) -> &Arc<Notification> {
        self.pool.notification()
    }

    fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        self.pool.inspect(visit);
    }
}

impl fmt::Debug for Lying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lying").field("pool", &self.pool).finish_non_exhaustive()
    }
}
