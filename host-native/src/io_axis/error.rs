//! How transfers end, and why some are not taken.

use core::fmt;
use core::ops::Range;
use std::io;
use strandline_core::{Epoch, Failure, Reservation, SlabError, TrackerError, WaitError};

/// Why a transfer did not get all its bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TransferError {
    /// The file ended.
    EndOfFile {
        /// Bytes of the range before the end: they were read.
        bytes: u64,
    },
    /// The system took no more bytes, and gave no reason.
    NothingWritten {
        /// Bytes that were written.
        bytes: u64,
    },
    /// The system refused: a broken disk, a full one, a descriptor that cannot do this.
    Os {
        /// What was asked of it.
        operation: &'static str,
        /// Its error number (`errno`).
        code: i32,
        /// Bytes of the range that were transferred before.
        bytes: u64,
    },
    /// What the transfer waited for will never be reached.
    NeverReady(WaitError),
    /// The axis has failed before it began, by an earlier transfer.
    Failed(Failure),
    /// The proactor, the tracker or the I/O axis went away.
    Closed {
        /// Bytes of the range that are known to have been transferred.
        bytes: u64,
    },
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndOfFile { bytes } => write!(f, "the file ended after {bytes} bytes"),
            Self::NothingWritten { bytes } => {
                write!(f, "nothing more was written after {bytes} bytes")
            }
            Self::Os { operation, code, bytes } => {
                let error = io::Error::from_raw_os_error(*code);
                write!(f, "{operation} after {bytes} bytes: {error}")
            }
            Self::NeverReady(error) => write!(f, "not begun: {error}"),
            Self::Failed(failure) => write!(f, "not begun, the axis has failed: {failure}"),
            Self::Closed { bytes } => {
                write!(f, "given up after {bytes} bytes: nobody is left to do it")
            }
        }
    }
}

impl core::error::Error for TransferError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::NeverReady(error) => Some(error),
            Self::Failed(failure) => Some(failure.get_ref()),
            _ => None,
        }
    }
}

/// A transfer that is over.
#[derive(Debug)]
pub struct Transferred {
    /// The memory, whatever came of it.
    pub reservation: Reservation,
    /// The transfer's epoch. It may not be reached yet: earlier ones may be under way.
    pub epoch: Epoch,
    /// The bytes of the range, or why not all of them.
    pub result: Result<u64, TransferError>,
}

/// Why a transfer was not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum IoRefusal {
    /// The range is not one, ends beyond what a file can hold, or is longer than the reservation.
    Range {
        /// The range of the file.
        range: Range<u64>,
        /// Bytes of the reservation.
        size: u64,
    },
    /// The reservation is not in a slab of this axis.
    Slab(SlabError),
    /// An axis of the frontier to wait for is not registered.
    Tracker(TrackerError),
    /// The frontier names the transfer itself, or one after it.
    WaitsForItself {
        /// The epoch that the transfer would have had.
        epoch: Epoch,
    },
    /// The axis has failed; nothing is transferred any more.
    Failed(Failure),
}

impl fmt::Display for IoRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { range, size } => {
                let Range { start, end } = range;
                write!(
                    f,
                    "bytes {start} to {end} of a file do not go with a reservation of {size} bytes"
                )
            }
            Self::Slab(error) => error.fmt(f),
            Self::Tracker(error) => error.fmt(f),
            Self::WaitsForItself { epoch } => {
                write!(f, "transfer {epoch} would wait for itself or a later one")
            }
            Self::Failed(failure) => write!(f, "the axis has failed: {failure}"),
        }
    }
}

impl core::error::Error for IoRefusal {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Slab(error) => Some(error),
            Self::Tracker(error) => Some(error),
            Self::Failed(failure) => Some(failure.get_ref()),
            Self::Range { .. } | Self::WaitsForItself { .. } => None,
        }
    }
}

/// A transfer that was not taken: no epoch was given out, and here is the reservation.
#[derive(Debug)]
pub struct Refused {
    /// The memory, untouched.
    pub reservation: Reservation,
    /// Why.
    pub why: IoRefusal,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl core::error::Error for Refused {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.why)
    }
}
