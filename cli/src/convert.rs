//! `strandline convert`: between trace formats.

use crate::Ending;
use crate::args::{ConvertArgs, WriteKind};
use crate::output::{self, Error};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use strandline_replay::format::{ConvertError, WriteFormat, convert};
use strandline_replay::session::{SessionError, TraceFile};

pub(crate) fn run(args: &ConvertArgs) -> Result<Ending, Error> {
    if args.trace.all_devices() {
        return Err("convert handles one device; choose it, for instance with --device 0".into());
    }
    let trace = TraceFile::new(&args.trace.path, args.trace.read_options(None));
    let mut reader = trace.open()?;
    if reader.is_state_only() {
        return Err(SessionError::StateOnly(trace.path().to_owned()).into());
    }
    let format = match args.to {
        WriteKind::Compact => WriteFormat::Compact,
        WriteKind::Rmm => WriteFormat::Rmm,
    };
    let failed = |error: ConvertError| -> Error {
        match error {
            ConvertError::Trace(error) => {
                SessionError::Trace(trace.path().to_owned(), error).into()
            }
            ConvertError::Write(error) => format!("{}: {error}", args.out.display()).into(),
            other => format!("{}, {other}", trace.path().display()).into(),
        }
    };
    let part = Part::create(&args.out).map_err(|error| failed(error.into()))?;
    let totals = if args.out.extension().is_some_and(|extension| extension == "gz") {
        let mut packed = GzEncoder::new(&part.file, Compression::default());
        let totals = convert(&mut reader, &mut packed, format).map_err(failed)?;
        packed.finish().map_err(|error| failed(error.into()))?;
        totals
    } else {
        convert(&mut reader, &part.file, format).map_err(failed)?
    };
    part.keep(&args.out).map_err(|error| failed(error.into()))?;
    let notes = reader.notes();
    let cut = if notes.cut_last_line { ", the last line is cut and was left out" } else { "" };
    let skipped = match totals.skipped.total() {
        0 => String::new(),
        1 => ", 1 fault passed over".to_owned(),
        n => format!(", {n} faults passed over"),
    };
    let events = if totals.events == 1 { "event" } else { "events" };
    output::print(&format!("{}: {} {events}{skipped}{cut}\n", args.out.display(), totals.events))?;
    Ok(Ending::Satisfied)
}

/// A file that becomes the output only when it is whole: a failed conversion leaves nothing behind, and a file can be converted
/// onto itself.
struct Part {
    path: Option<PathBuf>,
    file: File,
}

impl Part {
    fn create(out: &Path) -> io::Result<Self> {
        if out.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        // Devices and pipes are written to as they are.
        if out.exists() && !out.is_file() {
            return Ok(Self { path: None, file: File::create(out)? });
        }
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let path = out.with_file_name(name);
        Ok(Self { file: File::create_new(&path)?, path: Some(path) })
    }

    fn keep(mut self, out: &Path) -> io::Result<()> {
        self.file.flush()?;
        if let Some(path) = &self.path {
            fs::rename(path, out)?;
            self.path = None;
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // The command fails already, with the error that matters.
            let _ = fs::remove_file(path);
        }
    }
}
