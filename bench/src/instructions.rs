//! `--instructions`: hands over to the benchmarks that valgrind counts, after a look at what they need.

use std::env;
use std::process::{Command, Stdio};

/// The runner must be of the library's version.
const RUNNER_VERSION: &str = "0.20.0";

/// Runs `benches/instructions.rs` through cargo, with `args` for gungraun.
///
/// # Errors
/// What is missing, and the command that installs it; or that a benchmark failed or regressed.
pub fn run(args: &[String]) -> Result<(), String> {
    if version("valgrind").is_none() {
        return Err("valgrind is missing: on Debian, `apt-get install valgrind`".into());
    }
    let runner = env::var("GUNGRAUN_RUNNER").unwrap_or_else(|_| "gungraun-runner".into());
    let install = format!("`cargo install --locked gungraun-runner --version {RUNNER_VERSION}`");
    match version(&runner) {
        None => return Err(format!("{runner} is missing: {install}")),
        Some(found) if !found.contains(RUNNER_VERSION) => {
            return Err(format!("{found} is not version {RUNNER_VERSION}: {install}"));
        }
        Some(_) => {}
    }
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let status = Command::new(cargo)
        .args(["bench", "-p", "strandline-bench", "--bench", "instructions", "--"])
        .args(args)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the instruction counts failed or regressed: {status}")),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

/// What `program --version` says, if it can be run.
fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
