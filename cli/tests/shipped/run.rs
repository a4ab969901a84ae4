//! Running the command.

use crate::report::check_report;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// The command with these arguments, to be run in the repository's root.
pub(crate) fn strandline(args: &[&str]) -> Vec<String> {
    args.iter().map(|&arg| arg.to_owned()).collect()
}

pub(crate) fn replay(trace: &str, options: &[&str]) -> Vec<String> {
    strandline(&[&["replay", trace][..], options].concat())
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
