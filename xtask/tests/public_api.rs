//! `docs/public-api/CRATE.txt` lists what each of these crates makes public, so that a change of it is seen where it is reviewed.
//!
//! The list is read from rustdoc's JSON, which only the nightly toolchain writes and which changes its form with the toolchain. Where that
//! toolchain is missing or of another time, the test says so and passes: it guards against what is overlooked, not against an attack.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use public_api::PublicApi;

/// Those that others build on, with their folders. The GPU host is left out: its documentation needs all of wgpu.
const CRATES: [(&str, &str); 3] = [
    ("strandline-core", "core"),
    ("strandline-host-native", "host-native"),
    ("strandline-host-tenants", "host-tenants"),
];

/// Set by who means the change.
const WRITE: &str = "STRANDLINE_WRITE_API";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// rustdoc's JSON of the crate's library; `None` where there is no nightly toolchain.
fn documented(package: &str, folder: &str) -> Option<PathBuf> {
    let nightly = Command::new("rustup").args(["run", "nightly", "rustdoc", "--version"]).output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let target = root().join("target/public-api");
    let output = Command::new("rustup")
        .args(["run", "nightly", "cargo", "rustdoc", "--locked", "--lib", "--package", package])
        .arg("--target-dir")
        .arg(&target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .current_dir(root().join(folder))
        // Those of the cargo that runs this test are meant for another toolchain.
        .env_remove("RUSTC")
        .env_remove("RUSTDOC")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .expect("rustup runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{package}: {told}");
    Some(target.join("doc").join(format!("{}.json", package.replace('-', "_"))))
}

/// A line for each item, without the crate's own name before each path. What is re-exported is listed again under its second name with all
/// that belongs to it, whose lines are the same: they are kept once.
fn list(api: &PublicApi, package: &str) -> String {
    let prefix = format!("{}::", package.replace('-', "_"));
    let mut seen = BTreeSet::new();
    let lines = api.items().map(|item| format!("{item}\n").replace(&prefix, ""));
    lines.filter(|line| seen.insert(line.clone())).collect()
}

#[test]
fn what_is_public_is_what_the_lists_say() {
    for (package, folder) in CRATES {
        let Some(json) = documented(package, folder) else {
            println!("not compared: there is no nightly toolchain, which writes rustdoc's JSON");
            return;
        };
        let api = public_api::Builder::from_rustdoc_json(json)
            .omit_blanket_impls(true)
            .omit_auto_trait_impls(true)
            .omit_auto_derived_impls(true)
            .build();
        let found = match api {
            Ok(api) => list(&api, package),
            Err(public_api::Error::SerdeJsonError(error)) => {
                println!("not compared: this nightly writes JSON of another form ({error})");
                return;
            }
            Err(error) => panic!("{package}: {error}"),
        };
        assert!(found.lines().count() > 100, "{package}: {found}");
        let file = root().join("docs/public-api").join(format!("{package}.txt"));
        if env::var_os(WRITE).is_some() {
            fs::write(&file, &found).expect("the list can be written");
        }
        let listed = fs::read_to_string(&file).unwrap_or_default();
        let (found, listed): (BTreeSet<&str>, BTreeSet<&str>) =
            (found.lines().collect(), listed.lines().collect());
        let new: Vec<_> = found.difference(&listed).collect();
        let gone: Vec<_> = listed.difference(&found).collect();
        assert!(
            new.is_empty() && gone.is_empty(),
            "{package}: new: {new:#?}, gone: {gone:#?}; if that is meant: {WRITE}=1 cargo test -p xtask --test public_api"
        );
    }
}
