//! The guest in C: the world asks for nothing that only Rust has.

use crate::support::artifacts;
use crate::support::guest::limits;
use crate::support::rig::{Cpu, Native, Pools, Rig};
use crate::support::sandbox::Sandbox;
use std::time::Duration;
use strandline_guest_tests::{Needs, PoolKind, PoolNeeds};
use strandline_host_tenants::component::guest::{GuestError, GuestHost, GuestLimits};
use strandline_host_tenants::tenant::{Tenant, TenantLimits};

const SLAB: u64 = 1 << 18;

/// Runs the chain over pools of one kind, and checks that it leaves nothing.
fn run(pools: &dyn Pools, arguments: &[&str]) -> Result<String, GuestError> {
    run_within(pools, &limits(), arguments)
}

fn run_within(
    pools: &dyn Pools,
    limits: &GuestLimits,
    arguments: &[&str],
) -> Result<String, GuestError> {
    const POOLS: &[PoolNeeds] = &[PoolNeeds::new(PoolKind::Tlsf { slab: SLAB })];
    let rig = Rig::new(&Needs { pools: POOLS, capacity: SLAB, queues: true }, &Cpu, pools);
    let budget = TenantLimits { budget: SLAB / 2, ..TenantLimits::default() };
    let tenant = Tenant::new(&rig.device, budget).unwrap();
    let host = GuestHost::new().unwrap();
    let program = host.compile(&artifacts::chain()).unwrap();
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let ended = host.run(&program, tenant, limits, &arguments);
    rig.stage.assert_empty();
    ended
}

fn all_bytes_come_back(pools: &dyn Pools) {
    for arguments in [["1", "3"], ["4096", "64"], ["65536", "8"]] {
        let said = run(pools, &arguments);
        assert_eq!(said.unwrap(), "every byte came back", "{arguments:?}");
    }
}

#[test]
fn over_pools_of_the_host() {
    all_bytes_come_back(&Native);
}

#[test]
fn over_pools_in_the_sandbox() {
    all_bytes_come_back(&Sandbox::new());
}

/// A chain needs two buffers at once. Where the budget has room for one, the second waits for a dealloca that comes after it: the guest
/// waits for itself until its time is over, and nobody else.
#[test]
fn waits_for_itself_until_its_time_is_over() {
    let brief = GuestLimits { timeout: Some(Duration::from_millis(300)), ..limits() };
    let ended = run_within(&Native, &brief, &["131072", "1"]);
    assert!(matches!(ended, Err(GuestError::TimedOut)), "{ended:?}");
}

#[test]
fn wrong_arguments_are_told() {
    let why = run(&Native, &["0", "1"]).unwrap_err();
    assert!(matches!(&why, GuestError::Failed(why) if why.starts_with("usage")), "{why:?}");
}
