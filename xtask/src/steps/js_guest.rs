//! The guest in JavaScript: componentize-js puts the program and an engine into one component, which the command runs as any other.

use xshell::{Shell, cmd};

use super::boundaries::Boundaries;
use super::{component, web};
use crate::report::{Outcome, Stop};
use crate::shell::target_dir;

/// Its folder: what a user would have, too.
const FOLDER: &str = "guest-tests/guest-js";

/// Builds it and runs it within a budget.
pub(super) fn js_guest(sh: &Shell) -> Outcome {
    web::npm_packages(sh, FOLDER)?;
    component::component(sh)?;
    let guest = target_dir().join("component/chain-js.wasm");
    cmd!(sh, "node {FOLDER}/componentize.mjs wit {guest}").run()?;
    // As the sandbox's step builds it.
    Boundaries::with_components(sh)?.cargo(sh, "build").args(["--bin", "strandline"]).run()?;
    let strandline = target_dir().join("debug/strandline");
    // The engine is 8 MB of code, which a compiler without optimization takes a minute and a half for: once is enough.
    let limits = ["--memory", "16MiB", "--budget", "8MiB", "--timeout", "600"];
    let said = cmd!(sh, "{strandline} run {guest} {limits...} -- 4096 8").read()?;
    if !said.contains("every byte came back") {
        return Err(Stop::Failed(format!("the guest said: {said}")));
    }
    Ok(None)
}
