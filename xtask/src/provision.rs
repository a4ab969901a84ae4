//! What a step needs beyond stable Rust: is it here, may it be installed, and if not, what exactly is missing.
//!
//! Three sources, none of which is used unasked:
//! - `apt-get`, with `--install`, as root on a machine that has it;
//! - `cargo install`, with `--install`, for cargo's own subcommands;
//! - `rustup`, with `--rustup`: it changes toolchains that other projects use too.
//!
//! Whatever stays missing becomes one sentence with the command that would bring it. In CI it
//! fails the step, elsewhere it skips it.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::shell::{self, Cmd};
use crate::step::Stop;

/// Set once from the command line, before any step runs.
static INSTALL_ALLOWED: AtomicBool = AtomicBool::new(false);
static RUSTUP_ALLOWED: AtomicBool = AtomicBool::new(false);

/// Lets the steps install packages and subcommands, or fetch missing toolchain parts through rustup.
pub(crate) fn allow(install: bool, rustup: bool) {
    // One thread, set before the steps start: no ordering to keep.
    INSTALL_ALLOWED.store(install, Ordering::Relaxed);
    RUSTUP_ALLOWED.store(rustup, Ordering::Relaxed);
}

fn may_install() -> bool {
    INSTALL_ALLOWED.load(Ordering::Relaxed)
}

/// A step cannot run for want of something: fails it in CI, skips it elsewhere.
pub(crate) fn missing(what: &str) -> Stop {
    let why = format!("missing: {what}");
    if shell::in_ci() { Stop::Failed(why) } else { Stop::Skipped(why) }
}

/// Makes sure that these Debian packages are installed.
///
/// # Errors
/// They are not, and this user may not install them or the archive does not have them.
pub(crate) fn debian_packages(packages: &[&str]) -> Result<(), Stop> {
    let absent: Vec<&str> =
        packages.iter().copied().filter(|package| !package_installed(package)).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let lacking = |why: &str| {
        let names = absent.join(" ");
        missing(&format!("Debian packages ({why}); run: sudo apt-get install {names}"))
    };
    if !may_install() {
        return Err(lacking("--install was not given"));
    }
    if !Cmd::new("apt-get").arg("--version").succeeds() {
        return Err(lacking("there is no apt-get on this machine"));
    }
    if !is_root() {
        return Err(lacking("not root, so not tried"));
    }
    if !apt_lists_updated() {
        return Err(lacking("apt-get update failed"));
    }
    let install = apt().args(["install", "-y", "--no-install-recommends"]).args(&absent);
    println!("+ {install}");
    let output = install.output()?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(lacking(&format!("apt-get says: {}", last.trim())))
}

/// Makes sure that a cargo subcommand is there, building it from its crate if need be.
///
/// # Errors
/// It is not there and `cargo install` failed.
pub(crate) fn cargo_subcommand(name: &str) -> Result<(), Stop> {
    let package = format!("cargo-{name}");
    if Cmd::cargo().args([name, "--version"]).succeeds() {
        return Ok(());
    }
    let install = Cmd::cargo().args(["install", "--quiet", "--locked", &package]);
    if may_install() && install.run().is_ok() {
        return Ok(());
    }
    Err(missing(&format!("{package}; run: {install} (or pass --install)")))
}

/// Makes sure that the nightly toolchain is there.
///
/// # Errors
/// It is not, and rustup may not or cannot fetch it.
pub(crate) fn nightly() -> Result<(), Stop> {
    let have = || Cmd::cargo_nightly().arg("--version").succeeds();
    rustup_part(
        have,
        &["toolchain", "install", "nightly", "--profile", "minimal"],
        "the nightly toolchain",
    )
}

/// Makes sure that a component of the nightly toolchain is there; `probe` succeeds when it is.
///
/// # Errors
/// It is not, and rustup may not or cannot fetch it.
pub(crate) fn nightly_component(name: &str, probe: &Cmd) -> Result<(), Stop> {
    let what = format!("component {name} of the nightly toolchain");
    rustup_part(|| probe.succeeds(), &["component", "add", "--toolchain", "nightly", name], &what)
}

/// Whether stable Rust has the standard library of `target`.
pub(crate) fn has_target(target: &str) -> bool {
    let find = Cmd::new("rustc").args(["--print", "target-libdir", "--target", target]);
    printed(&find).is_some_and(|folder| folder.is_dir())
}

/// Whether the source of its library stands beside this compiler.
pub(crate) fn has_source(rustc: Cmd) -> bool {
    let lock = "lib/rustlib/src/rust/library/Cargo.lock";
    printed(&rustc.args(["--print", "sysroot"])).is_some_and(|folder| folder.join(lock).is_file())
}

/// The path that a compiler prints when it is asked for one.
fn printed(rustc: &Cmd) -> Option<PathBuf> {
    let output = rustc.output().ok()?;
    let path = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| PathBuf::from(path.trim()))
}

/// Makes sure that stable Rust has `target`.
///
/// # Errors
/// It has not, and rustup may not or cannot fetch it.
pub(crate) fn rustup_target(target: &str) -> Result<(), Stop> {
    let what = format!("target {target} of stable Rust");
    rustup_part(|| has_target(target), &["target", "add", target], &what)
}

/// Makes sure that the source of stable Rust's library is there.
///
/// # Errors
/// It is not, and rustup may not or cannot fetch it.
pub(crate) fn rustup_source() -> Result<(), Stop> {
    let have = || has_source(Cmd::new("rustc"));
    rustup_part(have, &["component", "add", "rust-src"], "component rust-src of stable Rust")
}

fn rustup_part(have: impl Fn() -> bool, install: &[&str], what: &str) -> Result<(), Stop> {
    if have() {
        return Ok(());
    }
    let install = Cmd::new("rustup").args(install);
    if RUSTUP_ALLOWED.load(Ordering::Relaxed) && install.run().is_ok() && have() {
        return Ok(());
    }
    Err(missing(&format!("{what}; run: {install} (or pass --rustup)")))
}

/// The package is unpacked and configured.
fn package_installed(package: &str) -> bool {
    let query =
        Cmd::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]);
    query.output().is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}

fn is_root() -> bool {
    Cmd::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// apt-get that asks nothing, waits for another apt to finish, and tries a download again.
fn apt() -> Cmd {
    Cmd::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args([
        "-qq",
        "-o",
        "Acquire::Retries=3",
        "-o",
        "DPkg::Lock::Timeout=120",
    ])
}

/// Runs `apt-get update` at most once in this process, with two more tries if it fails.
fn apt_lists_updated() -> bool {
    static UPDATED: OnceLock<bool> = OnceLock::new();
    *UPDATED.get_or_init(|| {
        let update = apt().arg("update");
        println!("+ {update}");
        [5, 15, 0].into_iter().any(|pause| {
            update.succeeds() || {
                // A mirror that is being refreshed is whole again a little later.
                std::thread::sleep(Duration::from_secs(pause));
                false
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_part_names_the_command_that_brings_it() {
        let stop = rustup_part(|| false, &["component", "add", "miri"], "miri");
        let (Err(Stop::Skipped(why)) | Err(Stop::Failed(why))) = stop else {
            panic!("it is missing")
        };
        assert!(why.contains("rustup component add miri") && why.contains("--rustup"), "{why}");
    }

    #[test]
    fn a_part_that_is_there_needs_nothing() {
        assert!(rustup_part(|| true, &["--version"], "nothing").is_ok());
        assert!(debian_packages(&[]).is_ok());
    }

    #[test]
    fn an_unknown_target_is_not_there() {
        assert!(!has_target("pdp11-unknown-unix"));
    }
}
