//! The rows of the matrix on a GPU.

use super::{check_empty, suite};
use crate::support::block_on;
use crate::support::gpu::{GpuRig, GpuWork};
use crate::support::real::real;
use crate::support::rig::{Native, Pools};
use strandline_guest_tests::{for_each_case, needs_of, run};

/// A case in this process, at the pools that `pools` makes over buffers of a GPU. Without one it is skipped, and in CI fails.
pub(super) fn on_gpu(case: &str, pools: &dyn Pools) {
    let needs = needs_of(case).unwrap();
    let Some(gpu) = real() else { return };
    let mut rig = GpuRig::new(&needs, gpu, pools);
    let ended = block_on(run(case, &mut GpuWork::world(&mut rig)));
    if let Err(wrong) = ended {
        panic!("{wrong}");
    }
    check_empty(case, &rig.end());
}

/// No boundary but the GPU's.
fn native_gpu(case: &str) {
    on_gpu(case, &Native);
}
for_each_case!(suite! native_gpu);
