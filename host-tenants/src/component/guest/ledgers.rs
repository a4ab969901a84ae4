//! Ledgers of the interface `pools`: a pool's reservations under keys, acquired and released many at a time.

use super::bindings::strandline::substrate::pools::{
    Answers, Death, Exchanged, Exhausted, Frontier, Held, HeldAfterWait, HostLedger, LedgerError,
    Origin, Outcome, Permissions, PoolError, Returned as Back,
};
use super::bindings::strandline::substrate::types;
use super::pools::{Said, ask, refused};
use super::{GuestState, Ledger, convert};
use crate::tenant::{self, Answer, Ask, ReservationHandle, Returned, Tenant, TenantError};
use strandline_core::table::{ShortKey, Vacant};
use strandline_core::{pool, queue};
use wasmtime::component::Resource;

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
