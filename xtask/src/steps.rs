//! The steps of `cargo xtask test` and `cargo xtask lint`, each a function that runs cargo with the right flags.
//!
//! ```text
//! default flags   target/         unit, sandbox, replay, wgpu, tracy, bench, lint
//! --cfg loom      target/loom     loom
//! sanitizers      target/{asan,tsan}
//! no std          target/no-std   no-std
//! wasm            target/component  sandbox, web
//! libFuzzer       target/fuzz     fuzz
//! ```
//! Each set of flags has its own target folder: sharing one would rebuild everything at every step.

mod boundaries;
mod c_guest;
mod component;
mod fuzz;
mod guests;
mod soak;
mod web;
mod wgpu;

use std::process::ExitCode;

use clap::ValueEnum;

pub(crate) use component::{component, guest_toolchain};
pub(crate) use fuzz::{FuzzRun, fuzz_target};
pub(crate) use guests::guests;
pub(crate) use soak::{Part, SoakRun, Span, soak};
pub(crate) use web::web;

use crate::provision;
use crate::shell::{self, Cmd};
use crate::step::{Outcome, Report, Stop};

/// The crates whose tests run under the sanitizers: those with unsafe code or threads. What reads traces runs under
/// AddressSanitizer when it is fuzzed.
const SANITIZED: [&str; 4] = ["-p", "strandline-core", "-p", "strandline-host-native"];

/// What the unit tests are of: the GPU host needs an adapter, and has a step of its own.
const UNIT: [&str; 3] = ["--workspace", "--exclude", "strandline-host-wgpu"];

/// What features bring in, all at once: wasmtime and wgpu are looked at one time.
const FEATURES: &str = "strandline/component,strandline/cubecl,strandline/wgpu,strandline-bench/component,strandline-bench/wgpu,\
                        strandline-guest-tests/guest-c,strandline-guest-tests/wgpu,strandline-host-native/tracy";

/// A target without `std`, 32 bits wide: the one that the component is built for.
const BARE_TARGET: &str = "wasm32-unknown-unknown";

/// The Rust that Debian packages, with its library's source; built for its browsers.
const DEBIAN_RUST: [&str; 2] = ["rustc-web", "rust-web-src"];
/// What ThreadSanitizer needs besides: LLVM 22's compiler driver, linker and runtime.
const DEBIAN_TSAN: [&str; 4] = ["rust-web-llvm", "lld-22", "clang-22", "libclang-rt-22-dev"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A step of `cargo xtask test`, in the order they run: quick and telling first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Step {
    /// Unit, integration and documentation tests of every crate.
    Unit,
    /// The core, twins and planner without std, for a bare 32-bit target.
    NoStd,
    /// The core as a component, guests, and every conformance case over every boundary.
    Sandbox,
    /// The web demo: its engine against the command, and the page in a browser.
    Web,
    /// The component's pools driven from Python.
    Python,
    /// Model checking of every lock-free file (modules `model`, core/tests/loom_*.rs).
    Loom,
    /// The command over every shipped trace, optimized: exit status, JSON and files checked.
    Replay,
    /// The GPU host, the command on a GPU; without one, on Mesa's lavapipe.
    Wgpu,
    /// What the profiler is told.
    Tracy,
    /// The benchmarks compile.
    Bench,
    /// Tests under AddressSanitizer, reduced.
    Asan,
    /// Tests under ThreadSanitizer with an instrumented std, reduced.
    Tsan,
    /// Core's tests under miri, reduced.
    Miri,
    /// Every fuzz target over fuzz/corpus and the same 5000 mutations of it.
    Fuzz,
}

impl Step {
    /// The name on the command line.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it does, in one line: the same words as in the help.
    fn about(self) -> String {
        let help =
            self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }

    /// What it needs beyond stable Rust and a C compiler.
    fn needs(self) -> &'static str {
        match self {
            Self::Unit | Self::Loom | Self::Replay | Self::Bench => "-",
            Self::Tracy => "a C++ compiler",
            Self::Wgpu => "a GPU, or Debian's mesa-vulkan-drivers and libvulkan1",
            Self::NoStd => "target wasm32-unknown-unknown, or Debian's rustc-web",
            Self::Sandbox => "target wasm32-wasip2 and rust-src, or Debian's rustc-web and lld-22",
            Self::Web => "as sandbox and no-std; nodejs, npm and chromium, packages from npm",
            Self::Python => "as sandbox; Python 3 with venv, wasmtime from PyPI",
            Self::Asan => "nightly",
            Self::Tsan => "Debian's rustc-web and clang-22, or nightly with rust-src",
            Self::Miri => "nightly with miri",
            Self::Fuzz => "nightly, cargo-fuzz",
        }
    }

    /// Whether `cargo xtask test` runs it without `--all`: it needs nothing but stable Rust, and a change of a pool is most
    /// often found by it.
    fn is_quick(self) -> bool {
        matches!(self, Self::Unit)
    }

    fn run(self, options: &TestOptions) -> Outcome {
        match self {
            Self::Unit => unit(),
            Self::NoStd => no_std(),
            Self::Sandbox => component::sandbox(),
            Self::Web => web::test(),
            Self::Python => component::python(),
            Self::Loom => loom(),
            Self::Replay => replay(),
            Self::Wgpu => wgpu::wgpu(),
            Self::Tracy => tracy(),
            Self::Bench => bench_compiles(),
            Self::Asan => asan(),
            Self::Tsan => tsan(),
            Self::Miri => miri(&[]),
            Self::Fuzz => fuzz::fuzz_all(options.fuzz_runs),
        }
    }
}

/// Which steps to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Those that need nothing but stable Rust, minutes in all.
    Quick,
    /// The others.
    Rest,
    /// Every one.
    All,
}

impl Tier {
    fn has(self, step: Step) -> bool {
        match self {
            Self::Quick => step.is_quick(),
            Self::Rest => !step.is_quick(),
            Self::All => true,
        }
    }
}

/// What `cargo xtask test` was asked for.
#[derive(Debug)]
pub(crate) struct TestOptions {
    /// Which to choose from.
    pub(crate) tier: Tier,
    /// Only these of all; the tier when empty.
    pub(crate) only: Vec<Step>,
    /// All but these.
    pub(crate) skip: Vec<Step>,
    /// Stop at the first step that fails.
    pub(crate) fail_fast: bool,
    /// How many inputs each fuzz target gets.
    pub(crate) fuzz_runs: u32,
}

impl TestOptions {
    fn chosen(&self) -> Vec<Step> {
        let wanted = |step: &Step| {
            let asked =
                if self.only.is_empty() { self.tier.has(*step) } else { self.only.contains(step) };
            asked && !self.skip.contains(step)
        };
        Step::value_variants().iter().copied().filter(wanted).collect()
    }

    /// What was not asked for, and how to ask for it; `None` where everything was.
    fn left_out(&self) -> Option<String> {
        let chosen = self.chosen();
        let names: Vec<String> = Step::value_variants()
            .iter()
            .filter(|step| !chosen.contains(step))
            .map(|step| step.name())
            .collect();
        if names.is_empty() {
            return None;
        }
        Some(format!(
            "left out: {}; to run them: cargo xtask test --all --install",
            names.join(", ")
        ))
    }
}

/// Prints the steps, what each does and what it needs.
pub(crate) fn list() {
    println!("{:<8}{:<7}{:<86}needs", "step", "runs", "does");
    for step in Step::value_variants() {
        let runs = if step.is_quick() { "always" } else { "--all" };
        println!("{:<8}{runs:<7}{:<86}{}", step.name(), step.about(), step.needs());
    }
}

/// Runs the chosen steps and reports.
pub(crate) fn test(options: &TestOptions) -> ExitCode {
    let mut report = Report::default();
    for step in options.chosen() {
        let failed = report.run(&step.name(), &step.about(), || step.run(options));
        if failed && options.fail_fast {
            break;
        }
    }
    let code = report.finish();
    if let Some(left_out) = options.left_out() {
        println!("{left_out}");
    }
    code
}

/// Format, clippy and documentation, every warning an error, and reports.
pub(crate) fn lint() -> ExitCode {
    let mut report = Report::default();
    report.run("format", "rustfmt changes nothing", format_check);
    report.run("clippy", "no warning in any target of any crate", clippy);
    report.run("doc", "documentation builds without a warning", || doc(false));
    report.finish()
}

fn unit() -> Outcome {
    // The soak runs as long as its time allows; by hand, a run is two seconds.
    Cmd::cargo()
        .arg("test")
        .args(UNIT)
        .arg("--no-fail-fast")
        .env("STRANDLINE_SOAK_SECONDS", "20")
        .run_tests()
        .map(Some)
}

/// The command over the shipped traces; a debug build would take minutes.
fn replay() -> Outcome {
    Cmd::cargo()
        .args(["test", "--release", "-p", "strandline", "--no-fail-fast", "--test", "shipped"])
        .run_tests()
        .map(Some)
}

fn no_std() -> Outcome {
    let build = || Cmd::cargo().args(["build", "-p", "strandline-core", "--no-default-features"]);
    // This alone would also pass if a dependency pulled std in: the machine's own target has one.
    build().flavour("no-std", "").run()?;
    build().args(["--features", "planned"]).flavour("no-std", "").run()?;
    let bare = || {
        build()
            .args(["-p", "strandline-twins", "-p", "strandline-planner"])
            .args(["--target", BARE_TARGET])
    };
    if provision::has_target(BARE_TARGET) {
        bare().flavour("no-std", "").run()?;
    } else {
        provision::debian_packages(&DEBIAN_RUST)?;
        // Only core and alloc are built, so any use of std is an unknown crate.
        debian_rust(bare(), "no-std", "").arg("-Zbuild-std=core,alloc").run()?;
    }
    Ok(None)
}

fn loom() -> Outcome {
    // Release, since the models are large; with the assertions, since they are half of what is checked.
    let test = |package| {
        Cmd::cargo()
            .args(["test", "-p", package, "--release"])
            .flavour("loom", "--cfg loom")
            .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
            .env("LOOM_MAX_PREEMPTIONS", "3")
    };
    // Models of private types are unit tests in modules named `model`; other unit tests use loom's
    // types outside a model, which it refuses.
    let private = |package| test(package).args(["--lib", "--", "::model::"]).run_tests();
    let (core, host) = (private("strandline-core"), private("strandline-host-native"));
    let public = test("strandline-core").args(["--no-fail-fast", "--test", "loom_*"]).run_tests();
    Ok(Some(core? + host? + public?))
}

fn tracy() -> Outcome {
    Cmd::cargo()
        .args(["test", "-p", "strandline-host-native", "--features", "tracy", "--lib", "tracy"])
        .run_tests()
        .map(Some)
}

fn bench_compiles() -> Outcome {
    // As the unit tests are built, so that cargo has nearly all of it already.
    Cmd::cargo().arg("build").args(UNIT).args(["--bins", "--benches"]).run()?;
    Ok(None)
}

/// `cargo test` at reduced size, without the documentation tests: rustdoc would need the same flags.
fn reduced_tests(cargo: Cmd) -> Cmd {
    cargo
        .args(["test", "--no-fail-fast", "--lib", "--bins", "--tests"])
        .env("STRANDLINE_TEST_SCALE", "small")
        .env("PROPTEST_CASES", "16")
}

fn asan() -> Outcome {
    provision::nightly()?;
    // Naming the target keeps the flags away from build scripts and procedural macros.
    reduced_tests(Cmd::cargo_nightly())
        .args(SANITIZED)
        .args(["--target", &host()?])
        .flavour("asan", "-Zsanitizer=address")
        .run_tests()
        .map(Some)
}

fn tsan() -> Outcome {
    // An uninstrumented std hides what its locks and channels order, and so invents races.
    let tests = |cargo| reduced_tests(cargo).args(SANITIZED).arg("-Zbuild-std");
    let cmd = if provision::has_source(Cmd::new("rustup").args(["run", "nightly", "rustc"])) {
        tests(Cmd::cargo_nightly()).flavour("tsan", "-Zsanitizer=thread")
    } else {
        provision::debian_packages(&[&DEBIAN_RUST[..], &DEBIAN_TSAN[..]].concat())?;
        let flags =
            "-Zsanitizer=thread -Zexternal-clangrt -Clinker=clang-22 -Clink-arg=-fsanitize=thread";
        debian_rust(tests(Cmd::cargo()), "tsan", flags)
    };
    // One test at a time (its own threads run all the same): what one unmaps by a raw system call another maps again, which the
    // sanitizer does not see, and takes for a race between the two.
    cmd.args(["--target", &host()?]).env("RUST_TEST_THREADS", "1").run_tests().map(Some)
}

/// Core's tests under miri; `args` go to `cargo miri test`.
pub(crate) fn miri(args: &[String]) -> Outcome {
    let miri = || Cmd::cargo_nightly().arg("miri");
    // Not everywhere can rustup fetch it, so even in CI its absence is a skip.
    provision::nightly_component("miri", &miri().arg("--version")).map_err(|stop| match stop {
        Stop::Failed(why) | Stop::Skipped(why) => Stop::Skipped(why),
    })?;
    // Isolation would refuse the folder in which proptest keeps its failures.
    miri()
        .args(["test", "-p", "strandline-core", "--lib", "--tests"])
        .args(args)
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .env("STRANDLINE_TEST_SCALE", "small")
        .env("PROPTEST_CASES", "4")
        .flavour("miri", "")
        .run_tests()
        .map(Some)
}

fn format_check() -> Outcome {
    Cmd::cargo().args(["fmt", "--all", "--check"]).run()?;
    for manifest in ["fuzz/Cargo.toml", "web-demo/player/Cargo.toml"] {
        Cmd::cargo().args(["fmt", "--manifest-path", manifest, "--check"]).run()?;
    }
    Ok(None)
}

fn clippy() -> Outcome {
    let clippy = || Cmd::cargo().arg("clippy");
    let strict = |cmd: Cmd| cmd.args(["--", "-D", "warnings"]).run();
    strict(clippy().args(["--workspace", "--all-targets"]))?;
    strict(clippy().args(["-p", "strandline-core", "--no-default-features"]))?;
    strict(clippy().args(["--workspace", "--all-targets", "--features", FEATURES]))?;
    let fuzz = clippy().args(["--manifest-path", "fuzz/Cargo.toml", "--all-targets"]);
    strict(fuzz.env("CARGO_TARGET_DIR", shell::target_dir()))?;
    Ok(None)
}

/// The published documentation, then that of private items too: a link that only one of the two
/// resolves is a mistake.
pub(crate) fn doc(open: bool) -> Outcome {
    let doc = || {
        Cmd::cargo()
            .args(["doc", "--workspace", "--no-deps", "--features", FEATURES])
            // Examples use what tests use: so it is the same build of all dependencies as clippy's.
            .args(["--lib", "--bins", "--examples"])
            .env("RUSTDOCFLAGS", "-D warnings")
    };
    doc().arg("--document-private-items").run()?;
    doc().args(open.then_some("--open")).run()?;
    Ok(None)
}

/// The side-by-side benchmarks, with the flags that the published numbers use. Where components cannot be
/// built, the sandbox is left out; the program itself leaves the GPU out where there is none.
pub(crate) fn bench(args: &[String]) -> Outcome {
    let run = Cmd::cargo()
        .args(["run", "-p", "strandline-bench", "--profile", "bench"])
        .args(["--features", "wgpu"]);
    let run = match component::component().and_then(|_| guests::bench_guests()) {
        Ok(_) => run
            .args(["--features", "component"])
            .env("STRANDLINE_COMPONENT", component::component_file())
            .env("STRANDLINE_BENCH_GUEST", guests::bench_guest_file())
            .env("STRANDLINE_BENCH_SYNC_GUEST", guests::sync_bench_guest_file()),
        Err(Stop::Skipped(why) | Stop::Failed(why)) => {
            println!("without the sandbox: {why}");
            run
        }
    };
    run.arg("--").args(args).run()?;
    Ok(None)
}

/// Uses the compiler that Debian packages: the one whose library source is at hand to be rebuilt.
fn debian_rust(cargo: Cmd, folder: &str, rustflags: &str) -> Cmd {
    unlocked(cargo.env("RUSTC", DEBIAN_RUSTC)).flavour(folder, rustflags)
}

/// Lets a stable compiler take -Z flags.
fn unlocked(cargo: Cmd) -> Cmd {
    cargo.env("RUSTC_BOOTSTRAP", "1")
}

/// The target that this machine's compiler makes code for.
fn host() -> Result<String, Stop> {
    let output = Cmd::new("rustc").args(["--print", "host-tuple"]).output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(Stop::Failed("rustc --print host-tuple failed".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(tier: Tier, only: &[Step], skip: &[Step]) -> TestOptions {
        TestOptions {
            tier,
            only: only.to_vec(),
            skip: skip.to_vec(),
            fail_fast: false,
            fuzz_runs: 1,
        }
    }

    #[test]
    fn the_quick_steps_and_the_rest_are_all() {
        let chosen = |tier| options(tier, &[], &[]).chosen();
        assert_eq!(chosen(Tier::All), Step::value_variants());
        let (quick, rest) = (chosen(Tier::Quick), chosen(Tier::Rest));
        assert!(quick.contains(&Step::Unit) && quick.iter().all(|step| !rest.contains(step)));
        assert_eq!(quick.len() + rest.len(), Step::value_variants().len());
        assert_eq!(options(Tier::All, &[], &[]).left_out(), None);
        let left_out = options(Tier::Quick, &[], &[]).left_out().unwrap_or_default();
        assert!(left_out.contains("loom, replay") && left_out.contains("--all --install"));
    }

    #[test]
    fn only_and_skip_combine_and_keep_the_order() {
        let only = [Step::Tsan, Step::Unit, Step::Loom];
        let chosen = options(Tier::Quick, &only, &[Step::Loom]).chosen();
        assert_eq!(chosen, [Step::Unit, Step::Tsan]);
    }

    #[test]
    fn steps_have_short_names_and_say_what_they_do() {
        let names: Vec<String> = Step::value_variants().iter().map(|step| step.name()).collect();
        assert!(names.contains(&"no-std".to_owned()));
        assert!(names.iter().all(|name| !name.is_empty() && name.len() <= 7));
        assert!(Step::value_variants().iter().all(|step| !step.about().is_empty()));
    }
}
