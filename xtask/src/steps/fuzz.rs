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

use std::path::PathBuf;

use xshell::{Cmd, Shell, cmd};

use crate::report::{Outcome, Stop};
use crate::shell::{each, target_dir};
use crate::toolchain::{needs, nightly};

/// What `cargo xtask fuzz` was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct FuzzRun {
    /// A target of fuzz/Cargo.toml.
    pub(crate) target: String,
    /// How long to run, in seconds.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) seconds: u64,
    /// Then keep in fuzz/corpus the inputs that reach something new.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Passed on to libFuzzer.
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
}

/// Explores with one target.
pub(crate) fn explore(sh: &Shell, run: &FuzzRun) -> Outcome {
    let FuzzRun { target, seconds, keep, args } = run;
    let targets = targets(sh)?;
    if !targets.contains(target) {
        let there_are = targets.join(" ");
        return Err(Stop::Failed(format!("no fuzz target {target}; there are: {there_are}")));
    }
    let kept = sh.create_dir(format!("fuzz/corpus/{target}"))?;
    let found = sh.create_dir(target_dir().join("fuzz-corpus").join(target))?;
    // New inputs go to the first folder named.
    libfuzzer(sh, target, [&found, &kept])
        .arg(format!("-max_total_time={seconds}"))
        .args(["-timeout=10", "-print_final_stats=1"])
        .args(args)
        .run()?;
    if *keep {
        libfuzzer(sh, target, [&kept, &found]).arg("-merge=1").run()?;
    }
    Ok(None)
}

/// Gives every target the same `runs` inputs: those kept, then mutations of them from a fixed seed.
pub(super) fn repeat(sh: &Shell, runs: u32) -> Outcome {
    let targets = targets(sh)?;
    if targets.is_empty() {
        return Err(Stop::Failed("fuzz/Cargo.toml names no target".to_owned()));
    }
    each(&targets, |target| {
        let kept = PathBuf::from(format!("fuzz/corpus/{target}"));
        // What an earlier run found would change this one.
        let scratch = target_dir().join("fuzz-scratch").join(target);
        sh.remove_path(&scratch)?;
        sh.create_dir(&scratch)?;
        libfuzzer(sh, target, [&scratch, &kept])
            .arg(format!("-runs={runs}"))
            // A line for each new input would bury what the other steps say.
            .args(["-seed=1", "-timeout=60", "-verbosity=0"])
            .run()
            .map_err(|error| Stop::Failed(format!("{target}: {error}")))?;
        Ok(0)
    })?;
    Ok(None)
}

/// The targets that `fuzz/Cargo.toml` names.
fn targets(sh: &Shell) -> Result<Vec<String>, Stop> {
    nightly(sh)?;
    let remedy = "cargo install --locked cargo-fuzz (or pass --install)";
    needs(cmd!(sh, "cargo fuzz --version"), "cargo-fuzz", remedy)?;
    let list = cmd!(sh, "cargo fuzz list").quiet().read()?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// `cargo fuzz run` on these corpus folders, up to the `--` after which libFuzzer's options stand.
fn libfuzzer<'a>(sh: &'a Shell, target: &str, corpora: [&PathBuf; 2]) -> Cmd<'a> {
    let builds = target_dir().join("fuzz");
    cmd!(sh, "rustup run nightly cargo fuzz run --target-dir {builds} {target} {corpora...} --")
}
