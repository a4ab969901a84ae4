//! The reference transport: lent memory read and written by messages, for members that have not mapped it.
//!
//! A [`RemoteAddress`] is a slab, an offset, a size and a key that the owner drew at random. It is good for whoever is a live member and
//! has it, until its reservation is given back or its holder fails: [`strandline_core::fleet::remote`] has the rules, and says why the
//! owner's refusal is the fence. Meant for small data and tests: each [piece](MAX_PIECE) is a question that waits for its answer, and the owner
//! copies it while it answers nobody else.

use crate::pool::RemotePool;
use core::fmt;
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;
use std::sync::Arc;
use strandline_core::SlabMap;
use strandline_core::fleet::SlabBytes;
use strandline_core::fleet::message::{Answer, Op, Refusal};
use strandline_core::fleet::remote::{Key, MAX_PIECE, Piece};
use strandline_core::pool::{PoolError, Reservation};
use strandline_core::slab::{SlabError, SlabId};
use strandline_host_native::MmapSlabProvider;

/// Bytes of a message besides its piece: more than a call with one write has.
const ENVELOPE: usize = 128;

/// Where lent bytes are, for whoever reaches them by the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteAddress {
    /// The owner's slab.
    pub slab: SlabId,
    /// Bytes from the slab's start.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Opens them.
    pub key: Key,
}

/// Why bytes were not read or written. Of a transfer of several pieces those before may have been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferError {
    /// This is no member any more, or has no lease.
    Lost,
    /// The owner does not know the key, or not any more: the reservation was given back, or its holder is gone.
    Revoked,
    /// The bytes do not lie in the reservation.
    Range,
    /// The owner does not serve bytes.
    NotServed,
    /// The reservation is another pool's.
    OtherPool,
    /// The owner's memory.
    Owner(PoolError),
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("this is no member any more, or has no lease"),
            Self::Revoked => f.write_str("the key is good for nothing, or not any more"),
            Self::Range => f.write_str("the bytes do not lie in the reservation"),
            Self::NotServed => f.write_str("the owner does not serve bytes by messages"),
            Self::OtherPool => f.write_str("a reservation of another pool"),
            Self::Owner(_) => f.write_str("the owner's memory"),
        }
    }
}

impl core::error::Error for TransferError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Owner(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Answer> for TransferError {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Refused { why: Refusal::Key | Refusal::UnknownReservation } => Self::Revoked,
            Answer::Refused { why: Refusal::Range } => Self::Range,
            Answer::Refused { why: Refusal::NotServed } => Self::NotServed,
            Answer::Refused { why: Refusal::Pool { error } } => Self::Owner(error.into()),
            _ => Self::Lost,
        }
    }
}

impl RemotePool {
    /// The address of a reservation's bytes, to be used here or handed to another member. Blocks until the owner has given the key.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn address(&self, reservation: &Reservation) -> Result<RemoteAddress, TransferError> {
        let token = self.token(reservation).ok_or(TransferError::OtherPool)?;
        let (slab, offset, size) = reservation.range();
        match self.transfer(Op::Open { token })? {
            Answer::Key { key } => Ok(RemoteAddress { slab, offset, size, key }),
            other => Err(other.into()),
        }
    }

    /// Reads the bytes at `at` of an address. Blocks until all have come, piece by piece: what others write meanwhile may be seen in part.
    ///
    /// # Errors
    /// [`TransferError`]; what stands in `into` then means nothing.
    pub fn read(
        &self,
        address: &RemoteAddress,
        at: u64,
        into: &mut [u8],
    ) -> Result<(), TransferError> {
        let mut offset = at;
        for part in into.chunks_mut(self.piece()) {
            let len = part.len() as u64;
            match self.transfer(Op::Read { key: address.key, offset, len })? {
                Answer::Bytes { piece } if piece.as_bytes().len() == part.len() => {
                    part.copy_from_slice(piece.as_bytes());
                }
                other => return Err(other.into()),
            }
            offset = offset.saturating_add(len);
        }
        Ok(())
    }

    /// Writes `bytes` at `at` of an address. Blocks until all are written, piece by piece: the reservation may be given back then.
    ///
    /// # Errors
    /// [`TransferError`]; after [`TransferError::Lost`] nobody knows whether the piece that was under way was written. It was not if the owner
    /// had counted this member, or the reservation's holder, as failed when it came.
    pub fn write(
        &self,
        address: &RemoteAddress,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), TransferError> {
        let mut offset = at;
        for part in bytes.chunks(self.piece()) {
            let piece = Piece::new(part.to_vec()).ok_or(TransferError::Range)?;
            match self.transfer(Op::Write { key: address.key, offset, piece })? {
                Answer::Done => {}
                other => return Err(other.into()),
            }
            offset = offset.saturating_add(part.len() as u64);
        }
        Ok(())
    }

    /// Bytes of a message's part of a transfer.
    fn piece(&self) -> usize {
        self.message_bytes().saturating_sub(ENVELOPE).clamp(1, MAX_PIECE)
    }

    fn transfer(&self, op: Op) -> Result<Answer, TransferError> {
        let answers = self.call(vec![op]).map_err(|error| match error {
            PoolError::Lost => TransferError::Lost,
            error => TransferError::Owner(error),
        })?;
        answers.into_iter().next().ok_or(TransferError::Lost)
    }
}

/// The slabs that this process has mapped.
pub(crate) struct Mapped(pub(crate) Arc<MmapSlabProvider>);

impl SlabBytes for Mapped {
    fn read(&self, slab: SlabId, offset: u64, into: &mut [u8]) -> Result<(), SlabError> {
        let bytes = self.0.map(slab, offset, into.len() as u64)?;
        bytes.read(0, into).map_err(|_| SlabError::InvalidRange)
    }

    fn write(&self, slab: SlabId, offset: u64, bytes: &[u8]) -> Result<(), SlabError> {
        let to = self.0.map(slab, offset, bytes.len() as u64)?;
        to.write(0, bytes).map_err(|_| SlabError::InvalidRange)
    }
}

/// A key that nobody can guess.
///
/// # Errors
/// The kernel gives no random bytes (Linux before 3.17).
pub(crate) fn try_draw() -> io::Result<Key> {
    let mut bits = [0; 16];
    let drawn = getrandom(&mut bits[..], GetRandomFlags::empty())?;
    // Of so few bytes the kernel gives all.
    if drawn < bits.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Key::from_bits(u128::from_le_bytes(bits)))
}

/// [`try_draw`], once it has worked.
pub(crate) fn draw() -> Key {
    try_draw().unwrap_or_else(|_| unreachable!("asked when the fleet was opened"))
}
