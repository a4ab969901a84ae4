//! Guests: the conformance suite's, and the benchmark's, each for both worlds.

use std::path::PathBuf;
use std::sync::OnceLock;

use xshell::{Shell, cmd};

use super::component::{self, DEBIAN_LINK, TARGET};
use crate::report::{Outcome, Stop};
use crate::shell::target_dir;
use crate::toolchain::{Toolchain, has_target};

/// What makes of a crate the guest that cannot wait.
const SYNC: &[&str] = &["--no-default-features"];

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
pub(crate) fn guests(sh: &Shell) -> Outcome {
    static BUILT: OnceLock<()> = OnceLock::new();
    if BUILT.get().is_none() {
        let (folder, library) = ("guest-tests/guest", "strandline_conformance_guest");
        build(sh, folder, library, &[], guest_file())?;
        build(sh, folder, library, SYNC, sync_guest_file())?;
        let _ = BUILT.set(());
    }
    Ok(None)
}

/// The benchmark's.
pub(super) fn bench_guests(sh: &Shell) -> Outcome {
    let (folder, library) = ("bench/guest", "strandline_bench_guest");
    build(sh, folder, library, &[], bench_guest_file())?;
    build(sh, folder, library, SYNC, sync_bench_guest_file())
}

/// The folder that is copied to begin a guest, copied and built: Rust's standard library in it. Returns the file.
pub(super) fn template(sh: &Shell) -> Result<PathBuf, Stop> {
    let folder = target_dir().join("component/template");
    sh.remove_path(&folder)?;
    cmd!(sh, "cp -rL guest-tests/template {folder}").run()?;
    // Stable Rust has the library built where it has the target.
    let toolchain = match has_target(sh, TARGET) {
        true => Toolchain::Stable,
        false => Toolchain::with_source(None, sh, &DEBIAN_LINK)?,
    };
    let std = (toolchain == Toolchain::Debian).then_some("-Zbuild-std=std,panic_abort");
    component::for_components(toolchain, sh, "")
        .args(["build", "--release", "--target", TARGET, "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .args(std)
        .run()?;
    Ok(target_dir().join("component").join(TARGET).join("release/my_guest.wasm"))
}

/// Builds the crate in a folder, which makes a library of this name, and copies what it made.
fn build(sh: &Shell, folder: &str, library: &str, features: &[&str], file: PathBuf) -> Outcome {
    let built = component::build(sh, folder, features)?.join(format!("{library}.wasm"));
    component::write(&file, &sh.read_binary_file(built)?)
}
