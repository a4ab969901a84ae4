//! A pool that is two: one of the core and one in the sandbox, which must do the same at every step.
//!
//! ```text
//!   program ──▶ Twin ──▶ native ──▶ Recorder ──▶ provider
//!                  │                    │ what was asked, what was answered
//!                  └───▶ sandbox ──▶ Echo
//! ```
//! The provider is asked once, by the native pool; the other's provider answers the same, and notes a
//! question that is not the same.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use strandline_core::inspect::{BlockState, BlockView, Event, EventSink, Snapshot};
use strandline_core::pool::{PoolHost, PoolId, PoolProperties, PoolStats, ReleaseError};
use strandline_core::slab::{SlabProperties, SlabStats, Trim};
use strandline_core::{
    Acquire, Axis, Death, Epoch, Grant, Notification, Pool, PoolError, Request, Reservation,
    SlabError, SlabId, SlabProvider,
};

/// A question to a provider and its answer.
#[derive(Clone, Debug, PartialEq)]
enum Call {
    Acquire(u64, Result<Grant, SlabError>),
    Release(SlabId, Result<(), SlabError>),
}

type Tape = Arc<Mutex<VecDeque<Call>>>;

/// Passes questions on and keeps them.
#[derive(Debug)]
struct Recorder {
    provider: Arc<dyn SlabProvider>,
    tape: Tape,
}

impl SlabProvider for Recorder {
    fn properties(&self) -> SlabProperties {
        self.provider.properties()
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        let answer = self.provider.acquire(size);
        self.tape.lock().unwrap().push_back(Call::Acquire(size, answer));
        answer
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        let answer = self.provider.release(id);
        self.tape.lock().unwrap().push_back(Call::Release(id, answer));
        answer
    }

    fn stats(&self) -> SlabStats {
        self.provider.stats()
    }

    fn query_epoch(&self, axis: Axis, epoch: Epoch) -> Option<bool> {
        self.provider.query_epoch(axis, epoch)
    }
}

/// Answers as was answered before.
#[derive(Debug)]
struct Echo {
    provider: Arc<dyn SlabProvider>,
    tape: Tape,
    /// Questions that were not asked before.
    strange: Mutex<Vec<String>>,
}

impl Echo {
    fn stray<T>(&self, asked: &str, expected: Option<&Call>) -> Result<T, SlabError> {
        self.strange.lock().unwrap().push(format!("asked {asked}, expected {expected:?}"));
        Err(SlabError::Lost)
    }
}

impl SlabProvider for Echo {
    fn properties(&self) -> SlabProperties {
        self.provider.properties()
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        match self.tape.lock().unwrap().pop_front() {
            Some(Call::Acquire(asked, answer)) if asked == size => answer,
            other => self.stray(&format!("for {size} bytes"), other.as_ref()),
        }
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        match self.tape.lock().unwrap().pop_front() {
            Some(Call::Release(given, answer)) if given == id => answer,
            other => self.stray(&format!("to take {id:?}"), other.as_ref()),
        }
    }

    fn stats(&self) -> SlabStats {
        self.provider.stats()
    }

    fn query_epoch(&self, axis: Axis, epoch: Epoch) -> Option<bool> {
        self.provider.query_epoch(axis, epoch)
    }
}

/// What a pool told its sink, without its id.
#[derive(Debug, Default)]
struct Diary(Mutex<Vec<String>>);

impl EventSink for Diary {
    fn event(&self, event: &Event) {
        let line = match *event {
            Event::Reserved { slab, offset, size, .. } => format!("+ {slab:?} {offset} {size}"),
            Event::Released { slab, offset, size, .. } => format!("- {slab:?} {offset} {size}"),
            Event::SlabAcquired { slab, size, .. } => format!("slab {slab:?} {size}"),
            Event::SlabReleased { slab, .. } => format!("gone {slab:?}"),
            _ => "another event".to_owned(),
        };
        self.0.lock().unwrap().push(line);
    }
}

/// Two pools in one.
pub(crate) struct Twin {
    id: PoolId,
    native: Box<dyn Pool>,
    sandbox: Box<dyn Pool>,
    echo: Arc<Echo>,
    held: Mutex<HashMap<u64, [Reservation; 2]>>,
    releases: AtomicU32,
    diaries: [Arc<Diary>; 2],
}

impl fmt::Debug for Twin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Twin").field(&self.native).field(&self.sandbox).finish()
    }
}

impl Twin {
    pub(crate) fn new(
        host: PoolHost,
        native: impl FnOnce(PoolHost) -> Box<dyn Pool>,
        sandbox: impl FnOnce(PoolHost) -> Box<dyn Pool>,
    ) -> Self {
        let tape = Tape::default();
        let recorder = Recorder { provider: host.provider.clone(), tape: tape.clone() };
        let provider = host.provider;
        let echo = Arc::new(Echo { provider, tape, strange: Mutex::default() });
        let stand = |provider: Arc<dyn SlabProvider>, diary: &Arc<Diary>| {
            PoolHost::new(provider, host.progress.clone()).with_sink(diary.clone())
        };
        let diaries: [Arc<Diary>; 2] = Default::default();
        Self {
            id: PoolId::next(),
            native: native(stand(Arc::new(recorder), &diaries[0])),
            sandbox: sandbox(stand(echo.clone(), &diaries[1])),
            echo,
            held: Mutex::default(),
            releases: AtomicU32::new(0),
            diaries,
        }
    }

    /// Both must have come to the same.
    fn agree(&self, what: &str) {
        let strange = self.echo.strange.lock().unwrap();
        assert!(strange.is_empty(), "{what}: {strange:?}");
        let left = self.echo.tape.lock().unwrap();
        assert!(left.is_empty(), "{what}: the sandbox did not ask {left:?}");
        assert_eq!(self.native.stats(), self.sandbox.stats(), "{what}");
        let [mut native, mut sandbox] =
            [0, 1].map(|i: usize| std::mem::take(&mut *self.diaries[i].0.lock().unwrap()));
        // When slabs come and go within a call, the two may tell of it in another order.
        native.sort();
        sandbox.sort();
        assert_eq!(native, sandbox, "{what}");
    }

    fn hold(&self, pair: [Reservation; 2]) -> Reservation {
        let [a, b] = &pair;
        let place = |r: &Reservation| (r.slab(), r.offset(), r.size());
        assert_eq!(place(a), place(b), "places differ");
        let mut held = self.held.lock().unwrap();
        let token = (0..).find(|token| !held.contains_key(token)).unwrap();
        let out = Reservation::foreign(self.id, a.slab(), a.offset(), a.size(), token);
        held.insert(token, pair);
        out
    }

    fn take(&self, reservation: &Reservation) -> [Reservation; 2] {
        let token = reservation.foreign_token().expect("a twin's");
        self.held.lock().unwrap().remove(&token).expect("held")
    }

    /// Both notifications must have moved when one has: waiters of either look again.
    fn signaled<R>(&self, act: impl FnOnce() -> R) -> R {
        let pools = [&self.native, &self.sandbox];
        let seen = pools.map(|pool| pool.notification().observe());
        let result = act();
        let moved = [0, 1].map(|i: usize| pools[i].notification().changed_since(seen[i]));
        assert!(moved[1] || !moved[0], "a signal is missing");
        result
    }
}

impl Pool for Twin {
    fn id(&self) -> PoolId {
        self.id
    }

    fn footprint(&self, size: u64, alignment: u64) -> u64 {
        self.native.footprint(size, alignment)
    }

    fn properties(&self) -> PoolProperties {
        assert_eq!(self.native.properties(), self.sandbox.properties());
        self.native.properties()
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        let (native, sandbox) =
            self.signaled(|| (self.native.acquire(request), self.sandbox.acquire(request)));
        let outcome = match (native, sandbox) {
            (
                Ok(Acquire::Ready { reservation: a, origin: from }),
                Ok(Acquire::Ready { reservation: b, origin }),
            ) => {
                assert_eq!(from, origin, "{request:?}");
                Ok(Acquire::Ready { reservation: self.hold([a, b]), origin })
            }
            (
                Ok(Acquire::AfterWait { reservation: a, wait: first }),
                Ok(Acquire::AfterWait { reservation: b, wait }),
            ) => {
                assert_eq!(first, wait, "{request:?}");
                Ok(Acquire::AfterWait { reservation: self.hold([a, b]), wait })
            }
            (
                Ok(Acquire::Exhausted { observed, growth_required: first }),
                Ok(Acquire::Exhausted { growth_required, .. }),
            ) => {
                assert_eq!(first, growth_required, "{request:?}");
                Ok(Acquire::Exhausted { observed, growth_required })
            }
            (Ok(Acquire::OverBudget { observed }), Ok(Acquire::OverBudget { .. })) => {
                Ok(Acquire::OverBudget { observed })
            }
            (Err(first), Err(error)) => {
                assert_eq!(first, error, "{request:?}");
                Err(error)
            }
            (native, sandbox) => panic!("{request:?}: {native:?}, in the sandbox {sandbox:?}"),
        };
        self.agree("acquire");
        outcome
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        let [a, b] = self.take(&reservation);
        self.signaled(|| {
            self.native.release(a, death).unwrap();
            self.sandbox.release(b, death).unwrap();
        });
        // To look hands over what waits outside the sandbox: now and then it must cross with what follows.
        if self.releases.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            self.agree("release");
        }
        Ok(())
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        let [a, b] = self.take(&reservation);
        self.signaled(|| {
            self.native.cancel(a).unwrap();
            self.sandbox.cancel(b).unwrap();
        });
        self.agree("cancel");
        Ok(())
    }

    fn poll(&self) {
        self.signaled(|| {
            self.native.poll();
            self.sandbox.poll();
        });
        self.agree("poll");
    }

    fn quiesce(&self) {
        self.signaled(|| {
            self.native.quiesce();
            self.sandbox.quiesce();
        });
        self.agree("quiesce");
    }

    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        let (native, sandbox) = self.signaled(|| (self.native.trim(how), self.sandbox.trim(how)));
        assert_eq!(native, sandbox);
        self.agree("trim");
        native
    }

    fn stats(&self) -> PoolStats {
        self.agree("stats");
        self.native.stats()
    }

    fn provider(&self) -> Option<&Arc<dyn SlabProvider>> {
        self.native.provider()
    }

    fn notification(&self) -> &Arc<Notification> {
        self.native.notification()
    }

    fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        assert_eq!(Snapshot::of(&*self.native), Snapshot::of(&*self.sandbox));
        let mut blocks = VecDeque::new();
        let text = |block: &BlockView<'_>| format!("{block:?}");
        self.native.inspect(&mut |block| blocks.push_back(text(block)));
        self.sandbox.inspect(&mut |block| {
            assert_eq!(blocks.pop_front(), Some(text(block)));
            debug_assert!(!matches!(block.state, BlockState::Live { requested: 0 }));
        });
        assert!(blocks.is_empty(), "the sandbox does not show {blocks:?}");
        self.native.inspect(visit);
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        // One after the other, so that the tape is there when it is needed.
        let nothing = || {
            let host =
                PoolHost::new(self.echo.provider.clone(), Arc::new(strandline_core::NoProgress));
            let config = strandline_core::pool::passthrough::PassthroughPoolConfig::default();
            Box::new(
                strandline_core::pool::passthrough::PassthroughPool::new(host, config).unwrap(),
            )
        };
        drop(std::mem::replace(&mut self.native, nothing()));
        drop(std::mem::replace(&mut self.sandbox, nothing()));
        if !std::thread::panicking() {
            let strange = self.echo.strange.lock().unwrap();
            assert!(strange.is_empty(), "at the end: {strange:?}");
            let left = self.echo.tape.lock().unwrap();
            assert!(left.is_empty(), "at the end: the sandbox did not ask {left:?}");
        }
    }
}
