//! The conformance suite's guests.

use std::path::PathBuf;

use crate::shell::{self, Cmd, target_dir};
use crate::step::Outcome;

use super::component;

/// Where the guest is once it is built; the suite looks for it there.
pub(super) fn guest_file() -> PathBuf {
    target_dir().join("component/conformance.wasm")
}

/// `cargo xtask guests`.
pub(crate) fn guests() -> Outcome {
    let manifest = shell::root().join("guest-tests/guest/Cargo.toml");
    let build = Cmd::cargo().args(["build", "--locked", "--manifest-path"]).arg(manifest);
    component::build_bare(build)?.run()?;
    let built =
        target_dir().join("component/wasm32-wasip2/release/strandline_conformance_guest.wasm");
    let file = guest_file();
    let bytes = std::fs::copy(built, &file)?;
    println!("{}: {bytes} bytes", file.display());
    Ok(None)
}
