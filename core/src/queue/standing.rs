//! Why a buffer or a queue stands still: what it waits for.

#[cfg(doc)]
use super::QueueEvent;
use super::{BufferId, Place};
use crate::frontier::Entry;
use crate::notification::Observation;
use crate::pool::PoolId;

/// How a buffer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferStatus {
    /// No memory yet.
    Waiting,
    /// It has memory; a [`QueueEvent::Ready`] says when it may be used.
    Ready(Place),
    /// It never will have any.
    Failed,
}

/// A queue whose next operation waits for one that was not submitted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Withheld {
    /// The operation.
    pub at: Entry,
    /// How many of the queue are held, with those behind it.
    pub count: usize,
    /// What is to be submitted first.
    pub waits_for: Entry,
}

/// Allocas that wait for one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parked {
    /// The pool.
    pub pool: PoolId,
    /// How many.
    pub count: usize,
    /// Taken before the pool was last asked.
    pub observed: Observation,
    /// The first in line, which the others wait behind.
    pub first: BufferId,
    /// The bytes it wants.
    pub size: u64,
    /// Its operation.
    pub at: Entry,
}
