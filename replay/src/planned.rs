//! Pools that follow a plan: a [`Maker`] whose TLSF pools are planned ones.
//!
//! ```text
//!   plan ─▶ Planned ─▶ build makes the pools with it ─▶ replay ─▶ what came of the plan
//! ```

use crate::build::{DEFAULT_GRANULE, Maker, Native};
use crate::config::{Config, Kind, PoolSpec};
use crate::size::Bytes;
use std::sync::{Arc, Mutex, PoisonError};
use strandline_core::pool::PoolHost;
use strandline_core::pool::arena::ArenaPoolConfig;
use strandline_core::pool::fixed_block::FixedBlockPoolConfig;
use strandline_core::pool::passthrough::PassthroughPoolConfig;
use strandline_core::pool::planned::{PlannedPool, PlannedPoolError, PlannedStats};
use strandline_core::pool::tlsf::TlsfPoolConfig;
use strandline_core::{Pool, PoolError};

pub use strandline_core::pool::planned::{Plan, PlanBlock};

/// See the [module](self).
#[derive(Debug)]
pub struct Planned {
    plan: Plan,
    made: Mutex<Option<Arc<PlannedPool>>>,
}

impl Planned {
    /// Pools are to follow this plan.
    #[must_use]
    pub const fn new(plan: Plan) -> Self {
        Self { plan, made: Mutex::new(None) }
    }

    /// What came of the plan in the pool that was made last; `None` before one was.
    #[must_use]
    pub fn stats(&self) -> Option<PlannedStats> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.as_ref().map(|pool| pool.planned_stats())
    }

    /// One pool for the plan, of a granule that all its offsets are multiples of: as large as pools have by themselves, at most.
    #[must_use]
    pub fn config(&self, capacity: Option<Bytes>, budget: Option<Bytes>) -> Config {
        let blocks = self.plan.blocks().iter();
        let all = blocks.fold(DEFAULT_GRANULE, |all, block| all | block.offset);
        let granule = Some(Bytes(1 << all.trailing_zeros()));
        let pools = vec![PoolSpec { granule, ..PoolSpec::of(Kind::Tlsf) }];
        Config { capacity, budget, pools }
    }

    /// Why this pool, for people.
    #[must_use]
    pub fn choice(&self) -> String {
        let blocks = self.plan.blocks().len();
        let word = if blocks == 1 { "block" } else { "blocks" };
        format!("a plan of {blocks} {word} in {}", Bytes(self.plan.bytes()).at_least())
    }

    /// Adds what came of the plan to a report, as [`Report::to_json`](crate::report::Report::to_json) gives it: keys of its `pool`.
    /// Nothing before a pool was made.
    pub fn tell(&self, report: &mut serde_json::Value) {
        let pool = report.get_mut("pool").and_then(serde_json::Value::as_object_mut);
        let (Some(pool), Some(stats)) = (pool, self.stats()) else { return };
        pool.insert("planned".to_owned(), stats.planned.into());
        pool.insert("strayed".to_owned(), stats.strayed.into());
        pool.insert("occupied".to_owned(), stats.occupied.into());
        pool.insert("resynchronised".to_owned(), stats.resynchronised.into());
        pool.insert("plan_hit_share".to_owned(), stats.plan_hit_share().into());
    }

    /// The pool that was made last is told that a step begins.
    pub fn begin_step(&self) {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(pool) = made {
            pool.begin_step();
        }
    }
}

impl Maker for Planned {
    fn tlsf(&self, host: PoolHost, config: TlsfPoolConfig) -> Result<Arc<dyn Pool>, PoolError> {
        let pool = PlannedPool::new(host, config, &self.plan).map_err(|error| match error {
            PlannedPoolError::Pool(error) => error,
            PlannedPoolError::Plan(_) => PoolError::InvalidConfig(
                "the plan's offsets must be multiples of the pool's granule, and below 2^32 of them",
            ),
        })?;
        let pool = Arc::new(pool);
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(pool.clone());
        Ok(pool)
    }

    fn fixed_block(
        &self,
        host: PoolHost,
        config: FixedBlockPoolConfig,
    ) -> Result<Arc<dyn Pool>, PoolError> {
        Native.fixed_block(host, config)
    }

    fn arena(&self, host: PoolHost, config: ArenaPoolConfig) -> Result<Arc<dyn Pool>, PoolError> {
        Native.arena(host, config)
    }

    fn passthrough(
        &self,
        host: PoolHost,
        config: PassthroughPoolConfig,
    ) -> Result<Arc<dyn Pool>, PoolError> {
        Native.passthrough(host, config)
    }
}
