//! The web demo: its two components, the page, and its tests.
//!
//! ```text
//!   core's component ─┐
//!   the player ───────┴─ jco ─▶ web-demo/src/engine/generated ─ vite ─▶ web-demo/dist ─▶ localhost
//! ```
//!
//! The player uses `std`, on a target without an operating system: what it does not have, it cannot import.

use std::path::PathBuf;

use xshell::{Cmd, Shell, cmd};

use super::component::{self, component_file};
use crate::report::{Outcome, Stop};
use crate::shell::{root, succeeds, target_dir};
use crate::toolchain::{BARE_TARGET, Toolchain, missing, packages};

/// The demo's folder.
const DEMO: &str = "web-demo";

/// `npm` in a folder.
fn npm<'a>(sh: &'a Shell, folder: &str) -> Cmd<'a> {
    cmd!(sh, "npm --prefix {folder} --no-update-notifier")
}

/// Makes sure that a program is here, through Debian's package of it if need be.
fn program(sh: &Shell, name: &str, package: &str) -> Result<(), Stop> {
    if succeeds(cmd!(sh, "{name} --version")) { Ok(()) } else { packages(sh, &[package]) }
}

/// Builds the player as a core module with its interface inside; returns the file.
fn player(sh: &Shell) -> Result<PathBuf, Stop> {
    let toolchain = Toolchain::bare(sh, &["rust-web-llvm", "lld-22"])?;
    let cargo = toolchain
        .cargo(sh, "component", "")
        .args(["build", "--locked", "--release", "--target", BARE_TARGET])
        .args(["--manifest-path", "web-demo/player/Cargo.toml"]);
    match toolchain {
        Toolchain::Debian => cargo
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-22")
            .arg("-Zbuild-std=std,panic_abort"),
        _ => cargo,
    }
    .run()?;
    Ok(target_dir().join("component").join(BARE_TARGET).join("release/strandline_player.wasm"))
}

/// Installs the packages of a folder's lock file, unless they are installed.
pub(super) fn npm_packages(sh: &Shell, folder: &str) -> Result<(), Stop> {
    program(sh, "node", "nodejs")?;
    program(sh, "npm", "npm")?;
    let modified = |file: &str| {
        root().join(folder).join(file).metadata().and_then(|data| data.modified()).ok()
    };
    let installed = modified("node_modules/.package-lock.json");
    if installed.is_some() && installed >= modified("package-lock.json") {
        return Ok(());
    }
    // No package needs a script of its own to run at installation.
    let install = npm(sh, folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    install.run().map_err(|_| missing(&format!("packages from npm; run: {install}")))
}

/// Everything that is generated for the page.
fn generate(sh: &Shell) -> Result<(), Stop> {
    component::component(sh)?;
    let player = player(sh)?;
    npm_packages(sh, DEMO)?;
    let component = component_file();
    cmd!(sh, "node web-demo/scripts/components.mjs {component} {player}").run()?;
    Ok(())
}

/// `cargo xtask web`: builds the page, and serves it on localhost unless told not to.
pub(crate) fn web(sh: &Shell, only_build: bool, port: u16) -> Outcome {
    generate(sh)?;
    npm(sh, DEMO).args(["run", "build"]).run()?;
    if !only_build {
        let port = port.to_string();
        npm(sh, DEMO)
            .args(["exec", "--", "vite", "preview", "--strictPort", "--port", &port])
            .run()?;
    }
    Ok(None)
}

/// The page's types, the engine against the native command, and the page in a browser.
pub(super) fn test(sh: &Shell) -> Outcome {
    program(sh, "chromium", "chromium")?;
    generate(sh)?;
    // The same build that the replay's step uses.
    cmd!(sh, "cargo build --release -p strandline").run()?;
    for script in ["check", "test", "test:engine", "build", "test:browser"] {
        npm(sh, DEMO)
            .args(["run", script])
            .env("STRANDLINE", target_dir().join("release/strandline"))
            .env("STRANDLINE_SHOTS", target_dir().join("web-shots"))
            .run()?;
    }
    Ok(None)
}
