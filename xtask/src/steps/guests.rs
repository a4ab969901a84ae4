//! Guests: the conformance suite's, and the benchmark's.

use std::path::PathBuf;

use crate::shell::{self, Cmd, target_dir};
use crate::step::Outcome;

use super::component;

/// Where the guest is once it is built; the suite looks for it there.
pub(super) fn guest_file() -> PathBuf {
    target_dir().join("component/conformance.wasm")
}

/// Where the benchmark's guest is; it looks for it there.
pub(super) fn bench_guest_file() -> PathBuf {
    target_dir().join("component/bench-guest.wasm")
}

/// `cargo xtask guests`.
pub(crate) fn guests() -> Outcome {
    build("guest-tests/guest", "strandline_conformance_guest", guest_file())
}

/// The benchmark's.
pub(super) fn bench_guest() -> Outcome {
    build("bench/guest", "strandline_bench_guest", bench_guest_file())
}

/// Builds the crate in a folder, which makes a library of this name, and copies what it made.
fn build(folder: &str, library: &str, file: PathBuf) -> Outcome {
    let manifest = shell::root().join(folder).join("Cargo.toml");
    let build = Cmd::cargo().args(["build", "--locked", "--manifest-path"]).arg(manifest);
    component::build_bare(build)?.run()?;
    let built = target_dir().join(format!("component/wasm32-wasip2/release/{library}.wasm"));
    let bytes = std::fs::copy(built, &file)?;
    println!("{}: {bytes} bytes", file.display());
    Ok(None)
}
