//! Many acquires under one lock, many releases in one push.
//!
//! ```text
//!   acquire ×256     256 × (lock, settle, search)          acquire_each     lock, settle, 256 × search
//!   release ×256     256 × push, later 256 × (look at      release_each     one push, later: look at the axis,
//!                    the axis, file)                                        256 × file
//! ```
//!
//! The answers are those of as many single calls, as long as progress stands still while they are settled: it is
//! looked at once.
//!
//! # Cost
//! A search or a filing for each block. `acquire_each` holds the lock throughout, but not while the pool grows.

use super::{State, TlsfPool};
use crate::death::Death;
use crate::offset::tlsf::Need;
use crate::pool::{Acquire, Pool, PoolError, ReleaseError, Request, Reservation};
use crate::sync::atomic::Ordering;
use core::ops::ControlFlow;

impl TlsfPool {
    /// [`acquire`](Pool::acquire)s for each request in turn, until there are none or `answer` breaks off.
    ///
    /// Iterator and closure run under the pool's lock, unless the pool has an event sink: of this pool they may only
    /// call [`release`](Pool::release) and [`cancel`](Pool::cancel).
    pub fn acquire_each<'r>(
        &self,
        requests: impl IntoIterator<Item = Request<'r>>,
        mut answer: impl FnMut(Result<Acquire, PoolError>) -> ControlFlow<()>,
    ) {
        if self.host.sink.is_some() {
            // A sink is told of each, and never under the lock.
            let _ = requests.into_iter().try_for_each(|request| answer(self.acquire(&request)));
            return;
        }
        let mut state = self.state.lock();
        self.settle(&mut state);
        for request in requests {
            let request = &request;
            let need = match self.need(&state, request) {
                Ok(need) => need,
                Err(error) => match answer(Err(error)) {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(()) => return,
                },
            };
            let flow = match self.find_first(&mut state, need, request) {
                Ok(found) => answer(Ok(self.reserved(found, request, None))),
                Err(searched) => {
                    // What was released since the lock was taken lies in the inbox: to be seen by a search that follows
                    // the observation, or nobody would be woken for it.
                    let observed = self.notification.observe();
                    let searched = !self.settle(&mut state) && searched;
                    let found = self.acquire_otherwise(state, need, request, observed, searched);
                    let flow = answer(found);
                    state = self.state.lock();
                    flow
                }
            };
            if flow.is_break() {
                return;
            }
        }
    }

    #[inline(always)]
    fn need(&self, state: &State, request: &Request<'_>) -> Result<Need, PoolError> {
        self.check(request)?;
        let need = state.engine.need(request.size, request.alignment);
        need.ok_or_else(|| self.too_large(request))
    }

    /// [`release`](Pool::release)s each reservation with the same death. Never takes the pool's lock; the next acquire
    /// settles them as one.
    ///
    /// # Errors
    /// [`ReleaseError`] returns the first reservation of another pool; those before it are released, and those behind
    /// it are still in the iterator.
    pub fn release_each(
        &self,
        reservations: &mut impl Iterator<Item = Reservation>,
        death: Death<'_>,
    ) -> Result<(), ReleaseError> {
        let mut refused = Ok(());
        // How many, and whether their death has too many axes to be known.
        let (mut count, mut tainted) = (0, false);
        let tickets = reservations.map_while(|reservation| match self.take_back(reservation) {
            Ok(mut ticket) => {
                if count == 0 {
                    tainted = ticket.death.set(death, &*self.host.progress);
                }
                count += 1;
                Some(ticket)
            }
            Err(error) => {
                refused = Err(error);
                None
            }
        });
        self.inbox.push_all(tickets);
        if tainted {
            // Relaxed: a counter.
            self.taints.fetch_add(count, Ordering::Relaxed);
        }
        self.notification.signal_if_observed();
        refused
    }
}
