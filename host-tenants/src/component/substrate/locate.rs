//! Where the component is found.

use super::SubstrateError;
use std::env;
use std::path::{Path, PathBuf};

/// The variable that names the component's file.
pub const COMPONENT_VARIABLE: &str = "STRANDLINE_COMPONENT";

/// Below a build's target folder, where `cargo xtask component` puts it.
const BUILT: &str = "component/strandline.wasm";

/// The core's component: the file that [`COMPONENT_VARIABLE`] names, else the one that `cargo xtask component`
/// built in the target folder that the running program lies in.
///
/// # Errors
/// [`SubstrateError::Load`] when there is none, saying how to build it.
pub fn find_component() -> Result<PathBuf, SubstrateError> {
    if let Some(named) = env::var_os(COMPONENT_VARIABLE) {
        return Ok(PathBuf::from(named));
    }
    let program = env::current_exe().unwrap_or_default();
    let mut built = program.ancestors().skip(1).map(|folder: &Path| folder.join(BUILT));
    built.find(|file| file.is_file()).ok_or_else(|| {
        let program = program.display();
        SubstrateError::Load(format!(
            "there is no {BUILT} in the folders above {program}; run `cargo xtask component`, or name a file in \
             {COMPONENT_VARIABLE}"
        ))
    })
}
