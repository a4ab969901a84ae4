//! The side of one process that joined: when it may touch lent memory, and what it has to say again.
//!
//! ```text
//!   joining ──Welcome──▶ member ──leave, all calls answered──▶ leaving ──Left──▶ over
//!      └──JoinRefused──▶ over     └──Gone──▶ over
//! ```
//!
//! # Invariants
//! - Memory may be touched only by a member, and only until *hold* after it sent the latest renewal that was acknowledged: see
//!   [`lease`].
//! - A call is sent again until its answer has come, and its answer is given to the host once.
//! - Epochs of others' axes never run ahead: they are what the axis's own member said, or what the owner had heard of it.

mod calls;
mod peers;

use self::calls::CallBook;
use self::peers::Peers;
use super::Time;
use super::lease;
use super::message::{Answer, Digest, Gone, JoinRefusal, Message, Op, Reached, Terms, Who};
use super::names::{Names, Peer};
use crate::axis::{Axis, Domain, Epoch};
use crate::frontier::Entry;
use crate::progress::Progress;
use crate::tracker::{Tracker, TrackerError};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;

/// Renewals without an answer that are remembered.
const RENEWALS: usize = 16;

/// How a [`Member`] is set up.
#[derive(Clone, Copy, Debug)]
pub struct MemberConfig {
    /// Names this process: greater than that of every process of this peer that started before. The time of day in nanoseconds is
    /// one.
    pub nonce: u64,
    /// After how long something is sent again at first, in nanoseconds; then after twice as long, and so on.
    pub retry: Time,
    /// The longest it waits before it sends again.
    pub retry_most: Time,
    /// How often the epochs of all its axes are told again.
    pub refresh: Time,
    /// The least time between two messages of progress: advances in between are told together.
    pub gap: Time,
}

impl MemberConfig {
    /// Again after 20 ms, and every second at least; epochs at most each 100 µs, and all of them each second.
    #[must_use]
    pub const fn new(nonce: u64) -> Self {
        Self {
            nonce,
            retry: 20_000_000,
            retry_most: 1_000_000_000,
            refresh: 1_000_000_000,
            gap: 100_000,
        }
    }
}

/// What the host is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// To the owner, which answers.
    Ask(Vec<u8>),
    /// To the owner and all members.
    Publish(Vec<u8>),
}

/// Names a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(super) u64);

/// Why this is no member any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It never was one.
    JoinRefusal(JoinRefusal),
    /// The owner counts it as gone.
    Gone(Gone),
    /// It left.
    Left,
}

/// What happened, for the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberEvent {
    /// It is a member.
    Joined,
    /// A call was answered.
    Answered {
        /// Which.
        call: CallId,
        /// One for each thing that was asked.
        answers: Vec<Answer>,
    },
    /// Memory may have become free.
    Moved,
    /// Another member is gone; its axes have failed in the tracker.
    PeerGone {
        /// Its names.
        names: Names,
    },
    /// It is no member any more. Calls that were not answered never will be.
    Over(Ending),
}

/// Why a call, or an axis, was not taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallError {
    /// It is no member: not yet, or no more.
    NoMember,
    /// More things than the owner takes in one call, or a call that is too long, or none.
    TooMany {
        /// The most things.
        most: u64,
    },
    /// A frontier of more than [`MAX_ENTRIES`](super::message::MAX_ENTRIES).
    TooWide,
    /// A death names an axis that nobody has told of.
    UnknownAxis(Axis),
    /// As many axes as the owner permits.
    AxesFull {
        /// How many.
        most: u64,
    },
    /// The tracker did not take the axis, or there is no such axis.
    Axis(TrackerError),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMember => f.write_str("this is no member of a fleet"),
            Self::TooMany { most } => {
                write!(f, "a call of nothing, of more than {most} things, or too long")
            }
            Self::TooWide => f.write_str("a frontier of more entries than a call may have"),
            Self::UnknownAxis(axis) => write!(f, "axis {axis} is not known"),
            Self::AxesFull { most } => write!(f, "all {most} axes are there"),
            Self::Axis(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CallError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Axis(error) => Some(error),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Since when, once the first join was sent.
    Joining(Option<Time>),
    Member,
    Leaving,
    Over(Ending),
}

/// When something is sent again.
#[derive(Clone, Copy, Debug)]
struct Retry {
    due: Time,
    wait: Time,
}

/// See the [module of fleets](super). It is driven by one thread, or under a lock; [advances](Tracker::advance) of its axes need
/// neither.
#[derive(Debug)]
pub struct Member {
    config: MemberConfig,
    tracker: Tracker,
    state: State,
    now: Time,
    /// Set once it is a member.
    terms: Option<(Who, Terms)>,
    /// Memory may be touched before this.
    good_until: Time,
    /// Numbers of renewals and when they were sent.
    renewals: VecDeque<(u64, Time)>,
    renewal: u64,
    renew_at: Time,
    /// Of the join or the leave.
    retry: Retry,
    calls: CallBook,
    peers: Peers,
    /// Its axes, and what was told of them last.
    own: BTreeMap<Axis, Option<Epoch>>,
    told: Time,
    told_all: Time,
    outgoing: VecDeque<Outgoing>,
    events: VecDeque<MemberEvent>,
    ignored: u64,
}

impl Member {
    /// A process that is going to join. `tracker` is to have room for the axes of the whole fleet.
    #[must_use]
    pub fn new(config: MemberConfig, tracker: Tracker) -> Self {
        Self {
            retry: Retry { due: 0, wait: config.retry },
            config,
            tracker,
            state: State::Joining(None),
            now: 0,
            terms: None,
            good_until: 0,
            renewals: VecDeque::new(),
            renewal: 0,
            renew_at: 0,
            calls: CallBook::default(),
            peers: Peers::default(),
            own: BTreeMap::new(),
            told: 0,
            told_all: 0,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            ignored: 0,
        }
    }

    /// How far all axes are that it has heard of. Its own are advanced here.
    #[must_use]
    pub const fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Who it is, once it is a member.
    #[must_use]
    pub fn who(&self) -> Option<Who> {
        self.terms.map(|(who, _)| who)
    }

    /// What it has to keep to, once it is a member.
    #[must_use]
    pub fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref().map(|(_, terms)| terms)
    }

    /// Whether lent memory may be touched from now on for `time` nanoseconds. To be asked before every touch, with the longest that it
    /// can take.
    #[must_use]
    pub fn may_touch(&self, now: Time, time: Time) -> bool {
        self.state == State::Member
            && now.checked_add(time).is_some_and(|end| end <= self.good_until)
    }

    /// Until when memory may be touched, as far as is known: [`may_touch`](Self::may_touch).
    #[must_use]
    pub fn good_until(&self) -> Time {
        if self.state == State::Member { self.good_until } else { 0 }
    }

    /// Why it is no member any more.
    #[must_use]
    pub const fn ending(&self) -> Option<Ending> {
        match self.state {
            State::Over(ending) => Some(ending),
            _ => None,
        }
    }

    /// Messages that were none, or none for this member.
    #[must_use]
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Calls that are not answered, and releases that are to be said again.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.calls.len()
    }

    /// Adds an axis of its own, which has reached nothing.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn register(&mut self, domain: Domain, ordinal: u64) -> Result<Axis, CallError> {
        let (State::Member, Some((who, terms))) = (self.state, self.terms) else {
            return Err(CallError::NoMember);
        };
        let names = who.names;
        let axis = Axis::new(names.session, names.machine, domain, ordinal);
        let axis = axis.filter(|&axis| axis != names.doubt());
        let axis = axis.ok_or(CallError::Axis(TrackerError::ReservedAxis))?;
        if self.own.len() as u64 >= terms.axes {
            return Err(CallError::AxesFull { most: terms.axes });
        }
        self.tracker.register(axis).map_err(CallError::Axis)?;
        self.own.insert(axis, None);
        Ok(axis)
    }

    /// Asks the pool for something. The answers come as an [event](MemberEvent::Answered). A release of an axis that the owner has not
    /// heard of yet is answered as done, and said again until it is.
    ///
    /// # Errors
    /// [`CallError`]; nothing is sent then.
    pub fn call(&mut self, now: Time, ops: Vec<Op>) -> Result<CallId, CallError> {
        self.now = self.now.max(now);
        let (State::Member, Some((_, terms))) = (self.state, &self.terms) else {
            return Err(CallError::NoMember);
        };
        calls::check(&ops, terms, &self.tracker)?;
        let id = self.calls.add(ops, true);
        self.send_calls();
        Ok(CallId(id))
    }

    /// Goes, as soon as all calls are answered. From now on memory may not be touched, and all work on it has to be over.
    pub fn leave(&mut self, now: Time) {
        self.now = self.now.max(now);
        match self.state {
            State::Member => {
                self.state = State::Leaving;
                self.retry = Retry { due: self.now, wait: self.config.retry };
            }
            State::Joining(_) => self.end(Ending::Left),
            State::Leaving | State::Over(_) => {}
        }
    }

    /// Takes an answer or a digest of the owner.
    pub fn receive(&mut self, now: Time, bytes: &[u8]) {
        self.now = self.now.max(now);
        let taken = match Message::decode(bytes) {
            Ok(Message::Welcome { nonce, who, terms, digest }) => {
                self.welcome(nonce, who, terms, &digest)
            }
            Ok(Message::JoinRefused { nonce, why }) => {
                let is_ours = matches!(self.state, State::Joining(_)) && nonce == self.config.nonce;
                if is_ours {
                    self.end(Ending::JoinRefusal(why));
                }
                is_ours
            }
            Ok(Message::Renewed { who, number }) if self.is_me(who) => self.renewed(number),
            Ok(Message::Reply { who, id, answers }) if self.is_me(who) => self.replied(id, answers),
            Ok(Message::Gone { who, why }) if self.is_me(who) => {
                self.end(Ending::Gone(why));
                true
            }
            Ok(Message::Left { who }) if self.is_me(who) => {
                self.end(Ending::Left);
                true
            }
            Ok(Message::Digest { digest }) => self.heed(&digest),
            _ => false,
        };
        self.ignored += u64::from(!taken);
    }

    /// Takes what another member says of its progress. `peer` is who the host knows it to be.
    pub fn hear(&mut self, peer: Peer, bytes: &[u8]) {
        let taken = match (Message::decode(bytes), &self.terms) {
            (Ok(Message::Progress { who, reached }), Some((me, terms)))
                if who.incarnation == me.incarnation && who.names != me.names =>
            {
                self.peers.hear(peer, who.names, &reached, &self.tracker, terms.axes)
            }
            _ => false,
        };
        self.ignored += u64::from(!taken);
    }

    fn is_me(&self, who: Who) -> bool {
        matches!(self.state, State::Member | State::Leaving) && self.who() == Some(who)
    }

    fn welcome(&mut self, nonce: u64, who: Who, terms: Terms, digest: &Digest) -> bool {
        let State::Joining(Some(first)) = self.state else { return false };
        if nonce != self.config.nonce || digest.incarnation != who.incarnation {
            return false;
        }
        self.state = State::Member;
        self.terms = Some((who, terms));
        // Whichever of its joins was the one that came, it was not sent before the first.
        self.good_until = first.saturating_add(lease::hold(terms.lease, terms.drift_ppm));
        self.renew_at = self.now;
        self.told_all = self.now;
        self.calls.open(terms.window);
        self.heed(digest);
        self.events.push_back(MemberEvent::Joined);
        true
    }

    fn renewed(&mut self, number: u64) -> bool {
        let sent = self.renewals.iter().find(|(of, _)| *of == number).map(|(_, sent)| *sent);
        let (Some(sent), Some((_, terms))) = (sent, self.terms) else { return false };
        let until = sent.saturating_add(lease::hold(terms.lease, terms.drift_ppm));
        self.good_until = self.good_until.max(until);
        // Earlier ones say nothing new.
        self.renewals.retain(|(of, _)| *of > number);
        true
    }

    fn replied(&mut self, id: u64, answers: Vec<Answer>) -> bool {
        let due = self.now.saturating_add(self.config.retry);
        match self.calls.answered(id, answers, due) {
            Ok(Some(answers)) => {
                self.events.push_back(MemberEvent::Answered { call: CallId(id), answers });
                self.send_calls();
                true
            }
            Ok(None) => true,
            Err(()) => false,
        }
    }

    fn heed(&mut self, digest: &Digest) -> bool {
        let Some(me) = self.who().filter(|me| me.incarnation == digest.incarnation) else {
            return false;
        };
        if matches!(self.state, State::Over(_)) {
            return false;
        }
        if self.peers.moved(digest.moves) {
            self.events.push_back(MemberEvent::Moved);
        }
        for names in self.peers.heed(digest, me.names, &self.tracker) {
            self.events.push_back(MemberEvent::PeerGone { names });
        }
        true
    }

    fn end(&mut self, ending: Ending) {
        self.state = State::Over(ending);
        self.calls.clear();
        self.renewals.clear();
        self.outgoing.clear();
        self.events.push_back(MemberEvent::Over(ending));
    }

    /// Lets time pass: what was not answered is sent again, what has been reached is told.
    pub fn tick(&mut self, now: Time) {
        self.now = self.now.max(now);
        match self.state {
            State::Joining(first) => {
                if self.is_due() {
                    self.state = State::Joining(first.or(Some(self.now)));
                    let join = Message::Join { nonce: self.config.nonce };
                    self.outgoing.push_back(Outgoing::Ask(join.encode()));
                }
            }
            State::Member => self.tick_member(),
            State::Leaving => {
                self.tick_member();
                if self.calls.len() == 0
                    && self.is_due()
                    && let Some(who) = self.who()
                {
                    self.outgoing.push_back(Outgoing::Ask(Message::Leave { who }.encode()));
                }
            }
            State::Over(_) => {}
        }
    }

    /// Whether the join or the leave is to be sent; counted as sent then.
    fn is_due(&mut self) -> bool {
        if self.now < self.retry.due {
            return false;
        }
        let wait = self.retry.wait;
        let next = wait.saturating_mul(2).min(self.config.retry_most);
        self.retry = Retry { due: self.now.saturating_add(wait), wait: next };
        true
    }

    fn tick_member(&mut self) {
        let Some((who, terms)) = self.terms else { return };
        if self.now >= self.renew_at {
            self.renewal += 1;
            if self.renewals.len() == RENEWALS {
                self.renewals.pop_front();
            }
            self.renewals.push_back((self.renewal, self.now));
            let renew = Message::Renew { who, number: self.renewal };
            self.outgoing.push_back(Outgoing::Ask(renew.encode()));
            // Several may be lost before memory has to be left alone.
            let every = lease::hold(terms.lease, terms.drift_ppm) / 6;
            self.renew_at = self.now.saturating_add(every.max(1));
        }
        self.calls.revive(self.now);
        self.send_calls();
        self.tell();
    }

    fn send_calls(&mut self) {
        let Some((who, _)) = self.terms else { return };
        let (now, config, outgoing) = (self.now, &self.config, &mut self.outgoing);
        self.calls.send(now, config, who, |bytes| outgoing.push_back(Outgoing::Ask(bytes)));
    }

    /// Tells how far its axes have come, if that is news, or if it is time to tell it again.
    fn tell(&mut self) {
        let Some((who, _)) = self.terms else { return };
        let all = self.now.saturating_sub(self.told_all) >= self.config.refresh;
        if !all && self.now.saturating_sub(self.told) < self.config.gap {
            return;
        }
        let mut reached = Vec::new();
        for (&axis, told) in &mut self.own {
            let epoch = self.tracker.reached(axis);
            if all || *told != Some(epoch) {
                *told = Some(epoch);
                reached.push(Entry { axis, epoch });
            }
        }
        if all {
            self.told_all = self.now;
        }
        if !reached.is_empty() {
            self.told = self.now;
            let progress = Message::Progress { who, reached: Reached(reached) };
            self.outgoing.push_back(Outgoing::Publish(progress.encode()));
        }
    }

    /// An axis of its own is further than was told last. Cost: a lookup an axis.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.own.iter().any(|(&axis, told)| *told != Some(self.tracker.reached(axis)))
    }

    /// When [`tick`](Self::tick) has something to do at the latest, if nothing happens before: what axes of its own reach after this was
    /// asked, the tick after tells. Cost: a lookup an axis.
    #[must_use]
    pub fn next_tick(&self) -> Time {
        match self.state {
            State::Joining(_) => self.retry.due,
            State::Over(_) => Time::MAX,
            State::Member | State::Leaving => {
                let again = self.told_all.saturating_add(self.config.refresh);
                let soon = self.told.saturating_add(self.config.gap);
                let tell = if self.has_news() { again.min(soon) } else { again };
                let leave = if self.state == State::Leaving && self.calls.len() == 0 {
                    self.retry.due
                } else {
                    Time::MAX
                };
                tell.min(self.renew_at).min(leave).min(self.calls.next())
            }
        }
    }

    /// What is to be sent, one after the other.
    pub fn poll_outgoing(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    /// What has happened, one after the other.
    pub fn poll_event(&mut self) -> Option<MemberEvent> {
        self.events.pop_front()
    }
}
