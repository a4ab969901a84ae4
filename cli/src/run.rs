//! `strandline run`: a guest over one pool of this machine's memory.

use crate::Ending;
use crate::args::RunArgs;
use crate::output::{self, Error};
use std::sync::Arc;
use std::time::Duration;
use strandline_core::Tracker;
use strandline_core::pool::PoolHost;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_host_native::component::guest::{GuestError, GuestHost, GuestLimits};
use strandline_host_native::tenant::{Device, Lent, Tenant, TenantLimits};
use strandline_host_native::{MmapSlabProvider, thread_wake};

/// Bytes of an ordinary slab; less where the memory is less.
const SLAB: u64 = 16 << 20;

/// Axes: the guest's queues.
const AXES: usize = 512;

pub(crate) fn run(args: &RunArgs) -> Result<Ending, Error> {
    let timeout = Duration::try_from_secs_f64(args.timeout)
        .map_err(|error| format!("--timeout {}: {error}", args.timeout))?;
    let bytes =
        std::fs::read(&args.path).map_err(|error| format!("{}: {error}", args.path.display()))?;
    let guests = GuestHost::new()?;
    let program =
        guests.compile(&bytes).map_err(|error| format!("{}: {error}", args.path.display()))?;

    let memory = Arc::new(MmapSlabProvider::builder().capacity(args.memory.0).build()?);
    let tracker = Tracker::new(AXES);
    let host = PoolHost::new(memory.clone(), Arc::new(tracker.clone())).with_wake(thread_wake());
    let growth = Growth::slabs_of(SLAB.min(args.memory.0));
    let pool = TlsfPool::new(host, TlsfPoolConfig { growth, ..TlsfPoolConfig::default() })?;
    let device = Device::new(0, tracker, vec![Lent::new(Arc::new(pool), memory)]);
    let budget = args.budget.map_or(args.memory.0, |budget| budget.0);
    let tenant = Tenant::new(&device, TenantLimits { budget, ..TenantLimits::default() })?;

    let limits = GuestLimits { timeout: Some(timeout), ..GuestLimits::default() };
    match guests.run(&program, tenant, &limits, &args.arguments) {
        Ok(mut said) => {
            if !said.is_empty() && !said.ends_with('\n') {
                said.push('\n');
            }
            output::print(&said)?;
            Ok(Ending::Satisfied)
        }
        Err(
            error @ (GuestError::Trapped(_)
            | GuestError::TimedOut
            | GuestError::Failed(_)
            | GuestError::Start(_)),
        ) => {
            output::complain(&format!("{}: {error}", args.path.display()).into());
            Ok(Ending::Unsatisfied)
        }
        Err(error) => Err(format!("{}: {error}", args.path.display()).into()),
    }
}
