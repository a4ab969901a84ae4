//! `docs/threats.md` and `docs/promises.md`: every line has a check, and every check that is named is there.

use std::path::Path;
use std::{env, fs};

fn read(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).ok()
}

/// The rows of all tables of a page: their last cells.
fn checks(page: &str) -> Vec<&str> {
    let mut cells = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        // A header is followed by a rule.
        if lines.peek().is_some_and(|next| next.starts_with("| ---")) || line.starts_with("| ---") {
            continue;
        }
        if let Some(row) = line.strip_prefix("| ") {
            cells.push(row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default());
        }
    }
    cells
}

/// What is wrong with a cell of checks: `file` `test`; `file`; [page](page)
fn faults(cell: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for check in cell.split("; ") {
        let mut code = check.split('`').skip(1).step_by(2);
        let (path, test) = match (code.next(), code.next()) {
            (Some(path), test) => (path.to_owned(), test),
            (None, _) => {
                let target = check.split(['(', '#', ')']).nth(1).unwrap_or_default();
                (format!("docs/{target}"), None)
            }
        };
        match (read(&path), test) {
            (None, _) => faults.push(format!("{check}: there is no {path}")),
            (Some(text), Some(test)) => {
                let names = [format!("fn {test}("), format!("def {test}(")];
                if !names.iter().any(|name| text.contains(name)) {
                    faults.push(format!("{path} has no test {test}"));
                }
            }
            (Some(_), None) => {}
        }
    }
    faults
}

#[test]
fn every_line_has_a_check_that_is_there() {
    for (page, least) in [("docs/threats.md", 25), ("docs/promises.md", 30)] {
        let text = read(page).unwrap_or_else(|| panic!("there is no {page}"));
        let cells = checks(&text);
        assert!(cells.len() >= least, "{page} has {} lines with checks", cells.len());
        let wrong: Vec<String> = cells.iter().flat_map(|cell| faults(cell, &read)).collect();
        assert!(wrong.is_empty(), "{page}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn what_is_not_there_is_found() {
    let text = |path: &str| (path == "a.rs").then(|| "fn there() {}".to_owned());
    assert!(faults("`a.rs` `there`; `a.rs`", &text).is_empty());
    assert_eq!(faults("`a.rs` `the`", &text), ["a.rs has no test the"]);
    assert_eq!(faults("`b.rs` `there`; `a.rs` `gone`", &text).len(), 2);
    assert_eq!(faults("a word", &text).len(), 1);
    assert_eq!(
        checks("| promise | checked by |\n| --- | --- |\n| one | `a` |\n\n| two | `b`; `c` |"),
        ["`a`", "`b`; `c`"]
    );
}
