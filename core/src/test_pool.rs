//! A small pool to test what stands on pools: equal units, a linear search, nothing clever.

use crate::inspect::{BlockState, BlockView};
use crate::notification::Notification;
use crate::pool::{
    Acquire, Origin, Pool, PoolError, PoolId, PoolProperties, PoolStats, ReleaseError, Request,
    Reservation, ReuseProof,
};
use crate::slab::{BufferUsage, MemoryType, SlabError, SlabId, SlabProvider, Trim};
use crate::sync::Mutex;
use crate::{Death, Frontier, FrontierRef, Progress};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// `None` is unknown.
type OwnedDeath = Option<Frontier>;

#[derive(Clone, Debug)]
enum Unit {
    Free(OwnedDeath),
    /// With the death it had before.
    Live(OwnedDeath),
}

pub(crate) struct TestPool {
    id: PoolId,
    pub(crate) properties: PoolProperties,
    progress: Arc<dyn Progress>,
    notification: Arc<Notification>,
    pub(crate) provider: Option<Arc<dyn SlabProvider>>,
    units: Mutex<Vec<Unit>>,
    /// Size of a reservation in units, by its first.
    live: Mutex<BTreeMap<u64, u64>>,
    /// This many calls of `acquire` from now on fail.
    pub(crate) failing: AtomicU64,
    pub(crate) asked: AtomicU64,
}

impl TestPool {
    /// `units` units of one byte.
    pub(crate) fn new(units: usize, progress: Arc<dyn Progress>) -> Self {
        Self {
            id: PoolId::next(),
            properties: PoolProperties {
                kind: "test",
                memory_type: MemoryType::HOST_VISIBLE,
                usage: BufferUsage::TRANSFER,
                alignment: 1,
                max_request: units as u64,
            },
            progress,
            notification: Arc::new(Notification::new(None)),
            provider: None,
            units: Mutex::new(vec![Unit::Free(Some(Frontier::new())); units]),
            live: Mutex::new(BTreeMap::new()),
            failing: AtomicU64::new(0),
            asked: AtomicU64::new(0),
        }
    }

    /// Reservations that are out.
    pub(crate) fn live(&self) -> usize {
        self.live.lock().len()
    }

    /// Units whose death nobody knows.
    pub(crate) fn tainted(&self) -> usize {
        self.units.lock().iter().filter(|unit| matches!(unit, Unit::Free(None))).count()
    }

    fn covered(&self, death: FrontierRef<'_>, by: FrontierRef<'_>) -> bool {
        death.entries().iter().all(|entry| {
            by.get(entry.axis) >= entry.epoch || self.progress.has_reached(entry.axis, entry.epoch)
        })
    }

    fn take(&self, units: &mut [Unit], first: usize, size: u64) -> Reservation {
        for unit in &mut units[first..first + size as usize] {
            let Unit::Free(death) = unit else { panic!("unit {first} is live") };
            *unit = Unit::Live(death.take());
        }
        self.live.lock().insert(first as u64, size);
        Reservation::foreign(self.id, SlabId::new(0, 0), first as u64, size, first as u64)
    }

    fn put(
        &self,
        reservation: Reservation,
        death: impl Fn(OwnedDeath) -> OwnedDeath,
    ) -> Result<(), ReleaseError> {
        let token = reservation.foreign_token().filter(|_| reservation.pool() == self.id);
        let Some(first) = token else { return Err(ReleaseError::other_pool(reservation)) };
        let size = self.live.lock().remove(&first).expect("given back twice");
        let first = first as usize;
        for unit in &mut self.units.lock()[first..first + size as usize] {
            let Unit::Live(earlier) = unit else { panic!("unit {first} is free") };
            *unit = Unit::Free(death(earlier.take()));
        }
        self.notification.signal_if_observed();
        Ok(())
    }
}

impl Pool for TestPool {
    fn id(&self) -> PoolId {
        self.id
    }

    fn properties(&self) -> PoolProperties {
        self.properties
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        request.validate()?;
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.failing.load(Ordering::Relaxed) > 0 {
            self.failing.fetch_sub(1, Ordering::Relaxed);
            return Err(PoolError::Provider(SlabError::Lost));
        }
        let observed = self.notification.observe();
        let mut units = self.units.lock();
        let mut pending = None;
        for first in 0..(units.len() + 1).saturating_sub(request.size as usize) {
            let mut join = Some(Frontier::new());
            for unit in &units[first..first + request.size as usize] {
                let Unit::Free(Some(death)) = unit else {
                    join = None;
                    break;
                };
                if let Some(join) = &mut join {
                    let _ = join.merge(death.as_ref());
                }
            }
            let Some(join) = join else { continue };
            if self.covered(join.as_ref(), request.frontier) {
                let reservation = self.take(&mut units, first, request.size);
                let origin = Origin::Reused(ReuseProof::Dominance);
                return Ok(Acquire::Ready { reservation, origin });
            }
            pending = pending.or(Some((first, join)));
        }
        match pending.filter(|_| request.may_wait) {
            Some((first, wait)) => {
                let reservation = self.take(&mut units, first, request.size);
                Ok(Acquire::AfterWait { reservation, wait })
            }
            None => Ok(Acquire::Exhausted { observed, growth_required: true }),
        }
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        self.put(reservation, |_| death.frontier().map(Frontier::from))
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        self.put(reservation, |earlier| earlier)
    }

    fn poll(&self) {}

    fn quiesce(&self) {
        for unit in self.units.lock().iter_mut() {
            if let Unit::Free(death) = unit {
                *death = Some(Frontier::new());
            }
        }
        self.notification.signal_if_observed();
    }

    fn trim(&self, _how: Trim) -> Result<u64, PoolError> {
        Ok(0)
    }

    fn stats(&self) -> PoolStats {
        let committed_bytes = self.units.lock().len() as u64;
        let live = self.live.lock();
        let reserved_bytes = live.values().sum();
        PoolStats {
            committed_bytes,
            reserved_bytes,
            requested_bytes: reserved_bytes,
            free_bytes: committed_bytes - reserved_bytes,
            live: live.len() as u64,
            ..PoolStats::default()
        }
    }

    fn provider(&self) -> Option<&Arc<dyn SlabProvider>> {
        self.provider.as_ref()
    }

    fn notification(&self) -> &Arc<Notification> {
        &self.notification
    }

    fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        for (offset, unit) in self.units.lock().iter().enumerate() {
            let state = match unit {
                Unit::Live(_) => BlockState::Live { requested: 1 },
                Unit::Free(None) => BlockState::Tainted,
                Unit::Free(Some(death)) if death.as_ref().is_satisfied(&*self.progress) => {
                    BlockState::Clean
                }
                Unit::Free(Some(death)) => BlockState::Pending(death.as_ref()),
            };
            visit(&BlockView { slab: SlabId::new(0, 0), offset: offset as u64, size: 1, state });
        }
    }
}

impl fmt::Debug for TestPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestPool").field("id", &self.id).finish_non_exhaustive()
    }
}
