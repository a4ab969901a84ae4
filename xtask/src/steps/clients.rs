//! Programs that nobody here wrote, with the GPU host in them; and the host on the ends of the range of wgpu that it takes.
//!
//! ```text
//!   clients/draw      egui-wgpu     its paint callbacks have buffers of ours      ┐ each a workspace of its own, whose lock file has
//!   clients/compute   cubecl-wgpu   its allocations are recorded and fitted       ┘ the newest wgpu that they resolve to
//!   a copy of core and host-wgpu    compiles with the newest wgpu and with 30.0.0
//! ```

use xshell::{Shell, cmd};

use crate::report::{Outcome, Stop};
use crate::shell::{each, run_tests, target_dir};
use crate::toolchain::packages;

/// The lowest wgpu that the host's manifest names.
const LOWEST: &str = "30.0.0";

pub(super) fn clients(sh: &Shell) -> Outcome {
    packages(sh, &["mesa-vulkan-drivers", "libvulkan1"])?;
    let target = target_dir().join("clients");
    let ran = each(["draw", "compute"], |client| {
        let manifest = format!("clients/{client}/Cargo.toml");
        // What they print is what they are for.
        let test = cmd!(sh, "cargo test --locked --manifest-path {manifest} -- --nocapture");
        run_tests(test.env("CARGO_TARGET_DIR", &target))
    })?;
    range(sh)?;
    Ok(Some(ran))
}

/// Resolves the host anew, outside the workspace and its lock file.
fn range(sh: &Shell) -> Result<(), Stop> {
    let target = target_dir().join("clients");
    let folder = target.join("range");
    sh.remove_path(&folder)?;
    sh.create_dir(&folder)?;
    cmd!(sh, "cp -rL core host-wgpu {folder}").run()?;
    let manifest = sh.read_file("Cargo.toml")?;
    sh.write_file(folder.join("Cargo.toml"), of_two(&manifest))?;
    let _there = sh.push_dir(&folder);
    let cargo = |command: &str| cmd!(sh, "cargo {command}").env("CARGO_TARGET_DIR", &target);
    cargo("generate-lockfile").run()?;
    let host = ["--package", "strandline-host-wgpu"];
    let check = || cargo("check").args(host).args(["--lib", "--tests", "--examples"]).run();
    check()?;
    cargo("update").args(["--package", "wgpu", "--precise", LOWEST]).run()?;
    Ok(check()?)
}

/// The workspace's manifest with two members only.
fn of_two(manifest: &str) -> String {
    let line = |line: &str| match line.split(' ').next() {
        Some("members") => "members = [\"core\", \"host-wgpu\"]\n".to_owned(),
        Some("default-members" | "exclude") => String::new(),
        _ => format!("{line}\n"),
    };
    manifest.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::root;

    #[test]
    fn the_copy_has_two_members_and_the_rest_of_the_manifest() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap_or_default();
        let copy = of_two(&manifest);
        assert!(copy.contains("members = [\"core\", \"host-wgpu\"]\n"), "{copy}");
        assert!(!copy.contains("default-members") && !copy.contains("\nexclude"), "{copy}");
        assert!(
            copy.contains("[workspace.lints.rust]") && copy.contains("[profile.dev]"),
            "{copy}"
        );
        let host = root().join("host-wgpu/Cargo.toml");
        let host = std::fs::read_to_string(host).unwrap_or_default();
        // What is checked as the lowest is what the host asks for.
        let (major, _) = LOWEST.split_once('.').unwrap_or_default();
        assert!(host.contains(&format!("wgpu = {{ version = \"{major}\"")), "{host}");
    }
}
