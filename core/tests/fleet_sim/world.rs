//! An owner, its members, their devices, a network that does what it likes, and time.
//!
//! A step is one event: a message arrives, a process is woken, a device has done something, something breaks. Nothing
//! happens but by the numbers of the seed.

use crate::dice::Dice;
use crate::oracle::{Grant, Oracle, Verdict};
use crate::plant::Plant;
use crate::process::{Clock, Process};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_core::fleet::message::{Answer, Message, Op};
use strandline_core::fleet::remote::Key;
use strandline_core::fleet::{
    Cause, Fencing, Limits, Names, Outgoing, Owner, OwnerConfig, OwnerEvent, Peer, SlabBytes, Time,
};
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::pool::{Pool, PoolHost, growth::Growth};
use strandline_core::slab::{CpuSlabs, SlabError, SlabId};
use strandline_core::{Axis, Epoch, Tracker};

pub(crate) const MS: Time = 1_000_000;
/// Processes that are or want to be members.
pub(crate) const PLACES: usize = 4;
pub(crate) const OWNER: usize = PLACES;
pub(crate) const LEASE: Time = 50 * MS;
pub(crate) const DRIFT: u32 = 20_000;

/// How often what was done, or done to it.
pub(crate) type Hits = BTreeMap<&'static str, u64>;

#[derive(Debug)]
pub(crate) enum Event {
    /// To a place, or the owner; by a place, or the owner.
    Deliver {
        to: usize,
        from: usize,
        bytes: Vec<u8>,
        number: u64,
    },
    Tick {
        at: usize,
    },
    Use {
        place: usize,
    },
    /// A device has done what it was at.
    Done {
        place: usize,
        life: u64,
        run: u64,
        queue: usize,
        axis: Axis,
        epoch: Epoch,
        touches: Vec<Grant>,
    },
    /// A process hears of that.
    Told {
        place: usize,
        life: u64,
        queue: usize,
        epoch: Epoch,
    },
    Fence {
        run: u64,
        names: Names,
    },
    Start {
        place: usize,
    },
    Break,
}

pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) plant: Plant,
    pub(crate) fencing: Fencing,
    /// Members ask before they touch. Where the host fences they need not.
    pub(crate) asks: bool,
    pub(crate) now: Time,
    pub(crate) oracle: Oracle,
    pub(crate) hits: Hits,
    pub(crate) processes: Vec<Process>,
    pub(crate) owner: Owner,
    pub(crate) pool: Arc<TlsfPool>,
    pub(crate) run: u64,
    pub(crate) owner_clock: Clock,
    events: BinaryHeap<Reverse<(Time, u64)>>,
    bodies: BTreeMap<u64, Event>,
    pub(crate) steps: u64,
    number: u64,
    lives: u64,
    pub(crate) paused: [Time; PLACES + 1],
    /// Until when messages between two do not arrive.
    pub(crate) parted: BTreeMap<(usize, usize), Time>,
    delivered: BTreeMap<(usize, usize), u64>,
    /// Who has which names, and the other way round.
    pub(crate) seated: BTreeMap<(u64, Names), (usize, u64)>,
    /// Devices that were cut off.
    cut: BTreeSet<(usize, u64)>,
    sent_calls: BTreeSet<(u64, Names, u64)>,
    renewals: BTreeMap<(u64, Names), u64>,
    /// Keys that were given out, and what they open. Most are stale.
    pub(crate) keys: BTreeMap<Key, Grant>,
    pub(crate) written: Arc<Written>,
    /// Everything heals, and ends.
    pub(crate) is_ending: bool,
}

/// Counts what the owner wrote for members.
#[derive(Debug, Default)]
pub(crate) struct Written(AtomicU64);

impl SlabBytes for Written {
    fn read(&self, _slab: SlabId, _offset: u64, _into: &mut [u8]) -> Result<(), SlabError> {
        Ok(())
    }

    fn write(&self, _slab: SlabId, _offset: u64, _bytes: &[u8]) -> Result<(), SlabError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

pub(crate) fn make_owner(
    run: u64,
    fencing: Fencing,
    written: &Arc<Written>,
) -> (Owner, Arc<TlsfPool>) {
    let tracker = Tracker::new(256);
    let host = PoolHost::new(Arc::new(CpuSlabs::new(64 << 10)), Arc::new(tracker.clone()));
    let config = TlsfPoolConfig { growth: Growth::slabs_of(16 << 10), ..Default::default() };
    let pool = Arc::new(TlsfPool::new(host, config).unwrap());
    let config = OwnerConfig {
        lease: LEASE,
        drift_ppm: DRIFT,
        fencing,
        refresh: 10 * MS,
        gap: MS / 2,
        limits: Limits { budget: 40 << 10, window: 8, message_bytes: 8 << 10, ..Limits::default() },
        ..OwnerConfig::new(run, Names { session: 0, machine: 0 })
    };
    let mut owner = Owner::new(config, pool.clone(), tracker);
    let mut keys = (u128::from(run) << 64..).map(Key::from_bits);
    owner.serve_bytes(written.clone(), move || keys.next().unwrap());
    (owner, pool)
}

impl World {
    pub(crate) fn new(seed: u64, plant: Plant) -> Self {
        let mut dice = Dice::new(seed);
        let by_lease =
            matches!(plant, Plant::Drift | Plant::TouchUnasked | Plant::AcknowledgeLatest);
        let fencing = if by_lease || plant == Plant::None && dice.chance(50) {
            Fencing::Lease
        } else {
            Fencing::Host
        };
        let asks = fencing == Fencing::Lease || dice.chance(50);
        let written = Arc::default();
        let (owner, pool) = make_owner(1, fencing, &written);
        let owner_clock = Clock::draw(&mut dice, DRIFT);
        let mut world = Self {
            dice,
            plant,
            fencing,
            asks: asks && plant != Plant::TouchUnasked,
            now: 0,
            oracle: Oracle::default(),
            hits: Hits::new(),
            processes: Vec::new(),
            owner,
            pool,
            run: 1,
            owner_clock,
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            steps: 0,
            number: 0,
            lives: 0,
            paused: [0; PLACES + 1],
            parted: BTreeMap::new(),
            delivered: BTreeMap::new(),
            seated: BTreeMap::new(),
            cut: BTreeSet::new(),
            sent_calls: BTreeSet::new(),
            renewals: BTreeMap::new(),
            keys: BTreeMap::new(),
            written,
            is_ending: false,
        };
        for place in 0..PLACES {
            let process = world.new_process();
            world.processes.push(process);
            world.after(MS, Event::Tick { at: place });
            world.after(2 * MS, Event::Use { place });
        }
        world.after(MS, Event::Tick { at: OWNER });
        world.after(10 * MS, Event::Break);
        world
    }

    fn new_process(&mut self) -> Process {
        self.lives += 1;
        let drift = if self.plant == Plant::Drift { 400_000 } else { DRIFT };
        Process::new(self.lives, Clock::draw(&mut self.dice, drift))
    }

    pub(crate) fn hit(&mut self, what: &'static str) {
        *self.hits.entry(what).or_default() += 1;
    }

    pub(crate) fn after(&mut self, time: Time, event: Event) {
        self.at(self.now + time, event);
    }

    fn at(&mut self, when: Time, event: Event) {
        self.number += 1;
        self.events.push(Reverse((when, self.number)));
        self.bodies.insert(self.number, event);
    }

    pub(crate) fn local(&self, place: usize) -> Time {
        self.processes[place].clock.at(self.now)
    }

    /// Does what is next.
    pub(crate) fn step(&mut self) -> Verdict {
        let Some(Reverse((when, number))) = self.events.pop() else {
            return Err("nothing happens".into());
        };
        let event = self.bodies.remove(&number).unwrap();
        self.now = when;
        self.steps += 1;
        // Whoever is stopped goes on later.
        let who = match event {
            Event::Deliver { to, .. } | Event::Tick { at: to } => Some(to),
            Event::Use { place } | Event::Told { place, .. } => Some(place),
            _ => None,
        };
        if let Some(who) = who
            && self.paused[who] > self.now
        {
            self.steps -= 1;
            self.at(self.paused[who], event);
            return Ok(());
        }
        match event {
            Event::Deliver { to, from, bytes, number } => self.deliver(to, from, &bytes, number),
            Event::Tick { at: OWNER } => {
                let now = self.owner_clock.at(self.now);
                self.owner.tick(now);
                self.after(MS, Event::Tick { at: OWNER });
                self.pump_owner();
                Ok(())
            }
            Event::Tick { at } => {
                let wait = self.dice.between(MS / 2, 2 * MS);
                self.after(wait, Event::Tick { at });
                if self.processes[at].is_alive {
                    let now = self.local(at);
                    self.processes[at].member.tick(now);
                    self.pump(at)?;
                }
                Ok(())
            }
            Event::Use { place } => {
                let wait = self.dice.between(MS, 3 * MS);
                self.after(wait, Event::Use { place });
                if self.processes[place].is_alive { self.use_memory(place) } else { Ok(()) }
            }
            Event::Done { place, life, run, queue, axis, epoch, touches } => {
                if self.cut.contains(&(place, life)) {
                    return Ok(());
                }
                // The device goes on whatever has become of the process.
                for grant in &touches {
                    self.oracle.touch(grant, "the end of a work")?;
                }
                self.oracle.reach(run, axis, epoch);
                self.after(1000, Event::Told { place, life, queue, epoch });
                Ok(())
            }
            Event::Told { place, life, queue, epoch } => {
                let process = &mut self.processes[place];
                if process.is_alive && process.life == life {
                    let queue = &mut process.queues[queue];
                    queue.is_busy = false;
                    let _ = process.member.tracker().advance(queue.axis, epoch);
                    self.submit(place)?;
                    self.pump(place)?;
                }
                Ok(())
            }
            Event::Fence { run, names } => {
                self.fence(run, names);
                Ok(())
            }
            Event::Start { place } => {
                if !self.processes[place].is_alive && !self.is_ending {
                    self.processes[place] = self.new_process();
                    self.hit("restart");
                }
                Ok(())
            }
            Event::Break => {
                let wait = self.dice.between(2 * MS, 20 * MS);
                self.after(wait, Event::Break);
                if !self.is_ending {
                    self.break_something();
                }
                Ok(())
            }
        }
    }

    fn deliver(&mut self, to: usize, from: usize, bytes: &[u8], number: u64) -> Verdict {
        let latest = self.delivered.entry((from, to)).or_default();
        if number < *latest {
            self.hit("reordered");
        } else {
            *latest = number;
        }
        let late = self.acknowledged(bytes);
        let bytes = late.as_deref().unwrap_or(bytes);
        if to != OWNER {
            if self.processes[to].is_alive {
                let now = self.local(to);
                let member = &mut self.processes[to].member;
                match from {
                    OWNER => member.receive(now, bytes),
                    peer => member.hear(Peer(peer as u64), bytes),
                }
                self.pump(to)?;
                let process = &self.processes[to];
                if self.dice.chance(5) && process.run > 0 {
                    self.oracle.judge(process.run, "a member", process.member.tracker())?;
                }
            }
            return Ok(());
        }
        let now = self.owner_clock.at(self.now);
        let peer = if self.plant == Plant::VouchForAll { self.vouched(bytes, from) } else { from };
        let before = self.written.0.load(Ordering::Relaxed);
        let answer = self.owner.receive(now, Peer(peer as u64), bytes);
        let many = self.written.0.load(Ordering::Relaxed) - before;
        self.wrote(bytes, many)?;
        if let Some(answer) = answer {
            self.witness(peer, &answer)?;
            self.opened(bytes, &answer)?;
            self.send(OWNER, from, answer);
        }
        if self.dice.chance(5) {
            self.oracle.judge(self.run, "the owner", self.owner.tracker())?;
        }
        self.pump_owner();
        Ok(())
    }

    /// The owner has written as often as this for whoever sent a message. Who comes with a key writes nothing else.
    fn wrote(&mut self, message: &[u8], many: u64) -> Verdict {
        let Ok(Message::Call { ops, .. }) = Message::decode(message) else { return Ok(()) };
        let [Op::Write { key, .. }] = ops[..] else { return Ok(()) };
        let Some(&grant) = self.keys.get(&key) else { return Ok(()) };
        if many > 0 {
            self.hit("written by the owner");
        }
        if many > 0 || self.plant == Plant::WriteUnasked {
            self.oracle.touch(&grant, "a write by the owner")?;
        }
        Ok(())
    }

    /// Writes down what a key opens.
    fn opened(&mut self, message: &[u8], answer: &[u8]) -> Verdict {
        let Ok(Message::Call { ops, .. }) = Message::decode(message) else { return Ok(()) };
        let Ok(Message::Reply { answers, .. }) = Message::decode(answer) else { return Ok(()) };
        if let ([Op::Open { token }], [Answer::Key { key }]) = (&ops[..], &answers[..]) {
            let grant = self.oracle.by_token(self.run, *token)?;
            if self.keys.insert(*key, grant).is_some_and(|before| before != grant) {
                return Err(format!("one key for {grant:?} and another"));
            }
        }
        Ok(())
    }

    /// As if it were the answer to the latest renewal, whichever it answers.
    fn acknowledged(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.plant != Plant::AcknowledgeLatest {
            return None;
        }
        let Ok(Message::Renewed { who, .. }) = Message::decode(bytes) else { return None };
        let number = *self.renewals.get(&(who.incarnation, who.names))?;
        Some(Message::Renewed { who, number }.encode())
    }

    /// Who a message says that it is from.
    fn vouched(&self, bytes: &[u8], from: usize) -> usize {
        let Ok(Message::Leave { who } | Message::Renew { who, .. }) = Message::decode(bytes) else {
            return from;
        };
        self.seated.get(&(self.run, who.names)).map_or(from, |(place, _)| *place)
    }

    /// Writes down what the owner gives out.
    fn witness(&mut self, place: usize, answer: &[u8]) -> Verdict {
        match Message::decode(answer).map_err(|error| format!("the owner's answer: {error}"))? {
            Message::Welcome { nonce, who, .. } => {
                let record = (place, nonce);
                let before = self.seated.insert((self.run, who.names), record);
                if before.is_some_and(|before| before != record) {
                    return Err(format!("{} are given out twice", who.names));
                }
            }
            Message::Reply { answers, .. } => {
                for answer in answers {
                    match answer {
                        Answer::Ready { lease, .. } | Answer::AfterWait { lease, .. } => {
                            self.oracle.granted(self.run, lease)?;
                        }
                        _ => {}
                    }
                }
            }
            Message::Gone { .. } => self.hit("returned"),
            _ => {}
        }
        Ok(())
    }

    fn pump_owner(&mut self) {
        while let Some(digest) = self.owner.poll_digest() {
            for place in 0..PLACES {
                self.send(OWNER, place, digest.clone());
            }
        }
        while let Some(event) = self.owner.poll_event() {
            match event {
                OwnerEvent::Failed { names, cause, .. } if cause != Cause::Left => {
                    self.hit(match cause {
                        Cause::Lease => "lease over",
                        Cause::Replaced => "replaced",
                        _ => "lost",
                    });
                    if self.fencing == Fencing::Host {
                        let wait = self.dice.between(MS, 60 * MS);
                        self.after(wait, Event::Fence { run: self.run, names });
                    }
                }
                OwnerEvent::Over { reservations: 1.., .. } => self.hit("held bytes came back"),
                _ => {}
            }
        }
    }

    /// The host ends what is left of a member, and says so.
    fn fence(&mut self, run: u64, names: Names) {
        if run != self.run {
            return;
        }
        if self.plant != Plant::FenceUnfenced
            && let Some(&(place, life)) = self.seated.get(&(run, names))
        {
            self.cut.insert((place, life));
            if self.processes[place].life == life {
                self.kill(place);
            }
        }
        if self.owner.fenced(names).is_ok() {
            self.hit("fenced");
        }
        self.pump_owner();
    }

    pub(crate) fn kill(&mut self, place: usize) {
        if self.processes[place].is_alive {
            self.processes[place].die();
            let wait = self.dice.between(MS, 80 * MS);
            self.after(wait, Event::Start { place });
        }
    }

    fn is_parted(&self, a: usize, b: usize) -> bool {
        self.parted.get(&(a.min(b), a.max(b))).is_some_and(|until| *until > self.now)
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, mut bytes: Vec<u8>) {
        if self.plant != Plant::None {
            bytes = self.tamper(from, bytes);
        }
        if self.is_parted(from, to) {
            return self.hit("partition");
        }
        let calm = self.is_ending;
        if !calm && self.dice.chance(4) {
            return self.hit("drop");
        }
        let copies = if !calm && self.dice.chance(4) { 2 } else { 1 };
        if copies == 2 {
            self.hit("duplicate");
        }
        self.number += 1;
        let number = self.number;
        for _ in 0..copies {
            let mut time = self.dice.between(20_000, 300_000);
            if !calm && self.dice.chance(4) {
                // Some are so late that whoever is to get it is gone, or another.
                time = self.dice.between(MS, 150 * MS);
                self.hit("delay");
            }
            self.after(time, Event::Deliver { to, from, bytes: bytes.clone(), number });
        }
    }

    /// What the planted fault makes of a message.
    fn tamper(&mut self, from: usize, bytes: Vec<u8>) -> Vec<u8> {
        match (self.plant, Message::decode(&bytes)) {
            (Plant::AcknowledgeLatest, Ok(Message::Renew { who, number })) => {
                self.renewals.insert((who.incarnation, who.names), number);
                bytes
            }
            (Plant::RenumberRetries, Ok(Message::Call { who, id, floor, ops })) => {
                if self.sent_calls.insert((who.incarnation, who.names, id)) {
                    return bytes;
                }
                Message::Call { who, id: id + 4, floor, ops }.encode()
            }
            (Plant::RunAhead, Ok(Message::Progress { who, mut reached })) if from != OWNER => {
                reached.0.iter_mut().for_each(|entry| entry.epoch += 1);
                Message::Progress { who, reached }.encode()
            }
            _ => bytes,
        }
    }

    /// Sends what a process has to say.
    pub(crate) fn flush(&mut self, place: usize) {
        while let Some(outgoing) = self.processes[place].member.poll_outgoing() {
            match outgoing {
                Outgoing::Ask(bytes) => self.send(place, OWNER, bytes),
                Outgoing::Publish(bytes) => {
                    for other in (0..=PLACES).filter(|&other| other != place) {
                        self.send(place, other, bytes.clone());
                    }
                }
            }
        }
    }

    /// Everything works again from now on.
    pub(crate) fn heal(&mut self) {
        self.is_ending = true;
        self.parted.clear();
        self.paused = [0; PLACES + 1];
        for process in &mut self.processes {
            process.is_leaving = true;
        }
    }

    /// The names of a process that is there no more.
    pub(crate) fn is_gone(&self, run: u64, names: Names) -> bool {
        self.seated.get(&(run, names)).is_none_or(|&(place, life)| {
            let process = &self.processes[place];
            run != self.run || process.life != life || !process.is_alive
        })
    }

    pub(crate) fn is_paused(&self, place: usize) -> bool {
        self.paused[place] > self.now
    }

    /// Nobody is there any more, and nobody is in doubt.
    pub(crate) fn is_over(&self) -> bool {
        self.processes.iter().all(|process| !process.is_alive)
            && self.owner.status().members.is_empty()
    }

    /// What the pool has out, or waits for, once nobody is there.
    pub(crate) fn missing(&self) -> Verdict {
        self.pool.poll();
        let stats = self.pool.stats();
        let is_whole = stats.reserved_bytes == 0
            && stats.tainted_bytes == 0
            && stats.pending_bytes == 0
            && stats.free_bytes == stats.committed_bytes;
        if is_whole { Ok(()) } else { Err(format!("bytes did not come back: {stats:?}")) }
    }
}
