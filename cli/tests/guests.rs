//! `strandline run` with guests that mean no good: to the compiler, to the terminal, and to whoever waits for it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A guest in a file.
struct Guest {
    _folder: TempDir,
    path: PathBuf,
}

impl Guest {
    fn new(text: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("guest.wasm");
        std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
        Self { _folder: folder, path }
    }

    /// One that ends with `len` bytes: those of `data`, in front of them whatever `before` does.
    fn that_ends(outcome: Ending, data: &str, before: &str, len: usize) -> Self {
        Self::new(&format!(
            r#"(component
              (core module $m
                (memory (export "memory") 640)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
                (data (i32.const 65536) "{data}")
                (func (export "run") (param i32 i32) (result i32)
                  {before}
                  (i32.store (i32.const 64) (i32.const {outcome}))
                  (i32.store (i32.const 68) (i32.const 65536))
                  (i32.store (i32.const 72) (i32.const {len}))
                  i32.const 64))
              (core instance $i (instantiate $m))
              (func (export "run")
                (param "arguments" (list string)) (result (result string (error string)))
                (canon lift (core func $i "run")
                  (memory $i "memory") (realloc (func $i "realloc")))))"#,
            outcome = outcome as i32,
        ))
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strandline"));
        command.arg("run").arg(&self.path).args(options).env_remove("RUST_LOG");
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, options: &[&str]) -> Output {
        self.command(options).output().unwrap()
    }
}

#[derive(Clone, Copy)]
enum Ending {
    Well,
    Failed,
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn check(output: &Output, exit: i32, told: &[&str]) {
    let stderr = stderr(output);
    assert_eq!(output.status.code(), Some(exit), "{stderr}");
    for part in told {
        assert!(stderr.contains(part), "{part:?} is not in {stderr}");
    }
    assert!(!stderr.contains('\u{1b}') && !stderr.contains('\u{7}'), "{stderr:?}");
}

const SEQUENCE: &str = r"\1b]0;gone\07\1b[2J\c2\9b1mdone\n";
const SHOWN: &str = r"\u{1b}]0;gone\u{7}\u{1b}[2J\u{9b}1mdone";

#[test]
fn what_it_says_has_no_control_sequences() {
    let guest = Guest::that_ends(Ending::Well, SEQUENCE, "", 22);
    let output = guest.run(&[]);
    check(&output, 0, &[]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{SHOWN}\n"));
}

#[test]
fn why_it_fails_has_no_control_sequences() {
    let output = Guest::that_ends(Ending::Failed, SEQUENCE, "", 22).run(&[]);
    check(&output, 1, &["the guest failed", SHOWN]);
    // Megabytes of it are cut.
    let fill = "(memory.fill (i32.const 65536) (i32.const 27) (i32.const 4000000))";
    let output = Guest::that_ends(Ending::Failed, "", fill, 4_000_000).run(&[]);
    check(&output, 1, &["more bytes"]);
    assert!(output.stderr.len() < 10_000, "{} bytes", output.stderr.len());
    // Names in what the compiler says.
    let guest = Guest::new(
        r#"(component (core module $m (import "\1b[2J" "x" (func))) (core instance (instantiate $m)))"#,
    );
    check(&guest.run(&[]), 2, &[r"\u{1b}[2J"]);
    let trap = Guest::that_ends(Ending::Well, "", "unreachable", 0).run(&[]);
    check(&trap, 1, &["trapped"]);
}

#[test]
fn much_is_cut_with_a_note() {
    let fill = "(memory.fill (i32.const 65536) (i32.const 97) (i32.const 4000000))";
    let guest = Guest::that_ends(Ending::Well, "", fill, 4_000_000);
    let output = guest.run(&["--output-limit", "100KiB"]);
    check(&output, 0, &["3897600 more bytes are not printed", "--output-limit"]);
    assert_eq!(output.stdout.len(), (100 << 10) + 1);
    let output = guest.run(&["--output-limit", "8MiB"]);
    check(&output, 0, &[]);
    assert_eq!(output.stdout.len(), 4_000_001);
}

#[test]
fn a_reader_that_has_stopped_is_not_waited_for() {
    let fill = "(memory.fill (i32.const 65536) (i32.const 97) (i32.const 1000000))";
    let guest = Guest::that_ends(Ending::Well, "", fill, 1_000_000);
    // Both streams are one pipe, which is full when it has to say so.
    let (reader, writer) = std::io::pipe().unwrap();
    let began = Instant::now();
    let mut child = guest
        .command(&["--timeout", "10"])
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .spawn()
        .unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    drop(reader);
}

/// Loops within each other: three bytes each, and the compiler takes minutes.
fn nested_loops(count: usize) -> Guest {
    let body = format!("{}{}", "loop ".repeat(count), "end ".repeat(count));
    Guest::new(&format!("(component (core module (func {body})))"))
}

const ALLOWED: [&str; 4] = ["--compile-limit", "loops=100000", "--compile-limit", "blocks=100000"];

#[test]
fn what_would_take_the_compiler_long_is_refused_at_once() {
    let began = Instant::now();
    check(&nested_loops(22_000).run(&[]), 2, &["too large to compile", "`loops`", "64"]);
    let mut text = "(component (component $c0)".to_owned();
    for level in 1..=26 {
        let instance = "(instance (instantiate $b))";
        let alias = format!("(alias outer 1 $c{} (component $b))", level - 1);
        write!(text, "(component $c{level} {alias} {instance} {instance})").unwrap();
    }
    text.push_str("(instance (instantiate $c26)))");
    check(&Guest::new(&text).run(&[]), 2, &["too large to compile", "`instances`", "1000"]);
    // Twice a process and what it judges; it would be minutes.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    check(&nested_loops(1).run(&["--compile-limit", "nonsense=1"]), 2, &["loop_locals"]);
    check(&nested_loops(1).run(&["--compile-limit", "loops"]), 2, &["NAME=N"]);
}

#[test]
fn the_compiler_ends_with_the_time() {
    let began = Instant::now();
    let output = nested_loops(22_000).run(&[&ALLOWED[..], &["--timeout", "1"]].concat());
    check(&output, 1, &["cannot be compiled", "not done within 1s"]);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn the_compiler_ends_with_its_memory() {
    let output = nested_loops(20_000).run(&[&ALLOWED[..], &["--compile-memory", "48MiB"]].concat());
    check(&output, 1, &["cannot be compiled", "address space"]);
}
