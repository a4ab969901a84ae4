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
//! Cost: the pool's, and a step of the ledger under the tenant's own lock.

use super::ledger::{Ledger, Room, Spot};
use super::names::Names;
use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_core::inspect::BlockView;
use strandline_core::pool::{
    Acquire, Origin, Pool, PoolError, PoolId, PoolProperties, PoolStats, ReleaseError, Request,
    Reservation, ReuseProof,
};
use strandline_core::slab::Trim;
use strandline_core::{Death, Frontier, FrontierRef, Merge, Notification, Progress, Tracker};

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No foreign code runs under these locks, so poison means nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a tenant's pools share.
pub(super) struct Account {
    pub(super) tracker: Tracker,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) names: Mutex<Names>,
}

/// See the [module](self).
pub(super) struct TenantPool {
    index: usize,
    inner: Arc<dyn Pool>,
    account: Arc<Account>,
    may_trim: bool,
    /// Counts, and the peaks of what the ledger knows.
    counts: Mutex<PoolStats>,
}

impl TenantPool {
    pub(super) fn new(
        index: usize,
        inner: Arc<dyn Pool>,
        account: Arc<Account>,
        may_trim: bool,
    ) -> Self {
        Self { index, inner, account, may_trim, counts: Mutex::default() }
    }

    pub(super) fn spot(&self, reservation: &Reservation) -> Spot {
        Spot { pool: self.index, slab: reservation.slab(), offset: reservation.offset() }
    }

    fn count(&self, change: impl FnOnce(&mut PoolStats)) {
        change(&mut lock(&self.counts));
    }

    /// Asks the host's pool; an answer that would wait for another tenant is not taken.
    fn ask(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        let answer = self.inner.acquire(request)?;
        let Acquire::AfterWait { reservation, wait } = answer else { return Ok(answer) };
        let countable = wait.clone().merge(request.frontier) == Merge::Done;
        if countable && lock(&self.account.names).may_wait_for(&wait) {
            return Ok(Acquire::AfterWait { reservation, wait });
        }
        self.give_back(reservation);
        self.inner.acquire(&Request { may_wait: false, ..*request })
    }

    /// Returns what the host's pool has just handed out.
    fn give_back(&self, reservation: Reservation) {
        if let Err(refused) = self.inner.cancel(reservation) {
            // A pool that refuses its own reservation is broken; the bytes stay with it.
            log::error!("{:?} refused {:?}", self.inner.id(), refused.reservation);
        }
    }

    /// Charges a reservation; `false` when the budget does not allow it.
    fn charge(&self, reservation: &Reservation, footprint: u64, after: Frontier) -> bool {
        let spot = self.spot(reservation);
        lock(&self.account.ledger).take(spot, footprint, reservation.size(), after)
    }

    fn reserved(&self) {
        let charged = lock(&self.account.ledger).sums(self.index);
        self.count(|stats| {
            stats.reserves += 1;
            stats.peak_reserved_bytes = stats.peak_reserved_bytes.max(charged.held);
            stats.peak_requested_bytes = stats.peak_requested_bytes.max(charged.requested);
            let committed = charged.held + charged.pending;
            stats.peak_committed_bytes = stats.peak_committed_bytes.max(committed);
        });
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
        let tracker = &self.account.tracker;
        let observed = self.inner.notification().observe();
        let footprint = self.inner.footprint(request.size, request.alignment);
        let (room, has_place) = {
            let mut ledger = lock(&self.account.ledger);
            ledger.settle(tracker);
            (ledger.room(footprint), ledger.has_place())
        };
        let max = self.inner.properties().max_request;
        let valid = request.size > 0 && request.size <= max && request.alignment.is_power_of_two();
        if valid && (room == Room::No || !has_place) {
            self.count(|stats| stats.over_budget += 1);
            return Ok(Acquire::OverBudget { observed });
        }
        // Only bytes that the tenant is charged for already would do: a new slab has none.
        let may_grow = request.may_grow && room == Room::Yes;
        let answer = self.ask(&Request { may_grow, ..*request })?;
        let (reservation, after) = match &answer {
            Acquire::Ready { reservation, origin } => {
                // Bytes handed out on the word of the requester are ordered after what it said; all
                // others are nobody's any more.
                let after = match origin {
                    Origin::Reused(ReuseProof::Dominance) => unreached(request.frontier, tracker),
                    Origin::Reused(ReuseProof::Completion) | Origin::Fresh => Frontier::new(),
                };
                (reservation, after)
            }
            Acquire::AfterWait { reservation, wait } => {
                let mut after = unreached(request.frontier, tracker);
                // `ask` has made sure that it fits.
                let _: Merge = after.merge(wait.as_ref());
                (reservation, after)
            }
            Acquire::Exhausted { .. } => {
                self.count(|stats| stats.exhausted += 1);
                return Ok(answer);
            }
            Acquire::OverBudget { .. } => {
                self.count(|stats| stats.over_budget += 1);
                return Ok(answer);
            }
        };
        if !self.charge(reservation, footprint, after) {
            if let Acquire::Ready { reservation, .. } | Acquire::AfterWait { reservation, .. } =
                answer
            {
                self.give_back(reservation);
            }
            self.count(|stats| stats.over_budget += 1);
            return Ok(Acquire::OverBudget { observed });
        }
        self.count(|stats| match &answer {
            Acquire::Ready { origin: Origin::Fresh, .. } => stats.fresh += 1,
            Acquire::Ready { origin: Origin::Reused(ReuseProof::Dominance), .. } => {
                stats.dominated += 1;
            }
            Acquire::Ready { origin: Origin::Reused(ReuseProof::Completion), .. } => {
                stats.completed += 1;
            }
            _ => stats.waited += 1,
        });
        self.reserved();
        if let Acquire::AfterWait { wait, .. } = &answer {
            lock(&self.account.names).tell(wait);
        }
        Ok(answer)
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        let spot = self.spot(&reservation);
        // What cannot be waited for stays charged for good. It comes from the host only: a tenant's
        // own unknown deaths are kept back, see `Tenant::release`.
        let charge = match death {
            Death::Idle | Death::Unknown => Frontier::new(),
            Death::After(frontier) => frontier.to_frontier(),
        };
        // The ledger first: once released, another thread may be handed the same place.
        let mut ledger = lock(&self.account.ledger);
        let kept = ledger.get(spot).cloned();
        ledger.give(spot, &charge, &self.account.tracker);
        drop(ledger);
        match self.inner.release(reservation, death) {
            Ok(()) => {
                let pending = lock(&self.account.ledger).sums(self.index).pending;
                self.count(|stats| {
                    stats.releases += 1;
                    stats.peak_pending_bytes = stats.peak_pending_bytes.max(pending);
                });
                Ok(())
            }
            Err(refused) => {
                if let Some(held) = kept {
                    let mut ledger = lock(&self.account.ledger);
                    ledger.take(spot, held.footprint, held.requested, held.after);
                }
                Err(refused)
            }
        }
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        if reservation.pool() != self.inner.id() {
            return Err(ReleaseError { reservation });
        }
        lock(&self.account.ledger).restore(self.spot(&reservation));
        self.inner.cancel(reservation)?;
        self.count(|stats| stats.releases += 1);
        Ok(())
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
        let sums = {
            let mut ledger = lock(&self.account.ledger);
            ledger.settle(&self.account.tracker);
            ledger.sums(self.index)
        };
        let mut stats = *lock(&self.counts);
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
