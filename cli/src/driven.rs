//! The command as the worker of another program, which the environment variable `STRANDLINE_DRIVEN` says; the Python package
//! starts it so.
//!
//! Progress then goes to standard error as lines that a program reads, and the end of standard input means that nobody waits for
//! the answer any more: a program that was killed could not end its worker itself.

use serde_json::json;
use std::io::{self, Read as _, Write as _};
use std::sync::OnceLock;

const VARIABLE: &str = "STRANDLINE_DRIVEN";
/// The exit status that shells know for an interrupted program.
const INTERRUPTED: i32 = 130;

/// Whether another program drives this one.
pub(crate) fn is_driven() -> bool {
    static DRIVEN: OnceLock<bool> = OnceLock::new();
    *DRIVEN.get_or_init(|| std::env::var_os(VARIABLE).is_some())
}

/// Where another program drives this one, ends the process as soon as standard input ends.
pub(crate) fn end_with_driver() {
    if !is_driven() {
        return;
    }
    let watched = std::thread::Builder::new().name("driver".to_owned()).spawn(|| {
        let mut ignored = [0; 64];
        // An input that cannot be read has ended, too.
        while io::stdin().lock().read(&mut ignored).is_ok_and(|count| count > 0) {}
        std::process::exit(INTERRUPTED);
    });
    if let Err(error) = watched {
        log::warn!("no thread to watch the driving program: {error}");
    }
}

/// Tells the driving program how far the work is: a line of JSON on standard error.
pub(crate) fn tell(what: &str, at: u64, of: Option<u64>, message: &str) {
    let progress = json!({ "progress": { "what": what, "at": at, "of": of, "message": message } });
    // A driver that has gone ends this process another way.
    let _ = writeln!(io::stderr().lock(), "{progress}");
}
