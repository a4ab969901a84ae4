//! What each member is charged: what it holds, and what it has released until that is reached, or handed out again.
//!
//! Bytes that were released stay charged, or a member could pin the whole pool with releases that die at an epoch which it never
//! reaches. They are charged by address, so that the charge ends when the pool hands the same bytes out again.

use super::super::names::{Names, Peer};
use crate::frontier::Frontier;
use crate::progress::Progress;
use crate::slab::SlabId;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Bytes charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) held: u64,
    pub(super) pending: u64,
}

/// Released bytes that are waited for.
#[derive(Debug)]
struct Pending {
    len: u64,
    names: Names,
    death: Frontier,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Charges {
    members: BTreeMap<Names, (Peer, Charge)>,
    /// Sums over the members of each peer.
    peers: BTreeMap<Peer, u64>,
    /// Ranges that do not overlap.
    pending: BTreeMap<(SlabId, u64), Pending>,
    /// Twice as many as were left when it was settled last.
    crowd: usize,
}

impl Charges {
    /// So many releases were charged since it was settled last that it is worth it.
    pub(super) fn is_crowded(&self) -> bool {
        self.pending.len() > self.crowd + 64
    }

    /// What a member is charged.
    pub(super) fn of(&self, names: Names) -> Charge {
        self.members.get(&names).map_or_else(Charge::default, |(_, charge)| *charge)
    }

    /// What a peer is charged.
    pub(super) fn of_peer(&self, peer: Peer) -> u64 {
        self.peers.get(&peer).copied().unwrap_or(0)
    }

    /// Charges a reservation to a member; whoever was charged for its bytes is charged for them no more.
    pub(super) fn take(
        &mut self,
        (names, peer): (Names, Peer),
        range: (SlabId, u64, u64),
        footprint: u64,
    ) {
        self.displace(range);
        let (_, charge) = self.members.entry(names).or_insert((peer, Charge::default()));
        charge.held += footprint;
        *self.peers.entry(peer).or_default() += footprint;
    }

    /// A member has given bytes back, which are waited for unless `death` is empty.
    pub(super) fn give(
        &mut self,
        names: Names,
        (slab, offset, len): (SlabId, u64, u64),
        footprint: u64,
        death: Frontier,
    ) {
        self.change(names, |charge| charge.held -= footprint);
        if death.is_empty() {
            return;
        }
        self.change(names, |charge| charge.pending += len);
        self.pending.insert((slab, offset), Pending { len, names, death });
    }

    /// Charges no more for what is reached.
    pub(super) fn settle(&mut self, progress: &dyn Progress) {
        let is_over = |pending: &Pending| pending.death.as_ref().is_satisfied(progress);
        let over: Vec<(SlabId, u64)> =
            self.pending.iter().filter(|(_, p)| is_over(p)).map(|(&at, _)| at).collect();
        for at in over {
            if let Some(Pending { len, names, .. }) = self.pending.remove(&at) {
                self.change(names, |charge| charge.pending -= len);
            }
        }
        self.crowd = 2 * self.pending.len();
    }

    /// A member is over: it is charged for nothing.
    pub(super) fn forget(&mut self, names: Names) {
        self.pending.retain(|_, pending| pending.names != names);
        if let Some((peer, charge)) = self.members.remove(&names) {
            self.discharge(peer, charge.held + charge.pending);
        }
    }

    fn change(&mut self, names: Names, how: impl FnOnce(&mut Charge)) {
        let Some((peer, charge)) = self.members.get_mut(&names) else { return };
        let before = charge.held + charge.pending;
        how(charge);
        let (peer, after) = (*peer, charge.held + charge.pending);
        if after >= before {
            *self.peers.entry(peer).or_default() += after - before;
        } else {
            self.discharge(peer, before - after);
        }
    }

    fn discharge(&mut self, peer: Peer, bytes: u64) {
        if let Some(sum) = self.peers.get_mut(&peer) {
            *sum -= bytes;
            if *sum == 0 {
                self.peers.remove(&peer);
            }
        }
    }

    /// Takes a range out of those that are pending.
    fn displace(&mut self, (slab, start, len): (SlabId, u64, u64)) {
        let end = start + len;
        // The last that begins before may reach into it.
        let before = self.pending.range(..(slab, start)).next_back();
        let before = before.filter(|((of, at), p)| *of == slab && at + p.len > start);
        let first = before.map_or(start, |((_, at), _)| *at);
        let within = self.pending.range((slab, first)..(slab, end)).map(|(&at, _)| at);
        for at in within.collect::<Vec<_>>() {
            let Some(Pending { len, names, death }) = self.pending.remove(&at) else { continue };
            let (from, to) = (at.1, at.1 + len);
            let mut left = 0;
            for (from, to) in [(from, to.min(start)), (from.max(end), to)] {
                if from < to {
                    left += to - from;
                    let rest = Pending { len: to - from, names, death: death.clone() };
                    self.pending.insert((slab, from), rest);
                }
            }
            self.change(names, |charge| charge.pending -= len - left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Axis, NoProgress, Tracker};

    const A: Names = Names { session: 1, machine: 1 };
    const B: Names = Names { session: 1, machine: 2 };

    #[test]
    fn released_bytes_stay_charged_until_reached_or_handed_out_again() {
        let (mut ledger, slab) = (Charges::default(), SlabId::new(0, 0));
        let axis = Axis::host(0).with_session(1).with_machine(1);
        let death = || Frontier::from_entry(axis, 1);
        ledger.take((A, Peer(1)), (slab, 0, 100), 128);
        ledger.give(A, (slab, 0, 100), 128, death());
        assert_eq!(ledger.of(A), Charge { held: 0, pending: 100 });
        // The middle goes to another; two pieces are left.
        ledger.take((B, Peer(2)), (slab, 40, 20), 32);
        assert_eq!(ledger.of(A), Charge { held: 0, pending: 80 });
        assert_eq!((ledger.of_peer(Peer(1)), ledger.of_peer(Peer(2))), (80, 32));
        // The end of the first piece, the beginning of the second, and what lies between.
        ledger.give(B, (slab, 40, 20), 32, Frontier::new());
        ledger.take((B, Peer(2)), (slab, 30, 40), 64);
        assert_eq!(ledger.of(A), Charge { held: 0, pending: 60 });
        ledger.settle(&NoProgress);
        assert_eq!(ledger.of(A).pending, 60);
        let tracker = Tracker::new(1);
        tracker.register_at(axis, 1).unwrap();
        ledger.settle(&tracker);
        assert_eq!(ledger.of(A), Charge::default());
        assert_eq!(ledger.of_peer(Peer(1)), 0);
        ledger.forget(B);
        assert!(ledger.peers.is_empty() && ledger.pending.is_empty());
    }

    #[test]
    fn another_slab_is_not_touched() {
        let mut ledger = Charges::default();
        let [first, second] = [SlabId::new(0, 0), SlabId::new(1, 0)];
        ledger.take((A, Peer(1)), (first, 0, 100), 100);
        ledger.give(
            A,
            (first, 0, 100),
            100,
            Frontier::from_entry(Axis::host(0).with_session(1).with_machine(1), 1),
        );
        ledger.take((A, Peer(1)), (second, 0, 100), 100);
        assert_eq!(ledger.of(A), Charge { held: 100, pending: 100 });
        ledger.forget(A);
        assert!(ledger.peers.is_empty() && ledger.pending.is_empty());
    }
}
