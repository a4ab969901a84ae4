//! Many ranges of a file into reservations of one pool: [`load`].
//!
//! ```text
//!   ranges, longest first ──▶ the axis with the fewest bytes so far ──▶ proactor 0, 1, …  ──▶ caller: progress
//! ```

use super::{IoAxis, IoRefusal, IoRequest, TransferError, Transferred};
use crate::proactor::SharedFd;
use core::cmp::Reverse;
use core::fmt;
use core::ops::Range;
use std::sync::mpsc::channel;
use strandline_core::pool::{Acquire, Pool, PoolError, Request, Reservation};
use strandline_core::{Death, FrontierRef};

/// Why not everything was loaded. What was reserved is back in its pool.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no axis to load by.
    NoAxis,
    /// The pool broke, or takes no such request.
    Pool(PoolError),
    /// The pool has no memory for a range.
    NoMemory {
        /// Which of the ranges.
        index: usize,
        /// Its bytes.
        bytes: u64,
    },
    /// A range was not taken.
    Refused {
        /// Which of the ranges.
        index: usize,
        /// Why.
        why: IoRefusal,
    },
    /// A range was not read.
    Transfer {
        /// Which of the ranges.
        index: usize,
        /// Why.
        error: TransferError,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAxis => f.write_str("no I/O axis to load by"),
            Self::Pool(error) => error.fmt(f),
            Self::NoMemory { index, bytes } => {
                write!(f, "the pool has no room for the {bytes} bytes of range {index}")
            }
            Self::Refused { index, why } => write!(f, "range {index}: {why}"),
            Self::Transfer { index, error } => write!(f, "range {index}: {error}"),
        }
    }
}

impl core::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Pool(error) => Some(error),
            Self::Refused { why, .. } => Some(why),
            Self::Transfer { error, .. } => Some(error),
            Self::NoAxis | Self::NoMemory { .. } => None,
        }
    }
}

/// Reserves memory for each range of `file`, at a multiple of `alignment` bytes, and reads it there, over all `axes`
/// at once; blocks until everything is there. `progress` hears, on this thread, how many bytes are. An empty range has no
/// reservation. The axes must not share a proactor with this thread.
///
/// # Errors
/// [`LoadError`], the first one; nothing stays reserved.
pub fn load(
    axes: &[IoAxis],
    pool: &dyn Pool,
    file: &SharedFd,
    ranges: &[Range<u64>],
    alignment: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Option<Reservation>>, LoadError> {
    let mut out: Vec<Option<Reservation>> = ranges.iter().map(|_| None).collect();
    let result = fill(axes, pool, file, ranges, alignment, progress, &mut out);
    match result {
        Ok(()) => Ok(out),
        Err(error) => {
            // All transfers are over, and nobody else knows the memory.
            out.into_iter().flatten().for_each(|reservation| give_back(pool, reservation));
            Err(error)
        }
    }
}

fn give_back(pool: &dyn Pool, reservation: Reservation) {
    if let Err(error) = pool.release(reservation, Death::Idle) {
        log::error!("{error}");
    }
}

fn fill(
    axes: &[IoAxis],
    pool: &dyn Pool,
    file: &SharedFd,
    ranges: &[Range<u64>],
    alignment: u64,
    progress: &mut dyn FnMut(u64),
    out: &mut [Option<Reservation>],
) -> Result<(), LoadError> {
    let len = |range: &Range<u64>| range.end.saturating_sub(range.start);
    // Memory in the order of the file, transfers by size: the last to end are the small ones.
    for (index, range) in ranges.iter().enumerate().filter(|(_, range)| len(range) > 0) {
        out[index] = Some(reserve(pool, index, len(range), alignment)?);
    }
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|&index| Reverse(len(&ranges[index])));
    let mut bytes = vec![0_u64; axes.len()];
    let (sender, over) = channel::<(usize, Transferred)>();
    let (mut pending, mut failure) = (0_usize, None);
    for index in order {
        let Some(reservation) = out[index].take() else { continue };
        let Some(axis) = (0..axes.len()).min_by_key(|&axis| bytes[axis]) else {
            out[index] = Some(reservation);
            return Err(LoadError::NoAxis);
        };
        bytes[axis] += len(&ranges[index]);
        let request = IoRequest::new(file.clone(), ranges[index].clone()).or_report();
        let sender = sender.clone();
        let done = move |over| {
            // This thread waits for it.
            let _ = sender.send((index, over));
        };
        match axes[axis].read_into(reservation, request, done) {
            Ok(_) => pending += 1,
            Err(refused) => {
                out[index] = Some(refused.reservation);
                failure = Some(LoadError::Refused { index, why: refused.why });
                break;
            }
        }
    }
    drop(sender);
    let mut loaded = 0;
    while pending > 0 {
        // Every callback runs; one that did not would take its sender with it, and end this all the same.
        let Ok((index, Transferred { reservation, result, .. })) = over.recv() else {
            let error = TransferError::Closed { bytes: 0 };
            failure.get_or_insert(LoadError::Transfer { index: 0, error });
            break;
        };
        pending -= 1;
        out[index] = Some(reservation);
        match result {
            Ok(more) => {
                loaded += more;
                progress(loaded);
            }
            Err(error) => {
                failure.get_or_insert(LoadError::Transfer { index, error });
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

fn reserve(
    pool: &dyn Pool,
    index: usize,
    bytes: u64,
    alignment: u64,
) -> Result<Reservation, LoadError> {
    let request = Request::new(bytes).aligned(alignment).after(FrontierRef::EMPTY).or_grow();
    let answer = match pool.acquire(&request) {
        // A pool that can never serve it has no memory for it either.
        Err(PoolError::TooLarge { .. }) => return Err(LoadError::NoMemory { index, bytes }),
        answer => answer.map_err(LoadError::Pool)?,
    };
    match answer {
        Acquire::Ready { reservation, .. } => Ok(reservation),
        Acquire::AfterWait { reservation, .. } => {
            // Not permitted, so no pool says it; one that does gets it back.
            let _ = pool.cancel(reservation);
            Err(LoadError::NoMemory { index, bytes })
        }
        Acquire::Exhausted { .. } | Acquire::OverBudget { .. } => {
            Err(LoadError::NoMemory { index, bytes })
        }
    }
}
