//! Frontiers as bytes, for files and for the other side of a boundary.
//!
//! ```text
//!  byte 0   1..8        8..16      16..24
//! ┌───────┬───────────┬──────────┬──────────┬─────
//! │ count │ 7 × zero  │ axis     │ epoch    │ …      count times, all little-endian
//! └───────┴───────────┴──────────┴──────────┴─────
//! ```
//!
//! A frontier has exactly one encoding, and decoding accepts nothing else: the length must be that
//! which the count says, the reserved bytes zero, the axes strictly ascending, no epoch 0. So the
//! bytes may come from anyone, and equal frontiers have equal bytes.

use alloc::vec::Vec;
use core::fmt;

use super::{Entry, FixedFrontier, Frontier, FrontierError, FrontierRef, MAX_ENTRIES, order_of};
use crate::axis::Axis;

/// Bytes before the first entry.
const HEADER: usize = 8;
/// Bytes of one entry.
const ENTRY: usize = 16;

/// Why bytes are not the encoding of a frontier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The bytes end before the frontier does, or go on after it.
    Length {
        /// The length that the count asks for, in bytes (8 when not even the header is there).
        expected: usize,
        /// The length that was given, in bytes.
        actual: usize,
    },
    /// A reserved byte of the header is not zero.
    Reserved {
        /// Its position from the start of the encoding.
        offset: usize,
    },
    /// The entries are not those of a frontier.
    Entries(FrontierError),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { expected, actual } => {
                write!(f, "a frontier of {expected} bytes, in {actual} bytes")
            }
            Self::Reserved { offset } => write!(f, "reserved byte {offset} is not zero"),
            Self::Entries(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for WireError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Entries(error) => Some(error),
            Self::Length { .. } | Self::Reserved { .. } => None,
        }
    }
}

impl From<FrontierError> for WireError {
    fn from(error: FrontierError) -> Self {
        Self::Entries(error)
    }
}

/// The `N` bytes at `offset`, which the caller has checked to be there.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Checks everything but that the bytes end where the frontier does, and gives its entry count and
/// its entries as iterator.
fn parse(bytes: &[u8]) -> Result<impl ExactSizeIterator<Item = Entry> + Clone, WireError> {
    let actual = bytes.len();
    let Some((header, body)) = bytes.split_at_checked(HEADER) else {
        return Err(WireError::Length { expected: HEADER, actual });
    };
    if let Some(at) = header[1..].iter().position(|&byte| byte != 0) {
        return Err(WireError::Reserved { offset: at + 1 });
    }
    let length = usize::from(header[0]) * ENTRY;
    let Some(body) = body.get(..length) else {
        return Err(WireError::Length { expected: HEADER + length, actual });
    };
    let entries = body
        .chunks_exact(ENTRY)
        .map(|entry| Entry { axis: Axis::from_bits(word(&entry[..8])), epoch: word(&entry[8..]) });
    order_of(entries.clone())?;
    Ok(entries)
}

/// The error for bytes that go on after the frontier.
fn whole(used: usize, bytes: &[u8]) -> Result<(), WireError> {
    if used == bytes.len() {
        Ok(())
    } else {
        Err(WireError::Length { expected: used, actual: bytes.len() })
    }
}

impl FrontierRef<'_> {
    /// The length of the encoding in bytes: 8, and 16 an entry.
    #[must_use]
    pub const fn encoded_len(self) -> usize {
        HEADER + ENTRY * self.len()
    }

    /// Writes the encoding to the start of `out` and returns its length, or `None`, with `out`
    /// untouched, when it does not fit.
    ///
    /// ```
    /// use strandline_core::{Axis, Frontier};
    ///
    /// let frontier = Frontier::from_entry(Axis::host(1), 5);
    /// let mut bytes = [0; 64];
    /// let used = frontier.as_ref().encode_into(&mut bytes).unwrap();
    /// assert_eq!(Frontier::decode(&bytes[..used]), Ok(frontier));
    /// ```
    #[must_use]
    pub fn encode_into(self, out: &mut [u8]) -> Option<usize> {
        let length = self.encoded_len();
        let (header, body) = out.get_mut(..length)?.split_at_mut(HEADER);
        header.fill(0);
        // A frontier holds at most MAX_ENTRIES, which is what fits in the byte.
        const { assert!(MAX_ENTRIES == u8::MAX as usize) };
        header[0] = self.len() as u8;
        for (bytes, entry) in body.chunks_exact_mut(ENTRY).zip(self.entries()) {
            bytes[..8].copy_from_slice(&entry.axis.to_bits().to_le_bytes());
            bytes[8..].copy_from_slice(&entry.epoch.to_le_bytes());
        }
        Some(length)
    }

    /// The encoding, in a new vector.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = alloc::vec![0; self.encoded_len()];
        let written = self.encode_into(&mut bytes);
        debug_assert_eq!(written, Some(bytes.len()));
        bytes
    }
}

impl Frontier {
    /// The frontier that `bytes` encode. Cost: linear; no more memory than the entries take.
    ///
    /// # Errors
    /// [`WireError`] says which rule the bytes break.
    ///
    /// ```
    /// use strandline_core::{Frontier, WireError};
    ///
    /// assert_eq!(Frontier::decode(&[0; 8]), Ok(Frontier::new()));
    /// assert_eq!(Frontier::decode(&[0; 7]), Err(WireError::Length { expected: 8, actual: 7 }));
    /// ```
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (frontier, used) = Self::decode_prefix(bytes)?;
        whole(used, bytes)?;
        Ok(frontier)
    }

    /// The frontier at the start of `bytes`, and the number of bytes it takes: for frontiers that
    /// stand one after the other.
    ///
    /// # Errors
    /// [`WireError`] says which rule the bytes break.
    pub fn decode_prefix(bytes: &[u8]) -> Result<(Self, usize), WireError> {
        let entries = parse(bytes)?;
        let used = HEADER + ENTRY * entries.len();
        Ok((Self::from_valid(entries), used))
    }
}

impl<const N: usize> FixedFrontier<N> {
    /// The frontier that `bytes` encode, without allocating.
    ///
    /// # Errors
    /// [`WireError`] says which rule the bytes break; more than `N` entries are
    /// [`FrontierError::TooMany`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let entries = parse(bytes)?;
        whole(HEADER + ENTRY * entries.len(), bytes)?;
        if entries.len() > Self::CAPACITY {
            return Err(FrontierError::TooMany { limit: Self::CAPACITY }.into());
        }
        Ok(Self::from_valid(entries))
    }
}
