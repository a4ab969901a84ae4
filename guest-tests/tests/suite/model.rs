//! A model of who may touch which byte, and generated programs of two tenants and their host against it.
//!
//! ```text
//!   seed ──▶ driver ──▶ calls ──▶ puppet: a tenant, here or inside a guest ──▶ pools, here or in the sandbox
//!              │ every answer                                                   │ behind a wrapper that lies of origins
//!              └──▶ byte map: owners, operations to come, contents ◀── progress ┘
//! ```
//!
//! Whatever the pools say of where bytes come from: nobody gets bytes that another's queue is still to touch, nothing runs
//! before what came before it, everybody reads what he wrote or zeros, is charged for what he pins, and leaves nothing.

mod bytes;
mod driver;
#[cfg(feature = "guests")]
mod guests;
mod lying;
mod native;
mod random;

use crate::support::rig::{Cpu, Native as NativePools, Pools, Rig};
use driver::{Coverage, Model, POOL};
use std::sync::{Arc, Mutex, PoisonError};
use strandline_core::Pool;
use strandline_core::pool::{Origin, PoolHost, ReuseProof};
use strandline_guest_tests::puppet::Call;
use strandline_guest_tests::{Entry, Needs, PoolKind, PoolNeeds};
use strandline_host_tenants::tenant::{Tenant, TenantLimits};

/// A tenant that does what it is told.
trait Puppet {
    /// What came of a call; `None` when it was refused.
    fn call(&mut self, call: &Call) -> Option<Vec<u64>>;
    /// The host tells it of an axis.
    fn lend(&mut self, axis: u64, epoch: u64);
    /// What it is charged.
    fn charged(&mut self) -> u64;
    /// Whether what a ledger holds cannot be worked on.
    fn keeps_ledgers_apart(&self) -> bool;
    /// It ends where it stands.
    fn end(self: Box<Self>);
}

/// Makes a puppet of a tenant.
type Make<'a> = &'a dyn Fn(Tenant) -> Box<dyn Puppet>;

/// What a program runs on.
struct Setup<'a> {
    rig: Rig,
    /// The host's axes hand out epochs one at a time.
    submitted: Mutex<[u64; 2]>,
    make: Make<'a>,
}

impl Setup<'_> {
    fn puppet(&self, limits: TenantLimits) -> Box<dyn Puppet> {
        (self.make)(Tenant::new(&self.rig.device, limits).unwrap())
    }

    /// The next epoch of one of the host's axes.
    fn submit(&self, which: usize) -> Entry {
        let mut submitted = self.submitted.lock().unwrap_or_else(PoisonError::into_inner);
        submitted[which] += 1;
        Entry { axis: self.rig.stage.axis(which).to_bits(), epoch: submitted[which] }
    }

    fn complete(&self, entry: Entry) {
        self.rig.stage.complete(entry);
        self.rig.device.progressed();
    }
}

/// Pools that say of everything that they hand out where it comes from: this.
struct LyingPools<'a> {
    pools: &'a dyn Pools,
    label: Origin,
}

impl Pools for LyingPools<'_> {
    fn pool(&self, needs: &PoolNeeds, host: PoolHost) -> Arc<dyn Pool> {
        Arc::new(lying::Lying { pool: self.pools.pool(needs, host), label: self.label })
    }
}

/// The lies: an origin for everything; `None` is the truth.
const LABELS: [Option<Origin>; 4] = [
    None,
    Some(Origin::Fresh),
    Some(Origin::Reused(ReuseProof::Completion)),
    Some(Origin::Reused(ReuseProof::Dominance)),
];

const NEEDS: Needs = Needs {
    pools: &[
        PoolNeeds::new(PoolKind::Tlsf { slab: POOL }),
        PoolNeeds::new(PoolKind::Fixed { block: POOL / 16 }),
    ],
    capacity: POOL,
    queues: true,
};

/// A number that a variable of the environment sets.
fn setting(variable: &str, otherwise: u64) -> u64 {
    let set = std::env::var(variable).ok().and_then(|text| text.parse().ok());
    set.unwrap_or(otherwise)
}

/// Runs programs with every label: `programs` of them, or as many as `STRANDLINE_MODEL_PROGRAMS` says, from the seed
/// `STRANDLINE_MODEL_SEED` on.
fn programs(programs: u64, pools: &dyn Fn() -> Box<dyn Pools>, make: Make<'_>) {
    let first = setting("STRANDLINE_MODEL_SEED", 1);
    let count = setting("STRANDLINE_MODEL_PROGRAMS", programs);
    let mut all = Coverage::default();
    for seed in first..first + count {
        let pools = pools();
        let rig = match LABELS[(seed % LABELS.len() as u64) as usize] {
            Some(label) => Rig::new(&NEEDS, &Cpu, &LyingPools { pools: &*pools, label }),
            None => Rig::new(&NEEDS, &Cpu, &*pools),
        };
        let setup = Setup { rig, submitted: Mutex::default(), make };
        match Model::run(&setup, seed) {
            Ok(of) => {
                all.granted += of.granted;
                all.contended += of.contended;
                all.operations += of.operations;
                all.compared += of.compared;
                all.ended += of.ended;
            }
            Err(wrong) => panic!("{wrong}"),
        }
    }
    println!("{count} programs: {all:?}");
    // Programs that find nothing to do prove nothing.
    assert!(all.granted > 15 * count && all.operations > 15 * count, "{all:?}");
    assert!(all.contended * 2 > count && all.compared * 2 > count, "{all:?}");
}

/// Tenants of this process, over pools of this process.
#[test]
fn native() {
    programs(400, &|| Box::new(NativePools), &|tenant| Box::new(native::Native::new(tenant)));
}
