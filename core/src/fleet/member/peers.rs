//! What a member knows of the others: who they are, how far their axes have come, and who is gone.

use super::super::message::{Digest, Reached};
use super::super::names::{Names, Peer};
use crate::axis::Axis;
use crate::failure::Failure;
use crate::frontier::Entry;
use crate::progress::Progress;
use crate::tracker::Tracker;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// Members, as of the latest digest that has come.
    members: BTreeMap<Names, Peer>,
    digest: u64,
    moves: u64,
    /// How many axes of each are in the tracker.
    axes: BTreeMap<Names, u64>,
}

impl Peers {
    /// An axis is as far as this at least. One that is new is taken if its member has fewer than `most`.
    fn raise(&mut self, tracker: &Tracker, Entry { axis, epoch }: Entry, most: u64) {
        // A tracker that is full, or in which the axis has ended, stays behind: that is allowed.
        if tracker.is_known(axis) {
            let _ = tracker.advance(axis, epoch);
            return;
        }
        let axes = self.axes.entry(Names::of(axis)).or_default();
        if *axes < most && tracker.register_at(axis, epoch).is_ok() {
            *axes += 1;
        }
    }

    /// Whether memory may have become free since the latest digest.
    pub(super) fn moved(&mut self, moves: u64) -> bool {
        let more = moves > self.moves;
        self.moves = self.moves.max(moves);
        more
    }

    /// Another member's own word. False if it is not its own. Of more axes than `most` it is not believed.
    pub(super) fn hear(
        &mut self,
        peer: Peer,
        names: Names,
        reached: &Reached,
        tracker: &Tracker,
        most: u64,
    ) -> bool {
        // One that the owner has not told of yet is told again.
        let is_its = |axis: Axis| Names::of(axis) == names && axis != names.doubt();
        if self.members.get(&names) != Some(&peer) || !reached.0.iter().all(|e| is_its(e.axis)) {
            return false;
        }
        reached.0.iter().for_each(|&entry| self.raise(tracker, entry, most));
        true
    }

    /// The owner's word: who is gone.
    pub(super) fn heed(&mut self, digest: &Digest, own: Names, tracker: &Tracker) -> Vec<Names> {
        // Of an earlier one who is missing may have joined since, and who is there may be gone.
        if digest.number <= self.digest {
            return Vec::new();
        }
        self.digest = digest.number;
        let now = digest.members.iter().map(|member| (member.names, member.peer));
        let mut gone = core::mem::replace(&mut self.members, now.collect());
        gone.retain(|names, _| *names != own && !self.members.contains_key(names));
        for &entry in &digest.reached.0 {
            if Names::of(entry.axis) != own {
                self.raise(tracker, entry, u64::MAX);
            }
        }
        if !gone.is_empty() {
            self.axes.retain(|names, _| !gone.contains_key(names));
            for status in tracker.axes() {
                let names = Names::of(status.axis);
                if status.end.is_none() && gone.contains_key(&names) {
                    let failure = Failure::message(format!("member {names} of the fleet is gone"));
                    let _ = tracker.fail_axis(status.axis, failure);
                    let _ = tracker.retire_axis(status.axis);
                }
            }
        }
        gone.into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::message::MemberId;
    use super::*;
    use crate::Frontier;
    use alloc::vec;

    /// Whoever names more axes than a member may have would fill the trackers of all others.
    #[test]
    fn a_member_is_believed_in_so_many_axes_only() {
        let (own, names) = (Names { session: 0, machine: 1 }, Names { session: 0, machine: 2 });
        let (mut peers, tracker, peer) = (Peers::default(), Tracker::new(64), Peer(2));
        let digest = |number, members| Digest {
            incarnation: 1,
            number,
            moves: 0,
            members,
            reached: Reached(Vec::new()),
        };
        peers.heed(&digest(1, vec![MemberId { names, peer }]), own, &tracker);
        let axis = |ordinal| Axis::host(ordinal).with_machine(2);
        let reached = |epoch| Reached((0..10).map(|at| Entry { axis: axis(at), epoch }).collect());
        assert!(peers.hear(peer, names, &reached(1), &tracker, 3));
        assert!(peers.hear(peer, names, &reached(2), &tracker, 3));
        let known = (0..10).filter(|&ordinal| tracker.is_known(axis(ordinal))).count();
        assert_eq!(known, 3);
        let first = Frontier::from_entries((0..3).map(|at| Entry { axis: axis(at), epoch: 2 }));
        assert!(first.unwrap().as_ref().is_satisfied(&tracker), "those that are known go on");
        // The owner's word counts, whatever the number.
        let mut all = digest(2, vec![MemberId { names, peer }]);
        all.reached = reached(3);
        peers.heed(&all, own, &tracker);
        assert!((0..10).all(|ordinal| tracker.is_known(axis(ordinal))));
        peers.heed(&digest(3, Vec::new()), own, &tracker);
        assert!(peers.axes.is_empty(), "who is gone is not counted any more");
    }
}
