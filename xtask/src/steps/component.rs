//! Components: the toolchain that builds them, the core's own, and its tests in a sandbox.
//!
//! Two toolchains do it: stable Rust, with the target wasm32-wasip2 and its library's source, which `rustup` brings where
//! it may; else the Rust that Debian packages, and Debian's linker. Both build the library from source, for size, and
//! so make components of the same size.

mod shrink;

use std::path::PathBuf;

use crate::provision;
use crate::shell::{self, Cmd, target_dir};
use crate::step::{Outcome, Stop};

use super::{DEBIAN_RUST, boundaries::Boundaries, debian_rust, unlocked};

/// What components are built for.
const TARGET: &str = "wasm32-wasip2";
/// What Debian's toolchain needs besides: the component linker's parts, and C's start-up code.
const DEBIAN_LINK: [&str; 3] = ["rust-web-llvm", "lld-22", "wasi-libc"];
pub(super) const DEBIAN_LINKER: &str =
    "/usr/lib/rustlib/x86_64-unknown-linux-gnu/bin/wasm-component-ld";
/// Where Debian keeps the start-up code.
const DEBIAN_FLAGS: &str = "-C link-self-contained=no -L/usr/lib/wasm32-wasi";
/// The Python package that runs components, pinned: its interface is young.
const PYTHON_WASMTIME: &str = "wasmtime==50.0.1";
/// A panic traps where it happens, instead of in a handler that traps; the padding shrinks that a linker leaves room for addresses
/// with; and addresses are constants, as no module is loaded beside ours.
const SMALL: &str = "-C panic=immediate-abort -Z unstable-options -C link-arg=--compress-relocations \
                     -C relocation-model=static";

/// Which toolchain builds components here.
enum Toolchain {
    Rustup,
    Debian,
}

/// Provides a toolchain for components.
///
/// # Errors
/// There is none, and none may be installed.
fn toolchain() -> Result<Toolchain, Stop> {
    let rustup = || {
        provision::rustup_target(TARGET)?;
        provision::rustup_source()
    };
    let debian = || provision::debian_packages(&[&DEBIAN_RUST[..], &DEBIAN_LINK[..]].concat());
    let Err(no_rustup) = rustup() else { return Ok(Toolchain::Rustup) };
    debian().map_err(|no_debian| no_rustup.and(no_debian)).map(|()| Toolchain::Debian)
}

/// `cargo xtask guest-toolchain`.
pub(crate) fn guest_toolchain() -> Outcome {
    match toolchain()? {
        Toolchain::Rustup => println!("stable Rust builds for {TARGET}"),
        Toolchain::Debian => println!("Debian's Rust builds for {TARGET}"),
    }
    Ok(None)
}

/// A cargo build, made to build a component without `std` in a target folder of its own.
pub(crate) fn build_bare(cargo: Cmd) -> Result<Cmd, Stop> {
    let cargo = cargo
        .args(["--release", "--target", TARGET, "-Zbuild-std=core,alloc"])
        .arg("-Zbuild-std-features=compiler-builtins-mem,optimize_for_size");
    Ok(match toolchain()? {
        Toolchain::Rustup => unlocked(cargo).flavour("component", SMALL),
        Toolchain::Debian => debian_rust(cargo, "component", &format!("{DEBIAN_FLAGS} {SMALL}"))
            .env("CARGO_TARGET_WASM32_WASIP2_LINKER", DEBIAN_LINKER),
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

/// The component, then its pools against the core's; guests, and every conformance case over every boundary but the GPU's.
pub(super) fn sandbox() -> Outcome {
    let boundaries = Boundaries::with_components()?;
    let programs = boundaries.build()?;
    boundaries
        .run_all(
            &programs,
            &[
                (("host-native", "lib"), &["component::"]),
                (("host-native", "substrate"), &[]),
                (("guest-tests", "suite"), &["--skip", "::gpu"]),
                (("cli", "bin"), &[]),
                (("cli", "command"), &[]),
                (("cli", "guests"), &[]),
                (("cli", "via_component"), &[]),
            ],
        )
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
