//! Developer commands, called as `cargo xtask COMMAND`.
//!
//! `cargo xtask test` is the one that everybody needs: it takes minutes, wants nothing but stable Rust and installs nothing.
//! `cargo xtask test --all --install` is everything. `cargo xtask test --list` shows the steps.

mod provision;
mod shell;
mod step;
mod steps;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use step::{Outcome, Stop};
use steps::{FuzzRun, Part, SoakRun, Span, Step, TestOptions, Tier};

/// Developer commands of Strandline.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Task,
    /// Install what is missing: Debian packages as root, cargo-fuzz through cargo.
    #[arg(long, global = true)]
    install: bool,
    /// Fetch missing parts of a Rust toolchain (nightly, miri, a target) through rustup.
    #[arg(long, global = true)]
    rustup: bool,
}

const EXAMPLES: &str = "Examples:
  cargo xtask test                      the tests that need nothing but stable Rust: minutes
  cargo xtask test --all --install      every test, after installing what the steps need
  cargo xtask test --list               the steps and what each needs
  cargo xtask test --only loom          one step
  cargo xtask test --skip tsan --skip fuzz
  cargo xtask lint                      format, clippy, documentation: what CI checks first
  cargo xtask component                 the core as a component: target/component/strandline.wasm
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
    /// Build the core as a component: target/component/strandline.wasm.
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
    /// Provide what components are built with: the target wasm32-wasip2 through rustup, or Debian's toolchain.
    GuestToolchain,
    /// Explore with one fuzz target.
    Fuzz {
        /// A target of fuzz/Cargo.toml.
        target: String,
        /// How long to run, in seconds.
        #[arg(long, value_name = "N", default_value_t = 20)]
        seconds: u32,
        /// Then keep in fuzz/corpus the inputs that reach something new.
        #[arg(long)]
        keep: bool,
        /// Passed on to libFuzzer.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Run the oracle's programs, stress and fuzz of the pools for a time; a failure names the seed that repeats it.
    Soak {
        /// How long in all: 90s, 15m, 2h. Each part gets an equal share.
        #[arg(long = "for", value_name = "DURATION")]
        time: Span,
        /// Run only this part; may be given again.
        #[arg(long, value_name = "PART")]
        only: Vec<Part>,
        /// The first program's seed; from the clock by default.
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
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
    let cli = Cli::parse();
    provision::allow(cli.install, cli.rustup);
    match cli.command {
        Task::Test { list: true, .. } => {
            steps::list();
            ExitCode::SUCCESS
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
        Task::Component => single(steps::component()),
        Task::Web { build, port } => single(steps::web(build, port)),
        Task::GuestToolchain => single(steps::guest_toolchain()),
        Task::Bench { args } => single(steps::bench(&args)),
        Task::Fuzz { target, seconds, keep, args } => {
            single(steps::fuzz_target(&FuzzRun { target: &target, seconds, keep, args: &args }))
        }
        Task::Soak { time, only, seed } => single(steps::soak(&SoakRun { time, only, seed })),
        Task::Miri { args } => single(steps::miri(&args)),
        Task::Guests => single(steps::guests()),
        Task::Doc { open } => single(steps::doc(open)),
    }
}

/// Ends a command that is one step. Asked for by name, a step that cannot run has failed.
fn single(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(_) => ExitCode::SUCCESS,
        Err(Stop::Skipped(why) | Stop::Failed(why)) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
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
