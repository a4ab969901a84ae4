//! The example checks its own results: here it runs over every kind of proactor.
#![cfg(target_os = "linux")]

use strandline_host_native::proactor::ProactorKind;

#[path = "../examples/pipeline.rs"]
#[allow(dead_code, reason = "the example's main")]
mod pipeline;

#[test]
fn a_pipeline_reuses_one_pool() {
    for kind in ProactorKind::ALL {
        pipeline::run(Some(kind)).unwrap();
    }
}
