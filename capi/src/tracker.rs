//! Trackers: how far each axis has come, and waiting for it.

use crate::frontier::{Given, strandline_frontier};
use crate::handle::Registry;
use crate::status::{Fault, Output, guard, input, strandline_status};
use std::ffi::{CStr, c_char};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strandline_core::tracker::{TrackerError, WaitError};
use strandline_core::{Axis, Failure, Progress, Tracker};

/// Names a tracker. 0 is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct strandline_tracker {
    /// Not an address.
    pub id: u64,
}

/// The most axes that a tracker can be made for: its table is made at once.
pub const STRANDLINE_MAX_AXES: usize = 65536;

/// How a wait ended, once it has.
type End = Option<Result<(), WaitError>>;

static TRACKERS: Registry<Tracker> = Registry::new("tracker");

pub(crate) fn tracker(handle: strandline_tracker) -> Result<Arc<Tracker>, Fault> {
    TRACKERS.get(handle.id)
}

fn fault(error: &TrackerError) -> Fault {
    let status = match error {
        TrackerError::Full { .. } => strandline_status::FULL,
        TrackerError::Ended(_) => strandline_status::ENDED,
        TrackerError::UnknownAxis(_)
        | TrackerError::DuplicateAxis(_)
        | TrackerError::ReservedAxis => strandline_status::INVALID,
    };
    Fault::new(status, error)
}

/// Makes a tracker for up to `axes` axes (1 to STRANDLINE_MAX_AXES). Any thread.
///
/// # Safety
/// `made` is null or a place for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_tracker_create(
    axes: usize,
    made: *mut strandline_tracker,
) -> strandline_status {
    guard(|| {
        // SAFETY: the caller's.
        let made = unsafe { Output::new(made, "made")? };
        if !(1..=STRANDLINE_MAX_AXES).contains(&axes) {
            return Err(Fault::new(
                strandline_status::INVALID,
                format_args!("a tracker for {axes} axes"),
            ));
        }
        made.set(strandline_tracker { id: TRACKERS.insert(Arc::new(Tracker::new(axes)))? });
        Ok(())
    })
}

/// Gives a tracker back. Pools over it go on, and hear of no more progress; calls that wait on other threads go on, too. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strandline_tracker_destroy(tracker: strandline_tracker) -> strandline_status {
    guard(|| TRACKERS.remove(tracker.id, |_| Ok(())).map(drop))
}

/// Adds an axis, at epoch 0. INVALID: it is there already. FULL: no room. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strandline_tracker_register(
    tracker: strandline_tracker,
    axis: u64,
) -> strandline_status {
    guard(|| {
        let tracker = TRACKERS.get(tracker.id)?;
        tracker.register(Axis::from_bits(axis)).map_err(|error| fault(&error))
    })
}

/// Tells that an axis has reached an epoch: its work up to there is done and visible. An earlier epoch changes nothing. Wakes
/// exactly those whose waits are over. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strandline_tracker_advance(
    tracker: strandline_tracker,
    axis: u64,
    epoch: u64,
) -> strandline_status {
    guard(|| {
        let tracker = TRACKERS.get(tracker.id)?;
        tracker.advance(Axis::from_bits(axis), epoch).map_err(|error| fault(&error))
    })
}

/// The epoch that an axis has reached; 0 for one that is not registered. Any thread.
///
/// # Safety
/// `epoch` is null or a place for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_tracker_reached(
    tracker: strandline_tracker,
    axis: u64,
    epoch: *mut u64,
) -> strandline_status {
    guard(|| {
        // SAFETY: the caller's.
        let epoch = unsafe { Output::new(epoch, "epoch")? };
        epoch.set(TRACKERS.get(tracker.id)?.reached(Axis::from_bits(axis)));
        Ok(())
    })
}

/// Tells that an axis has failed and makes no more progress: what waits for later epochs of it ends with ENDED. `why` is a text, or null.
/// Any thread.
///
/// # Safety
/// `why` is null or points to a text that ends with 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_tracker_fail(
    tracker: strandline_tracker,
    axis: u64,
    why: *const c_char,
) -> strandline_status {
    guard(|| {
        let why = if why.is_null() {
            "no reason was given".into()
        } else {
            // SAFETY: not null, and the caller vouches for the rest.
            unsafe { CStr::from_ptr(why) }.to_string_lossy()
        };
        let tracker = TRACKERS.get(tracker.id)?;
        let failed = tracker.fail_axis(Axis::from_bits(axis), Failure::message(why));
        failed.map(drop).map_err(|error| fault(&error))
    })
}

/// Blocks until a frontier is reached, `nanoseconds` at most. TIMED_OUT: it is not. ENDED: it never will be. Any thread but one that has
/// to advance the tracker for this wait to end.
///
/// # Safety
/// `frontier` is null or points to what its type says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strandline_tracker_wait(
    tracker: strandline_tracker,
    frontier: *const strandline_frontier,
    nanoseconds: u64,
) -> strandline_status {
    guard(|| {
        let begun = Instant::now();
        let limit = Duration::from_nanos(nanoseconds);
        // SAFETY: the caller's.
        let frontier = unsafe { Given::read(input(frontier, "frontier")?)? };
        let tracker = TRACKERS.get(tracker.id)?;
        let end: Arc<(Mutex<End>, Condvar)> = Arc::default();
        let told = Arc::clone(&end);
        let id = tracker
            .wait(frontier.as_ref(), move |result| {
                *told.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                told.1.notify_all();
            })
            .map_err(|error| fault(&error))?;
        let mut ended = end.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match ended.take() {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => return Err(Fault::new(strandline_status::ENDED, error)),
                None => {}
            }
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                drop(ended);
                tracker.cancel(id);
                return Err(Fault::new(
                    strandline_status::TIMED_OUT,
                    format_args!("not reached within {nanoseconds} ns"),
                ));
            }
            ended = end.1.wait_timeout(ended, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    })
}
