//! Standard output and error: colour only on a terminal, and no panic when the reader has gone.

use anstyle::{AnsiColor, Style};
use std::io::{self, Write};
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

/// Says on standard error what was wrong with the input.
pub(crate) fn complain(error: &Error) {
    let mut err = anstream::stderr().lock();
    // Nobody is left to tell when this fails.
    let _ = writeln!(err, "{RED}error{RED:#}: {error}");
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
