//! What tests of the command share: how it is started, and the object that it prints.

use serde_json::Value;
use std::process::{Command, Output};

/// Runs the command to its end.
pub(crate) fn strandline(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_strandline"))
        .args(args)
        .env_remove("RUST_LOG")
        .output()
        .expect("the command starts")
}

/// What it prints with `--json`, if it ends with this exit status.
#[track_caller]
pub(crate) fn object(args: &[&str], exit: i32) -> Value {
    let output = strandline(&[args, &["--json"]].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit), "{args:?}: {error}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}
