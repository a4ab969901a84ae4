//! The components that the suite runs, as `cargo xtask guests` and `cargo xtask component` build them.

use std::path::PathBuf;
use strandline_host_native::component::substrate::find_component;

/// Below a build's target folder.
const BUILT: &str = "component/conformance.wasm";

fn read(path: &PathBuf) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The guest that runs cases and hostile programs: the file that `STRANDLINE_GUEST` names, or the one that was
/// built in the target folder of this program.
pub(crate) fn conformance() -> Vec<u8> {
    if let Some(path) = std::env::var_os("STRANDLINE_GUEST") {
        return read(&path.into());
    }
    let program = std::env::current_exe().unwrap();
    let mut built = program.ancestors().skip(1).map(|folder| folder.join(BUILT));
    let found = built.find(|path| path.is_file());
    read(&found.expect("no guest is built; run `cargo xtask guests`"))
}

/// The core's component.
pub(crate) fn substrate() -> Vec<u8> {
    read(&find_component().unwrap())
}
