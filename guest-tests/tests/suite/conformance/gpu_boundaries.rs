//! The row of the matrix that crosses a boundary on the way to a GPU.

use super::gpu::on_gpu;
use super::suite;
use crate::support::sandbox::Sandbox;
use strandline_guest_tests::for_each_case;

/// Core's pools in the sandbox.
fn sandbox_gpu(case: &str) {
    on_gpu(case, &Sandbox::new());
}
for_each_case!(suite! sandbox_gpu);
