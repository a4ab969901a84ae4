//! A pool inside the sandbox, as a [`Pool`].
//!
//! A reservation is a key of the pool's ledger inside. What the trait returns by reference (notification, provider)
//! lives outside; the notification is signaled after whatever would signal it inside.

use super::batch::Answer;
use super::bindings::exports::strandline::substrate::{authority, pools};
use super::bindings::strandline::substrate::types;
use super::imports::Supplier;
use super::returns::{Returned, Returns};
use super::state::State;
use super::world::World;
use super::{Instance, SubstrateError, convert, snapshot};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use strandline_core::inspect::{BlockView, Event, EventSink};
use strandline_core::pool::{
    Acquire, Pool, PoolHost, PoolId, PoolProperties, PoolStats, ReleaseError, Request, Reservation,
};
use strandline_core::slab::{SlabProvider, Trim};
use strandline_core::{
    Death, Entry, FrontierRef, Notification, Observation, PoolError, Progress, SlabId,
};
use wasmtime::component::{Resource, ResourceAny};
use wasmtime::{Store, format_err};

/// A pool of a [`Substrate`](super::Substrate). Dropping it gives its slabs back, as dropping a pool of the core does.
pub struct SandboxPool {
    id: PoolId,
    instance: Arc<Instance>,
    stand: usize,
    pub(super) pool: ResourceAny,
    ledger: ResourceAny,
    properties: PoolProperties,
    provider: Arc<dyn SlabProvider>,
    progress: Arc<dyn Progress>,
    notification: Arc<Notification>,
    /// The word of the notification inside that came with the last refusal.
    inside: AtomicU32,
    sink: Option<Arc<dyn EventSink>>,
    /// Only of pools whose releases change nothing before the next look at them.
    returns: Option<Returns>,
    /// The last counters known: what there is to say once the component is lost.
    last: Mutex<PoolStats>,
}

impl fmt::Debug for SandboxPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxPool")
            .field("id", &self.id)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

type Made<E> = wasmtime::Result<Result<ResourceAny, E>>;

/// The answer to a request for a pool. An error that only guests are told means that the component is wrong.
pub(super) fn made(answer: Made<types::PoolError>) -> Made<PoolError> {
    answer.map(|made| made.map_err(|error| convert::pool_error(error).unwrap_or(PoolError::Lost)))
}

impl SandboxPool {
    pub(super) fn make<E: From<PoolError>>(
        instance: &Arc<Instance>,
        host: PoolHost,
        make: impl FnOnce(&mut Store<State>, &World, authority::PoolHost) -> Made<E>,
    ) -> Result<Self, E> {
        let id = PoolId::next();
        let stand = {
            let mut cell = instance.lock().ok_or(PoolError::Lost)?;
            cell.store.data_mut().add(id, &host)
        };
        let made = instance.enter(stand, |store, world| {
            let provider: Resource<Supplier> = store.data_mut().table.push(Supplier(stand))?;
            let provider =
                authority::PoolHost { provider, progress: authority::ProgressSource::Host };
            let pool = match make(store, world, provider)? {
                Ok(pool) => pool,
                Err(error) => return Ok(Err(error)),
            };
            let pools = world.pools().pool();
            let properties = pools.call_properties(&mut *store, pool)?;
            let ledger = pools.call_ledger(&mut *store, pool)?;
            let stats = pools.call_stats(&mut *store, pool)?;
            Ok(Ok((pool, ledger, properties, stats)))
        });
        let (pool, ledger, properties, stats) = match made {
            Some(Ok(made)) => made,
            failed => {
                if let Some(mut cell) = instance.lock() {
                    cell.store.data_mut().remove(stand);
                }
                let Some(Err(error)) = failed else { return Err(PoolError::Lost.into()) };
                return Err(error);
            }
        };
        Ok(Self {
            id,
            instance: instance.clone(),
            stand,
            pool,
            ledger,
            properties: within_capacity(convert::pool_properties(properties), &*host.provider),
            provider: host.provider,
            progress: host.progress,
            notification: Arc::new(Notification::new(host.wake)),
            inside: AtomicU32::new(0),
            sink: host.sink,
            returns: (properties.kind == pools::PoolKind::Tlsf).then(Returns::default),
            last: Mutex::new(convert::pool_stats(stats)),
        })
    }

    pub(super) fn enter<R>(
        &self,
        call: impl FnOnce(&mut Store<State>, &World) -> wasmtime::Result<R>,
    ) -> Result<R, PoolError> {
        let entered = self.instance.enter(self.stand, |store, world| {
            self.deliver(store, world)?;
            self.instance.crossed();
            call(store, world)
        });
        entered.ok_or(PoolError::Lost)
    }

    /// Hands over the releases that wait here.
    fn deliver(&self, store: &mut Store<State>, world: &World) -> wasmtime::Result<()> {
        let Some(returns) = &self.returns else { return Ok(()) };
        let ledger = world.pools().ledger();
        for alike in returns.take().chunk_by(|one, next| one.death == next.death) {
            let keys: Vec<u32> = alike.iter().map(|returned| returned.key).collect();
            let death: Vec<_> = alike[0].death.iter().map(convert::entry).collect();
            self.instance.crossed();
            // An empty frontier is idle.
            let death = types::Death::After(&death);
            ledger
                .call_release_batch(&mut *store, self.ledger, &keys, death)?
                .map_err(|_| not_held())?;
        }
        Ok(())
    }

    /// Acquires, and hands over the releases that wait here: in one call if it can be.
    fn ask(
        &self,
        store: &mut Store<State>,
        world: &World,
        request: &Request<'_>,
    ) -> wasmtime::Result<Result<pools::Outcome, types::PoolError>> {
        let (ledger, this) = (world.pools().ledger(), self.ledger);
        let &Request { size, alignment, frontier, .. } = request;
        let may = permissions(request);
        let entries = frontier.entries();
        self.instance.crossed();
        if entries.len() > 1 {
            self.deliver(store, world)?;
            let after = convert::entries(frontier);
            return ledger.call_acquire(store, this, size, alignment, &after, may);
        }
        // The only one crosses with the acquire.
        let single = self.returns.as_ref().and_then(Returns::take_single);
        let back = single.map(|Returned { key, death }| {
            let progress = store.data().stand(self.stand).map(|stand| &stand.progress);
            let reached = death.zip(progress).map_or(0, |(death, of)| of.reached(death.axis));
            pools::Returned { key, death: death.as_ref().map(convert::entry), reached }
        });
        if back.is_none() {
            self.deliver(store, world)?;
        }
        let after = entries.first().map(convert::entry);
        match ledger.call_exchange(&mut *store, this, back, size, alignment, after, may)? {
            pools::Exchanged::Ready(held) => Ok(Ok(pools::Outcome::Ready(held))),
            pools::Exchanged::Other => {
                self.instance.crossed();
                let answer = ledger.call_answer(store, this)?;
                answer.ok_or_else(|| format_err!("it has no answer"))
            }
            pools::Exchanged::Refused(_) => Err(not_held()),
        }
    }

    /// Releases a reservation with the next call on the pool.
    fn return_later(
        &self,
        returns: &Returns,
        reservation: Reservation,
        death: Option<Entry>,
    ) -> Result<(), ReleaseError> {
        let key = self.key(&reservation).filter(|_| !self.instance.is_lost());
        let Some(key) = key else { return Err(ReleaseError::other_pool(reservation)) };
        self.emit_released(&reservation);
        if returns.push(Returned { key, death }) {
            // Should this lose the component, the slabs go back, and with them what was released.
            let _ = self.instance.enter(self.stand, |store, world| self.deliver(store, world));
        }
        self.notification.signal_if_observed();
        Ok(())
    }

    /// The component said what it cannot say: it is not the one it should be, and not entered again.
    pub(super) fn nonsense(&self, what: &str) -> PoolError {
        self.instance.lose(SubstrateError::Trapped(format!("it answered with {what}")));
        PoolError::Lost
    }

    fn error(&self, error: types::PoolError) -> PoolError {
        convert::pool_error(error).unwrap_or_else(|| self.nonsense("an error that was not caused"))
    }

    /// Enters the component for next to nothing (the number of reservations held): what a crossing alone costs
    /// can be measured with it.
    ///
    /// # Errors
    /// [`PoolError::Lost`].
    pub fn cross(&self) -> Result<u32, PoolError> {
        self.enter(|store, world| world.pools().ledger().call_len(store, self.ledger))
    }

    /// Signals what the acquire may have found out inside: completions, and room that growth left. `word` is that of the notification
    /// inside after a refusal, which says whether there was a signal; who is refused then looks again at once, and sleeps the
    /// next time.
    fn pass_on(&self, moved: bool, word: Option<u32>) {
        // Relaxed: only a change counts, and whoever sees one twice signals twice.
        if moved || word.is_none_or(|word| self.inside.swap(word, Ordering::Relaxed) != word) {
            self.notification.signal_if_observed();
        }
    }

    pub(super) fn observe(&self) -> Observation {
        self.notification.observe()
    }

    pub(super) fn hold(&self, key: u32, slab: SlabId, offset: u64, size: u64) -> Reservation {
        Reservation::foreign(self.id, slab, offset, size, u64::from(key))
    }

    /// The key of a reservation of this pool.
    pub(super) fn key(&self, reservation: &Reservation) -> Option<u32> {
        let token = reservation.foreign_token()?;
        (reservation.pool() == self.id).then(|| u32::try_from(token).ok())?
    }

    fn emit_reserved(&self, reservation: &Reservation) {
        if let Some(sink) = &self.sink {
            let (slab, offset, size) =
                (reservation.slab(), reservation.offset(), reservation.size());
            sink.event(&Event::Reserved { pool: self.id, slab, offset, size });
        }
    }

    fn emit_released(&self, reservation: &Reservation) {
        if let Some(sink) = &self.sink {
            let (slab, offset, size) =
                (reservation.slab(), reservation.offset(), reservation.size());
            sink.event(&Event::Released { pool: self.id, slab, offset, size });
        }
    }

    pub(super) fn reserved(&self, answers: &[Answer]) {
        for answer in answers {
            if let Answer::Ready { reservation, .. } | Answer::AfterWait { reservation, .. } =
                answer
            {
                self.emit_reserved(reservation);
            }
        }
    }

    pub(super) fn released(&self, reservations: &[Reservation]) {
        for reservation in reservations {
            self.emit_released(reservation);
        }
        self.notification.signal_if_observed();
    }

    pub(super) fn call_acquire_batch(
        &self,
        requests: &[u64],
        after: &types::Frontier,
        common: &Request<'_>,
    ) -> Result<pools::Answers, PoolError> {
        let answers = self.enter(|store, world| {
            let ledger = world.pools().ledger();
            let answers = ledger.call_acquire_batch(
                &mut *store,
                self.ledger,
                requests,
                after,
                permissions(common),
            )?;
            Ok(answers)
        })?;
        // What the batch found out inside, it does not say.
        self.notification.signal_if_observed();
        answers.map_err(|error| self.error(error))
    }

    pub(super) fn call_release_batch(&self, keys: &[u32], death: Death<'_>) -> bool {
        let released = with_death(death, |death| {
            self.enter(|store, world| {
                let ledger = world.pools().ledger();
                ledger.call_release_batch(store, self.ledger, keys, death)
            })
        });
        match released {
            Ok(Ok(())) => true,
            Ok(Err(_)) => {
                // Keys leave this file only inside linear reservations.
                self.nonsense("a key that it gave out itself");
                false
            }
            Err(_) => false,
        }
    }

    /// Releases or cancels one reservation.
    fn give_back(
        &self,
        reservation: Reservation,
        call: impl FnOnce(
            &mut Store<State>,
            &pools::GuestLedger<'_>,
            u32,
        ) -> wasmtime::Result<Result<(), pools::LedgerError>>,
    ) -> Result<(), ReleaseError> {
        let Some(key) = self.key(&reservation) else {
            return Err(ReleaseError::other_pool(reservation));
        };
        let done = self.enter(|store, world| call(store, &world.pools().ledger(), key));
        match done {
            Ok(Ok(())) => {
                self.emit_released(&reservation);
                self.notification.signal_if_observed();
                Ok(())
            }
            Ok(Err(_)) => {
                self.nonsense("a key that it gave out itself");
                Err(ReleaseError::other_pool(reservation))
            }
            Err(_) => Err(ReleaseError::other_pool(reservation)),
        }
    }
}

/// What the component does not know of a provider: the most that it ever gives.
fn within_capacity(mut properties: PoolProperties, provider: &dyn SlabProvider) -> PoolProperties {
    if let Some(capacity) = provider.capacity() {
        let granularity = provider.properties().granularity.max(1);
        properties.max_request = properties.max_request.min(capacity & !(granularity - 1));
    }
    properties
}

/// Keys leave this file only inside linear reservations.
fn not_held() -> wasmtime::Error {
    format_err!("it does not know a key that it gave out itself")
}

fn permissions(request: &Request<'_>) -> pools::Permissions {
    let mut may = pools::Permissions::empty();
    if request.may_wait {
        may |= pools::Permissions::WAIT;
    }
    if request.may_grow {
        may |= pools::Permissions::GROW;
    }
    may
}

/// Runs `then` with a death as the interface has it.
fn with_death<R>(death: Death<'_>, then: impl FnOnce(types::Death<'_>) -> R) -> R {
    let entries = convert::entries(death.frontier().unwrap_or(FrontierRef::EMPTY));
    then(match death {
        Death::Idle => types::Death::Idle,
        Death::After(_) => types::Death::After(&entries),
        Death::Unknown => types::Death::Unknown,
    })
}

impl Pool for SandboxPool {
    fn id(&self) -> PoolId {
        self.id
    }

    fn properties(&self) -> PoolProperties {
        self.properties
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        let max = self.properties.max_request;
        if request.size > max && request.alignment.is_power_of_two() {
            return Err(PoolError::TooLarge { size: request.size, max });
        }
        let observed = self.observe();
        let entered = self.instance.enter(self.stand, |store, world| {
            let outcome = self.ask(store, world, request)?;
            let refused =
                matches!(outcome, Ok(pools::Outcome::Exhausted(_) | pools::Outcome::OverBudget(_)));
            let word = if refused {
                self.instance.crossed();
                let pools = world.pools().pool();
                Some(pools.call_observe(&mut *store, self.pool)?)
            } else {
                None
            };
            Ok((outcome, word, store.data().slabs_moved))
        });
        let (outcome, word, moved) = entered.ok_or(PoolError::Lost)?;
        self.pass_on(moved, word);
        match outcome.map_err(|error| self.error(error))? {
            pools::Outcome::Ready(pools::Held { key, slab, offset, origin }) => {
                let reservation = self.hold(key, SlabId::from_bits(slab), offset, request.size);
                self.emit_reserved(&reservation);
                Ok(Acquire::Ready { reservation, origin: convert::origin(origin) })
            }
            pools::Outcome::AfterWait(pools::HeldAfterWait { key, slab, offset, wait }) => {
                let Some(wait) = convert::frontier(&wait) else {
                    return Err(self.nonsense("a wait that is no frontier"));
                };
                let reservation = self.hold(key, SlabId::from_bits(slab), offset, request.size);
                self.emit_reserved(&reservation);
                Ok(Acquire::AfterWait { reservation, wait })
            }
            pools::Outcome::Exhausted(pools::Exhausted { observed: _, growth_required }) => {
                Ok(Acquire::Exhausted { observed, growth_required })
            }
            pools::Outcome::OverBudget(_) => Ok(Acquire::OverBudget { observed }),
        }
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        let entries = death.frontier().unwrap_or(FrontierRef::EMPTY).entries();
        if let Some(entry) = entries.iter().find(|entry| !self.progress.is_known(entry.axis)) {
            return Err(ReleaseError::unknown_axis(reservation, entry.axis));
        }
        if let (Some(returns), Some(death)) = (&self.returns, Returned::short(death)) {
            return self.return_later(returns, reservation, death);
        }
        with_death(death, |death| {
            self.give_back(reservation, |store, ledger, key| {
                ledger.call_release(store, self.ledger, key, death)
            })
        })
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        self.give_back(reservation, |store, ledger, key| {
            ledger.call_cancel(store, self.ledger, key)
        })
    }

    fn poll(&self) {
        // A component that is lost has said so, and there is nothing to poll.
        let _ = self.enter(|store, world| world.pools().pool().call_poll(store, self.pool));
        self.notification.signal_if_observed();
    }

    fn quiesce(&self) {
        let _ = self.enter(|store, world| world.authority().call_quiesce(store, self.pool));
        self.notification.signal_if_observed();
    }

    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        let trimmed = self.enter(|store, world| {
            let pools = world.pools().pool();
            pools.call_trim(store, self.pool, convert::trim_out(how))
        })?;
        self.notification.signal_if_observed();
        trimmed.map_err(|error| self.error(error))
    }

    fn stats(&self) -> PoolStats {
        let stats = self.enter(|store, world| world.pools().pool().call_stats(store, self.pool));
        self.notification.signal_if_observed();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(stats) = stats {
            *last = convert::pool_stats(stats);
        }
        *last
    }

    fn provider(&self) -> Option<&Arc<dyn SlabProvider>> {
        Some(&self.provider)
    }

    fn progress(&self) -> Option<&Arc<dyn Progress>> {
        Some(&self.progress)
    }

    fn notification(&self) -> &Arc<Notification> {
        &self.notification
    }

    fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        let words = self.enter(|store, world| world.inspect().call_snapshot(store, self.pool));
        self.notification.signal_if_observed();
        let Ok(words) = words else { return };
        if snapshot::unpack(&words, visit).is_none() {
            self.nonsense("a snapshot that cannot be read");
        }
    }
}

impl Drop for SandboxPool {
    fn drop(&mut self) {
        let _ = self.enter(|store, _| {
            self.ledger.resource_drop(&mut *store)?;
            self.pool.resource_drop(&mut *store)
        });
        // What the component could not give back, because it is lost, is given back here. The store is only
        // looked at, never entered, so a poisoned lock is no obstacle.
        let mut cell = self.instance.cell.lock().unwrap_or_else(PoisonError::into_inner);
        cell.store.data_mut().remove(self.stand);
    }
}
