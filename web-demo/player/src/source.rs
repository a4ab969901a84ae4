//! Inputs of the host, read in pieces as they are needed: a file is never held as a whole.

use crate::bindings::stage;
use std::io::{self, Read};
use strandline_replay::session::Input;

/// Bytes that are asked for at once: in a browser each question takes milliseconds.
const PIECE: u32 = 1 << 22;

/// A file of the host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostFile(pub(crate) u32);

impl Input for HostFile {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Pieces { input: self.0, offset: 0, piece: Vec::new(), given: 0 }))
    }
}

struct Pieces {
    input: u32,
    offset: u64,
    piece: Vec<u8>,
    given: usize,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given == self.piece.len() {
            self.piece = stage::read(self.input, self.offset, PIECE).map_err(io::Error::other)?;
            self.offset += self.piece.len() as u64;
            self.given = 0;
        }
        let rest = &self.piece[self.given..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}
