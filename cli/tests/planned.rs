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

/// A trace of weights and steps, in the compact form: each step has some temporaries, and one block that the next step frees.
fn steps(dir: &TempDir, name: &str, count: u64, change: bool) -> String {
    let mut text = String::from("time_ns,action,id,size,stream,thread\n");
    let (mut id, mut time) = (0, 0);
    let mut line = |text: &mut String, action: &str, id: u64, size: u64| {
        time += 1000;
        text.push_str(&format!("{time},{action},{id},{size},0,0\n"));
    };
    for size in [1 << 20, 3 << 20] {
        id += 1;
        line(&mut text, "alloc", id, size);
    }
    let mut carried = None;
    for step in 0..count {
        let mut kept = Vec::new();
        for layer in 0..8_u64 {
            let scratch = id + 1;
            line(&mut text, "alloc", scratch, 700_000 + layer * 4096);
            for n in 0..3 {
                kept.push((scratch + 1 + n, 100_000 * (n + 1) + layer * 640));
            }
            for &(block, size) in &kept[kept.len() - 3..] {
                line(&mut text, "alloc", block, size);
            }
            line(&mut text, "free", scratch, 700_000 + layer * 4096);
            id = scratch + 3;
        }
        if let Some(block) = carried.take() {
            line(&mut text, "free", block, 9000);
        }
        if change && step > 1 {
            id += 1;
            line(&mut text, "alloc", id, 12_345);
            line(&mut text, "free", id, 12_345);
        }
        id += 1;
        line(&mut text, "alloc", id, 9000);
        carried = Some(id);
        for (block, size) in kept.into_iter().rev() {
            line(&mut text, "free", block, size);
        }
    }
    let file = dir.path().join(name);
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[test]
fn fit_plans_the_first_step_and_plays_the_rest_by_it() {
    let dir = TempDir::new().unwrap();
    let trace = steps(&dir, "same.csv", 6, false);
    let told = object(&["fit", &trace, "--plan", "--for", "1"]);
    let (pool, plan) = (&told["pool"], &told["plan"]);
    assert_eq!(told["ok"], true);
    assert_eq!(pool["kind"], "planned");
    assert_eq!((&plan["found_by"], &plan["optimal"]), (&"requests".into(), &true.into()));
    assert_eq!((&plan["steps"], &plan["step_requests"]), (&6.into(), &33.into()));
    assert_eq!(plan["prologue_blocks"], 3);
    // What is not played is told: the set-up and the first step.
    let before = plan["events_before"].as_u64().unwrap();
    assert!(before > 33 && plan["peak_before_bytes"].as_u64().unwrap() > 4 << 20, "{plan}");
    let text = strandline(&["fit", &trace, "--plan", "--for", "1"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains(&format!("left out   events 1 to {before}, the set-up and the first step")),
        "{text}"
    );
    assert_eq!((&pool["strayed"], &pool["resynchronised"]), (&0.into(), &0.into()));
    assert_eq!((&pool["planned"], &pool["plan_hit_share"]), (&(3 + 5 * 33).into(), &1.0.into()));
    let bytes = plan["bytes"].as_u64().unwrap();
    assert_eq!(told["memory"]["peak_reserved_bytes"], bytes.next_multiple_of(4096));
    for counter in ["overlaps", "early_reuse", "corruptions", "missed_fits"] {
        assert_eq!(told["oracle"][counter], 0, "{counter}");
    }
    // Later steps that are somewhat different are followed, and cost what is different.
    let trace = steps(&dir, "changed.csv", 6, true);
    let told = object(&["fit", &trace, "--plan", "--for", "1"]);
    let pool = &told["pool"];
    assert_eq!(told["ok"], true);
    assert_eq!(pool["strayed"], 4);
    assert!(pool["plan_hit_share"].as_f64().unwrap() > 0.97);
    let reserved = told["memory"]["peak_reserved_bytes"].as_u64().unwrap();
    assert!(reserved <= bytes.next_multiple_of(4096) + 16_384, "{reserved} {bytes}");
    let text = strandline(&["fit", &trace, "--plan", "--for", "1"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("the first of 6, found by the requests: 33 requests"), "{text}");
    assert!(text.contains("where the plan has them"), "{text}");
}

#[test]
fn fit_says_where_no_step_repeats() {
    let trace = trace("resnet50_train.csv.gz");
    refused(&["fit", &trace, "--plan"], "no step repeats in this trace");
    refused(&["fit", &trace, "--plan", "--at-most-queued", "0.1"], "--at-most-queued");
    let error = support::object(&["fit", &trace, "--plan"], 2);
    assert!(error["error"]["file"].as_str().unwrap().ends_with("resnet50_train.csv.gz"), "{error}");
}

/// Marks of a snapshot tell where steps begin. Read where the file is at hand.
#[test]
fn fit_takes_the_marks_of_a_snapshot_for_steps() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/snapshots");
    let file = folder.join("small_train_marks.pickle.gz");
    if !file.is_file() {
        println!("not here: {}", file.display());
        return;
    }
    let told = object(&["fit", file.to_str().unwrap(), "--plan", "--for", "2"]);
    assert_eq!((&told["plan"]["found_by"], &told["plan"]["steps"]), (&"marks".into(), &8.into()));
    let reserved = told["memory"]["peak_reserved_bytes"].as_f64().unwrap();
    let active = told["trace"]["peak_active_bytes"].as_f64().unwrap();
    println!("{:.4} of peak active, {}", reserved / active, told["pool"]["plan_hit_share"]);
    assert!(reserved <= active * 1.01, "{reserved} {active}");
}

/// One stream's bytes go to another: the plan says who waits for whom, also when it is written again, and is refused without.
#[test]
fn waits_are_kept_and_a_plan_that_lacks_one_is_refused() {
    let dir = TempDir::new().unwrap();
    let named = |name: &str| dir.path().join(name).display().to_string();
    let trace = "time_ns,action,id,size,stream,thread\n\
         0,alloc,1,640,0,0\n1,free,1,640,0,0\n2,alloc,2,640,1,0\n3,free,2,640,1,0\n";
    fs::write(named("trace.csv"), trace).unwrap();
    let made = object(&["plan", &named("trace.csv"), "--out", &named("plan.txt")]);
    assert_eq!((&made["plan"]["bytes"], &made["plan"]["waits"]), (&640.into(), &1.into()));
    assert_eq!(made["reader"]["skipped_faults"], 0);
    let again = object(&["plan", &named("plan.txt"), "--out", &named("again.txt")]);
    assert_eq!(again["plan"]["waits"], 1);
    let text = fs::read_to_string(named("plan.txt")).unwrap();
    assert_eq!(text, fs::read_to_string(named("again.txt")).unwrap());
    let (head, wait) = text.trim_end().rsplit_once(' ').unwrap();
    assert_eq!(wait, "0", "{text}");
    fs::write(named("without.txt"), format!("{head} -\n")).unwrap();
    let without = named("without.txt");
    refused(&["plan", &without], "block 1 takes bytes of block 0");
    refused(&["replay", &named("trace.csv"), "--plan", &without], "block 1 takes bytes of block 0");
    // What a file says of the bound is not believed.
    fs::write(named("bound.txt"), text.replace("bound 640", "bound 1")).unwrap();
    assert_eq!(object(&["plan", &named("bound.txt")])["plan"]["bound_bytes"], 640);
    refused(&["plan", &named("plan.txt"), "--no-waits"], "this is a plan already");
}
