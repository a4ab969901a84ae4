//! Reserving and releasing on a tenant's behalf.
//!
//! A reservation stays in the tenant's table whatever becomes of the handle to it, so nothing is lost when a
//! program forgets one, and nothing can be named that is not the tenant's.
//!
//! # What bytes wait for that were just handed out
//! A pool hands bytes out when each axis of their death was reached, or is covered by what the requester says
//! that it is ordered after. So all that may still use them lies within what the tenant said, less what is reached by now:
//! that is the death of the bytes until the first use, which waits for it. An answer's [`Origin`] sums this up for
//! counters and people, and nothing here is decided by it. What this costs: bytes that were clean wait, before their first
//! use, for what the tenant said that the use is ordered after; and given back unused by a release, they die after that.
//! A cancel restores what was.

use super::error::{Limit, TenantError};
use super::pool::{TakeError, unreached};
use super::{Holding, PoolHandle, ReservationHandle, Tenant, log_refusal};
use strandline_core::pool::{MAX_DEATH_AXES, Origin, Pool, Request};
use strandline_core::queue::Place;
use strandline_core::{
    Acquire, Death, Entry, Frontier, FrontierRef, Merge, Observation, Reservation,
};

/// What is asked of a pool, as an untrusted program says it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Bytes.
    pub size: u64,
    /// Start at a multiple of so many bytes.
    pub alignment: u64,
    /// What the use of the bytes is ordered after.
    pub after: &'a [Entry],
    /// The answer may require a wait.
    pub may_wait: bool,
    /// The pool may grow.
    pub may_grow: bool,
}

impl<'a> Ask<'a> {
    /// `size` bytes, any alignment, after nothing; the pool may grow for it, and the answer requires no wait.
    #[must_use]
    pub const fn new(size: u64) -> Self {
        Self { size, alignment: 1, after: &[], may_wait: false, may_grow: true }
    }

    /// To be used after these entries.
    #[must_use]
    pub const fn after(mut self, entries: &'a [Entry]) -> Self {
        self.after = entries;
        self
    }

    /// Permit an answer that requires a wait.
    #[must_use]
    pub const fn or_wait(mut self) -> Self {
        self.may_wait = true;
        self
    }

    /// Permit the pool to grow, as it may from the start.
    #[must_use]
    pub const fn or_grow(mut self) -> Self {
        self.may_grow = true;
        self
    }

    /// Only what the slabs at hand have.
    #[must_use]
    pub const fn without_growth(mut self) -> Self {
        self.may_grow = false;
        self
    }

    pub(super) const fn request<'b>(&self, frontier: FrontierRef<'b>) -> Request<'b> {
        let &Self { size, alignment, may_wait, may_grow, .. } = self;
        Request { size, alignment, frontier, may_wait, may_grow }
    }
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug)]
#[must_use = "a reservation counts against the tenant until it is released"]
pub enum Answer {
    /// Usable now, by operations that wait for nothing else.
    Ready {
        /// The reservation.
        reservation: ReservationHandle,
        /// Where it is.
        place: Place,
        /// Where its bytes come from.
        origin: Origin,
    },
    /// Usable after `wait`. Operations on it wait for that whether or not they say so.
    AfterWait {
        /// The reservation.
        reservation: ReservationHandle,
        /// Where it is.
        place: Place,
        /// What comes first.
        wait: Frontier,
    },
    /// Nothing that the tenant may use fits.
    Exhausted {
        /// Taken before the search.
        observed: Observation,
        /// Only growth can help.
        growth_required: bool,
    },
    /// The budget does not allow it now.
    OverBudget {
        /// Taken before the search.
        observed: Observation,
    },
}

/// What came of an exchange. The usual answer fits into registers: an [`Answer`] has room for a frontier, and moving it
/// about takes as long as the locks.
#[derive(Clone, Debug)]
#[must_use = "a reservation counts against the tenant until it is released"]
pub enum Exchanged {
    /// As [`Answer::Ready`].
    Ready {
        /// The reservation.
        reservation: ReservationHandle,
        /// Where it is.
        place: Place,
        /// Where its bytes come from.
        origin: Origin,
    },
    /// Anything else that an acquire may come to.
    Other(Box<Result<Answer, TenantError>>),
}

impl Exchanged {
    /// As an acquire says it.
    ///
    /// # Errors
    /// Those of [`Tenant::acquire`].
    pub fn answer(self) -> Result<Answer, TenantError> {
        match self {
            Self::Ready { reservation, place, origin } => {
                Ok(Answer::Ready { reservation, place, origin })
            }
            Self::Other(answer) => *answer,
        }
    }
}

/// What a tenant says that the last uses of returned bytes wait for. Its own operations count as well, said or
/// not.
#[derive(Clone, Copy, Debug)]
pub enum Returned<'a> {
    /// Nothing.
    Idle,
    /// These entries.
    After(&'a [Entry]),
    /// It does not know: the bytes come back, and stay charged, until [`Tenant::quiesce`] or the tenant's end.
    Unknown,
}

impl Tenant {
    /// Looks for memory in one of the tenant's pools.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`] for the pool, [`TenantError::Pool`] for a request that it can never
    /// serve or a broken provider, [`TenantError::InvalidFrontier`] and [`TenantError::NotYours`] for
    /// `after`, [`TenantError::Limit`] with as many reservations as there may be.
    pub fn acquire(&mut self, pool: PoolHandle, ask: &Ask<'_>) -> Result<Answer, TenantError> {
        let (index, _) = self.tenant_pool(pool)?;
        let after = self.account.check(ask.after)?;
        let answer = self.pools[index].take(&ask.request(after));
        self.answer(index, after, answer)
    }

    /// Keeps what a pool has answered.
    fn answer(
        &mut self,
        index: usize,
        after: FrontierRef<'_>,
        answer: Result<Acquire, TakeError>,
    ) -> Result<Answer, TenantError> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(TakeError::NoPlace(_)) => return Err(TenantError::Limit(Limit::Reservations)),
            Err(TakeError::Pool(error)) => return Err(error.into()),
        };
        match answer {
            Acquire::Ready { reservation, origin } => {
                let (reservation, place) = self.hold(index, reservation, self.unreached(after))?;
                Ok(Answer::Ready { reservation, place, origin })
            }
            Acquire::AfterWait { reservation, wait } => {
                let mut death = self.unreached(after);
                // The pool has made sure that it fits.
                let _: Merge = death.merge(wait.as_ref());
                let (reservation, place) = self.hold(index, reservation, death)?;
                Ok(Answer::AfterWait { reservation, place, wait })
            }
            Acquire::Exhausted { observed, growth_required } => {
                Ok(Answer::Exhausted { observed, growth_required })
            }
            Acquire::OverBudget { observed } => Ok(Answer::OverBudget { observed }),
        }
    }

    /// Gives a reservation back to `pool`.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`], [`TenantError::OtherPool`], and for the death
    /// [`TenantError::InvalidFrontier`] and [`TenantError::NotYours`]. The reservation is then as it was.
    pub fn release(
        &mut self,
        pool: PoolHandle,
        reservation: ReservationHandle,
        death: Returned<'_>,
    ) -> Result<(), TenantError> {
        self.check_pool(pool, reservation)?;
        let said = self.said(death)?;
        let Some(mut holding) = self.holdings.remove(reservation.0) else {
            return Err(TenantError::UnknownHandle);
        };
        match said {
            // Of more axes than a frontier holds, nothing is known.
            Some(said) if holding.death.merge(said) == Merge::Done => {
                holding.returned = true;
                self.end(holding);
            }
            _ => self.quarantine.push(holding),
        }
        self.drain();
        Ok(())
    }

    /// [`release`](Self::release), then [`acquire`](Self::acquire), in one step of the books where it can be: what a turn of
    /// a block costs is mostly locks.
    ///
    /// # Errors
    /// Those of [`release`](Self::release): nothing is acquired then. Those of [`acquire`](Self::acquire) are in the answer:
    /// the reservation is released.
    #[inline(always)]
    pub fn exchange(
        &mut self,
        pool: PoolHandle,
        reservation: ReservationHandle,
        death: Returned<'_>,
        ask: &Ask<'_>,
    ) -> Result<Exchanged, TenantError> {
        self.check_pool(pool, reservation)?;
        let said = self.said(death)?;
        if let Some(answer) = self.turn(pool, reservation, said, ask) {
            return Ok(answer);
        }
        self.release(pool, reservation, death)?;
        Ok(Exchanged::Other(Box::new(self.acquire(pool, ask))))
    }

    /// An exchange in one step. `None`, and nothing has happened: it takes two. So it is when an alloca waits for memory, which
    /// comes before the acquire; and when it is not the pool that the bytes go back to.
    #[inline(always)]
    fn turn(
        &mut self,
        PoolHandle(pool): PoolHandle,
        reservation: ReservationHandle,
        said: Option<FrontierRef<'_>>,
        ask: &Ask<'_>,
    ) -> Option<Exchanged> {
        let after = self.account.check(ask.after).ok()?;
        if self.queues.parked().next().is_some() {
            return None;
        }
        let index = pool as usize;
        let said = said?;
        let holding = self.holdings.get(reservation.0)?;
        let request = ask.request(after);
        let known;
        let death = if said.is_empty() && holding.death.is_empty() {
            Death::Idle
        } else {
            known = self.death_of(holding, said)?;
            self.death(&known)
        };
        let answer = self.pools[index].exchange(&holding.reservation, death, &request)?;
        self.drain();
        let (got, origin) = match answer {
            Ok(Acquire::Ready { reservation, origin }) => (reservation, origin),
            other => {
                self.holdings.remove(reservation.0);
                return Some(Exchanged::Other(Box::new(self.answer(index, after, other))));
            }
        };
        let place = Place::from(&got);
        let Some((handle, holding)) = self.holdings.renew(reservation.0) else {
            self.holdings.remove(reservation.0);
            let answer = Ok(Acquire::Ready { reservation: got, origin });
            return Some(Exchanged::Other(Box::new(self.answer(index, after, answer))));
        };
        holding.reservation = got;
        holding.memory = None;
        holding.first_use = None;
        holding.returned = false;
        // In place: what most have counted on is nothing.
        if after.is_empty() {
            holding.death.clear();
        } else {
            holding.death = unreached(after, &self.account.tracker);
        }
        Some(Exchanged::Ready { reservation: ReservationHandle(handle), place, origin })
    }

    /// Gives an unused reservation back: the death of its bytes is again what it was. One that was used
    /// counts as released after those uses.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`] or [`TenantError::OtherPool`]. The reservation is then as it was.
    pub fn cancel(
        &mut self,
        pool: PoolHandle,
        reservation: ReservationHandle,
    ) -> Result<(), TenantError> {
        self.check_pool(pool, reservation)?;
        let Some(holding) = self.holdings.remove(reservation.0) else {
            return Err(TenantError::UnknownHandle);
        };
        self.drop_holding(holding);
        self.drain();
        Ok(())
    }

    /// Where a reservation is.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`].
    pub fn place_of(&self, reservation: ReservationHandle) -> Result<Place, TenantError> {
        let holding = self.holdings.get(reservation.0).ok_or(TenantError::UnknownHandle)?;
        Ok(Place::from(&holding.reservation))
    }

    /// The pool that a reservation is of.
    ///
    /// # Errors
    /// [`TenantError::UnknownHandle`].
    pub fn pool_of_reservation(
        &self,
        reservation: ReservationHandle,
    ) -> Result<PoolHandle, TenantError> {
        let holding = self.holdings.get(reservation.0).ok_or(TenantError::UnknownHandle)?;
        Ok(PoolHandle(holding.pool as u64))
    }

    fn check_pool(
        &self,
        pool: PoolHandle,
        reservation: ReservationHandle,
    ) -> Result<(), TenantError> {
        let (index, _) = self.tenant_pool(pool)?;
        match self.holdings.get(reservation.0) {
            None => Err(TenantError::UnknownHandle),
            Some(holding) if holding.pool != index => Err(TenantError::OtherPool),
            Some(_) => Ok(()),
        }
    }

    /// A death as the tenant says it, if it may name what it names; `None` is unknown.
    #[inline]
    fn said<'a>(&self, death: Returned<'a>) -> Result<Option<FrontierRef<'a>>, TenantError> {
        Ok(match death {
            Returned::Idle => Some(FrontierRef::EMPTY),
            Returned::After(entries) => Some(self.account.check(entries)?),
            Returned::Unknown => None,
        })
    }

    /// What the bytes of a holding wait for, with what its tenant says. `None` for more axes than a block remembers, which
    /// would taint the host's pool.
    fn death_of(&self, holding: &Holding, said: FrontierRef<'_>) -> Option<Frontier> {
        let mut death = holding.death.clone();
        if !said.is_empty() && death.merge(said) != Merge::Done {
            return None;
        }
        self.is_short(&death).then_some(death)
    }

    /// Whether the host's pools remember this death, whole.
    pub(super) fn is_short(&self, death: &Frontier) -> bool {
        death.len() <= MAX_DEATH_AXES || self.unreached(death.as_ref()).len() <= MAX_DEATH_AXES
    }

    pub(super) fn unreached(&self, frontier: FrontierRef<'_>) -> Frontier {
        unreached(frontier, &self.account.tracker)
    }

    fn hold(
        &mut self,
        pool: usize,
        reservation: Reservation,
        death: Frontier,
    ) -> Result<(ReservationHandle, Place), TenantError> {
        let place = Place::from(&reservation);
        match self.holdings.vacant() {
            Some(vacant) => {
                let (memory, first_use, returned) = (None, None, false);
                let holding = Holding { pool, reservation, memory, death, first_use, returned };
                let handle = vacant.fill(holding);
                Ok((ReservationHandle(handle), place))
            }
            None => {
                // As if never made.
                log_refusal(self.pools[pool].cancel(reservation));
                Err(TenantError::Limit(Limit::Reservations))
            }
        }
    }
}
