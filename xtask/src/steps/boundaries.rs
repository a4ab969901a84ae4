//! The tests that bring wasmtime and wgpu: one set of packages and features for the sandbox's step and the GPU's, so that
//! cargo builds both libraries once. With other packages or features it would build them again.

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
const WITHOUT_COMPONENTS: &str = "strandline/wgpu,strandline-guest-tests/wgpu";
const COMPONENTS: &str =
    "strandline-host-native/component,strandline/component,strandline-guest-tests/guests";

/// Builds the component and the guests; `cargo test` for what runs them. Which targets and which tests is for the
/// caller to add.
///
/// # Errors
/// There is no toolchain for components, or one of them does not build.
pub(super) fn tests() -> Result<Cmd, Stop> {
    component::component()?;
    guests::guests()?;
    let features = format!("{WITHOUT_COMPONENTS},{COMPONENTS}");
    let tests = match c_guest::c_guest() {
        Ok(file) => cargo_test(&format!("{features},strandline-guest-tests/guest-c"))
            .env("STRANDLINE_C_GUEST", file),
        Err(Stop::Skipped(why)) => {
            println!("without the guest in C: {why}");
            cargo_test(&features)
        }
        Err(failed) => return Err(failed),
    };
    Ok(tests
        .env("STRANDLINE_COMPONENT", component::component_file())
        .env("STRANDLINE_GUEST", guests::guest_file()))
}

/// The same where no component can be built.
pub(super) fn tests_without_components() -> Cmd {
    cargo_test(WITHOUT_COMPONENTS)
}

fn cargo_test(features: &str) -> Cmd {
    Cmd::cargo().arg("test").args(PACKAGES).args(["--no-fail-fast", "--features", features])
}
