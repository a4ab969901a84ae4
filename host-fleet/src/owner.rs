//! The process that has the pool: answers members, tells digests, fences who is gone.

use crate::keys::Keys;
use crate::link::Admitted;
use crate::local::{self, Processes};
use crate::{FleetError, Link, clock};
use core::fmt;
use serde_json::json;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use strandline_core::fleet::{
    Cause, FenceError, Fencing, MemberState, MemberStatus, Names, Owner, OwnerConfig, OwnerEvent,
    OwnerStatus, Peer, Time,
};
use strandline_core::{Axis, Pool, Tracker};
use strandline_host_native::MmapSlabProvider;
use zenoh::sample::SampleKind;
use zenoh::{Session, Wait};

/// What makes sure that a member which has failed touches memory no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Its process is ended, if it has mapped slabs; if it has not, it has nothing to touch. For members of the same machine.
    Kill,
    /// The host sees to it, and calls [`FleetOwner::fenced`].
    Host,
    /// Its lease: [`Fencing::Lease`].
    Lease,
}

/// How an owner is set up.
#[derive(Clone, Debug)]
pub struct OwnerOptions {
    /// The fleet's name: letters, digits, `-` and `_`.
    pub fleet: String,
    /// Where it listens.
    pub link: Link,
    /// The rules. What [`Fence`] says of fencing counts.
    pub config: OwnerConfig,
    /// What makes sure that a member is gone.
    pub fence: Fence,
    /// Who may join, if only those: enforced by certificates, so with `tls/` endpoints.
    pub admitted: Option<Vec<Admitted>>,
    /// A member fails half a second after its connection has ended, not only when its lease is over. A connection that was interrupted for
    /// longer costs the member its membership then.
    pub hasty: bool,
    /// The socket from which members of this machine map slabs.
    pub local: Option<PathBuf>,
}

impl OwnerOptions {
    /// An owner that ends processes, and is hasty.
    #[must_use]
    pub fn new(fleet: impl Into<String>, link: Link, own: Names) -> Self {
        Self {
            fleet: fleet.into(),
            link,
            config: OwnerConfig::new(clock::of_day(), own),
            fence: Fence::Kill,
            admitted: None,
            hasty: true,
            local: None,
        }
    }
}

/// Asks the owner of a fleet for its picture of it: members, what each holds and has in doubt, messages, the pool. As JSON.
///
/// # Errors
/// [`FleetError`].
pub fn status(fleet: &str, link: &Link, patience: Duration) -> Result<String, FleetError> {
    let keys = Keys::new(fleet)?;
    let session = zenoh::open(link.connect()?).wait()?;
    let replies = session.get(keys.status()).timeout(patience).wait()?;
    let text = replies.recv().ok().and_then(|reply| {
        let sample = reply.into_result().ok()?;
        sample.payload().try_to_string().ok().map(|text| text.into_owned())
    });
    text.ok_or(FleetError::NoAnswer)
}

struct State {
    owner: Owner,
    events: VecDeque<OwnerEvent>,
    /// Processes whose connection has ended, and until when it may come back.
    missed: Vec<((Peer, u64), Time)>,
    /// Members whose processes are being ended.
    ending: Vec<(Names, Vec<OwnedFd>)>,
    stop: bool,
}

struct Shared {
    state: Mutex<State>,
    due: Condvar,
    session: Session,
    keys: Keys,
    fence: Fence,
    processes: Processes,
}

/// How long a connection may be interrupted, in nanoseconds. While it is made, zenoh may make it again, and tells of an end that is none.
const INTERRUPTED: Time = 500_000_000;

/// The most events that are kept for the host.
const EVENTS: usize = 4096;

/// See the [module](self). Dropping it ends the fleet: members stop touching memory when their leases are over.
pub struct FleetOwner {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    local: Option<PathBuf>,
    _queryables: Vec<zenoh::query::Queryable<()>>,
    _subscribers: Vec<zenoh::pubsub::Subscriber<()>>,
}

impl FleetOwner {
    /// Opens a fleet that lends `pool`, which stands on `tracker`, and on `memory` if members of this machine are to map it.
    ///
    /// # Errors
    /// [`FleetError`].
    pub fn open(
        options: OwnerOptions,
        pool: Arc<dyn Pool>,
        tracker: Tracker,
        memory: Option<Arc<MmapSlabProvider>>,
    ) -> Result<Self, FleetError> {
        clock::try_now()?;
        let keys = Keys::new(&options.fleet)?;
        let prefix = keys.prefix();
        let admitted = options.admitted.as_deref().map(|admitted| (prefix, admitted));
        let session = zenoh::open(options.link.listen(admitted)?).wait()?;
        let mut config = options.config;
        config.fencing = match options.fence {
            Fence::Lease => Fencing::Lease,
            Fence::Kill | Fence::Host => Fencing::Host,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                owner: Owner::new(config, pool, tracker),
                events: VecDeque::new(),
                missed: Vec::new(),
                ending: Vec::new(),
                stop: false,
            }),
            due: Condvar::new(),
            session,
            keys,
            fence: options.fence,
            processes: Processes::default(),
        });
        let queryables = shared.answer()?;
        let subscribers = shared.subscribe(options.hasty)?;
        if let (Some(path), Some(memory)) = (&options.local, memory) {
            shared.listen(path, memory)?;
        }
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("strandline fleet".into())
            .spawn(move || of_thread.work())?;
        Ok(Self {
            shared,
            thread: Some(thread),
            local: options.local,
            _queryables: queryables,
            _subscribers: subscribers,
        })
    }

    /// The fleet now.
    #[must_use]
    pub fn status(&self) -> OwnerStatus {
        self.shared.lock().owner.status()
    }

    /// What has happened since this was last asked; of more than some thousand the latest.
    #[must_use]
    pub fn events(&self) -> Vec<OwnerEvent> {
        self.shared.lock().events.drain(..).collect()
    }

    /// Tells members of an axis of the owner's own.
    pub fn announce(&self, axis: Axis) {
        self.shared.lock().owner.announce(axis);
    }

    /// A member is gone, the host knows: [`Owner::fail`].
    #[must_use]
    pub fn fail(&self, names: Names) -> bool {
        let failed = self.shared.lock().owner.fail(names);
        self.shared.due.notify_all();
        failed
    }

    /// The host has made sure that a failed member touches memory no more: [`Owner::fenced`].
    ///
    /// # Errors
    /// [`FenceError`].
    pub fn fenced(&self, names: Names) -> Result<(), FenceError> {
        let fenced = self.shared.lock().owner.fenced(names);
        self.shared.due.notify_all();
        fenced
    }
}

impl Drop for FleetOwner {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.due.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(path) = &self.local {
            let _ = std::fs::remove_file(path);
        }
        let _ = self.shared.session.close().wait();
    }
}

impl fmt::Debug for FleetOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetOwner").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(self: &Arc<Self>) -> Result<Vec<zenoh::query::Queryable<()>>, FleetError> {
        let asked = self.clone();
        let ask = self.session.declare_queryable(self.keys.peer(None, "ask"));
        let ask = ask.callback(move |query| {
            let Some(peer) = asked.keys.peer_of(query.key_expr().as_str()) else { return };
            let bytes = query.payload().map(|bytes| bytes.to_bytes()).unwrap_or_default();
            let answer = asked.lock().owner.receive(clock::now(), peer, &bytes);
            if let Some(answer) = answer
                && let Err(error) = query.reply(query.key_expr().clone(), answer).wait()
            {
                log::debug!("{peer:?} was not answered: {error}");
            }
            // Digests and fences are the thread's, and not in the answer's way.
            asked.due.notify_all();
        });
        let told = self.clone();
        let status = self.session.declare_queryable(self.keys.status());
        let status = status.callback(move |query| {
            let status = to_json(&told.lock().owner.status());
            let _ = query.reply(query.key_expr().clone(), status).wait();
        });
        Ok(vec![ask.wait()?, status.wait()?])
    }

    fn subscribe(
        self: &Arc<Self>,
        hasty: bool,
    ) -> Result<Vec<zenoh::pubsub::Subscriber<()>>, FleetError> {
        let heard = self.clone();
        let progress = self.session.declare_subscriber(self.keys.peer(None, "progress"));
        let progress = progress.callback(move |sample| {
            let Some(peer) = heard.keys.peer_of(sample.key_expr().as_str()) else { return };
            let bytes = sample.payload().to_bytes();
            heard.lock().owner.receive(clock::now(), peer, &bytes);
            heard.due.notify_all();
        });
        let mut subscribers = vec![progress.wait()?];
        if hasty {
            let missed = self.clone();
            let alive = self.session.liveliness();
            let alive = alive.declare_subscriber(self.keys.peer(None, "alive/*"));
            let alive = alive.callback(move |sample| {
                let Some(process) = missed.keys.process_of(sample.key_expr().as_str()) else {
                    return;
                };
                let mut state = missed.lock();
                state.missed.retain(|(other, _)| *other != process);
                if sample.kind() == SampleKind::Delete {
                    state.missed.push((process, clock::now() + INTERRUPTED));
                }
            });
            subscribers.push(alive.wait()?);
        }
        Ok(subscribers)
    }

    /// Members of this machine come for slabs.
    fn listen(
        self: &Arc<Self>,
        path: &PathBuf,
        memory: Arc<MmapSlabProvider>,
    ) -> Result<(), FleetError> {
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        // It does not keep the owner; it ends with the process.
        let shared = Arc::downgrade(self);
        std::thread::Builder::new().name("strandline slabs".into()).spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if shared.strong_count() == 0 {
                    return;
                }
                let (shared, memory) = (shared.clone(), memory.clone());
                let serve = move || {
                    let admit = |who, write_down: &mut dyn FnMut()| {
                        let Some(shared) = shared.upgrade() else { return false };
                        let state = shared.lock();
                        let is_live = state.owner.is_live(who) && !state.stop;
                        if is_live {
                            write_down();
                        }
                        is_live
                    };
                    let Some(owner) = shared.upgrade() else { return };
                    if let Err(error) = local::serve(socket, &memory, &owner.processes, admit) {
                        log::warn!("a process that came for slabs: {error}");
                    }
                };
                let spawned =
                    std::thread::Builder::new().name("strandline slabs".into()).spawn(serve);
                if let Err(error) = spawned {
                    log::warn!("no thread for a process that came for slabs: {error}");
                }
            }
        })?;
        Ok(())
    }

    /// Lets time pass, tells what there is to tell, and ends those who have failed.
    fn work(&self) {
        let mut state = self.lock();
        while !state.stop {
            let now = clock::now();
            let State { owner, missed, .. } = &mut *state;
            for ((peer, nonce), _) in missed.extract_if(.., |(_, until)| *until <= now) {
                owner.lost(peer, nonce);
            }
            state.owner.tick(now);
            self.fence(&mut state);
            if let Some(digest) = state.owner.poll_digest() {
                drop(state);
                if let Err(error) = self.session.put(self.keys.digest(), digest).wait() {
                    log::debug!("a digest was not told: {error}");
                }
                state = self.lock();
            }
            let next = state.owner.next_tick().saturating_sub(clock::now());
            // Processes that are ending are looked at in between.
            let most = Duration::from_millis(if state.ending.is_empty() { 50 } else { 1 });
            let time = Duration::from_nanos(next).clamp(Duration::from_micros(200), most);
            state = self.due.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn fence(&self, state: &mut State) {
        while let Some(event) = state.owner.poll_event() {
            log::info!("fleet: {event:?}");
            match event {
                // It has said itself that it touches nothing any more, and may go on with other things.
                OwnerEvent::Failed { names, cause: Cause::Left, .. } => {
                    self.processes.forget(names)
                }
                OwnerEvent::Failed { names, .. } if self.fence == Fence::Kill => {
                    state.ending.push((names, self.processes.end(names)));
                }
                _ => {}
            }
            if state.events.len() == EVENTS {
                state.events.pop_front();
            }
            state.events.push_back(event);
        }
        let State { owner, ending, .. } = state;
        ending.retain(|(names, processes)| {
            let is_over = processes.iter().all(local::has_ended);
            if is_over {
                // One that left by itself is over already.
                let _ = owner.fenced(*names);
            }
            !is_over
        });
    }
}

/// The status as JSON.
fn to_json(status: &OwnerStatus) -> String {
    let member = |member: &MemberStatus| {
        let state = match member.state {
            MemberState::Live => "live".to_owned(),
            MemberState::Failed { cause, .. } => format!("in doubt: {cause}"),
        };
        json!({
            "names": member.names.to_string(),
            "peer": member.peer.0,
            "state": state,
            "axes": member.axes,
            "lag_ns": member.lag,
            "reservations": member.reservations,
            "held": member.held,
            "pending": member.pending,
        })
    };
    let (counters, pool) = (&status.counters, &status.pool);
    json!({
        "members": status.members.iter().map(member).collect::<Vec<_>>(),
        "lent": status.lent,
        "in_doubt": status.in_doubt,
        "over": status.over,
        "names_left": status.names_left,
        "messages": {
            "malformed": counters.malformed,
            "oversized": counters.oversized,
            "forged": counters.forged,
            "returned": counters.returned,
            "repeated": counters.repeated,
            "replayed": counters.replayed,
            "flooded": counters.flooded,
            "crowded": counters.crowded,
            "joins_refused": counters.joins_refused,
        },
        "pool": {
            "reserved": pool.reserved_bytes,
            "pending": pool.pending_bytes,
            "free": pool.free_bytes,
            "committed": pool.committed_bytes,
        },
    })
    .to_string()
}
