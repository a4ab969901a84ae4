//! A release and an acquire under one lock.
//!
//! ```text
//!   turn      lock, settle, free, search ── found ──▶ the answer
//!                                       └── nothing: signal, acquire_after: lock, settle, the rest of an acquire
//! ```
//!
//! # Cost
//! A merge and a search, and one lock in the usual case; nothing passes through the inbox.

use super::batch::{Answers, Held};
use super::{Found, TlsfPool};
use crate::death::Death;
use crate::pool::inbox::Ticket;
use crate::pool::{Acquire, Pool, PoolError, Request};
use alloc::boxed::Box;

impl TlsfPool {
    /// [`exchange`](Pool::exchange) of what is held: [`Answers`] are told the one answer.
    ///
    /// # Errors
    /// What is held of another pool; nothing is acquired then.
    #[inline(always)]
    pub fn exchange_held(
        &self,
        held: Held,
        death: Death<'_>,
        request: &Request<'_>,
        answers: &mut impl Answers,
    ) -> Result<(), Held> {
        if held.pool != self.id {
            return Err(held);
        }
        let found = if self.host.sink.is_none() {
            self.turn(held.ticket, death, request)
        } else {
            // Told of both.
            let whole = self.whole(held)?;
            // It is of this pool, which does not refuse it.
            let _ = self.release(whole, death);
            Err(false)
        };
        // There is one answer: nothing to break off.
        let _ = match found {
            Ok(Found { slab, offset, ticket, ready: Some(origin) }) => {
                answers.ready(Held { pool: self.id, ticket }, slab, offset, origin)
            }
            Ok(found) => answers.other(Ok(self.reserved(found, request, None))),
            Err(searched) => answers.other(self.acquire_after(request, searched)),
        };
        Ok(())
    }

    /// Frees a block and finds memory under one lock, as a release and an acquire do in the usual case. `Err`: it is freed, and the
    /// acquire goes on with [`acquire_after`](Self::acquire_after), which is told whether memory was looked for.
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn turn(
        &self,
        mut ticket: Box<Ticket>,
        death: Death<'_>,
        request: &Request<'_>,
    ) -> Result<Found, bool> {
        self.write_death(&mut ticket, death);
        let need = self.need(request);
        let mut state = self.state.lock();
        // In the order of the releases, as through the inbox.
        self.settle(&mut state);
        state.free(ticket, &self.host);
        let found = match need {
            Ok(need) => self.find_first(&mut state, need, request),
            Err(_) => Err(false),
        };
        state.tell();
        drop(state);
        self.notification.signal_if_observed();
        found
    }

    /// The rest of an acquire whose [`turn`](Self::turn) has found nothing. It does not look twice: searches are counted, and
    /// every so many look at progress.
    #[inline(never)]
    pub(super) fn acquire_after(
        &self,
        request: &Request<'_>,
        searched: bool,
    ) -> Result<Acquire, PoolError> {
        let need = self.need(request)?;
        // After the signal. What was released between the two locks is to be looked at, or nobody would be woken for it.
        let observed = self.notification.observe();
        let mut state = self.state.lock();
        let searched = !self.settle(&mut state) && searched;
        self.acquire_otherwise(state, need, request, observed, searched, None)
    }
}
