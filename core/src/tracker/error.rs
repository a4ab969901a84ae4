//! How a wait ends before it is reached, and what a tracker refuses.

use crate::axis::Axis;
use crate::failure::Failure;
use core::error::Error;
use core::fmt;

/// What the tracker cannot do.
#[derive(Clone, Debug)]
pub enum TrackerError {
    /// The axis is not registered.
    UnknownAxis(Axis),
    /// The axis is registered already.
    DuplicateAxis(Axis),
    /// The axis of all ones cannot be registered.
    ReservedAxis,
    /// As many axes are registered as the tracker has room for.
    Full {
        /// The number of axes it has room for.
        capacity: usize,
    },
    /// The axis has failed or was retired, and makes no more progress.
    Ended(WaitError),
}

impl fmt::Display for TrackerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAxis(axis) => write!(f, "axis {axis} is not registered"),
            Self::DuplicateAxis(axis) => write!(f, "axis {axis} is registered already"),
            Self::ReservedAxis => f.write_str("the axis of all ones is reserved"),
            Self::Full { capacity } => write!(f, "all {capacity} axes are registered"),
            Self::Ended(end) => end.fmt(f),
        }
    }
}

impl Error for TrackerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Ended(end) => end.source(),
            _ => None,
        }
    }
}

/// Why a wait ended before its frontier was reached.
#[derive(Clone, Debug)]
pub enum WaitError {
    /// An axis of the frontier failed below its epoch.
    Failed {
        /// The axis.
        axis: Axis,
        /// Why it failed.
        failure: Failure,
    },
    /// An axis of the frontier was retired below its epoch.
    Retired {
        /// The axis.
        axis: Axis,
    },
    /// The tracker was dropped.
    TrackerDropped,
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { axis, failure } => write!(f, "axis {axis} failed: {failure}"),
            Self::Retired { axis } => write!(f, "axis {axis} was retired"),
            Self::TrackerDropped => f.write_str("the tracker was dropped"),
        }
    }
}

impl Error for WaitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed { failure, .. } => Some(failure.get_ref()),
            Self::Retired { .. } | Self::TrackerDropped => None,
        }
    }
}

/// How an axis ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    Failed(Failure),
    Retired,
}

impl End {
    pub(super) fn to_error(&self, axis: Axis) -> WaitError {
        match self {
            Self::Failed(failure) => WaitError::Failed { axis, failure: failure.clone() },
            Self::Retired => WaitError::Retired { axis },
        }
    }
}
