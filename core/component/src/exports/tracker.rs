//! `tracker`: callbacks of the core become numbers that the host collects.
//!
//! ```text
//!   wait ──▶ core tracker ── callback ──▶ over: [number, outcome] ──▶ collect
//! ```

use crate::bindings::Component;
use crate::bindings::exported::tracker::{AxisStatus, Finished, Guest, GuestTracker, TrackerError};
use crate::bindings::imported::types::{Axis, Entry, Epoch, Frontier, FrontierError};
use crate::convert;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use spin::Mutex;
use strandline_core::table::Table;
use strandline_core::{Failure, Progress, Tracker, WaitError, WaitId, axis};

/// Waits that are over and not collected.
type Over = Arc<Mutex<VecDeque<(u64, Result<(), WaitError>)>>>;

/// A tracker, its waits by number, and those that are over.
pub struct Handle {
    tracker: Tracker,
    /// Empty while the core has not named the wait yet.
    waits: RefCell<Table<u64, Option<WaitId>>>,
    over: Over,
}

impl Handle {
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            tracker: Tracker::new(capacity as usize),
            waits: RefCell::default(),
            over: Over::default(),
        }
    }

    pub(crate) const fn tracker(&self) -> &Tracker {
        &self.tracker
    }
}

impl Guest for Component {
    type Tracker = Handle;
}

impl GuestTracker for Handle {
    fn register(&self, axis: Axis, reached: Epoch) -> Result<(), TrackerError> {
        self.tracker
            .register_at(axis::Axis::from_bits(axis), reached)
            .map_err(|error| convert::tracker_error(&error))
    }

    fn advance(&self, axis: Axis, epoch: Epoch) -> Result<(), TrackerError> {
        self.tracker
            .advance(axis::Axis::from_bits(axis), epoch)
            .map_err(|error| convert::tracker_error(&error))
    }

    fn advance_batch(&self, entries: Vec<Entry>) -> Result<(), TrackerError> {
        entries.iter().try_for_each(|entry| self.advance(entry.axis, entry.epoch))
    }

    fn reached(&self, axis: Axis) -> Epoch {
        self.tracker.reached(axis::Axis::from_bits(axis))
    }

    fn is_satisfied(&self, frontier: Frontier) -> Result<bool, FrontierError> {
        convert::frontier(&frontier, |frontier| frontier.is_satisfied(&self.tracker))
    }

    fn wait(&self, frontier: Frontier) -> Result<u64, TrackerError> {
        // A memory of 32 bits has no room for so many.
        let Ok(number) = self.waits.borrow_mut().insert(None) else {
            return Err(TrackerError::Full(u32::MAX));
        };
        let over = Arc::clone(&self.over);
        let callback = move |outcome| over.lock().push_back((number, outcome));
        let waited = convert::frontier(&frontier, |frontier| self.tracker.wait(frontier, callback));
        let mut waits = self.waits.borrow_mut();
        let error = match waited {
            Ok(Ok(id)) => {
                if let Some(wait) = waits.get_mut(number) {
                    *wait = Some(id);
                }
                return Ok(number);
            }
            Ok(Err(error)) => convert::tracker_error(&error),
            Err(error) => TrackerError::InvalidFrontier(error),
        };
        waits.remove(number);
        Err(error)
    }

    fn cancel(&self, wait: u64) -> bool {
        let mut waits = self.waits.borrow_mut();
        let id = waits.get(wait).copied().flatten();
        let won = id.is_some_and(|id| self.tracker.cancel(id));
        if won {
            waits.remove(wait);
        }
        won
    }

    fn collect(&self, limit: u32) -> Vec<Finished> {
        let mut over = self.over.lock();
        let mut waits = self.waits.borrow_mut();
        let mut finished = Vec::new();
        while finished.len() < limit as usize
            && let Some((wait, outcome)) = over.pop_front()
        {
            waits.remove(wait);
            let outcome = outcome.map_err(|error| convert::wait_error(&error));
            finished.push(Finished { wait, outcome });
        }
        finished
    }

    fn waiting(&self) -> u64 {
        self.tracker.waiting() as u64
    }

    fn fail_axis(&self, axis: Axis, message: String) -> Result<bool, TrackerError> {
        self.tracker
            .fail_axis(axis::Axis::from_bits(axis), Failure::message(message))
            .map_err(|error| convert::tracker_error(&error))
    }

    fn retire_axis(&self, axis: Axis) -> Result<bool, TrackerError> {
        self.tracker
            .retire_axis(axis::Axis::from_bits(axis))
            .map_err(|error| convert::tracker_error(&error))
    }

    fn axes(&self) -> Vec<AxisStatus> {
        self.tracker.axes().iter().map(convert::axis_status).collect()
    }
}
