//! Plans in the sandbox: steps, counters, and plans that are refused, each as in the core.

use crate::{module, module_with_plans};
use std::sync::Arc;
use strandline_core::pool::planned::{
    Plan, PlanBlock, PlanError, PlannedPool, PlannedPoolError, PlannedStats,
};
use strandline_core::pool::tlsf::TlsfPoolConfig;
use strandline_core::pool::{Acquire, Pool, PoolHost, Request};
use strandline_core::{Death, NoProgress, PoolError};
use strandline_host_native::MmapSlabProvider;
use strandline_host_tenants::component::substrate::Substrate;

fn host() -> PoolHost {
    PoolHost::new(Arc::new(MmapSlabProvider::builder().build().unwrap()), Arc::new(NoProgress))
}

fn block(offset: u64, size: u64, until: u32) -> PlanBlock {
    PlanBlock { offset, size, alignment: 256, stream: 0, until }
}

/// Two blocks that are live together, and one that takes the first one's bytes; the first is requested once.
fn plan() -> Plan {
    let blocks =
        vec![block(0, 4096, 4), block(8192, 1024, 2), block(4096, 512, 4), block(8192, 2048, 4)];
    Plan::new(10240, blocks).unwrap().with_prologue(1).unwrap()
}

/// Plays two steps, the second with a request that the plan does not have, and reads the offsets.
fn play(pool: &dyn Pool, begin_step: &dyn Fn()) -> Vec<u64> {
    let mut offsets = Vec::new();
    let mut take = |size| match pool.acquire(&Request::new(size).or_grow()).unwrap() {
        Acquire::Ready { reservation, .. } => {
            offsets.push(reservation.offset());
            reservation
        }
        other => panic!("{other:?}"),
    };
    let first = take(4096);
    for sizes in [&[1024, 512, 2048][..], &[1024, 333, 512, 2048]] {
        begin_step();
        for &size in sizes {
            let reservation = take(size);
            pool.release(reservation, Death::Idle).unwrap();
        }
    }
    pool.release(first, Death::Idle).unwrap();
    offsets
}

#[test]
fn steps_places_and_counters_are_those_of_the_core() {
    let config = TlsfPoolConfig::default();
    let native = PlannedPool::new(host(), config, &plan()).unwrap();
    let substrate = module_with_plans().instantiate().unwrap();
    let sandbox = substrate.planned(host(), config, &plan()).unwrap();
    assert_eq!(sandbox.properties().kind, "planned");
    let offsets = play(&sandbox, &|| assert!(sandbox.begin_step()));
    assert_eq!(offsets[..4], [0, 8192, 4096, 8192], "as planned");
    assert_eq!(offsets, play(&native, &|| native.begin_step()));
    let stats = sandbox.planned_stats().unwrap();
    assert_eq!(stats, native.planned_stats());
    assert!(matches!(stats, PlannedStats { planned: 7, strayed: 1, steps: 2, .. }), "{stats:?}");

    let tlsf = substrate.tlsf(host(), config).unwrap();
    assert!(!tlsf.begin_step(), "it follows no plan");
    assert_eq!(tlsf.planned_stats(), None);
}

#[test]
fn what_the_core_refuses_is_refused_in_the_same_words() {
    let substrate = module_with_plans().instantiate().unwrap();
    // The core checks a plan where it is made, so only what depends on the pool can be sent.
    let unaligned = Plan::new(4096, vec![PlanBlock { alignment: 1, ..block(8, 100, 1) }]).unwrap();
    let config = TlsfPoolConfig::default();
    let refused = substrate.planned(host(), config, &unaligned).unwrap_err();
    assert_eq!(refused, PlannedPoolError::Plan(PlanError::Granule(0)));
    assert_eq!(refused, PlannedPool::new(host(), config, &unaligned).unwrap_err());

    let mut wrong = config;
    wrong.offsets.granule = 3;
    let refused = substrate.planned(host(), wrong, &plan()).unwrap_err();
    assert!(matches!(refused, PlannedPoolError::Pool(PoolError::InvalidConfig(_))), "{refused}");
    assert_eq!(refused, PlannedPool::new(host(), wrong, &plan()).unwrap_err());
}

#[test]
fn a_component_without_plans_says_so() {
    assert!(module_with_plans().has_plans() && !module().has_plans());
    let substrate: Substrate = module().instantiate().unwrap();
    let refused = substrate.planned(host(), TlsfPoolConfig::default(), &plan()).unwrap_err();
    assert!(refused.to_string().contains("no plans"), "{refused}");
    let pool = substrate.tlsf(host(), TlsfPoolConfig::default()).unwrap();
    assert!(!pool.begin_step());
    assert_eq!(pool.planned_stats(), None);
    assert!(substrate.fault().is_none(), "nothing of it is a fault of the component");
}
