//! The matrix: every case over every boundary.
//!
//! | | pools in the host | pools in the sandbox |
//! | --- | --- | --- |
//! | case in this process | `native` | `sandbox` |
//! | case in a guest | `guest_over_host` | `guest_over_sandbox` |

use crate::support::block_on;
use crate::support::native::NativeWorld;
use crate::support::rig::{Cpu, Native, Pools, Rig};
use strandline_guest_tests::{for_each_case, needs_of, run};

#[cfg(feature = "guests")]
mod boundaries;

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
#[cfg(feature = "guests")]
use suite;

/// After a case: what it held has come back.
fn check_empty(case: &str, rig: &Rig) {
    // What dies with a lost device is pending until the host declares quiescence.
    if case == "device_loss" {
        rig.pools.iter().for_each(|pool| pool.quiesce());
    }
    rig.assert_empty();
}

/// A case in this process, at the pools that `pools` makes.
fn in_process(case: &str, pools: &dyn Pools) {
    let needs = needs_of(case).unwrap();
    let mut rig = Rig::new(&needs, &Cpu, pools);
    let ended = {
        let mut world = NativeWorld::new(&mut rig, needs.queues);
        block_on(run(case, &mut world))
    };
    if let Err(wrong) = ended {
        panic!("{wrong}");
    }
    check_empty(case, &rig);
}

/// No boundary.
fn native(case: &str) {
    in_process(case, &Native);
}
for_each_case!(suite! native);
