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

    /// Whether the host has not seen this event yet.
    pub(super) const fn holds(&self, number: Sequence) -> bool {
        number >= self.taken
    }

    /// Puts another event in the place of one that the host has not seen.
    pub(super) fn replace(&mut self, number: Sequence, event: QueueEvent) {
        let index = number.checked_sub(self.taken).and_then(|index| usize::try_from(index).ok());
        if let Some(slot) = index.and_then(|index| self.events.get_mut(index)) {
            *slot = event;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}
