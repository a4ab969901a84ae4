//! Fences: descriptors that become ready when work of another system is done, and semaphores.
//!
//! ```text
//!   driver's fence fd ──ready──▶ import ──▶ semaphore reaches a value
//!   semaphore reaches a value ──▶ export ──▶ eventfd becomes readable ──▶ poll(2) of whoever has it
//! ```

use crate::event::Event;
use crate::proactor::{Interest, Op, OpError, OpId, ProactorHandle, SharedFd};
use rustix::event::PollFlags;
use std::io;
use strandline_core::semaphore::TimepointId;
use strandline_core::{Failure, Frontier, Semaphore};

/// The count of an exported fence whose semaphore failed; 1 when the value was reached.
pub const FENCE_FAILED: u64 = 1 << 32;

/// Raises `semaphore` to `value` once `fd` is readable, on behalf of work that is ordered after `frontier`; with
/// `None` the values that this adds are tainted, since nobody here saw the work.
///
/// The semaphore fails when the descriptor reports an error, cannot be polled, or the proactor is dropped
/// first. Canceling the operation leaves it as it is. One that has come as far by other means is left too.
///
/// ```
/// use std::time::Duration;
/// use strandline_core::{Frontier, Semaphore};
/// use strandline_host_native::event::Event;
/// use strandline_host_native::fence;
/// use strandline_host_native::proactor::Proactor;
///
/// let (device, semaphore) = (Event::new()?, Semaphore::new(0));
/// let mut proactor = Proactor::new()?;
/// fence::import(&proactor.handle(), device.clone(), &semaphore, 5, Some(Frontier::new()));
/// device.set();
/// proactor.poll(Some(Duration::from_secs(10)))?;
/// assert_eq!(semaphore.value(), 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn import(
    handle: &ProactorHandle,
    fd: impl Into<SharedFd>,
    semaphore: &Semaphore,
    value: u64,
    frontier: Option<Frontier>,
) -> OpId {
    let semaphore = semaphore.clone();
    handle.submit(Op::ready(fd, Interest::Readable, None), move |done| match done.result {
        Ok(events) if events & usize::from(PollFlags::IN.bits()) == 0 => {
            semaphore.fail(Failure::message("the imported fence reports an error"));
        }
        Ok(_) => {
            // Refused when the semaphore has come so far, or has failed: then there is nothing to add.
            let _ = match frontier {
                Some(frontier) => semaphore.signal(value, frontier.as_ref()),
                None => semaphore.signal_unwitnessed(value),
            };
        }
        Err(OpError::Canceled) => {}
        Err(error) => {
            semaphore.fail(Failure::new(error));
        }
    })
}

/// A semaphore's value as a descriptor.
#[derive(Debug)]
pub struct ExportedFence {
    /// Readable once the value was reached: its count is 1. Or once it never will be: then
    /// [`FENCE_FAILED`].
    pub event: Event,
    /// To take the fence back with [`Semaphore::cancel`]: then it never becomes readable.
    pub timepoint: TimepointId,
}

/// Makes a descriptor that becomes readable when `semaphore` reaches `value`, or fails, or is dropped.
///
/// # Errors
/// The system has no descriptor left.
///
/// ```
/// use strandline_core::{FrontierRef, Semaphore};
/// use strandline_host_native::fence;
///
/// let semaphore = Semaphore::new(0);
/// let fence = fence::export(&semaphore, 2)?;
/// semaphore.signal(2, FrontierRef::EMPTY)?;
/// assert_eq!(fence.event.take(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn export(semaphore: &Semaphore, value: u64) -> io::Result<ExportedFence> {
    let event = Event::new()?;
    let set = event.clone();
    let timepoint = semaphore.on_reach(value, move |result| match result {
        Ok(_) => set.set(),
        Err(_) => set.add(FENCE_FAILED),
    });
    Ok(ExportedFence { event, timepoint })
}
