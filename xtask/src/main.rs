//! Developer commands, called as `cargo xtask COMMAND`.
//!
//! `cargo xtask test` is the one that everybody needs: it takes minutes, wants nothing but stable Rust and installs nothing.
//! `cargo xtask test --all --install` is everything. `cargo xtask test --list` shows the steps.

mod report;
mod shell;
mod steps;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use xshell::cmd;

use report::{Outcome, Stop};
use steps::{FuzzRun, SoakRun, Step, TestOptions, Tier};

/// Developer commands of Strandline.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Task,
    /// First install what the steps need, by .ci/install: Debian packages as root, cargo-fuzz through cargo.
    #[arg(long, global = true)]
    install: bool,
}

const EXAMPLES: &str = "Examples:
  cargo xtask test                      the tests that need nothing but stable Rust: minutes
  cargo xtask test --all --install      every test, after installing what the steps need
  cargo xtask test --list               the steps and what each needs
  cargo xtask test --only loom          one step
  cargo xtask test --skip tsan --skip fuzz
  cargo xtask lint                      format, clippy, documentation: what CI checks first
  cargo xtask component                 the core as a component: target/component/strandline.wasm; with plans beside it
  cargo xtask web                       the web demo, built and served on localhost
  cargo xtask bench                     the side-by-side benchmarks
  cargo xtask soak --for 1h             generated programs, stress and fuzz of the pools
  cargo xtask fuzz frontier_wire --seconds 600 --keep";

#[derive(Debug, Subcommand)]
enum Task {
    /// Run the tests, then print a table of what passed, failed or was skipped, why, and what was left out.
    ///
    /// Without an option: the steps that need nothing but stable Rust. A step that lacks a tool is skipped, and the table names the
    /// command that brings the tool; with CI=true in the environment the step fails instead (except miri).
    #[command(after_help = EXAMPLES)]
    Test {
        /// List the steps and stop.
        #[arg(long)]
        list: bool,
        /// Run every step.
        #[arg(long)]
        all: bool,
        /// Run the steps that are left out without --all.
        #[arg(long, conflicts_with = "all")]
        rest: bool,
        /// Run only this step; may be given again.
        #[arg(long, value_name = "STEP")]
        only: Vec<Step>,
        /// Leave this step out; may be given again.
        #[arg(long, value_name = "STEP")]
        skip: Vec<Step>,
        /// Stop at the first step that fails.
        #[arg(long)]
        fail_fast: bool,
        /// How many inputs each fuzz target gets.
        #[arg(long, value_name = "N", default_value_t = 5000)]
        fuzz_runs: u32,
    },
    /// Check the format, clippy and the documentation, every warning an error.
    Lint,
    /// Run the benchmarks side by side with published peers and print the ratios.
    Bench {
        /// Passed on to the benchmark program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build the core as a component: target/component/strandline.wasm, and strandline-plans.wasm, whose pools can follow plans.
    Component,
    /// Build the web demo and serve it on localhost.
    Web {
        /// Only build it: web-demo/dist, for any static host.
        #[arg(long)]
        build: bool,
        /// The port to serve it on.
        #[arg(long, value_name = "N", default_value_t = 4173)]
        port: u16,
    },
    /// Explore with one fuzz target.
    Fuzz(FuzzRun),
    /// Run the oracle's programs, stress and fuzz of the pools for a time; a failure names the seed that repeats it.
    Soak(SoakRun),
    /// Run core's tests under miri.
    Miri {
        /// Passed on to `cargo miri test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build the conformance suite's guest: target/component/conformance.wasm.
    Guests,
    /// Build the documentation, every warning an error.
    Doc {
        /// Then show it in the browser.
        #[arg(long)]
        open: bool,
    },
}

fn main() -> ExitCode {
    run(Cli::parse()).unwrap_or_else(|stop| {
        let (Stop::Skipped(why) | Stop::Failed(why)) = stop;
        eprintln!("xtask: {why}");
        ExitCode::FAILURE
    })
}

fn run(cli: Cli) -> Result<ExitCode, Stop> {
    let sh = &shell::shell()?;
    if cli.install && cmd!(sh, ".ci/install").run().is_err() {
        // A step that lacks something says so, and what brings it.
        eprintln!("xtask: not everything could be installed");
    }
    // Asked for by name, a step that cannot run has failed.
    let single = |outcome: Outcome| outcome.map(|_| ExitCode::SUCCESS);
    match cli.command {
        Task::Test { list: true, .. } => {
            steps::list();
            Ok(ExitCode::SUCCESS)
        }
        Task::Test { all, rest, only, skip, fail_fast, fuzz_runs, .. } => {
            let tier = match (all, rest) {
                (true, _) => Tier::All,
                (_, true) => Tier::Rest,
                _ => Tier::Quick,
            };
            steps::test(&TestOptions { tier, only, skip, fail_fast, fuzz_runs })
        }
        Task::Lint => steps::lint(),
        Task::Component => single(steps::component(sh)),
        Task::Web { build, port } => single(steps::web(sh, build, port)),
        Task::Bench { args } => single(steps::bench(sh, &args)),
        Task::Fuzz(run) => single(steps::explore(sh, &run)),
        Task::Soak(run) => single(steps::soak(sh, &run)),
        Task::Miri { args } => single(steps::miri(sh, &args)),
        Task::Guests => single(steps::guests(sh)),
        Task::Doc { open } => single(steps::doc(sh, open)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
