//! A bounded buffer over any reader: lines for text formats, bytes for pickles, and the gzip layer under both.
//!
//! ```text
//!   buffer   [ consumed | pos ── unread ── len | free ]      one fixed allocation
//!                         └ a line is a slice of it, never copied
//! ```
//!
//! Memory: one buffer of 64 KiB (or four lines' limit, if that is more), and the inflater's window. A gzip bomb
//! is streamed through it. Cost: each byte is moved at most once after it was read.

use super::error::{ErrorKind, Place, TraceError, quote};
use flate2::read::MultiGzDecoder;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Size of the buffer unless lines may be longer.
const BUFFER_BYTES: usize = 64 * 1024;

/// How much of the input a format is detected by.
const PEEK_BYTES: usize = 2;

/// Buffered input with a position. `'a` is the lifetime of the reader underneath.
pub(crate) struct Input<'a> {
    reader: Box<dyn Read + Send + 'a>,
    gzip: bool,
    buffer: Box<[u8]>,
    pos: usize,
    len: usize,
    /// Bytes consumed before `buffer[0]`.
    base: u64,
    /// Lines moved to.
    lines: u64,
    /// Where the current line stands in the buffer.
    line: core::ops::Range<usize>,
    /// The current line has no end: the input ends in it.
    line_is_cut: bool,
    line_bytes: usize,
    ended: bool,
    /// An error that was met while looking ahead.
    failed: Option<TraceError>,
    /// Bytes that came from underneath, before decompression.
    file: Arc<AtomicU64>,
}

/// A reader that counts what it hands out. The count is read by the same thread: its order with anything else does not matter.
struct Counted<R>(R, Arc<AtomicU64>);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.read(out)?;
        self.1.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

impl core::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Input")
            .field("gzip", &self.gzip)
            .field("offset", &self.offset())
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl<'a> Input<'a> {
    /// Wraps `reader`, unpacking one layer of gzip if the first two bytes say so.
    pub(crate) fn new(
        mut reader: impl Read + Send + 'a,
        line_bytes: usize,
    ) -> Result<Self, TraceError> {
        let mut head = [0; PEEK_BYTES];
        let mut have = 0;
        while have < PEEK_BYTES {
            match reader.read(&mut head[have..]) {
                Ok(0) => break,
                // A reader that claims more than it was given room for breaks its contract; it gains nothing.
                Ok(n) => have = (have + n).min(PEEK_BYTES),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(TraceError::from_io(&e, Place::Whole, false)),
            }
        }
        let gzip = head[..have] == [0x1f, 0x8b];
        let file = Arc::new(AtomicU64::new(0));
        let whole = Cursor::new(head).take(have as u64).chain(reader);
        let whole = Counted(whole, Arc::clone(&file));
        let reader: Box<dyn Read + Send + 'a> =
            if gzip { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
        let size = BUFFER_BYTES.max(line_bytes.saturating_mul(4));
        Ok(Self {
            reader,
            gzip,
            buffer: vec![0; size].into_boxed_slice(),
            pos: 0,
            len: 0,
            base: 0,
            lines: 0,
            line: 0..0,
            line_is_cut: false,
            line_bytes,
            ended: false,
            failed: None,
            file,
        })
    }

    /// Lines may have up to `line_bytes` from now on, if that is more than they may have now.
    pub(crate) fn allow_lines_of(&mut self, line_bytes: usize) {
        if line_bytes > self.line_bytes {
            self.line_bytes = line_bytes;
            let size = self.buffer.len().max(line_bytes.saturating_mul(4));
            let mut buffer = core::mem::take(&mut self.buffer).into_vec();
            buffer.resize(size, 0);
            self.buffer = buffer.into_boxed_slice();
        }
    }

    /// Whether a gzip layer is unpacked.
    pub(crate) fn gzip(&self) -> bool {
        self.gzip
    }

    /// The place of a byte that [`offset`](Self::offset) counts.
    pub(crate) fn at_byte(&self, offset: u64) -> Place {
        if self.gzip { Place::UnpackedByte(offset) } else { Place::Byte(offset) }
    }

    /// Bytes consumed so far, after decompression.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.pos as u64
    }

    /// Bytes of the file that were read so far, before decompression. The buffer may hold some of them.
    pub(crate) fn file_offset(&self) -> u64 {
        self.file.load(Ordering::Relaxed)
    }

    /// Number of the line moved to, from 1.
    pub(crate) fn line_number(&self) -> u64 {
        self.lines
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.pos..self.len]
    }

    /// Reads more behind the unread bytes. Returns false at the end of the input.
    fn refill(&mut self, place: Place) -> Result<bool, TraceError> {
        if let Some(error) = self.failed.take() {
            return Err(error.at(place));
        }
        if self.ended {
            return Ok(false);
        }
        if self.pos > 0 {
            self.buffer.copy_within(self.pos..self.len, 0);
            self.base += self.pos as u64;
            self.len -= self.pos;
            self.pos = 0;
        }
        loop {
            match self.reader.read(&mut self.buffer[self.len..]) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(false);
                }
                Ok(n) => {
                    self.len = (self.len + n).min(self.buffer.len());
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.ended = true;
                    return Err(TraceError::from_io(&e, place, self.gzip));
                }
            }
        }
    }

    /// The first `want` unread bytes, or fewer if the input ends, without consuming them.
    pub(crate) fn peek(&mut self, want: usize) -> Result<&[u8], TraceError> {
        while self.unread().len() < want && self.refill(Place::Whole)? {}
        let end = self.len.min(self.pos + want);
        Ok(&self.buffer[self.pos..end])
    }

    /// Up to `most` of the first unread bytes: at least one unless the input ends, and what comes without an error.
    ///
    /// # Errors
    /// Nothing can be read at all.
    pub(crate) fn peek_some(&mut self, most: usize) -> Result<&[u8], TraceError> {
        while self.unread().len() < most {
            match self.refill(Place::Whole) {
                Ok(true) => {}
                Ok(false) => break,
                // Said again when the reading comes to it, with its place.
                Err(error) if !self.unread().is_empty() => {
                    self.failed = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let end = self.len.min(self.pos + most);
        Ok(&self.buffer[self.pos..end])
    }

    /// Consumes `count` bytes that were peeked.
    pub(crate) fn consume(&mut self, count: usize) {
        self.pos = self.len.min(self.pos + count);
    }

    /// Moves to the next line. Returns false at the end of the input; the last line may lack its end.
    ///
    /// # Errors
    /// The line is longer than the limit, or the input cannot be read.
    pub(crate) fn advance_line(&mut self) -> Result<bool, TraceError> {
        let mut searched = 0;
        let here = Place::Line(self.lines + 1);
        self.line = 0..0;
        let (length, end) = loop {
            if let Some(at) = find_newline(&self.unread()[searched..]) {
                break (searched + at, 1);
            }
            searched = self.unread().len();
            if searched > self.line_bytes + 1 {
                return Err(self.too_long(here));
            }
            if !self.refill(here)? {
                if searched == 0 {
                    return Ok(false);
                }
                break (searched, 0);
            }
        };
        if length > self.line_bytes + 1 {
            return Err(self.too_long(here));
        }
        self.line = self.pos..self.pos + length;
        self.line_is_cut = end == 0;
        self.pos += length + end;
        self.lines += 1;
        Ok(true)
    }

    /// The line moved to, without its end (`\n` or `\r\n`).
    pub(crate) fn line(&self) -> &[u8] {
        let line = self.buffer.get(self.line.clone()).unwrap_or_default();
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Whether the line moved to has no end, which only the last one can lack.
    pub(crate) fn line_is_cut(&self) -> bool {
        self.line_is_cut
    }

    /// Moves unread bytes into `out`. Returns how many, 0 at the end of the input.
    ///
    /// # Errors
    /// The input cannot be read.
    pub(crate) fn take(&mut self, out: &mut [u8]) -> Result<usize, TraceError> {
        if self.unread().is_empty() && !self.refill(self.at_byte(self.offset()))? {
            return Ok(0);
        }
        let count = out.len().min(self.unread().len());
        out[..count].copy_from_slice(&self.unread()[..count]);
        self.pos += count;
        Ok(count)
    }

    #[cold]
    fn too_long(&mut self, place: Place) -> TraceError {
        let limit = self.line_bytes;
        TraceError::new(
            ErrorKind::LineTooLong,
            place,
            format!("a line of more than {limit} bytes that begins {}", quote(self.unread())),
            format!("lines of at most {limit} bytes"),
            "check that the file is a text trace with one event a line",
        )
    }

    /// The next byte.
    ///
    /// # Errors
    /// The input ends or cannot be read.
    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, TraceError> {
        if self.pos == self.len {
            self.fill_one()?;
        }
        let byte = self.buffer[self.pos];
        self.pos += 1;
        Ok(byte)
    }

    #[cold]
    fn fill_one(&mut self) -> Result<(), TraceError> {
        let place = self.at_byte(self.offset());
        if self.refill(place)? {
            Ok(())
        } else {
            Err(TraceError::truncated(place, "the end of the file"))
        }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// The input ends or cannot be read.
    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], TraceError> {
        if let Some(bytes) = self.unread().first_chunk() {
            let bytes = *bytes;
            self.pos += N;
            return Ok(bytes);
        }
        let mut out = [0; N];
        for byte in &mut out {
            *byte = self.byte()?;
        }
        Ok(out)
    }

    /// The next `count` bytes, and passes over them, if the buffer holds them all.
    pub(crate) fn whole(&mut self, count: u64) -> Option<&[u8]> {
        let end = self.pos.checked_add(usize::try_from(count).ok()?)?;
        if end > self.len {
            return None;
        }
        let from = core::mem::replace(&mut self.pos, end);
        self.buffer.get(from..end)
    }

    /// Passes over `count` bytes, keeping the first ones in `kept` up to its limit of `keep` bytes.
    ///
    /// # Errors
    /// The input ends or cannot be read.
    pub(crate) fn pass(
        &mut self,
        mut count: u64,
        keep: usize,
        kept: &mut Vec<u8>,
    ) -> Result<(), TraceError> {
        kept.clear();
        while count > 0 {
            if self.pos == self.len {
                self.fill_one()?;
            }
            let run = usize::try_from(count).unwrap_or(usize::MAX).min(self.len - self.pos);
            let room = keep.saturating_sub(kept.len()).min(run);
            kept.extend_from_slice(&self.buffer[self.pos..self.pos + room]);
            self.pos += run;
            count -= run as u64;
        }
        Ok(())
    }

    /// Passes over bytes up to and including a newline, keeping the first `keep`. Returns how many there were.
    ///
    /// # Errors
    /// The input ends or cannot be read.
    pub(crate) fn pass_line(&mut self, keep: usize, kept: &mut Vec<u8>) -> Result<u64, TraceError> {
        kept.clear();
        let mut total = 0u64;
        loop {
            let byte = self.byte()?;
            if byte == b'\n' {
                return Ok(total);
            }
            total += 1;
            if kept.len() < keep {
                kept.push(byte);
            }
        }
    }
}

#[inline]
fn find_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&b| b == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out `step` bytes a call, to cross every boundary.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(out.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn next_line<'i>(input: &'i mut Input<'_>) -> Option<&'i [u8]> {
        input.advance_line().unwrap().then(|| input.line())
    }

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_arrive() {
        let text = b"a,b\r\n\nlast without end";
        for step in 1..text.len() + 1 {
            let mut input = Input::new(Drip(text, step), 64).unwrap();
            assert_eq!(next_line(&mut input), Some(&b"a,b"[..]));
            assert_eq!(next_line(&mut input), Some(&b""[..]));
            assert_eq!(next_line(&mut input), Some(&b"last without end"[..]));
            assert_eq!(input.line_number(), 3);
            assert_eq!(next_line(&mut input), None);
            assert_eq!(next_line(&mut input), None);
        }
    }

    #[test]
    fn a_line_is_limited_whether_or_not_it_ends() {
        for tail in [&b""[..], b"\nnext"] {
            let mut text = vec![b'x'; 100_000];
            text.extend_from_slice(tail);
            let error = Input::new(&text[..], 4096).unwrap().advance_line().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LineTooLong);
            assert_eq!(error.place(), Place::Line(1));
        }
        let mut exact = vec![b'x'; 4096];
        exact.extend_from_slice(b"\r\n");
        let mut input = Input::new(&exact[..], 4096).unwrap();
        assert_eq!(next_line(&mut input).unwrap().len(), 4096);
    }

    #[test]
    fn bytes_keep_their_offsets_across_refills() {
        let data: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        let mut input = Input::new(Drip(&data, 777), 64).unwrap();
        let mut kept = Vec::new();
        input.pass(150_001, 3, &mut kept).unwrap();
        assert_eq!(kept, [0, 1, 2]);
        assert_eq!(input.offset(), 150_001);
        assert_eq!(input.byte().unwrap(), data[150_001]);
        let error = input.pass(100_000, 0, &mut kept).unwrap_err();
        assert_eq!((error.kind(), error.place()), (ErrorKind::Truncated, Place::Byte(200_000)));
    }
}
