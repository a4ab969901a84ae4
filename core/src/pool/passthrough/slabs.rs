//! Slabs from the provider, and back to it.

use super::{PassthroughPool, Slot, State};
use crate::inspect::Event;
use crate::pool::counters::Kind;
use crate::pool::{PoolError, Request, Reservation};
use crate::slab::{Grant, Slab, SlabError};
use crate::sync::atomic::Ordering;

impl PassthroughPool {
    /// A slab of so many bytes from the provider. What is clean may be just what the provider lacks.
    fn grant(&self, bytes: u64) -> Result<Option<Slab>, SlabError> {
        let provider = &self.host.provider;
        if let Grant::Slab(slab) = provider.acquire(bytes)? {
            return Ok(Some(slab));
        }
        self.refresh();
        if self.give_back().map_err(|(error, _)| error)? == 0 {
            return Ok(None);
        }
        match provider.acquire(bytes)? {
            Grant::Slab(slab) => Ok(Some(slab)),
            Grant::NoCapacity => Ok(None),
        }
    }

    /// Makes a promised slab a reservation; `None` when the provider has none. `turned_away` is how many others the budget
    /// had refused when it was promised.
    pub(super) fn grow(
        &self,
        bytes: u64,
        request: &Request<'_>,
        turned_away: u64,
    ) -> Result<Option<Reservation>, PoolError> {
        let granted = self.grant(bytes);
        let (reservation, unused) = {
            let state = &mut *self.state.lock();
            state.promised -= bytes;
            match granted {
                Ok(Some(slab)) if slab.size >= request.size && self.allows(state, slab.size) => {
                    (self.take_in(state, slab, bytes, request), None)
                }
                ref other => {
                    state.held -= 1;
                    (None, other.as_ref().ok().copied().flatten())
                }
            }
        };
        if let Some(reservation) = reservation {
            let &Reservation { pool, slab, .. } = &reservation;
            let size = granted.ok().flatten().map_or(bytes, |slab| slab.size);
            self.emit(Event::SlabAcquired { pool, slab, size });
            return Ok(Some(reservation));
        }
        // Whoever comes later sees the bytes back in the budget; those before must be told.
        if self.counters.over_budget.load(Ordering::Relaxed) != turned_away {
            self.notification.signal_if_observed();
        }
        if let Some(slab) = unused {
            self.host.provider.release(slab.id)?;
            if slab.size < request.size {
                return Err(SlabError::InvalidSize { size: bytes }.into());
            }
        }
        granted?;
        Ok(None)
    }

    /// A new slab becomes live.
    fn take_in(
        &self,
        state: &mut State,
        slab: Slab,
        bytes: u64,
        request: &Request<'_>,
    ) -> Option<Reservation> {
        let class = state.place_of(bytes);
        self.counters.committed.add(slab.size);
        self.counters.slabs.add(1);
        let slot = Some(Slot { slab, class, requested: request.size, live: true, used: false });
        let block = if let Some(block) = state.vacant.pop() {
            state.slots[block as usize] = slot;
            block
        } else {
            state.slots.push(slot);
            state.slots.len() as u32 - 1
        };
        state.kept(class).slabs += 1;
        self.revive(state, block, Kind::Fresh, false, request)
    }

    /// Gives clean slabs back; returns the bytes, also those before a failure.
    pub(super) fn give_back(&self) -> Result<u64, (SlabError, u64)> {
        let mut bytes = 0;
        loop {
            let next = {
                let state = &mut *self.state.lock();
                let found = state.classes.words().find_map(|place| {
                    let place = place as usize;
                    Some((place, state.kept.get_mut(place)?.clean.pop()?))
                });
                found.and_then(|(place, block)| {
                    Some((place, block, state.slots[block as usize].take()?))
                })
            };
            let Some((place, block, slot)) = next else { break };
            let released = self.host.provider.release(slot.slab.id);
            let state = &mut *self.state.lock();
            if let Err(error) = released {
                state.slots[block as usize] = Some(slot);
                state.kept[place].clean.push(block);
                return Err((error, bytes));
            }
            state.forget(block, slot.class);
            bytes += slot.slab.size;
            self.counters.committed.sub(slot.slab.size);
            self.counters.slabs.sub(1);
            self.emit(Event::SlabReleased { pool: self.id, slab: slot.slab.id });
        }
        if bytes != 0 {
            // The provider has room again.
            self.notification.signal_if_observed();
        }
        Ok(bytes)
    }
}
