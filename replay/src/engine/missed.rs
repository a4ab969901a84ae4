//! Whether a pool refused, grew or had someone wait beside memory that would have served.
//!
//! The oracle is told of slabs as they change. Of elastic ones it is told which ranges have memory, by who keeps count of that: then
//! growth beside free memory is missed, and so is a refusal where the provider would have put memory in.
//!
//! # Cost
//! Where slabs came or went, a walk over the pool's blocks; O(log n) for each time that memory was put into an elastic one or taken out.

use super::Engine;
use crate::build::Change;
use crate::oracle::{Demand, Room, Slabs};
use std::collections::BTreeMap;
use strandline_core::Acquire;
use strandline_core::pool::{Pool, PoolId};

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) stream: u32,
    /// Bytes.
    pub(super) size: u64,
    /// The pool might grow for it.
    pub(super) may_grow: bool,
}

impl Engine {
    /// Looks, after an answer that is not simply memory at hand, whether there was a range that would have served, unless that is
    /// known `already`; then brings the slabs up to date.
    pub(super) fn note_missed(
        &mut self,
        asked: Asked,
        pool: PoolId,
        answer: &Acquire,
        already: bool,
    ) -> bool {
        let Some(pool) = self.pools.set().get(pool).cloned() else { return already };
        let stats = self.pools.stats();
        let changes = self.committed.as_ref().map_or_else(Vec::new, |by| by.changes());
        let slabs = [stats.slabs, stats.committed_bytes];
        let moved = slabs != self.slabs || !changes.is_empty();
        let kind = pool.properties().kind;
        let is_elastic = pool.provider().is_some_and(|provider| provider.elastic().is_some());
        let in_question = match answer {
            // What a planned pool moves to its plan's bytes where a step begins is no growth.
            Acquire::Ready { .. } if kind == "planned" && slabs[1] <= self.slabs[1] => false,
            // Free ranges of an elastic slab may have no memory, which somebody has to know.
            Acquire::Ready { .. } => moved && (!is_elastic || self.committed.is_some()),
            // That of a TLSF pool is chosen to keep memory compact, ready or not.
            Acquire::AfterWait { .. } => kind != "tlsf",
            Acquire::Exhausted { .. } => true,
            Acquire::OverBudget { .. } => false,
        };
        // One that has a slab for each request keeps nothing to be searched.
        let searched = kind != "passthrough";
        let missed = in_question && searched && !already && {
            let demand = Demand {
                pool: pool.id(),
                footprint: pool.footprint(asked.size, 1),
                granule: pool.properties().alignment.max(1),
                whole_slabs: kind == "arena",
            };
            let (known, reached) = (self.streams.frontier(asked.stream), self.streams.tracker());
            let refused = matches!(answer, Acquire::Exhausted { .. }) && asked.may_grow;
            let room = self.committed.as_ref().filter(|_| refused && is_elastic);
            let room = room.map(|by| Room { bytes: by.room(), step: by.step() });
            self.oracle.missed(&demand, known, reached)
                || room.is_some_and(|room| self.oracle.missed_growth(&demand, room, known, reached))
        };
        if moved && searched && !(is_elastic && slabs[0] == self.slabs[0]) {
            self.update_slabs(&*pool);
        }
        for Change { slab, start, end, put } in changes {
            self.oracle.committed(slab, start, end, put);
        }
        self.slabs = slabs;
        missed
    }

    /// Tells the oracle which slabs a pool has.
    fn update_slabs(&mut self, pool: &dyn Pool) {
        let mut sizes = BTreeMap::new();
        pool.inspect(&mut |block| {
            let end: &mut u64 = sizes.entry(block.slab).or_default();
            *end = (*end).max(block.offset + block.size);
        });
        let known = self.oracle.slabs_of(pool.id());
        let mut new = Vec::new();
        for (slab, size) in &mut sizes {
            let addresses = self.committed.as_ref().and_then(|by| by.addresses(*slab));
            if let Some(addresses) = addresses {
                *size = addresses;
                if !known.contains(slab) {
                    new.push((*slab, addresses));
                }
            }
        }
        self.oracle.slabs(&Slabs { pool: pool.id(), sizes });
        // It has no memory at first.
        for (slab, addresses) in new {
            self.oracle.committed(slab, 0, addresses, false);
        }
    }
}
