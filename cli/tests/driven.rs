//! The command as another program's worker: progress as lines, and an end with its driver.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Far more than the end of an idle process takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A trace that a replay takes some tenths of a second for.
fn long() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let mut text = "Thread,Time,Action,Pointer,Size,Stream\n".to_owned();
    for i in 0..100_000_u64 {
        let size = 256 + i * 7919 % 100_000;
        text += &format!("1,00:00:00.000000,allocate,{:#x},{size},0\n", 4096 + i);
        if i >= 200 {
            let size = 256 + (i - 200) * 7919 % 100_000;
            text += &format!("1,00:00:00.000000,free,{:#x},{size},0\n", 4096 + i - 200);
        }
    }
    file.write_all(text.as_bytes()).expect("written");
    file
}

fn driven(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strandline"));
    command.args(words).env("STRANDLINE_DRIVEN", "1").env_remove("RUST_LOG");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn progress_is_lines_of_json_and_the_report_is_the_usual_one() {
    let trace = long();
    let path = trace.path().to_str().expect("a UTF-8 path");
    let mut command = driven(&["replay", path, "--json"]).spawn().expect("the command starts");
    let stdin = command.stdin.take();
    let output = command.wait_with_output().expect("the command ends");
    drop(stdin);
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["ok"], true);
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.lines().count() > 0, "a replay of some tenths of a second tells how far it is");
    for line in said.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        assert!(line["progress"]["what"].is_string() && line["progress"]["at"].is_u64(), "{line}");
    }
}

#[test]
fn the_work_ends_with_its_driver() {
    let trace = long();
    let path = trace.path().to_str().expect("a UTF-8 path");
    let words = ["fit", path, "--for", "600", "--streams", "8", "--in-flight", "64", "--json"];
    let mut command = driven(&words).spawn().expect("the command starts");
    // It is at work: it has told so.
    let mut told = String::new();
    let mut said = BufReader::new(command.stderr.take().expect("piped"));
    said.read_line(&mut told).expect("a line");
    assert!(told.contains("progress"), "{told}");
    drop(command.stdin.take());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = command.try_wait().expect("asked for") {
            break status;
        }
        if start.elapsed() > PATIENCE {
            command.kill().expect("ended");
            panic!("the command goes on without its driver");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(130));
}

#[test]
fn without_a_driver_the_end_of_input_is_nothing() {
    let trace = long();
    let status = Command::new(env!("CARGO_BIN_EXE_strandline"))
        .arg("replay")
        .arg(trace.path())
        .env_remove("STRANDLINE_DRIVEN")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("the command runs");
    assert_eq!(status.code(), Some(0));
}
