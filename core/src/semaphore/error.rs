//! What can go wrong with a semaphore.

use crate::axis::Axis;
use crate::failure::Failure;
use crate::tracker::TrackerError;
use core::error::Error;
use core::fmt;

/// Why a wait on a semaphore ended before its value was reached.
#[derive(Clone, Debug)]
pub enum SemaphoreError {
    /// The semaphore failed below the value.
    Failed(Failure),
    /// The semaphore was dropped.
    Dropped,
    /// There was no semaphore to wait for any of.
    Nothing,
}

impl fmt::Display for SemaphoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => write!(f, "the semaphore failed: {failure}"),
            Self::Dropped => f.write_str("the semaphore was dropped"),
            Self::Nothing => f.write_str("no semaphore to wait for"),
        }
    }
}

impl Error for SemaphoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(failure) => Some(failure.get_ref()),
            Self::Dropped | Self::Nothing => None,
        }
    }
}

/// Why a semaphore was not signaled.
#[derive(Clone, Debug)]
pub enum SignalError {
    /// The value is not above the current one. A timeline only rises.
    NotIncreasing {
        /// The value it has.
        current: u64,
        /// The value that was asked for.
        requested: u64,
    },
    /// The semaphore has failed.
    Failed(Failure),
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIncreasing { current, requested } => {
                write!(f, "value {requested} is not above {current}")
            }
            Self::Failed(failure) => write!(f, "the semaphore failed: {failure}"),
        }
    }
}

impl Error for SignalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(failure) => Some(failure.get_ref()),
            Self::NotIncreasing { .. } => None,
        }
    }
}

/// Why a semaphore was not bound to an axis.
#[derive(Clone, Debug)]
pub enum BindError {
    /// It is bound already.
    Bound {
        /// The axis it is bound to.
        axis: Axis,
    },
    /// The tracker refused.
    Tracker(TrackerError),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound { axis } => write!(f, "the semaphore is bound to axis {axis} already"),
            Self::Tracker(error) => error.fmt(f),
        }
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Tracker(error) => Some(error),
            Self::Bound { .. } => None,
        }
    }
}

impl From<TrackerError> for BindError {
    fn from(error: TrackerError) -> Self {
        Self::Tracker(error)
    }
}
