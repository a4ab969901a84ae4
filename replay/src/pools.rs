//! The pools that a trace is played through: core's pool set, and what a report asks of all of them together.
//!
//! ```text
//!   request of n bytes ─▶ PoolSet: the first pool whose sizes take n ─▶ acquire
//!   stats ◀── sum over the pools
//! ```
//!
//! Cost: routing is one pass over the pools; a release finds its pool by a binary search.

use std::sync::Arc;
use strandline_core::inspect::BlockView;
use strandline_core::pool_set::{PoolSet, PoolSetError, Registration};
use strandline_core::{Pool, PoolStats};

/// A pool and what is sent to it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The pool.
    pub pool: Arc<dyn Pool>,
    /// Requests of up to this many bytes.
    pub largest: u64,
}

/// Pools that share the sizes between them.
#[derive(Debug, Default)]
pub struct Pools {
    set: PoolSet,
}

impl Pools {
    /// One pool for everything.
    ///
    /// # Errors
    /// It takes no size at all.
    pub fn one(pool: Arc<dyn Pool>) -> Result<Self, PoolSetError> {
        Self::by_size(vec![Member { pool, largest: u64::MAX }])
    }

    /// Pools by the sizes they serve: a request goes to the one with the smallest `largest` that takes it, and among equals to
    /// the one named first.
    ///
    /// # Errors
    /// A pool takes no size at all.
    pub fn by_size(mut members: Vec<Member>) -> Result<Self, PoolSetError> {
        members.sort_by_key(|member| member.largest);
        let mut set = PoolSet::new();
        for Member { pool, largest } in members {
            // Of one priority: the set keeps the order.
            set.add(pool, Registration::new().sizes(1, largest))?;
        }
        Ok(Self { set })
    }

    /// The pools, and the way to them.
    #[inline]
    #[must_use]
    pub const fn set(&self) -> &PoolSet {
        &self.set
    }

    /// What kind of pool it is; `"set"` for several.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.set.pools() {
            [one] => one.properties().kind,
            _ => "set",
        }
    }

    /// The sum of the pools' counters. The peaks are sums of peaks, which need not be of one moment. O(pools).
    #[inline]
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        match self.set.pools() {
            [one] => one.stats(),
            _ => self.set.stats().pools,
        }
    }

    /// Visits the blocks of all pools, pool by pool.
    pub fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        for pool in self.set.pools() {
            pool.inspect(visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Streams;
    use crate::testing::{FirstFit, Flaw, Heap};
    use strandline_core::pool::PoolHost;
    use strandline_core::pool_set::{Need, SetAcquire};
    use strandline_core::{Acquire, Request};

    #[test]
    fn sizes_decide_and_stats_add_up() {
        let heap = Arc::new(Heap::new(1 << 20));
        let progress = Streams::new(1, 0, None).unwrap().progress();
        let member = |largest| Member {
            pool: Arc::new(FirstFit::new(
                PoolHost::new(heap.clone(), progress.clone()),
                1 << 16,
                Flaw::None,
            )),
            largest,
        };
        // The larger ones first: the order of the list does not matter.
        let members = [1 << 16, 4096, 256].map(member);
        let ids = [2, 1, 0].map(|i: usize| members[i].pool.id());
        let pools = Pools::by_size(members.into()).unwrap();
        assert_eq!(pools.kind(), "set");
        for (size, pool) in [
            (1, Some(0)),
            (256, Some(0)),
            (257, Some(1)),
            (1 << 16, Some(2)),
            ((1 << 16) + 1, None),
        ] {
            let routed = pools.set().route(&Need::new(size)).pool().map(|pool| pool.id());
            assert_eq!(routed, pool.map(|pool: usize| ids[pool]), "{size}");
        }
        for (pool, size) in [(0, 100), (2, 5000)] {
            let request = Request::new(size).or_grow();
            let Ok(SetAcquire::Routed { pool: asked, answer: Acquire::Ready { .. } }) =
                pools.set().acquire(&Need::new(size), &request)
            else {
                panic!("{size}")
            };
            assert_eq!(asked.id(), ids[pool]);
        }
        let stats = pools.stats();
        assert_eq!((stats.slabs, stats.reserves, stats.requested_bytes), (2, 2, 5100));
        assert_eq!(stats.committed_bytes, 2 << 16);
    }
}
