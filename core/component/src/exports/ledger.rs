//! A ledger: reservations of one pool under numbers, so that a batch is one call and one list.
//!
//! Cost of a batch: the pool's own, and a few stores for each answer.

use super::pools::request;
use crate::bindings::exported::pools::{
    Answers, Exchanged, Exhausted, GuestLedger, Held as HeldRecord, HeldAfterWait, LedgerError,
    Outcome, Permissions, Returned,
};
use crate::bindings::imported::types::{Death, Entry, Frontier, PoolError};
use crate::{convert, imports};
use alloc::sync::Arc;
use alloc::{vec, vec::Vec};
use core::cell::RefCell;
use core::ops::ControlFlow;
use strandline_core::pool::{Origin, PoolError as CoreError, ReuseProof};
use strandline_core::pool::tlsf::TlsfPool;
use strandline_core::table::{ShortKey, Table, Vacant};
use strandline_core::{Acquire, FrontierRef, Pool, Reservation};

/// Words of an answer.
const WORDS: usize = 3;

type Places = Table<ShortKey, Reservation>;
type Place<'a> = Vacant<'a, ShortKey, Reservation>;

/// The exported resource.
pub struct Book {
    pool: Arc<dyn Pool>,
    /// The same, if it is one that knows batches.
    tlsf: Option<Arc<TlsfPool>>,
    places: RefCell<Places>,
    /// What the last exchange did not say.
    unread: RefCell<Option<Result<Outcome, PoolError>>>,
}

impl Book {
    pub(crate) fn new(pool: Arc<dyn Pool>, tlsf: Option<Arc<TlsfPool>>) -> Self {
        Self { pool, tlsf, places: RefCell::default(), unread: RefCell::default() }
    }

    /// Gives back an answer that there is no key for.
    #[inline(never)]
    fn turn_down(&self, answer: Result<Acquire, CoreError>) {
        if let Ok(Acquire::Ready { reservation, .. } | Acquire::AfterWait { reservation, .. }) =
            answer
        {
            // Its own pool does not refuse it.
            let _ = self.pool.cancel(reservation);
        }
    }

    /// Takes a key out and does something with its reservation, which is of this pool and so not refused.
    fn give_back(
        &self,
        key: u32,
        position: u32,
        release: impl FnOnce(Reservation) -> Result<(), strandline_core::pool::ReleaseError>,
    ) -> Result<(), LedgerError> {
        let taken = self.places.borrow_mut().remove(ShortKey::from_bits(key));
        let Some(reservation) = taken else { return Err(LedgerError::UnknownKey(position)) };
        release(reservation).map_err(|_| LedgerError::Lost)
    }
}

/// The number of an outcome in a head; see the interface.
const fn ready(origin: Origin) -> u64 {
    match origin {
        Origin::Fresh => 0,
        Origin::Reused(ReuseProof::Dominance) => 1,
        Origin::Reused(ReuseProof::Completion) => 2,
    }
}

const AFTER_WAIT: u64 = 3;
const EXHAUSTED: u64 = 4;
const GROWTH_REQUIRED: u64 = 5;
const OVER_BUDGET: u64 = 6;

/// Keeps a reservation that is ready.
fn hold(place: Place<'_>, reservation: Reservation, origin: Origin) -> HeldRecord {
    HeldRecord {
        slab: reservation.slab().to_bits(),
        offset: reservation.offset(),
        origin: convert::origin(origin),
        key: place.fill(reservation).to_bits(),
    }
}

/// Keeps a reservation of a batch; the words of its answer.
#[inline]
fn held(place: Place<'_>, reservation: Reservation, head: u64) -> [u64; WORDS] {
    let (slab, offset) = (reservation.slab().to_bits(), reservation.offset());
    [head | u64::from(place.fill(reservation).to_bits()) << 32, slab, offset]
}

/// Keeps what a pool answered.
fn outcome(place: Place<'_>, answer: Result<Acquire, CoreError>) -> Result<Outcome, PoolError> {
    match answer {
        Ok(Acquire::Ready { reservation, origin }) => {
            Ok(Outcome::Ready(hold(place, reservation, origin)))
        }
        Ok(Acquire::AfterWait { reservation, wait }) => Ok(Outcome::AfterWait(HeldAfterWait {
            slab: reservation.slab().to_bits(),
            offset: reservation.offset(),
            wait: convert::entries(wait.as_ref()),
            key: place.fill(reservation).to_bits(),
        })),
        Ok(Acquire::Exhausted { observed, growth_required }) => {
            Ok(Outcome::Exhausted(Exhausted { observed: observed.word(), growth_required }))
        }
        Ok(Acquire::OverBudget { observed }) => Ok(Outcome::OverBudget(observed.word())),
        Err(error) => Err(convert::pool_error(error)),
    }
}

impl GuestLedger for Book {
    fn acquire(
        &self,
        size: u64,
        alignment: u64,
        after: Frontier,
        may: Permissions,
    ) -> Result<Outcome, PoolError> {
        let mut places = self.places.borrow_mut();
        let place = places.vacant().ok_or(PoolError::Limit)?;
        let answer = convert::frontier(&after, |after| {
            self.pool.acquire(&request(size, alignment, after, may))
        });
        outcome(place, answer.map_err(PoolError::InvalidFrontier)?)
    }

    fn exchange(
        &self,
        back: Option<Returned>,
        size: u64,
        alignment: u64,
        after: Option<Entry>,
        may: Permissions,
    ) -> Exchanged {
        if let Some(Returned { key, death }) = back {
            let released = convert::single(death.as_ref(), |death| {
                // An empty one is idle.
                let death = strandline_core::Death::After(death);
                self.give_back(key, 0, |reservation| self.pool.release(reservation, death))
            });
            match released.map_err(LedgerError::InvalidDeath) {
                Ok(Ok(())) => {}
                Ok(Err(error)) | Err(error) => return Exchanged::Refused(error),
            }
        }
        let mut places = self.places.borrow_mut();
        let other = if let Some(place) = places.vacant() {
            let answer = convert::single(after.as_ref(), |after| {
                self.pool.acquire(&request(size, alignment, after, may))
            });
            match answer {
                Ok(Ok(Acquire::Ready { reservation, origin })) => {
                    return Exchanged::Ready(hold(place, reservation, origin));
                }
                Ok(answer) => outcome(place, answer),
                Err(error) => Err(PoolError::InvalidFrontier(error)),
            }
        } else {
            Err(PoolError::Limit)
        };
        self.unread.replace(Some(other));
        Exchanged::Other
    }

    fn answer(&self) -> Option<Result<Outcome, PoolError>> {
        self.unread.take()
    }

    fn release(&self, key: u32, death: Death) -> Result<(), LedgerError> {
        let released = convert::death(&death, |death| {
            self.give_back(key, 0, |reservation| self.pool.release(reservation, death))
        });
        released.map_err(LedgerError::InvalidDeath)?
    }

    fn cancel(&self, key: u32) -> Result<(), LedgerError> {
        self.give_back(key, 0, |reservation| self.pool.cancel(reservation))
    }

    fn acquire_batch(
        &self,
        requests: Vec<u64>,
        after: Frontier,
        may: Permissions,
    ) -> Result<Answers, PoolError> {
        let places = &mut *self.places.borrow_mut();
        let mut answers = Answers {
            words: vec![0; requests.len() / 2 * WORDS],
            waits: Vec::new(),
            observed: self.pool.notification().observe().word(),
            stopped: None,
        };
        let mut done = 0;
        let (requests, _) = requests.as_chunks::<2>();
        let (words, _) = answers.words.as_chunks_mut::<WORDS>();
        let mut words = words.iter_mut();
        let mut write = |answer| {
            let Some(words) = words.next() else { return ControlFlow::Break(()) };
            let Some(place) = places.vacant() else {
                self.turn_down(answer);
                answers.stopped = Some(PoolError::Limit);
                return ControlFlow::Break(());
            };
            // One match over what was returned, and no name for the answer in it: it is large, and would be copied.
            *words = match answer {
                Ok(Acquire::Ready { reservation, origin }) => {
                    held(place, reservation, ready(origin))
                }
                Ok(Acquire::AfterWait { reservation, wait }) => {
                    let entries = wait.as_ref();
                    answers.waits.extend(convert::entries(entries));
                    held(place, reservation, AFTER_WAIT | (entries.len() as u64) << 8)
                }
                Ok(Acquire::Exhausted { growth_required: false, .. }) => [EXHAUSTED, 0, 0],
                Ok(Acquire::Exhausted { growth_required: true, .. }) => [GROWTH_REQUIRED, 0, 0],
                Ok(Acquire::OverBudget { .. }) => [OVER_BUDGET, 0, 0],
                Err(error) => {
                    answers.stopped = Some(convert::pool_error(error));
                    return ControlFlow::Break(());
                }
            };
            done += WORDS;
            ControlFlow::Continue(())
        };
        let all = |after: FrontierRef<'_>| {
            let mut requests = requests
                .iter()
                .map(|&[size, alignment]| request(size, alignment, after, may));
            if let Some(tlsf) = &self.tlsf {
                tlsf.acquire_each(requests, write);
            } else {
                let _ = requests.try_for_each(|request| write(self.pool.acquire(&request)));
            }
        };
        let batch = imports::batch(|| convert::frontier(&after, all));
        batch.map_err(PoolError::InvalidFrontier)?;
        answers.words.truncate(done);
        Ok(answers)
    }

    fn release_batch(&self, keys: Vec<u32>, death: Death) -> Result<(), LedgerError> {
        let mut unknown = None;
        let all = |death: strandline_core::Death<'_>| {
            let mut places = self.places.borrow_mut();
            let mut keys = keys.iter().zip(0..).map_while(|(&key, position)| {
                let taken = places.remove(ShortKey::from_bits(key));
                if taken.is_none() {
                    unknown = Some(position);
                }
                taken
            });
            match &self.tlsf {
                Some(tlsf) => tlsf.release_each(&mut keys, death),
                None => keys.try_for_each(|reservation| self.pool.release(reservation, death)),
            }
        };
        let released = imports::batch(|| convert::death(&death, all));
        match (released.map_err(LedgerError::InvalidDeath)?, unknown) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(position)) => Err(LedgerError::UnknownKey(position)),
            // Its own pool refused it.
            (Err(_), _) => Err(LedgerError::Lost),
        }
    }

    fn len(&self) -> u32 {
        self.places.borrow().len() as u32
    }
}
