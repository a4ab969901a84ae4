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
//! Cost: the pool's, and a step of the ledger under the tenant's own lock: twice for an acquire, once for a release, and
//! once for an exchange of the two.

use super::error::TenantError;
use super::group::TenantGroup;
use super::ledger::{Ledger, NEVER, Room};
use super::log_refusal;
use super::names::Names;
use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::inspect::BlockView;
use strandline_core::pool::{
    Acquire, ExchangeError, Origin, Pool, PoolError, PoolId, PoolProperties, PoolStats,
    ReleaseError, Request, Reservation, ReuseProof,
};
use strandline_core::slab::Trim;
use strandline_core::{
    Death, Entry, Frontier, FrontierRef, Merge, Notification, Observation, Progress, Tracker,
};

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Foreign code runs under these locks in an exchange only, and what it is called with is written down by then: poison
    // means nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a tenant's pools share.
pub(super) struct Account {
    pub(super) tracker: Tracker,
    /// The group that is charged as well.
    pub(super) group: Option<Arc<TenantGroup>>,
    /// The tracker as memory needs it: what is fenced is over.
    pub(super) memory: Arc<dyn Progress>,
    pub(super) books: Mutex<QuotaAccount>,
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
pub(super) struct QuotaAccount {
    pub(super) ledger: Ledger,
    pub(super) counts: Vec<PoolStats>,
}

/// See the [module](self).
pub(super) struct TenantPool {
    index: usize,
    inner: Arc<dyn Pool>,
    /// The host's pool's, within the budget. They never change.
    properties: PoolProperties,
    account: Arc<Account>,
    may_trim: bool,
    /// The most that the tenant is ever charged.
    budget: u64,
}

/// Why there is no room for another reservation.
enum NoRoom {
    /// As many reservations are kept track of as may be.
    Place,
    Budget,
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
        budget: u64,
    ) -> Self {
        let mut properties = inner.properties();
        properties.max_request = properties.max_request.min(budget);
        Self { index, inner, properties, account, may_trim, budget }
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
    #[inline(always)]
    fn charge(
        &self,
        QuotaAccount { ledger, counts }: &mut QuotaAccount,
        reservation: Reservation,
        footprint: u64,
        count: impl FnOnce(&mut PoolStats),
    ) -> Result<Reservation, Reservation> {
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

    /// Charges what is ready.
    #[inline(always)]
    fn charge_ready(
        &self,
        books: &mut QuotaAccount,
        reservation: Reservation,
        origin: Origin,
        footprint: u64,
    ) -> Result<Reservation, Reservation> {
        self.charge(books, reservation, footprint, |stats| match origin {
            Origin::Fresh => stats.fresh += 1,
            Origin::Reused(ReuseProof::Dominance) => stats.dominated += 1,
            Origin::Reused(ReuseProof::Completion) => stats.completed += 1,
        })
    }

    /// Keeps what is the host's pool's in the ledger; the answer names it.
    #[inline(always)]
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

    /// Takes a reservation out of the books by `out`: the host's pool's, and what it was charged.
    #[inline(always)]
    fn take_out(
        &self,
        QuotaAccount { ledger, counts }: &mut QuotaAccount,
        reservation: &Reservation,
        out: impl FnOnce(&mut Ledger, u64) -> Option<Reservation>,
    ) -> Option<(Reservation, u64)> {
        let (key, footprint) = self.find(ledger, reservation)?;
        let inner = out(ledger, key)?;
        let stats = &mut counts[self.index];
        stats.releases += 1;
        let pending = ledger.sums(self.index).pending;
        stats.peak_pending_bytes = stats.peak_pending_bytes.max(pending);
        Some((inner, footprint))
    }

    /// Keeps again, under another key, what the host's pool has refused. What a broken pool keeps is its own loss.
    fn keep_refused(
        &self,
        QuotaAccount { ledger, counts }: &mut QuotaAccount,
        ReleaseError { reservation, .. }: ReleaseError,
        footprint: u64,
    ) -> Result<Reservation, Reservation> {
        counts[self.index].releases -= 1;
        self.keep(ledger, footprint, reservation)
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
        let found = self.take_out(&mut lock(&self.account.books), &reservation, out);
        let Some((inner, footprint)) = found else {
            return Err(ReleaseError::other_pool(reservation));
        };
        back(inner).map_err(|refused| {
            let books = &mut lock(&self.account.books);
            let kept = self.keep_refused(books, refused, footprint);
            ReleaseError::other_pool(kept.unwrap_or(reservation))
        })
    }

    /// What there is room for.
    #[inline(always)]
    fn room(
        &self,
        QuotaAccount { ledger, .. }: &mut QuotaAccount,
        request: &Request<'_>,
        footprint: u64,
    ) -> Result<Room, NoRoom> {
        ledger.settle(&*self.account.memory);
        let room = ledger.room(footprint);
        let max = self.properties.max_request;
        if request.size == 0 || request.size > max || !request.alignment.is_power_of_two() {
            // For the host's pool to refuse.
            return Ok(room);
        }
        match room {
            _ if !ledger.has_place() => Err(NoRoom::Place),
            Room::No => Err(NoRoom::Budget),
            room => Ok(room),
        }
    }

    /// [`Pool::exchange`], with more to say: gives back what is the tenant's, then takes. `None` if it is not the tenant's.
    ///
    /// For a tenant that nobody else uses meanwhile. The books are locked once, and stay so while the host's pool looks: whatever
    /// else locks them belongs to the tenant, which the caller has to itself.
    #[inline(always)]
    pub(super) fn exchange(
        &self,
        reservation: &Reservation,
        death: Death<'_>,
        request: &Request<'_>,
    ) -> Option<Result<Acquire, TakeError>> {
        let observed = self.inner.notification().observe();
        let footprint = self.footprint_within(request).ok()?;
        let mut books = lock(&self.account.books);
        let out = |ledger: &mut Ledger, key| ledger.give(key, owed(death), &*self.account.memory);
        let (inner, given) = self.take_out(&mut books, reservation, out)?;
        let Ok(room) = self.room(&mut books, request, footprint) else {
            let returned = self.inner.release(inner, death);
            self.log_refused(&mut books, returned, given);
            drop(books);
            // To be counted, and observed after the release.
            return Some(self.take(request));
        };
        let request = within(request, room);
        let (reservation, origin) = match self.inner.exchange(inner, death, &request) {
            Ok(Acquire::Ready { reservation, origin }) => (reservation, origin),
            Ok(answer) => {
                drop(books);
                return Some(self.answer(answer, &request, footprint, observed));
            }
            Err(ExchangeError::Release(refused)) => {
                self.log_refused(&mut books, Err(refused), given);
                drop(books);
                return Some(self.take(&request));
            }
            Err(ExchangeError::Acquire(error)) => return Some(Err(TakeError::Pool(error))),
        };
        let charged = self.charge_ready(&mut books, reservation, origin, footprint);
        drop(books);
        Some(Ok(match charged {
            Ok(reservation) => Acquire::Ready { reservation, origin },
            Err(reservation) => self.beyond_budget(reservation, observed),
        }))
    }

    /// What a request is charged, if the budget could ever bear that.
    fn footprint_within(&self, request: &Request<'_>) -> Result<u64, PoolError> {
        let footprint = self.inner.footprint(request.size, request.alignment);
        if footprint <= self.budget || request.size == 0 {
            return Ok(footprint);
        }
        Err(PoolError::TooLarge { size: request.size, max: self.properties.max_request })
    }

    /// A refusal that there is nobody to tell of: the reservation stays charged.
    fn log_refused(
        &self,
        books: &mut QuotaAccount,
        returned: Result<(), ReleaseError>,
        footprint: u64,
    ) {
        if let Err(refused) = returned {
            let (Ok(reservation) | Err(reservation)) = self.keep_refused(books, refused, footprint);
            log_refusal(Err(ReleaseError::other_pool(reservation)));
        }
    }

    /// [`Pool::acquire`], with more to say.
    ///
    /// An answer that is ready goes from hand to hand as a reservation: the whole is as large as the frontier that it might carry, and
    /// copies of it took as long as the locks.
    pub(super) fn take(&self, request: &Request<'_>) -> Result<Acquire, TakeError> {
        let observed = self.inner.notification().observe();
        let footprint = self.footprint_within(request)?;
        let room = {
            let mut locked = lock(&self.account.books);
            if let (Some(group), Err(NoRoom::Budget)) =
                (&self.account.group, self.room(&mut locked, request, footprint))
            {
                // What the others need no longer be charged may be enough.
                drop(locked);
                group.settle();
                locked = lock(&self.account.books);
            }
            let books = &mut *locked;
            match self.room(books, request, footprint) {
                Ok(room) => room,
                Err(NoRoom::Place) => return Err(TakeError::NoPlace(observed)),
                Err(NoRoom::Budget) => {
                    books.counts[self.index].over_budget += 1;
                    return Ok(Acquire::OverBudget { observed });
                }
            }
        };
        let request = within(request, room);
        self.answer(self.inner.acquire(&request)?, &request, footprint, observed)
    }

    /// Charges what the host's pool has answered, if it is to be had.
    fn answer(
        &self,
        answer: Acquire,
        request: &Request<'_>,
        footprint: u64,
        observed: Observation,
    ) -> Result<Acquire, TakeError> {
        match answer {
            Acquire::Ready { reservation, origin } => {
                Ok(self.hand_out(reservation, origin, footprint, observed))
            }
            Acquire::AfterWait { reservation, wait } => {
                match self.or_without_wait(request, reservation, wait)? {
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
        let charged =
            self.charge_ready(&mut lock(&self.account.books), reservation, origin, footprint);
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
        let waited = |stats: &mut PoolStats| stats.waited += 1;
        let charged = self.charge(&mut lock(&self.account.books), reservation, footprint, waited);
        match charged {
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

/// What bytes stay charged until. What cannot be waited for stays charged until the host declares quiescence. It comes from
/// the failure of an axis only: a tenant's own unknown deaths are kept back, see `Tenant::release`.
const fn owed(death: Death<'_>) -> FrontierRef<'_> {
    match death {
        Death::Idle => FrontierRef::EMPTY,
        Death::After(frontier) => frontier,
        Death::Unknown => FrontierRef::single(&NEVER),
    }
}

/// The request as the host's pool gets it. Only bytes that the tenant is charged for already would do: a new slab has none.
fn within<'a>(request: &Request<'a>, room: Room) -> Request<'a> {
    Request { may_grow: request.may_grow && room == Room::Yes, ..*request }
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
        self.give(
            reservation,
            |ledger, key| ledger.give(key, owed(death), &*self.account.memory),
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
        let QuotaAccount { ledger, counts } = &mut *lock(&self.account.books);
        ledger.settle(&*self.account.memory);
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

    fn progress(&self) -> Option<&Arc<dyn Progress>> {
        self.inner.progress()
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
