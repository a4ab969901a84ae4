//! What a tracker says of memory. Fences belong to memory alone: whoever waits for work is not told that it was done.

use super::{Inner, State, Tracker};
use crate::axis::{Axis, Epoch};
use crate::frontier::Entry;
use crate::notification::Notification;
use crate::progress::Progress;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a tracker says of memory: an axis that is fenced has nothing left to reach.
#[derive(Debug)]
pub(super) struct OfMemory(pub(super) Tracker);

impl OfMemory {
    /// Looks which fences have nothing to wait for any more, unless no axis has moved since the last look. One that takes effect may be what
    /// others wait for, so it looks until there is none; those that wait in a circle wait for ever, and nobody else.
    #[cold]
    fn settle_fences(&self) {
        let Inner { table, version, state, .. } = &*self.0.inner;
        let mut state = state.lock();
        let State { fences, fences_seen, .. } = &mut *state;
        let now = Some(version.look());
        if *fences_seen == now {
            return;
        }
        *fences_seen = now;
        let is_there = |e: &Entry| {
            let slot = table.find(e.axis);
            slot.is_some_and(|(_, slot)| slot.reached_or_fenced() >= e.epoch)
        };
        let mut settled = Vec::new();
        loop {
            let before = fences.len();
            fences.retain(|(of, epoch, after)| {
                let is_over = after.as_ref().entries().iter().all(is_there);
                if is_over {
                    table.slot(*of).fence(*epoch);
                    settled.push(*of);
                }
                !is_over
            });
            if fences.len() == before {
                break;
            }
        }
        for index in settled {
            table.slot(index).set_conditional(fences.iter().any(|(of, ..)| *of == index));
        }
    }
}

impl Progress for OfMemory {
    #[inline]
    fn reached(&self, axis: Axis) -> Epoch {
        let Some((_, slot)) = self.0.inner.table.find(axis) else { return 0 };
        if slot.is_conditional() {
            self.settle_fences();
        }
        slot.reached_or_fenced()
    }

    #[inline]
    fn is_known(&self, axis: Axis) -> bool {
        self.0.is_known(axis)
    }

    fn moved(&self) -> Option<&Arc<Notification>> {
        self.0.moved()
    }

    /// A fence changes it too; one that waits for others takes effect when they move, which changes it.
    fn version(&self) -> Option<u64> {
        self.0.version()
    }
}
