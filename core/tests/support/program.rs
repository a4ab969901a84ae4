//! Programs of pool operations on several streams, and the machine that runs them against the oracle.
//!
//! A stream submits work in epochs. Work on a stream is ordered after all that the stream was told to wait
//! for, and the simulated device honours that: an epoch is reached only after those it depends on.

use super::oracle::{Fate, Oracle};
use super::progress::Dial;
use super::provider::MockProvider;
use std::sync::Arc;
use strandline_core::inspect::BlockState;
use strandline_core::pool::{PoolError, PoolHost};
use strandline_core::slab::Trim;
use strandline_core::{
    Acquire, Death, Entry, Frontier, FrontierRef, Merge, Pool, PoolStats, Request, Reservation,
    SlabId, SlabProvider,
};

/// Streams of a program: more than a block can remember, and more than a fixed-block pool has shelves.
pub(crate) const STREAMS: usize = 20;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Acquire {
        stream: usize,
        size: u64,
        align: u32,
        wait: bool,
        grow: bool,
        knows: bool,
    },
    /// Use it on `streams` streams from the acquirer's on, then release it.
    Release {
        pick: usize,
        streams: usize,
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
    Capacity {
        scarce: bool,
    },
}

/// What a kind of pool promises beyond the common rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promises {
    /// The most bytes reserved at once.
    pub(crate) budget: u64,
    /// The provider's capacity in bad times and in good.
    pub(crate) scarce: u64,
    pub(crate) plenty: u64,
    /// Exhausted only if no free block is ready whose death has at most one axis.
    pub(crate) finds_every_block: bool,
    /// What inspection shows adds up to the stats exactly, also by readiness.
    pub(crate) readiness_adds_up: bool,
}

struct Held {
    reservation: Reservation,
    stream: usize,
    /// What its use is ordered after.
    after: Frontier,
}

struct Stream {
    /// What work submitted next is ordered after, its own stream included.
    frontier: Frontier,
    submitted: u64,
    /// What each epoch is ordered after, from epoch 1.
    needs: Vec<Frontier>,
}

pub(crate) struct Machine {
    pool: Box<dyn Pool>,
    provider: Arc<MockProvider>,
    dial: Arc<Dial>,
    promises: Promises,
    streams: Vec<Stream>,
    held: Vec<Held>,
    oracle: Oracle,
    armed: bool,
    ops: u64,
    /// What happened to each slab, for the message should something go wrong.
    history: Vec<(SlabId, String)>,
}

type Verdict = Result<(), String>;

macro_rules! ensure {
    ($that:expr, $($what:tt)+) => {
        if !$that {
            return Err(format!($($what)+));
        }
    };
}

impl Machine {
    pub(crate) fn new(
        provider: MockProvider,
        promises: Promises,
        make: impl FnOnce(PoolHost) -> Box<dyn Pool>,
    ) -> Self {
        let (provider, dial) = (Arc::new(provider), Arc::new(Dial::new(STREAMS)));
        let pool = make(PoolHost::new(provider.clone(), dial.clone()));
        let stream = |_| Stream { frontier: Frontier::new(), submitted: 0, needs: Vec::new() };
        let streams = (0..STREAMS).map(stream).collect();
        let (held, oracle) = (Vec::new(), Oracle::default());
        Self {
            pool,
            provider,
            dial,
            promises,
            streams,
            held,
            oracle,
            armed: false,
            ops: 0,
            history: Vec::new(),
        }
    }

    /// Runs a program, then ends the pool's life and looks whether every slab came back.
    pub(crate) fn run(mut self, program: &[Op]) -> Verdict {
        for op in program {
            self.step(op).and_then(|()| self.check()).map_err(|what| {
                let concerned = self.history.iter().filter(|(slab, _)| {
                    what.contains(&format!("{slab:?} ")) || what.contains(&format!("{slab:?},"))
                });
                let history: String = concerned.map(|(_, line)| format!("  {line}\n")).collect();
                format!("operation {} {op:?}: {what}\n{history}{:?}", self.ops, self.pool.stats())
            })?;
            self.ops += 1;
        }
        self.inspect()?;
        let Self { pool, provider, held, .. } = self;
        provider.fail_releases(0);
        // Reservations may outlive their pool; the slabs go back with it all the same.
        drop(pool);
        drop(held);
        ensure!(provider.out().is_empty(), "slabs never given back: {:?}", provider.out());
        ensure!(provider.crimes().is_empty(), "{:?}", provider.crimes());
        Ok(())
    }

    fn step(&mut self, op: &Op) -> Verdict {
        match *op {
            Op::Acquire { stream, size, align, wait, grow, knows } => {
                self.acquire(stream, size, 1 << align, wait, grow, knows)?;
            }
            Op::Release { pick, streams } => self.release_used(pick, streams),
            Op::ReleaseUnknown { pick } => {
                if let Some((held, at)) = self.pick(pick) {
                    self.pool
                        .release(held.reservation, Death::Unknown)
                        .map_err(|e| e.to_string())?;
                    self.oracle.release(at.0, at.1, at.2, Fate::Unknown);
                }
            }
            Op::ReleaseIdle { pick } => {
                // What it was ordered after must be over too: it may have shared its block's past.
                let over = self
                    .held
                    .get(pick % self.held.len().max(1))
                    .is_some_and(|held| held.after.as_ref().is_satisfied(&*self.dial));
                if !over {
                    self.release_used(pick, 1);
                } else if let Some((held, at)) = self.pick(pick) {
                    self.pool.release(held.reservation, Death::Idle).map_err(|e| e.to_string())?;
                    self.oracle.release(at.0, at.1, at.2, Fate::After(Frontier::new()));
                }
            }
            Op::Cancel { pick } => {
                if let Some((held, at)) = self.pick(pick) {
                    self.pool.cancel(held.reservation).map_err(|e| e.to_string())?;
                    self.oracle.cancel(at.0, at.1, at.2);
                }
            }
            Op::Advance { stream, steps } => self.advance(stream, steps),
            Op::AdvanceAll => self.advance_all(),
            Op::Join { from, to } => {
                let from = self.streams[from].frontier.clone();
                let merged = self.streams[to].frontier.merge(from.as_ref());
                ensure!(merged == Merge::Done, "too many streams");
            }
            Op::Poll => self.pool.poll(),
            Op::Quiesce => {
                self.advance_all();
                self.pool.quiesce();
                self.oracle.quiesce();
                let stats = self.pool.stats();
                ensure!(stats.tainted_bytes == 0, "still tainted after quiesce");
            }
            Op::Trim { all } => self.trim(if all { Trim::All } else { Trim::Excess })?,
            Op::FailAcquires { count } => {
                self.provider.fail_acquires(count);
                self.armed = true;
            }
            Op::FailReleases { count } => {
                self.provider.fail_releases(count);
                self.armed = true;
            }
            Op::Capacity { scarce } => {
                let Promises { scarce: low, plenty, .. } = self.promises;
                self.provider.set_capacity(if scarce { low } else { plenty });
            }
        }
        Ok(())
    }

    fn pick(&mut self, pick: usize) -> Option<(Held, (SlabId, u64, u64))> {
        if self.held.is_empty() {
            return None;
        }
        let held = self.held.swap_remove(pick % self.held.len());
        let r = &held.reservation;
        let at = (r.slab(), r.offset(), r.size());
        self.history
            .push((at.0, format!("{}: given back: {r:?} of stream {}", self.ops, held.stream)));
        Some((held, at))
    }

    fn acquire(
        &mut self,
        stream: usize,
        size: u64,
        alignment: u64,
        wait: bool,
        grow: bool,
        knows: bool,
    ) -> Verdict {
        // A requester that knows nothing may use only what is over for everyone.
        let frontier = if knows { self.streams[stream].frontier.clone() } else { Frontier::new() };
        let mut request = Request::new(size).aligned(alignment).after(frontier.as_ref());
        request.may_wait = wait;
        request.may_grow = grow;
        let before = self.pool.stats();
        let failed = self.provider.failed();
        let answer = self.pool.acquire(&request);
        let after = self.pool.stats();
        ensure!(grow || after.slabs <= before.slabs, "grew without permission");
        let (reservation, waited) = match answer {
            Ok(Acquire::Ready { reservation, .. }) => (reservation, Frontier::new()),
            Ok(Acquire::AfterWait { reservation, wait: waited }) => {
                ensure!(wait, "must wait without permission");
                ensure!(!waited.is_empty(), "a wait for nothing");
                (reservation, waited)
            }
            other => return self.refused(&request, other, &before, &after, failed),
        };
        ensure!(reservation.size() == size, "{reservation:?} instead of {size} bytes");
        ensure!(reservation.offset().is_multiple_of(alignment), "{reservation:?} at {alignment}");
        ensure!(reservation.pool() == self.pool.id(), "of another pool");
        ensure!(size <= self.pool.properties().max_request, "more than it can serve");
        let slab_size = self.provider.out().get(&reservation.slab()).copied();
        ensure!(
            slab_size.is_some_and(|slab| reservation.offset() + size <= slab),
            "{reservation:?} lies outside its slab of {slab_size:?}"
        );
        let (streams, dial) = (&self.streams, &self.dial);
        let covered = |e: Entry| {
            is_after(streams, frontier.as_ref(), e)
                || is_after(streams, waited.as_ref(), e)
                || dial.at(e.axis.ordinal() as usize) >= e.epoch
        };
        self.oracle.take(reservation.slab(), reservation.offset(), size, covered)?;
        // What will use it is ordered after what the pool was told, and after the wait.
        // To wait is to be after all that the awaited work was after: streams keep complete clocks.
        for by in waited.as_ref().entries() {
            let needs = &self.streams[by.axis.ordinal() as usize].needs;
            let needs = needs[by.epoch as usize - 1].clone();
            let merged = self.streams[stream].frontier.merge(needs.as_ref());
            ensure!(merged == Merge::Done, "too many streams");
        }
        let ordered = &mut self.streams[stream].frontier;
        ensure!(ordered.merge(waited.as_ref()) == Merge::Done, "too many streams");
        let after = ordered.clone();
        let line =
            format!("{}: {reservation:?} to stream {stream} at {frontier} + {waited}", self.ops);
        self.history.push((reservation.slab(), line));
        self.held.push(Held { reservation, stream, after });
        Ok(())
    }

    /// Nothing was handed out: rightly, and without a trace?
    fn refused(
        &self,
        request: &Request<'_>,
        answer: Result<Acquire, PoolError>,
        before: &PoolStats,
        after: &PoolStats,
        failed: u64,
    ) -> Verdict {
        let held =
            |s: &PoolStats| (s.reserved_bytes, s.requested_bytes, s.live, s.reserves, s.releases);
        ensure!(held(before) == held(after), "{answer:?} reserved something: {before:?}");
        let properties = self.pool.properties();
        match answer {
            Ok(Acquire::OverBudget { .. }) => {
                let least = request.size;
                // Rounding may take up to as much again, or a whole block.
                let most = properties.max_request.max(2 * least) + request.alignment + 8192;
                ensure!(
                    after.reserved_bytes + most > self.promises.budget,
                    "over a budget of {}",
                    self.promises.budget
                );
            }
            Ok(Acquire::Exhausted { observed, .. }) => {
                let notification = self.pool.notification();
                let stale = notification.changed_since(observed);
                ensure!(!stale || request.may_grow, "the search itself spoilt the observation");
                if self.promises.finds_every_block && request.alignment <= properties.alignment {
                    self.nothing_ready(request.frontier)?;
                }
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
                ensure!(self.provider.failed() > failed, "an error that nobody made");
            }
            Err(error) => return Err(format!("{error}")),
        }
        Ok(())
    }

    /// No block is free that the requester might use.
    fn nothing_ready(&self, frontier: FrontierRef<'_>) -> Verdict {
        let mut found = Ok(());
        self.pool.inspect(&mut |block| {
            let ready = match block.state {
                BlockState::Clean => true,
                BlockState::Pending(death) => {
                    death.len() == 1
                        && (frontier.dominates(death) || death.is_satisfied(&*self.dial))
                }
                BlockState::Live { .. } | BlockState::Tainted => false,
            };
            if ready {
                found = Err(format!("exhausted, but there was {block:?}"));
            }
        });
        found
    }

    /// Submits work on some streams that uses the reservation, and releases it with that as its death.
    fn release_used(&mut self, pick: usize, count: usize) {
        let Some((held, at)) = self.pick(pick) else { return };
        let first = held.stream;
        let acquired_after = self.streams[first].frontier.clone();
        let mut death = Frontier::new();
        for stream in (first..first + count).map(|stream| stream % STREAMS) {
            let it = &mut self.streams[stream];
            // The other streams are told to wait for the one that acquired.
            let _ = it.frontier.merge(acquired_after.as_ref());
            it.needs.push(it.frontier.clone());
            it.submitted += 1;
            let _ = it.frontier.advance(Dial::axis(stream), it.submitted);
            let _ = death.advance(Dial::axis(stream), it.submitted);
        }
        self.history.push((at.0, format!("{}: dies at {death}", self.ops)));
        let released = self.pool.release(held.reservation, Death::After(death.as_ref()));
        assert!(released.is_ok(), "the pool's own reservation");
        self.oracle.release(at.0, at.1, at.2, Fate::After(death));
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

    fn trim(&self, how: Trim) -> Verdict {
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

    /// What holds after every operation.
    fn check(&mut self) -> Verdict {
        let over = |e: Entry| self.dial.at(e.axis.ordinal() as usize) >= e.epoch;
        for slab in self.provider.take_returned() {
            self.oracle.return_slab(slab, over)?;
        }
        let crimes = self.provider.crimes();
        ensure!(crimes.is_empty(), "{crimes:?}");
        let s = self.pool.stats();
        let provider = self.provider.stats();
        ensure!(s.committed_bytes == s.reserved_bytes + s.free_bytes, "committed");
        ensure!(s.free_bytes >= s.pending_bytes + s.tainted_bytes, "free");
        ensure!(s.requested_bytes == self.oracle.requested, "{} asked", self.oracle.requested);
        ensure!(s.requested_bytes <= s.reserved_bytes, "requested");
        ensure!(s.live == self.oracle.live, "{} live", self.oracle.live);
        ensure!(s.reserves - s.releases == s.live, "reserves and releases");
        ensure!(s.fresh + s.dominated + s.completed + s.waited == s.reserves, "origins");
        ensure!(s.slabs == provider.slabs, "{provider:?}");
        ensure!(s.committed_bytes == provider.committed_bytes, "{provider:?}");
        ensure!(s.reserved_bytes <= self.promises.budget, "over budget");
        ensure!(s.peak_reserved_bytes >= s.reserved_bytes, "peak of reserved");
        ensure!(s.peak_requested_bytes >= s.requested_bytes, "peak of requested");
        ensure!(s.peak_committed_bytes >= s.committed_bytes, "peak of committed");
        ensure!(s.peak_pending_bytes >= s.pending_bytes, "peak of pending");
        if self.ops.is_multiple_of(41) || self.armed {
            self.armed = false;
            self.inspect()?;
        }
        Ok(())
    }

    /// What the pool shows: tiles of its slabs that agree with the oracle.
    fn inspect(&self) -> Verdict {
        let over = |e: Entry| self.dial.at(e.axis.ordinal() as usize) >= e.epoch;
        let mut slabs = self.provider.out();
        let mut verdict = Ok(());
        let mut at: Option<(SlabId, u64)> = None;
        let (mut live, mut reserved, mut requested) = (0, 0, 0);
        let (mut clean, mut pending, mut tainted) = (0, 0, 0);
        let mut step = |block: &strandline_core::inspect::BlockView<'_>| -> Verdict {
            match at {
                Some((slab, end)) if slab == block.slab => {
                    ensure!(block.offset == end, "{block:?} does not start at {end}");
                }
                _ => {
                    // In whatever order of slabs, but each in one piece: see the removal below.
                    ensure!(block.offset == 0, "{block:?} is the first of its slab");
                }
            }
            let end = block.offset + block.size;
            at = Some((block.slab, end));
            let size = slabs.get(&block.slab).copied().unwrap_or(0);
            ensure!(end <= size && block.size > 0, "{block:?} in a slab of {size}");
            if end == size {
                slabs.remove(&block.slab);
            }
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
            self.oracle.check_block(block, over, |by, entry| is_after(&self.streams, by, entry))
        };
        self.pool.inspect(&mut |block| {
            if verdict.is_ok() {
                verdict = step(block);
            }
        });
        verdict?;
        ensure!(slabs.is_empty(), "slabs not shown, or not whole: {slabs:?}");
        let s = self.pool.stats();
        let shown = (live, reserved, requested, clean + pending + tainted);
        let told = (s.live, s.reserved_bytes, s.requested_bytes, s.free_bytes);
        ensure!(shown == told, "shown {shown:?}");
        if self.promises.readiness_adds_up {
            let shown = (clean, pending, tainted);
            let told = (s.clean_bytes(), s.pending_bytes, s.tainted_bytes);
            ensure!(shown == told, "shown {shown:?}, told {told:?}");
        }
        Ok(())
    }
}

/// Whether work after the frontier is after the entry as well. What a stream needs is a complete vector clock,
/// so one step is enough.
fn is_after(streams: &[Stream], frontier: FrontierRef<'_>, entry: Entry) -> bool {
    frontier.get(entry.axis) >= entry.epoch
        || frontier.entries().iter().any(|by| {
            let needs = &streams[by.axis.ordinal() as usize].needs;
            needs[by.epoch as usize - 1].get(entry.axis) >= entry.epoch
        })
}
