//! From a block that was found to an answer, and what is done where none was: look further, wait, grow.

use super::counters::{Kind, Mine};
use super::{FixedBlockPool, Found};
use crate::inspect::Event;
use crate::notification::Observation;
use crate::pool::budget::Budget;
use crate::pool::{Acquire, Origin, PoolError, Request, Reservation, ReuseProof, Token};
use crate::slab::SlabId;
use crate::sync::atomic::Ordering;

impl FixedBlockPool {
    /// Sets bytes of the budget aside.
    #[inline]
    pub(super) fn charge(&self) -> bool {
        if self.budget == Budget::UNLIMITED {
            return true;
        }
        let stride = self.shape.stride;
        let more = |now| self.budget.allows(now, stride).then(|| now + stride);
        self.reserved.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Counts a requester as turned away, and looks once more. Either this look sees the refund of
    /// another who searched in vain, or that one sees the count and signals: all four accesses are
    /// sequentially consistent.
    #[cold]
    pub(super) fn charge_again(&self) -> bool {
        self.over_budget.fetch_add(1, Ordering::SeqCst);
        let charged = self.charge();
        if charged {
            self.over_budget.fetch_sub(1, Ordering::Relaxed);
        }
        charged
    }

    #[inline]
    pub(super) fn refund(&self) {
        if self.budget != Budget::UNLIMITED {
            self.reserved.fetch_sub(self.shape.stride, Ordering::SeqCst);
        }
    }

    #[inline]
    pub(super) fn reservation(&self, found: &Found, size: u64, mine: Mine<'_>) -> Reservation {
        self.requested[found.block as usize].store(size, Ordering::Relaxed);
        mine.acquired(found.kind, self.shape.stride - size, found.was_pending);
        mine.set_hint(found.block);
        let place = &self.places[(found.block >> self.shape.shift) as usize];
        let number = found.block & ((1 << self.shape.shift) - 1);
        let reservation = Reservation {
            pool: self.id,
            slab: SlabId::from_bits(place.id.load(Ordering::Relaxed)),
            offset: u64::from(number) * self.shape.stride,
            size,
            token: Token::Block(u64::from(found.source) << 32 | u64::from(found.block)),
        };
        if self.host.sink.is_some() {
            let Reservation { pool, slab, offset, size, .. } = reservation;
            self.emit(Event::Reserved { pool, slab, offset, size });
        }
        reservation
    }

    /// The slower ways to an answer.
    #[cold]
    pub(super) fn acquire_otherwise(
        &self,
        request: &Request<'_>,
        observed: Observation,
        multiple: u32,
    ) -> Result<Acquire, PoolError> {
        let mine = self.counters.mine();
        let hint = mine.hint();
        let mut observed = observed;
        let mut missed = false;
        loop {
            let mut moved = false;
            let found = self.find_by_progress(request.frontier, hint, multiple, &mut moved);
            if moved {
                // What is left of it is for others who wait.
                self.notification.signal_if_observed();
            }
            if let Some(found) = found {
                return Ok(self.ready(&found, request.size, mine));
            }
            if !missed {
                missed = true;
                self.missed.fetch_add(1, Ordering::Relaxed);
            }
            if request.may_wait
                && let Some((found, wait)) = self.find_soonest(request.frontier, hint, multiple)
            {
                if wait.is_empty() {
                    return Ok(self.ready(&found, request.size, mine));
                }
                let reservation = self.reservation(&found, request.size, mine);
                return Ok(Acquire::AfterWait { reservation, wait });
            }
            if request.may_grow
                && let Some(found) = self.grow()?
            {
                return Ok(self.ready(&found, request.size, mine));
            }
            if !moved {
                break;
            }
            // The signal was for this requester too: it looks again, from a later observation.
            observed = self.notification.observe();
            if let Some(found) = self.find_at_once(request.frontier, hint, multiple) {
                return Ok(self.ready(&found, request.size, mine));
            }
        }
        self.exhausted.fetch_add(1, Ordering::Relaxed);
        // Any slab could, if it had a free block.
        let growth_required = self.slabs.load(Ordering::Relaxed) == 0;
        Ok(Acquire::Exhausted { observed, growth_required })
    }

    #[inline]
    pub(super) fn ready(&self, found: &Found, size: u64, mine: Mine<'_>) -> Acquire {
        let origin = match found.kind {
            Kind::Fresh => Origin::Fresh,
            Kind::Dominated => Origin::Reused(ReuseProof::Dominance),
            Kind::Completed | Kind::Waited => Origin::Reused(ReuseProof::Completion),
        };
        Acquire::Ready { reservation: self.reservation(found, size, mine), origin }
    }
}
