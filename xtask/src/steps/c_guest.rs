//! The guest in C: bindings from `wit/`, Debian's clang, and the linker that makes components.

use std::path::PathBuf;

use crate::provision;
use crate::shell::{self, Cmd, target_dir};
use crate::step::Stop;

use super::component::DEBIAN_LINKER;

/// A C compiler and library for WebAssembly, and what makes a component of the module.
const DEBIAN_C: [&str; 4] = ["clang-22", "lld-22", "wasi-libc", "rust-web-llvm"];
const HEADERS: &str = "/usr/include/wasm32-wasi";
const LIBRARIES: &str = "/usr/lib/wasm32-wasi";

/// Builds it; returns where it is.
///
/// # Errors
/// The compiler is not to be had, or the guest does not build.
pub(super) fn c_guest() -> Result<PathBuf, Stop> {
    provision::debian_packages(&DEBIAN_C)?;
    let source = shell::root().join("guest-tests/guest-c");
    // Kept apart from the workspace's own folder, which is wiped for other reasons.
    let made = target_dir().join("component/c");
    let bindings = made.join("bindings");
    Cmd::cargo()
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg(source.join("Cargo.toml"))
        .arg("--")
        .args([shell::root().join("wit"), bindings.clone()])
        .env("CARGO_TARGET_DIR", &made)
        .run()?;
    let compile = |file: PathBuf, object: &str, strict: &[&str]| {
        let object = made.join(object);
        Cmd::new("clang-22")
            .args(["--target=wasm32-wasip2", "-Os", "-isystem", HEADERS])
            .args(strict)
            .arg("-I")
            .arg(&bindings)
            .arg("-c")
            .arg(file)
            .arg("-o")
            .arg(&object)
            .run()
            .map(|()| object)
    };
    let guest = compile(source.join("chain.c"), "chain.o", &["-Wall", "-Wextra", "-Werror"])?;
    let generated = compile(bindings.join("guest.c"), "guest.o", &[])?;
    let file = target_dir().join("component/chain.wasm");
    Cmd::new(DEBIAN_LINKER)
        .args([
            "--wasm-ld-path",
            "/usr/bin/wasm-ld-22",
            "--no-entry",
            "--gc-sections",
            "--strip-all",
        ])
        .args([guest, generated, bindings.join("guest_component_type.o")])
        .args(["-L", LIBRARIES, "-lc", "-o"])
        .arg(&file)
        .run()?;
    println!("{}: {} bytes", file.display(), std::fs::metadata(&file)?.len());
    Ok(file)
}
