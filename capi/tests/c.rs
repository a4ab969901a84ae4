//! Programs in C over the header and the libraries, compiled here; where the compiler has AddressSanitizer, under that too.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Where cargo puts the libraries of this crate.
fn libraries() -> PathBuf {
    let mut folder = env::current_exe().expect("a test program");
    folder.pop();
    // The test programs are in deps, the libraries beside that or in it.
    let beside = folder.parent().expect("a folder").to_owned();
    if beside.join("libstrandline_c.a").is_file() { beside } else { folder }
}

struct Program {
    folder: TempDir,
}

impl Program {
    /// Compiles sources and links them with a library; None if this compiler has no AddressSanitizer.
    fn compiled(sources: &[&str], sanitized: bool, shared: bool) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = TempDir::new().expect("a folder");
        let libraries = libraries();
        let mut cc = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-O1"]);
        cc.arg("-I").arg(root.join("include")).arg("-I").arg(root.join("adapters"));
        cc.arg("-I").arg(root.join("tests/c")).arg("-o").arg(folder.path().join("program"));
        if sanitized {
            cc.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
        }
        cc.args(sources.iter().map(|source| root.join(source)));
        if shared {
            let mut path = std::ffi::OsString::from("-Wl,-rpath,");
            path.push(&libraries);
            cc.arg("-L").arg(&libraries).arg(path).arg("-l:libstrandline_c.so");
        } else {
            cc.arg(libraries.join("libstrandline_c.a"));
        }
        cc.args(["-lpthread", "-ldl", "-lm"]);
        let output = cc.output().expect("a C compiler");
        let said = String::from_utf8_lossy(&output.stderr);
        if sanitized && said.contains("asan") && !output.status.success() {
            eprintln!("left out: this compiler has no AddressSanitizer: {said}");
            return None;
        }
        assert!(output.status.success(), "{cc:?}: {said}");
        Some(Self { folder })
    }

    fn run(&self) -> String {
        let output = Command::new(self.folder.path().join("program")).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", output.status);
        String::from_utf8(output.stdout).expect("text")
    }
}

/// Runs a program linked with either library, and under AddressSanitizer.
fn everywhere(sources: &[&str]) -> Vec<String> {
    [(false, false), (false, true), (true, false)]
        .into_iter()
        .filter_map(|(sanitized, shared)| Program::compiled(sources, sanitized, shared))
        .map(|program| program.run())
        .collect()
}

#[test]
fn the_example_reuses_memory_across_queues() {
    for said in everywhere(&["examples/pool.c"]) {
        assert!(said.ends_with("queue B reuses the bytes of queue A at once\n"), "{said}");
    }
}

#[test]
fn what_callers_get_wrong_is_answered() {
    everywhere(&["tests/c/misuse.c"]);
}

#[test]
fn threads_in_c_share_a_pool() {
    everywhere(&["tests/c/threads.c"]);
}

#[test]
fn adapters_serve_pytorch_rmm_and_onnx_runtime() {
    let sources =
        ["tests/c/adapters_test.c", "tests/c/fake_device.c", "adapters/strandline_adapters.c"];
    everywhere(&sources);
}
