//! The tests that bring wasmtime and wgpu: one build for the sandbox's step and the GPU's, so that cargo compiles both libraries once.
//! With other packages or features it would compile them again. Each step runs the test programs that are its own; what needs
//! neither library is the unit step's.

use std::path::{Path, PathBuf};

use xshell::{Cmd, Shell, cmd};

use super::{c_guest, component, guests};
use crate::report::Stop;
use crate::shell::{each, run_tests};

const PACKAGES: &str = "strandline-host-tenants strandline-host-wgpu strandline-replay strandline strandline-guest-tests";
const GPU: &str = "strandline/cubecl,strandline/wgpu,strandline-guest-tests/wgpu";
const COMPONENTS: &str =
    "strandline-host-tenants/component,strandline/component,strandline-guest-tests/guests";

/// What both steps build.
const TARGETS: &str = "--lib --bins --test suite --test command --test gpu";
/// What there is with components only: cargo refuses a test whose features are not there.
const OF_COMPONENTS: &str =
    "--test substrate --test embedding --test via_component --test guests --example embed";

/// Which test program: the package's folder, and `lib`, `bin`, or the name of a test or an example.
type Program<'a> = (&'a str, &'a str);

/// Features, and what the tests are told of the components that they run: where they are, mostly.
pub(super) struct Boundaries {
    features: String,
    components: Vec<(&'static str, PathBuf)>,
}

impl Boundaries {
    /// Builds the component and the guests.
    ///
    /// # Errors
    /// There is no toolchain for components, or one of them does not build.
    pub(super) fn with_components(sh: &Shell) -> Result<Self, Stop> {
        component::component(sh)?;
        guests::guests(sh)?;
        let mut made = Self {
            features: format!("{GPU},{COMPONENTS}"),
            components: vec![
                ("STRANDLINE_COMPONENT", component::component_file()),
                ("STRANDLINE_PLANS_COMPONENT", component::component_with_plans_file()),
                ("STRANDLINE_GUEST", guests::guest_file()),
                ("STRANDLINE_SYNC_GUEST", guests::sync_guest_file()),
            ],
        };
        match c_guest::c_guest(sh) {
            Ok(file) => {
                made.features.push_str(",strandline-guest-tests/guest-c");
                made.components.push(("STRANDLINE_C_GUEST", file));
            }
            Err(Stop::Skipped(why)) => println!("without the guest in C: {why}"),
            Err(failed) => return Err(failed),
        }
        Ok(made)
    }

    /// For where no component can be built.
    pub(super) fn without_components() -> Self {
        Self { features: GPU.to_owned(), components: Vec::new() }
    }

    /// A cargo command over all that belongs here; which targets is for the caller to add.
    pub(super) fn cargo<'a>(&self, sh: &'a Shell, command: &str) -> Cmd<'a> {
        let packages = PACKAGES.split(' ').flat_map(|package| ["-p", package]);
        let features = &self.features;
        self.told(cmd!(sh, "cargo {command} {packages...} --features {features}"))
    }

    fn told<'a>(&self, cmd: Cmd<'a>) -> Cmd<'a> {
        cmd.envs(self.components.iter().map(|(variable, file)| (variable, file)))
    }

    /// Builds every test program, then runs these with these filters; all of them, even after one failed.
    ///
    /// # Errors
    /// Something does not build, a test failed, or of one program no test ran.
    pub(super) fn test(
        &self,
        sh: &Shell,
        programs: &[(Program<'_>, &[&str])],
    ) -> Result<u64, Stop> {
        let more = if self.components.is_empty() { "" } else { OF_COMPONENTS };
        let targets = TARGETS.split(' ').chain(more.split_whitespace());
        let build = self.cargo(sh, "test").args(targets).arg("--no-run");
        eprintln!("$ {build}");
        let messages = build.arg("--message-format=json-render-diagnostics").quiet().read()?;
        each(programs, |((folder, target), filters)| {
            let found = messages.lines().find_map(|line| test_program(line, (folder, target)));
            let (folder, file) = found
                .ok_or_else(|| Stop::Failed(format!("no test program {target} of {folder}/")))?;
            // Where `cargo test` would run it.
            let _there = sh.push_dir(&folder);
            let cmd = sh.cmd(file).args(*filters).env("CARGO_MANIFEST_DIR", &folder);
            run_tests(self.told(cmd))
        })
    }
}

/// The package's folder and the file, where one of cargo's messages tells that it has built this test program.
fn test_program(message: &str, (folder, target): Program<'_>) -> Option<(PathBuf, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let text = |pointer: &str| message.pointer(pointer)?.as_str();
    let package = Path::new(text("/manifest_path")?).parent()?.to_owned();
    let is_test = message.pointer("/profile/test")?.as_bool()?;
    let wanted = text("/reason") == Some("compiler-artifact")
        && is_test
        && package.ends_with(folder)
        && [text("/target/kind/0")?, text("/target/name")?].contains(&target);
    if wanted { Some((package, text("/executable")?.into())) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_told_apart() {
        let is = |kind: &str, name: &str, test: bool, wanted| {
            let message = serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": "/r/host-native/Cargo.toml", "profile": {"test": test},
                "target": {"name": name, "kind": [kind]}, "executable": "/r/target/x"
            });
            test_program(&message.to_string(), wanted).is_some()
        };
        assert!(is("lib", "strandline_host_native", true, ("host-native", "lib")));
        assert!(!is("lib", "strandline_host_native", true, ("native", "lib")));
        assert!(is("test", "wakes", true, ("host-native", "wakes")));
        assert!(!is("test", "wakes", true, ("cli", "wakes")));
        assert!(!is("bin", "strandline", false, ("host-native", "bin")));
        assert_eq!(test_program("{\"reason\": \"build-finished\"}", ("cli", "bin")), None);
    }
}
