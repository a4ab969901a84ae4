//! What the two kernel interfaces have in common: they take operations on descriptors and give completions.

use super::ProactorKind;
use super::op::{Interest, IoBuffer, SharedFd, Transfer};
use crate::MmapBuffer;
use rustix::io::Errno;
use std::time::Instant;

/// What the kernel is asked for. Owned by the backend until it is over, memory and descriptor included.
#[derive(Debug)]
pub(super) enum KernelOp {
    Nop,
    Poll { fd: SharedFd, interest: Interest },
    Transfer(Transfer),
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) serial: u64,
    pub(super) result: Result<u32, Errno>,
    pub(super) buffer: Option<IoBuffer>,
}

/// How long a turn may sleep.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sleep {
    /// Not at all.
    No,
    /// Until something is done, the doorbell rings, or this passes (`None`: never).
    Until(Option<Instant>),
}

pub(super) trait Backend {
    fn kind(&self) -> ProactorKind;

    /// Takes an operation. Each comes out of [`turn`](Self::turn) exactly once.
    fn start(&mut self, serial: u64, op: KernelOp);

    /// Asks for an operation to end early, with `ECANCELED`. It may end otherwise all the same.
    fn cancel(&mut self, serial: u64);

    /// Operations that were started and have not come out.
    fn in_flight(&self) -> usize;

    /// Gives the kernel what was started, and collects what is done. It may return without anything.
    ///
    /// # Errors
    /// The kernel interface is broken. Interruptions are none.
    fn turn(&mut self, sleep: Sleep, done: &mut Vec<Done>) -> Result<(), Errno>;

    /// Whether a turn would find something that does not ring the doorbell.
    fn has_done(&self) -> bool;

    /// Registers memory for fixed transfers.
    fn register(&mut self, buffer: MmapBuffer) -> Result<(), Errno>;

    /// Takes that back.
    fn unregister(&mut self, buffer: &MmapBuffer) -> Result<(), Errno>;
}
