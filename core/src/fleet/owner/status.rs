//! The owner's picture of the fleet, for people.

use super::super::Time;
use super::super::names::{Names, Peer};
use super::{Cause, Owner};
use crate::pool::PoolStats;
use alloc::vec::Vec;

/// Messages that came and were not simply done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// No message.
    pub malformed: u64,
    /// Longer than permitted, or calls of more things.
    pub oversized: u64,
    /// In another's name: of a member or of its axes, or what only an owner says.
    pub forged: u64,
    /// From members that are none any more.
    pub returned: u64,
    /// That had come before, and were answered as before. Retries are among them.
    pub repeated: u64,
    /// That had come and been answered, so that they were passed over: late duplicates, or a replay.
    pub replayed: u64,
    /// Calls beyond the window.
    pub flooded: u64,
    /// Axes beyond the limit of a member, or of the tracker.
    pub crowded: u64,
    /// Reads and writes with a key that is none, or none any more, or beyond its reservation.
    pub keys_refused: u64,
    /// Joins that were refused.
    pub joins_refused: u64,
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It is there.
    Live,
    /// It is not: everything of it is in doubt.
    Failed {
        /// Why.
        cause: Cause,
        /// Since when.
        since: Time,
    },
}

/// A member, as the owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its names.
    pub names: Names,
    /// Who it is.
    pub peer: Peer,
    /// Where it is.
    pub state: MemberState,
    /// Its axes.
    pub axes: usize,
    /// Nanoseconds since its latest renewal came.
    pub lag: Time,
    /// Reservations that it holds, or that are in doubt; without those that it released with an unknown death.
    pub reservations: usize,
    /// Bytes charged for what it holds, and for what it released with an unknown death.
    pub held: u64,
    /// Bytes that it released and that are waited for.
    pub pending: u64,
}

/// The fleet.
#[derive(Clone, Debug)]
pub struct OwnerStatus {
    /// Members that are live or failed, by their names.
    pub members: Vec<MemberStatus>,
    /// Bytes that live members hold.
    pub lent: u64,
    /// Bytes that failed members held.
    pub in_doubt: u64,
    /// Members that are over.
    pub over: u64,
    /// Of those, fenced after they had failed.
    pub fenced: u64,
    /// Bytes of reservations that came back with their fences.
    pub fenced_bytes: u64,
    /// How many can join yet.
    pub names_left: usize,
    /// Messages.
    pub counters: Counters,
    /// The pool.
    pub pool: PoolStats,
}

impl Owner {
    /// The fleet now. Cost: linear in the members.
    #[must_use]
    pub fn status(&self) -> OwnerStatus {
        let members: Vec<MemberStatus> = self
            .records
            .iter()
            .map(|(&names, record)| {
                let charge = self.charges.of(names);
                MemberStatus {
                    names,
                    peer: record.peer,
                    state: record.state,
                    // Without the axis of doubt.
                    axes: record.axes.len() - 1,
                    lag: self.now.saturating_sub(record.renewed),
                    reservations: record.held.len(),
                    held: charge.held,
                    pending: charge.pending,
                }
            })
            .collect();
        let sum = |live: bool| {
            let of = members.iter().filter(|m| (m.state == MemberState::Live) == live);
            of.map(|member| member.held).sum()
        };
        OwnerStatus {
            lent: sum(true),
            in_doubt: sum(false),
            over: self.over,
            fenced: self.fenced.0,
            fenced_bytes: self.fenced.1,
            names_left: self.names.left(),
            counters: self.counters,
            pool: self.pool.stats(),
            members,
        }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}
