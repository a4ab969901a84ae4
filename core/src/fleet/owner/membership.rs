//! Who joins, who is gone, and what comes back then.

use super::super::message::{JoinRefusal, Message, Terms, Who};
use super::super::names::{Names, Peer};
use super::calls::Calls;
use super::{Cause, FenceError, Fencing, MemberRecord, MemberState, Owner, OwnerEvent};
use crate::failure::Failure;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

/// Processes that are remembered once they are members no more.
const PAST: usize = 4096;

impl Owner {
    pub(super) fn join(&mut self, peer: Peer, nonce: u64) -> Vec<u8> {
        let answer = match self.try_join(peer, nonce) {
            Ok(names) => Message::Welcome {
                nonce,
                who: Who { incarnation: self.config.incarnation, names },
                terms: self.terms(),
                digest: self.digest(true),
            },
            Err(why) => {
                self.counters.joins_refused += 1;
                Message::JoinRefused { nonce, why }
            }
        };
        answer.encode()
    }

    fn try_join(&mut self, peer: Peer, nonce: u64) -> Result<Names, JoinRefusal> {
        if let Some(&names) = self.live.get(&peer) {
            match nonce.cmp(&self.records[&names].nonce) {
                core::cmp::Ordering::Equal => {
                    // Its welcome was lost. The lease goes on from when the first of its joins came.
                    self.counters.repeated += 1;
                    return Ok(names);
                }
                core::cmp::Ordering::Less => return Err(JoinRefusal::Superseded),
                core::cmp::Ordering::Greater => {}
            }
        }
        if self.past.contains(&(peer, nonce)) {
            return Err(JoinRefusal::Returned);
        }
        if let Some(&names) = self.live.get(&peer) {
            self.end(names, Cause::Replaced);
        }
        if self.live.len() >= self.config.limits.members {
            return Err(JoinRefusal::Full);
        }
        let names = self.names.allot().ok_or(JoinRefusal::NoNames)?;
        let doubt = names.doubt();
        // No room for its first axis is no room for a member.
        self.tracker.register(doubt).map_err(|_| JoinRefusal::Full)?;
        let record = MemberRecord {
            peer,
            nonce,
            state: MemberState::Live,
            renewed: self.now,
            renewal: 0,
            axes: BTreeSet::from([doubt]),
            held: BTreeSet::new(),
            unknown: BTreeSet::new(),
            calls: Calls::default(),
        };
        self.records.insert(names, record);
        self.live.insert(peer, names);
        self.changed = true;
        self.events.push_back(OwnerEvent::Joined { names, peer });
        Ok(names)
    }

    fn terms(&self) -> Terms {
        let (limits, properties) = (self.config.limits, self.pool.properties());
        Terms {
            lease: self.config.lease,
            drift_ppm: self.config.drift_ppm,
            message_bytes: limits.message_bytes as u64,
            ops: limits.ops as u64,
            window: limits.window as u64,
            axes: limits.axes as u64,
            memory_type: properties.memory_type.bits(),
            usage: properties.usage.bits(),
            alignment: properties.alignment,
            max_request: properties.max_request,
        }
    }

    /// A member says that it goes, and that nothing of it touches lent memory any more: that is a fence.
    pub(super) fn leave(&mut self, peer: Peer, who: Who) -> Option<Vec<u8>> {
        match self.admit(peer, who) {
            Ok(names) => {
                self.end(names, Cause::Left);
                self.release_all(names);
                Some(Message::Left { who }.encode())
            }
            Err(answer) => answer,
        }
    }

    /// The host says that a member is gone: its connection has ended, say. That is a suspicion, which may be wrong: what the
    /// member held is in doubt from now on, and the member is refused if it comes back. False when it is not live.
    pub fn fail(&mut self, names: Names) -> bool {
        let is_live =
            self.records.get(&names).is_some_and(|record| record.state == MemberState::Live);
        if is_live {
            self.end(names, Cause::Lost);
        }
        is_live
    }

    /// As [`fail`](Self::fail), of the process that joined with this nonce, whichever member it is.
    pub fn lost(&mut self, peer: Peer, nonce: u64) -> bool {
        let names = self.member_of(peer).filter(|names| self.records[names].nonce == nonce);
        names.is_some_and(|names| self.fail(names))
    }

    /// Whether this is a member of this run of the owner, and live.
    #[must_use]
    pub fn is_live(&self, who: Who) -> bool {
        let record = self.records.get(&who.names);
        who.incarnation == self.config.incarnation
            && record.is_some_and(|record| record.state == MemberState::Live)
    }

    /// The live member of a peer.
    #[must_use]
    pub fn member_of(&self, peer: Peer) -> Option<Names> {
        self.live.get(&peer).copied()
    }

    /// A live member fails: its axes end before anybody is told.
    fn end(&mut self, names: Names, cause: Cause) {
        let Some(record) = self.records.get_mut(&names) else { return };
        let failure = Failure::message(format!("member {names} of the fleet: {cause}"));
        for &axis in &record.axes {
            // Registered when it became the member's; only this ends it.
            let _ = self.tracker.fail_axis(axis, failure.clone());
        }
        record.state = MemberState::Failed { cause, since: self.now };
        record.calls = Calls::default();
        let held = record.held.iter().filter_map(|&token| self.holdings.get(token)?.key);
        let keys: Vec<_> = held.collect();
        self.live.remove(&record.peer);
        if self.past.len() == PAST {
            self.past.pop_front();
        }
        self.past.push_back((record.peer, record.nonce));
        let peer = record.peer;
        keys.into_iter().for_each(|key| self.revoke(Some(key)));
        self.changed = true;
        self.events.push_back(OwnerEvent::Failed { names, peer, cause });
    }

    /// The host has made sure that nothing of a failed member touches lent memory any more: its process has ended, keys are
    /// revoked, transfers under way are over. What it held goes back to the pool, and what died at its axes is over as far as they
    /// are concerned.
    ///
    /// # Errors
    /// [`FenceError`]; nothing has changed then.
    pub fn fenced(&mut self, names: Names) -> Result<(), FenceError> {
        match self.records.get(&names).ok_or(FenceError::Unknown)?.state {
            MemberState::Live => Err(FenceError::Live),
            MemberState::Failed { .. } => {
                self.release_all(names);
                Ok(())
            }
        }
    }

    fn release_all(&mut self, names: Names) {
        let Some(record) = self.records.remove(&names) else { return };
        // First, so that what goes back does not wait for them.
        for &axis in &record.axes {
            let _ = self.tracker.fence_axis(axis);
        }
        let (mut reservations, mut bytes) = (0, 0);
        for token in record.held.into_iter().chain(record.unknown) {
            let Some(holding) = self.holdings.remove(token) else { continue };
            reservations += 1;
            bytes += holding.reservation.size();
            let rest = self.unreached(&holding.counted);
            self.put_back(holding.reservation, rest.as_ref().into());
        }
        self.charges.forget(names);
        for &axis in &record.axes {
            // It goes on to be known as fenced; its place is free for another.
            let _ = self.tracker.retire_axis(axis);
        }
        self.over += 1;
        if !matches!(record.state, MemberState::Failed { cause: Cause::Left, .. }) {
            self.fenced = (self.fenced.0 + 1, self.fenced.1 + bytes);
        }
        self.pool.poll();
        self.look();
        self.events.push_back(OwnerEvent::Over { names, peer: record.peer, reservations, bytes });
    }

    /// Members whose lease is over fail; where the lease is the fence, they are fenced by it.
    pub(super) fn expire(&mut self) {
        let (now, lease) = (self.now, self.config.lease);
        let is_over = |record: &MemberRecord| now.saturating_sub(record.renewed) >= lease;
        let over: Vec<_> = self.records.iter().filter(|(_, record)| is_over(record)).collect();
        let over: Vec<_> = over.into_iter().map(|(&names, record)| (names, record.state)).collect();
        for (names, state) in over {
            if state == MemberState::Live {
                self.end(names, Cause::Lease);
            }
            if self.config.fencing == Fencing::Lease {
                self.release_all(names);
            }
        }
    }
}
