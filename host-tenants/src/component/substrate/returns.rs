//! Releases on their way into the component.
//!
//! ```text
//!   release ──▶ Returns: [ key, death ] ──▶ the next call on the pool ──▶ component
//! ```
//!
//! A release to a TLSF pool changes nothing before somebody looks at the pool: natively it is a push to the pool's
//! inbox, which the next acquire empties. So it need not cross at once. It waits here and crosses with the next
//! call on the pool, in the order of the releases: within that call if it is the only one, else with those of the
//! same death as a batch.

use std::sync::{Mutex, MutexGuard, PoisonError};
use strandline_core::{Death, Entry};

/// Releases that wait here at the most.
const LIMIT: usize = 256;

/// A release.
#[derive(Clone, Copy, Debug)]
pub(super) struct Returned {
    /// The key in the pool's ledger.
    pub(super) key: u32,
    /// `None` is idle.
    pub(super) death: Option<Entry>,
}

impl Returned {
    /// A death of one entry at the most, which can wait here.
    pub(super) fn short(death: Death<'_>) -> Option<Option<Entry>> {
        match death {
            Death::Idle => Some(None),
            Death::After(frontier) => match frontier.entries() {
                [] => Some(None),
                &[entry] => Some(Some(entry)),
                _ => None,
            },
            Death::Unknown => None,
        }
    }
}

/// The releases of one pool that wait.
#[derive(Debug, Default)]
pub(super) struct Returns(Mutex<Vec<Returned>>);

impl Returns {
    /// Adds one; `true` when there are so many that it is time to hand them over.
    pub(super) fn push(&self, returned: Returned) -> bool {
        let mut list = self.list();
        list.push(returned);
        list.len() >= LIMIT
    }

    /// The one that waits, if it is the only one.
    pub(super) fn take_single(&self) -> Option<Returned> {
        let mut list = self.list();
        if list.len() == 1 { list.pop() } else { None }
    }

    /// All that wait, the oldest first.
    pub(super) fn take(&self) -> Vec<Returned> {
        std::mem::take(&mut *self.list())
    }

    fn list(&self) -> MutexGuard<'_, Vec<Returned>> {
        // Nothing panics under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
