//! `strandline run` where guests cannot be run: says how to get it.

use crate::Ending;
use crate::args::RunArgs;
use crate::output::Error;
use std::process::ExitCode;

/// Nobody starts it.
pub(crate) fn compile_guest() -> ExitCode {
    ExitCode::FAILURE
}

pub(crate) fn run(_args: &RunArgs) -> Result<Ending, Error> {
    Err("this strandline was built without guests; build it with `cargo build --release --features component`".into())
}
