//! The interface `pools`: handles to a tenant's pools and reservations.
//!
//! A handle's drop releases nothing. The reservation stays with the tenant, counts against it, and comes
//! back when the tenant ends.

use super::bindings::strandline::substrate::pools::{
    Acquired, AfterWait, Answers, Death, Exchanged, Exhausted, Frontier, Held, HeldAfterWait, Host,
    HostLedger, HostPool, HostPoolSet, HostReservation, InvalidDeath, LedgerError, Need, NotYours,
    Origin, Outcome, Permissions, Place, PoolError, PoolProperties, PoolStats, Ready, Refusal,
    Request, Returned as Back, Routed, SetAcquired, Trim,
};
use super::bindings::strandline::substrate::types;
use super::{GuestState, Ledger, Pool, PoolSet, Reservation, convert};
use crate::tenant::{
    self, Answer, Ask, PoolHandle, ReservationHandle, Returned, Tenant, TenantError,
};
use strandline_core::pool_set::Route;
use strandline_core::table::{ShortKey, Table, Vacant};
use strandline_core::{Entry, pool, queue};
use wasmtime::component::Resource;

impl Host for GuestState {}

/// A death as a guest says it, with its entries.
struct Said {
    entries: Vec<Entry>,
    kind: Death,
}

impl Said {
    fn new(death: Death) -> Self {
        let entries = match &death {
            Death::After(entries) => convert::entries(entries),
            Death::Idle | Death::Unknown => Vec::new(),
        };
        Self { entries, kind: death }
    }

    fn returned(&self) -> Returned<'_> {
        match self.kind {
            Death::Idle => Returned::Idle,
            Death::After(_) => Returned::After(&self.entries),
            Death::Unknown => Returned::Unknown,
        }
    }
}

fn ask(size: u64, alignment: u64, after: &[Entry], may: Permissions) -> Ask<'_> {
    let (may_wait, may_grow) = (may.contains(Permissions::WAIT), may.contains(Permissions::GROW));
    Ask { size, alignment, after, may_wait, may_grow }
}

impl GuestState {
    fn acquire_from(
        &mut self,
        pool: PoolHandle,
        request: &Request,
    ) -> wasmtime::Result<Result<Acquired, PoolError>> {
        let after = convert::entries(&request.after);
        let ask = ask(request.size, request.alignment, &after, request.may);
        // The handle first: should there be no room for it, nothing has been reserved.
        let handle = self.table.push(Reservation(ReservationHandle::from_bits(0)))?;
        let answer = match self.tenant.acquire(pool, &ask) {
            Ok(answer) => answer,
            Err(error) => {
                self.table.delete(handle)?;
                return Ok(Err(convert::pool_error(error)?));
            }
        };
        Ok(Ok(match answer {
            Answer::Ready { reservation, place, origin } => {
                *self.table.get_mut(&handle)? = Reservation(reservation);
                let (place, origin) = (convert::place(&place), convert::origin(origin));
                Acquired::Ready(Ready { reservation: handle, place, origin })
            }
            Answer::AfterWait { reservation, place, wait } => {
                *self.table.get_mut(&handle)? = Reservation(reservation);
                let (place, wait) = (convert::place(&place), convert::frontier(wait.as_ref()));
                Acquired::AfterWait(AfterWait { reservation: handle, place, wait })
            }
            Answer::Exhausted { observed, growth_required } => {
                self.table.delete(handle)?;
                Acquired::Exhausted(Exhausted { observed: observed.word(), growth_required })
            }
            Answer::OverBudget { observed } => {
                self.table.delete(handle)?;
                Acquired::OverBudget(observed.word())
            }
        }))
    }

    /// Gives the reservation back by `give`. Refused, it goes back to the guest under the same handle.
    fn give_back(
        &mut self,
        handle: Resource<Reservation>,
        give: impl FnOnce(&mut Self, ReservationHandle) -> Result<(), TenantError>,
    ) -> wasmtime::Result<Result<(), Refusal>> {
        let &Reservation(reservation) = self.table.get(&handle)?;
        match give(self, reservation) {
            Ok(()) => {
                self.table.delete(handle)?;
                Ok(Ok(()))
            }
            Err(TenantError::OtherPool) => Ok(Err(Refusal::OtherPool(handle))),
            Err(TenantError::InvalidFrontier(error)) => {
                let error = convert::frontier_error(error);
                Ok(Err(Refusal::InvalidDeath(InvalidDeath { reservation: handle, error })))
            }
            Err(TenantError::NotYours(entry)) => {
                let entry = convert::entry(entry);
                Ok(Err(Refusal::NotYours(NotYours { reservation: handle, entry })))
            }
            Err(TenantError::Shutdown) => Ok(Err(Refusal::Lost(handle))),
            Err(other) => Err(wasmtime::Error::msg(other.to_string())),
        }
    }

    fn pool_handle(&self, pool: &Resource<Pool>) -> wasmtime::Result<PoolHandle> {
        Ok(self.table.get(pool)?.0)
    }
}

fn refused<T>(error: &TenantError) -> wasmtime::Result<T> {
    Err(wasmtime::Error::msg(error.to_string()))
}

impl HostReservation for GuestState {
    fn place(&mut self, reservation: Resource<Reservation>) -> wasmtime::Result<Place> {
        let handle = self.table.get(&reservation)?.0;
        match self.tenant.place_of(handle) {
            Ok(place) => Ok(convert::place(&place)),
            Err(error) => refused(&error),
        }
    }

    fn pool(&mut self, reservation: Resource<Reservation>) -> wasmtime::Result<u64> {
        let handle = self.table.get(&reservation)?.0;
        let found = self.tenant.pool_of_reservation(handle).and_then(|pool| self.tenant.pool(pool));
        match found {
            Ok(pool) => Ok(pool.id().to_bits()),
            Err(error) => refused(&error),
        }
    }

    fn drop(&mut self, reservation: Resource<Reservation>) -> wasmtime::Result<()> {
        self.table.delete(reservation)?;
        Ok(())
    }
}

impl HostPool for GuestState {
    fn id(&mut self, pool: Resource<Pool>) -> wasmtime::Result<u64> {
        match self.tenant.pool(self.pool_handle(&pool)?) {
            Ok(pool) => Ok(pool.id().to_bits()),
            Err(error) => refused(&error),
        }
    }

    fn properties(&mut self, pool: Resource<Pool>) -> wasmtime::Result<PoolProperties> {
        match self.tenant.pool(self.pool_handle(&pool)?) {
            Ok(pool) => Ok(convert::properties(&pool.properties())),
            Err(error) => refused(&error),
        }
    }

    fn acquire(
        &mut self,
        pool: Resource<Pool>,
        request: Request,
    ) -> wasmtime::Result<Result<Acquired, PoolError>> {
        self.acquire_from(self.pool_handle(&pool)?, &request)
    }

    fn release(
        &mut self,
        pool: Resource<Pool>,
        reservation: Resource<Reservation>,
        death: Death,
    ) -> wasmtime::Result<Result<(), Refusal>> {
        let pool = self.pool_handle(&pool)?;
        let said = Said::new(death);
        self.give_back(reservation, |guest, reservation| {
            guest.tenant.release(pool, reservation, said.returned())
        })
    }

    fn cancel(
        &mut self,
        pool: Resource<Pool>,
        reservation: Resource<Reservation>,
    ) -> wasmtime::Result<Result<(), Refusal>> {
        let pool = self.pool_handle(&pool)?;
        self.give_back(reservation, |guest, reservation| guest.tenant.cancel(pool, reservation))
    }

    fn ledger(&mut self, pool: Resource<Pool>) -> wasmtime::Result<Resource<Ledger>> {
        let pool = self.pool_handle(&pool)?;
        Ok(self.table.push(Ledger { pool, held: Table::new(), unread: None })?)
    }

    fn poll(&mut self, pool: Resource<Pool>) -> wasmtime::Result<()> {
        match self.tenant.pool(self.pool_handle(&pool)?) {
            Ok(pool) => {
                pool.poll();
                Ok(())
            }
            Err(error) => refused(&error),
        }
    }

    fn trim(
        &mut self,
        pool: Resource<Pool>,
        how: Trim,
    ) -> wasmtime::Result<Result<u64, PoolError>> {
        let pool = self.tenant.pool(self.pool_handle(&pool)?);
        match pool.and_then(|pool| Ok(pool.trim(convert::trim(how))?)) {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(error) => Ok(Err(convert::pool_error(error)?)),
        }
    }

    fn stats(&mut self, pool: Resource<Pool>) -> wasmtime::Result<PoolStats> {
        match self.tenant.stats(self.pool_handle(&pool)?) {
            Ok(stats) => Ok(convert::stats(&stats)),
            Err(error) => refused(&error),
        }
    }

    fn observe(&mut self, pool: Resource<Pool>) -> wasmtime::Result<u32> {
        match self.tenant.pool(self.pool_handle(&pool)?) {
            Ok(pool) => Ok(pool.notification().observe().word()),
            Err(error) => refused(&error),
        }
    }

    fn drop(&mut self, pool: Resource<Pool>) -> wasmtime::Result<()> {
        self.table.delete(pool)?;
        Ok(())
    }
}

impl HostPoolSet for GuestState {
    fn route(&mut self, set: Resource<PoolSet>, need: Need) -> wasmtime::Result<Routed> {
        self.table.get(&set)?;
        Ok(match self.tenant.route(&convert::need(&need)) {
            Route::Pool(pool) => Routed::Pool(pool.id().to_bits()),
            Route::Oversized(pool) => Routed::Oversized(pool.id().to_bits()),
            Route::NoMatch(why) => Routed::NoMatch(convert::no_match(why)),
        })
    }

    fn acquire(
        &mut self,
        set: Resource<PoolSet>,
        need: Need,
        request: Request,
    ) -> wasmtime::Result<Result<SetAcquired, PoolError>> {
        self.table.get(&set)?;
        let id = match self.tenant.route(&convert::need(&need)) {
            Route::Pool(pool) | Route::Oversized(pool) => pool.id(),
            Route::NoMatch(why) => return Ok(Ok(SetAcquired::NoMatch(convert::no_match(why)))),
        };
        let Some(pool) = self.tenant.pool_of(id) else {
            return refused(&TenantError::UnknownHandle);
        };
        let answer = self.acquire_from(pool, &request)?;
        Ok(answer.map(SetAcquired::Answer))
    }

    fn release(
        &mut self,
        set: Resource<PoolSet>,
        reservation: Resource<Reservation>,
        death: Death,
    ) -> wasmtime::Result<Result<(), Refusal>> {
        self.table.get(&set)?;
        let said = Said::new(death);
        self.give_back(reservation, |guest, reservation| {
            let pool = guest.tenant.pool_of_reservation(reservation)?;
            guest.tenant.release(pool, reservation, said.returned())
        })
    }

    fn cancel(
        &mut self,
        set: Resource<PoolSet>,
        reservation: Resource<Reservation>,
    ) -> wasmtime::Result<Result<(), Refusal>> {
        self.table.get(&set)?;
        self.give_back(reservation, |guest, reservation| {
            let pool = guest.tenant.pool_of_reservation(reservation)?;
            guest.tenant.cancel(pool, reservation)
        })
    }

    fn stats(&mut self, set: Resource<PoolSet>) -> wasmtime::Result<PoolStats> {
        self.table.get(&set)?;
        let mut total = strandline_core::PoolStats::default();
        for pool in 0..self.tenant.pools() {
            match self.tenant.stats(PoolHandle::from_bits(pool as u64)) {
                Ok(stats) => total.add(&stats),
                Err(error) => return refused(&error),
            }
        }
        Ok(convert::stats(&total))
    }

    fn drop(&mut self, set: Resource<PoolSet>) -> wasmtime::Result<()> {
        self.table.delete(set)?;
        Ok(())
    }
}

/// Codes of outcomes in packed answers.
const AFTER_WAIT: u64 = 3;
const EXHAUSTED: u64 = 4;
const GROWTH_REQUIRED: u64 = 5;
const OVER_BUDGET: u64 = 6;

const fn origin_code(origin: Origin) -> u64 {
    match origin {
        Origin::Fresh => 0,
        Origin::Dominated => 1,
        Origin::Completed => 2,
    }
}

fn ledger_error(error: TenantError, at: u32) -> wasmtime::Result<LedgerError> {
    Ok(match error {
        TenantError::InvalidFrontier(error) => {
            LedgerError::InvalidDeath(convert::frontier_error(error))
        }
        TenantError::NotYours(entry) => LedgerError::NotYours(convert::entry(entry)),
        TenantError::UnknownHandle => LedgerError::UnknownKey(at),
        TenantError::Shutdown => LedgerError::Lost,
        other => return refused(&other),
    })
}

/// Keeps a reservation that is ready in a place of a ledger.
#[inline(always)]
fn ready(
    place: Vacant<'_, ShortKey, ReservationHandle>,
    reservation: ReservationHandle,
    at: &queue::Place,
    origin: pool::Origin,
) -> Held {
    Held {
        key: place.fill(reservation).to_bits(),
        slab: at.slab.to_bits(),
        offset: at.offset,
        origin: convert::origin(origin),
    }
}

/// Keeps what a pool answered in a place of a ledger.
fn outcome(place: Vacant<'_, ShortKey, ReservationHandle>, answer: Answer) -> Outcome {
    match answer {
        Answer::Ready { reservation, place: at, origin } => {
            Outcome::Ready(ready(place, reservation, &at, origin))
        }
        Answer::AfterWait { reservation, place: at, wait } => Outcome::AfterWait(HeldAfterWait {
            key: place.fill(reservation).to_bits(),
            slab: at.slab.to_bits(),
            offset: at.offset,
            wait: convert::frontier(wait.as_ref()),
        }),
        Answer::Exhausted { observed, growth_required } => {
            Outcome::Exhausted(Exhausted { observed: observed.word(), growth_required })
        }
        Answer::OverBudget { observed } => Outcome::OverBudget(observed.word()),
    }
}

impl Ledger {
    /// Releases or cancels the reservation under a key.
    fn settle(
        &mut self,
        tenant: &mut Tenant,
        (at, key): (u32, u32),
        death: Option<Returned<'_>>,
    ) -> wasmtime::Result<Result<(), LedgerError>> {
        let key = ShortKey::from_bits(key);
        let Some(&reservation) = self.held.get(key) else {
            return Ok(Err(LedgerError::UnknownKey(at)));
        };
        let done = match death {
            Some(death) => tenant.release(self.pool, reservation, death),
            None => tenant.cancel(self.pool, reservation),
        };
        match done {
            Ok(()) => {
                self.held.remove(key);
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(ledger_error(error, at)?)),
        }
    }

    /// Acquires one reservation and keeps it.
    fn acquire(
        &mut self,
        tenant: &mut Tenant,
        ask: &Ask<'_>,
    ) -> wasmtime::Result<Result<Outcome, PoolError>> {
        let Some(place) = self.held.vacant() else { return Ok(Err(PoolError::Limit)) };
        match tenant.acquire(self.pool, ask) {
            Ok(answer) => Ok(Ok(outcome(place, answer))),
            Err(error) => Ok(Err(convert::pool_error(error)?)),
        }
    }

    /// Releases the reservation under a key, and acquires another.
    #[inline(always)]
    fn exchange(
        &mut self,
        tenant: &mut Tenant,
        // How far the axis has come is the host's to say.
        Back { key, death, reached: _ }: Back,
        ask: &Ask<'_>,
    ) -> wasmtime::Result<Exchanged> {
        let key = ShortKey::from_bits(key);
        let Some(&reservation) = self.held.get(key) else {
            return Ok(Exchanged::Refused(LedgerError::UnknownKey(0)));
        };
        let death = death.as_ref().map(convert::entry_in);
        let death = match &death {
            Some(entry) => Returned::After(core::slice::from_ref(entry)),
            None => Returned::Idle,
        };
        let answer = match tenant.exchange(self.pool, reservation, death, ask) {
            Ok(answer) => answer,
            Err(error) => return Ok(Exchanged::Refused(ledger_error(error, 0)?)),
        };
        self.held.remove(key);
        // One was just taken out.
        let Some(place) = self.held.vacant() else { return Ok(self.other(Err(PoolError::Limit))) };
        match answer {
            tenant::Exchanged::Ready { reservation, place: at, origin } => {
                Ok(Exchanged::Ready(ready(place, reservation, &at, origin)))
            }
            tenant::Exchanged::Other(answer) => {
                let other = match *answer {
                    Ok(answer) => Ok(outcome(place, answer)),
                    Err(error) => Err(convert::pool_error(error)?),
                };
                Ok(self.other(other))
            }
        }
    }

    /// An answer that an exchange does not say.
    fn other(&mut self, answer: Result<Outcome, PoolError>) -> Exchanged {
        self.unread = Some(answer);
        Exchanged::Other
    }
}

impl GuestState {
    fn ledger(
        &mut self,
        ledger: &Resource<Ledger>,
    ) -> wasmtime::Result<(&mut Ledger, &mut Tenant)> {
        Ok((self.table.get_mut(ledger)?, &mut self.tenant))
    }
}

impl HostLedger for GuestState {
    fn acquire(
        &mut self,
        ledger: Resource<Ledger>,
        size: u64,
        alignment: u64,
        after: Frontier,
        may: Permissions,
    ) -> wasmtime::Result<Result<Outcome, PoolError>> {
        let after = convert::entries(&after);
        let (ledger, tenant) = self.ledger(&ledger)?;
        ledger.acquire(tenant, &ask(size, alignment, &after, may))
    }

    fn exchange(
        &mut self,
        ledger: Resource<Ledger>,
        back: Option<Back>,
        size: u64,
        alignment: u64,
        after: Option<types::Entry>,
        may: Permissions,
    ) -> wasmtime::Result<Exchanged> {
        let (ledger, tenant) = self.ledger(&ledger)?;
        let after = after.as_ref().map(convert::entry_in);
        let ask = ask(size, alignment, after.as_slice(), may);
        if let Some(back) = back {
            return ledger.exchange(tenant, back, &ask);
        }
        match ledger.acquire(tenant, &ask)? {
            Ok(Outcome::Ready(held)) => Ok(Exchanged::Ready(held)),
            other => Ok(ledger.other(other)),
        }
    }

    fn answer(
        &mut self,
        ledger: Resource<Ledger>,
    ) -> wasmtime::Result<Option<Result<Outcome, PoolError>>> {
        Ok(self.table.get_mut(&ledger)?.unread.take())
    }

    fn release(
        &mut self,
        ledger: Resource<Ledger>,
        key: u32,
        death: Death,
    ) -> wasmtime::Result<Result<(), LedgerError>> {
        let said = Said::new(death);
        let (ledger, tenant) = self.ledger(&ledger)?;
        ledger.settle(tenant, (0, key), Some(said.returned()))
    }

    fn cancel(
        &mut self,
        ledger: Resource<Ledger>,
        key: u32,
    ) -> wasmtime::Result<Result<(), LedgerError>> {
        let (ledger, tenant) = self.ledger(&ledger)?;
        ledger.settle(tenant, (0, key), None)
    }

    fn acquire_batch(
        &mut self,
        ledger: Resource<Ledger>,
        requests: Vec<u64>,
        after: Frontier,
        may: Permissions,
    ) -> wasmtime::Result<Result<Answers, PoolError>> {
        let (ledger, tenant) = self.ledger(&ledger)?;
        let after = convert::entries(&after);
        let observed = match tenant.pool(ledger.pool) {
            Ok(pool) => pool.notification().observe().word(),
            Err(error) => return refused(&error),
        };
        let (requests, _) = requests.as_chunks::<2>();
        let mut answers = Answers {
            words: Vec::with_capacity(3 * requests.len()),
            waits: Vec::new(),
            observed,
            stopped: None,
        };
        for &[size, alignment] in requests {
            let outcome = match ledger.acquire(tenant, &ask(size, alignment, &after, may))? {
                Ok(outcome) => outcome,
                Err(error) => {
                    answers.stopped = Some(error);
                    break;
                }
            };
            let (head, slab, offset) = match outcome {
                Outcome::Ready(Held { key, slab, offset, origin }) => {
                    (origin_code(origin) | u64::from(key) << 32, slab, offset)
                }
                Outcome::AfterWait(HeldAfterWait { key, slab, offset, wait }) => {
                    let head = AFTER_WAIT | (wait.len() as u64) << 8 | u64::from(key) << 32;
                    answers.waits.extend(wait);
                    (head, slab, offset)
                }
                Outcome::Exhausted(Exhausted { growth_required: false, .. }) => (EXHAUSTED, 0, 0),
                Outcome::Exhausted(Exhausted { growth_required: true, .. }) => {
                    (GROWTH_REQUIRED, 0, 0)
                }
                Outcome::OverBudget(_) => (OVER_BUDGET, 0, 0),
            };
            answers.words.extend([head, slab, offset]);
        }
        Ok(Ok(answers))
    }

    fn release_batch(
        &mut self,
        ledger: Resource<Ledger>,
        keys: Vec<u32>,
        death: Death,
    ) -> wasmtime::Result<Result<(), LedgerError>> {
        let said = Said::new(death);
        let (ledger, tenant) = self.ledger(&ledger)?;
        for (at, key) in (0..).zip(keys) {
            if let Err(error) = ledger.settle(tenant, (at, key), Some(said.returned()))? {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    fn len(&mut self, ledger: Resource<Ledger>) -> wasmtime::Result<u32> {
        Ok(u32::try_from(self.table.get(&ledger)?.held.len()).unwrap_or(u32::MAX))
    }

    fn drop(&mut self, ledger: Resource<Ledger>) -> wasmtime::Result<()> {
        self.table.delete(ledger)?;
        Ok(())
    }
}
