//! The rules of a fleet one by one, without a network: what is asked is answered at once.
#![cfg(all(feature = "fleet", not(loom)))]

use std::sync::{Arc, Mutex};
use strandline_core::fleet::message::{
    Answer, Ask, Gone, JoinRefusal, Lease, Message, Op, OwnedDeath, Reached, Refusal, Source, Who,
};
use strandline_core::fleet::remote::{Key, MAX_PIECE, Piece};
use strandline_core::fleet::{
    Cause, FenceError, Fencing, Limits, MemberState, Names, Owner, OwnerConfig, OwnerEvent, Peer,
    SlabBytes,
};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost};
use strandline_core::slab::{CpuSlabs, SlabError, SlabId};
use strandline_core::{Axis, Entry, Frontier, Tracker};

const SLAB: u64 = 16 << 10;
const LEASE: u64 = 1_000_000;

/// An owner of one slab, and members that say what the tests tell them.
struct Fleet {
    owner: Owner,
    pool: Arc<TlsfPool>,
    now: u64,
    calls: u64,
}

impl Fleet {
    fn new(change: impl FnOnce(&mut OwnerConfig)) -> Self {
        Self::over(Tracker::new(64), change)
    }

    fn over(tracker: Tracker, change: impl FnOnce(&mut OwnerConfig)) -> Self {
        let host = PoolHost::new(Arc::new(CpuSlabs::new(SLAB)), Arc::new(tracker.clone()));
        let config = TlsfPoolConfig { growth: Growth::slabs_of(SLAB), ..Default::default() };
        let pool = Arc::new(TlsfPool::new(host, config).unwrap());
        let mut config = OwnerConfig::new(7, Names { session: 0, machine: 0 });
        config.lease = LEASE;
        change(&mut config);
        Self { owner: Owner::new(config, pool.clone(), tracker), pool, now: 0, calls: 0 }
    }

    fn send(&mut self, peer: u64, message: &Message) -> Option<Message> {
        let answer = self.owner.receive(self.now, Peer(peer), &message.encode())?;
        Some(Message::decode(&answer).unwrap())
    }

    fn join(&mut self, peer: u64, nonce: u64) -> Who {
        match self.send(peer, &Message::Join { nonce }) {
            Some(Message::Welcome { who, .. }) => who,
            other => panic!("{other:?}"),
        }
    }

    fn call(&mut self, peer: u64, who: Who, op: Op) -> Answer {
        self.calls += 1;
        let (id, floor) = (self.calls, self.calls);
        match self.send(peer, &Message::Call { who, id, floor, ops: vec![op] }) {
            Some(Message::Reply { mut answers, .. }) => answers.pop().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// All of the slab, for work after `frontier`.
    fn take(
        &mut self,
        peer: u64,
        who: Who,
        frontier: &Frontier,
    ) -> Result<(Lease, Source), Answer> {
        let ask = Ask { frontier: frontier.clone(), ..Ask::new(SLAB) };
        match self.call(peer, who, Op::Acquire { ask }) {
            Answer::Ready { lease, source } => Ok((lease, source)),
            other => Err(other),
        }
    }

    fn release(&mut self, peer: u64, who: Who, lease: Lease, frontier: &Frontier) {
        let death = OwnedDeath::After { frontier: frontier.clone() };
        let answer = self.call(peer, who, Op::Release { token: lease.token, death });
        assert_eq!(answer, Answer::Done);
    }

    fn reach(&mut self, peer: u64, who: Who, axis: Axis, epoch: u64) {
        let reached = Reached(vec![Entry { axis, epoch }]);
        assert_eq!(self.send(peer, &Message::Progress { who, reached }), None);
    }

    fn gone(&mut self, peer: u64, who: Who) -> Option<Gone> {
        match self.send(peer, &Message::Renew { who, number: 1_000 }) {
            Some(Message::Gone { why, .. }) => Some(why),
            Some(Message::Renewed { .. }) => None,
            other => panic!("{other:?}"),
        }
    }
}

fn fleet() -> Fleet {
    Fleet::new(|_| {})
}

fn axis(who: Who) -> Axis {
    Axis::queue(0, 0).with_session(who.names.session).with_machine(who.names.machine)
}

fn at(who: Who, epoch: u64) -> Frontier {
    Frontier::from_entry(axis(who), epoch)
}

const NOTHING: &Frontier = &Frontier::new();

#[test]
fn failed_is_not_reached_and_fenced_comes_back() {
    let mut fleet = fleet();
    let (a, b) = (fleet.join(1, 1), fleet.join(2, 1));
    let (lease, source) = fleet.take(1, a, NOTHING).unwrap();
    assert_eq!(source, Source::Fresh);
    fleet.release(1, a, lease, &at(a, 5));
    fleet.reach(1, a, axis(a), 4);
    assert!(fleet.take(2, b, NOTHING).is_err(), "4 is not 5");
    assert_eq!(fleet.owner.fenced(a.names), Err(FenceError::Live));
    assert!(fleet.owner.fail(a.names));
    fleet.owner.tick(fleet.now);
    assert!(fleet.take(2, b, NOTHING).is_err(), "failed is not reached");
    // Not even its own word counts now.
    fleet.reach(1, a, axis(a), 5);
    assert!(fleet.take(2, b, NOTHING).is_err());
    fleet.owner.fenced(a.names).unwrap();
    assert_eq!(fleet.take(2, b, NOTHING).unwrap().1, Source::Completion);
    assert_eq!(fleet.owner.fenced(a.names), Err(FenceError::Unknown));
}

#[test]
fn what_a_failed_member_held_is_in_doubt_until_it_is_fenced() {
    let mut fleet = fleet();
    let (a, b) = (fleet.join(1, 1), fleet.join(2, 1));
    fleet.take(1, a, NOTHING).unwrap();
    fleet.now = LEASE - 1;
    fleet.owner.tick(fleet.now);
    assert_eq!(fleet.gone(2, b), None, "renewed");
    fleet.now = LEASE;
    fleet.owner.tick(fleet.now);
    assert_eq!(fleet.gone(1, a), Some(Gone::Failed));
    assert!(fleet.take(2, b, NOTHING).is_err());
    let status = fleet.owner.status();
    assert_eq!((status.lent, status.in_doubt), (0, SLAB));
    let failed = MemberState::Failed { cause: Cause::Lease, since: LEASE };
    assert_eq!(status.members[0].state, failed);
    fleet.owner.fenced(a.names).unwrap();
    fleet.take(2, b, NOTHING).unwrap();
    let events: Vec<_> = std::iter::from_fn(|| fleet.owner.poll_event()).collect();
    let names = a.names;
    let over = OwnerEvent::Over { names, peer: Peer(1), reservations: 1, bytes: SLAB };
    assert!(events.contains(&over), "{events:?}");
}

/// A lease that is the fence: at its end, not before, and never for one that renews.
#[test]
fn where_the_lease_is_the_fence_bytes_come_back_at_its_end() {
    let mut fleet = Fleet::new(|config| config.fencing = Fencing::Lease);
    let (a, b) = (fleet.join(1, 1), fleet.join(2, 1));
    fleet.take(1, a, NOTHING).unwrap();
    fleet.now = LEASE / 2;
    assert_eq!(fleet.gone(2, b), None);
    fleet.owner.fail(a.names);
    for now in [LEASE / 2, LEASE - 1] {
        fleet.now = now;
        fleet.owner.tick(now);
        assert!(fleet.take(2, b, NOTHING).is_err(), "at {now}: suspected only");
    }
    fleet.now = LEASE;
    fleet.owner.tick(fleet.now);
    fleet.take(2, b, NOTHING).unwrap();
}

/// Bytes that a member got because its frontier covered their death keep that death, whatever the member says.
#[test]
fn what_a_member_counted_on_stays_part_of_the_death() {
    for is_killed in [false, true] {
        let mut fleet = fleet();
        let [a, b, c] = [1, 2, 3].map(|peer| fleet.join(peer, 1));
        let (lease, _) = fleet.take(1, a, NOTHING).unwrap();
        fleet.release(1, a, lease, &at(a, 5));
        let (lease, source) = fleet.take(2, b, &at(a, 5)).unwrap();
        assert_eq!(source, Source::Dominance);
        if is_killed {
            fleet.owner.fail(b.names);
            fleet.owner.fenced(b.names).unwrap();
        } else {
            // It never did anything, or waited and gave up.
            fleet.release(2, b, lease, NOTHING);
        }
        assert!(fleet.take(3, c, NOTHING).is_err(), "a is at it still, killed: {is_killed}");
        fleet.reach(1, a, axis(a), 5);
        fleet.take(3, c, NOTHING).unwrap();
    }
}

#[test]
fn what_others_share_stays_part_of_the_death() {
    for cancel in [false, true] {
        let mut fleet = fleet();
        let (a, b) = (fleet.join(1, 1), fleet.join(2, 1));
        fleet.reach(2, b, axis(b), 0);
        let (Lease { token, .. }, _) = fleet.take(1, a, NOTHING).unwrap();
        let share = Op::Share { token, frontier: at(b, 3) };
        assert_eq!(fleet.call(1, a, share), Answer::Done);
        let back = Op::Release { token, death: OwnedDeath::Idle };
        let back = if cancel { Op::Cancel { token } } else { back };
        assert_eq!(fleet.call(1, a, back), Answer::Done);
        assert!(fleet.take(1, a, NOTHING).is_err(), "b is at it still, canceled: {cancel}");
        fleet.reach(2, b, axis(b), 3);
        fleet.take(1, a, NOTHING).unwrap();
    }
}

#[test]
fn an_unknown_death_is_over_with_its_member() {
    let mut fleet = fleet();
    let (a, b) = (fleet.join(1, 1), fleet.join(2, 1));
    let (Lease { token, .. }, _) = fleet.take(1, a, NOTHING).unwrap();
    let unknown = Op::Release { token, death: OwnedDeath::Unknown };
    assert_eq!(fleet.call(1, a, unknown.clone()), Answer::Done);
    let why = Refusal::UnknownReservation;
    assert_eq!(fleet.call(1, a, unknown), Answer::Refused { why }, "it was given back");
    fleet.pool.poll();
    assert!(fleet.take(2, b, NOTHING).is_err());
    assert_eq!(fleet.send(1, &Message::Leave { who: a }), Some(Message::Left { who: a }));
    fleet.take(2, b, NOTHING).unwrap();
}

#[test]
fn a_call_is_done_once_however_often_it_comes() {
    let mut fleet = fleet();
    let a = fleet.join(1, 1);
    let ops = vec![Op::Acquire { ask: Ask::new(256) }];
    let call = Message::Call { who: a, id: 4, floor: 4, ops };
    let first = fleet.send(1, &call);
    assert_eq!(fleet.send(1, &call), first);
    assert_eq!(fleet.owner.status().members[0].reservations, 1);
    // Its answer has come, says the next.
    let ops = vec![Op::Acquire { ask: Ask::new(256) }];
    assert!(fleet.send(1, &Message::Call { who: a, id: 5, floor: 5, ops }).is_some());
    assert_eq!(fleet.send(1, &call), None, "a late copy");
    assert_eq!(fleet.owner.status().members[0].reservations, 2);
    let counters = fleet.owner.counters();
    assert_eq!((counters.repeated, counters.replayed), (1, 1));
}

#[test]
fn a_member_speaks_for_itself_only() {
    let mut fleet = fleet();
    let (a, b) = (fleet.join(1, 1), fleet.join(2, 1));
    let (lease, _) = fleet.take(1, a, NOTHING).unwrap();
    // In another's name, of another's axis, of another's reservation, as an owner, as nobody.
    assert_eq!(fleet.send(2, &Message::Leave { who: a }), None);
    assert_eq!(fleet.send(2, &Message::Renew { who: a, number: 9 }), None);
    fleet.reach(2, b, axis(a), 9);
    let why = Refusal::UnknownReservation;
    let release = Op::Release { token: lease.token, death: OwnedDeath::Idle };
    assert_eq!(fleet.call(2, b, release), Answer::Refused { why });
    assert_eq!(fleet.send(2, &Message::Left { who: b }), None);
    let nobody = Who { names: Names { session: 9, machine: 9 }, ..b };
    assert_eq!(fleet.send(2, &Message::Renew { who: nobody, number: 1 }), None);
    assert_eq!(fleet.owner.counters().forged, 6);
    assert_eq!(fleet.gone(1, a), None, "it is a member as before");
    assert_eq!(fleet.owner.status().lent, SLAB);
}

#[test]
fn what_is_no_message_is_counted() {
    let mut fleet = Fleet::new(|config| config.limits.message_bytes = 64);
    assert_eq!(fleet.owner.receive(0, Peer(1), &[1, 2, 3]), None);
    assert_eq!(fleet.owner.receive(0, Peer(1), &[0; 65]), None);
    let counters = fleet.owner.counters();
    assert_eq!((counters.malformed, counters.oversized), (1, 1));
}

#[test]
fn who_is_gone_does_not_come_back_under_its_old_names() {
    let mut fleet = fleet();
    let a = fleet.join(1, 5);
    fleet.owner.fail(a.names);
    assert_eq!(fleet.gone(1, a), Some(Gone::Failed));
    let returned = Message::JoinRefused { nonce: 5, why: JoinRefusal::Returned };
    assert_eq!(fleet.send(1, &Message::Join { nonce: 5 }), Some(returned));
    fleet.owner.fenced(a.names).unwrap();
    assert_eq!(fleet.gone(1, a), Some(Gone::Over));
    let again = fleet.join(1, 6);
    assert_ne!(again.names, a.names);
    let other = Who { incarnation: 6, ..again };
    assert_eq!(fleet.gone(1, other), Some(Gone::OtherOwner));
    // A later process of the same peer takes its place, an earlier one does not.
    let superseded = Message::JoinRefused { nonce: 4, why: JoinRefusal::Superseded };
    assert_eq!(fleet.send(1, &Message::Join { nonce: 4 }), Some(superseded));
    let latest = fleet.join(1, 7);
    assert_eq!(fleet.gone(1, again), Some(Gone::Failed));
    assert_eq!(fleet.gone(1, latest), None);
}

/// Names that axes of the owner's tracker have already count as given out.
#[test]
fn names_are_given_out_once_and_then_there_are_none() {
    let tracker = Tracker::new(1 << 16);
    let free = |names: Names| names.session == 200 && names.machine < 100;
    for [session, machine] in (0..=u16::MAX).map(u16::to_be_bytes) {
        if !free(Names { session, machine }) {
            tracker.register(Axis::host(0).with_session(session).with_machine(machine)).unwrap();
        }
    }
    let mut fleet = Fleet::over(tracker, |_| {});
    let mut seen = std::collections::BTreeSet::new();
    for nonce in 1..=100 {
        let who = fleet.join(1, nonce);
        assert!(free(who.names) && seen.insert(who.names), "{}", who.names);
        assert!(fleet.send(1, &Message::Leave { who }).is_some());
    }
    assert_eq!(fleet.owner.status().names_left, 0);
    let refused = Message::JoinRefused { nonce: 101, why: JoinRefusal::NoNames };
    assert_eq!(fleet.send(1, &Message::Join { nonce: 101 }), Some(refused));
}

#[test]
fn a_budget_counts_what_is_held_and_what_is_waited_for_over_all_processes_of_a_peer() {
    let limits = Limits { budget: 1024, ..Limits::default() };
    let mut fleet = Fleet::new(|config| {
        config.limits = limits;
        config.budgets = [(Peer(2), 512)].into();
    });
    let a = fleet.join(1, 1);
    let take = |fleet: &mut Fleet, who| fleet.call(1, who, Op::Acquire { ask: Ask::new(512) });
    let Answer::Ready { lease, .. } = take(&mut fleet, a) else { panic!() };
    assert!(matches!(take(&mut fleet, a), Answer::Ready { .. }));
    assert_eq!(take(&mut fleet, a), Answer::OverBudget);
    fleet.release(1, a, lease, &at(a, 1));
    assert_eq!(take(&mut fleet, a), Answer::OverBudget, "released is not over");
    fleet.reach(1, a, axis(a), 1);
    assert!(matches!(take(&mut fleet, a), Answer::Ready { .. }));
    // Another process of this peer has what the first has left in doubt against it.
    let b = fleet.join(1, 2);
    assert_eq!(take(&mut fleet, b), Answer::OverBudget);
    fleet.owner.fenced(a.names).unwrap();
    assert!(matches!(take(&mut fleet, b), Answer::Ready { .. }));
    // A peer that has a budget of its own.
    let other = fleet.join(2, 1);
    let mut ask = || fleet.call(2, other, Op::Acquire { ask: Ask::new(512) });
    assert!(matches!(ask(), Answer::Ready { .. }));
    assert_eq!(ask(), Answer::OverBudget);
}

#[test]
fn a_member_that_floods_is_held_to_its_window_and_its_axes() {
    let limits = Limits { window: 4, axes: 3, ..Limits::default() };
    let mut fleet = Fleet::new(|config| config.limits = limits);
    let a = fleet.join(1, 1);
    for id in 0..1000 {
        let ops = vec![Op::Acquire { ask: Ask::new(256) }];
        let answer = fleet.send(1, &Message::Call { who: a, id, floor: 0, ops });
        assert_eq!(answer.is_some(), id < 4);
    }
    for ordinal in 0..100 {
        let axis = Axis::host(ordinal).with_session(a.names.session).with_machine(a.names.machine);
        fleet.reach(1, a, axis, 1);
    }
    let counters = *fleet.owner.counters();
    assert_eq!((counters.flooded, counters.crowded), (996, 97));
    assert_eq!(fleet.owner.status().members[0].axes, 3);
}

/// The bytes of the one slab.
struct Plain(Mutex<Vec<u8>>);

impl SlabBytes for Plain {
    fn read(&self, _slab: SlabId, offset: u64, into: &mut [u8]) -> Result<(), SlabError> {
        let from = offset as usize;
        into.copy_from_slice(&self.0.lock().unwrap()[from..from + into.len()]);
        Ok(())
    }

    fn write(&self, _slab: SlabId, offset: u64, bytes: &[u8]) -> Result<(), SlabError> {
        let at = offset as usize;
        self.0.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

impl Fleet {
    /// An owner that serves bytes. Its keys are 100, 101, and so on.
    fn serving(change: impl FnOnce(&mut OwnerConfig)) -> (Self, Arc<Plain>) {
        let mut fleet = Self::new(change);
        let bytes = Arc::new(Plain(Mutex::new(vec![0; SLAB as usize])));
        let mut keys = (100..).map(Key::from_bits);
        fleet.owner.serve_bytes(bytes.clone(), move || keys.next().unwrap());
        (fleet, bytes)
    }

    fn open(&mut self, peer: u64, who: Who, lease: Lease) -> Key {
        match self.call(peer, who, Op::Open { token: lease.token }) {
            Answer::Key { key } => key,
            other => panic!("{other:?}"),
        }
    }

    /// Writes four of this byte.
    fn write(&mut self, peer: u64, who: Who, key: Key, offset: u64, byte: u8) -> Answer {
        let piece = Piece::new(vec![byte; 4]).unwrap();
        self.call(peer, who, Op::Write { key, offset, piece })
    }

    fn half(&mut self, peer: u64, who: Who) -> Lease {
        match self.call(peer, who, Op::Acquire { ask: Ask::new(SLAB / 2) }) {
            Answer::Ready { lease, .. } => lease,
            other => panic!("{other:?}"),
        }
    }
}

const NO_KEY: Answer = Answer::Refused { why: Refusal::Key };

#[test]
fn bytes_are_written_and_read_in_the_reservation_of_the_key() {
    let (mut fleet, bytes) = Fleet::serving(|_| {});
    let (a, b) = (fleet.join(1, 1), fleet.join(2, 1));
    let (first, second) = (fleet.half(1, a), fleet.half(1, a));
    let key = fleet.open(1, a, second);
    assert_eq!(fleet.open(1, a, second), key, "one key for a reservation");
    assert_ne!(fleet.open(1, a, first), key);
    assert_eq!(fleet.write(1, a, key, 8, 7), Answer::Done);
    let at = second.offset as usize + 8;
    assert_eq!(bytes.0.lock().unwrap()[at - 1..at + 5], [0, 7, 7, 7, 7, 0]);
    // Another member, to whom the key was handed on.
    let read = Op::Read { key, offset: 7, len: 6 };
    let piece = Piece::new(vec![0, 7, 7, 7, 7, 0]).unwrap();
    assert_eq!(fleet.call(2, b, read), Answer::Bytes { piece });
    assert_eq!(fleet.owner.counters().keys_refused, 0);
    // Beyond the reservation, also where a sum overflows; with a key that nobody was given; the key to what another holds.
    for offset in [second.size - 3, second.size, u64::MAX - 1] {
        assert_eq!(fleet.write(1, a, key, offset, 9), Answer::Refused { why: Refusal::Range });
    }
    let read = Op::Read { key, offset: 1, len: second.size };
    assert_eq!(fleet.call(1, a, read), Answer::Refused { why: Refusal::Range });
    assert_eq!(fleet.write(1, a, Key::from_bits(99), 0, 9), NO_KEY);
    let opened = fleet.call(2, b, Op::Open { token: first.token });
    assert_eq!(opened, Answer::Refused { why: Refusal::UnknownReservation });
    assert_eq!(fleet.owner.counters().keys_refused, 5);
    assert!(!bytes.0.lock().unwrap().contains(&9));
}

#[test]
fn a_key_ends_with_its_reservation() {
    let end: [fn(u64) -> Op; 4] = [
        |token| Op::Cancel { token },
        |token| Op::Release { token, death: OwnedDeath::Idle },
        |token| Op::Release { token, death: OwnedDeath::Unknown },
        |token| Op::Release { token, death: OwnedDeath::After { frontier: Frontier::new() } },
    ];
    for end in end {
        let (mut fleet, bytes) = Fleet::serving(|_| {});
        let a = fleet.join(1, 1);
        let lease = fleet.half(1, a);
        let key = fleet.open(1, a, lease);
        assert_eq!(fleet.call(1, a, end(lease.token)), Answer::Done);
        assert_eq!(fleet.write(1, a, key, 0, 9), NO_KEY);
        assert_eq!(fleet.call(1, a, Op::Read { key, offset: 0, len: 1 }), NO_KEY);
        assert_eq!(fleet.owner.counters().keys_refused, 2);
        assert!(!bytes.0.lock().unwrap().contains(&9));
    }
}

/// Its own writes, and those of whoever has its keys, before the fence and after it: also one that was on its way all the while.
#[test]
fn what_a_failed_member_writes_late_is_refused() {
    for fencing in [Fencing::Host, Fencing::Lease] {
        let (mut fleet, bytes) = Fleet::serving(|config| config.fencing = fencing);
        let (a, b) = (fleet.join(1, 1), fleet.join(2, 1));
        let (lease, _) = fleet.take(1, a, NOTHING).unwrap();
        let key = fleet.open(1, a, lease);
        assert_eq!(fleet.write(1, a, key, 0, 1), Answer::Done);
        let piece = Piece::new(vec![9; 4]).unwrap();
        let (id, floor) = (fleet.calls + 1, fleet.calls + 1);
        let ops = vec![Op::Write { key, offset: 0, piece }];
        let late = Message::Call { who: a, id, floor, ops };
        fleet.now = LEASE - 1;
        assert_eq!(fleet.gone(2, b), None, "renewed");
        fleet.now = LEASE;
        fleet.owner.tick(fleet.now);
        if fencing == Fencing::Host {
            assert!(matches!(fleet.send(1, &late), Some(Message::Gone { why: Gone::Failed, .. })));
            assert_eq!(fleet.write(2, b, key, 0, 9), NO_KEY, "its key is revoked with it");
            assert!(fleet.take(2, b, NOTHING).is_err(), "in doubt");
            fleet.owner.fenced(a.names).unwrap();
        }
        let (again, _) = fleet.take(2, b, NOTHING).unwrap();
        let new = fleet.open(2, b, again);
        assert_eq!(fleet.write(2, b, new, 0, 2), Answer::Done);
        assert!(matches!(fleet.send(1, &late), Some(Message::Gone { why: Gone::Over, .. })));
        assert_eq!(fleet.write(2, b, key, 0, 9), NO_KEY);
        assert_eq!(bytes.0.lock().unwrap()[..4], [2; 4], "{fencing:?}");
    }
}

#[test]
fn a_late_copy_of_a_write_does_not_undo_a_later_one() {
    let (mut fleet, bytes) = Fleet::serving(|_| {});
    let a = fleet.join(1, 1);
    let lease = fleet.half(1, a);
    let key = fleet.open(1, a, lease);
    let write = |id, byte| {
        let ops = vec![Op::Write { key, offset: 0, piece: Piece::new(vec![byte]).unwrap() }];
        Message::Call { who: a, id, floor: 10, ops }
    };
    for message in [write(10, 1), write(11, 2), write(10, 1)] {
        assert!(matches!(fleet.send(1, &message), Some(Message::Reply { .. })));
    }
    assert_eq!(bytes.0.lock().unwrap()[0], 2);
}

#[test]
fn pieces_are_bounded_and_an_owner_without_bytes_says_so() {
    let (mut fleet, _) = Fleet::serving(|_| {});
    let a = fleet.join(1, 1);
    let lease = fleet.half(1, a);
    let key = fleet.open(1, a, lease);
    assert!(Piece::new(vec![0; MAX_PIECE + 1]).is_none());
    let read = |len| Op::Read { key, offset: 0, len };
    for ops in [vec![read(MAX_PIECE as u64 + 1)], vec![read(1 << 13); 9], vec![read(u64::MAX); 2]] {
        fleet.calls += 1;
        let message = Message::Call { who: a, id: fleet.calls, floor: fleet.calls, ops };
        assert_eq!(fleet.send(1, &message), None);
    }
    assert_eq!(fleet.owner.counters().oversized, 3);
    let mut plain = self::fleet();
    let a = plain.join(1, 1);
    let lease = plain.half(1, a);
    let not = Answer::Refused { why: Refusal::NotServed };
    assert_eq!(plain.call(1, a, Op::Open { token: lease.token }), not);
    assert_eq!(plain.write(1, a, key, 0, 9), not);
}
