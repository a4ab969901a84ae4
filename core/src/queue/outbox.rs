//! Events on their way to the host, numbered, so that one not yet taken can be taken back.

use super::QueueEvent;
use alloc::collections::VecDeque;

/// The number of an event: how many came before it.
pub(super) type Sequence = u64;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    events: VecDeque<QueueEvent>,
    /// The number of the first event in the list.
    taken: Sequence,
}

impl Outbox {
    pub(super) fn push(&mut self, event: QueueEvent) -> Sequence {
        self.events.push_back(event);
        self.taken + self.events.len() as Sequence - 1
    }

    pub(super) fn pop(&mut self) -> Option<QueueEvent> {
        let event = self.events.pop_front()?;
        self.taken += 1;
        Some(event)
    }

    /// An event that the host has not seen yet.
    pub(super) fn unseen(&mut self, number: Sequence) -> Option<&mut QueueEvent> {
        let index = usize::try_from(number.checked_sub(self.taken)?).ok()?;
        self.events.get_mut(index)
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}
