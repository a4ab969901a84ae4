//! The rows of the matrix that cross a boundary.

use super::{check_empty, in_process, suite};
use crate::support::guest::{limits, run_guest};
use crate::support::rig::{Cpu, Native, Pools, Rig};
use crate::support::sandbox::Sandbox;
use strandline_guest_tests::{for_each_case, needs_of};

/// A case inside a guest, at the pools that `pools` makes and the host lends.
fn in_guest(case: &str, pools: &dyn Pools) {
    let needs = needs_of(case).unwrap();
    let rig = Rig::new(&needs, &Cpu, pools);
    let tenant = rig.tenant();
    let (ended, rig) = run_guest(tenant, Some(rig), &limits(), &[case]);
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
    in_guest(case, &Native);
}
for_each_case!(suite! guest_over_host);

/// A guest over core's pools in the sandbox: two boundaries.
fn guest_over_sandbox(case: &str) {
    in_guest(case, &Sandbox::new());
}
for_each_case!(suite! guest_over_sandbox);
