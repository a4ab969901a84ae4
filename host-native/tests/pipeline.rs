//! The example checks its own results: here it runs over every kind of proactor.
#![cfg(target_os = "linux")]

mod support;

#[path = "../examples/pipeline.rs"]
#[allow(dead_code, reason = "the example's main")]
mod pipeline;

#[test]
fn a_pipeline_reuses_one_pool() {
    support::each_kind(|kind| pipeline::run(Some(kind)).unwrap());
}
