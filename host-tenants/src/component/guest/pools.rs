//! The interface `pools`: handles to a tenant's pools and reservations.
//!
//! A handle's drop releases nothing. The reservation stays with the tenant, counts against it, and comes
//! back when the tenant ends.

use super::bindings::strandline::substrate::pools::{
    Acquired, AfterWait, Death, Exhausted, Host, HostPool, HostPoolSet, HostReservation,
    InvalidDeath, Need, NotYours, Permissions, Place, PoolError, PoolProperties, PoolStats, Ready,
    Refusal, Request, Routed, SetAcquired, Trim,
};
use super::{GuestState, Ledger, Pool, PoolSet, Reservation, convert};
use crate::tenant::{Answer, Ask, PoolHandle, ReservationHandle, Returned, TenantError};
use strandline_core::Entry;
use strandline_core::pool_set::Route;
use strandline_core::table::Table;
use wasmtime::component::Resource;

impl Host for GuestState {}

/// A death as a guest says it, with its entries.
pub(super) struct Said {
    entries: Vec<Entry>,
    kind: Death,
}

impl Said {
    pub(super) fn new(death: Death) -> Self {
        let entries = match &death {
            Death::After(entries) => convert::entries(entries),
            Death::Idle | Death::Unknown => Vec::new(),
        };
        Self { entries, kind: death }
    }

    pub(super) fn returned(&self) -> Returned<'_> {
        match self.kind {
            Death::Idle => Returned::Idle,
            Death::After(_) => Returned::After(&self.entries),
            Death::Unknown => Returned::Unknown,
        }
    }
}

pub(super) fn ask(size: u64, alignment: u64, after: &[Entry], may: Permissions) -> Ask<'_> {
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

pub(super) fn refused<T>(error: &TenantError) -> wasmtime::Result<T> {
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
