//! The tests that bring wasmtime and wgpu: one build for the sandbox's step and the GPU's, so that cargo compiles both libraries once.
//! With other packages or features it would compile them again. Each step runs the test programs that are its own; what needs
//! neither library is the unit step's.

use std::path::PathBuf;

use super::{c_guest, component, guests};
use crate::shell::{Cmd, TestCount, TestProgram};
use crate::step::Stop;

const PACKAGES: [&str; 10] = [
    "-p",
    "strandline-host-native",
    "-p",
    "strandline-host-wgpu",
    "-p",
    "strandline-replay",
    "-p",
    "strandline",
    "-p",
    "strandline-guest-tests",
];
const GPU: &str = "strandline/cubecl,strandline/wgpu,strandline-guest-tests/wgpu";
const COMPONENTS: &str =
    "strandline-host-native/component,strandline/component,strandline-guest-tests/guests";

/// What both steps build.
const TARGETS: [&str; 8] =
    ["--lib", "--bins", "--test", "suite", "--test", "command", "--test", "gpu"];
/// What there is with components only: cargo refuses a test whose features are not there.
const OF_COMPONENTS: [&str; 8] =
    ["--test", "substrate", "--test", "via_component", "--test", "guests", "--example", "embed"];

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
    pub(super) fn with_components() -> Result<Self, Stop> {
        component::component()?;
        guests::guests()?;
        let mut made = Self {
            features: format!("{GPU},{COMPONENTS}"),
            components: vec![
                ("STRANDLINE_COMPONENT", component::component_file()),
                ("STRANDLINE_GUEST", guests::guest_file()),
                ("STRANDLINE_SYNC_GUEST", guests::sync_guest_file()),
            ],
        };
        match c_guest::c_guest() {
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
    pub(super) fn cargo(&self, command: &str) -> Cmd {
        self.told(Cmd::cargo().arg(command).args(PACKAGES).args(["--features", &self.features]))
    }

    fn told(&self, cmd: Cmd) -> Cmd {
        self.components.iter().fold(cmd, |cmd, (variable, file)| cmd.env(variable, file))
    }

    /// Builds every test program.
    ///
    /// # Errors
    /// Something does not build.
    pub(super) fn build(&self) -> Result<Vec<TestProgram>, Stop> {
        let cmd = self.cargo("test").args(TARGETS);
        let cmd = if self.components.is_empty() { cmd } else { cmd.args(OF_COMPONENTS) };
        cmd.build_tests()
    }

    /// Runs one program's tests of these names; all where there is none.
    ///
    /// # Errors
    /// A test failed, no test ran, or there is no such program.
    pub(super) fn run(
        &self,
        programs: &[TestProgram],
        (folder, target): (&str, &str),
        names: &[&str],
    ) -> Result<TestCount, Stop> {
        let program = programs.iter().find(|program| program.is(folder, target));
        let program = program
            .ok_or_else(|| Stop::Failed(format!("no test program {target} of {folder}/")))?;
        self.told(program.cmd()).args(names).run_tests()
    }

    /// Runs several; all of them, even after one failed.
    ///
    /// # Errors
    /// As [`Boundaries::run`], all of them.
    pub(super) fn run_all(
        &self,
        programs: &[TestProgram],
        runs: &[((&str, &str), &[&str])],
    ) -> Result<TestCount, Stop> {
        let mut count = TestCount::default();
        let mut failures = Vec::new();
        for (program, names) in runs {
            match self.run(programs, *program, names) {
                Ok(ran) => count = count + ran,
                Err(Stop::Failed(why) | Stop::Skipped(why)) => failures.push(why),
            }
        }
        if failures.is_empty() { Ok(count) } else { Err(Stop::Failed(failures.join("; "))) }
    }
}
