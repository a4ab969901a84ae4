//! One process of a fleet: joins, renews its lease, tells how far its axes have come, asks for memory.
//!
//! One thread sends what is due. Calls are sent by whoever makes them, and advances by whoever makes them if nobody else is at it.
//! What arrives is taken by zenoh's threads, which send nothing.

use crate::keys::Keys;
use crate::local::LocalMemory;
use crate::pool::RemotePool;
use crate::{FleetError, Link, clock};
use core::fmt;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};
use strandline_core::fleet::message::{Answer, Gone, Op, Terms, Who};
use strandline_core::fleet::{
    CallError, CallId, Ending, Member, MemberConfig, MemberEvent, Names, Outgoing, Peer,
};
use strandline_core::notification::{Notification, Wake};
use strandline_core::{Axis, Domain, Epoch, Tracker, TrackerError};
use zenoh::key_expr::KeyExpr;
use zenoh::pubsub::Publisher;
use zenoh::qos::CongestionControl;
use zenoh::{Session, Wait};

/// How long a query waits for its answer. It is sent again long before by the rules of the fleet.
const QUERY: Duration = Duration::from_secs(5);

/// How a member is set up.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// The fleet's name.
    pub fleet: String,
    /// Where its owner is.
    pub link: Link,
    /// This peer's number, which no other process has at the same time.
    pub peer: Peer,
    /// How many axes of the whole fleet there can be.
    pub axes: usize,
    /// The socket from which the owner's slabs come, on the same machine.
    pub local: Option<PathBuf>,
    /// How long to wait to be taken.
    pub patience: Duration,
    /// How often the epochs of all its axes are told again. Each telling goes to all members, so a fleet of many axes says less often what is
    /// needed only when a message was lost.
    pub refresh: Duration,
}

impl MemberOptions {
    /// 4,096 axes, no slabs, ten seconds; told again each second.
    #[must_use]
    pub fn new(fleet: impl Into<String>, link: Link, peer: Peer) -> Self {
        let patience = Duration::from_secs(10);
        let refresh = Duration::from_secs(1);
        Self { fleet: fleet.into(), link, peer, axes: 4096, local: None, patience, refresh }
    }
}

struct State {
    member: Member,
    /// Calls that somebody waits for.
    waiting: HashSet<CallId>,
    answers: HashMap<CallId, Vec<Answer>>,
    /// To be sent with the next call.
    returns: VecDeque<Op>,
    gone: Vec<Names>,
    is_joined: bool,
    stop: bool,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    /// Sends what is due. It is unparked when there is something to do, and so misses nothing whoever holds the lock.
    thread: OnceLock<Thread>,
    /// Something has happened that somebody may wait for.
    happened: Condvar,
    /// An axis is further than was told, and somebody is going to tell: who advances need not. Set after the advance, and cleared before the
    /// axes are looked at.
    untold: AtomicBool,
    session: Session,
    /// Where progress is told, and where the owner is asked.
    progress: Publisher<'static>,
    ask: KeyExpr<'static>,
    keys: Keys,
    peer: Peer,
    pub(crate) tracker: Tracker,
    /// The lent pool's.
    pub(crate) notification: Arc<Notification>,
}

/// See the [module](self). Dropping it leaves the fleet without a farewell: what it holds is in doubt until the owner has fenced it.
/// [`leave`](Self::leave) says that it goes.
pub struct FleetMember {
    pub(crate) shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    local: Option<Arc<LocalMemory>>,
    // Undeclared when they are dropped.
    _subscribers: Vec<zenoh::pubsub::Subscriber<()>>,
    _alive: zenoh::liveliness::LivelinessToken,
}

impl FleetMember {
    /// Joins a fleet. Threads that wait for its pool are woken by `wake`. Blocks until the owner has taken it.
    ///
    /// # Errors
    /// [`FleetError`].
    pub fn join(options: MemberOptions, wake: Option<Arc<dyn Wake>>) -> Result<Self, FleetError> {
        clock::try_now()?;
        let keys = Keys::new(&options.fleet)?;
        let session = zenoh::open(options.link.connect()?).wait()?;
        let (tracker, nonce) = (Tracker::new(options.axes), clock::of_day());
        let refresh = u64::try_from(options.refresh.as_nanos()).unwrap_or(u64::MAX);
        let config = MemberConfig { refresh, ..MemberConfig::new(nonce) };
        let progress = session.declare_publisher(keys.peer(Some(options.peer), "progress"));
        // What is told together is put together by the rules; zenoh would keep it for a millisecond more, to do the same.
        let progress = progress.express(true).wait()?;
        let ask = KeyExpr::try_from(keys.peer(Some(options.peer), "ask"))?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                member: Member::new(config, tracker.clone()),
                waiting: HashSet::new(),
                answers: HashMap::new(),
                returns: VecDeque::new(),
                gone: Vec::new(),
                is_joined: false,
                stop: false,
            }),
            thread: OnceLock::new(),
            happened: Condvar::new(),
            untold: AtomicBool::new(false),
            session,
            progress,
            ask,
            keys,
            peer: options.peer,
            tracker,
            notification: Arc::new(Notification::new(wake)),
        });
        let subscribers = shared.subscribe()?;
        let alive = shared.keys.peer(Some(options.peer), &format!("alive/{nonce}"));
        let alive = shared.session.liveliness().declare_token(alive).wait()?;
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("strandline fleet".into())
            .spawn(move || of_thread.work())?;
        let mut member = Self {
            shared,
            thread: Some(thread),
            local: None,
            _subscribers: subscribers,
            _alive: alive,
        };
        let who = member.shared.await_joined(options.patience)?;
        if let Some(path) = &options.local {
            member.local = Some(Arc::new(LocalMemory::connect(path, who)?));
        }
        Ok(member)
    }

    /// Who it is.
    #[must_use]
    pub fn names(&self) -> Option<Names> {
        self.shared.lock().member.who().map(|who| who.names)
    }

    /// How far all axes of the fleet have come, as far as is known here.
    #[must_use]
    pub fn tracker(&self) -> &Tracker {
        &self.shared.tracker
    }

    /// Adds an axis of its own.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn register(&self, domain: Domain, ordinal: u64) -> Result<Axis, CallError> {
        let axis = self.shared.lock().member.register(domain, ordinal)?;
        self.shared.tell();
        Ok(axis)
    }

    /// Raises an axis of its own, and tells it: at once if the last message is some time ago, with others soon if it is not.
    ///
    /// # Errors
    /// [`TrackerError`].
    pub fn advance(&self, axis: Axis, epoch: Epoch) -> Result<(), TrackerError> {
        self.shared.tracker.advance(axis, epoch)?;
        self.shared.tell();
        Ok(())
    }

    /// Whether lent memory may be touched from now on for this time. To be asked before every touch, with the longest that it can
    /// take; an owner that [kills](crate::owner::Fence::Kill) does not rely on it.
    #[must_use]
    pub fn may_touch(&self, time: Duration) -> bool {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.shared.lock().member.may_touch(clock::now(), time)
    }

    /// Why it is no member any more.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.shared.lock().member.ending()
    }

    /// Other members that went since this was last asked.
    #[must_use]
    pub fn gone(&self) -> Vec<Names> {
        core::mem::take(&mut self.shared.lock().gone)
    }

    /// The owner's pool, as one of this process. Each call makes another view with counters of its own.
    #[must_use]
    pub fn pool(&self) -> Option<RemotePool> {
        let terms = *self.shared.lock().member.terms()?;
        Some(RemotePool::new(self.shared.clone(), self.local.clone(), &terms))
    }

    /// Goes, once what was given back has arrived. All work on lent memory has to be over.
    ///
    /// # Errors
    /// [`FleetError::NoAnswer`] when the owner did not hear of it in time: then it fails instead, and is fenced.
    pub fn leave(self, patience: Duration) -> Result<(), FleetError> {
        let end = Instant::now() + patience;
        let mut state = self.shared.lock();
        loop {
            // What was given back goes before.
            if state.returns.is_empty() {
                state.member.leave(clock::now());
            }
            self.shared.wake();
            match state.member.ending() {
                // It was over already, as it is when the answer to its leave was lost: nothing of it is in doubt.
                Some(Ending::Left | Ending::Gone(Gone::Over)) => return Ok(()),
                Some(ending) => return Err(FleetError::Refused(ending)),
                None => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(FleetError::NoAnswer);
            }
            state = self.shared.wait_a_little(state, left);
        }
    }
}

impl Drop for FleetMember {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake();
        self.shared.happened.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = self.shared.session.close().wait();
    }
}

impl fmt::Debug for FleetMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetMember").field("peer", &self.shared.peer).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread has something to do.
    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn wait_a_little<'a>(
        &self,
        state: MutexGuard<'a, State>,
        most: Duration,
    ) -> MutexGuard<'a, State> {
        let time = most.min(Duration::from_millis(100));
        let waited = self.happened.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn await_joined(&self, patience: Duration) -> Result<Who, FleetError> {
        let end = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            match (state.is_joined, state.member.ending(), state.member.who()) {
                (_, Some(ending), _) => return Err(FleetError::Refused(ending)),
                (true, None, Some(who)) => return Ok(who),
                _ => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(FleetError::NoAnswer);
            }
            state = self.wait_a_little(state, left);
        }
    }

    fn subscribe(self: &Arc<Self>) -> Result<Vec<zenoh::pubsub::Subscriber<()>>, FleetError> {
        let of_digest = self.clone();
        let digest = self.session.declare_subscriber(self.keys.digest());
        let digest = digest.callback(move |sample| of_digest.receive(&sample.payload().to_bytes()));
        let of_progress = self.clone();
        let progress = self.session.declare_subscriber(self.keys.peer(None, "progress"));
        let progress = progress.callback(move |sample| {
            let peer = of_progress.keys.peer_of(sample.key_expr().as_str());
            if let Some(peer) = peer.filter(|&peer| peer != of_progress.peer) {
                of_progress.lock().member.hear(peer, &sample.payload().to_bytes());
            }
        });
        Ok(vec![digest.wait()?, progress.wait()?])
    }

    /// Takes what the owner says.
    fn receive(&self, bytes: &[u8]) {
        let mut state = self.lock();
        state.member.receive(clock::now(), bytes);
        let moved = state.heed();
        drop(state);
        // There may be something to send, which is not for the thread that this is.
        self.wake();
        self.happened.notify_all();
        if moved {
            self.notification.signal();
        }
    }

    /// Sends what is due, whenever it is.
    fn work(self: &Arc<Self>) {
        let _ = self.thread.set(std::thread::current());
        let mut state = self.lock();
        while !state.stop {
            let now = clock::now();
            state.return_what_is_due(now);
            self.untold.swap(false, Ordering::AcqRel);
            state.member.tick(now);
            let outgoing = state.outgoing();
            if !outgoing.is_empty() {
                drop(state);
                self.send(outgoing);
                state = self.lock();
                continue;
            }
            let moved = state.heed();
            if moved {
                self.notification.signal();
            }
            if state.member.ending().is_some() {
                self.happened.notify_all();
            }
            // Told as soon as the gap has passed: until then nobody need wake this thread.
            if state.member.has_news() {
                self.untold.store(true, Ordering::Release);
            }
            let next = state.member.next_tick().saturating_sub(clock::now());
            let time = Duration::from_nanos(next)
                .clamp(Duration::from_micros(100), Duration::from_secs(1));
            drop(state);
            std::thread::park_timeout(time);
            state = self.lock();
        }
    }

    fn send(self: &Arc<Self>, outgoing: Vec<Outgoing>) {
        for message in outgoing {
            let sent = match message {
                Outgoing::Ask(bytes) => self.ask(bytes),
                // Dropped if the way is full: the next one says more.
                Outgoing::Publish(bytes) => self.progress.put(bytes).wait(),
            };
            if let Err(error) = sent {
                log::debug!("the fleet's owner was not reached: {error}");
            }
        }
    }

    fn ask(self: &Arc<Self>, bytes: Vec<u8>) -> zenoh::Result<()> {
        let receiver = self.clone();
        let take = move |reply: zenoh::query::Reply| {
            if let Ok(sample) = reply.result() {
                receiver.receive(&sample.payload().to_bytes());
            }
        };
        // An answer that its asker does not read is dropped, and nobody waits with it: whoever asked asks again.
        let ask = self.session.get(&self.ask).payload(bytes).timeout(QUERY);
        ask.congestion_control(CongestionControl::Drop).express(true).callback(take).wait()
    }

    /// Tells how far its axes are, unless somebody is going to, who then does.
    fn tell(self: &Arc<Self>) {
        // Who clears it afterwards sees what was advanced before.
        if self.untold.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Ok(mut state) = self.state.try_lock() {
            self.untold.swap(false, Ordering::AcqRel);
            state.member.tick(clock::now());
            let outgoing = state.outgoing();
            drop(state);
            let is_told = outgoing.iter().any(|message| matches!(message, Outgoing::Publish(_)));
            self.send(outgoing);
            if is_told {
                return;
            }
            self.untold.store(true, Ordering::Release);
        }
        self.wake();
    }

    /// Asks the owner, and waits for the answers: one for each thing asked, those given back meanwhile left out. `None` when there
    /// will be none: it is no member any more, or has no lease.
    pub(crate) fn call(self: &Arc<Self>, ops: Vec<Op>) -> Result<Option<Vec<Answer>>, CallError> {
        let mut state = self.lock();
        let most = state.member.terms().map_or(0, |terms: &Terms| terms.ops as usize);
        let room = most.saturating_sub(ops.len());
        let returned = state.returns.len().min(room);
        let now = clock::now();
        let all: Vec<Op> = state.returns.drain(..returned).chain(ops).collect();
        let id = state.member.call(now, all)?;
        state.waiting.insert(id);
        let outgoing = state.outgoing();
        drop(state);
        self.send(outgoing);
        let mut state = self.lock();
        loop {
            if let Some(mut answers) = state.answers.remove(&id) {
                state.waiting.remove(&id);
                return Ok(Some(answers.split_off(returned)));
            }
            let is_over = state.stop || state.member.ending().is_some();
            if is_over || !state.member.may_touch(clock::now(), 0) {
                // What it is given after all is given back.
                state.waiting.remove(&id);
                return Ok(None);
            }
            state = self.wait_a_little(state, Duration::MAX);
        }
    }

    /// Gives something back, soon, with others.
    pub(crate) fn give_back(&self, op: Op) {
        let mut state = self.lock();
        state.returns.push_back(op);
        drop(state);
        self.wake();
    }
}

impl State {
    fn outgoing(&mut self) -> Vec<Outgoing> {
        core::iter::from_fn(|| self.member.poll_outgoing()).collect()
    }

    /// Sends what was given back, as a call of its own.
    fn return_what_is_due(&mut self, now: u64) {
        let most = self.member.terms().map_or(0, |terms| terms.ops as usize);
        while !self.returns.is_empty() && most > 0 {
            let many = self.returns.len().min(most);
            let ops: Vec<Op> = self.returns.drain(..many).collect();
            if self.member.call(now, ops).is_err() {
                // It is no member any more: the owner takes it all back.
                return;
            }
        }
    }

    /// Takes up what has happened; whether memory may have become free.
    fn heed(&mut self) -> bool {
        let mut moved = false;
        while let Some(event) = self.member.poll_event() {
            match event {
                MemberEvent::Joined => self.is_joined = true,
                MemberEvent::Answered { call, answers } if self.waiting.contains(&call) => {
                    self.answers.insert(call, answers);
                }
                MemberEvent::Answered { answers, .. } => {
                    // Nobody waits for them any more.
                    for answer in answers {
                        if let Answer::Ready { lease, .. } | Answer::AfterWait { lease, .. } =
                            answer
                        {
                            self.returns.push_back(Op::Cancel { token: lease.token });
                        }
                    }
                }
                MemberEvent::Moved => moved = true,
                MemberEvent::PeerGone { names } => {
                    self.gone.push(names);
                    moved = true;
                }
                _ => moved = true,
            }
        }
        moved
    }
}
