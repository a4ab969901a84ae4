//! `cargo xtask guests`: the conformance suite's guests, built as components.
//!
//! A guest is compiled for wasm32-wasip2 without std, so that it imports only its world. The target comes with
//! rustup where it is installed; otherwise Debian's Rust builds `core` and `alloc` from source.

use std::path::PathBuf;

use crate::provision;
use crate::shell::{self, Cmd};
use crate::step::Stop;

const TARGET: &str = "wasm32-wasip2";
/// The Rust that Debian packages, with its library's source, its linkers and the C library that it expects.
const DEBIAN: [&str; 5] = ["rustc-web", "rust-web-src", "rust-web-llvm", "lld-22", "wasi-libc"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "/usr/lib/rustlib/x86_64-unknown-linux-gnu/bin/wasm-component-ld";

/// Builds the guests, and prints the folder that they are in as the last line.
///
/// # Errors
/// No toolchain for them can be had, or they do not compile.
pub(crate) fn build() -> Result<(), Stop> {
    let folder = shell::target_dir().join("guests");
    let manifest = shell::root().join("guest-tests/guest/Cargo.toml");
    let cargo = Cmd::cargo()
        .args(["build", "--release", "--target", TARGET, "--manifest-path"])
        .arg(&manifest);
    let has_target = provision::has_target(TARGET);
    if !has_target {
        provision::debian_packages(&DEBIAN)?;
    }
    let cargo = if has_target { cargo.flavour("guests", "") } else { debian(cargo) };
    cargo.run()?;
    let built: PathBuf =
        folder.join(TARGET).join("release").join("strandline_conformance_guest.wasm");
    let to = folder.join("conformance.wasm");
    std::fs::copy(&built, &to).map_err(|error| {
        Stop::Failed(format!("{} to {}: {error}", built.display(), to.display()))
    })?;
    println!("{}", folder.display());
    Ok(())
}

/// The same with Debian's compiler, which has no library for the target.
fn debian(cargo: Cmd) -> Cmd {
    cargo
        .args(["-Zbuild-std=core,alloc", "-Zbuild-std-features=compiler-builtins-mem"])
        .flavour("guests", "-C link-self-contained=no -L/usr/lib/wasm32-wasi")
        .env("RUSTC", DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_WASIP2_LINKER", DEBIAN_LINKER)
}
