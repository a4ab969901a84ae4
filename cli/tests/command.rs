//! The command as its users meet it: exit statuses, JSON keys, messages, files. Data in tables; `shipped` plays every trace.

mod support;

use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use support::{object as json, strandline};
use tempfile::TempDir;

const HEADER: &str = "Thread,Time,Action,Pointer,Size,Stream\n";

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces").join(name);
    path.to_str().expect("a UTF-8 path").to_owned()
}

fn vit() -> String {
    shipped("vit_infer.csv.gz")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn count(report: &Value, pointer: &str) -> u64 {
    report
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("{pointer} in {report}"))
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder for the test"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn with(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("written");
        path.to_str().expect("a UTF-8 path").to_owned()
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_str().expect("a UTF-8 path").to_owned()
    }
}

/// A trace of `pairs` allocations of growing size, each freed two later.
fn rmm(pairs: u64) -> String {
    let mut text = HEADER.to_owned();
    for i in 0..pairs {
        text += &format!("1,00:00:00.{:06},allocate,{:#x},{},0\n", i, 0x1000 + i, 256 + 64 * i);
        if i >= 2 {
            let j = i - 2;
            text += &format!("1,00:00:00.{:06},free,{:#x},{},0\n", i, 0x1000 + j, 256 + 64 * j);
        }
    }
    text
}

const NUMBERS: &[&str] = &[
    "/trace/events",
    "/trace/streams",
    "/trace/peak_live_bytes",
    "/trace/peak_allocated_bytes",
    "/trace/peak_active_bytes",
    "/trace/devices",
    "/trace/reader/ignored_entries",
    "/memory/peak_allocated_bytes",
    "/memory/peak_active_bytes",
    "/memory/peak_reserved_bytes",
    "/memory/final_reserved_bytes",
    "/pool/peak_reserved_bytes",
    "/pool/peak_committed_bytes",
    "/pool/final_committed_bytes",
    "/pool/largest_hole_bytes",
    "/pool/overhead",
    "/reuse/fresh",
    "/reuse/dominated",
    "/reuse/completed",
    "/reuse/waited",
    "/reuse/missed",
    "/reuse/tainted",
    "/latency_ns/acquire/p50",
    "/latency_ns/acquire/p99",
    "/latency_ns/acquire/p999",
    "/latency_ns/acquire/max",
    "/latency_ns/release/p50",
    "/latency_ns/release/p99",
    "/latency_ns/release/p999",
    "/latency_ns/release/max",
    "/throughput/events_per_s",
    "/oracle/overlaps",
    "/oracle/early_reuse",
    "/oracle/corruptions",
];

#[track_caller]
fn check_keys(report: &Value) {
    for pointer in NUMBERS {
        assert!(report.pointer(pointer).is_some_and(Value::is_number), "{pointer} in {report}");
    }
    assert!(report["trace"]["format"].is_string() && report["pool"]["kind"].is_string());
    for finding in ["/oracle/overlaps", "/oracle/early_reuse", "/oracle/corruptions"] {
        assert_eq!(count(report, finding), 0, "{finding}");
    }
}

#[test]
fn every_kind_of_pool_and_policy_plays() {
    let trace = vit();
    for options in [
        &["--pool", "auto"][..],
        &["--pool", "tlsf"],
        &["--pool", "fixed"],
        &["--pool", "arena"],
        &["--pool", "passthrough"],
        &["--policy", "readiness"],
        &["--policy", "eager"],
        &["--policy", "eager", "--pool", "tlsf"],
        &["--slab", "8MiB"],
        &["--slab", "8MiB", "--capacity", "1GiB"],
        &["--budget", "1GiB"],
        &["--streams", "4"],
        &["--in-flight", "16"],
        &["--streams", "4", "--in-flight", "64", "--allow-wait"],
        &["--streams", "4", "--in-flight", "64", "--pool", "arena", "--allow-wait"],
        &["--streams", "4", "--in-flight", "64", "--pool", "passthrough"],
        &["--lenient"],
    ] {
        let report = json(&[&["replay", &trace], options].concat(), 0);
        check_keys(&report);
        assert_eq!(report["ok"], true, "{options:?}");
    }
}

#[test]
fn a_failure_says_which_event_and_why_in_both_forms() {
    let trace = vit();
    for (options, word) in [
        (&["--capacity", "1MiB"][..], "exhausted"),
        (&["--capacity", "1000"], "exhausted"),
        (&["--budget", "1MiB"], "its budget none will ever serve more than 1.00 MiB"),
        (&["--budget", "8MiB"], "over budget"),
        (&["--capacity", "20MiB", "--pool", "passthrough"], "exhausted"),
        (&["--capacity", "20MiB", "--pool", "fixed"], "exhausted"),
    ] {
        let args = [&["replay", &trace], options].concat();
        let report = json(&args, 1);
        check_keys(&report);
        assert_eq!(report["ok"], false);
        let failure = &report["failure"];
        for key in ["event", "bytes_requested"] {
            assert!(failure[key].as_u64().is_some_and(|n| n > 0), "{key} in {failure}");
        }
        for key in ["live_bytes", "largest_hole_bytes", "pending_bytes"] {
            assert!(failure[key].is_u64(), "{key} in {failure}");
        }
        assert!(failure["reason"].as_str().unwrap().contains(word), "{failure}");
        let text = stdout(&strandline(&args));
        let said = format!("FAILED at event {}", failure["event"]);
        assert!(text.contains(&said), "{said} in {text}");
        assert!(text.contains("largest hole") && text.contains("pending"), "{text}");
    }
}

#[test]
fn what_the_free_bytes_wait_for_is_named() {
    let files = Files::new();
    // 16 blocks on stream 0 fill the capacity and are freed; the next burst, on stream 1, cannot have them yet.
    let mut text = HEADER.to_owned();
    for action in ["allocate", "free"] {
        for i in 1..=16 {
            text += &format!("1,00:00:01.000000,{action},{:#x},4096,0\n", i * 0x1000);
        }
    }
    text += "1,00:00:02.000000,allocate,0x99000,65536,0\n";
    let trace = files.with("handover.csv", text);
    let args = [
        "replay",
        &trace,
        "--capacity",
        "64KiB",
        "--pool",
        "tlsf",
        "--streams",
        "2",
        "--in-flight",
        "100",
    ];
    let report = json(&args, 1);
    assert_eq!(count(&report, "/failure/event"), 33);
    assert_eq!(count(&report, "/failure/pending_bytes"), 65536);
    assert_eq!(count(&report, "/failure/largest_hole_bytes"), 65536);
    assert_eq!(report["trace"]["streams_synthesized"], true);
    let text = stdout(&strandline(&args));
    assert!(text.contains("wait for queue:0.0 to reach 32 (now 0)"), "{text}");
    assert!(text.contains("synthesized"), "{text}");
    let report = json(&[&args[..], &["--allow-wait"]].concat(), 0);
    assert_eq!(report["ok"], true);
}

#[test]
fn bad_input_names_file_line_and_remedy() {
    let files = Files::new();
    let line = |rest: &str| format!("{HEADER}{rest}");
    let garbage = "x".repeat(80) + "\n";
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty.csv", vec![], "empty"),
        ("header.csv", HEADER.into(), "no allocation"),
        ("garbage.csv", garbage.repeat(100_000).into(), "line 1"),
        ("binary.bin", (0..=255u8).cycle().skip(7).take(100_000).collect(), "trace"),
        ("broken.csv", line("1,00:00:00.000001,allocate,0x10,64,0\n1,00:00:00.0000\n").into(), "line 3"),
        ("negative.csv", line("1,00:00:00.000001,allocate,0x10,-64,0\n").into(), "line 2"),
        (
            "overflow.csv",
            line("1,00:00:00.000001,allocate,0x10,99999999999999999999,0\n").into(),
            "line 2",
        ),
        (
            "sum.csv",
            line("1,00:00:00.000001,allocate,0x10,18446744073709551615,0\n1,00:00:00.000002,allocate,0x20,1,0\n")
                .into(),
            "line 3",
        ),
        (
            "double.csv",
            line("1,00:00:00.000001,allocate,0x10,64,0\n1,00:00:00.000002,free,0x10,64,0\n1,00:00:00.000003,free,0x10,64,0\n")
                .into(),
            "line 4",
        ),
        (
            "negative.jsonl",
            "{\"timestamp\": 5, \"input_length\": 1, \"output_length\": -1}\n".into(),
            "line 1",
        ),
        ("cut.gz", fs::read(vit()).unwrap()[..5000].to_vec(), "cut.gz"),
    ];
    for (name, content, part) in cases {
        let path = files.with(name, content);
        for command in ["replay", "fit"] {
            let output = strandline(&[command, &path]);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{name}: {said}");
            assert!(said.contains(name) && said.contains(part), "{name}: {said}");
            assert!(!said.contains("panicked"), "{said}");
            assert!(said.len() < 2000, "{name}: {said}");
            assert!(output.stdout.is_empty(), "{name}");
            let error = json(&[command, &path], 2)["error"].clone();
            assert!(error["file"].as_str().unwrap().ends_with(name), "{error}");
            for key in ["what", "expected", "remedy"] {
                assert!(
                    error[key].as_str().is_some_and(|text| !text.is_empty()),
                    "{key} in {error}"
                );
            }
            if let Some(line) = part.strip_prefix("line ") {
                assert_eq!(error["line"].to_string(), line, "{error}");
            }
        }
    }
    for missing in [files.name("missing.csv"), files.0.path().to_str().unwrap().to_owned()] {
        let output = strandline(&["replay", &missing]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(&missing));
    }
}

#[test]
fn bad_options_are_refused_with_a_reason() {
    let files = Files::new();
    let trace = vit();
    let two = files.with(
        "two.csv",
        format!(
            "{HEADER}1,00:00:00.000001,allocate,0x10,64,0\n1,00:00:00.000002,allocate,0x20,64,7\n"
        ),
    );
    let config = files.with("bad.toml", "[[pools]]\nkind = \"slub\"\n");
    for (args, part) in [
        (vec!["replay", &trace, "--capacity", "12 parsecs"], "is not a size"),
        (vec!["replay", &trace, "--slab=-1"], "--slab"),
        (vec!["replay", &trace, "--slab", "0"], "above 0"),
        (vec!["replay", &trace, "--pool", "heap"], "heap"),
        (vec!["replay", &trace, "--streams", "0"], "--streams"),
        (vec!["replay", &trace, "--in-flight", "99999999999"], "--in-flight"),
        (vec!["replay", &trace, "--policy", "eager", "--pool", "fixed"], "--policy"),
        (vec!["replay", &trace, "--plot", "x.png"], ".svg or .html"),
        (vec!["replay", &trace, "--config", &config], "bad.toml, line 2"),
        (vec!["replay", &trace, "--config", &config, "--pool", "tlsf"], "cannot be used with"),
        (vec!["replay", &trace, "--config", "missing.toml"], "missing.toml"),
        (vec!["replay", &two, "--streams", "3"], "2 streams of its own"),
        (vec!["replay", &trace, "--max-batch", "0"], "0"),
        (vec!["replay"], "TRACE"),
        (vec![], "Usage"),
    ] {
        let output = strandline(&args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
        // Said in an object too, also where the command line itself is wrong.
        let error = json(&args, 2)["error"].clone();
        assert!(error["what"].as_str().is_some_and(|what| !what.is_empty()), "{args:?}: {error}");
    }
}

/// A snapshot of the library's tests.
fn snapshot(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../replay/tests/formats").join(name);
    path.to_str().expect("a UTF-8 path").to_owned()
}

#[test]
fn out_of_memory_is_reported_judged_and_asked_for_again() {
    const GIB: u64 = 1 << 30;
    let path = snapshot("oom.pickle");
    let report = json(&["replay", &path], 1);
    check_keys(&report);
    assert_eq!((count(&report, "/trace/device"), count(&report, "/trace/devices")), (1, 3));
    let refused = report["trace"]["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 2);
    for (refused, entry, bytes, live, reserved, cause) in [
        (&refused[0], 6, 3 * GIB, 5 * GIB, 8 * GIB, "fragmentation"),
        (&refused[1], 12, 6 * GIB, 5 * GIB, 9 * GIB, "shortage"),
    ] {
        assert_eq!((count(refused, "/entry"), count(refused, "/bytes_requested")), (entry, bytes));
        assert_eq!(
            (count(refused, "/live_bytes"), count(refused, "/reserved_bytes")),
            (live, reserved)
        );
        assert_eq!(
            (count(refused, "/device_free_bytes"), &refused["cause"]),
            (GIB / 2, &cause.into())
        );
    }
    // The second needs more than the device had, the first does not.
    assert_eq!((&refused[0]["served"], &refused[1]["served"]), (&true.into(), &false.into()));
    assert_eq!(count(&report, "/trace/device_bytes"), 9 * GIB + GIB / 2);
    assert_eq!(count(&report, "/failure/bytes_requested"), 6 * GIB);
    let text = stdout(&strandline(&["replay", &path]));
    for part in [
        "device     1, of 3 devices",
        "device 0 with 24 entries",
        "at device_traces[1][6]: live 5.00 GiB, reserved 8.00 GiB, device free 512.00 MiB",
        "fragmentation: live and asked are 8.00 GiB, which fits into the device's 8.50 GiB if packed",
        "real shortage: live and asked are 11.00 GiB, and the device had 9.50 GiB",
        "the recorded allocator refused this request, and so do these pools",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("every request was satisfied"), "{text}");
    // With enough it is served, and where it is skipped nothing is left to fail.
    assert_eq!(json(&["replay", &path, "--capacity", "16GiB"], 0)["ok"], true);
    let skipped = json(&["replay", &path, "--as-recorded"], 0);
    assert!(skipped["trace"]["refused"][1]["served"].is_null());
    let fitted = json(&["fit", &path], 0);
    assert!(count(&fitted, "/fit/capacity_bytes") >= 11 * GIB);
}

#[test]
fn a_log_that_does_not_tell_the_device_is_not_judged() {
    let files = Files::new();
    let path = files.with(
        "fail.csv",
        format!(
            "{HEADER}7,10:00:00.1,allocate,0x10,1048576,0x2\n7,10:00:00.2,allocate failure,(nil),2097152,0x2\n"
        ),
    );
    let report = json(&["replay", &path], 1);
    assert_eq!(report["ok"], false);
    assert_eq!(count(&report, "/trace/refused/0/line"), 3);
    assert_eq!(count(&report, "/trace/refused/0/live_bytes"), 1 << 20);
    assert!(report["failure"]["reason"].as_str().unwrap().contains("--capacity SIZE"));
    json(&["replay", &path, "--capacity", "3MiB"], 0);
    json(&["replay", &path, "--capacity", "2MiB"], 1);
    json(&["replay", &path, "--as-recorded"], 0);
}

#[test]
fn every_device_is_played_where_that_is_asked_for() {
    let report = json(&["replay", &snapshot("oom.pickle"), "--device", "all"], 1);
    let devices = report["devices"].as_array().unwrap();
    let played: Vec<_> =
        devices.iter().map(|one| (count(one, "/trace/device"), &one["ok"])).collect();
    assert_eq!(played, [(0, &true.into()), (1, &false.into())]);
    assert_eq!(report["ok"], false);
    let text = stdout(&strandline(&["replay", &snapshot("oom.pickle"), "--device", "all"]));
    assert!(text.contains("device     0, of 3") && text.contains("device     1, of 3"), "{text}");
    for args in [
        &["replay", &vit(), "--device", "all"][..],
        &["replay", &snapshot("oom.pickle"), "--device", "7"],
        &["replay", &snapshot("oom.pickle"), "--device", "most"],
        &["fit", &snapshot("oom.pickle"), "--device", "all"],
    ] {
        json(args, 2);
    }
}

#[test]
fn a_state_without_a_trace_is_reported() {
    for name in ["state.pickle", "bare.pickle", "bare.json"] {
        let report = json(&["replay", &snapshot(name)], 0);
        assert_eq!(report["ok"], true);
        for key in ["reserved_bytes", "allocated_bytes", "active_bytes", "largest_hole_bytes"] {
            assert!(report["state"][key].as_u64().is_some_and(|n| n > 0), "{name}: {key}");
        }
        let text = stdout(&strandline(&["replay", &snapshot(name)]));
        assert!(text.contains("largest hole") && text.contains("no history"), "{text}");
        let error = json(&["fit", &snapshot(name)], 2);
        assert!(error["error"]["remedy"].as_str().unwrap().contains("_record_memory_history"));
    }
    let state = json(&["replay", &snapshot("state.pickle")], 0)["state"].clone();
    assert_eq!(
        (count(&state, "/allocated_bytes"), count(&state, "/active_bytes")),
        (512, 512 + 1024 + 2048)
    );
    assert_eq!(
        (count(&state, "/free_in_segments_bytes"), count(&state, "/free_whole_segments_bytes")),
        (1024, 2 << 20)
    );
}

#[test]
fn blocks_in_use_after_their_free_are_played_as_pending() {
    let report = json(&["replay", &snapshot("deferred.pickle")], 0);
    let (allocated, active) =
        (count(&report, "/trace/peak_allocated_bytes"), count(&report, "/trace/peak_active_bytes"));
    assert!(active > allocated, "{active} {allocated}");
    assert_eq!(count(&report, "/memory/peak_active_bytes"), active);
    assert_eq!(count(&report, "/memory/peak_allocated_bytes"), allocated);
    assert!(count(&report, "/pool/peak_pending_bytes") >= 3000);
}

#[test]
fn streams_of_a_trace_are_kept() {
    let files = Files::new();
    let two = files.with(
        "two.csv",
        format!(
            "{HEADER}1,00:00:00.000001,allocate,0x10,64,0\n1,00:00:00.000002,allocate,0x20,64,7\n"
        ),
    );
    let report = json(&["replay", &two, "--in-flight", "3"], 0);
    assert_eq!(count(&report, "/trace/streams"), 2);
    assert_eq!(report["trace"]["streams_synthesized"], false);
}

#[test]
fn what_fit_finds_replays_with_the_capacity_alone_and_from_its_file() {
    let files = Files::new();
    let small = files.with("small.csv", rmm(40));
    for trace in [vit(), small] {
        let config = files.name("fit.toml");
        let report = json(&["fit", &trace, "--output", &config], 0);
        check_keys(&report);
        let capacity = count(&report, "/fit/capacity_bytes");
        let overhead = report["fit"]["overhead"].as_f64().unwrap();
        let live = count(&report, "/trace/peak_live_bytes");
        assert!(capacity >= live && (overhead - capacity as f64 / live as f64).abs() < 1e-9);
        assert_eq!(json(&["replay", &trace, "--capacity", &capacity.to_string()], 0)["ok"], true);
        let replayed = json(&["replay", &trace, "--config", &config], 0);
        assert!(count(&replayed, "/pool/peak_committed_bytes") <= capacity);
        let less = (live - 1) / 4096 * 4096;
        json(&["replay", &trace, "--capacity", &less.to_string()], 1);
    }
    let text = stdout(&strandline(&["fit", &vit()]));
    assert!(text.contains("[[pools]]") && text.contains("smallest capacity"), "{text}");
}

#[test]
fn a_plot_is_written_on_success_and_on_failure() {
    let files = Files::new();
    for (options, exit, mark) in
        [(&[][..], 0, "pending"), (&["--capacity", "1MiB"], 1, "failed at event")]
    {
        for (name, start) in [("plot.svg", "<svg"), ("plot.html", "<!DOCTYPE html>")] {
            let plot = files.name(name);
            let output = strandline(&[&["replay", &vit(), "--plot", &plot], options].concat());
            assert_eq!(output.status.code(), Some(exit), "{}", stderr(&output));
            let text = fs::read_to_string(&plot).unwrap();
            assert!(text.starts_with(start) && text.contains(mark), "{name}");
        }
    }
    let nowhere = files.name("no/such/folder/plot.svg");
    assert_eq!(strandline(&["replay", &vit(), "--plot", &nowhere]).status.code(), Some(2));
}

#[test]
fn converted_traces_say_the_same() {
    let files = Files::new();
    let peak = |path: &str| count(&json(&["replay", path], 0), "/trace/peak_live_bytes");
    let expected = peak(&vit());
    for (name, to) in
        [("a.csv", "compact"), ("b.csv.gz", "compact"), ("c.csv", "rmm"), ("d.csv.gz", "rmm")]
    {
        let out = files.name(name);
        let output = strandline(&["convert", &vit(), &out, "--to", to]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(peak(&out), expected, "{name}");
        let packed = fs::read(&out).unwrap().starts_with(&[0x1f, 0x8b]);
        assert_eq!(packed, name.ends_with(".gz"), "{name}");
    }
    // A failed conversion leaves what was there, and nothing else.
    let bad = files.with("bad.csv", format!("{}1,0,free\n", rmm(4)));
    let kept = files.with("kept.csv", "kept");
    let output = strandline(&["convert", &bad, &kept]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("bad.csv, line 8"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
    assert!(
        fs::read_dir(files.0.path())
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().contains(".part") })
    );
}

#[test]
fn info_names_the_provider_in_both_forms() {
    let output = strandline(&["info"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("provider mmap"), "{}", stdout(&output));
    let report = json(&["info"], 0);
    assert_eq!(report["providers"][0]["name"], "mmap");
    assert!(count(&report, "/providers/0/granularity_bytes").is_power_of_two());
    assert!(count(&report, "/prefault/populated_ns") > 0);
    assert!(["io_uring", "poll"].map(Some).contains(&report["proactor"]["kind"].as_str()));
    let forced = json(&["info", "--proactor", "poll"], 0);
    assert_eq!(forced["proactor"]["kind"], "poll");
    assert!(!report["machine"]["memory_nodes"].as_array().expect("nodes").is_empty());
    // What was given, not what was asked for: it may be nothing, and is never more than there is.
    if let Some(huge) = report["prefault"]["huge_bytes"].as_u64() {
        assert!(huge <= count(&report, "/prefault/bytes"));
    }
}

#[test]
fn nothing_is_coloured_away_from_a_terminal() {
    for args in
        [&["replay", &vit()][..], &["replay", &vit(), "--capacity", "1MiB"], &["replay", "nowhere"]]
    {
        let output = strandline(args);
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{args:?}");
    }
}

#[test]
fn help_has_examples() {
    for args in [&["--help"][..], &["replay", "--help"], &["fit", "--help"], &["convert", "--help"]]
    {
        let output = strandline(args);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("Examples:"), "{args:?}");
    }
}

/// A trace many times longer than its live set.
#[test]
fn a_long_trace_reuses_what_a_short_one_needs() {
    let files = Files::new();
    let path = files.path("long.csv");
    let mut out = std::io::BufWriter::new(fs::File::create(&path).unwrap());
    out.write_all(b"time_ns,action,id,size,stream,thread\n").unwrap();
    let size = |i: u64| 256 + (i * 7919) % 60_000;
    for i in 0..100_000u64 {
        writeln!(out, "{i},alloc,{},{},0,0", i + 1, size(i)).unwrap();
        if i >= 500 {
            writeln!(out, "{i},free,{},{},0,0", i - 499, size(i - 500)).unwrap();
        }
    }
    out.into_inner().unwrap().sync_all().unwrap();
    let report = json(&["replay", path.to_str().unwrap()], 0);
    assert_eq!(count(&report, "/trace/events"), 199_500);
    let live = count(&report, "/trace/peak_live_bytes");
    assert!(count(&report, "/pool/peak_committed_bytes") < 2 * live.max(32 << 20));
}

#[test]
fn a_guest_that_cannot_be_run_says_why() {
    let output = strandline(&["run", "no-such-guest.wasm"]);
    assert_eq!(output.status.code(), Some(2));
    let why = stderr(&output);
    if cfg!(feature = "component") {
        assert!(why.contains("no-such-guest.wasm"), "{why}");
    } else {
        assert!(why.contains("--features component"), "{why}");
    }
}

#[cfg(not(feature = "component"))]
#[test]
fn a_build_without_the_sandbox_says_how_to_get_one() {
    let output = strandline(&["replay", &vit(), "--via", "component"]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(told.contains("--features component") && told.contains("xtask component"), "{told}");
}
