//! The pools that a trace is played through: one, or several that share the sizes between them.
//!
//! ```text
//!   request of n bytes ─▶ first pool whose `largest` ≥ n ─▶ Arc<dyn Pool>
//!   stats ◀── sum over the pools
//! ```

use std::sync::Arc;
use strandline_core::inspect::BlockView;
use strandline_core::{Pool, PoolStats};

/// A pool and what is sent to it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The pool.
    pub pool: Arc<dyn Pool>,
    /// Requests of up to this many bytes.
    pub largest: u64,
}

/// Pools in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    members: Vec<Member>,
}

impl Pools {
    /// One pool for everything.
    #[must_use]
    pub fn one(pool: Arc<dyn Pool>) -> Self {
        Self { members: vec![Member { pool, largest: u64::MAX }] }
    }

    /// Pools by the sizes they serve, the smallest first; order among equals is kept.
    #[must_use]
    pub fn by_size(mut members: Vec<Member>) -> Self {
        members.sort_by_key(|member| member.largest);
        Self { members }
    }

    /// The pools.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Which pool serves a request of `size` bytes; none when no pool takes requests that large.
    #[inline]
    #[must_use]
    pub fn route(&self, size: u64) -> Option<usize> {
        self.members.iter().position(|member| size <= member.largest)
    }

    /// A pool by its number.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&dyn Pool> {
        self.members.get(index).map(|member| &*member.pool)
    }

    /// What kind of pool it is; `"set"` for several.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.members[..] {
            [one] => one.pool.properties().kind,
            _ => "set",
        }
    }

    /// The sum of the pools' counters. The peaks are sums of peaks, which need not be of one moment. O(pools).
    #[inline]
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let [first, rest @ ..] = &self.members[..] else { return PoolStats::default() };
        let mut sum = first.pool.stats();
        for member in rest {
            add(&mut sum, &member.pool.stats());
        }
        sum
    }

    /// Visits the blocks of all pools, pool by pool.
    pub fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        for member in &self.members {
            member.pool.inspect(visit);
        }
    }
}

fn add(sum: &mut PoolStats, more: &PoolStats) {
    sum.reserved_bytes += more.reserved_bytes;
    sum.requested_bytes += more.requested_bytes;
    sum.free_bytes += more.free_bytes;
    sum.pending_bytes += more.pending_bytes;
    sum.tainted_bytes += more.tainted_bytes;
    sum.committed_bytes += more.committed_bytes;
    sum.peak_reserved_bytes += more.peak_reserved_bytes;
    sum.peak_requested_bytes += more.peak_requested_bytes;
    sum.peak_committed_bytes += more.peak_committed_bytes;
    sum.peak_pending_bytes += more.peak_pending_bytes;
    sum.slabs += more.slabs;
    sum.live += more.live;
    sum.reserves += more.reserves;
    sum.releases += more.releases;
    sum.fresh += more.fresh;
    sum.dominated += more.dominated;
    sum.completed += more.completed;
    sum.waited += more.waited;
    sum.missed += more.missed;
    sum.exhausted += more.exhausted;
    sum.over_budget += more.over_budget;
    sum.tainted += more.tainted;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Streams;
    use crate::testing::{FirstFit, Flaw, Heap};
    use strandline_core::pool::PoolHost;
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
        let pools = Pools::by_size(vec![member(1 << 16), member(4096), member(256)]);
        assert_eq!(pools.kind(), "set");
        for (size, pool) in [
            (1, Some(0)),
            (256, Some(0)),
            (257, Some(1)),
            (1 << 16, Some(2)),
            ((1 << 16) + 1, None),
        ] {
            assert_eq!(pools.route(size), pool, "{size}");
        }
        for (pool, size) in [(0, 100), (2, 5000)] {
            let answer = pools.get(pool).unwrap().acquire(&Request::new(size).or_grow());
            assert!(matches!(answer, Ok(Acquire::Ready { .. })));
        }
        let stats = pools.stats();
        assert_eq!((stats.slabs, stats.reserves, stats.requested_bytes), (2, 2, 5100));
        assert_eq!(stats.committed_bytes, 2 << 16);
    }
}
