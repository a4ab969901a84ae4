//! The components that the suite runs, as `cargo xtask guests` and `cargo xtask component` build them.

use std::path::PathBuf;
use strandline_host_tenants::component::substrate::find_component;

fn read(path: &PathBuf) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The file that a variable names, or the one that was built in the target folder of this program.
fn built(variable: &str, file: &str, remedy: &str) -> Vec<u8> {
    if let Some(path) = std::env::var_os(variable) {
        return read(&path.into());
    }
    let program = std::env::current_exe().unwrap();
    let mut built = program.ancestors().skip(1).map(|folder| folder.join("component").join(file));
    let found = built.find(|path| path.is_file());
    read(&found.unwrap_or_else(|| panic!("{file} is not built; run `{remedy}`")))
}

/// The guest that runs cases and hostile programs.
pub(crate) fn conformance() -> Vec<u8> {
    built("STRANDLINE_GUEST", "conformance.wasm", "cargo xtask guests")
}

/// The same guest, which cannot wait.
pub(crate) fn conformance_sync() -> Vec<u8> {
    built("STRANDLINE_SYNC_GUEST", "conformance-sync.wasm", "cargo xtask guests")
}

/// The guest in C.
#[cfg(feature = "guest-c")]
pub(crate) fn chain() -> Vec<u8> {
    built("STRANDLINE_C_GUEST", "chain.wasm", "cargo xtask test --only sandbox")
}

/// The core's component.
pub(crate) fn substrate() -> Vec<u8> {
    read(&find_component().unwrap())
}

/// The same with pools that follow plans.
pub(crate) fn substrate_with_plans() -> Vec<u8> {
    built("STRANDLINE_PLANS_COMPONENT", "strandline-plans.wasm", "cargo xtask component")
}
