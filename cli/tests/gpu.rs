//! The command on a GPU, or on a Vulkan driver for the processor: what the GPU wrote must be what it finds, whatever the pool.

#[path = "shipped/report.rs"]
mod report;
#[path = "shipped/run.rs"]
mod run;

use report::count;
use run::{exit_is, replay, report_of, satisfied_or_not, strandline};
use serde_json::Value;

const VIT: &str = "traces/vit_infer.csv.gz";

/// Replays on a GPU; the report must be sound, and the GPU must have had a part in it.
fn replayed(trace: &str, options: &[&str]) -> Value {
    let cmd = replay(trace, &[options, &["--provider", "wgpu", "--json"][..]].concat());
    let report =
        satisfied_or_not(&cmd, 0).and_then(|report| match count(&report, "gpu.submissions")? {
            0 => Err("the GPU had nothing to do".to_owned()),
            _ => count(&report, "gpu.completion_ns.p50").map(|_| report),
        });
    report.unwrap_or_else(|why| panic!("{cmd:?}: {why}"))
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without optimization: add --release")]
fn every_kind_of_pool_plays_a_trace() {
    replayed(VIT, &["--pool", "passthrough"]);
    replayed("traces/gpt2_generate.csv.gz", &["--in-flight", "16"]);
    let streams = ["--streams", "8", "--in-flight", "64", "--allow-wait"];
    replayed("traces/resnet50_train.csv.gz", &streams);
}

/// The adapter that is named is the one that works; one that is not there is refused, and those that are there are named.
#[test]
fn an_adapter_is_chosen_by_its_name() {
    let info = report_of(&strandline(&["info", "--json"]), 0).expect("a report");
    let adapter = info["adapters"][0]["name"].as_str().expect("an adapter").to_owned();
    let report = replayed(VIT, &["--adapter", &adapter.to_uppercase()]);
    assert_eq!(report["gpu"]["adapter"], *adapter);
    let cmd = replay(VIT, &["--provider", "wgpu", "--adapter", "no such adapter"]);
    let (_, complaint) = exit_is(&cmd, 2).expect("exit status 2");
    assert!(complaint.contains(&adapter), "{complaint}");
}

/// Eight streams that may wait need hardly more memory than one.
#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without optimization: add --release")]
fn streams_that_may_wait_share_the_memory_of_one() {
    let reserved = ["1", "8"].map(|streams| {
        let options = ["--streams", streams, "--in-flight", "64", "--allow-wait"];
        count(&replayed("traces/bert_train.csv.gz", &options), "pool.peak_committed_bytes")
            .expect("a key")
    });
    assert!(reserved[1] * 100 <= reserved[0] * 105, "{reserved:?} bytes on 1 and 8 streams");
}
