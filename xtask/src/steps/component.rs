//! Components: the toolchain that builds them, the core's own, and its tests in a sandbox.
//!
//! Two toolchains do it: stable Rust, with the target wasm32-wasip2 and its library's source; else the Rust that Debian packages, and
//! Debian's linker. Both build the library from source, for size, and so make components of the same size.

mod shrink;

use std::path::{Path, PathBuf};

use xshell::{Cmd, Shell, cmd};

use super::boundaries::Boundaries;
use super::guests;
use crate::report::{Outcome, Stop};
use crate::shell::{root, succeeds, target_dir};
use crate::toolchain::{Toolchain, has_target, missing, packages};

/// What components are built for.
pub(super) const TARGET: &str = "wasm32-wasip2";
/// What Debian's toolchain needs besides: the component linker's parts, and C's start-up code.
pub(super) const DEBIAN_LINK: [&str; 3] = ["rust-web-llvm", "lld-22", "wasi-libc"];
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

/// Cargo by this toolchain, made to link components, with these flags.
pub(super) fn for_components<'a>(toolchain: Toolchain, sh: &'a Shell, flags: &str) -> Cmd<'a> {
    match toolchain {
        Toolchain::Debian => toolchain
            .cargo(sh, "component", &format!("{DEBIAN_FLAGS} {flags}"))
            .env("CARGO_TARGET_WASM32_WASIP2_LINKER", DEBIAN_LINKER),
        toolchain => toolchain.cargo(sh, "component", flags),
    }
}

/// Builds the crate in `folder` as a component without `std`, in a target folder of its own; returns the file.
///
/// # Errors
/// There is no toolchain for components, or the crate does not build.
pub(super) fn build(sh: &Shell, folder: &str, args: &[&str]) -> Result<PathBuf, Stop> {
    let stable = has_target(sh, TARGET).then_some(Toolchain::StableUnlocked);
    let toolchain = Toolchain::with_source(stable, sh, &DEBIAN_LINK)?;
    let cargo = for_components(toolchain, sh, SMALL);
    let manifest = root().join(folder).join("Cargo.toml");
    cargo
        .args(["build", "--locked", "--release", "--target", TARGET, "-Zbuild-std=core,alloc"])
        .arg("-Zbuild-std-features=compiler-builtins-mem,optimize_for_size")
        .arg("--manifest-path")
        .arg(&manifest)
        .args(args)
        .run()?;
    Ok(target_dir().join("component").join(TARGET).join("release"))
}

/// Where the core's component is once it is built: the command and the tests look for it there.
pub(crate) fn component_file() -> PathBuf {
    target_dir().join("component/strandline.wasm")
}

/// The one whose pools can follow plans.
pub(super) fn component_with_plans_file() -> PathBuf {
    target_dir().join("component/strandline-plans.wasm")
}

/// `cargo xtask component`.
pub(crate) fn component(sh: &Shell) -> Outcome {
    let both: [(PathBuf, &[&str]); 2] =
        [(component_with_plans_file(), &["--features", "plans"]), (component_file(), &[])];
    for (file, features) in both {
        let built = build(sh, "core/component", features)?.join("strandline_component.wasm");
        write(&file, &shrink::shrink(&sh.read_binary_file(built)?)?)?;
    }
    Ok(None)
}

/// Writes a component and tells its size.
pub(super) fn write(file: &Path, bytes: &[u8]) -> Outcome {
    std::fs::write(file, bytes)?;
    println!("{}: {} bytes", file.display(), bytes.len());
    Ok(None)
}

/// The component, then its pools against the core's; guests, and every conformance case over every boundary but the GPU's.
pub(super) fn sandbox(sh: &Shell) -> Outcome {
    let programs: [((&str, &str), &[&str]); 8] = [
        (("host-tenants", "lib"), &["component::"]),
        (("host-tenants", "substrate"), &[]),
        (("host-tenants", "embedding"), &[]),
        (("guest-tests", "suite"), &["--skip", "::gpu"]),
        (("cli", "bin"), &[]),
        (("cli", "command"), &[]),
        (("cli", "guests"), &[]),
        (("cli", "via_component"), &[]),
    ];
    let boundaries = Boundaries::with_components(sh)?;
    let ran = boundaries.test(sh, &programs)?;
    let guest = guests::template(sh)?;
    let strandline = target_dir().join("debug/strandline");
    let said = cmd!(sh, "{strandline} run {guest} --budget 1MiB").read()?;
    if !said.contains("4096 of 4096 bytes came back") {
        return Err(Stop::Failed(format!("the template's guest said: {said}")));
    }
    Ok(Some(ran))
}

/// The component driven from Python, in an environment of its own.
pub(super) fn python(sh: &Shell) -> Outcome {
    component(sh)?;
    let folder = target_dir().join("python");
    let python = folder.join("bin/python3");
    if !succeeds(cmd!(sh, "{python} -c 'import wasmtime.component'")) {
        if !succeeds(cmd!(sh, "python3 -c 'import ensurepip'")) {
            packages(sh, &["python3-venv"])?;
        }
        cmd!(sh, "python3 -m venv {folder}").run()?;
        let install =
            cmd!(sh, "{python} -m pip install --quiet --only-binary :all: {PYTHON_WASMTIME}");
        install
            .run()
            .map_err(|_| missing(&format!("{PYTHON_WASMTIME} from PyPI; run: {install}")))?;
    }
    let component = component_file();
    cmd!(sh, "{python} host-tenants/tests/python/drive_substrate.py {component}").run()?;
    Ok(None)
}
