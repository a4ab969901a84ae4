//! The owner's pool behind the trait [`Pool`].

use crate::local::{LocalError, LocalMemory};
use crate::member::Shared;
use core::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use strandline_core::fleet::CallError;
use strandline_core::fleet::message::{Answer, Ask, Lease, Op, OwnedDeath, Refusal, Source, Terms};
use strandline_core::inspect::BlockView;
use strandline_core::notification::{Notification, Observation};
use strandline_core::pool::{
    Acquire, Origin, Pool, PoolError, PoolId, PoolProperties, PoolStats, ReleaseError, Request,
    Reservation, ReuseProof,
};
use strandline_core::slab::{BufferUsage, MemoryType, SlabId, Trim};
use strandline_core::{Death, Frontier, FrontierRef, Progress};
use strandline_host_native::MmapBuffer;

/// The pool that the owner of a fleet lends.
///
/// An acquire asks the owner and blocks until it has answered, or until the lease is over: then it is [`PoolError::Lost`]. A release waits
/// for nobody. [`acquire_each`](Self::acquire_each) asks for many at once.
///
/// The owner alone knows its blocks and declares quiescence: `inspect` shows none, `quiesce`, `poll` and `trim` do nothing, and the counters
/// are those of this view.
pub struct RemotePool {
    id: PoolId,
    shared: Arc<Shared>,
    local: Option<Arc<LocalMemory>>,
    properties: PoolProperties,
    most: usize,
    message_bytes: usize,
    stats: Mutex<PoolStats>,
    asked: AtomicU64,
}

/// One thing of a [`RemotePool::batch`].
#[derive(Debug)]
pub enum Batched {
    /// A reservation is asked for.
    Acquire(Ask),
    /// A reservation is given back, and what its bytes wait for.
    Release(Reservation, OwnedDeath),
}

impl RemotePool {
    pub(crate) fn new(shared: Arc<Shared>, local: Option<Arc<LocalMemory>>, terms: &Terms) -> Self {
        let properties = PoolProperties {
            kind: "fleet",
            memory_type: MemoryType::from_bits_truncate(terms.memory_type),
            usage: BufferUsage::from_bits_truncate(terms.usage),
            alignment: terms.alignment,
            max_request: terms.max_request,
        };
        Self {
            id: PoolId::next(),
            shared,
            local,
            properties,
            most: terms.ops as usize,
            message_bytes: usize::try_from(terms.message_bytes).unwrap_or(usize::MAX),
            stats: Mutex::default(),
            asked: AtomicU64::new(0),
        }
    }

    /// Acquires for each request, in as few messages as the owner takes. One answer for each, in order.
    #[must_use]
    pub fn acquire_each(&self, requests: &[Request<'_>]) -> Vec<Result<Acquire, PoolError>> {
        requests.chunks(self.most.max(1)).flat_map(|chunk| self.ask(chunk)).collect()
    }

    /// Asks for reservations and gives others back, which the owner does in this order, in as few messages as it takes: one message for
    /// both is what makes a pair cost less than two questions. Blocks until all is answered; one answer for each reservation asked for.
    ///
    /// # Errors
    /// [`PoolError::Lost`] when this is no member any more or has no lease, [`PoolError::InvalidConfig`] for a reservation of another pool or a
    /// death that the owner does not take. What stood before in the batch may have been done; what stood in it is not given back here.
    pub fn batch(&self, batch: Vec<Batched>) -> Result<Vec<Result<Acquire, PoolError>>, PoolError> {
        let observed = self.shared.notification.observe();
        let mut ops = Vec::with_capacity(batch.len());
        for one in batch {
            ops.push(match one {
                Batched::Acquire(ask) => Op::Acquire { ask },
                Batched::Release(reservation, death) => {
                    let other = |_| PoolError::InvalidConfig("a reservation of another pool");
                    Op::Release { token: self.take_back(reservation).map_err(other)?, death }
                }
            });
        }
        let mut taken = Vec::new();
        let mut ops = ops.into_iter().peekable();
        while ops.peek().is_some() {
            let some: Vec<Op> = ops.by_ref().take(self.most.max(1)).collect();
            let asked: Vec<bool> = some.iter().map(|op| matches!(op, Op::Acquire { .. })).collect();
            for (answer, is_asked) in self.call(some)?.into_iter().zip(asked) {
                match answer {
                    answer if is_asked => taken.push(self.take(answer, observed)),
                    Answer::Done => {}
                    _ => return Err(PoolError::InvalidConfig("a death that the owner refuses")),
                }
            }
        }
        Ok(taken)
    }

    /// Tells the owner that others are going to touch a reservation's bytes until `frontier` is reached. They may once this has
    /// returned, and the reservation may be released before they have.
    ///
    /// # Errors
    /// [`PoolError::Lost`] when the owner did not take it: they may not.
    pub fn share(
        &self,
        reservation: &Reservation,
        frontier: FrontierRef<'_>,
    ) -> Result<(), PoolError> {
        let token = self
            .token(reservation)
            .ok_or(PoolError::InvalidConfig("a reservation of another pool"))?;
        let op = Op::Share { token, frontier: frontier.to_frontier() };
        match self.call(vec![op])?.pop() {
            Some(Answer::Done) => Ok(()),
            _ => Err(PoolError::Lost),
        }
    }

    /// The bytes of a reservation, where the owner's slabs are mapped: on the same machine, with
    /// [`MemberOptions::local`](crate::member::MemberOptions::local).
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn map(&self, reservation: &Reservation) -> Result<MmapBuffer, LocalError> {
        let local = self.local.as_ref().ok_or(LocalError::NotLocal)?;
        local.map(reservation.slab(), reservation.offset(), reservation.size())
    }

    /// Messages with requests that were sent.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// The token of a reservation of this pool.
    pub(crate) fn token(&self, reservation: &Reservation) -> Option<u64> {
        reservation.foreign_token().filter(|_| reservation.pool() == self.id)
    }

    /// The longest message that the owner takes.
    pub(crate) const fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    pub(crate) fn call(&self, ops: Vec<Op>) -> Result<Vec<Answer>, PoolError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.shared.call(ops) {
            Ok(Some(answers)) => Ok(answers),
            Ok(None) | Err(CallError::NoMember) => Err(PoolError::Lost),
            Err(_) => {
                Err(PoolError::InvalidConfig("a frontier of more entries than a fleet takes"))
            }
        }
    }

    fn ask(&self, requests: &[Request<'_>]) -> Vec<Result<Acquire, PoolError>> {
        // Before the search.
        let observed = self.shared.notification.observe();
        let ask = |request: &Request<'_>| Op::Acquire {
            ask: Ask {
                size: request.size,
                alignment: request.alignment,
                frontier: request.frontier.to_frontier(),
                may_wait: request.may_wait,
                may_grow: request.may_grow,
            },
        };
        match self.call(requests.iter().map(ask).collect()) {
            Ok(answers) => answers.into_iter().map(|answer| self.take(answer, observed)).collect(),
            Err(error) => requests.iter().map(|_| Err(error)).collect(),
        }
    }

    /// The owner's answer to a request, as a pool gives it.
    fn take(&self, answer: Answer, observed: Observation) -> Result<Acquire, PoolError> {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Answer::Ready { lease, source } => {
                stats.count(lease, source == Source::Fresh, false);
                let origin = match source {
                    Source::Fresh => Origin::Fresh,
                    Source::Dominance => Origin::Reused(ReuseProof::Dominance),
                    Source::Completion => Origin::Reused(ReuseProof::Completion),
                };
                Ok(Acquire::Ready { reservation: self.reservation(lease), origin })
            }
            Answer::AfterWait { lease, wait } => {
                stats.count(lease, false, true);
                Ok(Acquire::AfterWait { reservation: self.reservation(lease), wait })
            }
            Answer::Exhausted { growth_required } => {
                stats.exhausted += 1;
                Ok(Acquire::Exhausted { observed, growth_required })
            }
            Answer::OverBudget => {
                stats.over_budget += 1;
                Ok(Acquire::OverBudget { observed })
            }
            Answer::Refused { why: Refusal::Pool { error } } => Err(error.into()),
            _ => Err(PoolError::Lost),
        }
    }

    const fn reservation(&self, lease: Lease) -> Reservation {
        let slab = SlabId::from_bits(lease.slab);
        Reservation::foreign(self.id, slab, lease.offset, lease.size, lease.token)
    }

    /// The token of a reservation that is given back.
    fn take_back(&self, reservation: Reservation) -> Result<u64, ReleaseError> {
        match self.token(&reservation) {
            Some(token) => {
                let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
                stats.releases += 1;
                stats.live -= 1;
                stats.reserved_bytes -= reservation.size();
                stats.requested_bytes -= reservation.size();
                Ok(token)
            }
            None => Err(ReleaseError::other_pool(reservation)),
        }
    }
}

/// Counters of a view.
trait Count {
    fn count(&mut self, lease: Lease, is_fresh: bool, waits: bool);
}

impl Count for PoolStats {
    fn count(&mut self, lease: Lease, is_fresh: bool, waits: bool) {
        self.reserves += 1;
        self.live += 1;
        self.reserved_bytes += lease.size;
        self.requested_bytes += lease.size;
        self.peak_reserved_bytes = self.peak_reserved_bytes.max(self.reserved_bytes);
        self.peak_requested_bytes = self.peak_requested_bytes.max(self.requested_bytes);
        self.fresh += u64::from(is_fresh);
        self.waited += u64::from(waits);
    }
}

impl Pool for RemotePool {
    fn id(&self) -> PoolId {
        self.id
    }

    fn properties(&self) -> PoolProperties {
        self.properties
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        self.ask(core::slice::from_ref(request)).pop().unwrap_or(Err(PoolError::Lost))
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        if let Death::After(frontier) = death {
            let unknown = |axis| !self.shared.tracker.is_known(axis);
            let mut axes = frontier.entries().iter().map(|entry| entry.axis);
            if let Some(axis) = axes.find(|&axis| unknown(axis)) {
                return Err(ReleaseError::unknown_axis(reservation, axis));
            }
        }
        let death = shortened(death, &self.shared.tracker);
        let token = self.take_back(reservation)?;
        self.shared.give_back(Op::Release { token, death });
        Ok(())
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        let token = self.take_back(reservation)?;
        self.shared.give_back(Op::Cancel { token });
        Ok(())
    }

    fn poll(&self) {}

    fn quiesce(&self) {}

    fn trim(&self, _how: Trim) -> Result<u64, PoolError> {
        Ok(0)
    }

    fn stats(&self) -> PoolStats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> Option<&Arc<dyn Progress>> {
        None
    }

    fn notification(&self) -> &Arc<Notification> {
        &self.shared.notification
    }

    fn inspect(&self, _visit: &mut dyn FnMut(&BlockView<'_>)) {}
}

/// A death without what is reached; one of more entries than a message takes is unknown.
fn shortened(death: Death<'_>, progress: &impl Progress) -> OwnedDeath {
    let Death::After(frontier) = death else { return death.into() };
    let left = frontier.entries().iter().copied();
    let left = left.filter(|entry| !progress.has_reached(entry.axis, entry.epoch));
    match Frontier::from_entries(left) {
        Ok(frontier) if frontier.is_empty() => OwnedDeath::Idle,
        Ok(frontier) if frontier.len() <= strandline_core::fleet::message::MAX_ENTRIES => {
            OwnedDeath::After { frontier }
        }
        _ => OwnedDeath::Unknown,
    }
}

impl fmt::Debug for RemotePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemotePool({:?})", self.id)
    }
}
