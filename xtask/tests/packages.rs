//! What the registry and a reader of a package are shown: every crate that is published says what it is, and carries its licences.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cargo(args: &[&str]) -> String {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo).args(args).current_dir(root()).output().expect("cargo runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {}: {told}", args.join(" "));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// The workspace's packages that are not kept from being published.
fn published() -> Vec<Value> {
    let text = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages.iter().filter(|package| package["publish"].is_null()).cloned().collect()
}

/// What the registry refuses or a reader misses.
fn faults(package: &Value, repository: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut need = |holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{}: {what}", package["name"]));
        }
    };
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    let words = |key: &str| -> Vec<&str> {
        package[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    need(text("description").len() > 20, "no description");
    need(text("license") == "MIT OR Apache-2.0", "another licence than the workspace's");
    need(text("repository") == repository, "another repository than the workspace's");
    need(text("readme") == "README.md", "no README.md");
    need(!text("rust_version").is_empty(), "no rust-version");
    let keywords = words("keywords");
    // The registry's rules: at most five, of at most twenty characters.
    let is_keyword = |word: &&str| {
        word.len() <= 20 && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-+".contains(c))
    };
    need((1..=5).contains(&keywords.len()), "one to five keywords are needed");
    need(keywords.iter().all(is_keyword), "a keyword that the registry refuses");
    need((1..=5).contains(&words("categories").len()), "one to five categories are needed");
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let by_path = !dependency["path"].is_null() && dependency["kind"].is_null();
        need(
            !by_path || dependency["req"] != "*",
            &format!("{} has a path and no version", dependency["name"]),
        );
    }
    faults
}

#[test]
fn every_published_crate_says_what_it_is() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's manifest");
    let repository = manifest.lines().find_map(|line| line.strip_prefix("repository = "));
    let repository = repository.expect("one variable names the repository").trim_matches('"');
    let packages = published();
    assert!(packages.len() >= 8, "{} packages are published", packages.len());
    let faults: Vec<String> =
        packages.iter().flat_map(|package| faults(package, repository)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_package_carries_its_licences_and_what_its_readme_shows() {
    for package in published() {
        let name = package["name"].as_str().unwrap_or_default();
        let list = cargo(&["package", "--list", "--allow-dirty", "--offline", "-p", name]);
        let files: Vec<&str> = list.lines().collect();
        for needed in ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "Cargo.toml"] {
            assert!(files.contains(&needed), "{name} is packaged without {needed}");
        }
        if name == "strandline-host-tenants" {
            assert!(files.iter().any(|file| file.starts_with("wit/")), "{name} without its WIT");
        }
        let strays = |file: &&&str| file.starts_with("target/") || file.contains("node_modules/");
        assert_eq!(files.iter().find(strays), None, "{name} packages what was built");
    }
}

#[test]
fn a_crate_without_a_word_for_its_readers_is_found() {
    let silent = serde_json::json!({
        "name": "silent", "license": "MIT", "keywords": ["far too long for a keyword"],
        "dependencies": [{ "name": "beside", "path": "/beside", "kind": null, "req": "*" }],
    });
    assert_eq!(faults(&silent, "https://example.invalid").len(), 8);
}
