//! Fuzzing: each target of `fuzz/` runs for a while from the inputs kept in `fuzz/corpus`.
//!
//! ```text
//! fuzz/corpus/TARGET          kept in git; read, and written only by --keep
//! target/fuzz-corpus/TARGET   what this machine found so far; `cargo xtask fuzz` starts from both
//! fuzz/artifacts/TARGET       an input that failed
//! ```
//! So a run leaves the work tree as it was, and what it found is not lost either. `cargo xtask fuzz` explores, for a time.
//! The step of `cargo xtask test` repeats: the kept corpus only, a fixed seed and a number of runs, so that a change is
//! judged by what it changed and not by luck.

use std::fs;
use std::path::PathBuf;

use crate::provision;
use crate::shell::{self, Cmd};
use crate::step::{Outcome, Stop};

/// What `cargo xtask fuzz` was asked for.
#[derive(Debug)]
pub(crate) struct FuzzRun<'a> {
    /// The fuzz target's name.
    pub(crate) target: &'a str,
    /// How long to run, in seconds.
    pub(crate) seconds: u32,
    /// Afterwards, copy into `fuzz/corpus` the inputs that reach something new.
    pub(crate) keep: bool,
    /// More options for libFuzzer.
    pub(crate) args: &'a [String],
}

/// Explores with one target.
pub(crate) fn fuzz_target(run: &FuzzRun<'_>) -> Outcome {
    let targets = targets()?;
    if !targets.iter().any(|target| target == run.target) {
        return Err(Stop::Failed(format!(
            "no fuzz target {}; there are: {}",
            run.target,
            targets.join(" ")
        )));
    }
    let kept = shell::root().join("fuzz/corpus").join(run.target);
    let found = shell::target_dir().join("fuzz-corpus").join(run.target);
    fs::create_dir_all(&kept)?;
    fs::create_dir_all(&found)?;
    // New inputs go to the first folder named.
    libfuzzer(run.target, &[&found, &kept])
        .arg(format!("-max_total_time={}", run.seconds))
        .args(["-timeout=10", "-print_final_stats=1"])
        .args(run.args)
        .run()?;
    if run.keep {
        libfuzzer(run.target, &[&kept, &found]).arg("-merge=1").run()?;
    }
    Ok(None)
}

/// Gives every target the same `runs` inputs: those kept, then mutations of them from a fixed seed.
pub(crate) fn fuzz_all(runs: u32) -> Outcome {
    let targets = targets()?;
    if targets.is_empty() {
        return Err(Stop::Failed("fuzz/Cargo.toml names no target".to_owned()));
    }
    // All of them, even after one failed: one run should tell everything.
    let failures: Vec<String> = targets
        .iter()
        .filter_map(|target| match repeat(target, runs) {
            Ok(()) => None,
            Err(Stop::Failed(why) | Stop::Skipped(why)) => Some(format!("{target}: {why}")),
        })
        .collect();
    if failures.is_empty() { Ok(None) } else { Err(Stop::Failed(failures.join("; "))) }
}

fn repeat(target: &str, runs: u32) -> Result<(), Stop> {
    let kept = shell::root().join("fuzz/corpus").join(target);
    // What an earlier run found would change this one.
    let scratch = shell::target_dir().join("fuzz-scratch").join(target);
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::create_dir_all(&scratch)?;
    libfuzzer(target, &[&scratch, &kept])
        .arg(format!("-runs={runs}"))
        .args(["-seed=1", "-timeout=60", "-print_final_stats=1"])
        .run()
}

/// The targets that `fuzz/Cargo.toml` names; fetches cargo-fuzz first if need be.
fn targets() -> Result<Vec<String>, Stop> {
    provision::nightly()?;
    provision::cargo_subcommand("fuzz")?;
    let output = Cmd::cargo().args(["fuzz", "list"]).output()?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Stop::Failed(format!("cargo fuzz list: {complaint}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// `cargo fuzz run` on these corpus folders, up to the `--` after which libFuzzer's options stand.
fn libfuzzer(target: &str, corpora: &[&PathBuf]) -> Cmd {
    Cmd::cargo_nightly()
        .args(["fuzz", "run", "--target-dir"])
        .arg(shell::target_dir().join("fuzz"))
        .arg(target)
        .args(corpora)
        .arg("--")
}
