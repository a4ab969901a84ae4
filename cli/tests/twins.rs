//! `explain`, `compare` and `diff` as their users meet them: the JSON keys, exit statuses, first lines, and what bad input gets.
//!
//! The snapshots are the project's own, written as JSON in the shape that PyTorch's `_snapshot()` dumps. Those of others are read where
//! they lie beside the project.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::{object, strandline};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

#[track_caller]
fn text(args: &[&str], exit: i32) -> String {
    let output = strandline(args);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit), "{args:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8") + &error
}

/// The keys that the project promises: each must be there, with a value of its type (`n` number, `b` truth, `s` text, `_` any).
#[track_caller]
fn has_keys(of: &Value, keys: &[(&str, char)]) {
    for (pointer, kind) in keys {
        let value = of.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is missing in {of:#}"));
        let sound = match kind {
            'n' => value.is_number(),
            'b' => value.is_boolean(),
            's' => value.is_string(),
            _ => true,
        };
        assert!(sound, "{pointer} is {value}");
    }
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn name(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn with(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.0.path().join(name), content).expect("written");
        self.name(name)
    }
}

const BASE: u64 = 0x7f00_0000_0000;

fn entry(action: &str, address: u64, size: u64, line: u64) -> Value {
    json!({
        "action": action, "addr": address, "size": size, "stream": 0, "time_us": 0,
        "frames": [
            { "filename": "train.py", "name": "step", "line": line },
            { "filename": "train.py", "name": "<module>", "line": 1 },
        ],
    })
}

/// Three blocks of 6 MiB share a segment of 20 MiB; the first and the last go; 14 MiB of the rest are pinned by the second. `grown`: a
/// fourth block, of 12 MiB and of a line of its own, in a segment of its own. `refused`: the device has no more.
fn snapshot(grown: bool, refused: bool) -> String {
    let at = |index: u64| BASE + index * 6 * MIB;
    let mut trace = vec![entry("segment_alloc", BASE, 20 * MIB, 10)];
    for index in 0..3 {
        trace.push(entry("alloc", at(index), 6 * MIB, 10 + index));
    }
    for index in [0, 2] {
        trace.push(entry("free_requested", at(index), 6 * MIB, 20));
        trace.push(entry("free_completed", at(index), 6 * MIB, 20));
    }
    let block = |address, size, state, line: u64| {
        json!({
            "address": address, "size": size, "requested_size": size, "state": state,
            "frames": [{ "filename": "train.py", "name": "step", "line": line }],
        })
    };
    let segment = |address, total: u64, blocks: Value| {
        json!({
            "device": 0, "address": address, "total_size": total, "stream": 0, "segment_type": "large",
            "allocated_size": 0, "active_size": 0, "segment_pool_id": [0, 0], "is_expandable": false,
            "blocks": blocks,
        })
    };
    let mut segments = vec![segment(
        BASE,
        20 * MIB,
        json!([
            block(BASE, 6 * MIB, "inactive", 0),
            block(at(1), 6 * MIB, "active_allocated", 11),
            block(at(2), 8 * MIB, "inactive", 0),
        ]),
    )];
    if grown {
        let other = BASE + (1 << 30);
        trace.push(entry("segment_alloc", other, 12 * MIB, 30));
        trace.push(entry("alloc", other, 12 * MIB, 30));
        segments.push(segment(
            other,
            12 * MIB,
            json!([block(other, 12 * MIB, "active_allocated", 30)]),
        ));
    }
    if refused {
        // An out-of-memory states what the device has free in place of an address.
        let mut failed = entry("oom", 0, 12 * MIB, 40);
        failed["device_free"] = json!(2 * MIB);
        trace.push(failed);
    }
    let settings = json!({
        "PYTORCH_CUDA_ALLOC_CONF": "", "max_split_size": -1, "garbage_collection_threshold": 0.0,
        "expandable_segments": false, "roundup_power2_divisions": {},
    });
    json!({ "segments": segments, "device_traces": [trace], "allocator_settings": settings })
        .to_string()
}

const CERTIFICATE: &[(&str, char)] = &[
    ("/certificate/addresses/reproduced", 'n'),
    ("/certificate/addresses/of", 'n'),
    ("/certificate/segments/reproduced", 'n'),
    ("/certificate/segments/of", 'n'),
    ("/certificate/sweeps/reproduced", 'n'),
    ("/certificate/sweeps/of", 'n'),
    ("/certificate/settings", '_'),
    ("/certificate/first_difference", '_'),
];

const EXPLAIN: &[(&str, char)] = &[
    ("/explain/peak_allocated_bytes", 'n'),
    ("/explain/peak_active_bytes", 'n'),
    ("/explain/peak_reserved_bytes", 'n'),
    ("/explain/unused/rounding", 'n'),
    ("/explain/unused/inside_segments", 'n'),
    ("/explain/unused/whole_segments", 'n'),
    ("/explain/unused/waiting", 'n'),
    ("/explain/unused/other_streams", 'n'),
    ("/explain/unused/private_pools", 'n'),
    ("/explain/out_of_memory", '_'),
    ("/explain/holders/0/line", 's'),
    ("/explain/holders/0/bytes", 'n'),
    ("/explain/holders/0/blocks", 'n'),
    ("/explain/pinners", '_'),
];

const REFUSAL: &[(&str, char)] = &[
    ("/explain/out_of_memory/0/device", 'n'),
    ("/explain/out_of_memory/0/entry", 'n'),
    ("/explain/out_of_memory/0/requested_bytes", 'n'),
    ("/explain/out_of_memory/0/allocated_bytes", 'n'),
    ("/explain/out_of_memory/0/reserved_bytes", 'n'),
    ("/explain/out_of_memory/0/device_free_bytes", 'n'),
    ("/explain/out_of_memory/0/largest_hole_bytes", 'n'),
    ("/explain/out_of_memory/0/verdict", 's'),
];

const ROW: &[(&str, char)] = &[
    ("/allocator", 's'),
    ("/settings", 's'),
    ("/paste", 's'),
    ("/peak_reserved_bytes", 'n'),
    ("/over_active", 'n'),
    ("/ok", 'b'),
    ("/certified", 'b'),
];

#[test]
fn explain_tells_what_its_keys_promise() {
    let files = Files::new();
    let file = files.with("run.json", snapshot(false, true));
    let told = object(&["explain", &file], 0);
    has_keys(&told, CERTIFICATE);
    has_keys(&told, EXPLAIN);
    has_keys(&told, REFUSAL);
    let refusal = &told["explain"]["out_of_memory"][0];
    assert_eq!(refusal["verdict"], "fragmentation", "{refusal}");
    assert_eq!(refusal["requested_bytes"], 12 * MIB);
    assert_eq!(refusal["allocated_bytes"], 6 * MIB);
    assert_eq!(refusal["reserved_bytes"], 20 * MIB);
    assert_eq!(refusal["largest_hole_bytes"], 8 * MIB);
    assert_eq!(told["certificate"]["addresses"], json!({ "reproduced": 3, "of": 3 }));
    // At the failure one block is live, and pins all that is free.
    assert_eq!(told["explain"]["unused"]["inside_segments"], 14 * MIB);
    assert_eq!(told["explain"]["holders"][0]["line"], "train.py:11 step");
    assert_eq!(told["explain"]["pinners"][0]["line"], "train.py:11 step");
    assert_eq!(told["explain"]["pinners"][0]["bytes"], 6 * MIB);
    assert_eq!(told["explain"]["pinners"][0]["pinned_bytes"], 14 * MIB);

    let words = text(&["explain", &file], 0);
    let first = words.lines().next().unwrap_or_default();
    // Entries count from 0, as in the file's list.
    assert!(first.starts_with("OUT OF MEMORY at entry 8 (device 0): "), "{first}");
    assert_eq!(refusal["entry"], 8);
    assert!(words.lines().nth(1).is_some_and(|line| line.starts_with("certified: ")), "{words}");
    assert!(words.contains("14.00 MiB  by 6.00 MiB in 1 block  train.py:11 step"), "{words}");
    let fine = text(&["explain", &files.with("fine.json", snapshot(true, false))], 0);
    assert!(
        fine.starts_with("no out-of-memory: at most 18.00 MiB allocated, 32.00 MiB reserved"),
        "{fine}"
    );
}

#[test]
fn explain_looks_at_an_entry_and_draws() {
    let files = Files::new();
    let file = files.with("run.json", snapshot(true, false));
    let picture = files.name("run.svg");
    let told = object(&["explain", &file, "--at", "3", "--plot", &picture], 0);
    assert_eq!(told["explain"]["at"]["entry"], 3);
    assert_eq!(told["explain"]["holders"].as_array().map(Vec::len), Some(3), "{told:#}");
    assert!(fs::read_to_string(&picture).expect("drawn").starts_with("<svg"));
    let words = text(&["explain", &file, "--at", "3", "--top", "1"], 0);
    assert!(words.contains("at entry 3 ") && words.contains("… and 2 more (--top N)"), "{words}");
    // A segment comes with the request that it was taken for.
    let words = text(&["explain", &file, "--at", "0"], 0);
    assert!(words.contains("at entry 1 (as asked for): 6.00 MiB allocated"), "{words}");
}

#[test]
fn compare_tells_what_its_keys_promise() {
    let files = Files::new();
    let file = files.with("run.json", snapshot(true, false));
    let told = object(&["compare", &file, "--fit-seconds", "1"], 0);
    has_keys(&told, CERTIFICATE);
    let rows = told["compare"]["rows"].as_array().expect("rows");
    for row in rows {
        has_keys(row, ROW);
    }
    let named = |name: &str| rows.iter().filter(|row| row["allocator"] == name).collect::<Vec<_>>();
    assert_eq!(rows[0]["allocator"], "recorded run");
    assert_eq!(rows[0]["peak_reserved_bytes"], 32 * MIB);
    assert_eq!(rows[0]["certified"], true);
    assert!(named("PyTorch").iter().all(|row| row["certified"] == true), "{rows:?}");
    for other in ["RMM pool", "RMM arena", "RMM binning", "TensorFlow", "ONNX Runtime"] {
        let rows = named(other);
        assert!(!rows.is_empty() && rows.iter().all(|row| row["certified"] == false), "{other}");
        assert!(
            rows.iter().all(|row| row["paste"].as_str().is_some_and(|p| !p.is_empty())),
            "{other}"
        );
    }
    // The bound is below every row, and strandline's row is near it.
    let bound = named("bound")[0]["peak_reserved_bytes"].as_u64().expect("bytes");
    assert_eq!(bound, 18 * MIB);
    for row in rows.iter().filter(|row| row["ok"] == true) {
        assert!(row["peak_reserved_bytes"].as_u64() >= Some(bound), "{row}");
    }
    let fitted = named("strandline")[0];
    assert!(fitted["peak_reserved_bytes"].as_u64() < Some(20 * MIB), "{fitted}");
    let planned = named("strandline")[1];
    assert_eq!(planned["settings"], "planned (optimal)");
    assert_eq!((&planned["peak_reserved_bytes"], &planned["paste"]), (&json!(bound), &json!("")));
    // What is pasted is a configuration that the replay takes, and the capacity it names holds the run.
    let config = files.with("pool.toml", fitted["paste"].as_str().expect("text"));
    let replayed = object(&["replay", &file, "--config", &config], 0);
    assert_eq!(replayed["ok"], true, "{replayed:#}");
}

#[test]
fn compare_says_what_to_paste_and_what_it_is_worth() {
    let files = Files::new();
    let file = files.with("run.json", snapshot(true, false));
    let words = text(&["compare", &file, "--fit-seconds", "0"], 0);
    let lines: Vec<&str> = words.lines().collect();
    // No setting of PyTorch helps this run. What does was never held against it, and the advice says so.
    assert!(
        lines[0].starts_with("RMM pool: 24.00 MiB reserved, 8.00 MiB less than the current"),
        "{words}"
    );
    assert!(lines[1].starts_with("    rmm.mr.PoolMemoryResource("), "{words}");
    assert!(lines[2].contains("rmm::mr::pool_memory_resource"), "{words}");
    assert!(words.contains("\nNOT certified: ") && words.contains("\ncertified: "), "{words}");
    // A device that is too small for anything: exit status 1, and the first word says so.
    let failed = text(&["compare", &file, "--capacity", "10MiB", "--fit-seconds", "0"], 1);
    assert!(failed.starts_with("FAILED: nothing that was tried fits."), "{failed}");
    // A plan that fits is no allocator: it is told, and the run still fails.
    let tight = ["compare", &file, "--capacity", "18MiB", "--fit-seconds", "0", "--sweep"];
    let tight = text(&tight, 1);
    assert!(tight.contains("\nA plan of 18.00 MiB would, "), "{tight}");

    // What is exported is a snapshot, and the run that it tells is certified.
    let better = files.name("better.pickle");
    let _ = text(&["compare", &file, "--fit-seconds", "0", "--export", &better], 0);
    let told = object(&["explain", &better], 0);
    assert_eq!(told["certificate"]["whole"], true, "{told:#}");
    assert_eq!(told["certificate"]["settings_from"], "file", "{told:#}");
}

/// The snapshot with `change` made to its first device's trace.
fn changed(change: impl FnOnce(&mut Vec<Value>)) -> String {
    let mut snapshot: Value = serde_json::from_str(&snapshot(true, false)).expect("JSON");
    change(snapshot["device_traces"][0].as_array_mut().expect("entries"));
    snapshot.to_string()
}

/// Where the model does not reproduce the run, the recorded row's numbers are still the recording's, and no row looks proven.
#[test]
fn the_recorded_row_is_the_recordings_own() {
    let files = Files::new();
    // A block of 6 MiB where the model would never put it, and a segment that nothing asked for.
    let odd = changed(|trace| {
        trace[1]["addr"] = json!(BASE + 13 * MIB);
        trace.insert(1, entry("segment_alloc", BASE + (2 << 30), 40 * MIB, 9));
        trace.insert(2, entry("segment_free", BASE + (2 << 30), 40 * MIB, 9));
    });
    let file = files.with("odd.json", odd);
    let args = ["compare", &file, "--fit-seconds", "0", "--plan-seconds", "0"];
    let told = object(&args, 0);
    let rows = told["compare"]["rows"].as_array().expect("rows");
    assert_eq!((&rows[0]["basis"], &rows[0]["certified"]), (&json!("recorded"), &json!(false)));
    assert_eq!((&rows[0]["grants"], &rows[0]["returns"]), (&json!(3), &json!(1)), "{rows:#?}");
    assert_eq!(rows[0]["peak_reserved_bytes"], 60 * MIB);
    assert!(rows.iter().all(|row| row["basis"] != "certified_model"), "{rows:#?}");
    let words = text(&args, 0);
    assert!(words.contains("recorded; the model does NOT reproduce it"), "{words}");
    assert!(words.contains("by a model NOT certified") && !words.contains("the certified model"));

    // Of a certified run: what was never recorded is said to be by the model.
    let file = files.with("run.json", snapshot(true, false));
    let args = ["compare", &file, "--fit-seconds", "0", "--plan-seconds", "0"];
    let told = object(&args, 0);
    let rows = told["compare"]["rows"].as_array().expect("rows");
    let own: Vec<&Value> = rows.iter().filter(|row| row["allocator"] == "PyTorch").collect();
    assert!(own.iter().all(|row| row["basis"] == "certified_model"), "{own:#?}");
    let words = text(&args, 0);
    assert!(words.contains("recorded; the model reproduces it: certified"), "{words}");
    assert!(words.contains("by the certified model"), "{words}");
    // No two rows look the same.
    let mut names: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row["allocator"], row["settings"])).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
}

/// What the file does not tell is null and "not told", and no verdict is made of it.
#[test]
fn what_is_not_told_is_not_zero() {
    let files = Files::new();
    let mut bare: Value = serde_json::from_str(&snapshot(true, true)).expect("JSON");
    bare["segments"] = json!([]);
    let trace = bare["device_traces"][0].as_array_mut().expect("entries");
    trace.retain(|entry| entry["action"] != "segment_alloc");
    let file = files.with("bare.json", bare.to_string());
    let told = object(&["explain", &file], 0);
    let explain = &told["explain"];
    assert_eq!(explain["peak_allocated_bytes"], 18 * MIB);
    let refusal = &explain["out_of_memory"][0];
    for value in [
        &explain["peak_reserved_bytes"],
        &explain["at"]["reserved_bytes"],
        &explain["unused"]["rounding"],
        &explain["unused"]["whole_segments"],
        &refusal["reserved_bytes"],
        &refusal["largest_hole_bytes"],
        &refusal["verdict"],
    ] {
        assert!(value.is_null(), "{told:#}");
    }
    assert_eq!(refusal["device_free_bytes"], 2 * MIB);
    let words = text(&["explain", &file], 0);
    assert!(words.contains("why is not told: ") && words.contains("not told"), "{words}");
    assert!(!words.contains("0 B reserved") && !words.contains("shortage"), "{words}");
    let diff = object(&["diff", &file, &file], 0);
    assert_eq!(diff["diff"]["peak_reserved_bytes"], json!({ "a": null, "b": null }));

    // A refusal that does not say what the device had free is judged where that makes no difference.
    for (asked, verdict) in [(12 * MIB, json!("fragmentation")), (40 * MIB, Value::Null)] {
        let told = changed(|trace| {
            let mut failed = entry("oom", 0, asked, 40);
            failed.as_object_mut().expect("an entry").remove("addr");
            trace.push(failed);
        });
        let told = object(&["explain", &files.with("free.json", told)], 0);
        let refusal = &told["explain"]["out_of_memory"][0];
        assert_eq!((&refusal["verdict"], &refusal["device_free_bytes"]), (&verdict, &Value::Null));
    }
}

/// One rule for devices, whoever reads the file: how many there are, which one is looked at, and what an unknown one gets.
#[test]
fn devices_are_counted_and_chosen_alike() {
    let files = Files::new();
    let mut four: Value = serde_json::from_str(&snapshot(true, false)).expect("JSON");
    let trace = four["device_traces"][0].take();
    four["device_traces"] = json!([[], trace, [], []]);
    for segment in four["segments"].as_array_mut().expect("segments") {
        segment["device"] = json!(1);
    }
    let file = files.with("four.json", four.to_string());
    let explained = object(&["explain", &file], 0);
    let replayed = object(&["replay", &file], 0);
    assert_eq!(explained["explain"]["devices"], 4);
    assert_eq!(replayed["trace"]["devices"], 4);
    assert_eq!(
        (&explained["explain"]["device"], &replayed["trace"]["device"]),
        (&json!(1), &json!(1))
    );
    let diff = text(&["diff", &file, &file], 0);
    assert!(diff.contains(": device 1, of 4 devices in the file"), "{diff}");
    let mut said = Vec::new();
    for command in ["explain", "replay", "compare", "fit", "plan"] {
        for device in ["0", "9"] {
            let told = object(&[command, &file, "--device", device], 2);
            assert!(told["error"]["file"].as_str().is_some_and(|file| file.ends_with("four.json")));
            let words = text(&[command, &file, "--device", device], 2);
            said.push((device, words.replace(command, "")));
        }
    }
    for (device, words) in &said {
        assert!(words.contains(&format!("nothing of device {device}")), "{words}");
        assert!(words.contains("tells: 1;"), "{words}");
        assert_eq!(words, &said.iter().find(|(of, _)| of == device).expect("the first").1);
    }
}

/// A state is reported, and not played: by every command alike. `explain` looks at it as it was when the file was written.
#[test]
fn a_state_is_reported_and_not_played() {
    let files = Files::new();
    // Two frees and no request: what is left of a ring that overflowed.
    let state = changed(|trace| {
        trace.retain(|entry| {
            entry["action"].as_str().is_some_and(|action| action.starts_with("free"))
        });
    });
    let file = files.with("state.json", state);
    let out = files.name("out.csv");
    for args in [
        vec!["compare", &file],
        vec!["fit", &file],
        vec!["plan", &file],
        vec!["convert", &file, &out],
    ] {
        let words = text(&args, 2);
        assert!(words.contains("a snapshot of a state without a trace"), "{args:?}: {words}");
        assert!(words.contains("`strandline explain`"), "{args:?}: {words}");
    }
    let explained = object(&["explain", &file], 0);
    let replayed = object(&["replay", &file], 0);
    assert_eq!(explained["explain"]["at"]["allocated_bytes"], 18 * MIB);
    assert_eq!(replayed["state"]["allocated_bytes"], 18 * MIB);
    assert_eq!(explained["explain"]["at"]["reserved_bytes"], replayed["state"]["reserved_bytes"]);
}

/// A log of RMM carries no segments: by rules only, its own resources first.
#[test]
fn compare_of_an_rmm_log_is_rules_only() {
    let files = Files::new();
    let mut log = "Thread,Time,Action,Pointer,Size,Stream\n".to_owned();
    for round in 0..20u64 {
        log +=
            &format!("1,00:00:00.{round:06},allocate,{:#x},{},0\n", round + 1, (round + 1) * MIB);
        if round > 1 {
            let old = round - 1;
            log += &format!("1,00:00:00.{round:06},free,{old:#x},{},0\n", old * MIB);
        }
    }
    let file = files.with("rmm.csv", log);
    let told = object(&["compare", &file, "--fit-seconds", "0"], 0);
    has_keys(&told, CERTIFICATE);
    let rows = told["compare"]["rows"].as_array().expect("rows");
    assert!(rows.iter().all(|row| row["certified"] == false));
    assert!(
        rows[0]["allocator"].as_str().is_some_and(|name| name.starts_with("RMM")),
        "{}",
        rows[0]
    );
    let words = text(&["compare", &file, "--fit-seconds", "0"], 0);
    assert!(words.starts_with("RMM"), "{words}");
    assert!(words.contains("NOT certified") && words.contains("\nrules only: "), "{words}");
    assert!(words.contains("rmm.mr.") && words.contains("rmm::mr::"), "Python and C++: {words}");
    let refused = text(&["compare", &file, "--export", &files.name("x.pickle")], 2);
    assert!(refused.contains("--export"), "{refused}");
}

#[test]
fn diff_tells_which_lines_grew() {
    let files = Files::new();
    let (a, b) =
        (files.with("a.json", snapshot(false, false)), files.with("b.json", snapshot(true, false)));
    let told = object(&["diff", &a, &b], 0);
    let lines = told["diff"]["lines"].as_array().expect("lines");
    for line in lines {
        has_keys(line, &[("/line", 's'), ("/a_bytes", 'n'), ("/b_bytes", 'n')]);
    }
    assert_eq!(told["diff"]["allocations"], json!({ "matched": 3, "only_a": 0, "only_b": 1 }));
    let words = text(&["diff", &a, &b], 0);
    assert!(words.starts_with("peak allocated went from 18.00 MiB to 18.00 MiB."), "{words}");
    let same = text(&["diff", &a, &a], 0);
    assert!(!same.contains("grew") && !same.contains("new "), "{same}");
}

/// Logs without call stacks: blocks by size in place of lines, and reserved bytes are not told.
#[test]
fn diff_of_logs_is_by_size() {
    let files = Files::new();
    let log = |rounds: u64| {
        let mut log = "Thread,Time,Action,Pointer,Size,Stream\n".to_owned();
        for round in 0..rounds {
            log += &format!("1,00:00:00.{round:06},allocate,{:#x},{},0\n", round + 1, 3 * MIB);
        }
        log + "1,00:00:01.000000,allocate,0xff,512,0\n"
    };
    let (a, b) = (files.with("a.csv", log(2)), files.with("b.csv", log(5)));
    let told = object(&["diff", &a, &b], 0);
    assert_eq!(told["diff"]["lines"][0]["line"], "(no call stacks) blocks of up to 4.00 MiB");
    assert_eq!(told["diff"]["lines"][0]["a_bytes"], 6 * MIB);
    assert_eq!(told["diff"]["lines"][0]["b_bytes"], 15 * MIB);
    assert_eq!(told["diff"]["allocations"], json!({ "matched": 3, "only_a": 0, "only_b": 3 }));
    assert_eq!(told["diff"]["peak_reserved_bytes"], json!({ "a": null, "b": null }));
    let words = text(&["diff", &a, &b], 0);
    assert!(words.contains("not told") && words.contains("grew"), "{words}");

    // With a snapshot: by size, too. A state has no requests, and only another snapshot to be compared with.
    let run = files.with("run.json", snapshot(true, false));
    let mixed = object(&["diff", &run, &b], 0);
    assert_eq!(mixed["diff"]["peak_allocated_bytes"]["a"], 18 * MIB);
    let mut state: Value = serde_json::from_str(&snapshot(true, false)).expect("JSON");
    state["device_traces"] = json!([[]]);
    let state = files.with("state.json", state.to_string());
    let refused = text(&["diff", &state, &b], 2);
    assert!(
        refused.contains("state.json") && refused.contains("another snapshot only"),
        "{refused}"
    );
    let words = text(&["diff", &state, &run], 0);
    assert!(
        words.contains("\nA holds no allocation: ") && !words.contains("\nB holds no"),
        "{words}"
    );
}

/// The page about fragmentation says what the tool says of its example, and its pictures are the tool's.
#[test]
fn the_example_of_the_page_is_as_told() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let file = docs.join("fragmentation/growing.pickle.gz");
    let file = file.to_str().expect("UTF-8");
    let files = Files::new();
    let (run, map, page) = (files.name("run.svg"), files.name("map.svg"), files.name("run.html"));
    let words = text(&["explain", file, "--plot", &run, "--map", &map], 0);
    for name in ["run.svg", "map.svg"] {
        let shown = fs::read_to_string(docs.join("fragmentation").join(name)).expect("shown");
        assert_eq!(fs::read_to_string(files.name(name)).expect("drawn"), shown, "{name} is old");
    }
    let told = fs::read_to_string(docs.join("fragmentation.md")).expect("the page");
    let first = words.lines().next().and_then(|line| line.split(". `").next()).expect("a line");
    let joined = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(joined.contains(first), "the page does not say: {first}");
    let pins = words.lines().find(|line| line.contains("in 22 blocks")).expect("pinners");
    assert!(told.contains(pins.trim()), "the page does not say: {pins}");

    let better = files.name("better.pickle");
    let bars = files.name("bars.svg");
    let export = ["compare", file, "--fit-seconds", "0", "--export", &better, "--plot", &bars];
    let words = text(&export, 0);
    assert!(
        words.starts_with("PyTorch: 920.00 MiB reserved, where the current settings fail"),
        "{words}"
    );
    assert!(fs::read_to_string(&bars).expect("drawn").contains("920.00 MiB"));
    // The request that was refused is met in the better run, and its entries are there.
    let told = object(&["explain", &better], 0);
    assert_eq!(told["certificate"]["whole"], true, "{told:#}");
    assert_eq!(told["certificate"]["notes"], json!([]), "{told:#}");

    let _ = text(&["explain", file, "--plot", &page], 0);
    assert!(fs::read_to_string(&page).expect("drawn").contains("id=\"recording\""));
    let refused = text(&["explain", file, "--plot", &files.name("run.png")], 2);
    assert!(refused.contains(".svg or .html"), "{refused}");
    let refused = text(&["compare", file, "--plot", &page], 2);
    assert!(refused.contains("ends in .svg"), "{refused}");
}

#[test]
fn bad_input_is_refused_and_says_which_file() {
    let files = Files::new();
    let good = files.with("good.json", snapshot(false, false));
    let empty = files.with("empty.pickle", "");
    let torn = files.with("torn.json", &snapshot(true, true)[..700]);
    let absent = files.name("absent.pickle");
    for bad in [&empty, &torn, &absent] {
        for args in [
            vec!["explain", bad],
            vec!["compare", bad],
            vec!["diff", &good, bad],
            vec!["diff", bad, &good],
        ] {
            let said = text(&args, 2);
            assert!(said.contains(bad.as_str()), "{args:?}: {said}");
            let told = object(&args, 2);
            assert_eq!(told["error"]["file"], bad.as_str(), "{args:?}");
            assert!(told["error"]["what"].as_str().is_some_and(|what| !what.is_empty()), "{told}");
        }
    }
    // A folder is no file, and each command says so alike, in an object that names it.
    let folder = files.name(".");
    for args in [
        vec!["explain", &folder],
        vec!["compare", &folder],
        vec!["replay", &folder],
        vec!["fit", &folder],
        vec!["plan", &folder],
        vec!["diff", &good, &folder],
        vec!["replay", &good, "--plan", &folder],
        vec!["replay", &good, "--config", &folder],
    ] {
        let told = object(&args, 2);
        assert_eq!(told["error"]["what"], "a folder; name a file in it", "{args:?}");
        assert_eq!(told["error"]["file"], folder, "{args:?}");
    }
    // An option that a command does not have is no file's name.
    let said = text(&["explain", &good, "--capacity", "1GiB"], 2);
    assert!(said.contains("'--capacity' is an option of: "), "{said}");
    assert!(!said.contains("as a value"), "{said}");
    let said = text(&["fit", &good, "--for", "-1"], 2);
    assert!(said.contains("--for") && !said.contains("as a value"), "{said}");
    for (args, word) in [
        (["explain", &good, "--device", "all"], "one device"),
        (["explain", &good, "--at", "999"], "999"),
        (["explain", &good, "--device", "7"], "device 7"),
        (["compare", &good, "--capacity", "much"], "much"),
    ] {
        assert!(text(&args, 2).contains(word), "{args:?}");
    }
}

#[test]
fn help_has_examples() {
    for command in ["explain", "compare", "diff"] {
        let help = text(&[command, "--help"], 0);
        assert!(
            help.contains("Examples:") && help.contains(&format!("strandline {command} ")),
            "{help}"
        );
        assert!(help.contains("Exit status:"), "{help}");
    }
}

/// Files of others, where they are: nothing fails, and what has a trace is certified.
#[test]
fn snapshots_of_others_are_explained() {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/snapshots");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("skipped: there are no snapshots of others beside the project");
        return;
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let file = path.to_str().expect("UTF-8");
        let told = object(&["explain", file], 0);
        has_keys(&told, CERTIFICATE);
        let allocations = told["certificate"]["addresses"]["of"].as_u64();
        // One file is another tool's: the addresses of its trace lie in none of its segments. The certificate says so, in place of
        // blaming the model, and no recorded run is compared with others.
        let foreign = told["certificate"]["nothing_to_compare"].is_string();
        let whole = allocations > Some(0) && !foreign;
        assert_eq!(told["certificate"]["whole"], whole, "{file}");
        let replayed = object(&["replay", file], 0);
        assert_eq!(told["explain"]["devices"], replayed["trace"]["devices"], "{file}");
        assert_eq!(told["explain"]["device"], replayed["trace"]["device"], "{file}");
        if foreign {
            assert!(told["explain"]["peak_reserved_bytes"].is_null(), "{told:#}");
        } else {
            has_keys(&told, EXPLAIN);
        }
        if foreign {
            let words = text(&["explain", file], 0);
            assert!(words.contains("these are not PyTorch's addresses"), "{words}");
            assert_eq!(told["certificate"]["first_difference"], Value::Null, "{told:#}");
            let words = text(&["compare", file, "--fit-seconds", "0", "--plan-seconds", "0"], 0);
            assert!(!words.contains("recorded run"), "{words}");
        }
        // Where a setting helps a certified run, it is what is recommended.
        if file.ends_with("transformer_train.pickle.gz") {
            let words = text(&["compare", file, "--fit-seconds", "0"], 0);
            let line = "    PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True";
            assert_eq!(words.lines().nth(1), Some(line), "{words}");
            assert!(words.starts_with("PyTorch: ") && !words.contains("NOT certified"), "{words}");
        }
        for pinner in told["explain"]["pinners"].as_array().expect("pinners") {
            has_keys(pinner, &[("/line", 's'), ("/bytes", 'n'), ("/pinned_bytes", 'n')]);
        }
        let compare = ["compare", file, "--fit-seconds", "0", "--plan-seconds", "1"];
        if allocations > Some(0) {
            let compared = object(&compare, 0);
            has_keys(&compared, CERTIFICATE);
            let rows = compared["compare"]["rows"].as_array().expect("rows");
            assert!(rows.len() > 15, "{rows:?}");
            rows.iter().for_each(|row| has_keys(row, ROW));
        } else {
            let words = text(&compare, 2);
            assert!(words.contains("a state without a trace"), "{words}");
        }
        let diff = object(&["diff", file, file], 0);
        let lines = diff["diff"]["lines"].as_array().expect("lines");
        assert!(!lines.is_empty());
        for line in lines {
            has_keys(line, &[("/line", 's'), ("/a_bytes", 'n'), ("/b_bytes", 'n')]);
            assert_eq!(line["a_bytes"], line["b_bytes"], "a file and itself");
        }
    }
}
