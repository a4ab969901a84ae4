//! Shared views of a mapping's bytes: [`MmapBuffer`].
//!
//! ```text
//!   words:    │ 0 1 2 3 4 5 6 7 │ 0 1 2 3 4 5 6 7 │ 0 1 2 3 4 5 6 7 │
//!   buffer:           └─ head ──┴───── body ──────┴─ tail ─┘
//!                     by compare-and-swap   by stores       by compare-and-swap
//! ```
//!
//! Many reservations, in the course of time, name the same bytes, from many threads, and their order
//! is a matter of frontiers that the compiler knows nothing of. So no buffer ever lends its bytes as a
//! slice: every access goes, word by word, through relaxed atomics. A program that gets its
//! frontiers wrong reads wrong data, and that is all that can happen to it.
//!
//! All accesses have one size, 8 bytes, because atomics of different sizes may not race. Bytes at the
//! edges are exchanged within their word by a compare-and-swap, so the neighbours' bytes in that
//! word are never written back stale.
//!
//! # Cost
//! A relaxed 8-byte store is a plain store to the processor; the compiler does not widen it further.
//! Beyond the caches, fills and reads run as fast as those of a `Vec`, and copies at two thirds; within
//! them, wide vector instructions would be two to three times as fast.

use crate::mem::Mapping;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

const WORD: usize = size_of::<AtomicU64>();

/// Why bytes of a buffer cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BufferError {
    /// The range does not lie in the buffer.
    OutOfRange {
        /// Where it starts, in bytes.
        offset: u64,
        /// How long it is, in bytes.
        len: u64,
        /// The buffer's size in bytes.
        size: u64,
    },
    /// Source and target of a copy have different sizes.
    SizeMismatch {
        /// Bytes of the source.
        source: u64,
        /// Bytes of the target.
        target: u64,
    },
    /// Source and target of a copy overlap.
    Overlap,
}

impl fmt::Display for BufferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { offset, len, size } => {
                write!(f, "{len} bytes from {offset} do not lie in a buffer of {size} bytes")
            }
            Self::SizeMismatch { source, target } => {
                write!(f, "a copy of {source} bytes into {target}")
            }
            Self::Overlap => f.write_str("the source and the target of a copy overlap"),
        }
    }
}

impl core::error::Error for BufferError {}

/// A range of a slab's memory. Cheap to clone; clones and other buffers of the same range see the same
/// bytes.
///
/// Buffers know nothing of frontiers: whoever reads bytes that another is still writing gets some of
/// either. That is wrong data, never undefined behaviour: see [the crate's rules](crate#memory).
///
/// ```
/// use strandline_core::{Grant, SlabMap, SlabProvider};
/// use strandline_host_native::MmapSlabProvider;
///
/// let provider = MmapSlabProvider::builder().build()?;
/// let Grant::Slab(slab) = provider.acquire(4096)? else { panic!("out of memory") };
/// let buffer = provider.map(slab.id, 100, 16)?;
/// buffer.fill(0xab);
/// buffer.write(2, b"tide")?;
/// let mut bytes = [0; 6];
/// buffer.read(1, &mut bytes)?;
/// assert_eq!(&bytes, b"\xabtide\xab");
///
/// // The memory stays as long as the buffer does.
/// provider.release(slab.id)?;
/// buffer.read(1, &mut bytes)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MmapBuffer {
    mapping: Arc<Mapping>,
    /// `start + len` lies in the body: checked when made.
    start: usize,
    len: usize,
}

/// The bytes `[at, at + count)` of a little-endian word, as a mask.
const fn mask(at: usize, count: usize) -> u64 {
    debug_assert!(at + count <= WORD && count > 0);
    (u64::MAX >> (64 - 8 * count)) << (8 * at)
}

/// A word with byte `i` of the memory in bits `8 i..`.
fn load(word: &AtomicU64) -> u64 {
    u64::from_le(word.load(Ordering::Relaxed))
}

fn store(word: &AtomicU64, value: u64) {
    word.store(value.to_le(), Ordering::Relaxed);
}

/// Replaces the bytes under `mask`, and only those.
fn store_masked(word: &AtomicU64, value: u64, mask: u64) {
    let (value, mask) = (value.to_le(), mask.to_le());
    let mut now = word.load(Ordering::Relaxed);
    loop {
        let next = now & !mask | value & mask;
        match word.compare_exchange_weak(now, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(changed) => now = changed,
        }
    }
}

/// A byte range cut at word boundaries.
struct Cut<'a> {
    /// The word that the range starts within, the byte where it does, and how many bytes are in it.
    head: Option<(&'a AtomicU64, usize, usize)>,
    /// Words that lie in the range entirely.
    body: &'a [AtomicU64],
    /// The word that the range ends within, and how many bytes are in it.
    tail: Option<(&'a AtomicU64, usize)>,
}

impl MmapBuffer {
    /// The bytes `[offset, offset + len)` of a mapping, if they lie in it.
    pub(crate) fn new(mapping: Arc<Mapping>, offset: u64, len: u64) -> Option<Self> {
        let end = offset.checked_add(len)?;
        if end > mapping.len() as u64 {
            return None;
        }
        // Both are at most the mapping's length, a usize.
        Some(Self { mapping, start: offset as usize, len: len as usize })
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the bytes are, for system calls and foreign code. Using it is unsafe: the bytes are shared,
    /// and stay only as long as this buffer or another of the same slab.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.body().as_ptr().wrapping_add(self.start)
    }

    fn check(&self, offset: u64, len: u64) -> Result<(usize, usize), BufferError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok((self.start + offset as usize, len as usize)),
            _ => Err(BufferError::OutOfRange { offset, len, size: self.len() }),
        }
    }

    /// A buffer of `len` bytes from `offset` of this one.
    ///
    /// # Errors
    /// [`BufferError::OutOfRange`].
    pub fn slice(&self, offset: u64, len: u64) -> Result<Self, BufferError> {
        let (start, len) = self.check(offset, len)?;
        Ok(Self { mapping: self.mapping.clone(), start, len })
    }

    fn cut(&self, start: usize, len: usize) -> Cut<'_> {
        let words = self.mapping.words();
        let (end, first) = (start + len, start / WORD);
        let at = start % WORD;
        let head_len = if at == 0 { 0 } else { len.min(WORD - at) };
        let body_start = (start + head_len).div_ceil(WORD);
        let body_end = (end / WORD).max(body_start);
        let tail_len = end.saturating_sub(body_end * WORD);
        Cut {
            head: (head_len > 0).then(|| (&words[first], at, head_len)),
            body: &words[body_start..body_end],
            tail: (tail_len > 0).then(|| (&words[body_end], tail_len)),
        }
    }

    /// Sets every byte to `byte`.
    pub fn fill(&self, byte: u8) {
        self.fill_u64(u64::from_ne_bytes([byte; WORD]));
    }

    /// Repeats the 8 bytes of `pattern`, in little-endian order, from the start to the end; the last
    /// repetition may be cut off.
    pub fn fill_u64(&self, pattern: u64) {
        let Cut { head, body, tail } = self.cut(self.start, self.len);
        let mut pattern = pattern;
        if let Some((word, at, count)) = head {
            store_masked(word, pattern << (8 * at), mask(at, count));
            pattern = pattern.rotate_right(8 * count as u32);
        }
        body.iter().for_each(|word| store(word, pattern));
        if let Some((word, count)) = tail {
            store_masked(word, pattern, mask(0, count));
        }
    }

    /// Looks for the first byte that differs from what [`fill_u64`](Self::fill_u64) with `pattern`
    /// writes; returns its offset in bytes.
    #[must_use]
    pub fn find_mismatch(&self, pattern: u64) -> Option<u64> {
        let Cut { head, body, tail } = self.cut(self.start, self.len);
        let differs = |found: u64, pattern: u64, mask: u64| {
            let difference = (found ^ pattern) & mask;
            (difference != 0).then(|| u64::from(difference.trailing_zeros() / 8))
        };
        let (mut pattern, mut passed) = (pattern, 0);
        if let Some((word, at, count)) = head {
            if let Some(byte) = differs(load(word), pattern << (8 * at), mask(at, count)) {
                return Some(byte - at as u64);
            }
            pattern = pattern.rotate_right(8 * count as u32);
            passed = count as u64;
        }
        for (i, word) in body.iter().enumerate() {
            if let Some(byte) = differs(load(word), pattern, u64::MAX) {
                return Some(passed + (i * WORD) as u64 + byte);
            }
        }
        let (word, count) = tail?;
        let byte = differs(load(word), pattern, mask(0, count))?;
        Some(passed + (body.len() * WORD) as u64 + byte)
    }

    /// Writes `bytes` from `offset`.
    ///
    /// # Errors
    /// [`BufferError::OutOfRange`]; nothing is written then.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), BufferError> {
        let (start, len) = self.check(offset, bytes.len() as u64)?;
        let Cut { head, body, tail } = self.cut(start, len);
        let mut bytes = bytes;
        if let Some((word, at, count)) = head {
            let (now, rest) = bytes.split_at(count);
            store_masked(word, from_bytes(now) << (8 * at), mask(at, count));
            bytes = rest;
        }
        let (chunks, rest) = bytes.as_chunks::<WORD>();
        for (word, chunk) in body.iter().zip(chunks) {
            store(word, u64::from_le_bytes(*chunk));
        }
        if let Some((word, count)) = tail {
            store_masked(word, from_bytes(rest), mask(0, count));
        }
        Ok(())
    }

    /// Reads bytes from `offset`, as many as `bytes` has room for.
    ///
    /// # Errors
    /// [`BufferError::OutOfRange`]; nothing is read then.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), BufferError> {
        let (start, len) = self.check(offset, bytes.len() as u64)?;
        let Cut { head, body, tail } = self.cut(start, len);
        let mut bytes = bytes;
        if let Some((word, at, count)) = head {
            let (now, rest) = bytes.split_at_mut(count);
            now.copy_from_slice(&load(word).to_le_bytes()[at..at + count]);
            bytes = rest;
        }
        let (chunks, rest) = bytes.as_chunks_mut::<WORD>();
        for (word, chunk) in body.iter().zip(chunks) {
            *chunk = load(word).to_le_bytes();
        }
        if let Some((word, count)) = tail {
            rest.copy_from_slice(&load(word).to_le_bytes()[..count]);
        }
        Ok(())
    }

    /// Whether a copy from `source` to this buffer can be done: see [`copy_from`](Self::copy_from).
    ///
    /// # Errors
    /// [`BufferError::SizeMismatch`] or [`BufferError::Overlap`].
    pub fn check_copy_from(&self, source: &Self) -> Result<(), BufferError> {
        if source.len != self.len {
            return Err(BufferError::SizeMismatch { source: source.len(), target: self.len() });
        }
        let disjoint =
            source.start + source.len <= self.start || self.start + self.len <= source.start;
        if Arc::ptr_eq(&source.mapping, &self.mapping) && !disjoint {
            return Err(BufferError::Overlap);
        }
        Ok(())
    }

    /// Copies all bytes of `source`, which has the same size, to this buffer.
    ///
    /// # Errors
    /// [`BufferError::SizeMismatch`] or [`BufferError::Overlap`]; nothing is copied then.
    pub fn copy_from(&self, source: &Self) -> Result<(), BufferError> {
        self.check_copy_from(source)?;
        let Cut { head, body, tail } = self.cut(self.start, self.len);
        let mut from = source.start;
        let words = source.mapping.words();
        // Up to 8 bytes of the source from any position, as the low bytes of a word.
        let gather = |from: usize, count: usize| {
            let (index, at) = (from / WORD, from % WORD);
            let low = load(&words[index]) >> (8 * at);
            if at + count <= WORD { low } else { low | load(&words[index + 1]) << (64 - 8 * at) }
        };
        if let Some((word, at, count)) = head {
            store_masked(word, gather(from, count) << (8 * at), mask(at, count));
            from += count;
        }
        if from.is_multiple_of(WORD) {
            let aligned = &words[from / WORD..][..body.len()];
            for (word, source) in body.iter().zip(aligned) {
                word.store(source.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        } else {
            for (i, word) in body.iter().enumerate() {
                store(word, gather(from + i * WORD, WORD));
            }
        }
        from += body.len() * WORD;
        if let Some((word, count)) = tail {
            store_masked(word, gather(from, count), mask(0, count));
        }
        Ok(())
    }
}

/// Up to 8 bytes as the low bytes of a word.
fn from_bytes(bytes: &[u8]) -> u64 {
    let mut word = [0; WORD];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

impl fmt::Debug for MmapBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MmapBuffer({:p}+{})", self.as_ptr(), self.len)
    }
}

#[cfg(test)]
mod tests;
