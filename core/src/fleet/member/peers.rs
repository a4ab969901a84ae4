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
}

/// An axis is as far as this at least.
fn raise(tracker: &Tracker, Entry { axis, epoch }: Entry) {
    // A tracker that is full, or in which the axis has ended, stays behind: that is allowed.
    if tracker.is_known(axis) {
        let _ = tracker.advance(axis, epoch);
    } else {
        let _ = tracker.register_at(axis, epoch);
    }
}

impl Peers {
    /// Whether memory may have become free since the latest digest.
    pub(super) fn moved(&mut self, moves: u64) -> bool {
        let more = moves > self.moves;
        self.moves = self.moves.max(moves);
        more
    }

    /// Another member's own word. False if it is not its own.
    pub(super) fn hear(
        &self,
        peer: Peer,
        names: Names,
        reached: &Reached,
        tracker: &Tracker,
    ) -> bool {
        // One that the owner has not told of yet is told again.
        let is_its = |axis: Axis| Names::of(axis) == names && axis != names.doubt();
        if self.members.get(&names) != Some(&peer) || !reached.0.iter().all(|e| is_its(e.axis)) {
            return false;
        }
        reached.0.iter().for_each(|&entry| raise(tracker, entry));
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
                raise(tracker, entry);
            }
        }
        if !gone.is_empty() {
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
