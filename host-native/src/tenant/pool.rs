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
    account: Arc<Account>,
    may_trim: bool,
}

/// What a tenant's pool answered, and what any use of the bytes must be ordered after beyond what their requester
/// said: any death of theirs includes it.
pub(super) struct Taken {
    pub(super) answer: Acquire,
    pub(super) after: Frontier,
}

impl Taken {
    const fn nothing(answer: Acquire) -> Self {
        Self { answer, after: Frontier::new() }
    }
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
        Self { index, inner, account, may_trim }
    }

    /// Bytes that a reservation of this pool is charged.
    pub(super) fn charged(&self, reservation: &Reservation) -> u64 {
        let books = lock(&self.account.books);
        self.find(&books.ledger, reservation).map_or(0, |(_, footprint)| footprint)
    }

    /// Asks the host's pool; an answer that would wait for another tenant is not taken.
    fn ask(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        let answer = self.inner.acquire(request)?;
        let Acquire::AfterWait { reservation, wait } = answer else { return Ok(answer) };
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
    pub(super) fn take(&self, request: &Request<'_>) -> Result<Taken, TakeError> {
        let tracker = &self.account.tracker;
        let observed = self.inner.notification().observe();
        let footprint = self.inner.footprint(request.size, request.alignment);
        let max = self.inner.properties().max_request;
        let valid = request.size > 0 && request.size <= max && request.alignment.is_power_of_two();
        let room = {
            let Books { ledger, counts } = &mut *lock(&self.account.books);
            ledger.settle(tracker);
            let room = ledger.room(footprint);
            if valid && !ledger.has_place() {
                return Err(TakeError::NoPlace(observed));
            }
            if valid && room == Room::No {
                counts[self.index].over_budget += 1;
                return Ok(Taken::nothing(Acquire::OverBudget { observed }));
            }
            room
        };
        // Only bytes that the tenant is charged for already would do: a new slab has none.
        let may_grow = request.may_grow && room == Room::Yes;
        let charged = match self.ask(&Request { may_grow, ..*request })? {
            Acquire::Ready { reservation, origin } => {
                // Bytes handed out on the word of the requester are ordered after what it said; all
                // others are nobody's any more.
                let after = match origin {
                    Origin::Reused(ReuseProof::Dominance) => unreached(request.frontier, tracker),
                    Origin::Reused(ReuseProof::Completion) | Origin::Fresh => Frontier::new(),
                };
                let charged = self.charge(reservation, footprint, |stats| match origin {
                    Origin::Fresh => stats.fresh += 1,
                    Origin::Reused(ReuseProof::Dominance) => stats.dominated += 1,
                    Origin::Reused(ReuseProof::Completion) => stats.completed += 1,
                });
                charged.map(|reservation| Taken {
                    answer: Acquire::Ready { reservation, origin },
                    after,
                })
            }
            Acquire::AfterWait { reservation, wait } => {
                let mut after = unreached(request.frontier, tracker);
                // `ask` has made sure that it fits.
                let _: Merge = after.merge(wait.as_ref());
                let charged = self.charge(reservation, footprint, |stats| stats.waited += 1);
                charged.map(|reservation| {
                    lock(&self.account.names).tell(&wait);
                    Taken { answer: Acquire::AfterWait { reservation, wait }, after }
                })
            }
            answer @ Acquire::Exhausted { .. } => {
                lock(&self.account.books).counts[self.index].exhausted += 1;
                return Ok(Taken::nothing(answer));
            }
            answer @ Acquire::OverBudget { .. } => {
                lock(&self.account.books).counts[self.index].over_budget += 1;
                return Ok(Taken::nothing(answer));
            }
        };
        Ok(charged.unwrap_or_else(|reservation| {
            log_refusal(self.inner.cancel(reservation));
            Taken::nothing(Acquire::OverBudget { observed })
        }))
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
        self.inner.properties()
    }

    fn footprint(&self, size: u64, alignment: u64) -> u64 {
        self.inner.footprint(size, alignment)
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        match self.take(request) {
            Ok(taken) => Ok(taken.answer),
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
