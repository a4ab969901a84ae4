//! Why a tenant's call is refused: [`TenantError`].

use core::fmt;
use strandline_core::{Axis, Entry, Failure, FrontierError, PoolError};

/// Which limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// [`TenantLimits::reservations`](super::TenantLimits::reservations), or
    /// [`TenantLimits::pending`](super::TenantLimits::pending).
    Reservations,
    /// [`TenantLimits::buffers`](super::TenantLimits::buffers).
    Buffers,
    /// [`TenantLimits::queues`](super::TenantLimits::queues).
    Queues,
    /// [`TenantLimits::operations`](super::TenantLimits::operations).
    Operations,
    /// [`TenantLimits::transfer_bytes`](super::TenantLimits::transfer_bytes).
    TransferBytes,
    /// The host has no axis or no thread left for another queue.
    Host,
}

/// Why a tenant's call is refused. Nothing has changed then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TenantError {
    /// The pool would never take the request, or its provider broke.
    Pool(PoolError),
    /// The entries are not those of a frontier.
    InvalidFrontier(FrontierError),
    /// An epoch that the tenant cannot know of: neither submitted by its own queues nor told by the host.
    NotYours(Entry),
    /// The queue, or an axis waited for, has failed.
    Failed {
        /// The axis whose failure began it.
        axis: Axis,
        /// Why that failed.
        failure: Failure,
    },
    /// The operation would wait for itself.
    Cycle,
    /// It waits for more axes than a frontier holds.
    TooManyAxes,
    /// The tenant has as much as it may.
    Limit(Limit),
    /// The range does not lie in the memory, or source and target overlap or differ in length.
    InvalidRange,
    /// The buffer has no memory, and never will.
    NoMemory,
    /// There is no such pool, queue, buffer or reservation of this tenant, or not any more.
    UnknownHandle,
    /// The reservation is another pool's.
    OtherPool,
    /// The device is shut down.
    Shutdown,
}

impl fmt::Display for TenantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(error) => error.fmt(f),
            Self::InvalidFrontier(error) => error.fmt(f),
            Self::NotYours(entry) => {
                write!(
                    f,
                    "epoch {} of axis {} is not the tenant's to name",
                    entry.epoch, entry.axis
                )
            }
            Self::Failed { axis, failure } => write!(f, "axis {axis} failed: {failure}"),
            Self::Cycle => f.write_str("the operation would wait for itself"),
            Self::TooManyAxes => f.write_str("the operation waits for too many axes"),
            Self::Limit(limit) => write!(f, "the tenant has as much as it may: {limit:?}"),
            Self::InvalidRange => f.write_str("the range does not lie in the memory"),
            Self::NoMemory => f.write_str("the buffer has no memory and never will"),
            Self::UnknownHandle => f.write_str("no such handle of this tenant"),
            Self::OtherPool => f.write_str("the reservation is another pool's"),
            Self::Shutdown => f.write_str("the device is shut down"),
        }
    }
}

impl core::error::Error for TenantError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Pool(error) => Some(error),
            Self::InvalidFrontier(error) => Some(error),
            Self::Failed { failure, .. } => Some(failure.get_ref()),
            _ => None,
        }
    }
}

impl From<PoolError> for TenantError {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<FrontierError> for TenantError {
    fn from(error: FrontierError) -> Self {
        Self::InvalidFrontier(error)
    }
}
