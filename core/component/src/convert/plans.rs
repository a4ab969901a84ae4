//! Plans, of the world `substrate-with-plans`.

use super::{pool_error, position};
use crate::bindings::exported::plans;
use strandline_core::pool::planned::{Plan, PlanBlock, PlanError, PlannedPoolError, PlannedStats};

/// The plan that a list of blocks is.
pub(crate) fn plan(plan: &plans::Plan) -> Result<Plan, PlanError> {
    let plans::Plan { bytes, prologue, blocks } = plan;
    let block = |block: &plans::PlanBlock| {
        let &plans::PlanBlock { offset, size, alignment, until } = block;
        // A request of the interface does not say its stream.
        PlanBlock { offset, size, alignment, stream: 0, until }
    };
    Plan::new(*bytes, blocks.iter().map(block).collect())?.with_prologue(*prologue as usize)
}

pub(crate) fn planned_error(error: PlannedPoolError) -> plans::PlannedError {
    match error {
        PlannedPoolError::Plan(error) => plans::PlannedError::Plan(plan_error(error)),
        PlannedPoolError::Pool(error) => plans::PlannedError::Pool(pool_error(error)),
    }
}

const fn plan_error(error: PlanError) -> plans::PlanError {
    use plans::PlanFault;
    let (fault, block) = match error {
        PlanError::TooManyBlocks => (PlanFault::TooManyBlocks, 0),
        PlanError::TooManyBytes => (PlanFault::TooManyBytes, 0),
        PlanError::NoBytes(block) => (PlanFault::NoBytes, block),
        PlanError::Alignment(block) => (PlanFault::Alignment, block),
        PlanError::Unaligned(block) => (PlanFault::Unaligned, block),
        PlanError::Beyond(block) => (PlanFault::Beyond, block),
        PlanError::Until(block) => (PlanFault::Until, block),
        PlanError::Overlap(block) => (PlanFault::Overlap, block),
        PlanError::Granule(block) => (PlanFault::Granule, block),
        PlanError::Prologue(_) => (PlanFault::Prologue, 0),
    };
    plans::PlanError { fault, block: position(block) }
}

pub(crate) const fn planned_stats(stats: &PlannedStats) -> plans::PlannedStats {
    // Nothing plans again here.
    let &PlannedStats { planned, strayed, occupied, resynchronised, steps, replanned: _ } = stats;
    plans::PlannedStats { planned, strayed, occupied, resynchronised, steps }
}
