//! The GPU host's tests, and the command on a GPU: on whatever adapter there is, or on lavapipe, Mesa's Vulkan on the processor.
//!
//! ```text
//!   build as for the sandbox ─▶ strandline info: an adapter?  ── no ─▶ install Mesa's driver, look again
//!                                      │ yes                                  │ none: skip, in CI fail
//!                                      ▼                                      ▼
//!   tests of host-wgpu, replay, the command; conformance ─▶ example ─▶ replay --provider wgpu ─▶ a check for the web
//! ```

use serde_json::Value;

use super::replay::report::{check_report, count};
use super::{BARE_TARGET, DEBIAN_RUST, boundaries::Boundaries, debian_rust};
use crate::provision;
use crate::shell::{self, Cmd};
use crate::step::{Outcome, Stop};

/// Mesa's drivers, with one for the processor, and Vulkan's loader.
const DEBIAN_VULKAN: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

/// Tests of the GPU host, of the command and of its parts, beside the conformance cases.
const TESTS: [&str; 10] = [
    "--test",
    "gpu",
    "--test",
    "command",
    "--test",
    "load",
    "--test",
    "formats",
    "--test",
    "formats_property",
];

/// What is replayed, with which options. Whatever the pool, what the GPU wrote must be what it finds.
const CASES: [&[&str]; 3] = [
    &["traces/vit_infer.csv.gz", "--pool", "passthrough"],
    &["traces/gpt2_generate.csv.gz", "--in-flight", "16"],
    &["traces/resnet50_train.csv.gz", "--streams", "8", "--in-flight", "64", "--allow-wait"],
];

/// A trace that one stream and eight, allowed to wait, must play in the same memory.
const FLAT: &str = "traces/bert_train.csv.gz";

pub(super) fn wgpu() -> Outcome {
    let boundaries = match Boundaries::with_components() {
        Err(Stop::Skipped(why)) => {
            println!("without conformance on a GPU through the sandbox ({why})");
            Boundaries::without_components()
        }
        made => made?,
    };
    let build = ["--no-run", "--lib", "--bins", "--test", "suite"];
    boundaries.test().args(build).args(TESTS).run()?;
    boundaries.cargo("build").args(["--bin", "strandline", "--example", "transformer"]).run()?;
    let mut adapter = adapter()?;
    if adapter.is_none() {
        provision::debian_packages(&DEBIAN_VULKAN)?;
        adapter = self::adapter()?;
    }
    let Some(adapter) = adapter else {
        return Err(provision::missing("a GPU adapter; Mesa's driver for processors is installed"));
    };
    let ran = boundaries.test().args(["--lib", "--bins"]).args(TESTS).run_tests()?
        + boundaries.test().args(["--test", "suite", "--", "::gpu"]).run_tests()?
        + boundaries.test().arg("--doc").run_tests()?;
    Cmd::new(&built("examples/transformer")).run()?;
    for case in CASES {
        let cmd = strandline().arg("replay").args(case).args(["--provider", "wgpu", "--json"]);
        replayed(&cmd)?;
        println!("ok      {cmd}");
    }
    by_name(&adapter)?;
    web()?;
    let mut committed = Vec::new();
    for streams in ["1", "8"] {
        let options = ["--in-flight", "64", "--allow-wait", "--provider", "wgpu", "--json"];
        let cmd = strandline().args(["replay", FLAT, "--streams", streams]).args(options);
        let report = replayed(&cmd)?;
        committed.push(count(&report, "pool.peak_committed_bytes").map_err(Stop::Failed)?);
    }
    match committed[..] {
        [one, eight] if eight * 100 <= one * 105 => Ok(Some(ran)),
        _ => Err(Stop::Failed(format!("{FLAT}: {committed:?} bytes on 1 and 8 streams"))),
    }
}

fn strandline() -> Cmd {
    Cmd::new(&built("strandline"))
}

/// A program that the tests' build has made.
fn built(name: &str) -> String {
    shell::target_dir().join("debug").join(name).to_string_lossy().into_owned()
}

fn report_of(cmd: &Cmd) -> Result<Value, Stop> {
    let output = cmd.output()?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Stop::Failed(format!("{cmd}: {}: {}", output.status, complaint.trim())));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Stop::Failed(format!("{cmd}: not one JSON object: {error}")))
}

/// Replays; the report must be sound, and the GPU must have had a part in it.
fn replayed(cmd: &Cmd) -> Result<Value, Stop> {
    let report = report_of(cmd)?;
    let sound =
        check_report(&report, true).and_then(|()| match count(&report, "gpu.submissions")? {
            0 => Err("the GPU had nothing to do".to_owned()),
            _ => count(&report, "gpu.completion_ns.p50").map(drop),
        });
    sound.map_err(|why| Stop::Failed(format!("{why} ({cmd})")))?;
    Ok(report)
}

/// The GPU host for a browser: it is checked, not run.
fn web() -> Result<(), Stop> {
    let check = || {
        let package = ["check", "-p", "strandline-host-wgpu", "--no-default-features"];
        Cmd::cargo().args(package).args(["--target", BARE_TARGET])
    };
    if provision::has_target(BARE_TARGET) {
        return check().flavour("web", "").run();
    }
    match provision::debian_packages(&DEBIAN_RUST) {
        Ok(()) => debian_rust(check(), "web", "").arg("-Zbuild-std=std,panic_abort").run(),
        Err(Stop::Skipped(why)) => {
            println!("skipped: the GPU host for a browser ({why})");
            Ok(())
        }
        Err(failed) => Err(failed),
    }
}

/// The name of the adapter that is used when none is named.
fn adapter() -> Result<Option<String>, Stop> {
    let report = report_of(&strandline().args(["info", "--json"]))?;
    match report["adapters"].as_array().map(Vec::as_slice) {
        None | Some([]) => Ok(None),
        Some([first, ..]) => match first["name"].as_str() {
            Some(name) => Ok(Some(name.to_owned())),
            None => Err(Stop::Failed(format!("an adapter without a name: {first}"))),
        },
    }
}

/// The adapter that is named is the one that works; one that is not there is refused, and those that are are named.
fn by_name(adapter: &str) -> Result<(), Stop> {
    let named = |name: &str| {
        let [trace, ..] = CASES[0] else { return strandline() };
        let options = ["--provider", "wgpu", "--json", "--adapter", name];
        strandline().args(["replay", trace]).args(options)
    };
    let cmd = named(&adapter.to_uppercase());
    let report = replayed(&cmd)?;
    if report["gpu"]["adapter"] != adapter {
        return Err(Stop::Failed(format!(
            "{} worked, not {adapter} ({cmd})",
            report["gpu"]["adapter"]
        )));
    }
    println!("ok      {cmd}");
    let cmd = named("no such adapter");
    let output = cmd.output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || !complaint.contains(adapter) {
        return Err(Stop::Failed(format!("{cmd}: {}: {}", output.status, complaint.trim())));
    }
    println!("ok      {cmd}: {}", complaint.trim());
    Ok(())
}
