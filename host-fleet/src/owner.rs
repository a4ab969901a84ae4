//! The process that has the pool: answers members, tells digests, fences who is gone.

use crate::keys::Keys;
use crate::link::Admitted;
use crate::local::{self, Processes};
use crate::picture::Picture;
use crate::watch::{Found, Watch};
use crate::{FleetError, Link, clock, transfer};
use core::fmt;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use strandline_core::fleet::{
    Cause, FenceError, Fencing, Names, Owner, OwnerConfig, OwnerEvent, OwnerStatus, Peer, Time,
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
    /// An oracle hears all that is asked and answered, and judges whether a byte was handed out too early: [`FleetOwner::found`]. It costs a
    /// microsecond or two for each reservation.
    pub oracle: bool,
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
            oracle: false,
        }
    }
}

/// Asks the owner of a fleet for its picture of it: members, what each holds and has in doubt, messages, the pool.
///
/// # Errors
/// [`FleetError`].
pub fn status(fleet: &str, link: &Link, patience: Duration) -> Result<Picture, FleetError> {
    let keys = Keys::new(fleet)?;
    let session = zenoh::open(link.connect()?).wait()?;
    let replies = session.get(keys.status()).timeout(patience).wait()?;
    let picture = replies.recv().ok().and_then(|reply| {
        let sample = reply.into_result().ok()?;
        Picture::from_json(&sample.payload().to_bytes())
    });
    picture.ok_or(FleetError::NoAnswer)
}

struct State {
    owner: Owner,
    watch: Option<Watch>,
    /// What has happened that the thread has not seen to.
    news: VecDeque<OwnerEvent>,
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
    /// Opens a fleet that lends `pool`, which stands on `tracker`, and on `memory` if members are to reach it: by
    /// [messages](crate::transfer), and mapped, if they are of this machine and [`OwnerOptions::local`] is set.
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
        let watch = options.oracle.then(|| Watch::new(config.own, tracker.clone()));
        let mut rules = Owner::new(config, pool, tracker);
        if let Some(memory) = &memory {
            transfer::try_draw()?;
            rules.serve_bytes(Arc::new(transfer::Mapped(memory.clone())), transfer::draw);
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                owner: rules,
                watch,
                news: VecDeque::new(),
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

    /// What the oracle found so far, if there [is one](OwnerOptions::oracle).
    #[must_use]
    pub fn found(&self) -> Option<Found> {
        self.shared.lock().watch.as_ref().map(Watch::found)
    }

    /// The fleet now, for people and for programs.
    #[must_use]
    pub fn picture(&self) -> Picture {
        self.shared.lock().picture()
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
        let failed = self.shared.lock().change(|owner| owner.fail(names));
        self.shared.due.notify_all();
        failed
    }

    /// The host has made sure that a failed member touches memory no more: [`Owner::fenced`].
    ///
    /// # Errors
    /// [`FenceError`].
    pub fn fenced(&self, names: Names) -> Result<(), FenceError> {
        let fenced = self.shared.lock().change(|owner| owner.fenced(names));
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
            let answer = asked.lock().receive(peer, &bytes);
            if let Some(answer) = answer
                && let Err(error) =
                    query.reply(query.key_expr().clone(), answer).express(true).wait()
            {
                log::debug!("{peer:?} was not answered: {error}");
            }
            // Digests and fences are the thread's, and not in the answer's way.
            asked.due.notify_all();
        });
        let told = self.clone();
        let status = self.session.declare_queryable(self.keys.status());
        let status = status.callback(move |query| {
            let picture = told.lock().picture().to_json();
            let _ = query.reply(query.key_expr().clone(), picture).wait();
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
            heard.lock().receive(peer, &bytes);
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
            let missed = state.missed.extract_if(.., |(_, until)| *until <= now);
            let missed: Vec<_> = missed.map(|(process, _)| process).collect();
            state.change(|owner| {
                for (peer, nonce) in missed {
                    owner.lost(peer, nonce);
                }
                owner.tick(now);
            });
            self.fence(&mut state);
            if let Some(digest) = state.owner.poll_digest() {
                drop(state);
                if let Err(error) =
                    self.session.put(self.keys.digest(), digest).express(true).wait()
                {
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
        while let Some(event) = state.news.pop_front() {
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
        let is_over =
            |(_, processes): &mut (Names, Vec<OwnedFd>)| processes.iter().all(local::has_ended);
        let over: Vec<_> = state.ending.extract_if(.., is_over).collect();
        for (names, _) in over {
            // One that left by itself is over already.
            let _ = state.change(|owner| owner.fenced(names));
        }
    }
}

impl State {
    /// Something is done to the owner; what comes of it is written down before anybody asks for memory.
    fn change<T>(&mut self, what: impl FnOnce(&mut Owner) -> T) -> T {
        let done = what(&mut self.owner);
        while let Some(event) = self.owner.poll_event() {
            if let Some(watch) = &mut self.watch {
                watch.take(&event);
            }
            self.news.push_back(event);
        }
        done
    }

    /// Takes a message; the answer to it, if there is one.
    fn receive(&mut self, peer: Peer, bytes: &[u8]) -> Option<Vec<u8>> {
        let answer = self.change(|owner| owner.receive(clock::now(), peer, bytes));
        if let Some(watch) = &mut self.watch {
            let owner = &self.owner;
            watch.hear(bytes, answer.as_deref());
            watch.hear_progress(bytes, |who| {
                owner.is_live(who) && owner.member_of(peer) == Some(who.names)
            });
        }
        answer
    }

    fn picture(&self) -> Picture {
        Picture::new(&self.owner.status(), self.watch.as_ref().map(Watch::found))
    }
}
