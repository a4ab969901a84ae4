//! The command over real traces: exit status, and a JSON report that holds the promised keys and keeps the laws.
//!
//! Data-driven: [`CASES`] says which options go with which traces and how they must end; every trace in
//! `traces/` is taken, so a new one needs no line here. The keys are an interface that others read:
//! one that vanishes or changes its type fails this step.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::shell::{self, Cmd};
use crate::step::{Outcome, Stop};

/// The capacity that no shipped allocation trace fits in, in bytes.
const TOO_SMALL: &str = "1048576";

/// Options to replay with, and the exit status that they must give.
struct Case {
    /// Traces whose file name contains this.
    traces: &'static str,
    args: &'static [&'static str],
    exit: i32,
}

const CASES: &[Case] = &[
    Case { traces: "", args: &[], exit: 0 },
    Case {
        traces: "train",
        args: &["--streams", "8", "--in-flight", "64", "--allow-wait"],
        exit: 0,
    },
    Case {
        traces: "train",
        args: &["--policy", "eager", "--streams", "4", "--in-flight", "64"],
        exit: 0,
    },
    Case { traces: "train", args: &["--capacity", TOO_SMALL], exit: 1 },
    Case { traces: "infer", args: &["--pool", "tlsf"], exit: 0 },
    Case { traces: "infer", args: &["--pool", "passthrough"], exit: 0 },
    Case { traces: "infer", args: &["--budget", TOO_SMALL], exit: 1 },
    Case {
        traces: "generate",
        args: &["--pool", "tlsf", "--in-flight", "16", "--allow-wait"],
        exit: 0,
    },
    Case { traces: "llm", args: &["--tokens-per-block", "16", "--max-batch", "8"], exit: 0 },
];

/// Keys whose value is a whole number of at least 0.
const COUNTS: &[&str] = &[
    "trace.events",
    "trace.streams",
    "trace.peak_live_bytes",
    "pool.peak_reserved_bytes",
    "pool.peak_committed_bytes",
    "pool.final_committed_bytes",
    "pool.largest_hole_bytes",
    "reuse.fresh",
    "reuse.dominated",
    "reuse.completed",
    "reuse.waited",
    "reuse.missed",
    "reuse.tainted",
    "latency_ns.acquire.p50",
    "latency_ns.acquire.p99",
    "latency_ns.acquire.p999",
    "latency_ns.acquire.max",
    "latency_ns.release.p50",
    "latency_ns.release.p99",
    "latency_ns.release.p999",
    "latency_ns.release.max",
    "oracle.overlaps",
    "oracle.early_reuse",
    "oracle.corruptions",
];

/// Keys whose value is a number, not always whole.
const NUMBERS: &[&str] = &["pool.overhead", "throughput.events_per_s"];

/// Keys whose value is text.
const WORDS: &[&str] = &["trace.format", "pool.kind"];

/// Keys of `failure` that are whole numbers, when it is not null.
const FAILURE_COUNTS: &[&str] = &[
    "failure.event",
    "failure.bytes_requested",
    "failure.live_bytes",
    "failure.largest_hole_bytes",
    "failure.pending_bytes",
];

/// Pairs of which the first is at most the second.
const ORDERED: &[(&str, &str)] = &[
    ("pool.peak_reserved_bytes", "pool.peak_committed_bytes"),
    ("pool.final_committed_bytes", "pool.peak_committed_bytes"),
    ("latency_ns.acquire.p50", "latency_ns.acquire.p99"),
    ("latency_ns.acquire.p99", "latency_ns.acquire.p999"),
    ("latency_ns.acquire.p999", "latency_ns.acquire.max"),
    ("latency_ns.release.p50", "latency_ns.release.p99"),
    ("latency_ns.release.p99", "latency_ns.release.p999"),
    ("latency_ns.release.p999", "latency_ns.release.max"),
];

/// Input that is no trace, and the line of it that is at fault.
const BAD_INPUTS: &[(&str, &str, u32)] = &[
    ("no-size", "Thread,Time,Action,Pointer,Size,Stream\n1,00:00:00.000001,allocate,0x10,,0\n", 2),
    (
        "double-free",
        "Thread,Time,Action,Pointer,Size,Stream\n1,00:00:00.000001,allocate,0x10,64,0\n\
         1,00:00:00.000002,free,0x10,64,0\n1,00:00:00.000003,free,0x10,64,0\n",
        4,
    ),
    (
        "negative",
        "Thread,Time,Action,Pointer,Size,Stream\n1,00:00:00.000001,allocate,0x10,-64,0\n",
        2,
    ),
];

/// Builds the command, then runs every check; all failures are told, not only the first.
pub(super) fn replay() -> Outcome {
    Cmd::cargo().args(["build", "--release", "-p", "strandline"]).run()?;
    let command = shell::target_dir().join("release/strandline");
    let traces = traces()?;
    let mut checks = 0;
    let mut failures = Vec::new();
    let mut check = |cmd: &Cmd, verdict: Result<(), String>| {
        checks += 1;
        println!("{:<6}  {cmd}", if verdict.is_ok() { "ok" } else { "FAILED" });
        if let Err(why) = verdict {
            println!("        {why}");
            failures.push(format!("{why} ({cmd})"));
        }
    };

    for case in CASES {
        let matching: Vec<&PathBuf> =
            traces.iter().filter(|trace| file_name(trace).contains(case.traces)).collect();
        if matching.is_empty() {
            return Err(Stop::Failed(format!(
                "no trace in traces/ has {:?} in its name",
                case.traces
            )));
        }
        for trace in matching {
            let cmd = Cmd::new(&command.to_string_lossy())
                .arg("replay")
                .arg(trace)
                .args(case.args)
                .arg("--json");
            check(
                &cmd,
                report_of(&cmd, case.exit).and_then(|report| check_report(&report, case.exit == 0)),
            );
        }
    }
    for (name, text, line) in BAD_INPUTS {
        let file = shell::target_dir().join(format!("xtask-{name}.csv"));
        fs::write(&file, text)?;
        let cmd = Cmd::new(&command.to_string_lossy()).arg("replay").arg(&file);
        check(&cmd, check_bad_input(&cmd, &file, *line));
    }
    for trace in traces.iter().filter(|trace| file_name(trace).contains("infer")) {
        let cmd = Cmd::new(&command.to_string_lossy()).arg("fit").arg(trace).arg("--json");
        check(&cmd, check_fit(&cmd, &command, trace));
    }
    let info = Cmd::new(&command.to_string_lossy()).arg("info");
    check(&info, exit_is(&info, 0).map(drop));

    match failures.first() {
        None => Ok(None),
        Some(first) => {
            Err(Stop::Failed(format!("{} of {checks} checks, the first: {first}", failures.len())))
        }
    }
}

/// The shipped traces, by name.
fn traces() -> Result<Vec<PathBuf>, Stop> {
    let mut traces: Vec<PathBuf> = fs::read_dir(shell::root().join("traces"))?
        .filter_map(|entry| Some(PathBuf::from("traces").join(entry.ok()?.file_name())))
        .filter(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .collect();
    traces.sort();
    Ok(traces)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs it and hands back standard output and standard error if it ended as it must.
fn exit_is(cmd: &Cmd, exit: i32) -> Result<(Vec<u8>, String), String> {
    let output = cmd.output().map_err(|_| "cannot be started".to_owned())?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(exit) {
        Ok((output.stdout, complaint))
    } else {
        Err(format!("{} instead of {exit}: {}", output.status, complaint.trim()))
    }
}

fn report_of(cmd: &Cmd, exit: i32) -> Result<Value, String> {
    let (stdout, _) = exit_is(cmd, exit)?;
    serde_json::from_slice(&stdout)
        .map_err(|error| format!("standard output is not one JSON object: {error}"))
}

/// Finds `a.b.c` in nested objects.
fn get<'a>(report: &'a Value, key: &str) -> Result<&'a Value, String> {
    key.split('.')
        .try_fold(report, |value, part| value.get(part))
        .ok_or_else(|| format!("no key {key}"))
}

fn count(report: &Value, key: &str) -> Result<u64, String> {
    get(report, key)?.as_u64().ok_or_else(|| format!("{key} is not a whole number"))
}

fn number(report: &Value, key: &str) -> Result<f64, String> {
    get(report, key)?.as_f64().ok_or_else(|| format!("{key} is not a number"))
}

/// The promised keys, and what must hold between them whatever the trace.
fn check_report(report: &Value, satisfied: bool) -> Result<(), String> {
    COUNTS.iter().try_for_each(|key| count(report, key).map(drop))?;
    NUMBERS.iter().try_for_each(|key| number(report, key).map(drop))?;
    for key in WORDS {
        get(report, key)?
            .as_str()
            .filter(|word| !word.is_empty())
            .ok_or_else(|| format!("{key} is not text"))?;
    }
    for (low, high) in ORDERED {
        let (small, large) = (count(report, low)?, count(report, high)?);
        if small > large {
            return Err(format!("{low} = {small} exceeds {high} = {large}"));
        }
    }
    for key in ["oracle.overlaps", "oracle.early_reuse", "oracle.corruptions"] {
        match count(report, key)? {
            0 => {}
            found => return Err(format!("{key} = {found}")),
        }
    }
    if get(report, "ok")? != &Value::Bool(satisfied) {
        return Err(format!("ok is not {satisfied}"));
    }
    if satisfied {
        if !get(report, "failure")?.is_null() {
            return Err("failure is not null although ok is true".to_owned());
        }
        if number(report, "pool.overhead")? < 1.0 {
            return Err("pool.overhead is below 1.0: less committed than was live".to_owned());
        }
        if count(report, "trace.events")? == 0 {
            return Err("the trace has no events".to_owned());
        }
    } else {
        FAILURE_COUNTS.iter().try_for_each(|key| count(report, key).map(drop))?;
        get(report, "failure.reason")?.as_str().ok_or("failure.reason is not text")?;
    }
    Ok(())
}

/// Exit status 2, and a message that names the file and the line.
fn check_bad_input(cmd: &Cmd, file: &Path, line: u32) -> Result<(), String> {
    let (_, complaint) = exit_is(cmd, 2)?;
    let names_line =
        [format!("line {line}"), format!(":{line}")].iter().any(|place| complaint.contains(place));
    if complaint.contains("panicked") || !complaint.contains(&file_name(file)) || !names_line {
        return Err(format!(
            "the message does not name the file and line {line}: {}",
            complaint.trim()
        ));
    }
    Ok(())
}

/// The fitted capacity is enough for a replay with no other option.
fn check_fit(cmd: &Cmd, command: &Path, trace: &Path) -> Result<(), String> {
    let report = report_of(cmd, 0)?;
    let capacity = count(&report, "fit.capacity_bytes")?;
    if number(&report, "fit.overhead")? < 1.0 {
        return Err("fit.overhead is below 1.0: less capacity than was live".to_owned());
    }
    let again = Cmd::new(&command.to_string_lossy()).arg("replay").arg(trace).args([
        "--capacity",
        &capacity.to_string(),
        "--json",
    ]);
    let replayed = report_of(&again, 0).map_err(|why| format!("{again}: {why}"))?;
    check_report(&replayed, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        let latency = json!({"p50": 40, "p99": 90, "p999": 200, "max": 5000});
        json!({
            "trace": {"format": "rmm", "events": 10, "streams": 1, "peak_live_bytes": 100},
            "pool": {"kind": "tlsf", "peak_reserved_bytes": 100, "peak_committed_bytes": 128,
                     "final_committed_bytes": 0, "largest_hole_bytes": 28, "overhead": 1.28},
            "reuse": {"fresh": 5, "dominated": 0, "completed": 0, "waited": 0, "missed": 0, "tainted": 0},
            "latency_ns": {"acquire": latency, "release": latency},
            "throughput": {"events_per_s": 1e6},
            "oracle": {"overlaps": 0, "early_reuse": 0, "corruptions": 0},
            "ok": true, "failure": null
        })
    }

    /// The good report with one value replaced.
    fn with(key: &str, value: Value) -> Value {
        let mut report = good();
        let pointer = format!("/{}", key.replace('.', "/"));
        match report.pointer_mut(&pointer) {
            Some(place) => *place = value,
            None => panic!("no {key}"),
        }
        report
    }

    #[test]
    fn a_good_report_passes() {
        assert_eq!(check_report(&good(), true), Ok(()));
        assert!(check_report(&good(), false).is_err());
    }

    #[test]
    fn every_promised_key_is_missed_when_it_is_gone() {
        for key in COUNTS.iter().chain(NUMBERS).chain(WORDS).chain(&["ok", "failure"]) {
            let mut report = good();
            let (parent, last) = key.rsplit_once('.').unwrap_or(("", key));
            let pointer = if parent.is_empty() {
                String::new()
            } else {
                format!("/{}", parent.replace('.', "/"))
            };
            let removed = report
                .pointer_mut(&pointer)
                .and_then(|object| object.as_object_mut()?.remove(last));
            assert!(removed.is_some(), "{key}");
            assert!(check_report(&report, true).is_err(), "{key}");
        }
    }

    #[test]
    fn a_broken_law_is_found() {
        for (key, value) in [
            ("oracle.overlaps", json!(1)),
            ("pool.overhead", json!(0.99)),
            ("pool.peak_reserved_bytes", json!(129)),
            ("latency_ns.release.p99", json!(201)),
            ("trace.events", json!(-1)),
            ("trace.events", json!(0)),
            ("ok", json!(false)),
            ("failure", json!({})),
        ] {
            assert!(check_report(&with(key, value), true).is_err(), "{key}");
        }
    }

    #[test]
    fn a_failed_replay_must_say_how() {
        let mut report = with("ok", json!(false));
        assert!(check_report(&report, false).is_err());
        report["failure"] = json!({"event": 3, "bytes_requested": 64, "live_bytes": 10, "largest_hole_bytes": 0,
                                   "pending_bytes": 0, "reason": "exhausted"});
        assert_eq!(check_report(&report, false), Ok(()));
    }
}
