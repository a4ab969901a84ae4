//! The memory of a plan over a provider of elastic slabs.
//!
//! ```text
//!   the plan's slab   │ bytes of the plan: committed first │ where strays grow ─────────────▶ end of the addresses
//!
//!   a stray needs more     clean granules anywhere become holes, also in the plan's bytes, and the stray has their memory
//!   a step begins          what strays left behind, outside the plan's bytes, fills the holes in them again
//! ```
//!
//! # Cost
//! A step's beginning looks at the first hole of the plan's slab; where there are holes, at the clean blocks for each.

use super::TlsfPool;
use super::holes::{Scope, Site};
use super::state::{Asked, State};
use crate::offset::tlsf::{BlockId, RegionId};
use crate::pool::PoolError;
use crate::sync::MutexGuard;

impl State {
    /// A hole in transit for so many bytes at the start of a region that is one hole. `None` when no more blocks can be numbered.
    fn lift_from_start(&mut self, region: RegionId, bytes: u64) -> Option<BlockId> {
        let (holes, heap) = self.elastic()?;
        let units =
            bytes.div_ceil(holes.granule).checked_next_multiple_of(u64::from(holes.step))?;
        let (hole, to) = (holes.position(region, 0), u32::try_from(units).ok()?);
        holes.lift(heap, Site { hole, region, start: 0, from: 0, to })
    }

    /// The request is the first of a step that the plan has.
    #[inline(always)]
    pub(super) fn begins_step(&mut self, asked: &Asked<'_>) -> bool {
        let (Some(key), Some(follower)) = (asked.key, self.follower.as_mut()) else { return false };
        follower.takes_up_step(key)
    }

    /// The first hole among the bytes of the plan, as far as it lies there: its place, and the end of the plan, in granules.
    fn plan_lacks(&mut self) -> Option<(Site, u32)> {
        let (region, bytes) = self.follower.as_ref()?.housed()?;
        let (holes, _) = self.elastic()?;
        let end = u32::try_from(bytes.div_ceil(holes.granule)).ok()?;
        let end = end.checked_next_multiple_of(holes.step)?;
        let at = holes.list.iter().position(|hole| hole.region == region && hole.start < end)?;
        let hole = holes.list[at];
        let to = hole.end().min(end);
        Some((Site { hole: at, region, start: hole.start, from: hole.start, to }, end))
    }
}

impl TlsfPool {
    /// Addresses for a plan of so many bytes, and the memory for them if the provider has that much. Whether the plan has a slab now.
    pub(super) fn house<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        wanted: u64,
    ) -> Result<(MutexGuard<'a, State>, bool), PoolError> {
        let (after, region) = self.reserve_for(state, wanted)?;
        state = after;
        let Some(region) = region else { return Ok((state, false)) };
        let Some(part) = state.lift_from_start(region, wanted) else { return Ok((state, true)) };
        let Some(&into) = state.transits(&[part]).first() else { return Ok((state, true)) };
        self.unlock(state);
        let committed = self.host.provider.commit(into.slab, into.offset, into.len);
        state = self.state.lock();
        self.settle(&mut state);
        state.land(part, committed == Ok(true));
        state.note_committed();
        committed?;
        Ok((state, true))
    }

    /// Fills the holes among the plan's bytes with the memory of what is clean outside them. What a provider refuses stays as it is.
    pub(super) fn restore_plan<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        while let Some((mut site, end)) = state.plan_lacks() {
            let Some((holes, _)) = state.elastic() else { break };
            let (granule, lacks) = (holes.granule, u64::from(site.to - site.from));
            let out = state.hollow(lacks * granule, None, Scope::Outside(site.region, end));
            let given: u64 = out.iter().map(|transit| transit.len / granule).sum();
            // Holes in transit are in no list, so the place is still the same.
            site.to = site.from + given.min(lacks) as u32;
            let part = match state.elastic() {
                Some((holes, heap)) if given != 0 => holes.lift(heap, site),
                _ => None,
            };
            let into = part.and_then(|part| state.transits(&[part]).first().copied());
            self.unlock(state);
            let (gone, _) = self.decommit(&out);
            let arrived = gone.iter().all(|&gone| gone);
            let committed = into.is_some_and(|into| {
                arrived && self.host.provider.commit(into.slab, into.offset, into.len) == Ok(true)
            });
            state = self.state.lock();
            self.arrive(&mut state, &out, &gone);
            if let Some(part) = part {
                state.land(part, committed);
            }
            if !committed {
                break;
            }
        }
        state
    }
}
