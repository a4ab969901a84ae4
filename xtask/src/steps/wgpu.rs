//! The GPU host's tests, and the command on a GPU: on whatever adapter there is, or on lavapipe, Mesa's Vulkan on the processor.
//!
//! ```text
//!   build as for the sandbox ─▶ strandline info: an adapter?  ── no ─▶ install Mesa's driver, look again
//!                                      │ yes                                  │ none: skip, in CI fail
//!                                      ▼                                      ▼
//!        tests of host-wgpu, of replay and the command on a GPU; conformance ─▶ example ─▶ a check for the web
//! ```

use serde_json::Value;

use super::{BARE_TARGET, DEBIAN_RUST, boundaries::Boundaries, debian_rust};
use crate::provision;
use crate::shell::{self, Cmd};
use crate::step::{Outcome, Stop};

/// Mesa's drivers, with one for the processor, and Vulkan's loader.
const DEBIAN_VULKAN: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

pub(super) fn wgpu() -> Outcome {
    let boundaries = match Boundaries::with_components() {
        Err(Stop::Skipped(why)) => {
            println!("without conformance on a GPU through the sandbox ({why})");
            Boundaries::without_components()
        }
        made => made?,
    };
    let programs = boundaries.build()?;
    boundaries.cargo("build").args(["--bin", "strandline", "--example", "transformer"]).run()?;
    if !has_adapter()? {
        provision::debian_packages(&DEBIAN_VULKAN)?;
        if !has_adapter()? {
            let what = "a GPU adapter; Mesa's driver for processors is installed";
            return Err(provision::missing(what));
        }
    }
    let ran = boundaries.run_all(
        &programs,
        &[
            (("host-wgpu", "lib"), &[]),
            (("host-wgpu", "gpu"), &[]),
            (("replay", "lib"), &["gpu::", "cubecl"]),
            (("guest-tests", "suite"), &["::gpu"]),
            (("cli", "gpu"), &[]),
        ],
    )?;
    let documentation = boundaries.cargo("test").arg("--doc").run_tests()?;
    Cmd::new(&built("examples/transformer")).run()?;
    web()?;
    Ok(Some(ran + documentation))
}

/// A program that the tests' build has made.
fn built(name: &str) -> String {
    shell::target_dir().join("debug").join(name).to_string_lossy().into_owned()
}

/// Whether the command finds an adapter.
fn has_adapter() -> Result<bool, Stop> {
    let cmd = Cmd::new(&built("strandline")).args(["info", "--json"]);
    let output = cmd.output()?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Stop::Failed(format!("{cmd}: not one JSON object: {error}")))?;
    Ok(report["adapters"].as_array().is_some_and(|adapters| !adapters.is_empty()))
}

/// The GPU host for a browser: it is checked, not run.
fn web() -> Result<(), Stop> {
    let check = || {
        let package = ["check", "-p", "strandline-host-wgpu", "--no-default-features"];
        Cmd::cargo().args(package).args(["--target", BARE_TARGET])
    };
    if provision::has_target(BARE_TARGET) {
        return check().flavour("web", "").run();
    }
    match provision::debian_packages(&DEBIAN_RUST) {
        Ok(()) => debian_rust(check(), "web", "").arg("-Zbuild-std=std,panic_abort").run(),
        Err(Stop::Skipped(why)) => {
            println!("skipped: the GPU host for a browser ({why})");
            Ok(())
        }
        Err(failed) => Err(failed),
    }
}
