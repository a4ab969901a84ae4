//! What the load is compared with: `read(2)` in one thread, and `mmap`.
//!
//! Both end with every byte in the program's hands: read copies the tensors' bytes into new memory, as loading does; with mmap
//! there is no copy, and every byte is looked at once.

use core::ops::Range;
use std::fs::File;
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

/// A call's share: as large as useful.
const CHUNK: usize = 4 << 20;

/// Reads `range` into new memory, one call after the other.
pub(super) fn read(file: &File, range: &Range<u64>) -> io::Result<Duration> {
    let start = Instant::now();
    // The range lies in a file, so it fits. Zeroed by the system, page by page as it is written.
    let mut memory = vec![0_u8; (range.end - range.start) as usize];
    let mut at = range.start;
    for chunk in memory.chunks_mut(CHUNK) {
        file.read_exact_at(chunk, at)?;
        at += chunk.len() as u64;
    }
    black_box(&memory);
    Ok(start.elapsed())
}

/// Maps the file and looks at every byte of `range`.
pub(super) fn map(file: &File, range: &Range<u64>) -> io::Result<Duration> {
    let start = Instant::now();
    // SAFETY: the mapping is private and read-only. Whoever changes the file meanwhile changes what is summed, which
    // nobody uses; the file was read to its end a moment ago, and if it is cut off now the process ends.
    let map = unsafe { memmap2::Mmap::map(file)? };
    let bytes = map.get(range.start as usize..range.end as usize).unwrap_or_default();
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = |sum: u64, word: &[u8; 8]| sum.wrapping_add(u64::from_ne_bytes(*word));
    black_box((words.iter().fold(0, sum), rest));
    Ok(start.elapsed())
}
