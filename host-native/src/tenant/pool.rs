//! A pool as one tenant sees it: [`TenantPool`], the host's pool behind the tenant's budget.
//!
//! ```text
//!   acquire ─▶ room in the ledger? ─▶ host's pool ─▶ waits for another tenant? ─▶ charge
//!                 │ no                                  │ yes: cancel, ask again
//!                 ▼                                     ▼ without waiting
//!              OverBudget                        Ready, Exhausted or OverBudget
//! ```
//!
//! It is a [`Pool`], so whatever works over pools works over a tenant's. Its counters are the tenant's own:
//! `committed` is what the tenant is charged, and nothing tells of anyone else.
//!
//! **No tenant waits for another.** The host's pool may answer with bytes that die at an epoch of another
//! tenant's queue. Such an answer is given back unused, and the pool is asked again without permission to wait:
//! a tenant that never finishes holds up no one.
//!
//! What it hands out is its own reservation, whose token is a key of the ledger; the ledger keeps the host's.
//!
//! Cost: the pool's, and a step of the ledger under the tenant's own lock: twice for an acquire, once for a release.

use super::error::TenantError;
use super::ledger::{Ledger, Room};
use super::log_refusal;
use super::names::Names;
use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::inspect::BlockView;
use strandline_core::pool::{
    Acquire, Origin, Pool, PoolError, PoolId, PoolProperties, PoolStats, ReleaseError, Request,
    Reservation, ReuseProof,
};
use strandline_core::slab::Trim;
use strandline_core::{
    Death, Entry, Frontier, FrontierRef, Merge, Notification, Observation, Progress, Tracker,
};

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No foreign code runs under these locks, so poison means nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a tenant's pools share.
pub(super) struct Account {
    pub(super) tracker: Tracker,
    pub(super) books: Mutex<Books>,
    pub(super) names: Mutex<Names>,
}

impl Account {
    /// A frontier of entries that the tenant may name.
    pub(super) fn check<'a>(&self, entries: &'a [Entry]) -> Result<FrontierRef<'a>, TenantError> {
        if entries.is_empty() {
            return Ok(FrontierRef::EMPTY);
        }
        lock(&self.names).check(entries)
    }
}

/// What is charged, and for each pool the counters that do not follow from that.
pub(super) struct Books {
    pub(super) ledger: Ledger,
    pub(super) counts: Vec<PoolStats>,
}

/// See the [module](self).
pub(super) struct TenantPool {
    index: usize,
    inner: Arc<dyn Pool>,
    /// The host's pool's, which never change.
    properties: PoolProperties,
    account: Arc<Account>,
    may_trim: bool,
}

/// Why a tenant's pool did not look.
pub(super) enum TakeError {
    /// As many reservations are kept track of as may be.
    NoPlace(Observation),
    Pool(PoolError),
}

impl From<PoolError> for TakeError {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl TenantPool {
    pub(super) fn new(
        index: usize,
        inner: Arc<dyn Pool>,
        account: Arc<Account>,
        may_trim: bool,
    ) -> Self {
        let properties = inner.properties();
        Self { index, inner, properties, account, may_trim }
    }

    /// Bytes that a reservation of this pool is charged.
    pub(super) fn charged(&self, reservation: &Reservation) -> u64 {
        let books = lock(&self.account.books);
        self.find(&books.ledger, reservation).map_or(0, |(_, footprint)| footprint)
    }

    /// An answer to wait for, if the wait is one that the tenant may be made to do. Otherwise the host's pool is asked again
    /// without it.
    fn or_without_wait(
        &self,
        request: &Request<'_>,
        reservation: Reservation,
        wait: Frontier,
    ) -> Result<Acquire, PoolError> {
        let countable = wait.clone().merge(request.frontier) == Merge::Done;
        if countable && lock(&self.account.names).may_wait_for(&wait) {
            return Ok(Acquire::AfterWait { reservation, wait });
        }
        log_refusal(self.inner.cancel(reservation));
        self.inner.acquire(&Request { may_wait: false, ..*request })
    }

    /// Charges what the host's pool has handed out, and counts it by `count`.
    ///
    /// # Errors
    /// The reservation when the budget does not allow it.
    fn charge(
        &self,
        reservation: Reservation,
        footprint: u64,
        count: impl FnOnce(&mut PoolStats),
    ) -> Result<Reservation, Reservation> {
        let Books { ledger, counts } = &mut *lock(&self.account.books);
        let stats = &mut counts[self.index];
        let charged = self.keep(ledger, footprint, reservation);
        let reservation = charged.inspect_err(|_| stats.over_budget += 1)?;
        let charged = ledger.sums(self.index);
        count(stats);
        stats.reserves += 1;
        stats.peak_reserved_bytes = stats.peak_reserved_bytes.max(charged.held);
        stats.peak_requested_bytes = stats.peak_requested_bytes.max(charged.requested);
        let committed = charged.held + charged.pending;
        stats.peak_committed_bytes = stats.peak_committed_bytes.max(committed);
        Ok(reservation)
    }

    /// Keeps what is the host's pool's in the ledger; the answer names it.
    fn keep(
        &self,
        ledger: &mut Ledger,
        footprint: u64,
        reservation: Reservation,
    ) -> Result<Reservation, Reservation> {
        let (slab, offset, size) = (reservation.slab(), reservation.offset(), reservation.size());
        let key = ledger.take(self.index, footprint, reservation)?;
        Ok(Reservation::foreign(self.inner.id(), slab, offset, size, key))
    }

    /// Takes a reservation out of the books by `out` and returns it to the host's pool by `back`.
    ///
    /// The books come first: once returned, another thread may be handed the same place.
    fn give(
        &self,
        reservation: Reservation,
        out: impl FnOnce(&mut Ledger, u64) -> Option<Reservation>,
        back: impl FnOnce(Reservation) -> Result<(), ReleaseError>,
    ) -> Result<(), ReleaseError> {
        let found = {
            let Books { ledger, counts } = &mut *lock(&self.account.books);
            self.find(ledger, &reservation).and_then(|(key, footprint)| {
                let inner = out(ledger, key)?;
                let stats = &mut counts[self.index];
                stats.releases += 1;
                let pending = ledger.sums(self.index).pending;
                stats.peak_pending_bytes = stats.peak_pending_bytes.max(pending);
                Some((inner, footprint))
            })
        };
        let Some((inner, footprint)) = found else { return Err(ReleaseError { reservation }) };
        back(inner).map_err(|refused| {
            // Held again, under another key; what a broken pool keeps is its own loss.
            let Books { ledger, counts } = &mut *lock(&self.account.books);
            counts[self.index].releases -= 1;
            let kept = self.keep(ledger, footprint, refused.reservation);
            ReleaseError { reservation: kept.unwrap_or(reservation) }
        })
    }

    /// [`Pool::acquire`], with more to say.
    ///
    /// An answer that is ready goes from hand to hand as a reservation: the whole is as large as the frontier that it might carry, and
    /// copies of it took as long as the locks.
    pub(super) fn take(&self, request: &Request<'_>) -> Result<Acquire, TakeError> {
        let observed = self.inner.notification().observe();
        let footprint = self.inner.footprint(request.size, request.alignment);
        let max = self.properties.max_request;
        let valid = request.size > 0 && request.size <= max && request.alignment.is_power_of_two();
        let room = {
            let Books { ledger, counts } = &mut *lock(&self.account.books);
            ledger.settle(&self.account.tracker);
            let room = ledger.room(footprint);
            if valid && !ledger.has_place() {
                return Err(TakeError::NoPlace(observed));
            }
            if valid && room == Room::No {
                counts[self.index].over_budget += 1;
                return Ok(Acquire::OverBudget { observed });
            }
            room
        };
        // Only bytes that the tenant is charged for already would do: a new slab has none.
        let may_grow = request.may_grow && room == Room::Yes;
        let request = Request { may_grow, ..*request };
        match self.inner.acquire(&request)? {
            Acquire::Ready { reservation, origin } => {
                Ok(self.hand_out(reservation, origin, footprint, observed))
            }
            Acquire::AfterWait { reservation, wait } => {
                match self.or_without_wait(&request, reservation, wait)? {
                    Acquire::Ready { reservation, origin } => {
                        Ok(self.hand_out(reservation, origin, footprint, observed))
                    }
                    Acquire::AfterWait { reservation, wait } => {
                        Ok(self.hand_out_after(reservation, wait, footprint, observed))
                    }
                    answer => Ok(self.nothing(answer)),
                }
            }
            answer => Ok(self.nothing(answer)),
        }
    }

    /// Charges what is ready and answers with it.
    fn hand_out(
        &self,
        reservation: Reservation,
        origin: Origin,
        footprint: u64,
        observed: Observation,
    ) -> Acquire {
        let charged = self.charge(reservation, footprint, |stats| match origin {
            Origin::Fresh => stats.fresh += 1,
            Origin::Reused(ReuseProof::Dominance) => stats.dominated += 1,
            Origin::Reused(ReuseProof::Completion) => stats.completed += 1,
        });
        match charged {
            Ok(reservation) => Acquire::Ready { reservation, origin },
            Err(reservation) => self.beyond_budget(reservation, observed),
        }
    }

    /// Charges what is to be waited for and answers with it.
    fn hand_out_after(
        &self,
        reservation: Reservation,
        wait: Frontier,
        footprint: u64,
        observed: Observation,
    ) -> Acquire {
        match self.charge(reservation, footprint, |stats| stats.waited += 1) {
            Ok(reservation) => {
                lock(&self.account.names).tell(&wait);
                Acquire::AfterWait { reservation, wait }
            }
            Err(reservation) => self.beyond_budget(reservation, observed),
        }
    }

    /// Gives back what the budget does not allow after all.
    #[cold]
    fn beyond_budget(&self, reservation: Reservation, observed: Observation) -> Acquire {
        log_refusal(self.inner.cancel(reservation));
        Acquire::OverBudget { observed }
    }

    /// Counts an answer without a reservation.
    #[cold]
    fn nothing(&self, answer: Acquire) -> Acquire {
        let stats = &mut lock(&self.account.books).counts[self.index];
        match answer {
            Acquire::OverBudget { .. } => stats.over_budget += 1,
            _ => stats.exhausted += 1,
        }
        answer
    }

    /// The key of a reservation that this tenant has from this pool, and what it is charged.
    fn find(&self, ledger: &Ledger, reservation: &Reservation) -> Option<(u64, u64)> {
        let key = reservation.foreign_token().filter(|_| reservation.pool() == self.inner.id())?;
        let held = ledger.get(key)?;
        let place = |one: &Reservation| (one.slab(), one.offset());
        // Another tenant's reservation may have the same key, but not the same place.
        (place(&held.reservation) == place(reservation)).then_some((key, held.footprint))
    }
}

/// The entries that are not reached.
pub(super) fn unreached(frontier: FrontierRef<'_>, progress: &dyn Progress) -> Frontier {
    let mut rest = Frontier::new();
    for entry in frontier.entries() {
        if !progress.has_reached(entry.axis, entry.epoch) {
            // Part of a frontier, so it fits.
            let _: Merge = rest.advance(entry.axis, entry.epoch);
        }
    }
    rest
}

impl Pool for TenantPool {
    fn id(&self) -> PoolId {
        self.inner.id()
    }

    fn properties(&self) -> PoolProperties {
        self.properties
    }

    fn footprint(&self, size: u64, alignment: u64) -> u64 {
        self.inner.footprint(size, alignment)
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        match self.take(request) {
            Ok(answer) => Ok(answer),
            Err(TakeError::NoPlace(observed)) => {
                lock(&self.account.books).counts[self.index].over_budget += 1;
                Ok(Acquire::OverBudget { observed })
            }
            Err(TakeError::Pool(error)) => Err(error),
        }
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        // What cannot be waited for stays charged for good. It comes from the host only: a tenant's
        // own unknown deaths are kept back, see `Tenant::release`.
        let charge = match death {
            Death::Idle | Death::Unknown => FrontierRef::EMPTY,
            Death::After(frontier) => frontier,
        };
        self.give(
            reservation,
            |ledger, key| ledger.give(key, charge, &self.account.tracker),
            |inner| self.inner.release(inner, death),
        )
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        self.give(reservation, Ledger::restore, |inner| self.inner.cancel(inner))
    }

    fn poll(&self) {
        self.inner.poll();
    }

    /// Does nothing: only the host speaks for the whole device.
    fn quiesce(&self) {}

    /// 0 unless the host lent the pool with that permission.
    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        if self.may_trim { self.inner.trim(how) } else { Ok(0) }
    }

    fn stats(&self) -> PoolStats {
        let Books { ledger, counts } = &mut *lock(&self.account.books);
        ledger.settle(&self.account.tracker);
        let sums = ledger.sums(self.index);
        let mut stats = counts[self.index];
        stats.reserved_bytes = sums.held;
        stats.requested_bytes = sums.requested;
        stats.pending_bytes = sums.pending;
        stats.free_bytes = sums.pending;
        stats.committed_bytes = sums.held + sums.pending;
        stats.live = sums.count;
        stats
    }

    fn notification(&self) -> &Arc<Notification> {
        self.inner.notification()
    }

    /// Visits nothing: the pool's blocks are not the tenant's to see.
    fn inspect(&self, _visit: &mut dyn FnMut(&BlockView<'_>)) {}
}

impl fmt::Debug for TenantPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantPool").field("inner", &self.inner.id()).finish_non_exhaustive()
    }
}
