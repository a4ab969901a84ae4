//! What is handed over to strandline-fleet: here a script that says what it was given.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The command in a folder of its own, so that no program stands beside it but what a test puts there.
fn alone(test: &str) -> (PathBuf, PathBuf) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fleet-{test}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let command = folder.join("strandline");
    fs::copy(env!("CARGO_BIN_EXE_strandline"), &command).unwrap();
    (folder, command)
}

fn run(command: &Path, path: &Path, line: &str) -> Output {
    Command::new(command).args(line.split(' ')).env("PATH", path).output().unwrap()
}

#[test]
fn it_gets_the_rest_of_the_line_and_its_status_is_the_commands() {
    let (folder, command) = alone("there");
    let elsewhere = folder.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let program = elsewhere.join("strandline-fleet");
    fs::write(&program, "#!/bin/sh\necho \"given: $*\"\nexit 3\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for (line, given) in [
        ("fleet status --json tcp/a:1", "status --json tcp/a:1"),
        ("fleet --help", "--help"),
        ("replay t.csv --workers 4 --json", "replay t.csv --workers 4 --json"),
        ("replay --fleet=tcp/a:1 t.csv --play 0", "replay --fleet=tcp/a:1 t.csv --play 0"),
    ] {
        let output = run(&command, &elsewhere, line);
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("given: {given}\n"), "{line}");
        assert_eq!(output.status.code(), Some(3), "{line}");
    }
}

#[test]
fn without_it_the_error_says_how_to_install_it() {
    let (folder, command) = alone("absent");
    for line in ["fleet status tcp/a:1", "replay t.csv --workers 4"] {
        let output = run(&command, &folder, line);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("cargo install --path host-fleet"), "{line}: {told}");
        assert_eq!(output.status.code(), Some(2), "{line}");
    }
    let output = run(&command, &folder, "replay t.csv --workers 4 --json");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"error\""), "{output:?}");
}
