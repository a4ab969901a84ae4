//! The GPU host's tests, and the command on a GPU: on whatever adapter there is, or on lavapipe, Mesa's Vulkan on the processor.

use serde_json::Value;
use xshell::{Shell, cmd};

use super::boundaries::Boundaries;
use crate::report::{Outcome, Stop};
use crate::shell::{run_tests, target_dir};
use crate::toolchain::{BARE_TARGET, Toolchain, missing, packages};

pub(super) fn wgpu(sh: &Shell) -> Outcome {
    let boundaries = match Boundaries::with_components(sh) {
        Err(Stop::Skipped(why)) => {
            println!("without conformance on a GPU through the sandbox ({why})");
            Boundaries::without_components()
        }
        made => made?,
    };
    boundaries
        .cargo(sh, "build")
        .args(["--bin", "strandline", "--example", "transformer"])
        .run()?;
    if !has_adapter(sh)? {
        packages(sh, &["mesa-vulkan-drivers", "libvulkan1"])?;
        return Err(missing("a GPU adapter; Mesa's driver for processors is installed"));
    }
    let programs: [((&str, &str), &[&str]); 5] = [
        (("host-wgpu", "lib"), &[]),
        (("host-wgpu", "gpu"), &[]),
        (("replay", "lib"), &["gpu::", "cubecl"]),
        (("guest-tests", "suite"), &["::gpu"]),
        (("cli", "gpu"), &[]),
    ];
    let ran = boundaries.test(sh, &programs)?;
    let documentation = run_tests(boundaries.cargo(sh, "test").arg("--doc"))?;
    sh.cmd(target_dir().join("debug/examples/transformer")).run()?;
    web(sh)?;
    Ok(Some(ran + documentation))
}

/// Whether the command finds an adapter.
fn has_adapter(sh: &Shell) -> Result<bool, Stop> {
    let strandline = target_dir().join("debug/strandline");
    let report = cmd!(sh, "{strandline} info --json").read()?;
    let report: Value = serde_json::from_str(&report)
        .map_err(|error| Stop::Failed(format!("strandline info --json: {error}")))?;
    Ok(report["adapters"].as_array().is_some_and(|adapters| !adapters.is_empty()))
}

/// The GPU host for a browser: it is checked, not run.
fn web(sh: &Shell) -> Result<(), Stop> {
    let toolchain = match Toolchain::bare(sh, &[]) {
        Err(Stop::Skipped(why)) => {
            println!("skipped: the GPU host for a browser ({why})");
            return Ok(());
        }
        toolchain => toolchain?,
    };
    let std = (toolchain == Toolchain::Debian).then_some("-Zbuild-std=std,panic_abort");
    toolchain
        .cargo(sh, "web", "")
        .args(["check", "-p", "strandline-host-wgpu", "--no-default-features"])
        .args(["--target", BARE_TARGET])
        .args(std)
        .run()?;
    Ok(())
}
