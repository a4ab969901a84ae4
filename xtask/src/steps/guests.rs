//! Guests: the conformance suite's, and the benchmark's, each for both worlds.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::shell::{self, Cmd, target_dir};
use crate::step::Outcome;

use super::component;

/// Where a guest is once it is built; who runs it looks for it there.
fn file(name: &str) -> PathBuf {
    target_dir().join("component").join(name)
}

/// The suite's guest.
pub(super) fn guest_file() -> PathBuf {
    file("conformance.wasm")
}

/// The same, which cannot wait.
pub(super) fn sync_guest_file() -> PathBuf {
    file("conformance-sync.wasm")
}

/// The benchmark's guest.
pub(super) fn bench_guest_file() -> PathBuf {
    file("bench-guest.wasm")
}

/// The same, which cannot wait.
pub(super) fn sync_bench_guest_file() -> PathBuf {
    file("bench-guest-sync.wasm")
}

/// `cargo xtask guests`; once in this process. The two are one library under one name, so cargo would build each again.
pub(crate) fn guests() -> Outcome {
    static BUILT: OnceLock<()> = OnceLock::new();
    if BUILT.get().is_some() {
        return Ok(None);
    }
    let build = |features: &[&str], file| {
        build("guest-tests/guest", "strandline_conformance_guest", features, file)
    };
    build(&[], guest_file())?;
    build(SYNC, sync_guest_file())?;
    let _ = BUILT.set(());
    Ok(None)
}

/// The benchmark's.
pub(super) fn bench_guests() -> Outcome {
    let build =
        |features: &[&str], file| build("bench/guest", "strandline_bench_guest", features, file);
    build(&[], bench_guest_file())?;
    build(SYNC, sync_bench_guest_file())
}

/// What makes of a crate the guest that cannot wait.
const SYNC: &[&str] = &["--no-default-features"];

/// Builds the crate in a folder, which makes a library of this name, and copies what it made.
fn build(folder: &str, library: &str, features: &[&str], file: PathBuf) -> Outcome {
    let manifest = shell::root().join(folder).join("Cargo.toml");
    let build = Cmd::cargo().args(["build", "--locked", "--manifest-path"]).arg(manifest);
    component::build_bare(build.args(features))?.run()?;
    let built = target_dir().join(format!("component/wasm32-wasip2/release/{library}.wasm"));
    let bytes = std::fs::copy(built, &file)?;
    println!("{}: {bytes} bytes", file.display());
    Ok(None)
}
