//! Running other programs: a command is built once, printed so that it can be copied into a shell, then run.
//!
//! The only thing added to [`std::process::Command`] is what a developer's command needs:
//! the printed line, flags that cannot leak in from the caller's environment, and test
//! counts read from `cargo test`'s own closing lines while they are shown.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::step::Stop;

/// The repository's root folder.
pub(crate) fn root() -> PathBuf {
    // Cargo sets the variable when it runs us; the constant serves a binary that is started by hand.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// Where builds go. Each set of compiler flags has a folder of its own under it, so that they
/// do not throw away each other's work.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Whether this is a machine where a missing tool must fail the run rather than skip a step.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// What a run of `cargo test` reported, summed over its test binaries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TestCount {
    /// Tests that ran, whatever came of them.
    pub(crate) ran: u64,
}

impl std::ops::Add for TestCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { ran: self.ran + other.ran }
    }
}

impl TestCount {
    /// Adds the closing line of one test binary; any other line changes nothing.
    fn read_line(&mut self, line: &str) {
        // "test result: ok. 12 passed; 0 failed; 1 ignored; ..."
        let Some((_, counts)) = line.split_once("test result: ") else { return };
        let Some((_, counts)) = counts.split_once(". ") else { return };
        for part in counts.split("; ") {
            if let Some((number, "passed" | "failed")) = part.trim().split_once(' ') {
                self.ran += number.parse::<u64>().unwrap_or(0);
            }
        }
    }
}

/// A test program that cargo has built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TestProgram {
    /// The package's folder.
    folder: PathBuf,
    /// What the program tests: a library or program by its name, or an integration test by its own.
    target: String,
    /// What cargo calls that: `lib`, `bin`, `test` or `example`.
    kind: String,
    file: PathBuf,
}

impl TestProgram {
    /// Reads one of cargo's messages; `None` where that tells of something else.
    fn read(message: &serde_json::Value) -> Option<Self> {
        let text = |pointer: &str| message.pointer(pointer)?.as_str();
        let is_test = message.pointer("/profile/test")?.as_bool()?;
        if text("/reason") != Some("compiler-artifact") || !is_test {
            return None;
        }
        Some(Self {
            folder: Path::new(text("/manifest_path")?).parent()?.to_owned(),
            target: text("/target/name")?.to_owned(),
            kind: text("/target/kind/0")?.to_owned(),
            file: text("/executable")?.into(),
        })
    }

    /// Whether it is of the package in this folder, and this target of it: `lib`, `bin`, or the name of a test or an example.
    pub(crate) fn is(&self, folder: &str, target: &str) -> bool {
        self.folder.ends_with(folder) && (self.kind == target || self.target == target)
    }

    /// Runs it where `cargo test` would.
    pub(crate) fn cmd(&self) -> Cmd {
        let cmd = Cmd::new(&self.file.to_string_lossy());
        Cmd { folder: Some(self.folder.clone()), ..cmd }
            .env("CARGO_MANIFEST_DIR", self.folder.to_string_lossy().as_ref())
    }
}

/// One program to run, in the repository's root.
#[derive(Debug, Clone)]
pub(crate) struct Cmd {
    program: String,
    /// Where it runs instead.
    folder: Option<PathBuf>,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    removed: Vec<&'static str>,
}

impl Cmd {
    pub(crate) fn new(program: &str) -> Self {
        Self {
            program: program.to_owned(),
            folder: None,
            args: Vec::new(),
            envs: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// The cargo that started us.
    pub(crate) fn cargo() -> Self {
        Self::new("cargo")
    }

    /// The nightly toolchain's cargo. `rustup run` rather than `cargo +nightly`: it does not depend on
    /// which `cargo` comes first in PATH.
    pub(crate) fn cargo_nightly() -> Self {
        Self::new("rustup").args(["run", "nightly", "cargo"])
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_string_lossy().into_owned());
        self
    }

    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(self, args: I) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((key.to_owned(), value.as_ref().to_string_lossy().into_owned()));
        self
    }

    /// Compiles with these flags, in a target folder of their own.
    pub(crate) fn flavour(mut self, name: &str, rustflags: &str) -> Self {
        // The encoded form would win over RUSTFLAGS, and a caller's own target would move the output.
        self.removed.extend(["CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"]);
        self.env("RUSTFLAGS", rustflags).env("CARGO_TARGET_DIR", target_dir().join(name))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(self.folder.clone().unwrap_or_else(root))
            .args(&self.args)
            .stdin(Stdio::null());
        for key in &self.removed {
            command.env_remove(key);
        }
        command.envs(self.envs.iter().map(|(key, value)| (key, value)));
        command
    }

    fn announce(&self) {
        println!("+ {self}");
        // A closed standard output is not worth stopping for: the exit status still tells.
        let _ = std::io::stdout().flush();
    }

    /// Runs to the end, showing everything the program prints.
    ///
    /// # Errors
    /// The program cannot be started, or ends with a status other than 0.
    pub(crate) fn run(&self) -> Result<(), Stop> {
        self.announce();
        let status = self.command().status().map_err(|error| self.not_started(&error))?;
        if status.success() { Ok(()) } else { Err(self.failed(&status.to_string())) }
    }

    /// Runs a `cargo test`, showing everything it prints, and counts the tests that ran.
    ///
    /// # Errors
    /// As [`Cmd::run`]; also when no test ran at all, since a filter that matches nothing would
    /// otherwise look like success.
    pub(crate) fn run_tests(&self) -> Result<TestCount, Stop> {
        self.run_tests_into(&mut std::io::stdout())
    }

    /// [`Cmd::run_tests`] that shows the output elsewhere: our own tests must not print lines that
    /// look like a test run's closing line.
    fn run_tests_into(&self, shown: &mut dyn Write) -> Result<TestCount, Stop> {
        self.announce();
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| self.not_started(&error))?;
        let mut count = TestCount::default();
        if let Some(output) = child.stdout.take() {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            // Bytes, not lines of text: a test may print what is not UTF-8.
            while reader.read_until(b'\n', &mut line)? > 0 {
                let _ = shown.write_all(&line);
                count.read_line(&String::from_utf8_lossy(&line));
                line.clear();
            }
        }
        let status = child.wait()?;
        if !status.success() {
            return Err(self.failed(&status.to_string()));
        }
        if count.ran == 0 {
            return Err(Stop::Failed(format!("no test ran: {self}")));
        }
        Ok(count)
    }

    /// Builds with `cargo test --no-run` and hands back the test programs that it made.
    ///
    /// # Errors
    /// As [`Cmd::run`]; also when there is none.
    pub(crate) fn build_tests(self) -> Result<Vec<TestProgram>, Stop> {
        let cmd = self.args(["--no-run", "--message-format=json-render-diagnostics"]);
        cmd.announce();
        let output = cmd.command().stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| cmd.not_started(&error))?;
        if !output.status.success() {
            return Err(cmd.failed(&output.status.to_string()));
        }
        let programs: Vec<_> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| TestProgram::read(&serde_json::from_str(line).ok()?))
            .collect();
        if programs.is_empty() {
            return Err(Stop::Failed(format!("no test program was built: {cmd}")));
        }
        Ok(programs)
    }

    /// Runs silently and hands back the exit status and all output.
    ///
    /// # Errors
    /// The program cannot be started. A status other than 0 is not an error here.
    pub(crate) fn output(&self) -> Result<Output, Stop> {
        self.command().output().map_err(|error| self.not_started(&error))
    }

    /// Whether the program exists and ends with 0; prints nothing.
    pub(crate) fn succeeds(&self) -> bool {
        self.output().is_ok_and(|output| output.status.success())
    }

    fn not_started(&self, error: &std::io::Error) -> Stop {
        Stop::Failed(format!("cannot start {}: {error}", self.program))
    }

    fn failed(&self, status: &str) -> Stop {
        Stop::Failed(format!("{status}: {} {}", self.program, self.args.join(" ")))
    }
}

/// The line to type into a shell to do the same.
impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.envs {
            write!(f, "{key}={} ", quoted(value))?;
        }
        f.write_str(&quoted(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

/// The word as a POSIX shell would have to be given it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_several_binaries_add_up() {
        let mut count = TestCount::default();
        for line in [
            "running 3 tests",
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test a::result: ... ok",
            "test result: FAILED. 4 passed; 3 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1s",
        ] {
            count.read_line(line);
        }
        assert_eq!(count, TestCount { ran: 9 });
    }

    #[test]
    fn test_programs_are_told_apart() {
        let message = |kind: &str, name: &str, test: bool| {
            serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": "/r/host-native/Cargo.toml", "profile": {"test": test},
                "target": {"name": name, "kind": [kind]}, "executable": "/r/target/x"
            })
        };
        let read = |kind, name| TestProgram::read(&message(kind, name, true));
        let library = read("lib", "strandline_host_native");
        assert!(library.is_some_and(|it| it.is("host-native", "lib") && !it.is("native", "lib")));
        let wakes = read("test", "wakes");
        assert!(wakes.is_some_and(|it| it.is("host-native", "wakes") && !it.is("cli", "wakes")));
        assert_eq!(TestProgram::read(&message("bin", "strandline", false)), None);
        assert_eq!(TestProgram::read(&serde_json::json!({"reason": "build-finished"})), None);
    }

    #[test]
    fn a_run_without_tests_is_an_error() {
        let empty = Cmd::new("echo").arg("test result: ok. 0 passed; 0 failed; 5 ignored");
        assert!(
            matches!(empty.run_tests_into(&mut std::io::sink()), Err(Stop::Failed(why)) if why.contains("no test ran"))
        );
        let one = Cmd::new("echo").arg("test result: ok. 1 passed; 0 failed");
        assert!(matches!(one.run_tests_into(&mut std::io::sink()), Ok(TestCount { ran: 1 })));
    }

    #[test]
    fn a_bad_status_is_an_error_even_when_tests_ran() {
        let script = "echo 'test result: ok. 1 passed; 0 failed'; exit 3";
        assert!(Cmd::new("sh").args(["-c", script]).run_tests_into(&mut std::io::sink()).is_err());
        assert!(Cmd::new("sh").args(["-c", "exit 1"]).run().is_err());
        assert!(Cmd::new("no-such-program-here").run().is_err());
    }

    #[test]
    fn the_printed_line_survives_a_shell() {
        let cmd = Cmd::new("printf").args(["%s|%s|%s", "two words", "it's", ""]);
        let through_shell = Cmd::new("sh").arg("-c").arg(cmd.to_string());
        let printed = through_shell.output().map(|output| output.stdout);
        assert!(matches!(printed, Ok(bytes) if bytes == b"two words|it's|"));
    }

    #[test]
    fn a_flavour_shuts_out_flags_from_the_caller() {
        let cmd = Cmd::new("env").flavour("loom", "--cfg loom");
        assert!(cmd.removed.contains(&"CARGO_ENCODED_RUSTFLAGS"));
        assert!(cmd.to_string().contains("RUSTFLAGS='--cfg loom'"));
    }
}
