//! The oracle can fail: a pool with a planted fault is found out, and by the law that the fault breaks.

use crate::support::dice::Dice;
use crate::support::generate::op;
use crate::support::laws::Laws;
use crate::support::program::{Op, run};
use crate::support::scaled;
use crate::support::subject::{Config, Kind, Made, Subject};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use strandline_core::inspect::BlockView;
use strandline_core::notification::Notification;
use strandline_core::pool::{
    MAX_DEATH_AXES, Origin, PoolError, PoolHost, PoolId, PoolProperties, ReleaseError, Request,
    ReuseProof,
};
use strandline_core::slab::{Elastic, Grant, SlabError, SlabProperties, SlabStats, Trim};
use strandline_core::{
    Acquire, Axis, Death, Frontier, Merge, Pool, PoolStats, Reservation, SlabId, SlabProvider,
};

/// What is wrong with a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Reuse is called completion, whatever it rests on.
    WrongOrigin,
    /// Used bytes are called fresh.
    WrongFresh,
    /// Every thousandth request is refused.
    RefusesSome,
    /// A wait names one axis too many: one that the requester covers.
    WaitsTooMuch,
    /// A wait names one axis, or one epoch, too few.
    WaitsTooLittle,
    /// A wait is forgotten altogether.
    ReadyTooEarly,
    /// What was just handed out is handed out again.
    DoubleDelivery,
    /// A cancel counts as a release by the requester, idle.
    CancelCleans,
    /// A block waits for what the one released before it waits for as well, as if the two had been merged.
    RaisesDeath,
    /// `growth_required` is the opposite.
    WrongGrowth,
    /// Nobody is woken.
    NeverWakes,
    /// A peak that never was.
    PeakTooHigh,
}

/// A pool with a fault.
#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn Pool>,
    fault: Fault,
    requests: AtomicU64,
    /// Whether the fault has come to pass.
    struck: Arc<AtomicBool>,
    silent: Arc<Notification>,
    last: std::sync::Mutex<Option<(SlabId, u64, u64)>>,
    /// The death released before.
    before: std::sync::Mutex<Frontier>,
}

impl Faulty {
    fn strike(&self) {
        self.struck.store(true, Ordering::Relaxed);
    }

    fn spoil(&self, request: &Request<'_>, answer: Acquire) -> Acquire {
        match (self.fault, answer) {
            (
                Fault::WrongOrigin,
                Acquire::Ready { reservation, origin: Origin::Reused(ReuseProof::Dominance) },
            ) => {
                self.strike();
                Acquire::Ready { reservation, origin: Origin::Reused(ReuseProof::Completion) }
            }
            (Fault::WrongFresh, Acquire::Ready { reservation, origin: Origin::Reused(_) }) => {
                self.strike();
                Acquire::Ready { reservation, origin: Origin::Fresh }
            }
            (Fault::WaitsTooMuch, Acquire::AfterWait { reservation, mut wait }) => {
                let known = request.frontier.entries().first();
                let entry = known.map_or((Axis::host(0), 1), |e| (e.axis, e.epoch));
                if wait.get(entry.0) == 0 {
                    self.strike();
                    let _ = wait.set(entry.0, entry.1);
                }
                Acquire::AfterWait { reservation, wait }
            }
            (Fault::WaitsTooLittle, Acquire::AfterWait { reservation, mut wait }) => {
                let first = wait.as_ref().entries()[0];
                if wait.len() > 1 {
                    self.strike();
                    let _ = wait.set(first.axis, 0);
                } else if first.epoch > 1 {
                    self.strike();
                    let _ = wait.set(first.axis, first.epoch - 1);
                }
                Acquire::AfterWait { reservation, wait }
            }
            (Fault::ReadyTooEarly, Acquire::AfterWait { reservation, .. }) => {
                self.strike();
                let origin = Origin::Reused(ReuseProof::Completion);
                Acquire::Ready { reservation, origin }
            }
            (Fault::WrongGrowth, Acquire::Exhausted { observed, growth_required }) => {
                self.strike();
                Acquire::Exhausted { observed, growth_required: !growth_required }
            }
            (Fault::DoubleDelivery, Acquire::Ready { reservation, origin }) => {
                let size = reservation.size();
                let now = (reservation.slab(), reservation.offset(), size);
                let last = self.last.lock().unwrap().replace(now);
                match last {
                    Some((slab, offset, before))
                        if before >= size && offset.is_multiple_of(request.alignment) =>
                    {
                        self.strike();
                        let reservation = Reservation::foreign(self.id(), slab, offset, size, 0);
                        Acquire::Ready { reservation, origin }
                    }
                    _ => Acquire::Ready { reservation, origin },
                }
            }
            (_, answer) => answer,
        }
    }
}

impl Pool for Faulty {
    fn id(&self) -> PoolId {
        self.inner.id()
    }

    fn properties(&self) -> PoolProperties {
        self.inner.properties()
    }

    fn footprint(&self, size: u64, alignment: u64) -> u64 {
        self.inner.footprint(size, alignment)
    }

    fn acquire(&self, request: &Request<'_>) -> Result<Acquire, PoolError> {
        let count = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if self.fault == Fault::RefusesSome && count.is_multiple_of(1000) {
            self.strike();
            let observed = self.notification().observe();
            return Ok(Acquire::Exhausted { observed, growth_required: false });
        }
        if self.fault == Fault::NeverWakes {
            // It is the silent one that is observed.
            let answer = self.inner.acquire(request)?;
            return Ok(match answer {
                Acquire::Exhausted { growth_required, .. } => {
                    self.strike();
                    let observed = self.silent.observe();
                    Acquire::Exhausted { observed, growth_required }
                }
                other => other,
            });
        }
        Ok(self.spoil(request, self.inner.acquire(request)?))
    }

    fn release(&self, reservation: Reservation, death: Death<'_>) -> Result<(), ReleaseError> {
        *self.last.lock().unwrap() = None;
        if let (Fault::RaisesDeath, Death::After(after)) = (self.fault, death) {
            let mut before = self.before.lock().unwrap();
            let mut joined = before.clone();
            *before = after.to_frontier();
            let merged = joined.merge(after);
            // Of more axes it would be unknown.
            if merged == Merge::Done && joined.len() <= MAX_DEATH_AXES {
                self.strike();
                return self.inner.release(reservation, Death::After(joined.as_ref()));
            }
        }
        self.inner.release(reservation, death)
    }

    fn cancel(&self, reservation: Reservation) -> Result<(), ReleaseError> {
        *self.last.lock().unwrap() = None;
        if self.fault == Fault::CancelCleans {
            self.strike();
            return self.inner.release(reservation, Death::Idle);
        }
        self.inner.cancel(reservation)
    }

    fn poll(&self) {
        self.inner.poll();
    }

    fn quiesce(&self) {
        self.inner.quiesce();
    }

    fn trim(&self, how: Trim) -> Result<u64, PoolError> {
        self.inner.trim(how)
    }

    fn stats(&self) -> PoolStats {
        let mut stats = self.inner.stats();
        if self.fault == Fault::PeakTooHigh && stats.peak_reserved_bytes > 0 {
            self.strike();
            stats.peak_reserved_bytes += 1;
        }
        stats
    }

    fn notification(&self) -> &Arc<Notification> {
        if self.fault == Fault::NeverWakes { &self.silent } else { self.inner.notification() }
    }

    fn inspect(&self, visit: &mut dyn FnMut(&BlockView<'_>)) {
        self.inner.inspect(visit);
    }
}

/// Plants a fault in a pool that is judged by these laws alone. What the oracle says, of the first program that fails
/// after the fault struck.
fn plant(kind: Kind, fault: Fault, laws: Laws) -> String {
    for seed in 1..scaled(400).max(100).into() {
        let mut dice = Dice::new(seed);
        let mut subject = Subject::draw(kind, 64, &mut dice);
        if subject.packs() {
            continue;
        }
        subject.laws = Laws::NONE;
        let len = if fault == Fault::RefusesSome { 3000 } else { 300 };
        let program: Vec<Op> = (0..len).map(|_| op(&mut dice, subject.largest())).collect();
        let struck = Arc::new(AtomicBool::new(false));
        let mut judge = |laws, fault: Option<Fault>| {
            subject.laws = laws;
            run(&subject, &program, |host| {
                let inner = subject.make(host, &[]).pool;
                let Some(fault) = fault else { return Made::new(inner) };
                let (requests, struck) = (AtomicU64::new(0), struck.clone());
                let silent = Arc::new(Notification::new(None));
                let (last, before) = Default::default();
                let faulty = Faulty { inner, fault, requests, struck, silent, last, before };
                Made::new(Arc::new(faulty))
            })
        };
        // What the pool itself gets wrong shows nothing of the fault.
        if judge(laws, None).is_err() {
            continue;
        }
        if let Err(what) = judge(laws, Some(fault)) {
            assert!(struck.load(Ordering::Relaxed), "the fault did nothing, but: {what}");
            return what;
        }
    }
    panic!("{fault:?} in {kind:?} was not found")
}

fn found(kind: Kind, fault: Fault, laws: Laws, words: &str) {
    let what = plant(kind, fault, laws);
    assert!(what.contains(words), "{fault:?} in {kind:?} was taken for something else: {what}");
}

const KINDS: [Kind; 4] = [Kind::Tlsf, Kind::FixedBlock, Kind::Arena, Kind::Passthrough];

#[test]
fn wrong_origin() {
    let laws = Laws { labels: true, ..Laws::NONE };
    for kind in KINDS {
        found(kind, Fault::WrongOrigin, laws, "is not reached");
        found(kind, Fault::WrongFresh, laws, "but was used");
    }
}

#[test]
fn a_refusal_of_every_thousandth_request() {
    for kind in KINDS {
        let laws = Laws { complete: true, ..Laws::NONE };
        found(kind, Fault::RefusesSome, laws, "may be used");
    }
}

#[test]
fn a_wait_for_one_axis_too_many() {
    let laws = Laws { minimal_wait: true, ..Laws::NONE };
    for kind in KINDS {
        found(kind, Fault::WaitsTooMuch, laws, ": wait for ");
    }
}

#[test]
fn a_wait_for_one_axis_too_few() {
    for kind in KINDS {
        found(kind, Fault::WaitsTooLittle, Laws::NONE, "handed out too early");
        found(kind, Fault::ReadyTooEarly, Laws::NONE, "handed out too early");
    }
}

#[test]
fn double_delivery() {
    for kind in [Kind::Tlsf, Kind::FixedBlock, Kind::Arena] {
        found(kind, Fault::DoubleDelivery, Laws::NONE, "has a holder already");
    }
}

#[test]
fn a_cancel_that_forgets_the_death() {
    for kind in [Kind::Tlsf, Kind::FixedBlock, Kind::Passthrough] {
        found(kind, Fault::CancelCleans, Laws::NONE, "");
    }
}

#[test]
fn a_death_that_is_raised() {
    let laws = Laws { exact_deaths: true, ..Laws::NONE };
    for kind in [Kind::Tlsf, Kind::FixedBlock, Kind::Passthrough] {
        let what = plant(kind, Fault::RaisesDeath, laws);
        // Of a block that the pool shows, or in the sum.
        let is_it = what.contains("was raised to") || what.contains("told to be pending");
        assert!(is_it, "{kind:?}: {what}");
    }
}

#[test]
fn wrong_growth_and_peaks() {
    let laws = Laws { growth_required: true, ..Laws::NONE };
    for kind in [Kind::Tlsf, Kind::FixedBlock] {
        found(kind, Fault::WrongGrowth, laws, "growth_required");
        found(kind, Fault::PeakTooHigh, Laws { peaks: true, ..Laws::NONE }, "reserved at most");
    }
}

/// A provider that says its granules are twice as large as they are: a pool on it grows by more than is needed.
#[derive(Debug)]
struct Coarse(Arc<dyn SlabProvider>);

impl SlabProvider for Coarse {
    fn properties(&self) -> SlabProperties {
        self.0.properties()
    }

    fn acquire(&self, size: u64) -> Result<Grant, SlabError> {
        self.0.acquire(size)
    }

    fn release(&self, id: SlabId) -> Result<(), SlabError> {
        self.0.release(id)
    }

    fn elastic(&self) -> Option<Elastic> {
        let twice = |elastic: Elastic| Elastic { granule: 2 * elastic.granule, ..elastic };
        self.0.elastic().map(twice)
    }

    fn reserve(&self, size: u64) -> Result<Grant, SlabError> {
        self.0.reserve(size)
    }

    fn commit(&self, id: SlabId, offset: u64, len: u64) -> Result<bool, SlabError> {
        self.0.commit(id, offset, len)
    }

    fn decommit(&self, id: SlabId, offset: u64, len: u64) -> Result<(), SlabError> {
        self.0.decommit(id, offset, len)
    }

    fn stats(&self) -> SlabStats {
        self.0.stats()
    }
}

/// What the oracle says of pools of a kind that are made by `make`, the first that it finds wrong.
fn greedy(kind: Kind, make: impl Fn(&Subject, PoolHost) -> Made) -> String {
    for seed in 1..100 {
        let mut dice = Dice::new(seed);
        let mut subject = Subject::draw(kind, 64, &mut dice);
        subject.laws = Laws { minimal_growth: true, ..Laws::NONE };
        let program: Vec<Op> = (0..300).map(|_| op(&mut dice, subject.largest())).collect();
        let right = run(&subject, &program, |host| subject.make(host, &[]));
        assert_eq!(right, Ok(()), "seed {seed}");
        if let Err(what) = run(&subject, &program, |host| make(&subject, host)) {
            return what;
        }
    }
    panic!("growth beyond the need of {kind:?} was not found")
}

#[test]
fn growth_beyond_the_need() {
    let what = greedy(Kind::Tlsf, |subject, mut host| {
        host.provider = Arc::new(Coarse(host.provider));
        subject.make(host, &[])
    });
    assert!(what.contains("committed, where"), "{what}");
    for kind in [Kind::FixedBlock, Kind::Arena] {
        let what = greedy(kind, |subject, host| {
            let mut more = *subject;
            match &mut more.config {
                Config::FixedBlock(config) => config.growth.slab_size *= 2,
                Config::Arena(config) => config.generation_size *= 2,
                Config::Tlsf(_) | Config::Planned(..) | Config::Passthrough(_) => {}
            }
            more.make(host, &[])
        });
        assert!(what.contains("are enough"), "{what}");
    }
}

#[test]
fn a_wake_that_never_comes() {
    let laws = Laws { wakes: true, ..Laws::NONE };
    for kind in KINDS {
        found(kind, Fault::NeverWakes, laws, "never woken");
    }
}
