//! The interface `waits`: all that is asynchronous. Only guests that import it need support for concurrent calls.

use super::bindings::strandline::substrate::pools::Observation as Seen;
use super::bindings::strandline::substrate::waits::{Frontier, Host, HostWithStore, WaitError};
use super::{GuestState, Guests, Pool, convert, known};
use crate::tenant::TenantWait;
use core::future::poll_fn;
use core::pin::Pin;
use std::sync::Arc;
use strandline_core::{Entry, Observation};
use wasmtime::component::{Accessor, Resource};

impl GuestState {
    /// Begins a wait, which counts as long as what it returns.
    fn begin_wait(&mut self, entries: &[Entry]) -> Result<(TenantWait, Arc<()>), WaitError> {
        if Arc::strong_count(&self.waits) > self.most_waits {
            return Err(WaitError::Gone);
        }
        let wait = self.tenant.wait(entries).map_err(convert::wait_failure)?;
        Ok((wait, self.waits.clone()))
    }
}

impl Host for GuestState {}

impl<T: Send + 'static> HostWithStore<T> for Guests {
    async fn wait(
        accessor: &Accessor<T, Self>,
        frontier: Frontier,
    ) -> wasmtime::Result<Result<(), WaitError>> {
        let entries = convert::entries(&frontier);
        let begun = accessor.with(|mut access| access.get().begin_wait(&entries));
        let (mut wait, _counted) = match begun {
            Ok(begun) => begun,
            Err(failure) => return Ok(Err(failure)),
        };
        let result = poll_fn(|context| {
            accessor.with(|mut access| access.get().tenant.poll_wait(&mut wait, context))
        })
        .await;
        Ok(result.map_err(convert::wait_failure))
    }

    async fn changed(
        accessor: &Accessor<T, Self>,
        pool: Resource<Pool>,
        seen: Seen,
    ) -> wasmtime::Result<Result<(), WaitError>> {
        let mut change = accessor.with(|mut access| {
            let guest = access.get();
            let pool = guest.table.get(&pool)?.0;
            known(guest.tenant.changed(pool, Observation::from_word(seen)))
        })?;
        poll_fn(|context| {
            // What waits for memory in the tenant's queues looks again as well.
            accessor.with(|mut access| access.get().tenant.poll());
            Pin::new(&mut change).poll(context)
        })
        .await;
        Ok(Ok(()))
    }
}
