//! Lent memory that a member has not mapped: the key to a reservation's bytes, and the pieces in which they are sent.
//!
//! ```text
//!   member                                owner
//!     │ ── Open { token } ──────────────▶ │  draws a key, and writes it down with the reservation
//!     │ ◀──────────────── Key { key } ─── │
//!     │ ── Write { key, offset, piece } ▶ │  whose key? does the piece lie in the reservation? then copies it
//!     │ ◀──────────────────────── Done ── │
//! ```
//!
//! A key opens one reservation for whoever is a live member and has it: its holder may hand it on. It is good until the reservation is
//! released or canceled, or its holder is a member no more. The owner copies while it looks at keys and members, so a
//! write is either done before a reservation ends or a member fails, or refused: *that is the fence*, and nothing need be ended or waited for.
//!
//! Reads and writes are parts of a [`Call`](super::message::Message::Call). So each is done once however often it comes, and a
//! late copy of an earlier write does not undo a later one.

use super::message::Op;
use super::wire::{DecodeError, Reader, Wire};
use alloc::vec::Vec;
use core::fmt;

/// The most bytes of one [`Piece`], and the most that all reads and writes of one call move.
pub const MAX_PIECE: usize = 64 << 10;

/// Opens the bytes of one reservation. Drawn at random by the owner's host, so that nobody guesses it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u128);

impl Key {
    /// The key that these bits are.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The key as bits.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }
}

/// Without the bits, which would let whoever reads a log touch the bytes.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Bytes on their way, at most [`MAX_PIECE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece(Vec<u8>);

impl Piece {
    /// `None` for more than [`MAX_PIECE`] bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() <= MAX_PIECE).then_some(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes that the reads and writes of a call move.
pub(super) fn moved(ops: &[Op]) -> u64 {
    let bytes = ops.iter().map(|op| match op {
        Op::Read { len, .. } => *len,
        Op::Write { piece, .. } => piece.as_bytes().len() as u64,
        _ => 0,
    });
    bytes.fold(0, u64::saturating_add)
}

impl Wire for Key {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = from.bytes(size_of::<u128>())?;
        Ok(Self(bytes.try_into().map_or(0, u128::from_le_bytes)))
    }
}

impl Wire for Piece {
    fn put(&self, out: &mut Vec<u8>) {
        (self.0.len() as u64).put(out);
        out.extend_from_slice(&self.0);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = u64::take(from)?;
        let len = usize::try_from(len).ok().filter(|&len| len <= MAX_PIECE);
        let len = len.ok_or(DecodeError::TooMany { most: MAX_PIECE })?;
        Ok(Self(from.bytes(len)?.to_vec()))
    }
}
