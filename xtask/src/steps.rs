//! The steps of `cargo xtask test` and `cargo xtask lint`, each a function that runs cargo with the right flags.
//!
//! ```text
//! default flags   target/         unit, sandbox, replay, wgpu, tracy, bench, lint
//! --cfg loom      target/loom     loom
//! sanitizers      target/{asan,tsan}
//! no std          target/no-std   no-std
//! wasm            target/component  sandbox, web
//! other locks     target/{clients,fleet,publish}  clients, fleet, publish
//! libFuzzer       target/fuzz     fuzz
//! ```
//! Each set of flags has its own target folder: sharing one would rebuild everything at every step.

mod boundaries;
mod c_guest;
mod clients;
mod component;
mod fuzz;
mod guests;
mod js_guest;
mod soak;
mod web;
mod wgpu;

use std::process::ExitCode;

use clap::ValueEnum;

pub(crate) use component::component;
pub(crate) use fuzz::{FuzzRun, explore};
pub(crate) use guests::guests;
pub(crate) use soak::{SoakRun, soak};
pub(crate) use web::web;

use xshell::{Cmd, Shell, cmd};

use crate::report::{Outcome, Report, Stop};
use crate::shell::{each, run_tests, shell, succeeds, target_dir};
use crate::toolchain::{BARE_TARGET, Toolchain, host, needs, nightly, packages};

/// The crates whose tests run under the sanitizers: those with unsafe code or threads. What reads traces runs under
/// AddressSanitizer when it is fuzzed.
const SANITIZED: [&str; 6] =
    ["-p", "strandline-core", "-p", "strandline-host-native", "-p", "strandline-host-tenants"];

/// What the unit tests are of: the GPU host needs an adapter, and has a step of its own.
const UNIT: [&str; 3] = ["--workspace", "--exclude", "strandline-host-wgpu"];

/// What features bring in, all at once: wasmtime and wgpu are looked at one time.
const FEATURES: &str = "strandline/component,strandline/cubecl,strandline/wgpu,strandline-bench/component,strandline-bench/wgpu,\
                        strandline-guest-tests/guest-c,strandline-guest-tests/wgpu,strandline-host-native/tracy";

/// What ThreadSanitizer needs besides Debian's Rust: LLVM 22's compiler driver, linker and runtime.
const DEBIAN_TSAN: [&str; 4] = ["rust-web-llvm", "lld-22", "clang-22", "libclang-rt-22-dev"];

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
    /// A guest in JavaScript over pools of the host.
    Js,
    /// The Python package: the wheel built, installed into an empty environment without a network, and tested there.
    Wheel,
    /// Every crate built from its package; the WIT package sent to a registry on loopback and used from there.
    Publish,
    /// Model checking of every lock-free file (modules `model`, core/tests/loom_*.rs).
    Loom,
    /// The command over every shipped trace, optimized: exit status, JSON and files checked.
    Replay,
    /// The GPU host, the command on a GPU; without one, on Mesa's lavapipe.
    Wgpu,
    /// A pool lent to other processes over zenoh: processes that are killed and stopped, certificates, the command.
    Fleet,
    /// Published programs on the GPU host; the host compiles with the oldest and the newest wgpu of its range.
    Clients,
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
            Self::Unit | Self::Loom | Self::Replay | Self::Fleet | Self::Bench => "-",
            Self::Tracy => "a C++ compiler",
            Self::Wgpu | Self::Clients => "a GPU, or Debian's mesa-vulkan-drivers and libvulkan1",
            Self::NoStd => "target wasm32-unknown-unknown, or Debian's rustc-web",
            Self::Sandbox => "target wasm32-wasip2 and rust-src, or Debian's rustc-web and lld-22",
            Self::Web => "as sandbox and no-std; nodejs, npm and chromium, packages from npm",
            Self::Js => "as sandbox; nodejs, npm, packages from npm",
            Self::Python => "as sandbox; Python 3 with venv, wasmtime from PyPI",
            Self::Wheel => "Python 3 with venv; maturin, pytest and mypy from PyPI",
            Self::Publish => "wkg, Debian's docker-registry; the crates' registry",
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

    fn run(self, sh: &Shell, options: &TestOptions) -> Outcome {
        match self {
            Self::Unit => unit(sh),
            Self::NoStd => no_std(sh),
            Self::Sandbox => component::sandbox(sh),
            Self::Web => web::test(sh),
            Self::Python => component::python(sh),
            Self::Js => js_guest::js_guest(sh),
            Self::Wheel => wheel(sh),
            Self::Publish => publish(sh),
            Self::Loom => loom(sh),
            Self::Replay => replay(sh),
            Self::Wgpu => wgpu::wgpu(sh),
            Self::Fleet => fleet(sh),
            Self::Clients => clients::clients(sh),
            Self::Tracy => tracy(sh),
            Self::Bench => bench_compiles(sh),
            Self::Asan => asan(sh),
            Self::Tsan => tsan(sh),
            Self::Miri => miri(sh, &[]),
            Self::Fuzz => fuzz::repeat(sh, options.fuzz_runs),
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
///
/// # Errors
/// There is no folder to run them in.
pub(crate) fn test(options: &TestOptions) -> Result<ExitCode, Stop> {
    let sh = shell()?;
    let mut report = Report::default();
    for step in options.chosen() {
        let failed = report.run(&step.name(), &step.about(), || step.run(&sh, options));
        if failed && options.fail_fast {
            break;
        }
    }
    let code = report.finish();
    if let Some(left_out) = options.left_out() {
        println!("{left_out}");
    }
    Ok(code)
}

/// Format, clippy and documentation, every warning an error, and reports.
///
/// # Errors
/// There is no folder to run them in.
pub(crate) fn lint() -> Result<ExitCode, Stop> {
    let sh = shell()?;
    let mut report = Report::default();
    report.run("format", "rustfmt changes nothing", || format_check(&sh));
    report.run("clippy", "no warning in any target of any crate", || clippy(&sh));
    report.run("doc", "documentation builds without a warning", || doc(&sh, false));
    Ok(report.finish())
}

fn unit(sh: &Shell) -> Outcome {
    // The soak runs as long as its time allows; by hand, a run is two seconds.
    let cmd = cmd!(sh, "cargo test {UNIT...} --no-fail-fast").env("STRANDLINE_SOAK_SECONDS", "20");
    run_tests(cmd).map(Some)
}

/// The command over the shipped traces; a debug build would take minutes.
fn replay(sh: &Shell) -> Outcome {
    run_tests(cmd!(sh, "cargo test --release -p strandline --no-fail-fast --test shipped"))
        .map(Some)
}

/// A workspace of its own: zenoh is 230 crates.
fn fleet(sh: &Shell) -> Outcome {
    let test = cmd!(sh, "cargo test --locked --manifest-path host-fleet/Cargo.toml");
    run_tests(test.env("CARGO_TARGET_DIR", target_dir().join("fleet"))).map(Some)
}

fn no_std(sh: &Shell) -> Outcome {
    let toolchain = Toolchain::bare(sh, &[])?;
    let build = |toolchain: Toolchain| {
        let build = ["build", "-p", "strandline-core", "--no-default-features"];
        toolchain.cargo(sh, "no-std", "").args(build)
    };
    // This alone would also pass if a dependency pulled std in: the machine's own target has one.
    build(Toolchain::Stable).run()?;
    build(Toolchain::Stable).args(["--features", "planned"]).run()?;
    // Only core and alloc are built, so any use of std is an unknown crate.
    let bare = (toolchain == Toolchain::Debian).then_some("-Zbuild-std=core,alloc");
    build(toolchain)
        .args(["-p", "strandline-twins", "-p", "strandline-planner", "--target", BARE_TARGET])
        .args(bare)
        .run()?;
    Ok(None)
}

fn loom(sh: &Shell) -> Outcome {
    // Release, since the models are large; with the assertions, since they are half of what is checked.
    let test = |package: &str, args: &[&str]| {
        let cmd = Toolchain::Stable.cargo(sh, "loom", "--cfg loom");
        let cmd = cmd.args(["test", "-p", package, "--release"]).args(args);
        run_tests(
            cmd.env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
                .env("LOOM_MAX_PREEMPTIONS", "3"),
        )
    };
    // Models of private types are unit tests in modules named `model`; other unit tests use loom's
    // types outside a model, which it refuses.
    let private = ["--lib", "--", "::model::"];
    each(
        [
            ("strandline-core", &private[..]),
            ("strandline-host-native", &private),
            ("strandline-core", &["--no-fail-fast", "--test", "loom_*"]),
        ],
        |(package, args)| test(package, args),
    )
    .map(Some)
}

fn wheel(sh: &Shell) -> Outcome {
    if !succeeds(cmd!(sh, "python3 -c 'import ensurepip'")) {
        packages(sh, &["python3-venv"])?;
    }
    cmd!(sh, "python/test.sh").run()?;
    Ok(None)
}

fn publish(sh: &Shell) -> Outcome {
    packages(sh, &["docker-registry"])?;
    needs(cmd!(sh, "wkg --version"), "wkg", "cargo install --locked wkg")?;
    // A package is built without the workspace's profiles, so it shares nothing with other steps.
    cmd!(sh, "cargo publish --workspace --dry-run --locked --allow-dirty")
        .env("CARGO_TARGET_DIR", target_dir().join("publish"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .run()?;
    cmd!(sh, "release/wit.sh").run()?;
    Ok(None)
}

fn tracy(sh: &Shell) -> Outcome {
    run_tests(cmd!(sh, "cargo test -p strandline-host-native --features tracy --lib tracy"))
        .map(Some)
}

fn bench_compiles(sh: &Shell) -> Outcome {
    // As the unit tests are built, so that cargo has nearly all of it already.
    cmd!(sh, "cargo build {UNIT...} --bins --benches").run()?;
    Ok(None)
}

/// `cargo test` at reduced size, without the documentation tests: rustdoc would need the same flags.
fn reduced_tests(sh: &Shell, cargo: Cmd<'_>, build_std: Option<&str>) -> Outcome {
    let cmd = cargo
        .args(["test", "--no-fail-fast", "--lib", "--bins", "--tests"])
        .args(SANITIZED)
        .args(build_std)
        // Naming the target keeps the flags away from build scripts and procedural macros.
        .args(["--target", &host(sh)?])
        .env("STRANDLINE_TEST_SCALE", "small")
        .env("PROPTEST_CASES", "16");
    run_tests(cmd).map(Some)
}

fn asan(sh: &Shell) -> Outcome {
    nightly(sh)?;
    reduced_tests(sh, Toolchain::Nightly.cargo(sh, "asan", "-Zsanitizer=address"), None)
}

fn tsan(sh: &Shell) -> Outcome {
    let toolchain = Toolchain::with_source(Some(Toolchain::Nightly), sh, &DEBIAN_TSAN)?;
    let flags = match toolchain {
        Toolchain::Debian => {
            "-Zsanitizer=thread -Zexternal-clangrt -Clinker=clang-22 -Clink-arg=-fsanitize=thread -Clink-arg=-fuse-ld=lld"
        }
        _ => "-Zsanitizer=thread",
    };
    // One test at a time (its own threads run all the same): what one unmaps by a raw system call another maps again, which the
    // sanitizer does not see, and takes for a race between the two.
    let cargo = toolchain.cargo(sh, "tsan", flags).env("RUST_TEST_THREADS", "1");
    // An uninstrumented std hides what its locks and channels order, and so invents races.
    reduced_tests(sh, cargo, Some("-Zbuild-std"))
}

/// Core's tests under miri; `args` go to `cargo miri test`.
pub(crate) fn miri(sh: &Shell, args: &[String]) -> Outcome {
    let remedy = "rustup component add --toolchain nightly miri";
    // Not everywhere can rustup fetch it, so even in CI its absence is a skip.
    let probe = cmd!(sh, "rustup run nightly cargo miri --version");
    needs(probe, "component miri of the nightly toolchain", remedy).map_err(|stop| match stop {
        Stop::Failed(why) | Stop::Skipped(why) => Stop::Skipped(why),
    })?;
    let cmd = Toolchain::Nightly
        .cargo(sh, "miri", "")
        .args(["miri", "test", "-p", "strandline-core", "--lib", "--tests"])
        .args(args)
        // Isolation would refuse the folder in which proptest keeps its failures.
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .env("STRANDLINE_TEST_SCALE", "small")
        .env("PROPTEST_CASES", "4");
    run_tests(cmd).map(Some)
}

fn format_check(sh: &Shell) -> Outcome {
    cmd!(sh, "cargo fmt --all --check").run()?;
    let others = ["fuzz", "web-demo/player", "clients/draw", "clients/compute", "host-fleet"];
    for manifest in others.map(|folder| format!("{folder}/Cargo.toml")) {
        cmd!(sh, "cargo fmt --manifest-path {manifest} --check").run()?;
    }
    Ok(None)
}

fn clippy(sh: &Shell) -> Outcome {
    let strict = ["--", "-D", "warnings"];
    cmd!(sh, "cargo clippy --workspace --all-targets {strict...}").run()?;
    cmd!(sh, "cargo clippy -p strandline-core --no-default-features {strict...}").run()?;
    cmd!(sh, "cargo clippy --workspace --all-targets --features {FEATURES} {strict...}").run()?;
    cmd!(sh, "cargo clippy --manifest-path fuzz/Cargo.toml --all-targets {strict...}")
        .env("CARGO_TARGET_DIR", target_dir())
        .run()?;
    Ok(None)
}

/// The published documentation, then that of private items too: a link that only one of the two
/// resolves is a mistake.
pub(crate) fn doc(sh: &Shell, open: bool) -> Outcome {
    // Examples use what tests use: so it is the same build of all dependencies as clippy's.
    let doc = || {
        let targets = ["--lib", "--bins", "--examples"];
        cmd!(sh, "cargo doc --workspace --no-deps --features {FEATURES} {targets...}")
            .env("RUSTDOCFLAGS", "-D warnings")
    };
    doc().arg("--document-private-items").run()?;
    doc().args(open.then_some("--open")).run()?;
    Ok(None)
}

/// The side-by-side benchmarks, with the flags that the published numbers use. Where components cannot be
/// built, the sandbox is left out; the program itself leaves the GPU out where there is none.
pub(crate) fn bench(sh: &Shell, args: &[String]) -> Outcome {
    let run = cmd!(sh, "cargo run -p strandline-bench --profile bench --features wgpu");
    let run = match component::component(sh).and_then(|_| guests::bench_guests(sh)) {
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
