//! `pools`: reservations as resources, pools, and sets of pools. Ledgers have a file of their own.

use super::ledger;
use crate::bindings::Component;
use crate::bindings::exported::pools::{
    Acquired, AfterWait, Exhausted, Guest, GuestPool, GuestPoolSet, GuestReservation, InvalidDeath,
    Ledger, Need, Permissions, PoolProperties, PoolStats, Ready, Refusal, Request, Reservation,
    Routed, SetAcquired,
};
use crate::bindings::imported::types::{Death, Place, PoolError, Trim};
use crate::convert;
use alloc::sync::Arc;
use strandline_core::pool::arena::ArenaPool;
use strandline_core::pool::fixed_block::FixedBlockPool;
use strandline_core::pool::passthrough::PassthroughPool;
#[cfg(feature = "plans")]
use strandline_core::pool::planned::PlannedPool;
use strandline_core::pool::tlsf::TlsfPool;
use strandline_core::pool_set::{Need as CoreNeed, PoolSet, Route, SetAcquire};
use strandline_core::{Acquire, FrontierRef, Pool, pool};

/// Bytes held; see the interface.
pub struct Held(pool::Reservation);

impl GuestReservation for Held {
    fn place(&self) -> Place {
        place(&self.0)
    }

    fn pool(&self) -> u64 {
        self.0.pool().to_bits()
    }
}

fn place(reservation: &pool::Reservation) -> Place {
    Place {
        slab: reservation.slab().to_bits(),
        offset: reservation.offset(),
        size: reservation.size(),
    }
}

/// The core's request.
#[inline]
pub(crate) fn request<'a>(
    size: u64,
    alignment: u64,
    frontier: FrontierRef<'a>,
    may: Permissions,
) -> pool::Request<'a> {
    pool::Request {
        size,
        alignment,
        frontier,
        may_wait: may.contains(Permissions::WAIT),
        may_grow: may.contains(Permissions::GROW),
    }
}

fn acquired(answer: Acquire) -> Acquired {
    match answer {
        Acquire::Ready { reservation, origin } => Acquired::Ready(Ready {
            place: place(&reservation),
            reservation: Reservation::new(Held(reservation)),
            origin: convert::origin(origin),
        }),
        Acquire::AfterWait { reservation, wait } => Acquired::AfterWait(AfterWait {
            place: place(&reservation),
            reservation: Reservation::new(Held(reservation)),
            wait: convert::entries(wait.as_ref()),
        }),
        Acquire::Exhausted { observed, growth_required } => {
            Acquired::Exhausted(Exhausted { observed: observed.word(), growth_required })
        }
        Acquire::OverBudget { observed } => Acquired::OverBudget(observed.word()),
    }
}

/// Releases what a handle holds; the handle of one that is refused comes back.
fn give_back(
    reservation: Reservation,
    death: &Death,
    release: impl FnOnce(
        pool::Reservation,
        strandline_core::Death<'_>,
    ) -> Result<(), pool::ReleaseError>,
) -> Result<(), Refusal> {
    // Taken out of the cell only once the death was found to be one.
    let mut cell = Some(reservation.into_inner::<Held>().0);
    let outcome = convert::death(death, |death| cell.take().map(|held| release(held, death)));
    match (outcome, cell) {
        (Err(error), Some(held)) => {
            let reservation = Reservation::new(Held(held));
            Err(Refusal::InvalidDeath(InvalidDeath { reservation, error }))
        }
        (Ok(Some(Err(refused))), _) => Err(refusal(refused)),
        _ => Ok(()),
    }
}

/// Gives back what a handle holds, unused.
fn cancel(
    reservation: Reservation,
    cancel: impl FnOnce(pool::Reservation) -> Result<(), pool::ReleaseError>,
) -> Result<(), Refusal> {
    cancel(reservation.into_inner::<Held>().0).map_err(refusal)
}

fn refusal(refused: pool::ReleaseError) -> Refusal {
    Refusal::OtherPool(Reservation::new(Held(refused.reservation)))
}

/// A pool of the core.
pub struct Handle {
    pool: Arc<dyn Pool>,
    /// The same, if it is one that knows batches.
    tlsf: Option<Arc<TlsfPool>>,
    /// The same, if it follows a plan.
    #[cfg(feature = "plans")]
    planned: Option<Arc<PlannedPool>>,
}

impl Handle {
    pub(crate) const fn pool(&self) -> &Arc<dyn Pool> {
        &self.pool
    }

    #[cfg(feature = "plans")]
    pub(crate) fn planned(&self) -> Option<&PlannedPool> {
        self.planned.as_deref()
    }

    fn of(pool: Arc<dyn Pool>) -> Self {
        Self {
            pool,
            tlsf: None,
            #[cfg(feature = "plans")]
            planned: None,
        }
    }
}

#[cfg(feature = "plans")]
impl From<PlannedPool> for Handle {
    fn from(pool: PlannedPool) -> Self {
        let pool = Arc::new(pool);
        Self { planned: Some(Arc::clone(&pool)), ..Self::of(pool) }
    }
}

impl From<TlsfPool> for Handle {
    fn from(pool: TlsfPool) -> Self {
        let pool = Arc::new(pool);
        Self { tlsf: Some(Arc::clone(&pool)), ..Self::of(pool) }
    }
}

impl From<FixedBlockPool> for Handle {
    fn from(pool: FixedBlockPool) -> Self {
        Self::of(Arc::new(pool))
    }
}

impl From<ArenaPool> for Handle {
    fn from(pool: ArenaPool) -> Self {
        Self::of(Arc::new(pool))
    }
}

impl From<PassthroughPool> for Handle {
    fn from(pool: PassthroughPool) -> Self {
        Self::of(Arc::new(pool))
    }
}

impl GuestPool for Handle {
    fn id(&self) -> u64 {
        self.pool.id().to_bits()
    }

    fn properties(&self) -> PoolProperties {
        convert::pool_properties(self.pool.properties())
    }

    fn acquire(&self, asked: Request) -> Result<Acquired, PoolError> {
        let Request { size, alignment, after, may } = asked;
        let answer = convert::frontier(&after, |after| {
            self.pool.acquire(&request(size, alignment, after, may))
        });
        match answer.map_err(PoolError::InvalidFrontier)? {
            Ok(answer) => Ok(acquired(answer)),
            Err(error) => Err(convert::pool_error(error)),
        }
    }

    fn release(&self, reservation: Reservation, death: Death) -> Result<(), Refusal> {
        give_back(reservation, &death, |held, death| self.pool.release(held, death))
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), Refusal> {
        cancel(reservation, |held| self.pool.cancel(held))
    }

    fn ledger(&self) -> Ledger {
        Ledger::new(ledger::Book::new(Arc::clone(&self.pool), self.tlsf.clone()))
    }

    fn poll(&self) {
        self.pool.poll();
    }

    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        self.pool.trim(convert::trim_in(how)).map_err(convert::pool_error)
    }

    fn stats(&self) -> PoolStats {
        convert::pool_stats(&self.pool.stats())
    }

    fn observe(&self) -> u32 {
        self.pool.notification().observe().word()
    }
}

/// Several pools.
pub struct Set(PoolSet);

impl Set {
    pub(crate) const fn new(set: PoolSet) -> Self {
        Self(set)
    }
}

impl GuestPoolSet for Set {
    fn route(&self, need: Need) -> Routed {
        match self.0.route(&convert::need(need)) {
            Route::Pool(pool) => Routed::Pool(pool.id().to_bits()),
            Route::Oversized(pool) => Routed::Oversized(pool.id().to_bits()),
            Route::NoMatch(reason) => Routed::NoMatch(convert::no_match(reason)),
        }
    }

    fn acquire(&self, need: Need, asked: Request) -> Result<SetAcquired, PoolError> {
        let Request { size, alignment, after, may } = asked;
        let need: CoreNeed = convert::need(need);
        let answer = convert::frontier(&after, |after| {
            match self.0.acquire(&need, &request(size, alignment, after, may)) {
                Ok(SetAcquire::Routed { answer, .. }) => Ok(SetAcquired::Answer(acquired(answer))),
                Ok(SetAcquire::NoMatch(reason)) => {
                    Ok(SetAcquired::NoMatch(convert::no_match(reason)))
                }
                Err(error) => Err(convert::pool_error(error)),
            }
        });
        answer.map_err(PoolError::InvalidFrontier)?
    }

    fn release(&self, reservation: Reservation, death: Death) -> Result<(), Refusal> {
        give_back(reservation, &death, |held, death| self.0.release(held, death))
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), Refusal> {
        cancel(reservation, |held| self.0.cancel(held))
    }

    fn stats(&self) -> PoolStats {
        convert::pool_stats(&self.0.pool_stats())
    }
}

impl Guest for Component {
    type Reservation = Held;
    type Pool = Handle;
    type Ledger = ledger::Book;
    type PoolSet = Set;
}
