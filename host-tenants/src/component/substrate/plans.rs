//! Pools that follow a plan, of components that have the interface `plans`.

use super::bindings::exports::strandline::substrate::plans;
use super::{SandboxPool, Substrate, convert};
use strandline_core::PoolError;
use strandline_core::pool::PoolHost;
use strandline_core::pool::planned::{Plan, PlanBlock, PlanError, PlannedPoolError, PlannedStats};
use strandline_core::pool::tlsf::TlsfPoolConfig;

/// The component is of the world `substrate`.
const NO_PLANS: PoolError = PoolError::InvalidConfig(
    "this component has no plans; target/component/strandline-plans.wasm, of `cargo xtask component`, has them",
);

impl Substrate {
    /// A pool that follows a plan, as [`PlannedPool`](strandline_core::pool::planned::PlannedPool): of a component that
    /// [has plans](crate::component::substrate::SubstrateModule::has_plans). Requests do not tell their streams, and the plan's are not compared.
    ///
    /// # Errors
    /// [`PlannedPoolError::Plan`]; [`PlannedPoolError::Pool`] as [`tlsf`](Self::tlsf), and when the component has no plans.
    pub fn planned(
        &self,
        host: PoolHost,
        config: TlsfPoolConfig,
        plan: &Plan,
    ) -> Result<SandboxPool, PlannedPoolError> {
        let config = convert::tlsf_config(&config);
        let blocks = blocks(plan);
        let sent =
            plans::Plan { bytes: plan.bytes(), prologue: plan.prologue() as u32, blocks: &blocks };
        SandboxPool::make(&self.instance, host, |store, world, host| match world.plans() {
            Some(plans) => {
                let made = plans.call_make_planned(store, host, config, sent)?;
                Ok(made.map_err(|error| planned_error(error, blocks.len())))
            }
            None => Ok(Err(NO_PLANS.into())),
        })
    }
}

impl SandboxPool {
    /// A step of the plan begins with the next request, as [`PlannedPool::begin_step`] says. False where the pool follows no plan, or the
    /// component is lost.
    ///
    /// [`PlannedPool::begin_step`]: strandline_core::pool::planned::PlannedPool::begin_step
    pub fn begin_step(&self) -> bool {
        let began = self.enter(|store, world| match world.plans() {
            Some(plans) => plans.call_begin_step(store, self.pool),
            None => Ok(false),
        });
        began.unwrap_or(false)
    }

    /// What came of the plan. `None` where the pool follows none, or the component is lost.
    #[must_use]
    pub fn planned_stats(&self) -> Option<PlannedStats> {
        let stats = self.enter(|store, world| match world.plans() {
            Some(plans) => plans.call_planned_stats_of(store, self.pool),
            None => Ok(None),
        });
        stats.ok().flatten().map(planned_stats)
    }
}

/// The blocks of a plan as the interface has them.
fn blocks(plan: &Plan) -> Vec<plans::PlanBlock> {
    let block = |block: &PlanBlock| {
        let &PlanBlock { offset, size, alignment, stream: _, until } = block;
        plans::PlanBlock { offset, size, alignment, until }
    };
    plan.blocks().iter().map(block).collect()
}

/// `blocks` is the number of blocks that were sent.
fn planned_error(error: plans::PlannedError, blocks: usize) -> PlannedPoolError {
    match error {
        plans::PlannedError::Plan(error) => plan_error(error, blocks).into(),
        plans::PlannedError::Pool(error) => {
            convert::pool_error(error).unwrap_or(PoolError::Lost).into()
        }
    }
}

const fn plan_error(error: plans::PlanError, blocks: usize) -> PlanError {
    use plans::PlanFault;
    let plans::PlanError { fault, block } = error;
    let block = block as usize;
    match fault {
        PlanFault::TooManyBlocks => PlanError::TooManyBlocks,
        PlanFault::TooManyBytes => PlanError::TooManyBytes,
        PlanFault::NoBytes => PlanError::NoBytes(block),
        PlanFault::Alignment => PlanError::Alignment(block),
        PlanFault::Unaligned => PlanError::Unaligned(block),
        PlanFault::Beyond => PlanError::Beyond(block),
        PlanFault::Until => PlanError::Until(block),
        PlanFault::Overlap => PlanError::Overlap(block),
        PlanFault::Granule => PlanError::Granule(block),
        PlanFault::Prologue => PlanError::Prologue(blocks),
    }
}

const fn planned_stats(stats: plans::PlannedStats) -> PlannedStats {
    let plans::PlannedStats { planned, strayed, occupied, resynchronised, steps } = stats;
    PlannedStats { planned, strayed, occupied, resynchronised, steps, replanned: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::substrate::{SubstrateConfig, SubstrateModule, find_component};
    use std::path::PathBuf;
    use std::sync::Arc;
    use strandline_core::NoProgress;
    use strandline_host_native::MmapSlabProvider;

    /// The core checks a [`Plan`] where it is made; a host of another language may send anything.
    #[test]
    fn hostile_plans_are_refused_with_the_reason() {
        let beside = || find_component().unwrap().with_file_name("strandline-plans.wasm");
        let named = std::env::var_os("STRANDLINE_PLANS_COMPONENT").map(PathBuf::from);
        let wasm = std::fs::read(named.unwrap_or_else(beside)).unwrap();
        let module = SubstrateModule::compile(&wasm, &SubstrateConfig::default()).unwrap();
        let substrate = module.instantiate().unwrap();
        let make = |bytes: u64, prologue: u32, all: &[(u64, u64, u64, u32)]| {
            let block = |&(offset, size, alignment, until)| plans::PlanBlock {
                offset,
                size,
                alignment,
                until,
            };
            let blocks: Vec<_> = all.iter().map(block).collect();
            let sent = plans::Plan { bytes, prologue, blocks: &blocks };
            let config = convert::tlsf_config(&TlsfPoolConfig::default());
            let provider = Arc::new(MmapSlabProvider::builder().build().unwrap());
            let host = PoolHost::new(provider, Arc::new(NoProgress));
            let made = SandboxPool::make(&substrate.instance, host, |store, world, host| {
                let made = world.plans().unwrap().call_make_planned(store, host, config, sent)?;
                Ok(made.map_err(|error| planned_error(error, blocks.len())))
            });
            made.map(drop).map_err(|error| match error {
                PlannedPoolError::Plan(error) => error,
                PlannedPoolError::Pool(error) => panic!("{error}"),
            })
        };
        let fits = (0, 256, 256, 2);
        assert_eq!(make(512, 0, &[fits, (256, 256, 256, 2)]), Ok(()));
        assert_eq!(make(1 << 63, 0, &[]), Err(PlanError::TooManyBytes));
        assert_eq!(make(512, 0, &[fits, (256, 0, 256, 2)]), Err(PlanError::NoBytes(1)));
        assert_eq!(make(512, 0, &[fits, (256, 8, 3, 2)]), Err(PlanError::Alignment(1)));
        assert_eq!(make(512, 0, &[fits, (8, 8, 256, 2)]), Err(PlanError::Unaligned(1)));
        assert_eq!(make(512, 0, &[fits, (256, 257, 256, 2)]), Err(PlanError::Beyond(1)));
        assert_eq!(make(512, 0, &[fits, (1 << 63, 1 << 63, 1, 2)]), Err(PlanError::Beyond(1)));
        assert_eq!(make(512, 0, &[fits, (256, 8, 256, 1)]), Err(PlanError::Until(1)));
        assert_eq!(make(512, 0, &[fits, (256, 8, 256, 3)]), Err(PlanError::Until(1)));
        assert_eq!(make(512, 0, &[fits, (128, 64, 64, 2)]), Err(PlanError::Overlap(1)));
        assert_eq!(make(512, 0, &[fits, (257, 8, 1, 2)]), Err(PlanError::Granule(1)));
        assert_eq!(make(512, 2, &[fits]), Err(PlanError::Until(0)));
        assert_eq!(make(512, 3, &[(0, 8, 256, 1)]), Err(PlanError::Prologue(1)));
        assert!(substrate.fault().is_none(), "none of them trapped");
    }
}
