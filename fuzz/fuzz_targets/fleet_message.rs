//! Any bytes as messages of a fleet, from a member that lies: what decodes has only those bytes as its encoding, nothing panics, and
//! the owner keeps its rules.
//!
//! ```text
//!   bytes ─┬─ as a message: to the owner as peer 2 or 3, to a member as what another or the owner says
//!          ├─ as operands of a call or of progress that is well formed, with tokens and axes that there are
//!          └─ as what an honest member of peer 1 does, whose word the host vouches for
//! ```
//!
//! After every step: no byte is lent twice, none before the honest member's work on it is done or the asker said to come after it, nobody
//! but itself moves its axis or ends it, no peer is charged more than its budget. In the end all bytes come back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_core::fleet::message::{
    Answer, Ask, Fault, Lease, Message, Op, OwnedDeath, Reached, Refusal, Who,
};
use strandline_core::fleet::{
    Ending, Limits, Member, MemberConfig, MemberEvent, MemberState, Names, Outgoing, Owner,
    OwnerConfig, OwnerEvent, Peer,
};
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost};
use strandline_core::slab::CpuSlabs;
use strandline_core::{Axis, Domain, Entry, Frontier, Progress, Tracker};

const SLAB: u64 = 16 << 10;
/// What the pool deals in, so that a cell has one history.
const CELL: u64 = 256;
const BUDGET: u64 = 10 << 10;
const INCARNATION: u64 = 7;
const LEASE: u64 = 1_000_000;
const MOST_STEPS: usize = 200;

const HONEST: Peer = Peer(1);
const LIAR: Peer = Peer(2);
const OTHER: Peer = Peer(3);

fuzz_target!(|data: &[u8]| {
    codec(data);
    let mut world = World::new();
    let mut bytes = Bytes(data);
    for _ in 0..MOST_STEPS {
        if bytes.0.is_empty() {
            break;
        }
        world.step(&mut bytes);
        world.settle();
    }
    world.end();
});

/// A message has exactly one encoding, and no part of it is one.
fn codec(bytes: &[u8]) {
    match Message::decode(bytes) {
        Ok(message) => {
            assert_eq!(message.encode(), bytes);
            assert!(Message::decode(&bytes[..bytes.len() - 1]).is_err(), "without its end");
            assert!(Message::decode(&[bytes, &[0]].concat()).is_err(), "with more behind it");
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
}

/// Bytes that somebody has.
struct Lent {
    names: Names,
    lease: Lease,
    /// Given back with an unknown death: out of the pool until the member is over.
    unknown: bool,
}

struct World {
    owner: Owner,
    pool: Arc<TlsfPool>,
    now: u64,
    honest: Member,
    /// The honest member's axis: how far its work is, and the last epoch that it gave out.
    axis: Axis,
    reached: u64,
    submitted: u64,
    /// What the honest member has.
    held: Vec<Lease>,
    /// A member that takes the liar's bytes for the owner's.
    fooled: Member,
    lent: BTreeMap<u64, Lent>,
    tokens: Vec<u64>,
    /// Of each cell the honest member's epoch at which it is done with it.
    done_at: Vec<u64>,
    calls: u64,
}

impl World {
    fn new() -> Self {
        let tracker = Tracker::new(64);
        let host = PoolHost::new(Arc::new(CpuSlabs::new(SLAB)), Arc::new(tracker.clone()));
        let config = TlsfPoolConfig { growth: Growth::slabs_of(SLAB), ..Default::default() };
        let pool = Arc::new(TlsfPool::new(host, config).unwrap());
        let mut config = OwnerConfig::new(INCARNATION, Names { session: 0, machine: 0 });
        config.lease = LEASE;
        config.refresh = LEASE / 2;
        config.limits =
            Limits { members: 4, budget: BUDGET, axes: 8, message_bytes: 4096, ops: 16, window: 4 };
        let mut world = Self {
            owner: Owner::new(config, pool.clone(), tracker),
            pool,
            now: 1,
            honest: Member::new(MemberConfig { gap: 5, ..MemberConfig::new(1) }, Tracker::new(64)),
            axis: Axis::host(0).with_machine(1),
            reached: 0,
            submitted: 0,
            held: Vec::new(),
            fooled: Member::new(MemberConfig::new(5), Tracker::new(64)),
            lent: BTreeMap::new(),
            tokens: Vec::new(),
            done_at: vec![0; (SLAB / CELL) as usize],
            calls: 0,
        };
        world.exchange();
        world.axis = world.honest.register(Domain::Host, 0).unwrap();
        world.exchange();
        world
    }

    /// Somebody says something to the owner; its answer.
    fn say(&mut self, peer: Peer, bytes: &[u8]) -> Option<Vec<u8>> {
        let repeated = self.owner.counters().repeated;
        let answer = self.owner.receive(self.now, peer, bytes)?;
        let said = Message::decode(&answer).expect("the owner's own message");
        codec(&answer);
        if let (Message::Reply { answers, .. }, Ok(Message::Call { who, ops, .. })) =
            (said, Message::decode(bytes))
            && self.owner.counters().repeated == repeated
        {
            assert_eq!(answers.len(), ops.len());
            assert_eq!(self.owner.member_of(peer), Some(who.names), "in another's name");
            for (op, answer) in ops.iter().zip(&answers) {
                self.judge(who.names, op, answer);
            }
        }
        Some(answer)
    }

    fn judge(&mut self, names: Names, op: &Op, answer: &Answer) {
        match (op, answer) {
            (Op::Acquire { ask }, Answer::Ready { lease, .. }) => {
                self.granted(names, lease, ask.frontier.get(self.axis));
            }
            (Op::Acquire { ask }, Answer::AfterWait { lease, wait }) => {
                assert!(ask.may_wait);
                let known = ask.frontier.get(self.axis).max(wait.get(self.axis));
                self.granted(names, lease, known);
            }
            (Op::Acquire { .. }, Answer::Exhausted { .. } | Answer::OverBudget) => {}
            (Op::Release { token, death: OwnedDeath::Unknown }, Answer::Done) => {
                self.own(names, *token).unknown = true;
            }
            (Op::Release { token, .. } | Op::Cancel { token }, Answer::Done) => {
                self.own(names, *token);
                self.lent.remove(token);
            }
            (Op::Share { token, .. }, Answer::Done) => {
                self.own(names, *token);
            }
            (_, Answer::Refused { why }) => {
                assert!(!matches!(why, Refusal::Pool { error: Fault::Lost }), "{op:?}");
            }
            _ => panic!("{answer:?} to {op:?}"),
        }
    }

    /// What a member may give back is its own, and still there.
    fn own(&mut self, names: Names, token: u64) -> &mut Lent {
        let lent = self.lent.get_mut(&token).expect("given back without having been lent");
        assert_eq!(lent.names, names, "another's");
        assert!(!lent.unknown, "given back twice");
        lent
    }

    /// Bytes go to a member that says to come after the honest member's epoch `known`.
    fn granted(&mut self, names: Names, lease: &Lease, known: u64) {
        let end = lease.offset + lease.size;
        assert!(lease.size > 0 && end <= SLAB, "{lease:?}");
        for Lent { lease: other, .. } in self.lent.values() {
            let apart = end <= other.offset || other.offset + other.size <= lease.offset;
            assert!(apart, "{lease:?} and {other:?} are lent at once");
        }
        for cell in lease.offset / CELL..end.div_ceil(CELL) {
            let done_at = self.done_at[cell as usize];
            assert!(
                done_at <= self.reached.max(known),
                "{lease:?} is used until {done_at}, at {}, and was lent after {known}",
                self.reached
            );
        }
        assert!(!self.tokens.contains(&lease.token), "a token twice");
        self.tokens.push(lease.token);
        self.lent.insert(lease.token, Lent { names, lease: *lease, unknown: false });
    }

    /// What the honest member has to say is said, and the answers come.
    fn exchange(&mut self) {
        self.honest.tick(self.now);
        while let Some(message) = self.honest.poll_outgoing() {
            match message {
                Outgoing::Ask(bytes) => {
                    let answer = self.say(HONEST, &bytes).expect("the honest are answered");
                    self.honest.receive(self.now, &answer);
                }
                Outgoing::Publish(bytes) => assert_eq!(self.say(HONEST, &bytes), None),
            }
        }
    }

    /// The honest member does one thing.
    fn act(&mut self, op: Op) {
        self.honest.call(self.now, vec![op.clone()]).unwrap();
        self.exchange();
        let answer = loop {
            match self.honest.poll_event().expect("an answer") {
                MemberEvent::Answered { mut answers, .. } => break answers.pop().unwrap(),
                MemberEvent::Over(ending) => panic!("ended: {ending:?}"),
                _ => {}
            }
        };
        match (op, answer) {
            (_, Answer::Ready { lease, .. } | Answer::AfterWait { lease, .. }) => {
                self.held.push(lease);
            }
            (Op::Acquire { .. }, _) => {}
            (Op::Release { death: OwnedDeath::After { frontier }, token }, Answer::Done) => {
                let at = self.held.iter().position(|lease| lease.token == token).unwrap();
                let Lease { offset, size, .. } = self.held.swap_remove(at);
                let epoch = frontier.get(self.axis);
                for cell in offset / CELL..(offset + size).div_ceil(CELL) {
                    let done_at = &mut self.done_at[cell as usize];
                    *done_at = epoch.max(*done_at);
                }
            }
            (Op::Cancel { token }, Answer::Done) => self.held.retain(|lease| lease.token != token),
            (op, answer) => panic!("{answer:?} to {op:?}"),
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.byte() % 16 {
            0..=2 => self.lie(LIAR, bytes.message()),
            3 => self.lie(OTHER, bytes.message()),
            4 => {
                let said = bytes.message();
                codec(said);
                self.honest.hear(LIAR, said);
                self.fooled.hear(OTHER, said);
            }
            5 => {
                let said = bytes.message();
                codec(said);
                self.fooled.receive(self.now, said);
            }
            6 | 7 => {
                let message = self.call(bytes);
                self.lie(LIAR, &message.encode());
            }
            8 => {
                let number = bytes.byte().into();
                let message = match bytes.byte() % 4 {
                    0 | 1 => Message::Join { nonce: number },
                    2 => Message::Renew { who: self.who(bytes), number },
                    _ => Message::Leave { who: self.who(bytes) },
                };
                self.lie(LIAR, &message.encode());
            }
            9 => {
                let message = self.progress(bytes);
                self.lie(LIAR, &message.encode());
                self.honest.hear(LIAR, &message.encode());
            }
            10 => self.now += u64::from(bytes.byte()) * 1_000,
            11 | 12 => {
                let after = if bytes.byte().is_multiple_of(2) { self.submitted } else { 0 };
                let ask = Ask {
                    frontier: Frontier::from_entry(self.axis, after),
                    may_wait: bytes.byte().is_multiple_of(4),
                    ..Ask::new(bytes.number())
                };
                self.act(Op::Acquire { ask });
            }
            13 if !self.held.is_empty() => {
                let lease = self.held[usize::from(bytes.byte()) % self.held.len()];
                self.submitted += 1;
                let frontier = Frontier::from_entry(self.axis, self.submitted);
                let death = OwnedDeath::After { frontier };
                self.act(Op::Release { token: lease.token, death });
            }
            14 => {
                let left = self.submitted - self.reached;
                self.reached += u64::from(bytes.byte()).min(left);
                self.honest.tracker().advance(self.axis, self.reached).unwrap();
            }
            _ => {
                // The host has made sure of those who have failed.
                let failed = self.owner.status().members.into_iter();
                let failed = failed.filter(|member| member.state != MemberState::Live);
                for member in failed.collect::<Vec<_>>() {
                    self.owner.fenced(member.names).unwrap();
                }
            }
        }
    }

    fn lie(&mut self, peer: Peer, bytes: &[u8]) {
        codec(bytes);
        if let Some(answer) = self.say(peer, bytes) {
            self.fooled.receive(self.now, &answer);
        }
    }

    /// The liar's own names mostly, else the honest member's or nobody's.
    fn who(&self, bytes: &mut Bytes<'_>) -> Who {
        let names = match bytes.byte() {
            250.. => Names { session: 0, machine: bytes.byte() },
            240.. => Names::of(self.axis),
            _ => self.owner.member_of(LIAR).unwrap_or(Names { session: 0, machine: 2 }),
        };
        Who { incarnation: INCARNATION, names }
    }

    fn entries(&self, who: Who, bytes: &mut Bytes<'_>) -> Vec<Entry> {
        let Names { session, machine } = who.names;
        let many = match bytes.byte() {
            240.. => 12,
            byte => byte % 4,
        };
        let entries: BTreeMap<Axis, u64> = (0..many)
            .map(|_| {
                let axis = match bytes.byte() % 14 {
                    0 => self.axis,
                    1 => Axis::host(0),
                    2 => Axis::new(session, machine, Domain::Epilogue, Axis::ORDINALS - 1).unwrap(),
                    other => Axis::host(other.into()).with_session(session).with_machine(machine),
                };
                (axis, bytes.number())
            })
            .collect();
        entries.into_iter().map(|(axis, epoch)| Entry { axis, epoch }).collect()
    }

    fn frontier(&self, who: Who, bytes: &mut Bytes<'_>) -> Frontier {
        let entries = self.entries(who, bytes).into_iter().filter(|entry| entry.epoch > 0);
        Frontier::from_entries(entries).unwrap()
    }

    fn call(&mut self, bytes: &mut Bytes<'_>) -> Message {
        let who = self.who(bytes);
        let token = |bytes: &mut Bytes<'_>| match self.tokens.len() {
            0 => bytes.number(),
            many => self.tokens[usize::from(bytes.byte()) % many],
        };
        let ops = (0..1 + bytes.byte() % 3)
            .map(|_| match bytes.byte() % 8 {
                0..=2 => {
                    let (frontier, may_wait) =
                        (self.frontier(who, bytes), bytes.byte().is_multiple_of(2));
                    let alignment = 1 << (bytes.byte() % 12);
                    Op::Acquire {
                        ask: Ask { frontier, may_wait, alignment, ..Ask::new(bytes.number()) },
                    }
                }
                3 => Op::Cancel { token: token(bytes) },
                4 => Op::Share { token: token(bytes), frontier: self.frontier(who, bytes) },
                5 => Op::Release { token: token(bytes), death: OwnedDeath::Unknown },
                6 => Op::Release { token: token(bytes), death: OwnedDeath::Idle },
                _ => {
                    let (token, frontier) = (token(bytes), self.frontier(who, bytes));
                    Op::Release { token, death: OwnedDeath::After { frontier } }
                }
            })
            .collect();
        self.calls += 1;
        let id = self.calls + u64::from(bytes.byte() / 250);
        Message::Call { who, id, floor: self.calls, ops }
    }

    fn progress(&mut self, bytes: &mut Bytes<'_>) -> Message {
        let who = self.who(bytes);
        Message::Progress { who, reached: Reached(self.entries(who, bytes)) }
    }

    /// Time goes on, everybody says what there is to say, and everything is as it should be.
    fn settle(&mut self) {
        self.now += 1;
        self.exchange();
        self.owner.tick(self.now);
        if let Some(digest) = self.owner.poll_digest() {
            codec(&digest);
            self.honest.receive(self.now, &digest);
            self.fooled.receive(self.now, &digest);
        }
        self.fooled.tick(self.now);
        while let Some(Outgoing::Ask(bytes) | Outgoing::Publish(bytes)) =
            self.fooled.poll_outgoing()
        {
            codec(&bytes);
        }
        while self.fooled.poll_event().is_some() {}
        while let Some(event) = self.honest.poll_event() {
            assert!(!matches!(event, MemberEvent::Over(_)), "{event:?}");
        }
        self.hear_owner();
        assert_eq!(self.honest.tracker().reached(self.axis), self.reached);
        assert!(self.owner.tracker().reached(self.axis) <= self.reached, "ahead of its member");
        let status = self.owner.status();
        let mut charged = BTreeMap::<Peer, u64>::new();
        for member in &status.members {
            *charged.entry(member.peer).or_default() += member.held + member.pending;
            let lent = self.lent.values().filter(|lent| lent.names == member.names);
            assert_eq!(member.reservations, lent.filter(|lent| !lent.unknown).count());
        }
        assert!(charged.values().all(|&bytes| bytes <= BUDGET), "{charged:?}");
        assert_eq!(status.pool.live, self.lent.len() as u64);
        let honest = self.owner.member_of(HONEST);
        assert_eq!(honest, Some(Names::of(self.axis)), "the honest member was ended");
    }

    /// Whoever is over has nothing.
    fn hear_owner(&mut self) {
        while let Some(event) = self.owner.poll_event() {
            if let OwnerEvent::Over { names, reservations, .. } = event {
                let before = self.lent.len();
                self.lent.retain(|_, lent| lent.names != names);
                assert_eq!(before - self.lent.len(), reservations);
            }
        }
    }

    fn end(&mut self) {
        self.reached = self.submitted;
        self.honest.tracker().advance(self.axis, self.reached).unwrap();
        self.now += 100_000;
        self.exchange();
        self.honest.leave(self.now);
        self.exchange();
        assert_eq!(self.honest.ending(), Some(Ending::Left));
        for member in self.owner.status().members {
            let _ = self.owner.fail(member.names);
            self.owner.fenced(member.names).unwrap();
        }
        self.owner.tick(self.now);
        self.hear_owner();
        let status = self.owner.status();
        assert!(status.members.is_empty() && self.lent.is_empty(), "{status:?}");
        let stats = self.pool.stats();
        assert_eq!((stats.live, stats.clean_bytes()), (0, stats.committed_bytes), "{stats:?}");
    }
}

/// The input, read from its start. What is missing is 0.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// Mostly a size, at times an extreme.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => 1 << 63,
            253 => SLAB + 1,
            small @ 0..64 => u64::from(small),
            other => u64::from(other - 60) << 6,
        }
    }

    /// A length, and as many bytes as there are of it.
    fn message(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (message, rest) = self.0.split_at(len);
        self.0 = rest;
        message
    }
}
