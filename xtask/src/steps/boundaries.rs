//! The tests that bring wasmtime and wgpu: one set of packages and features for the sandbox's step and the GPU's, so that
//! cargo builds both libraries once. With other packages or features it would build them again.

use std::path::PathBuf;

use super::{c_guest, component, guests};
use crate::shell::Cmd;
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
const GPU: &str = "strandline/wgpu,strandline-guest-tests/wgpu";
const COMPONENTS: &str =
    "strandline-host-native/component,strandline/component,strandline-guest-tests/guests";

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
        let cargo = Cmd::cargo().arg(command).args(PACKAGES).args(["--features", &self.features]);
        self.components.iter().fold(cargo, |cargo, (variable, file)| cargo.env(variable, file))
    }

    /// `cargo test`, to the end whatever fails.
    pub(super) fn test(&self) -> Cmd {
        self.cargo("test").arg("--no-fail-fast")
    }
}
