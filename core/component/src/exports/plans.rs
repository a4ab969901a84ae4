//! `plans`: pools that follow a plan.

use super::{authority, pools};
use crate::bindings::Component;
use crate::bindings::exported::plans::{
    Guest, Plan, PlannedError, PlannedStats, Pool, PoolBorrow, PoolHost, TlsfConfig,
};
use crate::convert;
use strandline_core::pool::planned::{PlannedPool, PlannedPoolError};

impl Guest for Component {
    fn make_planned(
        host: PoolHost<'_>,
        config: TlsfConfig,
        plan: Plan,
    ) -> Result<Pool, PlannedError> {
        let made = convert::plan(&plan).map_err(PlannedPoolError::Plan).and_then(|plan| {
            PlannedPool::new(authority::stand(host), convert::tlsf_config(config), &plan)
        });
        made.map(|made| Pool::new::<pools::Handle>(made.into())).map_err(convert::planned_error)
    }

    fn begin_step(pool: PoolBorrow<'_>) -> bool {
        let planned = pool.get::<pools::Handle>().planned();
        planned.inspect(|planned| planned.begin_step()).is_some()
    }

    fn planned_stats_of(pool: PoolBorrow<'_>) -> Option<PlannedStats> {
        let planned = pool.get::<pools::Handle>().planned();
        planned.map(|planned| convert::planned_stats(&planned.planned_stats()))
    }
}
