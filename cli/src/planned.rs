//! Pools that follow a plan: of a file, for `replay --plan`, or of the step that `fit --plan` recorded.

use crate::output::Error;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use strandline_planner::file::{PlanError, PlanFile};
use strandline_replay::planned::{Plan, PlanBlock, Planned};
use strandline_replay::session::{SessionError, open_file};

/// What to do about a file that is no plan.
const NO_PLAN: &str = "`strandline plan TRACE --out step.plan` writes one (a name in .csv gets minimalloc's table, which has no order of \
    requests: plan it again with another name)";

/// A plan that has less than this share of the requests is another program's, or another step's.
const STRANGE: f64 = 0.5;

/// A plan that was read, and the pool that follows it.
pub(crate) struct Following {
    pub(crate) maker: Arc<Planned>,
}

impl Following {
    /// Reads a plan file, binary or text.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let named = |error: &dyn core::fmt::Display| -> Error {
            SessionError::File(path.to_owned(), None, error.to_string()).into()
        };
        let mut file = Vec::new();
        open_file(path)?.read_to_end(&mut file).map_err(|error| named(&error))?;
        let file = PlanFile::decode(&file).map_err(|error| match error {
            PlanError::NoPlan => named(&format!("{error}; {NO_PLAN}")),
            error => named(&error),
        })?;
        let block = |block: &strandline_planner::file::PlannedBlock| PlanBlock {
            offset: block.offset,
            size: block.size,
            alignment: block.alignment,
            stream: block.stream,
            until: block.until,
        };
        let plan = Plan::new(file.bytes, file.blocks.iter().map(block).collect());
        Ok(Self::of(plan.map_err(|error| named(&error))?))
    }

    /// Pools that follow a plan.
    pub(crate) fn of(plan: Plan) -> Self {
        Self { maker: Arc::new(Planned::new(plan)) }
    }

    /// Adds what came of the plan to a report.
    pub(crate) fn tell(&self, text: &mut String, json: &mut serde_json::Value) {
        let Some(stats) = self.maker.stats() else { return };
        let share = stats.plan_hit_share();
        let all = stats.planned + stats.strayed;
        let known = stats.planned + stats.occupied;
        if (known as f64) < STRANGE * all as f64 {
            text.push_str(
                "plan        NOT OF THIS TRACE, it seems: hardly any request is one that the plan has, and a TLSF pool served the others\n",
            );
        }
        text.push_str(&format!(
            "plan        {} planned, {} strayed ({} of these are in the plan), {} times in step again: {:.1} % where the plan has them\n",
            stats.planned,
            stats.strayed,
            stats.occupied,
            stats.resynchronised,
            share * 100.0,
        ));
        self.maker.tell(json);
    }
}
