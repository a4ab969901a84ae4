//! What is played: recorded traces and synthetic loads, as a list of events.

use std::fs;
use std::path::{Path, PathBuf};
use strandline_replay::format::ReadOptions;
use strandline_replay::session::{SessionError, TraceFile};
use strandline_replay::synthetic::Synthetic;
use strandline_replay::validate::What;

/// Events that are played of a load; the rest of a longer one is left out.
const MAX_EVENTS: usize = 20_000;

/// Events of a synthetic load.
const SYNTHETIC: u64 = 10_000;

/// An event: an allocation, or with size 0 a free.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) slot: u32,
    /// Bytes.
    pub(super) size: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Load {
    pub(super) name: String,
    pub(super) events: Vec<Event>,
    /// The most blocks that live at once.
    pub(super) slots: u32,
    /// The most bytes that live at once.
    pub(super) peak_bytes: u64,
}

/// The shipped traces, the public snapshots where they are present, and synthetic loads.
pub(super) fn all() -> Result<Vec<Load>, String> {
    let mut loads = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for path in
        files(&root.join("traces")).into_iter().chain(files(&root.join("../shared/snapshots")))
    {
        match of(&TraceFile::new(&path, ReadOptions::default()), &name(&path)) {
            // Where nothing is freed there is nothing to merge: a state without a trace.
            Ok(load) if load.events.iter().all(|event| event.size > 0) => {}
            Ok(load) => loads.push(load),
            Err(SessionError::StateOnly(_) | SessionError::Nothing(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    loads.push(synthetic("synthetic, 1 KiB to 64 KiB", 1024, 1 << 10, 64 << 10, SYNTHETIC)?);
    loads.push(synthetic("synthetic, 1 KiB to 4 MiB", 256, 1 << 10, 4 << 20, SYNTHETIC)?);
    loads.push(synthetic("synthetic, 1 MiB to 64 MiB", 64, 1 << 20, 64 << 20, SYNTHETIC)?);
    Ok(loads)
}

/// A seeded load of about `blocks` live blocks.
pub(super) fn synthetic(
    name: &str,
    blocks: u32,
    min_bytes: u64,
    max_bytes: u64,
    events: u64,
) -> Result<Load, String> {
    let load = Synthetic { seed: 1, blocks, min_bytes, max_bytes, events };
    let input = load.into_input().map_err(|error| error.to_string())?;
    of(&TraceFile::of(name, input, ReadOptions::default()), name).map_err(|error| error.to_string())
}

/// The compressed files of a folder, by name; none where there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "gz")).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// The events of a trace. A block lives until its bytes are free again: that the program had given it up before is passed over.
fn of(trace: &TraceFile, name: &str) -> Result<Load, SessionError> {
    // Says what cannot be played.
    trace.scan(&mut |_| ())?;
    let (mut events, mut live) = (Vec::new(), Vec::new());
    let (mut bytes, mut peak_bytes) = (0, 0);
    for step in trace.open()?.steps().take(MAX_EVENTS) {
        let step = step.map_err(|error| SessionError::Trace(trace.path().to_owned(), error))?;
        let (slot, size) = match step.what {
            What::Alloc(slot) | What::Held(slot) => (slot, step.size),
            What::Free(slot) => (slot, 0),
            What::Retire(_) | What::Failure => continue,
        };
        if live.len() <= slot as usize {
            live.resize(slot as usize + 1, 0);
        }
        bytes = bytes - std::mem::replace(&mut live[slot as usize], size) + size;
        peak_bytes = bytes.max(peak_bytes);
        events.push(Event { slot, size });
    }
    Ok(Load { name: name.to_owned(), events, slots: live.len() as u32, peak_bytes })
}
