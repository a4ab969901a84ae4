//! `strandline-fleet replay`: whoever plays a trace, it takes the same of the pool; and a worker that is killed is reported.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use strandline_host_fleet::replay::{ReplayError, ReplayOptions, Report, replay};

const PATIENCE: Duration = Duration::from_secs(120);

fn trace(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces").join(name)
}

fn play(change: impl Fn(&mut ReplayOptions)) -> Report {
    let mut options = ReplayOptions::new(trace("vit_infer.csv.gz"), 0);
    options.streams = Some(4);
    change(&mut options);
    replay(&options, Path::new(env!("CARGO_BIN_EXE_strandline-fleet"))).unwrap()
}

/// With room, and where requests are refused; with work in flight, and without.
#[test]
fn the_same_trace_takes_the_same_whoever_plays_it() {
    for (capacity, in_flight) in [(None, 0), (Some(48 << 20), 16)] {
        let change = |workers| {
            move |options: &mut ReplayOptions| {
                (options.workers, options.capacity, options.in_flight) =
                    (workers, capacity, in_flight);
            }
        };
        let alone = play(change(0));
        assert!(alone.verdict.is_sound(), "{alone}");
        assert!(alone.members.is_empty());
        if capacity.is_none() {
            assert_eq!(alone.exit_code(), 0, "{alone}");
        }
        for workers in [1, 2, 4] {
            let shared = play(change(workers));
            assert_eq!(shared.verdict, alone.verdict, "{shared}\n{alone}");
            assert_eq!(shared.totals, alone.totals, "{shared}\n{alone}");
            assert_eq!((shared.turns, shared.exit_code()), (alone.turns, alone.exit_code()));
            assert_eq!(shared.members.len(), workers as usize);
            let sum = |what: fn(&_) -> u64| shared.members.iter().map(what).sum::<u64>();
            assert_eq!(sum(|member| member.requests), shared.totals.requests);
            assert_eq!(sum(|member| member.refused), shared.totals.refused);
            let mut peaks = shared.members.iter().map(|member| member.peak);
            assert!(peaks.all(|peak| peak > 0 && peak <= alone.totals.peak_allocated));
            assert!(
                shared.members.iter().all(|member| member.streams.len() == 4 / workers as usize)
            );
        }
    }
    let refused = play(|options| options.capacity = Some(48 << 20));
    assert!(refused.totals.refused > 0, "the second case refuses nothing: {refused}");
    assert!(refused.totals.dominated > 0 && refused.totals.completed > 0, "{refused}");
}

#[test]
fn without_a_number_of_streams_each_worker_has_one() {
    let report = play(|options| (options.workers, options.streams) = (2, None));
    assert_eq!((report.streams, report.is_spread), (2, true));
    assert_eq!(report.exit_code(), 0, "{report}");
}

#[test]
fn what_cannot_be_played_is_an_error() {
    let program = Path::new(env!("CARGO_BIN_EXE_strandline-fleet"));
    let none = replay(&ReplayOptions::new(trace("none"), 2), program);
    assert!(matches!(none, Err(ReplayError::Trace(_))), "{none:?}");
    let many = replay(&ReplayOptions::new(trace("vit_infer.csv.gz"), 1000), program);
    assert!(matches!(many, Err(ReplayError::Options(_))), "{many:?}");
    // One that is no worker.
    let other = replay(&ReplayOptions::new(trace("vit_infer.csv.gz"), 1), Path::new("/bin/true"));
    assert!(matches!(other, Err(ReplayError::Worker(_))), "{other:?}");
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strandline-fleet"));
    command.arg("replay").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn the_verdict_comes_first() {
    let trace = trace("vit_infer.csv.gz");
    let run = |arguments: &[&str]| -> (String, Option<i32>) {
        let all = [&[trace.to_str().unwrap()], arguments].concat();
        let Output { stdout, status, .. } = command(&all).output().unwrap();
        (String::from_utf8(stdout).unwrap(), status.code())
    };
    let (text, code) = run(&["--workers", "2"]);
    assert!(
        text.starts_with("verdict    ok, every request was satisfied\noracle     sound"),
        "{text}"
    );
    assert!(text.contains("\n0       0/") && text.contains("\n1       0/"), "{text}");
    assert!(text.contains("\nfleet      2 members, 2 axes;"), "{text}");
    assert!(text.contains("\noracle     sound: 0 overlaps, 0 early reuses in "), "{text}");
    assert_eq!(code, Some(0));
    let (text, code) = run(&["--workers", "2", "--capacity", "48MiB", "--json"]);
    assert!(text.starts_with("{\"ok\":false,\"verdict\":\""), "{text}");
    assert!(text.contains("requests were refused") && text.contains("\"names\":\"0/2\""), "{text}");
    assert_eq!(code, Some(1));
    let (text, code) = run(&["--workers", "2", "--streams", "0"]);
    assert_eq!((text.as_str(), code), ("", Some(2)));
}

/// Processes that a process has started.
fn children(of: &Child) -> Vec<u32> {
    let id = of.id();
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let list = |thread: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default()
    };
    let lists: String = threads.map(list).collect();
    lists.split_ascii_whitespace().map(|id| id.parse().unwrap()).collect()
}

/// What a process has mapped.
fn maps_slabs(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/maps")).is_ok_and(|maps| maps.contains("memfd:"))
}

fn lose(signal: &str) {
    let trace = trace("gpt2_generate.csv.gz");
    let arguments = [trace.to_str().unwrap(), "--workers", "3", "--json"];
    let mut replaying = command(&arguments).spawn().unwrap();
    let begin = Instant::now();
    // Until one of them is at it.
    let victim = loop {
        let found = children(&replaying).into_iter().find(|&id| maps_slabs(id));
        if let Some(victim) = found {
            break victim;
        }
        assert!(begin.elapsed() < PATIENCE && replaying.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    };
    let sent = Command::new("kill").args([signal, &victim.to_string()]).status();
    assert!(sent.unwrap().success());
    while replaying.try_wait().unwrap().is_none() {
        if begin.elapsed() > PATIENCE {
            let _ = replaying.kill();
            panic!("it hangs");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let Output { stdout, status, stderr } = replaying.wait_with_output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(3), "{text}{}", String::from_utf8_lossy(&stderr));
    assert!(text.starts_with("{\"ok\":false,\"verdict\":\"lost worker "), "{text}");
    assert!(text.contains("\"members_failed\":1,\"members_fenced\":1,"), "{text}");
    assert!(text.contains("\"overlaps\":0,\"early_reuse\":0,\"corruptions\":0"), "{text}");
    // It was at work, and had something.
    assert!(!text.contains("\"bytes_in_doubt\":0}"), "{text}");
    assert!(!Path::new(&format!("/proc/{victim}")).exists(), "the worker is still there");
}

#[test]
fn a_worker_that_is_killed_is_reported() {
    lose("-KILL");
}

#[test]
fn a_worker_that_is_stopped_is_ended_and_reported() {
    lose("-STOP");
}
