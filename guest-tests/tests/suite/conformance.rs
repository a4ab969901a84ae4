//! The matrix: every case over every boundary.
//!
//! | | pools in the host | pools in the sandbox |
//! | --- | --- | --- |
//! | case in this process | `native` | `sandbox` |
//! | case in a guest | `guest_over_host` | `guest_over_sandbox` |
//! | case in a guest that cannot wait and polls | `sync_guest_over_host` | |
//! | case in this process, memory and queues of a GPU | `native_gpu` | `sandbox_gpu` |
//!
//! A guest's queues are a tenant's, and those run on the processor: there is no row for guests on a GPU.

use crate::support::block_on;
use crate::support::native::NativeWork;
use crate::support::rig::{Cpu, Native, Pools, Rig, Stage};
use strandline_guest_tests::{for_each_case, needs_of, run};

#[cfg(feature = "guests")]
mod boundaries;
#[cfg(feature = "wgpu")]
mod gpu;
#[cfg(all(feature = "guests", feature = "wgpu"))]
mod gpu_boundaries;

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
#[cfg(any(feature = "guests", feature = "wgpu"))]
use suite;

/// After a case: what it held has come back.
fn check_empty(case: &str, stage: &Stage) {
    // What dies with a lost device is pending until the host declares quiescence.
    if case == "device_loss" {
        stage.pools.iter().for_each(|pool| pool.quiesce());
    }
    stage.assert_empty();
}

/// A case in this process, at the pools that `pools` makes.
fn in_process(case: &str, pools: &dyn Pools) {
    let needs = needs_of(case).unwrap();
    let mut rig = Rig::new(&needs, &Cpu, pools);
    let ended = {
        let mut world = NativeWork::world(&mut rig, needs.queues);
        block_on(run(case, &mut world))
    };
    if let Err(wrong) = ended {
        panic!("{wrong}");
    }
    check_empty(case, &rig.stage);
}

/// No boundary.
fn native(case: &str) {
    in_process(case, &Native);
}
for_each_case!(suite! native);
