//! `strandline`: replays real allocation traces through pools, and sizes memory.
//!
//! ```text
//!   args ─▶ replay │ fit │ explain │ compare │ diff │ … ─▶ standard output: the report   exit 0: satisfied
//!                                       └─▶ standard error: progress, errors       1: not satisfied
//!                                                                                  2: bad input
//! ```

mod args;
mod compare;
mod convert;
mod diff;
mod driven;
mod explain;
mod fit;
mod fleet;
mod info;
#[cfg_attr(not(target_os = "linux"), path = "load/absent.rs")]
mod load;
mod meter;
mod output;
mod plan;
mod planned;
#[cfg_attr(not(target_os = "linux"), path = "proactor/absent.rs")]
mod proactor;
mod provider;
mod replay;
#[cfg_attr(not(feature = "component"), path = "run/without.rs")]
mod run;
#[cfg(feature = "component")]
mod sandbox;
#[cfg(not(feature = "component"))]
#[path = "no_sandbox.rs"]
mod sandbox;
mod tips;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

/// How a command ends.
enum Ending {
    /// The trace was satisfied, or the command did what it was asked.
    Satisfied,
    /// The trace was not satisfied.
    Unsatisfied,
}

fn main() -> ExitCode {
    if let Some(arguments) = fleet::replay_over(std::env::args_os()) {
        let wants_json = arguments.iter().any(|argument| argument == "--json");
        return handed_over(&arguments, wants_json);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(error),
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    // What compiles a guest is driven by a command, and reads the guest from there.
    if !matches!(cli.command, Command::CompileGuest) {
        driven::end_with_driver();
    }
    if let Command::Replay(_) | Command::Fit(_) = &cli.command {
        small_pages();
    }
    let ended = match &cli.command {
        Command::Fleet(args) => return handed_over(&args.arguments, false),
        Command::Replay(args) => replay::run(args),
        Command::Fit(args) => fit::run(args),
        Command::Info(args) => info::run(args),
        Command::Load(args) => load::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Run(args) => run::run(args),
        Command::CompileGuest => return run::compile_guest(),
        Command::Explain(args) => explain::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Plan(args) => plan::run(args),
    };
    match ended {
        Ok(Ending::Satisfied) => ExitCode::SUCCESS,
        Ok(Ending::Unsatisfied) => ExitCode::from(1),
        Err(error) => failed(&error, cli.command.json()),
    }
}

/// An error that ends the command.
fn failed(error: &output::Error, json: bool) -> ExitCode {
    output::complain(error);
    if json {
        output::complain_in_json(error);
    }
    ExitCode::from(2)
}

/// What strandline-fleet does.
fn handed_over(arguments: &[std::ffi::OsString], json: bool) -> ExitCode {
    fleet::run(arguments).unwrap_or_else(|error| failed(&error, json))
}

/// What clap says of the command line, help and version included; as an object too where that is asked for.
fn usage(mut error: clap::Error) -> ExitCode {
    tips::mend(&mut error);
    // Nobody is left to tell when this fails.
    let _ = error.print();
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && wants_json {
        let what = error.render().to_string();
        output::complain_in_json(&what.trim_start_matches("error: ").trim_end().into());
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Replay touches a few pages of each block. Where the system backs memory with huge pages unasked, each touch would make
/// 2 MiB resident, and a trace of a large machine would not fit into a small one.
fn small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        log::debug!("cannot turn transparent huge pages off for this process: {error}");
    }
}
