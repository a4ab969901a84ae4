//! What the store of an instance holds: what each pool stands on, and which slabs each pool has.
//!
//! ```text
//!   State ── stands: [ provider, progress, sink, slabs held ]     one for each pool
//!                          ▲ current: whose call is running
//! ```
//!
//! Slabs are written down here as they pass through the imports, so that they can be given back without
//! asking the component: when it has trapped, nothing is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_core::inspect::{Event, EventSink};
use strandline_core::pool::{PoolHost, PoolId};
use strandline_core::{Progress, SlabId, SlabProvider};
use wasmtime::StoreLimits;
use wasmtime::component::ResourceTable;

/// What one pool stands on.
pub(super) struct Stand {
    pub(super) pool: PoolId,
    pub(super) provider: Arc<dyn SlabProvider>,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) sink: Option<Arc<dyn EventSink>>,
    pub(super) held: BTreeSet<SlabId>,
}

impl Stand {
    pub(super) fn emit(&self, event: &Event) {
        if let Some(sink) = &self.sink {
            sink.event(event);
        }
    }

    /// Gives back every slab that the pool still has.
    fn clear(&mut self) {
        for slab in std::mem::take(&mut self.held) {
            // Nothing can be done about a provider that fails now.
            let _ = self.provider.release(slab);
            self.emit(&Event::SlabReleased { pool: self.pool, slab });
        }
    }
}

/// The data of a store.
pub(super) struct State {
    pub(super) table: ResourceTable,
    pub(super) limits: StoreLimits,
    stands: Vec<Option<Stand>>,
    /// Whose call is running.
    pub(super) current: usize,
    /// A slab came or went in the running call.
    pub(super) slabs_moved: bool,
}

impl State {
    pub(super) fn new(limits: StoreLimits, handles: usize) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(handles);
        Self { table, limits, stands: Vec::new(), current: 0, slabs_moved: false }
    }

    /// Adds what a new pool stands on; returns its number.
    pub(super) fn add(&mut self, pool: PoolId, host: &PoolHost) -> usize {
        let stand = Stand {
            pool,
            provider: host.provider.clone(),
            progress: host.progress.clone(),
            sink: host.sink.clone(),
            held: BTreeSet::new(),
        };
        match self.stands.iter().position(Option::is_none) {
            Some(vacant) => {
                self.stands[vacant] = Some(stand);
                vacant
            }
            None => {
                self.stands.push(Some(stand));
                self.stands.len() - 1
            }
        }
    }

    /// A pool is gone: whatever slabs it did not give back go back now.
    pub(super) fn remove(&mut self, stand: usize) {
        if let Some(mut gone) = self.stands.get_mut(stand).and_then(Option::take) {
            gone.clear();
        }
    }

    pub(super) fn stand(&self, number: usize) -> Option<&Stand> {
        self.stands.get(number)?.as_ref()
    }

    pub(super) fn stand_mut(&mut self, number: usize) -> Option<&mut Stand> {
        self.stands.get_mut(number)?.as_mut()
    }
}
