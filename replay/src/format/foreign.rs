//! Files that people have and that no reader here plays: what they are, and what to give instead.
//!
//! Told by the first kilobytes. Cost: a search in those.

use super::error::{ErrorKind, Place, TraceError};

const RECORD: &str = "record with torch.cuda.memory._record_memory_history() and write torch.cuda.memory._dump_snapshot(FILE)";

const EXPECTED: &str = "a history of allocations and frees";

/// Binary files, archives and encodings, by their first bytes.
pub(super) fn binary(head: &[u8]) -> Option<TraceError> {
    let (found, remedy) = match head {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd data", "unpack the file, or pack it with gzip"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ("UTF-16 text", "save the file as UTF-8"),
        [b'P', b'K', 3, 4, ..] => (
            "a zip archive",
            "unpack it; a memory snapshot is a pickle or JSON file, not an archive of weights",
        ),
        [0x1f, 0x8b, ..] => ("gzip inside gzip", "unpack the file once"),
        [b'B', b'Z', b'h', ..] => ("bzip2 data", "unpack the file, or pack it with gzip"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("xz data", "unpack the file, or pack it with gzip"),
        _ => return None,
    };
    Some(unknown(found, remedy))
}

/// JSON that is no snapshot, by how it begins.
pub(super) fn json(head: &[u8]) -> Option<TraceError> {
    let has = |text: &str| contains(head, text.as_bytes());
    let (found, remedy) = if has("\"traceEvents\"") {
        (
            "a Chrome trace (of the PyTorch profiler or another), which has times and no blocks",
            RECORD,
        )
    } else if has("\"BlockBytes\"") || has("\"blockBytes\"") {
        (
            "statistics of the Vulkan Memory Allocator (vmaBuildStatsString): sums at one moment, without a history",
            "record the allocations, as `time_ns,action,id,size,stream,thread` with the actions alloc and free, and replay that",
        )
    } else if json_prefix(head).starts_with(b"[[") {
        (
            "a memory timeline of the PyTorch profiler (export_memory_timeline): sums by category, without blocks",
            RECORD,
        )
    } else {
        return None;
    };
    Some(unknown(found, remedy))
}

/// Logs of text that are no trace, by their first line.
pub(super) fn text(line: &[u8]) -> Option<TraceError> {
    let has = |text: &str| contains(line, text.as_bytes());
    let (found, remedy) = if has("bfc_allocator") {
        (
            "TensorFlow's dump of its BFC allocator: the chunks at one moment, without a history",
            "record the allocations: convert a profile's memory events to `time_ns,action,id,size,stream,thread`",
        )
    } else if line.starts_with(b"= Start") || has(" + 0x") || has(" - 0x") {
        (
            "a log of glibc's mtrace (heap memory of a process, by address)",
            "convert it to `time_ns,action,id,size,stream,thread`: `+` is alloc, `-` is free, the address is the id",
        )
    } else if has("PyTorch CUDA memory summary") {
        ("the text of torch.cuda.memory_summary(): sums without a history", RECORD)
    } else if has("<!DOCTYPE html") || has("<html") {
        ("an HTML page", "give the snapshot that it was made from")
    } else {
        return None;
    };
    Some(unknown(found, remedy))
}

fn unknown(found: &str, remedy: &'static str) -> TraceError {
    TraceError::new(ErrorKind::UnknownFormat, Place::Whole, found, EXPECTED, remedy)
}

/// Without blanks, which JSON may have anywhere.
fn json_prefix(head: &[u8]) -> Vec<u8> {
    head.iter().copied().filter(|b| !b.is_ascii_whitespace()).take(8).collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
