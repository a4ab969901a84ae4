//! `replay --plan`: on the very trace the pool holds just what the plan has; a plan of another trace, or no plan at all, is told.

mod support;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use support::strandline;
use tempfile::TempDir;

#[track_caller]
fn object(args: &[&str]) -> Value {
    support::object(args, 0)
}

#[track_caller]
fn refused(args: &[&str], words: &str) {
    let output = strandline(args);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    assert!(error.contains(words), "{error}");
}

fn trace(name: &str) -> String {
    let traces = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
    traces.join(name).display().to_string()
}

fn planned(dir: &TempDir, trace: &str, name: &str) -> (String, u64) {
    let file = dir.path().join(name).display().to_string();
    let made = object(&["plan", trace, "--for", "1", "--out", &file]);
    (file, made["plan"]["bytes"].as_u64().unwrap())
}

#[test]
fn on_the_very_trace_every_request_is_planned_and_the_peak_is_the_plans_size() {
    let dir = TempDir::new().unwrap();
    for (trace_name, plan_name) in
        [("vit_infer.csv.gz", "vit.plan"), ("resnet50_train.csv.gz", "resnet.txt")]
    {
        let trace = trace(trace_name);
        let (plan, bytes) = planned(&dir, &trace, plan_name);
        let told = object(&["replay", &trace, "--plan", &plan]);
        let pool = &told["pool"];
        assert_eq!(told["ok"], true);
        assert_eq!(pool["kind"], "planned");
        assert_eq!((&pool["strayed"], &pool["resynchronised"]), (&0.into(), &0.into()));
        assert_eq!(pool["plan_hit_share"], 1.0);
        assert!(pool["planned"].as_u64().unwrap() > 0);
        // The provider has whole pages.
        let peak = told["memory"]["peak_reserved_bytes"].as_u64();
        assert_eq!(peak, Some(bytes.next_multiple_of(4096)), "{trace_name}");
        let text = strandline(&["replay", &trace, "--plan", &plan]);
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(text.contains("100.0 % where the plan has them"), "{text}");
        assert!(!text.contains("NOT OF THIS TRACE"), "{text}");
    }
}

#[test]
fn a_plan_of_another_trace_serves_as_tlsf_does() {
    let dir = TempDir::new().unwrap();
    let (plan, _) = planned(&dir, &trace("vit_infer.csv.gz"), "vit.plan");
    let told = object(&["replay", &trace("resnet50_train.csv.gz"), "--plan", &plan]);
    assert_eq!(told["ok"], true);
    assert!(told["pool"]["plan_hit_share"].as_f64().unwrap() < 0.5);
    let text = strandline(&["replay", &trace("resnet50_train.csv.gz"), "--plan", &plan]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("NOT OF THIS TRACE"), "{text}");
    for counter in ["overlaps", "early_reuse", "corruptions", "missed_fits"] {
        assert_eq!(told["oracle"][counter], 0, "{counter}");
    }
}

#[test]
fn what_is_no_plan_is_refused() {
    let dir = TempDir::new().unwrap();
    let trace = trace("vit_infer.csv.gz");
    let (plan, _) = planned(&dir, &trace, "vit.plan");
    let file = fs::read(&plan).unwrap();
    let cut: PathBuf = dir.path().join("cut.plan");
    fs::write(&cut, &file[..file.len() / 2]).unwrap();
    refused(&["replay", &trace, "--plan", cut.to_str().unwrap()], "cut.plan");
    refused(&["replay", &trace, "--plan", &trace], "this is no plan");
    refused(
        &["replay", &trace, "--plan", &trace],
        "`strandline plan TRACE --out step.plan` writes one",
    );
    refused(&["replay", &trace, "--plan", &plan, "--pool", "fixed"], "--pool");
    let text = "strandline-plan 1\nblocks 2 bytes 64 bound 64\n64 0 2 64 0 -\n64 0 2 64 0 -\n";
    let overlapping = dir.path().join("overlapping.txt");
    fs::write(&overlapping, text).unwrap();
    refused(&["replay", &trace, "--plan", overlapping.to_str().unwrap()], "overlapping.txt");
}
