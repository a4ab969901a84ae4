//! The web demo: its two components, the page, and its tests.
//!
//! ```text
//!   core's component ─┐
//!   the player ───────┴─ jco ─▶ web-demo/src/engine/generated ─ vite ─▶ web-demo/dist ─▶ localhost
//! ```
//!
//! The player uses `std`, on a target without an operating system: what it does not have, it cannot import.

use std::path::PathBuf;

use crate::provision;
use crate::shell::{self, Cmd, target_dir};
use crate::step::{Outcome, Stop};

use super::component::{self, component_file};
use super::{BARE_TARGET, DEBIAN_RUST, debian_rust};

/// What Debian's toolchain needs besides to link for the bare target.
const DEBIAN_LINK: [&str; 2] = ["rust-web-llvm", "lld-22"];
const DEBIAN_LINKER: &str = "wasm-ld-22";
/// Programs that are needed, and the Debian packages that bring them.
const NODE: [(&str, &str); 2] = [("node", "nodejs"), ("npm", "npm")];
const BROWSER: (&str, &str) = ("chromium", "chromium");

fn folder() -> PathBuf {
    shell::root().join("web-demo")
}

/// `npm` in the demo's folder.
fn npm() -> Cmd {
    Cmd::new("npm").arg("--prefix").arg(folder()).arg("--no-update-notifier")
}

/// Makes sure that programs are here, through Debian's packages if need be.
fn programs(wanted: &[(&str, &str)]) -> Result<(), Stop> {
    let absent =
        wanted.iter().filter(|(program, _)| !Cmd::new(program).arg("--version").succeeds());
    let packages: Vec<&str> = absent.map(|&(_, package)| package).collect();
    provision::debian_packages(&packages)
}

/// Builds the player as a core module with its interface inside; returns the file.
fn player() -> Result<PathBuf, Stop> {
    let manifest = folder().join("player/Cargo.toml");
    let cargo = Cmd::cargo()
        .args(["build", "--locked", "--release", "--target", BARE_TARGET, "--manifest-path"])
        .arg(manifest);
    let build = if provision::has_target(BARE_TARGET) {
        cargo.flavour("component", "")
    } else {
        provision::debian_packages(&[&DEBIAN_RUST[..], &DEBIAN_LINK[..]].concat())?;
        debian_rust(cargo, "component", "")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
            .arg("-Zbuild-std=std,panic_abort")
    };
    build.run()?;
    Ok(target_dir().join("component").join(BARE_TARGET).join("release/strandline_player.wasm"))
}

/// Installs the packages of the lock file, unless they are installed.
fn packages() -> Result<(), Stop> {
    programs(&NODE)?;
    let modified =
        |file: &str| folder().join(file).metadata().and_then(|data| data.modified()).ok();
    let installed = modified("node_modules/.package-lock.json");
    if installed.is_some() && installed >= modified("package-lock.json") {
        return Ok(());
    }
    // No package needs a script of its own to run at installation.
    let install = npm().args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    install.run().map_err(|_| provision::missing(&format!("packages from npm; run: {install}")))
}

/// Everything that is generated for the page.
fn generate() -> Result<(), Stop> {
    component::component()?;
    let player = player()?;
    packages()?;
    Cmd::new("node")
        .arg(folder().join("scripts/components.mjs"))
        .arg(component_file())
        .arg(player)
        .run()
}

/// `cargo xtask web`: builds the page, and serves it on localhost unless told not to.
pub(crate) fn web(only_build: bool, port: u16) -> Outcome {
    generate()?;
    npm().args(["run", "build"]).run()?;
    if !only_build {
        let port = port.to_string();
        npm().args(["exec", "--", "vite", "preview", "--strictPort", "--port", &port]).run()?;
    }
    Ok(None)
}

/// The page's types, the engine against the native command, and the page in a browser.
pub(super) fn test() -> Outcome {
    programs(&[&NODE[..], &[BROWSER]].concat())?;
    generate()?;
    // The same build that the replay's step uses.
    Cmd::cargo().args(["build", "--release", "-p", "strandline"]).run()?;
    let strandline = target_dir().join("release/strandline");
    for script in ["check", "test", "test:engine", "build", "test:browser"] {
        let script = npm().args(["run", script]);
        script
            .env("STRANDLINE", strandline.to_string_lossy().as_ref())
            .env("STRANDLINE_SHOTS", target_dir().join("web-shots").to_string_lossy().as_ref())
            .run()?;
    }
    Ok(None)
}
