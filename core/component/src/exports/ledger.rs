//! A ledger: reservations of one pool under numbers, so that a batch is one call and one list.
//!
//! Cost of a batch: the pool's own, and a few stores for each answer.

use super::pools::request;
use crate::bindings::exported::pools::{
    Answers, Exchanged, Exhausted, GuestLedger, Held as HeldRecord, HeldAfterWait, LedgerError,
    Outcome, Permissions, Returned,
};
use crate::bindings::imported::types::{self, Entry, Frontier, PoolError};
use crate::{convert, imports};
use alloc::sync::Arc;
use alloc::{vec, vec::Vec};
use core::cell::RefCell;
use core::ops::ControlFlow;
use strandline_core::pool::tlsf::TlsfPool;
use strandline_core::pool::{Origin, PoolError as CoreError, ReleaseError, ReuseProof};
use strandline_core::table::{ShortKey, Table, Vacant};
use strandline_core::{Acquire, Axis, Death, FrontierRef, Pool, Request, Reservation};

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

    /// Takes a key out and does something with its reservation, which is not refused.
    fn give_back(
        &self,
        key: u32,
        release: impl FnOnce(Reservation) -> Result<(), ReleaseError>,
    ) -> Result<(), LedgerError> {
        let taken = self.places.borrow_mut().remove(ShortKey::from_bits(key));
        let kept = taken.ok_or(LedgerError::UnknownKey(0))?;
        release(kept).map_err(|_| LedgerError::Lost)
    }

    /// Gives back what may be given back, then acquires. `None` is another answer than ready.
    #[inline(always)]
    fn turn(
        &self,
        back: Option<Returned>,
        request: Result<Request<'_>, PoolError>,
    ) -> Result<Option<HeldRecord>, LedgerError> {
        let places = &mut *self.places.borrow_mut();
        if let Some(Returned { key, death, .. }) = back {
            let entry = death.as_ref().map(convert::entry_in);
            // An empty one is idle.
            let death = convert::single(entry.as_ref()).map_err(LedgerError::InvalidDeath)?;
            let kept = places.remove(ShortKey::from_bits(key)).ok_or(LedgerError::UnknownKey(0))?;
            self.pool.release(kept, Death::After(death)).map_err(|_| LedgerError::Lost)?;
        }
        let other = match (places.vacant(), request) {
            // Without a place there is no acquire.
            (None, _) => Err(PoolError::Limit),
            (_, Err(error)) => Err(error),
            (Some(place), Ok(request)) => match self.pool.acquire(&request) {
                Ok(Acquire::Ready { reservation, origin }) => {
                    return Ok(Some(hold(place, reservation, origin)));
                }
                answer => outcome(place, answer.map_err(convert::pool_error)),
            },
        };
        self.unread.replace(Some(other));
        Ok(None)
    }
}

/// A batch of answers in the making.
struct Packed<'a> {
    book: &'a Book,
    places: &'a mut Places,
    words: core::slice::IterMut<'a, [u64; WORDS]>,
    waits: Vec<Entry>,
    stopped: Option<PoolError>,
}

impl Packed<'_> {
    fn stop(&mut self, error: PoolError) -> ControlFlow<()> {
        self.stopped = Some(error);
        ControlFlow::Break(())
    }

    /// Writes the next answer down.
    #[inline(always)]
    fn write(&mut self, answer: [u64; WORDS]) -> ControlFlow<()> {
        match self.words.next() {
            Some(words) => {
                *words = answer;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        }
    }

    /// Keeps a reservation, and writes its answer down.
    fn keep(&mut self, reservation: Reservation, head: u64) -> ControlFlow<()> {
        let (slab, offset) = (reservation.slab().to_bits(), reservation.offset());
        let Some(place) = self.places.vacant() else {
            // Its own pool does not refuse it.
            let _ = self.book.pool.cancel(reservation);
            return self.stop(PoolError::Limit);
        };
        let key = place.fill(reservation).to_bits();
        self.write([head | u64::from(key) << 32, slab, offset])
    }

    /// Any answer.
    fn other(&mut self, answer: Result<Acquire, CoreError>) -> ControlFlow<()> {
        match answer {
            Ok(Acquire::Ready { reservation, origin }) => self.keep(reservation, ready(origin)),
            Ok(Acquire::AfterWait { reservation, wait }) => {
                let entries = wait.as_ref();
                self.waits.extend(convert::entries(entries));
                self.keep(reservation, AFTER_WAIT | (entries.len() as u64) << 8)
            }
            Ok(Acquire::Exhausted { growth_required: false, .. }) => self.write([EXHAUSTED, 0, 0]),
            Ok(Acquire::Exhausted { growth_required: true, .. }) => {
                self.write([GROWTH_REQUIRED, 0, 0])
            }
            Ok(Acquire::OverBudget { .. }) => self.write([OVER_BUDGET, 0, 0]),
            Err(error) => self.stop(convert::pool_error(error)),
        }
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

/// Keeps what a pool answered.
fn outcome(place: Place<'_>, answer: Result<Acquire, PoolError>) -> Result<Outcome, PoolError> {
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
        Err(error) => Err(error),
    }
}

/// What a batch of keys stands for, taken out of the ledger one after the other. Ends at a key that is not known.
struct Given<'a> {
    places: &'a mut Places,
    keys: core::slice::Iter<'a, u32>,
    unknown: bool,
}

impl Iterator for Given<'_> {
    type Item = Reservation;

    // Always: there are two loops over it, one of which is a batch's.
    #[inline(always)]
    fn next(&mut self) -> Option<Reservation> {
        let &key = self.keys.next()?;
        let taken = self.places.remove(ShortKey::from_bits(key));
        self.unknown = taken.is_none();
        taken
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
        outcome(place, answer.map_err(PoolError::InvalidFrontier)?.map_err(convert::pool_error))
    }

    fn exchange(
        &self,
        back: Option<Returned>,
        size: u64,
        alignment: u64,
        after: Option<Entry>,
        may: Permissions,
    ) -> Exchanged {
        let after = after.as_ref().map(convert::entry_in);
        let after = convert::single(after.as_ref()).map_err(PoolError::InvalidFrontier);
        let request = after.map(|after| request(size, alignment, after, may));
        let known = back.and_then(|back| Some((Axis::from_bits(back.death?.axis), back.reached)));
        match imports::told(known, || self.turn(back, request)) {
            Ok(Some(held)) => Exchanged::Ready(held),
            Ok(None) => Exchanged::Other,
            Err(error) => Exchanged::Refused(error),
        }
    }

    fn answer(&self) -> Option<Result<Outcome, PoolError>> {
        self.unread.take()
    }

    fn release(&self, key: u32, death: types::Death) -> Result<(), LedgerError> {
        let released = convert::death(&death, |death| {
            self.give_back(key, |reservation| self.pool.release(reservation, death))
        });
        released.map_err(LedgerError::InvalidDeath)?
    }

    fn cancel(&self, key: u32) -> Result<(), LedgerError> {
        self.give_back(key, |reservation| self.pool.cancel(reservation))
    }

    fn acquire_batch(
        &self,
        requests: Vec<u64>,
        after: Frontier,
        may: Permissions,
    ) -> Result<Answers, PoolError> {
        let (requests, _) = requests.as_chunks::<2>();
        let mut words = vec![0; requests.len() * WORDS];
        let observed = self.pool.notification().observe().word();
        let (rows, _) = words.as_chunks_mut::<WORDS>();
        let mut packed = Packed {
            book: self,
            places: &mut self.places.borrow_mut(),
            words: rows.iter_mut(),
            waits: Vec::new(),
            stopped: None,
        };
        let all = |after: FrontierRef<'_>| {
            let mut requests =
                requests.iter().map(|&[size, alignment]| request(size, alignment, after, may));
            if let Some(tlsf) = &self.tlsf {
                tlsf.acquire_each(requests, |answer| packed.other(answer));
            } else {
                let _ = requests.try_for_each(|request| packed.other(self.pool.acquire(&request)));
            }
        };
        let batch = imports::batch(|| convert::frontier(&after, all));
        batch.map_err(PoolError::InvalidFrontier)?;
        let Packed { words: unwritten, waits, stopped, .. } = packed;
        let done = (requests.len() - unwritten.len()) * WORDS;
        words.truncate(done);
        Ok(Answers { words, waits, observed, stopped })
    }

    fn release_batch(&self, keys: Vec<u32>, death: types::Death) -> Result<(), LedgerError> {
        let mut unknown = None;
        let all = |death: Death<'_>| {
            let mut places = self.places.borrow_mut();
            let mut given = Given { places: &mut places, keys: keys.iter(), unknown: false };
            // Its own pool refuses none.
            let all = match &self.tlsf {
                Some(tlsf) => tlsf.release_each(&mut given, death).is_ok(),
                None => given.all(|kept| self.pool.release(kept, death).is_ok()),
            };
            if given.unknown {
                unknown = Some((keys.len() - given.keys.len() - 1) as u32);
            }
            all
        };
        let released = imports::batch(|| convert::death(&death, all));
        match (released.map_err(LedgerError::InvalidDeath)?, unknown) {
            (true, None) => Ok(()),
            (true, Some(position)) => Err(LedgerError::UnknownKey(position)),
            (false, _) => Err(LedgerError::Lost),
        }
    }

    fn len(&self) -> u32 {
        self.places.borrow().len() as u32
    }
}
