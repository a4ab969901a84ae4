//! `docs/architecture.md` against the code: which crate may import which, which file of core, whether every path is
//! there, and whether every function that a journey names is in its file.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const PAGE: &str = "docs/architecture.md";

/// Imports by importer.
type Arrows = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    match fs::read_to_string(root().join(path)) {
        Ok(text) => text,
        Err(error) => panic!("{path}: {error}"),
    }
}

/// What stands between backticks, in order.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The cells of each row of the page's tables, by the table's header line.
fn rows<'a>(page: &'a str, header: &str) -> Vec<Vec<&'a str>> {
    let mut rows = Vec::new();
    let mut of_header = false;
    for line in page.lines() {
        if line == header {
            of_header = true;
        } else if !line.starts_with('|') {
            of_header = false;
        } else if of_header && !line.starts_with("| ---") {
            rows.push(line.trim_matches('|').split(" | ").map(str::trim).collect());
        }
    }
    assert!(!rows.is_empty(), "{PAGE} has no table under {header:?}");
    rows
}

/// Manifests of the repository, without what is hidden, built, installed, or shared from outside.
fn manifests(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    for entry in entries.filter_map(Result::ok) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap_or_default());
        let left_out =
            name.starts_with('.') || ["target", "node_modules", "shared"].contains(&&*name);
        if name == "Cargo.toml" {
            found.push(path);
        } else if path.is_dir() && !left_out {
            manifests(&path, found);
        }
    }
}

/// Packages with their folders, and their imports of each other, as the manifests have them: optional ones and those of
/// tests too.
fn crates() -> (BTreeMap<String, String>, Arrows) {
    let top = root().canonicalize().unwrap();
    let mut found = Vec::new();
    manifests(&top, &mut found);
    let (mut folders, mut arrows) = (BTreeMap::new(), Arrows::new());
    for manifest in found {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
            .arg(&manifest)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        for package in metadata["packages"].as_array().unwrap() {
            let name = package["name"].as_str().unwrap().to_owned();
            let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
            let folder = folder.strip_prefix(&top).unwrap().to_str().unwrap().to_owned();
            folders.insert(name.clone(), folder);
            let ours = package["dependencies"].as_array().unwrap().iter();
            // What is ours is named by its path.
            let ours = ours.filter(|dependency| dependency["path"].is_string());
            let names = ours.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
            arrows.insert(name, names.collect());
        }
    }
    (folders, arrows)
}

/// The arrows in rows of importer, anything, imports.
fn arrows_of(rows: &[Vec<&str>]) -> Arrows {
    let of = |row: &Vec<&str>| {
        let imports = code(row[2]).map(str::to_owned).collect();
        (code(row[0]).next().unwrap_or_default().to_owned(), imports)
    };
    rows.iter().map(of).collect()
}

/// # Panics
/// They differ; says how.
fn same(page: &Arrows, code: &Arrows) {
    let flat = |arrows: &Arrows| -> BTreeSet<String> {
        let pairs =
            arrows.iter().flat_map(|(from, to)| to.iter().map(move |to| format!("{from} -> {to}")));
        pairs.chain(arrows.keys().cloned()).collect()
    };
    let (page, code) = (flat(page), flat(code));
    let forbidden: Vec<_> = code.difference(&page).collect();
    let stale: Vec<_> = page.difference(&code).collect();
    assert!(
        forbidden.is_empty() && stale.is_empty(),
        "in the code, not allowed by {PAGE}: {forbidden:?}\nin {PAGE}, not in the code: {stale:?}"
    );
}

#[test]
fn crates_import_what_the_page_allows() {
    let page = read(PAGE);
    let table = rows(&page, "| crate | folder | imports |");
    let (folders, imports) = crates();
    same(&arrows_of(&table), &imports);
    for row in &table {
        let (name, folder) = (code(row[0]).next().unwrap(), code(row[1]).next().unwrap());
        assert_eq!(folders[name], folder, "{name}");
    }
}

#[test]
fn the_core_depends_on_nothing() {
    // Loom is there for models alone, under `cfg(loom)`.
    let manifest = read("core/Cargo.toml");
    let (_, after) = manifest.split_once("[dependencies]").unwrap();
    assert!(after.trim_start().starts_with('['), "{after}");
}

/// The text of a Rust file before its tests, without comments.
fn without_tests(text: &str) -> String {
    // Modules of tests in the file itself: at its end.
    let text = text.split("\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The names that follow each `crate::`, those in braces too.
fn imported(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for after in text.split("crate::").skip(1) {
        let Some(list) = after.strip_prefix('{') else {
            names.extend(after.split(|c| !is_word(c)).next());
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if is_word(c) && begins => {
                    names.extend(list[at..].split(|c| !is_word(c)).next());
                    begins = false;
                }
                _ => {}
            }
        }
    }
    names
}

/// Every Rust file below a folder but tests and models.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().filter_map(Result::ok) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap_or_default());
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs")
            && !["tests.rs", "model.rs", "test_pool.rs", "lib.rs"].contains(&&*name)
        {
            found.push(path);
        }
    }
}

#[test]
fn files_of_core_import_what_the_page_allows() {
    let folder = root().join("core/src");
    let lib = read("core/src/lib.rs");
    // What lib.rs exports again belongs to the file that it comes from.
    let homes: BTreeMap<&str, &str> = lib
        .split("pub use ")
        .skip(1)
        .filter_map(|export| export.split(';').next()?.split_once("::"))
        .flat_map(|(home, names)| names.split(|c| !is_word(c)).map(move |name| (name, home)))
        .collect();
    let mut files = Vec::new();
    sources(&folder, &mut files);
    let room = |path: &Path| {
        let first = path.strip_prefix(&folder).unwrap().iter().next().unwrap().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    };
    let rooms: BTreeSet<String> = files.iter().map(|path| room(path)).collect();
    let mut arrows = Arrows::new();
    for path in &files {
        let (from, text) = (room(path), without_tests(&fs::read_to_string(path).unwrap()));
        for name in imported(&text) {
            let to = homes.get(name).copied().unwrap_or(name);
            if to != from && rooms.contains(to) {
                arrows.entry(from.clone()).or_default().insert(to.to_owned());
            }
        }
    }
    let page = read(PAGE);
    same(&arrows_of(&rows(&page, "| file of `core/src` | what it decides | imports |")), &arrows);
}

#[test]
fn every_path_is_there() {
    let page = read(PAGE);
    let links = page.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let links = links.filter(|link| !link.contains("://")).map(|link| format!("docs/{link}"));
    let paths = code(&page).filter(|path| path.contains('/') && !path.contains(' '));
    let missing: Vec<String> =
        paths.map(str::to_owned).chain(links).filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "{PAGE} names what is not there: {missing:?}");
}

#[test]
fn every_function_of_a_journey_is_in_its_file() {
    let page = read(PAGE);
    let mut missing = Vec::new();
    for row in rows(&page, "| step | file | functions |") {
        let file = code(row[1]).next().unwrap();
        let text = read(file);
        for function in code(row[2]) {
            let defined = |open: &str| text.contains(&format!("fn {function}{open}"));
            if !defined("(") && !defined("<") {
                missing.push(format!("{file}: {function}"));
            }
        }
    }
    assert!(missing.is_empty(), "{PAGE} names functions that are not there: {missing:?}");
}
