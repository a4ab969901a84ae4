//! Standard output and error: colour only on a terminal, and no panic when the reader has gone.

use anstyle::{AnsiColor, Style};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use strandline_replay::format::Place;
use strandline_replay::session::{ErrorParts, SessionError};

/// An error that ends a command with exit status 2.
pub(crate) type Error = Box<dyn std::error::Error>;

const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();

/// Prints a text on standard output. A reader that closed its end (`| head`) has seen enough: that is no error.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = anstream::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}").into())
        }
        _ => Ok(()),
    }
}

/// Where a picture goes, and whether it is HTML; checked before the work is done.
pub(crate) fn picture(path: &Path, html: bool) -> Result<(&Path, bool), Error> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => Ok((path, false)),
        Some("html") if html => Ok((path, true)),
        _ if html => Err(format!("{}: a plot's name ends in .svg or .html", path.display()).into()),
        _ => Err(format!("{}: this picture's name ends in .svg", path.display()).into()),
    }
}

/// Writes a file. Errors name it.
pub(crate) fn write(path: &Path, text: String) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Does something that may block, as writing to a pipe does whose reader has stopped, for that long at most; `None` when it is
/// not done by then. It goes on, on a thread of its own, until the program ends.
pub(crate) fn within<R: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> R + Send + 'static,
) -> Option<R> {
    let (sender, receiver) = mpsc::sync_channel(1);
    // Without a thread it is not done either: nothing then says for how long it would block.
    let started = std::thread::Builder::new().name("output".to_owned()).spawn(move || {
        // Nobody waits for it any more where this fails.
        let _ = sender.send(work());
    });
    started.ok().and_then(|_| receiver.recv_timeout(time).ok())
}

/// A report with its verdicts coloured; the colours are dropped where there is no terminal.
pub(crate) fn coloured(report: &str) -> String {
    let mut text = String::with_capacity(report.len() + 64);
    for line in report.split_inclusive('\n') {
        let verdict =
            [("FAILED", RED), ("NOT SOUND", RED), ("ok ", GREEN)].into_iter().find(|(word, _)| {
                line.starts_with(word) || (*word == "NOT SOUND" && line.contains(word))
            });
        match verdict {
            Some((word, style)) => {
                text.push_str(&line.replacen(word, &format!("{style}{word}{style:#}"), 1));
            }
            None => text.push_str(line),
        }
    }
    text
}

/// How long saying what is wrong may take.
const COMPLAINT: Duration = Duration::from_secs(5);

/// Says on standard error what was wrong with the input.
pub(crate) fn complain(error: &Error) {
    say(format!("{RED}error{RED:#}: {error}"));
}

/// Says on standard error what is worth knowing about a result that is there.
#[cfg_attr(not(feature = "component"), allow(dead_code, reason = "said of guests"))]
pub(crate) fn note(text: &str) {
    say(format!("note: {text}"));
}

fn say(line: String) {
    // Nobody is left to tell when this fails.
    let _ = within(COMPLAINT, move || writeln!(anstream::stderr().lock(), "{line}"));
}

/// Says in one JSON object on standard output what was wrong with the input.
pub(crate) fn complain_in_json(error: &Error) {
    let parts = match error.downcast_ref::<SessionError>() {
        Some(error) => error.parts(),
        None => ErrorParts {
            file: None,
            place: None,
            what: error.to_string(),
            expected: None,
            remedy: None,
        },
    };
    let at = |wanted: fn(Place) -> Option<u64>| parts.place.and_then(wanted);
    let mut object = serde_json::json!({
        "file": parts.file.map(|file| file.display().to_string()),
        "line": at(|place| if let Place::Line(line) = place { Some(line) } else { None }),
        "what": parts.what,
        "expected": parts.expected,
        "remedy": parts.remedy,
    });
    // A binary file has no lines.
    for (key, number) in [
        ("byte", at(|place| if let Place::Byte(byte) = place { Some(byte) } else { None })),
        (
            "unpacked_byte",
            at(|place| if let Place::UnpackedByte(byte) = place { Some(byte) } else { None }),
        ),
        (
            "entry",
            at(|place| if let Place::Entry(entry) = place { entry.checked_sub(1) } else { None }),
        ),
    ] {
        if let Some(number) = number {
            object[key] = number.into();
        }
    }
    let text = format!("{:#}\n", serde_json::json!({ "error": object }));
    // Nobody is left to tell when this fails.
    let _ = print(&text);
}
