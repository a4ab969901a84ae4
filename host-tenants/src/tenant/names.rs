//! Which points in time a tenant may speak of: [`Names`].
//!
//! A tenant that counts on an epoch which will never come, or which is somebody else's secret, could hold
//! memory for ever or learn of others. So it may name
//!
//! - epochs of its own queues that it has submitted, and
//! - epochs of other axes as far as the host has told it of them: those that the host lends, and those in
//!   an answer that requires a wait.
//!
//! Everything that a tenant may name has been submitted already, so it comes about without the tenant's help.
//!
//! Cost: a lookup an entry.

use std::collections::BTreeMap;
use strandline_core::{Axis, Entry, Epoch, Frontier, FrontierError, FrontierRef};

use super::error::TenantError;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The tenant's queues: the last epoch submitted.
    own: BTreeMap<Axis, Epoch>,
    /// Axes of the host: the last epoch it has told of.
    told: BTreeMap<Axis, Epoch>,
}

impl Names {
    /// The tenant has a queue on `axis`.
    pub(super) fn own(&mut self, axis: Axis, submitted: Epoch) {
        self.own.insert(axis, submitted);
    }

    /// A queue of the tenant has given out `epoch`.
    pub(super) fn submitted(&mut self, axis: Axis, epoch: Epoch) {
        if let Some(last) = self.own.get_mut(&axis) {
            *last = (*last).max(epoch);
        }
    }

    /// The host tells of `axis` up to `epoch`.
    pub(super) fn lend(&mut self, axis: Axis, epoch: Epoch) {
        let last = self.told.entry(axis).or_default();
        *last = (*last).max(epoch);
    }

    /// Whether an answer may make the tenant wait for this: its own queues, and axes that the host has lent.
    pub(super) fn may_wait_for(&self, wait: &Frontier) -> bool {
        let entries = wait.as_ref().entries();
        entries.iter().all(|e| self.own.contains_key(&e.axis) || self.told.contains_key(&e.axis))
    }

    /// An answer has told of these entries.
    pub(super) fn tell(&mut self, wait: &Frontier) {
        for entry in wait.as_ref().entries() {
            if let Some(last) = self.told.get_mut(&entry.axis) {
                *last = (*last).max(entry.epoch);
            }
        }
    }

    /// Whether the tenant knows the axis at all.
    pub(super) fn knows(&self, axis: Axis) -> bool {
        self.own.contains_key(&axis) || self.told.contains_key(&axis)
    }

    /// The last epoch of `axis` that the tenant may name, 0 when it does not know the axis.
    pub(super) fn last(&self, axis: Axis) -> Epoch {
        self.own.get(&axis).or_else(|| self.told.get(&axis)).copied().unwrap_or(0)
    }

    /// A frontier of entries that the tenant may name.
    pub(super) fn check<'a>(&self, entries: &'a [Entry]) -> Result<FrontierRef<'a>, TenantError> {
        let frontier = Self::frontier(entries)?;
        match entries.iter().find(|entry| entry.epoch > self.last(entry.axis)) {
            Some(&entry) => Err(TenantError::NotYours(entry)),
            None => Ok(frontier),
        }
    }

    /// A frontier of entries, whatever they name.
    pub(super) fn frontier(entries: &[Entry]) -> Result<FrontierRef<'_>, FrontierError> {
        FrontierRef::try_from_sorted(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_submitted_or_told() {
        let [own, lent, other] = [0, 1, 2].map(|i| Axis::queue(0, i));
        let mut names = Names::default();
        names.own(own, 3);
        names.lend(lent, 0);
        let may = |names: &Names, axis, epoch| names.check(&[Entry::new(axis, epoch)]).is_ok();
        for (axis, epoch, allowed) in
            [(own, 3, true), (own, 4, false), (lent, 1, false), (other, 1, false)]
        {
            assert_eq!(may(&names, axis, epoch), allowed, "{axis}@{epoch}");
        }
        names.submitted(own, 4);
        names.tell(&Frontier::from_entry(lent, 7));
        names.tell(&Frontier::from_entry(other, 7));
        assert!(may(&names, own, 4) && may(&names, lent, 7) && !may(&names, other, 1));
        assert!(names.may_wait_for(&Frontier::from_entry(lent, 9)));
        assert!(!names.may_wait_for(&Frontier::from_entry(other, 1)));
        let unsorted = [Entry::new(lent, 1), Entry::new(own, 1)];
        assert!(matches!(names.check(&unsorted), Err(TenantError::InvalidFrontier(_))));
    }
}
