//! Many acquires under one lock, many releases in one push.
//!
//! ```text
//!   acquire ×256     256 × (lock, settle, search)          acquire_each     lock, settle, 256 × search
//!   release ×256     256 × push, later 256 × (look at      release_each     one push, later: look at the axis,
//!                    the axis, merge, file)                                 256 × merge, file what came of it
//! ```
//!
//! The answers are those of as many single calls, as long as progress stands still while they are settled: it is
//! looked at once. What is handed out is [`Held`], a reservation without its place, for those who keep many under
//! numbers of their own.
//!
//! # Cost
//! A search or a merge for each block. `acquire_each` holds the lock throughout, but not while the pool grows.

use super::{Found, TlsfPool};
use crate::death::Death;
use crate::offset::tlsf::BlockId;
use crate::pool::inbox::{Chain, Ticket};
use crate::pool::{
    Acquire, Origin, Pool, PoolError, PoolId, ReleaseError, Request, Reservation, Token,
};
use crate::slab::SlabId;
use alloc::boxed::Box;
use core::fmt;
use core::ops::ControlFlow;

/// A reservation of a [`TlsfPool`] but for its place, which whoever holds it knows, or [`TlsfPool::whole`] finds out. It
/// is linear, as the reservation is.
#[must_use = "it holds memory until it is released to its pool"]
pub struct Held {
    pub(super) pool: PoolId,
    pub(super) ticket: Box<Ticket>,
}

impl Held {
    /// The bytes that were asked for.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.ticket.requested
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({:?} {:?})", self.pool, self.ticket)
    }
}

/// What is told the answers to the requests of a batch, in order. Runs under the pool's lock, unless the pool has an event
/// sink: of this pool it may only call [`release`](Pool::release), [`cancel`](Pool::cancel) and what gives back [`Held`]s.
pub trait Answers {
    /// Bytes that are usable now. `Break` ends the batch.
    fn ready(&mut self, held: Held, slab: SlabId, offset: u64, origin: Origin) -> ControlFlow<()>;

    /// Any other answer, and bytes that took more than a search. `Break` ends the batch.
    fn other(&mut self, answer: Result<Acquire, PoolError>) -> ControlFlow<()>;
}

impl TlsfPool {
    /// [`acquire`](Pool::acquire)s for each request in turn, until there are none or an answer breaks off. The iterator may
    /// do what [`Answers`] may.
    pub fn acquire_each<'r>(
        &self,
        requests: impl IntoIterator<Item = Request<'r>>,
        answers: &mut impl Answers,
    ) {
        if self.host.sink.is_some() {
            // A sink is told of each, and never under the lock.
            let _ =
                requests.into_iter().try_for_each(|request| answers.other(self.acquire(&request)));
            return;
        }
        let mut state = self.state.lock();
        self.settle(&mut state);
        for request in requests {
            let request = &request;
            let need = match self.need(request) {
                Ok(need) => need,
                Err(error) => match answers.other(Err(error)) {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(()) => break,
                },
            };
            let flow = match self.find_first(&mut state, need, request) {
                Ok(Found { slab, offset, ticket, ready: Some(origin) }) => {
                    answers.ready(Held { pool: self.id, ticket }, slab, offset, origin)
                }
                Ok(found) => answers.other(Ok(self.reserved(found, request, None))),
                Err(searched) => {
                    // What was released since the lock was taken lies in the inbox: to be seen by a search that follows
                    // the observation, or nobody would be woken for it.
                    let observed = self.notification.observe();
                    let searched = !self.settle(&mut state) && searched;
                    let found =
                        self.acquire_otherwise(state, need, request, observed, searched, None);
                    let flow = answers.other(found);
                    state = self.state.lock();
                    flow
                }
            };
            if flow.is_break() {
                break;
            }
        }
        self.unlock(state);
    }

    /// A reservation without its place.
    ///
    /// # Errors
    /// [`ReleaseError`] returns a reservation of another pool.
    pub fn hold(&self, reservation: Reservation) -> Result<Held, ReleaseError> {
        let Reservation { pool, slab, offset, size, token } = reservation;
        match token {
            Token::Ticket(ticket) if pool == self.id => Ok(Held { pool, ticket }),
            token => Err(ReleaseError::other_pool(Reservation { pool, slab, offset, size, token })),
        }
    }

    /// The reservation again, with its place. Takes the pool's lock.
    ///
    /// # Errors
    /// What is held of another pool.
    pub fn whole(&self, held: Held) -> Result<Reservation, Held> {
        if held.pool != self.id {
            return Err(held);
        }
        let state = self.state.lock();
        let (region, offset) = state.engine.place_of(BlockId::from_index(held.ticket.block));
        let slab = state.slabs.get(region.index() as usize).copied().flatten();
        drop(state);
        // A region whose block is out has its slab.
        let Some(slab) = slab else { return Err(held) };
        let Held { pool, ticket } = held;
        let (slab, size, token) = (slab.id, ticket.requested, Token::Ticket(ticket));
        Ok(Reservation { pool, slab, offset, size, token })
    }

    /// [`release`](Pool::release)s each with the same death. Does not take the pool's lock, unless the pool has an event
    /// sink; the next acquire settles them as one.
    ///
    /// # Errors
    /// The first that is held of another pool; those before it are released, and those behind it are still in the
    /// iterator.
    pub fn release_each(
        &self,
        all: &mut impl Iterator<Item = Held>,
        death: Death<'_>,
    ) -> Result<(), Held> {
        if self.host.sink.is_some() {
            return all.try_for_each(|held| {
                // It is of this pool, which does not refuse it.
                let _ = self.release(self.whole(held)?, death);
                Ok(())
            });
        }
        let mut refused = Ok(());
        let mut chain = Chain::new();
        // Whether their death has too many axes: then each is kept for itself.
        let (mut first, mut wide) = (true, false);
        for held in all {
            if held.pool != self.id {
                refused = Err(held);
                break;
            }
            let mut ticket = held.ticket;
            if first || wide {
                first = false;
                wide = self.write_death(&mut ticket, death);
            }
            if wide {
                self.inbox.push(ticket);
            } else {
                chain.add(ticket);
            }
        }
        self.inbox.push_all(chain);
        self.notification.signal_if_observed();
        refused
    }
}
