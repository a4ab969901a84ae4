//! Running other programs, on xshell: the repository's root, where builds go, and `cargo test` with its tests counted.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use xshell::{Cmd, Shell};

use crate::report::Stop;

/// The repository's root folder.
pub(crate) fn root() -> PathBuf {
    // Cargo sets the variable when it runs us; the constant serves a binary that is started by hand.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// Where builds go. Each set of compiler flags has a folder of its own under it, so that they do not throw away each other's work.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Whether this is a machine where a missing tool must fail the run rather than skip a step.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// A shell in the repository's root.
pub(crate) fn shell() -> Result<Shell, Stop> {
    let sh = Shell::new()?;
    sh.change_dir(root());
    Ok(sh)
}

/// Whether the program exists and ends with 0; prints nothing.
pub(crate) fn succeeds(cmd: Cmd<'_>) -> bool {
    cmd.quiet().ignore_stdout().ignore_stderr().run().is_ok()
}

/// How many tests ran, whatever came of them, by the closing line of one test program; 0 of any other line.
fn tests_in(line: &str) -> u64 {
    // "test result: ok. 12 passed; 0 failed; 1 ignored; ..."
    let counts = line.split_once("test result: ").and_then(|(_, rest)| rest.split_once(". "));
    let parts = counts.into_iter().flat_map(|(_, counts)| counts.split("; "));
    parts
        .filter_map(|part| match part.trim().split_once(' ') {
            Some((number, "passed" | "failed")) => number.parse::<u64>().ok(),
            _ => None,
        })
        .sum()
}

/// The name of the test that this line reports as failed.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.trim_end().strip_suffix(" ... FAILED")
}

/// Runs a `cargo test` or a test program, showing everything it prints, and counts the tests that ran.
///
/// # Errors
/// The program cannot be started or fails. No test ran at all: a filter that matches nothing would otherwise look like success.
pub(crate) fn run_tests(cmd: Cmd<'_>) -> Result<u64, Stop> {
    let line = cmd.to_string();
    eprintln!("$ {line}");
    count_tests(cmd.into(), &line, &mut std::io::stdout())
}

/// [`run_tests`] that shows the output elsewhere: our own tests must not print lines that look like a closing line.
fn count_tests(mut command: Command, name: &str, shown: &mut dyn Write) -> Result<u64, Stop> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let (mut ran, mut failed) = (0, Vec::new());
    if let Some(output) = child.stdout.take() {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        // Bytes, not lines of text: a test may print what is not UTF-8.
        while reader.read_until(b'\n', &mut line)? > 0 {
            // A closed standard output is not worth stopping for: the exit status still tells.
            let _ = shown.write_all(&line);
            let text = String::from_utf8_lossy(&line);
            ran += tests_in(&text);
            failed.extend(failed_test(&text).map(str::to_owned));
            line.clear();
        }
    }
    let status = child.wait()?;
    match (status.success(), ran) {
        // First what a reader of the table looks for.
        (false, _) if !failed.is_empty() => {
            Err(Stop::Failed(format!("{}: {status}: {name}", failed.join(", "))))
        }
        (false, _) => Err(Stop::Failed(format!("{status}: {name}"))),
        (true, 0) => Err(Stop::Failed(format!("no test ran: {name}"))),
        (true, _) => Ok(ran),
    }
}

/// Runs each of these, even after one failed: one run should tell everything that is wrong.
pub(crate) fn each<T>(
    all: impl IntoIterator<Item = T>,
    mut run: impl FnMut(T) -> Result<u64, Stop>,
) -> Result<u64, Stop> {
    let (mut ran, mut failures) = (0, Vec::new());
    for one in all {
        match run(one) {
            Ok(tests) => ran += tests,
            Err(Stop::Failed(why) | Stop::Skipped(why)) => failures.push(why),
        }
    }
    if failures.is_empty() { Ok(ran) } else { Err(Stop::Failed(failures.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted_and_others_not() {
        let ok = "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        let failed = "test result: FAILED. 4 passed; 3 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1s";
        assert_eq!((tests_in(ok), tests_in(failed)), (2, 7));
        assert_eq!((tests_in("running 3 tests"), tests_in("test a::result: ... ok")), (0, 0));
    }

    #[test]
    fn a_run_without_tests_or_with_a_bad_status_is_an_error() {
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            count_tests(command, script, &mut std::io::sink())
        };
        assert!(matches!(run("echo 'test result: ok. 1 passed; 0 failed'"), Ok(1)));
        assert!(matches!(run("echo 'test result: ok. 0 passed; 0 failed; 5 ignored'"),
            Err(Stop::Failed(why)) if why.contains("no test ran")));
        assert!(run("echo 'test result: ok. 1 passed; 0 failed'; exit 3").is_err());
        let named = run("echo 'test a::b ... FAILED'; echo 'test c ... ok'; exit 101");
        assert!(
            matches!(named, Err(Stop::Failed(why)) if why.starts_with("a::b: exit status: 101"))
        );
    }

    #[test]
    fn one_that_fails_does_not_stop_the_others() {
        let run =
            |number| if number == 2 { Err(Stop::Failed("two".to_owned())) } else { Ok(number) };
        assert!(matches!(each([1, 3], run), Ok(4)));
        let mut seen = 0;
        let failed = each([1, 2, 3], |number| {
            seen += 1;
            run(number)
        });
        assert!(matches!(failed, Err(Stop::Failed(why)) if why == "two"));
        assert_eq!(seen, 3);
    }
}
