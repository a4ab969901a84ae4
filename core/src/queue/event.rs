//! What the queues tell their host, and why they refuse.

use super::BufferId;
use crate::axis::{Axis, Epoch};
use crate::failure::Failure;
use crate::frontier::Frontier;
use crate::pool::{PoolError, PoolId, Reservation};
use crate::slab::SlabId;
use core::fmt;

/// Where a buffer's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The pool that they are reserved in.
    pub pool: PoolId,
    /// The slab.
    pub slab: SlabId,
    /// First byte, from the slab's start.
    pub offset: u64,
    /// Bytes asked for.
    pub size: u64,
}

impl From<&Reservation> for Place {
    fn from(reservation: &Reservation) -> Self {
        Self {
            pool: reservation.pool(),
            slab: reservation.slab(),
            offset: reservation.offset(),
            size: reservation.size(),
        }
    }
}

/// Why a buffer failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// The pool could not consider the request, or its provider broke.
    Pool(PoolError),
    /// Its alloca or dealloca is ordered after something that will never happen.
    Axis {
        /// The axis whose failure began it.
        axis: Axis,
        /// Why that failed.
        failure: Failure,
    },
    /// The host gave it up: [`Queues::abandon`](super::Queues::abandon).
    Abandoned,
    /// The queues were shut down.
    Shutdown,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(error) => error.fmt(f),
            Self::Axis { axis, failure } => write!(f, "axis {axis} failed: {failure}"),
            Self::Abandoned => f.write_str("given up by the host"),
            Self::Shutdown => f.write_str("the queues were shut down"),
        }
    }
}

impl core::error::Error for Cause {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Pool(error) => Some(error),
            Self::Axis { failure, .. } => Some(failure.get_ref()),
            Self::Abandoned | Self::Shutdown => None,
        }
    }
}

/// Something that the host should know or do.
///
/// For one buffer the order is `Ready`, then `Released`; `Failed` may come instead of either. A failed
/// buffer that is deallocated is `Released`, too, so that the dealloca's epoch gets scheduled. Between
/// buffers it is the order in which things were decided, which need not be that of their epochs: see
/// [`Queues::resolved`](super::Queues::resolved).
#[derive(Clone, Debug)]
pub enum QueueEvent {
    /// An alloca has its memory. Order its epoch after `wait` and the queue's earlier epochs; who uses the
    /// buffer is ordered after that epoch.
    Ready {
        /// The buffer.
        buffer: BufferId,
        /// The queue.
        axis: Axis,
        /// The alloca's epoch on it.
        epoch: Epoch,
        /// The bytes.
        place: Place,
        /// What to wait for: the request's frontier, and what the pool added.
        wait: Frontier,
    },
    /// A dealloca is decided: the bytes go back to their pool, and whoever gets them next is ordered after
    /// `epoch`. Order that epoch after `wait` and the queue's earlier epochs.
    Released {
        /// The buffer; its id is no longer valid.
        buffer: BufferId,
        /// The queue.
        axis: Axis,
        /// The dealloca's epoch on it.
        epoch: Epoch,
        /// What to wait for: the caller's frontier, and the alloca when it is another queue's.
        wait: Frontier,
    },
    /// A buffer has no memory, or not any more. Its id stays valid until it is deallocated or abandoned,
    /// unless it was already.
    Failed {
        /// The buffer.
        buffer: BufferId,
        /// The queue of its alloca.
        axis: Axis,
        /// The alloca's epoch on it.
        epoch: Epoch,
        /// A host that goes on past the alloca orders its epoch after this all the same: later
        /// operations count on it. `None` when `Ready` has said so before.
        wait: Option<Frontier>,
        /// Why.
        cause: Cause,
    },
    /// A queue has failed: none of its operations from `from` on will happen.
    QueueFailed {
        /// The queue.
        axis: Axis,
        /// The first epoch that fails.
        from: Epoch,
        /// The axis whose failure began it.
        origin: Axis,
        /// Why that failed.
        failure: Failure,
    },
}

/// Why an operation was refused. Nothing has changed then: no epoch was given out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum QueueError {
    /// No queue is open on the axis.
    UnknownQueue(Axis),
    /// There is a queue on the axis already.
    DuplicateQueue(Axis),
    /// The pool is not in the set.
    UnknownPool(PoolId),
    /// The id was never given out by these queues.
    UnknownBuffer(BufferId),
    /// The buffer has a dealloca already, or was abandoned: it cannot be deallocated again, nor used by what does not come
    /// before that.
    AlreadyDeallocated(BufferId),
    /// The pool would never take the request.
    Pool(PoolError),
    /// The queue, or an axis in the wait frontier, has failed before the epoch in question.
    Failed {
        /// The axis whose failure began it.
        axis: Axis,
        /// Why that failed.
        failure: Failure,
    },
    /// The operation would wait for itself.
    Cycle {
        /// The queue.
        axis: Axis,
        /// The epoch that it would have had.
        epoch: Epoch,
    },
    /// The wait frontier, with the alloca's own epoch in it, has more axes than a frontier can hold.
    TooManyAxes,
    /// No more epochs on this axis.
    OutOfEpochs(Axis),
    /// More buffers than ids.
    TooManyBuffers,
    /// The queues were shut down.
    Shutdown,
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownQueue(axis) => write!(f, "no queue is open on axis {axis}"),
            Self::DuplicateQueue(axis) => write!(f, "a queue is open on axis {axis} already"),
            Self::UnknownPool(pool) => write!(f, "{pool:?} is not in the pool set"),
            Self::UnknownBuffer(buffer) => write!(f, "{buffer:?} was never given out"),
            Self::AlreadyDeallocated(buffer) => write!(f, "{buffer:?} is deallocated already"),
            Self::Pool(error) => error.fmt(f),
            Self::Failed { axis, failure } => write!(f, "axis {axis} failed: {failure}"),
            Self::Cycle { axis, epoch } => {
                write!(f, "the operation at {axis} @ {epoch} would wait for itself")
            }
            Self::TooManyAxes => f.write_str("the operation waits for too many axes"),
            Self::OutOfEpochs(axis) => write!(f, "axis {axis} has no epochs left"),
            Self::TooManyBuffers => f.write_str("more transient buffers than ids"),
            Self::Shutdown => f.write_str("the queues were shut down"),
        }
    }
}

impl core::error::Error for QueueError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Pool(error) => Some(error),
            Self::Failed { failure, .. } => Some(failure.get_ref()),
            _ => None,
        }
    }
}

impl From<PoolError> for QueueError {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}
