//! `strandline fleet …`, and `replay` with `--workers` or `--fleet`: handed to `strandline-fleet`. That is a program of its own, because the
//! transport of a fleet is 230 crates that nobody needs who has one process.

use crate::output::Error;
use clap::Args;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::{env, io};

pub(crate) const EXAMPLES: &str = "\
Examples:
  strandline fleet serve tcp/127.0.0.1:7447 --capacity 4096
  strandline fleet status tcp/127.0.0.1:7447
  strandline replay traces/resnet50_train.csv.gz --workers 4
  strandline fleet --help

What follows `fleet` is for strandline-fleet, a program of its own: cargo install --path host-fleet";

/// What strandline-fleet is to do.
#[derive(Args, Debug)]
pub(crate) struct FleetArgs {
    /// For strandline-fleet: serve, admit, status or replay, with its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub(crate) arguments: Vec<OsString>,
}

/// The arguments of a command line, program's name first, that replays over a fleet; for strandline-fleet.
pub(crate) fn replay_over(line: impl IntoIterator<Item = OsString>) -> Option<Vec<OsString>> {
    let arguments: Vec<OsString> = line.into_iter().skip(1).collect();
    let over = |argument: &OsString| {
        let text = argument.to_string_lossy();
        let (name, _) = text.split_once('=').unwrap_or((&*text, ""));
        matches!(name, "--workers" | "--fleet")
    };
    let replays = arguments.first().is_some_and(|command| command == "replay");
    (replays && arguments.iter().any(over)).then_some(arguments)
}

/// Where strandline-fleet is: beside this program, or where programs are looked for.
fn program() -> Option<PathBuf> {
    let beside = env::current_exe().ok().and_then(|here| here.parent().map(PathBuf::from));
    let path = env::var_os("PATH").unwrap_or_default();
    let name = format!("strandline-fleet{}", env::consts::EXE_SUFFIX);
    let mut folders = beside.into_iter().chain(env::split_paths(&path));
    folders.find_map(|folder| Some(folder.join(&name)).filter(|file| file.is_file()))
}

/// Runs strandline-fleet in place of this program: its output and its exit status are this one's.
///
/// # Errors
/// It is not there, or does not start.
pub(crate) fn run(arguments: &[impl AsRef<OsStr>]) -> Result<ExitCode, Error> {
    let Some(program) = program() else {
        return Err("strandline-fleet is not installed, a program of its own that fleets need; to install it: \
                    cargo install --path host-fleet"
            .into());
    };
    let ended = become_it(Command::new(&program).args(arguments));
    ended.map_err(|error| format!("{}: {error}", program.display()).into())
}

/// On Unix the process becomes the other one, so that signals reach it.
#[cfg(unix)]
fn become_it(command: &mut Command) -> io::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

#[cfg(not(unix))]
fn become_it(command: &mut Command) -> io::Result<ExitCode> {
    let code = command.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_by_workers_or_over_a_fleet_is_told_from_others() {
        let line = |text: &str| replay_over(text.split(' ').map(OsString::from));
        for over in
            ["s replay t --workers 4", "s replay --fleet=tcp/a:1 t", "s replay t --json --fleet a"]
        {
            let handed = line(over).map(|arguments| arguments.join(OsStr::new(" ")));
            assert_eq!(handed, Some(OsString::from(&over[2..])));
        }
        for other in ["s replay t --streams 4", "s fit t --workers 4", "s replay workers", "s"] {
            assert_eq!(line(other), None, "{other}");
        }
    }
}
