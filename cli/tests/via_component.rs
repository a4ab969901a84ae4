//! The shipped traces through the core and through its component: the same report but for time.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn replay(trace: &str, options: &[&str], via: &str) -> (i32, Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces").join(trace);
    let output = Command::new(env!("CARGO_BIN_EXE_strandline"))
        .arg("replay")
        .arg(path)
        .args(options)
        .args(["--json", "--via", via])
        .env_remove("RUST_LOG")
        .output()
        .expect("the command starts");
    let told = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{trace} {options:?} {via}: {error}: {told}"));
    (output.status.code().unwrap_or(-1), report)
}

/// Takes out what depends on the clock, and what only the boundary has.
fn timeless(mut report: Value) -> Value {
    let object = report.as_object_mut().expect("an object");
    for key in ["latency_ns", "throughput", "boundary"] {
        object.remove(key);
    }
    report
}

#[test]
fn reports_are_the_same() {
    let cases: [(&str, &[&str]); 8] = [
        // Without a slab's size, slabs here are elastic, which the component has not.
        ("vit_infer.csv.gz", &["--slab", "32MiB"]),
        ("vit_infer.csv.gz", &["--pool", "passthrough"]),
        ("vit_infer.csv.gz", &["--pool", "arena", "--streams", "4", "--in-flight", "64"]),
        ("vit_infer.csv.gz", &["--capacity", "8MiB"]),
        ("resnet50_train.csv.gz", &["--slab", "32MiB"]),
        (
            "resnet50_train.csv.gz",
            &["--slab", "32MiB", "--streams", "8", "--in-flight", "64", "--allow-wait"],
        ),
        ("resnet50_train.csv.gz", &["--in-flight", "64", "--policy", "eager"]),
        ("resnet50_train.csv.gz", &["--streams", "4", "--in-flight", "16", "--capacity", "560MiB"]),
    ];
    for (trace, options) in cases {
        let (here, native) = replay(trace, options, "native");
        let (there, component) = replay(trace, options, "component");
        let calls = component.pointer("/boundary/calls").and_then(Value::as_u64);
        assert!(calls > Some(0), "{component}");
        assert!(native.get("boundary").is_none(), "{native}");
        assert_eq!(here, there, "{trace} {options:?}");
        assert_eq!(timeless(native), timeless(component), "{trace} {options:?}");
    }
}

#[test]
fn a_component_that_is_not_one_is_named() {
    let trace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces/vit_infer.csv.gz");
    for (file, text) in [("Cargo.toml", "Cargo.toml"), ("no-such.wasm", "no-such.wasm")] {
        let output = Command::new(env!("CARGO_BIN_EXE_strandline"))
            .arg("replay")
            .arg(&trace)
            .args(["--via", "component", "--component", file])
            .output()
            .expect("the command starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(text), "{told}");
    }
}
