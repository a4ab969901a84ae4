//! The compilers: stable Rust, nightly, and the Rust that Debian packages with its library's source. The one file that sets what lets a
//! stable compiler take unstable flags; only the steps that `cargo xtask test` leaves out ask for that.
//!
//! Nothing is installed here. `.ci/install` brings the Debian packages of `.ci/packages`, and `--install` runs that script once.

use xshell::{Cmd, Shell, cmd};

use crate::report::Stop;
use crate::shell::{in_ci, succeeds, target_dir};

/// A target without `std`, 32 bits wide: the one that the core is checked for, and the page's player built for.
pub(crate) const BARE_TARGET: &str = "wasm32-unknown-unknown";

/// The Rust that Debian packages, with its library's source; built for its browsers.
const DEBIAN_RUST: [&str; 2] = ["rustc-web", "rust-web-src"];

/// Asks dpkg for a package's state.
const STATUS: &str = "${db:Status-Status}";

/// A step cannot run for want of something: fails it in CI, skips it elsewhere.
pub(crate) fn missing(what: &str) -> Stop {
    let why = format!("missing: {what}");
    if in_ci() { Stop::Failed(why) } else { Stop::Skipped(why) }
}

/// Makes sure that these Debian packages are installed.
///
/// # Errors
/// They are not; the message names the command that brings them.
pub(crate) fn packages(sh: &Shell, names: &[&str]) -> Result<(), Stop> {
    let installed = |name: &&&str| {
        // Unpacked and configured.
        let query = cmd!(sh, "dpkg-query --show --showformat {STATUS} {name}");
        query.quiet().ignore_stderr().read().is_ok_and(|status| status == "installed")
    };
    let absent: Vec<&str> = names.iter().filter(|name| !installed(name)).copied().collect();
    if absent.is_empty() {
        return Ok(());
    }
    let names = absent.join(" ");
    Err(missing(&format!("Debian packages; run: sudo apt-get install {names} (or pass --install)")))
}

/// Makes sure that a program, a subcommand or a part of a toolchain is there: `probe` succeeds when it is.
///
/// # Errors
/// It is not.
pub(crate) fn needs(probe: Cmd<'_>, what: &str, remedy: &str) -> Result<(), Stop> {
    if succeeds(probe) { Ok(()) } else { Err(missing(&format!("{what}; run: {remedy}"))) }
}

/// Makes sure that the nightly toolchain is there.
///
/// # Errors
/// It is not.
pub(crate) fn nightly(sh: &Shell) -> Result<(), Stop> {
    let probe = cmd!(sh, "rustup run nightly cargo --version");
    needs(probe, "the nightly toolchain", "rustup toolchain install nightly --profile minimal")
}

/// Which compiler cargo is to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    Stable,
    /// Stable, taking `-Z` flags.
    StableUnlocked,
    Nightly,
    /// The one whose library's source can be had without rustup.
    Debian,
}

impl Toolchain {
    /// Cargo by this toolchain, with these compiler flags, building into a folder of its own under `target`. The printed line has all of
    /// it, so that it can be copied into a shell.
    pub(crate) fn cargo<'a>(self, sh: &'a Shell, folder: &str, rustflags: &str) -> Cmd<'a> {
        let target = target_dir().join(folder);
        // The encoded form would win over RUSTFLAGS, and a caller's own target would move the output.
        let cargo = cmd!(
            sh,
            "env -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET CARGO_TARGET_DIR={target} RUSTFLAGS={rustflags}"
        );
        match self {
            Self::Stable => cargo.arg("cargo"),
            Self::StableUnlocked => cargo.args(["RUSTC_BOOTSTRAP=1", "cargo"]),
            Self::Debian => cargo.args(["RUSTC_BOOTSTRAP=1", "RUSTC=/usr/bin/rustc", "cargo"]),
            // Rather than `cargo +nightly`: it does not depend on which `cargo` comes first in PATH.
            Self::Nightly => cargo.args(["rustup", "run", "nightly", "cargo"]),
        }
    }

    /// What builds for the bare target: stable Rust where it has the target; else Debian's, which builds its library with it.
    ///
    /// # Errors
    /// Neither is here.
    pub(crate) fn bare(sh: &Shell, more: &[&str]) -> Result<Self, Stop> {
        if has_target(sh, BARE_TARGET) {
            return Ok(Self::Stable);
        }
        packages(sh, &[&DEBIAN_RUST[..], more].concat()).map(|()| Self::Debian)
    }

    /// What rebuilds the standard library: `wanted`, where the library's source stands beside it, else Debian's.
    ///
    /// # Errors
    /// Neither is here.
    pub(crate) fn with_source(
        wanted: Option<Self>,
        sh: &Shell,
        more: &[&str],
    ) -> Result<Self, Stop> {
        if let Some(wanted) = wanted.filter(|wanted| wanted.has_source(sh)) {
            return Ok(wanted);
        }
        packages(sh, &[&DEBIAN_RUST[..], more].concat()).map(|()| Self::Debian)
    }

    /// Whether the source of its library stands beside this compiler.
    fn has_source(self, sh: &Shell) -> bool {
        let rustc = match self {
            Self::Nightly => cmd!(sh, "rustup run nightly rustc --print sysroot"),
            _ => cmd!(sh, "rustc --print sysroot"),
        };
        let lock = "lib/rustlib/src/rust/library/Cargo.lock";
        printed(rustc).is_some_and(|sysroot| sh.path_exists(format!("{sysroot}/{lock}")))
    }
}

/// Whether stable Rust has the standard library of `target`.
pub(crate) fn has_target(sh: &Shell, target: &str) -> bool {
    printed(cmd!(sh, "rustc --print target-libdir --target {target}"))
        .is_some_and(|folder| sh.path_exists(folder))
}

/// The target that this machine's compiler makes code for.
pub(crate) fn host(sh: &Shell) -> Result<String, Stop> {
    printed(cmd!(sh, "rustc --print host-tuple"))
        .ok_or_else(|| Stop::Failed("rustc --print host-tuple failed".to_owned()))
}

fn printed(cmd: Cmd<'_>) -> Option<String> {
    cmd.quiet().ignore_stderr().read().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::shell;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_brings_it() {
        let sh = shell().expect("a shell");
        let why = |stop: Result<(), Stop>| match stop {
            Err(Stop::Skipped(why) | Stop::Failed(why)) => why,
            Ok(()) => panic!("it is missing"),
        };
        let part = why(needs(cmd!(sh, "false"), "miri", "rustup component add miri"));
        assert!(part.contains("miri; run: rustup component add miri"), "{part}");
        let package = why(packages(&sh, &["no-such-package-here"]));
        assert!(package.contains("apt-get install no-such-package-here"), "{package}");
        assert!(needs(cmd!(sh, "true"), "", "").is_ok() && packages(&sh, &[]).is_ok());
    }

    #[test]
    fn an_unknown_target_is_not_there() {
        assert!(!has_target(&shell().expect("a shell"), "pdp11-unknown-unix"));
    }

    #[test]
    fn flags_from_the_caller_are_shut_out_and_the_printed_line_has_all() {
        let sh = shell().expect("a shell");
        let cmd = Toolchain::Stable.cargo(&sh, "loom", "--cfg loom");
        let line = cmd.to_string();
        assert!(
            line.contains("-u CARGO_ENCODED_RUSTFLAGS") && line.contains("--cfg loom"),
            "{line}"
        );
    }
}
