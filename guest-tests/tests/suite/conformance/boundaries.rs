//! The rows of the matrix that cross a boundary.

use super::{check_empty, in_process, suite};
use crate::support::guest::{limits, run_guest};
use crate::support::rig::{Cpu, Native, Pools, Rig};
use crate::support::sandbox::Sandbox;
use strandline_guest_tests::{for_each_case, needs_of};
use strandline_host_tenants::component::guest::Calls;

/// A case inside a guest, at the pools that `pools` makes and the host lends.
fn in_guest(calls: Calls, case: &str, pools: &dyn Pools) {
    let needs = needs_of(case).unwrap();
    let rig = Rig::new(&needs, &Cpu, pools);
    let tenant = rig.tenant();
    let (ended, rig) = run_guest(calls, tenant, Some(rig), &limits(), &[case]);
    if let Err(wrong) = ended {
        panic!("{wrong}");
    }
    check_empty(case, &rig.unwrap().stage);
}

/// Core's pools in the sandbox.
fn sandbox(case: &str) {
    in_process(case, &Sandbox::new());
}
for_each_case!(suite! sandbox);

/// A guest over core's pools in the host.
fn guest_over_host(case: &str) {
    in_guest(Calls::Concurrent, case, &Native);
}
for_each_case!(suite! guest_over_host);

/// A guest over core's pools in the sandbox: two boundaries.
fn guest_over_sandbox(case: &str) {
    in_guest(Calls::Concurrent, case, &Sandbox::new());
}
for_each_case!(suite! guest_over_sandbox);

/// A guest that cannot wait, over core's pools in the host.
fn sync_guest_over_host(case: &str) {
    in_guest(Calls::Synchronous, case, &Native);
}
for_each_case!(suite! sync_guest_over_host);
