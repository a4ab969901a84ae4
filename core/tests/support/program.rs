//! Programs of pool operations on several streams, and the machine that runs them against the oracle.
//!
//! A stream submits work in epochs. Work on a stream is ordered after all that the stream was told to wait
//! for, and the simulated device honours that: an epoch is reached only after those it depends on.

use super::laws::{Laws, Unit};
use super::oracle::{Handed, Known, Missed, Need, Oracle, Place, Verdict, ensure};
use super::progress::Dial;
use super::provider::{MockProvider, Moved};
use super::subject::{Made, Subject};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_core::inspect::{BlockState, BlockView};
use strandline_core::notification::Observation;
use strandline_core::pool::tlsf::TlsfPool;
use strandline_core::pool::{ExchangeError, PoolError, PoolHost};
use strandline_core::slab::{SlabStats, Trim};
use strandline_core::{
    Acquire, Death, Entry, Frontier, FrontierRef, Merge, Pool, PoolStats, Request, Reservation,
    SlabId, SlabProvider,
};

/// Streams of a program: more than a block can remember, and more than a fixed-block pool has shelves.
pub(crate) const STREAMS: usize = 20;

/// Counters are looked at after every so many operations. Looking makes a pool take in what was released, so that in between
/// releases pile up as they do in use.
const LOOK_EVERY: u64 = 5;
/// Every block is looked at after so many.
const INSPECT_EVERY: u64 = 61;

/// What a requester tells the pool of what it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knows {
    Nothing,
    All,
    /// Of each axis all, or an older epoch, as the bits say.
    Part(u8),
}

/// A request of a stream. `align` is a power of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) stream: usize,
    pub(crate) size: u64,
    pub(crate) align: u32,
    pub(crate) wait: bool,
    pub(crate) grow: bool,
    pub(crate) knows: Knows,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Acquire(Ask),
    AcquireEach {
        ask: Ask,
        count: usize,
    },
    /// Use one on its stream, then release it and acquire another in one step.
    Exchange {
        pick: usize,
        ask: Ask,
    },
    /// Use it on `streams` streams from the acquirer's on, then release it.
    Release {
        pick: usize,
        streams: usize,
    },
    /// Use several in one piece of work, then release them.
    ReleaseEach {
        pick: usize,
        count: usize,
    },
    ReleaseUnknown {
        pick: usize,
    },
    /// Release it as idle, when all work on it is over; otherwise as used.
    ReleaseIdle {
        pick: usize,
    },
    Cancel {
        pick: usize,
    },
    Advance {
        stream: usize,
        steps: u64,
    },
    AdvanceAndPoll {
        stream: usize,
    },
    AdvanceAll,
    Join {
        from: usize,
        to: usize,
    },
    Poll,
    Quiesce,
    Trim {
        all: bool,
    },
    FailAcquires {
        count: u32,
    },
    FailReleases {
        count: u32,
    },
    RefuseGrowth {
        count: u32,
    },
    Capacity {
        scarce: bool,
    },
}

struct Held {
    reservation: Reservation,
    stream: usize,
    /// What its use is ordered after.
    after: Frontier,
}

impl Held {
    const fn place(&self) -> Place {
        let r = &self.reservation;
        Place { slab: r.slab(), offset: r.offset(), size: r.size() }
    }
}

struct Stream {
    /// What work submitted next is ordered after, its own stream included.
    frontier: Frontier,
    submitted: u64,
    /// What each epoch is ordered after, from epoch 1.
    needs: Vec<Frontier>,
}

/// A request that was refused, to be woken when it could be served.
struct Parked {
    need: Need,
    frontier: Frontier,
    observed: Observation,
}

/// What a call did besides answering.
struct Call {
    before: Option<PoolStats>,
    failed: u64,
    granted: bool,
    alone: bool,
}

pub(crate) struct Machine {
    subject: Subject,
    unit: Unit,
    laws: Laws,
    pool: Arc<dyn Pool>,
    tlsf: Option<Arc<TlsfPool>>,
    provider: Arc<MockProvider>,
    provided: SlabStats,
    dial: Arc<Dial>,
    streams: Vec<Stream>,
    held: Vec<Held>,
    oracle: Oracle,
    parked: Option<Parked>,
    looks: bool,
    ops: u64,
    /// What happened to each slab, for the message should something go wrong; only when a failure is told.
    history: Option<Vec<(SlabId, String)>>,
}

/// Runs a program on the pool that `make` makes; should it fail, runs it again to tell what happened to the bytes
/// concerned.
pub(crate) fn run(subject: &Subject, program: &[Op], make: impl Fn(PoolHost) -> Made) -> Verdict {
    Machine::new(*subject, &make, false).run(program).map_err(|quietly| {
        let told = Machine::new(*subject, &make, true).run(program).err();
        told.unwrap_or_else(|| format!("once, and not again: {quietly}"))
    })
}

impl Machine {
    fn new(subject: Subject, make: impl FnOnce(PoolHost) -> Made, tells: bool) -> Self {
        let (provider, dial) = (Arc::new(subject.provider()), Arc::new(Dial::new(STREAMS)));
        let Made { pool, tlsf } = make(PoolHost::new(provider.clone(), dial.clone()));
        let stream = |_| Stream { frontier: Frontier::new(), submitted: 0, needs: Vec::new() };
        let (unit, laws) = (subject.unit(), subject.laws);
        Self {
            subject,
            unit,
            laws,
            pool,
            tlsf,
            provider,
            provided: SlabStats::default(),
            dial,
            streams: (0..STREAMS).map(stream).collect(),
            held: Vec::new(),
            oracle: Oracle::new(unit, laws),
            parked: None,
            looks: false,
            ops: 0,
            history: tells.then(Vec::new),
        }
    }

    /// Runs a program, then ends the pool's life and looks whether every slab came back.
    fn run(mut self, program: &[Op]) -> Verdict {
        for op in program {
            self.ops += 1;
            self.looks = self.ops.is_multiple_of(LOOK_EVERY);
            let done = self.step(op).and_then(|()| self.check());
            done.map_err(|what| self.tell(op, &what))?;
        }
        self.inspect()?;
        let Self { pool, tlsf, provider, held, .. } = self;
        provider.fail_releases(0);
        // Reservations may outlive their pool; the slabs go back with it all the same.
        drop((pool, tlsf));
        drop(held);
        ensure!(provider.out().is_empty(), "slabs never given back: {:?}", provider.out());
        ensure!(provider.crimes().is_empty(), "{:?}", provider.crimes());
        Ok(())
    }

    fn tell(&self, op: &Op, what: &str) -> String {
        let Some(history) = &self.history else { return what.into() };
        let concerned = history.iter().filter(|(slab, _)| {
            what.contains(&format!("{slab:?} ")) || what.contains(&format!("{slab:?},"))
        });
        let history: String = concerned.map(|(_, line)| format!("  {line}\n")).collect();
        let reached: Vec<u64> = (0..STREAMS).map(|stream| self.dial.at(stream)).collect();
        let stats = self.pool.stats();
        format!("operation {} {op:?}: {what}\n{history}reached {reached:?}\n{stats:?}", self.ops)
    }

    fn note(&mut self, slab: SlabId, what: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push((slab, format!("{}: {}", self.ops, what())));
        }
    }

    fn step(&mut self, op: &Op) -> Verdict {
        match *op {
            Op::Acquire(ask) => self.acquire(ask)?,
            Op::AcquireEach { ask, count } => self.acquire_each(ask, count)?,
            Op::Exchange { pick, ask } => self.exchange(pick, ask)?,
            Op::Release { pick, streams } => {
                if let Some(held) = self.pick(pick) {
                    let death = self.use_on(&[held.stream], held.stream, streams);
                    self.release(held, Some(&death))?;
                }
            }
            Op::ReleaseEach { pick, count } => self.release_each(pick, count)?,
            Op::ReleaseUnknown { pick } => {
                if let Some(held) = self.pick(pick) {
                    self.release(held, None)?;
                }
            }
            Op::ReleaseIdle { pick } => {
                if let Some(held) = self.pick(pick) {
                    // What it was ordered after must be over too: it may have shared its block's past.
                    let over = held.after.as_ref().is_satisfied(&*self.dial);
                    let death = if over {
                        Frontier::new()
                    } else {
                        self.use_on(&[held.stream], held.stream, 1)
                    };
                    self.release(held, Some(&death))?;
                }
            }
            Op::Cancel { pick } => {
                if let Some(held) = self.pick(pick) {
                    let place = held.place();
                    self.note(place.slab, || format!("cancel {place:?}"));
                    self.pool.cancel(held.reservation).map_err(|e| e.to_string())?;
                    self.oracle.cancel(place, &*self.dial);
                }
            }
            Op::Advance { stream, steps } => self.advance(stream, steps),
            Op::AdvanceAll => self.advance_all(),
            Op::Join { from, to } => {
                let from = self.streams[from].frontier.clone();
                let merged = self.streams[to].frontier.merge(from.as_ref());
                ensure!(merged == Merge::Done, "too many streams");
            }
            Op::AdvanceAndPoll { stream } => {
                self.advance(stream, u64::MAX);
                self.poll()?;
            }
            Op::Poll => self.poll()?,
            Op::Quiesce => {
                self.advance_all();
                self.pool.quiesce();
                self.oracle.quiesce();
                self.settled()?;
                let stats = self.pool.stats();
                ensure!(stats.tainted_bytes == 0, "still tainted after quiesce");
            }
            Op::Trim { all } => self.trim(if all { Trim::All } else { Trim::Excess })?,
            Op::FailAcquires { count } => self.provider.fail_acquires(count),
            Op::FailReleases { count } => self.provider.fail_releases(count),
            Op::RefuseGrowth { count } => self.provider.refuse(count),
            Op::Capacity { scarce } => {
                let (low, plenty) = self.subject.capacities();
                self.provider.set_capacity(if scarce { low } else { plenty });
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Verdict {
        self.pool.poll();
        self.settled()?;
        if self.laws.exact_deaths {
            let told = self.pool.stats().pending_bytes;
            let known = self.oracle.pending(&*self.dial);
            ensure!(told == known, "{told} bytes told to be pending, {known} are");
        }
        Ok(())
    }

    fn pick(&mut self, pick: usize) -> Option<Held> {
        if self.held.is_empty() {
            None
        } else {
            Some(self.held.swap_remove(pick % self.held.len()))
        }
    }

    /// What the requester tells that it knows.
    fn known_to(&self, ask: Ask) -> Frontier {
        let all = &self.streams[ask.stream].frontier;
        match ask.knows {
            Knows::Nothing => Frontier::new(),
            Knows::All => all.clone(),
            Knows::Part(bits) => {
                let part = all.as_ref().entries().iter().enumerate().map(|(at, entry)| {
                    let whole = bits.rotate_right(at as u32) & 1 == 1;
                    let epoch = if whole { entry.epoch } else { entry.epoch / 2 };
                    Entry::new(entry.axis, epoch)
                });
                let part = part.filter(|entry| entry.epoch != 0);
                Frontier::from_entries(part).expect("a part of a frontier is one")
            }
        }
    }

    fn request(ask: Ask, frontier: &Frontier) -> Request<'_> {
        let mut request = Request::new(ask.size).aligned(1 << ask.align).after(frontier.as_ref());
        request.may_wait = ask.wait;
        request.may_grow = ask.grow;
        request
    }

    fn before(&self, alone: bool) -> Call {
        let before = (self.looks && alone).then(|| self.pool.stats());
        Call { before, failed: self.provider.failed(), granted: false, alone }
    }

    fn acquire(&mut self, ask: Ask) -> Verdict {
        let frontier = self.known_to(ask);
        let call = self.before(true);
        let answer = self.pool.acquire(&Self::request(ask, &frontier));
        self.answered(ask, &frontier, answer, call)
    }

    fn acquire_each(&mut self, ask: Ask, count: usize) -> Verdict {
        let frontier = self.known_to(ask);
        let call = self.before(false);
        let request = Self::request(ask, &frontier);
        let answers: Vec<Result<Acquire, PoolError>> = match &self.tlsf {
            None => (0..count).map(|_| self.pool.acquire(&request)).collect(),
            Some(tlsf) => {
                let mut answers = Vec::new();
                tlsf.acquire_each((0..count).map(|_| request), |answer| {
                    answers.push(answer);
                    ControlFlow::Continue(())
                });
                answers
            }
        };
        ensure!(answers.len() == count, "{} answers to {count} requests", answers.len());
        let moved = self.provider.take_moved();
        let granted = moved.iter().any(Moved::is_grant);
        self.moved(&moved, None)?;
        for answer in answers {
            let call = Call { before: None, granted, ..call };
            self.answered(ask, &frontier, answer, call)?;
        }
        Ok(())
    }

    fn exchange(&mut self, pick: usize, ask: Ask) -> Verdict {
        let Some(held) = self.pick(pick) else { return self.acquire(ask) };
        let death = self.use_on(&[held.stream], held.stream, 1);
        let frontier = self.known_to(ask);
        let call = self.before(false);
        let place = held.place();
        self.note(place.slab, || format!("exchange {place:?}, dies at {death}"));
        self.oracle.release(place, Some(death.as_ref()), &*self.dial);
        let request = Self::request(ask, &frontier);
        let death = Death::After(death.as_ref());
        let answer = self.pool.exchange(held.reservation, death, &request);
        let answer = match answer {
            Err(ExchangeError::Acquire(error)) => Err(error),
            answer => Ok(answer.map_err(|error| error.to_string())?),
        };
        self.answered(ask, &frontier, answer, Call { alone: true, ..call })
    }

    /// Judges an answer.
    fn answered(
        &mut self,
        ask: Ask,
        frontier: &Frontier,
        answer: Result<Acquire, PoolError>,
        mut call: Call,
    ) -> Verdict {
        let request = Self::request(ask, frontier);
        let footprint = self.pool.footprint(request.size, request.alignment);
        let need = Need { size: request.size, alignment: request.alignment, footprint };
        // Before what came from the provider is known of: was there no other way?
        let moved = self.provider.take_moved();
        let granted = moved.iter().any(Moved::is_grant);
        call.granted |= granted;
        ensure!(!granted || ask.grow, "grew without permission");
        let tried_to_grow = granted || self.provider.failed() > call.failed;
        // Where a step of a plan begins, memory comes back to the plan's bytes: as much is taken out elsewhere.
        let is_move = self.subject.moves_memory() && Moved::net(&moved) <= 0;
        if call.alone && tried_to_grow && !is_move {
            self.nothing_else("grew", need, frontier.as_ref(), false)?;
            if ask.wait {
                self.nothing_else("grew", need, frontier.as_ref(), true)?;
            }
        }
        self.moved(&moved, call.alone.then_some(need))?;
        let nothing = Frontier::new();
        let (reservation, handed) = match &answer {
            Ok(Acquire::Ready { reservation, origin }) => (reservation, Handed::Ready(*origin)),
            Ok(Acquire::AfterWait { reservation, wait }) => {
                ensure!(ask.wait, "must wait without permission");
                if (call.alone || !call.granted) && !self.subject.packs() {
                    self.nothing_else("a wait", need, frontier.as_ref(), false)?;
                }
                (reservation, Handed::After(wait.as_ref()))
            }
            _ => return self.refused(&request, need, answer, &call),
        };
        let (size, alignment) = (request.size, request.alignment);
        ensure!(reservation.size() == size, "{reservation:?} instead of {size} bytes");
        ensure!(reservation.offset().is_multiple_of(alignment), "{reservation:?} at {alignment}");
        ensure!(reservation.pool() == self.pool.id(), "of another pool");
        ensure!(size <= self.pool.properties().max_request, "more than it can serve");
        let place = Place { slab: reservation.slab(), offset: reservation.offset(), size };
        let implied = |by: FrontierRef<'_>, entry| is_after(&self.streams, &self.dial, by, entry);
        let known = Known { frontier: frontier.as_ref(), implied: &implied, progress: &*self.dial };
        self.oracle.take(place, handed, &known)?;
        // What will use it is ordered after what the pool was told, and after the wait.
        // To wait is to be after all that the awaited work was after: streams keep complete clocks.
        let waited = if let Handed::After(wait) = handed { wait } else { nothing.as_ref() };
        for by in waited.entries() {
            let awaited = &self.streams[by.axis.ordinal() as usize].needs;
            let Some(needs) = awaited.get(by.epoch as usize - 1).cloned() else {
                return Err(format!("a wait for {by:?}, which nobody submitted"));
            };
            let merged = self.streams[ask.stream].frontier.merge(needs.as_ref());
            ensure!(merged == Merge::Done, "too many streams");
        }
        let ordered = &mut self.streams[ask.stream].frontier;
        ensure!(ordered.merge(waited) == Merge::Done, "too many streams");
        let after = ordered.clone();
        let stream = ask.stream;
        if self.history.is_some() {
            let line = format!("{place:?} to stream {stream} at {frontier}: {handed:?}");
            self.note(place.slab, || line);
        }
        if let Ok(Acquire::Ready { reservation, .. } | Acquire::AfterWait { reservation, .. }) =
            answer
        {
            self.held.push(Held { reservation, stream, after });
        }
        Ok(())
    }

    /// There was no range that the requester might have had instead.
    fn nothing_else(
        &mut self,
        what: &str,
        need: Need,
        frontier: FrontierRef<'_>,
        waiting: bool,
    ) -> Verdict {
        if !(if waiting { self.laws.complete_wait } else { self.laws.complete }) {
            return Ok(());
        }
        self.serves_nothing(what, need, frontier, waiting)
    }

    /// No range is there that the requester could have, now or after a wait.
    fn serves_nothing(
        &mut self,
        what: &str,
        need: Need,
        frontier: FrontierRef<'_>,
        waiting: bool,
    ) -> Verdict {
        let implied = |by: FrontierRef<'_>, entry| is_after(&self.streams, &self.dial, by, entry);
        let known = Known { frontier, implied: &implied, progress: &*self.dial };
        match self.oracle.could_serve(need, &known, waiting) {
            None => Ok(()),
            Some(missed) => {
                let how = if waiting { "can be waited for" } else { "may be used" };
                Err(format!("{what}, though {missed} {how} after {frontier}: {need:?}"))
            }
        }
    }

    /// Nobody was told anything since this observation: whoever was refused with it does not look again in vain.
    fn is_current(&self, observed: Observation) -> bool {
        !self.pool.notification().changed_since(observed)
    }

    /// Nothing was handed out: rightly, and without a trace?
    fn refused(
        &mut self,
        request: &Request<'_>,
        need: Need,
        answer: Result<Acquire, PoolError>,
        call: &Call,
    ) -> Verdict {
        if let Some(before) = &call.before {
            let held = |s: &PoolStats| {
                (s.reserved_bytes, s.requested_bytes, s.live, s.reserves, s.releases)
            };
            let after = self.pool.stats();
            ensure!(held(before) == held(&after), "{answer:?} reserved something: {before:?}");
        }
        let properties = self.pool.properties();
        match answer {
            Ok(Acquire::OverBudget { observed }) => {
                // What others of a batch find out later is told to those that were refused before.
                let current = !call.alone || self.is_current(observed);
                ensure!(current, "the search itself spoilt the observation");
                let (budget, reserved) = (self.subject.budget(), self.pool.stats().reserved_bytes);
                let over = reserved.saturating_add(need.footprint) > budget;
                ensure!(over, "{reserved} and {need:?} are not over a budget of {budget}");
            }
            Ok(Acquire::Exhausted { observed, growth_required }) => {
                let current = !call.alone || self.is_current(observed);
                ensure!(current, "the search itself spoilt the observation");
                if call.alone || !call.granted {
                    self.nothing_else("exhausted", need, request.frontier, false)?;
                    if request.may_wait {
                        self.nothing_else("exhausted", need, request.frontier, true)?;
                    }
                }
                if self.laws.growth_required && (call.alone || !call.granted) {
                    let largest = self.oracle.largest_slab();
                    let required = match self.unit {
                        Unit::Range { .. } => largest < need.footprint,
                        Unit::Block { .. } => largest == 0,
                        Unit::Slab => !self.oracle.has_slab_of(need.footprint),
                        Unit::Batch => largest < need.size,
                    };
                    ensure!(
                        growth_required == required,
                        "growth_required is {growth_required}, and the largest slab {largest}: {need:?}"
                    );
                }
                let frontier = request.frontier.to_frontier();
                self.parked = Some(Parked { need, frontier, observed });
            }
            Ok(other) => return Err(format!("{other:?}")),
            Err(PoolError::TooLarge { size, max }) => {
                ensure!(size > max && max == properties.max_request, "too large: {size} of {max}");
            }
            Err(PoolError::InvalidAlignment { alignment }) => {
                let most = self.provider.properties().alignment;
                ensure!(alignment > most, "alignment {alignment} of {most} refused");
            }
            Err(PoolError::Provider(_)) => {
                ensure!(self.provider.failed() > call.failed, "an error that nobody made");
            }
            Err(error) => return Err(format!("{error}")),
        }
        Ok(())
    }

    /// After the pool has looked at all axes: whoever was refused and could be served now has been woken.
    fn settled(&mut self) -> Verdict {
        if !self.laws.wakes {
            return Ok(());
        }
        let Some(Parked { need, frontier, observed }) = self.parked.take() else { return Ok(()) };
        if self.pool.notification().changed_since(observed) {
            return Ok(());
        }
        self.serves_nothing("never woken", need, frontier.as_ref(), false)?;
        self.parked = Some(Parked { need, frontier, observed });
        Ok(())
    }

    /// Submits work on `count` streams from `first` on, ordered after these others, and says when it is over.
    fn use_on(&mut self, others: &[usize], first: usize, count: usize) -> Frontier {
        let mut after = self.streams[first].frontier.clone();
        for other in others {
            // There are fewer streams than a frontier has room for.
            let _ = after.merge(self.streams[*other].frontier.as_ref());
        }
        let mut death = Frontier::new();
        for stream in (first..first + count).map(|stream| stream % STREAMS) {
            let it = &mut self.streams[stream];
            // The other streams are told to wait for the one that acquired.
            let _ = it.frontier.merge(after.as_ref());
            it.needs.push(it.frontier.clone());
            it.submitted += 1;
            let _ = it.frontier.advance(Dial::axis(stream), it.submitted);
            let _ = death.advance(Dial::axis(stream), it.submitted);
        }
        death
    }

    /// Releases with this death; `None` is unknown.
    fn release(&mut self, held: Held, death: Option<&Frontier>) -> Verdict {
        let place = held.place();
        self.note(place.slab, || match death {
            Some(death) => format!("{place:?} dies at {death}"),
            None => format!("{place:?} dies, nobody knows when"),
        });
        let told = match death {
            Some(death) if death.is_empty() => Death::Idle,
            Some(death) => Death::After(death.as_ref()),
            None => Death::Unknown,
        };
        self.pool.release(held.reservation, told).map_err(|e| e.to_string())?;
        self.oracle.release(place, death.map(Frontier::as_ref), &*self.dial);
        Ok(())
    }

    fn release_each(&mut self, pick: usize, count: usize) -> Verdict {
        let several: Vec<Held> = (0..count).map_while(|_| self.pick(pick)).collect();
        let Some(first) = several.first().map(|held| held.stream) else { return Ok(()) };
        let others: Vec<usize> = several.iter().map(|held| held.stream).collect();
        let death = self.use_on(&others, first, 1 + count % 2);
        let Some(tlsf) = self.tlsf.clone() else {
            return several.into_iter().try_for_each(|held| self.release(held, Some(&death)));
        };
        let mut all = Vec::new();
        for held in several {
            let place = held.place();
            self.note(place.slab, || format!("{place:?} dies with others at {death}"));
            all.push(held.reservation);
            self.oracle.release(place, Some(death.as_ref()), &*self.dial);
        }
        let released = tlsf.release_each(&mut all.into_iter(), Death::After(death.as_ref()));
        released.map_err(|e| e.to_string())
    }

    /// Lets the device reach up to `steps` more epochs of a stream, as far as what they need is reached.
    fn advance(&self, stream: usize, steps: u64) {
        for _ in 0..steps {
            let now = self.dial.at(stream);
            let Some(needs) = self.streams[stream].needs.get(now as usize) else { return };
            let own = Dial::axis(stream);
            let others = needs.as_ref().entries().iter().filter(|e| e.axis != own);
            let reached = |e: &Entry| self.dial.at(e.axis.ordinal() as usize) >= e.epoch;
            if !others.into_iter().all(reached) {
                return;
            }
            self.dial.set(stream, now + 1);
        }
    }

    fn advance_all(&self) {
        // Each round reaches at least one epoch, for needs have no cycles.
        while (0..STREAMS).any(|s| self.dial.at(s) < self.streams[s].submitted) {
            (0..STREAMS).for_each(|stream| self.advance(stream, u64::MAX));
        }
    }

    fn trim(&mut self, how: Trim) -> Verdict {
        let failed = self.provider.failed();
        let before = self.pool.stats();
        match self.pool.trim(how) {
            // Polling, which trimming begins with, may give slabs back as well.
            Ok(bytes) => {
                let given = before.committed_bytes - self.pool.stats().committed_bytes;
                ensure!(bytes <= given, "{bytes} bytes trimmed of {given}");
            }
            Err(error) => ensure!(self.provider.failed() > failed, "trim: {error}"),
        }
        Ok(())
    }

    /// Slabs came and went; what came was for one request, if `need` is given.
    fn moved(&mut self, moved: &[Moved], need: Option<Need>) -> Verdict {
        let need = need.filter(|_| self.laws.minimal_growth);
        // What a pool gives back to make room may join holes, so that less would be enough now: it chose before that.
        let least = need.filter(|_| !moved.is_empty()).and_then(|need| self.least_growth(need));
        for moved in moved {
            if let Some(need) = need {
                self.no_more_than_needed(moved, need, least.as_ref())?;
            }
            match *moved {
                Moved::Out(id, size) => self.oracle.add_slab(id, size),
                Moved::Back(id) => self.oracle.return_slab(id, &*self.dial)?,
                Moved::Reserved(id, size) => self.oracle.add_elastic(id, size),
                Moved::Committed(id, start, end) => {
                    self.note(id, || format!("{id:?} {start}..{end} has memory"));
                    self.oracle.commit(id, start, end)?;
                }
                Moved::Decommitted(id, start, end) => {
                    self.note(id, || format!("{id:?} {start}..{end} has none any more"));
                    self.oracle.decommit(id, start, end, &*self.dial)?;
                }
            }
        }
        if !moved.is_empty() {
            self.provided = self.provider.stats();
            let crimes = self.provider.crimes();
            ensure!(crimes.is_empty(), "{crimes:?}");
        }
        Ok(())
    }

    /// The least memory that an elastic slab lacks for a request.
    fn least_growth(&mut self, need: Need) -> Option<Missed> {
        let (Some(elastic), Unit::Range { granule }) = (self.subject.elastic, self.unit) else {
            return None;
        };
        let need = Need { alignment: need.alignment.max(granule), ..need };
        self.oracle.least_growth(need, elastic.granule.max(granule), &*self.dial)
    }

    /// What the provider granted for a request is no more than it needs. `least`: of an elastic slab, when the pool began to
    /// look; a new one needs whole granules.
    fn no_more_than_needed(
        &mut self,
        moved: &Moved,
        need: Need,
        least: Option<&Missed>,
    ) -> Verdict {
        let properties = self.provider.properties();
        match *moved {
            Moved::Out(id, size) => {
                let most =
                    self.subject.largest_growth(need.footprint).min(properties.max_slab_size);
                let most = most.next_multiple_of(properties.granularity);
                ensure!(size <= most, "{id:?} of {size} bytes, where {most} are enough: {need:?}");
            }
            Moved::Committed(id, start, end) => {
                let step = self.subject.elastic.map_or(1, |elastic| elastic.granule);
                let anew = need.footprint.next_multiple_of(step);
                let now = self.least_growth(need);
                let fits = |lack: &Missed| end - start <= lack.end - lack.start;
                ensure!(
                    least.map_or(end - start <= anew, fits) || now.as_ref().is_some_and(fits),
                    "{id:?} {start}..{end} committed, where {least:?}, now {now:?}, is enough: {need:?}"
                );
            }
            Moved::Back(_) | Moved::Reserved(..) | Moved::Decommitted(..) => {}
        }
        Ok(())
    }

    /// What holds after every operation.
    fn check(&mut self) -> Verdict {
        let moved = self.provider.take_moved();
        self.moved(&moved, None)?;
        if self.looks {
            self.look()?;
        }
        if self.ops.is_multiple_of(INSPECT_EVERY) {
            self.inspect()?;
        }
        Ok(())
    }

    fn look(&self) -> Verdict {
        let (s, oracle, provider) = (self.pool.stats(), &self.oracle, &self.provided);
        ensure!(s.committed_bytes == s.reserved_bytes + s.free_bytes, "committed");
        ensure!(s.free_bytes >= s.pending_bytes + s.tainted_bytes, "free");
        ensure!(s.requested_bytes == oracle.requested, "{} asked", oracle.requested);
        ensure!(s.requested_bytes <= s.reserved_bytes, "requested");
        ensure!(s.live == oracle.live, "{} live", oracle.live);
        ensure!(s.reserves - s.releases == s.live, "reserves and releases");
        ensure!(s.fresh + s.dominated + s.completed + s.waited == s.reserves, "origins");
        ensure!(s.slabs == provider.slabs, "{provider:?}");
        ensure!(s.committed_bytes == provider.committed_bytes, "{provider:?}");
        ensure!(s.reserved_bytes <= self.subject.budget(), "over budget");
        ensure!(s.peak_reserved_bytes >= s.reserved_bytes, "peak of reserved");
        ensure!(s.peak_requested_bytes >= s.requested_bytes, "peak of requested");
        ensure!(s.peak_committed_bytes >= s.committed_bytes, "peak of committed");
        ensure!(s.peak_pending_bytes >= s.pending_bytes, "peak of pending");
        if self.unit != Unit::Batch {
            ensure!(s.reserved_bytes == oracle.reserved, "{} are reserved", oracle.reserved);
        }
        if self.laws.peaks {
            let (reserved, requested) = (oracle.peak_reserved, oracle.peak_requested);
            ensure!(s.peak_requested_bytes == requested, "{requested} were requested at most");
            let told = s.peak_reserved_bytes;
            let right = if self.unit == Unit::Batch { told >= reserved } else { told == reserved };
            ensure!(right, "{reserved} were reserved at most");
        }
        Ok(())
    }

    /// What the pool shows: tiles of its slabs that agree with the oracle.
    fn inspect(&self) -> Verdict {
        let implied = |by: FrontierRef<'_>, entry| is_after(&self.streams, &self.dial, by, entry);
        let known =
            Known { frontier: FrontierRef::EMPTY, implied: &implied, progress: &*self.dial };
        let slabs = self.provider.out();
        let mut verdict = Ok(());
        // In whatever order of slabs, but each in one piece.
        let mut at: Option<SlabId> = None;
        let mut ends: BTreeMap<SlabId, u64> = BTreeMap::new();
        let gap = |slab, from, to| from == to || self.oracle.is_hole(slab, from, to);
        let (mut live, mut reserved, mut requested) = (0, 0, 0);
        let (mut clean, mut pending, mut tainted) = (0, 0, 0);
        let mut step = |block: &BlockView<'_>| -> Verdict {
            let seen = ends.get(&block.slab).copied();
            ensure!(at == Some(block.slab) || seen.is_none(), "{block:?} stands apart");
            let begin = seen.unwrap_or(0);
            let follows = block.offset >= begin && gap(block.slab, begin, block.offset);
            ensure!(follows, "{block:?} does not start at {begin}");
            let end = block.offset + block.size;
            at = Some(block.slab);
            ends.insert(block.slab, end);
            let size = slabs.get(&block.slab).copied().unwrap_or(0);
            ensure!(end <= size && block.size > 0, "{block:?} in a slab of {size}");
            match block.state {
                BlockState::Live { requested: asked } => {
                    live += 1;
                    reserved += block.size;
                    requested += asked;
                }
                BlockState::Clean => clean += block.size,
                BlockState::Pending(_) => pending += block.size,
                BlockState::Tainted => tainted += block.size,
            }
            self.oracle.check_block(block, &known)
        };
        self.pool.inspect(&mut |block| {
            if verdict.is_ok() {
                verdict = step(block);
            }
        });
        verdict?;
        for (slab, size) in slabs {
            let end = ends.get(&slab).copied().unwrap_or(0);
            ensure!(gap(slab, end, size), "{slab:?} is shown up to {end} of {size}");
        }
        let s = self.pool.stats();
        let shown = (live, reserved, requested, clean + pending + tainted);
        let told = (s.live, s.reserved_bytes, s.requested_bytes, s.free_bytes);
        ensure!(shown == told, "shown {shown:?}");
        let shown = (clean, pending, tainted);
        let told = (s.clean_bytes(), s.pending_bytes, s.tainted_bytes);
        ensure!(shown == told, "shown {shown:?}, told {told:?}");
        Ok(())
    }
}

/// Whether work after the frontier is after the entry as well, or it is over. What a stream needs is a complete vector
/// clock, so one step is enough.
fn is_after(streams: &[Stream], dial: &Dial, frontier: FrontierRef<'_>, entry: Entry) -> bool {
    dial.at(entry.axis.ordinal() as usize) >= entry.epoch
        || frontier.get(entry.axis) >= entry.epoch
        || frontier.entries().iter().any(|by| {
            let needs = &streams[by.axis.ordinal() as usize].needs;
            needs.get(by.epoch as usize - 1).is_some_and(|n| n.get(entry.axis) >= entry.epoch)
        })
}
