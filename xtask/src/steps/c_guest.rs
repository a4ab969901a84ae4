//! The guest in C: bindings from `wit/`, Debian's clang, and the linker that makes components.

use std::path::PathBuf;

use xshell::{Shell, cmd};

use super::component::{self, DEBIAN_LINKER};
use crate::report::Stop;
use crate::shell::target_dir;
use crate::toolchain::packages;

/// Builds it; returns where it is.
///
/// # Errors
/// The compiler is not to be had, or the guest does not build.
pub(super) fn c_guest(sh: &Shell) -> Result<PathBuf, Stop> {
    packages(sh, &["clang-22", "lld-22", "wasi-libc", "rust-web-llvm"])?;
    let source = "guest-tests/guest-c";
    // Kept apart from the workspace's own folder, which is wiped for other reasons.
    let made = target_dir().join("component/c");
    let bindings = made.join("bindings");
    cmd!(sh, "cargo run --quiet --locked --manifest-path {source}/Cargo.toml -- wit {bindings}")
        .env("CARGO_TARGET_DIR", &made)
        .run()?;
    let compile = |file: PathBuf, object: &str, strict: &[&str]| {
        let object = made.join(object);
        let flags = ["--target=wasm32-wasip2", "-Os", "-isystem", "/usr/include/wasm32-wasi"];
        cmd!(sh, "clang-22 {flags...} {strict...} -I {bindings} -c {file} -o {object}").run()?;
        Ok::<_, Stop>(object)
    };
    let guest =
        compile(format!("{source}/chain.c").into(), "chain.o", &["-Wall", "-Wextra", "-Werror"])?;
    let generated = compile(bindings.join("guest.c"), "guest.o", &[])?;
    let types = bindings.join("guest_component_type.o");
    let file = target_dir().join("component/chain.wasm");
    let flags =
        ["--wasm-ld-path", "/usr/bin/wasm-ld-22", "--no-entry", "--gc-sections", "--strip-all"];
    cmd!(sh, "{DEBIAN_LINKER} {flags...} {guest} {generated} {types} -L /usr/lib/wasm32-wasi -lc -o {file}")
        .run()?;
    component::write(&file, &sh.read_binary_file(&file)?)?;
    Ok(file)
}
