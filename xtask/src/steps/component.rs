//! Components: the toolchain that builds them, the core's own, and its tests in a sandbox.
//!
//! Two toolchains do it. With the target wasm32-wasip2, stable Rust alone; `rustup` brings it where it may. Else
//! the Rust that Debian packages, with its library built from source and Debian's linker.

mod shrink;

use std::path::PathBuf;

use crate::provision;
use crate::shell::{self, Cmd, target_dir};
use crate::step::{Outcome, Stop};

use super::{DEBIAN_RUST, boundaries::Boundaries, debian_rust};

/// What components are built for.
const TARGET: &str = "wasm32-wasip2";
/// What Debian's toolchain needs besides: the component linker's parts, and C's start-up code.
const DEBIAN_LINK: [&str; 3] = ["rust-web-llvm", "lld-22", "wasi-libc"];
pub(super) const DEBIAN_LINKER: &str =
    "/usr/lib/rustlib/x86_64-unknown-linux-gnu/bin/wasm-component-ld";
/// A panic traps where it happens, instead of in a handler that traps: only a compiler that takes -Z flags can.
const DEBIAN_FLAGS: &str =
    "-C link-self-contained=no -L/usr/lib/wasm32-wasi -C panic=immediate-abort -Z unstable-options";
/// The Python package that runs components, pinned: its interface is young.
const PYTHON_WASMTIME: &str = "wasmtime==50.0.1";
/// Shrinks the padding that a linker leaves room for addresses with; and addresses are constants, as no module is loaded
/// beside ours.
const SMALL: &str = "-C link-arg=--compress-relocations -C relocation-model=static";

/// Which toolchain builds components here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// Stable Rust, with the target.
    Rustup,
    /// Debian's, with the library's source.
    Debian,
}

/// Provides a toolchain for components.
///
/// # Errors
/// There is none, and none may be installed.
pub(crate) fn toolchain() -> Result<Toolchain, Stop> {
    if provision::has_target(TARGET) {
        return Ok(Toolchain::Rustup);
    }
    // Asking rustup first where that was allowed; whatever it says, Debian may still have one.
    if provision::rustup_target(TARGET).is_ok() {
        return Ok(Toolchain::Rustup);
    }
    provision::debian_packages(&[&DEBIAN_RUST[..], &DEBIAN_LINK[..]].concat())?;
    Ok(Toolchain::Debian)
}

/// `cargo xtask guest-toolchain`.
pub(crate) fn guest_toolchain() -> Outcome {
    match toolchain()? {
        Toolchain::Rustup => println!("stable Rust has {TARGET}"),
        Toolchain::Debian => println!("Debian's Rust builds for {TARGET}"),
    }
    Ok(None)
}

/// A cargo build, made to build a component without `std` in a target folder of its own.
pub(crate) fn build_bare(cargo: Cmd) -> Result<Cmd, Stop> {
    let cargo = cargo.args(["--release", "--target", TARGET]);
    Ok(match toolchain()? {
        Toolchain::Rustup => cargo.flavour("component", SMALL),
        Toolchain::Debian => debian_rust(cargo, "component", &format!("{DEBIAN_FLAGS} {SMALL}"))
            .env("CARGO_TARGET_WASM32_WASIP2_LINKER", DEBIAN_LINKER)
            .arg("-Zbuild-std=core,alloc")
            .arg("-Zbuild-std-features=compiler-builtins-mem,optimize_for_size"),
    })
}

/// Where the core's component is once it is built: the command and the tests look for it there.
pub(crate) fn component_file() -> PathBuf {
    target_dir().join("component/strandline.wasm")
}

/// `cargo xtask component`.
pub(crate) fn component() -> Outcome {
    let manifest = shell::root().join("core/component/Cargo.toml");
    build_bare(Cmd::cargo().args(["build", "--locked", "--manifest-path"]).arg(manifest))?.run()?;
    let built =
        target_dir().join("component").join(TARGET).join("release/strandline_component.wasm");
    let file = component_file();
    let small = shrink::shrink(&std::fs::read(built)?)?;
    std::fs::write(&file, &small)?;
    println!("{}: {} bytes", file.display(), small.len());
    Ok(None)
}

/// The component, then its pools against the core's.
pub(super) fn sandbox() -> Outcome {
    Boundaries::with_components()?
        .test()
        .args(["--lib", "--test", "substrate", "--test", "via_component", "--test", "suite"])
        .args(["--example", "embed"])
        // The conformance cases on a GPU have a step that sees to one.
        .args(["--", "--skip", "::gpu"])
        .run_tests()
        .map(Some)
}

/// The component driven from Python, in an environment of its own.
pub(super) fn python() -> Outcome {
    component()?;
    let folder = target_dir().join("python");
    let python = folder.join("bin/python3");
    let program = python.display().to_string();
    let has_package = || Cmd::new(&program).args(["-c", "import wasmtime.component"]).succeeds();
    if !has_package() {
        if !Cmd::new("python3").args(["-c", "import ensurepip"]).succeeds() {
            provision::debian_packages(&["python3-venv"])?;
        }
        let install = Cmd::new(&program).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--only-binary",
            ":all:",
            PYTHON_WASMTIME,
        ]);
        Cmd::new("python3").args(["-m", "venv"]).arg(&folder).run()?;
        install
            .run()
            .map_err(|_| provision::missing(&format!("{PYTHON_WASMTIME}; run: {install}")))?;
    }
    Cmd::new(&program)
        .arg("host-native/tests/python/drive_substrate.py")
        .arg(component_file())
        .run()?;
    Ok(None)
}
