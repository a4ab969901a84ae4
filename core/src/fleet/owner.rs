//! The side that has the pool: who is a member, what each holds, and what comes back when one is gone.
//!
//! ```text
//!   Join ─▶ live ──lease over, or the host says so──▶ failed ──fenced──▶ over
//!             │                                      axes failed,       axes fenced,
//!             └── Leave ──────────────────────────▶  all in doubt       all comes back
//! ```
//!
//! # Invariants
//! - A reservation is in `holdings` from the answer that gave it out until it is back in the pool, whatever becomes of its holder.
//! - Only members that are live or failed have a record, reservations or charges.
//! - A failed member's axes have failed in the tracker before it is told, and are fenced before anything of it goes back to the pool.

mod calls;
mod charges;
mod membership;
mod remote;
mod status;

pub use remote::SlabBytes;
pub use status::{Counters, MemberState, MemberStatus, OwnerStatus};

use self::calls::{Calls, Holding};
use self::charges::Charges;
use self::remote::Remote;
use super::Time;
use super::lease::MAX_DRIFT_PPM;
use super::message::{Digest, Gone, MemberId, Message, Reached, Who};
use super::names::{NameBook, Names, Peer};
use crate::axis::Axis;
use crate::frontier::Entry;
use crate::notification::Observation;
use crate::pool::Pool;
use crate::progress::Progress;
use crate::table::Table;
use crate::tracker::Tracker;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// What makes sure that a member which has failed touches memory no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// The host: it ends the process, revokes a key or destroys a context, and then calls [`Owner::fenced`]. Right whatever the member
    /// does, a member that is stopped by a signal included.
    Host,
    /// The member's own word: it counts as fenced when its lease is over. Only for members whose touches take no longer than they
    /// [ask for](super::Member::may_touch), also when their process is stopped: transfers that a network card does, with a timeout.
    Lease,
}

/// How much a member may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Members at once.
    pub members: usize,
    /// Bytes charged to one peer, over all its members that are not fenced: what is held, and what was released and is waited for.
    pub budget: u64,
    /// Axes of one member.
    pub axes: usize,
    /// Bytes of one message.
    pub message_bytes: usize,
    /// Things in one call, at most [`MAX_OPS`](super::message::MAX_OPS).
    pub ops: usize,
    /// Calls of one member whose answers it has not got.
    pub window: usize,
}

impl Default for Limits {
    /// 64 members of 256 axes; messages of 1 MiB, calls of 256 things, 32 of them at once; no budget.
    fn default() -> Self {
        Self {
            members: 64,
            budget: u64::MAX,
            axes: 256,
            message_bytes: 1 << 20,
            ops: 256,
            window: 32,
        }
    }
}

/// How an [`Owner`] is set up.
#[derive(Clone, Debug)]
pub struct OwnerConfig {
    /// Names this run of the owner: a number that no other run had, drawn at random or counted.
    pub incarnation: u64,
    /// The names of the owner's own axes. Members get those that come after.
    pub own: Names,
    /// For how long a renewal is good, in nanoseconds of the owner's clock.
    pub lease: Time,
    /// The most by which any clock's rate is off, in parts per million; at most a tenth. Quartz is within 100, and clocks that are
    /// being slewed within 500 more.
    pub drift_ppm: u32,
    /// What makes sure that a member is gone.
    pub fencing: Fencing,
    /// How often everything is told again, in nanoseconds.
    pub refresh: Time,
    /// The least time between two digests, in nanoseconds.
    pub gap: Time,
    /// What a member may ask for.
    pub limits: Limits,
    /// Peers that have another [budget](Limits::budget) than all.
    pub budgets: BTreeMap<Peer, u64>,
}

impl OwnerConfig {
    /// A lease of ten seconds, 1,000 ppm, everything told again each second; the host fences.
    #[must_use]
    pub fn new(incarnation: u64, own: Names) -> Self {
        Self {
            incarnation,
            own,
            lease: 10_000_000_000,
            drift_ppm: 1_000,
            fencing: Fencing::Host,
            refresh: 1_000_000_000,
            gap: 1_000_000,
            limits: Limits::default(),
            budgets: BTreeMap::new(),
        }
    }

    /// Bytes that may be charged to a peer.
    fn budget(&self, peer: Peer) -> u64 {
        self.budgets.get(&peer).copied().unwrap_or(self.limits.budget)
    }
}

/// Why a member failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its lease was over.
    Lease,
    /// The host said that it is gone.
    Lost,
    /// A process of the same peer that started later has joined.
    Replaced,
    /// It left.
    Left,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lease => "its lease is over",
            Self::Lost => "it is gone",
            Self::Replaced => "it was started again",
            Self::Left => "it has left",
        })
    }
}

/// What happened, for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwnerEvent {
    /// A peer has become a member.
    Joined {
        /// Its names.
        names: Names,
        /// Who it is.
        peer: Peer,
    },
    /// A member has failed: what it held is in doubt. The host is to see to it that it touches memory no more, and then to call
    /// [`Owner::fenced`].
    Failed {
        /// Its names.
        names: Names,
        /// Who it was.
        peer: Peer,
        /// Why.
        cause: Cause,
    },
    /// Everything that a member held has gone back to the pool.
    Over {
        /// Its names.
        names: Names,
        /// Who it was.
        peer: Peer,
        /// Reservations that it had held.
        reservations: usize,
        /// Their bytes.
        bytes: u64,
    },
}

/// Why a fence was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceError {
    /// Nobody has these names, or the member is over already.
    Unknown,
    /// The member is live: [`Owner::fail`] it first.
    Live,
}

impl fmt::Display for FenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "there is no member of these names, or it is over already",
            Self::Live => "the member is live",
        })
    }
}

impl core::error::Error for FenceError {}

/// A member that is live or failed.
#[derive(Debug)]
struct MemberRecord {
    peer: Peer,
    nonce: u64,
    state: MemberState,
    /// When its latest renewal came.
    renewed: Time,
    renewal: u64,
    axes: BTreeSet<Axis>,
    held: BTreeSet<u64>,
    /// Released with an unknown death: they stay out of the pool until the member is over, so that nobody is made to wait for them.
    unknown: BTreeSet<u64>,
    calls: Calls,
}

/// See the [module of fleets](super). It is driven by one thread, or under a lock.
///
/// ```
/// use std::sync::Arc;
/// use strandline_core::fleet::message::{Ask, Op};
/// use strandline_core::fleet::{Member, MemberConfig, MemberEvent, Names, Outgoing, Owner, OwnerConfig, Peer};
/// use strandline_core::pool::PoolHost;
/// use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
/// use strandline_core::slab::CpuSlabs;
/// use strandline_core::{Domain, Tracker};
///
/// let tracker = Tracker::new(64);
/// let host = PoolHost::new(Arc::new(CpuSlabs::new(64 << 20)), Arc::new(tracker.clone()));
/// let pool = Arc::new(TlsfPool::new(host, TlsfPoolConfig::default())?);
/// let mut owner = Owner::new(OwnerConfig::new(1, Names { session: 0, machine: 0 }), pool, tracker);
/// let mut member = Member::new(MemberConfig::new(1), Tracker::new(64));
/// let (mut now, peer) = (0, Peer(1));
///
/// // A network that loses nothing: each thing that is asked is answered.
/// let mut exchange = |owner: &mut Owner, member: &mut Member, now| {
///     member.tick(now);
///     while let Some(message) = member.poll_outgoing() {
///         if let (Outgoing::Ask(bytes) | Outgoing::Publish(bytes)) = message
///             && let Some(answer) = owner.receive(now, peer, &bytes)
///         {
///             member.receive(now, &answer);
///         }
///     }
/// };
/// exchange(&mut owner, &mut member, now);
/// assert_eq!(member.poll_event(), Some(MemberEvent::Joined));
///
/// let queue = member.register(Domain::Host, 0)?;
/// let call = member.call(now, vec![Op::Acquire { ask: Ask::new(4096) }])?;
/// now += 1;
/// exchange(&mut owner, &mut member, now);
/// let Some(MemberEvent::Answered { call: of, answers }) = member.poll_event() else { panic!() };
/// assert_eq!((of, answers.len()), (call, 1));
/// assert!(member.may_touch(now, 1_000_000), "for a millisecond");
/// member.tracker().advance(queue, 1)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Owner {
    config: OwnerConfig,
    pool: Arc<dyn Pool>,
    tracker: Tracker,
    /// What the tracker says of memory: what is fenced counts as reached.
    memory: Arc<dyn Progress>,
    names: NameBook,
    records: BTreeMap<Names, MemberRecord>,
    /// The live member of each peer.
    live: BTreeMap<Peer, Names>,
    /// Processes that were members.
    past: VecDeque<(Peer, u64)>,
    own_axes: BTreeSet<Axis>,
    holdings: Table<u64, Holding>,
    /// How members that have not mapped lent memory read and write it.
    remote: Option<Remote>,
    charges: Charges,
    counters: Counters,
    events: VecDeque<OwnerEvent>,
    now: Time,
    /// The pool's notification as it was looked at last.
    seen: Observation,
    moves: u64,
    digests: u64,
    /// A digest is due for what has changed.
    changed: bool,
    told: Option<Time>,
    told_all: Option<Time>,
    /// Members that are over.
    over: u64,
    /// Of those, fenced after they had failed, and the bytes that came back with it.
    fenced: (u64, u64),
}

impl Owner {
    /// An owner of `pool`, which has to stand on `tracker`. Names that axes of the tracker have already are not given out.
    #[must_use]
    pub fn new(config: OwnerConfig, pool: Arc<dyn Pool>, tracker: Tracker) -> Self {
        let mut config = config;
        config.drift_ppm = config.drift_ppm.min(MAX_DRIFT_PPM);
        config.limits.ops = config.limits.ops.min(super::message::MAX_OPS);
        let mut taken: BTreeSet<Names> =
            tracker.axes().iter().map(|status| Names::of(status.axis)).collect();
        taken.insert(config.own);
        let shared: Arc<dyn Progress> = Arc::new(tracker.clone());
        Self {
            names: NameBook::new(config.own, taken),
            seen: pool.notification().observe(),
            memory: shared.for_memory().unwrap_or(shared),
            config,
            pool,
            tracker,
            records: BTreeMap::new(),
            live: BTreeMap::new(),
            past: VecDeque::new(),
            own_axes: BTreeSet::new(),
            holdings: Table::new(),
            remote: None,
            charges: Charges::default(),
            counters: Counters::default(),
            events: VecDeque::new(),
            now: 0,
            moves: 0,
            digests: 0,
            changed: true,
            told: None,
            told_all: None,
            over: 0,
            fenced: (0, 0),
        }
    }

    /// How it is set up.
    #[must_use]
    pub const fn config(&self) -> &OwnerConfig {
        &self.config
    }

    /// Its tracker, in which the axes of all members are.
    #[must_use]
    pub const fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Tells members of an axis of the owner's own, which is registered in the tracker.
    pub fn announce(&mut self, axis: Axis) {
        self.own_axes.insert(axis);
    }

    /// Takes a message of `peer`, and gives the answer to it, if there is one.
    pub fn receive(&mut self, now: Time, peer: Peer, bytes: &[u8]) -> Option<Vec<u8>> {
        self.now = self.now.max(now);
        if bytes.len() > self.config.limits.message_bytes {
            self.counters.oversized += 1;
            return None;
        }
        let Ok(message) = Message::decode(bytes) else {
            self.counters.malformed += 1;
            return None;
        };
        match message {
            Message::Join { nonce } => Some(self.join(peer, nonce)),
            Message::Renew { who, number } => self.renew(peer, who, number),
            Message::Call { who, id, floor, ops } => self.call(peer, who, (id, floor), ops),
            Message::Leave { who } => self.leave(peer, who),
            Message::Progress { who, reached } => {
                self.progress(peer, who, &reached);
                None
            }
            Message::Welcome { .. }
            | Message::JoinRefused { .. }
            | Message::Renewed { .. }
            | Message::Reply { .. }
            | Message::Gone { .. }
            | Message::Left { .. }
            | Message::Digest { .. } => {
                self.counters.forged += 1;
                None
            }
        }
    }

    /// The names of a member that is live and is this peer's, or what to answer: nothing, if it is nobody's business.
    fn admit(&mut self, peer: Peer, who: Who) -> Result<Names, Option<Vec<u8>>> {
        let gone = |why| Err(Some(Message::Gone { who, why }.encode()));
        if who.incarnation != self.config.incarnation {
            self.counters.returned += 1;
            return gone(Gone::OtherOwner);
        }
        let Some(record) = self.records.get(&who.names) else {
            // Whoever had these names is over. Of names that nobody had nobody can speak.
            if who.names == self.config.own || !self.names.is_taken(who.names) {
                self.counters.forged += 1;
                return Err(None);
            }
            self.counters.returned += 1;
            return gone(Gone::Over);
        };
        if record.peer != peer {
            self.counters.forged += 1;
            return Err(None);
        }
        if record.state != MemberState::Live {
            self.counters.returned += 1;
            return gone(Gone::Failed);
        }
        Ok(who.names)
    }

    fn renew(&mut self, peer: Peer, who: Who, number: u64) -> Option<Vec<u8>> {
        let names = match self.admit(peer, who) {
            Ok(names) => names,
            Err(answer) => return answer,
        };
        let now = self.now;
        let record = self.records.get_mut(&names)?;
        if number <= record.renewal {
            // It may be the answer that was lost; an old one does no harm, because it names its number.
            self.counters.repeated += 1;
        } else {
            record.renewal = number;
            record.renewed = now;
        }
        Some(Message::Renewed { who, number }.encode())
    }

    fn progress(&mut self, peer: Peer, who: Who, reached: &Reached) {
        let Ok(names) = self.admit(peer, who) else { return };
        for &Entry { axis, epoch } in &reached.0 {
            if Names::of(axis) != names || axis == names.doubt() {
                self.counters.forged += 1;
                continue;
            }
            if self.knows(names, axis) {
                // An axis that has ended stays as it is.
                let _ = self.tracker.advance(axis, epoch);
            }
        }
    }

    /// Whether an axis of a live member is registered, now if not before.
    fn knows(&mut self, names: Names, axis: Axis) -> bool {
        let Some(record) = self.records.get_mut(&names) else { return false };
        if record.axes.contains(&axis) {
            return true;
        }
        // One place is the axis of doubt's.
        let has_room = record.axes.len() <= self.config.limits.axes;
        if !has_room || self.tracker.register(axis).is_err() {
            self.counters.crowded += 1;
            return false;
        }
        record.axes.insert(axis);
        true
    }

    /// Lets time pass: leases end, what became free is told.
    pub fn tick(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.expire();
        // Finds out what has been reached, and signals it.
        self.pool.poll();
        self.look();
    }

    /// Looks whether memory may have become free.
    fn look(&mut self) {
        if self.pool.notification().changed_since(self.seen) {
            self.seen = self.pool.notification().observe();
            self.moves += 1;
            self.changed = true;
        }
    }

    /// What is to be told to all members now, if anything. To be asked after every message and tick.
    pub fn poll_digest(&mut self) -> Option<Vec<u8>> {
        self.look();
        let since = |told: Option<Time>| told.map_or(Time::MAX, |at| self.now.saturating_sub(at));
        let all = since(self.told_all) >= self.config.refresh;
        let news = self.changed && since(self.told) >= self.config.gap;
        if !all && !news {
            return None;
        }
        let digest = self.digest(all);
        self.changed = false;
        self.told = Some(self.now);
        if all {
            self.told_all = Some(self.now);
        }
        Some(Message::Digest { digest }.encode())
    }

    /// What there is to tell, with all axes or without.
    fn digest(&mut self, all: bool) -> Digest {
        self.digests += 1;
        let live = || self.records.iter().filter(|(_, record)| record.state == MemberState::Live);
        let mut reached = Vec::new();
        if all {
            let known = live().flat_map(|(names, record)| {
                let doubt = names.doubt();
                record.axes.iter().filter(move |&&axis| axis != doubt)
            });
            let entry = |&axis| Entry { axis, epoch: self.tracker.reached(axis) };
            reached.extend(self.own_axes.iter().chain(known).map(entry));
            reached.sort_unstable_by_key(|entry| entry.axis);
        }
        let members =
            live().map(|(&names, record)| MemberId { names, peer: record.peer }).collect();
        Digest {
            incarnation: self.config.incarnation,
            number: self.digests,
            moves: self.moves,
            members,
            reached: Reached(reached),
        }
    }

    /// When [`tick`](Self::tick) has something to do at the latest, if nothing happens before.
    #[must_use]
    pub fn next_tick(&self) -> Time {
        let ends =
            self.records.values().filter_map(|record| match (record.state, self.config.fencing) {
                (MemberState::Live, _) | (MemberState::Failed { .. }, Fencing::Lease) => {
                    Some(record.renewed.saturating_add(self.config.lease))
                }
                (MemberState::Failed { .. }, Fencing::Host) => None,
            });
        let refresh = self.told_all.map_or(0, |at| at.saturating_add(self.config.refresh));
        let change =
            self.told.filter(|_| self.changed).map(|at| at.saturating_add(self.config.gap));
        ends.chain(change).fold(refresh, Time::min)
    }

    /// What has happened, one after the other.
    pub fn poll_event(&mut self) -> Option<OwnerEvent> {
        self.events.pop_front()
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner")
            .field("incarnation", &self.config.incarnation)
            .field("records", &self.records.len())
            .field("holdings", &self.holdings.len())
            .finish_non_exhaustive()
    }
}
