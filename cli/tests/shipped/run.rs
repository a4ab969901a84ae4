//! Running the command, and checks of which every failure is told, not only the first.

use crate::report::check_report;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// The command with these arguments, to be run in the repository's root.
pub(crate) fn strandline(args: &[&str]) -> Vec<String> {
    args.iter().map(|&arg| arg.to_owned()).collect()
}

pub(crate) fn replay(trace: &str, options: &[&str]) -> Vec<String> {
    strandline(&[&["replay", trace][..], options].concat())
}

/// The shipped traces whose name has a word in it, by name.
pub(crate) fn traces(word: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
    let names = folder
        .read_dir()
        .expect("the folder of traces")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("a UTF-8 name"));
    let mut traces: Vec<String> = names
        .filter(|name| name.ends_with(".gz") && name.contains(word))
        .map(|name| format!("traces/{name}"))
        .collect();
    assert!(!traces.is_empty(), "no trace in traces/ has {word:?} in its name");
    traces.sort();
    traces
}

/// Runs the command and hands back standard output and standard error if it ended with this exit status.
pub(crate) fn exit_is(args: &[String], exit: i32) -> Result<(Vec<u8>, String), String> {
    let output = Command::new(env!("CARGO_BIN_EXE_strandline"))
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env_remove("RUST_LOG")
        .output()
        .map_err(|error| error.to_string())?;
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.code() == Some(exit) {
        Ok((output.stdout, complaint))
    } else {
        Err(format!("{} instead of {exit}: {complaint}", output.status))
    }
}

/// The JSON object that the command prints.
pub(crate) fn report_of(args: &[String], exit: i32) -> Result<Value, String> {
    let (stdout, _) = exit_is(args, exit)?;
    serde_json::from_slice(&stdout)
        .map_err(|error| format!("standard output is not one JSON object: {error}"))
}

/// Replays and checks the report; exit status 0 goes with success, 1 with a failure that is told.
pub(crate) fn satisfied_or_not(args: &[String], exit: i32) -> Result<Value, String> {
    let report = report_of(args, exit)?;
    check_report(&report, exit == 0)?;
    Ok(report)
}

/// What checks came to so far.
#[derive(Default)]
pub(crate) struct Checks {
    failures: String,
}

impl Checks {
    pub(crate) fn note(&mut self, args: &[String], verdict: Result<(), String>) {
        if let Err(why) = verdict {
            let _ = writeln!(self.failures, "strandline {}: {why}", args.join(" "));
        }
    }

    /// # Panics
    /// One of the checks failed.
    pub(crate) fn end(self) {
        assert!(self.failures.is_empty(), "\n{}", self.failures);
    }
}
