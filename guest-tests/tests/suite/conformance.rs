//! The matrix: every case over every boundary.

use strandline_guest_tests::{for_each_case, needs_of, run};
use crate::support::block_on;
use crate::support::guest::{limits, run_guest};
use crate::support::native::NativeWorld;
use crate::support::rig::{Cpu, Native, Pools, Rig};

/// A module with a test of each case, which `$boundary` runs by its name.
macro_rules! suite {
    ($boundary:ident: $($case:ident),*) => {
        mod $boundary {
            $(#[test]
            fn $case() {
                super::$boundary(stringify!($case));
            })*
        }
    };
}

/// A case in this process, at the pools that `pools` makes.
fn in_process(case: &str, pools: &dyn Pools) {
    let needs = needs_of(case).unwrap();
    let mut rig = Rig::new(&needs, &Cpu, pools);
    let lost = case == "device_loss";
    let ended = {
        let mut world = NativeWorld::new(&mut rig, needs.queues);
        block_on(run(case, &mut world))
    };
    if let Err(wrong) = ended {
        panic!("{wrong}");
    }
    // What dies with a lost device is pending until the host declares quiescence.
    if lost {
        rig.pools.iter().for_each(|pool| pool.quiesce());
    }
    rig.assert_empty();
}

/// No boundary.
fn native(case: &str) {
    in_process(case, &Native);
}
for_each_case!(suite! native);

/// A case inside a guest, at the pools that `pools` makes and the host lends.
fn in_guest(case: &str, pools: &dyn Pools) {
    let needs = needs_of(case).unwrap();
    let rig = Rig::new(&needs, &Cpu, pools);
    let tenant = rig.tenant();
    let (ended, rig) = run_guest(tenant, Some(rig), &limits(), &[case]);
    if let Err(wrong) = ended {
        panic!("{wrong}");
    }
    let rig = rig.unwrap();
    if case == "device_loss" {
        rig.pools.iter().for_each(|pool| pool.quiesce());
    }
    rig.assert_empty();
}

/// A guest over core's pools in the host.
fn guest_over_host(case: &str) {
    in_guest(case, &Native);
}
for_each_case!(suite! guest_over_host);
