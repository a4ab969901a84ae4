//! Many acquires under one lock, many releases with one signal.
//!
//! The answers are those of as many single calls.
//!
//! # Cost
//! That of the single calls, but one lock, and one signal. `acquire_each` holds the lock throughout, but not while the pool grows.

use super::TlsfPool;
use crate::death::Death;
use crate::pool::{Acquire, Pool, PoolError, ReleaseError, Request, Reservation};
use core::ops::ControlFlow;

impl TlsfPool {
    /// [`acquire`](Pool::acquire)s for each request in turn, until there are none or `answer` breaks off. Both run under the pool's
    /// lock, unless the pool has an event sink: of this pool they may only call [`release`](Pool::release) and
    /// [`cancel`](Pool::cancel).
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
        for request in requests {
            let asked = match self.asked(&request) {
                Ok(asked) => asked,
                Err(error) => match answer(Err(error)) {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(()) => break,
                },
            };
            if let Some(ready) = self.acquire_hot(&request) {
                match answer(Ok(ready)) {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(()) => break,
                }
            }
            self.settle(&mut state);
            let flow = match self.look_first(&mut state, &asked) {
                Ok(found) => {
                    self.take_note(&mut state, &found, &asked);
                    answer(Ok(self.reserved(found, &request, None)))
                }
                Err(searched) => {
                    let other = self.acquire_otherwise(state, &asked, searched);
                    let flow = answer(other);
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

    /// [`release`](Pool::release)s each with the same death. Never takes the pool's lock.
    ///
    /// # Errors
    /// The first reservation of another pool; those before it are released, and those behind it are still in the iterator.
    pub fn release_each(
        &self,
        all: &mut impl Iterator<Item = Reservation>,
        death: Death<'_>,
    ) -> Result<(), ReleaseError> {
        let released = all.try_for_each(|reservation| {
            let reservation = self.host.check(reservation, death)?;
            let mut ticket = self.take_back(reservation)?;
            self.write_death(&mut ticket, death);
            self.hand_in(ticket);
            Ok(())
        });
        self.notification.signal_if_awaited();
        released
    }
}
