//! A member's calls: sent again until they are answered.

use super::super::message::{Answer, MAX_ENTRIES, Message, Op, OwnedDeath, Refusal, Terms, Who};
use super::super::remote::{MAX_PIECE, moved};
use super::{CallError, MemberConfig, Retry, Time};
use crate::frontier::Frontier;
use crate::progress::Progress;
use crate::tracker::Tracker;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// More bytes than an operation takes besides the entries of its frontier, and than an entry takes.
const BYTES: (usize, usize) = (48, 18);

#[derive(Debug)]
struct Call {
    ops: Vec<Op>,
    /// `None` before it was sent.
    retry: Option<Retry>,
    /// The host hears of the answers.
    is_heard: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct CallBook {
    calls: BTreeMap<u64, Call>,
    next: u64,
    window: u64,
    /// Releases that name an axis of which the owner has not heard, and when to say them again.
    deferred: Vec<(Time, Op)>,
}

/// The frontier of an operation, if it has one, and whether the owner has to know all its axes.
fn frontier(op: &Op) -> Option<(&Frontier, bool)> {
    match op {
        Op::Acquire { ask } => Some((&ask.frontier, false)),
        Op::Release { death: OwnedDeath::After { frontier }, .. } | Op::Share { frontier, .. } => {
            Some((frontier, true))
        }
        Op::Release { .. }
        | Op::Cancel { .. }
        | Op::Open { .. }
        | Op::Read { .. }
        | Op::Write { .. } => None,
    }
}

/// Whether the owner can take a call.
pub(super) fn check(ops: &[Op], terms: &Terms, tracker: &Tracker) -> Result<(), CallError> {
    let mut bytes = BYTES.0;
    for op in ops {
        bytes += BYTES.0;
        if let Op::Write { piece, .. } = op {
            bytes += piece.as_bytes().len();
        }
        let Some((frontier, known)) = frontier(op) else { continue };
        if frontier.len() > MAX_ENTRIES {
            return Err(CallError::TooWide);
        }
        bytes += frontier.len() * BYTES.1;
        let unknown = |axis| known && !tracker.is_known(axis);
        let mut axes = frontier.as_ref().entries().iter().map(|entry| entry.axis);
        if let Some(axis) = axes.find(|&axis| unknown(axis)) {
            return Err(CallError::UnknownAxis(axis));
        }
    }
    let fits = ops.len() as u64 <= terms.ops
        && bytes as u64 <= terms.message_bytes
        && moved(ops) <= MAX_PIECE as u64;
    if ops.is_empty() || !fits { Err(CallError::TooMany { most: terms.ops }) } else { Ok(()) }
}

impl CallBook {
    pub(super) const fn open(&mut self, window: u64) {
        self.window = window;
    }

    pub(super) fn add(&mut self, ops: Vec<Op>, is_heard: bool) -> u64 {
        let id = self.next;
        self.next += 1;
        self.calls.insert(id, Call { ops, retry: None, is_heard });
        id
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len() + self.deferred.len()
    }

    pub(super) fn clear(&mut self) {
        self.calls.clear();
        self.deferred.clear();
    }

    /// An answer has come: what the host is to hear. An error if it is not the answer to anything.
    pub(super) fn answered(
        &mut self,
        id: u64,
        mut answers: Vec<Answer>,
        due: Time,
    ) -> Result<Option<Vec<Answer>>, ()> {
        let fits = |call: &&Call| call.retry.is_some() && call.ops.len() == answers.len();
        self.calls.get(&id).filter(fits).ok_or(())?;
        let Some(Call { ops, is_heard, .. }) = self.calls.remove(&id) else { return Err(()) };
        for (op, answer) in ops.into_iter().zip(&mut answers) {
            let is_early = matches!(answer, Answer::Refused { why: Refusal::UnknownAxis { .. } });
            if is_early && matches!(op, Op::Release { .. }) {
                self.deferred.push((due, op));
                *answer = Answer::Done;
            }
        }
        Ok(is_heard.then_some(answers))
    }

    /// Says deferred releases again.
    pub(super) fn revive(&mut self, now: Time) {
        let due = self.deferred.extract_if(.., |(due, _)| *due <= now).map(|(_, op)| op);
        for op in due.collect::<Vec<_>>() {
            self.add(alloc::vec![op], false);
        }
    }

    /// Sends what is due, within the window.
    pub(super) fn send(
        &mut self,
        now: Time,
        config: &MemberConfig,
        who: Who,
        mut send: impl FnMut(Vec<u8>),
    ) {
        let Some(floor) = self.calls.keys().next().copied() else { return };
        for (&id, call) in self.calls.range_mut(..floor.saturating_add(self.window)) {
            let wait = match call.retry {
                None => config.retry,
                Some(Retry { due, wait }) if due <= now => wait,
                Some(_) => continue,
            };
            let next = wait.saturating_mul(2).min(config.retry_most);
            call.retry = Some(Retry { due: now.saturating_add(wait), wait: next });
            send(Message::Call { who, id, floor, ops: call.ops.clone() }.encode());
        }
    }

    /// When something is due.
    pub(super) fn next(&self) -> Time {
        let calls = self.calls.values().filter_map(|call| call.retry).map(|retry| retry.due);
        let deferred = self.deferred.iter().map(|(due, _)| *due);
        calls.chain(deferred).fold(Time::MAX, Time::min)
    }
}
