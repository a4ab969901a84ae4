//! A verdict is about the trace and the capacity, not about the machine that the command runs on.
#![cfg(target_os = "linux")]

use serde_json::Value;
use std::fs;
use std::process::{Command, Output};
use tempfile::TempDir;

/// Three blocks of 16 GiB, of which the first is freed.
const BLOCKS: &str = "\
Thread,Time,Action,Pointer,Size,Stream
1,10:00:00.000001,allocate,0x7f0000000000,17179869184,0
1,10:00:00.000002,allocate,0x7f0400000000,17179869184,0
1,10:00:00.000003,allocate,0x7f0800000000,17179869184,0
1,10:00:00.000004,free,0x7f0000000000,17179869184,0
1,10:00:00.000005,allocate,0x7f0000000000,17179869184,0
";

/// Runs the command with at most `limit` KiB of addresses, if there is a limit.
fn strandline(limit: Option<u64>, args: &[&str]) -> Output {
    let command = env!("CARGO_BIN_EXE_strandline");
    let mut shell = Command::new("sh");
    let script = match limit {
        Some(kib) => format!("ulimit -v {kib} && exec \"$0\" \"$@\""),
        None => "exec \"$0\" \"$@\"".to_owned(),
    };
    shell.args(["-c", &script, command]).args(args).env_remove("RUST_LOG");
    shell.output().expect("the shell starts")
}

fn forbids_overcommitment() -> bool {
    fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|policy| policy.trim() == "2")
}

#[test]
fn more_than_the_machine_has_is_judged_as_on_any_other() {
    let folder = TempDir::new().expect("a folder for the test");
    let path = folder.path().join("blocks.csv");
    fs::write(&path, BLOCKS).expect("written");
    let trace = path.to_str().expect("a UTF-8 path");
    // 2 GiB of addresses: the command itself has room, the slab has none.
    for (limit, unmapped) in [(None, 0), (Some(2 << 20), 48u64 << 30)] {
        if limit.is_none() && forbids_overcommitment() {
            continue;
        }
        let replay = ["replay", trace, "--capacity", "48GiB"];
        let output = strandline(limit, &replay);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{limit:?}: {text}");
        let line = "placement only, 48.00 GiB could not be mapped here";
        assert_eq!(text.contains(line), unmapped > 0, "{text}");
        for (args, capacity) in [(replay.as_slice(), None), (&["fit", trace], Some(48u64 << 30))] {
            let output = strandline(limit, &[args, &["--json"]].concat());
            assert_eq!(output.status.code(), Some(0), "{limit:?} {args:?}");
            let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
            assert_eq!(report["ok"], true);
            assert_eq!(report["memory"]["peak_reserved_bytes"], 48u64 << 30);
            assert_eq!(report["checked"]["unmapped_bytes"], unmapped, "{limit:?} {args:?}");
            assert_eq!(report["fit"]["capacity_bytes"].as_u64(), capacity);
        }
        // Less is refused, and by the capacity.
        let output = strandline(limit, &["replay", trace, "--capacity", "47GiB", "--json"]);
        assert_eq!(output.status.code(), Some(1), "{limit:?}");
    }
}
