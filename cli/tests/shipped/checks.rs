//! The shipped traces, and checks of which every failure is told, not only the first.

use std::fmt::Write as _;
use std::path::Path;

/// The shipped traces whose name has a word in it, by name.
pub(crate) fn traces(word: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
    let names = folder
        .read_dir()
        .expect("the folder of traces")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("a UTF-8 name"));
    let mut traces: Vec<String> = names
        .filter(|name| name.ends_with(".gz") && name.contains(word))
        .map(|name| format!("traces/{name}"))
        .collect();
    assert!(!traces.is_empty(), "no trace in traces/ has {word:?} in its name");
    traces.sort();
    traces
}

/// What checks came to so far.
#[derive(Default)]
pub(crate) struct Checks {
    failures: String,
}

impl Checks {
    pub(crate) fn note(&mut self, args: &[String], verdict: Result<(), String>) {
        if let Err(why) = verdict {
            let _ = writeln!(self.failures, "strandline {}: {why}", args.join(" "));
        }
    }

    /// # Panics
    /// One of the checks failed.
    pub(crate) fn end(self) {
        assert!(self.failures.is_empty(), "\n{}", self.failures);
    }
}
